"""Vehicle classes and the spread within them: nameplate figures in, one parameter vector per vehicle out.

Sources: engines from data sheets of series engines of the class (Iveco F1A 2.3, Mercedes-Benz OM934 and OM936, Cummins ISB6.7,
Volvo D11, Volvo D13 / Paccar MX-13, Iveco Cursor 13 NP for gas); gearboxes ZF 6S 400, 6S 1000 and 12 AS 2331 (ratio tables of
the manufacturer); drag area and trailer mass from VECTO's certified range and standard bodies; tyres from the EU label
(Regulation 2020/740, classes B to D); electric drives from data sheets of an e-Transit-sized van and a 350 kWh swap tractor.
Heat values: UK conversion factors 2025 (density times net calorific value). Spread: certified drag +-4 %, tyres one half label
class, engine efficiency +-1.5 %, tare +-2 % (one standard deviation each).
"""

import math
from dataclasses import dataclass
from typing import Final

from simulators import layout as at
from simulators.rng import gauss, key_of, uniform

FUELS: Final = ("diesel_b0", "diesel_b7", "hvo100", "hvo30", "lng", "electricity")
MJ_PER_L: Final = {  # B0 0.8299 kg/L x 43.03, FAME 0.890 x 37.2, HVO 0.780 x 44.0, LNG 0.4525 x 45.5; blends by volume
    "diesel_b0": 35.71,
    "diesel_b7": 35.53,
    "hvo100": 34.32,
    "hvo30": 35.29,
    "lng": 20.59,
}
LNG_KG_PER_L: Final = 0.4525
STYLES: Final = ("eco", "normal", "aggressive")
_STYLE: Final = {  # acceleration and braking of the class's, pace, engine speed, share of short stops with the engine on
    "eco": (0.75, 0.6, 0.97, 0.95, 0.1),
    "normal": (1.0, 0.9, 1.0, 1.0, 0.35),
    "aggressive": (1.45, 1.7, 1.05, 1.25, 0.85),
}
_SIX_SMALL: Final = (5.375, 3.154, 2.041, 1.365, 1.0, 0.791)
_SIX: Final = (6.75, 3.60, 2.13, 1.39, 1.0, 0.78)
_TWELVE: Final = (15.86, 12.33, 9.57, 7.44, 5.87, 4.57, 3.47, 2.70, 2.10, 1.63, 1.29, 1.00)


@dataclass(frozen=True, slots=True)
class VehicleClass:
    """Nameplate and body of a class. Masses kg, lengths m, power W, speed rpm."""

    tare_kg: float
    gvw_kg: float
    pallets: int
    cda_m2: float
    yaw: tuple[float, float]
    crr: float
    wheel_mass_kg: float
    power_w: float
    torque_nm: float
    gears: tuple[float, ...]
    final_drive: float
    tyre_m: float
    accel_ms2: float
    aux_w: float
    v_max_ms: float
    tank_l: float = 0.0
    displacement_l: float = 0.0
    stroke_m: float = 0.0
    rpm: tuple[float, float, float] = (0.0, 0.0, 0.0)  # idle, start of full torque, rated
    inertia: float = 0.0
    tru: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # high and low L/h, cooling W, wall W/K
    battery_kwh: float = 0.0
    battery_v: float = 0.0
    battery_ohm: float = 0.0
    motor: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # copper, iron, windage, constant
    hvac_w_per_k: float = 15.0

    @property
    def electric(self) -> bool:
        """Whether a battery drives it."""
        return self.battery_kwh > 0.0


