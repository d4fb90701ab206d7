"""A gateway in service, with a real broker: signed configuration, missing sources, health page, systemd, the clock."""

import asyncio
import base64
import contextlib
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import pytest

from devices import core
from devices.clock import BUILD_NS, ClockState, Timekeeper
from devices.config import ConfigError, GatewayConfig, SourceConfig, source_configs
from devices.counters import Counters
from devices.gateway import Gateway
from devices.remote_config import RemoteConfig, Signed, signed_bytes
from devices.signing import make_ed25519, sign
from devices.sources import Source
from devices.wire import AppliedConfig, GatewayState, Sample
from tests.system.test_gateway_broker import (
    MOSQUITTO,
    PATIENCE_S,
    STATE,
    Given,
    Hasty,
    Heard,
    Server,
    config,
    free_port,
    mosquitto,
)

DOWN = "fleet/v1/acme/truck-01/dn/config"
ROOT = Path(__file__).resolve().parents[2]
S = 10**9

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed on this machine"),
]


def mac(message: bytes) -> bytes:
    """Stands for Ed25519, so that these tests run without the extra; one below uses the real one."""
    return hmac.digest(b"the operator's", message, "sha512")


def signed(version: int, text: str, by: Callable[[bytes], bytes] = mac) -> bytes:
    signature = base64.b64encode(by(signed_bytes("acme", "truck-01", version, text))).decode()
    return msgspec.json.encode(Signed(version=version, config=text, signature=signature))


@dataclass
class Bench:
    """A gateway with sources by name, its server, and all it said."""

    base: GatewayConfig
    counters: Counters = field(default_factory=Counters)
    heard: Heard = field(default_factory=Heard)
    server: Server = field(default_factory=Server)
    given: dict[str, Given] = field(default_factory=dict)
    states: "asyncio.Queue[GatewayState]" = field(default_factory=asyncio.Queue)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def make(self, source: SourceConfig) -> Source:
        if source.kind != "given":
            raise ConfigError("test", source.name, "there is no such kind")
        return self.given.setdefault(source.name, Given(source.name))

    def check(self, config: GatewayConfig) -> None:
        for source in source_configs(config, "test"):
            self.make(source)

    @contextlib.asynccontextmanager
    async def running(self, tasks: asyncio.TaskGroup, port: int, folder: Path | None = None) -> AsyncIterator[Gateway]:
        verify: Callable[[bytes, bytes], bool] = lambda m, s: hmac.compare_digest(mac(m), s)  # noqa: E731
        remote = RemoteConfig(self.base, verify, counters=self.counters, check=self.check, folder=folder)
        sources = [self.make(s) for s in source_configs(self.base, "test")]
        gateway = Gateway(
            self.base,
            sources,
            rng=Hasty(1),
            counters=self.counters,
            say=self.heard,
            remote=remote,
            make_source=self.make,
        )
        ready = asyncio.Event()
        helpers = [tasks.create_task(self.server.serve(port)), tasks.create_task(watch(port, self.states, ready))]
        await self.server.ready.wait()
        await ready.wait()
        running = tasks.create_task(gateway.run(self.stop))
        try:
            yield gateway
        finally:
            self.stop.set()
            await asyncio.wait([running])
            for helper in helpers:
                helper.cancel()

    async def state(self, wanted: Callable[[GatewayState], bool]) -> GatewayState:
        while not wanted(state := await self.states.get()):
            pass
        return state


async def watch(port: int, seen: "asyncio.Queue[GatewayState]", ready: asyncio.Event) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(STATE, qos=1)
        ready.set()
        async for message in client.messages:
            seen.put_nowait(msgspec.json.decode(bytes(message.payload), type=GatewayState))


async def publish(port: int, payload: bytes) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.publish(DOWN, payload, qos=1, retain=True)


@pytest.fixture
def _state_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "STATE_GAP_S", 0.05)


def bench(port: int, **changes: object) -> Bench:
    return Bench(config(port, source=({"kind": "given", "name": "first"},), drain_s=5, **changes))


@pytest.mark.usefixtures("_state_at_once")
def test_a_signed_configuration_is_applied_confirmed_and_kept(tmp_path: Path) -> None:
    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), mosquitto(tmp_path) as broker, asyncio.TaskGroup() as tasks:
            b = bench(broker.port)
            text = '[[source]]\nkind = "given"\nname = "second"\n'
            async with b.running(tasks, broker.port, tmp_path) as gateway:
                b.given["first"].give(5)
                await b.server.has(5)
                await publish(broker.port, signed(3, text))
                await b.heard.event("config_applied")
                b.given["second"].give(5)
                await b.server.has(10)
                await b.heard.event("config_kept")
                state = await b.state(lambda s: s.config is not None and s.config.version == 3 and not s.config.trial)
                assert state.config == AppliedConfig(3, Signed(version=3, config=text, signature="").sha256)
                assert state.sources == ("second",)
                await publish(broker.port, signed(2, text))
                assert "older_version" in (await b.heard.event("config_refused")).detail
                assert gateway.figures().confirmed == 10
            assert sorted(b.server.stored) == list(range(10))
            assert [b.server.stored[i] for i in range(10)] == [0, 1, 2, 3, 4] * 2  # nothing lost on the way

    asyncio.run(scene())


