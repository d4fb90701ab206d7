"""The trip before, judged again: the way home of a tour without any position, and a tare that the next trip taught."""

import math
from typing import Any

import numpy as np
import pytest

from stream.columns import EMPTY_CAUSES, LOAD_STATES, TRIP_STAGES, UNKNOWN
from stream.fleet import Fleet, Route, Vehicle
from stream.hindsight import p_way_home
from stream.pipeline import Columns, start, step
from stream.places import Place
from tests.support import fleet, join, readings, stop_and_go_ms

PLACES = (Place("hub", "", "warehouse", 50.0, 8.0), Place("town", "", "customer", 50.5, 8.0, radius_m=20_000.0))
TOUR = Route("r1", "Round the town", origin="hub", destination="town", stage="last_mile")
RIGID = Vehicle(
    "t1", "d-t1", "rigid_18t", "diesel_b7", route="r1", tare_kg=9_200.0, gvw_kg=18_000.0, ref_torque_nm=1_200.0
)
ARTIC = Vehicle("t1", "d-t1", "artic_40t", "diesel_b7", tare_kg=15_000.0, ref_torque_nm=2_300.0)
BY_TORQUE, BY_NEXT = 2, 128


def _day(among: Fleet, masses_kg: list[float], *, efficiency: float = 1.0) -> Columns:
    """A trip for each mass, a reading a second, without any position; ``efficiency`` of the driveline over the class's."""
    p = among.params[0]
    v = stop_and_go_ms()
    before = np.concatenate([[0.0], v[:-1]])
    a, middle = v - before, 0.5 * (v + before)
    rpm = np.maximum(600.0, 70.0 * v)
    batches = []
    for k, kg in enumerate(masses_kg):
        force = kg * (p["f_rot"] * a + 9.80665 * p["crr"] * (middle > 0)) + 0.6 * p["cda_m2"] * middle**2
        shaft_w = np.maximum(force, 0.0) * middle / (0.93 * efficiency) + p["aux_kw"] * 1000.0
        share = shaft_w / (rpm * math.pi / 30.0) / p["ref_torque_nm"]
        batches.append(
            readings(
                k * v.size + np.arange(v.size),
                seq0=k * v.size,
                speed_kmh=v * 3.6,
                engine_speed_rpm=rpm,
                engine_torque_pct=100.0 * (share + 0.04 + 0.05 * rpm / 1500.0),
            )
        )
    return join(*batches)


def _final(trips: Columns) -> list[dict[str, Any]]:
    """The newest version of each trip, in order of their starts; without the first reading, which stands and is one of its own."""
    newest: dict[int, dict[str, Any]] = {}
    for i in range(trips["version"].size):
        row = {name: column[i] for name, column in trips.items()}
        known = newest.get(int(row["trip_start_ns"]))
        if known is None or row["version"] > known["version"]:
            newest[int(row["trip_start_ns"])] = row
    return [newest[key] for key in sorted(newest) if newest[key]["distance_mm"] > 1_000_000]


def _loads(trips: list[dict[str, Any]]) -> list[str]:
    return [LOAD_STATES[t["load_state"]] for t in trips]


def test_the_way_home_of_a_tour_is_the_trip_after_which_it_weighs_more() -> None:
    among = fleet(RIGID, routes=(TOUR,), places=PLACES)
    day = _day(among, [17_000.0, 13_000.0, 9_900.0, 9_200.0, 16_500.0])
    _, r = step(start(among), day)
    trips = _final(r.trips)
    assert _loads(trips)[:4] == ["partial", "partial", "partial", "empty"]
    home = trips[3]
    assert home["evidence"] == BY_TORQUE | BY_NEXT
    assert home["end_place"] == -1  # nobody knows where that was
    assert TRIP_STAGES[home["stage"]] == "return"
    assert EMPTY_CAUSES[home["empty_cause"]] == "return"
    assert 0.8 <= home["load_state_p"] <= 1.0
    assert home["payload_kg"] == 0.0
    assert home["transport_kgm"] == 0
    assert home["avoidable_ug"] == home["co2e_ttw_ug"] + home["co2e_wtt_ug"]


