"""Replay of recordings as gateway sources: their own order, times and defects, at their own speed or a multiple of it.

``read_trips`` turns files into trips, ``TripSource`` paces one trip as one gateway, ``registry_for`` lists the
vehicles.
"""

import asyncio
import csv
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from devices.config import ConfigError, convert
from devices.sources import Context
from devices.wire import Sample
from simulators import bus_logs
from simulators.recordings import Trip, TripLedger, device_name, read_csv, trips_from_table

FUELS: Final = {
    "gasoline": "petrol_avg",
    "petrol": "petrol_avg",
    "diesel": "diesel_avg",
}  # word of a recording -> fuel id
VEHICLE_FIELDS: Final = (
    *("vehicle", "device", "vehicle_class", "fuel", "route", "tare_kg", "gvw_kg", "cda_m2", "crr"),
    *("p_rated_kw", "tank_l", "grid_zone", "vin"),
)
YIELD_ROWS: Final = 64  # without pauses the other gateways of the process get their turn after this many rows


def read_trips(
    paths: Sequence[Path],
    *,
    start_ns: int | None = None,
    naive_zone: str | None = None,
    rename: dict[str, str] | None = None,
) -> list[Trip]:
    """Trips of files: Parquet (recordings, stored raw readings, CAN frames), ``.csv``, ``.nmea`` and candump ``.log``.

    One NMEA file and one candump file together are one vehicle's two logs. ``start_ns`` dates a CAN log whose times
    count from its own start; ``naive_zone`` names the time zone of times without one; ``rename`` maps a file's column
    names to ours. OSError if a file cannot be read, ValueError, which names the file, if it is not a recording.
    """
    trips: list[Trip] = []
    rows: list[tuple[Path, bus_logs.Rows]] = []
    for path in paths:
        try:
            if path.suffix == ".parquet":
                table = pq.read_table(path)
                if "can_id" in table.column_names:
                    rows.append((path, bus_logs.can_rows(bus_logs.frames_from_table(table, start_ns=start_ns))))
                else:
                    trips += trips_from_table(table, naive_zone=naive_zone)
            elif path.suffix == ".csv":
                with path.open(encoding="utf-8-sig", newline="") as text:
                    trips += read_csv(text, name=path.stem, rename=rename, naive_zone=naive_zone)
            elif path.suffix == ".nmea":
                with path.open(encoding="ascii", errors="replace") as text:
                    rows.append((path, bus_logs.nmea_rows(text)))
            elif path.suffix in (".log", ".candump"):
                with path.open(encoding="ascii", errors="replace") as text:
                    rows.append((path, bus_logs.can_rows(bus_logs.frames_from_candump(text, start_ns=start_ns))))
            else:
                raise ValueError("unknown kind of file: .parquet, .csv, .nmea and .log can be replayed")
        except (ValueError, csv.Error, pa.ArrowException) as error:
            raise ValueError(f"{path}: {error}") from error
    if len(rows) == 2 and {p.suffix == ".nmea" for p, _ in rows} == {True, False}:
        rows = [(rows[0][0], bus_logs.join(rows[0][1], rows[1][1]))]
    for path, log in rows:
        trips.append(bus_logs.trip(log, device_name(path.stem, taken=[t.device for t in trips])))
    return trips


class TripSource:
    """One trip as a gateway's source, ``speed`` times as fast as recorded (``math.inf``: as fast as it is taken).

    A backward step or a repeated time waits for nothing; a gap longer than ``max_gap_s`` waits that long. The samples
    keep their recorded times. Asked again, ``samples`` goes on where it stopped. ``sleep`` and ``now_s`` (monotonic
    seconds) are passed in by tests.
    """

    can_wait = True

    def __init__(
        self,
        trip: Trip,
        *,
        speed: float = 1.0,
        max_gap_s: float = math.inf,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if not speed > 0:
            raise ValueError(f"speed is {speed}; it must be above 0")
        if not max_gap_s >= 0:
            raise ValueError(f"max_gap_s is {max_gap_s}; it must not be negative")
        self.name = f"replay {trip.trip_id}"
        self._trip, self._speed, self._max_gap_s = trip, speed, max_gap_s
        self._sleep, self._now_s = sleep, now_s
        self._sent = 0

    @property
    def ledger(self) -> TripLedger:
        """The trip's ledger with what has been sent so far."""
        return replace(self._trip.ledger, sent=self._sent)

    async def samples(self) -> AsyncIterator[Sample]:
        """Yield each row when it is due."""
        start_s, due_s = self._now_s(), 0.0
        previous_ns: int | None = None
        for sample in self._trip.rows(self._sent):
            if previous_ns is not None:
                due_s += min(max(sample.time_ns - previous_ns, 0) / 1e9, self._max_gap_s) / self._speed
            previous_ns = sample.time_ns
            wait_s = due_s - (self._now_s() - start_s)
            if wait_s > 0:
                await self._sleep(wait_s)
            elif self._sent % YIELD_ROWS == 0:
                await self._sleep(0)
            self._sent += 1
            yield sample


def registry_for(trips: Sequence[Trip], *, vehicle_class: str = "car") -> list[dict[str, str]]:
    """Rows of vehicles.csv, one vehicle per trip so that figures can be read by trip; blank = not known."""
    rows = []
    for trip in trips:
        row = dict.fromkeys(VEHICLE_FIELDS, "")
        row |= {"vehicle": trip.device, "device": trip.device, "vehicle_class": vehicle_class}
        row["fuel"] = FUELS.get((trip.fuel or "").lower(), "")
        rows.append(row)
    return rows


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of the source kind "parquet", which takes every kind of recording."""

    path: Annotated[str, msgspec.Meta(description="the recording, relative to the configuration file")]
    trip: Annotated[str, msgspec.Meta(description="trip_id or device name of the trip, where the file has several")] = (
        ""
    )
    speed: Annotated[float, msgspec.Meta(gt=0, description="times as fast as recorded")] = 1.0
    max_gap_s: Annotated[
        float, msgspec.Meta(ge=0, description="longest wait between two rows, in recorded seconds")
    ] = math.inf
    naive_zone: Annotated[str, msgspec.Meta(description="time zone of times that tell none, such as UTC")] = ""


def make(options: Mapping[str, Any], context: Context) -> TripSource:
    """The source of one trip of a recording. ConfigError if the file cannot be read or the trip is not in it."""
    key = f"source.{context.name}"
    chosen = convert(dict(options), Options, context.where, key)
    path = context.base / chosen.path
    try:
        trips = read_trips([path], naive_zone=chosen.naive_zone or None)
    except (OSError, ValueError) as error:
        raise ConfigError(context.where, f"{key}.path", str(error)) from None
    found = [t for t in trips if chosen.trip in ("", t.trip_id, t.device)]
    if len(found) != 1:
        mend = (
            f"{len(found)} trips of {path} are called {chosen.trip!r}"
            if chosen.trip
            else f"{path} has {len(trips)} trips"
        )
        raise ConfigError(context.where, f"{key}.trip", f"{mend}; choose one of {', '.join(t.device for t in trips)}")
    return TripSource(found[0], speed=chosen.speed, max_gap_s=chosen.max_gap_s, sleep=context.sleep)
