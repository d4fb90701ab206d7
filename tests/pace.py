"""What tests of sources share: a clock that only sleeping moves, the next readings, a free port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from devices.wire import Sample


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


@dataclass
class Pace:
    """A clock that only sleeping moves; others get their turn meanwhile. ``on_sleep`` is called before each."""

    now_s: float = 1000.0
    slept: list[float] = field(default_factory=list)
    on_sleep: Callable[[], None] | None = None

    def monotonic(self) -> float:
        return self.now_s

    def now_ns(self) -> int:
        return 1_800_000_000_000_000_000 + round(self.now_s * 1e9)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += max(0.0, seconds)
        if self.on_sleep is not None:
            self.on_sleep()
        for _ in range(3):  # once round the loop for what waits on a descriptor
            await asyncio.sleep(0)


async def take(samples: AsyncIterator[Sample], n: int) -> list[Sample]:
    """The next ``n`` readings; real waiting is for answers only."""
    async with asyncio.timeout(20):
        return [await anext(samples) for _ in range(n)]
