import asyncio
import io
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from devices.config import ConfigError
from devices.signals import BY_NAME
from devices.sources import Context
from devices.wire import Sample, encode_batch, is_name
from simulators.recordings import Trip, device_name, read_csv, trips_from_table
from simulators.replay import VEHICLE_FIELDS, TripSource, make, read_trips, registry_for

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
T0 = datetime(2020, 6, 24, 14, 0, tzinfo=UTC)
T0_NS = int(T0.timestamp()) * 1_000_000_000


def at(second: float) -> datetime:
    return datetime.fromtimestamp(T0.timestamp() + second, tz=UTC)


def recording(**columns: list[Any]) -> pa.Table:
    n = len(next(iter(columns.values())))
    table: dict[str, Any] = {
        "dataset": ["d"] * n,
        "vehicle_id": ["car 1"] * n,
        "trip_id": ["there"] * n,
        "ts_utc": pa.array([at(i) for i in range(n)], pa.timestamp("us", tz="UTC")),
        "fuel_type": ["gasoline"] * n,
    }
    return pa.table(table | columns)


def only(trips: list[Trip]) -> Trip:
    assert len(trips) == 1
    return trips[0]


class VirtualTime:
    """A clock that only sleeping moves, and what was slept."""

    def __init__(self) -> None:
        self.now = 50.0
        self.slept: list[float] = []

    def now_s(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        if seconds:
            self.slept.append(seconds)


async def collect(source: TripSource) -> list[Sample]:
    return [sample async for sample in source.samples()]


def test_columns_become_signals_in_file_order_and_units() -> None:
    trip = only(
        trips_from_table(
            recording(veh_speed_kmh=[10.0, 20.0], rpm=[800.0, None], odometer_km=[1.5, 1.6], lat=[50.0, 51.0])
        )
    )
    assert list(trip.rows()) == [
        Sample(T0_NS, {"speed_kmh": 10.0, "engine_speed_rpm": 800.0, "odometer_m": 1500.0, "lat_deg": 50.0}),
        Sample(T0_NS + 10**9, {"speed_kmh": 20.0, "odometer_m": 1600.0, "lat_deg": 51.0}),
    ]
    assert (trip.device, trip.vehicle_id, trip.trip_id, trip.fuel) == ("car-1-there", "car 1", "there", "gasoline")


def test_defects_are_kept_and_counted() -> None:
    stamps = pa.array([at(0), at(5), at(2), at(2), None, at(9000)], pa.timestamp("us", tz="UTC"))
    trip = only(
        trips_from_table(
            recording(
                ts_utc=stamps,
                rpm=[-1.0, 900.0, None, 900.0, 900.0, 9e9],
                fuel_total_l=[1.0, 2.0, 0.5, 0.6, 0.1, 0.2],
            )
        )
    )
    ledger = trip.ledger
    assert [s.time_ns for s in trip.rows()] == [T0_NS + s * 10**9 for s in (0, 5, 2, 2, 9000)]
    assert (ledger.rows, ledger.rows_without_time) == (6, 1)
    assert (ledger.backward_steps, ledger.repeated_times) == (1, 1)
    assert ledger.longest_gap_s == 8998.0
    assert (ledger.first_ns, ledger.last_ns) == (T0_NS, T0_NS + 9000 * 10**9)
    assert ledger.absent == {"engine_speed_rpm": 1, "fuel_total_l": 0}
    assert ledger.out_of_range == {"engine_speed_rpm": 2}
    assert ledger.counter_resets == {"fuel_total_l": 2}
    assert [s.values.get("engine_speed_rpm") for s in trip.rows()] == [None, 900.0, None, 900.0, None]


def test_trips_that_interleave_are_told_apart() -> None:
    table = recording(trip_id=["a", "b", "a", "b"], veh_speed_kmh=[1.0, 2.0, 3.0, 4.0])
    a, b = trips_from_table(table)
    assert [s.values["speed_kmh"] for s in a.rows()] == [1.0, 3.0]
    assert [s.values["speed_kmh"] for s in b.rows()] == [2.0, 4.0]
    assert [s.values["speed_kmh"] for s in b.rows(1)] == [4.0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"x": [1]}), "no column trip_id, ts_utc"),
        (recording(ts_utc=pa.array([T0.replace(tzinfo=None)], pa.timestamp("us")), rpm=[1.0]), "no time zone"),
        (recording(ts_utc=["2020"], rpm=[1.0]), "ts_utc is string"),
        (recording(colour=["red"]), "no column holds a signal"),
        (recording(rpm=[1.0], engine_speed_rpm=[1.0]), "two columns for signal engine_speed_rpm"),
    ],
)
def test_a_table_that_is_no_recording_is_refused(table: pa.Table, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trips_from_table(table)


def test_naive_times_take_the_zone_that_is_said() -> None:
    naive = recording(ts_utc=pa.array([T0.replace(tzinfo=None)], pa.timestamp("us")), rpm=[1.0])
    assert only(trips_from_table(naive, naive_zone="America/Denver")).time_ns.tolist() == [T0_NS + 6 * 3600 * 10**9]


def test_stored_raw_readings_come_back_boot_by_boot_in_seq_order() -> None:
    table = pa.table(
        {
            "device": ["gw-b", "gw-a", "gw-a", "gw-a", "gw-a"],
            "boot_id": [9, 2, 2, 7, 7],
            "seq": [0, 1, 0, 1, 0],
            "time_ns": [T0_NS + i for i in (0, 40, 30, 20, 10)],
            "received_ns": [T0_NS] + [T0_NS + i for i in (1000, 1000, 500, 500)],
            "speed_kmh": [1.0, 5.0, 4.0, 3.0, None],
        }
    )
    b, a = trips_from_table(table)
    assert (b.device, a.device) == ("gw-b", "gw-a")
    assert [s.time_ns - T0_NS for s in a.rows()] == [10, 20, 30, 40]
    assert [s.values.get("speed_kmh") for s in a.rows()] == [None, 3.0, 4.0, 5.0]


CSV = """vehicle_id,trip_id,time,speed_kmh,rpm,colour,fuel_type
v1,t1,2020-06-24T14:00:00+00:00,10.5,800,red,diesel
v1,t1,1593007201.5,"12,5",24 RPM,red,diesel
v1,t1,2020-06-24T16:00:03+02:00,nan,900,red,diesel
v1,t1,24.06.2020 14:00,13,900,red,diesel
v1,t1,2020-06-24T14:00:05,13,900,red,diesel
v1,t1,2020-06-24T14:00:06Z,13
"""


def test_csv_cells_are_read_or_counted_never_guessed() -> None:
    trip = only(read_csv(io.StringIO(CSV), name="x"))
    assert [(s.time_ns - T0_NS) / 1e9 for s in trip.rows()] == [0.0, 1.5, 3.0, 6.0]
    assert [s.values for s in trip.rows()] == [
        {"speed_kmh": 10.5, "engine_speed_rpm": 800.0},
        {},
        {"engine_speed_rpm": 900.0},
        {"speed_kmh": 13.0},
    ]
    ledger = trip.ledger
    assert (ledger.rows, ledger.rows_without_time) == (6, 2)
    assert ledger.unreadable == {"speed_kmh": 2, "engine_speed_rpm": 1}
    assert (trip.device, trip.fuel) == ("v1-t1", "diesel")
    zoned = only(read_csv(io.StringIO(CSV), name="x", naive_zone="UTC"))
    assert zoned.ledger.rows_without_time == 1


@pytest.mark.parametrize("text", ["", "time,colour\n1,red\n", "speed_kmh\n3\n", "time,ts_utc,speed_kmh\n1,1,3\n"])
def test_a_csv_without_time_or_signals_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="x: the header needs one of time, ts_utc"):
        read_csv(io.StringIO(text), name="x")


