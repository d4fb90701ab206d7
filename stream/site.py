"""A warehouse's interval: metered electricity, solar, gas, heat and generator fuel to CO2e; goods and pallets beside them."""

import math
from typing import Any, Final

from stream import signal_rows as at
from stream.columns import ENERGY_METHODS, UNKNOWN
from stream.counters import advance, step_up
from stream.factors import U_TTW_REL, U_WTT_REL
from stream.fixed import PER_UNIT, plus, times, to_fixed
from stream.kernel import kernel
from stream.table import (
    CH4,
    CO2,
    CO2_BIOGENIC,
    CO2E_TTW,
    CO2E_WTT,
    CO2E_WTT_MARKET,
    DT,
    ENERGY,
    FORKLIFT,
    FUEL_LIQUID,
    GAS_USED,
    GOODS_OUT,
    GRID_EXPORT,
    HEAT_USED,
    METHOD,
    N2O,
    PALLET_TIME,
    PALLETS_IN,
    PALLETS_OUT,
    PV_USED,
)
from stream.uncertainty import (
    ASSET,
    FUEL_TTW,
    FUEL_WTT,
    GRID,
    U_HEAT_REL,
    U_SITE_METER_REL,
    U_SITE_READING_REL,
    own_part,
)

METER: Final = ENERGY_METHODS.index("meter")
MAX_KW: Final = 20_000.0  # no warehouse connection is larger; a faster rise is a broken meter
MAX_GENSET_LPH: Final = 5_000.0
MAX_GOODS_G_PER_S: Final = 1e6  # 50 docks at 20 kg/s each
MAX_PALLETS_PER_S: Final = 10.0
MOST_GOODS_G: Final = 30_000_000  # a whole truck may be booked at once
MOST_PALLETS: Final = 100
METER_TICK: Final = 1_000_000_000  # 1 kWh, 1 L: the coarsest meters
PALLETS_HELD_S: Final = 900.0  # how long a count of occupied positions stands for the time before it


@kernel
def _used(c: Any, kwh: float, time_ns: int) -> int:
    """Advance of an energy meter [µWh]; UNKNOWN where it was not read."""
    if math.isnan(kwh):
        return UNKNOWN
    cap = MAX_KW / 3600.0 * PER_UNIT
    return int(advance(c, to_fixed(kwh, PER_UNIT), time_ns, cap, METER_TICK, METER_TICK))


@kernel
def pv_used(state: Any, pv: int, export: int, sums: Any) -> int:
    """Own solar electricity used on the site [µWh], UNKNOWN without a solar meter's advance.

    min(load, pv) per interval: load = import + pv - export, so it is pv - export. A site without an export meter feeds nothing
    in. An export that a battery shifted past its generation, or whose meter was read later, is owed and comes off what is
    used next: sums are pv - export exactly and nothing is ever negative.
    """
    if export != UNKNOWN:
        sums[GRID_EXPORT] += export
        state["export_owed_uwh"] += export
    if pv == UNKNOWN:
        return UNKNOWN
    off = min(pv, state["export_owed_uwh"])
    state["export_owed_uwh"] -= off
    sums[PV_USED] += pv - off
    return int(pv - off)


