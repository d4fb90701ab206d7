"""The grade filter on hills whose slope is known."""

import math

import numpy as np
import pytest

from stream.grade import BY_FILTER, NO_GRADE, filtered_grade, height_of
from stream.state import empty_state


def _follow(heights: list[float], run_m: float) -> list[float]:
    state = empty_state(1)[0]
    return [filtered_grade(state, h, run_m)[0] for h in heights]


def test_a_long_slope_is_found_and_the_level_after_it() -> None:
    up = [100 + 0.03 * 20 * i for i in range(200)]
    grades = _follow(up + [up[-1]] * 200, 20.0)
    assert grades[199] == pytest.approx(0.03, abs=0.001)
    assert grades[-1] == pytest.approx(0.0, abs=0.001)
    assert grades[:20] == [0.0] * 20  # not told before 600 m were seen


def test_the_sum_over_a_loop_is_its_height() -> None:
    way = np.arange(0, 40_000, 15.0)
    heights = 200 + 30 * np.sin(2 * math.pi * way / 10_000)
    told = np.array(_follow(heights.tolist(), 15.0))
    assert told[way > 1000].sum() * 15.0 == pytest.approx(heights[-1] - heights[way > 1000][0], abs=3.0)


def test_standing_drift_is_no_slope() -> None:
    state = empty_state(1)[0]
    for _ in range(100):
        filtered_grade(state, 100.0, 20.0)
    for i in range(600):
        grade, _ = filtered_grade(state, 100.0 + 0.02 * i, 0.0)
    for _ in range(20):
        grade, source = filtered_grade(state, 112.0, 20.0)
    assert grade == pytest.approx(0.0, abs=1e-4)
    assert source == BY_FILTER


def test_a_jump_starts_anew_and_a_tunnel_fades() -> None:
    state = empty_state(1)[0]
    for i in range(100):
        filtered_grade(state, 100.0 + 0.4 * i, 20.0)
    before, _ = filtered_grade(state, math.nan, 20.0)
    for _ in range(100):
        after, _ = filtered_grade(state, math.nan, 20.0)
    assert 0 < after < 0.4 * before
    assert filtered_grade(state, 140.0, 20.0)[1] == BY_FILTER
    assert filtered_grade(state, 900.0, 20.0) == (0.0, NO_GRADE)


def test_noise_shrinks_what_is_told() -> None:
    rng = np.random.default_rng(2)
    heights = 100 + np.cumsum(rng.normal(0, 0.9, 4000))  # the level, seen by a receiver that wanders
    told = np.array(_follow(heights.tolist(), 20.0))[200:]
    assert np.sqrt((told**2).mean()) < 0.006
    clean = np.array(_follow([100 + 0.01 * 20 * i for i in range(400)], 20.0))
    assert clean[-1] == pytest.approx(0.01, rel=0.02)


def test_heights_that_serve() -> None:
    assert height_of(300.0, 1.0, math.nan) == 300.0
    assert math.isnan(height_of(300.0, 6.0, math.nan))
    assert math.isnan(height_of(math.nan, 1.0, 95.5))  # steps of half a kilopascal are 42 m
    fine = height_of(math.nan, math.nan, 95.52) - height_of(math.nan, math.nan, 95.64)
    assert fine == pytest.approx(10.1, abs=0.3)  # 12 hPa a 100 m near the ground
