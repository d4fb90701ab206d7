"""Consumer and compactor as processes of their own, beside a demo or a replay."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dashboards.sql import roles
from simulators.local_broker import LocalBroker, free_port

CONSUMER_START_S: Final = 60.0
COMPACT_EVERY_S: Final = 60
TENANT: Final = "demo"
SQL_ROLE: Final = "grafana"


class DemoError(RuntimeError):
    """The demo cannot go on; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """The consumer's process and where it tells what it did."""

    process: subprocess.Popen[bytes]
    metrics_url: str
    lake: Path
    log: Path

    def metrics(self) -> dict[str, float]:
        """Counters and quantiles by their Prometheus name, labels included; empty while it does not answer."""
        try:
            with urllib.request.urlopen(self.metrics_url, timeout=2) as answer:  # noqa: S310
                text = answer.read().decode()
        except OSError:
            return {}
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


@contextlib.asynccontextmanager
async def consumer(folder: Path, broker: LocalBroker, *, earliest: str, factor_set: str) -> AsyncIterator[Consumer]:
    """``python -m ingest`` on the registry in ``folder`` while the block runs. Raises DemoError if it cannot start."""
    port = free_port()
    config = folder / "fleet.toml"
    config.write_text(
        f'tenants = ["{TENANT}"]\nregistry = "registry"\nlake = "lake"\nfactor_set = "{factor_set}"\n'
        f'earliest = {earliest}\nmetrics_port = {port}\n[broker]\nhost = "127.0.0.1"\nport = {broker.port}\n'
        f'protocol = "{broker.protocol}"\n',
        encoding="utf-8",
    )
    log = folder / "consumer.log"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603, ASYNC220
            [sys.executable, "-m", "ingest", "--config", str(config), "--verbose"],
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    running = Consumer(process, f"http://127.0.0.1:{port}/metrics", folder / "lake", log)
    try:
        until = time.monotonic() + CONSUMER_START_S
        while (await asyncio.to_thread(running.metrics)).get("fleetco2_connected") != 1:
            if process.poll() is not None:
                raise DemoError(f"the consumer ended at once: {log.read_text(encoding='utf-8').strip()[-500:]}")
            if time.monotonic() > until:
                raise DemoError(f"the consumer did not connect within {CONSUMER_START_S:g} s, see {log}")
            await asyncio.sleep(0.1)
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, 30)
        except subprocess.TimeoutExpired:
            process.kill()


@dataclass(frozen=True, slots=True)
class ReadSide:
    """Where the page and the SQL server are, and the file (0600) that holds the password of the SQL role."""

    page: str
    sql_port: int
    passfile: Path

    def how_to_connect(self) -> tuple[str, str]:
        """A line for psql, and one that brings a Grafana on this machine up to the dashboards."""
        return (
            f"PGPASSFILE={self.passfile} psql -h 127.0.0.1 -p {self.sql_port} -U {SQL_ROLE} fleetco2",
            (
                f"FLEETCO2_SQL_PASSWORD=$(cut -d: -f5 {self.passfile}) python -m dashboards grafana apply --url http://127.0.0.1:3000"
                f" --token-file grafana.token --sql 127.0.0.1:{self.sql_port} --sql-user {SQL_ROLE} --no-sql-tls"
            ),
        )


def sql_role(folder: Path, port: int) -> Path:
    """Give ``roles.json`` in ``folder`` a role with a password of its own; the file, in psql's form, that holds the password."""
    password = secrets.token_urlsafe(24)
    (folder / "roles.json").unlink(missing_ok=True)
    roles.add(folder / "roles.json", SQL_ROLE, TENANT, password)
    path = folder / "sql.pgpass"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"127.0.0.1:{port}:fleetco2:{SQL_ROLE}:{password}\n")
    return path


@contextlib.asynccontextmanager
async def read_side(folder: Path) -> AsyncIterator[ReadSide]:
    """``python -m dashboards serve`` with SQL and the page, on the lake in ``folder``, while the block runs."""
    port, sql_port = free_port(), free_port()
    passfile = sql_role(folder, sql_port)
    config = folder / "dashboards.toml"
    config.write_text(
        f'lake = "lake"\ntenant = "{TENANT}"\n[sql]\nroles = "roles.json"\nport = {sql_port}\n[page]\nport = {port}\n',
        encoding="utf-8",
    )
    with (folder / "dashboards.log").open("wb") as out:
        process = subprocess.Popen(  # noqa: S603, ASYNC220
            [sys.executable, "-m", "dashboards", "serve", "--config", str(config)],
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield ReadSide(f"http://127.0.0.1:{port}/", sql_port, passfile.absolute())
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


@contextlib.asynccontextmanager
async def compactor(folder: Path) -> AsyncIterator[None]:
    """``python -m storage compact`` beside the consumer while the block runs: a commit a second leaves many small files."""
    command = [
        sys.executable,
        "-m",
        "storage",
        "--lake",
        str(folder / "lake"),
        "compact",
        "--every",
        str(COMPACT_EVERY_S),
    ]
    with (folder / "compactor.log").open("wb") as out:
        process = subprocess.Popen(  # noqa: S603, ASYNC220
            command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)
