"""The registry: what is read, and what each mistake is answered with."""

import errno
import time
from pathlib import Path

import pytest
from deltalake import DeltaTable

from storage.errors import StorageError
from storage.factor_files import class_table, factor_set, factor_set_ids
from storage.lake import Lake
from storage.registry import Registry, RegistryError, load_registry, write_dimensions
from stream.factors import FactorError
from stream.fleet import Route, Vehicle, Warehouse, build_fleet
from stream.market import MarketFactor
from tests.lake_data import FaultyDisk

VEHICLES = "vehicle,device,vehicle_class,fuel,route,tare_kg,gvw_kg,cda_m2,crr,p_rated_kw,tank_l,grid_zone,vin\n"
WAREHOUSES = "warehouse,device,name,lat_deg,lon_deg,area_m2,pallet_positions,grid_zone\n"
ROUTES = "route,name,origin,destination,stage\n"


def write(folder: Path, vehicles: str = "", warehouses: str = "", routes: str = "r1,North,w1,w2,trunk\n") -> Path:
    (folder / "vehicles.csv").write_text(VEHICLES + vehicles, encoding="utf-8")
    (folder / "warehouses.csv").write_text(WAREHOUSES + warehouses, encoding="utf-8")
    (folder / "routes.csv").write_text(ROUTES + routes, encoding="utf-8")
    return folder


def test_rows_become_the_frozen_classes(tmp_path: Path) -> None:
    registry = load_registry(
        write(
            tmp_path,
            "t1,gw-t1,artic_40t,diesel_b7,r1,14500,40000,,,,,,\n\nt2,gw-t2,van_3.5t,diesel_b7,,,,,,,,,VIN 2\n",
            'w1,gw-w1,"Depot, north",52.5,-1.25,12000,9000,uk\n',
        )
    )
    assert registry == Registry(
        (
            Vehicle("t1", "gw-t1", "artic_40t", "diesel_b7", "r1", tare_kg=14500.0, gvw_kg=40000.0),
            Vehicle("t2", "gw-t2", "van_3.5t", "diesel_b7", vin="VIN 2"),
        ),
        (Warehouse("w1", "gw-w1", "Depot, north", 52.5, -1.25, "uk", 12000.0, 9000),),
        (Route("r1", "North", "w1", "w2", "trunk"),),
    )


def test_a_number_as_a_name_stays_text(tmp_path: Path) -> None:
    [vehicle] = load_registry(write(tmp_path, "007,gw-007,van_3.5t,diesel_b7,,,,,,,,,\n")).vehicles
    assert vehicle.vehicle == "007"


def test_a_spreadsheets_byte_order_mark_and_line_ends_are_fine(tmp_path: Path) -> None:
    write(tmp_path)
    text = (VEHICLES + "t1,gw-t1,van_3.5t,diesel_b7,,,,,,,,,\n").replace("\n", "\r\n")
    (tmp_path / "vehicles.csv").write_text(text, encoding="utf-8-sig", newline="")
    assert [v.vehicle for v in load_registry(tmp_path).vehicles] == ["t1"]


