"""Panels over SQL: 1,000 vehicles, 30 days of minute sums, one server; one viewer, then a hundred at once.

The client is a few lines of asyncio that read answers without looking into them, in a process of its own; server and client share
the machine. Viewers come at random moments of their 10 s, and each says "now" to the millisecond, as Grafana does.
"""

import asyncio
import json
import os
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from storage.lake import Lake
from storage.query import connect
from tests.bench.panels_lake import lake
from tests.bench.result import Result
from tests.lake_data import commit
from tests.sql_server import PASSWORD, running
from tests.sql_wire import Client, framed, text

VIEWERS: Final = 100
EVERY_S: Final = 10.0
ROUNDS: Final = 3
READINGS_S: Final = 10_000  # that land beside
COMMIT_MS: Final = 250
CONNECTIONS: Final = 100  # of Grafana's pool
LIVE: Final = {  # six panels of a live dashboard, the last six hours; {f} and {t}: $__timeFrom and $__timeTo
    "what every route emits now": "SELECT route, co2e_wtw_kg_per_h, co2e_wtw_g_per_km, coverage, age_s FROM route_now",
    "what every warehouse emits now": "SELECT warehouse, co2e_wtw_kg_per_h, coverage, age_s FROM warehouse_now",
    "CO2e by 5 min and route": "SELECT floor(extract(epoch from time)/300)*300 AS \"time\", route AS metric, sum(co2e_wtw_ug) / 1e9 AS kg"
    " FROM rollups WHERE time BETWEEN '{f}' AND '{t}' AND kind = 'vehicle' GROUP BY 1, 2 ORDER BY 1",
    "fleet total by minute": "SELECT time, sum(co2e_wtw_ug) / 1e9 AS kg FROM rollups"
    " WHERE time BETWEEN '{f}' AND '{t}' GROUP BY 1 ORDER BY 1",
    "empty, loaded, unknown": "SELECT time_bucket('300.000s',time) AS \"time\", load_state AS metric, sum(distance_mm) / 1e6 AS km"
    " FROM rollups WHERE time BETWEEN '{f}' AND '{t}' AND kind = 'vehicle' GROUP BY 1, 2 ORDER BY 1",
    "ten dirtiest vehicles": "SELECT asset, sum(co2e_wtw_ug) / nullif(sum(distance_mm), 0) AS g_per_km FROM rollups"
    " WHERE time BETWEEN '{f}' AND '{t}' AND kind = 'vehicle' GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
}  # fmt: skip
MONTH: Final = {  # thirty days
    "30 days: kg by day and route": "SELECT time_bucket('1d', time) AS time, route AS metric, sum(co2e_wtw_ug) / 1e9 AS kg FROM {hours}"
    " WHERE time BETWEEN '{f}' AND '{t}' AND kind = 'vehicle' GROUP BY 1, 2 ORDER BY 1",
    "30 days: total and distance": "SELECT sum(co2e_wtw_ug) / 1e9 AS kg, sum(distance_mm) / 1e6 AS km FROM {hours}"
    " WHERE time BETWEEN '{f}' AND '{t}'",
    "30 days: one vehicle by hour": "SELECT time_bucket('1h', time) AS time, sum(co2e_wtw_ug) / 1e9 AS kg FROM {hours}"
    " WHERE time BETWEEN '{f}' AND '{t}' AND asset = 'truck-0002' GROUP BY 1 ORDER BY 1",
    "30 days: empty share by route": "SELECT route, sum(distance_mm) FILTER (WHERE load_state = 'empty') / sum(distance_mm) AS empty"
    " FROM {hours} WHERE time BETWEEN '{f}' AND '{t}' AND kind = 'vehicle' GROUP BY 1",
}  # fmt: skip


def _asked(sql: str, now: float, hours: float, table: str = "rollups") -> str:
    def moment(at: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at * 1000) % 1000:03}Z"

    return sql.replace("{f}", moment(now - hours * 3600)).replace("{t}", moment(now)).replace("{hours}", table)


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


def _alone(port: int, table: str) -> list[Result]:
    """Each panel a dozen times, a new question each time."""
    out = []
    worst = 0.0
    with Client("127.0.0.1", port, timeout=60.0) as client:
        client.log_in("acme", PASSWORD)
        for panels, hours in ((LIVE, 6.0), (MONTH, 720.0)):
            for name, sql in panels.items():
                took = [_one(client, _asked(sql, time.time() - 60 * i, hours, table)) for i in range(12)]
                p95 = _percentile(took, 0.95)
                worst = max(worst, p95)
                against = f"p50 {statistics.median(took) * 1e3:.0f} ms; aim 200" + (
                    "" if hours == 6.0 else f"; from {table}"
                )
                out.append(Result(f"panel p95, {name}", p95, "ms", against))
    return [*out, Result("panel p95, the slowest", worst, "ms", "aim 200")]


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
            await asyncio.gather(*(panel(_asked(sql, time.time(), 6.0)) for sql in LIVE.values()))
            await asyncio.sleep(max(0.0, EVERY_S - (time.perf_counter() - tick)))

    await asyncio.gather(*(viewer(random.Random(i)) for i in range(VIEWERS)))
    return {
        "n": len(took),
        "p50": _percentile(took, 0.5),
        "p95": _percentile(took, 0.95),
        "p99": _percentile(took, 0.99),
        "errors": errors,
    }


def _beside(path: Path) -> Path:
    """The lake once more: its files as links, its logs as copies, so that commits land beside without a trace."""

    def take(source: str, target: str) -> None:
        (os.link if source.endswith(".parquet") and "_delta_log" not in source else shutil.copy2)(source, target)

    target = path.with_name("panels-ingest")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(path, target, copy_function=take)
    return target


@contextmanager
def _ingest(path: Path) -> Iterator[list[float]]:
    """Commits of 10,000 readings a second until the block ends. Gives the seconds that each took."""
    took: list[float] = []
    stop = threading.Event()

    def land() -> None:
        with Lake.open(path, create=False) as made:
            data = commit(READINGS_S * COMMIT_MS // 1000, start_ns=time.time_ns())
            while not stop.wait(max(0.0, COMMIT_MS / 1000 - (took[-1] if took else 0.0))):
                started = time.perf_counter()
                made.commit(data)
                took.append(time.perf_counter() - started)

    thread = threading.Thread(target=land)
    thread.start()
    try:
        yield took
    finally:
        stop.set()
        thread.join()


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


def run() -> list[Result]:
    """All figures, in two minutes; the lake takes half a minute more when it has to be made."""
    path = lake(time.time_ns())
    views = {row[0] for row in connect(path).execute("SHOW TABLES").fetchall()}
    table = "asset_hours" if "asset_hours" in views else "rollups"
    with tempfile.TemporaryDirectory() as name:
        with running(path, Path(name), cache_s=0.0) as address:
            alone = _alone(address.port, table)
        copy = _beside(path)
        try:
            with running(copy, Path(name)) as address, _ingest(copy) as took:
                many = _hundred(address.port)
        finally:
            shutil.rmtree(copy)
    landed = Result(
        f"{READINGS_S} readings/s landing beside: commit p50",
        statistics.median(took) * 1e3,
        "ms",
        f"{len(took)} commits",
    )
    return [*alone, *many, landed]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_viewers(int(sys.argv[1])))))