def test_until_then_it_is_unknown_and_only_the_load_changes() -> None:
    among = fleet(RIGID, routes=(TOUR,), places=PLACES)
    day = _day(among, [17_000.0, 9_200.0, 16_500.0])
    _, r = step(start(among), day)
    name = _final(r.trips)[1]["trip_start_ns"]
    versions = [{k: c[i] for k, c in r.trips.items()} for i in np.flatnonzero(r.trips["trip_start_ns"] == name)]
    assert _loads(versions)[-2:] == ["unknown", "empty"]
    for same in (
        "trip_end_ns",
        "distance_mm",
        "fuel_nl",
        "co2e_ttw_ug",
        "co2e_wtt_ug",
        "observed_us",
        "stop_us",
        "route",
    ):
        assert versions[-1][same] == versions[-2][same]
    assert versions[-2]["avoidable_ug"] == versions[-2]["transport_kgm"] == UNKNOWN


def test_the_rows_of_a_tour_that_goes_on_stay_loaded_however_light() -> None:
    among = fleet(RIGID, routes=(TOUR,), places=PLACES)
    _, r = step(start(among), _day(among, [17_000.0, 9_300.0, 9_250.0, 9_200.0]))
    assert _loads(_final(r.trips))[1:3] == ["partial", "partial"]


def test_without_a_tour_more_mass_afterwards_says_nothing() -> None:
    among = fleet(ARTIC)
    _, r = step(start(among), _day(among, [16_800.0, 35_000.0]))
    assert _loads(_final(r.trips)) == ["unknown", "partial"]


def test_a_tare_learnt_from_the_next_trip_is_used_for_the_one_before() -> None:
    """The torque reads every mass 7 % low: 18.3 t might be empty until the vehicle is seen to weigh 13.95 t."""
    among = fleet(ARTIC)
    heavy = _final(step(start(among), _day(among, [18_300.0, 32_000.0], efficiency=1.07))[1].trips)
    assert _loads(heavy)[0] == "unknown"
    light = _final(step(start(among), _day(among, [18_300.0, 15_000.0], efficiency=1.07))[1].trips)
    assert _loads(light) == ["partial", "empty"]
    assert light[0]["evidence"] == BY_TORQUE | BY_NEXT
    assert abs(light[0]["payload_kg"] - 3_300.0) <= light[0]["payload_u_kg"]


def test_an_order_has_said_all_there_is_to_say() -> None:
    among = fleet(RIGID, routes=(TOUR,), places=PLACES)
    day = _day(among, [17_000.0, 9_200.0, 16_500.0])
    cargo = np.full(day["seq"].size, 400.0)
    _, r = step(start(among), {**day, "cargo_kg": cargo})
    assert not any(t["evidence"] & BY_NEXT for t in _final(r.trips))


@pytest.mark.parametrize("cut", [1, 37, 700, 1_500])
def test_any_split_gives_the_same_versions(cut: int) -> None:
    among = fleet(RIGID, routes=(TOUR,), places=PLACES)
    day = _day(among, [17_000.0, 9_200.0, 16_500.0])
    _, whole = step(start(among), day)
    state, pieces = start(among), []
    for a in range(0, day["seq"].size, max(cut, 60)):
        state, r = step(state, {name: c[a : a + max(cut, 60)] for name, c in day.items()})
        pieces.append(r.trips)
    parts = {name: np.concatenate([p[name] for p in pieces]) for name in whole.trips}
    assert [tuple(t.items()) for t in _plain(_final(parts))] == [tuple(t.items()) for t in _plain(_final(whole.trips))]


def _plain(trips: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{name: repr(value) for name, value in t.items()} for t in trips]


def test_the_loading_place_is_told_by_how_much_heavier_it_got() -> None:
    found = [p_way_home(rise, 300.0, 9_000.0) for rise in (-3_000.0, 0.0, 600.0, 1_500.0, 6_000.0)]
    assert found == sorted(found)
    assert found[0] < 0.05
    assert found[1] < 0.05
    assert found[-1] > 0.8
    assert p_way_home(2_000.0, 3_000.0, 9_000.0) == pytest.approx(
        0.2, abs=0.15
    )  # a mass that tells nothing leaves the prior
