"""The overlay of Grafana Live: what the views say now, pushed as lines to ``/api/live/push/STREAM`` once or twice a second.

Off unless configured. One stream each for fleet, routes, warehouses and positions; the fields of a stream are always the same,
an unknown value is left out of its line. What comes faster than ``hz`` is coalesced: only the newest is sent.
"""

import asyncio
import contextlib
import logging
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Protocol

import msgspec
from msgspec import Meta

from storage.errors import StorageError

STREAMS: Final = ("fleet", "routes", "warehouses", "positions")
TIMEOUT_S: Final = 3.0  # a slow Grafana must not pile up frames
RETRY_MAX_S: Final = 30.0
_LOG: Final = logging.getLogger("fleetco2.grafana_live")

Row = Mapping[str, Any]
Frames = Mapping[str, Iterable[tuple[Mapping[str, str], Row]]]  # stream -> (labels, fields) of each line


class LiveConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[grafana_live]`` of dashboards.toml."""

    url: Annotated[str, Meta(pattern="^https?://", description="address of Grafana")]
    token_file: Annotated[str, Meta(min_length=1, description="file with the token of the service account; mode 0600")]
    hz: Annotated[float, Meta(ge=0.1, le=2, description="pushes per second, 0.1 to 2")] = 1.0


def _escaped(text: str, also: str = "") -> str:
    for c in ("\\", ",", " ", "=", *also):
        text = text.replace(c, "\\" + c)
    return text.replace("\n", "\\n")


def _field(value: Any) -> str | None:
    """A field's value in line protocol, None where it is unknown."""
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{float(value)!r}"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{text}"'


def lines(stream: str, rows: Iterable[tuple[Mapping[str, str], Row]], time_ns: int) -> bytes:
    """Influx line protocol, one line per row that has a known field. Labels without a value are left out."""
    out = []
    for labels, fields in rows:
        tags = "".join(f",{_escaped(k)}={_escaped(v)}" for k, v in labels.items() if v)
        known = {k: text for k, v in fields.items() if (text := _field(v)) is not None}
        if known:
            body = ",".join(f"{_escaped(k)}={v}" for k, v in known.items())
            out.append(f"{_escaped(stream)}{tags} {body} {time_ns}")
    return "\n".join(out).encode()


def read_token(path: Path) -> str:
    """The token. Raises ValueError naming the file where it is empty or readable by others."""
    if path.stat().st_mode & 0o077:
        raise ValueError(f"{path} can be read by others; chmod 600 {path}")
    token = path.read_text(encoding="utf-8").strip()
    if not token:
        raise ValueError(f"{path} is empty; put the token of the service account into it")
    return token


def post(url: str, token: str, stream: str, body: bytes) -> None:
    """One push. Raises OSError (urllib's errors are such) when Grafana refuses or cannot be reached."""
    request = urllib.request.Request(  # noqa: S310  the scheme is checked by the configuration
        f"{url.rstrip('/')}/api/live/push/fleetco2_{stream}",
        data=body,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "text/plain; charset=utf-8"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
        answer.read()


_FLEET: Final = ("kg_per_h", "low", "high", "vehicles", "registered", "coverage", "measured", "today_kg", "age_s")
_ROUTE: Final = ("kg_per_h", "low", "high", "g_per_km", "vehicles", "measured", "coverage", "age_s")
_SITE: Final = ("kg_per_h", "low", "high", "power_kw", "measured", "coverage", "age_s")
_POSITION: Final = ("lat", "lon", "speed_kmh", "g_per_km", "load_state", "age_s")


def frames(figures: Mapping[str, Any]) -> dict[str, list[tuple[dict[str, str], Row]]]:
    """The four streams of what ``dashboards.page.figures.live`` tells."""

    def rows(table: str, label: str, names: tuple[str, ...]) -> list[tuple[dict[str, str], Row]]:
        return [
            ({label: str(row[label] or row["name"])}, {name: row[name] for name in names}) for row in figures[table]
        ]

    return {
        "fleet": [({}, {name: figures["totals"][name] for name in _FLEET})],
        "routes": rows("routes", "route", _ROUTE),
        "warehouses": rows("warehouses", "warehouse", _SITE),
        "positions": rows("vehicles", "vehicle", _POSITION),
    }


class Shown(Protocol):
    """Where the figures come from: ``dashboards.page.app.Live``."""

    async def body(self) -> bytes: ...
    async def close(self) -> None: ...


class Pusher:
    """The overlay's task, from construction to ``close``. Raises ValueError and OSError for a token that cannot be used."""

    def __init__(self, config: LiveConfig, shown: Shown) -> None:
        token = read_token(Path(config.token_file))
        self._shown = shown
        self._stop = asyncio.Event()

        async def read() -> Frames:
            return frames(msgspec.json.decode(await shown.body()))

        self._task = asyncio.create_task(run(config, token, read, time.time_ns, self._stop))

    async def close(self) -> None:
        """End it after the push under way."""
        self._stop.set()
        await self._task
        await self._shown.close()


async def run(
    config: LiveConfig,
    token: str,
    read: Callable[[], Awaitable[Frames]],
    now_ns: Callable[[], int],
    stop: asyncio.Event,
) -> None:
    """Push until ``stop`` is set. A Grafana that does not answer is tried again with growing pauses; nothing is kept for it."""
    wait_s = period_s = 1.0 / config.hz
    while not stop.is_set():
        try:
            told = await read()
            time_ns = now_ns()
            for stream, rows in told.items():
                body = lines(stream, rows, time_ns)
                if body:
                    await asyncio.to_thread(post, config.url, token, stream, body)
            wait_s = period_s
        except (OSError, StorageError) as e:
            wait_s = min(2 * wait_s, RETRY_MAX_S)
            _LOG.warning("push_failed retry_s=%.1f %s", wait_s, e)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), wait_s)
