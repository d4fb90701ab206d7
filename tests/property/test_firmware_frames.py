"""Frames of the serial line under fuzz: both codecs agree, nothing damaged is taken, and the reader is in step again at once."""

from hypothesis import example, given
from hypothesis import strategies as st

from devices import firmware_record as fr
from devices.firmware import framing, record
from devices.firmware_intake import Intake
from devices.firmware_record import Anchor, Beat, Head, Truck, TruckFlags, Warehouse, WarehouseFlags

U16, U32 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
HEADS = st.builds(Head, U32, U32, U32)
VALUE16, VALUE32 = st.none() | st.integers(0, 0xFAFF), st.none() | st.integers(0, 0xFAFFFFFF)
LOAD = st.none() | st.integers(-1000, 0xFAFF - 1000)
COUNT = st.none() | st.integers(0, 2**48 - 2)
TRUCKS = st.builds(
    Truck,
    HEADS,
    VALUE32,
    VALUE32,
    VALUE16,
    VALUE16,
    VALUE16,
    VALUE16,
    LOAD,
    LOAD,
    U16.map(TruckFlags),
)
WAREHOUSES = st.builds(Warehouse, HEADS, st.tuples(COUNT, COUNT, COUNT), U16, U16.map(WarehouseFlags))
BEATS = st.builds(Beat, HEADS, U32, U32, U32, U32, U16, U16, U16.map(WarehouseFlags))
ANCHORS = st.builds(Anchor, HEADS, st.integers(0, 2**64 - 1))
RECORDS: st.SearchStrategy[fr.Record] = st.one_of(TRUCKS, WAREHOUSES, BEATS, ANCHORS)


def or_na(value: int | None, na: int) -> int:
    return na if value is None else value


def by_firmware(r: fr.Record) -> bytes:
    """The record as the node packs it."""
    if isinstance(r, Truck):
        kind, flags = record.TRUCK, int(r.flags)
        totals = [or_na(v, record.NA32) for v in (r.fuel_total, r.odometer)]
        others = (r.fuel_rate, r.speed, r.rpm, r.gross_weight, r.load_kg, r.axle_kg)
        fields = record.truck_fields(*totals, *(or_na(v, record.NA16) for v in others))
    elif isinstance(r, Warehouse):
        kind, flags = record.WAREHOUSE, int(r.flags)
        fields = record.warehouse_fields([or_na(c, record.NA48) for c in r.counts], r.glitches)
    elif isinstance(r, Beat):
        kind, flags = record.BEAT, int(r.flags)
        fields = record.beat_fields(r.ring_id, r.acked, r.next, r.oldest, r.bad_frames, r.failed_writes)
    else:
        kind, flags, fields = record.ANCHOR, 0, record.anchor_fields(r.utc_ms)
    return record.pack(kind, r.head.boot_id, r.head.seq, r.head.t_ms, fields, flags)


@given(RECORDS)
def test_both_sides_write_and_read_the_same_bytes(r: fr.Record) -> None:
    data = by_firmware(r)
    assert fr.encode(r) == data
    assert fr.decode(data) == r
    assert record.fits(data)


@given(st.binary(max_size=253))
@example(bytes(253))
@example(b"\x01" * 253)
def test_frames_hold_what_was_put_in_and_no_zero(data: bytes) -> None:
    framed = framing.encode(data)
    assert fr.frame(data) == framed
    assert framed.count(b"\0") == 1
    assert framed.endswith(b"\0")
    assert len(framed) == len(data) + 2
    assert framing.decode(framed[:-1]) == data == fr.unframe(framed[:-1])


@given(st.lists(st.binary(max_size=80), max_size=30))
def test_both_readers_see_the_same_in_any_bytes_cut_anywhere(pieces: list[bytes]) -> None:
    whole, firmware, gateway = fr.FrameReader(), framing.Reader(), fr.FrameReader()
    at_once = whole.feed(b"".join(pieces))
    assert [f for piece in pieces for f in firmware.feed(piece)] == at_once
    assert [f for piece in pieces for f in gateway.feed(piece)] == at_once
    assert firmware.bad == gateway.bad == whole.bad


