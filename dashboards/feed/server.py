"""The HTTP server of the feed inside the read side's process: uvicorn with bounds on what a client may hold."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any, Final

import h11
import uvicorn
from litestar import Litestar
from uvicorn.protocols.http.h11_impl import H11Protocol

KEEP_ALIVE_S: Final = 30  # an idle connection
STALL_S: Final = 30.0  # a client that takes nothing of its answer for this long is let go
HEAD_MAX: Final = 32 * 1024  # request line and headers; keys and filters are below 4 kB
BACKLOG: Final = 512  # connections that the kernel holds while the loop is busy
END_S: Final = 2  # streams are cut after this long when the server ends


def protocol(header_s: float, stall_s: float = STALL_S) -> type[H11Protocol]:
    """uvicorn's protocol with two more limits: a request must be whole after ``header_s``, an answer must move within ``stall_s``."""

    class Patient(H11Protocol):
        _whole: asyncio.TimerHandle | None = None
        _moving: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._whole = self.loop.call_later(header_s, transport.close)

        def data_received(self, data: bytes) -> None:
            if self._whole is None and self.conn.their_state is h11.IDLE:
                self._whole = self.loop.call_later(header_s, self.transport.close)
            super().data_received(data)
            if self._whole is not None and self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
                self._whole.cancel()
                self._whole = None

        def pause_writing(self) -> None:
            super().pause_writing()
            self._moving = self.loop.call_later(stall_s, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._moving is not None:
                self._moving.cancel()
                self._moving = None

        def connection_lost(self, exc: Exception | None) -> None:
            for timer in (self._whole, self._moving):
                if timer is not None:
                    timer.cancel()
            super().connection_lost(exc)

    return Patient


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class FeedServer:
    """A running server; ``port`` is the one it listens on."""

    def __init__(self, server: uvicorn.Server, task: asyncio.Task[None], port: int) -> None:
        self._server, self._task, self.port = server, task, port

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._server.server_state.connections)

    async def close(self) -> None:
        """End it: answers under way are finished, streams are cut."""
        self._server.should_exit = True
        await self._task


async def start(
    app: Litestar,
    listen: str,
    port: int,
    *,
    connections: int,
    header_s: float,
    tls_cert: str = "",
    tls_key: str = "",
    stall_s: float = STALL_S,
) -> FeedServer:
    """Serve ``app`` on the running loop. Raises OSError where the address is taken."""
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((listen, port))
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    options: dict[str, Any] = {"ssl_certfile": tls_cert, "ssl_keyfile": tls_key} if tls_cert else {}
    config = uvicorn.Config(
        app,
        loop="none",
        http=protocol(header_s, stall_s),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=connections,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=END_S,
        h11_max_incomplete_event_size=HEAD_MAX,
        backlog=BACKLOG,
        **options,
    )
    server = _Server(config)
    task = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
    while not server.started:
        if task.done():
            task.result()
            raise OSError(f"the server at {listen}:{port} ended at once")
        await asyncio.sleep(0.01)
    return FeedServer(server, task, listener.getsockname()[1])
