"""What readings' fuel or energy is in CO2e, how sure that is, and where it went: pure functions of a row, done for rows of a block at once.

The loop over readings (``stream.advance``) leaves in ``work`` what they need beside the rows' columns. They are loops of their own, free
of branches that matter, because a processor then takes eight rows at a time, a fifth of the instructions. A loop is over rows of one
device, whose parameters are taken out before it.
"""

import math
from typing import Any, Final

import numpy as np

from stream.attribution import battery_ways, empty_share, engine_ways, scale
from stream.columns import ASSET_KINDS, ENERGY_METHODS, UNKNOWN
from stream.emissions import add_adblue, add_tru, battery_co2e
from stream.fixed import PER_UNIT, rounded, to_fixed
from stream.fuel import COUNTER, COUNTER_GAP, COUNTER_HR, FLOW_METER, METER, RATE
from stream.kernel import kernel
from stream.lanes import fill, sum_known
from stream.result_rows import put_columns
from stream.table import (
    BY_FIRST,
    CH4,
    CO2,
    CO2_BIOGENIC,
    CO2E_TTW,
    CO2E_WTT,
    CO2E_WTT_MARKET,
    DISTANCE,
    DISTANCE_UNKNOWN,
    DT,
    EMISSION_REALS,
    ENERGY,
    FIRST_SUM,
    MEASURED,
    METHOD,
    N2O,
    N_ADDED,
    NEWEST_RECEIVED,
    NEWEST_TIME,
    OBSERVED,
    OF_VEHICLES,
    READINGS,
    ROOM,
    SPLIT,
    TRU_FUEL,
    U_FIRST,
    UNKNOWN_TIME,
)
from stream.transport import GAP_US, time_rows, transport_rows
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
    N_PARTS,
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
NONE: Final = ENERGY_METHODS.index("none")
WIDTH: Final = 8  # rows that are filled in at a time
FEW: Final = 3  # rows whose sums are added one by one
_MEASURED_BITS: Final = sum(1 << method for method in (COUNTER_HR, COUNTER, COUNTER_GAP, FLOW_METER, RATE, METER))
# Columns of ``work``, float64: where each begins. Before them are the parts of the error (``stream.uncertainty.IND`` and on).
N_WAYS: Final = 7
WAYS: Final = N_PARTS * ROOM  # where the CO2e went [µg], seven columns
(
    U_REL,  # half-width of the CO2e [1]
    AMOUNT,  # fuel [nL, µg], NaN = unknown
    ADBLUE,  # [nL]
    TRU_U,  # half-width of the refrigeration unit's fuel
    V,  # mean speed [m/s]
    DT_S,
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
    MASS,  # gross [kg], NaN = not known
    AUX,  # [kW]
    PTO,
    TURNS,  # n/n_cruise
    RATE_MODELLED,  # g/h or kW
    PER_RATE,  # amount of one unit of it in this interval, by the calibrated model [L, kg, kWh]
    SOC,  # [%]
    PAYLOAD,  # goods [kg], NaN = unknown
    KMH,  # speed at the reading
    IDLE_RPM,  # engine speed, NaN while the power take-off is on
    LOAD_P,  # probability of the load state
) = range((N_PARTS + N_WAYS) * ROOM, (N_PARTS + N_WAYS + 27) * ROOM, ROOM)
N_WORK: Final = N_PARTS + N_WAYS + 27
_REALS_AT: Final = np.array([{"co2e_u_rel": U_REL, "load_state_p": LOAD_P}[name] for name in EMISSION_REALS])


def new_work() -> Any:
    """Room for what the rows of a block need: column after column."""
    return np.zeros(N_WORK * ROOM)


@kernel
def blank_work(work: Any) -> None:
    """Begin a block: no amount."""
    fill(work, AMOUNT, math.nan)
    fill(work, ADBLUE, 0.0)


