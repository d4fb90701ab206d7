"""Values on the wire: text and binary against bytes written out from the protocol's description."""

import datetime
import struct
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from dashboards.sql import encode
from dashboards.sql import types as t
from dashboards.sql.errors import SqlError


def cells(rows: bytes) -> list[list[bytes | None]]:
    """DataRow messages read by hand."""
    out: list[list[bytes | None]] = []
    at = 0
    while at < len(rows):
        assert rows[at : at + 1] == b"D"
        length, n = struct.unpack_from("!ih", rows, at + 1)
        end, at = at + 1 + length, at + 7
        row: list[bytes | None] = []
        for _ in range(n):
            (size,) = struct.unpack_from("!i", rows, at)
            row.append(None if size < 0 else rows[at + 4 : at + 4 + size])
            at += 4 + max(size, 0)
        assert at == end
        out.append(row)
    return out


def sent(expression: str, form: int) -> bytes | None:
    """What is sent for a SQL expression of DuckDB."""
    relation = duckdb.connect(":memory:").sql(f"SELECT {expression} AS v")
    oids = [t.oid_of(str(relation.types[0]))]
    (batch,) = relation.to_arrow_reader(10)
    return cells(encode.data_rows(batch, oids, [form]))[0][0]


@pytest.mark.parametrize(
    ("expression", "text", "binary"),
    [
        ("NULL::INT", None, None),
        ("true", b"t", b"\1"),
        ("false", b"f", b"\0"),
        ("(-2)::SMALLINT", b"-2", b"\xff\xfe"),
        ("7::INT", b"7", b"\0\0\0\7"),
        ("258::BIGINT", b"258", b"\0\0\0\0\0\0\1\2"),
        ("1.5::DOUBLE", b"1.5", struct.pack("!d", 1.5)),
        ("'nan'::DOUBLE", b"NaN", struct.pack("!d", float("nan"))),
        ("'-inf'::DOUBLE", b"-Infinity", struct.pack("!d", float("-inf"))),
        ("'é'", "é".encode(), "é".encode()),
        ("''", b"", b""),
        ("DATE '2000-01-02'", b"2000-01-02", b"\0\0\0\1"),
        ("TIMESTAMP '2000-01-01 00:00:01'", b"2000-01-01 00:00:01+00", struct.pack("!q", 1_000_000)),
        ("TIMESTAMP '1999-12-31 23:59:59.5'", b"1999-12-31 23:59:59.500000+00", struct.pack("!q", -500_000)),
        ("TIMESTAMPTZ '2000-01-01 02:00:00+02'", b"2000-01-01 00:00:00+00", struct.pack("!q", 0)),
        ("TIME '00:00:01'", b"00:00:01.000000", struct.pack("!q", 1_000_000)),
        ("INTERVAL '1 month 2 days 3 hours'", b"1 mons 2 days 03:00:00", struct.pack("!qii", 10_800_000_000, 2, 1)),
        ("'\\xAB'::BLOB", b"\\xab", b"\xab"),
        ("'00000000-0000-0000-0000-0000000000ff'::UUID", b"00000000-0000-0000-0000-0000000000ff", bytes(15) + b"\xff"),
        ("0::HUGEINT", b"0", struct.pack("!hhHh", 0, 0, 0, 0)),
        ("12345::HUGEINT", b"12345", struct.pack("!hhHhhh", 2, 1, 0, 0, 1, 2345)),
        ("(-10000)::HUGEINT", b"-10000", struct.pack("!hhHhh", 1, 1, 0x4000, 0, 1)),
        ("1.5::DECIMAL(4,2)", b"1.50", struct.pack("!hhHhhh", 2, 0, 0, 2, 1, 5000)),
        ("0.0001::DECIMAL(9,4)", b"0.0001", struct.pack("!hhHhh", 1, -1, 0, 4, 1)),
        ("[1, NULL]::INT[]", b"{1,NULL}", struct.pack("!iiIiiiii", 1, 1, 23, 2, 1, 4, 1, -1)),
        ("['a b', 'c', '']", b'{"a b",c,""}', struct.pack("!iiIiii3si1si", 1, 0, 25, 3, 1, 3, b"a b", 1, b"c", 0)),
    ],
)  # fmt: skip
def test_a_value_as_text_and_as_binary(expression: str, text: bytes | None, binary: bytes | None) -> None:
    assert sent(expression, 0) == text
    assert sent(expression, 1) == binary


