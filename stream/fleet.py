"""Who sends readings: vehicles, warehouses, routes, and the per-device parameters that the kernels read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.columns import ASSET_KINDS
from stream.factors import (
    ELECTRICITY,
    ClassTable,
    FactorError,
    FactorSet,
    FuelFactors,
    Unit,
    adblue_co2_kg_per_l,
    fuel_factors,
    grid_factors,
    refrigerant_gwp,
    solar_factor,
)
from stream.fixed import PER_UNIT
from stream.geography import build_geography
from stream.market import MarketFactor, MarketIndex, market_index, market_total
from stream.mass import reference_torque_nm
from stream.places import DEFAULT_RADIUS_M, Place
from stream.regions import Region, region_at

STAGES = ("trunk", "last_mile", "return", "reposition", "other")
UNKNOWN_LOAD_SHARE = (
    0.5  # payload assumed when no weight is known, as a share of capacity; the model's band covers 0 to 1
)


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One row of ``vehicles.csv``. Blank numbers take the class default; a blank route means not assigned."""

    vehicle: str
    device: str
    vehicle_class: str
    fuel: str
    route: str | None = None
    tare_kg: float | None = None
    gvw_kg: float | None = None
    cda_m2: float | None = None
    crr: float | None = None
    p_rated_kw: float | None = None
    tank_l: float | None = None
    grid_zone: str | None = None
    vin: str | None = None
    public_key: str | None = None  # Ed25519, hex: batches of its gateway must be signed by it
    tenant: str | None = None  # whose it is; blank: the one that the reading process names as its own
    battery_kwh: float | None = None
    speed_limit_kmh: float | None = None
    harsh_acceleration_ms2: float | None = None
    harsh_braking_ms2: float | None = None
    capacity_kg: float | None = None  # goods it may carry; blank: gvw_kg less tare_kg
    pallet_positions: int | None = None
    ref_torque_nm: float | None = None  # SPN 544; blank: by rated power and class
    tru_refrigerant: str | None = None  # in its refrigeration unit, such as r452a


