"""Trips on made-up days whose stops, places and loads are plain."""

import math
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from stream.columns import EMPTY_CAUSES, LOAD_STATES, ROUTE_SOURCES, TRIP_STAGES, UNKNOWN
from stream.fleet import Fleet, Route, Vehicle
from stream.pipeline import Columns, start, step
from stream.places import Place
from stream.polygon import METRES_PER_DEG
from stream.regions import Region
from stream.state import empty_state
from stream.trips import MISFIT_M, is_stem, metres, misfits
from tests.support import S_NS, SHARED, T0_NS, fleet, readings

HUB, TOWN, PUMP, ROAD = (50.0, 8.0), (50.5, 8.0), (50.2, 8.0), (50.3, 8.0)
PLACES = (
    Place("hub", "", "warehouse", *HUB),
    Place("town", "", "warehouse", *TOWN),
    Place("pump", "", "fuel", *PUMP),
)
ROUTES = (Route("out", "", "hub", "town", "trunk", number=7), Route("tour", "", "hub", None, "last_mile", number=8))
REGIONS = (
    Region("south", "", "POLYGON ((7 49, 9 49, 9 50.25, 7 50.25, 7 49))"),
    Region("north", "", "POLYGON ((7 50.25, 9 50.25, 9 51, 7 51, 7 50.25))"),
)
DOOR, PTO, IGNITION = 1, 4, 16


class Part(NamedTuple):
    """``seconds`` at ``kmh`` and a position; ``rpm``, ``switches`` and order as they stand then."""

    seconds: int
    kmh: float
    at: tuple[float, float] = ROAD
    rpm: float = 900.0
    switches: float = IGNITION
    cargo: float = math.nan
    number: float = math.nan


def _day(*parts: Part, gap_after: dict[int, int] | None = None) -> Columns:
    """1 Hz readings of the parts; ``gap_after`` part k so many seconds without one."""
    t: list[int] = []
    now = 0
    for k, part in enumerate(parts):
        t += range(now, now + part.seconds)
        now += part.seconds + (gap_after or {}).get(k, 0)
    n = [p.seconds for p in parts]
    column = {
        name: np.repeat([float(x) for x in values], n)
        for name, values in {
            "speed_kmh": [p.kmh for p in parts],
            "lat_deg": [p.at[0] for p in parts],
            "lon_deg": [p.at[1] for p in parts],
            "engine_speed_rpm": [p.rpm for p in parts],
            "switches": [p.switches for p in parts],
            "cargo_kg": [p.cargo for p in parts],
            "route_number": [p.number for p in parts],
        }.items()
    }
    return readings(t) | column


def _fleet(route: str | None = "out") -> Fleet:
    vehicle = Vehicle("t1", "d-t1", "artic_40t", "diesel_b7", route)
    return fleet(vehicle, routes=ROUTES, places=PLACES, regions=REGIONS)


def _trips(batch: Columns, route: str | None = "out") -> list[dict[str, Any]]:
    """The newest version of each trip, codes as text."""
    f = _fleet(route)
    _, r = step(start(f), batch)
    newest: dict[int, dict[str, Any]] = {}
    for i in range(r.trips["version"].size):
        row = {name: values[i] for name, values in r.trips.items()}
        for name, codes in (
            ("load_state", LOAD_STATES),
            ("stage", TRIP_STAGES),
            ("empty_cause", EMPTY_CAUSES),
            ("route_source", ROUTE_SOURCES),
            ("start_place", (*f.place_names, None)),
            ("end_place", (*f.place_names, None)),
            ("route", (*f.route_names, None)),
        ):
            row[name] = codes[row[name]]
        newest[int(row["trip_start_ns"])] = row
    return [newest[k] for k in sorted(newest)]


def _seconds(row: dict[str, Any], name: str) -> float:
    return float(row[name] - T0_NS) / S_NS


AWAY = Part(1200, 80.0)
STAND = Part(300, 0.0, HUB, 600.0)


