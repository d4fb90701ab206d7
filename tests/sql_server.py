"""A SQL server for tests: its own thread and event loop, a free port, two roles of different tenants and one for all."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboards.config import SqlConfig
from dashboards.sql import roles, scram, server
from storage.lake import Lake
from storage.registry import Registry, write_dimensions
from stream.fleet import Route, Vehicle, Warehouse
from tests.lake_data import commit

PASSWORD = "correct horse battery"
VERIFIER = str(scram.make(PASSWORD, iterations=4096))
TENANTS = {"acme": "acme", "other": "other", "admin": "*"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens."""

    host: str
    port: int

    def dsn(self, user: str = "acme", **more: str) -> str:
        """As libpq takes it."""
        words = {"host": self.host, "port": self.port, "user": user, "password": PASSWORD, "dbname": "fleetco2", **more}
        return " ".join(f"{k}='{v}'" for k, v in words.items())


def write_roles(path: Path) -> None:
    """A roles file, its verifiers made once."""
    found = {name: roles.Role(tenant=tenant, verifier=VERIFIER) for name, tenant in TENANTS.items()}
    roles._write(path, found)


def two_tenants() -> Registry:
    """A hundred trucks: of acme, of another, of nobody, by turns."""
    owners = ("acme", "other", None)
    return Registry(
        tuple(Vehicle(f"truck-{i:03d}", f"gw-{i:03d}", "c", "f", tenant=owners[i % 3]) for i in range(100)),
        (Warehouse("w-acme", "gw-w1", "W", 1, 2, "uk", tenant="acme"),),
        (Route("r-north", "North", tenant="acme"), Route("r-south", "South", tenant="other")),
    )


def make_lake(path: Path, commits: int = 2, rows: int = 1_000) -> Path:
    """A small lake of both tenants."""
    with Lake.open(path, create=True) as lake:
        write_dimensions(lake, two_tenants())
        for i in range(commits):
            lake.commit(commit(rows, seed=i))
    return path


@contextmanager
def running(lake: Path, folder: Path, **settings: Any) -> Iterator[Address]:
    """Serve ``lake`` until the block ends. ``settings`` go into SqlConfig."""
    if not (folder / "roles.json").exists():
        write_roles(folder / "roles.json")
    config = SqlConfig(roles=str(folder / "roles.json"), port=0, **settings)
    ready = threading.Event()
    ports: list[int] = []
    failed: list[BaseException] = []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        try:
            run = await server.start(config, lake, "acme")
        except BaseException as error:
            failed.append(error)
            ready.set()
            raise
        ports.append(run.port)
        ready.set()
        await stop.wait()
        await run.close()

    def work() -> None:
        try:
            loop.run_until_complete(main())
        finally:
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

    thread = threading.Thread(target=work, name="sql-server")
    thread.start()
    ready.wait(20)
    try:
        if failed:
            raise failed[0]
        yield Address(config.listen, ports[0])
    finally:
        if not failed:
            loop.call_soon_threadsafe(stop.set)
        thread.join(20)
