"""Logs of a vehicle's bus and GNSS receiver as one row a second: candump text or CAN frames in a table, and NMEA.

Byte positions and scales are those of the public FMS-Standard description v04 (SPN in the table below), so far as the
recordings need them. A raw value in the not-available range (top byte above 0xFA) is absent, whatever its scaled value.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simulators.recordings import Trip, make_trip

SECOND_NS: Final = 1_000_000_000
EPOCH_LOG_S: Final = 1e9  # a CAN log's time below this (2001) counts from the log's own start
HOLD_S: Final = 2  # a value stands for this long after its frame; 1 s signals jitter across a second's edge
SLOW_HOLD_S: Final = 15  # gross combination weight is sent every 10 s
KNOT_KMH: Final = 1.852


class Frame(NamedTuple):
    """One CAN frame with a 29-bit identifier."""

    time_ns: int
    can_id: int
    data: bytes


@dataclass(slots=True)
class Rows:
    """Rows by whole second since 1970, and what was left out, by reason."""

    by_second: dict[int, dict[str, float]] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)

    def drop(self, reason: str) -> None:
        """Count one sentence, line, frame or value left out."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


class Spn(NamedTuple):
    """Where a signal lies: 0-based first byte, size in bytes, value = raw * scale + offset."""

    signal: str
    first: int
    size: int
    scale: float
    offset: float = 0.0
    hold_s: int = HOLD_S


SPNS: Final[Mapping[int, tuple[Spn, ...]]] = {  # by PGN
    0xFEF2: (Spn("fuel_rate_lph", 0, 2, 0.05),),  # SPN 183
    0xFD09: (Spn("fuel_total_hr_l", 4, 4, 0.001),),  # SPN 5054
    0xFEE9: (Spn("fuel_total_l", 4, 4, 0.5),),  # SPN 250
    0xFE6C: (Spn("speed_kmh", 6, 2, 1 / 256),),  # SPN 1624, tachograph
    0xFEF1: (Spn("wheel_speed", 1, 2, 1 / 256),),  # SPN 84: speed_kmh where the tachograph gives none
    0xFEC1: (Spn("odometer_m", 0, 4, 5.0),),  # SPN 917
    0xFE70: (Spn("gross_weight_kg", 2, 2, 10.0, 0.0, SLOW_HOLD_S),),  # SPN 1760
    0xF004: (Spn("engine_torque_pct", 2, 1, 1.0, -125.0), Spn("engine_speed_rpm", 3, 2, 0.125)),  # SPN 513, 190
    0xF003: (Spn("engine_load_pct", 2, 1, 1.0),),  # SPN 92
    0xFEF5: (Spn("baro_kpa", 0, 1, 0.5), Spn("ambient_temp_c", 3, 2, 0.03125, -273.0)),  # SPN 108, 171
    0xFEFC: (Spn("fuel_level_pct", 1, 1, 0.4),),  # SPN 96
}
_TOP_VALID: Final = 0xFA  # of the top byte of a raw value
_LINE: Final = re.compile(
    r"\((\d+\.\d+)\)\s+\S+\s+([0-9A-Fa-f]{3}|[0-9A-Fa-f]{8})(?:#([0-9A-Fa-f]*)|\s+\[(\d+)\]((?:\s+[0-9A-Fa-f]{2})*))\s*"
)


def frames_from_candump(lines: Iterable[str], *, start_ns: int | None = None) -> Iterator[Frame | str]:
    """Frames of candump's log form ``(1436509052.249713) can0 0CF00400#F07D84`` or its screen form with ``-ta``.

    A line that is not a data frame gives the reason instead: "not_candump". 11-bit frames carry no J1939 and are
    passed over. ValueError if the times count from the log's start and ``start_ns`` is not given.
    """
    for line in lines:
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        data = _bytes(match[3] if match[3] is not None else match[5]) if match else None
        if match is None or data is None or len(data) > 8 or (match[4] and int(match[4]) != len(data)):
            yield "not_candump"
            continue
        if len(match[2]) == 8:
            yield Frame(_dated(float(match[1]), start_ns), int(match[2], 16) & 0x1FFFFFFF, data)


def frames_from_table(table: pa.Table, *, start_ns: int | None = None) -> Iterator[Frame | str]:
    """Frames of a table with ``t`` in seconds, ``can_id`` and ``data``. ValueError as above."""
    missing = {"t", "can_id", "data"} - set(table.column_names)
    if missing:
        raise ValueError(f"no column {', '.join(sorted(missing))} in the CAN log")
    columns = [
        pc.cast(table[n], kind).to_pylist()
        for n, kind in (("t", pa.float64()), ("can_id", pa.int64()), ("data", pa.binary()))
    ]
    for t, can_id, data in zip(*columns, strict=True):
        yield Frame(_dated(t, start_ns), can_id & 0x1FFFFFFF, data)


def _dated(t_s: float, start_ns: int | None) -> int:
    if t_s >= EPOCH_LOG_S:
        return round(t_s * 1e6) * 1000
    if start_ns is None:
        raise ValueError("the log's times count from its own start: say when that was")
    return start_ns + round(t_s * 1e9)


