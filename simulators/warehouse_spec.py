"""What a warehouse is: its description, what cannot be, presets, and the parameters that the model takes from it."""

import math
from array import array
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from devices.wire import is_name
from simulators import warehouse_meters as meters
from simulators import warehouse_model as model
from simulators.rng import uniform
from simulators.warehouse_meters import MeterFaults

GENERIC_HEIGHT_M: Final = 10.0
U_SHELL_W_M2K: Final = 0.35  # walls and roof of an insulated hall
U_COLD_W_M2K: Final = 0.22  # sandwich panels with joints, and floor
AIR_CHANGES_H: Final = 0.25  # hall, through gaps
COLD_AIR_CHANGES_H: Final = 0.2  # cold room, with the water that freezes out counted as half as much again
LIGHT_W_M2: Final = 5.0  # LED, high bay
BASE_W_M2: Final = 1.5  # offices, IT, safety, battery room's fan
REFRIGERANT_KG_M3: Final = 0.012  # charge of a direct system per cold room volume
PALLETS_H_DOCK: Final = 25.0
FORK_PALLETS_DAY: Final = 90.0  # one truck's work, to size the fleet
FORK_BATTERY_KWH: Final = 24.0
FORK_MOVE_KWH: Final = 0.18  # 4 to 7 kWh/h at 25 to 30 moves an hour
CHARGER_KW: Final = 6.0
CHARGER_ETA: Final = {"lead": 0.70, "li-ion": 0.88}
METER_STEPS_KWH: Final = (0.001, 0.01, 0.1)


class WarehouseSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One warehouse as a scenario file describes it. ``check`` says what cannot be."""

    warehouse: str
    device: str
    name: str
    lat_deg: Annotated[float, Meta(ge=-66, le=66)]  # no polar night
    lon_deg: Annotated[float, Meta(ge=-180, le=180)]
    grid_zone: str
    area_m2: Annotated[float, Meta(ge=200, le=500_000)]
    pallet_positions: Annotated[int, Meta(ge=10, le=1_000_000)]
    pallets_per_day: Annotated[float, Meta(ge=1, le=50_000)]
    utc_offset_h: Annotated[float, Meta(ge=-12, le=14)] = 0.0
    open_h: Annotated[float, Meta(ge=0, lt=24)] = 6.0
    close_h: Annotated[float, Meta(gt=0, le=24)] = 20.0
    days_per_week: Annotated[int, Meta(ge=1, le=7)] = 6
    fill: Annotated[float, Meta(gt=0, le=0.98)] = 0.8
    peak_share: Annotated[float, Meta(ge=0, le=2)] = 0.4
    pallet_kg: Annotated[float, Meta(ge=1, le=2000)] = 480.0
    rehandle_share: Annotated[float, Meta(ge=0, le=1)] = 0.12
    temp_mean_c: Annotated[float, Meta(ge=-20, le=35)] = 11.0
    temp_season_k: Annotated[float, Meta(ge=0, le=30)] = 9.0
    heating: Literal["gas", "heat_pump", "none"] = "gas"
    chilled_m3: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0
    frozen_m3: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0
    leak_per_year: Annotated[float, Meta(ge=0, le=2)] = 0.15
    forklift_battery: Literal["lead", "li-ion"] = "li-ion"
    pv_kwp: Annotated[float, Meta(ge=0, le=100_000)] = 0.0
    genset_kw: Annotated[float, Meta(ge=0, le=100_000)] = 0.0
    outages_per_year: Annotated[float, Meta(ge=0, le=365)] = 2.0
    meter_step_kwh: float = 0.01
    meter_faults: MeterFaults = MeterFaults()


PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "ambient": {"area_m2": 12_000.0, "pallet_positions": 15_000, "pallets_per_day": 800.0, "pv_kwp": 400.0},
    "cold_store": {
        "area_m2": 6_000.0,
        "pallet_positions": 8_000,
        "pallets_per_day": 500.0,
        "heating": "heat_pump",
        "chilled_m3": 15_000.0,
        "frozen_m3": 25_000.0,
        "genset_kw": 500.0,
    },
    "cross_dock": {
        "area_m2": 4_000.0,
        "pallet_positions": 1_500,
        "pallets_per_day": 900.0,
        "fill": 0.5,
        "open_h": 0.0,
        "close_h": 24.0,
        "days_per_week": 7,
        "forklift_battery": "lead",
    },
}


def from_registry(row: Mapping[str, object], preset: str = "ambient", **keys: Any) -> WarehouseSpec:
    """The warehouse of a row of warehouses.csv; a preset, scaled to its pallet positions, and ``keys`` give the rest.

    ValueError, which names warehouse and key, for an unknown preset, an unknown key or a value that cannot be.
    """
    where = f"warehouse {row.get('warehouse')!r}"
    if preset not in PRESETS:
        raise ValueError(f"{where}: there is no preset {preset!r}; known are {', '.join(PRESETS)}")
    tree: dict[str, Any] = dict(PRESETS[preset])
    given = {k: v for k, v in row.items() if v not in ("", None)}
    size = _positions(given, where, tree["pallet_positions"]) / tree["pallet_positions"]
    for key in ("pallets_per_day", "pv_kwp", "genset_kw", "chilled_m3", "frozen_m3", "area_m2"):
        tree[key] = tree.get(key, 0.0) * size
    try:
        spec = msgspec.convert({**tree, **given, **keys}, WarehouseSpec, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"{where}: {error}") from error
    check(spec)
    return spec


def _positions(given: Mapping[str, object], where: str, default: int) -> float:
    text = str(given.get("pallet_positions", default))
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{where}: pallet_positions {text!r} is not a number") from None


def check(spec: WarehouseSpec) -> None:
    """ValueError, naming warehouse and key, for a warehouse that cannot be."""
    where = f"warehouse {spec.warehouse!r}"
    for field in spec.__struct_fields__:
        value = getattr(spec, field)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{where}: {field} is {value}")
    if not is_name(spec.device):
        raise ValueError(f"{where}: device {spec.device!r} is not 3 to 40 of a-z, 0-9 and -")
    if not spec.open_h < spec.close_h:
        raise ValueError(f"{where}: open_h {spec.open_h:g} is not before close_h {spec.close_h:g}")
    if spec.pallet_positions > 12 * spec.area_m2:
        raise ValueError(f"{where}: pallet_positions {spec.pallet_positions} do not fit on area_m2 {spec.area_m2:g}")
    if spec.chilled_m3 + spec.frozen_m3 > spec.area_m2 * GENERIC_HEIGHT_M:
        raise ValueError(
            f"{where}: chilled_m3 + frozen_m3 are larger than area_m2 {spec.area_m2:g} at {GENERIC_HEIGHT_M:g} m"
        )
    if spec.meter_step_kwh not in METER_STEPS_KWH:
        raise ValueError(f"{where}: meter_step_kwh {spec.meter_step_kwh:g} is not one of 0.001, 0.01, 0.1")
    meters.check_faults(spec.meter_faults, where)


def parameters(spec: WarehouseSpec, key: int) -> "array[float]":
    """The model's parameter vector; constants of the building spread by up to 10 % from site to site."""
    p = array("d", [0.0]) * model.N_P

    def spread(i: int) -> float:
        return 0.9 + 0.2 * uniform(key, i)

    handled = 2.0 * spec.pallets_per_day * (1.0 + spec.peak_share)
    docks = max(math.ceil(handled / (PALLETS_H_DOCK * 0.6 * (spec.close_h - spec.open_h))), 2)
    trucks = max(math.ceil(handled * (1.0 + spec.rehandle_share) / FORK_PALLETS_DAY), 1)
    shell_m2 = spec.area_m2 + 4.0 * math.sqrt(spec.area_m2) * GENERIC_HEIGHT_M
    south = spec.lat_deg < 0
    p[model.P_LAT], p[model.P_LON] = spec.lat_deg, spec.lon_deg
    p[model.P_UTC_OFFSET_S] = spec.utc_offset_h * 3600.0
    p[model.P_TEMP_MEAN], p[model.P_TEMP_SEASON] = (
        spec.temp_mean_c,
        -spec.temp_season_k if south else spec.temp_season_k,
    )
    p[model.P_TEMP_DAY], p[model.P_TEMP_WEATHER] = 4.0, 5.0
    p[model.P_OPEN_S], p[model.P_CLOSE_S] = spec.open_h * 3600.0, spec.close_h * 3600.0
    p[model.P_OPEN_DAYS], p[model.P_POSITIONS], p[model.P_FILL] = spec.days_per_week, spec.pallet_positions, spec.fill
    p[model.P_PALLETS_DAY], p[model.P_PEAK] = spec.pallets_per_day, spec.peak_share
    p[model.P_TRUCK_PALLETS] = min(33.0, max(4.0, spec.pallets_per_day / 8.0))
    p[model.P_PALLETS_S] = min(docks * PALLETS_H_DOCK / 3600.0, 1.0)
    p[model.P_PALLET_KG], p[model.P_REHANDLE] = spec.pallet_kg, spec.rehandle_share
    p[model.P_MOVE_KWH] = FORK_MOVE_KWH * spread(0)
    p[model.P_FORK_KWH], p[model.P_CHARGER_KW] = trucks * FORK_BATTERY_KWH, trucks * CHARGER_KW
    p[model.P_CHARGER_ETA] = CHARGER_ETA[spec.forklift_battery]
    p[model.P_LIGHT_KW] = spec.area_m2 * LIGHT_W_M2 * spread(1) / 1000.0
    p[model.P_BASE_KW] = spec.area_m2 * BASE_W_M2 * spread(2) / 1000.0
    leaks = AIR_CHANGES_H * spec.area_m2 * GENERIC_HEIGHT_M * model.AIR_J_K_M3 / 3600.0
    p[model.P_UA], p[model.P_DOOR_UA] = (shell_m2 * U_SHELL_W_M2K + leaks) * spread(3), docks * 400.0
    p[model.P_C] = (
        spec.area_m2 * GENERIC_HEIGHT_M * model.AIR_J_K_M3 + spec.pallet_positions * spec.fill * spec.pallet_kg * 1500.0
    )
    p[model.P_HEAT_KW] = 0.0 if spec.heating == "none" else p[model.P_UA] * 30.0 / 1000.0
    p[model.P_HEAT_ETA] = 0.86 if spec.heating == "gas" else 0.0
    p[model.P_HEAT_OPEN_C], p[model.P_HEAT_CLOSED_C] = 15.0, 10.0
    for volume, first, set_c in ((spec.chilled_m3, model.P_CHILL_UA, 3.0), (spec.frozen_m3, model.P_FROZEN_UA, -22.0)):
        side_m2 = 2.0 * volume / GENERIC_HEIGHT_M + 4.0 * math.sqrt(volume / GENERIC_HEIGHT_M) * GENERIC_HEIGHT_M
        ua = (side_m2 * U_COLD_W_M2K + 1.5 * COLD_AIR_CHANGES_H * volume * model.AIR_J_K_M3 / 3600.0) * spread(first)
        goods = 2.0e5 * volume  # J/K: a quarter of the room is goods at 800 kJ/(K m3)
        gain_w = ua * (35.0 - set_c) + spec.pallets_per_day / 10.0 / 3600.0 * (model.PALLET_COOL_J + model.DOOR_COOL_J)
        p[first], p[first + 1], p[first + 2], p[first + 3] = ua, goods, set_c, 1.5 * gain_w if volume > 0 else 0.0
    cold = spec.chilled_m3 + spec.frozen_m3
    p[model.P_COLD_SHARE] = min(cold / (spec.area_m2 * GENERIC_HEIGHT_M) * 1.2, 1.0) if cold else 0.0
    p[model.P_PV_KW], p[model.P_GENSET_KW] = spec.pv_kwp, spec.genset_kw
    p[model.P_OUTAGES_DAY] = spec.outages_per_year / 365.0
    p[model.P_CHARGE_KG], p[model.P_LEAK_S] = (
        cold * REFRIGERANT_KG_M3,
        spec.leak_per_year / (model.YEAR_DAYS * 86_400.0),
    )
    p[model.P_LOAD_KW] = math.nan
    return p