def test_a_stop_of_two_minutes_parts_trips_and_a_red_light_does_not() -> None:
    trips = _trips(_day(STAND, AWAY, Part(100, 0.0), AWAY, Part(130, 0.0), AWAY, Part(200, 0.0, TOWN)))
    assert [_seconds(t, "trip_start_ns") for t in trips] == [0, 300, 300 + 1200 + 100 + 1200 + 130]
    assert _seconds(trips[1], "trip_end_ns") == 300 + 1200 + 100 + 1200
    assert trips[2]["stop_us"] == 130_000_000
    assert trips[0]["stop_us"] == UNKNOWN  # it was not seen from its beginning
    assert [bool(t["closed"]) for t in trips] == [True, True, True]


@pytest.mark.parametrize(
    ("stop", "parts"),
    [
        (Part(70, 0.0), False),
        (Part(70, 0.0, switches=IGNITION | DOOR), True),
        (Part(70, 0.0, switches=IGNITION | PTO), True),
        (Part(70, 0.0, switches=0.0), True),
        (Part(70, 0.0, rpm=0.0), True),
        (Part(70, 0.0, TOWN), True),
        (Part(50, 0.0, TOWN, rpm=0.0, switches=DOOR), False),
    ],
)
def test_a_minute_is_a_stop_where_something_shows_it(stop: Part, parts: bool) -> None:
    trips = _trips(_day(AWAY, stop, AWAY))
    assert len(trips) == (2 if parts else 1)


def test_creeping_up_a_queue_stays_one_stop_and_rolling_off_ends_it() -> None:
    trips = _trips(_day(AWAY, Part(100, 0.0), Part(20, 2.0), Part(100, 0.0), AWAY))
    assert len(trips) == 2
    assert trips[1]["stop_us"] == 220_000_000


def test_a_gap_is_a_stop_where_the_vehicle_hardly_moved_else_a_part_of_the_way() -> None:
    batch = _day(AWAY, AWAY, gap_after={0: 900})
    assert len(_trips(batch)) == 2  # no odometer: ten minutes without a word are a stop
    t = (batch["time_ns"] - T0_NS) / S_NS
    assert len(_trips(batch | {"odometer_m": np.floor(t * 80 / 3.6)})) == 1
    stood = np.floor(np.minimum(t, 1199) * 80 / 3.6 + np.maximum(t - 2100, 0) * 80 / 3.6)
    trips = _trips(batch | {"odometer_m": stood})
    assert len(trips) == 2
    assert trips[1]["stop_us"] == 901_000_000


def test_after_hours_of_silence_it_is_another_trip_and_the_stop_is_not_known() -> None:
    batch = _day(AWAY, AWAY, gap_after={0: 3 * 3600})
    t = (batch["time_ns"] - T0_NS) / S_NS
    trips = _trips(batch | {"odometer_m": np.floor(t * 80 / 3.6)})
    assert [t["stop_us"] for t in trips] == [UNKNOWN, UNKNOWN]


def test_yard_moves_and_power_take_off_are_excluded() -> None:
    yard = _trips(_day(STAND, Part(300, 4.0, HUB), STAND, AWAY, STAND))
    assert [bool(t["excluded"]) for t in yard] == [True, True, False]
    spreading = _trips(_day(STAND, Part(1200, 40.0, switches=IGNITION | PTO), STAND))
    assert spreading[1]["excluded"]


def test_places_of_both_ends_and_the_route_between_them() -> None:
    trips = _trips(_day(STAND, AWAY, Part(300, 0.0, TOWN), AWAY, Part(300, 0.0, PUMP), AWAY, STAND), None)
    ends = [(t["start_place"], t["end_place"], t["route"], t["route_source"], t["stage"]) for t in trips[1:]]
    assert ends[0] == ("hub", "town", "out", "inferred", "trunk")
    assert ends[1] == ("town", "pump", None, "none", "unknown")
    assert ends[2] == ("pump", "hub", None, "none", "unknown")


