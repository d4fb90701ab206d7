"""A warehouse's interval: metered electricity, gas and generator fuel to CO2e."""

import math
from typing import Any, Final

from stream.columns import UNKNOWN
from stream.counters import advance
from stream.fixed import PER_UNIT, times, to_fixed
from stream.fuel import METER, U_METHOD_REL
from stream.kernel import kernel
from stream.table import CO2, CO2_BIOGENIC, CO2E_TTW, CO2E_WTT, ENERGY, FUEL_LIQUID, METHOD

MAX_KW: Final = 20_000.0  # no warehouse connection is larger; a faster rise is a broken meter
MAX_GENSET_LPH: Final = 5_000.0
METER_TICK: Final = 1_000_000_000  # 1 kWh, 1 L: the coarsest meters


@kernel
def site_energy(
    state: Any, p: Any, grid_kwh: float, gas_kwh: float, genset_l: float, time_ns: int, i: int, out: Any
) -> float:
    """Fill column ``i``. Without a good grid meter reading the row is unknown; gas and generator add where they are metered.

    A meter that misses a reading settles at its next one, since its counter goes on. Electricity: TTW 0, all of it WTT (mission
    definitions, 6). Gas in gross kWh only.
    Returns the relative half-width of the 95 % interval, NaN when unknown.
    """
    cap = MAX_KW / 3600.0 * PER_UNIT
    grid = advance(state["grid_import"], to_fixed(grid_kwh, PER_UNIT), time_ns, cap, METER_TICK, METER_TICK)
    gas = advance(state["gas_kwh"], to_fixed(gas_kwh, PER_UNIT), time_ns, cap, METER_TICK, METER_TICK)
    genset_cap = MAX_GENSET_LPH / 3600.0 * PER_UNIT
    genset = advance(state["genset"], to_fixed(genset_l, PER_UNIT), time_ns, genset_cap, METER_TICK, METER_TICK)
    if grid == UNKNOWN and gas == UNKNOWN and genset == UNKNOWN:
        return math.nan
    co2 = 0
    ttw = 0
    wtt = 0
    if grid != UNKNOWN:
        out[ENERGY, i] = grid
        wtt += times(grid, p["grid_total"])
    if gas != UNKNOWN:
        ttw += times(gas, p["gas_ttw"])
        wtt += times(gas, p["gas_wtt"])
        if gas > 0:
            co2 = UNKNOWN
    if genset != UNKNOWN:
        out[FUEL_LIQUID, i] = genset
        ttw += times(genset, p["gas_oil_ttw"])
        wtt += times(genset, p["gas_oil_wtt"])
        if co2 != UNKNOWN:
            co2 += times(genset, p["gas_oil_co2"])
    out[METHOD, i] = METER
    out[CO2, i] = co2
    out[CO2E_TTW, i] = ttw
    out[CO2E_WTT, i] = wtt
    out[CO2_BIOGENIC, i] = 0
    return math.hypot(U_METHOD_REL[METER], p["grid_u_rel"])