@pytest.mark.parametrize(
    ("vehicles", "message"),
    [
        ("t1,gw-t1,artic_40t,diesel_b7,,abc,,,,,,,\n", r"vehicles\.csv, line 2, column tare_kg: 'abc' is not a number"),
        ("t1,gw-t1,artic_40t,diesel_b7,,nan,,,,,,,\n", "line 2, column tare_kg: nan is outside"),
        ("t1,gw-t1,artic_40t,diesel_b7,,-5,,,,,,,\n", "line 2, column tare_kg: -5.0 is outside"),
        ("t1,,artic_40t,diesel_b7,,,,,,,,,\n", "line 2, column device: is blank; fill it in"),
        ("t1,GW_1,artic_40t,diesel_b7,,,,,,,,,\n", "line 2, column device: 'GW_1' is no device name"),
        ("t1,gw-t1,artic_40t,diesel_b7,r9,,,,,,,,\n", "line 2, column route: 'r9' is not in routes.csv"),
        ("t1,gw-t1,artic_40t,diesel_b7,,9000,7500,,,,,,\n", "column tare_kg: 9000 is not below gvw_kg 7500"),
        ("t1,gw-t1,artic_40t,diesel_b7\n", "line 2: 4 cells, the header has 13"),
        (
            "t1,gw-1,van,x,,,,,,,,,\nt1,gw-2,van,x,,,,,,,,,\n",
            "line 3, column vehicle: 't1' stands at vehicles.csv, line 2",
        ),
        ("t1,gw-1,van,x,,,,,,,,,\nt2,gw-1,van,x,,,,,,,,,\n", "line 3, column device: 'gw-1' stands at"),
        ('t1,gw-1,van,"x,,,,,,,,,\n', "cannot be read as CSV"),
    ],
)
def test_a_mistake_in_vehicles(tmp_path: Path, vehicles: str, message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        load_registry(write(tmp_path, vehicles))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"routes": "r1,North,,,truck\n"},
            r"routes\.csv, line 2, column stage: 'truck' is not known; use one of trunk",
        ),
        ({"routes": "r1,N,,,\nr1,S,,,\n"}, r"routes\.csv, line 3, column route: 'r1' stands at routes\.csv, line 2"),
        (
            {"warehouses": "w1,gw-w,W,91,0,,,uk\n"},
            r"warehouses\.csv, line 2, column lat_deg: 91\.0 is outside -90 to 90",
        ),
        ({"warehouses": "w1,gw-w,W,1,0,,7.5,uk\n"}, "column pallet_positions: '7.5' is not a whole number"),
        ({"warehouses": "w1,gw-w,W,1,0,,,\n"}, "column grid_zone: is blank"),
        (
            {"vehicles": "a,gw-1,van,x,,,,,,,,,\n", "warehouses": "a,gw-2,W,1,0,,,uk\n"},
            r"warehouses\.csv, line 2, column warehouse: 'a' stands at vehicles\.csv, line 2 already",
        ),
        (
            {"vehicles": "a,gw-1,van,x,,,,,,,,,\n", "warehouses": "w,gw-1,W,1,0,,,uk\n"},
            r"warehouses\.csv, line 2, column device: 'gw-1' stands at vehicles\.csv",
        ),
    ],
)
def test_a_mistake_elsewhere(tmp_path: Path, kwargs: dict[str, str], message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        load_registry(write(tmp_path, **kwargs))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("route,name,colour\n", r"routes\.csv, line 1, column 'colour': not known; columns are route, name, origin"),
        ("route;name\n", "separate columns with commas"),
        ("route,name,name\n", "column name: stands twice"),
        ("route\n", "column name: is missing; add it"),
        ("", "column route: is missing; add it"),
    ],
)
def test_a_wrong_header(tmp_path: Path, header: str, message: str) -> None:
    write(tmp_path)
    (tmp_path / "routes.csv").write_text(header)
    with pytest.raises(RegistryError, match=message):
        load_registry(tmp_path)


MARKET = "instrument,factor_kg_per_kwh,year,source,asset,grid_zone,share\n"


def test_market_factors_may_stand_beside_and_reach_the_fleet(tmp_path: Path) -> None:
    write(tmp_path, warehouses="w1,gw-w1,W,1,2,,,uk\n")
    text = "residual,0.38,2024,AIB residual mix 2024,,UK,\ncontract,0.05,2025,letter of 2025-03-01,w1,,0.5\n"
    (tmp_path / "market_factors.csv").write_text(MARKET + text, encoding="utf-8")
    registry = load_registry(tmp_path)
    assert registry.market[1] == MarketFactor("contract", 0.05, 2025, "letter of 2025-03-01", "w1", None, 0.5)
    built = build_fleet(
        (), registry.warehouses, (), factor_set("fleetco2-2025.2"), class_table(), market=registry.market
    )
    beyond = 0.2454 - 0.177
    assert built.params["grid_market"][0] == pytest.approx(0.5 * 0.05 + 0.5 * 0.38 + beyond, abs=1e-6)
    assert built.params["grid_total"][0] == pytest.approx(0.2454, abs=1e-6)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "residual,0,2024,AIB,,at,\n",
            r"market_factors\.csv, line 2, column factor_kg_per_kwh: Austria's published residual mix",
        ),
        ("green,0.1,2024,x,w1,,\n", "'green' is not known; use one of eac, contract"),
        ("eac,,2024,x,w1,,\n", "column factor_kg_per_kwh: is blank"),
        ("eac,0.1,2024,,w1,,\n", "column source: is blank"),
    ],
)
def test_a_mistake_in_market_factors(tmp_path: Path, row: str, message: str) -> None:
    write(tmp_path)
    (tmp_path / "market_factors.csv").write_text(MARKET + row, encoding="utf-8")
    with pytest.raises(RegistryError, match=message):
        load_registry(tmp_path)


