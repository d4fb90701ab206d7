"""Places for queries: a few short ones at once, fewer long ones, a bounded queue, so that no runaway holds up the rest."""

import asyncio
from collections import deque
from typing import Final

from dashboards.sql.errors import BUSY, SqlError

LONG_S: Final = 1.0  # a query that has run for longer gives its place to the next one and counts as long
PATIENCE_S: Final = 5.0  # one that found no long place keeps its short one for so long while others wait


class Lanes:
    """Used from one event loop. ``short`` and ``long`` are places, ``queue`` is how many may wait for a short one."""

    def __init__(self, short: int, long: int, queue: int) -> None:
        self._free = short
        self._free_long = long
        self._queue = queue
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Take a short place, in turn. Raises SqlError when too many wait."""
        if self._free > 0 and not self._waiting:
            self._free -= 1
            return
        if len(self._waiting) >= self._queue:
            raise SqlError(
                BUSY, f"the server is busy: {self._queue} queries wait already", hint="refresh less often or try again"
            )
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()
            else:
                self._waiting.remove(place)
            raise

    def leave(self) -> None:
        """Give a short place to the one who has waited longest."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    @property
    def crowded(self) -> bool:
        """Whether somebody waits."""
        return any(not place.done() for place in self._waiting)

    def become_long(self) -> bool:
        """Change a short place for a long one; False where none is free."""
        if self._free_long == 0:
            return False
        self._free_long -= 1
        self.leave()
        return True

    def leave_long(self) -> None:
        """Give a long place back."""
        self._free_long += 1
