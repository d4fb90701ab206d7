"""What a vehicle weighs: by its scales, and by what its engine must push. Tare is learnt in the units of each source.

Scales keep sums of a trip, ``scales_mass`` turns them into (kg, standard deviation). The mass by torque is a Kalman filter of two
numbers, the mass (which does not change in a trip) and a force nobody measures: the slope under the wheels, the wind, which last for a
kilometre and more. Accelerations tell both together, cruising before and after them tells the force alone (Vahidi 2005: mass and grade).
"""

import math
from typing import Any, Final

from stream.kernel import inlined, kernel
from stream.road_load import ENGINE_OFF_RPM, GRAVITY

SAMPLE_NS: Final = 950_000_000  # at most one sample a second, whatever the rate of the readings
SAMPLE_MAX_S: Final = 2.5  # further apart, a gear was changed unseen
SHIFT_NS: Final = (
    1_000_000_000  # a gear shift spoils the second it is seen in: automated gearboxes interrupt the torque for less
)
SHIFT_REL: Final = 0.03  # change of rpm / v that is a shift
V_LOW_MS: Final = 10.0 / 3.6
V_HIGH_MS: Final = 70.0 / 3.6  # above it drag, which is a guess, is most of the force
ACCELERATION_MS2: Final = 0.15
TORQUE_MIN_PCT: Final = 20.0
CRUISE_MS: Final = 5.0
CRUISE_NS: Final = 2_950_000_000  # between two samples of cruising: over 60 m no road changes its slope
CRUISE_SHIFT_NS: Final = 3_000_000_000
CRUISE_TORQUE_PCT: Final = 12.0  # below it the engine may be pushed, and brakes or retarder at work
AIR_KG_M3: Final = 1.2
FRICTION_AT_0: Final = 0.04  # of the reference torque, where SPN 514 is not sent: motoring torque of a warm diesel [C]
FRICTION_PER_RPM: Final = 0.05 / 1500.0
PULLING_EFFICIENCY: Final = (
    0.96  # crankshaft to wheel at high torque: gearbox 0.98, axle 0.98 (VECTO); 0.93 is a cycle's mean
)
MOTOR_EFFICIENCY: Final = 0.93  # battery to wheel while accelerating, class default 0.88 is a cycle's mean
CAN_MIN: Final = 12  # samples of acceleration: one pull away from standstill
PULL_NS: Final = 20_000_000_000  # without a sample: the next acceleration is another one, on another piece of road
SLOPE: Final = 0.01  # standard deviation of what is not known of the slope, and the wind: main roads
SLOPE_M: Final = 1000.0  # over which it is alike
NOISE: Final = 0.0125  # of one sample, of the weight: torque in steps of 1 %, surface, gusts
ALIKE: Final = 7.0  # consecutive samples that err together: an acceleration, sampled once a second
NOISE_PRIOR: Final = 100.0  # samples that count as erring as assumed, until a trip has shown its own noise
CAN_FLOOR_REL: Final = 0.01  # standard deviation that a trip shares: tyres and air of the day, a cold engine
GRADE_TRUST: Final = (
    0.6  # of a filtered grade: the filter lags by 200 m, and hills are alike over some 400 m: exp(-200/400)
)
SCALES_MIN_S: Final = 30  # of moving: shorter is not low-passed
SCALES_NOISE_REL: Final = 0.035  # axle load in motion, 2-5 % [science reference, section 5]
SCALES_TAU_S: Final = 240.0  # over which its error wanders
SCALES_FLOOR_REL: Final = 0.005
TARE_U_SCALES: Final = 0.02  # registry tare against what the scales show of it; standard deviation, relative
TARE_U_CAN: Final = (
    0.04  # the same for the estimate by torque: efficiency, reference torque and tyres are class defaults
)
TARE_U_GUESSED: Final = 0.10  # the same where the reference torque is guessed from rated power
TARE_FLOOR_SCALES: Final = 0.006
TARE_FLOOR_CAN: Final = 0.008
CAN_TEACHES_REL: Final = 0.06  # a mass by torque with a larger error says nothing of the vehicle
TARE_MEMORY: Final = 12  # empty trips that make the mean
TARE_STEADY: Final = 5  # empty trips before a drift is believed
DRIFT_REL: Final = 0.04  # of tare: a body, a tank or a sensor changed
CONFLICT_SHARE: Final = 0.10  # of the permitted gross mass: scales further off another source contradict it
CONFLICT_PULLS: Final = (
    6  # accelerations and way of a trip before its torque may contradict: the first few share one slope
)
CONFLICT_MM: Final = 10_000_000
CONFLICT_SIGMAS: Final = 4.0  # and beyond what both errors explain: one trip in 30,000
HEAVIEST: Final = 1.3  # of the permitted gross mass: more is no mass, but a torque that is wrong
BOBTAIL_SHARE: Final = 0.7  # of tare; lighter, the trailer is missing


