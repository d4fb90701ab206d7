"""Kernels that turn the decompressed bodies of wire v1 frames into columns. Layout: ``devices.wire``.

``check`` walks every block of every body and vouches for all lengths; ``fill`` reads only bodies that passed.
Arithmetic wraps: a hostile difference gives a value out of range, never an error.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from devices.signals import SIGNALS
from devices.wire import MERGED, SCALE, TIME
from stream.kernel import kernel

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FAULTS: Final = (  # what ``check`` and ``fill`` return per body, as text
    "",
    "a column block runs past the end of the body",
    "column numbers do not ascend",
    "a reserved descriptor",
    "a null bitmap with no value, or bits past the last row",
    "a null in a column that has none",
    "no time column",
    "bytes after the last column",
    "merged is not in 1 to 2^31-1, or does not add up to covered",
)
_RUNS_PAST, _ORDER, _DESCRIPTOR, _BITMAP, _NULL, _NO_TIME, _TAIL, _MERGED = range(1, len(FAULTS))
TIME_LIMIT_MS: Final = (2**63 - 1) // 1_000_000  # what int64 ns can hold; a time beyond is cut to it

SLOT: Final[Ints] = np.full(256, -1, dtype=np.int64)  # column number -> index in SIGNALS
for _i, _s in enumerate(SIGNALS):
    SLOT[_s.number] = _i
_SCALES: Final[Floats] = np.array([SCALE[s.name] for s in SIGNALS], dtype=np.float64)
# A value inside its range may round to a step just outside: the range of the steps is rounded like the values.
_LOWS: Final[Ints] = np.array([round(s.low * SCALE[s.name]) for s in SIGNALS], dtype=np.int64)
_HIGHS: Final[Ints] = np.array([round(s.high * SCALE[s.name]) for s in SIGNALS], dtype=np.int64)


class Bodies(NamedTuple):
    """Bodies joined in one buffer, and (f,) arrays: where each ends in it, and what the header of its frame says."""

    body: Bytes
    ends: Ints
    n: Ints  # 1 to 1000
    columns: Ints
    t0_ms: Ints
    covered: Ints


@kernel
def _unzigzag(z: np.uint64) -> np.int64:
    return np.int64(z >> np.uint64(1)) ^ -np.int64(z & np.uint64(1))


@kernel
def _base(body: Bytes, at: int, end: int) -> tuple[np.int64, int]:
    """A zigzag LEB128 integer and the offset after it; offset -1 if it runs past ``end`` or ten bytes."""
    z = np.uint64(0)
    for k in range(10):
        if at + k >= end:
            return np.int64(0), -1
        byte = np.uint64(body[at + k])
        z |= (byte & np.uint64(0x7F)) << np.uint64(7 * k)
        if byte < np.uint64(0x80):
            return _unzigzag(z), at + k + 1
    return np.int64(0), -1


@kernel
def _present(body: Bytes, at: int, n: int) -> int:
    """Rows with a value by the null bitmap at ``at``; -1 if a bit past row n is set."""
    present = n
    for i in range((n + 7) // 8 * 8):
        if (body[at + i // 8] >> np.uint8(i % 8)) & np.uint8(1):
            if i >= n:
                return -1
            present -= 1
    return present


@kernel
def _walk(body: Bytes, at: int, end: int, n: int) -> tuple[int, int, int, int, Any]:
    """One block: (fault, values present, offset of the bases, offset of the planes, offset after it)."""
    if at + 2 > end:
        return _RUNS_PAST, 0, 0, 0, 0
    number, descriptor = body[at], body[at + 1]
    at += 2
    if descriptor & 128:
        if descriptor != 128 or SLOT[number] >= 0 or number in (MERGED, TIME):
            return _DESCRIPTOR, 0, 0, 0, 0
        if at + 4 > end:
            return _RUNS_PAST, 0, 0, 0, 0
        length: Any = 0
        for k in range(4):
            length |= np.int64(body[at + k]) << (8 * k)
        if length > end - at - 4:
            return _RUNS_PAST, 0, 0, 0, 0
        return 0, 0, 0, 0, at + 4 + length
    width = np.int64(descriptor & 7) + 1
    order = np.int64(descriptor >> 3) & 3
    if descriptor & 64 or (order == 3 and width != 1):
        return _DESCRIPTOR, 0, 0, 0, 0
    present = n
    if descriptor & 32:
        if at + (n + 7) // 8 > end:
            return _RUNS_PAST, 0, 0, 0, 0
        present = _present(body, at, n)
        if present < 1 or present == n:
            return _BITMAP, 0, 0, 0, 0
        at += (n + 7) // 8
    bases = at
    for _ in range(1 if order == 3 else order):
        _value, at = _base(body, at, end)
        if at < 0:
            return _RUNS_PAST, 0, 0, 0, 0
    rows = 0 if order == 3 else present - order
    if rows < 0:
        return _DESCRIPTOR, 0, 0, 0, 0
    if rows * width > end - at:
        return _RUNS_PAST, 0, 0, 0, 0
    return 0, present, bases, at, at + rows * width


@kernel
def _check1(body: Bytes, at: int, end: int, n: int, columns: int, seen: Bools) -> int:
    previous: Any = -1
    time = False
    for _ in range(columns):
        fault, _m, _bases, _planes, after = _walk(body, at, end, n)
        if fault:
            return fault
        number = np.int64(body[at])
        if number <= previous:
            return _ORDER
        previous = number
        if number == TIME:
            time = True
        if number in (MERGED, TIME) and body[at + 1] & 32:
            return _NULL
        if SLOT[number] >= 0:
            seen[SLOT[number]] = True
        at = after
    if at != end:
        return _TAIL
    return 0 if time else _NO_TIME


@kernel
def _check(bodies: Bodies, seen: Bools, faults: Ints) -> None:
    start = 0
    for f in range(bodies.ends.size):
        faults[f] = _check1(bodies.body, start, bodies.ends[f], bodies.n[f], bodies.columns[f], seen)
        start = bodies.ends[f]


@kernel
def _integers(body: Bytes, at: int, bases: int, planes: int, present: int, z: Any, out: Ints) -> None:
    """The ``present`` values of a block that ``_walk`` has passed, in steps."""
    width = np.int64(body[at + 1] & 7) + 1
    order = np.int64(body[at + 1] >> 3) & 3
    end = body.size
    if order == 3:
        value, _after = _base(body, bases, end)
        out[:present] = value
        return
    rows = present - order
    plane = body[planes : planes + rows]
    for i in range(rows):
        z[i] = np.uint64(plane[i])
    for k in range(1, width):
        plane = body[planes + k * rows : planes + (k + 1) * rows]
        shift = np.uint64(8 * k)
        for i in range(rows):
            z[i] |= np.uint64(plane[i]) << shift
    if order == 0:
        for i in range(rows):
            out[i] = _unzigzag(z[i])
        return
    value, after = _base(body, bases, end)
    out[0] = value
    if order == 1:
        for i in range(rows):
            value += _unzigzag(z[i])
            out[i + 1] = value
        return
    slope, after = _base(body, after, end)
    value += slope
    out[1] = value
    for i in range(rows):
        slope += _unzigzag(z[i])
        value += slope
        out[i + 2] = value


class Filled(NamedTuple):
    """What ``fill`` writes: (rows,) times and merged, (signals seen, rows) values, (noted,) cells out of range."""

    time_ns: Ints  # cut to what int64 holds
    merged: Ints
    signals: Floats
    bad_row: Ints
    bad_slot: Ints
    bad_raw: Ints


@kernel
def _fill1(
    body: Bytes,
    at: int,
    n: int,
    columns: int,
    t0_ms: int,
    row0: int,
    where: Ints,
    noted: int,
    most: int,
    to: Filled,
    z: Words,
    values: Ints,
    missing: Bools,
) -> int:
    """Fill rows row0 to row0 + n; the number of cells outside their range, of which ``most`` are noted. ``z`` and ``values`` (n,),
    ``missing`` (signals seen,): room to work in.
    """
    missing[:] = True
    bad = 0
    to.merged[row0 : row0 + n] = 1
    for _ in range(columns):
        _fault, present, bases, planes, after = _walk(body, at, body.size, n)
        number = np.int64(body[at])
        slot = SLOT[number]
        if number == TIME:
            _integers(body, at, bases, planes, present, z, values)
            for i in range(n):
                to.time_ns[row0 + i] = min(max(values[i] + t0_ms, -TIME_LIMIT_MS), TIME_LIMIT_MS) * 1_000_000
        elif number == MERGED:
            _integers(body, at, bases, planes, present, z, values)
            for i in range(n):
                to.merged[row0 + i] = values[i]
        elif slot >= 0:
            _integers(body, at, bases, planes, present, z, values)
            missing[where[slot]] = False
            low, high, scale = _LOWS[slot], _HIGHS[slot], _SCALES[slot]
            column = to.signals[where[slot], row0 : row0 + n]
            source = 0
            for i in range(n):
                column[i] = np.nan
                if present < n and (body[at + 2 + i // 8] >> np.uint8(i % 8)) & np.uint8(1):
                    continue
                value = values[source]
                source += 1
                if low <= value <= high:
                    column[i] = value / scale
                    continue
                if bad < most:
                    to.bad_row[noted + bad] = row0 + i
                    to.bad_slot[noted + bad] = slot
                    to.bad_raw[noted + bad] = value
                bad += 1
        at = after
    for k in range(missing.size):
        if missing[k]:
            to.signals[k, row0 : row0 + n] = np.nan
    return bad


@kernel
def _fill(
    bodies: Bodies,
    row0: Ints,
    where: Ints,
    most: int,
    faults: Ints,
    bad: Ints,
    to: Filled,
    z: Words,
    values: Ints,
    missing: Bools,
) -> int:
    start = 0
    noted = 0
    for f in range(bodies.ends.size):
        n = bodies.n[f]
        bad[f] = _fill1(
            bodies.body,
            start,
            n,
            bodies.columns[f],
            bodies.t0_ms[f],
            row0[f],
            where,
            noted,
            most,
            to,
            z[:n],
            values[:n],
            missing,
        )
        noted += min(bad[f], most)
        total = 0
        for i in range(row0[f], row0[f] + n):
            total += to.merged[i]
            if not 1 <= to.merged[i] < 2**31:
                faults[f] = _MERGED
        if total != bodies.covered[f]:
            faults[f] = _MERGED
        start = bodies.ends[f]
    return noted


def check(bodies: Bodies) -> tuple[Ints, Bools]:
    """(f,) indices of FAULTS, 0 = sound; and which of devices.signals.SIGNALS the bodies hold."""
    faults = np.zeros(bodies.ends.size, dtype=np.int64)
    seen = np.zeros(len(SIGNALS), dtype=np.bool_)
    with np.errstate(over="ignore"):
        _check(bodies, seen, faults)
    return faults, seen


def _room(bodies: Bodies, to: Filled) -> tuple[Words, Ints, Bools]:
    n = int(bodies.n.max(initial=0))
    return np.empty(n, np.uint64), np.empty(n, np.int64), np.empty(to.signals.shape[0], np.bool_)


def fill(bodies: Bodies, row0: Ints, rows: int, seen: Bools, most_bad: int) -> tuple[Filled, Ints, Ints]:
    """Columns of ``rows`` rows from bodies in which ``check`` found no fault; body f begins at row ``row0[f]``.

    Also (f,) faults, as ``check``, now of merged, and (f,) numbers of cells outside their signal's range. Such a cell
    is NaN; ``most_bad`` per body are noted. In rows of no body only merged, 1, is set.
    """
    most = most_bad * bodies.ends.size
    filled = Filled(
        time_ns=np.empty(rows, dtype=np.int64),
        merged=np.ones(rows, dtype=np.int64),
        signals=np.empty((int(seen.sum()), rows)),
        bad_row=np.empty(most, dtype=np.int64),
        bad_slot=np.empty(most, dtype=np.int64),
        bad_raw=np.empty(most, dtype=np.int64),
    )
    faults = np.zeros(bodies.ends.size, dtype=np.int64)
    bad = np.zeros(bodies.ends.size, dtype=np.int64)
    with np.errstate(over="ignore"):
        noted = _fill(bodies, row0, np.cumsum(seen) - 1, most_bad, faults, bad, filled, *_room(bodies, filled))
    cells = (filled.bad_row[:noted], filled.bad_slot[:noted], filled.bad_raw[:noted])
    return Filled(filled.time_ns, filled.merged, filled.signals, *cells), faults, bad
