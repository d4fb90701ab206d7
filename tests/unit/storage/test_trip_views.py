"""Views over trips, from readings through the step into a lake."""

from pathlib import Path

import numpy as np
import pytest

from storage.lake import Commit, Lake
from storage.query import connect
from storage.schema import empty, names_of, to_arrow
from stream.fleet import Route, Vehicle
from stream.pipeline import start, step
from stream.places import Place
from tests.support import T0_NS, fleet, readings, rows

FLEET = fleet(
    Vehicle("t1", "d-t1", "artic_40t", "diesel_b7"),
    routes=(Route("out", "", "hub", "town", "trunk"),),
    places=(Place("hub", "", "warehouse", 50.0, 8.0), Place("town", "", "warehouse", 50.5, 8.0)),
)
NAMES = names_of(FLEET)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A day with a loaded trip out, an empty one back with the weight known late, and one of which nothing is known."""
    speed = np.concatenate([np.zeros(300), np.full(1200, 72.0)] * 3 + [np.zeros(300)])
    n = speed.size
    t = np.arange(n)
    lat = np.repeat([50.0, 50.3, 50.5, 50.3, 50.0, 50.3, 50.5], [300, 1200, 300, 1200, 300, 1200, 300])
    weight = np.full(n, np.nan)
    weight[300:1500] = 30_000.0
    weight[2400:3000] = 15_000.0
    batch = readings(
        t,
        speed_kmh=speed,
        odometer_m=np.floor(np.cumsum(speed / 3.6)),
        lat_deg=lat,
        lon_deg=8.0,
        gross_weight_kg=weight,
        fuel_total_hr_l=np.floor(np.cumsum(np.where(speed > 0, 7.0, 0.6))) / 1000,
        engine_speed_rpm=np.where(speed > 0, 1200.0, 600.0),
    )
    state = start(FLEET)
    with Lake.open(tmp_path / "lake", create=True) as writer:
        for part in (slice(0, 2000), slice(2000, n)):
            state, r = step(state, rows(batch, part))
            tables = {
                name: to_arrow(name, getattr(r, name), NAMES)
                for name in ("readings", "emissions", "rollups", "trips", "events")
            }
            writer.commit(
                Commit(**tables, quarantine=empty("quarantine"), factor_set="fleetco2-2025.1", state=state.to_bytes())
            )
    return tmp_path / "lake"


def test_empty_running_is_the_final_word_on_each_trip(lake: Path) -> None:
    con = connect(lake)
    found = con.sql(
        "SELECT sum(loaded_mm), sum(empty_strict_mm), sum(empty_eurostat_mm), sum(unknown_mm) FROM empty_running"
    ).fetchall()[0]
    assert [round(float(x) / 1e6, 1) for x in found] == [24.0, 24.0, 24.0, 24.0]
    shares = con.sql(
        "SELECT sum(empty_strict_mm) / sum(loaded_mm + empty_strict_mm + unknown_mm),"
        " sum(empty_strict_mm + unknown_mm) / sum(loaded_mm + empty_strict_mm + unknown_mm) FROM empty_running"
    ).fetchall()[0]
    assert shares == pytest.approx((1 / 3, 2 / 3), rel=0.01)
    kg = con.sql(
        "SELECT sum(empty_co2e_wtw_ug) / 1e9, sum(avoidable_ug) / 1e9, sum(empty_co2e_measured_ug) / 1e9 FROM empty_running"
    ).fetchall()[0]
    litres = (1200 * 7.0 + 300 * 0.6) / 1000  # the trip and the stop after it
    assert kg == pytest.approx((litres * 3.095,) * 3, rel=0.01)  # B7, science reference section 1


def test_minutes_add_up_to_the_rollups_and_to_the_trips(lake: Path) -> None:
    con = connect(lake)
    sums = "sum(distance_mm), sum(co2e_wtw_ug), sum(readings), sum(moving_us), sum(idle_us)"
    assert con.sql(f"SELECT {sums} FROM minutes").fetchall() == con.sql(f"SELECT {sums} FROM rollups").fetchall()
    trips = con.sql("SELECT trip_start_ns, distance_mm, co2e_wtw_ug FROM trips_final ORDER BY 1").fetchall()
    by_rollups = con.sql(
        "SELECT trip_start_ns, sum(distance_mm), sum(co2e_wtw_ug) FROM rollups GROUP BY 1 ORDER BY 1"
    ).fetchall()
    assert trips[:-1] == by_rollups[:-1]  # the last one still runs
    assert len(trips) == 4
    then = con.sql("SELECT DISTINCT load_state FROM rollups ORDER BY 1").fetchall()
    assert then == [("empty",), ("partial",), ("unknown",)]


def test_the_trip_of_now_is_the_newest(lake: Path) -> None:
    con = connect(lake)
    con.execute(f"SET VARIABLE now_ns = {T0_NS + 4800 * 10**9}")
    now = con.sql("SELECT closed, round(driven_km), start_place, end_place, stage, age_s FROM trips_now").fetchall()
    assert now == [(True, 24.0, "hub", "town", "trunk", 1.0)]