def reference_torque_nm(p_rated_kw: float, gvw_kg: float) -> float:
    """Reference torque [N·m] where neither bus nor registry tells it: rated power at the speed where full torque ends.

    About 1,400 rpm for heavy engines, 1,750 for medium, 3,000 for vans; +-10 % over series engines.
    """
    rpm = 1400.0 if gvw_kg > 20_000.0 else 1750.0 if gvw_kg > 5_000.0 else 3000.0
    return float(p_rated_kw) * 1000.0 * 30.0 / (math.pi * rpm)


@kernel
def forget_mass(state: Any) -> None:
    """Begin anew: the load may be another one."""
    state["can_n"] = state["can_taken"] = state["can_pulls"] = state["scales_n"] = 0
    state["scales_sum"] = state["scales_sum2"] = 0.0


@inlined
def scales_row(state: Any, tare_kg: float, gvw_kg: float, gross_kg: float, v_ms: float, time_ns: int) -> None:
    """Take a gross weight m [kg] while the vehicle rolls (v [m/s]): standing it may be half unloaded, or on three axles.

    Between 0.3 of ``tare_kg`` and 1.6 of ``gvw_kg``; air bellows err by 2 to 5 % (science reference, section 5; TRL RR103).
    """
    if v_ms > 1.4 and 0.3 * tare_kg < gross_kg < 1.6 * gvw_kg and time_ns - state["scales_ns"] >= SAMPLE_NS:
        x = gross_kg - tare_kg
        state["scales_n"] += 1
        state["scales_sum"] += x
        state["scales_sum2"] += x * x
        state["scales_ns"] = time_ns


@kernel
def scales_mass(state: Any, tare_kg: float) -> tuple[float, float]:
    """(gross mass m, its standard deviation) [kg] by the mean weight of this trip; NaN before ``SCALES_MIN_S`` samples."""
    n = state["scales_n"]
    if n < SCALES_MIN_S:
        return math.nan, math.nan
    mean = state["scales_sum"] / n
    spread = math.sqrt(max(0.0, state["scales_sum2"] / n - mean * mean))
    mass = mean + tare_kg
    noise = max(spread, SCALES_NOISE_REL * mass)
    independent = max(1.0, n / (2.0 * SCALES_TAU_S))
    return mass, math.sqrt(noise * noise / independent + (SCALES_FLOOR_REL * mass) ** 2)


@inlined
def wheel_force_power_w(p: Any, rpm: float, torque_pct: float, friction_pct: float, ref_nm: float, kw: float) -> float:
    """Power that reaches the wheels [W]: T = (indicated - friction) x reference torque, or the battery's, less auxiliaries."""
    if p["has_battery"]:
        return float((kw - p["aux_kw"]) * 1000.0 * MOTOR_EFFICIENCY)
    reference = p["ref_torque_nm"] if math.isnan(ref_nm) else ref_nm
    friction = FRICTION_AT_0 + FRICTION_PER_RPM * rpm if math.isnan(friction_pct) else friction_pct / 100.0
    torque = (torque_pct / 100.0 - friction) * reference
    return float((torque * rpm * (math.pi / 30.0) - p["aux_kw"] * 1000.0) * PULLING_EFFICIENCY)


