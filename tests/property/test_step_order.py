"""Promise 2: results are a function of the readings, not of their journey."""

import itertools
import os
import subprocess
import sys
from collections import Counter
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.columns import ROLLUP, UNKNOWN
from stream.fleet import Route, Vehicle, Warehouse
from stream.pipeline import Columns, start, step
from stream.places import Place
from stream.regions import Region
from stream.table import TRIP_SUMS
from tests.support import ROOT, fleet, join, readings, rows, sorted_bytes

FLEET = fleet(
    Vehicle("a", "d-a", "artic_40t", "diesel_b7", tru_refrigerant="r452a"),
    Vehicle("b", "d-b", "bev_van_3.5t", "electricity", grid_zone="uk"),
    Vehicle("c", "d-c", "artic_40t", "lng"),
    warehouses=(
        Warehouse("w", "d-w", "W", 50.0, 8.0, "uk", refrigerant="r404a", heat_factor_kg_per_kwh=0.17, heat_source="x"),
    ),
    routes=(Route("r", "R", "w", "shop", "trunk", number=2),),
    places=(Place("shop", "Shop", "customer", 50.01, 8.0, 400.0),),
    regions=(
        Region("south", "S", "POLYGON ((7 49, 9 49, 9 50.005, 7 50.005, 7 49))"),
        Region("north", "N", "POLYGON ((7 50.005, 9 50.005, 9 51, 7 51, 7 50.005))"),
    ),
)
KEYS = ("device", "boot_id", "seq")
ROLLUP_KEYS = ("asset", "minute_ns", "route", "region", "trip_start_ns", "load_state")
TRIP_KEYS = ("device", "trip_start_ns", "version")
SUMS = tuple(
    c.name for c in ROLLUP if c.dtype == "int64" and not c.name.startswith(("newest_", "minute_ns", "trip_start"))
)


