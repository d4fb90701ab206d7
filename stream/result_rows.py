"""Rows of emissions and of partial sums as the loop writes them.

Emissions leave the step as columns. A reading fills 22 of them, and 22 streams of single stores to memory cost more than the
physics, so rows are filled in a block that stays in the cache, and leave it a column at a time. What rows add to their partial sums
are columns of the block too, and are added a column at a time. A partial sum is one stretch of memory.
"""

from typing import Any, Final

import numpy as np

from stream.columns import UNKNOWN
from stream.kernel import inlined, kernel
from stream.lanes import copy, fill
from stream.table import (
    ASSET,
    BLOCK,
    CODES_AT,
    COUNTED,
    DISTANCE_METHOD,
    INTS_AT,
    KIND,
    LOAD_STATE,
    METHOD,
    MINUTE,
    NEWEST_RECEIVED,
    NEWEST_TIME,
    OF_VEHICLES,
    REGION,
    ROLLUP_LOAD_STATE,
    ROOM,
    ROUTE,
    ROW,
    ROW_ASSET,
    ROW_REGION,
    ROW_ROUTE,
    ROW_TRIP,
    TRIP_START,
)

MINUTE_NS: Final = 60_000_000_000
_CODES: Final = (DISTANCE_METHOD, METHOD)  # in each of them 0 is "none"
_FILLED: Final = (*COUNTED, *OF_VEHICLES, ROW_ASSET, ROW_ROUTE, ROW_REGION, ROW_TRIP, LOAD_STATE)  # in each row
_BLANKED: Final = np.array([at for at in range(0, len(ROW) * ROOM, ROOM) if at not in _FILLED])
_BLANK: Final = np.array([0 if at in _CODES else UNKNOWN for at in _BLANKED])
_INTS_AT: Final = np.array(INTS_AT)
_CODES_AT: Final = np.array(CODES_AT)


def new_block() -> Any:
    """Room for ``BLOCK`` rows of emissions and of what they add to their sums: column after column of ``ROW``."""
    return np.zeros(len(ROW) * ROOM, np.int64)


@kernel
def blank_rows(block: Any) -> None:
    """Begin a block: nothing is known of what is not filled in anyway."""
    for k in range(_BLANK.size):
        fill(block, _BLANKED[k], _BLANK[k])


@kernel
def put_columns(block: Any, at: Any, rows: int, results: Any, first: int) -> None:
    """Copy the first ``rows`` rows of the columns of a block that begin at ``at`` (k,) to rows ``first`` and on of ``results`` (k, n)."""
    for k in range(at.size):
        if rows == BLOCK:
            copy(block, at[k], results, k, first)
        else:
            for b in range(rows):
                results[k, first + b] = block[at[k] + b]


@kernel
def put_block(block: Any, rows: int, ints: Any, codes: Any, first: int) -> None:
    """Copy the first ``rows`` rows of a block to columns ``first`` and on of ``ints`` (int64) and ``codes`` (int32)."""
    put_columns(block, _INTS_AT, rows, ints, first)
    put_columns(block, _CODES_AT, rows, codes, first)


@inlined
def holds(roll: Any, j: int, time_ns: int, route: int, region: int, trip_ns: int, load_state: int) -> bool:
    """Whether partial sum ``j`` (-1: none) is of this minute, trip and place."""
    return (
        j >= 0
        and 0 <= time_ns - roll[MINUTE, j] < MINUTE_NS
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
