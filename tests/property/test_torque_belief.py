"""Whatever masses trips have: beliefs stay probabilities, and what a trip added is what is taken out."""

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.aboard import learn_loads
from stream.load_state import learn_turn
from stream.mass import ALIKE, forget_mass, start_filter
from stream.state import empty_state
from stream.torque_scale import MIDDLE, learn_scale, scale_without
from tests.support import fleet

P = fleet().params[0].copy()
P["ref_torque_known"] = 1
TRIPS = st.lists(
    st.tuples(st.floats(9_000.0, 60_000.0), st.floats(0.005, 0.07), st.floats(0.0, 1.0)), min_size=1, max_size=25
)


def _learn(state: Any, kg: float, sd_kg: float, p_loaded: float) -> None:
    start_filter(state, kg, sd_kg)
    state["can_n"], state["can_taken"], state["can_scatter"] = 80, 200, 200 / ALIKE
    learn_scale(state, P, p_loaded)
    learn_loads(state, kg - P["tare_kg"], sd_kg, P["capacity_kg"], p_loaded)
    state["p_last"], state["p_loaded"] = state["p_loaded"], p_loaded
    learn_turn(state)


@settings(deadline=None, max_examples=60)
@given(TRIPS)
def test_beliefs_stay_probabilities(trips: list[tuple[float, float, float]]) -> None:
    state = empty_state(1)[0]
    forget_mass(state)
    for kg, sd_rel, p_loaded in trips:
        _learn(state, kg, sd_rel * kg, p_loaded)
        assert state["loads_seen"].min() >= 0.0
        assert state["loads_seen"].sum() <= 60.0
        assert 0.0 <= state["turns_gone"] <= state["turns_loaded"] + 1e-9
        assert 0.0 <= state["turns_come"] <= state["turns_empty"] + 1e-9
    belief = np.array(state["scale_belief"])
    assert (belief >= 0.0).all()
    if not math.isnan(state["scale_mean"]):
        assert abs(belief.sum() - 1.0) < 1e-9
        reach = MIDDLE * state["scale_step"]  # the grid's: no factor lies beyond, nor can their spread
        assert abs(state["scale_mean"] - 1.0) <= reach
        assert 0.0 <= state["scale_sd"] <= reach


@settings(deadline=None, max_examples=60)
@given(TRIPS, st.floats(13_000.0, 40_000.0), st.floats(0.0, 1.0))
def test_the_newest_trip_can_be_taken_out(
    trips: list[tuple[float, float, float]], newest_kg: float, p_loaded: float
) -> None:
    """But for the fiftieth part of what was known that fades with each trip."""
    state = empty_state(1)[0]
    forget_mass(state)
    start_filter(state, 20_000.0, 300.0)
    learn_scale(state, P, 0.75)
    for kg, sd_rel, p in trips:
        start_filter(state, kg, sd_rel * kg)
        state["can_n"], state["can_taken"], state["can_scatter"] = 80, 200, 200 / ALIKE
        learn_scale(state, P, p)
    if math.isnan(state["scale_mean"]):
        return
    mean, sd = state["scale_mean"], state["scale_sd"]
    start_filter(state, newest_kg, 300.0)
    state["can_n"], state["can_taken"], state["can_scatter"] = 80, 200, 200 / ALIKE
    learn_scale(state, P, p_loaded)
    sd_kg = math.hypot(300.0, 0.01 * newest_kg)
    without = scale_without(state, P, newest_kg, sd_kg, p_loaded)
    assert abs(without[0] - mean) < 0.01
    assert abs(without[1] - sd) < 0.01
