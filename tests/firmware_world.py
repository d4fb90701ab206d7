"""A sensor node and the gateway's source for it, joined by a line in virtual time. No part of either is replaced."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from devices.config import convert
from devices.firmware.hal_fake import FakeFlash, FakeHal
from devices.firmware.node import Node, Sensors
from devices.firmware.settings import TruckSettings
from devices.firmware.truck_node import Truck
from devices.source_firmware import FirmwareSource, Options, Port
from devices.sources import Context
from devices.wire import Sample

T0_NS = 1_767_225_600 * 10**9  # 2026-01-01
BAUD = 115_200
STEP_MS = 10  # a pass of the node
READ_MS = 100  # how often the gateway looks

Noise = Callable[[bytes], bytes]


def quiet(data: bytes) -> bytes:
    """A line without noise."""
    return data


@dataclass
class World:
    """``every_step(now_ms)`` is called before each pass of the node; ``now_ms`` is the time of the world."""

    flash: FakeFlash = field(default_factory=lambda: FakeFlash(256, 40))
    sensors: Callable[[], Sensors] = lambda: Truck(TruckSettings())
    interval_ms: int = 1000
    up: Noise = quiet
    down: Noise = quiet
    every_step: Callable[[int], None] = lambda now_ms: None
    ticks_at_start: int = 0
    now_ms: int = 0
    boots: int = 0
    hal: FakeHal = field(init=False)
    node: Node = field(init=False)

    def __post_init__(self) -> None:
        self.boot()

    def boot(self) -> None:
        """Switch the node on, or off and on again: only the flash keeps what it had."""
        self.boots += 1
        self.hal = FakeHal(self.flash, 1000 + self.boots)
        self.hal.ticks_at_start = self.ticks_at_start
        self.node = Node(self.hal, self.sensors(), self.interval_ms, BAUD)
        self.booted_ms = self.now_ms
        self.node.begin()

    def step(self) -> None:
        """One pass of the node, then STEP_MS of time."""
        self.every_step(self.now_ms)
        self.hal.now_ms = self.now_ms - self.booted_ms
        self.node.step()
        self.now_ms += STEP_MS

    def run(self, ms: int) -> None:
        """Nobody listens for so long."""
        for _ in range(ms // STEP_MS):
            self.step()
        self.hal.sent = b""

    def context(self) -> Context:
        """The gateway's clocks are the world's."""
        return Context(
            name="node", now_ns=lambda: T0_NS + self.now_ms * 1_000_000, monotonic=lambda: 5.0 + self.now_ms / 1000
        )

    def source(self, **options: Any) -> FirmwareSource:
        """A gateway's source, new as after a start of the gateway."""
        given = convert({"port": "line", **options}, Options, "gateway.toml")
        return FirmwareSource(given, self.context(), lambda: self.port())

    @asynccontextmanager
    async def port(self) -> AsyncIterator[Port]:
        """The gateway's end of the line. Whoever reads moves time on; it ends at ``end_ms``."""
        yield _LinePort(self)

    def listen(self, source: FirmwareSource, ms: int) -> list[Sample]:
        """What the source gives in the next ``ms``."""
        self.end_ms = self.now_ms + ms

        async def all_of_it() -> list[Sample]:
            return [sample async for sample in source.samples()]

        return asyncio.run(all_of_it())


class _LinePort:
    def __init__(self, world: World) -> None:
        self._world = world

    async def read(self, timeout_s: float) -> bytes | None:
        world = self._world
        if world.now_ms >= world.end_ms:
            return None
        data = b""
        for _ in range(READ_MS // STEP_MS):
            world.step()
            data += world.hal.sent
            world.hal.sent = b""
        return world.up(data)

    def write(self, data: bytes) -> None:
        self._world.hal.received += self._world.down(data)


def frame(pgn: int, data: bytes, source: int = 0, priority: int = 6) -> tuple[int, bytes]:
    """A frame of the bus as (identifier, data)."""
    return priority << 26 | pgn << 8 | source, data
