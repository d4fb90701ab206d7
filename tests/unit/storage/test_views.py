"""The figures made when they are read, against values worked out by hand."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from storage.lake import Lake
from storage.query import connect
from storage.registry import Registry, write_dimensions
from storage.schema import to_arrow
from stream.columns import ASSET_KINDS, LOAD_STATES, UNKNOWN
from stream.fleet import Route, Vehicle, Warehouse
from tests.lake_data import NAMES, SECOND, T0, columns, nothing, rollup_rows

MINUTE = 60 * SECOND
US = 1_000_000  # µs per second
KG = 1_000_000_000  # µg per kg
NORTH, SOUTH, NO_ROUTE = 0, 1, -1
WAREHOUSE = ASSET_KINDS.index("warehouse")
FULL = LOAD_STATES.index("full")
REGISTRY = Registry(
    (
        *(Vehicle(NAMES.asset[i], f"gw-{i:03d}", "artic_40t", "diesel_b7", "r-north") for i in range(3)),
        Vehicle(NAMES.asset[9], "gw-009", "artic_40t", "diesel_b7", "r-south"),
    ),
    (Warehouse(NAMES.asset[50], "gw-050", "Depot", 52.5, -1.0, "uk"),),
    (Route("r-north", "North"), Route("r-south", "South")),
)


def ask(path: Path, sql: str, now_ns: int) -> list[dict[str, Any]]:
    con = connect(path)
    con.execute(f"SET VARIABLE now_ns = {now_ns}")
    found = con.execute(sql)
    names = [d[0] for d in found.description or []]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Two minutes of two of the three vehicles of r-north, one unassigned vehicle, one warehouse; r-south is silent."""
    a0 = {
        "minute_ns": T0,
        "asset": 0,
        "observed_us": 60 * US,
        "distance_mm": 1_000_000,
        "co2e_ttw_ug": 8 * KG // 10,
        "co2e_wtt_ug": 2 * KG // 10,
        "co2e_measured_ug": KG,
        "u_asset_ug": KG // 20,
        "readings": 60,
    }
    a1 = a0 | {
        "minute_ns": T0 + MINUTE,
        "observed_us": 30 * US,
        "distance_mm": 500_000,
        "co2e_ttw_ug": 4 * KG // 10,
        "co2e_wtt_ug": KG // 10,
        "co2e_measured_ug": KG // 2,
        "u_asset_ug": KG // 40,
        "newest_time_ns": T0 + MINUTE + 29 * SECOND,
    }
    b0 = {
        "minute_ns": T0,
        "asset": 1,
        "observed_us": 60 * US,
        "unknown_us": 30 * US,
        "distance_unknown_us": 60 * US,
        "co2e_ttw_ug": KG // 10,
        "co2e_wtt_ug": KG // 10,
    }
    unassigned = {"minute_ns": T0, "asset": 5, "route": NO_ROUTE, "observed_us": 60 * US, "unknown_us": 60 * US}
    depot = {
        "minute_ns": T0,
        "kind": WAREHOUSE,
        "asset": 50,
        "route": NO_ROUTE,
        "observed_us": 45 * US,
        "distance_unknown_us": 45 * US,
        "energy_uwh": 2 * KG,
        "co2e_ttw_ug": KG // 2,
        "co2e_measured_ug": KG // 2,
    }
    with Lake.open(tmp_path, create=True) as lake:
        write_dimensions(lake, REGISTRY)
        lake.commit(replace(nothing(), rollups=rollup_rows(a0, b0, unassigned, depot)))
        lake.commit(replace(nothing(), rollups=rollup_rows(a1)))
    return tmp_path


