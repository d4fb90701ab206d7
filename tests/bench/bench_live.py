"""The whole path: load generator, mosquitto, consumer, Parquet on disk. Throughput, memory and the way from publish to SQL.

The generator speaks MQTT 3.1.1 over plain sockets, QoS 1 with a window, so that broker and consumer are measured and not it.
"""

import asyncio
import os
import struct
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Final

import numpy as np

from devices.wire import Sample, encode_batch, topic
from simulators.local_broker import find_mosquitto, local_broker
from simulators.registry_files import write_registry
from simulators.server_process import TENANT, Consumer, consumer
from storage.query import connect, refresh
from tests.bench.result import Result

DEVICES: Final = 200
ROWS: Final = 60
FRAMES: Final = 250  # per device: 3 million readings
CONNECTIONS: Final = 4
WINDOW: Final = 200
AHEAD: Final = 12_000  # messages; the broker's queue holds 20,000
PACED_PER_S: Final = 100_000
PACED_S: Final = 12.0


def _name(device: int) -> str:
    return f"gw-{device:06d}"


def _frames(first: int, count: int) -> list[bytes]:
    """Batches ``first`` .. of the pattern device; another device's differ in the name alone."""
    rng = np.random.default_rng(1)
    n = count * ROWS
    s = np.arange(first * ROWS, first * ROWS + n)
    v = np.clip(60 + 25 * np.sin(s / 40) + rng.normal(0, 0.3, n), 0, 90)
    columns = {
        "lat_deg": 51.2 + s * 1e-5 + rng.normal(0, 1e-6, n),
        "lon_deg": 6.7 + s * 2e-5 + rng.normal(0, 1e-6, n),
        "alt_m": 60 + 20 * np.sin(s / 300),
        "gps_speed_kmh": v + rng.normal(0, 0.1, n).clip(-0.3, 0.3) + 0.5,
        "hdop": np.full(n, 0.9),
        "speed_kmh": v,
        "odometer_m": np.floor(1e8 + s * 16.7 / 5) * 5,
        "engine_speed_rpm": 1200 + 100 * np.sin(s / 20),
        "engine_torque_pct": np.rint(50 + 40 * np.sin(s / 25)),
        "engine_load_pct": np.rint(50 + 40 * np.sin(s / 25)),
        "fuel_rate_lph": 24 + 10 * np.sin(s / 25),
        "fuel_total_hr_l": np.floor(1e7 + s * 6.7) / 1000,
        "fuel_level_pct": np.full(n, 61.2),
        "gross_weight_kg": np.full(n, 31_200.0),
        "ambient_temp_c": np.full(n, 11.5),
        "battery_soc_pct": np.full(n, 80.0),
    }
    start = (time.time_ns() - 10**9 * (first * ROWS + n + 3600)) // 10**6 * 10**6
    frames = []
    for k in range(count):
        samples = [
            Sample(start + int(s[i]) * 10**9, {name: float(values[i]) for name, values in columns.items()})
            for i in range(k * ROWS, (k + 1) * ROWS)
        ]
        frames.append(encode_batch(_name(0), 9, (first + k) * ROWS, samples, clock_source="ntp", clock_error_ms=20))
    return frames


def _packet(device: int, frame: bytes) -> bytes:
    """PUBLISH at QoS 1; the packet id, two bytes after the topic, is filled in when it is sent."""
    where = topic(TENANT, _name(device), "up/readings").encode()
    body = struct.pack(">H", len(where)) + where + b"\0\0" + frame.replace(_name(0).encode(), _name(device).encode(), 1)
    length, head = len(body), b"\x32"
    while True:
        head += bytes([length % 128 | (0x80 if length > 127 else 0)])
        length //= 128
        if not length:
            return head + body


class _Gate:
    """Keeps what is published and not yet stored below the broker's queue: a PUBACK says nothing of the consumer."""

    def __init__(self, stored: int = 0) -> None:
        self.published = 0
        self.stored = stored

    async def room(self) -> None:
        while self.published - self.stored > AHEAD:
            await asyncio.sleep(0.002)
        self.published += 1


