"""What a reading's fuel or energy is in CO2e, how sure that is, and where it went: pure functions of the row, booked for rows of a block.

The loop over readings (``stream.advance``) leaves in ``work`` what they need beside the row's columns. They run in a loop of their
own, because so each of the two loops fits into the processor's registers, and because sums are added eight at a time.
"""

import math
from typing import Any, Final

import numpy as np

from stream.attribution import battery_ways, engine_ways, scale
from stream.columns import ASSET_KINDS, UNKNOWN
from stream.emissions import add_adblue, add_tru, battery_co2e, fuel_co2e
from stream.fixed import PER_UNIT, plus
from stream.fuel import COUNTER, COUNTER_GAP, COUNTER_HR, FLOW_METER, METER, RATE
from stream.kernel import kernel
from stream.lanes import add_known, put_rounded
from stream.result_rows import BLOCK, count_row
from stream.table import (
    BY_FIRST,
    CO2E_TTW,
    CO2E_WTT,
    ENERGY,
    FIRST_SUM,
    FUEL_GAS,
    FUEL_LIQUID,
    MEASURED,
    METHOD,
    TRU_FUEL,
    U_FIRST,
)
from stream.uncertainty import (
    ASSET,
    BY_MODEL,
    BY_RATE,
    BY_TANK,
    FUEL_TTW,
    FUEL_WTT,
    GRID,
    IND,
    MODEL,
    OWN,
    TRIP,
    U_BATTERY_READING_REL,
    U_CLASS_SHARED_BATTERY_REL,
    U_CLASS_SHARED_REL,
    counter_parts,
    model_parts,
    rate_u_rel,
    u_rel_of,
)

VEHICLE: Final = ASSET_KINDS.index("vehicle")
_MEASURED_BITS: Final = sum(1 << method for method in (COUNTER_HR, COUNTER, COUNTER_GAP, FLOW_METER, RATE, METER))
# Places in a row of ``work`` of a vehicle; a warehouse has its parts of error there (``stream.uncertainty.IND`` and on).
(
    V,  # mean speed [m/s]
    DT,  # [s]
    U,  # half-width of the amount [1]
    U_SECOND,  # of a modelled second
    TAUGHT,  # use that taught the model [L, kg, kWh]
    TICK,  # of the counter that told the amount
    DUE,  # 1 = its span has no tick booked yet
    U_SHAPED,
    ROLL,  # Eq. 7, 5, 8 [W]
    AIR,
    CLIMB,
    KINETIC,
    EMPTY,  # tare over gross mass
    AUX,  # [kW]
    PTO,
    TURNS,  # n/n_cruise
    RATE_MODELLED,  # g/h or kW
    PER_RATE,  # amount of one unit of it in this interval, by the calibrated model [L, kg, kWh]
    SOC,  # [%]
    TRU_U,  # half-width of the refrigeration unit's fuel
    ADBLUE,  # [nL]
) = range(21)
N_WORK: Final = 24


def new_work() -> Any:
    """Room for what ``book_rows`` needs of the rows of a block: (rows, places)."""
    return np.zeros((BLOCK, N_WORK))


