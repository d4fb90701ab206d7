"""Every reason to refuse, what survives beside it, and that good messages become the right columns."""

import struct
import time
import tracemalloc
from typing import get_args

import msgspec
import numpy as np
import pytest
import zstandard

from devices import wire
from devices.signals import SIGNALS
from devices.wire import JsonReading, Sample, encode_batch
from ingest.decode import BadCell, BadRow, Decoded, Message, Rejected, RejectReason, decode
from stream.columns import READING, UNKNOWN

DEVICES = {"truck-001": 4, "truck-002": 7, "dock-001": 0}
TENANTS = ("acme",)
T0_NS = 1_760_000_000_000_000_000
RECEIVED_NS = T0_NS + 60_000_000_000
EARLIEST_NS = T0_NS - 86_400_000_000_000
SECOND_NS = 1_000_000_000
NUMPY_TYPES = {"code": np.int32, "int32": np.int32, "int64": np.int64, "float64": np.float64, "bool": np.bool_}


def message(payload: bytes, device: str = "truck-001", leaf: str = "up/readings", tenant: str = "acme") -> Message:
    return Message(f"fleet/v1/{tenant}/{device}/{leaf}", payload, RECEIVED_NS)


def trip(n: int, **values: float) -> list[Sample]:
    return [Sample(T0_NS + i * SECOND_NS, {"odometer_m": 1000.0 + 20 * i, **values}) for i in range(n)]


def batch(n: int = 3, device: str = "truck-001", seq0: int = 0) -> Message:
    return message(encode_batch(device, 9, seq0, trip(n)), device)


def run(*messages: Message) -> Decoded:
    return decode(messages, DEVICES, TENANTS, earliest_ns=EARLIEST_NS)


