"""A disk that tests can stop, cut off and corrupt, and a server that takes everything, for the outbox."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from devices.actions import Action, Publish, Sync
from devices.config import Broker, GatewayConfig, OutboxConfig
from devices.core import GatewayCore
from devices.counters import Counters
from devices.disk import JOURNAL_BYTES, Disk, FolderDisk
from devices.entries import Recovered
from devices.envelope import Sign
from devices.ring import Ring
from devices.unbatch import head, samples
from devices.wire import Ack, Hole, Position, Sample

SECTOR = 512
START_NS = 1_700_000_000_000_000_000


class KilledError(BaseException):
    """The power went at this call."""


class FaultDisk:
    """What is written lies in a cache until it is synced. ``cut`` gives the disk as it is after the power went.

    ``fail`` names calls by number, from 0: "kill" before it, or an errno that it raises.
    """

    volatile = False

    def __init__(self, segments: int = 6, segment_bytes: int = 4096) -> None:
        self.segments = segments
        self.segment_bytes = segment_bytes
        self.platter = [bytearray(JOURNAL_BYTES), *(bytearray(segment_bytes) for _ in range(segments))]
        self.cache: list[tuple[int, int, bytes]] = []
        self.calls = 0
        self.fail: dict[int, int | str] = {}
        self.broken: int | None = None  # errno of every write and sync

    def _call(self) -> None:
        what = self.fail.get(self.calls, self.broken)
        self.calls += 1
        if what == "kill":
            raise KilledError
        if isinstance(what, int):
            raise OSError(what, "as told")

    def read(self, file: int, offset: int, length: int) -> bytes:
        image = bytearray(self.platter[file][offset : offset + length])
        for of, at, data in self.cache:
            if of == file:
                begin, end = max(at, offset), min(at + len(data), offset + length)
                if begin < end:
                    image[begin - offset : end - offset] = data[begin - at : end - at]
        return bytes(image)

    def write(self, file: int, offset: int, data: bytes) -> None:
        assert offset + len(data) <= len(self.platter[file]), "written beyond the file"
        self._call()
        self.cache.append((file, offset, data))

    def sync(self, files: Iterable[int]) -> None:
        self._call()
        chosen = set(files)
        for file, offset, data in self.cache:
            if file in chosen:
                self.platter[file][offset : offset + len(data)] = data
        self.cache = [w for w in self.cache if w[0] not in chosen]

    def cut(self, rng: random.Random) -> "FaultDisk":
        """The platter, and of what was not synced any sectors, as the drive had got to."""
        after = FaultDisk(self.segments, self.segment_bytes)
        after.platter = [bytearray(file) for file in self.platter]
        share = rng.choice([0.0, 0.5, 1.0])
        for file, offset, data in self.cache:
            for begin in range(0, len(data), SECTOR):
                if rng.random() < share:
                    part = data[begin : begin + SECTOR]
                    after.platter[file][offset + begin : offset + begin + len(part)] = part
        return after


def config(**changes: object) -> GatewayConfig:
    base = GatewayConfig(
        device="truck-01",
        tenant="acme",
        broker=Broker(host="broker"),
        batch_s=10,
        batch_max=20,
        outbox=OutboxConfig(commit_s=10),
    )
    return msgspec.structs.replace(base, **changes)


def opened(disk: Disk, sign: Sign | None = None) -> tuple[Ring, Recovered]:
    ring = Ring(disk, device="truck-01", tenant="acme", sign=sign)
    return ring, ring.recover()


def value_of(boot_id: int, seq: int) -> float:
    """The odometer that reading shows: another one for each."""
    return float(boot_id * 100_000 + seq)


def sample(boot_id: int, seq: int, second: int) -> Sample:
    return Sample(START_NS + second * 10**9, {"odometer_m": value_of(boot_id, seq), "speed_kmh": 50.0})


@dataclass
class Server:
    """Takes each boot in order, confirms what it has, and goes on where it hears that something is gone."""

    next: dict[int, int] = field(default_factory=dict)
    rows: dict[tuple[int, int], tuple[float, int]] = field(default_factory=dict)  # (boot, seq): odometer, merged
    frames: list[bytes] = field(default_factory=list)  # those that brought something new
    gone: list[Hole] = field(default_factory=list)
    boots: list[int] = field(default_factory=list)

    def take(self, frame: bytes) -> Ack:
        top = head(frame)
        at = self.next.setdefault(top.boot_id, 0)
        if top.boot_id not in self.boots:
            self.boots.append(top.boot_id)
        seq = top.seq0
        if top.seq0 <= at < top.end:
            self.frames.append(frame)
        for row in samples(frame):
            seq += row.merged
            if seq - row.merged <= self.next[top.boot_id] < seq:
                self.next[top.boot_id] = seq
                self.rows[top.boot_id, seq - 1] = (row.values["odometer_m"], row.merged)
        return self.ack()

    def on_gone(self, hole: Hole) -> Ack:
        self.gone.append(hole)
        if self.next.setdefault(hole.boot_id, 0) == hole.begin:
            self.next[hole.boot_id] = hole.end
        return self.ack()

    def ack(self) -> Ack:
        newest = self.boots[-1]
        old = tuple(Position(b, self.next[b]) for b in self.boots[:-1][-6:])
        return Ack(newest, self.next[newest], old)


class Bench:
    """One start of a gateway on a disk, driven second by second."""

    def __init__(
        self, disk: FaultDisk | FolderDisk, boot_id: int, *, sign: Sign | None = None, **changes: object
    ) -> None:
        self.disk: Any = disk
        self.boot_id = boot_id
        self.counters = Counters()
        self.ring, self.recovered = opened(disk, sign)
        self.core = GatewayCore(
            config(**changes),
            boot_id=boot_id,
            rng=random.Random(1),
            counters=self.counters,
            ring=self.ring,
            recovered=self.recovered,
        )
        self.now = 0.0
        self.given = 0
        self.server: Server | None = None
        self.published: list[Publish] = []

    def connect(self, server: Server) -> None:
        self.server = server
        self.do(self.core.on_connected(self.now))

    def disconnect(self) -> None:
        self.server = None
        self.do(self.core.on_disconnected("gone", self.now))

    def give(self, n: int, every_s: float = 1.0, began_s: int = 0) -> None:
        for _ in range(n):
            self.do(
                self.core.on_sample(sample(self.boot_id, self.given, began_s + int(self.given * every_s)), self.now)
            )
            self.given += 1
            self.run_until(self.now + every_s)

    def run_until(self, at: float) -> None:
        while (wake := self.core.wake_at()) <= at:
            self.now = max(self.now, wake)
            self.do(self.core.on_tick(self.now))
        self.now = at

    def do(self, actions: list[Action]) -> None:
        todo = list(actions)
        while todo:
            action = todo.pop(0)
            if isinstance(action, Sync):
                try:
                    self.disk.sync(action.files)
                except OSError as error:
                    todo += self.core.on_sync_failed(str(error), self.now)
                else:
                    todo += self.core.on_synced(self.now)
            elif isinstance(action, Publish) and self.server is not None:
                self.published.append(action)
                todo += self.core.on_puback(action.token, 0, self.now)
                if action.topic.endswith("up/readings"):
                    todo += self.core.on_ack(msgspec.json.encode(self.server.take(action.payload)), self.now)
                elif action.topic.endswith("up/gone"):
                    hole = msgspec.json.decode(action.payload, type=Hole)
                    todo += self.core.on_ack(msgspec.json.encode(self.server.on_gone(hole)), self.now)

    def drain(self, server: Server, limit_s: float = 3600.0) -> None:
        """Connect and wait until everything is confirmed."""
        self.connect(server)
        self.do(self.core.on_stop(self.now))
        end = self.now + limit_s
        while len(self.core):
            wake = self.core.wake_at()
            assert wake < end, "it does not come to rest"
            self.run_until(wake)
