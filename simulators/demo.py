"""The whole system on one machine: broker, consumer, 43 gateways of a simulated fleet, and the figures that come out.

The one file here that wires the pipeline. Broker and consumer are processes of their own; the gateways share this one.
"""

import asyncio
import contextlib
import math
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec
from rich.console import Console
from rich.live import Live

from dashboards.live import RouteNow, Stored, WarehouseNow, read, stored
from dashboards.terminal import Flow, picture, plain
from devices.config import Broker, GatewayConfig
from devices.core import Say
from devices.counters import Counters
from devices.gateway import Gateway
from devices.sources import Source
from simulators.fleet import World, build
from simulators.local_broker import LocalBroker, free_port, local_broker
from simulators.registry_files import write_registry
from simulators.scenario import Scenario, load
from simulators.warehouse import Warehouse
from simulators.warehouse_source import WarehouseSource
from simulators.warehouse_spec import from_registry
from storage.query import connect, refresh

TENANT: Final = "demo"
WARMUP_S: Final = 3600  # the world runs an hour unseen, so that trucks are under way
DRAIN_S: Final = 15.0  # how long the gateways may take to get their last readings confirmed
CONSUMER_START_S: Final = 60.0
HISTORY_S: Final = (
    7200  # faster than real time the world starts in the past, this many real seconds before it meets the clock
)
METER_EVERY_S: Final = 2
EARLIEST: Final = "2020-01-01"
RATE_LOOKS: Final = 10  # looks that the rate is taken over: confirmations come in bursts
COMPACT_EVERY_S: Final = 60
COUNT_EVERY_S: Final = 5.0  # counting every row on disk costs more than the figures themselves
PLAIN_EVERY_S: Final = 2.0
LIVE_EVERY_S: Final = 0.5
BATCH_S: Final = 1.0
PRESETS: Final = ("ambient", "cold_store", "cross_dock")  # what the warehouses are, in turn


class DemoError(RuntimeError):
    """The demo cannot go on; the text says why and what to do."""


def scaled(scenario: Scenario, trucks: int) -> Scenario:
    """The scenario with ``trucks`` vehicles, shared out as in the original; a group may shrink to none."""
    total = sum(f.count for f in scenario.fleet)
    exact = [f.count * trucks / total for f in scenario.fleet]
    counts = [int(x) for x in exact]
    by_rest = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in by_rest[: trucks - sum(counts)]:
        counts[i] += 1
    fleets = tuple(msgspec.structs.replace(f, count=n) for f, n in zip(scenario.fleet, counts, strict=True) if n)
    return msgspec.structs.replace(scenario, fleet=fleets)


@dataclass(frozen=True, slots=True)
class Consumer:
    """The consumer's process and where it tells what it did."""

    process: subprocess.Popen[bytes]
    metrics_url: str
    lake: Path
    log: Path

    def metrics(self) -> dict[str, float]:
        """Counters and quantiles by their Prometheus name, labels included; empty while it does not answer."""
        try:
            with urllib.request.urlopen(self.metrics_url, timeout=2) as answer:  # noqa: S310
                text = answer.read().decode()
        except OSError:
            return {}
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


@contextlib.asynccontextmanager
async def consumer(folder: Path, broker: LocalBroker, *, earliest: str, factor_set: str) -> AsyncIterator[Consumer]:
    """``python -m ingest`` on the registry in ``folder`` while the block runs. Raises DemoError if it cannot start."""
    port = free_port()
    config = folder / "fleet.toml"
    config.write_text(
        f'tenants = ["{TENANT}"]\nregistry = "registry"\nlake = "lake"\nfactor_set = "{factor_set}"\n'
        f'earliest = {earliest}\nmetrics_port = {port}\n[broker]\nhost = "127.0.0.1"\nport = {broker.port}\n'
        f'protocol = "{broker.protocol}"\n',
        encoding="utf-8",
    )
    log = folder / "consumer.log"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603, ASYNC220
            [sys.executable, "-m", "ingest", "--config", str(config), "--verbose"],
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    running = Consumer(process, f"http://127.0.0.1:{port}/metrics", folder / "lake", log)
    try:
        until = time.monotonic() + CONSUMER_START_S
        while (await asyncio.to_thread(running.metrics)).get("fleetco2_connected") != 1:
            if process.poll() is not None:
                raise DemoError(f"the consumer ended at once: {log.read_text(encoding='utf-8').strip()[-500:]}")
            if time.monotonic() > until:
                raise DemoError(f"the consumer did not connect within {CONSUMER_START_S:g} s, see {log}")
            await asyncio.sleep(0.1)
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, 30)
        except subprocess.TimeoutExpired:
            process.kill()


