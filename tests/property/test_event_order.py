"""Events are a function of the readings: the same rows for any split, order and copies, with the JIT on or off."""

import itertools
import os
import subprocess
import sys
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.columns import UNKNOWN
from stream.fleet import Vehicle, Warehouse
from stream.pipeline import Columns, start, step
from tests.support import ROOT, fleet, join, readings, rows, sorted_bytes

FLEET = fleet(
    Vehicle("a", "d-a", "artic_40t", "diesel_b7", tank_l=600.0),
    Vehicle("b", "d-b", "bev_van_3.5t", "electricity", grid_zone="uk", battery_kwh=80.0),
    Vehicle("c", "d-c", "artic_40t", "lng", tank_l=900.0),
    warehouses=(Warehouse("w", "d-w", "W", 50.0, 8.0, "uk"),),
)
KEYS = ("asset", "time_ns", "kind")


def eventful(seed: int, device: int, n: int) -> Columns:
    """A drive on which everything happens: wild speeds, stops, jumps, levels that come and go, counters that fall, gaps."""
    rng = np.random.default_rng(seed)
    t = np.cumsum(
        rng.choice([0.2, 1.0, 1.0, 1.0, 1.0, 8.0, 130.0, 4000.0], n, p=[0.1, 0.2, 0.2, 0.2, 0.2, 0.07, 0.02, 0.01])
    )
    v = np.clip(60 + np.cumsum(rng.normal(0, 8, n)), 0, 105) * (rng.random(n // 20 + 1) > 0.4).repeat(20)[:n]
    lat = 50 + np.cumsum(v) * 1e-6
    lat[rng.random(n) < 0.02] += 3.0
    level = np.clip(60 + np.cumsum(rng.choice([0.0, -0.02, 12.0, -9.0], n, p=[0.6, 0.36, 0.02, 0.02])), 0, 100)
    total = np.cumsum(rng.uniform(0, 0.01, n)) * (rng.random(n) > 0.01)

    def gaps(x: np.ndarray) -> np.ndarray:
        return np.where(rng.random(n) < 0.1, np.nan, x)

    return readings(
        t,
        device=device,
        lat_deg=gaps(lat),
        lon_deg=np.full(n, 8.0),
        hdop=gaps(rng.uniform(0.7, 4, n)),
        speed_kmh=gaps(v * rng.choice([1.0, 1.4])),
        gps_speed_kmh=gaps(v),
        odometer_m=gaps(np.floor(np.cumsum(v / 3.6))),
        engine_speed_rpm=gaps(np.where(rng.random(n) < 0.9, 700.0, 0.0)),
        fuel_level_pct=gaps(level),
        battery_soc_pct=gaps(level),
        fuel_total_hr_l=gaps(total),
        fuel_total_l=gaps(np.floor(total * 2) / 2),
        gross_weight_kg=gaps(np.full(n, 38_000.0)),
        cargo_kg=gaps(np.full(n, 9_000.0)),
        refrigerant_topup_total_kg=gaps(np.floor(np.cumsum(rng.random(n)) / 30)),
    )


def _events(parts: list[Columns]) -> tuple[bytes, int, bytes]:
    state = start(FLEET)
    found: list[Columns] = []
    for part in parts:
        state, r = step(state, part)
        found.append(r.events)
    events = join(*found)
    keys = set(zip(*(events[k].tolist() for k in KEYS), strict=True))
    assert len(keys) == events["kind"].size, "asset, time and kind name an event"
    return sorted_bytes(events, KEYS), events["kind"].size, state.to_bytes()


def world(seed: int, n: int) -> Columns:
    """One drive of each of the four devices."""
    return join(*(eventful(seed + d, d, n) for d in range(4)))


trips = st.tuples(st.integers(0, 2**32 - 1), st.integers(60, 400)).map(lambda x: world(*x))


@settings(max_examples=40)
@given(trips, st.lists(st.integers(0, 1600), max_size=5), st.randoms(use_true_random=False))
def test_split_shuffle_and_copies_change_no_event(batch: Columns, cuts: list[int], random: Random) -> None:
    n = batch["seq"].size
    whole = _events([batch])
    bounds = sorted({0, n, *(c % (n + 1) for c in cuts)})
    assert _events([rows(batch, slice(a, b)) for a, b in itertools.pairwise(bounds)]) == whole
    order = list(range(n))
    random.shuffle(order)
    copies = order + random.sample(order, n // 3)
    shuffled = [rows(batch, np.array(copies[i : i + 61], dtype=np.int64)) for i in range(0, len(copies), 61)]
    assert _events(shuffled) == whole


@settings(max_examples=40)
@given(trips)
def test_events_end_after_they_begin_and_explain_no_negative_fuel(batch: Columns) -> None:
    _, r = step(start(FLEET), batch)
    e = r.events
    assert (e["end_ns"] >= e["time_ns"]).all()
    assert (e["explained_nl"][e["explained_nl"] != UNKNOWN] >= 0).all()
    assert not np.isnan(e["amount"]).any()


def test_many_kinds_happen_here() -> None:
    _, r = step(start(FLEET), join(*(eventful(s, s % 4, 400) for s in range(4))))
    assert len(set(r.events["kind"].tolist())) >= 6


def test_events_do_not_depend_on_the_jit() -> None:
    script = (
        "import sys; from tests.property.test_event_order import _events, world;"
        "b, n, s = _events([world(5, 120)]); sys.stdout.write(b.hex() + ' ' + str(n) + ' ' + s.hex())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    b, n, s = _events([world(5, 120)])
    assert n > 0
    assert ran.stdout == f"{b.hex()} {n} {s.hex()}"
