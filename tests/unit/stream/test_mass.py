"""Mass by torque and by scales on made-up drives whose mass is known; learning of the tare."""

import math
from typing import Any

import numpy as np
import pytest

from stream.mass import (
    SAMPLE_NS,
    can_mass,
    can_row,
    forget_mass,
    learn_tare,
    scales_mass,
    scales_row,
    tare_drift,
    tare_of,
)
from stream.state import empty_state
from tests.support import fleet

FLEET = fleet()
P = FLEET.params[0]
NAN = math.nan


def _state() -> Any:
    state = empty_state(1)[0]
    forget_mass(state)
    return state


def _pull_away(state: Any, mass_kg: float, times: int = 4, grade: float = 0.0, at_ns: int = 10**18) -> int:
    """Drive up from 5 to 18 m/s with constant acceleration in one gear; the torque follows from forces, not from the code."""
    g, rho, crr = 9.81, 1.2, float(P["crr"])
    for _ in range(times):
        for k in range(40):
            a, v = 0.35, 5.0 + 0.35 * k
            if v > 18.0:
                a = 0.0
            rpm = 70.0 * v
            force = mass_kg * (P["f_rot"] * a + g * crr + g * grade) + 0.5 * rho * P["cda_m2"] * v * v
            shaft_w = force * v / 0.93 + P["aux_kw"] * 1000.0
            torque = shaft_w / (rpm * math.pi / 30.0) / P["ref_torque_nm"]
            pct = 100.0 * (torque + 0.04 + 0.05 * rpm / 1500.0)
            at_ns += 1_000_000_000
            can_row(state, P, min(v, 18.0), rpm, pct, NAN, NAN, NAN, NAN, False, at_ns)
        at_ns += 60_000_000_000
    return at_ns


@pytest.mark.parametrize("mass_kg", [15_000.0, 26_000.0, 40_000.0])
def test_torque_tells_the_mass(mass_kg: float) -> None:
    state = _state()
    _pull_away(state, mass_kg)
    mass, sd = can_mass(state)
    assert mass == pytest.approx(mass_kg, rel=0.03)
    assert 0.03 * mass < sd < 0.08 * mass


def test_accelerations_that_disagree_widen_the_error_and_many_that_agree_narrow_it() -> None:
    """The standard deviation against that of estimates over many trips, each acceleration on a slope of its own."""
    rng = np.random.default_rng(3)
    told, said = [], []
    for _ in range(60):
        state = _state()
        at_ns = 10**18
        for grade in rng.normal(0.0, 0.01, 8):
            at_ns = _pull_away(state, 20_000.0, times=1, grade=grade, at_ns=at_ns)
        mass, sd = can_mass(state)
        told.append(mass)
        said.append(sd)
    assert np.mean(said) == pytest.approx(np.std(told), rel=0.35)
    flat = _state()
    _pull_away(flat, 20_000.0, times=40)
    assert can_mass(flat)[1] < 0.03 * 20_000 < np.mean(said)


def test_known_grade_is_taken_into_account_and_unknown_grade_costs_what_it_must() -> None:
    state = _state()
    _pull_away(state, 30_000.0, grade=0.01)
    blind, _ = can_mass(state)
    assert blind == pytest.approx(30_000 * (1 + 0.0981 / (0.35 * 1.04 + 9.81 * 0.0055)), rel=0.03)  # g grade / phi


def test_shifts_brakes_and_low_torque_are_no_samples() -> None:
    state = _state()
    for k in range(60):
        v, rpm = 5.0 + 0.2 * k, (900.0 if k % 2 else 1400.0)  # another gear each second
        can_row(state, P, v, rpm, 60.0, NAN, NAN, NAN, NAN, False, 10**18 + k * 10**9)
    for k in range(60):
        can_row(state, P, 5.0 + 0.2 * k, 1200.0, 60.0, NAN, NAN, NAN, NAN, True, 2 * 10**18 + k * 10**9)
    for k in range(60):
        can_row(state, P, 5.0 + 0.2 * k, 60.0 * (5 + 0.2 * k), 10.0, NAN, NAN, NAN, NAN, False, 3 * 10**18 + k * 10**9)
    assert state["can_n"] == 0


def test_ten_readings_a_second_are_one_sample_a_second() -> None:
    state = _state()
    for k in range(100):
        scales_row(state, P["tare_kg"], P["gvw_kg"], 20_000.0, 20.0, 10**18 + k * 10**8)
    assert state["scales_n"] == 10
    assert SAMPLE_NS < 10**9


def test_scales_are_low_passed_and_sure_with_time() -> None:
    rng = np.random.default_rng(1)
    state = _state()
    told = []
    for k in range(7200):
        scales_row(state, P["tare_kg"], P["gvw_kg"], 30_000.0 + rng.normal(0, 900), 20.0, 10**18 + k * 10**9)
        if k in (28, 29, 7199):
            told.append(scales_mass(state, P["tare_kg"]))
    assert math.isnan(told[0][0])
    assert told[1][1] > 2.5 * told[2][1]
    assert told[2][0] == pytest.approx(30_000, rel=0.005)
    scales_row(state, P["tare_kg"], P["gvw_kg"], 500_000.0, 20.0, 2 * 10**18)
    scales_row(state, P["tare_kg"], P["gvw_kg"], 20_000.0, 0.0, 3 * 10**18)  # standing: it may be half unloaded
    assert state["scales_n"] == 7200


def _weighed(state: Any, kg: float) -> None:
    forget_mass(state)
    for _k in range(1200):
        scales_row(state, P["tare_kg"], P["gvw_kg"], kg, 20.0, int(state["scales_ns"]) + 10**9)


def test_tare_is_learnt_from_empty_trips_only_and_a_drift_is_told() -> None:
    state = _state()
    for _ in range(4):
        _weighed(state, 15_900.0)
        learn_tare(state, P, empty=False, sure=False)
    assert state["tare_scales_n"] == 0
    for n in range(8):
        _weighed(state, 15_900.0)
        learn_tare(state, P, empty=False, sure=True)
        assert math.isnan(tare_drift(state, P)) == (n < 4)
    tare, sd = tare_of(state["tare_scales_kg"], int(state["tare_scales_n"]), 15_000.0, 0.02, 0.006)
    assert tare == pytest.approx(15_900, rel=0.004)  # the registry still counts for half a trip
    assert sd < 0.01 * tare
    assert tare_drift(state, P) == pytest.approx(900, rel=0.07)


def test_a_mass_below_the_tare_pulls_it_down_step_by_step_and_a_bobtail_does_not() -> None:
    state = _state()
    _weighed(state, 13_500.0)
    learn_tare(state, P, empty=False, sure=False)
    assert 14_600.0 < state["tare_scales_kg"] < 15_000.0
    state = _state()
    _weighed(state, 8_000.0)
    learn_tare(state, P, empty=True, sure=True)
    assert state["tare_scales_n"] == 0
