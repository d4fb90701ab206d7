"""Wire v1: topics, small JSON messages, and the batch frame of readings. Reasons and figures: ``devices/README.md``.

A batch is a header and exactly one zstd frame (content size stated, checksum on). Little-endian, unpadded::

    offset type  field
    0      2s    magic "FC"
    2      u8    version, 1; a reader refuses a higher one
    3      u8    flags: bit 0 historical; a reader ignores the others
    4      u16   header_len, name and extensions included; a reader skips extension bytes it does not know
    6      u16   n, rows, 1 to 1000
    8      u64   boot_id, 1 to 2^63-1
    16     u64   seq0, 0 to 2^62
    24     u32   covered, n to 2^32-1: the readings seq0 .. seq0 + covered - 1 are accounted for
    28     i64   t0, ms since 1970 UTC
    36     u8    clock_source, index of CLOCK_SOURCES
    37     u8    columns in the body
    38     u32   clock_error_ms, 0 to 2^31-1, or 0xFFFFFFFF = not known
    42     u8    length of the device name, 3 to 40; the name, ASCII, follows; then extensions

The body is ``columns`` blocks with ascending numbers and nothing after them. A block::

    u8           number: 0 merged, 1 time (ms after t0), else devices.signals (value / step); a reader skips others
    u8           descriptor: bits 0-2 width - 1, bits 3-4 order, bit 5 nulls, bit 6 zero, bit 7 opaque
    opaque:      u32 length, then as many bytes, for a number the reader does not know; nothing below follows
    nulls:       ceil(n / 8) bytes, bit i % 8 of byte i // 8 set = row i has no value; m of the n rows have one
    zigzag LEB128 bases: none for order 0, one for orders 1 and 3, two for order 2 (first value, first difference)
    planes:      ``width`` planes of one byte each of k zigzag integers, lowest byte first

Order 0 is the m values themselves (k = m), 1 their differences (k = m - 1), 2 the differences of those (k = m - 2), 3 a
column that holds one value (no planes, width 1). Time is required; merged is present when a row stands for more than one
reading, and adds up to covered; neither has nulls. A merged row carries the ``seq`` of the newest reading in it.
"""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final, Literal, cast, get_args

import msgspec
import zstandard

from devices.signals import BY_NAME, SIGNALS

Leaf = Literal["up/readings", "up/json", "up/state", "up/gone", "dn/ack", "dn/nack", "dn/config"]
ClockSource = Literal["none", "rtc", "ntp", "gps", "holdover"]

MAX_PACKET_BYTES: Final = 256 * 1024  # the broker's packet limit; 1,000 readings of every signal, incompressible, fit
MAX_BODY_BYTES: Final = 4 * 1024 * 1024  # 1,000 readings of 255 columns of 8 bytes need half of it
MAX_READINGS: Final = 1000  # a backlog batch has 600
MAX_SEQ: Final = 2**62  # leaves room to add ``covered`` within int64
CLOCK_SOURCES: Final[tuple[ClockSource, ...]] = get_args(ClockSource)

MAGIC: Final = b"FC"
VERSION: Final = 1
HEADER: Final = struct.Struct("<2sBBHHQQIqBBIB")
CLOCK_ERROR_UNKNOWN: Final = 0xFFFFFFFF
MERGED: Final = 0
TIME: Final = 1
SCALE: Final = {s.name: round(1 / s.step) for s in SIGNALS}  # every step is 1 / integer: raw / scale rounds only once

_NAME: Final = re.compile(r"[a-z0-9-]{3,40}")
_LEAVES: Final = frozenset(get_args(Leaf))
_NS_PER_MS: Final = 1_000_000
_CONSTANT: Final = 3
_NULLS: Final = 32
_BASE_BITS: Final = 16  # what a base costs beside the cheaper differences it buys
_COMPRESSOR_LEVEL: Final = 3


@dataclass(frozen=True, slots=True)
class Topic:
    """Parts of ``fleet/v1/<tenant>/<device>/<leaf>``."""

    tenant: str
    device: str
    leaf: Leaf


