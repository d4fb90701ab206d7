r"""How far a figure may be off: what each reading adds to sums from which the band of any total follows.

A reading's error has parts. One part is its own: variances of it add. The others are shared: by the readings of one trip (what
a model does not see of load, road and wind), of one asset (bias of its meter), of one vehicle class (bias of its model), of one
fuel (its factors) and of one grid zone; there standard deviations add, within the group, and squares of groups add:

    Var(total) = sum u_ind + sum over types, over groups of (sum u)^2,   half-width of the 95 % interval = 1.96 sqrt(Var)    (Eq. 19)

All parts are int64, so merging is addition, in any order. Science reference, section 8. Values there are relative half-widths of
95 % intervals, u; a standard deviation is u/2.
"""

import math
from typing import Any, Final

import numpy as np

from stream.columns import ENERGY_METHODS, UNKNOWN
from stream.fixed import LIMIT
from stream.kernel import inlined, kernel
from stream.learning import LEARNT
from stream.table import U_IND, U_TRIP

# Parts of one reading, float64 [µg, variances µg²].
IND, ROW, TRIP, ASSET, MODEL, FUEL_TTW, FUEL_WTT, GRID = range(8)  # from TRIP on in the order of their sums
N_PARTS: Final = 8
BY_HR: Final = ENERGY_METHODS.index("counter_hr")
BY_FLOW: Final = ENERGY_METHODS.index("flow_meter")
BY_RATE: Final = ENERGY_METHODS.index("rate")
BY_MODEL: Final = ENERGY_METHODS.index("model")
BY_TANK: Final = ENERGY_METHODS.index("tank")
FINE_TICK: Final = 1e6  # 1 mL, 1 Wh: high-resolution counters
COARSE_TICK: Final = 5e8  # 0.5 L or 0.5 kg
STANDING_KMH: Final = 1.0


U_SITE_METER_REL: Final = 0.005  # revenue meters of a site, where a battery management system has 3 %
U_SITE_READING_REL: Final = 0.01
U_BATTERY_READING_REL: Final = 0.02
U_RATE_CRUISE_REL: Final = (
    0.05  # of one second; a slower reading samples the rate the worse: 10-20 % of a trip at 30-60 s
)
U_RATE_IDLE_REL: Final = 0.15
U_SHAPED_REL: Final = 0.15  # of one reading between two ticks of a coarse counter, which is bent by as much
U_CLASS_SHARED_REL: Final = (
    0.10  # of a class default, what all vehicles of the class share; fades while the vehicle teaches
)
U_MODEL_SECOND_REL: Final = 0.35  # of one second, 25-40 %
U_TORQUE_SECOND_REL: Final = 0.08  # of one second, where engine torque tells it
U_CLASS_SHARED_BATTERY_REL: Final = (
    0.22  # drive and recuperation efficiencies of a class are less known than Willans lines
)
MODEL_TAU_S: Final = 45.0  # over which the errors of the model's seconds hang together: about 1 km at 80 km/h
U_HEAT_REL: Final = 0.10  # a supplier's figure for district heat
_TICK_SHARE: Final = 1.0 / 6.0  # variance of the difference of two rounded readings, in squared ticks


@kernel
def begin_spans(state: Any) -> None:
    """From here on each counter has its tick of error anew: a sum that begins here is off by it (Eq. 17, 19)."""
    state["fuel_hr"]["tick_due"] = 1
    state["fuel"]["tick_due"] = 1
    state["fuel_flow"]["tick_due"] = 1
    state["gas"]["tick_due"] = 1
    state["battery"]["tick_due"] = 1


@inlined
def counter_parts(part: Any, c: Any, e_ug: float, ug_per_amount: float, tick: float) -> None:
    """A counter's tick: once for an unbroken span, since differences telescope (Eq. 17); in the reading's own interval always.

    Variance of a difference of two rounded values: tick^2 / 6. Science reference, section 8.

    ``e_ug``: CO2e of the reading [µg]; ``ug_per_amount``: of one unit of the counter's fixed point; ``tick``: in that unit.
    """
    sd = ug_per_amount * tick
    own = _TICK_SHARE * sd * sd
    part[ROW] += min(own, e_ug * e_ug)  # a reading between two ticks of a coarse counter has 0 or all of it
    if c["tick_due"] != 0:
        c["tick_due"] = 0
        part[IND] += own


@inlined
def own_part(part: Any, e_ug: float, u_rel: float) -> None:
    """An error of this reading alone: v_ind += (e u / 2)^2 [µg²], of ``e_ug`` e and the half-width ``u_rel`` u (Eq. 19)."""
    sd = 0.5 * u_rel * e_ug
    part[IND] += sd * sd
    part[ROW] += sd * sd


