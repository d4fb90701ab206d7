"""The heart: ``step(state, batch) -> (state, results)``. Pure; the service, a replay and a distributed engine call the same.

``step(step(s, a), b)`` gives the results of ``step(s, a + b)`` for every split, and the order in which rows arrive does not
matter: rows are taken per device in the order of their numbers, a row that comes too early waits, a copy is dropped, and
whatever is added up is int64.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.advance import advance_rows
from stream.co2e_rows import new_work
from stream.columns import EMISSION, EVENT, READING, ROLLUP, TRIP, UNKNOWN, Column
from stream.event_rows import EVENT_ROW, MOST_PER_ROW
from stream.fleet import Fleet
from stream.lanes import new_columns
from stream.records import Devices, Records, records
from stream.result_rows import new_block
from stream.sequence import ACCEPT, AHEAD, sequence, slots
from stream.signal_rows import SIGNALS, new_far, new_signals, sent
from stream.state import STATE, StateRows, empty_state, state_block, take_in, words
from stream.table import BLOCK, EMISSION_CODES, EMISSION_INTS, EMISSION_REALS, ROLLUP_ROWS, TRIP_FLOATS, TRIP_INTS
from stream.trip_rows import ROWS_PER_READING

KERNEL_VERSION: Final = 5
MAX_WAITING: Final = (
    200_000  # rows held because one before them is missing; more are dropped, their gateways send again
)
Columns = dict[str, npt.NDArray[Any]]
_VERSIONS: Final = np.full(65_536, KERNEL_VERSION, np.int32)
_VERSIONS.flags.writeable = False
_NUMPY: Final = {
    "int64": np.int64,
    "int32": np.int32,
    "int8": np.int8,
    "float64": np.float64,
    "bool": np.bool_,
    "code": np.int32,
}


@dataclass(frozen=True)
class State:
    """Everything that ``step`` carries on: the fleet's parameters, one record per device, rows that wait for earlier ones."""

    fleet: Fleet
    rows: Records
    waiting: Columns

    def to_bytes(self) -> bytes:
        """All records, for ``start``. Waiting rows are not confirmed to their gateways, which send them again."""
        return b"".join(state_block(self.rows.whole(), self.fleet.devices))

    def part(self, begin: int, end: int) -> tuple[bytes | memoryview, ...]:
        """Buffers to be kept one after another: devices ``begin`` to ``end`` - 1 as they were when the state was last settled, then all
        that were touched since. Where every device has been in such a part, ``start`` needs no earlier ones.

        A device not yet heard is left out. The buffers share the state's memory and are spent with it.
        """
        base, devices = self.rows.base[begin:end], self.fleet.devices
        heard = np.flatnonzero(base["boot_id"])
        if heard.size < base.size:
            base = words(base)[heard].reshape(-1).view(STATE)
        older = state_block(base, [devices[i] for i in (begin + heard).tolist()])
        return *older, *state_block(self.rows.rows, [devices[i] for i in self.rows.devices.tolist()])

    def settled(self) -> "State":
        """The same state, for which nothing has to be copied; see ``Records.settled``: **earlier states are spent**.

        Without this all stays right, and each step copies the records of every device touched since.
        """
        return replace(self, rows=self.rows.settled())


@dataclass(frozen=True)
class Results:
    """What one step made.

    ``readings``: rows taken, in order, without those whose time is unknown. ``emissions``: one row for each of them.
    ``rollups``: partial sums per minute. ``trips``: versions of trips, ``events``: what
    happened on them. ``touched``: device numbers that had a row in the batch; their ``boot_id`` and
    ``next_seq`` in the new state say what is now taken. ``duplicates``, ``waiting``, ``dropped``: rows.
    """

    readings: Columns
    emissions: Columns
    rollups: Columns
    trips: Columns
    events: Columns
    touched: npt.NDArray[np.int32]
    accepted: int
    duplicates: int
    waiting: int
    dropped: int


def empty_columns(table: tuple[Column, ...], n: int = 0) -> Columns:
    """Arrays of ``n`` zero rows for each column of a table."""
    return {c.name: np.zeros(n, _NUMPY[c.dtype]) for c in table}


_NONE: Final = empty_columns(READING)


def start(fleet: Fleet, stored: bytes | Iterable[bytes | memoryview] = ()) -> State:
    """The state before the first reading, or the one kept by ``State.to_bytes``, or as parts in the order in which they were made.

    Raises StateError.
    """
    rows = empty_state(len(fleet.devices))
    for part in (stored,) if isinstance(stored, bytes) else stored:
        take_in(rows, part, fleet.device_index)
    return State(fleet, records(rows), empty_columns(READING))


