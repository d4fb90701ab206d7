"""Records of the firmware on the gateway's side: bytes to values and back. Layout: ``devices/firmware/record.py``.

The firmware is not part of the package, so this reads what it writes on its own; ``tests/golden/firmware`` holds both to the
same bytes. Nothing here raises on what a line delivered.
"""

import struct
from binascii import crc32
from dataclasses import dataclass
from enum import IntFlag
from typing import Final, Literal

MAGIC: Final = b"FR"
VERSION: Final = 1
SIZE: Final = 42
FRAME_MOST: Final = 64  # encoded bytes: a record takes 44; longer is garbage
LOAD_OFFSET_KG: Final = 1000
PULSE_INPUTS: Final = 3
U32: Final = 2**32

_HEAD: Final = struct.Struct("<2sBBIII")
_TRUCK: Final = struct.Struct("<IIHHHHHH")
_WAREHOUSE: Final = struct.Struct("<IIIHHHH")
_BEAT: Final = struct.Struct("<IIIIHH")
_ANCHOR: Final = struct.Struct("<Q12s")
_FLAGS: Final = struct.Struct("<H")
_CRC: Final = struct.Struct("<I")
_DOWN: Final = struct.Struct("<2sBBIIIQ")
_DOWN_MAGIC: Final = b"FA"
_NA16: Final = 0xFFFF
_NA32: Final = 0xFFFFFFFF
_NA48: Final = 0xFFFFFFFFFFFF
_TOP16: Final = 0xFAFF  # the highest code that is a value, J1939-71
_TOP32: Final = 0xFAFFFFFF
_BEAT_KIND, _TRUCK_KIND, _WAREHOUSE_KIND, _ANCHOR_KIND = range(4)

Refusal = Literal["length", "checksum", "magic", "version", "kind"]


class TruckFlags(IntFlag):
    """Flags of a truck record. A bit that is not here is of a newer firmware and says nothing."""

    AFTER_WATCHDOG = 0x0001
    LOAD_STABLE = 0x0002
    AXLE_STABLE = 0x0004
    LOAD_FAULT = 0x0008
    AXLE_FAULT = 0x0010
    BUS_ALIVE = 0x0020
    BUS_FAULT = 0x0040
    SECOND_SOURCE = 0x0080
    TACHO_SPEED = 0x0100
    FUEL_COARSE = 0x0200


class WarehouseFlags(IntFlag):
    """Flags of a warehouse record, and AFTER_WATCHDOG of a beat."""

    AFTER_WATCHDOG = 0x0001
    COUNT_NEW = 0x0002


@dataclass(frozen=True, slots=True)
class Head:
    """What every record begins with. ``t_ms`` is modulo 2^32, since the node's start."""

    boot_id: int
    seq: int
    t_ms: int


@dataclass(frozen=True, slots=True)
class Truck:
    """Raw codes, None = not measured. Loads in kg."""

    head: Head
    fuel_total: int | None
    odometer: int | None
    fuel_rate: int | None
    speed: int | None
    rpm: int | None
    gross_weight: int | None
    load_kg: int | None
    axle_kg: int | None
    flags: TruckFlags


@dataclass(frozen=True, slots=True)
class Warehouse:
    """Three pulse counts, None = no such input."""

    head: Head
    counts: tuple[int | None, int | None, int | None]
    glitches: int
    flags: WarehouseFlags


@dataclass(frozen=True, slots=True)
class Beat:
    """What the node says of itself every second. ``next``: the seq of the record it will write next."""

    head: Head
    ring_id: int
    acked: int
    next: int
    oldest: int
    bad_frames: int
    failed_writes: int
    flags: WarehouseFlags


@dataclass(frozen=True, slots=True)
class Anchor:
    """UTC at ``head.t_ms`` of the start ``head.boot_id``."""

    head: Head
    utc_ms: int


Record = Truck | Warehouse | Beat | Anchor


@dataclass(frozen=True, slots=True)
class Refused:
    """A frame that is no record. ``head`` where version and checksum fit but the kind is not known."""

    reason: Refusal
    head: Head | None = None


