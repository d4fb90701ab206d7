"""Arrow columns as DataRow messages, text or binary: whole columns at a time, no Python object per cell of the usual types."""

import datetime
import struct
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dashboards.sql import types as t
from dashboards.sql.errors import NOT_SUPPORTED, SqlError

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Cells:
    """The cells of a column: length of each (-1 = null), and the bytes of those that are not null, one after another."""

    lengths: Ints
    data: Bytes


def _of_strings(column: pa.Array) -> _Cells:
    known = column.is_valid().to_numpy(zero_copy_only=False)
    filled = pc.fill_null(column.cast(pa.large_binary()), b"")
    _, offsets, data = filled.buffers()
    ends = np.frombuffer(offsets, np.int64)[filled.offset : filled.offset + len(filled) + 1]
    raw = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return _Cells(np.where(known, np.diff(ends), -1), raw[ends[0] : ends[-1]])


def _of_fixed(column: pa.Array, values: npt.NDArray[Any]) -> _Cells:
    known = column.is_valid().to_numpy(zero_copy_only=False)
    size = values.dtype.itemsize
    return _Cells(np.where(known, size, -1), np.ascontiguousarray(values[known]).view(np.uint8).reshape(-1))


def _of_objects(column: pa.Array, encode: Callable[[Any], bytes]) -> _Cells:
    values = column.to_pylist()
    return _of_strings(pa.array([None if v is None else encode(v) for v in values], pa.binary()))


def _quoted(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return "{" + ",".join(_quoted(v) for v in value) + "}"
    text = _text_of(value)
    if text and not set(text) & set('{}," \\') and text.upper() != "NULL":
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _interval(months: int, days: int, nanoseconds: int) -> str:
    us = nanoseconds // 1000
    seconds, part = divmod(abs(us), 1_000_000)
    clock = f"{'-' if us < 0 else ''}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    clock += f".{part:06}" if part else ""
    years, rest = (abs(months) // 12, abs(months) % 12)
    sign = "-" if months < 0 else ""
    words = [f"{sign}{years} years"] * bool(years) + [f"{sign}{rest} mons"] * bool(rest) + [f"{days} days"] * bool(days)
    return " ".join([*words, clock] if us or not words else words)


def _text_of(value: Any) -> str:
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None).isoformat(sep=" ") + "+00"
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, list):
        return _quoted(value)
    if isinstance(value, pa.MonthDayNano):
        return _interval(value.months, value.days, value.nanoseconds)
    return str(value)


def _text(column: pa.Array) -> _Cells:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _of_strings(column)
    if pa.types.is_boolean(kind):
        return _of_strings(pc.if_else(column, pa.scalar("t"), pa.scalar("f")))
    if pa.types.is_floating(kind):
        text = column.cast(pa.string())
        odd = pc.invert(pc.is_finite(pc.fill_null(column, 0)))
        if pc.any(odd).as_py():
            for name, ours in (("nan", "NaN"), ("-nan", "NaN"), ("inf", "Infinity"), ("-inf", "-Infinity")):
                text = pc.if_else(pc.equal(text, name), pa.scalar(ours), text)
        return _of_strings(text)
    if pa.types.is_timestamp(kind):
        naive = column.cast(pa.timestamp("us"), safe=False)
        whole = (
            pc.all(pc.equal(pc.microsecond(naive), 0)).as_py() and pc.all(pc.equal(pc.millisecond(naive), 0)).as_py()
        )
        shown = naive.cast(pa.timestamp("s"), safe=False) if whole else naive
        return _of_strings(pc.binary_join_element_wise(shown.cast(pa.string()), pa.scalar("+00"), pa.scalar("")))
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_date(kind) or pa.types.is_time(kind):
        return _of_strings(column.cast(pa.string()))
    if pa.types.is_null(kind):
        return _of_strings(column.cast(pa.string()))
    return _of_objects(column, lambda v: _text_of(v).encode())


def _numeric(value: Any) -> bytes:
    """PostgreSQL's numeric: base-10000 digits with weight, sign and scale."""
    number = Decimal(value)
    if not number.is_finite():
        return struct.pack("!hhHh", 0, 0, 0xC000, 0)
    sign, digits, exponent = number.as_tuple()
    scale = max(0, -int(exponent))
    whole = int("".join(map(str, digits)) or "0") * 10 ** max(0, int(exponent))
    fraction = -scale % 4
    whole *= 10**fraction
    groups: list[int] = []
    while whole:
        whole, group = divmod(whole, 10_000)
        groups.insert(0, group)
    weight = len(groups) - (scale + fraction) // 4 - 1
    while groups and groups[-1] == 0:
        groups.pop()
    return struct.pack(
        f"!hhHh{len(groups)}h", len(groups), weight if groups else 0, 0x4000 if sign else 0, scale, *groups
    )


