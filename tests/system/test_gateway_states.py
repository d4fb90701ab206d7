"""A gateway fills its outbox while the broker is away; afterwards the panels of Operations tell how full it was, and that it is drained.

The gateway and the consumer are their own commands, the broker is real, and the panels' SQL goes through the SQL server.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from dashboards.grafana import build
from dashboards.grafana.macros import Window, expand
from simulators.local_broker import find_mosquitto, free_port, local_broker
from simulators.registry_files import write_registry
from simulators.server_process import TENANT, consumer
from tests.sql_server import running
from tests.support import ROOT

READINGS = 700
WAITING = READINGS - 2  # of each of two sources the newest reading is held until the next one comes
PATIENCE_S = 90.0
REGISTRY = {
    "vehicles": [
        {"vehicle": v, "device": f"gw-{v}", "vehicle_class": "artic_40t", "fuel": "diesel_b7"} for v in ("t1", "t2")
    ]
}
Row = dict[str, Any]


@contextlib.asynccontextmanager
async def gateway(folder: Path, port: int) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """``python -m devices gateway`` with readings of the last minutes, all at once, and a source that goes on; its health port."""
    begin_s, health_port = int(time.time()) - READINGS, free_port()
    rows = [f"{begin_s + i},{20 * i}\n" for i in range(1, READINGS)]
    (folder / "trip.csv").write_text("time,odometer_m\n" + "".join(rows))
    (folder / "later.csv").write_text(f"time,odometer_m\n{begin_s},1\n2090-01-01T00:00:00Z,2\n")
    (folder / "gateway.toml").write_text(
        f'device = "gw-t1"\ntenant = "{TENANT}"\nhealth_port = {health_port}\n[outbox]\nfolder = "outbox"\nmax_mib = 4\ncommit_s = 0.2\n'
        f'[broker]\nhost = "127.0.0.1"\nport = {port}\n'
        '[[source]]\nkind = "csv"\nname = "trip"\npath = "trip.csv"\nspeed = 0\n'
        '[[source]]\nkind = "csv"\nname = "later"\npath = "later.csv"\n'
    )
    command = [sys.executable, "-m", "devices", "gateway", "--config", str(folder / "gateway.toml")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    process = await asyncio.create_subprocess_exec(*command, env=env)
    try:
        yield process, health_port
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def health(port: int) -> Row:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health.json") as page:
            found: Row = json.load(page)
            return found
    except urllib.error.URLError:
        return {}


async def until(look: Callable[[], list[Row]]) -> Row:
    """The first row that ``look`` finds, looked for again and again."""
    while not (found := await asyncio.to_thread(look)):
        await asyncio.sleep(0.1)
    return found[0]


def panel(title: str) -> str:
    """A query of Operations as Grafana sends it for the last hour."""
    board = json.loads(build.dashboards()["fleetco2-operations"])
    [found] = [p for p in board["panels"] if p["title"] == title]
    now_ns = time.time_ns()
    window = Window(now_ns - 3_600 * 10**9, now_ns, 60)
    return expand(found["targets"][0]["rawSql"], window, {"factor_set": "fleetco2-2025.1"})


@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")
def test_the_fill_of_an_outbox_is_on_the_panel(tmp_path: Path) -> None:
    async def scene() -> None:
        write_registry(tmp_path / "registry", REGISTRY)
        port = free_port()
        async with asyncio.timeout(PATIENCE_S), gateway(tmp_path, port) as (process, health_port):

            def kept() -> list[Row]:
                assert process.returncode is None, "the gateway ended"
                found = health(health_port)
                return [found] if found.get("unconfirmed") == WAITING else []

            assert not (await until(kept))["connected"]
            async with (
                local_broker(tmp_path, port=port) as broker,
                consumer(tmp_path, broker, earliest="2020-01-01", factor_set="fleetco2-2025.1") as server,
            ):
                with (
                    running(server.lake, tmp_path) as address,
                    psycopg.connect(address.dsn("admin"), row_factory=dict_row, autocommit=True) as con,
                ):

                    def ask(title: str, **wanted: object) -> list[Row]:
                        rows: list[Row] = con.execute(panel(title)).fetchall()
                        return [row for row in rows if wanted.items() <= row.items()]

                    full = await until(lambda: ask("Outboxes now", device="gw-t1", status="online"))
                    assert full["waiting"] == WAITING
                    assert 0 < full["fill_pct"] <= 100
                    assert READINGS - 1 <= full["oldest_s"] < READINGS + PATIENCE_S
                    assert (full["in_memory"], full["thinned"], full["asset"]) == (False, 0, "t1")
                    [silent] = ask("Outboxes now", device="gw-t2")
                    assert (silent["status"], silent["waiting"], silent["fill_pct"]) == (None, None, None)

                    def drained() -> list[Row]:
                        found = health(health_port)
                        return [found] if found.get("unconfirmed") == 0 else []

                    await until(drained)
                    process.send_signal(signal.SIGTERM)
                    assert await process.wait() == 0
                    empty = await until(lambda: ask("Outboxes now", device="gw-t1", status="offline"))
                    assert (empty["waiting"], empty["oldest_s"]) == (0, 0)
                    assert max(row["oldest_s"] for row in ask("Oldest waiting reading", metric="gw-t1")) >= READINGS - 1
                    assert max(row["fill_pct"] for row in ask("Outbox fill by gateway", metric="gw-t1")) > 0
                    [counts] = ask("Gateways")
                    assert (counts["online"], counts["offline"], counts["never heard"]) == (0, 1, 1)
                    [stored] = con.execute("SELECT count(*) AS n FROM readings").fetchall()
                    assert stored["n"] >= WAITING

    asyncio.run(scene())
