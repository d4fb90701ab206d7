"""Bands in SQL: the same however sums were split, and those of an independent simulation of the errors."""

import math
from dataclasses import asdict
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.bands import ASSET_GROUPS, BAND_MACROS, bands_macro
from storage.schema import DIMENSIONS
from stream.fleet import Vehicle, Warehouse

FUELS = ("diesel_b7", "lng")
CLASSES = ("artic_40t", "rigid_18t")
ZONES = ("uk", "de")
VEHICLES = [
    Vehicle(f"v{i}", f"d-{i}", CLASSES[i % 2], FUELS[i // 2 % 2], grid_zone=None if i < 6 else ZONES[i % 2].upper())
    for i in range(8)
]
SITES = [Warehouse(f"w{i}", f"e-{i}", "W", 1.0, 2.0, ZONES[i % 2]) for i in range(2)]
ASSETS = [v.vehicle for v in VEHICLES] + [w.warehouse for w in SITES] + ["left the registry"]
PARTS = ("u_ind_mg2", "u_trip_ug", "u_asset_ug", "u_model_ug", "u_fuel_ttw_ug", "u_fuel_wtt_ug", "u_grid_ug")
NUMBERS = ("minute_ns", "observed_us", "unknown_us", "co2e_ttw_ug", "co2e_wtt_ug", *PARTS)


def lake() -> duckdb.DuckDBPyConnection:
    """The macro over tables of our own, without a lake."""
    con = duckdb.connect()
    for statement in BAND_MACROS:
        con.execute(statement)
    fill(con, [])
    registered: dict[str, list[Any]] = {"vehicles": list(VEHICLES), "warehouses": list(SITES)}
    for name, things in registered.items():
        con.register("made", pa.Table.from_pylist([asdict(t) for t in things], schema=DIMENSIONS[name]))
        con.execute(f"CREATE TABLE {name} AS SELECT * FROM made")
    con.execute(f"CREATE VIEW asset_groups AS {ASSET_GROUPS}")
    con.execute(bands_macro())
    return con


def fill(con: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]]) -> None:
    columns: dict[str, Any] = {n: pa.array([r.get(n, 0) for r in rows], pa.int64()) for n in NUMBERS}
    columns |= {n: pa.array([r.get(n) for r in rows], pa.string()) for n in ("asset", "route", "factor_set")}
    columns["trip_start_ns"] = pa.array([r.get("trip_start_ns") for r in rows], pa.int64())
    con.register("made", pa.table(columns))
    con.execute("CREATE OR REPLACE TABLE rollups AS SELECT * FROM made")


LAKE = lake()


def bands(rows: list[dict[str, Any]], key: str = "route", **more: str) -> list[tuple[Any, ...]]:
    extra = "".join(f", {k} := {v}" for k, v in more.items())
    fill(LAKE, rows)
    return sorted(LAKE.execute(f"FROM wtw_bands({key}{extra})").fetchall(), key=repr)


amount = st.integers(-(10**12), 10**13)
spread = st.integers(-(10**11), 10**12)
row = st.fixed_dictionaries(
    {
        "asset": st.sampled_from(ASSETS),
        "route": st.sampled_from(["north", "south", None]),
        "factor_set": st.sampled_from(["a", "b"]),
        "trip_start_ns": st.sampled_from([None, 1, 2]),
        "observed_us": st.just(10),
        "co2e_ttw_ug": amount,
        "co2e_wtt_ug": amount,
        "u_ind_mg2": st.integers(0, 10**15),
        **dict.fromkeys(PARTS[1:], spread),
    }
)


