"""The health page: on loopback only, in plain words and JSON, and no burden for the gateway."""

import asyncio
import contextlib
import json
import urllib.error
import urllib.request

import msgspec
import pytest

from devices import health
from devices.health import Health, SourceHealth, serve, text
from devices.wire import AppliedConfig

PATIENCE_S = 30.0
NOW = Health(
    device="truck-01",
    boot_id=7,
    broker="broker.example:8883",
    connected=False,
    reconnects=3,
    sent=100,
    confirmed=60,
    unconfirmed=40,
    thinned=0,
    outbox_rows=40,
    outbox_fill=0.25,
    outbox="disk",
    clock="holdover",
    clock_error_ms=512,
    undated=2,
    sources=(
        SourceHealth(name="can", samples=99, age_s=0.4, error="", error_age_s=None),
        SourceHealth(name="gps", samples=0, age_s=None, error="/dev/ttyACM0 is not there", error_age_s=5.0),
    ),
    stuck=("odometer_m",),
    config=AppliedConfig(3, "ab" * 32, trial=True, refused="older_version"),
    counters={"source_failed": 4},
)


def fetch(path: str, method: str = "GET") -> tuple[int, str, str]:
    async def scene() -> tuple[int, str, str]:
        async with asyncio.timeout(PATIENCE_S), serve(0, lambda: NOW) as port:
            return await asyncio.to_thread(_fetch, f"http://127.0.0.1:{port}{path}", method)

    return asyncio.run(scene())


def _fetch(url: str, method: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=PATIENCE_S) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_plain_words() -> None:
    status, kind, page = fetch("/")
    assert (status, kind) == (200, "text/plain; charset=utf-8")
    assert page == text(NOW)
    for words in (
        "NOT connected to broker.example:8883, reconnects 3",
        "40 rows, 25 % full, on disk",
        "holdover, error at most 512 ms; 2 readings wait for it",
        "version 3 on trial; newest not taken: older_version",
        "can: 99 readings, last 0 s ago",
        "gps: nothing yet; MISSING: /dev/ttyACM0 is not there",
        "odometer_m stands still",
        "source_failed 4",
    ):
        assert words in page


def test_json() -> None:
    status, kind, page = fetch("/health.json")
    assert (status, kind) == (200, "application/json")
    assert json.loads(page)["sources"][1]["error"] == "/dev/ttyACM0 is not there"
    assert msgspec.json.decode(page, type=Health) == NOW


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/other", "GET", 404), ("/", "POST", 405), ("/../etc", "GET", 404)]
)
def test_nothing_else_is_served(path: str, method: str, status: int) -> None:
    assert fetch(path, method)[0] == status


def test_it_listens_on_loopback_only() -> None:
    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), serve(0, lambda: NOW) as port:
            with pytest.raises(OSError, match=r"."):
                await asyncio.open_connection("127.0.0.2", port)  # also this machine, but not the address asked for

    asyncio.run(scene())


@pytest.mark.parametrize("request_", [b"\xff\xfe\r\n\r\n", b"\r\n\r\n", b"GET\r\n\r\n", b"x" * 20_000, b"GET / HT"])
def test_bad_requests_end_the_connection_and_nothing_more(request_: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REQUEST_S", 0.05)

    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), serve(0, lambda: NOW) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_)
            with contextlib.suppress(ConnectionResetError):
                assert b"200" not in await reader.read()
            writer.close()
            assert (await asyncio.to_thread(_fetch, f"http://127.0.0.1:{port}/", "GET"))[0] == 200

    asyncio.run(scene())


def test_connections_are_bounded() -> None:
    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), serve(0, lambda: NOW) as port:
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(health.CONNECTIONS_MAX)]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b""
            for w in (writer, *(w for _, w in held)):
                w.close()

    asyncio.run(scene())
