"""What a vehicle weighs: by its scales, and by what its engine must push. Tare is learnt in the units of each source.

A trip keeps sums only; ``scales_mass`` and ``can_mass`` turn them into (kg, standard deviation). The least squares of
``can_row`` are those of a recursive estimator with forgetting factor 1: the mass of a trip does not change (Vahidi 2005).
Their error is not that of independent samples: what is unknown (slope, wind, gear) is shared by all samples of one acceleration,
so the standard deviation is taken from how much whole accelerations disagree (a cluster-robust variance, Liang and Zeger 1986).
"""

import math
from typing import Any, Final

from stream.kernel import inlined, kernel
from stream.road_load import ENGINE_OFF_RPM, ETA_DRIVELINE, GRAVITY

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
AIR_KG_M3: Final = 1.2
FRICTION_AT_0: Final = 0.04  # of the reference torque, where SPN 514 is not sent: motoring torque of a warm diesel [C]
FRICTION_PER_RPM: Final = 0.05 / 1500.0
MOTOR_EFFICIENCY: Final = 0.90  # battery to wheel while accelerating, class default 0.88 is a cycle's mean
CAN_MIN: Final = 12  # samples: one pull away from standstill
PULL_NS: Final = 20_000_000_000  # without a sample: the next acceleration is another one, on another piece of road
PULL_REL: Final = (
    0.12  # error of one acceleration before any was seen: a slope of 1 % (main roads) over phi of 0.8 m/s2
)
PULL_PRIOR: Final = 4.0  # accelerations that this counts for
CAN_FLOOR_REL: Final = 0.02  # standard deviation that a trip shares: tyres and air of the day, a cold engine, its wind
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
TARE_FLOOR_CAN: Final = 0.02
TARE_MEMORY: Final = 12  # empty trips that make the mean
TARE_STEADY: Final = 5  # empty trips before a drift is believed
DRIFT_REL: Final = 0.04  # of tare: a body, a tank or a sensor changed
CONFLICT_SHARE: Final = 0.10  # of the permitted gross mass: scales further off another source contradict it
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
    state["can_phi2"] = state["can_y_phi"] = state["pull_phi2"] = state["pull_y_phi"] = 0.0
    state["pulls_xx"] = state["pulls_xy"] = state["pulls_yy"] = 0.0
    state["can_n"] = state["scales_n"] = 0
    state["scales_sum"] = state["scales_sum2"] = 0.0