def _bytes(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def can_rows(frames: Iterable[Frame | str]) -> Rows:
    """One row per second with the newest value of each signal; a second without any value has no row.

    Of several senders of a signal the first that gave a valid value counts, the others are dropped ("other_sender").
    """
    rows = Rows()
    sender: dict[str, int] = {}
    latest: dict[str, tuple[int, float, int]] = {}  # signal -> (second, value, hold)
    second: int | None = None
    for frame in frames:
        if isinstance(frame, str):
            rows.drop(frame)
            continue
        now = frame.time_ns // SECOND_NS
        if second is not None and now > second:
            _close(rows, latest, second)
        second = now if second is None else max(second, now)
        fmt, specific = frame.can_id >> 16 & 0xFF, frame.can_id >> 8 & 0xFF
        pgn = (frame.can_id >> 24 & 1) << 16 | fmt << 8 | (specific if fmt >= 240 else 0)
        for spn in SPNS.get(pgn, ()):
            raw = frame.data[spn.first : spn.first + spn.size]
            if len(raw) < spn.size:
                rows.drop("short_frame")
            elif raw[-1] > _TOP_VALID:
                rows.drop("not_available")
            elif sender.setdefault(spn.signal, frame.can_id & 0xFF) != frame.can_id & 0xFF:
                rows.drop("other_sender")
            else:
                latest[spn.signal] = (now, int.from_bytes(raw, "little") * spn.scale + spn.offset, spn.hold_s)
    if second is not None:
        _close(rows, latest, second)
    return rows


def _close(rows: Rows, latest: Mapping[str, tuple[int, float, int]], second: int) -> None:
    """Write the row of ``second`` if anything arrived in it, with the older values that still stand."""
    if all(at != second for at, _, _ in latest.values()):
        return
    row = {name: value for name, (at, value, hold) in latest.items() if second - at < hold}
    wheel = row.pop("wheel_speed", None)
    if wheel is not None:
        row.setdefault("speed_kmh", wheel)
    rows.by_second[second] = row


def nmea_rows(lines: Iterable[str]) -> Rows:
    """One row per second of a valid fix: position and speed of RMC, altitude and HDOP of the same second's GGA.

    Dropped and counted: a wrong or missing checksum, a sentence without valid fix, a field that cannot be read. The
    date is the receiver's own, week roll-over and all.
    """
    rows = Rows()
    clock = ""  # hhmmss of the GGA below
    heights: dict[str, float] = {}
    second: int | None = None
    for line in lines:
        sentence = line.strip()
        if not sentence.startswith("$"):
            continue
        body, star, check = sentence[1:].partition("*")
        if not star or len(check) != 2:
            rows.drop("no_checksum")
            continue
        if f"{_xor(body):02X}" != check.upper():
            rows.drop("bad_checksum")
            continue
        kind, *fields = body.split(",")
        try:
            if kind[2:] == "RMC":
                if fields[1] != "A":
                    rows.drop("no_fix")
                    continue
                second = _second(fields[0], fields[8])
                row = rows.by_second.setdefault(second, {})
                row["lat_deg"] = _degrees(fields[2], fields[3], "N", "S", 90)
                row["lon_deg"] = _degrees(fields[4], fields[5], "E", "W", 180)
                if fields[6]:
                    row["gps_speed_kmh"] = float(fields[6]) * KNOT_KMH
                if fields[0][:6] == clock:
                    row |= heights
                clock_of_fix = fields[0][:6]
            elif kind[2:] == "GGA":
                if fields[5] in ("", "0"):
                    rows.drop("no_fix")
                    continue
                clock, heights = fields[0][:6], {}
                if fields[8]:
                    heights["alt_m"] = float(fields[8])
                if fields[7]:
                    heights["hdop"] = float(fields[7])
                if second is not None and clock == clock_of_fix:
                    rows.by_second[second] |= heights
        except (ValueError, IndexError):
            rows.drop("unreadable")
    return rows


def _xor(body: str) -> int:
    total = 0
    for char in body:
        total ^= ord(char)
    return total


def _second(clock: str, date: str) -> int:
    """Whole second since 1970 of hhmmss[.sss] and ddmmyy; years 80 to 99 are of the last century."""
    if len(date) != 6:
        raise ValueError(date)
    year = int(date[4:])
    stamp = datetime(
        year + (1900 if year >= 80 else 2000),
        int(date[2:4]),
        int(date[:2]),
        int(clock[:2]),
        int(clock[2:4]),
        min(int(clock[4:6]), 59),
        tzinfo=UTC,
    )
    return int(stamp.timestamp())


def _degrees(text: str, side: str, plus: str, minus: str, limit: float) -> float:
    """Degrees of ddmm.mmmm or dddmm.mmmm."""
    point = text.index(".") if "." in text else len(text)
    value = int(text[: point - 2]) + float(text[point - 2 :]) / 60
    if side not in (plus, minus) or not 0 <= value <= limit or float(text[point - 2 :]) >= 60:
        raise ValueError(text)
    return value if side == plus else -value


def join(a: Rows, b: Rows) -> Rows:
    """Rows of two logs of one vehicle, second by second; where both have a signal, ``b`` counts."""
    seconds = list(dict.fromkeys([*a.by_second, *b.by_second]))
    seconds.sort()
    merged = {s: {**a.by_second.get(s, {}), **b.by_second.get(s, {})} for s in seconds}
    dropped = {k: a.dropped.get(k, 0) + b.dropped.get(k, 0) for k in {**a.dropped, **b.dropped}}
    return Rows(merged, dropped)


def trip(rows: Rows, device: str) -> Trip:
    """The rows as a trip of ``device``, in the order in which the log gave them."""
    filled = {second: row for second, row in rows.by_second.items() if row}
    time_ns = np.array(list(filled), dtype=np.int64) * SECOND_NS
    names = sorted({name for row in filled.values() for name in row})
    signals = {n: np.array([row.get(n, np.nan) for row in filled.values()], dtype=np.float64) for n in names}
    return make_trip(
        device, device, device, None, time_ns, np.ones(time_ns.size, dtype=bool), signals, dropped=rows.dropped
    )
