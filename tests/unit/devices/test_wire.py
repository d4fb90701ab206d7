"""Topics, JSON messages and the bytes of a batch, against values worked out by hand from the layout."""

import random
import struct

import msgspec
import pytest
import zstandard

from devices import wire
from devices.signals import BY_NAME, SIGNALS
from devices.wire import Ack, GatewayState, JsonReading, Sample, Topic, encode_batch, parse_topic, topic
from stream.columns import CLOCK_SOURCES

T0_MS = 1_760_000_000_000


def samples(*values: dict[str, float], step_ms: int = 1000) -> list[Sample]:
    return [Sample((T0_MS + i * step_ms) * 1_000_000, v) for i, v in enumerate(values)]


def body_of(payload: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(payload[struct.unpack_from("<H", payload, 4)[0] :])


@pytest.mark.parametrize("leaf", ["up/readings", "up/json", "up/state", "dn/ack", "dn/config"])
def test_topic_and_back(leaf: wire.Leaf) -> None:
    text = topic("acme", "truck-001", leaf)
    assert text == f"fleet/v1/acme/truck-001/{leaf}"
    assert parse_topic(text) == Topic("acme", "truck-001", leaf)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fleet/v1/acme/truck-001",
        "fleet/v1/acme/truck-001/up",
        "fleet/v1/acme/truck-001/up/other",
        "fleet/v1/acme/truck-001/up/readings/more",
        "fleet/v2/acme/truck-001/up/readings",
        "fleets/v1/acme/truck-001/up/readings",
        "/fleet/v1/acme/truck-001/up/readings",
        "fleet/v1/acme//up/readings",
        "fleet/v1/+/truck-001/up/readings",
        "fleet/v1/acme/#/up/readings",
        "fleet/v1/acme/Truck-001/up/readings",
        "fleet/v1/acme/tr/up/readings",
        "fleet/v1/acme/truck-001\n/up/readings",
        "fleet/v1/acme/trück-001/up/readings",
        "fleet/v1/acme/" + "t" * 41 + "/up/readings",
    ],
)
def test_what_is_no_topic(text: str) -> None:
    assert parse_topic(text) is None


@pytest.mark.parametrize(
    ("tenant", "device"), [("a/b", "truck-001"), ("acme", "+"), ("acme", ""), ("ACME", "truck-001")]
)
def test_topic_of_a_bad_name_is_refused(tenant: str, device: str) -> None:
    with pytest.raises(ValueError, match="not a topic"):
        topic(tenant, device, "dn/ack")


def test_json_messages_are_the_documented_text() -> None:
    assert msgspec.json.encode(Ack(7, 60)) == b'{"boot_id":7,"next":60}'
    state = GatewayState("online", 7, "1.2.3", 5, None, ("can", "gps"))
    text = (
        b'{"status":"online","boot_id":7,"software":"1.2.3","unconfirmed":5,"oldest_unsent_ns":null,'
        b'"sources":["can","gps"]}'
    )
    assert msgspec.json.encode(state) == text
    assert msgspec.json.decode(text, type=GatewayState) == state
    full = GatewayState("offline", 7, "1.2.3", 5, 6, ("can",), fill=0.25, thinned=3, in_memory=True, is_will=True)
    text = (
        b'{"status":"offline","boot_id":7,"software":"1.2.3","unconfirmed":5,"oldest_unsent_ns":6,'
        b'"sources":["can"],"fill":0.25,"thinned":3,"in_memory":true,"is_will":true}'
    )
    assert msgspec.json.encode(full) == text
    reading = JsonReading(device="truck-001", boot_id=7, seq=0, time_ns=5, signals={"speed_kmh": 1.5})
    text = (
        b'{"v":1,"device":"truck-001","boot_id":7,"seq":0,"time_ns":5,"clock_source":"none","clock_error_ms":-1,'
        b'"signals":{"speed_kmh":1.5}}'
    )
    assert msgspec.json.encode(reading) == text


def test_a_gateway_reads_an_acknowledgement_with_newer_fields() -> None:
    assert msgspec.json.decode(b'{"boot_id":7,"next":60,"newer":[1]}', type=Ack) == Ack(7, 60)


@pytest.mark.parametrize("text", [b'{"boot_id":0,"next":1}', b'{"boot_id":1,"next":-1}', b'{"next":1}', b"[]"])
def test_a_wrong_acknowledgement_is_refused(text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Ack)


def test_the_clock_sources_are_those_of_the_schema() -> None:
    assert wire.CLOCK_SOURCES == CLOCK_SOURCES


def test_every_step_is_one_over_an_integer() -> None:
    for signal in SIGNALS:
        assert 1 / wire.SCALE[signal.name] == signal.step


def test_header_fields_lie_where_the_layout_says() -> None:
    payload = encode_batch(
        "truck-001",
        2**63 - 1,
        2**62,
        samples({"speed_kmh": 1.0}, {"speed_kmh": 2.0}),
        historical=True,
        clock_source="gps",
        clock_error_ms=25,
    )
    assert payload[:2] == b"FC"
    assert (payload[2], payload[3]) == (1, 1)
    assert struct.unpack_from("<HH", payload, 4) == (43 + 9, 2)
    assert struct.unpack_from("<QQI", payload, 8) == (2**63 - 1, 2**62, 2)
    assert struct.unpack_from("<q", payload, 28) == (T0_MS,)
    assert (payload[36], payload[37]) == (3, 2)
    assert struct.unpack_from("<I", payload, 38) == (25,)
    assert payload[42:52] == b"\x09truck-001"
    parameters = zstandard.get_frame_parameters(payload[52:])
    assert parameters.has_checksum
    assert parameters.content_size == len(body_of(payload))