@kernel
def book_rows(
    block: Any,
    work: Any,
    sum_of: Any,
    device: Any,
    params: Any,
    roll: Any,
    u_rel: Any,
    first: int,
    begin: int,
    end: int,
) -> None:
    """Fill in CO2e, error and attribution of rows ``begin`` to ``end`` - 1 of a block, and add them to their partial sums.

    ``first``: reading that row 0 stands for; ``sum_of``: partial sum of each row.
    """
    for b in range(begin, end):
        p = params[device[first + b]]
        is_vehicle = p["kind"] == VEHICLE
        method = block[METHOD, b]
        own, ind, trip, asset, model = 0.0, 0.0, 0.0, 0.0, 0.0
        of_ttw, of_wtt, of_grid = 0.0, 0.0, 0.0
        ways = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        per = 0.0
        if not is_vehicle:
            own, ind, trip, asset = work[b, OWN], work[b, IND], work[b, TRIP], work[b, ASSET]
            model, of_ttw, of_wtt, of_grid = work[b, MODEL], work[b, FUEL_TTW], work[b, FUEL_WTT], work[b, GRID]
        elif p["has_battery"]:
            battery_co2e(block, b, block[ENERGY, b], p)
        elif p["has_fuel"]:
            fuel_co2e(block, b, block[FUEL_GAS, b] if p["fuel_is_gas"] else block[FUEL_LIQUID, b], p)
        drive_ug = plus(block[CO2E_TTW, b], block[CO2E_WTT, b])
        if is_vehicle and drive_ug != UNKNOWN:
            e_ug = float(drive_ug)
            v, dt_s, u = work[b, V], work[b, DT], work[b, U]
            rate = work[b, RATE_MODELLED]
            if p["has_battery"]:
                per_amount = p["grid_total"]
                of_grid = 0.5 * p["grid_u_rel"] * e_ug
                u_shared = U_CLASS_SHARED_BATTERY_REL
                u_own = U_BATTERY_READING_REL
            else:
                per_amount = p["fuel_ttw"] + p["fuel_wtt"]
                of_ttw = 0.5 * p["fuel_u_ttw_rel"] * block[CO2E_TTW, b]
                of_wtt = 0.5 * p["fuel_u_wtt_rel"] * block[CO2E_WTT, b]
                u_shared = U_CLASS_SHARED_REL
                u_own = rate_u_rel(v, dt_s)
            if method == BY_MODEL or method == BY_TANK:
                own, ind, trip, model = model_parts(e_ug, dt_s, u, work[b, U_SECOND], u_shared, work[b, TAUGHT])
            else:
                asset = 0.5 * u * e_ug
                if method == BY_RATE:
                    sd = 0.5 * u_own * e_ug
                    own = ind = sd * sd
                else:
                    own, ind = counter_parts(e_ug, per_amount, work[b, TICK], work[b, DUE], work[b, U_SHAPED])
            nominal_ug = work[b, PER_RATE] * per_amount * PER_UNIT
            if not math.isnan(nominal_ug * rate):
                roll_w, air_w, climb_w, kinetic_w = work[b, ROLL], work[b, AIR], work[b, CLIMB], work[b, KINETIC]
                if p["has_battery"]:
                    ways = battery_ways(
                        roll_w, air_w, climb_w, kinetic_w, work[b, EMPTY], v, work[b, AUX], work[b, SOC], rate, p
                    )
                else:
                    ways = engine_ways(
                        roll_w, air_w, climb_w, kinetic_w, work[b, EMPTY], v, p["aux_kw"], work[b, PTO],
                        work[b, TURNS], rate, p,
                    )  # fmt: skip
                per = scale(drive_ug, nominal_ug, rate)
            if block[TRU_FUEL, b] != UNKNOWN and block[TRU_FUEL, b] != 0:
                of_asset, more_ttw, more_wtt = add_tru(block, b, block[TRU_FUEL, b], work[b, TRU_U], p)
                asset += of_asset
                of_ttw += more_ttw
                of_wtt += more_wtt
            if work[b, ADBLUE] != 0.0:
                asset += add_adblue(block, b, int(work[b, ADBLUE]), p)
        u_rel[first + b] = math.nan
        total_ug = plus(block[CO2E_TTW, b], block[CO2E_WTT, b])
        if total_ug != UNKNOWN:
            u_rel[first + b] = u_rel_of(own, trip, asset, model, of_ttw, of_wtt, of_grid, float(total_ug))
            put_rounded(block, U_FIRST, b, ind * 1e-6, trip, asset, model, of_ttw, of_wtt, of_grid, 0.0)
            if (_MEASURED_BITS >> method) & 1:
                block[MEASURED, b] = total_ug
            if is_vehicle:
                put_rounded(
                    block, BY_FIRST, b, ways[0] * per, ways[1] * per, ways[2] * per, ways[3] * per, ways[4] * per,
                    ways[5] * per, ways[6] * per, 0.0,
                )  # fmt: skip
                other_ug = total_ug
                for k in range(7):
                    other_ug -= block[BY_FIRST + k, b]
                block[BY_FIRST + 7, b] = other_ug
        count_row(block, b, is_vehicle)
    for b in range(begin, end):
        add_known(roll, FIRST_SUM, sum_of[b], block, b)
