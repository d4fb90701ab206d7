"""What evidence says about the load: every source alone, none, and sources that contradict each other."""

import math
from typing import Any

import numpy as np
import pytest

from stream.aboard import mass_log_ratio
from stream.columns import LOAD_STATES
from stream.load_state import P_LOADED, after_stop, decide, forget_load, learn_turn
from stream.mass import ALIKE, forget_mass, start_filter
from stream.places import Place
from stream.state import empty_state
from tests.support import fleet

PLACES = (
    Place("hub", "", "warehouse", 50.0, 8.0),
    Place("depot", "", "depot", 51.0, 8.0),
    Place("shop", "", "customer", 52.0, 8.0),
)
FLEET = fleet(places=PLACES)
P, G = FLEET.params[0], FLEET.geography
HUB, DEPOT, SHOP = range(3)


def _state() -> Any:
    state = empty_state(1)[0]
    forget_mass(state)
    forget_load(state)
    state["p_before"] = P_LOADED
    return state


def _weight(state: Any, kg: float, noise: float = 300.0, n: int = 1800) -> None:
    x = kg - P["tare_kg"]
    state["scales_n"], state["scales_sum"], state["scales_sum2"] = n, n * x, n * (x * x + noise * noise)


def _torque(state: Any, kg: float, sd_kg: float = 500.0) -> None:
    """A mass by torque of many samples that lay from each other as far as was expected."""
    start_filter(state, kg, sd_kg)
    state["can_n"], state["can_taken"], state["can_pulls"] = 80, 200, 10
    state["can_scatter"] = 200 / ALIKE


def _says(state: Any, origin: int = -1, tour: bool = False, stem: bool = False) -> str:
    decide(state, P, G, origin, tour, stem)
    return LOAD_STATES[int(state["load_state"])]


def test_without_evidence_the_state_is_unknown_and_has_no_probability() -> None:
    state = _state()
    assert _says(state) == "unknown"
    assert state["evidence"] == 0
    assert math.isnan(state["load_state_p"])
    assert math.isnan(state["payload_kg"])


@pytest.mark.parametrize(
    ("kg", "said"), [(15_000, "empty"), (15_900, "empty_with_load_units"), (24_000, "partial"), (39_000, "full")]
)
def test_scales_alone(kg: float, said: str) -> None:
    state = _state()
    _weight(state, kg)
    assert _says(state) == said
    assert state["evidence"] == 1
    assert state["load_state_p"] >= 0.8
    if said in ("partial", "full"):
        assert abs(state["payload_kg"] - (kg - 15_000)) < state["payload_u_kg"]


def test_a_very_noisy_weight_says_unknown() -> None:
    state = _state()
    _weight(state, 16_500, noise=5_000.0, n=200)
    assert _says(state) == "unknown"


def test_torque_alone_tells_full_from_empty_but_not_pallets() -> None:
    for kg, said in ((15_000, "empty"), (16_800, "unknown"), (30_000, "partial")):
        state = _state()
        _torque(state, kg)
        assert _says(state) == said
        assert state["evidence"] == 2


@pytest.mark.parametrize(
    ("cargo", "loaded", "none", "said", "bits"),
    [
        (0.0, math.nan, math.nan, "empty", 4),
        (0.0, math.nan, 12.0, "empty_with_load_units", 4),
        (8_000.0, math.nan, math.nan, "partial", 4),
        (24_000.0, math.nan, math.nan, "full", 4),
        (math.nan, 0.0, 20.0, "empty_with_load_units", 64),
        (math.nan, 5.0, 0.0, "partial", 64),
    ],
)
def test_orders_alone(cargo: float, loaded: float, none: float, said: str, bits: int) -> None:
    state = _state()
    state["order_cargo_kg"], state["order_loaded"], state["order_empty"] = cargo, loaded, none
    assert _says(state) == said
    assert state["evidence"] == bits


def test_volume_full_is_full() -> None:
    f = fleet(places=PLACES)
    p = f.params[0]
    p["pallet_positions"] = 33
    state = _state()
    state["order_cargo_kg"], state["order_loaded"] = 5_000.0, 33.0
    decide(state, p, G, -1, False, False)
    assert LOAD_STATES[int(state["load_state"])] == "full"


def test_sources_that_contradict_each_other_say_unknown() -> None:
    state = _state()
    _torque(state, 30_000)
    state["order_cargo_kg"] = 0.0
    assert _says(state) == "unknown"


def test_a_tractor_without_its_trailer_is_empty() -> None:
    state = _state()
    state["coupled"] = 0
    assert _says(state) == "unknown"  # no trailer was ever seen: there may be no switch
    state["coupling_works"] = 1
    assert _says(state) == "empty"
    assert state["evidence"] == 32


