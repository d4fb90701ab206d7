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


def _pull_away(
    state: Any,
    mass_kg: float,
    times: int = 4,
    grade: float = 0.0,
    at_ns: int = 10**18,
    cruise_s: int = 0,
    head_ms: float = 0.0,
) -> int:
    """Drive up from 5 to 18 m/s with constant acceleration in one gear, then cruise; the torque follows from forces, not from the code.

    ``head_ms``: headwind.
    """
    g, rho, crr = 9.81, 1.2, float(P["crr"])
    for _ in range(times):
        for k in range(38 + cruise_s):
            a, v = (0.35, 5.0 + 0.35 * k) if k < 38 else (0.0, 18.0)
            rpm = 70.0 * v
            drag = 0.5 * rho * P["cda_m2"] * (v + head_ms) * (v + head_ms)
            force = mass_kg * (P["f_rot"] * a + g * crr + g * grade) + drag
            shaft_w = force * v / 0.96 + P["aux_kw"] * 1000.0
            torque = shaft_w / (rpm * math.pi / 30.0) / P["ref_torque_nm"]
            pct = 100.0 * (torque + 0.04 + 0.05 * rpm / 1500.0)
            at_ns += 1_000_000_000
            can_row(state, P, v, rpm, pct, NAN, NAN, NAN, NAN, False, at_ns)
        at_ns += 60_000_000_000
    return at_ns


@pytest.mark.parametrize("mass_kg", [15_000.0, 26_000.0, 40_000.0])
@pytest.mark.parametrize("cruise_s", [0, 60])
def test_torque_tells_the_mass(mass_kg: float, cruise_s: int) -> None:
    state = _state()
    _pull_away(state, mass_kg, cruise_s=cruise_s)
    mass, sd = can_mass(state)
    assert mass == pytest.approx(mass_kg, rel=0.03)
    assert (
        0.01 * mass < sd < (0.05 if cruise_s else 0.15) * mass
    )  # one road without cruising is one slope of 1 % unknown


def _slopes(cruise_s: int) -> tuple[float, float]:
    """(standard deviation of the masses of 60 trips, mean of what they say it is), each acceleration on a slope of its own, 1 %."""
    rng = np.random.default_rng(3)
    told, said = [], []
    for _ in range(60):
        state = _state()
        at_ns = 10**18
        for grade in rng.normal(0.0, 0.01, 8):
            at_ns = _pull_away(state, 20_000.0, times=1, grade=grade, at_ns=at_ns, cruise_s=cruise_s)
        mass, sd = can_mass(state)
        told.append(mass)
        said.append(sd)
    return float(np.std(told)), float(np.mean(said))


def test_cruising_after_an_acceleration_tells_the_slope_under_it() -> None:
    blind, said_blind = _slopes(0)
    seeing, said = _slopes(60)
    assert seeing < 0.65 * blind
    assert 0.5 * seeing < said < 4.0 * seeing
    assert said < said_blind


def test_a_headwind_all_the_way_is_not_taken_for_mass() -> None:
    """6 m/s against an empty artic: drag alone would read as 2.4 t."""
    state = _state()
    _pull_away(state, 15_000.0, times=8, head_ms=6.0, cruise_s=60)
    assert can_mass(state)[0] == pytest.approx(15_000.0, rel=0.06)
    alone = _state()
    _pull_away(alone, 15_000.0, times=8, head_ms=6.0)
    assert can_mass(alone)[0] > can_mass(state)[0] + 500.0


def test_accelerations_that_disagree_widen_the_error_and_many_that_agree_narrow_it() -> None:
    flat, hilly = _state(), _state()
    _pull_away(flat, 20_000.0, times=40, cruise_s=30)
    at_ns = 10**18
    for k in range(40):
        at_ns = _pull_away(hilly, 20_000.0, times=1, grade=0.03 * (-1) ** k, at_ns=at_ns, cruise_s=30)
    assert can_mass(flat)[1] < 0.02 * 20_000
    assert can_mass(hilly)[1] > 1.5 * can_mass(flat)[1]


def test_known_grade_is_taken_into_account() -> None:
    g = 9.81
    told = []
    for known in (NAN, 0.02):
        state = _state()
        for k in range(38):
            a, v = 0.35, 5.0 + 0.35 * k
            force = 30_000.0 * (P["f_rot"] * a + g * float(P["crr"]) + g * 0.02) + 0.6 * P["cda_m2"] * v * v
            torque = (force * v / 0.96 + P["aux_kw"] * 1000.0) / (70.0 * v * math.pi / 30.0) / P["ref_torque_nm"]
            pct = 100.0 * (torque + 0.04 + 0.05 * 70.0 * v / 1500.0)
            can_row(state, P, v, 70.0 * v, pct, NAN, NAN, NAN, known, False, 10**18 + k * 10**9)
        told.append(can_mass(state)[0])
    assert told[1] == pytest.approx(30_000.0, rel=0.03)
    assert told[0] > 34_000.0


def test_shifts_brakes_and_low_torque_are_no_samples() -> None:
    state = _state()
    for k in range(60):
        v, rpm = 5.0 + 0.2 * k, (900.0 if k % 2 else 1400.0)  # another gear each second
        can_row(state, P, v, rpm, 60.0, NAN, NAN, NAN, NAN, False, 10**18 + k * 10**9)
    for k in range(60):
        can_row(state, P, 5.0 + 0.2 * k, 1200.0, 60.0, NAN, NAN, NAN, NAN, True, 2 * 10**18 + k * 10**9)
    for k in range(60):
        can_row(state, P, 5.0 + 0.2 * k, 60.0 * (5 + 0.2 * k), 10.0, NAN, NAN, NAN, NAN, False, 3 * 10**18 + k * 10**9)
    assert state["can_taken"] == 0


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


def test_a_start_from_coasting_is_no_sample() -> None:
    """Power jumps within the second in which the foot goes down: half of it is not of that acceleration."""
    state = _state()
    for k, v in enumerate((10.0, 9.9, 9.8, 10.3, 10.8)):
        can_row(state, P, v, 70.0 * v, 10.0 if k < 3 else 60.0, NAN, NAN, NAN, NAN, False, 10**18 + k * 10**9)
    assert state["can_n"] == 1


def test_a_mass_below_the_tare_pulls_it_down_step_by_step_and_a_bobtail_does_not() -> None:
    state = _state()
    _weighed(state, 13_500.0)
    learn_tare(state, P, empty=False, sure=False)
    assert 14_600.0 < state["tare_scales_kg"] < 15_000.0
    state = _state()
    _weighed(state, 8_000.0)
    learn_tare(state, P, empty=True, sure=True)
    assert state["tare_scales_n"] == 0