@inlined
def can_row(
    state: Any,
    p: Any,
    v_ms: float,
    rpm: float,
    torque_pct: float,
    friction_pct: float,
    ref_nm: float,
    battery_kw: float,
    grade: float,
    braking: bool,
    time_ns: int,
) -> None:
    """Samples of y = m phi + F (Eq. 20): one a second where the vehicle accelerates with its clutch closed, one in 3 s where it cruises.

    y = F_trac - rho CdA v^2 / 2, phi = f_rot a + g (Crr + grade), F: slope and wind that nobody tells. ``v_ms`` [m/s], torque and
    friction [% of ``ref_nm``, N m], ``battery_kw`` [kW], ``grade`` rise over run; NaN = not measured. Source: Vahidi 2005.
    """
    since_ns = time_ns - state["can_ns"]
    engine = not p["has_battery"]
    if since_ns < SAMPLE_NS or math.isnan(torque_pct if engine else battery_kw):
        return
    v0, a0, watts0, ratio0 = state["can_v_ms"], state["can_a_ms2"], state["can_w"], state["can_ratio"]
    dt = since_ns * 1e-9
    a = (v_ms - v0) / dt
    ratio = rpm / v_ms
    state["can_ns"] = time_ns
    state["can_v_ms"] = v_ms
    state["can_a_ms2"] = a
    state["can_w"] = math.nan
    state["can_ratio"] = ratio
    if engine and not (math.fabs(ratio - ratio0) <= SHIFT_REL * ratio):
        state["can_shift_ns"] = time_ns
    if not dt < SAMPLE_MAX_S or braking:
        return
    if a > 0.5 * ACCELERATION_MS2 and v_ms > 0.7 * V_LOW_MS and v0 < V_HIGH_MS:
        if engine and not (torque_pct > TORQUE_MIN_PCT and rpm > ENGINE_OFF_RPM):
            return
        watts = wheel_force_power_w(p, rpm, torque_pct, friction_pct, ref_nm, battery_kw)
        state["can_w"] = watts
        v = 0.5 * (v0 + v_ms)
        if not (a >= ACCELERATION_MS2 and V_LOW_MS <= v <= V_HIGH_MS and watts > 0.0 and watts0 > 0.0):
            return
        if engine and time_ns - state["can_shift_ns"] < SHIFT_NS:
            return
        take_force(state, p, 0.5 * (watts0 + watts) / v, v, a, grade, True, time_ns)
    elif math.fabs(a) < ACCELERATION_MS2 and math.fabs(a0) < ACCELERATION_MS2 and v_ms > CRUISE_MS:
        if time_ns - state["can_cruise_ns"] < CRUISE_NS:
            return
        if engine and not (torque_pct > CRUISE_TORQUE_PCT and time_ns - state["can_shift_ns"] >= CRUISE_SHIFT_NS):
            return
        watts = wheel_force_power_w(p, rpm, torque_pct, friction_pct, ref_nm, battery_kw)
        if watts > 0.0:
            state["can_cruise_ns"] = time_ns
            take_force(state, p, watts / v_ms, v_ms, a, grade, False, time_ns)