def test_an_empty_trip_to_where_the_load_came_from_is_a_return_whatever_route_leads_there() -> None:
    """Goods from hub to town, nothing home over a pump: the leg to the pump is to fuel, the one from there a return."""
    routes = (Route("out", "", "hub", "town", "trunk"), Route("back", "", "town", "hub", "trunk"))
    f = fleet(Vehicle("t1", "d-t1", "artic_40t", "diesel_b7", "out"), routes=routes, places=PLACES)
    full, none = 8_000.0, 0.0
    for over, stages, causes in (
        ((), ["return"], ["return"]),
        ((Part(300, 0.0, PUMP, cargo=none), Part(600, 60.0, cargo=none)), ["return", "return"], ["to_fuel", "return"]),
    ):
        batch = _day(
            Part(300, 0.0, HUB, cargo=full),
            Part(600, 60.0, cargo=full),
            Part(900, 0.0, TOWN, cargo=none),
            Part(600, 60.0, cargo=none),
            *over,
            Part(300, 0.0, HUB, cargo=none),
        )
        _, r = step(start(f), batch)
        last = np.append(np.diff(r.trips["trip_start_ns"]) != 0, True)
        told = [
            (TRIP_STAGES[a], EMPTY_CAUSES[b])
            for a, b in zip(r.trips["stage"][last], r.trips["empty_cause"][last], strict=True)
        ]
        assert [LOAD_STATES[x] for x in r.trips["load_state"][last]][2:] == ["empty"] * len(stages)
        assert told[2:] == list(zip(stages, causes, strict=True))


def test_the_way_back_is_the_same_route_and_dispatch_comes_before_it() -> None:
    back = (Part(300, 0.0, TOWN), AWAY, STAND)
    trips = _trips(_day(*back), None)
    assert (trips[1]["route"], trips[1]["route_source"], trips[1]["stage"]) == ("out", "inferred", "return")
    trips = _trips(_day(Part(300, 0.0, TOWN, number=8.0), AWAY, STAND), None)
    assert (trips[1]["route"], trips[1]["route_source"]) == ("tour", "dispatch")
    trips = _trips(_day(Part(300, 0.0, ROAD), AWAY, Part(300, 0.0, ROAD)))
    assert (trips[1]["route"], trips[1]["route_source"]) == ("out", "registry")


def test_causes_of_empty_trips() -> None:
    def stand(at: tuple[float, float], seconds: int = 300) -> Part:
        return Part(seconds, 0.0, at, cargo=0.0)

    away = Part(1200, 80.0, cargo=0.0)
    trips = _trips(_day(stand(HUB), away, stand(PUMP), away, stand(TOWN), away, stand(HUB)))
    assert [t["empty_cause"] for t in trips[1:]] == ["to_fuel", "reposition", "return"]
    assert {t["load_state"] for t in trips[1:]} == {"empty"}
    trips = _trips(_day(stand(HUB), Part(60, 60.0, cargo=0.0), stand(ROAD, 2000), away, stand(HUB)), None)
    assert trips[1]["empty_cause"] == "waiting"
    loaded = _trips(_day(Part(300, 0.0, HUB, cargo=9e3), Part(1200, 80.0, cargo=9e3), stand(TOWN)))
    assert (loaded[1]["empty_cause"], loaded[1]["load_state"]) == ("none", "partial")


def _told(f: Fleet, *parts: Part) -> list[tuple[str, str]]:
    """(stage, cause) of each trip in its newest version."""
    _, r = step(start(f), _day(*parts))
    last = np.append(np.diff(r.trips["trip_start_ns"]) != 0, True)
    pairs = zip(r.trips["stage"][last], r.trips["empty_cause"][last], strict=True)
    return [(TRIP_STAGES[a], EMPTY_CAUSES[b]) for a, b in pairs]


def test_from_a_depot_an_empty_vehicle_drives_to_its_next_load() -> None:
    """Goods from hub to town, nothing back to the hub and on to the depot; in the morning to the hub."""
    f = fleet(
        Vehicle("t1", "d-t1", "artic_40t", "diesel_b7", "out"),
        routes=ROUTES,
        places=(*PLACES, Place("yard", "", "depot", *ROAD)),
    )
    none = Part(600, 60.0, cargo=0.0)
    told = _told(
        f,
        Part(300, 0.0, HUB, cargo=8e3),
        Part(600, 60.0, cargo=8e3),
        Part(900, 0.0, TOWN, cargo=0.0),
        none,
        Part(300, 0.0, HUB, cargo=0.0),
        none,
        Part(3000, 0.0, ROAD, cargo=0.0),
        none,
        Part(300, 0.0, HUB, cargo=0.0),
    )
    assert told[1:] == [
        ("trunk", "none"),
        ("return", "return"),
        ("trunk", "to_depot"),
        ("reposition", "reposition"),
    ]


