"""Engines and electric drives: what leaves the tank or the battery for a torque at the shaft.

Combustion: indicated work against friction. The motoring loss is the mean effective pressure of Heywood [1], the fuel follows
from the indicated efficiency, so nothing here is a line through power (the Willans form of other models). Electric: the loss
polynomial of Guzzella and Sciarretta [2] behind a battery of constant open-circuit voltage and resistance.

References
----------
.. [1] Heywood, Internal Combustion Engine Fundamentals, 1988, eq. 13.6 (data of Millington and Hartles, SAE 680590): direct
       injection diesel, tfmep = 75 + 48 N/1000 + 0.4 Sp^2 [kPa], N in rpm, Sp mean piston speed in m/s.
.. [2] Guzzella, Sciarretta, Vehicle Propulsion Systems, 3rd ed. 2013, sections 3.2 (engine) and 4.3, 4.5 (motor, battery).
"""

import math

from simulators.kernel import kernel
from simulators.layout import (
    P_BATTERY_R,
    P_BATTERY_V,
    P_DISPLACEMENT,
    P_GAS,
    P_INDICATED,
    P_J_PER_L,
    P_MOTOR_C,
    P_MOTOR_KC,
    P_MOTOR_KI,
    P_MOTOR_KW,
    P_N_BEST,
    P_N_IDLE,
    P_N_LOW,
    P_N_RATED,
    P_POWER,
    P_STROKE,
    P_T_MAX,
    Vector,
)

RAD_S_PER_RPM = math.pi / 30.0


@kernel
def friction_nm(p: Vector, n: float, warm: float) -> float:
    """Torque that turns the unfired engine at ``n`` [rad/s]; a cold engine (``warm`` 0 to 1) takes up to 60 % more."""
    rpm = n / RAD_S_PER_RPM
    piston_ms = p[P_STROKE] * n / math.pi
    kpa = 75.0 + 0.048 * rpm + 0.4 * piston_ms * piston_ms
    if p[P_GAS] > 0.0:
        kpa += 12.0  # a throttled engine pumps more
    torque: float = kpa * 1000.0 * p[P_DISPLACEMENT] / (4.0 * math.pi) * (1.0 + 0.6 * (1.0 - warm))
    return torque


@kernel
def full_load_nm(p: Vector, n: float) -> float:
    """Largest shaft torque at ``n`` [rad/s]: rising from 55 % at idle, flat, then constant power, governed off above rated."""
    top: float = p[P_T_MAX]
    if n < p[P_N_LOW]:
        x = (n - p[P_N_IDLE]) / (p[P_N_LOW] - p[P_N_IDLE])
        rising: float = top * (0.55 + 0.45 * min(1.0, max(0.0, x)))
        return rising
    torque: float = min(top, p[P_POWER] / n)
    over = n / p[P_N_RATED] - 1.0
    if over > 0.0:
        torque *= max(0.0, 1.0 - over / 0.12)
    return torque


@kernel
def fuel_lps(p: Vector, n: float, shaft_nm: float, friction: float) -> float:
    """Fuel flow [L/s] for a torque at the shaft (negative: the engine is dragged, down to no fuel at all)."""
    indicated_nm = shaft_nm + friction
    if indicated_nm <= 0.0:
        return 0.0
    off = n / p[P_N_BEST] - 1.0
    load = indicated_nm / p[P_T_MAX]
    efficiency = p[P_INDICATED] * (1.0 - 0.07 * off * off)
    if load > 0.85:
        efficiency *= 1.0 - 0.12 * (load - 0.85)  # late combustion near full load
    if p[P_GAS] > 0.0 and load < 0.5:
        efficiency *= 1.0 - 0.16 * (0.5 - load)  # throttling
    flow: float = indicated_nm * n / (efficiency * p[P_J_PER_L])
    return flow


@kernel
def motor_loss_w(p: Vector, torque_nm: float, w: float) -> float:
    """Copper, iron and windage losses of motor and inverter at speed ``w`` [rad/s]."""
    loss: float = p[P_MOTOR_KC] * torque_nm * torque_nm + p[P_MOTOR_KI] * w + p[P_MOTOR_KW] * w * w * w + p[P_MOTOR_C]
    return loss


@kernel
def battery_internal_w(p: Vector, terminal_w: float) -> float:
    """Chemical power of the battery [W] that gives ``terminal_w`` at its terminals (negative: charging)."""
    v = p[P_BATTERY_V]
    r = p[P_BATTERY_R]
    root = v * v - 4.0 * r * terminal_w
    amps = (v - math.sqrt(max(0.0, root))) / (2.0 * r)
    internal: float = v * amps
    return internal