@kernel
def _engine_rows(block: Any, work: Any, n: int, p: Any) -> None:
    """CO2e of the first ``n`` rows, of a vehicle that burns fuel, by Eq. 18, the parts of its error by Eq. 19, and where it went by Eq. 15.

    IPCC Guidelines 2006, volume 2, equation 3.2.1; a TTW factor errs by 2 %, a WTT factor by 12 %. Published gases are columns beside the
    published total, which is never made of them. Fuel has no market-based figure: that column repeats the location's.
    """
    ef_ttw, ef_wtt, ef_co2, ef_ch4 = p["fuel_ttw"], p["fuel_wtt"], p["fuel_co2"], p["fuel_ch4"]
    ef_n2o, ef_biogenic = p["fuel_n2o"], p["fuel_biogenic"]
    u_ttw, u_wtt = 0.5 * p["fuel_u_ttw_rel"], 0.5 * p["fuel_u_wtt_rel"]
    aux_kw, p_rated_kw, idle = p["aux_kw"], p["p_rated_kw"], p["idle_g_per_h"]
    willans_a, willans_b = p["willans_a"], p["willans_b"]
    tare_kg, ef = p["tare_kg"], ef_ttw + ef_wtt
    for b in range(n):
        amount = work[AMOUNT + b]
        ttw, wtt = to_fixed(amount, ef_ttw), to_fixed(amount, ef_wtt)
        block[CO2E_TTW + b] = ttw
        block[CO2E_WTT + b] = wtt
        block[CO2E_WTT_MARKET + b] = wtt
        block[CO2 + b] = to_fixed(amount, ef_co2)
        block[CH4 + b] = to_fixed(amount, ef_ch4)
        block[N2O + b] = to_fixed(amount, ef_n2o)
        block[CO2_BIOGENIC + b] = to_fixed(amount, ef_biogenic)
        e_ug = float(ttw + wtt)
        method = block[METHOD + b]
        v, dt_s, u = work[V + b], work[DT_S + b], work[U + b]
        own_m, ind_m, trip, model = model_parts(e_ug, dt_s, u, work[U_SECOND + b], U_CLASS_SHARED_REL, work[TAUGHT + b])
        own_c, ind_c = counter_parts(e_ug, ef, work[TICK + b], work[DUE + b], work[U_SHAPED + b])
        sd = 0.5 * rate_u_rel(v, dt_s) * e_ug
        modelled = (method == BY_MODEL) | (method == BY_TANK)
        own_c = sd * sd if method == BY_RATE else own_c
        ind_c = sd * sd if method == BY_RATE else ind_c
        work[OWN + b] = own_m if modelled else own_c
        work[IND + b] = ind_m if modelled else ind_c
        work[TRIP + b] = trip if modelled else 0.0
        work[MODEL + b] = model if modelled else 0.0
        work[ASSET + b] = 0.0 if modelled else 0.5 * u * e_ug
        work[FUEL_TTW + b] = u_ttw * ttw
        work[FUEL_WTT + b] = u_wtt * wtt
        work[GRID + b] = 0.0
        rate = work[RATE_MODELLED + b]
        nominal_ug = work[PER_RATE + b] * ef * PER_UNIT
        ways = engine_ways(
            work[ROLL + b], work[AIR + b], work[CLIMB + b], work[KINETIC + b], empty_share(tare_kg, work[MASS + b]), v, aux_kw,
            work[PTO + b], work[TURNS + b], rate, p_rated_kw, willans_a, willans_b, idle,
        )  # fmt: skip
        told = nominal_ug * rate == nominal_ug * rate
        per = scale(e_ug, nominal_ug, rate)
        work[WAYS + b] = ways[0] * per if told else 0.0
        work[WAYS + ROOM + b] = ways[1] * per if told else 0.0
        work[WAYS + 2 * ROOM + b] = ways[2] * per if told else 0.0
        work[WAYS + 3 * ROOM + b] = ways[3] * per if told else 0.0
        work[WAYS + 4 * ROOM + b] = ways[4] * per if told else 0.0
        work[WAYS + 5 * ROOM + b] = ways[5] * per if told else 0.0
        work[WAYS + 6 * ROOM + b] = ways[6] * per if told else 0.0


@kernel
def _no_error(work: Any, n: int) -> None:
    for k in range(N_PARTS):
        for b in range(n):
            work[k * ROOM + b] = 0.0


