"""The record and the frames on both sides: bytes by hand, both codecs against each other, and what is refused."""

import struct
from binascii import crc32

import pytest

from devices import firmware_record as fr
from devices.firmware import framing, hal_fake, record
from devices.firmware_record import Anchor, Beat, Head, Truck, TruckFlags, Warehouse, WarehouseFlags

NA2, NA4 = record.NA16, record.NA32
TRUCK = Truck(
    head=Head(boot_id=0x01020304, seq=7, t_ms=60_000),
    fuel_total=123_456_789,
    odometer=24_000_000,
    fuel_rate=360,
    speed=80 * 256,
    rpm=9_600,
    gross_weight=3_145,
    load_kg=12_340,
    axle_kg=-15,
    flags=TruckFlags.BUS_ALIVE | TruckFlags.LOAD_STABLE,
)
# typed from the table in devices/firmware/record.py; the CRC is that of zlib
TRUCK_HEX = """
    4652 01 01 04030201 07000000 60ea0000
    15cd5b07 00366e01 6801 0050 8025 490c 1c34 d903
    2200
"""


def with_crc(body: bytes) -> bytes:
    return body + struct.pack("<I", crc32(body))


def test_a_truck_record_by_hand() -> None:
    data = with_crc(bytes.fromhex(TRUCK_HEX))
    assert len(data) == 42
    assert fr.decode(data) == TRUCK
    assert fr.encode(TRUCK) == data
    assert data == record.pack(
        record.TRUCK,
        0x01020304,
        7,
        60_000,
        record.truck_fields(123_456_789, 24_000_000, 360, 20_480, 9_600, 3_145, 12_340, -15),
        record.BUS_ALIVE | record.LOAD_STABLE,
    )
    assert record.fits(data)
    assert record.head(data) == (record.TRUCK, 0x01020304, 7, 60_000)


def test_the_checksum_is_the_crc_32_of_everyone() -> None:
    assert crc32(b"123456789") == 0xCBF43926  # the check value of the catalogue of parametrised CRC algorithms


def test_nothing_measured_is_none() -> None:
    fields = record.truck_fields(NA4, NA4, NA2, NA2, NA2, NA2, NA2, NA2)
    assert fields == b"\xff" * 20
    got = fr.decode(record.pack(record.TRUCK, 1, 0, 0, fields, 0))
    assert got == Truck(Head(1, 0, 0), None, None, None, None, None, None, None, None, TruckFlags(0))


@pytest.mark.parametrize(
    ("raw16", "raw32", "known"),
    [
        (0xFAFF, 0xFAFFFFFF, True),
        (0xFB00, 0xFB000000, False),
        (0xFE00, 0xFE000000, False),
        (0xFFFE, 0xFFFFFFFE, False),
    ],
)
def test_a_code_that_is_no_value_stays_none_even_if_a_node_sends_it(raw16: int, raw32: int, known: bool) -> None:
    fields = struct.pack("<IIHHHHHH", raw32, raw32, *[raw16] * 6)
    got = fr.decode(record.pack(record.TRUCK, 1, 0, 0, fields, 0))
    assert isinstance(got, Truck)
    values = (
        got.fuel_total,
        got.odometer,
        got.fuel_rate,
        got.speed,
        got.rpm,
        got.gross_weight,
        got.load_kg,
        got.axle_kg,
    )
    assert all((value is not None) == known for value in values)


@pytest.mark.parametrize(("kg", "code"), [(0, 1000), (-1000, 0), (-1001, 0xFFFF), (63_255, 0xFAFF), (63_256, 0xFFFF)])
def test_loads_reach_from_a_tonne_below_zero(kg: int, code: int) -> None:
    assert record.load_code(kg) == code


def test_pulse_counts_have_48_bits() -> None:
    counts = [2**48 - 2, 2**32, 0]
    data = record.pack(record.WAREHOUSE, 9, 1, 2, record.warehouse_fields(counts, 70_000), record.COUNT_NEW)
    expected = Warehouse(Head(9, 1, 2), (2**48 - 2, 2**32, 0), 70_000 % 65_536, WarehouseFlags.COUNT_NEW)
    assert fr.decode(data) == expected
    assert fr.encode(expected) == data
    assert record.warehouse_counts(data) == counts
    nothing = record.warehouse_fields([record.NA48] * 3, 0)
    assert fr.decode(record.pack(record.WAREHOUSE, 9, 1, 2, nothing, 0)) == Warehouse(
        Head(9, 1, 2), (None, None, None), 0, WarehouseFlags(0)
    )


