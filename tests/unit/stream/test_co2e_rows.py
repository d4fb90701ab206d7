"""Rows of a block are booked alike whichever way they are cut, each to its own partial sum."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from stream.co2e_rows import (
    AMOUNT,
    DT_S,
    KINETIC,
    MASS,
    PER_RATE,
    RATE_MODELLED,
    ROLL,
    TICK,
    TURNS,
    U_REL,
    U_SECOND,
    U,
    V,
    blank_work,
    book_rows,
    new_work,
)
from stream.columns import ENERGY_METHODS, UNKNOWN
from stream.counters import GAP_S
from stream.fleet import Vehicle, Warehouse
from stream.result_rows import blank_rows, new_block
from stream.table import (
    BLOCK,
    CO2E_TTW,
    CO2E_WTT,
    DISTANCE,
    DT,
    ENERGY,
    FIRST_SUM,
    FUEL_LIQUID,
    METHOD,
    NEWEST_RECEIVED,
    NEWEST_TIME,
    ROLLUP_ROWS,
    ROOM,
    SUM_NAMES,
)
from tests.support import fleet

FLEET = fleet(
    Vehicle("a", "d-a", "artic_40t", "diesel_b7"),
    Vehicle("b", "d-b", "bev_van_3.5t", "electricity", grid_zone="uk"),
    warehouses=(Warehouse("w", "d-w", "W", 50.0, 8.0, "uk"),),
)
TRUCK, VAN, SITE = range(3)
RATE = ENERGY_METHODS.index("rate")
SUMS = 4


def _rows(device: list[int]) -> tuple[Any, Any]:
    """A block of rows as the loop leaves them: 1 s each, most with an amount."""
    rng = np.random.default_rng(sum(device))
    block, work = new_block(), new_work()
    work[:] = rng.uniform(0.1, 0.9, work.size)  # what the block before left there
    blank_rows(block)
    blank_work(work)
    for b, d in enumerate(device):
        block[DT + b], block[DISTANCE + b] = 1_000_000, 20_000
        for k in (V, U, U_SECOND, ROLL, KINETIC, RATE_MODELLED, PER_RATE, TURNS, TICK):
            work[k + b] = rng.uniform(0.1, 20.0)
        work[MASS + b], work[DT_S + b] = rng.choice([np.nan, 30_000.0]), 1.0
        amount = int(rng.integers(1, 10**7)) if rng.random() < 0.8 else UNKNOWN
        if d == SITE:
            for k in range(0, 8 * ROOM, ROOM):
                work[k + b] = 0.0
            block[CO2E_TTW + b], block[CO2E_WTT + b], block[METHOD + b] = 0, amount, RATE
        elif amount != UNKNOWN:
            block[(FUEL_LIQUID if d == TRUCK else ENERGY) + b], block[METHOD + b] = amount, RATE
            if d == TRUCK:
                work[AMOUNT + b] = amount
    return block, work


def _booked(device: list[int], cuts: list[int]) -> tuple[Any, Any, Any]:
    block, work = _rows(device)
    roll = np.zeros((SUMS, len(ROLLUP_ROWS)), np.int64).T
    sum_of = np.array([b * SUMS // BLOCK for b in range(BLOCK)])
    rng = np.random.default_rng(0)
    time, received = rng.integers(1, 10**18, (2, len(device)))
    for begin, end in pairwise([0, *cuts, len(device)]):
        book_rows(
            block, work, sum_of, np.array(device, np.int32), time, received, FLEET.params, roll, True, SITE in device, 0,
            begin, end,
        )  # fmt: skip
    for row, column in ((NEWEST_TIME, time), (NEWEST_RECEIVED, received)):
        for j in range(SUMS):
            assert roll[row, j] == column[sum_of[: len(device)] == j].max(initial=0)
    return block, work, roll


@pytest.mark.parametrize(
    "device",
    [
        [TRUCK] * BLOCK,
        [TRUCK, VAN] * (BLOCK // 2),
        [TRUCK] * 5 + [SITE] * 3 + [TRUCK] * 9 + [VAN] * 2 + [SITE],
        [VAN] * 3 + [TRUCK] * 4,
    ],
)
@pytest.mark.parametrize("cuts", [[1], [3, 5], [2, 4, 6]])
def test_cuts_change_nothing(device: list[int], cuts: list[int]) -> None:
    n = len(device)
    whole, pieces = _booked(device, []), _booked(device, cuts)
    for at in range(0, whole[0].size, ROOM):
        np.testing.assert_array_equal(whole[0][at : at + n], pieces[0][at : at + n])
    np.testing.assert_array_equal(whole[1][U_REL : U_REL + n], pieces[1][U_REL : U_REL + n])
    np.testing.assert_array_equal(whole[2], pieces[2])


def test_each_row_adds_to_its_own_sum() -> None:
    block, _, roll = _booked([TRUCK] * BLOCK, [])
    ttw = FIRST_SUM + SUM_NAMES.index("co2e_ttw_ug")
    column = block[CO2E_TTW : CO2E_TTW + BLOCK].reshape(SUMS, -1)
    assert roll[ttw].tolist() == [int(part[part != UNKNOWN].sum()) for part in column]
    assert (roll[FIRST_SUM + SUM_NAMES.index("readings")] == BLOCK // SUMS).all()
    assert roll[ttw].all()


def test_the_eight_parts_add_up_to_the_total() -> None:
    _, _, roll = _booked([TRUCK, VAN] * (BLOCK // 2), [])
    by = [FIRST_SUM + k for k, name in enumerate(SUM_NAMES) if name.startswith("by_")]
    total = roll[FIRST_SUM + SUM_NAMES.index("co2e_ttw_ug")] + roll[FIRST_SUM + SUM_NAMES.index("co2e_wtt_ug")]
    assert len(by) == 8
    assert (roll[by].sum(axis=0) == total).all()


@pytest.mark.parametrize(("device", "observed"), [(TRUCK, 0), (SITE, int(GAP_S * 1e6) + 1)])
def test_a_gap_is_observed_by_meters_only(device: int, observed: int) -> None:
    block, work = new_block(), new_work()
    blank_rows(block)
    blank_work(work)
    block[DT] = int(GAP_S * 1e6) + 1
    roll = np.zeros((2, len(ROLLUP_ROWS)), np.int64).T
    which = np.array([device], np.int32)
    time = np.zeros(1, np.int64)
    book_rows(
        block, work, np.zeros(BLOCK, np.int64), which, time, time, FLEET.params, roll, False, device == SITE, 0, 0, 1
    )
    told = {name: int(roll[FIRST_SUM + k, 0]) for k, name in enumerate(SUM_NAMES) if roll[FIRST_SUM + k, 0]}
    assert told == {"readings": 1} | ({"observed_us": observed, "unknown_us": observed} if observed else {})