def test_an_unknown_clock_error_is_all_ones() -> None:
    assert encode_batch("truck-001", 1, 0, samples({}))[38:42] == b"\xff\xff\xff\xff"


def test_a_steady_trip_by_hand() -> None:
    values = [
        {"speed_kmh": 80.0, "odometer_m": 1000.0 + 22 * i, "engine_torque_pct": t} for i, t in enumerate((5, -5, 6))
    ]
    blocks = (
        "01 01 00d0a0 00070f"  # time: order 0, width 2, zigzag of 0, 1000 and 2000, the three low bytes first
        "07 18 80c002"  # speed: constant, zigzag of 20480 steps
        "08 08 d00f 2c2c"  # odometer: order 1, first 1000, then +22 twice
        "0a 00 0a090c"  # torque: order 0
    )
    assert body_of(encode_batch("truck-001", 1, 0, samples(*values))) == bytes.fromhex(blocks)


def test_second_order_and_nulls_by_hand() -> None:
    metres = [1000.0 * i * i for i in range(12)]
    values: list[dict[str, float]] = [{"odometer_m": m} for m in metres]
    for i in (0, 9):
        values[i]["switches"] = 3.0
    blocks = (
        "01 18 00"
        "08 11 00d00f" + "a0" * 10 + "0f" * 10  # odometer: first 0, first difference 1000, then 2000 more each time
        + "16 38 fe0d 06"  # switches: rows 0 and 9 of 12 have a value, 3
    )  # fmt: skip
    assert body_of(encode_batch("truck-001", 1, 0, samples(*values, step_ms=0))) == bytes.fromhex(blocks)


def test_merged_samples_are_counted_in_the_first_column() -> None:
    two = [Sample(T0_MS * 1_000_000, {}), Sample(T0_MS * 1_000_000, {}, merged=5)]
    payload = encode_batch("truck-001", 1, 100, two)
    assert struct.unpack_from("<I", payload, 24) == (6,)
    assert body_of(payload) == bytes([0, 0, 2, 10, 1, 3 << 3, 0])


def test_time_is_cut_to_milliseconds() -> None:
    payload = encode_batch("truck-001", 1, 0, [Sample(-1, {}), Sample(1_999_999, {})])
    assert struct.unpack_from("<q", payload, 28) == (-1,)
    assert body_of(payload) == bytes([1, 0, 0, 4])


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda s: s.name)
def test_both_ends_of_each_range_are_encoded_and_beyond_is_refused(signal: object) -> None:
    name = signal.name  # type: ignore[attr-defined]
    low, high = BY_NAME[name].low, BY_NAME[name].high
    encode_batch("truck-001", 1, 0, samples({name: low}, {name: high}))
    for value in (low - (high - low) / 1e6, high + (high - low) / 1e6, float("nan"), float("inf"), float("-inf")):
        with pytest.raises(ValueError, match=name):
            encode_batch("truck-001", 1, 0, samples({name: low}, {name: value}))


@pytest.mark.parametrize(
    ("wrong", "arguments"),
    [
        ("device", {"device": "Truck"}),
        ("boot_id", {"boot_id": 0}),
        ("boot_id", {"boot_id": 2**63}),
        ("seq0", {"seq0": -1}),
        ("seq0", {"seq0": 2**62 + 1}),
        ("samples", {"samples": []}),
        ("samples", {"samples": samples(*[{}] * 1001)}),
        ("clock_error_ms", {"clock_error_ms": -2}),
        ("clock_error_ms", {"clock_error_ms": 2**31}),
        ("time_ns", {"samples": [Sample(2**63, {})]}),
        ("merged", {"samples": [Sample(0, {}, merged=0)]}),
        ("merged", {"samples": [Sample(0, {}, merged=2**31)]}),
        ("merged", {"samples": [Sample(0, {}, merged=2**31 - 1)] * 3}),
        ("no_such_signal", {"samples": samples({"no_such_signal": 1.0})}),
    ],
)
def test_our_own_mistakes_are_named(wrong: str, arguments: dict[str, object]) -> None:
    good: dict[str, object] = {"device": "truck-001", "boot_id": 1, "seq0": 0, "samples": samples({})}
    with pytest.raises(ValueError, match=wrong):
        encode_batch(**(good | arguments))  # type: ignore[arg-type]


def test_the_largest_batch_of_noise_fits_a_packet() -> None:
    rng = random.Random(1)
    noise = [{s.name: rng.uniform(s.low, s.high) for s in SIGNALS} for _ in range(wire.MAX_READINGS)]
    payload = encode_batch("t" * 40, 2**63 - 1, 2**62, samples(*noise))
    assert len(payload) <= wire.MAX_PACKET_BYTES
    assert len(body_of(payload)) <= wire.MAX_BODY_BYTES
