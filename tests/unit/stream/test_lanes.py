"""Vectors of a column: the same as the loops they stand for, and nothing beside the column is touched."""

from typing import Any

import numpy as np
import pytest

from stream.columns import UNKNOWN
from stream.kernel import kernel
from stream.lanes import CACHE_LINE, copy, expect_at, expect_record, fill, new_columns, sum_known, take, written
from stream.state import empty_state
from stream.table import BLOCK, ROOM

COLUMNS = 3


@kernel
def _sum(block: Any, at: int, begin: int, end: int) -> Any:
    return sum_known(block, at, begin, end)


@kernel
def _fill(block: Any, at: int, value: float) -> None:
    fill(block, at, value)


@kernel
def _copy(block: Any, at: int, matrix: Any, row: int, first: int) -> None:
    copy(block, at, matrix, row, first)
    written()


@kernel
def _take(columns: Any, bits: int, first: int, rows: int, room: Any) -> Any:
    return take(columns, bits, first, rows, room)


@kernel
def _expect(address: int, records: Any, k: int) -> None:
    expect_at(address)
    expect_record(records, k)


@pytest.mark.parametrize(("begin", "end"), [(0, BLOCK), (0, 1), (BLOCK - 1, BLOCK), (3, 20), (7, 7)])
def test_a_sum_takes_its_rows_and_leaves_out_what_is_unknown(begin: int, end: int) -> None:
    rng = np.random.default_rng(begin + end)
    block = rng.integers(-(10**15), 10**15, COLUMNS * ROOM)
    block[rng.random(block.size) < 0.3] = UNKNOWN
    rows = block[ROOM + begin : ROOM + end]
    assert _sum(block, ROOM, begin, end) == rows[rows != UNKNOWN].sum()


@pytest.mark.parametrize(("dtype", "value"), [(np.int64, UNKNOWN), (np.float64, 0.25)])
def test_a_column_is_begun_and_no_other(dtype: type, value: float) -> None:
    block: Any = np.full(COLUMNS * ROOM, 7, dtype)
    _fill(block, ROOM, value)
    assert (block[ROOM : ROOM + BLOCK] == value).all()
    assert (block[:ROOM] == 7).all()
    assert (block[ROOM + BLOCK :] == 7).all()


@pytest.mark.parametrize("first", [0, BLOCK, BLOCK + 3])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.float64])
def test_a_column_is_copied_to_its_place(dtype: type, first: int) -> None:
    block: Any = np.arange(COLUMNS * ROOM, dtype=np.float64 if dtype is np.float64 else np.int64)
    for matrix in (new_columns(3, 3 * BLOCK + 5, dtype), np.empty((3, 3 * BLOCK + 5), dtype)):
        matrix[:] = -1
        _copy(block, ROOM, matrix, 1, first)
        assert (matrix[1, first : first + BLOCK] == block[ROOM : ROOM + BLOCK]).all()
        assert np.count_nonzero(matrix != -1) == BLOCK


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.float64])
def test_new_columns_begin_on_cache_lines(dtype: type, n: int) -> None:
    columns = new_columns(3, n, dtype)
    assert columns.shape[0] == 3
    assert n <= columns.shape[1] < n + CACHE_LINE
    assert all(column.ctypes.data % CACHE_LINE == 0 for column in columns if n)


@pytest.mark.parametrize("rows", [BLOCK, 1, BLOCK - 1])
def test_columns_that_were_sent_are_taken_and_no_others(rows: int) -> None:
    rng = np.random.default_rng(rows)
    columns = tuple(rng.random((4, 3 * BLOCK)))
    columns[1][:] = np.nan  # sent by somebody, but not here
    columns[2][:-1] = np.nan
    first = 3 * BLOCK - rows  # to the last row
    room = np.full(4 * BLOCK, -1.0)
    heard = _take(columns, 0b1110, first, rows, room)
    for k in (1, 2, 3):
        np.testing.assert_array_equal(room[k * BLOCK : k * BLOCK + rows], columns[k][first:])
        assert (room[k * BLOCK + rows : (k + 1) * BLOCK] == -1.0).all()
    assert (room[:BLOCK] == -1.0).all()
    assert heard & 0b1101 == 0b1100
    assert rows < BLOCK or heard == 0b1100


def test_asking_for_memory_changes_nothing() -> None:
    matrix, records = np.arange(3.0 * BLOCK).reshape(3, BLOCK), empty_state(3)
    before = matrix.tobytes(), records.tobytes()
    for address in (
        matrix.ctypes.data,
        matrix.ctypes.data + matrix.nbytes - 8,
        0,
    ):  # beyond the end as well, and nowhere
        _expect(address, records, 2)
    assert (matrix.tobytes(), records.tobytes()) == before
