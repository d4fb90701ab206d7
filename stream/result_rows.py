"""Rows of emissions and of partial sums as the loop writes them.

Emissions leave the step as columns. A reading fills 22 of them, and 22 streams of single stores to memory cost more than the
physics, so rows are filled in a block that stays in the cache, and leave it a column at a time. What a row adds to its partial sum
lies in it in the order of the sums, and is added eight at a time (``stream.lanes``) to where the sum lies: one stretch of memory.
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
    CODES_AT,
    DISTANCE,
    DISTANCE_METHOD,
    DISTANCE_UNKNOWN,
    DT,
    INTS_AT,
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
    ROW,
    ROW_REGION,
    ROW_ROUTE,
    SPLIT,
    TRIP_START,
    UNKNOWN_TIME,
)

N_ROW: Final = len(ROW)
BLOCK: Final = 32  # rows: 12 kB, and a column leaves it as four whole cache lines
MINUTE_NS: Final = 60_000_000_000
GAP_US: Final = int(GAP_S * 1e6)
NONE: Final = ENERGY_METHODS.index("none")
_CODES: Final = (DISTANCE_METHOD, METHOD, LOAD_STATE)  # in each of them 0 is "none" or "unknown"
_NAMES: Final = (ROW_ROUTE, ROW_REGION)  # in each of them -1 is null
_BLANK: Final = np.array([0 if k in _CODES else -1 if k in _NAMES else UNKNOWN for k in range(N_ROW)], np.int64)
_INTS_AT: Final = np.array(INTS_AT)
_CODES_AT: Final = np.array(CODES_AT)


def new_block() -> Any:
    """Room for ``BLOCK`` rows of emissions and of what they add to their sums: (``ROW``, rows), what belongs to one row side by side."""
    return np.empty((BLOCK, N_ROW), np.int64).T


@inlined
def blank_row(block: Any, b: int) -> None:
    """Begin row ``b`` of a block: nothing is known."""
    for row in range(_BLANK.size):
        block[row, b] = _BLANK[row]


@inlined
def _put(block: Any, rows: int, ints: Any, codes: Any, first: int) -> None:
    for row in range(_INTS_AT.size):
        column = ints[row, first : first + rows]
        for b in range(rows):
            column[b] = block[_INTS_AT[row], b]
    for row in range(_CODES_AT.size):
        names = codes[row, first : first + rows]
        for b in range(rows):
            names[b] = block[_CODES_AT[row], b]


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
def count_row(block: Any, b: int, is_vehicle: bool) -> None:
    """What row ``b`` adds to its partial sum by its columns alone."""
    block[READINGS, b] = 1
    dt_us = block[DT, b]
    if dt_us != UNKNOWN and (dt_us <= GAP_US or not is_vehicle):
        block[OBSERVED, b] = dt_us
        if block[METHOD, b] == NONE:
            block[UNKNOWN_TIME, b] = dt_us
        if is_vehicle and block[DISTANCE, b] == UNKNOWN:
            block[DISTANCE_UNKNOWN, b] = dt_us
    if block[CO2, b] != UNKNOWN and block[CH4, b] != UNKNOWN and block[N2O, b] != UNKNOWN:
        block[SPLIT, b] = block[CO2E_TTW, b]
