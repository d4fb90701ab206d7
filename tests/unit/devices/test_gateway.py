"""The gateway's tasks without a broker: sources that fail, wait or end. Delivery is in test_core and the system tests."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from devices.actions import Say
from devices.clock import BUILD_NS, ClockState, Timekeeper
from devices.config import Broker, GatewayConfig, OutboxConfig
from devices.counters import Counters
from devices.disk import FolderDisk
from devices.gateway import ROOM_BATCHES, Gateway
from devices.outbox_folder import Opened, open_outbox
from devices.remote_config import RemoteConfig, Signed
from devices.ring import Ring
from devices.wire import Sample

START_NS = 1_700_000_000_000_000_000
PATIENCE_S = 30.0


class Hasty(random.Random):
    """Jitter at its smallest, so that a test does not wait."""

    def uniform(self, a: float, b: float) -> float:
        return a + min(0.001, b - a)


@dataclass
class Script:
    """A source that gives readings, or raises, as written; then says that it is through and waits for ever."""

    name: str
    steps: list[Sample | Exception]
    can_wait: bool = False
    given: int = 0
    through: asyncio.Event = field(default_factory=asyncio.Event)
    started: int = 0
    anchor: tuple[int, float] | None = None

    async def samples(self) -> AsyncIterator[Sample]:
        self.started += 1
        while self.given < len(self.steps):
            step = self.steps[self.given]
            self.given += 1
            if isinstance(step, Exception):
                raise step
            yield step
        self.through.set()
        await asyncio.Event().wait()


def reading(i: int, **values: float) -> Sample:
    return Sample(START_NS + i * 10**9, values or {"odometer_m": float(i)})


def nowhere(**changes: object) -> GatewayConfig:
    with socket.socket() as s:  # a port where nobody listens
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    return GatewayConfig(
        device="truck-01",
        tenant="acme",
        broker=Broker(host="127.0.0.1", port=port),
        drain_s=0,
        **changes,  # type: ignore[arg-type]
    )


def test_a_source_that_fails_is_named_started_again_and_stops_nobody() -> None:
    async def scene() -> None:
        said: list[Say] = []
        counters = Counters()
        broken = Script("can", [reading(0), OSError("bus off"), OSError("bus off"), reading(1), ValueError("odd")])
        healthy = Script("meter", [Sample(START_NS + i * 10**9, {"grid_import_kwh": float(i)}) for i in range(5)])
        gateway = Gateway(nowhere(), [broken, healthy], rng=Hasty(1), counters=counters, say=said.append)
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            stop = asyncio.Event()
            done = tasks.create_task(gateway.run(stop))
            await broken.through.wait()
            await healthy.through.wait()
            stop.set()
            figures = await done
        assert broken.started == 4
        assert counters.by_label("source_failed") == {"can": 3}
        failures = [s.detail for s in said if s.event == "source_failed"]
        assert len(failures) == 2  # the same fault is said once
        assert failures[0].startswith("can: OSError: bus off")
        assert figures.sent == 5  # joined to one reading a second

    asyncio.run(scene())


def test_a_source_that_can_wait_is_held_back() -> None:
    async def scene(can_wait: bool) -> tuple[int, int]:
        source = Script("replay", [reading(i) for i in range(500)], can_wait)
        config = nowhere(batch_max=10, keep_max_readings=100)
        gateway = Gateway(config, [source], rng=Hasty(1), counters=Counters(), say=lambda _: None)
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            stop = asyncio.Event()
            done = tasks.create_task(gateway.run(stop))
            if not can_wait:
                await source.through.wait()
            while gateway.figures().sent < ROOM_BATCHES * 10:
                await asyncio.sleep(0)
            for _ in range(20):
                await asyncio.sleep(0)
            stop.set()
            figures = await done
        return figures.sent, figures.thinned

    assert asyncio.run(scene(can_wait=True)) == (ROOM_BATCHES * 10, 0)
    assert asyncio.run(scene(can_wait=False)) == (500, 0)


def test_two_starts_have_two_boots() -> None:
    async def boots() -> set[int]:
        made = [Gateway(nowhere(), [], rng=random.Random(7), counters=Counters()) for _ in range(50)]
        return {gateway.figures().boot_id for gateway in made}

    boot_ids = asyncio.run(boots())
    assert len(boot_ids) == 50
    assert all(0 < b < 2**63 for b in boot_ids)


def test_the_last_joined_reading_is_not_lost_at_the_end() -> None:
    async def scene() -> int:
        first, second = Script("can", [reading(0)]), Script("gps", [reading(0, lat_deg=45.0)])
        gateway = Gateway(nowhere(), [first, second], rng=Hasty(1), counters=Counters(), say=lambda _: None)
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            stop = asyncio.Event()
            done = tasks.create_task(gateway.run(stop))
            await first.through.wait()
            await second.through.wait()
            stop.set()
            return (await done).sent

    assert asyncio.run(scene()) == 1


def test_readings_that_wait_for_the_clock_survive_another_configuration() -> None:
    boot, known = 50 * 10**9, [False]
    base = nowhere(clock="auto", source=({"kind": "script", "name": "first"},), config_trial_s=86_400)
    scripts = {"first": Script("first", []), "second": Script("second", [])}
    for name, script in scripts.items():
        script.steps = [Sample(boot + k * 10**9, {"odometer_m": float(k)}) for k in range(5 if name == "first" else 3)]
    text = '[[source]]\nkind = "script"\nname = "second"\n'
    message = msgspec.json.encode(Signed(version=1, config=text, signature=""))

    async def scene() -> tuple[int, int]:
        counters, heard = Counters(), asyncio.Event()
        clock = Timekeeper(
            counters,
            wall=lambda: BUILD_NS + boot,
            boot=lambda: boot + (10**9 if known[0] else 0),
            system=lambda: ClockState("ntp", 20) if known[0] else ClockState(),
        )
        gateway = Gateway(
            base,
            [scripts["first"]],
            rng=Hasty(1),
            counters=counters,
            clock=clock,
            remote=RemoteConfig(base, lambda _m, _s: True, counters=counters, check=lambda _: None),
            make_source=lambda source: scripts[source.name],
            say=lambda what: heard.set() if what.event == "clock_known" else None,
        )
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            stop = asyncio.Event()
            done = tasks.create_task(gateway.run(stop))
            await scripts["first"].through.wait()
            gateway.on_message("fleet/v1/acme/truck-01/dn/config", message)
            await scripts["second"].through.wait()
            before = gateway.figures().sent
            known[0] = True
            await heard.wait()
            stop.set()
            await done
            return before, gateway.figures().sent

    assert asyncio.run(scene()) == (0, 8)


def test_a_receiver_among_the_sources_dates_the_others() -> None:
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    can, gps = Script("can", [Sample(boot_ns, {"odometer_m": 1.0})]), Script("gps", [])
    chosen = nowhere(clock="auto")

    async def scene() -> tuple[int, str, int]:
        counters, known = Counters(), asyncio.Event()
        clock = Timekeeper(counters, wall=lambda: 0, system=ClockState)
        gateway = Gateway(
            chosen,
            [can, gps],
            rng=Hasty(1),
            counters=counters,
            clock=clock,
            say=lambda what: known.set() if what.event == "clock_known" else None,
        )
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            stop = asyncio.Event()
            done = tasks.create_task(gateway.run(stop))
            await can.through.wait()
            before = gateway.figures().sent
            gps.anchor = (BUILD_NS + 10**9, time.monotonic())
            await known.wait()
            stop.set()
            await done
            return before, gateway.health().clock, gateway.figures().sent

    assert asyncio.run(scene()) == (0, "gps", 1)


@dataclass
class Keeper(Script):
    """A source that keeps its readings until they are safe here."""

    told: list[float] = field(default_factory=list)

    def on_durable(self, at_s: float) -> None:
        self.told.append(at_s)


@pytest.mark.parametrize("sources", [1, 2])
def test_a_source_is_told_when_what_it_gave_is_on_the_disk(tmp_path: Path, sources: int) -> None:
    async def scene() -> None:
        config = msgspec.structs.replace(nowhere(), outbox=OutboxConfig(max_mib=4, commit_s=0.1))
        opened = open_outbox(config, tmp_path / "outbox", None)
        kept = Keeper("node", [reading(i) for i in range(5)])
        other = [Script("other", [])] if sources == 2 else []
        gateway = Gateway(
            config, [kept, *other], rng=Hasty(1), counters=Counters(), say=lambda _: None, ring=opened.ring
        )
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            stop = asyncio.Event()
            done = tasks.create_task(gateway.run(stop))
            await kept.through.wait()
            given_s = asyncio.get_running_loop().time()
            assert kept.told[0] == float("-inf")
            before = len(kept.told)
            while len(kept.told) <= before:
                await asyncio.sleep(0.01)
            if sources == 1:
                while kept.told[-1] < given_s:
                    await asyncio.sleep(0.01)
            else:
                assert kept.told[-1] <= given_s  # the reading in work waits for the next cell
            stop.set()
            figures = await done
        assert figures.sent == 5
        assert sorted(kept.told) == kept.told
        again = Ring(disk_again(opened, tmp_path), device="truck-01", tenant="acme")
        assert again.recover().readings == 5  # the end waited for the disk

    asyncio.run(scene())


def disk_again(opened: Opened, folder: Path) -> FolderDisk:
    """The same folder after its gateway has ended."""
    opened.ring.disk.close()  # type: ignore[attr-defined]
    return FolderDisk(folder / "outbox", 4, 1 << 20)