def test_device_names_are_names_and_differ() -> None:
    taken: list[str] = []
    for parts in [("a", "b"), ("A", "B"), ("a/b",), ("",), ("ü",), ("x" * 50,), ("x" * 60,), ("a-", "-b")]:
        name = device_name(*parts, taken=taken)
        assert is_name(name)
        assert name not in taken
        taken.append(name)
    assert device_name("x" * 50) == device_name("x" * 50)


def test_pace_is_the_recordings_own_and_waits_for_nothing_backwards() -> None:
    stamps = pa.array([at(s) for s in (0, 10, 5, 6, 6, 106)], pa.timestamp("us", tz="UTC"))
    trip = only(trips_from_table(recording(ts_utc=stamps, rpm=[1.0] * 6)))
    clock = VirtualTime()
    source = TripSource(trip, sleep=clock.sleep, now_s=clock.now_s)
    samples = asyncio.run(collect(source))
    assert clock.slept == [10.0, 1.0, 100.0]
    assert [s.time_ns for s in samples] == trip.time_ns.tolist()
    assert source.ledger.sent == 6
    faster = VirtualTime()
    asyncio.run(collect(TripSource(trip, speed=10, max_gap_s=50, sleep=faster.sleep, now_s=faster.now_s)))
    assert faster.slept == pytest.approx([1.0, 0.1, 5.0])
    at_once = VirtualTime()
    asyncio.run(collect(TripSource(trip, speed=math.inf, sleep=at_once.sleep, now_s=at_once.now_s)))
    assert at_once.slept == []


