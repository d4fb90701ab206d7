"""The outbox on a disk and the provable batch: sizes, times, memory, and 72 hours drained. ``python -m tests.bench outbox``."""

import asyncio
import json
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devices.config import Broker, GatewayConfig, OutboxConfig
from devices.counters import Counters
from devices.disk import FolderDisk
from devices.envelope import Sign, seal
from devices.gateway import Gateway
from devices.outbox_folder import open_outbox
from devices.ring import Ring
from devices.wire import Sample, encode_batch, topic
from ingest.envelope import batches_table, framed
from ingest.message import Message
from ingest.signatures import Signatures
from simulators.local_broker import find_mosquitto, local_broker
from simulators.registry_files import write_registry
from simulators.server_process import TENANT, consumer
from tests.bench.bench_wire import stop_go_trip
from tests.bench.result import Result
from tests.disk_world import Bench, FaultDisk, Server

ROOT: Final = Path(__file__).resolve().parents[2]
HOURS: Final = 72
DEVICE: Final = "truck-01"
SEQ_AT: Final = 16
KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CHECKED: Final = 2000


def trip(n: int) -> list[Sample]:
    """``n`` readings of 16 signals at 1 Hz."""
    rows = [s for seed in range(-(-n // 1800)) for s in stop_go_trip(seed + 1, 1800)]
    start = (time.time_ns() // 10**9 - n - 3600) * 10**9
    return [Sample(start + i * 10**9, row.values) for i, row in enumerate(rows[:n])]


def fill(folder: Path, batches: int, *, mib: int = 64, sign: Sign | None = None) -> float:
    """An outbox with ``batches`` of 600 readings each of an earlier start; gives bytes a reading."""
    disk = FolderDisk(folder, mib, 1 << 20)
    ring = Ring(disk, device=DEVICE, tenant=TENANT, sign=sign)
    ring.recover()
    rows = trip(600)
    size = 0
    for i in range(batches):
        shift = i * 600 * 10**9 - batches * 600 * 10**9
        frame = encode_batch(DEVICE, 5, i * 600, rows[:1])  # its time; the rest of the header is the same
        if i == 0:
            pattern = encode_batch(DEVICE, 5, 0, rows, clock_source="ntp", clock_error_ms=20)
        t0_ms = rows[0].time_ns // 1_000_000 + shift // 1_000_000
        frame = pattern[:SEQ_AT] + struct.pack("<QIq", i * 600, 600, t0_ms) + pattern[SEQ_AT + 20 :]
        entry = ring.append(frame, 0.0)
        if entry is None or ring.free_segments <= 3:  # below that it would begin to thin
            break
        size += entry.length
    disk.sync(ring.begin_sync())
    ring.synced()
    readings = sum(e.end - e.first for e in ring.entries)
    disk.close()
    return size / readings


def run() -> list[Result]:
    """Needs mosquitto for the last one, which takes two minutes."""
    results = [_virtual_time(), _wear(online=True), _wear(online=False), *_provable()]
    with tempfile.TemporaryDirectory() as folder:
        per_reading = fill(Path(folder) / "outbox", HOURS * 6, sign=KEY.sign)
        results.append(
            Result("outbox bytes a reading, 600 a batch, signed", per_reading, "B", "64 MiB hold 50 days at 1 Hz")
        )
        results += _full(Path(folder) / "full")
        if find_mosquitto() is None:
            print("mosquitto is not installed: 72 h over a real broker are not measured", file=sys.stderr)
            return results
        return [*results, *asyncio.run(_drain(Path(folder)))]


def _virtual_time() -> Result:
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder) / "outbox", HOURS * 6)
        disk = FolderDisk(Path(folder) / "outbox", 64, 1 << 20)
        bench = Bench(disk, 6, batch_max=600)
        server = _Counting()
        bench.connect(server)
        while server.next.get(5, 0) < HOURS * 3600:
            bench.run_until(bench.core.wake_at())
        disk.close()
        return Result("72 h at 1 Hz drained, virtual time", bench.now, "s", "target 300")


class _Counting(Server):
    """Takes batches without looking at their rows."""

    def take(self, frame: bytes):  # type: ignore[no-untyped-def]
        boot, seq0, covered = struct.unpack_from("<QQI", frame, 8)
        self.boots = self.boots or [boot]
        if seq0 <= self.next.setdefault(boot, 0):
            self.next[boot] = max(self.next[boot], seq0 + covered)
        return self.ack()


class _Pages(FaultDisk):
    """Counts the pages of 4 KiB that each sync brings to the disk, as a file system does."""

    pages = 0

    def sync(self, files: Iterable[int]) -> None:
        chosen = set(files)
        self.pages += len(
            {
                (f, page)
                for f, at, data in self.cache
                if f in chosen
                for page in range(at // 4096, (at + len(data) - 1) // 4096 + 1)
            }
        )
        super().sync(chosen)


def _wear(*, online: bool) -> Result:
    """Two hours at 1 Hz in batches of 10 s, or of 600 readings with a journal."""
    disk = _Pages(8, 1 << 20)
    bench = Bench(disk, 1, batch_max=600)
    if online:
        bench.connect(Server())
    bench.give(600)
    before = disk.pages
    bench.give(7200)
    day = (disk.pages - before) * 4096 * 12
    return Result(f"written to disk at 1 Hz, {'online' if online else 'offline'}", day / 1e6, "MB/day", "target 35")


def _provable() -> list[Result]:
    """What signature, hash and the stored frame cost, at 60 readings a batch."""
    rows = trip(60 * CHECKED)
    plain = [
        encode_batch(DEVICE, 5, i * 60, rows[i * 60 : i * 60 + 60], clock_source="ntp", clock_error_ms=20)
        for i in range(CHECKED)
    ]
    begun = time.process_time()
    frames = [seal(p, TENANT, previous=bytes(32), replaces=None, sign=KEY.sign) for p in plain]
    signing = (time.process_time() - begun) / CHECKED
    messages = [Message(topic(TENANT, DEVICE, "up/readings"), f, 0) for f in frames]
    batches_table([f for m in messages[:9] if (f := framed(m, TENANT, DEVICE, 0)) is not None])  # loads Arrow
    begun = time.process_time()
    sealed = [f for m in messages if (f := framed(m, TENANT, DEVICE, 0)) is not None]
    table = batches_table(sealed)
    enveloping = (time.process_time() - begun) / (CHECKED * 60)
    signatures = Signatures({DEVICE: KEY.public_key().public_bytes_raw().hex()})
    begun = time.process_time()
    verdicts = [signatures.check(m, TENANT, DEVICE, f.sealed) for m, f in zip(messages, sealed, strict=True)]
    checked = CHECKED * 60 / (time.process_time() - begun)
    if any(verdicts):
        raise RuntimeError("a good signature was refused")
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=["tenant", "device"])
    return [
        Result(
            "batch of 60: hash and signature on the wire",
            (len(frames[0]) - len(plain[0])) / 60,
            "B/reading",
            f"of {sum(map(len, frames)) / CHECKED / 60:.1f}",
        ),
        Result("signing on the gateway", signing * 1e6, "µs/batch", "once a batch"),
        Result("signatures checked, 60 a batch", checked / 1e6, "M readings/s", "one core"),
        Result("frames kept: time of the consumer", enveloping * 1e9, "ns/reading", "60 a batch"),
        Result(
            "frames kept: table batches in Parquet",
            sink.getvalue().size / (CHECKED * 60),
            "B/reading",
            "60 a batch, signed",
        ),
    ]


def _full(folder: Path) -> list[Result]:
    fill(folder, 100_000)
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.gateway_child", "disk", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    got = json.loads(done.stdout)
    return [
        Result("gateway RSS, outbox of 64 MiB on disk full", got["rss"] / 2**20, "MiB", "target 64"),
        Result("start with a full outbox", got["start_s"], "s", f"{got['batches']:.0f} batches"),
        Result("reading into a full outbox, thinning included", got["worst_s"], "s", "the worst of 3,000"),
    ]


async def _drain(folder: Path) -> list[Result]:
    write_registry(
        folder / "registry",
        {
            "vehicles": [
                {
                    "vehicle": "t1",
                    "device": DEVICE,
                    "vehicle_class": "artic_40t",
                    "fuel": "diesel_b7",
                    "public_key": KEY.public_key().public_bytes_raw().hex(),
                }
            ]
        },
    )
    async with (
        local_broker(folder) as broker,
        consumer(folder, broker, earliest="2020-01-01", factor_set="fleetco2-2025.1") as server,
    ):
        config = GatewayConfig(
            device=DEVICE,
            tenant=TENANT,
            broker=Broker(host="127.0.0.1", port=broker.port, protocol=broker.protocol),
            outbox=OutboxConfig(max_mib=64),
        )
        opened = open_outbox(config, folder / "outbox", KEY.sign)
        gateway = Gateway(
            config,
            [],
            rng=random.Random(1),
            counters=Counters(),
            say=print,
            ring=opened.ring,
            recovered=opened.recovered,
        )
        begun = time.monotonic()
        await gateway.run(asyncio.Event())  # ends by itself when all is confirmed, at the latest after drain_s
        while gateway.figures().unconfirmed and time.monotonic() - begun < 300:
            raise RuntimeError(f"{gateway.figures().unconfirmed} readings were not confirmed")
        took = time.monotonic() - begun
        stored = server.metrics()["fleetco2_readings_stored_total"]
    if stored != HOURS * 3600:
        raise RuntimeError(f"{stored:.0f} readings are stored, not {HOURS * 3600}")
    shutil.rmtree(folder / "outbox")
    return [Result("72 h at 1 Hz drained, real mosquitto and consumer", took, "s", "target 300")]