@pytest.mark.usefixtures("_state_at_once")
def test_a_silent_server_brings_the_sources_back_and_no_reading_is_lost(tmp_path: Path) -> None:
    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), mosquitto(tmp_path) as broker, asyncio.TaskGroup() as tasks:
            b = bench(broker.port, config_trial_s=1.0)
            b.server.confirms = False
            async with b.running(tasks, broker.port) as gateway:
                b.given["first"].give(5)
                await publish(broker.port, signed(1, '[[source]]\nkind = "given"\nname = "second"\n'))
                await b.heard.event("config_applied")
                b.given["second"].give(5)
                await b.heard.event("config_rolled_back")
                state = await b.state(lambda s: s.config is not None and s.config.refused == "rolled_back")
                assert state.sources == ("first",)
                assert state.config == AppliedConfig(refused="rolled_back")
                b.given["first"].give(5)
                b.server.confirms = True
                await b.server.has(gateway.figures().sent)
            assert gateway.figures().unconfirmed == 0
            assert gateway.figures().sent == len(b.server.stored) >= 10
            assert b.counters.by_label("config_rolled_back") == {"server_silent": 1}

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (signed(1, "batch_s = 5", by=lambda _: b"x" * 64), "bad_signature"),
        (signed(1, 'device = "truck-02"'), "invalid"),
        (signed(1, '[[source]]\nkind = "none"\n'), "invalid"),
        (b"\x00nonsense", "unreadable"),
    ],
)
def test_what_is_refused_disturbs_nothing(tmp_path: Path, payload: bytes, reason: str) -> None:
    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), mosquitto(tmp_path) as broker, asyncio.TaskGroup() as tasks:
            b = bench(broker.port)
            await publish(broker.port, payload)  # retained: it is there before the gateway
            async with b.running(tasks, broker.port) as gateway:
                assert (await b.heard.event("config_refused")).detail.startswith(reason)
                b.given["first"].give(10)
                await b.server.has(10)
                assert gateway.figures().reconnects == 0
            assert b.counters.by_label("config_refused") == {reason: 1}

    asyncio.run(scene())


def test_readings_wait_for_the_clock_and_arrive_with_their_dates(tmp_path: Path) -> None:
    known = False
    boot = 50 * S

    async def scene() -> None:
        nonlocal known, boot
        async with asyncio.timeout(PATIENCE_S), mosquitto(tmp_path) as broker, asyncio.TaskGroup() as tasks:
            counters, heard, server, source, stop = Counters(), Heard(), Server(), Given(), asyncio.Event()
            serving = tasks.create_task(server.serve(broker.port))
            await server.ready.wait()
            clock = Timekeeper(
                counters,
                wall=lambda: BUILD_NS + boot,
                boot=lambda: boot,
                system=lambda: ClockState("ntp", 20) if known else ClockState(),
            )
            chosen = config(broker.port, clock="auto")
            gateway = Gateway(chosen, [source], rng=Hasty(1), counters=counters, say=heard, clock=clock)
            running = tasks.create_task(gateway.run(stop))
            for k in range(10):
                source.queue.put_nowait(Sample(boot, {"odometer_m": float(k)}))
                boot += S
            await source.queue.join()
            await heard.event("connected")
            await heard.event("clock_unknown")
            assert (gateway.figures().sent, gateway.health().undated) == (0, 10)
            known = True
            boot += S
            await heard.event("clock_known")
            await server.has(10)
            assert gateway.health().clock == "ntp"
            stop.set()
            await running
            serving.cancel()
            assert [server.stored[k] for k in range(10)] == list(range(10))

    asyncio.run(scene())


@dataclass
class Service:
    """The command as systemd would run it."""

    process: asyncio.subprocess.Process
    health_port: int

    async def health(self) -> dict[str, Any]:
        def fetch() -> Any:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/health.json", timeout=PATIENCE_S) as page:
                return json.load(page)

        got: dict[str, Any] = await asyncio.to_thread(fetch)
        return got