@kernel
def model_parts(
    part: Any, e_ug: float, dt_s: float, u_rel: float, u_second_rel: float, u_shared_rel: float, taught: float
) -> None:
    """A modelled reading: seconds, off by ``u_second_rel``, that hang together over 45 s; of the trip's ``u_rel``, what its class shares.

    ``u_shared_rel``: that part of a class default; ``taught``: use by which the model was calibrated [L, kg, kWh]; 20 of them take
    half of it away.
    """
    sd = 0.5 * u_second_rel * e_ug
    part[ROW] += sd * sd
    part[IND] += sd * sd * (2.0 * MODEL_TAU_S / dt_s + 1.0)
    shared = u_shared_rel * LEARNT / (LEARNT + max(taught, 0.0))
    part[MODEL] += 0.5 * e_ug * shared
    part[TRIP] += 0.5 * e_ug * math.sqrt(max(u_rel * u_rel - shared * shared, 0.0))


@inlined
def fuel_parts(
    part: Any,
    p: Any,
    state: Any,
    method: int,
    ttw: int,
    wtt: int,
    dt_s: float,
    v_ms: float,
    u_rel: float,
    u_second_rel: float,
) -> None:
    """The parts of a reading's fuel, whose amount by ``method`` is known to ``u_rel``; ``ttw``, ``wtt`` [µg].

    ``u_second_rel``: of a single modelled second.
    """
    e_ug = float(ttw + wtt)
    part[FUEL_TTW] += 0.5 * p["fuel_u_ttw_rel"] * ttw
    part[FUEL_WTT] += 0.5 * p["fuel_u_wtt_rel"] * wtt
    if method in (BY_MODEL, BY_TANK):
        model_parts(part, e_ug, dt_s, u_rel, u_second_rel, U_CLASS_SHARED_REL, state["road"]["modelled"])
        return
    part[ASSET] += 0.5 * u_rel * e_ug
    per_amount = p["fuel_ttw"] + p["fuel_wtt"]
    if method == BY_RATE:
        cruise = v_ms * 3.6 >= STANDING_KMH
        own_part(part, e_ug, (U_RATE_CRUISE_REL if cruise else U_RATE_IDLE_REL) * max(dt_s, 1.0))
    elif method == BY_FLOW:
        counter_parts(part, state["fuel_flow"], e_ug, per_amount, FINE_TICK)
    elif method == BY_HR or (p["fuel_is_gas"] == 0 and state["fuel_hr"]["last"] != UNKNOWN):
        counter_parts(part, state["fuel_hr"], e_ug, per_amount, FINE_TICK)
    else:
        sd = 0.5 * U_SHAPED_REL * e_ug
        part[ROW] += sd * sd
        if p["fuel_is_gas"]:
            counter_parts(part, state["gas"], e_ug, per_amount, COARSE_TICK)
        else:
            fine = state["fuel_tick_nl"] != UNKNOWN and state["fuel_tick_nl"] < COARSE_TICK
            tick = float(state["fuel_tick_nl"]) if fine else COARSE_TICK
            counter_parts(part, state["fuel"], e_ug, per_amount, tick)


@kernel
def battery_parts(part: Any, p: Any, state: Any, method: int, wtt: int, dt_s: float, u_rel: float) -> None:
    """The parts of a reading's battery energy (Eq. 19); ``wtt`` [µg], negative while regenerating; ``dt_s`` [s], ``u_rel`` by method."""
    e_ug = float(wtt)
    part[GRID] += 0.5 * p["grid_u_rel"] * e_ug
    if method == BY_MODEL:
        model_parts(part, e_ug, dt_s, u_rel, U_MODEL_SECOND_REL, U_CLASS_SHARED_BATTERY_REL, state["road"]["modelled"])
        return
    part[ASSET] += 0.5 * u_rel * e_ug
    if method == BY_RATE:
        own_part(part, e_ug, U_BATTERY_READING_REL)
    else:
        counter_parts(part, state["battery"], e_ug, p["grid_total"], FINE_TICK)


@inlined
def u_rel_of(part: Any, e_ug: float) -> float:
    """Half-width u of the 95 % interval of one reading [1], relative to its CO2e ``e_ug`` [µg]; NaN where that is 0 or unknown.

    Eq. 19 within one reading: all parts are independent there. Taken as lognormal, never below 0, where a band is drawn.
    """
    variance = part[ROW]
    for k in range(TRIP, N_PARTS):
        variance += part[k] * part[k]
    return float(2.0 * math.sqrt(variance) / abs(e_ug)) if e_ug != 0.0 else math.nan


@inlined
def add_parts(part: Any, sums: Any) -> None:
    """Add the parts of a reading to its partial sum, each rounded once."""
    sums[U_IND] += _rounded(part[IND] * 1e-6)
    for k in range(TRIP, N_PARTS):
        if part[k] != 0.0:
            sums[U_TRIP + k - TRIP] += _rounded(part[k])


@inlined
def _rounded(amount: float) -> int:
    """Half to even; 0 where there is none or int64 has no value."""
    return int(np.rint(amount)) if math.fabs(amount) < LIMIT else 0