def test_beat_and_anchor() -> None:
    beat = Beat(Head(5, 12, 99), 0xABCDEF01, 3, 12, 1, 65_535, 4, WarehouseFlags.AFTER_WATCHDOG)
    assert fr.encode(beat) == record.pack(
        record.BEAT, 5, 12, 99, record.beat_fields(0xABCDEF01, 3, 12, 1, 100_000, 4), record.AFTER_WATCHDOG
    )
    assert fr.decode(fr.encode(beat)) == beat
    anchor = Anchor(Head(5, 0, 1234), 1_767_225_600_123)
    assert fr.encode(anchor) == record.pack(record.ANCHOR, 5, 0, 1234, record.anchor_fields(1_767_225_600_123), 0)
    assert fr.decode(fr.encode(anchor)) == anchor


def test_time_and_seq_wrap_where_they_must() -> None:
    data = record.pack(record.TRUCK, 1, 2**32 + 5, 2**32 + 6, bytes(20), 0)
    assert record.head(data) == (record.TRUCK, 1, 5, 6)


def test_what_is_refused_and_why() -> None:
    good = fr.encode(TRUCK)
    assert fr.decode(good[:-1]) == fr.Refused("length")
    assert fr.decode(good + b"\0") == fr.Refused("length")
    assert fr.decode(b"") == fr.Refused("length")
    assert fr.decode(b"G" + good[1:]) == fr.Refused("checksum")
    assert fr.decode(with_crc(b"G" + good[1:-4])) == fr.Refused("magic")
    assert fr.decode(with_crc(good[:2] + b"\x02" + good[3:-4])) == fr.Refused("version")
    assert fr.decode(with_crc(good[:3] + b"\x09" + good[4:-4])) == fr.Refused("kind", TRUCK.head)
    assert not record.fits(good[:-1])
    assert not record.fits(b"G" + good[1:])


def test_flags_of_a_newer_firmware_do_not_matter() -> None:
    good = fr.encode(TRUCK)
    newer = fr.decode(with_crc(good[:36] + b"\x22\x80" + good[38:-4]))
    assert isinstance(newer, Truck)
    assert newer.flags & TruckFlags.LOAD_STABLE
    assert newer.load_kg == 12_340


@pytest.mark.parametrize(
    ("data", "framed"),
    [
        (b"", "0100"),
        (b"\0", "010100"),
        (b"\0\0", "01010100"),
        (b"\x11\x22\0\x33", "031122023300"),
        (b"\x11\x22\x33\x44", "051122334400"),
        (b"\x11\0\0\0", "021101010100"),
    ],
)
def test_published_cobs_vectors(data: bytes, framed: str) -> None:
    """Examples 1 to 4 and 6 of the table in the article "Consistent Overhead Byte Stuffing" of Wikipedia, and the empty one."""
    assert framing.encode(data).hex() == framed
    assert fr.frame(data).hex() == framed
    assert framing.decode(bytes.fromhex(framed)[:-1]) == data
    assert fr.unframe(bytes.fromhex(framed)[:-1]) == data


@pytest.mark.parametrize("frame", [b"\x05\x11", b"\x01\x00\x01", b"\x03\x11\x22\x09"])
def test_what_cobs_cannot_have_made(frame: bytes) -> None:
    assert framing.decode(frame) is None
    assert fr.unframe(frame) is None


@pytest.mark.parametrize("reader", [framing.Reader, fr.FrameReader])
def test_garbage_costs_at_most_the_frame_it_touches(reader: type[fr.FrameReader]) -> None:
    r = reader()
    one, two = fr.frame(b"\x01\x02"), fr.frame(b"\x03\x00")
    assert r.feed(one[:2]) == []
    assert r.feed(one[2:] + b"\0\0" + two + b"\x09garbage\0" + two) == [b"\x01\x02", b"\x03\x00", b"\x03\x00"]
    assert r.bad == 1
    assert r.feed(b"x" * 1_000_000) == []
    assert len(r._kept) <= fr.FRAME_MOST
    assert r.feed(b"x" * 100 + b"\0" + one) == [b"\x01\x02"]
    assert r.bad == 2


def test_the_gateway_s_frame() -> None:
    data = fr.encode_down(7, acked=3, resume=5, utc_ms=1_767_225_600_000)
    assert framing.unpack_down(data) == (7, 7, 3, 5, 1_767_225_600_000)
    assert framing.unpack_down(fr.encode_down(7, acked=0)) == (framing.HAS_ACKED, 7, 0, 0, 0)
    assert framing.unpack_down(fr.encode_down(7, resume=0)) == (framing.HAS_RESUME, 7, 0, 0, 0)
    assert framing.unpack_down(fr.encode_down(7, utc_ms=1)) == (framing.HAS_UTC, 7, 0, 0, 1)
    assert hal_fake.down_frame(7, 7, 3, 5, 1_767_225_600_000) == fr.frame(data)
    for bad in (
        data[:-1],
        data[:-1] + b"\0",
        data + b"\0",
        with_crc(b"XX" + data[2:-4]),
        with_crc(b"FA\x02" + data[3:-4]),
    ):
        assert framing.unpack_down(bad) is None
