"""Where an interval's energy went: rolling, air, grade, acceleration, idling, auxiliaries, load; what is left is other.

Power is linear in what the wheels ask for, and the engine's own drag is shared by what asks. Terms keep their sign: speed and height
take energy when they rise and give it back when they fall. So over a trip the part of acceleration is the kinetic energy that ended
in brakes, the part of grade the height gained and what descents lost in brakes, and rolling and air get what kept them going.
"""

import math
from typing import Any, Final

from stream.kernel import inlined, kernel
from stream.road_load import (
    ETA_DRIVELINE,
    FUEL_CUT_KMH,
    REGEN_FULL_PCT,
    REGEN_MIN_KMH,
    STANDING_MS,
    battery_power_kw,
    engine_fuel_g_per_h,
)

Parts = tuple[float, float, float, float, float, float, float]
SCALE_LOW: Final = 0.5  # measured over modelled beyond these is not explained by the model: the rest is other
SCALE_HIGH: Final = 2.0


@inlined
def empty_share(tare_kg: float, mass_kg: float) -> float:
    """Tare over gross mass [1], at most 1; 1 where ``mass_kg`` is NaN, not known: nothing is then said of a load."""
    return 1.0 if math.isnan(mass_kg) else min(tare_kg / mass_kg, 1.0)


@inlined
def engine_ways(
    roll_w: float,
    air_w: float,
    climb_w: float,
    kinetic_w: float,
    empty: float,
    v_ms: float,
    aux_kw: float,
    pto_kw: float,
    turns: float,
    fuel_g_per_h: float,
    p_rated_kw: float,
    a: float,
    b: float,
    idle_g_per_h: float,
) -> Parts:
    """Parts of a modelled fuel rate [g/h]: rolling, air, grade, acceleration, idling, auxiliaries, load; they add up to it.

    Eq. 15. ``empty``: tare over gross mass; load = m(gross) - m(tare), all else is the empty vehicle's. Its fuel is linear in power,
    b/eta each term, plus the engine's drag a P_rated n/n_cruise, shared in proportion to the terms that ask for power. Where the
    wheels push (no fuel), height and speed pay for rolling and air: those are booked, and taken off what pays.
    """
    roll, climb, kinetic = roll_w * empty, climb_w * empty, kinetic_w * empty
    wheel_w = roll + air_w + climb + kinetic
    fuel = fuel_g_per_h
    if empty < 1.0:
        fuel = engine_fuel_g_per_h(wheel_w, v_ms, aux_kw, pto_kw, p_rated_kw, turns, a, b, idle_g_per_h)
    load = fuel_g_per_h - fuel
    if v_ms < STANDING_MS:
        if pto_kw > 0.0:
            return 0.0, 0.0, 0.0, 0.0, 0.0, fuel, load
        return 0.0, 0.0, 0.0, 0.0, fuel, 0.0, load
    if wheel_w > 0.0:
        per_w = b * (1e-3 / ETA_DRIVELINE)
    elif v_ms * 3.6 > FUEL_CUT_KMH:
        per_w = b * (1e-3 * ETA_DRIVELINE)
    else:
        return 0.0, 0.0, 0.0, 0.0, fuel, 0.0, load
    extra = b * (aux_kw + pto_kw)
    drag = fuel - per_w * wheel_w - extra
    if fuel <= 0.0:
        extra, drag = 0.0, 0.0
        given = -min(climb, 0.0) - min(kinetic, 0.0)
        pays = (roll + max(air_w, 0.0) + max(climb, 0.0) + max(kinetic, 0.0)) / given if given > 0.0 else 0.0
        roll, air_w = roll * per_w, max(air_w, 0.0) * per_w
        climb = per_w * (climb if climb > 0.0 else climb * pays)
        kinetic = per_w * (kinetic if kinetic > 0.0 else kinetic * pays)
        return roll, air_w, climb, kinetic, 0.0, 0.0, load
    asks = roll + max(air_w, 0.0) + max(climb, 0.0) + max(kinetic, 0.0)
    asks_all = asks * per_w + extra
    share = drag / asks_all
    more = per_w * (1.0 + share)
    return (
        roll * more,
        air_w * (more if air_w > 0.0 else per_w),
        climb * (more if climb > 0.0 else per_w),
        kinetic * (more if kinetic > 0.0 else per_w),
        0.0,
        extra * (1.0 + share),
        load,
    )


@kernel
def battery_ways(
    roll_w: float,
    air_w: float,
    climb_w: float,
    kinetic_w: float,
    empty: float,
    v_ms: float,
    aux_kw: float,
    soc_pct: float,
    power_kw: float,
    p: Any,
) -> Parts:
    """Parts of a modelled battery power P [kW], as ``engine_ways``; they add up to it. Standing still all of it is auxiliaries.

    Eq. 15 over Eq. 12. ``roll_w`` to ``kinetic_w``: Eq. 5, 7 and 8 [W]; ``empty``: m_0/m, 0 to 1; v [m/s]; ``aux_kw`` P_aux [kW];
    ``soc_pct`` 0 to 100 or NaN. Exact by construction; each part is as wrong as the model (6 % of a trip once calibrated).
    """
    wheel_w = (roll_w + climb_w + kinetic_w) * empty + air_w
    power = power_kw
    if empty < 1.0:
        power = battery_power_kw(wheel_w, v_ms, aux_kw, p["p_rated_kw"], p["eta_drive"], p["eta_regen"], soc_pct)
    load = power_kw - power
    if wheel_w > 0.0:
        per_w = 1e-3 / p["eta_drive"]
    elif v_ms * 3.6 < REGEN_MIN_KMH or soc_pct > REGEN_FULL_PCT:
        per_w = 0.0
    else:
        per_w = 1e-3 * p["eta_regen"]
    over = (power - aux_kw) - per_w * wheel_w
    per_kg = per_w * empty
    return (roll_w * per_kg, air_w * per_w, climb_w * per_kg, kinetic_w * per_kg + over, 0.0, aux_kw, load)


@inlined
def scale(total_ug: float, nominal_ug: float, rate: float) -> float:
    """µg for one unit of modelled ``rate`` [g/h or kW], so that the model's parts add up to ``total_ug`` where they explain it (Eq. 15).

    ``nominal_ug``: µg of one unit by the calibrated model. Where the total is not half to twice what the model says, the parts stay
    within these bounds and the rest is other.
    """
    said = nominal_ug * rate
    if said <= 0.0:
        return nominal_ug
    return min(max(total_ug / said, SCALE_LOW), SCALE_HIGH) * nominal_ug
