"""A feed on a port of loopback, in a thread of its own, for clients that block."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dashboards.feed.app import create_app
from dashboards.feed.server import start
from dashboards.feed.service import Feed


@contextmanager
def served(feed: Feed) -> Iterator[str]:
    """The base address while it runs."""
    ready, done, found = threading.Event(), threading.Event(), []

    async def main() -> None:
        server = await start(create_app(feed), "127.0.0.1", 0, connections=1_000, header_s=15.0)
        found.append(server.port)
        ready.set()
        await asyncio.to_thread(done.wait)
        await server.close()

    def run() -> None:
        try:
            asyncio.run(main())
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="feed-server")
    thread.start()
    ready.wait()
    try:
        yield f"http://127.0.0.1:{found[0]}"
    finally:
        done.set()
        thread.join()
