"""Recordings as columns: tables and CSV become trips. Nothing is sorted, filled or smoothed.

A value outside its signal's range cannot travel (``devices.signals``) and is sent as absent; ``TripLedger`` counts it.
"""

import csv
import datetime
import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TextIO
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from devices.signals import BY_NAME
from devices.wire import Sample

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FIELDS: Final[Mapping[str, tuple[str, float]]] = {  # column of a recording -> (signal, factor)
    **{name: (name, 1.0) for name in BY_NAME},
    "lat": ("lat_deg", 1.0),
    "lon": ("lon_deg", 1.0),
    "veh_speed_kmh": ("speed_kmh", 1.0),
    "rpm": ("engine_speed_rpm", 1.0),
    "odometer_km": ("odometer_m", 1000.0),
}
COUNTERS: Final = tuple(name for name in BY_NAME if "_total" in name or name.endswith(("_kwh", "_gross", "odometer_m")))
CHUNK_ROWS: Final = 4096  # rows turned into Python floats at a time: a month of readings stays in arrays
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NAME_LENGTH: Final = 40  # of a device name


@dataclass(frozen=True, slots=True, kw_only=True)
class TripLedger:
    """What one trip's recording holds and what became of it; counts of cells are by signal."""

    device: str
    trip_id: str
    rows: int
    rows_without_time: int
    sent: int = 0
    absent: Mapping[str, int] = field(default_factory=dict)
    unreadable: Mapping[str, int] = field(default_factory=dict)  # text that is not plainly a number
    out_of_range: Mapping[str, int] = field(default_factory=dict)  # sent as absent
    dropped: Mapping[str, int] = field(default_factory=dict)  # lines, frames and values of a bus log, by reason
    backward_steps: int = 0  # rows earlier than the row before
    repeated_times: int = 0  # rows with the time of the row before
    longest_gap_s: float = 0.0
    first_ns: int | None = None  # earliest time, not time of the first row
    last_ns: int | None = None
    counter_resets: Mapping[str, int] = field(default_factory=dict)  # falls of a counter in file order


@dataclass(frozen=True, slots=True)
class Trip:
    """One recording of one vehicle: ``time_ns`` (n,) in file order and (n,) float64 per signal, NaN = not measured."""

    device: str
    vehicle_id: str
    trip_id: str
    fuel: str | None
    time_ns: Ints
    signals: Mapping[str, Floats]
    ledger: TripLedger

    def rows(self, first: int = 0) -> Iterator[Sample]:
        """Samples from row ``first`` on, in file order."""
        for at in range(first, self.time_ns.size, CHUNK_ROWS):
            part = slice(at, at + CHUNK_ROWS)
            columns = [(name, values[part].tolist()) for name, values in self.signals.items()]
            for i, t in enumerate(self.time_ns[part].tolist()):
                yield Sample(t, {name: v[i] for name, v in columns if v[i] == v[i]})


def device_name(*parts: str, taken: Iterable[str] = ()) -> str:
    """Device name made of ``parts``, 3 to 40 of a-z, 0-9 and "-", not in ``taken``.

    >>> device_name("canmod-car-1", "00000164/00000001-60FE3F04")
    'canmod-car-1-00000164-00000001-60fe3f04'
    """
    text = "-".join(parts)
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    used = set(taken)
    if 3 <= len(slug) <= _NAME_LENGTH and slug not in used:
        return slug
    for n in range(len(used) + 1):
        tag = hashlib.sha256(f"{text}\0{n}".encode()).hexdigest()[:8]
        name = f"{slug[: _NAME_LENGTH - 9].strip('-') or 'trip'}-{tag}"
        if name not in used:
            return name
    raise AssertionError("one more name than names taken, and all were taken")


