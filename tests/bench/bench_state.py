"""What 102,000 vehicles cost the consumer: a step, a commit and its state file, memory, a start."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ingest.rounds import next_part
from storage.factor_files import class_table, factor_set
from storage.lake import Commit, Lake
from storage.schema import Names, empty, to_arrow
from stream.fleet import Fleet, Vehicle, build_fleet
from stream.pipeline import Columns, start, step
from stream.state import STATE
from tests.bench.bench_step import _batch
from tests.bench.result import Result

HEARD, TURNS, EACH = 1_700, 60, 60  # 102,000 vehicles, each heard in every sixtieth commit
VEHICLES = HEARD * TURNS
COMMITS = 40
MB = 1e-6


def _fleet() -> Fleet:
    vehicles = tuple(Vehicle(f"t{i}", f"d-{i:06}", "artic_40t", "diesel_b7") for i in range(VEHICLES))
    return build_fleet(vehicles, (), (), factor_set("fleetco2-2026.1"), class_table(), (), ())


def _heard(k: int) -> Columns:
    """Commit ``k``: a minute of every sixtieth vehicle."""
    batch = _batch(HEARD, EACH, k // TURNS)
    batch["device"] = (batch["device"] * TURNS + k % TURNS).astype(np.int32)
    return batch


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") * MB


def child(folder: str) -> None:
    """One consumer's work without its broker: prints the figures, one per line."""
    fleet = _fleet()
    names = Names(device=fleet.devices, asset=fleet.assets, route=(), place=(), region=())
    with Lake.open(Path(folder), create=True) as lake:
        began = time.process_time()
        n, parts = lake.recover()
        state = start(fleet, parts)
        print("start", time.process_time() - began)
        at, stepped, took, of_state, sizes = None, [], [], [], []
        for k in range(n, n + COMMITS):
            batch = _heard(k)
            began = time.process_time()
            state, r = step(state, batch)
            stepped.append(time.process_time() - began)
            assert r.accepted == HEARD * EACH
            began = time.process_time()
            part, at = next_part(state, at)
            of_state.append(time.process_time() - began)
            tables = {
                t: to_arrow(t, getattr(r, t), names) for t in ("readings", "emissions", "rollups", "trips", "events")
            }
            data = Commit(**tables, quarantine=empty("quarantine"), factor_set="fleetco2-2026.1", state=part)
            began = time.process_time()
            lake.commit(data)
            took.append(time.process_time() - began)
            sizes.append(sum(len(block) for block in part.blocks))
            state = state.settled()
        lake._ready()
    print("step", statistics.median(stepped))
    print("commit", statistics.median(took))
    print("state", statistics.median(of_state))
    print("bytes_first", sizes[0])
    print("bytes", statistics.median(sizes))
    print("rss_mb", _rss_mb())
    print("peak_mb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 * MB)


def _ran(folder: Path) -> dict[str, float]:
    code = f"from tests.bench.bench_state import child; child({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}


def run() -> list[Result]:
    """Figures of a lake that begins, then of one whose vehicles were all heard, started again; in about two minutes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _ran(folder)
        _ran(folder)
        found = _ran(folder)
    of = f"{VEHICLES} vehicles, {HEARD} of them in each commit"
    whole = VEHICLES * STATE.itemsize * MB
    return [
        Result("state record", STATE.itemsize, "B", "one device"),
        Result("state whole", whole, "MB", of),
        Result("state kept per commit", found["bytes"] * MB, "MB", "the whole state before"),
        Result("state kept by the first commit", found["bytes_first"] * MB, "MB", "all vehicles that were heard"),
        Result("state to blocks, CPU", found["state"] * 1e3, "ms", "per commit"),
        Result("step, CPU", found["step"] * 1e3, "ms", of),
        Result("commit, CPU", found["commit"] * 1e3, "ms", f"{HEARD * EACH} readings, p50"),
        Result("start, CPU", found["start"], "s", "read and checked, at most two rounds of parts"),
        Result("consumer memory", found["rss_mb"], "MB", "target 1,074; resident at the end"),
        Result(
            "consumer memory, peak", found["peak_mb"], "MB", "target 1,074; the whole state is kept once, at the start"
        ),
    ]
