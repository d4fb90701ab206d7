"""Panels over SQL: 1,000 vehicles, 30 days of minute sums, one server; one viewer, then a hundred at once.

The client is a few lines of asyncio that read answers without looking into them, in a process of its own; server and client share
the machine. Viewers come at random moments of their 10 s, and each says "now" to the millisecond, as Grafana does.
"""

import asyncio
import json
import random
import select
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dashboards.grafana import build
from dashboards.grafana.macros import Window, expand
from dashboards.grafana.parts import MAX_POINTS
from storage.lake import Lake
from tests.bench.panels_lake import DAYS, FACTOR_SET, lake, up_to
from tests.bench.result import Result
from tests.lake_data import commit
from tests.sql_server import PASSWORD, running
from tests.sql_wire import Client, framed, text

VIEWERS: Final = 100
EVERY_S: Final = 10.0
ROUNDS: Final = 3
READINGS_S: Final = 10_000  # that land beside
COMMITS: Final = 60  # half a minute of them, not compacted yet
COMMIT_MS: Final = 500  # ``flush_s`` of the consumer
CONNECTIONS: Final = 100  # of Grafana's pool
LIVE: Final = (  # six panels of Fleet live
    "CO2e now, WTW",
    "CO2e by route",
    "CO2e by warehouse",
    "Kilometres by load state",
    "Routes now",
    "Warehouses now",
)
CHOSEN: Final = {
    "factor_set": FACTOR_SET,
    "basis": "CO2e WTW",
    "route": tuple(f"route-{i:02d}" for i in range(0, 50, 2)),
    "vehicle": "truck-0002",
    "warehouse": "site-03",
}
ASKED: Final = 24  # times that each panel is asked alone, so that the 95th percentile is not the slowest
HOUR_S: Final = 3_600
MONTH_S: Final = DAYS * 24 * HOUR_S


@dataclass(frozen=True)
class Panel:
    """A shipped query: its dashboard and title, the dashboard's own time span, its SQL with macros."""

    board: str
    title: str
    span_s: int
    sql: str


def panels() -> list[Panel]:
    """Every query of every shipped dashboard."""
    found = []
    for written in build.dashboards().values():
        board = json.loads(written)
        number, unit = board["time"]["from"][4:-1], board["time"]["from"][-1]
        span_s = int(number) * {"m": 60, "h": 3_600, "d": 86_400}[unit]
        name = board["title"].removeprefix("fleetco2: ")
        found += [Panel(name, p["title"], span_s, t["rawSql"]) for p in board["panels"] for t in p["targets"]]
    return found


def _asked(sql: str, now: float, span_s: float) -> str:
    """As Grafana sends it for a panel of ``MAX_POINTS``: the width of a bucket is rounded to one of its steps."""
    exact = span_s / MAX_POINTS
    width = next(w for least, w in ((5_400, 7_200), (2_700, 3_600), (1_500, 1_800), (1_050, 1_200), (750, 900), (450, 600),
        (210, 300), (90, 120), (0, 60)) if exact >= least)  # fmt: skip
    now_ns = int(now * 1_000) * 1_000_000
    return expand(sql, Window(now_ns - int(span_s * 1e9), now_ns, width), CHOSEN)


def _one(client: Client, sql: str) -> float:
    """Seconds until the answer is there whole."""
    started = time.perf_counter()
    client.send(framed(b"Q", text(sql)))
    kind = b""
    while kind != b"Z":
        kind, body = client.message()
        if kind == b"E":
            raise RuntimeError(body)
    return time.perf_counter() - started


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] * 1e3


def _ends(now: float, span_s: float) -> list[float]:
    """When the times asked for end: from now on back over all days of the lake, an hour apart at least.

    So no two questions are the same where sums are by the hour, and most end before today.
    """
    step_s = max(HOUR_S, (MONTH_S - span_s) / ASKED)
    return [now - step_s * i for i in range(ASKED)]


def _alone(port: int) -> list[Result]:
    """Each panel ``ASKED`` times, over its dashboard's own time and over thirty days."""
    out: list[Result] = []
    slowest = {"own time": 0.0, "30 days": 0.0}
    with Client("127.0.0.1", port, timeout=60.0) as client:
        client.log_in("acme", PASSWORD)
        for panel in panels():
            for label, span_s in {panel.span_s: ("own time", panel.span_s), MONTH_S: ("30 days", MONTH_S)}.values():
                cpu = time.process_time()
                took = [_one(client, _asked(panel.sql, end, span_s)) for end in _ends(time.time(), span_s)]
                cpu_ms = (time.process_time() - cpu) * 1e3 / ASKED
                p95 = _percentile(took, 0.95)
                slowest[label] = max(slowest[label], p95)
                told = (
                    f"p50 {statistics.median(took) * 1e3:.0f} ms, worst {max(took) * 1e3:.0f} ms, CPU {cpu_ms:.0f} ms"
                )
                out.append(Result(f"{panel.board} / {panel.title}, {label}: p95", p95, "ms", told))
    return [*out, *(Result(f"the slowest panel, {label}: p95", p95, "ms", "aim 200") for label, p95 in slowest.items())]


