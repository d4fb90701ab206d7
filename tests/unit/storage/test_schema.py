"""Arrow schemas and the way from numpy to Arrow."""

import numpy as np
import pyarrow as pa
import pytest

from storage.schema import DAY_NS, LANDED, PARTITIONS, Names, arrow_schema, check, days, empty, to_arrow
from stream.columns import TABLES, UNKNOWN
from tests.lake_data import DEVICES, NAMES, SECOND, T0, columns, rows_of


@pytest.mark.parametrize("table", TABLES)
def test_schema_carries_name_unit_and_doc_of_each_column(table: str) -> None:
    schema = arrow_schema(table)
    assert [f.name for f in schema] == [c.name for c in TABLES[table]]
    assert [(f.metadata[b"unit"].decode(), f.metadata[b"doc"].decode()) for f in schema] == [
        (c.unit, c.doc) for c in TABLES[table]
    ]
    assert [f.nullable for f in schema] == [c.nullable for c in TABLES[table]]


@pytest.mark.parametrize("table", LANDED)
def test_partition_columns_stand_behind_the_others(table: str) -> None:
    with_partitions = arrow_schema(table, partitions=True)
    assert tuple(with_partitions.names) == (*arrow_schema(table).names, *PARTITIONS[table])
    assert with_partitions.field("day").type == pa.date32()


def test_missing_values_become_null_and_others_stay() -> None:
    batch = columns("emissions", 4)
    batch["distance_mm"] = np.array([5, UNKNOWN, 0, 7])
    batch["co2e_u_rel"] = np.array([np.nan, 0.5, 0.0, np.nan])
    batch["route"] = np.array([0, -1, 1, -1], np.int32)
    rows = rows_of(to_arrow("emissions", batch, NAMES))
    assert [r["distance_mm"] for r in rows] == [5, None, 0, 7]
    assert [r["co2e_u_rel"] for r in rows] == [None, 0.5, 0.0, None]
    assert [r["route"] for r in rows] == ["r-north", None, "r-south", None]


def test_a_column_that_must_be_known_keeps_the_smallest_integer() -> None:
    batch = columns("readings", 2)
    batch["time_ns"] = np.array([UNKNOWN, T0])
    assert to_arrow("readings", batch, NAMES)["time_ns"].to_pylist() == [UNKNOWN, T0]


def test_codes_of_a_long_list_carry_only_the_names_in_use() -> None:
    batch = columns("readings", 3)
    batch["device"] = np.array([98, 2, 98], np.int32)
    column = to_arrow("readings", batch, NAMES)["device"]
    assert column.to_pylist() == [DEVICES[98], DEVICES[2], DEVICES[98]]
    assert column.chunk(0).dictionary.to_pylist() == [DEVICES[2], DEVICES[98]]


@pytest.mark.parametrize("code", [-1, 100, 2**31 - 1, -(2**31)])
def test_a_code_without_a_name_is_our_mistake(code: int) -> None:
    batch = columns("readings", 3)
    batch["device"] = np.array([0, code, 1], np.int32)
    with pytest.raises(ValueError, match="does not fit 100 names"):
        to_arrow("readings", batch, NAMES)


def test_a_missing_column_and_a_short_one_are_our_mistakes() -> None:
    batch = columns("readings", 3)
    with pytest.raises(ValueError, match="differ in length"):
        to_arrow("readings", batch | {"seq": np.arange(2)}, NAMES)
    del batch["seq"]
    with pytest.raises(KeyError, match="seq"):
        to_arrow("readings", batch, NAMES)


def test_the_shared_column_of_absent_signals_is_one_array() -> None:
    nobody = np.full(5, np.nan)
    batch = columns("readings", 5) | {"adblue_total_l": nobody, "pv_kwh": nobody}
    table = to_arrow("readings", batch, NAMES)
    assert table["adblue_total_l"].null_count == 5
    buffers = [table[name].chunk(0).buffers()[0].address for name in ("adblue_total_l", "pv_kwh")]
    assert buffers[0] == buffers[1]


def test_a_strided_view_is_taken_by_value() -> None:
    records = np.zeros(4, [("a", "f8"), ("b", "f8")])
    records["a"], records["b"] = [1, 2, 3, 4], [9, 9, np.nan, 9]
    batch = columns("readings", 4) | {"speed_kmh": records["a"], "hdop": records["b"]}
    table = to_arrow("readings", batch, NAMES)
    assert table["speed_kmh"].to_pylist() == [1, 2, 3, 4]
    assert table["hdop"].to_pylist() == [9, 9, None, 9]


@pytest.mark.parametrize("table", TABLES)
def test_no_rows(table: str) -> None:
    made = to_arrow(table, columns(table, 0), Names(DEVICES, DEVICES, ()))
    assert made.num_rows == 0
    check(table, made)
    check(table, empty(table))
    assert list(days(table, made)) == []


def test_check_names_the_column_that_differs() -> None:
    table = empty("rollups")
    with pytest.raises(ValueError, match="kind"):
        check("rollups", table.drop_columns(["kind"]))
    with pytest.raises(ValueError, match="columns"):
        check("rollups", table.drop_columns([table.column_names[-1]]))


def test_rows_go_to_their_day_in_their_old_order() -> None:
    batch = columns("readings", 6)
    batch["time_ns"] = np.array([T0 + 5, T0 - 1, T0 + DAY_NS, T0, T0 - DAY_NS, T0 + 4 * SECOND])
    batch["seq"] = np.arange(6)
    parts = {day: rows["seq"].to_pylist() for day, rows in days("readings", to_arrow("readings", batch, NAMES))}
    assert parts == {"2026-11-21": [1, 4], "2026-11-22": [0, 3, 5], "2026-11-23": [2]}


def test_rows_of_one_day_are_not_copied() -> None:
    table = to_arrow("readings", columns("readings", 6), NAMES)
    [(day, rows)] = days("readings", table)
    assert day == "2026-11-22"
    assert rows is table