@contextlib.asynccontextmanager
async def compactor(folder: Path) -> AsyncIterator[None]:
    """``python -m storage compact`` beside the consumer while the block runs: a commit a second leaves many small files."""
    command = [
        sys.executable,
        "-m",
        "storage",
        "--lake",
        str(folder / "lake"),
        "compact",
        "--every",
        str(COMPACT_EVERY_S),
    ]
    with (folder / "compactor.log").open("wb") as out:
        process = subprocess.Popen(  # noqa: S603, ASYNC220
            command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


def gateway(
    device: str, source: Source, broker: LocalBroker, *, batch_s: float, counters: Counters, seed: int
) -> Gateway:
    """A gateway of the demo's tenant on the local broker. What it has to say goes to no terminal: its figures are shown."""
    config = GatewayConfig(
        device=device,
        tenant=TENANT,
        broker=Broker(host="127.0.0.1", port=broker.port, protocol=broker.protocol),
        batch_s=batch_s,
        clock="ntp",
        clock_error_ms=20,
        drain_s=DRAIN_S,
    )
    return Gateway(config, [source], rng=random.Random(f"{seed} {device}"), counters=counters, say=_quiet)


def _quiet(_: Say) -> None:
    pass


def gateways(world: World, speed: float, broker: LocalBroker, counters: Counters, start_s: int) -> list[Gateway]:
    """One gateway per vehicle and warehouse of the world; the warehouses' clocks begin at ``start_s``."""
    made = [
        gateway(device, world.live_source(i, speed), broker, batch_s=BATCH_S, counters=counters, seed=world.seed)
        for i, device in enumerate(world.devices)
    ]
    for i, row in enumerate(world.registry()["warehouses"]):
        spec = from_registry({k: str(v) for k, v in row.items()}, PRESETS[i % len(PRESETS)])
        site = Warehouse(spec, seed=world.seed + i, start_s=start_s)
        source = WarehouseSource(site, every_s=METER_EVERY_S, speed=speed)
        made.append(gateway(str(row["device"]), source, broker, batch_s=BATCH_S, counters=counters, seed=world.seed))
    return made


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
    factor_set: str = "fleetco2-2025.1"
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

    def virtual_ns(self) -> int:
        """The world's time now, ns since 1970."""
        return int((self.start_s + (time.monotonic() - self.began) * self.options.speed) * 1e9)


async def run(options: Options) -> dict[str, Any]:
    """Start everything, show figures until Ctrl-C or the time is up, end everything in order; return the final figures.

    The gateways end first and wait for their confirmations, so that nothing is on its way when the consumer ends. Raises
    DemoError, BrokerError or ScenarioError when something cannot start or dies.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    scenario = scaled(load(options.scenario), options.trucks)
    back_s = 0.0
    if options.speed > 1:
        back_s = options.speed * (options.duration_s + 2 * DRAIN_S if options.duration_s else HISTORY_S)
    begin_ns = (int(time.time() - back_s) - WARMUP_S) * 1_000_000_000
    world = await asyncio.to_thread(build, scenario, options.seed, start_ns=begin_ns)
    write_registry(options.folder / "registry", world.registry())
    counters = Counters()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with (
        local_broker(options.folder, port=options.port, embedded=options.embedded_broker) as broker,
        consumer(options.folder, broker, earliest=EARLIEST, factor_set=options.factor_set) as server,
        compactor(options.folder),
    ):
        await asyncio.to_thread(_catch_up, world, back_s)
        start_s = _world_s(world)
        made = gateways(world, options.speed, broker, counters, start_s)
        running = Running(options, broker, server, made, start_s, time.monotonic())
        tasks = [asyncio.create_task(g.run(stop)) for g in made]
        for task in tasks:
            task.add_done_callback(lambda _: stop.set())  # they run until then; one that ends earlier has failed
        watch = asyncio.create_task(_watch(server, stop))
        if options.duration_s:
            loop.call_later(options.duration_s, stop.set)
        watcher = Watcher(running)
        try:
            await (stop.wait() if options.quiet else show(watcher, stop))
        finally:
            stop.set()
            await asyncio.gather(*tasks)
            watch.cancel()
        if server.process.poll() is not None:
            raise DemoError(f"the consumer ended with code {server.process.returncode}, see {server.log}")
        try:
            return await asyncio.to_thread(watcher.final)
        finally:
            watcher.close()


def _world_s(world: World) -> int:
    """The world's time, s since 1970."""
    return world.start_ns // 1_000_000_000 + world.now_s


def _catch_up(world: World, back_s: float) -> None:
    """Let the world run unseen until its clock is ``back_s`` behind the machine's."""
    while (behind := int(time.time() - back_s) - _world_s(world)) > 0:
        world.advance(min(behind, 60))


async def _watch(server: Consumer, stop: asyncio.Event) -> None:
    """End the demo when the consumer is gone."""
    while server.process.poll() is None:
        await asyncio.sleep(0.5)
    stop.set()


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
            if count or elapsed - self._counted_at >= COUNT_EVERY_S:
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
    console.print(watcher.heading(), highlight=False)
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