def framed(
    body: bytes, *, columns: int, n: int = 3, name: bytes = b"truck-001", frame: bytes | None = None, **header: int
) -> bytes:
    """A batch with any body, or any bytes in place of the zstd frame, and any header field replaced."""
    if frame is None:
        frame = zstandard.ZstdCompressor(write_checksum=True).compress(body)
    fields = {"version": 1, "flags": 0, "header_len": wire.HEADER.size + len(name), "n": n, "boot_id": 9, "seq0": 0}
    fields |= {"covered": n, "t0": T0_NS // 10**6, "clock_source": 0, "columns": columns, "clock_error": 0xFFFFFFFF}
    fields |= header
    return wire.HEADER.pack(b"FC", *fields.values(), len(name)) + name + frame


TIME = bytes((1, 3 << 3, 0))  # every row at t0


def reading(**fields: object) -> Message:
    good = {"v": 1, "device": "truck-001", "boot_id": 9, "seq": 5, "time_ns": T0_NS, "signals": {"speed_kmh": 12.5}}
    return message(msgspec.json.encode(good | fields), leaf="up/json")


def raw_json(signals: str) -> Message:
    text = f'{{"v":1,"device":"truck-001","boot_id":9,"seq":5,"time_ns":{T0_NS},"signals":{signals}}}'
    return message(text.encode(), leaf="up/json")


GOOD = framed(TIME, columns=1)
HEADER_LEN = wire.HEADER.size + 9
BOMB = bytes.fromhex("28b52ffd e4") + struct.pack("<Q", 1 << 32) + bytes.fromhex("02100000")  # states 4 GiB
NO_SIZE = zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress(TIME)
NO_CHECKSUM = zstandard.ZstdCompressor(write_checksum=False).compress(TIME)
REJECTED: list[tuple[RejectReason, Message]] = [
    ("too_large", message(GOOD + bytes(wire.MAX_PACKET_BYTES))),
    ("bad_topic", message(GOOD, leaf="up/state")),
    ("bad_topic", Message("fleet/v1/acme", GOOD, RECEIVED_NS)),
    ("bad_topic", Message("", GOOD, RECEIVED_NS)),
    ("tenant_unknown", message(GOOD, tenant="other")),
    ("device_unknown", message(GOOD, "truck-999")),
    ("device_mismatch", message(GOOD, "truck-002")),
    ("device_mismatch", message(framed(TIME, columns=1, name=b"\xff\xfe\x00"))),
    ("device_mismatch", message(framed(TIME, columns=1, name=b""))),
    ("device_mismatch", reading(device="truck-002")),
    ("bad_magic", message(b"")),
    ("bad_magic", message(b"F")),
    ("bad_magic", message(b'{"v":1}')),
    ("bad_version", message(b"FC\x02")),
    ("bad_version", message(framed(TIME, columns=1, version=2))),
    ("bad_version", message(framed(TIME, columns=1, version=0))),
    ("bad_version", reading(v=2)),
    ("bad_version", reading(v=2, newer=[])),
    ("truncated", message(b"FC")),
    ("truncated", message(GOOD[:42])),
    ("truncated", message(GOOD[:HEADER_LEN])),
    ("truncated", message(framed(TIME, columns=1, header_len=65535))),
    ("bad_header", message(framed(TIME, columns=1, header_len=0))),
    ("bad_header", message(framed(TIME, columns=1, header_len=HEADER_LEN - 1))),
    ("bad_header", message(framed(TIME, columns=1, n=0))),
    ("bad_header", message(framed(TIME, columns=1, boot_id=0))),
    ("bad_header", message(framed(TIME, columns=1, boot_id=2**63))),
    ("bad_header", message(framed(TIME, columns=1, seq0=2**62 + 1))),
    ("bad_header", message(framed(TIME, columns=1, covered=2))),
    ("bad_header", message(framed(TIME, columns=1, clock_source=5))),
    ("bad_header", message(framed(TIME, columns=1, clock_error=2**31))),
    ("too_many_readings", message(framed(TIME, columns=1, n=1001))),
    ("bad_compression", message(GOOD[:-1])),
    ("bad_compression", message(GOOD[: HEADER_LEN + 3])),
    ("bad_compression", message(GOOD + b"\0")),
    ("bad_compression", message(GOOD + GOOD[HEADER_LEN:])),
    ("bad_compression", message(GOOD[:-1] + bytes([GOOD[-1] ^ 1]))),
    ("bad_compression", message(framed(b"", columns=1, frame=NO_SIZE))),
    ("bad_compression", message(framed(b"", columns=1, frame=NO_CHECKSUM))),
    ("too_large_decompressed", message(framed(b"", columns=1, frame=BOMB))),
    ("too_large_decompressed", message(framed(bytes(wire.MAX_BODY_BYTES + 1), columns=1))),
    ("bad_column", message(framed(b"", columns=0))),
    ("bad_column", message(framed(bytes(wire.MAX_BODY_BYTES), columns=255))),
    ("bad_column", message(framed(bytes((7, 3 << 3, 0)), columns=1))),  # no time
    ("bad_column", message(framed(TIME, columns=2))),
    ("bad_column", message(framed(TIME + b"\0", columns=1))),  # a byte too many
    ("bad_column", message(framed(TIME + TIME, columns=2))),  # twice
    ("bad_column", message(framed(TIME + bytes((0, 3 << 3, 2)), columns=2))),  # not ascending
    ("bad_column", message(framed(TIME + bytes((7, 0, 2, 2)), columns=2))),  # a value too few
    ("bad_column", message(framed(TIME + bytes((7, 7, 2, 2)), columns=2))),
    ("bad_column", message(framed(TIME + bytes((7, 64 | 3 << 3, 2)), columns=2))),
    ("bad_column", message(framed(TIME + bytes((7, 3 << 3 | 1, 2)), columns=2))),  # constant of width 2
    ("bad_column", message(framed(TIME + bytes((7, 2 << 3, 0, 0)), columns=2, n=1))),  # second differences of one row
    ("bad_column", message(framed(TIME + bytes((7, 3 << 3)) + b"\xff" * 10 + b"\1", columns=2))),  # endless integer
    ("bad_column", message(framed(TIME + bytes((7, 3 << 3)) + b"\xff" * 9, columns=2))),
    ("bad_column", message(framed(TIME + bytes((7, 32 | 3 << 3, 0b111, 0)), columns=2))),  # all null
    ("bad_column", message(framed(TIME + bytes((7, 32 | 3 << 3, 0, 0)), columns=2))),  # none null
    ("bad_column", message(framed(TIME + bytes((7, 32 | 3 << 3, 0b1001, 0)), columns=2))),  # a fourth row of three
    ("bad_column", message(framed(TIME + bytes((7, 32 | 3 << 3)), columns=2))),
    ("bad_column", message(framed(bytes((1, 32 | 3 << 3, 1, 0)), columns=1))),  # a reading without time
    ("bad_column", message(framed(TIME + bytes((7, 128, 0, 0, 0, 0)), columns=2))),  # opaque, but known
    ("bad_column", message(framed(TIME + bytes((200, 128, 5, 0, 0, 0, 1)), columns=2))),
    ("bad_column", message(framed(TIME + bytes((200, 128, 5, 0)), columns=2))),
    ("bad_column", message(framed(TIME + bytes((200, 129, 0, 0, 0, 0)), columns=2))),
    ("bad_column", message(framed(TIME, columns=1, covered=4))),  # merged is missing
    ("bad_column", message(framed(bytes((0, 3 << 3, 4)) + TIME, columns=2, covered=7))),  # 3 x 2 is not 7
    ("bad_column", message(framed(bytes((0, 0, 0, 4, 8)) + TIME, columns=2, covered=6))),  # 0 + 2 + 4
    ("bad_column", message(framed(bytes((0, 0, 1, 4, 8)) + TIME, columns=2, covered=5))),  # -1 + 2 + 4
    ("bad_column", message(framed(bytes((0, 24)) + b"\x80\x80\x80\x80\x10" + TIME, columns=2, n=1, covered=2**31))),
    ("bad_json", message(b"", leaf="up/json")),
    ("bad_json", message(b"\xff\xfe", leaf="up/json")),
    ("bad_json", message(b"[" * 200_000, leaf="up/json")),
    ("bad_json", message(b'{"v":' * 40_000, leaf="up/json")),
    ("bad_json", message(b'{"x":' * 40_000, leaf="up/json")),
    ("bad_json", message(b"null", leaf="up/json")),
    ("bad_json", reading(boot_id=0)),
    ("bad_json", reading(boot_id=2**63)),
    ("bad_json", reading(seq=-1)),
    ("bad_json", reading(seq=1.5)),
    ("bad_json", reading(time_ns="now")),
    ("bad_json", reading(clock_source="sundial")),
    ("bad_json", raw_json('{"speed_kmh":null}')),
    ("bad_json", raw_json('{"speed_kmh":"1"}')),
    ("bad_json", raw_json('{"speed_kmh":true}')),
    ("not_finite", raw_json('{"speed_kmh":NaN}')),
    ("not_finite", raw_json('{"speed_kmh":-Infinity}')),
    ("not_finite", raw_json('{"speed_kmh":1e999}')),
    ("not_finite", raw_json('{"speed_kmh":-1e999}')),
    ("not_finite", raw_json('{"speed_kmh":' + "9" * 400 + "}")),
    ("unknown_field", reading(speed_kmh=1)),
    ("unknown_field", reading(signals={f"signal_{i}": 1.0 for i in range(65)})),
    ("out_of_range", message(framed(TIME + bytes((11, 3 << 3)) + b"\xfc\x01", columns=2, n=65))),  # 126 % of 125
]


@pytest.mark.parametrize(("reason", "hostile"), REJECTED, ids=[f"{i}-{r}" for i, (r, _) in enumerate(REJECTED)])
def test_a_bad_message_is_rejected_alone(reason: RejectReason, hostile: Message) -> None:
    decoded = run(batch(seq0=0), hostile, batch(seq0=3), reading(seq=6))
    assert [(r.reason, r.topic, r.payload, r.received_ns) for r in decoded.rejected] == [
        (reason, hostile.topic, hostile.payload, RECEIVED_NS)
    ]
    assert 0 < len(decoded.rejected[0].detail) <= 200
    assert decoded.bad_rows == []
    assert decoded.columns["seq"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert decoded.columns["odometer_m"][:6].tolist() == [1000.0, 1020.0, 1040.0] * 2


def test_every_reason_is_tested() -> None:
    of_rows = {"time_future", "time_past"}
    of_identity = {
        "tenant_mismatch",
        "signature_missing",
        "signature_bad",
        "key_unknown",
        "device_revoked",
    }  # in test_consumer_core, test_revoked
    assert {reason for reason, _ in REJECTED} | of_rows | of_identity == set(get_args(RejectReason))


def test_columns_are_those_of_the_schema() -> None:
    for decoded in (run(), run(batch(), reading()), run(reading()), run(*[message(b"")] * 3)):
        assert list(decoded.columns) == [c.name for c in READING]
        for column in READING:
            array = decoded.columns[column.name]
            assert array.shape == (decoded.n,), column.name
            assert array.dtype == NUMPY_TYPES[column.dtype], column.name
            assert array.flags.c_contiguous


def test_a_batch_becomes_rows() -> None:
    samples = trip(4, speed_kmh=80.0)
    del samples[2].values["speed_kmh"]
    payload = encode_batch(
        "truck-001", 2**63 - 1, 2**62, samples, historical=True, clock_source="gps", clock_error_ms=25
    )
    decoded = run(message(payload))
    expected = {
        "device": [4] * 4,
        "boot_id": [2**63 - 1] * 4,
        "seq": [2**62 + i for i in range(4)],
        "merged": [1] * 4,
        "time_ns": [T0_NS + i * SECOND_NS for i in range(4)],
        "received_ns": [RECEIVED_NS] * 4,
        "clock_source": [3] * 4,
        "clock_error_ms": [25] * 4,
        "historical": [True] * 4,
        "odometer_m": [1000.0, 1020.0, 1040.0, 1060.0],
    }
    assert decoded.rejected == []
    assert decoded.bad_rows == []
    assert {name: decoded.columns[name].tolist() for name in expected} == expected
    np.testing.assert_array_equal(decoded.columns["speed_kmh"], [80.0, 80.0, np.nan, 80.0])
    absent = [decoded.columns[s.name] for s in SIGNALS if s.name not in ("odometer_m", "speed_kmh")]
    assert all(np.isnan(a).all() and not a.flags.writeable and a is absent[0] for a in absent)


def test_rows_come_in_message_order_and_absent_signals_are_null() -> None:
    first = message(encode_batch("truck-001", 9, 0, trip(2, speed_kmh=50.0)))
    second = reading(seq=2, signals={"lat_deg": 51.25}, clock_source="ntp", clock_error_ms=3)
    third = message(encode_batch("truck-002", 1, 70, [Sample(T0_NS, {"gross_weight_kg": 9000.0})]), "truck-002")
    columns = run(first, second, third).columns
    assert columns["device"].tolist() == [4, 4, 4, 7]
    assert columns["boot_id"].tolist() == [9, 9, 9, 1]
    assert columns["seq"].tolist() == [0, 1, 2, 70]
    assert columns["clock_source"].tolist() == [0, 0, 2, 0]
    assert columns["clock_error_ms"].tolist() == [-1, -1, 3, -1]
    np.testing.assert_array_equal(columns["speed_kmh"], [50.0, 50.0, np.nan, np.nan])
    np.testing.assert_array_equal(columns["lat_deg"], [np.nan, np.nan, 51.25, np.nan])
    np.testing.assert_array_equal(columns["gross_weight_kg"], [np.nan, np.nan, np.nan, 9000.0])


def test_a_merged_row_has_the_seq_of_its_newest_reading() -> None:
    samples = [Sample(T0_NS, {}), Sample(T0_NS, {}, merged=5), Sample(T0_NS, {}, merged=2)]
    columns = run(batch(2), message(encode_batch("truck-001", 9, 100, samples)), batch(1)).columns
    assert columns["merged"].tolist() == [1, 1, 1, 5, 2, 1]
    assert columns["seq"].tolist() == [0, 1, 100, 105, 107, 0]


def test_what_is_refused_is_told_in_message_order() -> None:
    overloaded = bytes((11, 0)) + bytes((252, 250, 252))  # 126 %, 125 %, 126 %
    decoded = run(
        message(framed(b"\1", columns=1)),
        reading(signals={"speed_kmh": -1.0}),
        message(b"FC\x09"),
        message(framed(TIME + overloaded, columns=2, seq0=10, t0=0)),
        message(framed(TIME, columns=1, covered=4)),
        reading(signals={"hdop": -1.0}, time_ns=0),
        message(b""),
    )
    assert [r.reason for r in decoded.rejected] == ["bad_column", "bad_version", "bad_column", "bad_magic"]
    told = [(bad.seq, bad.reason) for bad in decoded.bad_rows]
    of_batch = [(10, "out_of_range"), (10, "time_past"), (11, "time_past"), (12, "out_of_range"), (12, "time_past")]
    assert told == [(5, "out_of_range"), *of_batch, (5, "out_of_range"), (5, "time_past")]


def test_a_newer_writer_is_read() -> None:
    """Extension bytes, unknown flags and unknown columns, plain and opaque, are skipped."""
    body = (
        TIME + bytes((7, 3 << 3, 0x80, 0x04)) + bytes((100, 1 << 3 | 1, 2, 0, 0, 0, 0)) + bytes((200, 128, 3, 0, 0, 0))
    )
    frame = zstandard.ZstdCompressor(write_checksum=True).compress(body + b"new")
    payload = framed(b"", columns=4, header_len=HEADER_LEN + 96, flags=0xFE, frame=bytes(96) + frame)
    decoded = run(message(payload))
    assert decoded.rejected == []
    assert decoded.columns["speed_kmh"].tolist() == [1.0, 1.0, 1.0]
    assert decoded.columns["historical"].tolist() == [False] * 3


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda s: s.name)
def test_the_ends_of_each_range_arrive(signal: object) -> None:
    name, low, high = signal.name, signal.low, signal.high  # type: ignore[attr-defined]
    payload = encode_batch("truck-001", 9, 0, [Sample(T0_NS, {name: low}), Sample(T0_NS, {name: high})])
    decoded = run(message(payload), reading(signals={name: low}), reading(signals={name: high}))
    assert decoded.bad_rows == []
    np.testing.assert_allclose(decoded.columns[name], [low, high] * 2, rtol=0, atol=signal.step / 2)  # type: ignore[attr-defined]


def test_a_value_out_of_range_is_null_and_reported() -> None:
    body = TIME + bytes((11, 0)) + bytes((250, 252, 254)) + bytes((22, 3 << 3, 2))  # 125 %, 126 %, 127 %
    decoded = run(message(framed(body, columns=3, seq0=40)), reading(signals={"speed_kmh": -1.0, "hdop": 1.5}))
    assert decoded.rejected == []
    np.testing.assert_array_equal(decoded.columns["engine_load_pct"], [125.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(decoded.columns["switches"], [1.0, 1.0, 1.0, np.nan])
    np.testing.assert_array_equal(decoded.columns["hdop"], [np.nan, np.nan, np.nan, 1.5])
    at = ("truck-001", 9)
    batch_topic, json_topic = message(b"").topic, reading().topic
    assert decoded.bad_rows == [
        BadCell("out_of_range", batch_topic, RECEIVED_NS, *at, 41, "engine_load_pct", 126.0),
        BadCell("out_of_range", batch_topic, RECEIVED_NS, *at, 42, "engine_load_pct", 127.0),
        BadCell("out_of_range", json_topic, RECEIVED_NS, *at, 5, "speed_kmh", -1.0),
    ]


def test_up_to_64_bad_values_are_reported_one_by_one() -> None:
    decoded = run(message(framed(TIME + bytes((11, 3 << 3)) + b"\xfc\x01", columns=2, n=64)))
    assert [bad.seq for bad in decoded.bad_rows] == list(range(64))
    assert np.isnan(decoded.columns["engine_load_pct"]).all()


def test_differences_that_overflow_are_out_of_range() -> None:
    huge = b"\xfe" + b"\xff" * 8 + b"\x01"  # zigzag of 2^63 - 1
    bodies = [
        TIME + bytes((13, 1 << 3)) + huge + bytes((2, 2)),  # 2^63 - 1, then + 1 twice
        TIME + bytes((13, 2 << 3 | 7)) + huge + huge + b"\xff" * 8,
        TIME + bytes((13, 7)) + b"\xff" * 24,  # -2^63
    ]
    decoded = run(*[message(framed(body, columns=2)) for body in bodies])
    assert decoded.rejected == []
    assert np.isnan(decoded.columns["fuel_total_hr_l"]).sum() == len(decoded.bad_rows) >= 7
    values = [bad.value for bad in decoded.bad_rows if isinstance(bad, BadCell)]
    assert values[0] == pytest.approx((2**63 - 1) / 1000)
    assert values[1] == pytest.approx(-(2**63) / 1000)


def test_a_signal_that_json_does_not_know_leaves_the_others() -> None:
    decoded = run(reading(signals={"speed_kmh": 1.0, "sped_kmh": 2.0}))
    assert decoded.columns["speed_kmh"].tolist() == [1.0]
    assert decoded.bad_rows == [
        BadCell("unknown_field", reading().topic, RECEIVED_NS, "truck-001", 9, 5, "sped_kmh", 2.0)
    ]


def test_a_time_that_cannot_be_true_is_set_aside_with_its_row() -> None:
    limit = RECEIVED_NS + 300 * SECOND_NS
    times = [EARLIEST_NS, EARLIEST_NS - 1_000_000, limit, limit + 1_000_000, T0_NS]
    samples = [Sample(t, {"odometer_m": 10.0 + i, "switches": 1.0}) for i, t in enumerate(times)]
    del samples[3].values["switches"]
    sent = [message(encode_batch("truck-001", 9, 50, samples)), reading(seq=55, time_ns=2**63 - 1)]
    decoded = run(*sent)
    assert decoded.columns["seq"].tolist() == [50, 51, 52, 53, 54, 55]
    assert decoded.columns["time_ns"].tolist() == [EARLIEST_NS, UNKNOWN, limit, UNKNOWN, T0_NS, UNKNOWN]
    assert decoded.columns["odometer_m"][:5].tolist() == [10.0, 11.0, 12.0, 13.0, 14.0]
    past = {"odometer_m": 11.0, "switches": 1.0}
    assert decoded.bad_rows == [
        BadRow("time_past", sent[0].topic, RECEIVED_NS, "truck-001", 9, 51, times[1], past),
        BadRow("time_future", sent[0].topic, RECEIVED_NS, "truck-001", 9, 53, times[3], {"odometer_m": 13.0}),
        BadRow("time_future", sent[1].topic, RECEIVED_NS, "truck-001", 9, 55, 2**63 - 1, {"speed_kmh": 12.5}),
    ]


@pytest.mark.parametrize(
    ("t0_ms", "reason"),
    [(2**63 - 1, "time_future"), (-(2**63), "time_past"), (10**13, "time_future"), (0, "time_past")],
)
def test_a_time_beyond_int64_is_cut_and_reported(t0_ms: int, reason: RejectReason) -> None:
    decoded = run(message(framed(TIME, columns=1, t0=t0_ms)))
    assert [bad.reason for bad in decoded.bad_rows] == [reason] * 3
    assert decoded.columns["time_ns"].tolist() == [UNKNOWN] * 3


def test_a_call_larger_than_a_group_is_one_result() -> None:
    body = TIME + bytes((100, 128)) + struct.pack("<I", 4_000_000) + bytes(4_000_000)
    large = framed(body, columns=2)
    messages = [batch(seq0=0), reading(seq=3), *[message(large)] * 9, message(b"FC\x09"), batch(seq0=4), message(b"")]
    decoded = run(*messages)
    assert decoded.columns["seq"].tolist() == [0, 1, 2, 3, *[0, 1, 2] * 9, 4, 5, 6]
    assert np.isnan(decoded.columns["odometer_m"][3:-3]).all()
    assert decoded.columns["odometer_m"][-3:].tolist() == [1000.0, 1020.0, 1040.0]
    assert [r.reason for r in decoded.rejected] == ["bad_version", "bad_magic"]


def test_a_bomb_costs_no_memory() -> None:
    run(batch())
    tracemalloc.start()
    decoded = run(message(framed(b"", columns=1, frame=BOMB)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [r.reason for r in decoded.rejected] == ["too_large_decompressed"]
    assert peak < 1 << 20


def test_no_hostile_message_takes_long() -> None:
    run(batch(), reading())
    for _reason, hostile in REJECTED:
        spent = min(_seconds(hostile) for _ in range(3))
        assert spent < 0.05, hostile.payload[:80]


def _seconds(hostile: Message) -> float:
    start = time.perf_counter()
    run(hostile)
    return time.perf_counter() - start


def test_json_readings_are_what_the_struct_encodes() -> None:
    sent = JsonReading(device="dock-001", boot_id=3, seq=0, time_ns=T0_NS, signals={"grid_import_kwh": 12.345})
    decoded = run(message(msgspec.json.encode(sent), "dock-001", "up/json"))
    assert decoded.columns["grid_import_kwh"].tolist() == [12.345]
    assert decoded.columns["device"].tolist() == [0]


def test_a_rejected_message_says_why() -> None:
    decoded = run(message(framed(TIME, columns=1, version=3)))
    assert decoded.rejected == [
        Rejected(
            "bad_version",
            message(b"").topic,
            framed(TIME, columns=1, version=3),
            RECEIVED_NS,
            "version 3; this reader knows 1",
        )
    ]
