"""From configuration to a running feed."""

from pathlib import Path
from typing import Protocol

from dashboards.feed.app import create_app
from dashboards.feed.config import FeedConfig
from dashboards.feed.server import FeedServer, start
from dashboards.feed.service import Feed


class Http(Protocol):
    """The part ``[http]``."""

    @property
    def listen(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def tls_cert(self) -> str: ...
    @property
    def tls_key(self) -> str: ...


async def open_feed(lake: Path, tenant: str, http: Http, config: FeedConfig) -> FeedServer:
    """Serve the feed over ``lake``. Raises StorageError, KeyFileError, OSError."""
    feed = Feed(lake, tenant or "operator", config)
    feed.access.check()
    return await start(
        create_app(feed),
        http.listen,
        http.port,
        connections=config.connections,
        header_s=config.header_s,
        tls_cert=http.tls_cert,
        tls_key=http.tls_key,
    )
