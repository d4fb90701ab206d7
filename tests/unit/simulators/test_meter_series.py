from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from simulators.meter_series import MeterSeries, read_parquet, series
from simulators.warehouse import simulate
from simulators.warehouse_spec import from_registry

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
QUARTER = timedelta(minutes=15)


def epoch(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[misc,arg-type]


def naive(day: int) -> datetime:
    return datetime.fromisoformat(f"2024-01-0{day}")


def test_an_end_stamp_tells_of_the_interval_before_it() -> None:
    rows = [(datetime(2024, 1, 1, 0, 15, tzinfo=UTC), 5.0), (datetime(2024, 1, 1, 0, 30, tzinfo=UTC), 7.0)]
    ends = series(rows, interval_s=900, stamp="end")
    assert ends.start_s == (epoch(2024, 1, 1), epoch(2024, 1, 1, 0, 15))
    assert ends.power_kw(epoch(2024, 1, 1)) == (20.0, epoch(2024, 1, 1, 0, 15))
    starts = series(rows, interval_s=900, stamp="start")
    assert starts.start_s == (epoch(2024, 1, 1, 0, 15), epoch(2024, 1, 1, 0, 30))


def test_a_days_midnight_row_that_comes_last_ends_that_day() -> None:
    days = []
    for day in (1, 2):
        quarters = [naive(day) + i * QUARTER for i in range(1, 96)]
        days += [*quarters, naive(day)]
    found = series(
        [(t, float(i)) for i, t in enumerate(days)], interval_s=900, stamp="end", zone="UTC", midnight_last=True
    )
    assert found.start_s == tuple(range(epoch(2024, 1, 1), epoch(2024, 1, 3), 900))
    assert found.kwh == tuple(float(i) for i in range(192))
    assert (found.repeated, found.missing) == (0, 0)


def test_naive_and_aware_stamps_are_not_guessed_at() -> None:
    aware = datetime(2024, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="2024-01-01T00:00:00 has no time zone"):
        series([(naive(1), 1.0)], interval_s=3600, stamp="start")
    with pytest.raises(ValueError, match="tells its own, not Europe/Berlin"):
        series([(aware, 1.0)], interval_s=3600, stamp="start", zone="Europe/Berlin")
    with pytest.raises(ValueError, match="no time zone 'Mars/Olympus'"):
        series([(naive(1), 1.0)], interval_s=3600, stamp="start", zone="Mars/Olympus")
    assert series([(naive(1), 1.0)], interval_s=3600, stamp="start", zone="Asia/Seoul").start_s == (
        epoch(2023, 12, 31, 15),
    )


def test_the_second_two_oclock_of_autumn_is_another_hour() -> None:
    hours = [datetime.fromisoformat(f"2024-10-27T0{h}:00") for h in (0, 1, 2, 2, 3)]
    found = series([(t, 1.0) for t in hours], interval_s=3600, stamp="start", zone="Europe/Berlin")
    assert len(found.start_s) == 5
    assert (found.repeated, found.missing) == (0, 0)
    doubled = series(
        [(t, 1.0) for t in (hours[0], hours[0], hours[1])], interval_s=3600, stamp="start", zone="Europe/Berlin"
    )
    assert (len(doubled.start_s), doubled.repeated) == (2, 1)


def test_a_missing_interval_repeats_the_one_before_and_is_counted() -> None:
    found = series([(datetime(2024, 1, 1, h, tzinfo=UTC), 10.0 * h) for h in (0, 1, 4)], interval_s=3600, stamp="start")
    assert found.missing == 2
    assert found.power_kw(epoch(2024, 1, 1, 3)) == (10.0, epoch(2024, 1, 1, 4))
    with pytest.raises(ValueError, match="outside the recording"):
        found.power_kw(epoch(2024, 1, 1, 5))
    with pytest.raises(ValueError, match="outside the recording"):
        found.power_kw(epoch(2023, 12, 31, 23))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows"),
        ([(datetime(2024, 1, 1, tzinfo=UTC), -1.0)], "has -1.0 kWh"),
        ([(datetime(2024, 1, 1, tzinfo=UTC), float("nan"))], "has nan kWh"),
        ([(datetime(2024, 1, 1, 0, m, tzinfo=UTC), 1.0) for m in (0, 7)], "cannot begin"),
    ],
)
def test_what_is_no_series_is_refused(rows: list[tuple[datetime, float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        series(rows, interval_s=900, stamp="start")


ROW = {"warehouse": "w", "device": "wh-w", "name": "W", "lat_deg": "37", "lon_deg": "127", "grid_zone": "KR"}


def drive(load: MeterSeries, hours: int) -> tuple[float, float, float]:
    """Recorded, true and metered kWh of the first ``hours``."""
    begin = load.start_s[0]
    site = from_registry(ROW, pv_kwp=0.0, outages_per_year=0.0)
    result = simulate([site], seed=1, start_s=begin, duration_s=hours * 3600, every_s=60, loads={"w": load})
    recorded = sum(k for s, k in zip(load.start_s, load.kwh, strict=True) if s < begin + hours * 3600)
    counter = result.readings["grid_import_kwh"]
    first = result.truth["grid_import_kwh"][0]
    return recorded, float(result.truth["load_kwh"].sum()), float(counter[-1] - counter[0] + first)


def test_a_recorded_load_becomes_the_meters_energy() -> None:
    load = series([(datetime(2024, 1, 1, h, tzinfo=UTC), 3.0 + h) for h in range(12)], interval_s=3600, stamp="start")
    recorded, true, metered = drive(load, 12)
    assert true == pytest.approx(recorded, abs=1e-6)
    assert metered == pytest.approx(recorded, abs=0.02)


@needs_data
def test_steel_works_year_is_whole_and_drives_a_site() -> None:
    path = DATA / "steel_industry_15min" / "steel_industry_2018.parquet"
    load = read_parquet(
        path, time="date", value="Usage_kWh", interval_s=900, stamp="end", zone="Asia/Seoul", midnight_last=True
    )
    assert len(load.start_s) == 35_040
    assert (load.repeated, load.missing) == (0, 0)
    assert load.start_s[0] == epoch(2017, 12, 31, 15)  # 2018-01-01 00:00 in Seoul
    assert load.start_s[-1] == epoch(2018, 12, 31, 14, 45)
    assert sum(load.kwh) == pytest.approx(sum(pq.read_table(path)["Usage_kWh"].to_pylist()))
    recorded, true, metered = drive(load, 48)
    assert true == pytest.approx(recorded, abs=1e-6)
    assert metered == pytest.approx(recorded, abs=0.02)


@needs_data
def test_building_meters_tell_what_is_wrong_with_them() -> None:
    folder = DATA / "building_meters"
    aware = read_parquet(
        folder / "uk-electricity-hdd-only-hourly-sample-0.parquet",
        time="start",
        value="value",
        interval_s=3600,
        stamp="start",
    )
    assert (len(aware.start_s), aware.repeated, aware.missing) == (23_508, 0, 0)
    name = folder / "uk-electricity-hdd-only-hourly-sample-2.parquet"
    with pytest.raises(ValueError, match=r"sample-2\.parquet: 2012-01-03T00:00:00 has no time zone"):
        read_parquet(name, time="start", value="value", interval_s=1800, stamp="start")
    naive = read_parquet(name, time="start", value="value", interval_s=1800, stamp="start", zone="UTC")
    assert (len(naive.start_s), naive.repeated) == (35_444, 24)
    assert naive.missing > 10_000
    with pytest.raises(ValueError, match="no column 'kwh'; it has start, value"):
        read_parquet(name, time="start", value="kwh", interval_s=1800, stamp="start", zone="UTC")
