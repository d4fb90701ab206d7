"""Many gateways in one process, to be killed: ``python -m tests.system.fault_gateways CONFIG.json``.

Each has its outbox on disk, its key, and a live source that writes every sample into the ledger before it hands it over. The end
of standard input ends the sources; the process ends when everything is confirmed. SIGTERM ends it at once, as a service is ended.
A line of JSON five times a second says how far they are.
"""

import asyncio
import itertools
import json
import random
import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import msgspec

from devices.config import Broker, GatewayConfig, OutboxConfig
from devices.counters import Counters
from devices.gateway import Gateway
from devices.outbox_folder import open_outbox
from devices.signing import signer
from devices.wire import Sample
from tests.system.fault_ledger import METRES, Ledger, fuel_ml_at, last_metre, rpm_eighths_at

MS_NS = 1_000_000
FASTEST_MS = 100.0  # what the odometer is driven at, at most: faster ones are doubted once readings are merged
BULK = ("grid_import_kwh", "grid_export_kwh", "pv_kwh", "forklift_kwh", "gas_kwh_gross", "heat_kwh")
JUMPS_S = (10 * 365 * 86_400, -16 * 365 * 86_400, 1024 * 7 * 86_400)  # a receiver's odd dates


class Settings(msgspec.Struct, kw_only=True):
    """What the gateways are to do.

    ``jump_every``: every so many samples the clock is wrong for one, 0 = never. ``bulky``: readings carry six random meters that no
    compression makes small.
    """

    folder: str
    devices: list[str]
    port: int
    tenant: str = "acme"
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    hz: float = 20.0
    commit_s: float = 1.0
    batch_s: float = 1.0
    batch_max: int = 600
    window: int = 20
    outbox_mib: int = 4
    outbox: str = "outbox"
    jump_every: int = 0
    bulky: bool = False
    seed: int = 1


class Drive:
    """A source at ``hz`` whose gauges are a function of the odometer, which goes on over every start."""

    name = "drive"

    def __init__(self, settings: Settings, device: str, boot_id: int, ended: asyncio.Event) -> None:
        home = Path(settings.folder) / "ledger"
        self._metre = last_metre(home, device)
        self._ledger = Ledger(home, device, boot_id)
        self._settings = settings
        self._given: deque[tuple[float, int]] = deque()
        self._ended = ended
        self._count = 0
        self._dice = random.Random(f"{device}{settings.seed}")
        self._phase = self._dice.random() / settings.hz

    async def samples(self) -> AsyncIterator[Sample]:
        """A sample every 1/hz s, as long as nobody ends the sources; time is in whole milliseconds and rises."""
        loop = asyncio.get_running_loop()
        still = max(
            1, round(self._settings.hz * METRES / FASTEST_MS)
        )  # readings from one step of the odometer to the next
        begun, last_ns = loop.time() + self._phase, 0
        for i in itertools.count():
            due = begun + i / self._settings.hz
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            if self._ended.is_set():
                return
            taken_ns = time.time_ns()
            time_ns = last_ns = max(last_ns + MS_NS, taken_ns // MS_NS * MS_NS)
            if self._settings.jump_every and i % self._settings.jump_every == self._settings.jump_every - 1:
                time_ns += JUMPS_S[i // self._settings.jump_every % len(JUMPS_S)] * 10**9
            self._metre += METRES if i % still == 0 else 0
            self._ledger.sampled(self._count, time_ns, self._metre, taken_ns)
            self._count += 1
            self._given.append((time.monotonic(), self._count))
            yield Sample(
                time_ns,
                {
                    "odometer_m": float(self._metre),
                    "fuel_total_hr_l": fuel_ml_at(self._metre) / 1000,
                    "engine_speed_rpm": rpm_eighths_at(self._metre) / 8,
                }
                | self._bulk(),
            )

    def _bulk(self) -> dict[str, float]:
        """Meters that a truck does not have and the kernels do not look at."""
        return {name: float(self._dice.randrange(9_000_000_000)) for name in BULK} if self._settings.bulky else {}

    def on_durable(self, at_s: float) -> None:
        """The gateway's word: what was given before ``at_s`` is on its disk."""
        n = 0
        while self._given and self._given[0][0] < at_s:
            n = self._given.popleft()[1]
        if n:
            self._ledger.durable(n, time.time_ns())

    def close(self) -> None:
        """The gateway has ended in good order."""
        self._ledger.ended(self._count, time.time_ns())


async def _main(settings: Settings) -> None:
    stop, ended = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # the parent's business
    loop.add_reader(sys.stdin.fileno(), ended.set)
    root = Path(settings.folder)
    gateways: list[Gateway] = []
    drives: list[Drive] = []
    counters = Counters()
    for device in settings.devices:
        config = GatewayConfig(
            device=device,
            tenant=settings.tenant,
            broker=Broker(host="127.0.0.1", port=settings.port, protocol=settings.protocol, keepalive_s=5),
            batch_s=settings.batch_s,
            batch_max=settings.batch_max,
            window=settings.window,
            drain_s=2,
            clock="ntp",
            outbox=OutboxConfig(max_mib=settings.outbox_mib, segment_kib=512, commit_s=settings.commit_s),
        )
        opened = open_outbox(config, root / settings.outbox / device, signer(root / "keys" / f"{device}.key"))
        if opened.warning:
            print(opened.warning, file=sys.stderr, flush=True)
        boot_id = secrets.randbelow(2**63 - 1) + 1
        drive = Drive(settings, device, boot_id, ended)
        drives.append(drive)
        gateways.append(
            Gateway(
                config,
                [drive],
                rng=random.Random(f"{boot_id}"),
                counters=counters,
                boot_id=boot_id,
                ring=opened.ring,
                recovered=opened.recovered,
            )
        )
    status = asyncio.create_task(_status(gateways, counters))
    await asyncio.gather(*(gateway.run(stop) for gateway in gateways))
    status.cancel()
    for drive in drives:
        drive.close()
    _say(gateways, counters)


async def _status(gateways: list[Gateway], counters: Counters) -> None:
    while True:
        _say(gateways, counters)
        await asyncio.sleep(0.2)


def _say(gateways: list[Gateway], counters: Counters) -> None:
    figures = [gateway.figures() for gateway in gateways]
    told = {
        "connected": sum(f.connected for f in figures),
        "sent": sum(f.sent for f in figures),
        "confirmed": sum(f.confirmed for f in figures),
        "unconfirmed": sum(f.unconfirmed for f in figures),
        "thinned": sum(f.thinned for f in figures),
        "reconnects": sum(f.reconnects for f in figures),
        "repeated": counters["batches_repeated"],
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings)))
