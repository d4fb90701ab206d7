"""What a vehicle's sensors and gateway make of the truth. Each lie is a bit of ``p[P_LIES]`` and can be left out.

Steps and not-available follow SAE J1939-71; a code that means "not available" leaves the gateway as no value (NaN). Sizes: fuel
+-3 % per vehicle (SAE 2017-01, OSTI 1378890), rate noise 5 % at cruise and 15 % at idle, axle load 2 to 5 % with slope and braking
(TRL RR103), first fix 69 s, position noise 2.5 m correlated over a minute.
"""

import math

from simulators.driver import TRU_TANK_L
from simulators.kernel import kernel
from simulators.layout import (
    K_KIND,
    K_ORDER_KG,
    K_SWITCHES,
    P_ADBLUE,
    P_BATTERY_J,
    P_ELECTRIC,
    P_FITTED,
    P_FUEL_BIAS,
    P_GAS,
    P_HEAT_SOAK,
    P_LIES,
    P_ODOMETER_BASE,
    P_ODOMETER_BIAS,
    P_POWER_BIAS,
    P_RATE_BIAS,
    P_SLEEP,
    P_TANK,
    P_TEMP_BIAS,
    P_TRU,
    P_WEIGHT_BIAS,
    P_WEIGHT_NOISE,
    P_WHEEL_BIAS,
    S_A,
    S_ALT,
    S_AMBIENT_C,
    S_AWAKE,
    S_BOOT,
    S_BOOT_T,
    S_BRAKING,
    S_CHARGE,
    S_DISTANCE,
    S_ECU_BASE,
    S_ENERGY,
    S_ENGINE_ON,
    S_FIX_AT,
    S_FUEL,
    S_FUEL_RATE,
    S_GPS_E,
    S_GPS_H,
    S_GPS_N,
    S_GRADE,
    S_LAST_1,
    S_LAST_WEIGHT,
    S_LAT,
    S_LOAD_PCT,
    S_LON,
    S_MASS,
    S_N,
    S_OFF_T,
    S_PARKED_S,
    S_POWER,
    S_RATE_NOISE,
    S_SEQ,
    S_TANK,
    S_TORQUE_PCT,
    S_TRU_FUEL,
    S_TRU_MODE,
    S_TUNNEL,
    S_V,
    S_WEIGHT_WANDER,
    SIGNALS,
    STAND,
    WAIT,
    Vector,
)
from simulators.rng import exponential, gauss, uniform

(
    LIE_RESOLUTION,
    LIE_NOT_AVAILABLE,
    LIE_COUNTER_RESET,
    LIE_ECU_SWAP,
    LIE_FUEL_BIAS,
    LIE_AXLE_NOISE,
    LIE_GPS_NOISE,
    LIE_TUNNELS,
    LIE_GPS_JUMPS,
    LIE_FIRST_FIX,
    LIE_WHEEL_BIAS,
    LIE_STUCK,
    LIE_ON_CHANGE,
    LIE_NO_RTC,
) = (1 << i for i in range(14))
LIES = (  # the keys of a scenario's [sensors], in the order of the bits
    "resolution",
    "not_available",
    "counter_reset",
    "ecu_swap",
    "fuel_bias",
    "axle_noise",
    "gps_noise",
    "tunnels",
    "gps_jumps",
    "first_fix",
    "wheel_bias",
    "stuck",
    "on_change",
    "no_rtc",
)
FIT_HIGH_RESOLUTION, FIT_TOTAL, FIT_RATE, FIT_WEIGHT, FIT_FLOW, FIT_LEVEL, FIT_ALTIMETER = (1 << i for i in range(7))
(
    LAT,
    LON,
    ALT,
    GPS_SPEED,
    HDOP,
    SPEED,
    ODOMETER,
    RPM,
    TORQUE,
    LOAD,
    RATE,
    TOTAL_HR,
    TOTAL,
    FLOW,
    LEVEL,
    GAS,
    WEIGHT,
    CARGO,
    AMBIENT,
    BARO,
    SWITCHES,
    POWER,
    ENERGY,
    CHARGE_PCT,
    TRU_TOTAL,
    ADBLUE,
) = range(26)
N_SIGNALS = len(SIGNALS)
EPISODE_S = 600
DRAWS = 64  # draws set aside for each reading
FIRST_FIX_S = 69.0
LNG_KG_PER_L = 0.4525
CLOCK_NONE, CLOCK_NTP, CLOCK_GPS = 0, 2, 3
METRES_PER_DEG = 111_195.0


