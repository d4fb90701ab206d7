"""One gateway process for ``bench_gateway``: imports nothing that a Raspberry Pi would not, and tells what it cost.

``python -m tests.bench.gateway_child busy FD PORT SECONDS FOLDER``: CAN frames from the datagram socket FD and a position at 1 Hz.
``python -m tests.bench.gateway_child disk FOLDER``: a full outbox on disk, 3,000 readings more, no broker.
"""

import asyncio
import json
import math
import random
import resource
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devices import source_can
from devices.actions import Sync
from devices.clock import ClockState, Timekeeper
from devices.config import Broker, GatewayConfig
from devices.core import GatewayCore
from devices.counters import Counters
from devices.gateway import Gateway
from devices.outbox_folder import open_outbox
from devices.source_can import Bus, CanSource, Options, SocketBus
from devices.sources import Context, Source
from devices.wire import Sample

SETTLE_S: Final = 3.0  # connecting and the first batches are not the steady state
KEPT: Final = ClockState("ntp", 20)  # whatever keeps the clock of the machine that measures
START_NS: Final = 1_800_000_000 * 10**9


@dataclass
class Position:
    """A receiver at 1 Hz."""

    context: Context
    name: str = "gps"

    async def samples(self) -> AsyncIterator[Sample]:
        for i in range(10**9):
            here = {
                "lat_deg": 50 + i * 1e-4,
                "lon_deg": 8 + i * 1e-4,
                "gps_speed_kmh": 70.0,
                "hdop": 1.0,
                "alt_m": 200.0,
            }
            yield Sample(self.context.now_ns(), here)
            await asyncio.sleep(1.0)


SIGNALS_16: Final = (
    "lat_deg",
    "lon_deg",
    "alt_m",
    "gps_speed_kmh",
    "speed_kmh",
    "odometer_m",
    "engine_speed_rpm",
    "hdop",
    "fuel_rate_lph",
    "fuel_total_hr_l",
    "fuel_level_pct",
    "gross_weight_kg",
    "ambient_temp_c",
    "baro_kpa",
    "engine_load_pct",
    "engine_torque_pct",
)


def config(port: int) -> GatewayConfig:
    return GatewayConfig(
        device="truck-01",
        tenant="acme",
        broker=Broker(host="127.0.0.1", port=port),
        clock="auto",
        batch_s=10,
        drain_s=0,
    )


def written_bytes() -> int:
    """What this process has had written to disks."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def memory_bytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


async def busy(fd: int, port: int, seconds: float, folder: Path) -> dict[str, float]:
    counters = Counters()
    keeper = Timekeeper(counters, system=lambda: KEPT)
    context = Context(name="can", now_ns=keeper.now_ns, counters=counters)
    bus = SocketBus(socket.socket(fileno=fd))

    def open_bus(options: Options) -> Bus:
        return bus

    source_can.open_bus = open_bus
    sources: list[Source] = [CanSource(Options(), context), Position(context)]
    chosen = config(port)
    opened = open_outbox(chosen, folder, None)
    gateway = Gateway(
        chosen,
        sources,
        rng=random.Random(1),
        counters=counters,
        clock=keeper,
        ring=opened.ring,
        recovered=opened.recovered,
    )
    stop = asyncio.Event()
    running = asyncio.create_task(gateway.run(stop))
    await asyncio.sleep(SETTLE_S)
    before, frames, written = resource.getrusage(resource.RUSAGE_SELF), counters["can_frames"], written_bytes()
    begun = asyncio.get_running_loop().time()
    sent = gateway.figures().sent
    await asyncio.sleep(seconds)
    after, took_s = resource.getrusage(resource.RUSAGE_SELF), asyncio.get_running_loop().time() - begun
    result = {
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "seconds": took_s,
        "frames": counters["can_frames"] - frames,
        "readings": gateway.figures().sent - sent,
        "written": written_bytes() - written,
        "rss": memory_bytes("VmHWM"),
    }
    stop.set()
    await running
    return result


def disk(folder: Path) -> dict[str, float]:
    """Virtual time: a reading a second, and the disk synced when the core wants it."""
    chosen = config(1)
    begun = time.perf_counter()
    opened = open_outbox(chosen, folder, None)
    start_s = time.perf_counter() - begun
    core = GatewayCore(
        chosen, boot_id=9, rng=random.Random(1), counters=Counters(), ring=opened.ring, recovered=opened.recovered
    )
    batches, worst_s = len(opened.ring.entries), 0.0
    for i in range(3000):
        sample = Sample(START_NS + i * 10**9, {name: 50 + math.sin(i + k) for k, name in enumerate(SIGNALS_16)})
        begun = time.perf_counter()
        actions = core.on_sample(sample, float(i))
        worst_s = max(worst_s, time.perf_counter() - begun)
        while any(isinstance(action, Sync) for action in actions):
            opened.ring.disk.sync([f for action in actions if isinstance(action, Sync) for f in action.files])
            actions = core.on_synced(float(i))
    return {"batches": batches, "rss": memory_bytes("VmHWM"), "start_s": start_s, "worst_s": worst_s}


if __name__ == "__main__":
    if sys.argv[1] == "busy":
        print(json.dumps(asyncio.run(busy(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5])))))
    else:
        print(json.dumps(disk(Path(sys.argv[2]))))