@kernel
def take_force(
    state: Any, p: Any, force_n: float, v_ms: float, a_ms2: float, grade: float, pulls: bool, time_ns: int
) -> None:
    """Take ``force_n`` at the wheels [N] at ``v_ms`` [m/s] and ``a_ms2`` [m/s^2] into the filter of mass and unmeasured force.

    Measurement y = m phi + F + noise; between samples F fades over ``SLOPE_M`` towards 0 within ``SLOPE`` of the weight.
    ``grade``: rise over run, NaN = not known; ``pulls``: an acceleration.
    """
    y = force_n - 0.5 * AIR_KG_M3 * p["cda_m2"] * v_ms * v_ms
    phi = p["f_rot"] * a_ms2 + GRAVITY * (p["crr"] + (0.0 if math.isnan(grade) else grade))
    if state["can_taken"] == 0:
        capacity = p["capacity_kg"]
        start_filter(state, p["tare_kg"] + 0.5 * capacity, capacity)
    weight_n = GRAVITY * min(max(state["can_kg"], 0.5 * p["tare_kg"]), p["gvw_kg"])
    stays = 1.0 / (1.0 + v_ms * float(time_ns - state["can_taken_ns"]) * 1e-9 / SLOPE_M)
    state["can_taken_ns"] = time_ns
    scatter = SLOPE * weight_n
    push = state["can_push_n"] * stays
    covariance = state["can_covariance"] * stays
    var_push = state["can_push_var"] * stays * stays + scatter * scatter * (1.0 - stays * stays)
    var = state["can_var"]
    with_mass = var * phi + covariance
    with_push = covariance * phi + var_push
    noise = NOISE * weight_n
    expected = with_mass * phi + with_push + noise * noise
    off = y - state["can_kg"] * phi - push
    state["can_kg"] += with_mass * off / expected
    state["can_push_n"] = push + with_push * off / expected
    state["can_var"] = var - with_mass * with_mass / expected
    state["can_covariance"] = covariance - with_mass * with_push / expected
    state["can_push_var"] = var_push - with_push * with_push / expected
    state["can_scatter"] += off * off / expected
    state["can_taken"] += 1
    if pulls:
        state["can_n"] += 1
        if time_ns - state["pull_ns"] > PULL_NS:
            state["can_pulls"] += 1
        state["pull_ns"] = time_ns


@kernel
def start_filter(state: Any, mass_kg: float, sd_kg: float) -> None:
    """Begin the filter of mass and unmeasured force with a mass [kg] and its standard deviation."""
    state["can_kg"], state["can_var"], state["can_covariance"] = mass_kg, sd_kg * sd_kg, 0.0
    state["can_push_n"], state["can_push_var"] = 0.0, (SLOPE * GRAVITY * mass_kg) ** 2
    state["can_scatter"] = 0.0


@kernel
def can_mass(state: Any) -> tuple[float, float]:
    """(gross mass, its standard deviation) [kg] by torque over this trip; NaN before ``CAN_MIN`` samples of acceleration.

    The filter's variance holds for the slope and noise it assumes. How far its samples lay from what it expected, squared and in units
    of that, says how much of it is true of this road; as ``ALIKE`` samples in a row err together, they are so many times fewer.
    """
    mass = state["can_kg"]
    if state["can_n"] < CAN_MIN or not mass > 0.0:
        return math.nan, math.nan
    true_share = (ALIKE * state["can_scatter"] + NOISE_PRIOR) / (state["can_taken"] + NOISE_PRIOR)
    return mass, math.sqrt(state["can_var"] * true_share + (CAN_FLOOR_REL * mass) ** 2)


@kernel
def tare_of(own_kg: float, n: int, registry_kg: float, prior_rel: float, floor_rel: float) -> tuple[float, float]:
    """(tare as a source sees it, its standard deviation) [kg]: the registry's until ``n`` empty trips have taught it."""
    if n == 0:
        return registry_kg, prior_rel * registry_kg
    return own_kg, max(floor_rel, prior_rel / math.sqrt(1.0 + 2.0 * n)) * own_kg


@kernel
def contradicts(scales_kg: float, other_kg: float, sd_kg: float, gvw_kg: float) -> float:
    """Ratio of the scales to another mass where the two contradict each other, else 1; ``sd_kg``: of their difference."""
    if math.fabs(scales_kg - other_kg) > max(CONFLICT_SHARE * gvw_kg, CONFLICT_SIGMAS * sd_kg):
        return scales_kg / other_kg
    return 1.0


@kernel
def judge_scales(state: Any) -> None:
    """The scales are not used while the torque contradicts them, unless an order bears them out.

    Bellows leak, axles lift and lines break; torque that is off by so much would show in the fuel used. An order alone does not
    outdo them: it may be of another load.
    """
    by_can = state["weight_by_can"]
    state["weight_bad"] = int(by_can == by_can and by_can != 1.0 and state["weight_by_order"] != 1.0)