def test_where_the_last_load_was_not_seen_the_vehicle_s_own_route_tells_where_it_comes_from() -> None:
    """First heard on its way with goods; then from the end of its route to the origin, though a trunk route leads there too."""
    routes = (Route("out", "", "hub", "town", "trunk"), Route("back", "", "town", "hub", "trunk"))
    for own, told in (("out", ("return", "return")), (None, ("trunk", "reposition"))):
        f = fleet(Vehicle("t1", "d-t1", "artic_40t", "diesel_b7", own), routes=routes, places=PLACES)
        parts = (
            Part(600, 60.0, PUMP, cargo=8e3),
            Part(900, 0.0, TOWN, cargo=0.0),
            Part(600, 60.0, cargo=0.0),
            Part(300, 0.0, HUB, cargo=0.0),
        )
        assert _told(f, *parts)[-1] == told


def test_a_hop_between_customers_is_not_where_a_load_comes_from() -> None:
    """Within a town that holds its own hub: after a tour's hops, out of the hub and empty to a lay-by in that area, to wait."""
    town = Place("town", "", "customer", *HUB, 30_000.0)
    tour = Route("tour", "", "hub", "town", "last_mile")
    f = fleet(Vehicle("t1", "d-t1", "rigid_18t", "diesel_b7", "tour"), routes=(tour,), places=(PLACES[0], town))
    full, none = 4e3, 0.0
    near, lay_by = (50.05, 8.0), (50.02, 8.0)
    parts = (
        Part(300, 0.0, HUB, cargo=full),
        Part(300, 40.0, near, cargo=full),
        Part(600, 0.0, near, cargo=full),
        Part(300, 40.0, near, cargo=full),
        Part(600, 0.0, near, cargo=none, switches=IGNITION | DOOR),
        Part(300, 40.0, near, cargo=none),
        Part(600, 0.0, HUB, cargo=none),
        Part(180, 40.0, lay_by, cargo=none),
        Part(2400, 0.0, lay_by, cargo=none),
        Part(180, 40.0, lay_by, cargo=none),
        Part(300, 0.0, HUB, cargo=none),
    )
    assert [cause for _, cause in _told(f, *parts)][3:] == ["return", "waiting", "return"]


@pytest.mark.parametrize(("door", "cause"), [(0, "waiting"), (DOOR, "reposition")])
def test_who_waits_within_a_customer_s_area_opens_no_door(door: int, cause: str) -> None:
    shops = Place("shops", "", "customer", *ROAD, 8_000.0)
    f = fleet(Vehicle("t1", "d-t1", "artic_40t", "diesel_b7"), routes=ROUTES, places=(*PLACES, shops))
    none = Part(60, 60.0, cargo=0.0)
    parts = (
        Part(300, 0.0, TOWN, cargo=0.0, switches=IGNITION | DOOR),
        none,
        Part(2000, 0.0, ROAD, cargo=0.0, switches=IGNITION | door),
        none,
        Part(300, 0.0, HUB, cargo=0.0),
    )
    assert _told(f, *parts)[1][1] == cause


def test_an_order_heard_at_a_stop_is_of_the_next_trip() -> None:
    full = Part(1200, 80.0, cargo=20_000.0)
    trips = _trips(_day(Part(300, 0.0, HUB, cargo=20_000.0), full, Part(300, 0.0, TOWN, cargo=0.0), AWAY, STAND))
    assert [t["load_state"] for t in trips[1:]] == ["partial", "empty"]
    assert trips[1]["payload_kg"] == 20_000.0
    assert trips[1]["transport_kgm"] == round(20_000.0 * trips[1]["distance_mm"] / 1000)
    assert trips[2]["avoidable_ug"] == trips[2]["co2e_ttw_ug"] + trips[2]["co2e_wtt_ug"] > 0


