"""Hostile messages to whoever reads them: nobody falls over, at most 8 MB and 50 ms each, and the next good one is read."""

import json
import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from devices.actions import Action
from devices.can_sampler import Rules, Sampler
from devices.config import Broker, ConfigError, GatewayConfig
from devices.core import GatewayCore
from devices.counters import Counters
from devices.j1939 import Decoder
from devices.nmea import Sentence, parse
from devices.remote_config import RemoteConfig
from devices.wire import HEADER, MAGIC, MAX_PACKET_BYTES, Sample, encode_batch, topic
from ingest.config import FleetConfig, load
from ingest.core import ConsumerCore
from ingest.decode import Message
from stream.fleet import Vehicle
from stream.pipeline import start
from tests.support import T0_NS, fleet

MOST_BYTES = 8 << 20
MOST_S = 0.05
DEVICE = "d-t1"
GOOD = encode_batch(
    DEVICE, 7, 0, [Sample(T0_NS + i * 10**9, {"speed_kmh": 50.0, "odometer_m": 5.0 * i}) for i in range(60)]
)
BODY_AT = int.from_bytes(GOOD[4:6], "little")


def around(body: bytes, n: int = 60, columns: int = 3) -> bytes:
    """A batch with a sound header and this frame behind it."""
    name = DEVICE.encode()
    head = HEADER.pack(MAGIC, 1, 0, HEADER.size + len(name), n, 7, 0, n, T0_NS // 10**6, 0, columns, 0, len(name))
    return head + name + body


def squeezed(size: int, fill: bytes = b"\0") -> bytes:
    """A frame that is small and becomes ``size`` bytes."""
    return zstandard.ZstdCompressor(level=19, write_checksum=True).compress(fill * (size // len(fill)))


def lying(size: int) -> bytes:
    """A frame that says that it becomes ``size`` bytes, and is cut off."""
    return bytes.fromhex("28b52ffd e4") + struct.pack("<Q", size) + bytes.fromhex("02100000")


def corpus() -> list[bytes]:
    rng = random.Random(20261122)
    deep = [b'{"boot_id":7,"x":' + c * 200_000 for c in (b"[", b'{"a":')]
    wide = b'{"boot_id":7,"begin":0,"end":1,"x":[' + b"1," * 120_000 + b"1]}"
    keys = json.dumps({"v": 1, "device": DEVICE, "signals": {f"s{i}": 1.0 for i in range(15_000)}}).encode()
    noise = [rng.randbytes(size) for size in (1, 50, 4_000, 250_000, MAX_PACKET_BYTES + 1)]
    bombs = [around(squeezed(size), columns=255) for size in (1 << 16, 4 << 20, (4 << 20) + 1, 64 << 20)]
    patterns = [
        around(squeezed(4 << 20, fill), n=1000, columns=255)
        for fill in (b"\x01\x00\x07", b"\xff" * 9 + b"\x01", b"\x80")
    ]
    lies = [around(lying(size)) for size in (1 << 20, 1 << 32, 2**64 - 2)]
    bent = []
    for _ in range(12):
        frame = bytearray(GOOD)
        for _ in range(rng.randrange(1, 4)):
            frame[rng.randrange(BODY_AT)] = rng.randrange(256)
        bent.append(bytes(frame))
    numbers = [
        b'{"boot_id":1e999,"next":1}',
        b'{"boot_id":' + b"9" * 100_000 + b',"next":1}',
        b'{"boot_id":1,"next":-1}',
    ]
    return [
        b"",
        *deep,
        wide,
        keys,
        *noise,
        *bombs,
        *patterns,
        *lies,
        *bent,
        *numbers,
        b"\xff" * 1000,
        b'"' + b"\\u0000" * 9000 + b'"',
    ]


CORPUS = corpus()


def cost(call: Callable[[], object]) -> tuple[int, float]:
    """Bytes at the peak, seconds of CPU; a slow one gets two more chances."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spent = 1e9
    for _ in range(3):
        begin = time.process_time()
        call()
        spent = min(spent, time.process_time() - begin)
        if spent <= MOST_S:
            break
    return peak, spent


def hold(read: Callable[[bytes], object]) -> None:
    """Every message of the corpus costs at most what one may."""
    read(GOOD)
    for payload in CORPUS:
        peak, seconds = cost(lambda p=payload: read(p))  # type: ignore[misc]
        assert peak <= MOST_BYTES, f"{peak} bytes for {payload[:60]!r}"
        assert seconds <= MOST_S, f"{seconds} s for {payload[:60]!r}"


def consumer() -> ConsumerCore:
    config = FleetConfig(tenants=("acme",), registry="r", lake="l", broker=Broker(host="none"))
    state = start(fleet(Vehicle("t1", DEVICE, "artic_40t", "diesel_b7", vin="WVIN0000000000001", tenant="acme")))
    return ConsumerCore(config, state.fleet, state, Counters())


@pytest.mark.parametrize("leaf", ["up/readings", "up/json", "up/gone", "up/state"])
def test_whatever_the_consumer_gets(leaf: str) -> None:
    where = topic("acme", DEVICE, leaf)  # type: ignore[arg-type]
    hold(lambda payload: consumer_takes(where, payload))
    core = consumer()
    now_ns = T0_NS + 3600 * 10**9
    for payload in CORPUS:
        work = core.take([Message(where, payload, now_ns)], 0.0, now_ns)
        if work is not None:
            core.stored(work, 0.0)
    work = core.take([Message(topic("acme", DEVICE, "up/readings"), GOOD, now_ns)], 0.0, now_ns)
    assert work is not None
    core.stored(work, 0.0)
    row = core.state.rows[0]
    assert max(int(row["next_seq"]), *(int(n) for n in row["old_next"])) >= 60  # bent copies may have been taken before


_CONSUMER: list[ConsumerCore] = []


def consumer_takes(where: str, payload: bytes) -> object:
    if not _CONSUMER:
        _CONSUMER.append(consumer())
    return _CONSUMER[0].take([Message(where, payload, T0_NS)], 0.0, T0_NS)


@pytest.mark.parametrize("event", ["on_ack", "on_nack"])
def test_whatever_a_broker_tells_a_gateway(event: str) -> None:
    config = GatewayConfig(device=DEVICE, tenant="acme", broker=Broker(host="none"))
    core = GatewayCore(config, boot_id=7, rng=random.Random(1), counters=Counters())
    core.on_connected(0.0)
    core.on_sample(Sample(T0_NS, {"speed_kmh": 50.0}), 1.0)
    said: Callable[[bytes, float], list[Action]] = getattr(core, event)
    hold(lambda payload: said(payload, 2.0))
    assert len(core) == 1
    assert core.figures().confirmed == 0


def test_whatever_comes_as_configuration() -> None:
    config = GatewayConfig(device=DEVICE, tenant="acme", broker=Broker(host="none"))
    remote = RemoteConfig(config, lambda _, __: False, counters=Counters(), check=lambda _: None)
    hold(lambda payload: remote.on_message(payload, 0.0, 0))
    assert remote.applied.version == 0


def test_whatever_lies_in_a_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    for payload in CORPUS:
        path.write_bytes(payload[:50_000])
        with pytest.raises(ConfigError):
            load(path)


def test_whatever_a_receiver_or_a_bus_says() -> None:
    sampler, decoder = Sampler(Rules(), Counters()), Decoder(Counters())

    def read(payload: bytes) -> object:
        frames = [
            (int.from_bytes(payload[i : i + 4], "little") & 0x1FFFFFFF, payload[i + 4 : i + 12])
            for i in range(0, min(len(payload), 6000), 12)
        ]
        return sampler, decoder.decode_many(frames, 0.0), parse(payload), parse(b"$GPRMC," + payload)

    hold(read)
    good = parse(b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n")
    assert isinstance(good, Sentence)