async def _publisher(
    port: int, number: int, frames: list[bytes], devices: range, gate: _Gate, per_s: float | None
) -> deque[tuple[int, float]]:
    """Send every frame of every device in turn; returns (frame number, time of publish) of the first device."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = f"load-{number}".encode()
    writer.write(b"\x10" + bytes([12 + len(client)]) + b"\0\4MQTT\4\2\0\x3c" + struct.pack(">H", len(client)) + client)
    await reader.readexactly(4)
    room = asyncio.Semaphore(WINDOW)
    sent: deque[tuple[int, float]] = deque()

    async def acks() -> None:
        for _ in range(len(frames) * len(devices)):
            await reader.readexactly(4)
            room.release()

    heard = asyncio.create_task(acks())
    begun, n, id_at = time.perf_counter(), 0, 2 + len(topic(TENANT, _name(0), "up/readings"))
    for k, frame in enumerate(frames):
        for device in devices:
            await gate.room()
            await room.acquire()
            n += 1
            packet = bytearray(_packet(device, frame))
            at = (3 if len(packet) > 129 else 2) + id_at
            struct.pack_into(">H", packet, at, n % 65_535 + 1)
            if device == devices[0]:
                sent.append((k, time.time()))
            writer.write(packet)
            if n % 16 == 0:
                await writer.drain()
            if per_s is not None and (early := n / per_s - (time.perf_counter() - begun)) > 0:
                await asyncio.sleep(early)
    await heard
    writer.close()
    return sent


async def _load(port: int, frames: list[bytes], gate: _Gate, per_s: float | None) -> deque[tuple[int, float]]:
    share = DEVICES // CONNECTIONS
    each = None if per_s is None else per_s / CONNECTIONS
    made = [_publisher(port, i, frames, range(i * share, (i + 1) * share), gate, each) for i in range(CONNECTIONS)]
    return (await asyncio.gather(*made))[0]


def _rss_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def _cpu_s(pid: int) -> float:
    """CPU time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _stored(server: Consumer) -> float:
    return (await asyncio.to_thread(server.metrics)).get("fleetco2_readings_stored_total", 0.0)


async def _throughput(port: int, server: Consumer) -> tuple[float, float, float]:
    """Readings/s from 10 % to the end, memory of the consumer at 30 % and at the end [MB]."""
    total = DEVICES * FRAMES * ROWS
    frames = _frames(0, FRAMES)
    gate = _Gate()
    load = asyncio.create_task(_load(port, frames, gate, None))
    marks: list[tuple[float, float]] = []
    early_mb = 0.0
    while not marks or marks[-1][1] < total:
        await asyncio.sleep(0.05)
        marks.append((time.perf_counter(), await _stored(server)))
        gate.stored = int(marks[-1][1]) // ROWS
        if not early_mb and marks[-1][1] > 0.3 * total:
            early_mb = _rss_mb(server.process.pid)
    await load
    first = next(m for m in marks if m[1] > 0.1 * total)
    last = marks[-1]
    return (last[1] - first[1]) / (last[0] - first[0]), early_mb, _rss_mb(server.process.pid)


async def _latency(port: int, server: Consumer) -> list[float]:
    """Seconds from publish to visible in SQL, for one device under the paced load of all."""
    count = int(PACED_PER_S * PACED_S / ROWS / DEVICES)
    frames = _frames(FRAMES, count)
    load = asyncio.create_task(_load(port, frames, _Gate(DEVICES * count), PACED_PER_S / ROWS))
    con = connect(server.lake)
    seen: list[tuple[float, int]] = []
    newest = f"SELECT max(seq) FROM readings WHERE device = '{_name(0)}'"
    while not load.done() or (not seen or seen[-1][1] < (FRAMES + count) * ROWS - 1):
        if await asyncio.to_thread(refresh, con):
            rows = (await asyncio.to_thread(con.execute, newest)).fetchall()
            seen.append((time.time(), rows[0][0] or 0))
        await asyncio.sleep(0.02)
    con.close()
    ways = []
    for k, published in await load:
        last = (FRAMES + k + 1) * ROWS - 1
        ways.append(next(at for at, seq in seen if seq >= last) - published)
    return ways


async def _run(folder: Path) -> list[Result]:
    rows = [
        {"vehicle": f"t{i}", "device": _name(i), "vehicle_class": "artic_40t", "fuel": "diesel_b7"}
        for i in range(DEVICES)
    ]
    write_registry(folder / "registry", {"vehicles": rows})
    async with (
        local_broker(folder) as broker,
        consumer(folder, broker, earliest="2020-01-01", factor_set="fleetco2-2025.1") as server,
    ):
        begun_s = _cpu_s(server.process.pid)
        rate, early_mb, late_mb = await _throughput(broker.port, server)
        cpu_ns = (_cpu_s(server.process.pid) - begun_s) * 1e9 / (DEVICES * FRAMES * ROWS)
        ways = await _latency(broker.port, server)
        metrics = server.metrics()
    commits = metrics.get("fleetco2_commits_total", float("nan"))
    return [
        Result(
            "live_readings_per_s",
            rate,
            "1/s",
            f"goal 1 M/s; {DEVICES} devices, {ROWS} a batch, QoS 1, all on this machine",
        ),
        Result("live_consumer_cpu", cpu_ns, "ns a reading", "of the 2,000 that 1 M/s leaves on 2 cores"),
        Result("live_consumer_rss_mb", late_mb, "MB", f"{early_mb:.0f} MB at 30 % of the load"),
        Result("publish_to_sql_p50_s", float(np.quantile(ways, 0.5)), "s", f"goal 1 s; {PACED_PER_S:,} readings/s"),
        Result("publish_to_sql_p99_s", float(np.quantile(ways, 0.99)), "s", "goal 2 s; the same"),
        Result("live_commits", commits, "1", "commits in both runs"),
    ]


def run() -> list[Result]:
    """Figures of the whole path; none where mosquitto is not installed."""
    if find_mosquitto() is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(Path(folder)))
