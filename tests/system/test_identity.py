"""Certificates, rights and signatures against a real mosquitto with the rules that are shipped, and a real consumer."""

import asyncio
import contextlib
import datetime
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiomqtt
import pytest

from devices.__main__ import main
from devices.actions import Say
from devices.ca import revoke
from devices.config import Broker, GatewayConfig, OutboxConfig, Tls
from devices.counters import Counters
from devices.gateway import Gateway
from devices.outbox_folder import open_outbox
from devices.signing import signer
from devices.wire import Sample, encode_batch, topic
from simulators.local_broker import find_mosquitto, free_port
from simulators.registry_files import write_registry
from simulators.server_process import Consumer
from storage.query import connect
from tests.support import ROOT
from tests.system.pki import Pki, shipped_config

MOSQUITTO = find_mosquitto()
PATIENCE_S = 100.0  # the consumer may have to compile its kernels first
START_NS = 1_767_225_600_000_000_000
DAY = datetime.timedelta(days=1)

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed on this machine"),
]


@contextlib.asynccontextmanager
async def shipped_mosquitto(folder: Path, pki: Pki) -> AsyncIterator[tuple[int, Callable[[], None]]]:
    """Port, and what has it read its files again. The shipped configuration; only paths, port and user are this test's."""
    port = free_port()
    assert MOSQUITTO is not None
    process = await asyncio.create_subprocess_exec(
        MOSQUITTO, "-c", str(shipped_config(folder, pki, port)), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    said = b""
    async for line in process.stderr:
        said += line
        if b"running" in line:
            break
    else:
        raise RuntimeError(said.decode())
    drain = asyncio.create_task(_drain(process.stderr))
    try:
        yield port, lambda: process.send_signal(signal.SIGHUP)
    finally:
        process.terminate()
        await process.wait()
        await drain


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.readline():
        pass


@contextlib.asynccontextmanager
async def consumer(folder: Path, pki: Pki, port: int, *, revoked: str = "") -> AsyncIterator[Consumer]:
    metrics = free_port()
    home = pki.folder / "fleetco2-server"
    (folder / "fleet.toml").write_text(
        f'tenants = ["acme"]\nregistry = "registry"\nlake = "lake"\nmetrics_port = {metrics}\nearliest = 2020-01-01\n'
        f'revoked = "{revoked}"\n'
        f'[broker]\nhost = "127.0.0.1"\nport = {port}\n'
        f'tls = {{ ca = "{pki.folder / "ca" / "ca.pem"}", cert = "{home / "device.pem"}", key = "{home / "device.key"}" }}\n'
    )
    with (folder / "consumer.log").open("wb") as out:
        process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-m", "ingest", "--config", str(folder / "fleet.toml")], stdout=out, stderr=out, cwd=ROOT
        )
    running = Consumer(process, f"http://127.0.0.1:{metrics}/metrics", folder / "lake", folder / "consumer.log")
    try:
        await until(lambda: running.metrics().get("fleetco2_connected", 0) == 1, running)
        yield running
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait()


async def until(true: object, running: Consumer) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, running.log.read_text()
        assert running.process.poll() is None, running.log.read_text()
        await asyncio.sleep(0.05)


def context(tls: Tls | None, pki: Pki) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(pki.folder / "ca" / "ca.pem"))
    if tls is not None:
        made.load_cert_chain(tls.cert, tls.key)
    return made


def client(port: int, tls: Tls | None, pki: Pki, *, timeout_s: float = 10) -> aiomqtt.Client:
    return aiomqtt.Client(
        "127.0.0.1",
        port,
        identifier="anybody",
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=context(tls, pki),
        timeout=timeout_s,
    )


def batch(device: str, seq0: int = 0, n: int = 5) -> bytes:
    rows = [Sample(START_NS + (seq0 + i) * 10**9, {"odometer_m": 5.0 * (seq0 + i)}) for i in range(n)]
    return encode_batch(device, 77, seq0, rows)


class Given:
    name = "given"

    def __init__(self, n: int) -> None:
        self._n = n

    async def samples(self) -> AsyncIterator[Sample]:
        for i in range(self._n):
            yield Sample(START_NS + i * 10**9, {"odometer_m": 5.0 * i})


def gateway(
    device: str, port: int, tls: Tls, folder: Path, counters: Counters, said: list[Say], n: int = 50
) -> Gateway:
    config = GatewayConfig(
        device=device,
        tenant="acme",
        broker=Broker(host="127.0.0.1", port=port, tls=tls, protocol="5"),
        batch_s=0.2,
        batch_max=20,
        drain_s=20,
        outbox=OutboxConfig(max_mib=4, commit_s=0.2),
    )
    opened = open_outbox(config, folder / f"outbox-{device}", signer(folder / "pki" / device / "batch.key"))
    return Gateway(
        config,
        [Given(n)],
        rng=random.Random(1),
        counters=counters,
        say=said.append,
        ring=opened.ring,
        recovered=opened.recovered,
    )


