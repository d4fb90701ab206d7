"""Faults of the gateway's own command, ``python -m devices gateway``, behind certificates on both sides.

Its source replays a recording, from the beginning at each start. So each boot in the lake must hold the recording's first rows,
each once and unaltered, and the last one, which nobody kills, all of them.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import numpy as np

from simulators.local_broker import find_mosquitto, free_port
from simulators.registry_files import write_registry
from tests.system.fault_oracle import Found, columns_of
from tests.system.fault_runs import SLACK_S, Outcome, Run, SkippedError, scenario
from tests.system.fault_world import RESTART_S, FaultRunError, Process, verified
from tests.system.pki import Pki, shipped_config

DEVICE: Final = "truck-01"
ROWS: Final = 600
PER_S: Final = 60  # rows replayed in a second
START_S: Final = 1_717_200_000  # 2024-06-01, as the recording has it
COMMIT_S: Final = 0.5
WHOLE_S: Final = 200.0  # the last start delivers everything within this, or the run has failed
GATEWAY: Final = """device = "{device}"
tenant = "acme"
batch_s = 0.5
batch_key = "{home}/batch.key"
outbox = {{ folder = "outbox", max_mib = 4, commit_s = {commit_s} }}
[broker]
host = "127.0.0.1"
port = {port}
keepalive_s = 5
tls = {{ ca = "{ca}", cert = "{home}/device.pem", key = "{home}/device.key" }}
[[source]]
kind = "csv"
path = "trip.csv"
speed = {per_s}
"""
CONSUMER: Final = """tenants = ["acme"]
registry = "registry"
lake = "lake"
require_signatures = true
[broker]
host = "127.0.0.1"
port = {port}
keepalive_s = 5
tls = {{ ca = "{ca}", cert = "{home}/device.pem", key = "{home}/device.key" }}
"""


@scenario(
    "the gateway's own command, certificates on both sides",
    "kill -9 of `python -m devices gateway`, consumer and broker at random; TLS, rules and mosquitto.conf as shipped",
    seconds=25,
    timing=False,
)
async def command(run: Run) -> Outcome:
    rng, kills = run.rng, 0
    async with _processes(run.folder) as (broker, server, gateway):
        await _rows_of_newest(run.folder / "lake", 1)
        end, killed_ns = time.monotonic() + run.seconds, []
        while time.monotonic() < end or kills < 2:
            await asyncio.sleep(rng.uniform(1, 5))
            victim = gateway if kills % 2 == 0 else rng.choice([broker, server])
            if victim is gateway:
                killed_ns.append(time.time_ns())
            victim.kill()
            kills += 1
        await _rows_of_newest(run.folder / "lake", ROWS, after_ns=killed_ns[-1])
        for process in (gateway, server, broker):
            await process.close()
    found = judged_against_recording(run.folder / "lake", killed_ns)
    out = Outcome(scenario=run.scenario, seed=run.seed, faults=kills)
    for name in ("sampled", "stored", "lost", "duplicated", "altered", "invented"):
        setattr(out, name, getattr(found, name))
    wrong = [] if found.good else found.examples or ["see the counts"]
    if said := await asyncio.to_thread(verified, run.folder / "lake"):
        wrong.append(f"storage verify: {said}")
    out.failed = "; ".join(wrong)
    return out


@contextlib.asynccontextmanager
async def _processes(folder: Path) -> AsyncIterator[tuple[Process, Process, Process]]:
    """Broker, consumer and gateway, started, and started again when they end."""
    mosquitto, port = find_mosquitto(), free_port()
    if mosquitto is None:
        raise SkippedError("mosquitto is not installed on this machine")
    folder.mkdir(parents=True)
    pki = Pki(folder / "pki")
    pki.issue(DEVICE)
    home, authority = pki.folder / DEVICE, pki.folder / "ca" / "ca.pem"
    key = pki.batch_key(DEVICE)
    row = {"vehicle": "v-1", "device": DEVICE, "vehicle_class": "artic_40t", "fuel": "diesel_b7", "public_key": key}
    write_registry(folder / "registry", {"vehicles": [row]})
    rows = [f"{START_S + i},{5 * i},{3 * i / 1000:.3f}\n" for i in range(ROWS)]
    (folder / "trip.csv").write_text("time,odometer_m,fuel_total_hr_l\n" + "".join(rows))
    (folder / "gateway.toml").write_text(
        GATEWAY.format(device=DEVICE, home=home, commit_s=COMMIT_S, port=port, ca=authority, per_s=PER_S)
    )
    (folder / "fleet.toml").write_text(CONSUMER.format(port=port, ca=authority, home=pki.folder / "fleetco2-server"))
    made = (
        Process("broker", [mosquitto, "-c", str(shipped_config(folder, pki, port))], folder),
        Process("server", [sys.executable, "-m", "ingest", "--config", str(folder / "fleet.toml")], folder),
        Process(
            "gateway", [sys.executable, "-m", "devices", "gateway", "--config", str(folder / "gateway.toml")], folder
        ),
    )
    for process in made:
        process.start()
    supervisor = asyncio.create_task(_supervise(made))
    try:
        yield made
    finally:
        supervisor.cancel()
        await asyncio.gather(supervisor, return_exceptions=True)
        for process in made:
            process.kill()
            await process.close()


async def _supervise(processes: tuple[Process, ...]) -> None:
    while True:
        for process in processes:
            if process.keep and process.ended:
                process.reap()
                await asyncio.sleep(RESTART_S)
                process.start()
        await asyncio.sleep(0.03)


async def _rows_of_newest(lake: Path, wanted: int, *, after_ns: int = 0) -> None:
    """Wait until the boot that began last, first heard of after ``after_ns``, has so many rows in the lake.

    Not the one heard of last: what an earlier one had kept may come after the first rows of its successor.
    """
    end = time.monotonic() + WHOLE_S
    while time.monotonic() < end:
        await asyncio.sleep(0.5)
        if not (lake / "readings" / "_delta_log").is_dir():
            continue
        rows = await asyncio.to_thread(columns_of, lake, "readings", ["boot_id", "received_ns"])
        boots, of, sizes = np.unique(rows["boot_id"], return_inverse=True, return_counts=True)
        first_ns = np.full(boots.size, np.iinfo(np.int64).max)
        np.minimum.at(first_ns, of, rows["received_ns"])
        if boots.size and first_ns.max() >= after_ns and sizes[np.argmax(first_ns)] >= wanted:
            return
    raise FaultRunError(f"{wanted} rows of one start did not come within {WHOLE_S:g} s")


def judged_against_recording(lake: Path, killed_ns: list[int]) -> Found:
    """Each boot against the recording. What was sampled a commit interval before a kill must be there."""
    names = ["device", "boot_id", "seq", "merged", "time_ns", "received_ns", "odometer_m", "fuel_total_hr_l"]
    rows = columns_of(lake, "readings", names)
    found = Found(stored=rows["seq"].size)
    found.invented = int(
        ((rows["device"] != DEVICE) | (rows["seq"].astype(np.int64) >= ROWS) | (rows["merged"] != 1)).sum()
    )
    newest = rows["boot_id"][np.argmax(rows["received_ns"])]
    for boot in np.unique(rows["boot_id"]):
        mine = {name: values[rows["boot_id"] == boot] for name, values in rows.items()}
        seq = mine["seq"].astype(np.int64)
        n = int(seq.max()) + 1
        found.sampled += n
        found.duplicated += seq.size - np.unique(seq).size
        same = (
            (mine["time_ns"].astype(np.int64) == (START_S + seq) * 10**9)
            & (mine["odometer_m"] == 5 * seq)
            & (np.rint(mine["fuel_total_hr_l"].astype(np.float64) * 1000) == 3 * seq)
        )
        found.altered += int((~same).sum())
        first_ns = int(mine["received_ns"][np.argmin(seq)])
        kill_ns = min((at for at in killed_ns if at > first_ns), default=first_ns)
        due = int(((kill_ns - first_ns) * 1e-9 - COMMIT_S - SLACK_S) * PER_S)
        wanted = ROWS if boot == newest else max(n, min(due, ROWS))
        found.lost += wanted - np.unique(seq).size
        if wanted != seq.size or not same.all():
            found.examples.append(
                f"boot {boot}: {seq.size} rows of {wanted}, {int((~same).sum())} are not the recording's"
            )
    return found
