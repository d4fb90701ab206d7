"""One vehicle's longitudinal physics, stepped at 10 Hz: shaft to road, tank or battery to shaft.

Forces are integrated forwards in time: the driver asks for an acceleration, the drivetrain gives what engine, gear and brakes can,
the difference to the resistances moves the mass. Gears and wheels have inertia, an automated gearbox interrupts the torque.

References
----------
Drag with yaw: Cooper, SAE 821285 (wind-averaged drag of heavy vehicles), here as a saturating function of sin^2 of the yaw angle.
Rolling: Wong, Theory of Ground Vehicles, 4th ed., eq. 1.7 (radial truck tyre f = 0.006 + 0.23e-6 V^2, V in km/h), scaled to the
label value at 80 km/h of ISO 28580; 0.6 % less per K of tyre temperature, which follows the air and half an hour of driving.
"""

import math

from simulators.engine import battery_internal_w, friction_nm, fuel_lps, full_load_nm, motor_loss_w
from simulators.kernel import kernel
from simulators.layout import (
    P_AUX,
    P_BATTERY_J,
    P_CDA,
    P_CRR,
    P_ELECTRIC,
    P_ENGINE_INERTIA,
    P_ETA_DRIVE,
    P_GEAR_1,
    P_GEARS,
    P_HVAC,
    P_N_IDLE,
    P_N_LOW,
    P_N_RATED,
    P_POWER,
    P_REGEN,
    P_RETARDER,
    P_REV,
    P_T_MAX,
    P_TRU,
    P_TRU_COOLING,
    P_TRU_HIGH_LPH,
    P_TRU_LOW_LPH,
    P_TRU_SET_C,
    P_TRU_UA,
    P_WHEEL_MASS,
    P_YAW_A,
    P_YAW_B,
    S_A,
    S_AMBIENT_C,
    S_BOX_C,
    S_BRAKING,
    S_CHARGE,
    S_CRR,
    S_DISTANCE,
    S_ENERGY,
    S_ENGINE_ON,
    S_ENGINE_WARM,
    S_FUEL,
    S_FUEL_RATE,
    S_GEAR,
    S_GRADE,
    S_LOAD_PCT,
    S_MASS,
    S_N,
    S_POS,
    S_POWER,
    S_RHO,
    S_ROUGH,
    S_SHIFT,
    S_SHIFT_HOLD,
    S_SNOW,
    S_TANK,
    S_TORQUE_PCT,
    S_TRU_FUEL,
    S_TRU_MODE,
    S_TRU_TANK,
    S_TYRE_C,
    S_V,
    S_WET,
    S_WIND_ACROSS,
    S_WIND_ALONG,
    Vector,
)

G = 9.80665
SHIFT_S = 0.6  # torque gap of an automated gearbox
HOLD_S = 2.0  # least time between two shifts
REGEN_FADE_MS = 2.0  # below it a motor no longer brakes; full from twice that
TYRE_REF_C = 60.0  # a truck tyre at 25 °C air after an hour on the road
TYRE_TAU_S = 1500.0
ENGINE_TAU_S = 600.0


@kernel
def drag_n(p: Vector, s: Vector, v: float) -> float:
    """Air drag at road speed ``v`` [m/s], against the motion."""
    along = v + s[S_WIND_ALONG]
    across = s[S_WIND_ACROSS]
    air2 = along * along + across * across
    if air2 < 0.01:
        return 0.0
    sin2 = min(0.06, across * across / air2)
    cda = p[P_CDA] * (1.0 + p[P_YAW_A] * sin2 / (1.0 + p[P_YAW_B] * sin2))
    force: float = 0.5 * s[S_RHO] * cda * math.sqrt(air2) * along
    return force


