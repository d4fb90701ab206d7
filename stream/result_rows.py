"""Rows of emissions and of partial sums as the loop writes them.

Emissions leave the step as columns. A reading fills 22 of them, and 22 streams of single stores to memory cost more than the
physics, so rows are filled in a block that stays in the cache, and leave it a column at a time. A partial sum is written to where it
lies: one sum of one asset's minute is one stretch of memory.
"""

from typing import Any, Final

import numpy as np

from stream.columns import ENERGY_METHODS, UNKNOWN
from stream.counters import GAP_S
from stream.kernel import inlined, kernel
from stream.table import (
    ASSET,
    CH4,
    CO2,
    CO2E_TTW,
    DISTANCE,
    DISTANCE_METHOD,
    DISTANCE_UNKNOWN,
    DT,
    EMISSION_CODES,
    EMISSION_INTS,
    EMISSION_ROWS,
    KIND,
    LOAD_STATE,
    METHOD,
    MINUTE,
    N2O,
    NEWEST_RECEIVED,
    NEWEST_TIME,
    OBSERVED,
    READINGS,
    REGION,
    ROLLUP_LOAD_STATE,
    ROUTE,
    ROW_REGION,
    ROW_ROUTE,
    SPLIT,
    SUMMED,
    TRIP_START,
    UNKNOWN_TIME,
)

N_INTS: Final = len(EMISSION_INTS)
N_CODES: Final = len(EMISSION_CODES)
BLOCK: Final = 64  # rows: 11 kB, and a column leaves it as eight whole cache lines
MINUTE_NS: Final = 60_000_000_000
GAP_US: Final = int(GAP_S * 1e6)
NONE: Final = ENERGY_METHODS.index("none")
_CODES: Final = (DISTANCE_METHOD, METHOD, LOAD_STATE)  # in each of them 0 is "none" or "unknown"
_NAMES: Final = (ROW_ROUTE, ROW_REGION)  # in each of them -1 is null
_BLANK: Final = np.array(
    [0 if row in _CODES else -1 if row in _NAMES else UNKNOWN for row in range(len(EMISSION_ROWS))], np.int64
)
_SUMMED_ROW: Final = np.array([row for row, _ in SUMMED])
_SUMMED_IN: Final = np.array([place for _, place in SUMMED])


def new_block() -> Any:
    """Room for ``BLOCK`` rows of emissions: (columns, rows), what belongs to one row side by side."""
    return np.empty((BLOCK, len(EMISSION_ROWS)), np.int64).T


@inlined
def blank_row(block: Any, b: int) -> None:
    """Begin row ``b`` of a block: nothing is known."""
    for row in range(_BLANK.size):
        block[row, b] = _BLANK[row]


@inlined
def _put(block: Any, rows: int, ints: Any, codes: Any, first: int) -> None:
    for row in range(N_INTS):
        column = ints[row, first : first + rows]
        for b in range(rows):
            column[b] = block[row, b]
    for row in range(N_CODES):
        names = codes[row, first : first + rows]
        for b in range(rows):
            names[b] = block[N_INTS + row, b]


@kernel
def put_block(block: Any, rows: int, ints: Any, codes: Any, first: int) -> None:
    """Copy the first ``rows`` rows of a block to columns ``first`` and on of ``ints`` (int64) and ``codes`` (int32)."""
    if rows == BLOCK:
        _put(block, BLOCK, ints, codes, first)  # as its own case, because loops of a known length cost half
    else:
        _put(block, rows, ints, codes, first)


@inlined
def holds(roll: Any, j: int, time_ns: int, route: int, region: int, trip_ns: int, load_state: int) -> bool:
    """Whether partial sum ``j`` (-1: none) is of this minute, trip and place."""
    return (
        j >= 0
        and roll[MINUTE, j] <= time_ns < roll[MINUTE, j] + MINUTE_NS
        and roll[ROLLUP_LOAD_STATE, j] == load_state
        and roll[TRIP_START, j] == trip_ns
        and roll[REGION, j] == region
        and roll[ROUTE, j] == route
    )


@kernel
def begin_sum(
    roll: Any, j: int, p: Any, time_ns: int, received_ns: int, route: int, region: int, trip_ns: int, load_state: int
) -> None:
    """Begin partial sum ``j`` of the asset whose parameters are ``p``."""
    for row in range(roll.shape[0]):
        roll[row, j] = 0
    roll[MINUTE, j] = time_ns - time_ns % MINUTE_NS
    roll[KIND, j] = p["kind"]
    roll[ASSET, j] = p["asset"]
    roll[ROUTE, j] = route
    roll[REGION, j] = region
    roll[TRIP_START, j] = trip_ns
    roll[ROLLUP_LOAD_STATE, j] = load_state
    roll[NEWEST_TIME, j] = time_ns
    roll[NEWEST_RECEIVED, j] = received_ns


@inlined
def add_row(block: Any, b: int, is_vehicle: bool, sums: Any) -> None:
    """Add what row ``b`` tells to its partial sum; the steps before have added what no column tells."""
    sums[READINGS] += 1
    dt_us = block[DT, b]
    if dt_us != UNKNOWN and (dt_us <= GAP_US or not is_vehicle):
        sums[OBSERVED] += dt_us
        if block[METHOD, b] == NONE:
            sums[UNKNOWN_TIME] += dt_us
        if is_vehicle and block[DISTANCE, b] == UNKNOWN:
            sums[DISTANCE_UNKNOWN] += dt_us
    for k in range(_SUMMED_ROW.size):
        amount = block[_SUMMED_ROW[k], b]
        sums[_SUMMED_IN[k]] += 0 if amount == UNKNOWN else amount
    if block[CO2, b] != UNKNOWN and block[CH4, b] != UNKNOWN and block[N2O, b] != UNKNOWN:
        sums[SPLIT] += block[CO2E_TTW, b]