def test_places_alone() -> None:
    state = _state()
    state["start_place"] = HUB
    assert _says(state, origin=HUB) == "partial"
    assert _says(state, origin=SHOP) == "unknown"
    state["trip_end_ns"], state["end_lat_deg"], state["start_place"], state["end_place"] = 1, 51.0, SHOP, HUB
    assert _says(state, origin=HUB) == "unknown"  # a trunk route: nobody knows what comes back
    assert _says(state, origin=HUB, tour=True) == "unknown"
    state["end_place"] = SHOP
    state["p_before"] = 0.6
    assert _says(state, origin=HUB, tour=True) == "partial"  # from customer to customer on a tour


def test_on_a_tour_mass_alone_never_says_empty() -> None:
    state = _state()
    _weight(state, 15_000)
    assert _says(state, tour=True) == "unknown"
    state["trip_end_ns"], state["end_lat_deg"], state["end_place"] = 1, 50.0, HUB
    assert _says(state, origin=HUB, tour=True) == "empty"


def test_full_stays_full_within_its_margin() -> None:
    state = _state()
    _weight(state, 15_000 + 0.88 * 25_000)
    assert _says(state) == "partial"
    _weight(state, 15_000 + 0.91 * 25_000)
    assert _says(state) == "full"
    _weight(state, 15_000 + 0.88 * 25_000)
    assert _says(state) == "full"


def _after(p_loaded: float, bits: int, door_works: bool, place: int, long: bool) -> float:
    state = _state()
    state["p_loaded"] = p_loaded
    return after_stop(state, bits, door_works, place, long, False)


def test_a_door_that_stayed_shut_keeps_the_load_and_nothing_known_leads_to_the_prior() -> None:
    opened, seen = 1, 8
    assert _after(0.02, seen, True, -1, True) < 0.05
    assert _after(0.98, seen, True, HUB, True) > 0.95
    assert 0.2 < _after(0.02, opened | seen, True, -1, True) < 0.8
    assert _after(0.5, 0, False, -1, True) == pytest.approx(P_LOADED)
    p = 0.01
    for _ in range(200):
        p = _after(p, 0, False, -1, False)
    assert p == pytest.approx(P_LOADED)


def _turns(loads: list[float], last_mile: bool = False) -> Any:
    """A vehicle whose trips were loaded with these probabilities, each after a long stop."""
    state = _state()
    state["p_last"], state["p_loaded"] = math.nan, loads[0]
    for p in loads[1:]:
        after_stop(state, 0, False, -1, True, last_mile)
        state["p_loaded"] = p
        learn_turn(state)
    return state


def test_what_a_vehicle_does_after_a_load_is_learnt_from_itself() -> None:
    """Out loaded and back empty, day after day: after a load it is empty next, after an empty trip loaded."""
    state = _turns([0.98, 0.02] * 10 + [0.98])
    assert after_stop(state, 0, False, -1, True, False) < 0.35
    state["p_loaded"] = 0.02
    assert after_stop(state, 0, False, -1, True, False) > 0.85  # 0.75 of any vehicle
    always = _turns([0.98] * 20)
    assert after_stop(always, 0, False, -1, True, False) > 0.9
    assert always["turns_loaded"] == pytest.approx(sum(0.98 * (1 - 1 / 60) ** k for k in range(19)))


def test_a_tour_and_a_short_stop_teach_no_habit() -> None:
    assert _turns([0.98, 0.02] * 5, last_mile=True)["turns_loaded"] == 0.0
    state = _state()
    state["p_loaded"] = 0.9
    after_stop(state, 0, False, -1, False, False)
    learn_turn(state)
    assert state["turns_loaded"] == 0.0


def test_more_mass_is_never_more_empty() -> None:
    state = _state()
    for sd in (100.0, 500.0, 2_000.0):
        ratios = np.array([mass_log_ratio(state, kg, sd, 25_000.0, True) for kg in np.linspace(0, 25_000, 200)])
        assert (np.diff(ratios) > -1e-6).all()


def test_on_a_tour_mass_alone_says_empty_only_of_its_way_home() -> None:
    """The last parcels weigh next to nothing; the way home is too long to lie between two of them."""
    for stem, said in ((False, "unknown"), (True, "empty")):
        state = _state()
        _torque(state, 15_000)
        assert _says(state, tour=True, stem=stem) == said


def test_scales_and_torque_count_as_two_measurements_of_one_mass() -> None:
    state = _state()
    _torque(state, 15_000)
    _weight(state, 18_500)
    assert _says(state) == "partial"
    assert 2_500 < state["payload_kg"] < 3_450  # between them, nearer to the more exact one
    assert state["evidence"] == 3