def make_trip(
    device: str,
    vehicle_id: str,
    trip_id: str,
    fuel: str | None,
    time_ns: Ints,
    has_time: npt.NDArray[np.bool_],
    signals: Mapping[str, Floats],
    unreadable: Mapping[str, int] | None = None,
    dropped: Mapping[str, int] | None = None,
) -> Trip:
    """Trip of the rows that have a time; cells outside their signal's range become NaN and are counted."""
    rows = int(time_ns.size)
    time_ns = time_ns[has_time]
    kept: dict[str, Floats] = {}
    absent: dict[str, int] = {}
    outside: dict[str, int] = {}
    resets: dict[str, int] = {}
    for name, values in signals.items():
        values = values[has_time].astype(np.float64)
        absent[name] = int(np.isnan(values).sum())
        signal = BY_NAME[name]
        bad = ~np.isnan(values) & ~((values >= signal.low) & (values <= signal.high))
        if bad.any():
            outside[name] = int(bad.sum())
            values[bad] = math.nan
        if name in COUNTERS:
            seen = values[~np.isnan(values)]
            resets[name] = int((np.diff(seen) < 0).sum())
        kept[name] = values
    steps = np.diff(time_ns)
    ledger = TripLedger(
        device=device,
        trip_id=trip_id,
        rows=rows,
        rows_without_time=rows - int(time_ns.size),
        absent=absent,
        unreadable=dict(unreadable or {}),
        dropped=dict(dropped or {}),
        out_of_range=outside,
        backward_steps=int((steps < 0).sum()),
        repeated_times=int((steps == 0).sum()),
        longest_gap_s=float(steps.max(initial=0)) / 1e9,
        first_ns=int(time_ns.min()) if time_ns.size else None,
        last_ns=int(time_ns.max()) if time_ns.size else None,
        counter_resets=resets,
    )
    present = {name: values for name, values in kept.items() if not np.isnan(values).all()}
    return Trip(device, vehicle_id, trip_id, fuel, time_ns, present, ledger)


def trips_from_table(table: pa.Table, *, naive_zone: str | None = None) -> list[Trip]:
    """Trips of a recording (``ts_utc``, ``trip_id``, signals) or of stored raw readings (``device``, ``boot_id``, ...).

    ``naive_zone`` names the time zone of a time column that has none. ValueError names a missing column.
    """
    names = set(table.column_names)
    if {"device", "boot_id", "seq", "time_ns"} <= names:
        return _stored_trips(table)
    missing = {"ts_utc", "trip_id"} - names
    if missing:
        raise ValueError(
            f"no column {', '.join(sorted(missing))}; neither a recording (ts_utc, trip_id) nor stored readings"
        )
    stamps = table["ts_utc"].combine_chunks()
    if not pa.types.is_timestamp(stamps.type):
        raise ValueError(f"column ts_utc is {stamps.type}, not a timestamp")
    if stamps.type.tz is None:
        if naive_zone is None:
            raise ValueError("column ts_utc has no time zone: say which one it is in")
        stamps = pc.assume_timezone(stamps, naive_zone, ambiguous="earliest", nonexistent="latest")
    has_time = np.asarray(pc.is_valid(stamps))
    time_ns = _int64(pc.cast(stamps, pa.timestamp("ns", tz="UTC")))
    signals = _signal_columns(table)
    trips: list[Trip] = []
    for at in _groups(table, ("dataset", "vehicle_id", "trip_id")):
        vehicle, trip, fuel = (_text(table, n, int(at[0])) for n in ("vehicle_id", "trip_id", "fuel_type"))
        device = device_name(*filter(None, (vehicle, trip)), taken=[t.device for t in trips])
        cut = {name: values[at] for name, values in signals.items()}
        trips.append(make_trip(device, vehicle or trip, trip, fuel or None, time_ns[at], has_time[at], cut))
    return trips


def _stored_trips(table: pa.Table) -> list[Trip]:
    """One trip per device: its boots in order of arrival, each in seq order, as its gateway took them."""
    boot, seq, time_ns = (_int64(table[n].combine_chunks()) for n in ("boot_id", "seq", "time_ns"))
    received = _int64(table["received_ns"].combine_chunks()) if "received_ns" in table.column_names else time_ns
    signals = _signal_columns(table)
    trips: list[Trip] = []
    for at in _groups(table, ("device",)):
        device = _text(table, "device", int(at[0]))
        ids, of_row = np.unique(boot[at], return_inverse=True)
        arrival = np.array([received[at][of_row == k].min() for k in range(ids.size)])
        at = at[np.lexsort((seq[at], boot[at], arrival[of_row]))]
        has_time = time_ns[at] > np.iinfo(np.int64).min  # a refused time is stored as the smallest int64
        cut = {name: values[at] for name, values in signals.items()}
        trips.append(make_trip(device, device, device, None, time_ns[at], has_time, cut))
    return trips