def decode(data: bytes) -> Record | Refused:
    """What a frame holds."""
    if len(data) != SIZE:
        return Refused("length")
    if _CRC.unpack_from(data, SIZE - 4)[0] != crc32(data[: SIZE - 4]):
        return Refused("checksum")
    magic, version, kind, boot_id, seq, t_ms = _HEAD.unpack_from(data)
    if magic != MAGIC:
        return Refused("magic")
    if version != VERSION:
        return Refused("version")
    head = Head(boot_id, seq, t_ms)
    flags = _FLAGS.unpack_from(data, SIZE - 6)[0]
    fields = data[_HEAD.size : SIZE - 6]
    if kind == _TRUCK_KIND:
        fuel, odometer, rate, speed, rpm, gross, load, axle = _TRUCK.unpack(fields)
        return Truck(
            head,
            _value(fuel, _TOP32),
            _value(odometer, _TOP32),
            _value(rate, _TOP16),
            _value(speed, _TOP16),
            _value(rpm, _TOP16),
            _value(gross, _TOP16),
            _load(load),
            _load(axle),
            TruckFlags(flags),
        )
    if kind == _WAREHOUSE_KIND:
        a, b, c, a_high, b_high, c_high, glitches = _WAREHOUSE.unpack(fields)
        counts = (_count(a, a_high), _count(b, b_high), _count(c, c_high))
        return Warehouse(head, counts, glitches, WarehouseFlags(flags))
    if kind == _BEAT_KIND:
        ring_id, acked, following, oldest, bad_frames, failed_writes = _BEAT.unpack(fields)
        return Beat(head, ring_id, acked, following, oldest, bad_frames, failed_writes, WarehouseFlags(flags))
    if kind == _ANCHOR_KIND:
        return Anchor(head, _ANCHOR.unpack(fields)[0])
    return Refused("kind", head)


def encode(record: Record) -> bytes:
    """The bytes of a record. struct.error if a field does not fit into its place: a mistake of the caller."""
    flags = 0
    match record:
        case Truck():
            kind, flags = _TRUCK_KIND, int(record.flags)
            codes = (
                _NA16 if v is None else v for v in (record.fuel_rate, record.speed, record.rpm, record.gross_weight)
            )
            loads = (_NA16 if v is None else v + LOAD_OFFSET_KG for v in (record.load_kg, record.axle_kg))
            totals = (_NA32 if v is None else v for v in (record.fuel_total, record.odometer))
            fields = _TRUCK.pack(*totals, *codes, *loads)
        case Warehouse():
            kind, flags = _WAREHOUSE_KIND, int(record.flags)
            counts = [_NA48 if c is None else c for c in record.counts]
            fields = _WAREHOUSE.pack(*(c % U32 for c in counts), *(c // U32 for c in counts), record.glitches)
        case Beat():
            kind, flags, r = _BEAT_KIND, int(record.flags), record
            fields = _BEAT.pack(r.ring_id, r.acked, r.next, r.oldest, r.bad_frames, r.failed_writes)
        case Anchor():
            kind, fields = _ANCHOR_KIND, _ANCHOR.pack(record.utc_ms, b"")
    head = record.head
    body = _HEAD.pack(MAGIC, VERSION, kind, head.boot_id, head.seq, head.t_ms) + fields + _FLAGS.pack(flags)
    return body + _CRC.pack(crc32(body))


def encode_down(
    ring_id: int, *, acked: int | None = None, resume: int | None = None, utc_ms: int | None = None
) -> bytes:
    """The gateway's frame (``devices/firmware/framing.py``), not yet framed."""
    given = (acked, resume, utc_ms)
    flags = sum(1 << i for i, value in enumerate(given) if value is not None)
    body = _DOWN.pack(_DOWN_MAGIC, VERSION, flags, ring_id, *(value or 0 for value in given))
    return body + _CRC.pack(crc32(body))


def frame(data: bytes) -> bytes:
    """COBS with its zero; ``data`` of at most 253 bytes."""
    return b"".join(bytes((len(part) + 1,)) + part for part in data.split(b"\0")) + b"\0"


def unframe(frame: bytes) -> bytes | None:
    """What COBS put into ``frame``, which is without its zero and shorter than 255 bytes; None if it cannot have made it."""
    parts = []
    at = 0
    while at < len(frame):
        end = at + frame[at]
        if end == at or end > len(frame):
            return None
        parts.append(frame[at + 1 : end])
        at = end
    return b"\0".join(parts)


class FrameReader:
    """Cuts a stream of bytes into frames; holds at most FRAME_MOST bytes. ``bad`` counts what COBS cannot have made."""

    __slots__ = ("_kept", "_skipping", "bad")

    def __init__(self) -> None:
        self._kept = b""
        self._skipping = False
        self.bad = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that ``data`` completes, without COBS."""
        done = []
        *ended, rest = data.split(b"\0")
        for part in ended:
            self._keep(part)
            if self._kept:
                content = unframe(self._kept)
                if content is None:
                    self.bad += 1
                else:
                    done.append(content)
            self._kept, self._skipping = b"", False
        self._keep(rest)
        return done

    def _keep(self, part: bytes) -> None:
        if self._skipping:
            return
        self._kept += part
        if len(self._kept) > FRAME_MOST:
            self._kept, self._skipping = b"", True
            self.bad += 1


def _value(raw: int, top: int) -> int | None:
    return raw if raw <= top else None


def _load(code: int) -> int | None:
    return code - LOAD_OFFSET_KG if code <= _TOP16 else None


def _count(low: int, high: int) -> int | None:
    count: int = low + high * U32
    return None if count == _NA48 else count
