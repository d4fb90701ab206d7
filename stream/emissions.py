"""From fuel or energy to CO2e: amount times factor, each part on its own, unknown staying unknown."""

import math
from typing import Any, Final

from stream.columns import UNKNOWN
from stream.counters import advance, step_up
from stream.factors import U_WTT_REL
from stream.fixed import PER_UNIT, plus, times, to_fixed
from stream.kernel import inlined, kernel
from stream.table import (
    CH4,
    CO2,
    CO2_BIOGENIC,
    CO2E_TTW,
    CO2E_WTT,
    CO2E_WTT_MARKET,
    N2O,
    REFRIGERANT,
    REFRIGERANT_UNKNOWN,
)

ADBLUE_TICK_NL: Final = 500_000_000
ADBLUE_LITRE_PER_KWH_CAP: Final = 0.03  # a tenth of the most fuel that an engine can burn; dosing is 3 to 7 % of it
REFRIGERANT_MOST: Final = 500 * 10**9  # what one service may add at once to the largest plant [µg]
U_COUNTER_REL: Final = 0.03  # of the refrigeration unit's and AdBlue's counters, as of the engine's


@kernel
def battery_co2e(out: Any, i: int, energy_uwh: int, p: Any) -> None:
    """Fill row ``i`` from battery energy [µWh, negative while regenerating]; the factors hold generation, losses, supply and charger.

    Eq. 18: E = W EF_grid [kg/kWh]. TTW is 0 by definition (mission definitions, 6). Error: 7.5 % by zone and year, or the row's band.
    """
    if energy_uwh == UNKNOWN:
        return
    for row in (CO2, CO2E_TTW, CO2_BIOGENIC, CH4, N2O):
        out[row + i] = 0
    out[CO2E_WTT + i] = times(energy_uwh, p["grid_total"])
    out[CO2E_WTT_MARKET + i] = times(energy_uwh, p["grid_market"])


@inlined
def tru_due(state: Any, nl: int, known: bool) -> int:
    """Gas oil of the refrigeration unit that a reading stands for [nL], UNKNOWN for none, where ``nl`` was used since the one before.

    While the vehicle's own part is not ``known`` so is the total; what the unit burnt meanwhile is kept and stands in the next row
    that has one, so no litre is lost.
    """
    told = nl != UNKNOWN or state["tru_owed_nl"] > 0
    if nl != UNKNOWN:
        state["tru_owed_nl"] += nl
    if not told or not known:
        return UNKNOWN
    due = state["tru_owed_nl"]
    state["tru_owed_nl"] = 0
    return int(due)


@kernel
def add_tru(out: Any, i: int, nl: int, u_rel: float, p: Any) -> tuple[float, float, float]:
    """Add ``nl`` of the refrigeration unit's gas oil, known to ``u_rel``, to row ``i`` (Eq. 18).

    Returns the asset's, the TTW factor's and the WTT factor's part of its error [µg].
    """
    ttw, wtt = times(nl, p["gas_oil_ttw"]), times(nl, p["gas_oil_wtt"])
    out[CO2 + i] = plus(out[CO2 + i], times(nl, p["gas_oil_co2"]))
    out[CH4 + i] = plus(out[CH4 + i], times(nl, p["gas_oil_ch4"]))
    out[N2O + i] = plus(out[N2O + i], times(nl, p["gas_oil_n2o"]))
    out[CO2E_TTW + i] += ttw
    out[CO2E_WTT + i] += wtt
    out[CO2E_WTT_MARKET + i] = plus(out[CO2E_WTT_MARKET + i], wtt)
    return 0.5 * u_rel * (ttw + wtt), 0.5 * p["gas_oil_u_ttw_rel"] * ttw, 0.5 * U_WTT_REL * wtt


@kernel
def adblue_due(state: Any, total_l: float, time_ns: int, p: Any, known: bool) -> int:
    """AdBlue that a reading stands for [nL], by its counter ``total_l`` [L] alone; 0 for none.

    Without a counter nothing is added: dosing is 3 to 7 % of the diesel, 0.3 to 0.7 % of its CO2e, inside the factor's band.
    What is used while the vehicle's own part is not ``known`` waits as the refrigeration unit's fuel does.
    """
    if not math.isnan(total_l):
        cap = ADBLUE_LITRE_PER_KWH_CAP * p["p_rated_kw"] / 3600.0 * PER_UNIT
        risen = advance(state["adblue"], to_fixed(total_l, PER_UNIT), time_ns, cap, ADBLUE_TICK_NL, ADBLUE_TICK_NL)
        if risen != UNKNOWN:
            state["adblue_owed_nl"] += risen
    if not known:
        return 0
    due = state["adblue_owed_nl"]
    state["adblue_owed_nl"] = 0
    return int(due)


@kernel
def add_adblue(out: Any, i: int, nl: int, p: Any) -> float:
    """Add the fossil CO2 of the urea in ``nl`` of AdBlue to row ``i``; the asset's part of its error [µg].

    Eq. 23 (IPCC 2006, equation 3.2.2). Error: 3 % of its counter.
    """
    co2 = times(nl, p["adblue_co2"])
    out[CO2 + i] = plus(out[CO2 + i], co2)
    out[CO2E_TTW + i] += co2
    return 0.5 * U_COUNTER_REL * co2


@kernel
def leaked(out: Any, i: int, state: Any, total_kg: float, time_ns: int, p: Any, sums: Any) -> None:
    """Refrigerant that was topped up had leaked: Eq. 23, E = kg x GWP100, booked whole when ``total_kg`` steps. In no other total.

    Source: GHG Protocol's mass balance, IPCC GWP of the factor set. Error: 5 to 10 %.

    Where the registry does not tell the refrigerant, the kilograms are counted as unknown and the CO2e is null, never 0.
    """
    risen = step_up(state["refrigerant"], to_fixed(total_kg, PER_UNIT), time_ns, 0.0, REFRIGERANT_MOST)
    if risen == UNKNOWN:
        return
    out[REFRIGERANT + i] = times(risen, p["refrigerant_gwp"]) if risen > 0 else 0
    if out[REFRIGERANT + i] == UNKNOWN:
        sums[REFRIGERANT_UNKNOWN] += risen // 1_000_000
