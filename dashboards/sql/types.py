"""DuckDB's types as PostgreSQL's: OIDs, names, and values of parameters.

The lake's times are UTC without saying so; a client is told timestamptz, so that no client has to guess.
"""

import datetime
import re
import struct
import uuid
from decimal import Decimal
from typing import Any, Final

from dashboards.sql.errors import BAD_TEXT, NOT_SUPPORTED, SqlError
from dashboards.sql.protocol import Field

BOOL, BYTEA, NAME, INT8, INT2, INT4, TEXT, OID = 16, 17, 19, 20, 21, 23, 25, 26
FLOAT4, FLOAT8, UNKNOWN, BPCHAR, VARCHAR, DATE, TIME = 700, 701, 705, 1042, 1043, 1082, 1083
TIMESTAMP, TIMESTAMPTZ, INTERVAL, NUMERIC, UUID = 1114, 1184, 1186, 1700, 2950
VARCHAR_ARRAY: Final = 1015
ARRAYS: Final = {
    BOOL: 1000,
    INT2: 1005,
    INT4: 1007,
    TEXT: 1009,
    INT8: 1016,
    FLOAT4: 1021,
    FLOAT8: 1022,
    TIMESTAMPTZ: 1185,
}
SIZES: Final = {
    BOOL: 1,
    INT8: 8,
    INT2: 2,
    INT4: 4,
    OID: 4,
    FLOAT4: 4,
    FLOAT8: 8,
    DATE: 4,
    TIME: 8,
    TIMESTAMPTZ: 8,
    INTERVAL: 16,
    UUID: 16,
}
OID_NAMES: Final = {
    BOOL: "bool", BYTEA: "bytea", NAME: "name", INT8: "int8", INT2: "int2", INT4: "int4", TEXT: "text", OID: "oid",
    FLOAT4: "float4", FLOAT8: "float8", UNKNOWN: "unknown", BPCHAR: "bpchar", VARCHAR: "varchar", DATE: "date", TIME: "time",
    TIMESTAMP: "timestamp", TIMESTAMPTZ: "timestamptz", INTERVAL: "interval", NUMERIC: "numeric", UUID: "uuid",
}  # fmt: skip
LONG_NAMES: Final = {  # as information_schema and format_type say them
    BOOL: "boolean", BYTEA: "bytea", INT8: "bigint", INT2: "smallint", INT4: "integer", TEXT: "text", FLOAT4: "real",
    FLOAT8: "double precision", DATE: "date", TIME: "time without time zone", TIMESTAMPTZ: "timestamp with time zone",
    INTERVAL: "interval", NUMERIC: "numeric", UUID: "uuid", OID: "oid", NAME: "name",
}  # fmt: skip
_OF_DUCKDB: Final = {
    "BOOLEAN": BOOL, "TINYINT": INT2, "SMALLINT": INT2, "UTINYINT": INT2, "INTEGER": INT4, "USMALLINT": INT4,
    "BIGINT": INT8, "UINTEGER": INT8, "HUGEINT": NUMERIC, "UBIGINT": NUMERIC, "UHUGEINT": NUMERIC, "FLOAT": FLOAT4,
    "DOUBLE": FLOAT8, "VARCHAR": TEXT, "BLOB": BYTEA, "DATE": DATE, "TIME": TIME, "TIMESTAMP": TIMESTAMPTZ,
    "TIMESTAMP_S": TIMESTAMPTZ, "TIMESTAMP_MS": TIMESTAMPTZ, "TIMESTAMP_NS": TIMESTAMPTZ,
    "TIMESTAMP WITH TIME ZONE": TIMESTAMPTZ, "INTERVAL": INTERVAL, "UUID": UUID,
}  # fmt: skip
DUCKDB_OF: Final = {  # what a parameter of this OID is cast to
    BOOL: "BOOLEAN", BYTEA: "BLOB", INT8: "BIGINT", INT2: "SMALLINT", INT4: "INTEGER", OID: "BIGINT", FLOAT4: "DOUBLE",
    FLOAT8: "DOUBLE", DATE: "DATE", TIME: "TIME", TIMESTAMP: "TIMESTAMP", TIMESTAMPTZ: "TIMESTAMP WITH TIME ZONE",
    INTERVAL: "INTERVAL", NUMERIC: "DOUBLE", UUID: "UUID",
}  # fmt: skip
DUCKDB_OF.update({array: f"{DUCKDB_OF.get(oid, 'VARCHAR')}[]" for oid, array in ARRAYS.items()})
_ELEMENT: Final = {array: oid for oid, array in ARRAYS.items()} | {VARCHAR_ARRAY: TEXT}
DUCKDB_OF[VARCHAR_ARRAY] = "VARCHAR[]"
EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01 in µs since 1970
EPOCH_DAYS: Final = 10_957