@kernel
def power(s: Vector, p: Vector, k: Vector, key: int, t: float) -> bool:
    """Whether the gateway is on at world time ``t`` [s]; books its boots and what the control unit forgets meanwhile."""
    lies = int(p[P_LIES])
    awake = int(k[K_KIND]) != WAIT or s[S_PARKED_S] < p[P_SLEEP]
    if awake and s[S_AWAKE] <= 0.0:
        s[S_BOOT] += 1.0
        draw = int(s[S_BOOT]) * DRAWS + (1 << 50)
        s[S_SEQ] = 0.0
        s[S_BOOT_T] = t
        s[S_FIX_AT] = t
        if lies & LIE_FIRST_FIX:
            s[S_FIX_AT] = t + 20.0 + (FIRST_FIX_S - 20.0) * exponential(key, draw)
        counted = s[S_FUEL] * (1.0 + p[P_FUEL_BIAS])
        if lies & LIE_COUNTER_RESET and uniform(key, draw + 1) < 0.01:
            s[S_ECU_BASE] = -counted
        if lies & LIE_ECU_SWAP and uniform(key, draw + 2) < 0.002:
            s[S_ECU_BASE] = 250_000.0 * uniform(key, draw + 3) - counted
    elif not awake and s[S_AWAKE] > 0.0:
        s[S_OFF_T] = t
    s[S_AWAKE] = 1.0 if awake else 0.0
    return awake


@kernel
def restart(s: Vector) -> None:
    """The gateway's program starts anew: another boot, numbers from 0, every signal sent again; receiver and bus stay up."""
    if s[S_BOOT] > 0.0:
        s[S_BOOT] += 1.0
    s[S_SEQ] = 0.0
    for i in range(N_SIGNALS):
        s[S_LAST_1 + i] = math.nan


@kernel
def clock(s: Vector, p: Vector, t: float) -> tuple[float, int, int]:
    """Error of the device's clock [s], what it rests on (index of the wire's clock sources) and its bound [ms], -1 unknown."""
    if int(p[P_LIES]) & LIE_NO_RTC and t < min(s[S_FIX_AT], s[S_BOOT_T] + 40.0):
        return s[S_OFF_T] - s[S_BOOT_T], CLOCK_NONE, -1
    if t >= s[S_FIX_AT]:
        return 0.0, CLOCK_GPS, 1
    return 0.0, CLOCK_NTP, 50


@kernel
def _wander(s: Vector, i: int, dt: float, tau: float, sigma: float, noise: float) -> float:
    """Advance a first-order noise of correlation time ``tau`` [s] and standard deviation ``sigma`` kept in ``s[i]``."""
    step = min(1.0, dt / tau)
    s[i] += -s[i] * step + sigma * math.sqrt(2.0 * step) * noise
    value: float = s[i]
    return value


@kernel
def _steps(x: float, step: float, on: bool) -> float:
    return math.floor(x / step + 0.5) * step if on else x


@kernel
def _ticks(x: float, step: float, on: bool) -> float:
    return math.floor(max(0.0, x) / step + 1e-9) * step if on else max(0.0, x)


@kernel
def sense(s: Vector, p: Vector, k: Vector, out: Vector, key: int, tick: int, dt: float) -> None:
    """One reading into ``out`` (26 values in the order of ``layout.SIGNALS``, NaN = none), ``dt`` s after the one before."""
    lies = int(p[P_LIES])
    t = tick * 0.1
    draw = tick * DRAWS
    for i in range(N_SIGNALS):
        out[i] = math.nan
    _gnss(s, p, out, key, draw, t, dt, lies)
    bus = int(k[K_KIND]) != WAIT or s[S_PARKED_S] < 60.0
    if bus:
        _bus(s, p, out, key, draw, t, dt, lies)
    out[CARGO] = k[K_ORDER_KG]
    bits = int(k[K_SWITCHES]) & 8
    if int(k[K_KIND]) == STAND:
        bits |= int(k[K_SWITCHES]) & 1
        if int(t / 45.0) % 2 == 0:
            bits |= int(k[K_SWITCHES]) & 2
    if s[S_ENGINE_ON] > 0.0:
        bits |= 16
    if s[S_BRAKING] > 0.0:
        bits |= 32
    if s[S_TRU_MODE] >= 1.0:
        bits |= 64
    out[SWITCHES] = float(bits)
    if p[P_TRU] > 0.0:
        out[TRU_TOTAL] = _ticks(s[S_TRU_FUEL] + TRU_TANK_L, 0.1, lies & LIE_RESOLUTION != 0)
    _spoil(s, out, key, tick, lies)
    s[S_SEQ] += 1.0


