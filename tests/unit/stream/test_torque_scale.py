"""By which factor the torque is wrong: learnt from drawn trips of a vehicle whose factor is known, and taken out again."""

import math
from typing import Any

import numpy as np
import pytest

from stream.mass import ALIKE, can_tare, forget_mass, start_filter
from stream.state import empty_state
from stream.torque_scale import learn_scale, open_belief, scale_without
from tests.support import fleet

P = fleet().params[0].copy()
P["ref_torque_known"] = 1
TARE = 15_000.0


def _state() -> Any:
    state = empty_state(1)[0]
    forget_mass(state)
    return state


def _trip(state: Any, kg: float, sd_kg: float = 300.0, p_loaded: float = 0.75) -> None:
    start_filter(state, kg, sd_kg)
    state["can_n"], state["can_taken"], state["can_scatter"] = 80, 200, 200 / ALIKE
    learn_scale(state, P, p_loaded)


def test_the_prior_is_the_registry_s_tare() -> None:
    state = _state()
    assert can_tare(state, P) == pytest.approx((TARE, 0.04 * TARE))
    open_belief(state, P)
    mean, sd = scale_without(state, P, math.nan, math.nan, math.nan)
    assert mean == pytest.approx(1.0)
    assert sd == pytest.approx(0.04, rel=0.01)


@pytest.mark.parametrize("true_factor", [0.93, 0.97, 1.0, 1.04])
def test_the_factor_is_found_without_knowing_what_was_aboard(true_factor: float) -> None:
    """Fourteen trips of a shuttle: loaded out, back with nothing, with cages, or with goods; masses to 2 %."""
    rng = np.random.default_rng(7)
    state = _state()
    for k in range(14):
        aboard = rng.uniform(8_000, 24_000) if k % 2 == 0 else rng.choice([0.0, 0.0, 700.0, 4_000.0])
        _trip(state, true_factor * (TARE + aboard) * rng.normal(1.0, 0.015))
    tare, sd = can_tare(state, P)
    assert abs(tare / TARE - true_factor) < 2.5 * sd / TARE
    assert sd / TARE < 0.025


def test_an_order_tells_the_factor_at_any_load() -> None:
    state = _state()
    for cargo in (20_000.0, 9_000.0, 0.0):
        state["order_cargo_kg"] = cargo
        _trip(state, 0.95 * (TARE + cargo))
    assert can_tare(state, P)[0] == pytest.approx(0.95 * TARE, rel=0.006)


def test_what_a_trip_has_added_can_be_taken_out_again() -> None:
    known, judged = _state(), _state()
    for kg in (15_600.0, 30_000.0):
        _trip(known, kg)
        _trip(judged, kg)
    _trip(judged, 14_300.0, 250.0, 0.4)
    assert judged["scale_mean"] < known["scale_mean"] - 0.01
    without = scale_without(judged, P, 14_300.0, math.sqrt(250.0**2 + 143.0**2), 0.4)
    assert without == pytest.approx((known["scale_mean"], known["scale_sd"]), abs=0.004)  # but for what has faded


def test_a_bobtail_a_poor_mass_and_no_mass_teach_nothing() -> None:
    state = _state()
    _trip(state, 8_000.0)
    _trip(state, 15_000.0, sd_kg=2_000.0)
    forget_mass(state)
    learn_scale(state, P, 0.5)
    assert math.isnan(state["scale_mean"])


def test_one_trip_that_is_far_off_does_not_undo_many() -> None:
    state = _state()
    for _ in range(8):
        _trip(state, 15_000.0, p_loaded=0.1)
    before = float(state["scale_mean"])
    _trip(state, 12_600.0)  # 16 % below: rain, or another trailer
    assert state["scale_mean"] == pytest.approx(before, abs=0.015)


def test_a_reference_torque_that_becomes_known_begins_anew() -> None:
    guessed = P.copy()
    guessed["ref_torque_known"] = 0
    state = _state()
    open_belief(state, guessed)
    assert state["scale_step"] == pytest.approx(0.10 / 4)
    state["ref_torque_nm"] = 2_300.0
    open_belief(state, guessed)
    assert state["scale_step"] == pytest.approx(0.04 / 4)