def _each(columns: Columns, make: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Columns:
    """``make`` of each column; an array that stands for several (signals that no message held) is made once and stays one."""
    made: dict[int, npt.NDArray[Any]] = {}
    for column in columns.values():
        if id(column) not in made:
            made[id(column)] = make(column)
    return {name: made[id(column)] for name, column in columns.items()}


def _concatenate(a: Columns, b: Columns) -> Columns:
    return {name: np.concatenate((a[name], b[name])) for name in a}


def _take(columns: Columns, rows: npt.NDArray[Any]) -> Columns:
    return _each(columns, lambda values: values[rows])


def _boot_began_ns(batch: Columns) -> npt.NDArray[np.int64]:
    """Earliest known time in each row's boot: boots of a device follow each other in time, their ids are random."""
    time_ns = np.where(batch["time_ns"] == UNKNOWN, np.iinfo(np.int64).max, batch["time_ns"])
    order = np.lexsort((time_ns, batch["boot_id"], batch["device"]))
    device, boot = batch["device"][order], batch["boot_id"][order]
    first = np.flatnonzero(np.r_[True, (device[1:] != device[:-1]) | (boot[1:] != boot[:-1])])
    began = np.empty(order.size, np.int64)
    began[order] = np.repeat(time_ns[order][first], np.diff(np.r_[first, order.size]))
    return began


def _slots(devices: int, device: Devices) -> tuple[Devices, Devices]:
    """Numbers of the devices that have a row, ascending, and where in them that of each row stands."""
    table, slot = np.full(devices, -1, np.int32), np.empty(device.size, np.int32)
    slots(_const(device), table, slot)
    return np.flatnonzero(table >= 0).astype(np.int32), slot


def _in_order(
    records: Records, touched: Devices, slot: Devices, batch: Columns
) -> tuple[StateRows, Columns, Devices, npt.NDArray[np.int8], tuple[int, int, int]]:
    """Records of the devices that know which rows they took, the batch, its slots, a verdict for each row, and ``sequence``'s counts.

    The batch comes back sorted by device and number where a row came before its turn.
    """
    rows = records.take(touched)
    n = batch["seq"].size
    verdict = np.empty(n, np.int8)
    counts = sequence(rows, slot, batch["boot_id"], batch["seq"], batch["merged"], batch["time_ns"], verdict)
    if counts[2] == 0:
        return rows, batch, slot, verdict, counts
    rows = records.take(touched)
    order = np.lexsort((-batch["merged"], batch["seq"], batch["boot_id"], _boot_began_ns(batch), batch["device"]))
    batch, slot = _take(batch, order), slot[order]
    counts = sequence(rows, slot, batch["boot_id"], batch["seq"], batch["merged"], batch["time_ns"], verdict)
    return rows, batch, slot, verdict, counts


def _hold(batch: Columns, ahead: npt.NDArray[np.bool_]) -> tuple[Columns, int]:
    """Rows to wait with, nearest first, each once; and how many did not fit."""
    held = _take(batch, np.flatnonzero(ahead))
    keys = np.stack([held["device"].astype(np.int64), held["boot_id"], held["seq"]])
    first = np.unique(keys, axis=1, return_index=True)[1]
    held = _take(held, np.sort(first))
    n = held["seq"].size
    if n <= MAX_WAITING:
        return held, 0
    nearest = np.sort(np.argsort(held["seq"], kind="stable")[:MAX_WAITING])
    return _take(held, nearest), n - MAX_WAITING


def step(state: State, batch: Columns) -> tuple[State, Results]:
    """Take a batch of readings.

    Parameters
    ----------
    state : what the step before returned, or ``start``. It is not changed.
    batch : arrays of equal length for every column of ``READING``, ``device`` as index into ``state.fleet.devices``; a row whose
        ``time_ns`` is UNKNOWN is numbered but not used.

    Returns
    -------
    The next state and the results. Codes in results point into the fleet's ``devices``, ``assets`` and ``route_names``.
    """
    fleet = state.fleet
    heard, slot = _slots(len(fleet.devices), batch["device"])
    touched = heard
    if state.waiting["seq"].size:
        batch = _concatenate(state.waiting, batch)
        touched, slot = _slots(len(fleet.devices), batch["device"])
    n = batch["seq"].size
    rows, batch, slot, verdict, (accepted, usable, ahead) = _in_order(state.rows, touched, slot, batch)
    waiting, dropped = _hold(batch, verdict == AHEAD) if ahead else (_NONE, 0)
    duplicates = n - accepted - waiting["seq"].size - dropped
    if usable < n:
        kept = np.flatnonzero((verdict == ACCEPT) & (batch["time_ns"] != UNKNOWN))
        batch, slot = _take(batch, kept), slot[kept]
    emissions, rollups, trips, events = _advance(fleet, touched, rows, slot, batch)
    results = Results(
        batch, emissions, rollups, trips, events, heard, accepted, duplicates, int(waiting["seq"].size), dropped
    )
    return State(fleet, state.rows.put(touched, rows), waiting), results


def retake(state: State, batch: Columns) -> tuple[State, Results]:
    """Results of rows that were taken before, in the order in which each device's rows were taken: for making results anew.

    ``batch`` needs the columns that the kernels read (``stream.signal_rows.READ``) and the readings' names. Copies are not looked for, and
    the state that comes back does not know which rows were taken.
    """
    touched, slot = _slots(len(state.fleet.devices), batch["device"])
    rows = state.rows.take(touched)
    emissions, rollups, trips, events = _advance(state.fleet, touched, rows, slot, batch)
    results = Results(batch, emissions, rollups, trips, events, touched, batch["seq"].size, 0, 0, 0)
    return replace(state, rows=state.rows.put(touched, rows)), results


def _const(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A read-only view, whatever the column is. Kernels are compiled for types, and a column that no message held is read-only already:
    without this each new set of signals in a batch would be a new type, and wait a minute for its compiler."""
    view = np.ascontiguousarray(column).view()
    view.flags.writeable = False
    return view


def _versions(n: int) -> npt.NDArray[np.int32]:
    """Column ``kernel_version``: to read, not to write; most steps share one array."""
    return _VERSIONS[:n] if n <= _VERSIONS.size else np.full(n, KERNEL_VERSION, np.int32)


def _advance(
    fleet: Fleet, touched: Devices, rows: StateRows, slot: Devices, batch: Columns
) -> tuple[Columns, Columns, Columns, Columns]:
    """Run the kernels over readings in order: emissions, rollups, trips, events. Advances ``rows``, the records of ``touched``."""
    n = batch["seq"].size
    out, codes = new_columns(len(EMISSION_INTS), n, np.int64), new_columns(len(EMISSION_CODES), n, np.int32)
    reals = new_columns(len(EMISSION_REALS), n, np.float64)
    # One sum lies together: memory of sums not needed stays untouched. Two at least: a single row is of either order to numpy, and
    # to numba another type, to be compiled for.
    roll = np.empty((max(n, 2), len(ROLLUP_ROWS)), np.int64).T
    open_rollup = np.full(touched.size, -1, np.int64)
    happened = np.empty(MOST_PER_ROW * n, EVENT_ROW)  # memory is taken when it is written to, so room costs nothing
    # One row after another, so memory is touched only as far as versions are written.
    trip_ints = np.empty((ROWS_PER_READING * n, len(TRIP_INTS)), np.int64)
    trip_floats = np.empty((ROWS_PER_READING * n, len(TRIP_FLOATS)))
    signals = tuple(_each({name: batch[name] for name in SIGNALS}, _const).values())
    n_rolls, n_trips, n_events = advance_rows(
        _const(batch["device"]),
        _const(batch["time_ns"]),
        _const(batch["received_ns"]),
        signals,
        sent(signals),
        slot,
        touched,
        fleet.params,
        fleet.geography,
        rows,
        out,
        codes,
        reals,
        roll,
        open_rollup,
        trip_ints,
        trip_floats,
        happened,
        new_block(),
        new_work(),
        np.empty(BLOCK, np.int64),
        new_signals(),
        new_far(),
    )
    made: Columns = dict(zip(EMISSION_INTS, out[:, :n], strict=True))
    made.update(zip(EMISSION_CODES, codes[:, :n], strict=True))
    made.update(zip(EMISSION_REALS, reals[:, :n], strict=True))
    made.update({name: batch[name] for name in ("device", "boot_id", "seq", "time_ns")})
    made["kernel_version"] = _versions(n)
    sums: Columns = dict(zip(ROLLUP_ROWS, np.ascontiguousarray(roll[:, :n_rolls]), strict=True))
    sums["kernel_version"] = _versions(n_rolls)
    versions: Columns = dict(zip(TRIP_INTS, trip_ints[:n_trips].T, strict=True))
    versions.update(zip(TRIP_FLOATS, trip_floats[:n_trips].T, strict=True))
    versions["kernel_version"] = _versions(n_trips)
    return _typed(made, EMISSION), _typed(sums, ROLLUP), _typed(versions, TRIP), _events(fleet, happened[:n_events])


def _events(fleet: Fleet, happened: npt.NDArray[np.void]) -> Columns:
    """Rows of the kernels as columns of the table."""
    columns: Columns = {name: happened[name] for name in EVENT_ROW.names or ()}
    columns["asset"] = fleet.params["asset"][happened["device"]]
    columns["kernel_version"] = _versions(happened.size)
    return {name: np.ascontiguousarray(values) for name, values in _typed(columns, EVENT).items()}


def _typed(columns: Columns, table: tuple[Column, ...]) -> Columns:
    """In the order and types of the table."""
    return {c.name: np.ascontiguousarray(columns[c.name], _NUMPY[c.dtype]) for c in table}