CLASSES: Final = {
    "van_3.5t": VehicleClass(
        2250, 3500, 4, 1.72, (6.0, 14.0), 0.0085, 60, 110e3, 350, _SIX_SMALL, 3.5, 0.34, 1.7, 550, 36.0, tank_l=75,
        displacement_l=2.3, stroke_m=0.094, rpm=(800, 1500, 3600), inertia=0.25, tru=(1.4, 0.7, 3.5e3, 18.0),
    ),
    "rigid_7.5t": VehicleClass(
        4550, 7500, 14, 3.85, (9.0, 15.0), 0.0074, 120, 130e3, 750, _SIX, 3.3, 0.376, 1.25, 1300, 25.0, tank_l=120,
        displacement_l=5.13, stroke_m=0.135, rpm=(650, 1150, 2200), inertia=0.9, tru=(1.9, 0.9, 6e3, 30.0),
    ),
    "rigid_12t": VehicleClass(
        6450, 12000, 16, 4.7, (10.0, 15.0), 0.0068, 190, 170e3, 900, _SIX, 3.7, 0.41, 1.1, 1900, 25.0, tank_l=180,
        displacement_l=6.7, stroke_m=0.124, rpm=(650, 1150, 2300), inertia=1.2, tru=(2.2, 1.0, 8e3, 36.0),
    ),
    "rigid_18t": VehicleClass(
        9200, 18000, 18, 5.25, (11.0, 15.0), 0.0062, 290, 220e3, 1200, _TWELVE, 2.85, 0.49, 0.95, 2600, 24.7, tank_l=300,
        displacement_l=7.7, stroke_m=0.135, rpm=(600, 1100, 2200), inertia=1.6, tru=(2.6, 1.2, 10e3, 42.0),
    ),
    "rigid_26t": VehicleClass(
        11600, 26000, 18, 5.45, (11.0, 15.0), 0.0060, 400, 260e3, 1700, _TWELVE, 2.85, 0.49, 0.85, 3200, 24.7, tank_l=350,
        displacement_l=10.8, stroke_m=0.152, rpm=(570, 980, 1800), inertia=2.6, tru=(2.8, 1.3, 11e3, 44.0),
    ),
    "artic_40t": VehicleClass(
        14800, 40000, 33, 5.3, (25.0, 25.0), 0.0054, 620, 335e3, 2300, _TWELVE, 2.64, 0.49, 0.75, 3800, 24.7, tank_l=620,
        displacement_l=12.8, stroke_m=0.158, rpm=(560, 900, 1750), inertia=3.2, tru=(3.4, 1.6, 15e3, 62.0),
    ),
    "bev_van_3.5t": VehicleClass(
        2580, 4250, 4, 1.72, (6.0, 14.0), 0.0085, 60, 135e3, 430, (1.0,), 10.4, 0.345, 1.9, 300, 36.0,
        inertia=0.08, battery_kwh=68, battery_v=375, battery_ohm=0.07, motor=(0.05, 1.0, 1.2e-6, 250),
        tru=(1.4, 0.7, 3.5e3, 18.0), hvac_w_per_k=60.0,
    ),
    "bev_artic_40t": VehicleClass(
        18600, 42000, 33, 5.3, (25.0, 25.0), 0.0054, 620, 400e3, 2800, (1.0,), 16.0, 0.49, 0.8, 3500, 24.7,
        inertia=0.6, battery_kwh=350, battery_v=650, battery_ohm=0.05, motor=(0.005, 3.0, 6e-6, 600),
        tru=(3.4, 1.6, 15e3, 62.0), hvac_w_per_k=70.0,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One drawn vehicle: its vector ``p`` and what its papers say (``paper_*``: the registry never knows the true values)."""

    name: str
    device: str
    vehicle_class: str
    fuel: str
    style: str
    p: tuple[float, ...]
    paper_tare_kg: float
    paper_cda_m2: float
    paper_crr: float
    vin: str


def _vin(key: int) -> str:
    letters = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
    return "FC2" + "".join(letters[int(uniform(key, 700 + i) * len(letters))] for i in range(14))


def draw_vehicle(
    seed: int,
    name: str,
    *,
    vehicle_class: str,
    fuel: str,
    style: str = "normal",
    refrigerated: bool = False,
    tru_set_c: float = 4.0,
    tare_kg: float | None = None,
    gvw_kg: float | None = None,
    crr_factor: float = 1.0,
    cda_factor: float = 1.0,
    spread: float = 1.0,
) -> Vehicle:
    """A vehicle of a class, differing from the next by ``seed`` and ``name``; ``spread`` 0 gives the class's nominal one.

    Raises KeyError for a class, fuel or style that does not exist and ValueError where fuel and class do not fit.
    """
    c = CLASSES[vehicle_class]
    if c.electric != (fuel == "electricity"):
        msg = f"{vehicle_class} does not run on {fuel}"
        raise ValueError(msg)
    key = key_of(seed, "vehicle", name)
    p = [0.0] * at.N_PARAMS

    def vary(stream: int, sd: float) -> float:
        return 1.0 + spread * sd * gauss(key, stream)

    gas = fuel == "lng"
    p[at.P_ELECTRIC] = float(c.electric)
    p[at.P_GAS] = float(gas)
    p[at.P_TARE] = tare_kg if tare_kg is not None else c.tare_kg * vary(1, 0.02) + (700.0 if refrigerated else 0.0)
    p[at.P_GVW] = gvw_kg if gvw_kg is not None else c.gvw_kg
    p[at.P_PALLETS] = c.pallets
    p[at.P_CDA] = c.cda_m2 * cda_factor * vary(2, 0.04)
    p[at.P_YAW_A], p[at.P_YAW_B] = c.yaw
    p[at.P_CRR] = c.crr * crr_factor * vary(3, 0.06)
    p[at.P_WHEEL_MASS] = c.wheel_mass_kg
    p[at.P_ENGINE_INERTIA] = c.inertia
    p[at.P_GEARS] = len(c.gears)
    p[at.P_ETA_DRIVE] = 0.96 if len(c.gears) == 12 or c.electric else 0.94
    p[at.P_V_MAX] = c.v_max_ms
    p[at.P_T_MAX] = c.torque_nm * (0.9 if gas else 1.0)
    p[at.P_POWER] = c.power_w
    if not c.electric:
        idle, low, rated = (x * math.pi / 30.0 for x in c.rpm)
        p[at.P_DISPLACEMENT] = c.displacement_l / 1000.0
        p[at.P_STROKE] = c.stroke_m
        p[at.P_N_IDLE], p[at.P_N_LOW], p[at.P_N_RATED] = idle, low, rated
        p[at.P_N_BEST] = 0.5 * low + 0.25 * rated + 0.25 * low
        small = {"van_3.5t": 0.415, "rigid_7.5t": 0.455, "rigid_12t": 0.46}.get(vehicle_class, 0.475)
        p[at.P_INDICATED] = (0.405 if gas else small) * vary(4, 0.015)
        p[at.P_J_PER_L] = MJ_PER_L[fuel] * 1e6
        p[at.P_RETARDER] = 0.0 if vehicle_class == "van_3.5t" else 0.9 * c.power_w
        p[at.P_TANK] = c.tank_l * (1.6 if gas else 1.0)
        p[at.P_ADBLUE] = 0.0 if gas else 0.05 * vary(5, 0.1)
    else:
        p[at.P_MOTOR_KC], p[at.P_MOTOR_KI], p[at.P_MOTOR_KW], p[at.P_MOTOR_C] = (x * vary(4, 0.06) for x in c.motor)
        p[at.P_REGEN] = 0.6 * c.power_w
        p[at.P_BATTERY_J] = c.battery_kwh * 3.6e6 * (1.0 - 0.08 * spread * uniform(key, 6))
        p[at.P_BATTERY_V] = c.battery_v
        p[at.P_BATTERY_R] = c.battery_ohm * vary(7, 0.1)
    p[at.P_AUX] = c.aux_w * vary(8, 0.12)
    p[at.P_HVAC] = c.hvac_w_per_k * vary(9, 0.15)
    accel, brake, pace, rev, idle_share = _STYLE[style]
    p[at.P_ACCEL] = c.accel_ms2 * accel * vary(10, 0.08)
    p[at.P_BRAKE] = brake * (0.7 + 0.3 * c.accel_ms2) * vary(11, 0.08)
    p[at.P_PACE] = pace * vary(12, 0.01)
    p[at.P_REV] = rev
    p[at.P_IDLE_SHARE] = idle_share
    if refrigerated:
        p[at.P_TRU] = 1.0
        p[at.P_TRU_HIGH_LPH], p[at.P_TRU_LOW_LPH], p[at.P_TRU_COOLING], p[at.P_TRU_UA] = c.tru
        p[at.P_TRU_HIGH_LPH] *= vary(13, 0.1)
        p[at.P_TRU_LOW_LPH] *= vary(13, 0.1)
        p[at.P_TRU_SET_C] = tru_set_c
    for i, gear in enumerate(c.gears):
        p[at.P_GEAR_1 + i] = gear * c.final_drive / c.tyre_m
    return Vehicle(
        name=name,
        device=f"gw-{name}",
        vehicle_class=vehicle_class,
        fuel=fuel,
        style=style,
        p=tuple(p),
        paper_tare_kg=round(p[at.P_TARE] * (1.0 + 0.006 * gauss(key, 20)), -1),
        paper_cda_m2=round(p[at.P_CDA] * (1.0 + 0.025 * gauss(key, 21)), 2),
        paper_crr=round(p[at.P_CRR] * (1.0 + 0.04 * gauss(key, 22)), 5),
        vin=_vin(key),
    )
