"""From a gateway with its outbox on disk to Parquet, through brokers of both kinds that are killed and come back empty."""

import asyncio
import random
from pathlib import Path

import pytest

from devices.actions import Say
from devices.config import Broker, GatewayConfig, OutboxConfig
from devices.counters import Counters
from devices.gateway import Gateway
from devices.outbox_folder import open_outbox
from simulators.local_broker import find_mosquitto, free_port, local_broker
from simulators.registry_files import write_registry
from simulators.server_process import TENANT, consumer
from storage.query import connect
from tests.system.test_gateway_broker import Given, Hasty

PATIENCE_S = 100.0
ROW = {"vehicle": "t1", "device": "truck-01", "vehicle_class": "artic_40t", "fuel": "diesel_b7"}


@pytest.mark.broker
@pytest.mark.parametrize("embedded", [False, True], ids=["mosquitto", "3.1.1 only"])
def test_a_broker_that_comes_back_empty_costs_nothing(tmp_path: Path, embedded: bool) -> None:
    if not embedded and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed on this machine")
    write_registry(tmp_path / "registry", {"vehicles": [ROW]})
    port = free_port()

    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S):
            first = local_broker(tmp_path, port=port, embedded=embedded)
            broker = await first.__aenter__()
            async with consumer(tmp_path, broker, earliest="2020-01-01", factor_set="fleetco2-2025.1"):
                config = GatewayConfig(
                    device="truck-01",
                    tenant=TENANT,
                    broker=Broker(host="127.0.0.1", port=port, protocol=broker.protocol, keepalive_s=5),
                    batch_s=0.2,
                    batch_max=50,
                    outbox=OutboxConfig(max_mib=4, commit_s=0.2),
                )
                opened = open_outbox(config, tmp_path / "outbox", None)
                source = Given()
                said: list[Say] = []
                gateway = Gateway(
                    config,
                    [source],
                    rng=Hasty(1),
                    counters=Counters(),
                    say=said.append,
                    ring=opened.ring,
                    recovered=opened.recovered,
                )
                running = asyncio.create_task(gateway.run(asyncio.Event()))
                source.give(250)
                while not gateway.figures().confirmed:
                    await asyncio.sleep(0.02)
                source.give(250)
                await first.__aexit__(None, None, None)
                source.give(250)
                while "broker_lost" not in [s.event for s in said]:
                    await asyncio.sleep(0.02)
                async with local_broker(tmp_path, port=port, embedded=embedded):
                    source.give(250)
                    source.end()
                    figures = await running
                    assert (figures.sent, figures.confirmed, figures.thinned) == (1000, 1000, 0)

    asyncio.run(scene())
    con = connect(tmp_path / "lake")
    stored = con.execute("SELECT seq, odometer_m FROM readings ORDER BY seq").fetchall()
    con.close()
    assert stored == [(i, float(i)) for i in range(1000)]


@pytest.mark.broker
@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed on this machine")
def test_a_gateway_killed_and_started_again_delivers_both_boots(tmp_path: Path) -> None:
    write_registry(tmp_path / "registry", {"vehicles": [ROW]})

    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), local_broker(tmp_path) as broker:
            config = GatewayConfig(
                device="truck-01",
                tenant=TENANT,
                broker=Broker(host="127.0.0.1", port=free_port(), protocol="5"),  # where nobody listens
                batch_s=0.2,
                drain_s=0,
                outbox=OutboxConfig(folder="box", max_mib=4, commit_s=0.2),
            )
            for boot in range(3):
                opened = open_outbox(config, tmp_path / "outbox", None)
                source, stop = Given(), asyncio.Event()
                lone = Gateway(
                    config,
                    [source],
                    rng=random.Random(boot),
                    counters=Counters(),
                    say=lambda _: None,
                    ring=opened.ring,
                    recovered=opened.recovered,
                )
                running = asyncio.create_task(lone.run(stop))
                source.give(50)
                await source.queue.join()
                stop.set()
                figures = await running
                assert (figures.confirmed, figures.earlier) == (0, 50 * boot)
                opened.ring.disk.close()  # type: ignore[attr-defined]
            async with consumer(tmp_path, broker, earliest="2020-01-01", factor_set="fleetco2-2025.1"):
                opened = open_outbox(config, tmp_path / "outbox", None)
                assert opened.recovered is not None
                assert opened.recovered.readings == 150
                reached = Broker(host="127.0.0.1", port=broker.port, protocol=broker.protocol)
                last = Gateway(
                    GatewayConfig(device="truck-01", tenant=TENANT, broker=reached, batch_s=0.2),
                    [],
                    rng=Hasty(1),
                    counters=Counters(),
                    say=lambda _: None,
                    ring=opened.ring,
                    recovered=opened.recovered,
                )
                assert (await last.run(asyncio.Event())).unconfirmed == 0

    asyncio.run(scene())
    con = connect(tmp_path / "lake")
    stored = con.execute("SELECT boot_id, count(*), count(DISTINCT seq) FROM readings GROUP BY boot_id").fetchall()
    con.close()
    assert sorted(n for _, n, _ in stored) == [50, 50, 50]
    assert all(n == distinct for _, n, distinct in stored)