@kernel
def _gnss(s: Vector, p: Vector, out: Vector, key: int, draw: int, t: float, dt: float, lies: int) -> None:
    if s[S_TUNNEL] > 0.0 and lies & LIE_TUNNELS:
        s[S_FIX_AT] = max(s[S_FIX_AT], t + 4.0)
    if t < s[S_FIX_AT]:
        return
    east = 0.0
    north = 0.0
    up = 0.0
    hdop = 0.8
    speed = s[S_V]
    if lies & LIE_GPS_NOISE:
        east = _wander(s, S_GPS_E, dt, 60.0, 2.5, gauss(key, draw)) + 0.3 * gauss(key, draw + 1)
        north = _wander(s, S_GPS_N, dt, 60.0, 2.5, gauss(key, draw + 2)) + 0.3 * gauss(key, draw + 3)
        up = _wander(s, S_GPS_H, dt, 90.0, 6.0, gauss(key, draw + 4))
        speed = abs(speed + 0.06 * gauss(key, draw + 5))
        hdop = 0.8 + 0.15 * abs(gauss(key, draw + 6)) + 0.1 * math.sqrt(east * east + north * north)
    if lies & LIE_GPS_JUMPS:
        minute = int(t / 60.0)
        jump = uniform(key, minute * DRAWS + (1 << 51))
        if jump < 0.002 and t - 60.0 * minute < 4.0:
            east += (jump - 0.001) * 2.0e6
            north += 400.0
            hdop += 3.0 if jump < 0.001 else 0.0
    fine = lies & LIE_RESOLUTION != 0
    out[LAT] = _steps(s[S_LAT] + north / METRES_PER_DEG, 1e-7, fine)
    out[LON] = _steps(s[S_LON] + east / (METRES_PER_DEG * math.cos(s[S_LAT] * math.pi / 180.0)), 1e-7, fine)
    out[ALT] = _steps(s[S_ALT] + up, 0.1, fine)
    out[GPS_SPEED] = _steps(3.6 * speed, 0.01, fine)
    out[HDOP] = _steps(hdop, 0.1, fine)


@kernel
def _bus(s: Vector, p: Vector, out: Vector, key: int, draw: int, t: float, dt: float, lies: int) -> None:
    fine = lies & LIE_RESOLUTION != 0
    fitted = int(p[P_FITTED])
    wheel = s[S_V] * 3.6
    odometer = p[P_ODOMETER_BASE] + s[S_DISTANCE]
    if lies & LIE_WHEEL_BIAS:
        wheel = 0.0 if wheel < 0.7 else wheel * (1.0 + p[P_WHEEL_BIAS])  # toothed wheels see nothing slower
        odometer = p[P_ODOMETER_BASE] + s[S_DISTANCE] * (1.0 + p[P_ODOMETER_BIAS])
    out[SPEED] = _steps(wheel, 1.0 / 256.0, fine)
    out[ODOMETER] = _ticks(odometer, 5.0, fine)
    soak = p[P_TEMP_BIAS] + p[P_HEAT_SOAK] * max(0.0, 1.0 - s[S_V] / 8.0)
    out[AMBIENT] = _steps(s[S_AMBIENT_C] + soak, 0.03125, fine)
    if fitted & FIT_ALTIMETER:
        out[BARO] = _steps(101.325 * math.exp(-s[S_ALT] / 8434.0), 0.5, fine)
    if fitted & FIT_WEIGHT:
        out[WEIGHT] = _steps(_weigh(s, p, key, draw, t, dt, lies), 10.0, fine)
    if p[P_ELECTRIC] > 0.0:
        bias = 1.0 + (p[P_POWER_BIAS] if lies & LIE_FUEL_BIAS else 0.0)
        out[POWER] = _steps(s[S_POWER] / 1000.0 * bias, 0.05, fine)
        out[ENERGY] = _steps(5000.0 + s[S_ENERGY] / 3.6e6 * bias, 0.001, fine)
        out[CHARGE_PCT] = _steps(100.0 * min(1.0, max(0.0, s[S_CHARGE] / p[P_BATTERY_J])), 0.01, fine)
        return
    out[RPM] = _steps(s[S_N] * 30.0 / math.pi, 0.125, fine)
    out[TORQUE] = _steps(min(125.0, s[S_TORQUE_PCT]), 1.0, fine)
    out[LOAD] = _steps(min(125.0, s[S_LOAD_PCT]), 1.0, fine)
    _fuel(s, p, out, key, draw, dt, lies, fitted)


