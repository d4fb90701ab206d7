"""The record: what a node keeps in flash and sends to the gateway. 42 bytes, little-endian, unpadded::

    offset type  field
    0      2s    magic "FR"
    2      u8    version, 1
    3      u8    kind: 0 beat, 1 truck, 2 warehouse, 3 anchor; beat and anchor are sent only, never kept
    4      u32   boot_id, 1 to 2^32-1, another after every start
    8      u32   seq, continued over starts
    12     u32   t_ms, ms since the start, modulo 2^32 (49.7 days)
    16     20s   fields of the kind
    36     u16   flags of the kind
    38     u32   CRC-32 (IEEE 802.3) of bytes 0 to 37

    truck      u32 fuel total [1 mL, or 0.5 L with FUEL_COARSE] · u32 odometer [5 m] · u16 fuel rate [0.05 L/h] ·
               u16 speed [1/256 km/h] · u16 engine speed [0.125 rpm] · u16 gross weight [10 kg] ·
               u16 load cell [kg + 1000] · u16 axle load by air pressure [kg + 1000]
    warehouse  3 x u32 low and 3 x u16 high part of three pulse counts · u16 pulses too short to be one, modulo 2^16
    beat       u32 ring_id · u32 acked · u32 next · u32 oldest · u16 bad frames received · u16 failed flash writes;
               ``seq`` is ``next``, ``t_ms`` the moment of sending
    anchor     u64 UTC in ms at ``t_ms`` of the start ``boot_id``, zeros; ``seq`` is 0

All bits set = not measured. Signals of the bus keep the raw codes of J1939, of which 0xFB.. and above are no values. There
are integers only: boards have single-precision floats, and the same inputs must give the same bytes everywhere.
"""

import struct
from binascii import crc32

MAGIC = 0x5246  # "FR"
VERSION = 1
SIZE = 42
BEAT = 0
TRUCK = 1
WAREHOUSE = 2
ANCHOR = 3
NA16 = 0xFFFF
NA32 = 0xFFFFFFFF
NA48 = 0xFFFFFFFFFFFF
LOAD_OFFSET_KG = 1000  # a scale just below zero is still a measurement
LOAD_MAX_KG = 0xFAFF - LOAD_OFFSET_KG

AFTER_WATCHDOG = 0x0001  # any kind: this start was forced by the watchdog
LOAD_STABLE = 0x0002
AXLE_STABLE = 0x0004
LOAD_FAULT = 0x0008  # the load cell does not answer, or its signal is out of range
AXLE_FAULT = 0x0010  # the pressure sensor's voltage is that of a broken or shorted wire
BUS_ALIVE = 0x0020  # a frame came within the last two seconds
BUS_FAULT = 0x0040  # the controller reported errors or lost frames since the record before
SECOND_SOURCE = 0x0080  # two addresses send the same signal; the first is believed
TACHO_SPEED = 0x0100  # the speed is the tachograph's
FUEL_COARSE = 0x0200  # the fuel total is SPN 250 in 0.5 L
COUNT_NEW = 0x0002  # warehouse: nothing was found in flash, the counts of this start began at 0

_HEAD = "<HBBIII"
_TAIL = "<HI"
_TRUCK = "<IIHHHHHH"
_WAREHOUSE = "<IIIHHHH"
_BEAT = "<IIIIHH"


def pack(kind: int, boot_id: int, seq: int, t_ms: int, fields: bytes, flags: int) -> bytes:
    """A record; ``fields`` of 20 bytes; ``t_ms`` and ``seq`` are taken modulo 2^32."""
    body = (
        struct.pack(_HEAD, MAGIC, VERSION, kind, boot_id, seq & NA32, t_ms & NA32) + fields + struct.pack("<H", flags)
    )
    return body + struct.pack("<I", crc32(body) & NA32)


def fits(data: bytes) -> bool:
    """Whether ``data`` is a whole record, of whatever version."""
    return (
        len(data) == SIZE
        and data[0] == MAGIC & 0xFF
        and data[1] == MAGIC >> 8
        and struct.unpack_from("<I", data, SIZE - 4)[0] == crc32(data[: SIZE - 4]) & NA32
    )


def head(data: bytes) -> tuple[int, int, int, int]:
    """(kind, boot_id, seq, t_ms) of a record that fits."""
    _magic, _version, kind, boot_id, seq, t_ms = struct.unpack_from(_HEAD, data, 0)
    return kind, boot_id, seq, t_ms


def truck_fields(
    fuel_total: int, odometer: int, fuel_rate: int, speed: int, rpm: int, gross: int, load_kg: int, axle_kg: int
) -> bytes:
    """Fields of a truck: raw codes of the bus, and two loads in kg, NA16 = none."""
    return struct.pack(
        _TRUCK, fuel_total, odometer, fuel_rate, speed, rpm, gross, load_code(load_kg), load_code(axle_kg)
    )


def load_code(kg: int) -> int:
    """A load [kg] as its code; NA16 for NA16 and for what the code cannot hold."""
    return kg + LOAD_OFFSET_KG if -LOAD_OFFSET_KG <= kg <= LOAD_MAX_KG else NA16


def warehouse_fields(counts: list[int], glitches: int) -> bytes:
    """Fields of a warehouse: three counts of 48 bits, NA48 = no input there."""
    a, b, c = counts
    return struct.pack(_WAREHOUSE, a & NA32, b & NA32, c & NA32, a >> 32, b >> 32, c >> 32, glitches & NA16)


def warehouse_counts(data: bytes) -> list[int]:
    """The three counts of a warehouse record."""
    a, b, c, a_high, b_high, c_high, _glitches = struct.unpack_from(_WAREHOUSE, data, 16)
    return [a | a_high << 32, b | b_high << 32, c | c_high << 32]


def beat_fields(ring_id: int, acked: int, following: int, oldest: int, bad_frames: int, failed_writes: int) -> bytes:
    """Fields of a beat."""
    return struct.pack(_BEAT, ring_id, acked, following, oldest, min(bad_frames, NA16), min(failed_writes, NA16))


def anchor_fields(utc_ms: int) -> bytes:
    """Fields of an anchor."""
    return struct.pack("<Q", utc_ms) + bytes(12)
