"""The gateway against a real broker: delivery through kill -9, refusals, versions of MQTT, TLS, birth and will."""

import asyncio
import contextlib
import getpass
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt
import msgspec
import pytest

from devices.actions import Say
from devices.config import Broker, GatewayConfig, Tls
from devices.counters import Counters
from devices.gateway import Gateway, run
from devices.wire import Ack, GatewayState, Sample
from ingest.decode import Message, decode

MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
START_NS = 1_700_000_000_000_000_000
PATIENCE_S = 60.0  # for everything a test waits for; far above what a loaded machine needs
STATE = "fleet/v1/acme/truck-01/up/state"

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed on this machine"),
]


class Hasty(random.Random):
    """Jitter at its smallest, so that a test does not wait."""

    def uniform(self, a: float, b: float) -> float:
        return a + min(0.02, b - a)


class Mosquitto:
    """A broker of this test, empty at each start."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port = free_port()
        self._conf = folder / "mosquitto.conf"
        listener = [
            f"listener {self.port} 127.0.0.1",
            "persistence false",
            "log_dest stderr",
            f"user {getpass.getuser()}",
        ]
        self._conf.write_text("\n".join([*listener, *(lines or ("allow_anonymous true",))]) + "\n")
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = await asyncio.create_subprocess_exec(
            MOSQUITTO, "-c", str(self._conf), stderr=asyncio.subprocess.PIPE
        )
        assert self._process.stderr is not None
        said = b""
        async for line in self._process.stderr:
            said += line
            if b"running" in line:
                return
        raise RuntimeError(said.decode())

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@contextlib.asynccontextmanager
async def mosquitto(folder: Path, *lines: str) -> AsyncIterator[Mosquitto]:
    broker = Mosquitto(folder, *lines)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.kill()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


@dataclass
class Given:
    """A source whose readings the test gives."""

    name: str = "given"
    queue: asyncio.Queue[Sample | None] = field(default_factory=asyncio.Queue)
    count: int = 0

    def give(self, n: int) -> None:
        for _ in range(n):
            self.queue.put_nowait(Sample(START_NS + self.count * 10**9, {"odometer_m": float(self.count)}))
            self.count += 1

    def end(self) -> None:
        self.queue.put_nowait(None)

    async def samples(self) -> AsyncIterator[Sample]:
        while (sample := await self.queue.get()) is not None:
            yield sample
            self.queue.task_done()


@dataclass
class Server:
    """What the server promises: stores, then confirms everything below the first gap."""

    confirms: bool = True
    stored: dict[int, float] = field(default_factory=dict)
    boot_id: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def next(self) -> int:
        n = 0
        while n in self.stored:
            n += 1
        return n

    async def serve(self, port: int, **options: object) -> None:
        with contextlib.suppress(aiomqtt.MqttError):
            silent = logging.Logger("server", logging.CRITICAL)  # it is cut off on purpose
            async with aiomqtt.Client("127.0.0.1", port, logger=silent, **options) as client:  # type: ignore[arg-type]
                await client.subscribe("fleet/v1/acme/truck-01/up/readings", qos=1)
                self.ready.set()
                async for message in client.messages:
                    await self.take(client, str(message.topic), bytes(message.payload))

    async def take(self, client: aiomqtt.Client, topic: str, payload: bytes) -> None:
        decoded = decode([Message(topic, payload, START_NS + 10**18)], {"truck-01": 0}, ["acme"], earliest_ns=0)
        assert not decoded.rejected
        columns = decoded.columns
        self.boot_id = int(columns["boot_id"][0])
        async with self.changed:
            for seq, value in zip(columns["seq"], columns["odometer_m"], strict=True):
                self.stored[int(seq)] = float(value)
            self.changed.notify_all()
        if self.confirms:
            reply = msgspec.json.encode(Ack(self.boot_id, self.next))
            await client.publish(topic.replace("up/readings", "dn/ack"), reply, qos=1)

    async def has(self, n: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.stored) >= n)


def config(port: int, **changes: object) -> GatewayConfig:
    broker = Broker(host="127.0.0.1", port=port, keepalive_s=5)
    base = GatewayConfig(device="truck-01", tenant="acme", broker=broker, batch_s=0.2, drain_s=20)
    return msgspec.structs.replace(base, **changes)


def with_broker(base: GatewayConfig, **changes: object) -> GatewayConfig:
    return msgspec.structs.replace(base, broker=msgspec.structs.replace(base.broker, **changes))


@pytest.fixture(autouse=True)
def _nothing_unexpected_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.WARNING)
    yield
    errors = [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.ERROR]
    assert errors == []


@dataclass
class Heard:
    """What a gateway said, and waiting for it."""

    said: list[Say] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, what: Say) -> None:
        self.said.append(what)
        self.news.set()

    def events(self) -> list[str]:
        return [s.event for s in self.said]

    async def event(self, name: str, times: int = 1) -> Say:
        while self.events().count(name) < times:
            self.news.clear()
            await self.news.wait()
        return [s for s in self.said if s.event == name][times - 1]


def test_every_reading_survives_kill_9_of_the_broker(tmp_path: Path) -> None:
    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), mosquitto(tmp_path) as broker, asyncio.TaskGroup() as tasks:
            counters, source, heard = Counters(), Given(), Heard()
            deaf = Server(confirms=False)  # its broker and its disk will be lost
            first = tasks.create_task(deaf.serve(broker.port))
            await deaf.ready.wait()
            gateway = Gateway(config(broker.port), [source], rng=Hasty(1), counters=counters, say=heard)
            done = tasks.create_task(gateway.run(asyncio.Event()))
            source.give(50)
            await deaf.has(50)
            assert gateway.figures().unconfirmed == 50  # published, perhaps PUBACKed, and still kept
            await broker.kill()
            await heard.event("broker_lost")
            source.give(50)
            await first
            await broker.start()
            server = Server()
            second = tasks.create_task(server.serve(broker.port))
            source.give(50)
            source.end()
            figures = await done  # ends by itself: sources at their end, all confirmed
            second.cancel()
            assert server.stored == {i: float(i) for i in range(150)}
            assert (figures.sent, figures.confirmed, figures.thinned) == (150, 150, 0)
            assert figures.reconnects >= 1
            assert counters["readings_confirmed"] == 150

    asyncio.run(scene())


def test_figures_come_within_two_batch_periods_of_the_start(tmp_path: Path) -> None:
    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), mosquitto(tmp_path) as broker, asyncio.TaskGroup() as tasks:
            server, source, stop = Server(), Given(), asyncio.Event()
            serving = tasks.create_task(server.serve(broker.port))
            await server.ready.wait()
            slow = config(broker.port, batch_s=3600)
            done = tasks.create_task(run(slow, source, rng=Hasty(1), counters=Counters(), stop=stop))
            source.give(1)
            await server.has(1)  # though a batch would take an hour
            stop.set()
            figures = await done
            assert figures.unconfirmed == 0
            serving.cancel()

    asyncio.run(scene())


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
def test_each_version_of_mqtt_delivers(tmp_path: Path, protocol: str) -> None:
    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), mosquitto(tmp_path) as broker, asyncio.TaskGroup() as tasks:
            server, source, heard = Server(), Given(), Heard()
            serving = tasks.create_task(server.serve(broker.port))
            await server.ready.wait()
            chosen = with_broker(config(broker.port), protocol=protocol)
            gateway = Gateway(chosen, [source], rng=Hasty(1), counters=Counters(), say=heard)
            source.give(20)
            source.end()
            figures = await gateway.run(asyncio.Event())
            assert figures.confirmed == 20
            assert (await heard.event("connected")).detail.endswith("3.1.1" if protocol == "3.1.1" else "MQTT 5")
            serving.cancel()

    asyncio.run(scene())


def test_no_subscriber_means_not_delivered(tmp_path: Path) -> None:
    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), mosquitto(tmp_path) as broker, asyncio.TaskGroup() as tasks:
            counters, source, heard = Counters(), Given(), Heard()
            gateway = Gateway(config(broker.port), [source], rng=Hasty(1), counters=counters, say=heard)
            done = tasks.create_task(gateway.run(asyncio.Event()))
            source.give(5)
            assert "no subscriber" in (await heard.event("publish_refused")).detail
            assert counters.by_label("publish_refused")["no subscriber"] >= 1
            assert gateway.figures().unconfirmed == 5
            server = Server()
            serving = tasks.create_task(server.serve(broker.port))
            source.end()
            await done
            assert sorted(server.stored) == list(range(5))
            serving.cancel()

    asyncio.run(scene())


def test_a_denied_topic_is_said(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read fleet/v1/acme/truck-01/dn/ack\n")
    acl.chmod(0o644)

    async def scene() -> None:
        rules = ("allow_anonymous true", f"acl_file {acl}")
        async with asyncio.timeout(PATIENCE_S), mosquitto(tmp_path, *rules) as broker, asyncio.TaskGroup() as tasks:
            source, heard, stop = Given(), Heard(), asyncio.Event()
            quick = config(broker.port, drain_s=0)
            gateway = Gateway(quick, [source], rng=Hasty(1), counters=Counters(), say=heard)
            done = tasks.create_task(gateway.run(stop))
            source.give(1)
            assert "not authorized" in (await heard.event("publish_refused")).detail
            stop.set()
            assert (await done).unconfirmed == 1

    asyncio.run(scene())


@pytest.mark.parametrize("protocol", ["auto", "3.1.1"])
def test_a_wrong_password_is_said_once_and_tried_again(tmp_path: Path, protocol: str) -> None:
    passwords = tmp_path / "passwords"
    passwd = shutil.which("mosquitto_passwd")
    if passwd is None:
        pytest.skip("mosquitto_passwd is not installed on this machine")
    subprocess.run([passwd, "-c", "-b", str(passwords), "truck-01", "right"], check=True, capture_output=True)
    passwords.chmod(0o644)

    async def scene() -> None:
        rules = ("allow_anonymous false", f"password_file {passwords}")
        async with asyncio.timeout(PATIENCE_S), mosquitto(tmp_path, *rules) as broker, asyncio.TaskGroup() as tasks:
            source, heard, stop, counters = Given(), Heard(), asyncio.Event(), Counters()
            chosen = with_broker(config(broker.port, drain_s=0), username="truck-01", protocol=protocol)
            wrong = Gateway(chosen, [source], rng=Hasty(1), counters=counters, password="wrong", say=heard)
            done = tasks.create_task(wrong.run(stop))
            detail = (await heard.event("broker_unreachable")).detail
            assert "broker.password_env" in detail
            assert str(broker.port) in detail
            stop.set()
            await done
            assert heard.events().count("broker_unreachable") == 1
            assert counters["connect_failed"] >= 1

            stop.clear()
            right = Gateway(chosen, [Given()], rng=Hasty(1), counters=counters, password="right", say=heard)
            done = tasks.create_task(right.run(stop))
            await heard.event("connected")
            stop.set()
            await done

    asyncio.run(scene())


def test_an_absent_broker_is_said_once_and_awaited(tmp_path: Path) -> None:
    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            broker = Mosquitto(tmp_path)
            server, source, heard, counters = Server(), Given(), Heard(), Counters()
            gateway = Gateway(config(broker.port), [source], rng=Hasty(1), counters=counters, say=heard)
            done = tasks.create_task(gateway.run(asyncio.Event()))
            source.give(3)
            source.end()
            assert f"127.0.0.1:{broker.port}" in (await heard.event("broker_unreachable")).detail
            await broker.start()
            serving = tasks.create_task(server.serve(broker.port))
            await done
            serving.cancel()
            await asyncio.wait([serving])
            await broker.kill()
            assert sorted(server.stored) == [0, 1, 2]
            assert heard.events().count("broker_unreachable") == 1

    asyncio.run(scene())


def test_a_stop_without_a_broker_ends_and_counts_what_is_left() -> None:
    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            source, heard, stop = Given(), Heard(), asyncio.Event()
            alone = config(free_port(), drain_s=0)
            gateway = Gateway(alone, [source], rng=random.Random(1), counters=Counters(), say=heard)
            done = tasks.create_task(gateway.run(stop))
            source.give(7)
            await heard.event("broker_unreachable")
            await source.queue.join()
            stop.set()
            figures = await done
            assert (figures.sent, figures.unconfirmed, figures.connected) == (7, 7, False)

    asyncio.run(scene())


def test_a_broker_that_only_knows_3_1_1_is_found_by_auto(caplog: pytest.LogCaptureFixture) -> None:
    amqtt_broker = pytest.importorskip("amqtt.broker")
    port = free_port()

    async def scene() -> None:
        settings = {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
        broker = amqtt_broker.Broker(settings)
        await broker.start()
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            server, source, heard = Server(), Given(), Heard()
            serving = tasks.create_task(server.serve(port))
            await server.ready.wait()
            gateway = Gateway(config(port), [source], rng=Hasty(1), counters=Counters(), say=heard)
            source.give(10)
            source.end()
            figures = await gateway.run(asyncio.Event())
            assert figures.confirmed == 10
            assert "3.1.1" in (await heard.event("connected")).detail
            serving.cancel()
            await asyncio.wait([serving])
        await broker.shutdown()

    asyncio.run(scene())
    caplog.clear()  # amqtt logs the refusal of MQTT 5 as an error


# paho leaves the socket of a failed handshake to the garbage collector
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_tls_with_certificates_on_both_sides(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed on this machine")

    def certify(name: str, *more: str) -> None:
        new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}"]
        subprocess.run([openssl, *new, *files, *more], cwd=tmp_path, check=True, capture_output=True)
        (tmp_path / f"{name}.key").chmod(0o644)

    certify("authority")
    signed = ("-CA", "authority.pem", "-CAkey", "authority.key")
    certify("broker", "-addext", "subjectAltName=IP:127.0.0.1", *signed)
    certify("truck-01", *signed)
    rules = [f"cafile {tmp_path}/authority.pem", f"certfile {tmp_path}/broker.pem", f"keyfile {tmp_path}/broker.key"]
    rules += ["require_certificate true", "use_identity_as_username true", "allow_anonymous false"]

    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), mosquitto(tmp_path, *rules) as broker, asyncio.TaskGroup() as tasks:
            server, source, heard, stop = Server(), Given(), Heard(), asyncio.Event()
            ours = aiomqtt.TLSParameters(
                f"{tmp_path}/authority.pem", f"{tmp_path}/broker.pem", f"{tmp_path}/broker.key"
            )
            serving = tasks.create_task(server.serve(broker.port, tls_params=ours))
            await server.ready.wait()
            tls = Tls(ca="authority.pem", cert="truck-01.pem", key="truck-01.key")
            chosen = with_broker(config(broker.port), tls=tls)
            gateway = Gateway(chosen, [source], rng=Hasty(1), counters=Counters(), base=tmp_path, say=heard)
            source.give(10)
            source.end()
            assert (await gateway.run(stop)).confirmed == 10

            stranger = with_broker(config(broker.port, drain_s=0), tls=Tls())  # trusts the system's authorities only
            other = Gateway(stranger, [Given()], rng=Hasty(1), counters=Counters(), say=heard)
            done = tasks.create_task(other.run(stop))
            assert "certificate" in (await heard.event("broker_unreachable")).detail.lower()
            stop.set()
            await done
            serving.cancel()

    asyncio.run(scene())


async def _states(port: int, seen: "asyncio.Queue[GatewayState]", ready: asyncio.Event) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(STATE, qos=1)
        ready.set()
        async for message in client.messages:
            seen.put_nowait(msgspec.json.decode(bytes(message.payload), type=GatewayState))


def _command(tmp_path: Path, port: int) -> list[str]:
    (tmp_path / "trip.csv").write_text(
        "time,odometer_m\n2024-01-01T00:00:00Z,1\n2024-01-01T00:00:01Z,2\n2090-01-01T00:00:00Z,3\n"
    )
    (tmp_path / "gateway.toml").write_text(
        'device = "truck-01"\ntenant = "acme"\nbatch_s = 0.2\ndrain_s = 0.1\n'
        f'[broker]\nhost = "127.0.0.1"\nport = {port}\n'
        '[[source]]\nkind = "csv"\npath = "trip.csv"\n'
    )
    return [sys.executable, "-m", "devices", "gateway", "--config", str(tmp_path / "gateway.toml")]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_command_is_born_and_dies_with_one_boot(tmp_path: Path, end: signal.Signals) -> None:
    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), mosquitto(tmp_path) as broker, asyncio.TaskGroup() as tasks:
            seen: asyncio.Queue[GatewayState] = asyncio.Queue()
            ready = asyncio.Event()
            watching = tasks.create_task(_states(broker.port, seen, ready))
            server = Server(confirms=end != signal.SIGINT)
            serving = tasks.create_task(server.serve(broker.port))
            await ready.wait()
            await server.ready.wait()
            command = _command(tmp_path, broker.port)
            env = {**os.environ, "PYTHONPATH": str(Path.cwd())}
            gateway = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE, env=env)
            born = await seen.get()
            await server.has(2)
            gateway.send_signal(end)
            died = await seen.get()
            _, said = await gateway.communicate()
            assert (born.status, died.status) == ("online", "offline")
            assert born.boot_id == died.boot_id == server.boot_id
            assert born.sources == ("csv",)
            assert gateway.returncode == (-9 if end == signal.SIGKILL else 0)
            if end == signal.SIGINT:
                assert b"2 readings were not confirmed" in said
                assert died.unconfirmed == 2
            watching.cancel()
            serving.cancel()

    asyncio.run(scene())


def test_two_gateways_with_one_id_are_told(tmp_path: Path) -> None:
    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), mosquitto(tmp_path) as broker, asyncio.TaskGroup() as tasks:
            stop, heard = asyncio.Event(), Heard()
            twins = [
                Gateway(config(broker.port, drain_s=0), [Given()], rng=random.Random(1), counters=Counters(), say=heard)
                for _ in range(2)
            ]
            done = [tasks.create_task(twin.run(stop)) for twin in twins]
            assert "second gateway" in (await heard.event("broker_lost")).detail
            stop.set()
            await asyncio.wait(done)

    asyncio.run(scene())