def is_name(text: str) -> bool:
    """Whether ``text`` may name a tenant or a device: 3 to 40 of a-z, 0-9 and "-"."""
    return _NAME.fullmatch(text) is not None


def topic(tenant: str, device: str, leaf: Leaf) -> str:
    """Topic text. ValueError if a part is not allowed."""
    if not (is_name(tenant) and is_name(device) and leaf in _LEAVES):
        raise ValueError(f"not a topic: tenant {tenant!r}, device {device!r}, leaf {leaf!r}")
    return f"fleet/v1/{tenant}/{device}/{leaf}"


def parse_topic(text: str) -> Topic | None:
    """Parts of a topic; None if it is not one of ours."""
    parts = text.split("/", 4)
    if len(parts) != 5 or parts[:2] != ["fleet", "v1"] or parts[4] not in _LEAVES:
        return None
    _, _, tenant, device, leaf = parts
    return Topic(tenant, device, cast(Leaf, leaf)) if is_name(tenant) and is_name(device) else None


BootId = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Seq = Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]
TimeNs = Annotated[int, msgspec.Meta(ge=-(2**63) + 1, le=2**63 - 1)]


class Position(msgspec.Struct, frozen=True):
    """Every reading of ``boot_id`` with seq < ``next`` is durable on the server."""

    boot_id: BootId
    next: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Ack(msgspec.Struct, frozen=True, omit_defaults=True):
    """On ``dn/ack``: how far the newest boot is durable on the server; ``old``: the same of earlier ones heard of late."""

    boot_id: BootId
    next: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    old: tuple[Position, ...] = ()


class Hole(msgspec.Struct, frozen=True):
    """On ``dn/nack``: the server misses the readings ``begin`` to ``end`` - 1. On ``up/gone``: the gateway has them no more."""

    boot_id: BootId
    begin: Seq
    end: Seq


class AppliedConfig(msgspec.Struct, frozen=True):
    """The remote configuration in force: its version and the SHA-256 of its text, hex; ``refused`` = why the newest is not."""

    version: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    sha256: str = ""
    trial: bool = False
    refused: str = ""


class GatewayState(msgspec.Struct, frozen=True, omit_defaults=True):
    """On ``up/state``, retained: birth after connect, death as will. ``unconfirmed`` counts the readings kept.

    ``stuck`` names signals that stand still although others say they must move, ``missing`` sources that give nothing
    because of a fault, ``undated`` counts readings that wait for the clock. ``config`` is None without remote configuration.
    ``vin``: of the vehicle whose bus is read, blank if it was not heard. ``fill``: share of the outbox that is taken, 0 to 1;
    ``thinned``: readings merged away in this boot as it was full; ``in_memory``: it is lost with the process. None in these: not told.
    ``is_will``: said by the broker in the gateway's stead; the figures are those of when it connected.
    """

    status: Literal["online", "offline"]
    boot_id: BootId
    software: str
    unconfirmed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    oldest_unsent_ns: TimeNs | None
    sources: tuple[str, ...]
    clock: ClockSource = "none"
    undated: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    missing: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    config: AppliedConfig | None = None
    vin: str = ""
    fill: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    thinned: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    in_memory: bool | None = None
    is_will: bool = False


class JsonReading(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """On ``up/json``: one reading of a small device or a third party. ``signals`` by name, absent = not measured."""

    v: Literal[1] = 1
    device: str
    boot_id: BootId
    seq: Seq
    time_ns: TimeNs
    clock_source: ClockSource = "none"
    clock_error_ms: Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)] = -1
    signals: dict[str, float]


@dataclass(slots=True)
class Sample:
    """One reading before it is sent, or the newest of ``merged`` ones. ``values`` by signal, absent = not measured."""

    time_ns: int
    values: dict[str, float]
    merged: int = 1