@pytest.mark.timeout(300)
def test_identity_rights_and_signatures_from_gateway_to_lake(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    good, other = pki.issue("truck-01"), pki.issue("truck-02")
    key = pki.batch_key("truck-01")
    row = {"vehicle_class": "artic_40t", "fuel": "diesel_b7"}
    write_registry(
        tmp_path / "registry",
        {
            "vehicles": [
                {"vehicle": "t1", "device": "truck-01", **row, "public_key": key},
                {"vehicle": "t2", "device": "truck-02", **row, "public_key": ""},
            ]
        },
    )

    async def scene() -> None:
        async with (
            asyncio.timeout(3 * PATIENCE_S),
            shipped_mosquitto(tmp_path, pki) as (port, _),
            consumer(tmp_path, pki, port) as server,
        ):
            said: list[Say] = []
            counters = Counters()
            figures = await gateway("truck-01", port, good, tmp_path, counters, said).run(asyncio.Event())
            assert (figures.confirmed, figures.unconfirmed) == (50, 0)

            async with client(port, other, pki) as spoofer:
                for where in (
                    topic("acme", "truck-01", "up/readings"),  # a foreign topic
                    topic("globex", "truck-02", "up/readings"),  # a foreign tenant
                    topic("acme", "truck-02", "dn/ack"),  # the server's words
                    "fleet/v1/acme/truck-02",
                ):
                    assert await puback(spoofer, where) == 0x87, where
                assert await puback(spoofer, topic("acme", "truck-02", "up/json")) == 0
                for pattern in (topic("acme", "truck-01", "dn/ack"), "fleet/v1/acme/+/dn/#", "#"):
                    await spoofer.subscribe(pattern, qos=1)  # mosquitto grants it, and delivers only what may be read
                await spoofer.subscribe(topic("acme", "truck-02", "dn/ack"), qos=1)
                # its own topic, with what it must not say: the server refuses these
                await spoofer.publish(topic("acme", "truck-02", "up/readings"), batch("truck-01"), qos=1)
                await spoofer.publish(topic("acme", "truck-02", "up/readings"), batch("truck-02"), qos=1)
                async with client(port, good, pki) as stolen:  # the certificate alone, without the key for batches
                    await stolen.publish(topic("acme", "truck-01", "up/readings"), batch("truck-01"), qos=1)
                assert await heard_until_own(spoofer) == {topic("acme", "truck-02", "dn/ack")}
            names = "fleetco2_rejected_total"
            await until(lambda: server.metrics().get(f'{names}{{label="signature_missing"}}', 0) == 1, server)
            metrics = server.metrics()
            assert metrics[f'{names}{{label="device_mismatch"}}'] == 1
            assert metrics[f'{names}{{label="bad_json"}}'] == 1
            assert metrics["fleetco2_readings_stored_total"] == 55

    asyncio.run(scene())
    con = connect(tmp_path / "lake")
    stored = con.execute("SELECT device, count(*) FROM readings GROUP BY device ORDER BY device").fetchall()
    con.close()
    assert stored == [("truck-01", 50), ("truck-02", 5)]
    checked = subprocess.run(
        [sys.executable, "-m", "storage", "--lake", str(tmp_path / "lake"), "verify"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.timeout(300)
def test_a_revoked_gateway_is_out_without_a_restart(tmp_path: Path) -> None:
    """Three lines of defence, each taken up by a running process: login, rights of a connection that stands, the consumer."""
    pki = Pki(tmp_path / "pki")
    bad, good = pki.issue("truck-01"), pki.issue("truck-02")
    row = {"vehicle_class": "artic_40t", "fuel": "diesel_b7"}
    rows = [{"vehicle": f"t{i}", "device": f"truck-0{i}", **row} for i in (1, 2)]
    write_registry(tmp_path / "registry", {"vehicles": rows})
    (tmp_path / "revoked.txt").write_text("")
    own = topic("acme", "truck-01", "up/readings")
    home = tmp_path / "mosquitto"

    async def scene() -> None:
        async with (
            asyncio.timeout(3 * PATIENCE_S),
            shipped_mosquitto(tmp_path, pki) as (port, reload),
            consumer(tmp_path, pki, port, revoked="revoked.txt") as server,
            client(port, bad, pki) as standing,
            client(port, good, pki) as other,
        ):
            await standing.publish(own, batch("truck-01"), qos=1)
            await until(lambda: server.metrics().get("fleetco2_readings_stored_total", 0) == 5, server)

            (tmp_path / "revoked.txt").write_text("truck-01\n")
            refused = 'fleetco2_rejected_total{label="device_revoked"}'
            seq = 5
            while server.metrics().get(refused, 0) == 0:
                await standing.publish(own, batch("truck-01", seq), qos=1)
                seq += 5
                await asyncio.sleep(0.1)

            with (home / "acl").open("a") as rights:
                rights.write("user truck-01\ntopic deny #\n")
            assert revoke(pki.folder / "ca", "truck-01", now=pki.now) == 1
            shutil.copy(pki.folder / "ca" / "crl.pem", home / "crl.pem")
            reload()
            while await puback(standing, own) != 0x87:
                await asyncio.sleep(0.05)
            with pytest.raises((aiomqtt.MqttError, ssl.SSLError)):
                async with client(port, bad, pki, timeout_s=2):
                    pass
            assert await puback(other, topic("acme", "truck-02", "up/json")) == 0  # the others notice nothing

    asyncio.run(scene())
    con = connect(tmp_path / "lake")
    kept = con.execute("SELECT DISTINCT device FROM quarantine WHERE reason = 'device_revoked'").fetchall()
    con.close()
    assert kept == [("truck-01",)]


async def puback(spoofer: aiomqtt.Client, where: str) -> int:
    """Reason code of the broker's answer to a publish."""
    answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    before = spoofer._client.on_publish

    def on_publish(_: object, __: object, ___: int, reason: object, ____: object) -> None:
        if not answered.done():
            answered.set_result(int(getattr(reason, "value", 0)))

    spoofer._client.on_publish = on_publish
    spoofer._client.publish(where, b"x", qos=1)
    code = await asyncio.wait_for(answered, 10)
    spoofer._client.on_publish = before
    return code


async def heard_until_own(spoofer: aiomqtt.Client) -> set[str]:
    """Topics of what came, up to the first message of its own topic: those before it have come by then."""
    heard = set()
    async for message in spoofer.messages:
        heard.add(str(message.topic))
        if str(message.topic) == topic("acme", "truck-02", "dn/ack"):
            break
    return heard


@pytest.mark.parametrize("whose", ["nobody", "stranger", "expired", "revoked"])
def test_a_certificate_that_is_not_good_is_refused_and_counted(tmp_path: Path, whose: str) -> None:
    pki = Pki(tmp_path / "pki")
    if whose == "stranger":
        bad: Tls | None = pki.issue("truck-01", ca="stranger")
    elif whose == "expired":
        bad = pki.issue("truck-01", begun=91 * DAY)
    elif whose == "revoked":
        bad = pki.issue("truck-01")
        assert revoke(pki.folder / "ca", "truck-01", now=pki.now) == 1
    else:
        pki.issue("truck-01")
        bad = None
    good = pki.issue("truck-02")

    async def scene() -> None:
        async with asyncio.timeout(PATIENCE_S), shipped_mosquitto(tmp_path, pki) as (port, _):
            async with client(port, good, pki):
                pass
            with pytest.raises((aiomqtt.MqttError, ssl.SSLError)):
                async with client(port, bad, pki, timeout_s=2):  # aiomqtt waits so long for an answer that never comes
                    pass
            if bad is None:
                return
            said: list[Say] = []
            counters = Counters()
            stop = asyncio.Event()
            refused = gateway("truck-01", port, bad, tmp_path, counters, said, n=3)
            done = asyncio.create_task(refused.run(stop))
            while not counters["connect_failed"]:
                await asyncio.sleep(0.02)
            stop.set()
            done.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await done
            assert [s.event for s in said].count("broker_unreachable") == 1
            assert counters["connected"] == 0

    asyncio.run(scene())


def test_the_commands_make_an_authority_sign_and_revoke(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ca, home = str(tmp_path / "ca"), str(tmp_path / "truck-07")
    assert main(["ca", "make", "--ca", ca, "--name", "acme"]) == 0
    assert main(["enroll", "--device", "truck-07", "--tenant", "acme", "--out", home]) == 0
    out = ["--out", f"{home}/device.pem", f"{home}/device.csr"]
    assert main(["ca", "sign", "--ca", ca, "--tenant", "globex", *out]) == 2
    assert "made for another tenant" in capsys.readouterr().err
    assert main(["ca", "sign", "--ca", ca, "--tenant", "acme", "--consumer", *out]) == 2
    assert main(["ca", "sign", "--ca", ca, "--tenant", "acme", *out]) == 0
    checked = subprocess.run(
        [
            "openssl",
            "verify",
            "-crl_check",
            "-CAfile",
            f"{ca}/ca.pem",
            "-CRLfile",
            f"{ca}/crl.pem",
            f"{home}/device.pem",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert main(["ca", "revoke", "--ca", ca, "--device", "truck-07"]) == 0
    checked = subprocess.run(
        [
            "openssl",
            "verify",
            "-crl_check",
            "-CAfile",
            f"{ca}/ca.pem",
            "-CRLfile",
            f"{ca}/crl.pem",
            f"{home}/device.pem",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "revoked" in checked.stdout + checked.stderr
    assert main(["ca", "revoke", "--ca", ca, "--device", "truck-07"]) == 2
    assert "no valid certificate" in capsys.readouterr().err
