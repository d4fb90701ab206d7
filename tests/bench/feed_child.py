"""A feed in a process of its own, on one core: prints its port, ends when its input does."""

import asyncio
import os
import sys
from pathlib import Path

from dashboards.feed.access import Rate
from dashboards.feed.app import create_app
from dashboards.feed.server import start
from tests import feed_lake


async def main(folder: Path) -> None:
    """Serve until standard input ends."""
    rate = Rate(per_s=1e6, burst=1_000_000)
    feed = feed_lake.feed(folder / "lake", folder, now_ns=lambda: feed_lake.NOW, rate=rate, streams_per_key=1_000)
    server = await start(create_app(feed), "127.0.0.1", 0, connections=2_000, header_s=15.0)
    print(server.port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.close()


if __name__ == "__main__":
    os.sched_setaffinity(0, {0})
    asyncio.run(main(Path(sys.argv[1])))
