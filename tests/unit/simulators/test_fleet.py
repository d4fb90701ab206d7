"""The world as a whole: columns of the one schema, determinism, sums that hold, a registry that can be loaded."""

import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from devices.signals import SIGNALS
from simulators import layout as at
from simulators.fleet import CODED, MAX_CHUNK_S, Chunk, World, build
from simulators.registry_files import write_registry
from simulators.scenario import load
from simulators.single import SingleVehicle
from storage.registry import load_registry
from stream.columns import LOAD_STATES, READING
from tests.small_world import HONEST, run, scenario


def without_traces(name: str) -> Any:
    return msgspec.structs.replace(load(name), traces=None)


def digest(world: World, seconds: int, **how: int) -> str:
    parts: dict[tuple[str, int], list[bytes]] = {}
    for chunk in world.chunks(seconds, **how):
        for side, columns in (("r", chunk.readings), ("t", chunk.truth)):
            for device in range(len(world.devices)):
                rows = columns["device"] == device
                for name, values in columns.items():
                    parts.setdefault((side + name, device), []).append(values[rows].tobytes())
    h = hashlib.sha256()
    for key in sorted(parts):
        h.update(b"".join(parts[key]))
    return h.hexdigest()


def test_readings_have_the_columns_of_the_schema() -> None:
    chunk = build("cold-trunk", 1).advance(60)
    assert list(chunk.readings) == [column.name for column in READING]
    types = {"int64": np.int64, "int32": np.int32, "float64": np.float64, "bool": np.bool_, "code": np.int32}
    for column in READING:
        assert chunk.readings[column.name].dtype == types[column.dtype], column.name
        assert chunk.readings[column.name].shape == (chunk.n,)
    assert CODED["load_state"] == LOAD_STATES
    assert tuple(s.name for s in SIGNALS[: len(at.SIGNALS)]) == at.SIGNALS


def test_values_fit_the_wire() -> None:
    for name in ("city-parcels", "cold-trunk", "shanxi-swap"):
        world = build(without_traces(name), 4)
        for chunk in world.chunks(12 * 3600, chunk_s=3600):
            for signal in SIGNALS:
                values = chunk.readings[signal.name]
                values = values[~np.isnan(values)]
                assert values.size == 0 or (signal.low <= values.min() and values.max() <= signal.high), signal.name


def test_same_seed_same_bytes_however_time_is_cut() -> None:
    small = without_traces("cold-trunk")
    first = digest(build(small, 9), 7200, chunk_s=600)
    assert digest(build(small, 9), 7200, chunk_s=60) == first
    assert digest(build(small, 9), 7200, chunk_s=3600, threads=2) == first
    assert digest(build(small, 10), 7200, chunk_s=600) != first


def test_a_fleet_equals_its_vehicles_alone() -> None:
    small = without_traces("shanxi-swap")
    readings, truth = run(build(small, 2), 3600)
    for fleet, number, index in ((0, 3, 2), (1, 1, 16)):
        alone = SingleVehicle(small, 2, fleet=fleet, number=number)
        rows = np.flatnonzero(readings["device"] == index)
        taken = 0
        for _ in range(3600):
            if not alone.step():
                continue
            row = rows[taken]
            taken += 1
            assert (alone.time_ns, alone.boot_id) == (readings["time_ns"][row], readings["boot_id"][row])
            for i, name in enumerate(at.SIGNALS):
                assert np.array_equal(readings[name][row], alone.values[i], equal_nan=True), name
            for i, name in enumerate(at.TRUTH):
                assert truth[name][row] == alone.truth[i], name
        assert taken == rows.size > 600


def test_numbers_run_on_within_a_boot() -> None:
    readings, _ = run(build("cold-trunk", 3), 30 * 3600)
    boots = 0
    for device in range(40):
        rows = readings["device"] == device
        boot, seq, time_ns = readings["boot_id"][rows], readings["seq"][rows], readings["time_ns"][rows]
        for b in np.unique(boot):
            boots += 1
            assert np.array_equal(seq[boot == b], np.arange((boot == b).sum()))
            assert np.all(np.diff(time_ns[boot == b]) > 0)
    assert boots > 40  # parked gateways go off and come back as another boot
    assert np.all(readings["boot_id"] > 0)
    assert np.all(readings["received_ns"] > readings["time_ns"])


def test_truth_adds_up() -> None:
    small = scenario(fleet={"goods": "heavy"}, sensors=HONEST)
    readings, truth = run(build(small, 5), 8 * 3600)
    counter = (
        readings["fuel_total_hr_l"] if not np.isnan(readings["fuel_total_hr_l"]).all() else readings["fuel_total_l"]
    )
    counter = counter[~np.isnan(counter)]
    if counter.size:
        assert counter[-1] - counter[0] == pytest.approx(truth["fuel_l"][1:].sum(), abs=0.01)
    assert readings["odometer_m"][-1] - readings["odometer_m"][0] == pytest.approx(
        truth["distance_m"][1:].sum(), abs=0.1
    )
    assert np.all(truth["fuel_l"] >= 0.0)
    assert np.all(truth["distance_m"] >= 0.0)
    moved = truth["speed_kmh"].mean() / 3.6 * truth["speed_kmh"].size
    assert moved == pytest.approx(truth["distance_m"].sum(), rel=0.01)
    assert np.allclose(
        truth["mass_kg"] - truth["payload_kg"] - truth["load_units_kg"], truth["mass_kg"].min(), atol=1.0
    )


