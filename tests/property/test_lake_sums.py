"""Whatever way rows take into the lake, and however often it is compacted, what is read is the same."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.compact import compact
from storage.lake import Lake
from storage.parquet import encode
from storage.query import connect
from storage.schema import DAY_NS, ROLLUP_KEYS, ROLLUP_NEWEST, ROLLUP_SUMS, Columns, days, to_arrow
from stream.columns import TABLES, UNKNOWN
from tests.lake_data import NAMES, T0, columns, nothing

INT64 = st.integers(-(2**63), 2**63 - 1)


@contextmanager
def new_lake() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def drawn(data: st.DataObject, table: str, n: int) -> Columns:
    """Columns of any values that the kernels may hand over: NaN of any kind, infinities, UNKNOWN, the ends of int64."""
    out: dict[str, Any] = columns(table, n)
    for c in TABLES[table]:
        if c.dtype == "float64":
            out[c.name] = np.array(data.draw(st.lists(st.floats(), min_size=n, max_size=n)), np.float64)
        elif c.dtype == "int64":
            out[c.name] = np.array(data.draw(st.lists(INT64 | st.just(UNKNOWN), min_size=n, max_size=n)), np.int64)
    return out


@settings(max_examples=40)
@given(st.data(), st.sampled_from(sorted(TABLES)), st.integers(0, 12), st.booleans())
def test_numpy_to_parquet_and_back(data: st.DataObject, table: str, n: int, merged: bool) -> None:
    batch = drawn(data, table, n)
    back = pq.read_table(pa.BufferReader(encode(table, to_arrow(table, batch, NAMES), merged=merged)))
    for c in TABLES[table]:
        found = back[c.name].to_pylist()
        for want, have in zip(batch[c.name].tolist(), found, strict=True):
            if c.dtype == "code":
                names = c.codes or getattr(NAMES, c.names)
                assert have == (None if want < 0 else names[want])
            elif c.dtype == "float64":
                assert have is None if math.isnan(want) else have == want
            elif c.nullable and want == UNKNOWN:
                assert have is None
            else:
                assert have == want


@settings(max_examples=60)
@given(st.lists(st.integers(-5 * DAY_NS, 5 * DAY_NS), max_size=30))
def test_each_row_goes_to_its_day_once_and_in_order(offsets: list[int]) -> None:
    batch = columns("readings", len(offsets))
    batch["time_ns"] = np.array([T0 + o for o in offsets], np.int64)
    batch["seq"] = np.arange(len(offsets))
    seen: list[int] = []
    for day, rows in days("readings", to_arrow("readings", batch, NAMES)):
        numbers = rows["seq"].to_pylist()
        assert numbers == sorted(numbers)
        assert {str(np.datetime64((T0 + offsets[i]) // DAY_NS, "D")) for i in numbers} == {day}
        seen += numbers
    assert sorted(seen) == list(range(len(offsets)))


def expected(batch: Columns) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """Sums and newest times by key, in plain Python."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for i in range(len(batch["minute_ns"])):
        key = []
        for c in TABLES["rollups"]:
            if c.name in ROLLUP_KEYS:
                code = int(batch[c.name][i])
                names = c.codes or (getattr(NAMES, c.names) if c.names else ())
                key.append(code if c.dtype != "code" else None if code < 0 else names[code])
        sums = found.setdefault(tuple(key), [0] * len(ROLLUP_SUMS) + [0] * len(ROLLUP_NEWEST))
        for j, name in enumerate(ROLLUP_SUMS):
            sums[j] += int(batch[name][i])
        for j, name in enumerate(ROLLUP_NEWEST, start=len(ROLLUP_SUMS)):
            sums[j] = max(sums[j], int(batch[name][i]))
    return {key: tuple(values) for key, values in found.items()}


def read(lake: Path) -> dict[tuple[Any, ...], tuple[int, ...]]:
    wanted = [*(f"sum({n})" for n in ROLLUP_SUMS), *(f"max({n})" for n in ROLLUP_NEWEST)]
    keys = ", ".join(ROLLUP_KEYS)
    rows = connect(lake).execute(f"SELECT {keys}, {', '.join(wanted)} FROM rollups GROUP BY {keys}").fetchall()
    return {tuple(r[: len(ROLLUP_KEYS)]): tuple(map(int, r[len(ROLLUP_KEYS) :])) for r in rows}


@settings(max_examples=12)
@given(st.data(), st.integers(1, 60), st.integers(0, 2**32))
def test_sums_do_not_depend_on_commits_order_or_compaction(data: st.DataObject, n: int, seed: int) -> None:
    batch = columns("rollups", n, seed=seed, span_ns=DAY_NS // 2, start_ns=T0 - DAY_NS // 4)
    batch["asset"] %= 3
    batch["minute_ns"] = T0 + (batch["minute_ns"] - T0) // (DAY_NS // 8) * (DAY_NS // 8)
    order = np.array(data.draw(st.permutations(range(n))))
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=5)))
    pauses = data.draw(st.sets(st.integers(0, 6)))
    with new_lake() as path, Lake.open(path, create=True) as lake:
        for i, rows in enumerate(np.split(order, cuts)):
            part = to_arrow("rollups", {k: v[rows] for k, v in batch.items()}, NAMES)
            lake.commit(replace(nothing(), rollups=part))
            if i in pauses:
                list(compact(path))
        assert read(path) == expected(batch)
        list(compact(path))
        assert read(path) == expected(batch)