@kernel
def resistance_n(p: Vector, s: Vector, v: float) -> float:
    """Drag, rolling and slope [N] at ``v`` [m/s]; small angles are not assumed."""
    slope = s[S_GRADE]
    cos = 1.0 / math.sqrt(1.0 + slope * slope)
    kmh = v * 3.6
    crr = s[S_CRR] * (0.006 + 0.23e-6 * kmh * kmh) / 0.007472
    total: float = drag_n(p, s, v) + s[S_MASS] * G * cos * (crr + slope)
    return total


@kernel
def choose_gear(p: Vector, s: Vector, v: float, force: float) -> int:
    """Highest gear that keeps the engine above its lugging speed with torque in hand; 1 where none does."""
    low = p[P_N_LOW] * (0.93 + 0.12 * (p[P_REV] - 1.0))
    ceiling = p[P_N_RATED] * min(1.0, 0.92 * p[P_REV])
    now = int(s[S_GEAR])
    for i in range(int(p[P_GEARS]), 1, -1):
        ratio = p[P_GEAR_1 + i - 1]
        n = v * ratio
        # Going up asks for more speed and torque in hand than staying, so gears do not hunt.
        margin = 1.12 if i > now else 1.0
        if n < low * margin:
            continue
        if n > ceiling:
            break
        if force <= full_load_nm(p, n) * ratio * p[P_ETA_DRIVE] * (0.85 if i > now else 0.98):
            return i
    best = 1
    for i in range(int(p[P_GEARS]), 0, -1):  # not enough torque anywhere: the gear with the most pull below the ceiling
        ratio = p[P_GEAR_1 + i - 1]
        if v * ratio <= ceiling:
            best = i
        else:
            break
    return best


@kernel
def move(s: Vector, p: Vector, a_want: float, dt: float) -> None:
    """One step of a moving vehicle: speed, distance, gear, fuel or energy. ``a_want`` [m/s2] is what the driver asks for."""
    v = s[S_V]
    resist = resistance_n(p, s, v)
    if p[P_ELECTRIC] > 0.0:
        force = _electric(s, p, a_want, resist, dt)
        mass = s[S_MASS] + p[P_WHEEL_MASS] + p[P_ENGINE_INERTIA] * p[P_GEAR_1] * p[P_GEAR_1]
    else:
        gear = int(s[S_GEAR])
        s[S_SHIFT_HOLD] -= dt
        if s[S_SHIFT] > 0.0:
            s[S_SHIFT] -= dt
        elif s[S_SHIFT_HOLD] <= 0.0:
            # The gear is chosen for the force of the moment, a real gearbox sees no future either.
            wanted = choose_gear(p, s, v, max(0.0, s[S_MASS] * a_want + resist))
            if wanted != gear:
                if v > 0.5:
                    s[S_SHIFT] = SHIFT_S
                gear = wanted
                s[S_GEAR] = float(gear)
                s[S_SHIFT_HOLD] = HOLD_S
            else:
                s[S_SHIFT_HOLD] = 0.5
        ratio = p[P_GEAR_1 + gear - 1]
        mass = s[S_MASS] + p[P_WHEEL_MASS] + p[P_ENGINE_INERTIA] * ratio * ratio
        force = _combustion(s, p, a_want * mass + resist, ratio, dt)
    a = (force - resist) / mass
    new = v + a * dt
    if new < 0.0 or (new < 0.03 and a_want <= 0.0):
        new = 0.0
    ds = 0.5 * (v + new) * dt
    s[S_A] = (new - v) / dt
    s[S_V] = new
    s[S_POS] += ds
    s[S_DISTANCE] += ds


