"""The page's server: one HTML file, its assets, one JSON document. Read-only, no session, nothing from outside."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from litestar import Litestar, Request, Response, get
from litestar.config.compression import CompressionConfig
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from dashboards.page.figures import live
from storage.errors import StorageError
from storage.query import connect, refresh

STATIC: Final = Path(__file__).with_name("static")
FRESH_S: Final = 1.0  # all viewers within a second share one answer
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".css": "text/css",
    ".LICENSE": "text/plain",
}
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Live:
    """The newest answer over one lake, made at most once per ``FRESH_S`` however many ask."""

    def __init__(self, lake: Path, tenant: Any = None, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._lake, self._tenant, self._now_ns = lake, tenant, now_ns
        self._con: Any = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="page")
        self._made_ns = -(10**18)
        self._body = b""
        self._version = 0
        self._making: asyncio.Future[bytes] | None = None
        self._closing = threading.Event()

    async def body(self) -> bytes:
        """JSON of ``figures.live``. Raises StorageError while there is no lake."""
        if self._now_ns() - self._made_ns < FRESH_S * 1e9:
            return self._body
        if self._making is None:
            self._making = asyncio.ensure_future(asyncio.get_running_loop().run_in_executor(self._pool, self._make))
            self._making.add_done_callback(self._made)
        return await asyncio.shield(self._making)

    def _made(self, done: "asyncio.Future[bytes]") -> None:
        self._making = None
        if not done.cancelled():
            done.exception()

    def _make(self) -> bytes:
        now = self._now_ns()
        if self._con is None:
            self._con = connect(self._lake, threads=1, tenant=self._tenant)
        if refresh(self._con) or not self._version:
            self._version += 1
        self._con.execute(f"SET VARIABLE now_ns = {now}")  # one clock for all queries of an answer
        self._body = msgspec.json.encode(live(self._con, now) | {"version": self._version})
        self._made_ns = now
        return self._body

    async def close(self) -> None:
        """End what runs and let go of the lake."""
        if self._con is not None:
            self._con.interrupt()
        await asyncio.to_thread(self._pool.shutdown, wait=True)
        if self._con is not None:
            self._con.close()


def _file(name: str) -> Response[bytes]:
    path = STATIC / name
    if path.parent != STATIC or path.suffix not in TYPES or not path.is_file():
        raise NotFoundException(detail="there is no such file")
    return Response(path.read_bytes(), media_type=TYPES[path.suffix], headers=HEADERS)


@get("/", sync_to_thread=False, include_in_schema=False)
def index() -> Response[bytes]:
    """The page."""
    return _file("index.html")


@get("/static/{name:str}", sync_to_thread=False, include_in_schema=False)
def static(name: FromPath[str]) -> Response[bytes]:
    """An asset of the page."""
    return _file(name)


@get("/live.json", include_in_schema=False)
async def figures(request: Request[Any, Any, Any]) -> Response[bytes]:
    """What the page shows now."""
    try:
        return Response(await request.app.state.live.body(), media_type="application/json", headers=HEADERS)
    except StorageError as e:
        fault = msgspec.json.encode({"title": "the lake cannot be read yet", "detail": str(e)})
        return Response(fault, status_code=503, media_type="application/problem+json", headers=HEADERS)


def create_page(shown: Live) -> Litestar:
    """The application over ``shown``, which it closes with its own life."""

    @asynccontextmanager
    async def life(app: Litestar) -> AsyncIterator[None]:
        app.state.live = shown
        try:
            yield
        finally:
            await shown.close()

    return Litestar(
        route_handlers=[index, static, figures],
        openapi_config=None,
        lifespan=[life],
        logging_config=None,
        compression_config=CompressionConfig(backend="gzip", minimum_size=2000),
    )