@inlined
def scales_row(state: Any, tare_kg: float, gvw_kg: float, gross_kg: float, v_ms: float, time_ns: int) -> None:
    """Take a gross weight m [kg] while the vehicle rolls (v [m/s]): standing it may be half unloaded, or on three axles.

    Between 0.7 of ``tare_kg`` and 1.3 of ``gvw_kg``; air bellows err by 2 to 5 % (science reference, section 5; TRL RR103).
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
    return float((torque * rpm * (math.pi / 30.0) - p["aux_kw"] * 1000.0) * ETA_DRIVELINE)


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
    """One sample a second of y = m phi (Eq. 20), where the vehicle accelerates with its clutch closed.

    y = F_trac - rho CdA v^2 / 2, phi = f_rot a + g (Crr + grade); unknown grade counts as 0 and averages out, because samples
    are chosen by acceleration, not by torque (choosing by torque would prefer the slopes uphill). ``v_ms`` [m/s], torque and friction
    [% of ``ref_nm``, N m], ``battery_kw`` [kW], ``grade`` rise over run; NaN = not measured. Source: Vahidi 2005.
    """
    since_ns = time_ns - state["can_ns"]
    if since_ns < SAMPLE_NS:
        return
    v0, watts0, ratio0 = state["can_v_ms"], state["can_w"], state["can_ratio"]
    dt = since_ns * 1e-9
    state["can_ns"] = time_ns
    state["can_v_ms"] = v_ms
    a = (v_ms - v0) / dt
    if not (v_ms > 0.7 * V_LOW_MS and v0 < V_HIGH_MS and a > 0.5 * ACCELERATION_MS2 and dt < SAMPLE_MAX_S):
        state["can_w"] = math.nan
        return
    engine = not p["has_battery"]
    ratio = rpm / v_ms
    if engine and not (math.fabs(ratio - ratio0) <= SHIFT_REL * ratio):
        state["can_shift_ns"] = time_ns
    watts = wheel_force_power_w(p, rpm, torque_pct, friction_pct, ref_nm, battery_kw)
    if braking or (engine and not (torque_pct > TORQUE_MIN_PCT and rpm > ENGINE_OFF_RPM)):
        watts = math.nan
    state["can_w"] = watts
    state["can_ratio"] = ratio
    v = 0.5 * (v0 + v_ms)
    if v < V_LOW_MS or v > V_HIGH_MS or a < ACCELERATION_MS2 or math.isnan(watts0 + watts) or watts <= 0.0:
        return
    if engine and time_ns - state["can_shift_ns"] < SHIFT_NS:
        return
    y = 0.5 * (watts0 + watts) / v - 0.5 * AIR_KG_M3 * p["cda_m2"] * v * v
    phi = p["f_rot"] * a + GRAVITY * (p["crr"] + (0.0 if math.isnan(grade) else grade))
    if time_ns - state["pull_ns"] > PULL_NS:
        _end_pull(state)
    state["pull_ns"] = time_ns
    state["can_n"] += 1
    state["pull_phi2"] += phi * phi
    state["pull_y_phi"] += y * phi


@kernel
def _end_pull(state: Any) -> None:
    """Add the sums of an acceleration to those of the trip."""
    x, y = state["pull_phi2"], state["pull_y_phi"]
    state["can_phi2"] += x
    state["can_y_phi"] += y
    state["pulls_xx"] += x * x
    state["pulls_xy"] += x * y
    state["pulls_yy"] += y * y
    state["pull_phi2"] = state["pull_y_phi"] = 0.0


@kernel
def can_mass(state: Any) -> tuple[float, float]:
    """(gross mass, its standard deviation) [kg] by least squares over this trip; NaN before ``CAN_MIN`` samples.

    Eq. 20: m = Y/X with X = sum phi^2, Y = sum y phi. Accelerations k: n = X^2 / sum X_k^2 of them count; the variance of one,
    n sum (Y_k - m X_k)^2 / X^2, is drawn towards ``PULL_REL`` while they are few; that of the mean is its n-th part.
    """
    if state["can_n"] < CAN_MIN:
        return math.nan, math.nan
    x1, y1 = state["pull_phi2"], state["pull_y_phi"]  # of the running one
    x, y = state["can_phi2"] + x1, state["can_y_phi"] + y1
    if not (x > 0.0 and y > 0.0):
        return math.nan, math.nan
    mass = y / x
    xx, xy, yy = state["pulls_xx"] + x1 * x1, state["pulls_xy"] + x1 * y1, state["pulls_yy"] + y1 * y1
    n = x * x / xx
    spread = max(0.0, yy - 2.0 * mass * xy + mass * mass * xx) / (y * y)
    one = (PULL_PRIOR * PULL_REL * PULL_REL + n * n * spread) / (PULL_PRIOR + n)
    return mass, mass * math.sqrt(one / n + CAN_FLOOR_REL * CAN_FLOOR_REL)


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
def torque_is_wrong(state: Any) -> bool:
    """Whether scales and torque contradict each other and an order bears the scales out: the torque's mass is not used then."""
    by_can = state["weight_by_can"]
    return bool(by_can == by_can and by_can != 1.0 and state["weight_bad"] == 0)


@kernel
def can_tare(state: Any, p: Any) -> tuple[float, float]:
    """(tare as the torque sees it, its standard deviation) [kg]."""
    known = p["has_battery"] != 0 or p["ref_torque_known"] != 0 or not math.isnan(state["ref_torque_nm"])
    prior = TARE_U_CAN if known else TARE_U_GUESSED
    return tare_of(state["tare_can_kg"], state["tare_can_n"], p["tare_kg"], prior, TARE_FLOOR_CAN)


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
    """After a trip. ``empty``: it was decided so; ``sure``: an order said so and no load units rode along."""
    registry = p["tare_kg"]
    scales, sd = scales_mass(state, registry)
    tare, sd_tare = tare_of(state["tare_scales_kg"], state["tare_scales_n"], registry, TARE_U_SCALES, TARE_FLOOR_SCALES)
    if state["weight_bad"] == 0 and not scales < BOBTAIL_SHARE * registry:
        tare, n = _one_tare(tare, state["tare_scales_n"], sd_tare, scales, sd, empty, sure)
        state["tare_scales_kg"], state["tare_scales_n"] = tare, n
    mass, sd = can_mass(state)
    tare, sd_tare = can_tare(state, p)
    if not (mass < BOBTAIL_SHARE * registry or torque_is_wrong(state)):
        tare, n = _one_tare(tare, state["tare_can_n"], sd_tare, mass, sd, empty, sure)
        state["tare_can_kg"], state["tare_can_n"] = tare, n


@kernel
def tare_drift(state: Any, p: Any) -> float:
    """How far the scales' learnt tare lies from the registry's [kg]; NaN while within ``DRIFT_REL`` or not yet steady."""
    if state["tare_scales_n"] < TARE_STEADY:
        return math.nan
    drift = state["tare_scales_kg"] - p["tare_kg"]
    return drift if math.fabs(drift) > DRIFT_REL * p["tare_kg"] else math.nan
