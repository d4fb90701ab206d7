"""A weight sensor that contradicts the torque over a trip: found, kept, marked, not used; and what an order makes of it."""

import math
from typing import Any

import numpy as np
import pytest

from stream.columns import LOAD_STATES
from stream.fleet import Fleet, Vehicle
from stream.pipeline import Columns, start, step
from tests.event_list import listed
from tests.support import fleet, join, readings, stop_and_go_ms

TRUCK = Vehicle("t1", "d-t1", "artic_40t", "diesel_b7", tare_kg=15_000.0, ref_torque_nm=2_300.0)
SCALES_BIT, TORQUE_BIT = 1, 2


def _trip(
    among: Fleet,
    true_kg: float,
    scales_kg: float,
    *,
    begin_s: float = 0.0,
    seq0: int = 0,
    torque: float = 1.0,
    cargo_kg: float = math.nan,
) -> Columns:
    """A reading a second; the torque follows from the forces on ``true_kg``, times ``torque`` for an engine that tells it wrong."""
    p = among.params[0]
    v = stop_and_go_ms()
    before = np.concatenate([[0.0], v[:-1]])
    a, middle = v - before, 0.5 * (v + before)
    rpm = np.maximum(600.0, 70.0 * v)
    force = true_kg * (p["f_rot"] * a + 9.81 * p["crr"] * (middle > 0)) + 0.6 * p["cda_m2"] * middle**2
    shaft_w = np.maximum(force, 0.0) * middle / 0.93 + p["aux_kw"] * 1000.0
    share = shaft_w / (np.maximum(rpm, 600.0) * math.pi / 30.0) / p["ref_torque_nm"]
    noise = np.random.default_rng(5).normal(0.0, 400.0, v.size)
    return readings(
        begin_s + np.arange(v.size),
        seq0=seq0,
        speed_kmh=v * 3.6,
        engine_speed_rpm=rpm,
        engine_torque_pct=100.0 * (share * torque + 0.04 + 0.05 * rpm / 1500.0),
        gross_weight_kg=scales_kg + noise,
        cargo_kg=np.full(v.size, cargo_kg),
    )


def _weights(events: Columns) -> list[tuple[str, float]]:
    return [(e["chosen"], e["amount"]) for e in listed(events) if e["kind"] == "weight_conflict"]


def _last(trips: Columns) -> dict[str, Any]:
    return {name: column[-1] for name, column in trips.items()}


@pytest.mark.parametrize(
    ("true_kg", "scales_kg", "state"),
    [(30_000.0, 38_000.0, "partial"), (30_000.0, 22_000.0, "partial"), (15_000.0, 36_000.0, "empty")],
)
def test_scales_that_contradict_the_torque_are_kept_and_marked_and_not_used(
    true_kg: float, scales_kg: float, state: str
) -> None:
    among = fleet(TRUCK)
    batch = _trip(among, true_kg, scales_kg)
    _, r = step(start(among), batch)
    ((chosen, ratio),) = _weights(r.events)
    assert chosen == "can_mass"
    assert ratio == pytest.approx(scales_kg / true_kg, rel=0.05)
    trip = _last(r.trips)
    assert trip["evidence"] & TORQUE_BIT
    assert not trip["evidence"] & SCALES_BIT
    assert LOAD_STATES[trip["load_state"]] == state
    assert abs(trip["payload_kg"] - (true_kg - 15_000.0)) <= trip["payload_u_kg"]
    assert (r.readings["gross_weight_kg"] == batch["gross_weight_kg"]).all()


@pytest.mark.parametrize(("true_kg", "scales_kg"), [(15_000.0, 15_000.0), (30_000.0, 31_500.0), (39_000.0, 37_500.0)])
def test_scales_within_their_errors_are_no_case(true_kg: float, scales_kg: float) -> None:
    among = fleet(TRUCK)
    _, r = step(start(among), _trip(among, true_kg, scales_kg))
    assert _weights(r.events) == []
    assert _last(r.trips)["evidence"] & (SCALES_BIT | TORQUE_BIT) == SCALES_BIT | TORQUE_BIT


def test_a_torque_that_is_wrong_does_not_outdo_scales_that_an_order_bears_out() -> None:
    among = fleet(TRUCK)
    _, r = step(start(among), _trip(among, 22_000.0, 22_000.0, torque=1.5, cargo_kg=7_000.0))
    assert {chosen for chosen, _ in _weights(r.events)} == {"weight"}
    trip = _last(r.trips)
    assert trip["evidence"] & SCALES_BIT
    assert not trip["evidence"] & TORQUE_BIT


def test_a_mass_by_torque_that_is_wrong_is_not_averaged_in_and_teaches_nothing() -> None:
    among = fleet(TRUCK)
    first = _trip(among, 22_000.0, 22_000.0, torque=1.5, cargo_kg=7_000.0)
    first["cargo_kg"][-300:] = np.nan  # what is heard at the stop is of the next load
    state, r = step(start(among), first)
    assert state.rows["mass_kg"][0] == pytest.approx(22_000.0, rel=0.005)
    assert np.isnan(state.rows["scale_mean"][0])
    # on the next trip the order says nothing: the scales alone still tell the load
    n = r.readings["seq"].size
    batch = _trip(among, 30_000.0, 30_000.0, torque=1.5, begin_s=float(n), seq0=n)
    state, r = step(state, batch)
    assert state.rows["mass_kg"][0] == pytest.approx(30_000.0, rel=0.01)


def test_the_case_ends_when_a_trip_agrees_again_and_the_scales_are_used() -> None:
    among = fleet(TRUCK)
    first = _trip(among, 30_000.0, 38_000.0)
    n = first["seq"].size
    _, r = step(start(among), join(first, _trip(among, 30_000.0, 30_000.0, begin_s=float(n), seq0=n)))
    assert [chosen for chosen, _ in _weights(r.events)] == ["can_mass", "none"]
    newest = r.trips["trip_start_ns"].max()
    last = int(np.flatnonzero(r.trips["trip_start_ns"] == newest)[-1])
    assert r.trips["evidence"][last] & SCALES_BIT


def test_bad_scales_teach_no_tare() -> None:
    among = fleet(TRUCK)
    state, _ = step(start(among), _trip(among, 15_000.0, 10_700.0))
    assert state.rows["tare_scales_n"][0] == 0
    assert state.rows["scale_mean"][0] == pytest.approx(1.0, abs=0.03)
