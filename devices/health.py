"""The health page of a gateway: HTTP on 127.0.0.1 only, plain text at ``/`` and JSON at ``/health.json``.

It is served from the loop of the gateway: a gateway that hangs does not look healthy.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Literal

import msgspec

from devices.counters import CounterName
from devices.wire import AppliedConfig, ClockSource

HOST: Final = "127.0.0.1"
REQUEST_BYTES: Final = 8192  # a browser sends about 1,000
REQUEST_S: Final = 5.0  # for the whole request; a slower one is cut off
CONNECTIONS_MAX: Final = 8  # a person and a monitor; more are turned away, because they would share the gateway's loop


class SourceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One source. Ages in s, None = never; ``error`` is blank once it gives readings again."""

    name: str
    samples: int
    age_s: float | None
    error: str
    error_age_s: float | None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway knows of itself. ``clock_error_ms`` -1 = not known, ``outbox_fill`` 0 to 1."""

    device: str
    boot_id: int
    broker: str
    connected: bool
    reconnects: int
    sent: int
    confirmed: int
    unconfirmed: int
    thinned: int
    outbox_rows: int
    outbox_fill: float
    outbox: Literal["disk", "memory"]
    clock: ClockSource
    clock_error_ms: int
    undated: int
    sources: tuple[SourceHealth, ...]
    stuck: tuple[str, ...]
    config: AppliedConfig | None
    counters: Mapping[CounterName, int]


def text(health: Health) -> str:
    """The page in plain words."""
    h = health
    bound = "error not known" if h.clock_error_ms < 0 else f"error at most {h.clock_error_ms} ms"
    lines = [
        f"gateway    {h.device}",
        f"link       {'connected to' if h.connected else 'NOT connected to'} {h.broker}, reconnects {h.reconnects}",
        f"readings   {h.sent}, confirmed {h.confirmed}, unconfirmed {h.unconfirmed}, thinned {h.thinned}",
        f"outbox     {h.outbox_rows} rows, {100 * h.outbox_fill:.0f} % full, "
        + ("on disk" if h.outbox == "disk" else "in MEMORY: a restart loses what is unconfirmed"),
        f"clock      {h.clock}, {bound}" + (f"; {h.undated} readings wait for it" if h.undated else ""),
    ]
    if h.config is not None:
        version = f"version {h.config.version}{' on trial' if h.config.trial else ''}" if h.config.version else "local"
        lines.append(f"config     {version}" + (f"; newest not taken: {h.config.refused}" if h.config.refused else ""))
    for s in h.sources:
        age = "nothing yet" if s.age_s is None else f"{s.samples} readings, last {s.age_s:.0f} s ago"
        lines.append(f"source     {s.name}: {age}" + (f"; MISSING: {s.error}" if s.error else ""))
    lines += [f"stuck      {signal} stands still although others say it must move" for signal in h.stuck]
    lines += [f"count      {name} {n}" for name, n in sorted(h.counters.items())]
    return "\n".join(lines) + "\n"


@asynccontextmanager
async def serve(port: int, health: Callable[[], Health]) -> AsyncIterator[int]:
    """The page on ``port``, 0 = any free one; gives the port. OSError if it is taken."""
    page = _Page(health)
    server = await asyncio.start_server(page.on_connection, HOST, port, limit=REQUEST_BYTES)
    async with server:
        yield server.sockets[0].getsockname()[1]


class _Page:
    def __init__(self, health: Callable[[], Health]) -> None:
        self._health = health
        self._open = 0

    async def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS_MAX:
                async with asyncio.timeout(REQUEST_S):
                    request = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(request))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who asks like this gets no answer
        finally:
            self._open -= 1
            writer.close()

    def _answer(self, request: bytes) -> bytes:
        method, path, *_ = [*request.split(b"\r\n", 1)[0].split(b" "), b"", b""]
        if method != b"GET":
            return _response("405 Method Not Allowed", "text/plain", b"only GET\n")
        if path == b"/":
            return _response("200 OK", "text/plain; charset=utf-8", text(self._health()).encode())
        if path == b"/health.json":
            return _response("200 OK", "application/json", msgspec.json.encode(self._health()))
        return _response("404 Not Found", "text/plain", b"there are / and /health.json\n")


def _response(status: str, kind: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nCache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