async def _viewers(port: int) -> dict[str, float]:
    """The load of a hundred viewers. Returns figures; run in a process of its own."""
    logins = []
    for _ in range(CONNECTIONS):
        client = Client("127.0.0.1", port)
        client.log_in("acme", PASSWORD)
        client.socket.setblocking(False)
        logins.append(client.socket)
    pool: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for sock in logins:
        pool.put_nowait(await asyncio.open_connection(sock=sock))
    took: list[float] = []
    errors = 0
    live = [p for p in panels() if p.board == "Fleet live" and p.title in LIVE]

    async def panel(sql: str) -> None:
        nonlocal errors
        started = time.perf_counter()
        reader, writer = await pool.get()
        writer.write(framed(b"Q", text(sql)))
        kind = b""
        while kind != b"Z":
            head = await reader.readexactly(5)
            kind = head[:1]
            errors += kind == b"E"
            await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)
        pool.put_nowait((reader, writer))
        took.append(time.perf_counter() - started)

    async def viewer(rng: random.Random) -> None:
        await asyncio.sleep(rng.random() * EVERY_S)
        for _ in range(ROUNDS):
            tick = time.perf_counter()
            await asyncio.gather(*(panel(_asked(p.sql, time.time(), p.span_s)) for p in live))
            await asyncio.sleep(max(0.0, EVERY_S - (time.perf_counter() - tick)))

    await asyncio.gather(*(viewer(random.Random(i)) for i in range(VIEWERS)))
    return {
        "n": len(took),
        "p50": _percentile(took, 0.5),
        "p95": _percentile(took, 0.95),
        "p99": _percentile(took, 0.99),
        "errors": errors,
    }


def _land(path: Path) -> None:
    """Commits of 10,000 readings a second until standard input ends; then prints the seconds that each took, and the CPU of all."""
    took: list[float] = []
    with Lake.open(path, create=False) as made:
        data = commit(READINGS_S * COMMIT_MS // 1000, start_ns=time.time_ns())
        begun = time.process_time()
        print("landing", flush=True)
        while not select.select([sys.stdin], [], [], max(0.0, COMMIT_MS / 1000 - (took[-1] if took else 0.0)))[0]:
            started = time.perf_counter()
            made.commit(data)
            took.append(time.perf_counter() - started)
    print(json.dumps([time.process_time() - begun, took]))


@contextmanager
def _ingest(path: Path) -> Iterator[list[float]]:
    """``_land`` in a process of its own until the block ends. Gives its CPU seconds and those that each commit took."""
    told: list[float] = []
    command = [sys.executable, "-m", "tests.bench.bench_panels", "land", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None or process.stdin is None:
            raise AssertionError("both are pipes")
        process.stdout.readline()
        try:
            yield told
        finally:
            process.stdin.close()
            cpu, took = json.loads(process.stdout.readline())
            told += [cpu, *took]


def _hundred(port: int) -> list[Result]:
    run = subprocess.run(
        [sys.executable, "-m", "tests.bench.bench_panels", str(port)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    what = f"{VIEWERS} viewers x {len(LIVE)} panels every {EVERY_S:g} s"
    return [
        Result(f"{what}: p50", found["p50"], "ms", f"{found['n']} answers"),
        Result(f"{what}: p95", found["p95"], "ms", f"aim 500; p99 {found['p99']:.0f}"),
        Result(f"{what}: errors", found["errors"], "", "aim 0"),
    ]


def _after_commits(path: Path, port: int) -> list[Result]:
    """CPU of the live panels after commits that each were looked at: what small files and a new version cost a query."""
    data = commit(READINGS_S * COMMIT_MS // 1000, start_ns=time.time_ns())
    live = [p for p in panels() if p.board == "Fleet live" and p.title in LIVE]
    out: list[Result] = []
    with Lake.open(path, create=False) as made, Client("127.0.0.1", port, timeout=60.0) as client:
        client.log_in("acme", PASSWORD)
        for _ in range(COMMITS):
            made.commit(data)
            _one(client, _asked(live[0].sql, time.time(), live[0].span_s))
        for panel in live:
            spent = []
            for _ in range(ASKED):
                cpu = time.process_time()
                _one(client, _asked(panel.sql, time.time(), panel.span_s))
                spent.append((time.process_time() - cpu) * 1e3)
            out.append(Result(f"{panel.title} after {COMMITS} commits: CPU", statistics.median(spent), "ms", ""))
    return [*out, Result(f"all {len(live)} of them", sum(r.value for r in out), "ms", "CPU, medians")]


def run() -> list[Result]:
    """All figures, in two minutes; the lake takes half a minute more when it has to be made."""
    path = up_to(lake(time.time_ns()), time.time_ns())
    try:
        with tempfile.TemporaryDirectory() as name:
            with running(path, Path(name), cache_s=0.0) as address:
                alone = _alone(address.port)
            with running(path, Path(name)) as address, _ingest(path) as told:
                cpu = time.process_time()
                many = _hundred(address.port)
                cpu = time.process_time() - cpu
            with running(path, Path(name), cache_s=0.0) as address:
                after = _after_commits(path, address.port)
    finally:
        shutil.rmtree(path)
    landing, *took = told
    landed = Result(
        f"{READINGS_S} readings/s landing beside: commit p50",
        statistics.median(took) * 1e3,
        "ms",
        f"{len(took)} commits",
    )
    spent = Result("CPU of the server meanwhile", cpu, "s", f"beside {landing:.0f} s of the process that commits")
    return [*alone, *many, landed, spent, *after]


if __name__ == "__main__":
    if sys.argv[1] == "land":
        _land(Path(sys.argv[2]))
    else:
        print(json.dumps(asyncio.run(_viewers(int(sys.argv[1])))))
