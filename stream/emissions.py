"""From fuel or energy to CO2e: amount times factor, each part on its own, unknown staying unknown."""

import math
from typing import Any

from stream.columns import UNKNOWN
from stream.fixed import plus, times
from stream.kernel import kernel
from stream.table import CO2, CO2_BIOGENIC, CO2E_TTW, CO2E_WTT, TRU_FUEL


@kernel
def fuel_co2e(out: Any, i: int, amount: int, p: Any, u_amount_rel: float) -> float:
    """Fill column ``i`` from ``amount`` of fuel (nL with factors per L, or µg with factors per kg).

    m = V f, IPCC Guidelines 2006, volume 2, equation 3.2.1. Errors of amount and factor are independent: U = sqrt(U1^2 + U2^2),
    which is returned (NaN when the amount is unknown).
    """
    out[CO2, i] = times(amount, p["fuel_co2"])
    out[CO2E_TTW, i] = times(amount, p["fuel_ttw"])
    out[CO2E_WTT, i] = times(amount, p["fuel_wtt"])
    out[CO2_BIOGENIC, i] = times(amount, p["fuel_biogenic"])
    return math.nan if amount == UNKNOWN else math.hypot(u_amount_rel, p["fuel_u_rel"])


@kernel
def add_tru(out: Any, i: int, tru_nl: int, p: Any) -> None:
    """Add the refrigeration unit's gas oil to column ``i``. While the vehicle's own part is unknown the total stays unknown."""
    out[TRU_FUEL, i] = tru_nl
    if tru_nl == UNKNOWN:
        return
    out[CO2, i] = plus(out[CO2, i], times(tru_nl, p["gas_oil_co2"]))
    out[CO2E_TTW, i] = plus(out[CO2E_TTW, i], times(tru_nl, p["gas_oil_ttw"]))
    out[CO2E_WTT, i] = plus(out[CO2E_WTT, i], times(tru_nl, p["gas_oil_wtt"]))


@kernel
def battery_co2e(
    out: Any, i: int, energy_uwh: int, grid_kg_per_kwh: float, grid_u_rel: float, u_amount_rel: float
) -> float:
    """Fill column ``i`` from battery energy; ``grid_kg_per_kwh`` holds generation, losses, supply and charger.

    TTW is 0 by definition (mission definitions, 6). Returns the relative half-width as ``fuel_co2e`` does.
    """
    if energy_uwh == UNKNOWN:
        return math.nan
    out[CO2, i] = 0
    out[CO2E_TTW, i] = 0
    out[CO2_BIOGENIC, i] = 0
    out[CO2E_WTT, i] = times(energy_uwh, grid_kg_per_kwh)
    return math.hypot(u_amount_rel, grid_u_rel)