@kernel
def site_energy(state: Any, p: Any, signals: Any, time_ns: int, i: int, out: Any, part: Any, sums: Any) -> None:
    """Fill row ``i`` from its meters among the block's ``signals``. Without any reading it is unknown; a carrier adds where it is metered.

    A meter that misses a reading settles at its next one, since its counter goes on. Electricity and heat: TTW 0, all of it WTT
    (mission definitions, 6). Solar used on the site has the WTT of its making and no scope 2; exported kWh are counted beside, and
    are never a negative emission. Gas in gross kWh only. Heat without a supplier's factor, and solar in a factor set that has none,
    leave the row's WTT unknown where they are used.
    """
    grid = _used(state["grid_import"], signals[at.GRID_KWH + i], time_ns)
    export = _used(state["grid_export"], signals[at.EXPORT_KWH + i], time_ns)
    pv = pv_used(state, _used(state["pv"], signals[at.PV_KWH + i], time_ns), export, sums)
    gas = _used(state["gas_kwh"], signals[at.GAS_KWH + i], time_ns)
    heat = _used(state["heat"], signals[at.HEAT_KWH + i], time_ns)
    genset, genset_l = UNKNOWN, signals[at.GENSET + i]
    if not math.isnan(genset_l):
        cap = MAX_GENSET_LPH / 3600.0 * PER_UNIT
        genset = advance(state["genset"], to_fixed(genset_l, PER_UNIT), time_ns, cap, METER_TICK, METER_TICK)
    if grid == UNKNOWN and pv == UNKNOWN and gas == UNKNOWN and heat == UNKNOWN and genset == UNKNOWN:
        return
    co2, ch4, n2o, ttw, wtt, market = 0, 0, 0, 0, 0, 0
    if grid != UNKNOWN:
        out[ENERGY + i] = grid
        wtt = times(grid, p["grid_total"])
        market = times(grid, p["grid_market"])
        part[GRID + i] += 0.5 * p["grid_u_rel"] * wtt
    if pv != UNKNOWN and pv > 0:
        made = times(pv, p["solar_wtt"])
        wtt, market = plus(wtt, made), plus(market, made)
        part[GRID + i] += 0.5 * p["solar_u_rel"] * made
    if heat != UNKNOWN and heat > 0:
        sums[HEAT_USED] += heat
        made = times(heat, p["heat_wtt"])
        wtt, market = plus(wtt, made), plus(market, made)
        part[ASSET + i] += 0.5 * U_HEAT_REL * made
    if gas != UNKNOWN and gas > 0:
        sums[GAS_USED] += gas
        burnt, made = times(gas, p["gas_ttw"]), times(gas, p["gas_wtt"])
        ttw += burnt
        wtt, market = plus(wtt, made), plus(market, made)
        co2, ch4, n2o = UNKNOWN, UNKNOWN, UNKNOWN
        part[FUEL_TTW + i] += 0.5 * U_TTW_REL * burnt
        part[FUEL_WTT + i] += 0.5 * U_WTT_REL * made
    if genset != UNKNOWN:
        out[FUEL_LIQUID + i] = genset
        burnt, made = times(genset, p["gas_oil_ttw"]), times(genset, p["gas_oil_wtt"])
        ttw += burnt
        wtt, market = plus(wtt, made), plus(market, made)
        co2 = plus(co2, times(genset, p["gas_oil_co2"]))
        ch4 = plus(ch4, times(genset, p["gas_oil_ch4"]))
        n2o = plus(n2o, times(genset, p["gas_oil_n2o"]))
        part[FUEL_TTW + i] += 0.5 * p["gas_oil_u_ttw_rel"] * burnt
        part[FUEL_WTT + i] += 0.5 * U_WTT_REL * made
    out[METHOD + i] = METER
    out[CO2 + i], out[CH4 + i], out[N2O + i] = co2, ch4, n2o
    out[CO2E_TTW + i] = ttw
    out[CO2E_WTT + i] = wtt
    out[CO2E_WTT_MARKET + i] = market
    out[CO2_BIOGENIC + i] = 0
    if wtt != UNKNOWN:
        part[ASSET + i] += 0.5 * U_SITE_METER_REL * (ttw + wtt)
        own_part(part, i, float(ttw + wtt), U_SITE_READING_REL)


@kernel
def site_work(state: Any, signals: Any, time_ns: int, i: int, out: Any, sums: Any) -> None:
    """What the site did meanwhile: forklift charging (a part of its load), goods and pallets through its doors, positions held."""
    forklift = _used(state["forklift"], signals[at.FORKLIFT_KWH + i], time_ns)
    if forklift != UNKNOWN:
        sums[FORKLIFT] += forklift
    goods = step_up(state["goods_out"], to_fixed(signals[at.GOODS + i], 1e3), time_ns, MAX_GOODS_G_PER_S, MOST_GOODS_G)
    if goods != UNKNOWN:
        sums[GOODS_OUT] += goods
    came = step_up(
        state["pallets_in"], to_fixed(signals[at.PALLETS_IN + i], 1.0), time_ns, MAX_PALLETS_PER_S, MOST_PALLETS
    )
    if came != UNKNOWN:
        sums[PALLETS_IN] += came
    went = step_up(
        state["pallets_out"], to_fixed(signals[at.PALLETS_OUT + i], 1.0), time_ns, MAX_PALLETS_PER_S, MOST_PALLETS
    )
    if went != UNKNOWN:
        sums[PALLETS_OUT] += went
    stored = signals[at.PALLETS_STORED + i]
    if stored >= 0.0 and out[DT + i] != UNKNOWN and out[DT + i] <= PALLETS_HELD_S * 1e6:
        sums[PALLET_TIME] += int(stored) * out[DT + i]
