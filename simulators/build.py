"""From a scenario and a seed to vehicles: drawn parameters, first state, what the dispatcher and the registry know."""

import math
from dataclasses import dataclass
from typing import Final

from simulators import layout as at
from simulators import sensors
from simulators.classes import STYLES, Vehicle, draw_vehicle
from simulators.rng import gauss, key_of, uniform
from simulators.scenario import Fleet, Scenario
from simulators.trips import Carrier

FUEL_MIX: Final = (("high_resolution", 0.5), ("total", 0.25), ("rate", 0.15), ("none", 0.1))
FITTED: Final = {
    "high_resolution": sensors.FIT_HIGH_RESOLUTION | sensors.FIT_TOTAL | sensors.FIT_RATE,
    "total": sensors.FIT_TOTAL | sensors.FIT_RATE,
    "rate": sensors.FIT_RATE,
    "none": 0,
}
NEVER_S: Final = 1e18


@dataclass(frozen=True, slots=True)
class Built:
    """One vehicle, ready to run."""

    vehicle: Vehicle
    carrier: Carrier
    params: tuple[float, ...]
    state: tuple[float, ...]
    registry: dict[str, object]


def lies_of(scenario: Scenario) -> int:
    """The bits of ``layout.P_LIES`` that a scenario's [sensors] switch on."""
    return sum(1 << i for i, name in enumerate(sensors.LIES) if getattr(scenario.sensors, name))


def build_vehicles(scenario: Scenario, seed: int, hour_0: float, traces: list[tuple[int, int]]) -> list[Built]:
    """All vehicles of a scenario. ``hour_0``: local hour at which the world begins."""
    return [
        build_vehicle(scenario, fleet, seed, number, hour_0, traces)
        for fleet in scenario.fleet
        for number in range(1, fleet.count + 1)
    ]


def build_vehicle(
    scenario: Scenario, fleet: Fleet, seed: int, number: int, hour_0: float, traces: list[tuple[int, int]]
) -> Built:
    """Vehicle ``number`` (from 1) of ``fleet``."""
    name = f"{fleet.name}-{number:04d}"
    key = key_of(seed, "fleet", name)
    vehicle = draw_vehicle(
        seed,
        name,
        vehicle_class=fleet.vehicle_class,
        fuel=fleet.fuel,
        style=_style(fleet, uniform(key, 1)),
        refrigerated=fleet.refrigerated,
        tru_set_c=fleet.tru_set_c,
        tare_kg=fleet.tare_kg,
        gvw_kg=fleet.gvw_kg,
    )
    p = list(vehicle.p)
    climate = scenario.climate
    p[at.P_TEMP_C], p[at.P_TEMP_SWING_C] = climate.mean_c, climate.day_swing_c
    p[at.P_WIND], p[at.P_RAIN], p[at.P_SNOW] = climate.wind_ms, climate.rain, climate.snow
    p[at.P_CONGESTION] = scenario.congestion
    p[at.P_SOLAR_H0] = hour_0
    p[at.P_SLEEP] = NEVER_S if scenario.always_on else scenario.sleep_s
    p[at.P_LIES] = lies_of(scenario)
    p[at.P_FITTED] = _fitted(fleet, vehicle, key)
    p[at.P_FUEL_BIAS] = 0.015 * gauss(key, 10)
    p[at.P_RATE_BIAS] = 0.01 * gauss(key, 11)
    p[at.P_WHEEL_BIAS] = 0.006 + 0.008 * gauss(key, 12)  # worn tyres turn more often
    p[at.P_ODOMETER_BIAS] = p[at.P_WHEEL_BIAS] + 0.002 * gauss(key, 13)
    p[at.P_ODOMETER_BASE] = 1000.0 * math.floor(20_000.0 + 600_000.0 * uniform(key, 14))
    p[at.P_WEIGHT_NOISE] = 0.02 + 0.03 * uniform(key, 15)
    p[at.P_WEIGHT_BIAS] = 0.012 * gauss(key, 16)
    p[at.P_TEMP_BIAS] = 0.8 * gauss(key, 17)
    p[at.P_HEAT_SOAK] = 1.0 + 3.0 * uniform(key, 18)
    p[at.P_POWER_BIAS] = 0.012 * gauss(key, 19)
    s = _first_state(scenario, fleet, p, key)
    if traces:
        start, length = traces[int(uniform(key, 20) * len(traces))]
        p[at.P_TRACE_AT], p[at.P_TRACE_N] = start, length
        s[at.S_TRACE] = float(int(uniform(key, 21) * length))
    carrier = Carrier(
        fleet=fleet,
        key=key >> 1,
        tare_kg=p[at.P_TARE],
        gvw_kg=p[at.P_GVW],
        pallets=int(p[at.P_PALLETS]),
        battery_kwh=p[at.P_BATTERY_J] / 3.6e6,
        idle_share=p[at.P_IDLE_SHARE],
        knows_order=uniform(key, 22) < fleet.order_weight,
    )
    return Built(vehicle, carrier, tuple(p), tuple(s), _registry(fleet, vehicle, p))