def _groups(table: pa.Table, columns: Sequence[str]) -> list[Ints]:
    """Row numbers of each distinct key, in file order; the groups in order of their first row."""
    texts = [pc.fill_null(pc.cast(table[c], pa.string()), "") for c in columns if c in table.column_names]
    key = pc.binary_join_element_wise(*texts, "\x1f").combine_chunks().dictionary_encode()
    codes = key.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable").astype(np.int64)
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if order.size else []


def _signal_columns(table: pa.Table) -> dict[str, Floats]:
    found: dict[str, Floats] = {}
    for column in table.column_names:
        if column in FIELDS and table[column].null_count < table.num_rows:
            name, factor = FIELDS[column]
            if name in found:
                raise ValueError(f"two columns for signal {name}, the second is {column}")
            values = pc.cast(table[column].combine_chunks(), pa.float64()).to_numpy(zero_copy_only=False)
            found[name] = values if factor == 1.0 else values * factor
    if not found:
        raise ValueError(f"no column holds a signal; known are {', '.join(sorted(FIELDS))}")
    return found


def _int64(array: pa.Array) -> Ints:
    values: Ints = pc.fill_null(pc.cast(array, pa.int64()), 0).to_numpy(zero_copy_only=False)
    return values


def _text(table: pa.Table, column: str, row: int) -> str:
    return str(table[column][row].as_py() or "") if column in table.column_names else ""


def read_csv(
    text: TextIO,
    *,
    name: str,
    rename: Mapping[str, str] | None = None,
    naive_zone: str | None = None,
) -> list[Trip]:
    """Trips of a CSV whose header has ``FIELDS``, after ``rename`` (file's name -> ours), and ``ts_utc`` or ``time``.

    A time is ISO 8601 with offset (or in ``naive_zone``) or seconds since 1970. A cell that is not plainly a number
    is absent and counted, a row without readable time is counted and left out: nothing is guessed. ``name`` stands in
    for a missing ``trip_id``.
    """
    try:
        zone = ZoneInfo(naive_zone) if naive_zone else None
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"no time zone {naive_zone!r} is known here") from error
    reader = csv.reader(text)
    header = [(rename or {}).get(h.strip(), h.strip()) for h in next(reader, [])]
    clocks = [i for i, h in enumerate(header) if h in ("ts_utc", "time")]
    known = {i: FIELDS[h] for i, h in enumerate(header) if h in FIELDS}
    if len(clocks) != 1 or not known:
        raise ValueError(
            f"{name}: the header needs one of time, ts_utc and at least one signal; it has {', '.join(header)}"
        )
    where = {h: i for i, h in enumerate(header)}
    groups: dict[tuple[str, str], list[list[str]]] = {}
    for row in reader:
        if row:
            key = tuple(_cell(row, where.get(n)) for n in ("vehicle_id", "trip_id"))
            groups.setdefault((key[0], key[1] or name), []).append(row)
    trips: list[Trip] = []
    for (vehicle, trip), rows in groups.items():
        stamps = [_time_ns(_cell(r, clocks[0]), zone) for r in rows]
        unreadable: dict[str, int] = {}
        signals: dict[str, Floats] = {}
        for i, (signal, factor) in known.items():
            cells = [_cell(r, i) for r, t in zip(rows, stamps, strict=True) if t is not None]
            unreadable[signal] = sum(1 for c in cells if c and not _NUMBER.fullmatch(c))
            values = [_cell(r, i) for r in rows]
            signals[signal] = np.array([float(c) * factor if _NUMBER.fullmatch(c) else math.nan for c in values])
        device = device_name(*filter(None, (vehicle, trip)), taken=[t.device for t in trips])
        fuel = _cell(rows[0], where.get("fuel_type")) or None
        has_time = np.array([t is not None for t in stamps])
        time_ns = np.array([t or 0 for t in stamps], dtype=np.int64)
        trips.append(make_trip(device, vehicle or trip, trip, fuel, time_ns, has_time, signals, unreadable))
    return trips


def _cell(row: Sequence[str], at: int | None) -> str:
    return row[at].strip() if at is not None and at < len(row) else ""


def _time_ns(text: str, zone: ZoneInfo | None) -> int | None:
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        return round(seconds * 1e9) if abs(seconds) < 9.2e9 else None
    try:
        stamp = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if stamp.tzinfo is None:
        if zone is None:
            return None
        stamp = stamp.replace(tzinfo=zone)
    since = stamp - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