def test_route_minutes(lake: Path) -> None:
    rows = ask(lake, "SELECT * FROM route_minutes ORDER BY minute_ns, route NULLS LAST", T0 + 2 * MINUTE)
    north0, unassigned, north1 = rows
    assert (north0["route"], north0["route_name"], north0["factor_set"]) == ("r-north", "North", "fleetco2-2026.1")
    assert (north0["vehicles_registered"], north0["vehicles_reporting"]) == (3, 2)
    assert (north0["observed_s"], north0["expected_s"]) == (120.0, 180.0)
    assert north0["coverage"] == pytest.approx(2 / 3)
    assert north0["co2e_wtw_kg"] == 1.2
    assert north0["measured_share"] == pytest.approx(1 / 1.2)
    assert north0["co2e_u_rel"] == pytest.approx(1.96 * 0.05 / 1.2)
    assert north0["distance_km"] == 1.0
    assert north0["co2e_wtw_g_per_km"] is None  # half of the time has no distance
    assert north0["age_s"] == 61.0
    assert north1["co2e_wtw_g_per_km"] == 1000.0
    assert north1["coverage"] == pytest.approx(30 / 180)
    assert unassigned["route"] is None
    assert (unassigned["vehicles_registered"], unassigned["vehicles_reporting"]) == (0, 1)


def test_what_is_unknown_is_null_and_never_zero(lake: Path) -> None:
    [row] = ask(lake, "SELECT * FROM route_minutes WHERE route IS NULL", T0 + 2 * MINUTE)
    assert row["observed_us"] == row["unknown_us"] == 60 * US
    for name in ("co2e_wtw_ug", "co2e_wtw_kg", "fuel_nl", "fuel_l", "energy_kwh", "measured_share", "co2e_u_rel"):
        assert row[name] is None, name
    [row] = ask(lake, "SELECT * FROM asset_minutes WHERE asset = 'truck-001'", T0 + 2 * MINUTE)
    assert row["distance_mm"] is None
    assert row["co2e_wtw_ug"] == 2 * KG // 10


def test_route_now(lake: Path) -> None:
    rows = ask(lake, "SELECT * FROM route_now ORDER BY route NULLS LAST", T0 + MINUTE + 30 * SECOND)
    north, south, unassigned = rows
    assert north["co2e_wtw_kg_per_h"] == pytest.approx(1.5 / 90 * 3600 + 0.2 / 30 * 3600)
    sd = 0.075 / 1.7  # two minutes of one vehicle: 0.05 and 0.025 kg, linear
    assert north["co2e_u_rel"] == pytest.approx(1.96 * sd)
    s = math.sqrt(math.log(1 + sd**2))
    assert north["co2e_wtw_low_kg_per_h"] == pytest.approx(84 * math.exp(-s * s / 2 - 1.96 * s))
    assert north["co2e_wtw_high_kg_per_h"] == pytest.approx(84 * math.exp(-s * s / 2 + 1.96 * s))
    assert north["measured_share"] == pytest.approx(1.5 / 1.7)
    assert north["expected_s"] == 3 * 90
    assert north["coverage"] == pytest.approx(150 / 270)
    assert north["co2e_wtw_g_per_km"] is None
    assert north["age_s"] == 1.0
    assert (south["route_name"], south["vehicles_registered"], south["vehicles_reporting"]) == ("South", 1, 0)
    assert south["coverage"] == 0.0
    for name in ("co2e_wtw_kg_per_h", "co2e_wtw_low_kg_per_h", "co2e_wtw_kg", "distance_km", "age_s", "newest_time"):
        assert south[name] is None, name
    assert unassigned["vehicles_reporting"] == 1
    assert unassigned["co2e_wtw_kg_per_h"] is None


def test_the_fleet_now_is_vehicles_and_warehouses(lake: Path) -> None:
    [fleet] = ask(lake, "SELECT * FROM fleet_now", T0 + MINUTE + 30 * SECOND)
    assert fleet["co2e_wtw_kg_per_h"] == pytest.approx(1.5 / 90 * 3600 + 0.2 / 30 * 3600 + 0.5 / 45 * 3600)
    assert (fleet["vehicles_reporting"], fleet["warehouses_reporting"], fleet["age_s"]) == (3, 1, 1.0)
    sd = 0.075 / 2.2  # of what all of them emitted
    assert fleet["co2e_u_rel"] == pytest.approx(1.96 * sd)
    s = math.sqrt(math.log(1 + sd**2))
    assert fleet["co2e_wtw_low_kg_per_h"] == pytest.approx(124 * math.exp(-s * s / 2 - 1.96 * s))
    assert fleet["co2e_wtw_high_kg_per_h"] == pytest.approx(124 * math.exp(-s * s / 2 + 1.96 * s))
    assert ask(lake, "SELECT * FROM fleet_now", T0 + 600 * SECOND) == []