def encode_batch(
    device: str,
    boot_id: int,
    seq0: int,
    samples: Sequence[Sample],
    *,
    historical: bool = False,
    clock_source: ClockSource = "none",
    clock_error_ms: int = -1,
) -> bytes:
    """One message for ``up/readings``.

    ``samples`` : 1 to 1000, the first begins at ``seq0``; times are cut to ms, values rounded to their signal's step.
    ``clock_error_ms`` : bound on the clock's error, -1 when not known.
    Raises ValueError, naming the field, for anything outside its range: the gateway drops impossible values before, so
    this is a mistake of the caller.
    """
    n = len(samples)
    _require(is_name(device), f"device {device!r} is not 3 to 40 of a-z, 0-9 and -")
    _require(1 <= boot_id < 2**63, f"boot_id {boot_id} is not in 1 to 2^63-1")
    _require(0 <= seq0 <= MAX_SEQ, f"seq0 {seq0} is not in 0 to 2^62")
    _require(1 <= n <= MAX_READINGS, f"{n} samples; a batch holds 1 to {MAX_READINGS}")
    _require(-1 <= clock_error_ms < 2**31, f"clock_error_ms {clock_error_ms} is not in -1 to 2^31-1")
    _require(all(-(2**63) < s.time_ns < 2**63 for s in samples), "time_ns is not an int64")
    covered = sum(s.merged for s in samples)
    _require(all(1 <= s.merged < 2**31 for s in samples), "merged is not in 1 to 2^31-1")
    _require(covered < 2**32, f"merged adds up to {covered}, above 2^32-1")

    t0 = samples[0].time_ns // _NS_PER_MS
    columns: dict[int, list[int | None]] = {TIME: [s.time_ns // _NS_PER_MS - t0 for s in samples]}
    if covered > n:
        columns[MERGED] = [s.merged for s in samples]
    for name in {name: None for s in samples for name in s.values}:
        _require(name in BY_NAME, f"no signal is named {name!r}")
        columns[BY_NAME[name].number] = _raw(name, samples)
    body = b"".join(_block(number, columns[number]) for number in sorted(columns))
    name_bytes = device.encode("ascii")
    header = HEADER.pack(
        MAGIC,
        VERSION,
        int(historical),
        HEADER.size + len(name_bytes),
        n,
        boot_id,
        seq0,
        covered,
        t0,
        CLOCK_SOURCES.index(clock_source),
        len(columns),
        CLOCK_ERROR_UNKNOWN if clock_error_ms == -1 else clock_error_ms,
        len(name_bytes),
    )
    compressor = zstandard.ZstdCompressor(level=_COMPRESSOR_LEVEL, write_checksum=True, write_content_size=True)
    return header + name_bytes + compressor.compress(body)


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def _raw(name: str, samples: Sequence[Sample]) -> list[int | None]:
    low, high, scale = BY_NAME[name].low, BY_NAME[name].high, SCALE[name]
    raw: list[int | None] = []
    for s in samples:
        value = s.values.get(name)
        if value is None:
            raw.append(None)
        elif low <= value <= high:  # NaN is not
            raw.append(round(value * scale))
        else:
            raise ValueError(f"{name} is {value}, not in {low} to {high}")
    return raw


def _block(number: int, cells: list[int | None]) -> bytes:
    values = [c for c in cells if c is not None]
    flags, bitmap = 0, b""
    if len(values) < len(cells):
        flags = _NULLS
        bits = sum(1 << i for i, c in enumerate(cells) if c is None)
        bitmap = bits.to_bytes((len(cells) + 7) // 8, "little")
    first = [b - a for a, b in pairwise(values)]
    if not any(first):
        return bytes((number, flags | _CONSTANT << 3)) + bitmap + _varint(_zigzag(values[0]))
    second = [b - a for a, b in pairwise(first)]
    bases: tuple[list[int], ...] = ([], values[:1], [values[0], first[0]])
    candidates = (values, first, second) if second else (values, first)
    order = min(range(len(candidates)), key=lambda o: sum(map(int.bit_length, candidates[o])) + _BASE_BITS * o)
    coded = [_zigzag(v) for v in candidates[order]]
    width = max(1, (max(coded).bit_length() + 7) // 8)
    rows = struct.pack(f"<{len(coded)}Q", *coded)
    planes = b"".join(rows[k::8] for k in range(width))
    head = bytes((number, flags | order << 3 | width - 1)) + bitmap
    return head + b"".join(_varint(_zigzag(b)) for b in bases[order]) + planes


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else ~(value << 1)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