def test_what_is_learnt_on_the_way_is_back_dated_by_a_version_and_no_sum_changes() -> None:
    batch = _day(STAND, Part(2400, 80.0), Part(300, 0.0, TOWN))
    batch["gross_weight_kg"][:] = 15_000.0
    state, r = step(start(_fleet()), batch)
    states = [LOAD_STATES[s] for s in r.emissions["load_state"]]
    moving = states[300:2700]
    assert moving[0] == "partial"  # it leaves the origin of its route
    assert moving[-1] == "empty"
    mine = r.trips["trip_start_ns"] == r.emissions["trip_start_ns"][300]
    assert [LOAD_STATES[s] for s in r.trips["load_state"][mine]][-1] == "empty"
    assert r.trips["version"][mine].tolist() == list(range(1, int(mine.sum()) + 1))
    key = r.rollups["trip_start_ns"] == r.emissions["trip_start_ns"][300]
    assert len(set(r.rollups["load_state"][key].tolist())) == 2  # the sums as they were known then
    assert state.rows["trip_sums"][0][0] == r.rollups["distance_mm"][key].sum()


def test_a_jump_of_the_receiver_moves_neither_place_nor_region() -> None:
    batch = _day(STAND, AWAY, Part(300, 0.0, TOWN))
    batch["lat_deg"][100:104] += 0.3
    batch["lat_deg"][1502:1505] -= 0.3
    batch["lat_deg"][900] = 50.9
    f = _fleet()
    _, r = step(start(f), batch)
    assert _trips(batch)[1]["start_place"] == "hub"
    assert _trips(batch)[1]["end_place"] == "town"
    names = [f.region_names[k] for k in r.emissions["region"]]
    assert names[:300] == ["south"] * 300
    assert set(names[400:1450]) == {"north"}


def test_a_first_fix_after_departure_still_tells_the_start() -> None:
    batch = _day(STAND, Part(30, 10.0, HUB), AWAY, Part(300, 0.0, TOWN))
    batch["lat_deg"][:320] = np.nan
    trips = _trips(batch)
    assert (trips[1]["start_place"], trips[1]["end_place"]) == ("hub", "town")


def test_without_any_evidence_the_state_stays_unknown() -> None:
    batch = _day(STAND, AWAY, STAND)
    for name in ("lat_deg", "lon_deg", "switches", "engine_speed_rpm"):
        batch[name][:] = np.nan
    trips = _trips(batch, None)
    assert {t["load_state"] for t in trips} == {"unknown"}
    assert all(math.isnan(t["load_state_p"]) for t in trips)
    assert {int(t["evidence"]) for t in trips} == {0}


RECORDING = SHARED / "data" / "eclipse_fms_recording" / "fms_recording.parquet"


@pytest.mark.skipif(not RECORDING.exists(), reason="needs the recording eclipse_fms_recording in ../shared/data")
def test_the_load_does_not_flap_on_a_recorded_weight_that_does() -> None:
    log = pq.read_table(RECORDING).to_pylist()
    names = {
        "Vehicle.CurrentOverallWeight": "gross_weight_kg",
        "Vehicle.Tachograph.VehicleSpeed": "speed_kmh",
        "Vehicle.Speed": "speed_kmh",
        "Vehicle.Powertrain.CombustionEngine.Speed": "engine_speed_rpm",
    }
    t = np.arange(900)
    batch = readings(t)
    events = [(int(e["t_s"]), names[e["signal"]], float(e["value"])) for e in log if e["signal"] in names]
    for second, name, value in events:
        batch[name][min(second, 899)] = value
    speed = batch["speed_kmh"]  # sent on change: it holds until the next one
    known = ~np.isnan(speed)
    batch["speed_kmh"] = np.where(known.any(), speed[np.maximum.accumulate(np.where(known, t, 0))], np.nan)
    weight = batch["gross_weight_kg"][~np.isnan(batch["gross_weight_kg"])]
    assert weight.max() > 4 * weight.min()  # the weight itself jumps from empty to full and back
    f = fleet(Vehicle("t1", "d-t1", "rigid_18t", "diesel_b7"))
    _, r = step(start(f), batch)
    for trip in np.unique(r.emissions["trip_start_ns"]):
        states = r.emissions["load_state"][r.emissions["trip_start_ns"] == trip]
        assert np.count_nonzero(np.diff(states)) <= 1
    final = [LOAD_STATES[s] for s in r.trips["load_state"]]
    assert len(set(final) - {"unknown"}) <= 1