@contextlib.asynccontextmanager
async def service(folder: Path, port: int, sources: str, text: str = "", **environ: str) -> AsyncIterator[Service]:
    health_port = free_port()
    (folder / "gateway.toml").write_text(
        f'device = "truck-01"\ntenant = "acme"\nbatch_s = 0.2\ndrain_s = 5\nhealth_port = {health_port}\n{text}\n'
        f'[broker]\nhost = "127.0.0.1"\nport = {port}\n{sources}'
    )
    command = [sys.executable, "-m", "devices", "gateway", "--config", str(folder / "gateway.toml")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), **environ}
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE, env=env)
    try:
        yield Service(process, health_port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_the_command_starts_with_what_is_there_names_the_rest_and_takes_it_up(tmp_path: Path) -> None:
    sources = (
        '[[source]]\nkind = "csv"\nname = "good"\npath = "good.csv"\n'
        '[[source]]\nkind = "csv"\nname = "unplugged"\npath = "later.csv"\n'
        '[[source]]\nkind = "no-such-kind"\nname = "unknown"\n'
        '[[source]]\nkind = "csv"\nname = "folder"\npath = "."\n'
    )
    (tmp_path / "good.csv").write_text("time,odometer_m\n2024-01-01T00:00:00Z,1\n2024-01-01T00:00:10Z,2\n")
    later = "time,odometer_m\n2024-01-01T00:01:00Z,3\n2024-01-01T00:02:00Z,4\n"

    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), mosquitto(tmp_path) as broker, asyncio.TaskGroup() as tasks:
            server, ready = Server(), asyncio.Event()
            seen: asyncio.Queue[GatewayState] = asyncio.Queue()
            helpers = [tasks.create_task(server.serve(broker.port)), tasks.create_task(watch(broker.port, seen, ready))]
            await server.ready.wait()
            await ready.wait()
            async with service(
                tmp_path, broker.port, sources.replace('csv"\nname = "good', 'csv"\nspeed = 0\nname = "good')
            ) as gateway:
                await seen.get()
                health: dict[str, Any] = {"sources": []}
                while sum(bool(s["error"]) for s in health["sources"]) < 3:
                    health = await gateway.health()
                errors = {s["name"]: s["error"] for s in health["sources"]}
                assert errors["good"] == ""
                assert "later.csv" in errors["unplugged"]
                assert "there is no kind 'no-such-kind'" in errors["unknown"]
                assert "Is a directory" in errors["folder"]
                (tmp_path / "later.new").write_text(later)
                (tmp_path / "later.new").rename(tmp_path / "later.csv")
                while errors["unplugged"]:
                    health = await gateway.health()
                    errors = {s["name"]: s["error"] for s in health["sources"]}
                assert health["counters"]["source_failed"] >= 3
                gateway.process.send_signal(signal.SIGTERM)
                _, said = await gateway.process.communicate()
                assert gateway.process.returncode == 0, said
                assert b"source_returned" in said
                assert said.count(b"there is no kind") == 1  # said once, not at each try
            for helper in helpers:
                helper.cancel()
            assert 3.0 in server.stored.values()

    asyncio.run(scene())


def test_systemd_is_told_that_it_is_ready_alive_and_stopping(tmp_path: Path) -> None:
    (tmp_path / "trip.csv").write_text("time,odometer_m\n2024-01-01T00:00:00Z,1\n2090-01-01T00:00:00Z,2\n")

    async def scene() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(str(tmp_path / "notify"))
            systemd.settimeout(PATIENCE_S)
            source = '[[source]]\nkind = "csv"\npath = "trip.csv"\n'
            environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"}
            async with (
                asyncio.timeout(PATIENCE_S),
                service(tmp_path, free_port(), source, 'clock = "auto"', **environ) as gateway,
            ):
                heard = [(await asyncio.to_thread(systemd.recv, 100)).decode() for _ in range(4)]
                assert heard == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]
                gateway.process.send_signal(signal.SIGTERM)
                while heard[-1] != "STOPPING=1":
                    heard.append((await asyncio.to_thread(systemd.recv, 100)).decode())
                assert await gateway.process.wait() == 0

    asyncio.run(scene())


def test_the_command_takes_configuration_signed_with_a_real_key(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="the package cryptography (extra enrol) is not installed")
    (tmp_path / "a.csv").write_text("time,odometer_m\n2024-01-01T00:00:00Z,1\n2090-01-01T00:00:00Z,2\n")
    (tmp_path / "b.csv").write_text("time,odometer_m\n2024-01-02T00:00:00Z,7\n2090-01-01T00:00:00Z,8\n")
    key = tmp_path / "operator.key"
    public = make_ed25519(key)
    (tmp_path / "state").mkdir()

    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), mosquitto(tmp_path) as broker, asyncio.TaskGroup() as tasks:
            server = Server()
            serving = tasks.create_task(server.serve(broker.port))
            await server.ready.wait()
            text = f'config_key = "{public}"\nstate_dir = "state"'
            async with service(tmp_path, broker.port, '[[source]]\nkind = "csv"\npath = "a.csv"\n', text) as gateway:
                await server.has(1)
                new = '[[source]]\nkind = "csv"\npath = "b.csv"\n'
                await publish(broker.port, signed(1, new, by=lambda m: sign(key, m)))
                await server.has(2)
                health: dict[str, Any] = {}
                while not health.get("config", {}).get("version") or health["config"].get("trial"):
                    health = await gateway.health()
                gateway.process.send_signal(signal.SIGTERM)
                await gateway.process.communicate()
            assert [server.stored[k] for k in range(2)] == [1.0, 7.0]
            server.stored.clear()
            async with service(tmp_path, broker.port, '[[source]]\nkind = "csv"\npath = "a.csv"\n', text) as gateway:
                await server.has(1)
                assert server.stored[0] == 7.0  # after a restart it is still in force
                gateway.process.send_signal(signal.SIGTERM)
                await gateway.process.communicate()
            serving.cancel()

    asyncio.run(scene())