@kernel
def _battery_rows(block: Any, work: Any, n: int, p: Any) -> None:
    """``_engine_rows`` of a vehicle that drives on its battery."""
    _no_error(work, n)
    for b in range(n):
        battery_co2e(block, b, block[ENERGY + b], p)
        if block[CO2E_WTT + b] == UNKNOWN:
            continue
        e_ug = float(block[CO2E_WTT + b])
        method, u, rate = block[METHOD + b], work[U + b], work[RATE_MODELLED + b]
        work[GRID + b] = 0.5 * p["grid_u_rel"] * e_ug
        if method == BY_MODEL:
            work[OWN + b], work[IND + b], work[TRIP + b], work[MODEL + b] = model_parts(
                e_ug, work[DT_S + b], u, work[U_SECOND + b], U_CLASS_SHARED_BATTERY_REL, work[TAUGHT + b]
            )
        else:
            work[ASSET + b] = 0.5 * u * e_ug
            if method == BY_RATE:
                sd = 0.5 * U_BATTERY_READING_REL * e_ug
                work[OWN + b] = work[IND + b] = sd * sd
            else:
                work[OWN + b], work[IND + b] = counter_parts(e_ug, p["grid_total"], work[TICK + b], work[DUE + b], 0.0)
        nominal_ug = work[PER_RATE + b] * p["grid_total"] * PER_UNIT
        ways = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        per = 0.0
        if not math.isnan(nominal_ug * rate):
            ways = battery_ways(
                work[ROLL + b], work[AIR + b], work[CLIMB + b], work[KINETIC + b],
                empty_share(p["tare_kg"], work[MASS + b]), work[V + b], work[AUX + b], work[SOC + b], rate, p,
            )  # fmt: skip
            per = scale(e_ug, nominal_ug, rate)
        for k in range(N_WAYS):
            work[WAYS + k * ROOM + b] = ways[k] * per


@kernel
def _unit_rows(block: Any, work: Any, n: int, p: Any) -> None:
    """Add what the refrigeration unit burnt and the urea of AdBlue, where a row stands for them."""
    for b in range(n):
        if block[CO2E_TTW + b] == UNKNOWN or block[CO2E_WTT + b] == UNKNOWN:
            continue
        nl = block[TRU_FUEL + b]
        if nl != UNKNOWN and nl != 0:
            of_asset, of_ttw, of_wtt = add_tru(block, b, nl, work[TRU_U + b], p)
            work[ASSET + b] += of_asset
            work[FUEL_TTW + b] += of_ttw
            work[FUEL_WTT + b] += of_wtt
        if work[ADBLUE + b] != 0.0:
            work[ASSET + b] += add_adblue(block, b, int(work[ADBLUE + b]), p)


@kernel
def _count_rows(block: Any, work: Any, n: int, p: Any) -> None:
    """What the first ``n`` rows, of one device, add to their partial sums, and the half-width of each."""
    is_vehicle = p["kind"] == VEHICLE
    longest_us = GAP_US if is_vehicle else -UNKNOWN - 1
    for b in range(n):
        ttw, wtt, method = block[CO2E_TTW + b], block[CO2E_WTT + b], block[METHOD + b]
        known = (ttw != UNKNOWN) & (wtt != UNKNOWN)
        total_ug = ttw + wtt if known else 0
        own, trip, asset, model = work[OWN + b], work[TRIP + b], work[ASSET + b], work[MODEL + b]
        of_ttw, of_wtt, of_grid = work[FUEL_TTW + b], work[FUEL_WTT + b], work[GRID + b]
        work[U_REL + b] = u_rel_of(own, trip, asset, model, of_ttw, of_wtt, of_grid, float(total_ug))
        block[U_FIRST + b] = rounded(work[IND + b] * 1e-6) if known else 0
        block[U_FIRST + ROOM + b] = rounded(trip) if known else 0
        block[U_FIRST + 2 * ROOM + b] = rounded(asset) if known else 0
        block[U_FIRST + 3 * ROOM + b] = rounded(model) if known else 0
        block[U_FIRST + 4 * ROOM + b] = rounded(of_ttw) if known else 0
        block[U_FIRST + 5 * ROOM + b] = rounded(of_wtt) if known else 0
        block[U_FIRST + 6 * ROOM + b] = rounded(of_grid) if known else 0
        block[MEASURED + b] = total_ug if (_MEASURED_BITS >> method) & 1 != 0 else 0
        gases = (block[CO2 + b] != UNKNOWN) & (block[CH4 + b] != UNKNOWN) & (block[N2O + b] != UNKNOWN)
        block[SPLIT + b] = ttw if gases else 0
        dt_us = block[DT + b]
        observed_us = dt_us if (dt_us != UNKNOWN) & (dt_us <= longest_us) else 0
        block[OBSERVED + b] = observed_us
        block[UNKNOWN_TIME + b] = observed_us if method == NONE else 0
        block[READINGS + b] = 1
    if not is_vehicle:
        for column in OF_VEHICLES:
            for b in range(n):
                block[column + b] = UNKNOWN
        return
    transport_rows(block, work[PAYLOAD:], n, p["capacity_kg"], p["empty_below_kg"])
    time_rows(block, work[KMH:], work[IDLE_RPM:], n)
    for b in range(n):
        ttw, wtt = block[CO2E_TTW + b], block[CO2E_WTT + b]
        known = (ttw != UNKNOWN) & (wtt != UNKNOWN)
        block[DISTANCE_UNKNOWN + b] = block[OBSERVED + b] if block[DISTANCE + b] == UNKNOWN else 0
        by_roll, by_air = rounded(work[WAYS + b]), rounded(work[WAYS + ROOM + b])
        by_grade, by_speed = rounded(work[WAYS + 2 * ROOM + b]), rounded(work[WAYS + 3 * ROOM + b])
        by_idle, by_aux = rounded(work[WAYS + 4 * ROOM + b]), rounded(work[WAYS + 5 * ROOM + b])
        by_load = rounded(work[WAYS + 6 * ROOM + b])
        other = ttw + wtt - by_roll - by_air - by_grade - by_speed - by_idle - by_aux - by_load
        block[BY_FIRST + b] = by_roll if known else 0
        block[BY_FIRST + ROOM + b] = by_air if known else 0
        block[BY_FIRST + 2 * ROOM + b] = by_grade if known else 0
        block[BY_FIRST + 3 * ROOM + b] = by_speed if known else 0
        block[BY_FIRST + 4 * ROOM + b] = by_idle if known else 0
        block[BY_FIRST + 5 * ROOM + b] = by_aux if known else 0
        block[BY_FIRST + 6 * ROOM + b] = by_load if known else 0
        block[BY_FIRST + 7 * ROOM + b] = other if known else 0