@pytest.mark.parametrize(
    ("vehicle_class", "km", "pauses", "stem"),
    [
        ("rigid_18t", 10.0, 0, False),
        ("rigid_18t", 24.0, 0, False),
        ("rigid_18t", 26.0, 0, True),
        ("rigid_18t", 26.0, 1, True),  # nothing is unloaded from a truck in less than a minute,
        ("van_3.5t", 26.0, 0, True),
        ("van_3.5t", 26.0, 1, False),  # a parcel is
    ],
)
def test_the_way_out_or_home_of_a_tour_is_longer_than_its_hops(
    vehicle_class: str, km: float, pauses: int, stem: bool
) -> None:
    """An area of 20 km radius, 27.8 km from the hub: 0.9 times that, and 1.2 times the radius, are 25.0 and 24 km."""
    places = (Place("hub", "", "warehouse", 50.0, 8.0), Place("area", "", "customer", 50.25, 8.0, 20_000.0))
    f = fleet(
        Vehicle("t1", "d-t1", vehicle_class, "diesel_b7", "tour"),
        routes=(Route("tour", "", "hub", "area", "last_mile"), Route("open", "", "hub", None, "last_mile")),
        places=places,
    )
    state = empty_state(1)[0]
    state["trip_mm"], state["trip_pauses"] = int(km * 1e6), pauses
    assert is_stem(state, f.params[0], f.geography, 0) is stem
    assert is_stem(state, f.params[0], f.geography, 1) is False  # where it ends is not known
    assert is_stem(state, f.params[0], f.geography, -1) is False


def test_a_pause_that_is_no_stop_is_kept_in_mind() -> None:
    f = _fleet()
    parts = (Part(300, 0.0, HUB), Part(120, 60.0), Part(50, 0.0, number=math.nan), Part(120, 60.0))
    state, r = step(start(f), _day(*parts))
    assert np.unique(r.trips["trip_start_ns"]).size == 2  # standing at the hub, then one drive
    assert state.rows["trip_pauses"][0] == 1
    assert state.rows["trip_mm"][0] == pytest.approx(4e6, rel=0.03)


@pytest.mark.parametrize(("gross_kg", "learnt"), [(29_000.0, False), (np.nan, True)])
def test_habit_is_learnt_where_no_scales_say_what_is_aboard(gross_kg: float, learnt: bool) -> None:
    """Six drives of seven minutes and stops of twenty: time to load."""
    v = np.tile(np.concatenate([np.full(420, 60.0), np.zeros(1200)]), 6)
    truck = Vehicle("t", "d-t", "artic_40t", "diesel_b7")
    batch = readings(np.arange(v.size), speed_kmh=v, engine_speed_rpm=np.full(v.size, 900.0), gross_weight_kg=gross_kg)
    state, _ = step(start(fleet(truck)), batch)
    assert (state.rows["turns_loaded"][0] + state.rows["turns_empty"][0] > 0.0) == learnt


@pytest.mark.parametrize("lat", [0.0, 48.0, -65.0])
def test_a_fix_misfits_a_stop_by_its_distance(lat: float) -> None:
    rng = np.random.default_rng(1)
    state = empty_state(1)
    state["stop_lat_deg"], state["stop_lon_deg"] = lat, 11.0
    found = []
    for off_m in (*rng.uniform(0.0, 2.0 * MISFIT_M, 200), MISFIT_M):
        way = rng.uniform(0.0, 2.0 * np.pi)
        there = lat + off_m * np.sin(way) / METRES_PER_DEG
        along = 11.0 + off_m * np.cos(way) / (METRES_PER_DEG * np.cos(np.radians(lat)))
        found.append(misfits(state[0], there, along))
        assert found[-1] == (metres(lat, 11.0, there, along) > MISFIT_M)
        assert found[-1] == (off_m > MISFIT_M) or abs(off_m - MISFIT_M) < 0.5
    assert 50 < sum(found) < 150
    assert not misfits(state[0], np.nan, np.nan)