def test_a_late_taker_is_caught_up_with_and_an_interrupted_source_goes_on() -> None:
    trip = only(trips_from_table(recording(rpm=[float(i) for i in range(10)])))
    clock = VirtualTime()
    source = TripSource(trip, sleep=clock.sleep, now_s=clock.now_s)

    async def slowly() -> list[float]:
        seen = []
        async for sample in source.samples():
            seen.append(sample.values["engine_speed_rpm"])
            clock.now += 1.5 if len(seen) < 3 else 0.0
            if len(seen) == 6:
                break
        return seen

    assert asyncio.run(slowly()) == [0, 1, 2, 3, 4, 5]
    assert clock.now - 50.0 == pytest.approx(5.0)
    assert [s.values["engine_speed_rpm"] for s in asyncio.run(collect(source))] == [6, 7, 8, 9]
    assert source.ledger.sent == 10


@pytest.mark.parametrize(("speed", "gap"), [(0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (1.0, -1.0), (1.0, math.nan)])
def test_an_impossible_pace_is_refused(speed: float, gap: float) -> None:
    trip = only(trips_from_table(recording(rpm=[1.0])))
    with pytest.raises(ValueError, match=r"must"):
        TripSource(trip, speed=speed, max_gap_s=gap)


def test_registry_has_one_vehicle_per_trip() -> None:
    trips = trips_from_table(recording(trip_id=["a", "b"], fuel_type=["diesel", "unobtainium"], rpm=[1.0, 1.0]))
    rows = registry_for(trips)
    assert [(r["device"], r["vehicle_class"], r["fuel"]) for r in rows] == [
        ("car-1-a", "car", "diesel_avg"),
        ("car-1-b", "car", ""),
    ]
    assert all(tuple(r) == VEHICLE_FIELDS for r in rows)


def context(folder: Path) -> Context:
    return Context(name="old", device="gw-1", where="gw.toml", base=folder)


def test_a_gateway_replays_one_trip_of_a_file(tmp_path: Path) -> None:
    pq.write_table(recording(trip_id=["a", "b"], rpm=[1.0, 2.0]), tmp_path / "two.parquet")
    (tmp_path / "one.csv").write_text("time,speed_kmh\n1593007200,5\n")
    (tmp_path / "nul.csv").write_text("time,speed_kmh\n" + "5" * 200_000 + ",5\n")
    (tmp_path / "bad.parquet").write_text("no parquet")
    source = make({"path": "two.parquet", "trip": "b", "speed": 1e9}, context(tmp_path))
    assert [s.values for s in asyncio.run(collect(source))] == [{"engine_speed_rpm": 2.0}]
    assert len(asyncio.run(collect(make({"path": "one.csv"}, context(tmp_path))))) == 1
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"path": "two.parquet"}, "trip", "has 2 trips; choose one of car-1-a, car-1-b"),
        ({"path": "two.parquet", "trip": "c"}, "trip", "0 trips"),
        ({"path": "none.parquet"}, "path", "none.parquet"),
        ({"path": "bad.parquet"}, "path", "bad.parquet"),
        ({"path": "one.xls"}, "path", "unknown kind of file"),
        ({"path": "one.csv", "naive_zone": "Mars/Olympus"}, "path", "no time zone 'Mars/Olympus'"),
        ({"path": "two.parquet", "trip": "b", "naive_zone": 5}, "naive_zone", "expected"),
        ({"path": "nul.csv"}, "path", "nul.csv"),
        ({"path": "one.csv", "spede": 1}, "spede", "did you mean speed"),
        ({"path": "one.csv", "speed": 0}, "speed", ">"),
    ]
    for options, key, text in wrong:
        with pytest.raises(ConfigError, match=text) as caught:
            make(options, context(tmp_path))
        assert caught.value.key == f"source.old.{key}"


