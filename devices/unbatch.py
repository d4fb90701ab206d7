"""Batches read again by the gateway that made them: what ``wire.encode_batch`` wrote, without numpy.

For frames whose checksum has been checked; the server, which trusts nobody, reads with ``ingest``.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import zstandard

from devices.signals import SIGNALS
from devices.wire import (
    CLOCK_ERROR_UNKNOWN,
    CLOCK_SOURCES,
    HEADER,
    MAGIC,
    MAX_BODY_BYTES,
    MERGED,
    SCALE,
    TIME,
    VERSION,
    ClockSource,
    Sample,
)

_NAMES: Final = {s.number: s.name for s in SIGNALS}
_NULLS: Final = 32


@dataclass(frozen=True, slots=True)
class Head:
    """The header of a batch: the readings ``seq0`` to ``end`` - 1 in ``n`` rows."""

    boot_id: int
    seq0: int
    end: int
    n: int
    t0_ns: int
    clock_source: ClockSource
    clock_error_ms: int
    body_at: int
    columns: int


def head(frame: bytes) -> Head:
    """The header. ValueError if it is none of this version."""
    if len(frame) < HEADER.size or frame[:2] != MAGIC or frame[2] != VERSION:
        raise ValueError("is no batch of this version")
    _, _, _, header_len, n, boot_id, seq0, covered, t0, source, columns, error_ms, _ = HEADER.unpack_from(frame)
    if source >= len(CLOCK_SOURCES):
        raise ValueError(f"clock source {source} is not known")
    error_ms = -1 if error_ms == CLOCK_ERROR_UNKNOWN else error_ms
    return Head(boot_id, seq0, seq0 + covered, n, t0 * 1_000_000, CLOCK_SOURCES[source], error_ms, header_len, columns)


def samples(frame: bytes) -> list[Sample]:
    """The rows. ValueError where the body cannot be read."""
    top = head(frame)
    try:
        body = zstandard.ZstdDecompressor().decompress(frame[top.body_at :], max_output_size=MAX_BODY_BYTES)
        columns = _columns(body, top)
    except (zstandard.ZstdError, IndexError) as error:
        raise ValueError(f"the body of a batch cannot be read: {error}") from None
    times = columns.pop(TIME, None)
    if times is None or len(times) != top.n:
        raise ValueError("a batch without times")
    merged = columns.pop(MERGED, [1] * top.n)
    rows: list[dict[str, float]] = [{} for _ in range(top.n)]
    for number, cells in columns.items():
        name = _NAMES.get(number)
        if name is None:
            continue
        scale = SCALE[name]
        for row, raw in zip(rows, cells, strict=True):
            if raw is not None:
                row[name] = raw / scale
    return [
        Sample(top.t0_ns + (t or 0) * 1_000_000, values, m or 1)
        for t, values, m in zip(times, rows, merged, strict=True)
    ]


def _columns(body: bytes, top: Head) -> dict[int, list[int | None]]:
    found: dict[int, list[int | None]] = {}
    at = 0
    for _ in range(top.columns):
        number, descriptor = body[at], body[at + 1]
        at += 2
        if descriptor & 0x80:
            at += 4 + int.from_bytes(body[at : at + 4], "little")
            continue
        missing = 0
        if descriptor & _NULLS:
            size = (top.n + 7) // 8
            missing = int.from_bytes(body[at : at + size], "little")
            at += size
        width, order = (descriptor & 7) + 1, descriptor >> 3 & 3
        bases: list[int] = []
        for _ in range((0, 1, 2, 1)[order]):
            base, at = _varint(body, at)
            bases.append(base)
        m = top.n - missing.bit_count()
        if order == 3:
            values = bases * m
        else:
            k = m - order
            values = _unplane(body, at, width, k)
            at += width * k
            if order == 2:
                values = list(accumulate(values, initial=bases[1]))
            if order:
                values = list(accumulate(values, initial=bases[0]))
        given = iter(values)
        found[number] = [None if missing >> i & 1 else next(given) for i in range(top.n)] if missing else [*values]
    return found


def _unplane(body: bytes, at: int, width: int, k: int) -> list[int]:
    if at + width * k > len(body):
        raise ValueError("a column is cut short")
    cells = bytearray(8 * k)
    for plane in range(width):
        cells[plane::8] = body[at + plane * k : at + (plane + 1) * k]
    return [_unzigzag(raw) for raw in memoryview(cells).cast("Q")]


def _unzigzag(raw: int) -> int:
    return raw >> 1 ^ -(raw & 1)


def _varint(body: bytes, at: int) -> tuple[int, int]:
    raw = shift = 0
    while True:
        byte = body[at]
        at += 1
        raw |= (byte & 0x7F) << shift
        if byte < 0x80:
            return _unzigzag(raw), at
        shift += 7