def oid_of(duckdb_type: str) -> int:
    """The OID for a type as DuckDB writes it; what PostgreSQL does not know is text."""
    if duckdb_type.startswith("DECIMAL"):
        return NUMERIC
    if duckdb_type.endswith("[]"):
        return ARRAYS.get(oid_of(duckdb_type[:-2]), TEXT)
    return _OF_DUCKDB.get(duckdb_type, TEXT)


def field(name: str, duckdb_type: str) -> Field:
    """A column of a result."""
    oid = oid_of(duckdb_type)
    return Field(name, oid, SIZES.get(oid, -1))


def _numeric(raw: bytes) -> Decimal:
    n, weight, sign, _ = struct.unpack_from("!hhHh", raw)
    if sign & 0xC000 == 0xC000:
        return Decimal("NaN")
    digits = struct.unpack_from(f"!{n}h", raw, 8)
    total = sum((Decimal(d).scaleb(4 * (weight - i)) for i, d in enumerate(digits)), Decimal(0))
    return -total if sign == 0x4000 else total


def array_of(text: str) -> list[str | None]:
    """The elements of PostgreSQL's ``{a,"b c",NULL}``; one dimension only. Raises SqlError."""
    found = _ARRAY.fullmatch(text.strip())
    if found is None:
        raise SqlError(BAD_TEXT, "an array is written {a,b}, in one dimension")
    out: list[str | None] = []
    for quoted, plain in _ITEM.findall(found[1]):
        out.append(
            re.sub(r"\\(.)", r"\1", quoted[1:-1]) if quoted else None if plain.upper() == "NULL" else plain.strip()
        )
    return out


def _array(raw: bytes, element: int) -> list[Any]:
    dimensions, _, oid = struct.unpack_from("!iiI", raw)
    if dimensions == 0:
        return []
    if dimensions != 1 or (_ELEMENT.get(ARRAYS.get(oid, oid), oid) != element and oid != VARCHAR):
        raise ValueError(oid)
    (n,) = struct.unpack_from("!i", raw, 12)
    at, out = 20, []
    for _ in range(n):
        (size,) = struct.unpack_from("!i", raw, at)
        at += 4
        if size > len(raw) - at:
            raise ValueError(size)
        out.append(value(None if size < 0 else raw[at : at + size], element, 1))
        at += max(size, 0)
    return out


_ARRAY: Final = re.compile(r'\{((?:"(?:[^"\\]|\\.)*"|[^{}"\\,]+)?(?:,(?:"(?:[^"\\]|\\.)*"|[^{}"\\,]+))*)\}', re.DOTALL)
_ITEM: Final = re.compile(r'("(?:[^"\\]|\\.)*")|([^{}"\\,]+)', re.DOTALL)
_UTC_2000: Final = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)


def value(raw: bytes | None, oid: int, binary: int) -> Any:
    """A parameter's value for DuckDB, which casts it to the type of ``oid``. Raises SqlError for bytes that fit no such value."""
    if raw is None:
        return None
    try:
        if oid in _ELEMENT:
            return _array(raw, _ELEMENT[oid]) if binary else array_of(raw.decode())
        if not binary:
            return bytes.fromhex(raw[2:].decode()) if oid == BYTEA and raw[:2] == b"\\x" else raw.decode()
        match oid:
            case 16:
                return raw != b"\0"
            case 17:
                return raw
            case 20 | 21 | 23:
                return int.from_bytes(_sized(raw, SIZES[oid]), "big", signed=True)
            case 26:
                return int.from_bytes(_sized(raw, 4), "big")
            case 700:
                return struct.unpack("!f", raw)[0]
            case 701:
                return struct.unpack("!d", raw)[0]
            case 1082:
                return str((_UTC_2000 + datetime.timedelta(days=struct.unpack("!i", raw)[0])).date())
            case 1114 | 1184:
                moment = _UTC_2000 + datetime.timedelta(microseconds=struct.unpack("!q", raw)[0])
                return moment.replace(tzinfo=None).isoformat(sep=" ") + ("+00" if oid == TIMESTAMPTZ else "")
            case 1700:
                return str(_numeric(raw))
            case 2950:
                return str(uuid.UUID(bytes=raw))
            case 19 | 25 | 705 | 1042 | 1043:
                return raw.decode()
    except (ValueError, struct.error, OverflowError):
        raise SqlError(BAD_TEXT, f"a parameter is no value of type {OID_NAMES.get(oid, str(oid))}") from None
    raise SqlError(NOT_SUPPORTED, f"parameters of type {OID_NAMES.get(oid, str(oid))} are taken as text, not as binary")


def _sized(raw: bytes, n: int) -> bytes:
    if len(raw) != n:
        raise ValueError(len(raw))
    return raw