@kernel
def _fuel(s: Vector, p: Vector, out: Vector, key: int, draw: int, dt: float, lies: int, fitted: int) -> None:
    fine = lies & LIE_RESOLUTION != 0
    bias = p[P_FUEL_BIAS] if lies & LIE_FUEL_BIAS else 0.0
    counted = s[S_ECU_BASE] + s[S_FUEL] * (1.0 + bias)
    slosh = 1.5 * gauss(key, draw + 8) if s[S_V] > 1.0 else 0.0
    if fitted & FIT_LEVEL:
        level = 100.0 * s[S_TANK] / p[P_TANK] + (slosh if lies & LIE_FUEL_BIAS else 0.0)
        out[LEVEL] = _steps(min(100.0, max(0.0, level)), 0.4, fine)
    if p[P_GAS] > 0.0:
        out[GAS] = _ticks(counted * LNG_KG_PER_L, 0.5, fine)
        return
    rate = s[S_FUEL_RATE] * 3600.0
    if lies & LIE_FUEL_BIAS:
        sigma = 0.075 if s[S_V] < 0.5 else 0.025
        rate *= 1.0 + bias + p[P_RATE_BIAS] + _wander(s, S_RATE_NOISE, dt, 4.0, sigma, gauss(key, draw + 9))
    if fitted & FIT_RATE:
        out[RATE] = _steps(max(0.0, rate), 0.05, fine)
    if fitted & FIT_HIGH_RESOLUTION:
        out[TOTAL_HR] = _ticks(counted, 0.001, fine)
    if fitted & FIT_TOTAL:
        out[TOTAL] = _ticks(counted, 0.5, fine)
    if fitted & FIT_FLOW:
        out[FLOW] = _ticks(s[S_FUEL] * (1.0 + 0.3 * bias), 0.001, fine)
    out[ADBLUE] = _ticks(40.0 + s[S_FUEL] * p[P_ADBLUE], 0.5, fine)


@kernel
def _weigh(s: Vector, p: Vector, key: int, draw: int, t: float, dt: float, lies: int) -> float:
    """Gross combination weight [kg], taken anew every 10 s."""
    if t % 10.0 < dt or s[S_LAST_WEIGHT] <= 0.0:
        weight = s[S_MASS]
        if lies & LIE_AXLE_NOISE:
            noise = p[P_WEIGHT_NOISE]
            wander = _wander(s, S_WEIGHT_WANDER, max(dt, 10.0), 240.0, 0.8 * noise, gauss(key, draw + 10))
            moving = 0.6 * noise * gauss(key, draw + 11) if s[S_V] > 0.3 else 0.0
            shift = 0.5 * s[S_GRADE] - 0.03 * s[S_A]  # load moves to the axles that weigh, or off them
            weight *= 1.0 + p[P_WEIGHT_BIAS] + wander + moving + shift
        s[S_LAST_WEIGHT] = weight
    value: float = s[S_LAST_WEIGHT]
    return value


@kernel
def _spoil(s: Vector, out: Vector, key: int, tick: int, lies: int) -> None:
    """Not available, stuck, and sent on change: what happens to values on their way."""
    t = tick * 0.1
    episode = int(t / EPISODE_S)
    if lies & LIE_NOT_AVAILABLE:
        u = uniform(key, episode * DRAWS + (1 << 52))
        if u < 0.03 and t - EPISODE_S * episode < 300.0:
            out[int(u / 0.03 * N_SIGNALS)] = math.nan
    if lies & LIE_STUCK:
        u = uniform(key, episode * DRAWS + (1 << 52) + 1)
        if u < 0.012:
            i = int(u / 0.012 * N_SIGNALS)
            if not math.isnan(out[i]) and not math.isnan(s[S_LAST_1 + i]):
                out[i] = s[S_LAST_1 + i]
    for i in range(N_SIGNALS):
        value = out[i]
        if lies & LIE_ON_CHANGE and (i >= LEVEL and i not in (GAS, POWER, ENERGY)):
            unchanged = value == s[S_LAST_1 + i]
            if unchanged and (int(s[S_SEQ]) + i * 17) % 600 != 0 and s[S_SEQ] > 0.0:
                out[i] = math.nan
                continue
        if not math.isnan(value):
            s[S_LAST_1 + i] = value
