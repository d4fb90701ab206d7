"""What a vehicle teaches: bounds, fading, drift and the bias of its rate."""

import math
from typing import Any

import pytest

from stream.learning import (
    DRIFT_ALARM_REL,
    HIGHEST,
    LOWEST,
    drift,
    learn_bias,
    learn_road,
    learn_torque,
    rate_bias,
)
from stream.state import U_CALIBRATED_REL, U_CLASS_REL, StateRows, empty_state


def _teach(state: Any, ratio: float, hours: float, lph: float = 25.0) -> None:
    for _ in range(int(hours * 60)):
        learn_road(state, ratio * lph / 60, lph / 60, 60.0)


def _new() -> StateRows:
    return empty_state(1)


def test_ratio_comes_slowly_and_stays_within_bounds() -> None:
    state = _new()[0]
    _teach(state, 1.2, 0.2)
    assert 1.0 < state["road"]["ratio"] < 1.1
    _teach(state, 1.2, 20)
    assert state["road"]["ratio"] == pytest.approx(1.2, abs=0.02)
    assert state["road"]["u_rel"] == pytest.approx(U_CALIBRATED_REL, abs=0.002)
    assert U_CALIBRATED_REL < U_CLASS_REL
    _teach(state, 5.0, 60)
    assert state["road"]["ratio"] == HIGHEST
    _teach(state, 0.0, 200)
    assert state["road"]["ratio"] == LOWEST


def test_a_piece_is_taken_in_when_it_is_a_minute_long() -> None:
    state = _new()[0]
    for _ in range(59):
        learn_road(state, 1.5, 1.0, 1.0)
    assert state["road"]["ratio"] == 1.0
    learn_road(state, 1.5, 1.0, 1.0)
    assert state["road"]["ratio"] == pytest.approx((10 + 90) / (10 + 60))


def test_torque_learns_faster_since_its_reference_is_one_number() -> None:
    state = _new()[0]
    for _ in range(12):
        learn_torque(state, 0.5 * 1.15, 0.5, 60.0)
    assert state["torque"]["ratio"] == pytest.approx(1.15, abs=0.03)
    assert state["road"]["ratio"] == 1.0


def test_drift_is_unknown_then_one_then_shows_what_changed() -> None:
    state = _new()[0]
    assert math.isnan(drift(state))
    _teach(state, 1.1, 200)
    assert drift(state) == pytest.approx(1.0, abs=1e-6)  # its own past, not the class
    _teach(state, 1.1 * 1.12, 40)
    assert 1 + DRIFT_ALARM_REL < drift(state) < 1.12
    _teach(state, 1.1, 80)
    assert abs(drift(state) - 1) < DRIFT_ALARM_REL


def test_counter_against_rate() -> None:
    state = _new()[0]
    for _ in range(5 * 3600):
        learn_bias(state, 0.0070, 0.0070 * 1.08, 1.0)
    assert rate_bias(state) == pytest.approx(1 / 1.08, rel=1e-6)
    assert math.isnan(rate_bias(_new()[0]))