def test_a_route_gone_silent_grows_old_and_has_no_rate(lake: Path) -> None:
    [north] = ask(lake, "SELECT * FROM route_now WHERE route = 'r-north'", T0 + 600 * SECOND)
    assert north["co2e_wtw_kg_per_h"] is None
    assert north["coverage"] == 0.0
    assert north["age_s"] == 600.0 - 89.0


def test_grams_per_kilometre_where_all_is_known(lake: Path) -> None:
    [north] = ask(lake, "SELECT * FROM route_now WHERE route = 'r-north'", T0 + 2 * MINUTE)
    assert north["vehicles_reporting"] == 1  # only the minute that vehicle 1 is not in
    assert north["co2e_wtw_g_per_km"] == 1000.0


def test_warehouses(lake: Path) -> None:
    [row] = ask(lake, "SELECT * FROM warehouse_minutes", T0 + 2 * MINUTE)
    assert (row["warehouse"], row["warehouse_name"]) == (NAMES.asset[50], "Depot")
    assert row["coverage"] == 0.75
    assert row["energy_kwh"] == 2.0
    assert row["distance_km"] is None
    [row] = ask(lake, "SELECT * FROM warehouse_now", T0 + MINUTE + 30 * SECOND)
    assert row["co2e_wtw_kg_per_h"] == pytest.approx(0.5 / 45 * 3600)
    assert row["coverage"] == 0.5
    assert row["measured_share"] == 1.0
    assert row["age_s"] == 31.0


def test_a_minute_that_has_not_begun_expects_nothing(lake: Path) -> None:
    rows = ask(lake, "SELECT * FROM route_minutes", T0 - MINUTE)
    assert {r["coverage"] for r in rows} == {None}


def test_load_states_and_kernel_versions_add_up(tmp_path: Path) -> None:
    base = {"minute_ns": T0, "asset": 1, "observed_us": 10 * US, "co2e_ttw_ug": 7}
    rows = rollup_rows(base, base | {"load_state": FULL}, base | {"load_state": FULL, "kernel_version": 9})
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(replace(nothing(), rollups=rows))
    [row] = ask(tmp_path, "SELECT * FROM route_minutes", T0 + 2 * MINUTE)
    assert (row["observed_us"], row["co2e_wtw_ug"], row["vehicles_reporting"]) == (30 * US, 21, 1)


def test_two_factor_sets_stand_beside_each_other(tmp_path: Path) -> None:
    rows = rollup_rows({"minute_ns": T0, "observed_us": US, "co2e_ttw_ug": 7})
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(replace(nothing(), rollups=rows))
        lake.commit(replace(nothing(), rollups=rows, factor_set="fleetco2-2025.1"))
    found = ask(tmp_path, "SELECT factor_set, co2e_wtw_ug FROM route_minutes ORDER BY 1", T0 + MINUTE)
    assert [tuple(r.values()) for r in found] == [("fleetco2-2025.1", 7), ("fleetco2-2026.1", 7)]


def test_a_sum_past_int64_is_an_error_and_never_wraps(tmp_path: Path) -> None:
    row = {"minute_ns": T0, "observed_us": US, "co2e_ttw_ug": 2**62}
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(replace(nothing(), rollups=rollup_rows(row, row, row)))
    with pytest.raises(duckdb.Error, match="out of range"):
        ask(tmp_path, "SELECT co2e_ttw_ug FROM route_minutes", T0 + MINUTE)