@dataclass(frozen=True, slots=True)
class Warehouse:
    """One row of ``warehouses.csv``."""

    warehouse: str
    device: str
    name: str
    lat_deg: float
    lon_deg: float
    grid_zone: str
    area_m2: float | None = None
    pallet_positions: int | None = None
    refrigerant: str | None = None  # in its cooling plant, such as r404a
    heat_factor_kg_per_kwh: float | None = None  # CO2e of its district heat, told by the supplier
    heat_source: str | None = None  # who told it, and for which year
    tenant: str | None = None
    radius_m: float | None = None  # of the yard around it; blank: 250
    public_key: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One row of ``routes.csv``; ``stage`` is one of ``STAGES``, origin and destination name warehouses or places.

    ``number`` is what a dispatcher sends as signal ``route_number``.
    """

    route: str
    name: str
    origin: str | None = None
    destination: str | None = None
    stage: str = "other"
    tenant: str | None = None
    number: int | None = None


PARAMS = np.dtype(
    [
        ("kind", "i4"),  # index into ASSET_KINDS
        ("asset", "i4"),
        ("route", "i4"),  # -1 = not assigned
        ("has_fuel", "i4"),  # burns liquid or gaseous fuel
        ("has_battery", "i4"),
        ("fuel_is_gas", "i4"),  # metered in kg
        ("ref_torque_known", "i4"),  # by the registry, else by rated power
        ("fuel_ttw", "f8"),  # kg CO2e per L or kg
        ("fuel_wtt", "f8"),
        ("fuel_co2", "f8"),
        ("fuel_ch4", "f8"),  # kg CO2e
        ("fuel_n2o", "f8"),
        ("fuel_biogenic", "f8"),
        ("fuel_u_ttw_rel", "f8"),  # half-widths of 95 % intervals
        ("fuel_u_wtt_rel", "f8"),
        ("fuel_kg_per_l", "f8"),
        ("grid_total", "f8"),  # kg CO2e per kWh at the meter; vehicles: per kWh of the battery, charger loss inside
        ("grid_market", "f8"),  # the same, market-based
        ("grid_u_rel", "f8"),
        ("solar_wtt", "f8"),  # kg CO2e per kWh from the own roof
        ("solar_u_rel", "f8"),
        ("heat_wtt", "f8"),  # kg CO2e per kWh of district heat
        ("gas_ttw", "f8"),  # kg CO2e per kWh gross
        ("gas_wtt", "f8"),
        ("gas_oil_ttw", "f8"),  # kg CO2e per L
        ("gas_oil_wtt", "f8"),
        ("gas_oil_co2", "f8"),
        ("gas_oil_ch4", "f8"),
        ("gas_oil_n2o", "f8"),
        ("gas_oil_u_ttw_rel", "f8"),
        ("adblue_co2", "f8"),  # kg CO2 per L
        ("refrigerant_gwp", "f8"),  # kg CO2e per kg
        ("empty_below_kg", "f8"),  # less than this on the scales is no goods
        ("mass_kg", "f8"),  # assumed where no weight is measured
        ("tare_kg", "f8"),
        ("gvw_kg", "f8"),
        ("cda_m2", "f8"),
        ("crr", "f8"),
        ("p_rated_kw", "f8"),
        ("aux_kw", "f8"),
        ("willans_b", "f8"),  # g/kWh
        ("willans_a", "f8"),  # g/h per kW rated
        ("idle_g_per_h", "f8"),
        ("f_rot", "f8"),
        ("capacity_kg", "f8"),
        ("pallet_positions", "f8"),  # NaN = not known
        ("ref_torque_nm", "f8"),
        ("has_trailer", "i4"),  # a tractor: without its trailer it carries nothing
        ("region", "i4"),  # of a warehouse, -1 = none
        ("eta_drive", "f8"),
        ("eta_regen", "f8"),
        ("level_size", "f8"),  # L or kWh of 100 % of the level, NaN = not known
        ("level_per_amount", "f8"),  # L or kWh per nL, µg or µWh used
        ("speed_limit_kmh", "f8"),
        ("harsh_acceleration_ms2", "f8"),  # NaN = by mass
        ("harsh_braking_ms2", "f8"),
        ("yaw_a1", "f8"),  # m2 per degree of yaw, its square and cube
        ("yaw_a2", "f8"),
        ("yaw_a3", "f8"),
        ("cruise_rpm", "f8"),
        ("pto_kw", "f8"),
        ("tru_lph", "f8"),
        ("fuel_cap_per_s", "f8"),  # nL or µg: no engine burns more
        ("fuel_per_g", "f8"),  # L or kg of fuel per gram
    ],
    align=True,
)
DIESEL_LHV = 43.03  # MJ/kg, B0, UK conversion factors 2025
DIESEL_KG_PER_L = 0.83
# A weight that shows less than this, or 3 % of capacity, shows no goods: science reference section 5; vans by our own choice.
EMPTY_BELOW_KG = ((26_000.0, 1000.0), (3_500.0, 300.0), (0.0, 100.0))  # (gross mass above, kg)
GAS_ENERGY = (
    1.25  # a spark-ignited gas engine needs about a quarter more energy: brake efficiency .36-.39 against .43-.46 [C]
)
LITRE_PER_KWH_CAP = 0.25 * 1.2  # most fuel an engine can burn per kWh rated, science reference section 4
KG_PER_KWH_CAP = 0.21 * 1.2
LNG_KG_PER_L = 0.4525  # UK conversion factors 2025; a CNG tank's level is its pressure and tells no litres
LIMITED_GVW_KG = 3_500.0
SPEED_LIMITER_KMH = (
    90.0  # heavier vehicles carry limiters: Directive 92/6/EEC as amended by 2002/85/EC (N2, N3); GB 7258 in China too
)
VAN_LIMIT_KMH = 130.0  # the motorway limit of most EU states; set the vehicle's own where it is lower
ETA_CHARGE_DEFAULT = 0.88  # AC charger .82-.93, science reference section 2


@dataclass(frozen=True)
class Fleet:
    """The registry in the form that the kernels read: one PARAMS record per device, in the order of ``devices``."""

    vehicles: tuple[Vehicle, ...]
    warehouses: tuple[Warehouse, ...]
    routes: tuple[Route, ...]
    factor_set: str
    devices: tuple[str, ...]
    assets: tuple[str, ...]
    params: npt.NDArray[np.void]
    device_index: dict[str, int] = field(repr=False)
    places: tuple[Place, ...] = ()
    regions: tuple[Region, ...] = ()
    geography: Any = field(repr=False, default_factory=lambda: build_geography((), (), ()))

    @property
    def route_names(self) -> tuple[str, ...]:
        """Names that the route code of results points into."""
        return tuple(r.route for r in self.routes)

    @property
    def place_names(self) -> tuple[str, ...]:
        """Names that a place code points into."""
        return tuple(p.place for p in self.places)

    @property
    def region_names(self) -> tuple[str, ...]:
        """Names that a region code points into."""
        return tuple(r.region for r in self.regions)


def _pick(own: float | None, default: float) -> float:
    return default if own is None else own


def _vehicle_params(
    p: np.void,
    v: Vehicle,
    factors: FactorSet,
    classes: ClassTable,
    fuels: dict[str, FuelFactors],
    market: MarketIndex,
) -> None:
    defaults = classes.get(v.vehicle_class)
    if defaults is None:
        raise ValueError(
            f"vehicle {v.vehicle}: unknown class {v.vehicle_class!r}; known are {', '.join(sorted(classes))}"
        )
    p["tare_kg"] = _pick(v.tare_kg, defaults.curb_kg)
    p["gvw_kg"] = _pick(v.gvw_kg, defaults.gvw_kg)
    if not p["tare_kg"] < p["gvw_kg"]:
        raise ValueError(f"vehicle {v.vehicle}: tare_kg {p['tare_kg']:.0f} is not below gvw_kg {p['gvw_kg']:.0f}")
    p["mass_kg"] = p["tare_kg"] + UNKNOWN_LOAD_SHARE * (p["gvw_kg"] - p["tare_kg"])
    p["capacity_kg"] = _pick(v.capacity_kg, float(p["gvw_kg"] - p["tare_kg"]))
    least = next(kg for above, kg in EMPTY_BELOW_KG if p["gvw_kg"] > above)
    p["empty_below_kg"] = max(0.03 * p["capacity_kg"], least)
    p["cda_m2"] = _pick(v.cda_m2, defaults.cda_m2)
    p["crr"] = _pick(v.crr, defaults.crr)
    p["p_rated_kw"] = _pick(v.p_rated_kw, defaults.p_rated_kw)
    p["aux_kw"], p["f_rot"] = defaults.aux_kw, defaults.f_rot
    p["pallet_positions"] = _pick(v.pallet_positions, math.nan)
    p["has_trailer"] = int("artic" in v.vehicle_class)
    p["ref_torque_nm"] = _pick(v.ref_torque_nm, reference_torque_nm(p["p_rated_kw"], p["gvw_kg"]))
    p["ref_torque_known"] = int(v.ref_torque_nm is not None)
    for name in ("yaw_a1", "yaw_a2", "yaw_a3", "pto_kw", "tru_lph"):
        value = getattr(defaults, name)
        p[name] = 0.0 if math.isnan(value) else value
    p["cruise_rpm"] = defaults.cruise_rpm
    p["willans_b"], p["willans_a"] = defaults.willans_b_g_per_kwh, defaults.willans_a_g_per_h_kw
    p["eta_drive"], p["eta_regen"] = defaults.eta_drive, defaults.eta_regen
    p["speed_limit_kmh"] = _pick(
        v.speed_limit_kmh, SPEED_LIMITER_KMH if p["gvw_kg"] > LIMITED_GVW_KG else VAN_LIMIT_KMH
    )
    p["harsh_acceleration_ms2"] = _pick(v.harsh_acceleration_ms2, np.nan)
    p["harsh_braking_ms2"] = _pick(v.harsh_braking_ms2, np.nan)
    _gas_oil(p, factors)
    p["adblue_co2"] = adblue_co2_kg_per_l(factors)
    if v.tru_refrigerant:
        p["refrigerant_gwp"] = refrigerant_gwp(factors, v.tru_refrigerant)
    if v.fuel == ELECTRICITY:
        p["level_size"], p["level_per_amount"] = _pick(v.battery_kwh, np.nan), 1.0 / PER_UNIT
        if not v.grid_zone:
            raise ValueError(f"vehicle {v.vehicle}: an electric vehicle needs grid_zone (where it charges)")
        grid = grid_factors(factors, v.grid_zone)
        eta = defaults.eta_charge if defaults.eta_charge > 0 else ETA_CHARGE_DEFAULT
        p["has_battery"], p["grid_total"], p["grid_u_rel"] = 1, grid.total / eta, grid.u_rel
        p["grid_market"] = market_total(grid, v.vehicle, v.grid_zone, market) / eta
        return
    if math.isnan(defaults.willans_b_g_per_kwh):
        raise ValueError(
            f"vehicle {v.vehicle}: class {v.vehicle_class!r} has no engine, and fuel is {v.fuel!r}; set fuel to "
            f"{ELECTRICITY}, or the class of a vehicle that burns fuel"
        )
    fuel = fuels.get(v.fuel) or fuels.setdefault(v.fuel, fuel_factors(factors, v.fuel))
    p["has_fuel"], p["fuel_is_gas"] = 1, int(fuel.unit == "kg")
    p["fuel_ttw"], p["fuel_wtt"], p["fuel_co2"] = fuel.ttw, fuel.wtt, fuel.co2
    p["fuel_ch4"], p["fuel_n2o"] = fuel.ch4, fuel.n2o
    p["fuel_biogenic"], p["fuel_kg_per_l"] = fuel.biogenic, fuel.density
    p["fuel_u_ttw_rel"], p["fuel_u_wtt_rel"] = fuel.u_ttw_rel, fuel.u_wtt_rel
    p["level_size"] = _pick(v.tank_l, np.nan)
    p["level_per_amount"] = 1.0 / PER_UNIT
    if p["fuel_is_gas"]:
        p["level_per_amount"] = 1.0 / (LNG_KG_PER_L * PER_UNIT) if "lng" in v.fuel else np.nan
    p["idle_g_per_h"] = defaults.idle_lph * DIESEL_KG_PER_L * 1000.0
    if fuel.lhv > 0:  # the classes' fuel figures are diesel's: the same energy weighs more or less as another fuel
        energy = DIESEL_LHV / fuel.lhv * (GAS_ENERGY if fuel.unit == "kg" else 1.0)
        for name in ("willans_a", "willans_b", "idle_g_per_h"):
            p[name] *= energy
    p["fuel_per_g"] = 1.0 / (1000.0 * (1.0 if fuel.unit == "kg" else fuel.density))
    per_kwh = KG_PER_KWH_CAP if fuel.unit == "kg" else LITRE_PER_KWH_CAP
    p["fuel_cap_per_s"] = p["p_rated_kw"] * per_kwh / 3600.0 * PER_UNIT


def _gas_oil(p: np.void, factors: FactorSet) -> None:
    """Refrigeration units and generators burn gas oil."""
    fuel = fuel_factors(factors, "gas_oil")
    p["gas_oil_ttw"], p["gas_oil_wtt"], p["gas_oil_co2"] = fuel.ttw, fuel.wtt, fuel.co2
    p["gas_oil_ch4"], p["gas_oil_n2o"], p["gas_oil_u_ttw_rel"] = fuel.ch4, fuel.n2o, fuel.u_ttw_rel


def _warehouse_params(p: np.void, w: Warehouse, factors: FactorSet, market: MarketIndex) -> None:
    grid = grid_factors(factors, w.grid_zone)
    p["grid_total"], p["grid_u_rel"] = grid.total, grid.u_rel
    p["grid_market"] = market_total(grid, w.warehouse, w.grid_zone, market)
    p["solar_wtt"], p["solar_u_rel"] = solar_factor(factors)
    if w.heat_factor_kg_per_kwh is not None:
        if not w.heat_source:
            raise FactorError("heat_factor_kg_per_kwh needs heat_source: who told it, and for which year")
        p["heat_wtt"] = w.heat_factor_kg_per_kwh
    if w.refrigerant:
        p["refrigerant_gwp"] = refrigerant_gwp(factors, w.refrigerant)
    p["gas_ttw"] = factors.value("natural_gas", "ttw", Unit.KG_CO2E_PER_KWH_GROSS)
    p["gas_wtt"] = factors.value("natural_gas", "wtt", Unit.KG_CO2E_PER_KWH_GROSS)
    _gas_oil(p, factors)


def _yard(w: Warehouse) -> Place:
    return Place(w.warehouse, w.name, "warehouse", w.lat_deg, w.lon_deg, _pick(w.radius_m, DEFAULT_RADIUS_M))


def build_fleet(
    vehicles: Sequence[Vehicle],
    warehouses: Sequence[Warehouse],
    routes: Sequence[Route],
    factors: FactorSet,
    classes: ClassTable,
    places: Sequence[Place] = (),
    regions: Sequence[Region] = (),
    market: Sequence[MarketFactor] = (),
) -> Fleet:
    """Resolve classes and factors for every device. Raises ValueError naming the vehicle or warehouse and what is wrong with it.

    Every warehouse is a place by itself, before those of ``places``.
    """
    places = (*(_yard(w) for w in warehouses), *places)
    geography = build_geography(places, regions, routes)
    instruments = market_index(market)
    route_index = {r.route: i for i, r in enumerate(routes)}
    devices = [v.device for v in vehicles] + [w.device for w in warehouses]
    assets = [v.vehicle for v in vehicles] + [w.warehouse for w in warehouses]
    params = np.zeros(len(devices), PARAMS)
    for name in PARAMS.names or ():
        if PARAMS[name].kind == "f":
            params[name] = np.nan
    params["asset"] = np.arange(len(devices))
    params["route"] = params["region"] = -1
    fuels: dict[str, FuelFactors] = {}
    for i, v in enumerate(vehicles):
        p = params[i]
        p["kind"] = ASSET_KINDS.index("vehicle")
        if v.route is not None:
            if v.route not in route_index:
                raise ValueError(f"vehicle {v.vehicle}: route {v.route!r} is not in routes.csv")
            p["route"] = route_index[v.route]
        try:
            _vehicle_params(p, v, factors, classes, fuels, instruments)
        except FactorError as e:
            raise ValueError(f"vehicle {v.vehicle}: {e}") from e
    for i, w in enumerate(warehouses, start=len(vehicles)):
        params[i]["kind"] = ASSET_KINDS.index("warehouse")
        params[i]["region"] = region_at(geography.regions, w.lat_deg, w.lon_deg)
        try:
            _warehouse_params(params[i], w, factors, instruments)
        except FactorError as e:
            raise ValueError(f"warehouse {w.warehouse}: {e}") from e
    index = {d: i for i, d in enumerate(devices)}
    if len(index) != len(devices):
        doubled = sorted({d for d in devices if devices.count(d) > 1})
        raise ValueError(f"device {doubled[0]!r} is fitted twice")
    return Fleet(
        tuple(vehicles),
        tuple(warehouses),
        tuple(routes),
        factors.name,
        tuple(devices),
        tuple(assets),
        params,
        index,
        places,
        tuple(regions),
        geography,
    )
