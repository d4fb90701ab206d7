"""The whole system on one machine: broker, consumer, 43 gateways of a simulated fleet, and the figures that come out.

The one file here that wires the pipeline. Broker and consumer are processes of their own; the gateways share this one.
"""

import asyncio
import random
import signal
import time
from typing import Any, Final

import msgspec

from devices.actions import Say
from devices.config import Broker, GatewayConfig
from devices.counters import Counters
from devices.gateway import Gateway
from devices.sources import Source
from simulators.demo_view import Options, Running, Watcher, show
from simulators.fleet import World, build
from simulators.live import LiveFleet
from simulators.local_broker import LocalBroker, local_broker
from simulators.registry_files import write_registry
from simulators.scenario import Scenario, load
from simulators.server_process import TENANT, Consumer, DemoError, compactor, consumer, read_side
from simulators.warehouse import Warehouse
from simulators.warehouse_source import WarehouseSource
from simulators.warehouse_spec import from_registry

WARMUP_S: Final = 3600  # the world runs an hour unseen, so that trucks are under way
DRAIN_S: Final = 15.0  # how long the gateways may take to get their last readings confirmed
HISTORY_S: Final = 7200  # faster than real time the world starts in the past and meets the clock after so many seconds
METER_EVERY_S: Final = 2
EARLIEST: Final = "2020-01-01"
BATCH_S: Final = 1.0
PRESETS: Final = ("ambient", "cold_store", "cross_dock")  # what the warehouses are, in turn


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
    engine = LiveFleet(world, speed)
    made = [
        gateway(device, engine.source(i), broker, batch_s=BATCH_S, counters=counters, seed=world.seed)
        for i, device in enumerate(world.devices)
    ]
    for i, row in enumerate(world.registry()["warehouses"]):
        spec = from_registry({k: str(v) for k, v in row.items()}, PRESETS[i % len(PRESETS)])
        site = Warehouse(spec, seed=world.seed + i, start_s=start_s)
        source = WarehouseSource(site, every_s=METER_EVERY_S, speed=speed)
        made.append(gateway(str(row["device"]), source, broker, batch_s=BATCH_S, counters=counters, seed=world.seed))
    return made


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
        read_side(options.folder) as reading,
    ):
        await asyncio.to_thread(_catch_up, world, back_s)
        start_s = _world_s(world)
        made = gateways(world, options.speed, broker, counters, start_s)
        running = Running(options, broker, server, made, start_s, time.monotonic(), reading)
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
