"""Live progress over a real socket: what is told, what a client that comes back gets, and what a bad client may hold."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from dashboards.feed.app import create_app
from dashboards.feed.live import BACKLOG, Channel, Event, Hub
from dashboards.feed.reader import newest_commit
from dashboards.feed.server import FeedServer, start
from storage.lake import Lake
from tests import feed_lake

Line = tuple[str, int, dict[str, Any]]


@asynccontextmanager
async def serving(lake: Path, folder: Path, **more: Any) -> AsyncIterator[FeedServer]:
    """The feed on a free port of loopback."""
    limits = {"header_s": more.pop("header_s", 15.0), "stall_s": more.pop("stall_s", 30.0)}
    connections = more.pop("connections", 50)
    app = create_app(feed_lake.feed(lake, folder, **more))
    server = await start(app, "127.0.0.1", 0, connections=connections, **limits)
    try:
        yield server
    finally:
        await server.close()


async def events(response: httpx.Response) -> AsyncIterator[Line]:
    """Events of a stream: name, id, data."""
    name, number = "", 0
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "id":
            number = int(value)
        elif field == "data":
            yield name, number, json.loads(value)


def add(lake: Path, n: int = 1) -> None:
    """Commits of one van each."""
    with Lake.open(lake, create=False, now_ns=lambda: feed_lake.NOW) as open_lake:
        for _ in range(n):
            open_lake.commit(feed_lake.commit_of([feed_lake.rollup("van-0", feed_lake.NOW - 3_600 * feed_lake.SECOND)]))


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(main(), 60)

    asyncio.run(limited())


def commits(lines: list[Line]) -> list[int]:
    return [c["n"] for _, _, data in lines for c in data["commits"]]


def test_a_client_that_comes_back_misses_nothing(tmp_path: Path) -> None:
    lake = feed_lake.build(tmp_path / "lake")
    headers = {"X-API-Key": feed_lake.key_for(tmp_path)[1]}

    async def main() -> None:
        async with (
            serving(lake, tmp_path) as server,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http,
        ):
            seen: list[Line] = []
            async with http.stream("GET", "/v1/live?tenant=acme", headers=headers, timeout=30) as response:
                assert response.headers["content-type"].startswith("text/event-stream")
                stream = events(response)
                seen.append(await anext(stream))
                await asyncio.to_thread(add, lake)
                seen.append(await anext(stream))
            assert [n for _, n, _ in seen] == [2, 3]
            before, after = (line[2]["progress"]["figures"][0]["co2e_kg"]["wtw"] for line in seen)
            assert (before, after) == (21 * 1_050, 21 * 1_050 + 40)
            await asyncio.to_thread(add, lake, 5)
            again: list[Line] = []
            async with http.stream(
                "GET", "/v1/live?tenant=acme", headers={**headers, "Last-Event-ID": "3"}, timeout=30
            ) as response:
                stream = events(response)
                while not again or again[-1][1] < 8:
                    again.append(await anext(stream))
            assert commits(again) == [4, 5, 6, 7, 8]
            assert again[-1][0] == "progress"
            assert again[-1][2]["progress"]["figures"][0]["co2e_kg"]["wtw"] == 21 * 1_050 + 6 * 40
            ledger = newest_commit(lake)
            assert ledger is not None
            assert again[-1][2]["commits"][-1]["sha256"] == ledger.sha256

    run(main)


def test_missing_commits_come_from_the_ledger(lake: Path, tmp_path: Path) -> None:
    """A client of commit 0 gets all commits; one that knows more than there are (a rebuilt lake) begins anew."""
    headers = {"X-API-Key": feed_lake.key_for(tmp_path)[1]}

    async def main() -> None:
        async with (
            serving(lake, tmp_path) as server,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http,
        ):
            for last, want in (("0", [1, 2]), ("99", [2])):
                lines: list[Line] = []
                async with http.stream(
                    "GET", "/v1/live", headers={**headers, "Last-Event-ID": last}, timeout=30
                ) as response:
                    async for line in events(response):
                        lines.append(line)
                        if line[1] == 2:
                            break
                assert commits(lines) == want

    run(main)


def test_a_stream_ends_with_its_key_and_their_number_is_bounded(lake: Path, tmp_path: Path) -> None:
    headers = {"X-API-Key": feed_lake.key_for(tmp_path)[1]}

    async def main() -> None:
        async with (
            serving(lake, tmp_path, streams_per_key=1) as server,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http,
            http.stream("GET", "/v1/live", headers=headers, timeout=30) as response,
        ):
            await anext(events(response))
            second = await http.get("/v1/live", headers=headers)
            assert second.status_code == 429
            assert "close one first" in second.json()["detail"]

    run(main)


def test_the_backlog_is_bounded_and_says_how_far_back_it_reaches() -> None:
    async def ask() -> None:
        return None

    channel = Channel(ask)
    for n in range(1, BACKLOG + 11):
        channel.publish(Event(n, b""), n - 1)
    assert len(channel.backlog) == BACKLOG
    assert channel.covers_from == 10
    assert channel.after(5) == Event(11, b"")
    assert channel.after(BACKLOG + 10) is None
    channel.publish(Event(2_000, b""), 1_500)  # the commits in between were not told: the ledger has them
    assert (len(channel.backlog), channel.covers_from) == (1, 1_500)


def test_a_request_that_does_not_end_is_cut(lake: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(lake, tmp_path, header_s=0.05) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    run(main)


async def large(scope: Any, receive: Any, send: Any) -> None:
    """An application whose answer is larger than all buffers on the way."""
    if scope["type"] == "lifespan":
        for word in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{word}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(2_000):
        await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
        await asyncio.sleep(0)


def test_a_reader_that_takes_nothing_is_let_go() -> None:
    """The answer is cut short instead of being held for ever: the client finds the connection gone."""

    async def main() -> None:
        server = await start(large, "127.0.0.1", 0, connections=5, header_s=5.0, stall_s=0.05)  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while server.connections:  # nobody reads: the kernel's buffers fill, then the server waits its time
                await asyncio.sleep(0.01)
            client.setblocking(False)
            with contextlib.suppress(ConnectionResetError):
                while await loop.sock_recv(client, 1 << 20):
                    pass
        await server.close()

    run(main)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 600_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /auth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n",
    ],
)
def test_hostile_bytes_get_an_error_or_nothing(lake: Path, tmp_path: Path, request_bytes: bytes) -> None:
    async def main() -> None:
        async with serving(lake, tmp_path, header_s=0.2) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(request_bytes)
            answer = await reader.read(100)
            assert answer == b"" or int(answer.split()[1]) in (400, 413, 431)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
                assert (await http.get("/v1/health")).status_code == 200

    run(main)


def test_a_hub_without_commits_waits(tmp_path: Path) -> None:
    async def main() -> None:
        hub = Hub(tmp_path, lambda: None)
        hub.start()

        async def ask() -> None:
            return None

        stream = hub.listen("k", ask, None)
        assert (await anext(stream)).startswith(b": ")
        await hub.stop()

    run(main)
