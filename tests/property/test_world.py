"""Worlds: no cut of time changes a byte; more mass, slope or headwind never costs less."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators import layout as at
from simulators.classes import CLASSES, draw_vehicle
from simulators.fleet import World, build
from simulators.vehicle import choose_gear, move, resistance_n
from tests.small_world import scenario

SECONDS = 600


@settings(max_examples=15)
@given(cuts=st.sets(st.integers(1, SECONDS - 1), max_size=12), threads=st.integers(1, 3))
def test_totals_and_rows_ignore_how_time_is_cut(cuts: set[int], threads: int) -> None:
    def world() -> World:
        return build(scenario(fleet={"count": 3}, congestion=0.4), 4, warmup_s=1800)

    whole = world().advance(SECONDS)
    edges = [0, *sorted(cuts), SECONDS]
    cut = world()
    parts = [cut.advance(b - a, threads=threads) for a, b in pairwise(edges)]
    for side in ("readings", "truth"):
        for name, values in getattr(whole, side).items():
            joined = np.concatenate([getattr(part, side)[name] for part in parts])
            device = np.concatenate([part.readings["device"] for part in parts])
            assert joined[np.argsort(device, kind="stable")].tobytes() == values.tobytes(), name


@settings(max_examples=60)
@given(
    name=st.sampled_from(sorted(CLASSES)),
    kmh=st.floats(5.0, 90.0),
    load=st.floats(0.0, 0.9),
    slope=st.floats(0.0, 0.03),
    wind=st.floats(0.0, 8.0),
    more=st.sampled_from(["load", "slope", "wind", "across"]),
)
def test_more_resistance_never_costs_less(
    name: str, kmh: float, load: float, slope: float, wind: float, more: str
) -> None:
    electric = CLASSES[name].electric
    p = np.array(draw_vehicle(1, "x", vehicle_class=name, fuel="electricity" if electric else "diesel_b7").p)
    states: list[npt.NDArray[np.float64]] = []
    for extra in (0.0, 1.0):
        s = np.zeros(at.N_STATE)
        s[at.S_V], s[at.S_GEAR], s[at.S_SHIFT_HOLD] = kmh / 3.6, 1.0, 0.0
        s[at.S_MASS] = p[at.P_TARE] + (load + (0.1 * extra if more == "load" else 0.0)) * (p[at.P_GVW] - p[at.P_TARE])
        s[at.S_GRADE] = slope + (0.005 * extra if more == "slope" else 0.0)
        s[at.S_WIND_ALONG] = wind + (2.0 * extra if more == "wind" else 0.0)
        s[at.S_WIND_ACROSS] = 3.0 * extra if more == "across" else 0.0
        s[at.S_CRR], s[at.S_RHO], s[at.S_ENGINE_WARM] = p[at.P_CRR], 1.2, 1.0
        s[at.S_AMBIENT_C], s[at.S_CHARGE] = 18.0, 0.5 * p[at.P_BATTERY_J]
        states.append(s)
    assert resistance_n(p, states[1], kmh / 3.6) > resistance_n(p, states[0], kmh / 3.6)
    energy = []
    for s in states:
        gear = 1.0 if electric else float(choose_gear(p, states[0], kmh / 3.6, resistance_n(p, states[0], kmh / 3.6)))
        s[at.S_GEAR], s[at.S_SHIFT_HOLD] = gear, 9.0  # both in the gear that suits the lighter case
        before = s[at.S_FUEL], s[at.S_ENERGY]
        move(s, p, 0.0, 0.1)
        energy.append((s[at.S_FUEL] - before[0]) * p[at.P_J_PER_L] + s[at.S_ENERGY] - before[1])
    assert energy[1] >= energy[0] * (1.0 - 1e-12)
