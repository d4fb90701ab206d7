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

from stream.columns import ENERGY_METHODS, UNKNOWN
from stream.kernel import inlined, kernel
from stream.learning import LEARNT
from stream.table import ROOM

# Parts of a reading's error, float64 [µg, variances µg²]: where each begins in the room of a block.
N_PARTS: Final = 8
IND, TRIP, ASSET, MODEL, FUEL_TTW, FUEL_WTT, GRID, OWN = range(
    0, N_PARTS * ROOM, ROOM
)  # the first seven in the order of their sums
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
def _take_due(c: Any) -> float:
    """1 where the tick of a span of counter ``c`` is not booked yet; from here on it is."""
    due = c["tick_due"]
    c["tick_due"] = 0
    return float(due)


@inlined
def fuel_tick(state: Any, p: Any, method: int) -> tuple[float, float, float]:
    """(tick of the counter that told a reading's fuel [its fixed point], 1 where its span has no tick booked yet, u of what is shaped).

    0 where no counter told it.
    """
    if method == BY_HR:
        return FINE_TICK, _take_due(state["fuel_hr"]), 0.0
    if method in (BY_MODEL, BY_TANK, BY_RATE):
        return 0.0, 0.0, 0.0
    if method == BY_FLOW:
        return FINE_TICK, _take_due(state["fuel_flow"]), 0.0
    if p["fuel_is_gas"] == 0 and state["fuel_hr"]["last"] != UNKNOWN:
        return FINE_TICK, _take_due(state["fuel_hr"]), 0.0
    if p["fuel_is_gas"]:
        return COARSE_TICK, _take_due(state["gas"]), U_SHAPED_REL
    fine = state["fuel_tick_nl"] != UNKNOWN and state["fuel_tick_nl"] < COARSE_TICK
    tick = float(state["fuel_tick_nl"]) if fine else COARSE_TICK
    return tick, _take_due(state["fuel"]), U_SHAPED_REL


@kernel
def battery_tick(state: Any, method: int) -> tuple[float, float]:
    """(tick of the battery's counter [µWh], 1 where its span has no tick booked yet); 0 where it did not tell the energy."""
    if method in (BY_MODEL, BY_RATE):
        return 0.0, 0.0
    return FINE_TICK, _take_due(state["battery"])


@inlined
def counter_parts(
    e_ug: float, ug_per_amount: float, tick: float, due: float, u_shaped_rel: float
) -> tuple[float, float]:
    """(own, ind) of a counter's reading [µg²]: its tick once for an unbroken span, since differences telescope (Eq. 17); in its own
    interval always, and there the shape between two ticks of a coarse counter.

    Variance of a difference of two rounded values: tick^2 / 6. Science reference, section 8.

    ``e_ug``: CO2e of the reading [µg]; ``ug_per_amount``: of one unit of the counter's fixed point; ``tick``: in that unit.
    """
    sd = ug_per_amount * tick
    tick_ug2 = _TICK_SHARE * sd * sd
    shape = 0.5 * u_shaped_rel * e_ug
    # a reading between two ticks of a coarse counter has 0 or all of it
    return shape * shape + min(tick_ug2, e_ug * e_ug), tick_ug2 if due != 0.0 else 0.0


@inlined
def own_part(part: Any, i: int, e_ug: float, u_rel: float) -> None:
    """An error of this reading alone: v_ind += (e u / 2)^2 [µg²], of ``e_ug`` e and the half-width ``u_rel`` u (Eq. 19)."""
    sd = 0.5 * u_rel * e_ug
    part[IND + i] += sd * sd
    part[OWN + i] += sd * sd


@inlined
def model_parts(
    e_ug: float, dt_s: float, u_rel: float, u_second_rel: float, u_shared_rel: float, taught: float
) -> tuple[float, float, float, float]:
    """(own, ind [µg²], trip, model [µg]) of a modelled reading: seconds, off by ``u_second_rel``, that hang together over 45 s; of the
    trip's ``u_rel``, what its class shares.

    ``u_shared_rel``: that part of a class default; ``taught``: use by which the model was calibrated [L, kg, kWh]; 20 of them take
    half of it away.
    """
    sd = 0.5 * u_second_rel * e_ug
    shared = u_shared_rel * LEARNT / (LEARNT + max(taught, 0.0))
    trip = 0.5 * e_ug * math.sqrt(max(u_rel * u_rel - shared * shared, 0.0))
    return sd * sd, sd * sd * (2.0 * MODEL_TAU_S / dt_s + 1.0), trip, 0.5 * e_ug * shared


@inlined
def rate_u_rel(v_ms: float, dt_s: float) -> float:
    """Half-width of one reading's fuel by its rate [1]: standing the rate is small and coarse, and a slow reading samples it the worse."""
    return (U_RATE_CRUISE_REL if v_ms * 3.6 >= STANDING_KMH else U_RATE_IDLE_REL) * max(dt_s, 1.0)


@inlined
def u_rel_of(
    own: float, trip: float, asset: float, model: float, ttw: float, wtt: float, grid: float, e_ug: float
) -> float:
    """Half-width u of the 95 % interval of one reading [1], relative to its CO2e ``e_ug`` [µg]; NaN where that is 0 or unknown.

    Eq. 19 within one reading, whose own variance is ``own`` [µg²], the others [µg]: all are independent there. Taken as lognormal, never
    below 0, where a band is drawn.
    """
    if e_ug == 0.0:
        return math.nan
    variance = own + trip * trip + asset * asset + model * model + ttw * ttw + wtt * wtt + grid * grid
    return 2.0 * math.sqrt(variance) / abs(e_ug)