@needs_data
def test_the_seventeen_recorded_trips() -> None:
    trips = read_trips([DATA / "replay_trips.parquet"])
    table = pq.read_table(DATA / "replay_trips.parquet")
    assert len(trips) == 17
    assert sum(t.ledger.rows for t in trips) == table.num_rows == 8371
    assert len({t.device for t in trips}) == 17
    assert all(is_name(t.device) for t in trips)
    by_name = {t.device: t for t in trips}
    back, there = by_name["torque-car-1-back"].ledger, by_name["torque-car-1-there"].ledger
    assert (back.backward_steps, there.backward_steps) == (4, 1)
    assert (back.counter_resets["fuel_total_l"], there.counter_resets["fuel_total_l"]) == (11, 3)
    assert there.longest_gap_s == pytest.approx(9034.6, abs=0.1)
    assert sum(sum(t.ledger.out_of_range.values()) for t in trips) == 2 + 145  # rpm -1, altitude -5400 m
    assert sum(t.ledger.repeated_times for t in trips) == 210
    assert {r["fuel"] for r in registry_for(trips)} == {"petrol_avg", "diesel_avg"}
    sent = table.num_rows
    for trip in trips:
        samples = list(trip.rows())
        sent -= len(samples)
        assert np.array_equal([s.time_ns for s in samples], trip.time_ns)
        for i in range(0, len(samples), 600):
            assert encode_batch(trip.device, 1, i, samples[i : i + 600])
        for name, values in trip.signals.items():
            seen = values[~np.isnan(values)]
            assert seen.min() >= BY_NAME[name].low
            assert seen.max() <= BY_NAME[name].high
    assert sent == 0
    speed = sum(np.nansum(t.signals["speed_kmh"]) for t in trips)
    assert speed == pytest.approx(sum(v for v in table["veh_speed_kmh"].to_pylist() if v is not None))


@needs_data
def test_a_spreadsheet_damaged_by_its_locale_yields_nothing_invented() -> None:
    table = pq.read_table(DATA / "dirty_obd_csv" / "19drivers_raw_strings.parquet")
    names = {"TIME": "time", "SPEED": "speed_kmh", "LATITUDE": "lat", "ALTITUDE": "alt_m"}
    rows = table.select(list(names)).to_pylist()
    text = ",".join(names) + "\n" + "".join(",".join(f'"{v or ""}"' for v in row.values()) + "\n" for row in rows)
    assert (
        only(read_csv(io.StringIO(text), name="dirty", rename=names)).ledger.rows_without_time == 8261
    )  # '1,51336E+12'
    dated = (
        ",".join(names.values())
        + "\n"
        + "".join(
            f'{1593007200 + i},"{r["SPEED"] or ""}","{r["LATITUDE"] or ""}","{r["ALTITUDE"] or ""}"\n'
            for i, r in enumerate(rows)
        )
    )
    ledger = only(read_csv(io.StringIO(dated), name="dirty")).ledger
    assert ledger.unreadable["speed_kmh"] == sum(bool(r["SPEED"]) for r in rows) > 8000  # '48km/h'
    assert (
        ledger.unreadable["lat_deg"] == sum((r["LATITUDE"] or "").count(".") > 1 for r in rows) > 1000
    )  # '-58.321.307'
    assert ledger.out_of_range == {"lat_deg": 6}  # such as '-586538'
