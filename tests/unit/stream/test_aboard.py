"""What a mass aboard says: densities that are ones, and a vehicle's own loads learnt from trips that are known."""

import math
from typing import Any

import numpy as np
import pytest

from stream.aboard import LOAD_EDGES, goods_density, learn_loads, mass_log_ratio, none_density, usual_share
from stream.state import empty_state

CAPACITY = 25_000.0


def _state() -> Any:
    return empty_state(1)[0]


@pytest.mark.parametrize("sd", [100.0, 900.0])
def test_both_densities_are_densities(sd: float) -> None:
    state = _state()
    x = np.arange(-8_000.0, 40_000.0, 20.0)
    assert sum(none_density(v, sd, CAPACITY) for v in x) * 20.0 == pytest.approx(1.0, abs=1e-3)
    inside = x[x <= CAPACITY]  # above its capacity a vehicle is as loaded as at it
    expected = 1.0 - usual_share(5) * 0.05 / 0.3
    assert sum(goods_density(state, v, sd, CAPACITY) for v in inside) * 20.0 == pytest.approx(expected, abs=0.02)


def test_the_usual_shares_are_those_of_a_rising_density() -> None:
    low, high = LOAD_EDGES[0], LOAD_EDGES[-1]
    drawn = np.random.default_rng(2).random((400_000, 2))
    rising = np.where(drawn[:, 0] < 0.5, drawn[:, 1], np.sqrt(drawn[:, 1]))  # half even, half with density 2 x
    counted, _ = np.histogram(low + rising * (high - low), LOAD_EDGES)
    assert [usual_share(k) for k in range(6)] == pytest.approx(list(counted / 400_000), abs=0.004)


def test_a_vehicle_that_often_carries_light_goods_is_believed_to() -> None:
    """2 t on an artic weighed to 500 kg: heavy cages or a light load. Ten trips with two tonnes speak for a load, ten full ones do not."""
    light, heavy = _state(), _state()
    for _ in range(10):
        learn_loads(light, 2_000.0, 100.0, CAPACITY, 1.0)
        learn_loads(heavy, 22_000.0, 100.0, CAPACITY, 1.0)
    ratios = [mass_log_ratio(s, 1_700.0, 500.0, CAPACITY, False) for s in (heavy, _state(), light)]
    assert ratios == sorted(ratios)
    assert ratios[2] - ratios[1] > 1.0
    assert (
        len({mass_log_ratio(s, 1_700.0, 500.0, CAPACITY, True) for s in (heavy, _state(), light)}) == 1
    )  # scales know


def test_a_trip_counts_by_its_probability_of_goods_in_the_bands_its_mass_allows() -> None:
    state = _state()
    learn_loads(state, 10_000.0, 100.0, CAPACITY, 0.7)  # 40 % of capacity
    assert list(state["loads_seen"]) == pytest.approx([0, 0, 0, 0.7, 0, 0], abs=1e-6)
    learn_loads(state, 12_500.0, 300.0, CAPACITY, 1.0)  # on the edge of two bands
    assert state["loads_seen"][4] > 0.3
    assert state["loads_seen"].sum() == pytest.approx(0.7 * (1 - 1 / 60) + 1.0)
    for _ in range(1_000):
        learn_loads(state, 10_000.0, 100.0, CAPACITY, 1.0)
    assert state["loads_seen"].sum() == pytest.approx(60.0, rel=1e-3)  # trips that are remembered


def test_a_mass_far_off_everything_is_finite() -> None:
    state = _state()
    for kg in (-1e5, 0.0, 1e6):
        assert math.isfinite(mass_log_ratio(state, kg, 10.0, CAPACITY, False))
        learn_loads(state, kg, 10.0, CAPACITY, 0.5)
    assert np.isfinite(state["loads_seen"]).all()
