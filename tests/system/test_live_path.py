"""From gateways through a real broker and a real consumer process to Parquet and SQL, as a user runs it."""

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import paho.mqtt.client as mqtt
import pyarrow.parquet as pq
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from devices.counters import Counters
from devices.wire import Ack, Sample, encode_batch, topic
from simulators.demo import scaled
from simulators.local_broker import BrokerError, LocalBroker, find_mosquitto, local_broker
from simulators.registry_files import write_registry
from simulators.replay_run import recorded, replay, stored
from simulators.scenario import load
from simulators.server_process import TENANT, Consumer, consumer
from storage.query import connect
from tests.support import ROOT, SHARED

needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")
RECORDING = SHARED / "data" / "replay_trips.parquet"
WAIT_S = 60.0


def _cli(*arguments: str, timeout: float = 110.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.mark.parametrize("broker", ["installed", "embedded"])
def test_demo_headless(tmp_path: Path, broker: str) -> None:
    if broker == "installed" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    out = tmp_path / "figures.json"
    extra = ["--embedded-broker"] if broker == "embedded" else []
    ran = _cli(
        "simulators",
        "demo",
        "--trucks",
        "8",
        "--duration",
        "8",
        "--folder",
        str(tmp_path / "demo"),
        "--json",
        str(out),
        *extra,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    figures = json.loads(out.read_text())
    assert figures["sent"] > 50
    assert figures["stored"] + figures["quarantined"] == figures["sent"]
    assert (figures["lost"], figures["duplicated"]) == (0, 0)
    assert ("amqtt" in figures["broker"]) == (broker == "embedded")
    assert sum(kg is not None and kg > 0 for kg in figures["co2e_wtw_kg"]["route"].values()) >= 3
    assert all(kg is not None for kg in figures["co2e_wtw_kg"]["warehouse"].values())
    assert "Parquet: " in ran.stdout
    sql = _cli("storage", "--lake", figures["lake"], "sql", "SELECT count(*) AS n FROM readings", "--format", "json")
    assert json.loads(sql.stdout) == [{"n": figures["stored"]}], sql.stdout + sql.stderr


def test_demo_ends_cleanly_at_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "simulators", "demo", "--trucks", "3", "--folder", str(tmp_path / "demo")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "6/6 gateways" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(40) == 0, rest
    assert "lost 0" in rest
    assert "Traceback" not in rest


def test_demo_says_what_is_wrong(tmp_path: Path) -> None:
    assert "no-such-scenario" in _cli("simulators", "demo", "--scenario", "no-such-scenario", "--duration", "1").stderr
    assert "1 to 2000" in _cli("simulators", "demo", "--trucks", "0").stderr
    ran = _cli("simulators", "demo", "--factors", "nowhere-1999", "--duration", "1", "--folder", str(tmp_path / "d"))
    assert ran.returncode == 2
    assert "nowhere-1999" in ran.stderr


def test_scaled_fleet_has_the_wanted_size() -> None:
    scenario = load("demo")
    for n in (1, 3, 40, 977):
        assert sum(f.count for f in scaled(scenario, n).fleet) == n


def test_taken_port_is_named(tmp_path: Path) -> None:
    async def run() -> None:
        async with local_broker(tmp_path) as first:
            (tmp_path / "b").mkdir()
            with pytest.raises(BrokerError, match=f"port {first.port} is taken"):
                async with local_broker(tmp_path / "b", port=first.port):
                    pass

    asyncio.run(run())


def _independent_litres(counter: np.ndarray, time: np.ndarray) -> float:
    """Rises of a trip counter over rows that are newer than all before them; after a fall it counts from 0."""
    total, last, newest = 0.0, math.nan, -math.inf
    for value, t in zip(counter, time, strict=True):
        if t <= newest:
            continue
        newest = t
        if math.isnan(value):
            continue
        if not math.isnan(last):
            total += value - last if value >= last else value
        last = value
    return total


@needs_mosquitto
@pytest.mark.skipif(not RECORDING.exists(), reason=f"{RECORDING} is absent")
def test_recorded_trips_lose_and_invent_nothing(tmp_path: Path) -> None:
    trips, registry = recorded([RECORDING], vehicle_class="car", fuel="diesel_avg")
    results = asyncio.run(
        replay(trips, registry, tmp_path / "a", speed=math.inf, max_gap_s=math.inf, factor_set="fleetco2-2025.1")
    )
    assert len(results) == 17
    assert all((r.lost, r.duplicates, r.rejected) == (0, 0, 0) for r in results)
    assert sum(r.stored for r in results) == 8371
    con = connect(tmp_path / "a" / "lake")
    assert con.execute("SELECT count(*) FROM emissions WHERE fuel_nl < 0 OR distance_mm < 0").fetchall() == [(0,)]
    table = pq.read_table(RECORDING)
    frame = {n: np.array(table[n].to_pylist(), dtype=object) for n in ("trip_id", "fuel_total_l", "ts_utc")}
    for trip_id in ("there", "back"):
        chosen = frame["trip_id"] == trip_id
        counter = np.array([math.nan if v is None else v for v in frame["fuel_total_l"][chosen]])
        seconds = np.array([t.timestamp() for t in frame["ts_utc"][chosen]])
        got = next(r for r in results if r.ledger.trip_id == trip_id)
        assert got.fuel_l == pytest.approx(_independent_litres(counter, seconds), abs=0.6)
    km = {r.ledger.trip_id: r.distance_km for r in results}
    assert km["enviroCar-server_track"] == pytest.approx(217, abs=3)
    con.close()
    again, registry_again = stored(tmp_path / "a" / "lake")
    asyncio.run(
        replay(again, registry_again, tmp_path / "b", speed=math.inf, max_gap_s=math.inf, factor_set="fleetco2-2025.1")
    )
    sums = "SELECT sum(fuel_nl), sum(co2e_wtw_ug), sum(distance_mm), count(*) FROM emissions"
    both = [connect(tmp_path / x / "lake").execute(sums).fetchall() for x in "ab"]
    assert both[0] == both[1]


class _Probe:
    """A publisher that hears acknowledgements."""

    def __init__(self, port: int, device: str) -> None:
        self.acks: list[Ack] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"probe-{device}", protocol=mqtt.MQTTv5)
        self._client.on_message = lambda _c, _u, m: self.acks.append(
            __import__("msgspec").json.decode(m.payload, type=Ack)
        )
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(topic(TENANT, device, "dn/ack"))
        self._client.loop_start()

    def send(self, where: str, payload: bytes) -> None:
        self._client.publish(where, payload, qos=1).wait_for_publish(10)

    def wait_for(self, boot_id: int, next_seq: int) -> None:
        until = time.monotonic() + WAIT_S
        while not any(a.boot_id == boot_id and a.next >= next_seq for a in self.acks):
            assert time.monotonic() < until, f"no acknowledgement of {next_seq}, only {self.acks[-3:]}"
            time.sleep(0.02)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


REGISTRY = {"vehicles": [{"vehicle": "t1", "device": "gw-t1", "vehicle_class": "artic_40t", "fuel": "diesel_b7"}]}


def _batch(seq0: int, n: int = 10, boot_id: int = 5, **more: float) -> bytes:
    base = time.time_ns() - 60 * 10**9
    samples = [
        Sample(base + (seq0 + i) * 10**9 // 10, {"fuel_total_hr_l": 100 + (seq0 + i) * 0.01, "speed_kmh": 50.0, **more})
        for i in range(n)
    ]
    return encode_batch("gw-t1", boot_id, seq0, samples)


def _count(lake: Path, sql: str) -> int:
    con = connect(lake)
    try:
        return int(con.execute(sql).fetchall()[0][0])
    finally:
        con.close()


@needs_mosquitto
def test_poison_is_kept_and_never_blocks(tmp_path: Path) -> None:
    where = topic(TENANT, "gw-t1", "up/readings")

    async def run(broker: LocalBroker, server: Consumer) -> None:
        probe = _Probe(broker.port, "gw-t1")
        probe.send(where, b"\x00garbage")
        probe.send(where, b"FC\x01" + b"\xff" * 40)
        probe.send(
            topic(TENANT, "gw-t1", "up/json"),
            b'{"v":1,"device":"gw-t1","boot_id":5,"seq":0,"time_ns":1,"signals":{"speed_kmh":NaN}}',
        )
        probe.send(topic(TENANT, "gw-nobody", "up/readings"), _batch(0))
        late = [Sample(2_100_000_000 * 10**9, {"speed_kmh": 1.0})]
        probe.send(where, _batch(0))
        probe.send(where, encode_batch("gw-t1", 5, 10, late))
        probe.send(where, _batch(11))
        probe.send(where, _batch(0))
        probe.wait_for(5, 21)
        until = time.monotonic() + WAIT_S
        while server.metrics().get("fleetco2_readings_duplicate_total", 0) < 10:
            assert time.monotonic() < until
            await asyncio.sleep(0.05)
        probe.close()

    async def whole() -> None:
        write_registry(tmp_path / "registry", REGISTRY)
        async with (
            local_broker(tmp_path) as broker,
            consumer(tmp_path, broker, earliest="2020-01-01", factor_set="fleetco2-2025.1") as server,
        ):
            await run(broker, server)

    asyncio.run(whole())
    lake = tmp_path / "lake"
    assert _count(lake, "SELECT count(*) FROM readings") == 20
    assert _count(lake, "SELECT count(*) FROM quarantine WHERE seq IS NULL") == 4
    assert _count(lake, "SELECT count(*) FROM quarantine WHERE reason = 'time_future' AND seq = 10") == 1
    con = connect(lake)
    reasons = {r[0] for r in con.execute("SELECT reason FROM quarantine").fetchall()}
    kept = con.execute("SELECT payload FROM quarantine WHERE reason = 'bad_magic'").fetchall()
    con.close()
    assert {"bad_magic", "not_finite", "device_unknown", "time_future"} <= reasons
    assert (b"\x00garbage",) in kept


@needs_mosquitto
def test_killed_consumer_goes_on_where_its_disk_stands(tmp_path: Path) -> None:
    where = topic(TENANT, "gw-t1", "up/readings")

    async def whole() -> None:
        write_registry(tmp_path / "registry", REGISTRY)
        async with local_broker(tmp_path) as broker:
            probe = _Probe(broker.port, "gw-t1")
            for round_number in range(3):
                async with consumer(tmp_path, broker, earliest="2020-01-01", factor_set="fleetco2-2025.1") as server:
                    for k in range(5):
                        probe.send(where, _batch(50 * round_number + 10 * k))
                    await asyncio.to_thread(probe.wait_for, 5, 50 * round_number + 50)
                    os.kill(server.process.pid, signal.SIGKILL)
                    server.process.wait()
            probe.close()

    asyncio.run(whole())
    lake = tmp_path / "lake"
    assert _count(lake, "SELECT count(*) FROM readings") == 150
    assert _count(lake, "SELECT count(DISTINCT (device, boot_id, seq)) FROM readings") == 150
    assert (
        _count(lake, "SELECT sum(fuel_nl)::BIGINT FROM emissions") == 1_490_000_000
    )  # 149 steps of 10 mL, over every restart


def test_consumer_says_what_is_wrong(tmp_path: Path) -> None:
    config = tmp_path / "fleet.toml"
    assert "cannot be read" in _cli("ingest", "--config", str(config)).stderr
    config.write_text('tenants = ["acme"]\nregistry = "r"\nlake = "l"\nflush = 1\n[broker]\nhost = "127.0.0.1"\n')
    ran = _cli("ingest", "--config", str(config))
    assert ran.returncode == 2
    assert "flush" in ran.stderr
    assert str(config) in ran.stderr
    config.write_text('tenants = ["acme"]\nregistry = "r"\nlake = "l"\n[broker]\nhost = "127.0.0.1"\n')
    assert "vehicles.csv" in _cli("ingest", "--config", str(config)).stderr
    write_registry(tmp_path / "r", {"vehicles": [{**REGISTRY["vehicles"][0], "tare_kg": 41000, "gvw_kg": 40000}]})
    assert "tare_kg" in _cli("ingest", "--config", str(config)).stderr


def test_counters_are_known_to_the_metrics() -> None:
    counters = Counters()
    counters.add("rejected", label="bad_magic")
    from ingest.metrics import Latencies, prometheus_text

    latencies = Latencies()
    latencies.add(0.5)
    text = prometheus_text(counters, {"receive_to_commit": latencies}, {"connected": 1.0})
    assert 'fleetco2_rejected_total{label="bad_magic"} 1' in text
    assert 'fleetco2_receive_to_commit_seconds{quantile="0.5"} 0.5' in text
