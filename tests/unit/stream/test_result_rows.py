"""Blocks of rows become columns, partial sums begin and end where they should."""

import numpy as np
import pytest

from stream.columns import UNKNOWN
from stream.result_rows import MINUTE_NS, begin_sum, blank_rows, holds, new_block, put_block
from stream.table import (
    BLOCK,
    CO2,
    CO2E_TTW,
    CODES_AT,
    DISTANCE,
    DISTANCE_METHOD,
    DT,
    EMISSION_CODES,
    EMISSION_INTS,
    FIRST_SUM,
    INTS_AT,
    METHOD,
    NEWEST_RECEIVED,
    NEWEST_TIME,
    ROLLUP_ROWS,
    ROW,
)
from tests.support import T0_NS, fleet


@pytest.mark.parametrize("n", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_blocks_become_columns(n: int) -> None:
    rng = np.random.default_rng(n)
    wanted = rng.integers(-(2**31), 2**31, (len(EMISSION_INTS) + len(EMISSION_CODES), n))
    ints = np.zeros((len(EMISSION_INTS), n), np.int64)
    codes = np.zeros((len(EMISSION_CODES), n), np.int32)
    block = new_block()
    for first in range(0, n, BLOCK):
        piece = wanted[:, first : first + BLOCK]
        for at, values in zip((*INTS_AT, *CODES_AT), piece, strict=True):
            block[at : at + values.size] = values
        put_block(block, piece.shape[1], ints, codes, first)
    np.testing.assert_array_equal(np.vstack((ints, codes)), wanted)


def test_a_block_keeps_amounts_that_need_all_bits() -> None:
    block = new_block()
    block[DISTANCE + 5] = -(2**63)
    block[CO2 + 5] = 2**62
    for rows in (8, BLOCK):
        ints = np.zeros((len(EMISSION_INTS), rows), np.int64)
        put_block(block, rows, ints, np.zeros((len(EMISSION_CODES), rows), np.int32), 0)
        assert ints[EMISSION_INTS.index("distance_mm"), 5] == UNKNOWN
        assert ints[EMISSION_INTS.index("co2_ttw_ug"), 5] == 2**62


def test_in_new_rows_nothing_is_known() -> None:
    block = new_block()
    block[:] = 7
    blank_rows(block)
    for b in (0, BLOCK - 1):
        assert (block[DT + b], block[CO2E_TTW + b], block[DISTANCE + b]) == (UNKNOWN, UNKNOWN, UNKNOWN)
        assert (block[METHOD + b], block[DISTANCE_METHOD + b]) == (0, 0)


def test_columns_of_a_block_are_those_of_the_tables() -> None:
    assert set(ROW) >= {*EMISSION_INTS, *EMISSION_CODES}
    assert len(set(ROW)) == len(ROW)


@pytest.mark.parametrize("minute_ns", [T0_NS, -5 * MINUTE_NS])
def test_a_sum_holds_one_minute_of_one_trip_in_one_place(minute_ns: int) -> None:
    roll = np.empty((3, len(ROLLUP_ROWS)), np.int64).T
    begin_sum(roll, 1, fleet().params[0], minute_ns + 17_000_000_000, 5, 2, 3, T0_NS, 1)
    assert roll[NEWEST_RECEIVED, 1] == 5
    assert roll[NEWEST_TIME, 1] == minute_ns + 17_000_000_000
    assert not roll[FIRST_SUM:NEWEST_TIME, 1].any()
    assert holds(roll, 1, minute_ns, 2, 3, T0_NS, 1)
    assert holds(roll, 1, minute_ns + MINUTE_NS - 1, 2, 3, T0_NS, 1)
    assert not holds(roll, 1, minute_ns + MINUTE_NS, 2, 3, T0_NS, 1)
    assert not holds(roll, 1, minute_ns - 1, 2, 3, T0_NS, 1)
    for other in ((9, 3, T0_NS, 1), (2, 9, T0_NS, 1), (2, 3, T0_NS + 1, 1), (2, 3, T0_NS, 0)):
        assert not holds(roll, 1, minute_ns, *other)
    assert not holds(roll, -1, minute_ns, 2, 3, T0_NS, 1)
