"""Blocks of rows become columns, partial sums begin and end where they should."""

import numpy as np
import pytest

from stream.columns import UNKNOWN
from stream.counters import GAP_S
from stream.result_rows import BLOCK, MINUTE_NS, add_row, begin_sum, blank_row, holds, new_block, put_block
from stream.table import (
    CO2,
    CO2E_TTW,
    DISTANCE,
    DT,
    EMISSION_CODES,
    EMISSION_INTS,
    FIRST_SUM,
    METHOD,
    N_SUMS,
    NEWEST_RECEIVED,
    NEWEST_TIME,
    ROLLUP_ROWS,
    ROW_REGION,
    ROW_ROUTE,
    SUM_NAMES,
)
from tests.support import T0_NS, fleet


@pytest.mark.parametrize("n", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_blocks_become_columns(n: int) -> None:
    rng = np.random.default_rng(n)
    rows = len(EMISSION_INTS) + len(EMISSION_CODES)
    wanted = rng.integers(-(2**31), 2**31, (n, rows))
    ints = np.zeros((len(EMISSION_INTS), n), np.int64)
    codes = np.zeros((len(EMISSION_CODES), n), np.int32)
    block = new_block()
    for first in range(0, n, BLOCK):
        piece = wanted[first : first + BLOCK]
        block.T[: len(piece)] = piece
        put_block(block, len(piece), ints, codes, first)
    np.testing.assert_array_equal(np.vstack((ints, codes)).T, wanted)


def test_a_block_keeps_amounts_that_need_all_bits() -> None:
    block = new_block()
    block[:] = 1
    block[DISTANCE, 5] = -(2**63)
    block[CO2, 5] = 2**62
    ints, codes = np.zeros((len(EMISSION_INTS), 8), np.int64), np.zeros((len(EMISSION_CODES), 8), np.int32)
    put_block(block, 8, ints, codes, 0)
    assert ints[EMISSION_INTS.index("distance_mm"), 5] == UNKNOWN
    assert ints[EMISSION_INTS.index("co2_ttw_ug"), 5] == 2**62


def test_a_new_row_knows_nothing() -> None:
    block = new_block()
    block[:] = 7
    blank_row(block, 3)
    assert (block[DT, 3], block[CO2E_TTW, 3], block[DISTANCE, 3]) == (UNKNOWN, UNKNOWN, UNKNOWN)
    assert (block[METHOD, 3], block[ROW_ROUTE, 3], block[ROW_REGION, 3]) == (0, -1, -1)
    assert (block[:, 2] == 7).all()
    assert (block[:, 4] == 7).all()


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


def test_only_what_is_known_is_added() -> None:
    block = new_block()
    sums = np.zeros(N_SUMS, np.int64)
    blank_row(block, 0)
    block[DT, 0], block[DISTANCE, 0] = 1_000_000, 25_000
    add_row(block, 0, True, sums)
    add_row(block, 0, True, sums)
    told = {name: int(value) for name, value in zip(SUM_NAMES, sums, strict=True) if value}
    assert told == {"readings": 2, "observed_us": 2_000_000, "unknown_us": 2_000_000, "distance_mm": 50_000}


def test_a_gap_is_observed_by_meters_only() -> None:
    block = new_block()
    blank_row(block, 0)
    block[DT, 0] = int(GAP_S * 1e6) + 1
    for is_vehicle, observed in ((True, 0), (False, int(GAP_S * 1e6) + 1)):
        sums = np.zeros(N_SUMS, np.int64)
        add_row(block, 0, is_vehicle, sums)
        assert sums[SUM_NAMES.index("observed_us")] == observed
