"""The read side's one process: the SQL server and, where configured, the HTTP app, until a signal ends it."""

import asyncio
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from dashboards.config import DashboardsConfig
from dashboards.feed import open_feed as feed_server
from dashboards.sql import server


class _Part(Protocol):
    async def close(self) -> None: ...


def bound_memory(megabytes: int) -> None:
    """No more than ``megabytes`` for this process, 0 = no bound: a query whose texts grow without end fails, not the machine."""
    if megabytes:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = megabytes << 20
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


async def serve(config: DashboardsConfig, say: Callable[[str], None]) -> None:
    """Serve what ``config`` names until SIGINT or SIGTERM. ``say`` gets one line per server. Raises what stops a server from starting."""
    bound_memory(config.process_mb)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    running: list[_Part] = []
    try:
        if config.sql is not None:
            sql = await server.start(config.sql, Path(config.lake), config.tenant)
            running.append(sql)
            say(
                f"sql: postgresql://{config.sql.listen}:{sql.port}/{config.sql.database}{' with TLS' if config.sql.tls_cert else ''}"
            )
        if config.http is not None and config.feed is not None:
            http = await feed_server.open_feed(Path(config.lake), config.tenant, config.http, config.feed)
            running.append(http)
            scheme = "https" if config.http.tls_cert else "http"
            say(f"feed: {scheme}://{config.http.listen}:{http.port}/openapi.json")
        await stop.wait()
    finally:
        for part in reversed(running):
            await part.close()
