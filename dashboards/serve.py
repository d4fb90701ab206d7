"""The read side's one process: the SQL server and, where configured, the HTTP app, until a signal ends it."""

import asyncio
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from dashboards.config import DashboardsConfig
from dashboards.feed import open_feed as feed_server
from dashboards.feed import server as http_server
from dashboards.grafana import push
from dashboards.page.app import Live, create_page
from dashboards.sql import server
from storage.views import Tenant

PAGE_VIEWERS: Final = 200  # connections at once
PAGE_HEADER_S: Final = 15.0


class _Part(Protocol):
    async def close(self) -> None: ...


def bound_memory(megabytes: int) -> None:
    """No more than ``megabytes`` for this process, 0 = no bound: a query whose texts grow without end fails, not the machine."""
    if megabytes:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = megabytes << 20
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _live(config: DashboardsConfig) -> Live:
    return Live(Path(config.lake), Tenant(config.tenant, owns_unnamed=True) if config.tenant else None)


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
        if config.page is not None:
            page = await http_server.start(
                create_page(_live(config)),
                config.page.listen,
                config.page.port,
                connections=PAGE_VIEWERS,
                header_s=PAGE_HEADER_S,
            )
            running.append(page)
            say(f"page: http://{config.page.listen}:{page.port}/")
        if config.grafana_live is not None:
            running.append(push.Pusher(config.grafana_live, _live(config)))
            say(f"grafana live: {config.grafana_live.url}, {config.grafana_live.hz:g} times a second")
        await stop.wait()
    finally:
        for part in reversed(running):
            await part.close()