@settings(max_examples=25)
@given(st.lists(row, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_any_split_into_partial_sums_and_any_order_gives_the_same_band(rows: list[dict[str, Any]], random: Any) -> None:
    parts = []
    for r in rows:
        cut = {n: random.randint(min(0, r[n]), max(0, r[n])) for n in NUMBERS if n in r}
        parts += [r | cut, r | {n: r[n] - cut[n] for n in cut}]
    random.shuffle(parts)
    for p in parts:
        p["unknown_us"] = min(0, p["observed_us"] - 1)  # every part is known
    for r in rows:
        r["unknown_us"] = -1
    assert bands(parts) == bands(rows)


@settings(max_examples=25)
@given(st.lists(row, min_size=1, max_size=12))
def test_a_band_of_positive_emissions_never_reaches_below_nothing(rows: list[dict[str, Any]]) -> None:
    for r in rows:
        r["co2e_ttw_ug"], r["co2e_wtt_ug"] = abs(r["co2e_ttw_ug"]) + 1, abs(r["co2e_wtt_ug"])
    for _, _, _, _, kg, low, high, u_rel in bands(rows):
        assert 0.0 <= low <= high
        assert low <= kg or u_rel > 1.0
        assert math.isfinite(high)


def by_hand(rows: list[dict[str, Any]]) -> float:
    """Half-width [µg] of the sum of all rows, by the definition and in plain Python."""
    fuel = {v.vehicle: v.fuel for v in VEHICLES} | {w.warehouse: "sites" for w in SITES}
    model = {v.vehicle: v.vehicle_class for v in VEHICLES}
    zone = {v.vehicle: (v.grid_zone or "").lower() for v in VEHICLES} | {w.warehouse: w.grid_zone for w in SITES}
    groups: dict[tuple[str, Any], float] = {}
    for r in rows:
        a = r["asset"]
        for name, group in (
            ("u_trip_ug", (a, r["trip_start_ns"])),
            ("u_asset_ug", a),
            ("u_model_ug", model.get(a)),
            ("u_fuel_ttw_ug", fuel.get(a)),
            ("u_fuel_wtt_ug", fuel.get(a)),
            ("u_grid_ug", zone.get(a) or None),
        ):
            groups[name, group] = groups.get((name, group), 0.0) + r[name]
    return 1.96 * math.sqrt(sum(r["u_ind_mg2"] * 1e6 for r in rows) + sum(v * v for v in groups.values()))


@settings(max_examples=25)
@given(st.lists(row, min_size=1, max_size=12))
def test_the_band_is_the_definitions(rows: list[dict[str, Any]]) -> None:
    for r in rows:
        r["factor_set"] = "a"
        r["co2e_ttw_ug"] = abs(r["co2e_ttw_ug"]) + 10**12
        r["co2e_wtt_ug"] = 0
    [(_, _, assets, ug, _, _, _, u_rel)] = bands(rows, "NULL")
    assert assets == len({r["asset"] for r in rows})
    assert u_rel * ug == pytest.approx(by_hand(rows), rel=1e-5, abs=1e6)


def _simulated(rng: np.random.Generator, draws: int, each: dict[str, npt.NDArray[np.float64]]) -> Any:
    """Reported sums of ten assets over 200 readings each, drawn again and again from the errors themselves."""
    n_assets, n = 10, 200
    fuel, model, zone = np.arange(n_assets) % 2, np.arange(n_assets) // 5, np.arange(n_assets) % 3
    e = each["kg"]
    out = np.empty(draws)
    for i in range(draws):
        own = 1 + 0.10 * rng.standard_normal((n_assets, n))
        shared = (
            1
            + 0.015 * rng.standard_normal(n_assets)
            + 0.07 * rng.standard_normal(2)[model]
            + 0.01 * rng.standard_normal(2)[fuel]
            + 0.04 * rng.standard_normal(3)[zone]
        )
        trips = 1 + 0.12 * np.repeat(rng.standard_normal((n_assets, 4)), n // 4, axis=1)
        out[i] = (e * (own + (shared - 1)[:, None] + (trips - 1))).sum()
    return out


def test_the_band_is_that_of_an_independent_simulation() -> None:
    rng = np.random.default_rng(20261122)
    n_assets, n = 10, 200
    kg = rng.uniform(0.2, 3.0, (n_assets, n))
    drawn = _simulated(rng, 4000, {"kg": kg})
    fuels, models, zones = ["diesel_b7", "lng"], ["artic_40t", "rigid_18t"], ["uk", "de", "fr"]
    fleet = [Vehicle(f"s{a}", f"d{a}", models[a // 5], fuels[a % 2], grid_zone=zones[a % 3]) for a in range(n_assets)]
    rows = []
    for a in range(n_assets):
        for t in range(4):
            part = kg[a, t * 50 : (t + 1) * 50]
            ug = part.sum() * 1e9
            rows.append(
                {
                    "asset": f"s{a}",
                    "factor_set": "a",
                    "trip_start_ns": t,
                    "observed_us": 1,
                    "co2e_ttw_ug": int(ug),
                    "u_ind_mg2": int((0.10 * part * 1e6) @ (0.10 * part * 1e6)),
                    "u_trip_ug": int(0.12 * ug),
                    "u_asset_ug": int(0.015 * ug),
                    "u_model_ug": int(0.07 * ug),
                    "u_fuel_ttw_ug": int(0.01 * ug),
                    "u_grid_ug": int(0.04 * ug),
                }
            )
    con = lake()
    fill(con, rows)
    con.execute("DELETE FROM vehicles")
    con.register("fleet_", pa.Table.from_pylist([asdict(v) for v in fleet], schema=DIMENSIONS["vehicles"]))
    con.execute("INSERT INTO vehicles SELECT * FROM fleet_")
    [found] = con.execute("SELECT co2e_u_rel, co2e_wtw_low_kg, co2e_wtw_high_kg FROM wtw_bands(NULL)").fetchall()
    assert found[0] == pytest.approx(1.96 * drawn.std() / kg.sum(), rel=0.04)
    assert np.mean((drawn > found[1]) & (drawn < found[2])) == pytest.approx(0.95, abs=0.012)