def test_positions_follow_the_distance() -> None:
    _, truth = run(build(scenario(route={"hills_m": 30.0}), 5), 6 * 3600)
    north = np.diff(truth["lat_deg"]) * 111_195.0
    east = np.diff(truth["lon_deg"]) * 111_195.0 * np.cos(np.radians(truth["lat_deg"][1:]))
    assert np.abs(np.hypot(north, east) - truth["distance_m"][1:]).max() < 60.0  # the last metres to the gate
    climbed = np.diff(truth["alt_m"])
    moving = truth["distance_m"][1:] > 5.0
    slope = climbed[moving] / truth["distance_m"][1:][moving]
    assert np.corrcoef(slope, truth["grade"][1:][moving])[0, 1] > 0.98
    assert truth["alt_m"][0] == pytest.approx(100.0)


def test_load_states_follow_the_load() -> None:
    _, truth = run(build(scenario(fleet={"backload": 0.5, "packaging": 0.9}), 8), 24 * 3600)
    state = truth["load_state"]
    assert set(np.unique(state)) == {1, 2, 3, 4}
    assert np.all(truth["payload_kg"][state <= 2] < 1.0)
    assert np.all(truth["load_units_kg"][state == 1] < 1.0)
    assert np.all(np.maximum(truth["fill_mass"], truth["fill_volume"])[state == 4] >= 0.9)
    legs = (truth["distance_m"] > 1.0) & (state <= 2)
    assert np.all(truth["empty_cause"][legs] > 0)
    assert np.all(truth["empty_cause"][state >= 3] == 0)


def test_the_registry_says_what_an_operator_knows() -> None:
    world = build("cold-trunk", 6)
    registry = world.registry()
    columns = {table: ",".join(rows[0]) for table, rows in registry.items() if rows}
    assert columns == {
        "vehicles": "vehicle,device,vehicle_class,fuel,route,tare_kg,gvw_kg,cda_m2,crr,p_rated_kw,tank_l,battery_kwh,grid_zone,vin,"
        "pallet_positions,ref_torque_nm",
        "warehouses": "warehouse,device,name,lat_deg,lon_deg,area_m2,pallet_positions,grid_zone",
        "routes": "route,name,origin,destination,stage,number",
        "places": "place,name,kind,lat_deg,lon_deg,radius_m",
        "benchmarks": "benchmark,region,year,empty_share_pct,definition,source,note",
    }
    assert [row["device"] for row in registry["vehicles"]] == list(world.devices)
    for row in registry["vehicles"] + registry["warehouses"]:
        assert re.fullmatch("[a-z0-9-]{3,40}", str(row["device"]))
    for row in registry["vehicles"]:
        assert re.fullmatch("[A-HJ-NPR-Z0-9]{17}", str(row["vin"]))
        assert row["route"] in world.routes
    certified = [row["cda_m2"] != "" for row in registry["vehicles"]]
    assert certified == [row["vehicle"].startswith("trunk") for row in registry["vehicles"]]  # type: ignore[attr-defined]


def test_warmup_and_start_put_vehicles_under_way() -> None:
    start = 1_800_000_000_000_000_000
    world = build(scenario(), 5, start_ns=start, warmup_s=4000)
    chunk = world.advance(60)
    assert chunk.truth["time_ns"][0] == start + 1_000_000_000
    assert chunk.truth["speed_kmh"].max() > 30.0
    assert chunk.readings["seq"].tolist() == list(range(60))


@pytest.mark.parametrize(("rate_hz", "rows"), [(10.0, 600), (2.0, 120), (1.0, 60), (0.1, 6)])
def test_readings_come_as_often_as_asked(rate_hz: float, rows: int) -> None:
    chunk = build(scenario(), 5, rate_hz=rate_hz, warmup_s=3000).advance(60)
    assert chunk.n == rows
    assert np.diff(chunk.truth["time_ns"]).tolist() == [int(1e9 / rate_hz)] * (rows - 1)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="rate_hz is 3"):
        build(scenario(), 1, rate_hz=3.0)
    world = build(scenario(), 1)
    for seconds in (0, MAX_CHUNK_S + 1):
        with pytest.raises(ValueError, match="seconds is"):
            world.advance(seconds)
    with pytest.raises(ValueError, match="multiple of 10"):
        build(scenario(), 1, rate_hz=0.1).advance(15)


def test_days_follow_one_another() -> None:
    world = build("city-parcels", 2)
    km = [0.0] * 4
    for day in range(4):
        chunk: Chunk
        for chunk in world.chunks(86_400, chunk_s=3600):
            km[day] += chunk.truth["distance_m"].sum() / 1000.0
    assert min(km) > 0.5 * max(km) > 500.0


def test_published_shares_can_be_used_as_benchmarks(tmp_path: Path) -> None:
    world = build("demo", 1)
    write_registry(tmp_path, world.registry())
    shares = {b.benchmark: b for b in load_registry(tmp_path).benchmarks}
    assert (shares["EU"].empty_share_pct, shares["EU"].year, shares["EU"].region) == (21.6, 2024, None)
    national, delta = shares["China"], shares["Yangtze delta"]
    assert delta.empty_share_pct - national.empty_share_pct == 6.5
    assert all(b.source and b.definition for b in shares.values())
