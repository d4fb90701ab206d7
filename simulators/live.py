"""A world in real time, or any multiple of it: one engine for the whole fleet, one source per gateway.

The engine advances a second of virtual time for all vehicles at once, when it is due on the clock that is passed in. Whichever
source wakes first does it; the others find their readings waiting. All sources belong to one event loop.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import numpy as np

from devices.wire import Sample
from simulators.fleet import Chunk, World
from simulators.layout import SIGNALS

WAITING: Final = (
    6000  # readings kept for a gateway that does not ask: ten minutes at 10 Hz; then the oldest go, counted
)


class LiveFleet:
    """One engine for all vehicles of ``world``; ``speed`` virtual seconds a second. Raises ValueError for a speed not above 0."""

    def __init__(
        self,
        world: World,
        speed: float,
        *,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if not speed > 0.0:
            raise ValueError(f"speed is {speed}, must be above 0")
        self.world = world
        self.speed = speed
        self.dropped = 0
        self._sleep, self._now_s = sleep, now_s
        self._step_s = max(1, world.every_ticks // 10)
        self._first_s = world.now_s
        self._began: float | None = None
        self._waiting: dict[int, deque[Sample]] = {}

    def source(self, vehicle: int) -> "VehicleInFleet":
        """The source of vehicle number ``vehicle`` of the world."""
        self._waiting.setdefault(vehicle, deque(maxlen=WAITING))
        return VehicleInFleet(self, vehicle, self.world.vehicles[vehicle])

    async def take(self, vehicle: int) -> list[Sample]:
        """Readings of ``vehicle`` that are due; waits until there are some."""
        waiting = self._waiting[vehicle]
        while not waiting:
            if self._began is None:
                self._began = self._now_s()
            until = self.world.now_s + self._step_s
            due = self._began + (until - self._first_s) / self.speed
            late = due - self._now_s()
            if late > 0.0:
                await self._sleep(late)
            elif self.world.now_s < until:
                self._hand_out(self.world.advance(self._step_s))
                await self._sleep(0.0)
        taken = list(waiting)
        waiting.clear()
        return taken

    def _hand_out(self, chunk: Chunk) -> None:
        if not chunk.n:
            return
        device = chunk.readings["device"].tolist()
        times = chunk.readings["time_ns"].tolist()
        rows = np.array([chunk.readings[name] for name in SIGNALS]).T.tolist()
        for vehicle, time_ns, row in zip(device, times, rows, strict=True):
            waiting = self._waiting.get(vehicle)
            if waiting is None:
                continue
            self.dropped += len(waiting) == WAITING
            values = {name: value for name, value in zip(SIGNALS, row, strict=True) if value == value}
            waiting.append(Sample(time_ns, values))


class VehicleInFleet:
    """A ``devices.sources.Source``: the readings of one vehicle of a live world."""

    def __init__(self, engine: LiveFleet, vehicle: int, name: str) -> None:
        self.name = f"simulated {name}"
        self._engine, self._vehicle = engine, vehicle

    async def samples(self) -> AsyncIterator[Sample]:
        """Readings as they become due; never ends."""
        while True:
            for sample in await self._engine.take(self._vehicle):
                yield sample