def test_shared_errors_add_by_vehicle_class_fuel_and_zone(tmp_path: Path) -> None:
    """Two artics on diesel, one on LNG: class linear over three, fuel over two and one, meters in squares."""
    vehicles = tuple(
        Vehicle(NAMES.asset[i], f"gw-{i:03d}", "artic_40t", fuel, "r-north")
        for i, fuel in enumerate(("b7", "b7", "lng"))
    )
    row = {"minute_ns": T0, "observed_us": 60 * US, "co2e_ttw_ug": KG, "u_asset_ug": KG // 50, "u_model_ug": KG // 20}
    row |= {"u_fuel_ttw_ug": KG // 100, "u_fuel_wtt_ug": KG // 40, "u_ind_mg2": 10**8}
    with Lake.open(tmp_path, create=True) as lake:
        write_dimensions(lake, Registry(vehicles, (), (Route("r-north", "North"),)))
        lake.commit(replace(nothing(), rollups=rollup_rows(*(row | {"asset": i} for i in range(3)))))
    variance = 3 * 0.01**2 + 3 * 0.02**2 + (3 * 0.05) ** 2 + (0.02**2 + 0.01**2) + (0.05**2 + 0.025**2)
    for view in ("route_minutes", "route_now", "fleet_now"):
        [north] = ask(tmp_path, f"SELECT * FROM {view}", T0 + 90 * SECOND)
        assert north["co2e_u_rel"] == pytest.approx(1.96 * math.sqrt(variance) / 3, rel=1e-6), view
    [(_, _, assets, _, kg, low, high, u_rel)] = [tuple(r.values()) for r in ask(tmp_path, "FROM wtw_bands(NULL)", T0)]
    assert (assets, kg) == (3, 3.0)
    assert u_rel == pytest.approx(1.96 * math.sqrt(variance) / 3, rel=1e-6)
    assert 0 < low < kg < high
    [one] = ask(tmp_path, f"FROM wtw_bands(asset, asset = '{NAMES.asset[2]}')", T0)
    assert one["co2e_u_rel"] == pytest.approx(
        1.96 * math.sqrt(0.01**2 + 0.02**2 + 0.05**2 + 0.01**2 + 0.025**2), rel=1e-6
    )


def test_a_thousand_vehicles_of_a_year_are_not_known_to_a_thousandth(tmp_path: Path) -> None:
    """Independent errors vanish in a large sum; what the vehicles share does not."""
    rows = [
        {
            "minute_ns": T0 + i % 4 * MINUTE,
            "asset": i % 100,
            "observed_us": 60 * US,
            "co2e_ttw_ug": 400_000 * KG,
            "u_ind_mg2": 10**17,
            "u_asset_ug": 6_000 * KG,
            "u_fuel_ttw_ug": 4_000 * KG,
        }
        for i in range(400)
    ]
    with Lake.open(tmp_path, create=True) as lake:
        write_dimensions(
            lake, Registry(tuple(Vehicle(n, f"g-{n}", "artic_40t", "diesel_b7") for n in NAMES.asset), (), ())
        )
        lake.commit(replace(nothing(), rollups=rollup_rows(*rows)))
    [whole] = ask(tmp_path, "FROM wtw_bands(NULL)", T0)
    assert whole["assets"] == 100
    assert whole["co2e_u_rel"] == pytest.approx(1.96 * math.hypot(0.01, 0.015 / 10), rel=0.01)
    [narrower] = ask(tmp_path, f"FROM wtw_bands({{'m': minute_ns}}, minute_ns < {T0 + MINUTE})", T0)
    assert narrower["co2e_u_rel"] > 0.019


def test_a_readings_interval_is_log_normal_and_never_below_0(tmp_path: Path) -> None:
    emissions = columns("emissions", 4)
    emissions["co2e_ttw_ug"] = np.array([KG, KG, -KG, UNKNOWN])
    emissions["co2e_wtt_ug"] = np.array([0, 0, 0, 0])
    emissions["co2e_u_rel"] = np.array([0.1, 3.0, 0.1, np.nan])
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(replace(nothing(), emissions=to_arrow("emissions", emissions, NAMES)))
    rows = ask(tmp_path, "SELECT co2e_wtw_ug AS e, co2e_wtw_low_ug AS low, co2e_wtw_high_ug AS high FROM emissions", T0)
    narrow, wide, negative, unknown = sorted(rows, key=lambda r: (r["e"] is None, -(r["e"] or 0), -(r["low"] or 0)))
    s = math.sqrt(math.log(1 + 0.05**2))
    assert narrow["low"] == pytest.approx(KG * math.exp(-s * s / 2 - 1.96 * s))
    assert narrow["high"] == pytest.approx(KG * math.exp(-s * s / 2 + 1.96 * s))
    assert 0 < wide["low"] < 0.1 * KG
    assert wide["high"] > 2 * KG
    assert negative["low"] == pytest.approx(-narrow["high"])
    assert (unknown["low"], unknown["high"]) == (None, None)


def test_transport_work_is_divided_when_read(tmp_path: Path) -> None:
    row = {"minute_ns": T0, "observed_us": 60 * US, "distance_mm": 1_000_000, "co2e_ttw_ug": KG}
    loaded = row | {"asset": 0, "transport_kgm": 10_000_000, "capacity_kgm": 20_000_000}
    empty = row | {"asset": 1}
    blind = row | {"asset": 2, "payload_unknown_mm": 1_000_000, "minute_ns": T0 + MINUTE}
    with Lake.open(tmp_path, create=True) as lake:
        write_dimensions(lake, REGISTRY)
        lake.commit(replace(nothing(), rollups=rollup_rows(loaded, empty, blind)))
    known, unknown = ask(tmp_path, "SELECT * FROM route_minutes ORDER BY minute_ns", T0 + 3 * MINUTE)
    assert (known["transport_tkm"], known["load_factor"]) == (10.0, 0.5)
    assert known["co2e_wtw_g_per_tkm"] == 200.0  # 2 kg over 10 t km: the empty vehicle's too
    assert known["payload_unknown_share"] == 0.0
    assert (unknown["transport_tkm"], unknown["load_factor"], unknown["co2e_wtw_g_per_tkm"]) == (None, None, None)
    assert unknown["payload_unknown_share"] == 1.0


def test_gases_and_refrigerants_that_are_not_all_known_are_null(tmp_path: Path) -> None:
    split = {
        "minute_ns": T0,
        "observed_us": 60 * US,
        "co2e_ttw_ug": 2 * KG,
        "co2e_split_ug": 2 * KG,
        "n2o_co2e_ttw_ug": KG,
    }
    whole = {"minute_ns": T0 + MINUTE, "asset": 1, "observed_us": 60 * US, "co2e_ttw_ug": KG}
    site = {"minute_ns": T0, "kind": WAREHOUSE, "asset": 50, "observed_us": 60 * US, "co2e_wtt_ug": KG}
    site |= {"co2e_wtt_market_ug": KG // 2, "refrigerant_co2e_ug": 3 * KG, "goods_out_g": 2_000_000}
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(replace(nothing(), rollups=rollup_rows(split, whole, site)))
        lake.commit(
            replace(nothing(), rollups=rollup_rows(site | {"minute_ns": T0 + MINUTE, "refrigerant_unknown_g": 500}))
        )
    both = ask(tmp_path, "SELECT n2o_co2e_ttw_kg AS n2o FROM route_minutes ORDER BY minute_ns", T0 + 3 * MINUTE)
    assert [r["n2o"] for r in both] == [1.0, None]
    known, unknown = ask(tmp_path, "SELECT * FROM warehouse_minutes ORDER BY minute_ns", T0 + 3 * MINUTE)
    assert (known["refrigerant_co2e_kg"], known["co2e_wtw_kg"], known["co2e_wtw_market_kg"]) == (3.0, 1.0, 0.5)
    assert known["co2e_hub_kg_per_t"] == 2.0
    assert (unknown["refrigerant_co2e_kg"], unknown["co2e_hub_kg_per_t"]) == (None, None)