def test_rows_of_columns_with_gaps_and_slices() -> None:
    batch = pa.record_batch({"s": pa.array(["x", None, "", "yy"]), "n": pa.array([None, 1, 2, 30], pa.int64())})
    rows = cells(encode.data_rows(batch.slice(1), [t.TEXT, t.INT8], [0, 0]))
    assert rows == [[None, b"1"], [b"", b"2"], [b"yy", b"30"]]
    assert cells(encode.data_rows(batch, [t.TEXT, t.INT8], [0, 1]))[3] == [b"yy", struct.pack("!q", 30)]


def test_splitting_at_a_row() -> None:
    rows = encode.data_rows(pa.record_batch({"n": pa.array([1, 22, 333])}), [t.INT8], [0])
    end = encode.split(rows, 2)
    assert [r[0] for r in cells(rows[:end])] == [b"1", b"22"]
    assert [r[0] for r in cells(rows[end:])] == [b"333"]


@pytest.mark.parametrize(
    ("oid", "binary", "raw", "value"),
    [
        (20, 1, struct.pack("!q", -5), -5),
        (20, 0, b"-5", "-5"),
        (16, 1, b"\1", True),
        (701, 1, struct.pack("!d", 2.5), 2.5),
        (25, 1, b"x", "x"),
        (1082, 1, struct.pack("!i", 1), "2000-01-02"),
        (1184, 1, struct.pack("!q", 1_500_000), "2000-01-01 00:00:01.500000+00"),
        (1700, 1, struct.pack("!hhHhhh", 2, 0, 0x4000, 2, 1, 5000), "-1.5000"),
        (1009, 0, b'{a,"b ,\\"c",NULL}', ["a", 'b ,"c', None]),
        (1009, 0, b"{}", []),
        (1016, 1, struct.pack("!iiIiiiqi", 1, 1, 20, 2, 1, 8, 7, -1), [7, None]),
        (17, 0, b"\\xff00", b"\xff\0"),
    ],
)  # fmt: skip
def test_parameters(oid: int, binary: int, raw: bytes, value: Any) -> None:
    assert t.value(raw, oid, binary) == value


@pytest.mark.parametrize(
    ("oid", "binary", "raw"),
    [(20, 1, b"x"), (20, 1, b""), (701, 1, b"1234"), (25, 0, b"\xff"), (1009, 0, b"{{a}}"), (1009, 0, b"a"),
     (1016, 1, b"\0\0\0\1"), (1016, 1, struct.pack("!iiIiii", 1, 0, 20, 1, 1, 1 << 30)), (1184, 1, struct.pack("!q", 2**63 - 1)),
     (3802, 1, b"{}"), (17, 0, b"\\xzz")],
)  # fmt: skip
def test_parameters_that_are_no_value(oid: int, binary: int, raw: bytes) -> None:
    with pytest.raises(SqlError):
        t.value(raw, oid, binary)


def test_a_null_is_a_null_in_every_type() -> None:
    assert t.value(None, 20, 1) is None


def test_decimals_of_postgresql() -> None:
    assert t._numeric(struct.pack("!hhHh", 0, 0, 0xC000, 0)).is_nan()
    assert t._numeric(struct.pack("!hhHhhhh", 3, 1, 0, 3, 1, 0, 2500)) == Decimal("10000.25")
    assert datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC).timestamp() * 1e6 == t.EPOCH_US