@kernel
def may_contradict(state: Any, mass_kg: float, p: Any) -> bool:
    """Whether a mass by torque rests on enough of this trip to be held against the scales, and is a mass at all."""
    many = state["can_pulls"] >= CONFLICT_PULLS
    real = BOBTAIL_SHARE * p["tare_kg"] < mass_kg < HEAVIEST * p["gvw_kg"]
    return bool(many and real and state["trip_mm"] >= CONFLICT_MM)


@kernel
def torque_is_wrong(state: Any) -> bool:
    """Whether scales and torque contradict each other and an order bears the scales out: the torque's mass is not used then."""
    by_can = state["weight_by_can"]
    return bool(by_can == by_can and by_can != 1.0 and state["weight_bad"] == 0)


@kernel
def guessed_torque(state: Any, p: Any) -> float:
    """Standard deviation, relative, of a vehicle's masses by torque before any trip has shown more."""
    known = p["has_battery"] != 0 or p["ref_torque_known"] != 0 or not math.isnan(state["ref_torque_nm"])
    return TARE_U_CAN if known else TARE_U_GUESSED


@kernel
def can_tare(state: Any, p: Any) -> tuple[float, float]:
    """(tare as the torque sees it, its standard deviation) [kg]: the registry's times the factor that ``torque_scale`` has learnt."""
    tare = p["tare_kg"]
    if math.isnan(state["scale_mean"]):
        return tare, guessed_torque(state, p) * tare
    return state["scale_mean"] * tare, max(TARE_FLOOR_CAN, state["scale_sd"]) * tare


@kernel
def _toward(tare: float, n: int, mass: float, sure: bool) -> float:
    """A step towards an empty trip's mass: 2 trips weigh as much as the registry. Upwards, unless sure, half of it: units or a few
    goods may ride along, and nothing makes a vehicle lighter than empty."""
    gain = max(2.0 / (3.0 + 2.0 * n), 1.0 / TARE_MEMORY)
    return tare + (mass - tare) * (gain if sure or mass < tare else 0.5 * gain)


@kernel
def _one_tare(
    tare: float, n: int, sd_tare: float, mass: float, sd: float, empty: bool, sure: bool
) -> tuple[float, int]:
    """Tare after a trip at ``mass``: an empty trip moves it, and so does any mass that lies below it."""
    if math.isnan(mass) or sd > 0.06 * mass:
        return tare, n
    below = tare - mass
    if below > 2.5 * math.hypot(sd, sd_tare):
        return tare - min(0.5 * below, sd_tare), max(n, 1)
    if sure or (empty and mass - tare < 0.03 * tare + sd):
        return _toward(tare, n, mass, sure), min(n + 1, TARE_MEMORY)
    return tare, n


@kernel
def learn_tare(state: Any, p: Any, empty: bool, sure: bool) -> None:
    """What the scales of a trip that has ended tell of the tare. ``empty``: it was decided so; ``sure``: an order said so and no load
    units rode along."""
    registry = p["tare_kg"]
    scales, sd = scales_mass(state, registry)
    tare, sd_tare = tare_of(state["tare_scales_kg"], state["tare_scales_n"], registry, TARE_U_SCALES, TARE_FLOOR_SCALES)
    if state["weight_bad"] == 0 and not scales < BOBTAIL_SHARE * registry:
        tare, n = _one_tare(tare, state["tare_scales_n"], sd_tare, scales, sd, empty, sure)
        state["tare_scales_kg"], state["tare_scales_n"] = tare, n


@kernel
def tare_drift(state: Any, p: Any) -> float:
    """How far the scales' learnt tare lies from the registry's [kg]; NaN while within ``DRIFT_REL`` or not yet steady."""
    if state["tare_scales_n"] < TARE_STEADY:
        return math.nan
    drift = state["tare_scales_kg"] - p["tare_kg"]
    return drift if math.fabs(drift) > DRIFT_REL * p["tare_kg"] else math.nan