@kernel
def _combustion(s: Vector, p: Vector, wanted: float, ratio: float, dt: float) -> float:
    """Wheel force [N] the engine and the brakes give for a ``wanted`` one; books fuel."""
    n = max(p[P_N_IDLE], s[S_V] * ratio)
    slipping = s[S_V] * ratio < p[P_N_IDLE]
    eta = p[P_ETA_DRIVE]
    friction = friction_nm(p, n, s[S_ENGINE_WARM])
    aux = (p[P_AUX] + p[P_HVAC] * abs(s[S_AMBIENT_C] - 18.0)) / n
    if s[S_SHIFT] > 0.0:
        n = max(p[P_N_IDLE], s[S_N] + (n - s[S_N]) * 0.3)
        shaft = 0.0
        force = 0.0
    elif wanted >= 0.0:
        shaft = max(0.0, min(wanted / (ratio * eta), full_load_nm(p, n) - aux))
        force = shaft * ratio * eta
    elif slipping:
        shaft = 0.0
        force = wanted
    else:
        shaft = max(wanted * eta / ratio, -(friction + aux))
        force = wanted
    held = -force if slipping else -force - (friction + aux) * ratio / eta  # what engine drag leaves to do
    s[S_BRAKING] = 1.0 if held > p[P_RETARDER] / max(s[S_V], 3.0) else 0.0
    rate = fuel_lps(p, n, shaft + aux, friction)
    s[S_N] = n
    s[S_TORQUE_PCT] = 100.0 * max(0.0, shaft + aux + friction) / p[P_T_MAX]
    s[S_LOAD_PCT] = 100.0 * max(0.0, shaft + aux) / full_load_nm(p, n)
    s[S_FUEL_RATE] = rate
    s[S_FUEL] += rate * dt
    s[S_TANK] -= rate * dt
    return force


@kernel
def _electric(s: Vector, p: Vector, a_want: float, resist: float, dt: float) -> float:
    """Wheel force [N] of motor and brakes; books energy at the battery's terminals."""
    v = s[S_V]
    ratio = p[P_GEAR_1]
    w = v * ratio
    eta = p[P_ETA_DRIVE]
    mass = s[S_MASS] + p[P_WHEEL_MASS] + p[P_ENGINE_INERTIA] * ratio * ratio
    wanted = a_want * mass + resist
    top = p[P_T_MAX] if w * p[P_T_MAX] <= p[P_POWER] else p[P_POWER] / w
    if wanted >= 0.0:
        shaft = min(top, wanted / (ratio * eta))
        force = shaft * ratio * eta
        s[S_BRAKING] = 0.0
    else:
        fade = min(1.0, max(0.0, v / REGEN_FADE_MS - 1.0))
        if s[S_CHARGE] > 0.96 * p[P_BATTERY_J]:
            fade = 0.0
        limit = min(top, p[P_REGEN] / max(w, 1.0)) * fade
        shaft = -min(limit, -wanted * eta / ratio)
        force = wanted
        s[S_BRAKING] = 1.0 if -wanted * eta / ratio > limit else 0.0
    terminal = shaft * w + motor_loss_w(p, shaft, w) + accessories_w(s, p)
    s[S_N] = w
    s[S_TORQUE_PCT] = 100.0 * shaft / p[P_T_MAX]
    s[S_LOAD_PCT] = 100.0 * abs(shaft) / top
    _book_energy(s, p, terminal, dt)
    given: float = force
    return given


@kernel
def accessories_w(s: Vector, p: Vector) -> float:
    """Auxiliaries of a battery vehicle [W]: steering, air, cooling, and the cabin by its distance from 18 °C."""
    watts: float = p[P_AUX] + p[P_HVAC] * abs(s[S_AMBIENT_C] - 18.0)
    return watts


@kernel
def _book_energy(s: Vector, p: Vector, terminal_w: float, dt: float) -> None:
    s[S_POWER] = terminal_w
    s[S_ENERGY] += terminal_w * dt
    s[S_CHARGE] -= battery_internal_w(p, terminal_w) * dt


