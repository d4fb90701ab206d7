"""Devices on a broker of their own, a real one: units, times, what is stale, who is silent."""

import asyncio
import contextlib
import getpass
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from devices.broker_client import LinkError
from devices.config import ConfigError
from devices.counters import Counters
from devices.source_mqtt import make
from devices.sources import Context
from devices.wire import Sample
from tests.pace import free_port

MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed on this machine")
GRID = {"topic": "hall/grid", "key": "energy.total_wh", "signal": "grid_import_kwh", "factor": 0.001}
ROOM = {"topic": "hall/room", "signal": "indoor_temp_c"}


@contextlib.asynccontextmanager
async def mosquitto(folder: Path, *lines: str) -> AsyncIterator[int]:
    port = free_port()
    conf = folder / f"mosquitto-{port}.conf"
    listener = [f"listener {port} 127.0.0.1", "persistence false", "log_dest stderr", f"user {getpass.getuser()}"]
    conf.write_text("\n".join([*listener, *(lines or ("allow_anonymous true",))]) + "\n")
    assert MOSQUITTO is not None
    process = await asyncio.create_subprocess_exec(MOSQUITTO, "-c", str(conf), stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    try:
        async for line in process.stderr:
            if b"running" in line:
                break
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Hall:
    """A source on a broker, and somebody who publishes."""

    def __init__(self, port: int, *values: dict[str, Any], **options: Any) -> None:
        self.counters = Counters()
        self.context = Context(name="hall", device="wh-1", counters=self.counters)
        broker = {"host": "127.0.0.1", "port": port}
        self.source = make({"broker": broker, "every_s": 0.05, **options, "value": list(values)}, self.context)

    @contextlib.asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[tuple[AsyncIterator[Sample], aiomqtt.Client]]:
        """Readings, once the source is known to hear, and a client to publish with."""
        samples = self.source.samples()
        async with aiomqtt.Client("127.0.0.1", port) as client:
            try:
                yield samples, client
            finally:
                await samples.aclose()  # type: ignore[attr-defined]


async def next_of(samples: AsyncIterator[Sample], client: aiomqtt.Client, *messages: tuple[str, str]) -> Sample:
    """The reading that ``messages`` make. They are repeated until the source, which subscribes meanwhile, has heard."""
    async with asyncio.timeout(20):
        coming = asyncio.ensure_future(anext(samples))
        while not coming.done():
            for topic, payload in messages:
                await client.publish(topic, payload, qos=1)
            await asyncio.wait({coming}, timeout=0.02)
        return await coming


@needs_broker
def test_numbers_of_several_topics_become_one_reading_in_the_units_of_their_signals(tmp_path: Path) -> None:
    async def run() -> None:
        async with mosquitto(tmp_path) as port:
            hall = Hall(port, GRID, ROOM, every_s=0.6)
            async with hall.listening(port) as (samples, client):
                before_ns = hall.context.now_ns()
                sample = await next_of(
                    samples, client, ("hall/grid", '{"energy": {"total_wh": 1234567}}'), ("hall/room", "-18.5")
                )
                assert sample.values == {"grid_import_kwh": pytest.approx(1234.567), "indoor_temp_c": -18.5}
                assert before_ns < sample.time_ns <= hall.context.now_ns()

    asyncio.run(run())


@needs_broker
def test_what_is_no_number_is_absent_and_counted(tmp_path: Path) -> None:
    async def run() -> None:
        power = {"topic": "hall/grid", "key": "kw", "signal": "grid_power_kw"}
        async with mosquitto(tmp_path) as port:
            hall = Hall(port, GRID, power)
            async with hall.listening(port) as (samples, client):
                for junk in ("null", '"12"', "true", "[1]", "{}"):
                    message = f'{{"kw": 1, "energy": {{"total_wh": {junk}}}}}'
                    sample = await next_of(samples, client, ("hall/grid", message))
                    assert sample.values == {"grid_power_kw": 1}
                torn = ("hall/grid", '{"kw": 1')
                nan = ("hall/grid", '{"kw": NaN}')
                while sample.values != {"grid_power_kw": 2}:
                    assert sample.values == {"grid_power_kw": 1}  # of a message still under way
                    sample = await next_of(samples, client, torn, nan, ("hall/grid", '{"kw": 2}'))
        assert hall.counters["message_unreadable"] >= 2
        assert hall.counters.by_label("message_value_unreadable")["grid_import_kwh"] >= 3

    asyncio.run(run())


@needs_broker
def test_a_kept_message_is_not_taken_for_new_unless_it_has_its_own_time(tmp_path: Path) -> None:
    async def run() -> None:
        stamped = {**ROOM, "topic": "hall/stamped", "key": "t", "time": "at"}
        room = {"topic": "hall/grid", "signal": "grid_power_kw"}
        async with mosquitto(tmp_path) as port:
            async with aiomqtt.Client("127.0.0.1", port) as client:
                await client.publish("hall/grid", "50", qos=1, retain=True)
                await client.publish("hall/stamped", '{"t": 4, "at": "2026-11-22T08:00:00Z"}', qos=1, retain=True)
            hall = Hall(port, stamped, room, every_s=0)  # each message a reading
            async with hall.listening(port) as (samples, client):
                async with asyncio.timeout(20):
                    first = await anext(samples)
                assert first == Sample(1_795_334_400 * 10**9, {"indoor_temp_c": 4})
                repeated = ("hall/stamped", '{"t": 4, "at": "2026-11-22T08:00:00Z"}')
                fresh = await next_of(samples, client, repeated, ("hall/grid", "51"))
                assert fresh.values == {"grid_power_kw": 51}
                assert hall.counters.by_label("message_stale")["hall"] >= 2

    asyncio.run(run())


@needs_broker
def test_times_in_milliseconds(tmp_path: Path) -> None:
    async def run() -> Sample:
        value = {**ROOM, "key": "t", "time": "ts", "time_unit": "ms"}
        async with mosquitto(tmp_path) as port, Hall(port, value).listening(port) as (samples, client):
            return await next_of(samples, client, ("hall/room", '{"t": 5, "ts": 1795334400123}'))

    assert asyncio.run(run()).time_ns == 1_795_334_400_123_000_000


@needs_broker
def test_a_counter_that_cannot_be_is_refused(tmp_path: Path) -> None:
    async def run() -> None:
        async with mosquitto(tmp_path) as port:
            hall = Hall(
                port, {**GRID, "max_per_h": 100}, {"topic": "hall/grid", "key": "kw", "signal": "grid_power_kw"}
            )
            async with hall.listening(port) as (samples, client):
                await next_of(samples, client, ("hall/grid", '{"kw": 1, "energy": {"total_wh": 5000000}}'))
                refused = hall.counters.by_label
                while "grid_import_kwh: below_zero" not in refused("meter_value_refused"):
                    wrong = ("hall/grid", '{"kw": 2, "energy": {"total_wh": -127093949800}}')
                    sample = await next_of(samples, client, wrong)
                    assert sample.values.get("grid_import_kwh", 5000) == 5000  # of a message still under way

    asyncio.run(run())


@needs_broker
def test_a_silent_topic_is_named_and_so_is_its_return(tmp_path: Path) -> None:
    async def run() -> None:
        async with mosquitto(tmp_path) as port:
            hall = Hall(port, GRID, ROOM, silent_s=0.3, every_s=0.02)
            async with hall.listening(port) as (samples, client):
                while not hall.counters["meter_silent"]:
                    await next_of(samples, client, ("hall/room", "1"))
                assert hall.counters.by_label("meter_silent") == {"hall/grid": 1}
                assert hall.source.faults == ("topic hall/grid is silent",)  # type: ignore[attr-defined]
                while not hall.counters["meter_returned"]:
                    await next_of(samples, client, ("hall/grid", '{"energy": {"total_wh": 1}}'), ("hall/room", "1"))
                assert hall.counters.by_label("meter_returned") == {"hall/grid": 1}

    asyncio.run(run())


@needs_broker
def test_a_broker_that_is_lost_and_one_that_is_away_are_named(tmp_path: Path) -> None:
    async def run() -> None:
        async with mosquitto(tmp_path) as port:
            hall = Hall(port, ROOM)
            samples = hall.source.samples()
            async with aiomqtt.Client("127.0.0.1", port) as client:
                await next_of(samples, client, ("hall/room", "1"))
        async with asyncio.timeout(20):
            with pytest.raises(LinkError, match=f"127.0.0.1:{port}"):
                [sample async for sample in samples]  # what was heard before may still come
            with pytest.raises(LinkError, match=f"127.0.0.1:{port}.*refused"):
                await anext(hall.source.samples())

    asyncio.run(run())


@needs_broker
def test_a_refused_login_tells_what_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALL_PASSWORD", "wrong")

    async def run() -> None:
        users = tmp_path / "users"
        users.write_text("")
        users.chmod(0o600)
        async with mosquitto(tmp_path, "allow_anonymous false", f"password_file {users}") as port:
            broker = {"host": "127.0.0.1", "port": port, "username": "hall", "password_env": "HALL_PASSWORD"}
            hall = Hall(port, ROOM, broker=broker)
            with pytest.raises(LinkError, match="refuses the login"):
                await anext(hall.source.samples())

    asyncio.run(run())


@pytest.mark.parametrize(
    ("values", "options", "key", "mend"),
    [
        ([], {}, "value", "length >= 1"),
        ([{**ROOM, "signal": "indoor_c"}], {}, "value[0].signal", "did you mean 'indoor_temp_c'?"),
        ([ROOM, {**ROOM, "topic": "b"}], {}, "value[1].signal", "fed twice"),
        ([{**ROOM, "topic": "hall/+"}], {}, "value[0].topic", "wildcard"),
        ([ROOM, {**GRID, "topic": "hall/room", "time": "ts"}], {}, "value", "do not agree in time"),
        ([ROOM], {"brokr": 1}, "brokr", "did you mean broker?"),
    ],
)
def test_what_is_wrong_in_the_configuration_is_named(
    values: list[dict[str, Any]], options: dict[str, Any], key: str, mend: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Hall(1883, *values, **options)
    assert caught.value.key == f"source.hall.{key}"
    assert mend in caught.value.mend