@kernel
def _add_rows(block: Any, sum_of: Any, time: Any, received: Any, roll: Any, begin: int, end: int) -> None:
    """Add rows to their partial sums, and keep the newest of their times."""
    while begin < end:
        j, last = sum_of[begin], begin + 1
        while last < end and sum_of[last] == j:
            last += 1
        newest_ns, received_ns = roll[NEWEST_TIME, j], roll[NEWEST_RECEIVED, j]
        for b in range(begin, last):
            newest_ns = max(newest_ns, time[b])
            received_ns = max(received_ns, received[b])
        roll[NEWEST_TIME, j], roll[NEWEST_RECEIVED, j] = newest_ns, received_ns
        if last - begin > FEW:
            for k in range(N_ADDED):
                roll[FIRST_SUM + k, j] += sum_known(block, k * ROOM, begin, last)
        else:
            for b in range(begin, last):
                for k in range(N_ADDED):
                    amount = block[k * ROOM + b]
                    roll[FIRST_SUM + k, j] += 0 if amount == UNKNOWN else amount
        begin = last


@kernel
def book_rows(
    block: Any,
    work: Any,
    sum_of: Any,
    device: Any,
    time: Any,
    received: Any,
    params: Any,
    roll: Any,
    units: bool,
    sites: bool,
    first: int,
    begin: int,
    end: int,
) -> None:
    """Fill in CO2e, error and attribution of rows ``begin`` to ``end`` - 1 of a block, and add them to their partial sums.

    ``first``: reading that row 0 stands for; ``sum_of``: partial sum of each row; ``units``: a row may have a refrigeration unit or AdBlue;
    ``sites``: the block has rows of warehouses, which are filled in already. Where it has none, rows after the last are filled in as well,
    to whole vectors: they are not begun yet, or filled in again.
    """
    b = begin
    while b < end:
        d, last = device[first + b], b + 1
        while last < end and device[first + last] == d:
            last += 1
        p = params[d]
        n = last - b
        more = n if sites else (n + WIDTH - 1) // WIDTH * WIDTH
        columns, needs = block[b:], work[b:]
        if p["has_fuel"]:
            _engine_rows(columns, needs, more, p)
        elif p["has_battery"]:
            _battery_rows(columns, needs, n, p)
        elif p["kind"] == VEHICLE:
            _no_error(needs, more)
        if units and p["kind"] == VEHICLE:
            _unit_rows(columns, needs, n, p)
        _count_rows(columns, needs, more, p)
        b = last
    _add_rows(block, sum_of, time[first:], received[first:], roll, begin, end)


@kernel
def put_reals(work: Any, rows: int, reals: Any, first: int) -> None:
    """Copy the first ``rows`` rows of a block to ``first`` and on of ``reals``, columns ``EMISSION_REALS``."""
    put_columns(work, _REALS_AT, rows, reals, first)