@kernel
def stand(s: Vector, p: Vector, dt: float) -> None:
    """One step of a vehicle at rest: idling where the engine is on, else nothing; any ``dt``."""
    s[S_V] = 0.0
    s[S_A] = 0.0
    s[S_SHIFT] = 0.0
    s[S_GEAR] = 1.0
    s[S_BRAKING] = 0.0
    s[S_TORQUE_PCT] = 0.0
    s[S_LOAD_PCT] = 0.0
    s[S_N] = 0.0
    s[S_FUEL_RATE] = 0.0
    s[S_POWER] = 0.0
    if s[S_ENGINE_ON] <= 0.0:
        return
    if p[P_ELECTRIC] > 0.0:
        _book_energy(s, p, accessories_w(s, p), dt)
        return
    n = p[P_N_IDLE]
    friction = friction_nm(p, n, s[S_ENGINE_WARM])
    aux = (p[P_AUX] + p[P_HVAC] * abs(s[S_AMBIENT_C] - 18.0)) / n
    rate = fuel_lps(p, n, aux, friction)
    s[S_N] = n
    s[S_TORQUE_PCT] = 100.0 * (aux + friction) / p[P_T_MAX]
    s[S_LOAD_PCT] = 100.0 * aux / full_load_nm(p, n)
    s[S_FUEL_RATE] = rate
    s[S_FUEL] += rate * dt
    s[S_TANK] -= rate * dt


@kernel
def warm_up(s: Vector, p: Vector, dt: float) -> None:
    """Slow heat: engine, tyres, and with them the rolling resistance; call about once a second."""
    air = s[S_AMBIENT_C]
    goal = 1.0 if s[S_ENGINE_ON] > 0.0 else 0.0
    tau = ENGINE_TAU_S if goal > 0.0 else 12.0 * ENGINE_TAU_S
    s[S_ENGINE_WARM] += (goal - s[S_ENGINE_WARM]) * min(1.0, dt / tau)
    rise = TYRE_REF_C - 25.0
    tyre_goal = air + rise * min(1.0, s[S_V] / 20.0)
    s[S_TYRE_C] += (tyre_goal - s[S_TYRE_C]) * min(1.0, dt / TYRE_TAU_S)
    factor = max(0.8, 1.0 - 0.006 * (s[S_TYRE_C] - TYRE_REF_C))
    s[S_CRR] = p[P_CRR] * factor * s[S_ROUGH] * (1.0 + 0.12 * s[S_WET]) * (1.0 + 0.3 * s[S_SNOW])


@kernel
def refrigerate(s: Vector, p: Vector, door_open: bool, dt: float) -> None:
    """The refrigeration unit: a box with a wall, a door and a two-speed diesel of its own; ``dt`` up to 60 s."""
    if p[P_TRU] <= 0.0:
        return
    gap = s[S_AMBIENT_C] - s[S_BOX_C]
    above = s[S_BOX_C] - p[P_TRU_SET_C]
    cold = 0.0
    rate = 0.0
    if s[S_TRU_MODE] >= 2.0:
        cold, rate = p[P_TRU_COOLING], p[P_TRU_HIGH_LPH]
    elif s[S_TRU_MODE] >= 1.0:
        # Hot gas and suction throttling trim the low speed to what the box needs.
        cold = min(0.3 * p[P_TRU_COOLING], max(0.0, p[P_TRU_UA] * gap + 400.0 * above))
        rate = p[P_TRU_LOW_LPH]
    heat = p[P_TRU_UA] * gap * (6.0 if door_open else 1.0) - cold
    s[S_BOX_C] += heat * dt / 1.2e6  # air, walls and the skin of the goods
    above = s[S_BOX_C] - p[P_TRU_SET_C]
    if s[S_TRU_MODE] > 0.0:  # it runs: which speed
        # Frozen goods: the unit stops when satisfied. Fresh goods need the air moved: it runs on at low speed.
        satisfied = 0.5 if p[P_TRU_SET_C] < -5.0 else 1.0
        if above > 1.5:
            s[S_TRU_MODE] = 2.0
        elif above < -1.0:
            s[S_TRU_MODE] = satisfied
        elif above < 0.0 or (s[S_TRU_MODE] < 1.0 and above > 0.8):
            s[S_TRU_MODE] = min(s[S_TRU_MODE], 1.0) if above < 0.0 else 1.0
    s[S_TRU_FUEL] += rate * dt / 3600.0
    s[S_TRU_TANK] -= rate * dt / 3600.0
