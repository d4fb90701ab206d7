"""Answers kept for a moment: many clients ask the same thing, the lake is asked once."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final

import msgspec

FRESH_NS: Final = 1_000_000_000  # an answer is given again for this long; a figure's age is told to the second
STALE_NS: Final = 10_000_000_000  # while a new one is made, the old one is given for this long
ENTRIES: Final = 512  # 64 kB each at most in practice: 32 MB


class Answer(msgspec.Struct, frozen=True):
    """A body as it is sent, and the tag of its content."""

    content: bytes
    etag: str
    made_ns: int


class Cache:
    """Least recently used answers, each made once at a time whoever asks."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._kept: OrderedDict[Hashable, Answer] = OrderedDict()
        self._making: dict[Hashable, asyncio.Task[Answer]] = {}

    def fresh(self, key: Hashable) -> Answer | None:
        """The answer if it is young enough to be given without asking."""
        kept = self._kept.get(key)
        if kept is None or self._now_ns() - kept.made_ns >= FRESH_NS:
            return None
        self._kept.move_to_end(key)
        return kept

    async def get(self, key: Hashable, make: Callable[[], Awaitable[bytes]]) -> Answer:
        """The answer of ``key``, made by ``make`` where there is none. What ``make`` raises is raised to all who wait."""
        found = self.fresh(key)
        if found is not None:
            return found
        task = self._making.get(key)
        if task is None:
            task = asyncio.ensure_future(self._make(key, make))
            self._making[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        kept = self._kept.get(key)
        if kept is not None and self._now_ns() - kept.made_ns < STALE_NS:
            return kept
        return await asyncio.shield(task)

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[bytes]]) -> Answer:
        made_ns = self._now_ns()
        content = await make()
        answer = Answer(content, f'"{hashlib.blake2b(content, digest_size=16).hexdigest()}"', made_ns)
        self._kept[key] = answer
        self._kept.move_to_end(key)
        while len(self._kept) > ENTRIES:
            self._kept.popitem(last=False)
        return answer

    def _done(self, key: Hashable, task: asyncio.Task[Answer]) -> None:
        self._making.pop(key, None)
        if not task.cancelled():
            task.exception()  # told to whoever waited; nobody may have
