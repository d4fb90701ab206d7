"""The schema exists once: wire, Arrow, SQL and documents agree with ``stream.columns``."""

import pyarrow as pa

from devices.signals import SIGNALS as WIRE
from devices.wire import CLOCK_SOURCES as WIRE_CLOCKS
from storage.schema import arrow_schema
from stream.column_table import replaced
from stream.columns import CLOCK_SOURCES, SIGNALS, TABLES
from tests.support import ROOT


def test_wire_signals_are_the_columns() -> None:
    assert [s.name for s in WIRE] == [c.name for c in SIGNALS]
    assert len({s.number for s in WIRE}) == len(WIRE)


def test_clock_sources_agree() -> None:
    assert tuple(WIRE_CLOCKS) == CLOCK_SOURCES


def test_fixed_point_holds_every_possible_counter() -> None:
    for s in WIRE:
        if s.name.endswith(("_kwh", "_l", "_kg", "_gross")):
            assert s.high * 1e9 < 2**63, s.name


def test_arrow_schema_follows() -> None:
    for table, columns in TABLES.items():
        schema: pa.Schema = arrow_schema(table)
        assert schema.names == [c.name for c in columns]
        for column in columns:
            field = schema.field(column.name)
            assert field.nullable == column.nullable, (table, column.name)
            assert field.metadata[b"unit"].decode() == column.unit


def test_readme_shows_the_columns() -> None:
    path = ROOT / "stream" / "README.md"
    text = path.read_text(encoding="utf-8")
    assert replaced(text) == text, (
        "stream/README.md is behind; put the output of `python -m stream columns` between its marks"
    )
