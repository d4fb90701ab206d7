"""A vehicle teaches its models: where fuel or energy is measured, the ratio of measured to modelled is kept for later gaps.

Slow (hours of driving), bounded, and part of the state. Until enough was seen the ratio stays near 1, the class default. Two
models learn apart: road load, and engine torque where the bus tells it. Beside them the state keeps a long memory, against which
the last weeks show the drift of a vehicle (tyres, filters, a sensor), and the counter's litres against the rate's.
"""

import math
from typing import Any, Final

from stream.kernel import inlined, kernel
from stream.state import U_CALIBRATED_REL, U_CLASS_REL, U_TORQUE_CALIBRATED_REL, U_TORQUE_REL

MEMORY_S: Final = (
    4.0 * 3600.0
)  # measured time after which what was learnt has faded to 1/e: weather and load change by the day
FOLD_S: Final = 60.0  # what was measured is taken in by pieces of this length
PRIOR: Final = 10.0  # litres (kg, kWh) that the class default counts for against what is measured
TORQUE_MEMORY_S: Final = 40.0 * 3600.0  # a reference torque does not change
TORQUE_PRIOR: Final = 1.0  # its class default is a guess, and 5 L tell it to 5 %
LEARNT: Final = 20.0  # modelled litres (kg, kWh) after which two thirds of the way to the calibrated band are gone
LOWEST: Final = 0.6  # beyond these the class or a sensor is wrong, and the model must not follow it
HIGHEST: Final = 1.6
DRIFT_S: Final = 25.0 * 3600.0  # driving time of "the last weeks"
BASE_S: Final = 500.0 * 3600.0  # and of the vehicle's own past, about a quarter
DRIFT_ENOUGH: Final = 100.0  # litres (kg, kWh) in the short memory before a drift is told
BASE_ENOUGH: Final = 500.0
DRIFT_ALARM_REL: Final = 0.06
BIAS_S: Final = 40.0 * 3600.0  # a week of driving
BIAS_ENOUGH_L: Final = 100.0
BIAS_ALARM_REL: Final = 0.05  # counter against rate, science reference section 4


@kernel
def _fold(m: Any, memory_s: float, prior: float, u_class: float, u_calibrated: float) -> None:
    """Take the window's sums into the ratio."""
    keep = math.exp(-m["window_s"] / memory_s)
    m["measured"] = m["measured"] * keep + m["window_measured"]
    m["modelled"] = m["modelled"] * keep + m["window_modelled"]
    m["window_measured"] = 0.0
    m["window_modelled"] = 0.0
    m["window_s"] = 0.0
    m["ratio"] = min(max((prior + m["measured"]) / (prior + max(m["modelled"], 0.0)), LOWEST), HIGHEST)
    m["u_rel"] = u_calibrated + (u_class - u_calibrated) * math.exp(-max(m["modelled"], 0.0) / LEARNT)


@inlined
def learn(
    m: Any,
    measured: float,
    modelled: float,
    dt_s: float,
    memory_s: float,
    prior: float,
    u_class: float,
    u_calibrated: float,
) -> bool:
    """Take one interval into a model's record ``m`` (``state.RATIO``); True when a piece of 60 s was folded into its ratio.

    Eq. 16: k = (prior + S measured) / (prior + S modelled), 0.6 to 1.6; sums in L, kg or kWh fading with measured time. The band of a
    trip narrows from ``u_class`` to ``u_calibrated`` [relative half-width, 95 %] with 20 L modelled.
    """
    m["window_measured"] += measured
    m["window_modelled"] += modelled
    m["window_s"] += dt_s
    if m["window_s"] < FOLD_S:
        return False
    _fold(m, memory_s, prior, u_class, u_calibrated)
    return True


@inlined
def learn_road(state: Any, measured: float, modelled: float, dt_s: float) -> None:
    """Teach the road-load model (Eq. 16, fading over 4 h), and the long memory that ``drift`` reads; ``dt_s`` [s].

    ``measured``, ``modelled``: use of the same interval [L, kg or kWh], > 0; the model's without its learnt ratio.
    """
    m = state["road"]
    piece_s = m["window_s"] + dt_s
    piece_measured = m["window_measured"] + measured
    piece_modelled = m["window_modelled"] + modelled
    if not learn(m, measured, modelled, dt_s, MEMORY_S, PRIOR, U_CLASS_REL, U_CALIBRATED_REL):
        return
    keep = math.exp(-piece_s / DRIFT_S)
    state["drift_measured"] = state["drift_measured"] * keep + piece_measured
    state["drift_modelled"] = state["drift_modelled"] * keep + piece_modelled
    keep = math.exp(-piece_s / BASE_S)
    state["base_measured"] = state["base_measured"] * keep + piece_measured
    state["base_modelled"] = state["base_modelled"] * keep + piece_modelled


@inlined
def learn_torque(state: Any, measured: float, modelled: float, dt_s: float) -> None:
    """Teach the model by engine torque (Eq. 16, fading over 40 h): ``measured``, ``modelled`` [L or kg] of ``dt_s`` [s]."""
    m = state["torque"]
    learn(m, measured, modelled, dt_s, TORQUE_MEMORY_S, TORQUE_PRIOR, U_TORQUE_REL, U_TORQUE_CALIBRATED_REL)


@kernel
def drift(state: Any) -> float:
    """Measured over modelled of the last 25 h of driving against the vehicle's last 500 h [1]; NaN until 100 and 500 L were seen.

    1.10: the vehicle needs a tenth more than it used to for the same work (tyres, filter, brakes, a sensor). Alarm beyond
    ``DRIFT_ALARM_REL``: unknown hills and weather alone move it by 2 to 3 %.
    """
    if state["drift_modelled"] < DRIFT_ENOUGH or state["base_modelled"] < BASE_ENOUGH or state["base_measured"] <= 0.0:
        return math.nan
    return float(state["drift_measured"] / state["drift_modelled"] * state["base_modelled"] / state["base_measured"])


@inlined
def learn_bias(state: Any, counted_l: float, rated_l: float, dt_s: float) -> None:
    """Take litres booked by the counter and litres of the rate over the same interval into the fading sums of ``rate_bias``."""
    keep = 1.0 - min(dt_s / BIAS_S, 1.0)
    state["bias_counted"] = state["bias_counted"] * keep + counted_l
    state["bias_rated"] = state["bias_rated"] * keep + rated_l


@kernel
def rate_bias(state: Any) -> float:
    """Litres by counter over litres by rate, of the last week of driving [1]; NaN until 100 L. Alarm beyond ``BIAS_ALARM_REL``."""
    if state["bias_rated"] < BIAS_ENOUGH_L:
        return math.nan
    return float(state["bias_counted"] / state["bias_rated"])