def _trip(seed: int, device: int, n: int) -> Columns:
    rng = np.random.default_rng(seed)
    t = np.cumsum(rng.choice([0.5, 1.0, 1.0, 1.0, 5.0, 200.0], n))
    v = np.clip(50 + np.cumsum(rng.normal(0, 3, n)), 0, 90) * np.repeat(rng.random(n // 5 + 1) < 0.7, 5)[:n]
    used = np.cumsum(rng.uniform(0, 0.01, n))

    def gaps(x: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.where(rng.random(n) < 0.2, np.nan, x)

    return readings(
        t,
        device=device,
        speed_kmh=gaps(v),
        odometer_m=gaps(np.floor(np.cumsum(v / 3.6))),
        fuel_total_hr_l=gaps(np.floor(used * 1000) / 1000),
        fuel_total_l=gaps(np.floor(used * 2) / 2),
        fuel_rate_lph=gaps(rng.uniform(0, 30, n)),
        gas_total_kg=gaps(np.floor(used * 2) / 2),
        battery_energy_total_kwh=gaps(used),
        gross_weight_kg=gaps(rng.choice([15_000.0, 31_000.0]) + rng.normal(0, 500, n)),
        cargo_kg=gaps(np.full(n, rng.choice([0.0, 9_000.0]))),
        tru_fuel_total_l=gaps(np.floor(used * 10) / 10),
        adblue_total_l=gaps(np.floor(used * 2) / 2),
        refrigerant_topup_total_kg=gaps(np.cumsum(rng.random(n) < 0.05) * 1.5),
        engine_speed_rpm=gaps(np.where(rng.random(n) < 0.8, 900.0, 0.0)),
        switches=gaps(rng.integers(0, 128, n).astype(float)),
        grid_import_kwh=gaps(used * 10),
        grid_export_kwh=gaps(used * 3),
        pv_kwh=gaps(used * 4),
        gas_kwh_gross=gaps(used),
        genset_fuel_total_l=gaps(used / 5),
        heat_kwh=gaps(used),
        forklift_kwh=gaps(used),
        goods_out_total_kg=gaps(np.cumsum(rng.random(n) < 0.1) * 500.0),
        pallets_in_total=gaps(np.cumsum(rng.random(n) < 0.1)),
        pallets_out_total=gaps(np.cumsum(rng.random(n) < 0.1)),
        pallets_stored=gaps(rng.integers(0, 5000, n).astype(float)),
        engine_torque_pct=gaps(rng.uniform(0, 100, n)),
        alt_m=gaps(100 + np.cumsum(rng.normal(0, 1, n))),
        hdop=gaps(rng.choice([0.8, 1.0, 5.0], n)),
        baro_kpa=gaps(rng.choice([99.5, 99.51], n)),
        ambient_temp_c=gaps(np.round(rng.normal(2, 2, n), 1)),
        route_number=gaps(rng.integers(0, 4, n).astype(float)),
        lat_deg=gaps(50.0 + np.cumsum(v / 3.6) / 111_195),
        lon_deg=gaps(np.full(n, 8.0)),
        wind_speed_ms=gaps(rng.uniform(0, 9, n)),
        wind_from_deg=gaps(rng.uniform(0, 360, n)),
        heading_deg=gaps(rng.uniform(0, 360, n)),
        precipitation_mm_h=gaps(rng.choice([0.0, 0.4, 3.0], n)),
        road_iri_m_per_km=gaps(rng.uniform(1, 6, n)),
        grade_pct=np.where(rng.random(n) < 0.7, np.nan, rng.normal(0, 2, n)),
        pto_power_kw=np.where(rng.random(n) < 0.8, np.nan, rng.uniform(0, 30, n)),
        fuel_level_pct=gaps(60 - used),
        battery_soc_pct=gaps(rng.uniform(50, 100, n)),
    )


def _results(parts: list[Columns]) -> tuple[bytes, dict[tuple[int, ...], tuple[int, ...]], bytes, bytes]:
    """Emission rows, sums by their keys, versions of trips, final state."""
    state = start(FLEET)
    emissions: list[Columns] = []
    trips: list[Columns] = []
    sums: dict[tuple[int, ...], tuple[int, ...]] = {}
    for part in parts:
        state, r = step(state, part)
        emissions.append(r.emissions)
        trips.append(r.trips)
        for i in range(r.rollups["readings"].size):
            key = tuple(int(r.rollups[k][i]) for k in ROLLUP_KEYS)
            old = sums.get(key, (0,) * len(SUMS))
            sums[key] = tuple(o + int(r.rollups[s][i]) for o, s in zip(old, SUMS, strict=True))
    return sorted_bytes(join(*emissions), KEYS), sums, sorted_bytes(join(*trips), TRIP_KEYS), state.to_bytes()


trips = st.tuples(st.integers(0, 2**32 - 1), st.integers(5, 60)).map(
    lambda x: join(*(_trip(x[0] + d, d, x[1]) for d in range(4)))
)


@settings(max_examples=60)
@given(trips, st.lists(st.integers(0, 240), max_size=5), st.randoms(use_true_random=False))
def test_split_shuffle_and_copies_change_nothing(batch: Columns, cuts: list[int], random: Random) -> None:
    n = batch["seq"].size
    whole = _results([batch])
    bounds = sorted({0, n, *(c % (n + 1) for c in cuts)})
    split = [rows(batch, slice(a, b)) for a, b in itertools.pairwise(bounds)]
    assert _results(split) == whole
    order = list(range(n))
    random.shuffle(order)
    copies = order + random.sample(order, n // 3)
    shuffled = [rows(batch, np.array(copies[i : i + 17], dtype=np.int64)) for i in range(0, len(copies), 17)]
    assert _results(shuffled) == whole


@settings(max_examples=40)
@given(trips)
def test_fuel_and_distance_are_never_negative(batch: Columns) -> None:
    _, r = step(start(FLEET), batch)
    for name in ("fuel_nl", "fuel_gas_ug", "distance_mm"):
        known = r.emissions[name][r.emissions[name] != UNKNOWN]
        assert (known >= 0).all()


def test_rows_that_came_too_early_wait() -> None:
    batch = readings(np.arange(10), fuel_total_hr_l=np.arange(10) * 0.01)
    state, r = step(start(FLEET), rows(batch, slice(5, 10)))
    assert (r.accepted, r.waiting) == (0, 5)
    state, r = step(state, rows(batch, slice(0, 5)))
    assert (r.accepted, r.waiting, r.duplicates) == (10, 0, 0)
    assert state.rows["next_seq"][0] == 10


@settings(max_examples=60)
@given(trips, st.integers(1, 50))
def test_trips_hold_exactly_what_the_rollups_hold(batch: Columns, cut: int) -> None:
    """The last version of a trip that another one follows has the sums of its rollups; the running one has them in the state."""
    state, held = start(FLEET), Counter[tuple[int, int, str]]()
    told: dict[tuple[int, int, str], int] = {}
    last: dict[tuple[int, int], int] = {}
    for a in range(0, batch["seq"].size, cut):
        state, r = step(state, rows(batch, slice(a, a + cut)))
        for i in np.flatnonzero(r.rollups["trip_start_ns"] != UNKNOWN):
            for name in TRIP_SUMS:
                held[int(r.rollups["asset"][i]), int(r.rollups["trip_start_ns"][i]), name] += int(r.rollups[name][i])
        for k in range(r.trips["version"].size):
            trip = (int(r.trips["asset"][k]), int(r.trips["trip_start_ns"][k]))
            assert r.trips["version"][k] == last.get(trip, 0) + 1
            last[trip] = int(r.trips["version"][k])
            told.update({(*trip, name): int(r.trips[name][k]) for name in TRIP_SUMS})
    for d in range(3):
        trip = (int(FLEET.params["asset"][d]), int(state.rows["trip_start_ns"][d]))
        told.update({(*trip, name): int(state.rows["trip_sums"][d][k]) for k, name in enumerate(TRIP_SUMS)})
    assert {k: 0 if v == UNKNOWN else v for k, v in told.items()} == dict(held)


def test_parts_of_the_energy_add_up_to_the_total() -> None:
    batch = join(*(_trip(90 + d, d, 400) for d in range(4)))
    _, r = step(start(FLEET), batch)
    vehicles = r.rollups["kind"] == 0
    parts = [r.rollups[n][vehicles] for n in SUMS if n.startswith("by_")]
    total = (r.rollups["co2e_ttw_ug"] + r.rollups["co2e_wtt_ug"])[vehicles]
    assert len(parts) == 8
    assert (np.sum(parts, axis=0) == total).all()
    assert np.count_nonzero(total) > 10
    assert all((r.rollups[n][~vehicles] == 0).all() for n in SUMS if n.startswith("by_"))


_HASH = """
import hashlib, numba
from tests.property.test_step_order import FLEET, _trip
from tests.support import join
from stream.pipeline import start, step
batch = join(*(_trip(7 + d, d, 150) for d in range(4)))
state, r = step(start(FLEET), batch)
digest = hashlib.sha256(state.to_bytes())
for table in (r.emissions, r.rollups, r.trips, r.events):
    for name in sorted(table):
        digest.update(table[name].tobytes())
print(numba.config.DISABLE_JIT, digest.hexdigest())
"""


def test_the_same_bytes_compiled_and_interpreted() -> None:
    def run(off: str) -> list[str]:
        env = {**os.environ, "NUMBA_DISABLE_JIT": off}
        done = subprocess.run([sys.executable, "-c", _HASH], env=env, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    compiled, interpreted = run("0"), run("1")
    assert (compiled[0], interpreted[0]) == ("0", "1")
    assert compiled[1] == interpreted[1]
