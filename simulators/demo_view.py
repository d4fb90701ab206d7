"""What a running demo shows: figures and counts from the Parquet, latency from the consumer."""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
from rich.console import Console
from rich.live import Live

from dashboards.live import RouteNow, Stored, WarehouseNow, read, stored
from dashboards.terminal import Flow, picture, plain
from devices.gateway import Gateway
from simulators.local_broker import LocalBroker
from simulators.server_process import Consumer, ReadSide
from storage.query import connect, refresh

RATE_LOOKS: Final = 10  # looks that the rate is taken over: confirmations come in bursts
COUNT_FREELY: Final = 300_000  # rows that are counted at every look
COUNT_EVERY_S: Final = 5.0  # counting every row on disk costs more than the figures themselves
PLAIN_EVERY_S: Final = 2.0
LIVE_EVERY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Options:
    """What ``make demo ARGS=...`` may choose. ``duration_s`` 0 = until Ctrl-C."""

    trucks: int = 40
    speed: float = 1.0
    duration_s: float = 0.0
    seed: int = 7
    folder: Path = Path("build/demo")
    port: int = 0
    embedded_broker: bool = False
    factor_set: str = "fleetco2-2025.2"
    scenario: str = "demo"
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """The parts of a demo that a view looks at. ``began``: monotonic s when the gateways started, at ``start_s`` of the world."""

    options: Options
    broker: LocalBroker
    consumer: Consumer
    gateways: Sequence[Gateway]
    start_s: int
    began: float
    reading: ReadSide

    def virtual_ns(self) -> int:
        """The world's time now, ns since 1970."""
        return int((self.start_s + (time.monotonic() - self.began) * self.options.speed) * 1e9)


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a running demo."""

    flow: Flow
    routes: list[RouteNow]
    warehouses: list[WarehouseNow]


class Watcher:
    """Looks at a running demo: figures and counts from the Parquet, latency from the consumer."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._con: duckdb.DuckDBPyConnection | None = None
        self._recent: deque[tuple[float, int]] = deque(maxlen=RATE_LOOKS)
        self._stored = Stored(0, 0, 0, 0)
        self._counted_at = -COUNT_EVERY_S
        self._lost = 0

    def addresses(self) -> tuple[str, ...]:
        """Where the page, the SQL server and its way into Grafana are."""
        psql, grafana = self._running.reading.how_to_connect()
        page = f"live page: {self._running.reading.page}"
        if self._running.options.speed > 1:
            page += " (it shows the clock's present, where a fleet that runs faster than the clock has not arrived yet)"
        return page, f"SQL: {psql}", f"Grafana: {grafana}"

    def heading(self) -> str:
        """What runs, once."""
        r = self._running
        absent = "mosquitto is not used here, " if r.broker.protocol == "3.1.1" else ""
        return (
            f"{absent}broker {r.broker.name} on 127.0.0.1:{r.broker.port}, {len(r.gateways)} gateways, factors "
            f"{r.options.factor_set}, seed {r.options.seed}, speed x{r.options.speed:g}; everything lies in {r.options.folder}"
        )

    def look(self, *, count: bool = False) -> Look:
        """Blocking, for a thread of its own. The disk is counted every few seconds, or at once when ``count``."""
        r = self._running
        figures = [g.figures() for g in r.gateways]
        elapsed = time.monotonic() - r.began
        confirmed = sum(f.confirmed for f in figures)
        if self._con is None and (r.consumer.lake / "rollups").exists():
            self._con = connect(r.consumer.lake)
        routes: list[RouteNow] = []
        warehouses: list[WarehouseNow] = []
        if self._con is not None:
            refresh(self._con)
            if r.options.speed > 1:
                self._con.execute(f"SET VARIABLE now_ns = {r.virtual_ns()}")
            routes, warehouses = read(self._con)
            if count or self._stored.rows < COUNT_FREELY or elapsed - self._counted_at >= COUNT_EVERY_S:
                self._counted_at = elapsed
                self._stored = stored(self._con)
                self._lost = max(0, confirmed - self._stored.distinct - self._stored.quarantined)
        metrics = r.consumer.metrics()
        which = "reading_to_commit" if r.options.speed <= 1 else "receive_to_commit"
        p50, p99 = (metrics.get(f'fleetco2_{which}_seconds{{quantile="{q}"}}') for q in (0.5, 0.99))
        self._recent.append((elapsed, confirmed))
        since, before = self._recent[0]
        flow = Flow(
            elapsed_s=elapsed,
            broker=r.broker.name,
            factor_set=r.options.factor_set,
            speed=r.options.speed,
            gateways=len(figures),
            online=sum(f.connected for f in figures),
            sent=sum(f.sent for f in figures),
            stored=self._stored.distinct,
            on_the_way=sum(f.unconfirmed for f in figures),
            lost=self._lost,
            duplicates=self._stored.rows - self._stored.distinct,
            rejected=self._stored.rejected,
            per_s=(confirmed - before) / max(elapsed - since, 1.0),
            latency_p50_s=None if p50 is None or math.isnan(p50) else p50,
            latency_p99_s=None if p99 is None or math.isnan(p99) else p99,
            latency_of="reading to disk" if r.options.speed <= 1 else "received to disk",
        )
        return Look(flow, routes, warehouses)

    def final(self) -> dict[str, Any]:
        """What lies on disk against what was sent, once all gateways have ended. Latency in s, CO2e in kg, None = not known."""
        r = self._running
        look = self.look(count=True)
        figures = [g.figures() for g in r.gateways]
        sent = sum(f.sent for f in figures)
        flow = look.flow
        return {
            "sent": sent,
            "stored": flow.stored,
            "quarantined": self._stored.quarantined,
            "lost": sent - flow.stored - self._stored.quarantined,
            "duplicated": flow.duplicates,
            "rejected": flow.rejected,
            "thinned": sum(f.thinned for f in figures),
            "latency": {"of": flow.latency_of, "p50_s": flow.latency_p50_s, "p99_s": flow.latency_p99_s},
            "co2e_wtw_kg": {
                "route": {x.route: x.total_kg for x in look.routes},
                "warehouse": {x.warehouse: x.total_kg for x in look.warehouses},
            },
            "factor_set": r.options.factor_set,
            "broker": r.broker.name,
            "trucks": r.options.trucks,
            "seed": r.options.seed,
            "speed": r.options.speed,
            "lake": str(r.consumer.lake),
        }

    def close(self) -> None:
        """Let go of the lake."""
        if self._con is not None:
            self._con.close()


async def show(watcher: Watcher, stop: asyncio.Event) -> None:
    """A live table where there is a terminal, a block of plain lines every few seconds elsewhere."""
    console = Console()
    console.print(watcher.heading(), highlight=False, soft_wrap=True)
    for line in watcher.addresses():
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    if not console.is_terminal:
        while not stop.is_set():
            look = await asyncio.to_thread(watcher.look)
            print(plain(look.flow, look.routes, look.warehouses), flush=True)
            await _until(stop, PLAIN_EVERY_S)
        return
    with Live(console=console, auto_refresh=False) as live:
        while not stop.is_set():
            look = await asyncio.to_thread(watcher.look)
            live.update(picture(look.flow, look.routes, look.warehouses), refresh=True)
            await _until(stop, LIVE_EVERY_S)


async def _until(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