DAMAGE = st.tuples(st.sampled_from(["flip", "drop", "insert", "repeat", "cut"]), U32, st.integers(0, 255))


def damaged(data: bytes, damages: list[tuple[str, int, int]]) -> bytes:
    for how, where, byte in damages:
        at = where % (len(data) + 1)
        if how == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << byte % 8)]) + data[at + 1 :]
        elif how == "drop":
            data = data[:at] + data[at + 1 + byte % 4 :]
        elif how == "insert":
            data = data[:at] + bytes([byte]) * (1 + byte % 100) + data[at:]
        elif how == "repeat":
            data = data[:at] + data[max(0, at - byte) : at] + data[at:]
        elif how == "cut":
            data = data[: max(at, len(data) // 2)]
    return data


def read(data: bytes) -> list[fr.Record]:
    decoded = [fr.decode(content) for content in fr.FrameReader().feed(data)]
    return [r for r in decoded if not isinstance(r, fr.Refused)]


@given(st.lists(RECORDS, min_size=1, max_size=8), st.lists(DAMAGE, min_size=1, max_size=6))
def test_no_damage_makes_a_record_that_was_not_sent(sent: list[fr.Record], damages: list[tuple[str, int, int]]) -> None:
    stream = b"".join(fr.frame(fr.encode(r)) for r in sent)
    for r in read(damaged(stream, damages)):
        assert r in sent


@given(st.binary(max_size=300), RECORDS, RECORDS)
def test_after_any_garbage_the_second_frame_at_the_latest_is_read(
    garbage: bytes, one: fr.Record, two: fr.Record
) -> None:
    got = read(garbage + fr.frame(fr.encode(one)) + fr.frame(fr.encode(two)))
    assert got[-1] == two
    if garbage.endswith(b"\0") or not garbage:
        assert got[-2] == one


@given(st.binary(max_size=400), st.data())
def test_only_the_frame_that_was_hit_is_lost(noise: bytes, data: st.DataObject) -> None:
    sent = data.draw(st.lists(RECORDS, min_size=3, max_size=6))
    frames = [fr.frame(fr.encode(r)) for r in sent]
    hit = data.draw(st.integers(0, len(sent) - 1))
    at = data.draw(st.integers(0, len(frames[hit]) - 2))  # not its zero: that would join it to the next
    frames[hit] = frames[hit][:at] + noise + frames[hit][at + 1 :]
    got = read(b"".join(frames))
    assert all(r in got for i, r in enumerate(sent) if i != hit)


@given(st.lists(st.tuples(st.binary(max_size=120), RECORDS), max_size=30), st.integers(0, 3))
def test_the_intake_survives_whatever_a_line_or_a_mad_node_says(
    said: list[tuple[bytes, fr.Record]], ack_s: int
) -> None:
    """No exception, no acknowledgement of what was not taken, and nothing kept without bound."""
    intake = Intake(lambda r: {}, ack_after_s=ack_s)
    now_s, now_ns, taken = 0.0, 1_767_225_600 * 10**9, 0
    for noise, r in said:
        now_s += 1
        taken += len(list(intake.on_bytes(noise + b"\0" + fr.frame(fr.encode(r)), now_s, now_ns)))
        for content in framing.Reader().feed(intake.reply(now_s, now_ns)):
            down = framing.unpack_down(content)
            assert down is not None
            beat = intake.figures.node
            assert beat is not None
            assert down[1] == beat.ring_id
    assert taken == intake.figures.records
    assert len(intake._taken) <= ack_s + 2


@given(st.binary(max_size=200))
def test_the_node_survives_whatever_the_line_brings(data: bytes) -> None:
    for content in framing.Reader().feed(data + b"\0"):
        assert framing.unpack_down(content) is None, "28 bytes with a CRC-32 are not hit by chance"