def _binary_value(oid: int) -> Callable[[Any], bytes]:
    forms: dict[int, Callable[[Any], bytes]] = {
        t.BOOL: lambda v: b"\1" if v else b"\0",
        t.INT2: lambda v: struct.pack("!h", v),
        t.INT4: lambda v: struct.pack("!i", v),
        t.INT8: lambda v: struct.pack("!q", v),
        t.FLOAT4: lambda v: struct.pack("!f", v),
        t.FLOAT8: lambda v: struct.pack("!d", v),
        t.TEXT: lambda v: _text_of(v).encode(),
        t.BYTEA: bytes,
        t.NUMERIC: _numeric,
        t.UUID: lambda v: uuid.UUID(str(v)).bytes,
        t.INTERVAL: lambda v: struct.pack("!qii", v.nanoseconds // 1000, v.days, v.months),
        t.TIME: lambda v: struct.pack("!q", ((v.hour * 60 + v.minute) * 60 + v.second) * 1_000_000 + v.microsecond),
        t.TIMESTAMPTZ: lambda v: struct.pack("!q", _micros(v) - t.EPOCH_US),
    }
    element = next((k for k, array in t.ARRAYS.items() if array == oid), None)
    if element is not None:
        return lambda v: _array(v, element)
    if oid not in forms:
        raise SqlError(NOT_SUPPORTED, f"results of type {t.OID_NAMES.get(oid, oid)} are sent as text, not as binary")
    return forms[oid]


def _micros(moment: datetime.datetime) -> int:
    naive = moment.replace(tzinfo=None) - datetime.datetime(1970, 1, 1)  # noqa: DTZ001  UTC by then
    return (naive.days * 86_400 + naive.seconds) * 1_000_000 + naive.microseconds


def _array(values: list[Any], element: int) -> bytes:
    encode = _binary_value(element)
    cells = [struct.pack("!i", -1) if v is None else struct.pack("!i", len(b := encode(v))) + b for v in values]
    head = struct.pack("!iiI", 1 if values else 0, int(any(v is None for v in values)), element)
    return head + (struct.pack("!ii", len(values), 1) if values else b"") + b"".join(cells)


_FIXED: Final = {t.INT2: ">i2", t.INT4: ">i4", t.INT8: ">i8", t.FLOAT4: ">f4", t.FLOAT8: ">f8"}


def _binary(column: pa.Array, oid: int) -> _Cells:
    if oid in _FIXED:
        return _of_fixed(column, pc.fill_null(column, 0).to_numpy(zero_copy_only=False).astype(_FIXED[oid]))
    if oid == t.TIMESTAMPTZ:
        us = pc.fill_null(column.cast(pa.timestamp("us"), safe=False).cast(pa.int64()), 0).to_numpy()
        return _of_fixed(column, (us - t.EPOCH_US).astype(">i8"))
    if oid == t.DATE:
        days = pc.fill_null(column.cast(pa.int32()), 0).to_numpy()
        return _of_fixed(column, (days - t.EPOCH_DAYS).astype(">i4"))
    if oid == t.TEXT:
        return _text(column)
    return _of_objects(column, _binary_value(oid))


def _put(out: Bytes, at: Ints, values: Ints, size: int) -> None:
    """Write big-endian integers of ``size`` bytes at the places ``at``."""
    for i in range(size):
        out[at + i] = (values >> (8 * (size - 1 - i))) & 0xFF


def data_rows(batch: pa.RecordBatch, oids: Sequence[int], formats: Sequence[int]) -> bytes:
    """A batch as DataRow messages. ``formats``: 0 text, 1 binary, one per column."""
    n, k = batch.num_rows, batch.num_columns
    if n == 0:
        return b""
    if k == 0:
        return b"D\0\0\0\6\0\0" * int(n)
    cells = [
        _binary(column, oid) if form else _text(column)
        for column, oid, form in zip(batch.columns, oids, formats, strict=True)
    ]
    lengths = np.stack([c.lengths for c in cells], axis=1)
    sizes = np.maximum(lengths, 0)
    row_sizes = 7 + 4 * k + sizes.sum(axis=1)
    ends = np.cumsum(row_sizes)
    starts = ends - row_sizes
    out = np.empty(int(ends[-1]), np.uint8)
    out[starts] = ord("D")
    _put(out, starts + 1, row_sizes - 1, 4)
    _put(out, starts + 5, np.full(n, k, np.int64), 2)
    at = starts + 7
    for j, c in enumerate(cells):
        _put(out, at, lengths[:, j], 4)
        at = at + 4
        size = sizes[:, j]
        if len(c.data):
            before = np.cumsum(size) - size
            out[np.repeat(at - before, size) + np.arange(len(c.data))] = c.data
        at = at + size
    return out.tobytes()


def split(rows: bytes, n: int) -> int:
    """Where the first ``n`` DataRow messages of ``rows`` end."""
    at = 0
    for _ in range(n):
        at += 1 + int.from_bytes(rows[at + 1 : at + 5], "big")
    return at


def text_rows(rows: Iterable[Sequence[str | None]]) -> list[list[bytes | None]]:
    """Rows of text as cells."""
    return [[None if v is None else v.encode() for v in row] for row in rows]