def test_a_missing_file_is_named_with_the_header_to_write(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "warehouses.csv").unlink()
    with pytest.raises(RegistryError, match=r"warehouses\.csv is missing; .* warehouse,device,name"):
        load_registry(tmp_path)
    (tmp_path / "warehouses.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(RegistryError, match="cannot be read as CSV in UTF-8"):
        load_registry(tmp_path)


def test_a_hundred_thousand_vehicles_load_in_seconds(tmp_path: Path) -> None:
    rows = "".join(f"t{i},gw-{i},artic_40t,diesel_b7,r1,14500,40000,6.5,,,,,\n" for i in range(100_000))
    write(tmp_path, rows)
    started = time.perf_counter()
    registry = load_registry(tmp_path)
    assert len(registry.vehicles) == 100_000
    assert time.perf_counter() - started < 6.0  # 0.9 s on an idle core; the aim is 3 s


def test_dimensions_are_written_once_per_content(tmp_path: Path) -> None:
    vehicles = "t1,gw-t1,artic_40t,diesel_b7,r1,14500,40000,,,,,,\n"
    (tmp_path / "registry").mkdir()
    registry = load_registry(write(tmp_path / "registry", vehicles))
    everything = [
        "market_factors",
        "vehicles",
        "warehouses",
        "routes",
        "places",
        "regions",
        "baselines",
        "benchmarks",
        "factors",
    ]
    with Lake.open(tmp_path / "lake", create=True) as lake:
        assert write_dimensions(lake, registry) == everything
        assert write_dimensions(lake, registry) == []
        other = Registry((), registry.warehouses, registry.routes)
        assert write_dimensions(lake, other) == ["vehicles"]
        assert write_dimensions(lake, registry) == ["vehicles"]
    table = DeltaTable(str(tmp_path / "lake" / "vehicles"))
    assert table.version() == 3
    assert [r["vehicle"] for r in table.to_pyarrow_table().to_pylist()] == ["t1"]
    factors = DeltaTable(str(tmp_path / "lake" / "factors")).to_pyarrow_table()
    assert sorted(set(factors["factor_set"].to_pylist())) == factor_set_ids()


def test_packaged_factor_sets_and_classes_make_a_fleet(tmp_path: Path) -> None:
    registry = load_registry(write(tmp_path, "t1,gw-t1,artic_40t,diesel_b7,r1,14500,40000,,,,,,\n"))
    for name in factor_set_ids():
        fleet = build_fleet(registry.vehicles, registry.warehouses, registry.routes, factor_set(name), class_table())
        assert fleet.factor_set == name


def test_an_unknown_factor_set_names_those_there_are() -> None:
    with pytest.raises(FactorError, match=f"no factor set '../x'; packaged are .*{factor_set_ids()[0]}"):
        factor_set("../x")


def test_a_full_disk_is_said_and_the_dimensions_stay(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    registry = load_registry(write(tmp_path / "registry"))
    disk = FaultyDisk()
    with Lake.open(tmp_path / "lake", create=True, disk=disk) as lake:
        write_dimensions(lake, registry)
        disk.arm(0, OSError(errno.ENOSPC, "made up"), once=False)
        with pytest.raises(StorageError, match="no space left on the disk"):
            write_dimensions(lake, Registry((), (), ()))
        disk.arm(None, OSError())
        assert write_dimensions(lake, registry) == []


def test_places_and_regions_are_read_where_there_are_such(tmp_path: Path) -> None:
    folder = write(tmp_path, "t1,gw-t1,artic_40t,diesel_b7,,,,,,,,,\n")
    assert load_registry(folder).places == ()
    (folder / "places.csv").write_text("place,name,kind,lat_deg,lon_deg\np1,Pump,fuel,50.0,8.0\n")
    (folder / "regions.csv").write_text('region,name,polygon\nhere,Here,"POLYGON ((7 49, 9 49, 9 51, 7 49))"\n')
    registry = load_registry(folder)
    assert (registry.places[0].kind, registry.places[0].radius_m, registry.regions[0].region) == ("fuel", 250.0, "here")
    (folder / "places.csv").write_text("place,name,kind,lat_deg,lon_deg\np1,Pump,pub,50.0,8.0\n")
    with pytest.raises(RegistryError, match="line 2, column kind: 'pub' is not known"):
        load_registry(folder)
    (folder / "places.csv").unlink()
    (folder / "regions.csv").write_text('region,name,polygon\nhere,Here,"POLYGON ((7 49, 9 49))"\n')
    with pytest.raises(RegistryError, match=r"regions\.csv, line 2, column polygon: a ring of 2 points"):
        load_registry(folder)


BASELINES = (
    "scope,key,baseline_year,baseline_co2e_wtw_kg,baseline_co2e_ttw_kg,baseline_activity,activity_unit,target_year,"
    "target_reduction_pct,target_intensity_reduction_pct,factor_set,tenant,note\n"
)


def test_baselines_and_benchmarks_are_optional_and_checked(tmp_path: Path) -> None:
    folder = write(tmp_path, "t1,gw-t1,artic_40t,diesel_b7,r1,14500,40000,,,,,,\n")
    assert load_registry(folder).baselines == ()
    (folder / "baselines.csv").write_text(BASELINES + "operator,acme,2025,,,,,2030,30,25,,acme,\n")
    (folder / "benchmarks.csv").write_text(
        "benchmark,region,year,empty_share_pct,definition,source,note\neu,,2024,21.6,eurostat,road_go_ta,\n"
    )
    registry = load_registry(folder)
    assert registry.baselines[0].target_reduction_pct == 30.0
    assert registry.benchmarks[0].region is None


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("fleet,acme,2025,,,,,,,,,,", "scope"),
        ("operator,acme,25,,,,,,,,,,", "outside 1990"),
        ("operator,acme,2025,1000,,,,,,,,,", "factor_set: is blank"),
        ("operator,acme,2025,-5,,,,,,,x,,", "not above 0"),
        ("operator,acme,2025,,,7,,,,,,,", "go together"),
        ("operator,acme,2025,,,7,miles,,,,,,", "'miles' is not known"),
        ("operator,acme,2025,,,,,,30,,,,", "target_year: is blank"),
        ("operator,acme,2025,,,,,2025,30,,,,", "not after"),
        ("operator,acme,2025,,,,,2030,130,,,,", "0 to 100"),
    ],
)
def test_a_baseline_that_makes_no_sense(tmp_path: Path, row: str, says: str) -> None:
    folder = write(tmp_path, "t1,gw-t1,artic_40t,diesel_b7,r1,14500,40000,,,,,,\n")
    (folder / "baselines.csv").write_text(BASELINES + row + "\n")
    with pytest.raises(RegistryError, match=says) as e:
        load_registry(folder)
    assert "baselines.csv, line 2, column" in str(e.value)


def test_a_benchmark_that_makes_no_sense(tmp_path: Path) -> None:
    folder = write(tmp_path, "t1,gw-t1,artic_40t,diesel_b7,r1,14500,40000,,,,,,\n")
    (folder / "benchmarks.csv").write_text(
        "benchmark,region,year,empty_share_pct,definition,source,note\neu,,2024,216,eurostat,x,\n"
    )
    with pytest.raises(RegistryError, match="216"):
        load_registry(folder)