def _style(fleet: Fleet, u: float) -> str:
    weights = [getattr(fleet.styles, style) for style in STYLES]
    left = u * sum(weights)
    for style, weight in zip(STYLES, weights, strict=True):
        left -= weight
        if left < 0.0:
            return style
    return STYLES[-1]


def _fitted(fleet: Fleet, vehicle: Vehicle, key: int) -> float:
    bits = sensors.FIT_LEVEL | (sensors.FIT_ALTIMETER if uniform(key, 30) < 0.7 else 0)
    choice: str | None = fleet.fuel_signals
    if choice is None:
        left = uniform(key, 31)
        choice = "none"
        for name, share in FUEL_MIX:
            left -= share
            if left < 0.0:
                choice = name
                break
    bits |= FITTED[choice]
    if choice == "none" and uniform(key, 32) < 0.3:
        bits |= sensors.FIT_FLOW
    heavy = vehicle.p[at.P_GVW] >= 17_000.0  # air suspension
    fits = fleet.weight_sensor if fleet.weight_sensor is not None else heavy and uniform(key, 33) < 0.75
    return float(bits | (sensors.FIT_WEIGHT if fits else 0))


def _first_state(scenario: Scenario, fleet: Fleet, p: list[float], key: int) -> list[float]:
    s = [0.0] * at.N_STATE
    base = next(place for place in scenario.place if place.id == fleet.base)
    s[at.S_LAT], s[at.S_LON], s[at.S_ALT] = base.lat_deg, base.lon_deg, base.alt_m
    s[at.S_GEAR] = 1.0
    s[at.S_ROUGH] = 1.0
    s[at.S_RHO] = 1.2
    s[at.S_MASS] = p[at.P_TARE]
    s[at.S_AMBIENT_C] = scenario.climate.mean_c
    s[at.S_TYRE_C] = scenario.climate.mean_c
    s[at.S_CRR] = p[at.P_CRR]
    s[at.S_BOX_C] = scenario.climate.mean_c
    s[at.S_TANK] = p[at.P_TANK] * (0.55 + 0.4 * uniform(key, 40))
    s[at.S_TRU_TANK] = 150.0
    s[at.S_CHARGE] = 0.9 * p[at.P_BATTERY_J]
    s[at.S_STOP_AT] = NEVER_S
    s[at.S_OFF_T] = -86_400.0 * (1.0 + 20.0 * uniform(key, 41))
    s[at.S_ECU_BASE] = math.floor(p[at.P_ODOMETER_BASE] / 1000.0 * (0.1 + 0.2 * uniform(key, 42)))
    for i in range(at.N_HELD):
        s[at.S_LAST_1 + i] = math.nan
    return s


def _registry(fleet: Fleet, vehicle: Vehicle, p: list[float]) -> dict[str, object]:
    return {
        "vehicle": vehicle.name,
        "device": vehicle.device,
        "vehicle_class": vehicle.vehicle_class,
        "fuel": vehicle.fuel,
        "route": fleet.routes[0],
        "tare_kg": vehicle.paper_tare_kg,
        "gvw_kg": p[at.P_GVW],
        "cda_m2": vehicle.paper_cda_m2 if fleet.certified else "",
        "crr": vehicle.paper_crr if fleet.certified else "",
        "p_rated_kw": p[at.P_POWER] / 1000.0,
        "tank_l": p[at.P_TANK] if p[at.P_TANK] > 0.0 else "",
        "battery_kwh": p[at.P_BATTERY_J] / 3.6e6 if p[at.P_ELECTRIC] > 0.0 else "",
        "grid_zone": fleet.grid_zone,
        "vin": vehicle.vin,
        "pallet_positions": int(p[at.P_PALLETS]),
        "ref_torque_nm": round(p[at.P_T_MAX]) if p[at.P_ELECTRIC] <= 0.0 else "",
    }
