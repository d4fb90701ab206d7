"""The physics of one warehouse, a second at a time: weather, pallets, forklifts, cold rooms, building, roof, generator.

The functions take flat float sequences and ``math`` alone, like those of the vehicles: ``p`` the parameters, ``s``
the state, ``key`` the world's random key. Time is whole seconds since 1970 UTC. What a meter would say is
``simulators.warehouse_meters``' part.

Sources of the forms: clear sky by Haurwitz (1945), clouds by Kasten and Czeplak (1980), one heat node per room (EN
ISO 13790's idea), a vapour-compression cycle at a share of Carnot's, a generator's fuel as a straight line through
0.25 to 0.30 L/kWh above half load and 0.35 to 0.50 L/kWh at a quarter.
"""

import math
from typing import Any, Final

from simulators.kernel import kernel
from simulators.rng import derive, gauss, smooth_noise, uniform

Vector = Any  # a flat, writable sequence of floats

# Parameters.
(
    P_LAT,  # degrees
    P_LON,  # degrees
    P_UTC_OFFSET_S,  # of the site's clock, all year
    P_TEMP_MEAN,  # outdoors over the year, degrees Celsius
    P_TEMP_SEASON,  # half of July minus January, K; below 0 south of the equator
    P_TEMP_DAY,  # half of afternoon minus night, K
    P_TEMP_WEATHER,  # swing from one week to another, K
    P_OPEN_S,  # opening and closing, seconds of the day
    P_CLOSE_S,
    P_OPEN_DAYS,  # a week, from Monday
    P_POSITIONS,
    P_FILL,  # share of positions that the site aims at
    P_PALLETS_DAY,  # received on a day open, mean over the year
    P_PEAK,  # share by which the late autumn exceeds the mean
    P_TRUCK_PALLETS,  # the most that one truck brings
    P_PALLETS_S,  # all docks together can handle, per second
    P_PALLET_KG,
    P_REHANDLE,  # share of pallets moved once more
    P_MOVE_KWH,  # battery side, per pallet moved
    P_FORK_KWH,  # of all forklift batteries
    P_CHARGER_KW,  # of all chargers, battery side
    P_CHARGER_ETA,
    P_LIGHT_KW,  # all on
    P_BASE_KW,  # around the clock
    P_UA,  # of the building's shell, W/K
    P_DOOR_UA,  # of all dock doors while they work, W/K
    P_C,  # heat capacity of building and goods, J/K
    P_HEAT_KW,  # the most that the heating gives
    P_HEAT_ETA,  # heat per gross calorific value of the gas; 0 = heat pump
    P_HEAT_OPEN_C,  # set points
    P_HEAT_CLOSED_C,
    P_CHILL_UA,  # chilled room: W/K, J/K, set point, compressor's cooling W; 0 W = no such room
    P_CHILL_C,
    P_CHILL_SET_C,
    P_CHILL_W,
    P_FROZEN_UA,
    P_FROZEN_C,
    P_FROZEN_SET_C,
    P_FROZEN_W,
    P_COLD_SHARE,  # of pallets that go into a cold room
    P_PV_KW,  # at 1000 W/m2
    P_GENSET_KW,  # 0 = none
    P_OUTAGES_DAY,  # power cuts a day
    P_CHARGE_KG,  # refrigerant when full
    P_LEAK_S,  # share of it lost a second
    P_LOAD_KW,  # the whole site's load by a recording; NaN = by this model
    N_P,
) = range(47)

# State. Totals only grow; those in kWh and L are the truth that meters measure.
(
    S_IMPORT_KWH,
    S_EXPORT_KWH,
    S_PV_KWH,
    S_GENSET_KWH,
    S_GENSET_L,
    S_LOAD_KWH,
    S_FORK_KWH,  # drawn by the chargers
    S_COLD_KWH,
    S_LIGHT_KWH,
    S_BASE_KWH,
    S_HEAT_KWH,  # electric, of a heat pump
    S_GAS_KWH,  # gross
    S_IN,
    S_OUT,
    S_OUT_KG,
    S_REHANDLED,
    S_TOPUP_KG,
    S_LEAK_KG,
    S_OUTAGE_S,
    N_TOTALS,
) = range(20)
(
    S_STORED,
    S_QUEUE_IN,
    S_QUEUE_OUT,
    S_CARRY,  # pallets' worth of work not yet done
    S_BATTERY_KWH,
    S_INDOOR_C,
    S_CHILL_C,
    S_FROZEN_C,
    S_CHILL_ON,
    S_FROZEN_ON,
    S_OUTDOOR_C,
    S_PV_NOW_KW,
    S_GRID_KW,
    S_LOAD_NOW_KW,
    S_GAS_LEFT_KG,  # refrigerant in the plant
    S_PALLETS_S,  # arrivals of this minute, pallets per second of opening time
    N_S,
) = range(N_TOTALS, N_TOTALS + 17)

DAY_S: Final = 86_400
YEAR_DAYS: Final = 365.2425
PEAK_DAY: Final = 335.0  # of the year, the start of December
AIR_J_K_M3: Final = 1206.0  # air at 20 degrees
PV_RATIO: Final = 0.76  # heat, dirt, inverter
CARNOT_SHARE: Final = 0.42
FAN_SHARE: Final = 0.06  # of the cooling, day and night; their heat and that of lamps and thawing stays in the room
HEAT_PUMP_COP: Final = 3.0
GENSET_START_S: Final = 10  # from the cut to the generator's power
GENSET_FIXED: Final = 0.04  # L/h per kW rated, and L/kWh
GENSET_SLOPE: Final = 0.21
SERVICE_SHARE: Final = 0.85  # of the charge at which the fitter is called
SERVICE_S: Final = 9 * 3600  # of the day when he comes
PALLET_COOL_J: Final = 800.0 * 2500.0 * 3.0  # 800 kg arriving 3 K too warm, water-rich goods
DOOR_COOL_J: Final = 4.0e6  # warm air through a cold room's door, per pallet
K_OUTDOOR: Final = 1
K_CLOUD: Final = 2
K_GUST: Final = 3
K_DAY: Final = 4
K_ARRIVE: Final = 5
K_ORDER: Final = 6
K_SIZE: Final = 7
K_MASS: Final = 8
K_REHANDLE: Final = 9
K_OUTAGE: Final = 10


@kernel
def sun_sine(lat_deg: float, lon_deg: float, t: int) -> float:
    """Sine of the sun's height. Without the equation of time: up to a quarter of an hour early or late."""
    day = t / 86_400.0
    tilt = 0.40928 * math.sin(6.283185307179586 * (284.0 + day % 365.2425 + 1.0) / 365.2425)
    hour = 6.283185307179586 * (day % 1.0 + lon_deg / 360.0 - 0.5)
    lat = math.radians(lat_deg)
    return math.sin(lat) * math.sin(tilt) + math.cos(lat) * math.cos(tilt) * math.cos(hour)


@kernel
def irradiance(sine: float, cover: float) -> float:
    """Global horizontal W/m2 under a sky covered by 0 to 1 with clouds."""
    if sine <= 0.0:
        return 0.0
    return float(1098.0 * sine * math.exp(-0.057 / sine) * (1.0 - 0.75 * cover**3.4))


@kernel
def genset_lph(power_kw: float, rated_kw: float) -> float:
    """Fuel of a running generator, L/h."""
    return GENSET_FIXED * rated_kw + GENSET_SLOPE * power_kw


@kernel
def cooling_cop(room_c: float, outdoor_c: float) -> float:
    """Heat moved per electricity: evaporator 8 K below the room, condenser 12 K above outdoors, from 20 degrees up."""
    cold = room_c - 8.0 + 273.15
    warm = max(outdoor_c + 12.0, 20.0) + 273.15
    return float(CARNOT_SHARE * cold / (warm - cold))


@kernel
def in_outage(p: Vector, key: int, t: int) -> float:
    """Seconds since a power cut began that is not over, else -1. It lasts 5 to 240 min."""
    draws = derive(key, K_OUTAGE)
    for day in (t // DAY_S - 1, t // DAY_S):
        if uniform(draws, 4 * day) < p[P_OUTAGES_DAY]:
            begin = day * DAY_S + int(uniform(draws, 4 * day + 1) * DAY_S)
            u = uniform(draws, 4 * day + 2)
            if begin <= t < begin + 300 + int(14_100 * u * u * u):
                return float(t - begin)
    return -1.0


@kernel
def _weather(p: Vector, s: Vector, key: int, t: int) -> None:
    """Outdoor temperature, roof power and the day's arrivals, once a minute."""
    local = t + p[P_UTC_OFFSET_S]
    year = 6.283185307179586 * (t / 86_400.0 % YEAR_DAYS) / YEAR_DAYS
    clock = 6.283185307179586 * (local % 86_400.0) / 86_400.0
    s[S_OUTDOOR_C] = (
        p[P_TEMP_MEAN]
        - p[P_TEMP_SEASON] * math.cos(year - 0.34)  # coldest in the third week of January
        - p[P_TEMP_DAY] * math.cos(clock - 0.79)  # coldest at 3, warmest at 15
        + p[P_TEMP_WEATHER] * smooth_noise(derive(key, K_OUTDOOR), t / 172_800.0)
    )
    cover = (
        0.55
        + 0.6 * smooth_noise(derive(key, K_CLOUD), t / 14_400.0)
        + 0.15 * smooth_noise(derive(key, K_GUST), t / 300.0)
    )
    sky = irradiance(sun_sine(p[P_LAT], p[P_LON], t), min(max(cover, 0.0), 1.0))
    s[S_PV_NOW_KW] = p[P_PV_KW] * PV_RATIO * sky / 1000.0
    day = int(local // 86_400.0)
    late = 0.5 + 0.5 * math.cos(year - 6.283185307179586 * PEAK_DAY / YEAR_DAYS)
    season = 1.0 + p[P_PEAK] * (late * late - 0.375)  # 3/8 is the mean of cos^4 of a half turn
    luck = min(max(1.0 + 0.15 * gauss(derive(key, K_DAY), day), 0.4), 1.6)
    s[S_PALLETS_S] = p[P_PALLETS_DAY] * season * luck / (p[P_CLOSE_S] - p[P_OPEN_S])


@kernel
def _trucks(p: Vector, s: Vector, key: int, t: int, share: float) -> None:
    """Trucks of this second; ``share`` of the opening time has passed. Deliveries come early, orders late."""
    size = p[P_TRUCK_PALLETS]
    rate = s[S_PALLETS_S] / (0.75 * size)  # trucks are half to wholly full
    if uniform(derive(key, K_ARRIVE), t) < rate * (1.0 + 0.6 * math.cos(6.283185307179586 * (share - 0.25))):
        s[S_QUEUE_IN] += math.floor(size * (0.5 + 0.5 * uniform(derive(key, K_SIZE), 2 * t)) + 0.5)
    pull = min(max(s[S_STORED] / (p[P_FILL] * p[P_POSITIONS]), 0.3), 1.7)  # a full house ships more
    if uniform(derive(key, K_ORDER), t) < rate * pull * (1.0 + 0.6 * math.cos(6.283185307179586 * (share - 0.7))):
        s[S_QUEUE_OUT] += math.floor(size * (0.5 + 0.5 * uniform(derive(key, K_SIZE), 2 * t + 1)) + 0.5)


@kernel
def _handle(p: Vector, s: Vector, key: int) -> float:
    """Move one pallet in or out if one waits and there is room or stock. Returns the rides made."""
    go_in = s[S_QUEUE_IN] >= 1.0 and s[S_STORED] < p[P_POSITIONS]
    go_out = s[S_QUEUE_OUT] >= 1.0 and s[S_STORED] >= 1.0
    if not (go_in or go_out):
        return 0.0
    if go_in and (not go_out or s[S_QUEUE_IN] >= s[S_QUEUE_OUT]):
        s[S_QUEUE_IN] -= 1.0
        s[S_STORED] += 1.0
        s[S_IN] += 1.0
    else:
        s[S_QUEUE_OUT] -= 1.0
        s[S_STORED] -= 1.0
        s[S_OUT] += 1.0
        s[S_OUT_KG] += math.floor(p[P_PALLET_KG] * (0.6 + 0.8 * uniform(derive(key, K_MASS), int(s[S_OUT]))) + 0.5)
    if uniform(derive(key, K_REHANDLE), int(s[S_IN] + s[S_OUT])) < p[P_REHANDLE]:
        s[S_REHANDLED] += 1.0
        return 2.0
    return 1.0


@kernel
def _room(
    s: Vector, at: int, on: int, ua: float, c: float, set_c: float, cooling_w: float, gain_j: float, live: bool
) -> float:
    """One second of a cold room, its thermostat 1 K around the set point. Returns kW of compressor and fans."""
    if cooling_w <= 0.0:
        return 0.0
    if s[at] > set_c + 1.0:
        s[on] = 1.0
    elif s[at] < set_c - 1.0:
        s[on] = 0.0
    run = s[on] if live else 0.0
    fans_w = FAN_SHARE * cooling_w if live else 0.0
    heat_w = ua * (s[S_INDOOR_C] - s[at]) + fans_w - run * cooling_w
    s[at] += (heat_w + gain_j) / c
    return (run * cooling_w / cooling_cop(s[at], s[S_OUTDOOR_C]) + fans_w) / 1000.0


@kernel
def step(p: Vector, s: Vector, key: int, t: int) -> None:
    """Advance the state from second ``t`` to ``t`` + 1."""
    if t % 60 == 0 or s[S_PALLETS_S] < 0.0:
        _weather(p, s, key, t - t % 60)
    local = int(t + p[P_UTC_OFFSET_S])
    clock = local % DAY_S
    workday = (local // DAY_S + 3) % 7 < p[P_OPEN_DAYS]  # 1 January 1970 was a Thursday
    is_open = workday and p[P_OPEN_S] <= clock < p[P_CLOSE_S]
    cut = in_outage(p, key, t) if p[P_OUTAGES_DAY] > 0.0 else -1.0
    s[S_OUTAGE_S] += 1.0 if cut >= 0.0 else 0.0
    genset = cut >= GENSET_START_S and p[P_GENSET_KW] > 0.0
    live = cut < 0.0 or genset

    moves = 0.0
    if is_open:
        _trucks(p, s, key, t, (clock - p[P_OPEN_S]) / (p[P_CLOSE_S] - p[P_OPEN_S]))
    late = workday and p[P_CLOSE_S] <= clock < p[P_CLOSE_S] + 7200.0 and s[S_QUEUE_IN] + s[S_QUEUE_OUT] > 0.0
    if is_open or late:
        s[S_CARRY] = min(s[S_CARRY] + p[P_PALLETS_S], 1.0)
        if s[S_CARRY] >= 1.0 and s[S_BATTERY_KWH] > 2.0 * p[P_MOVE_KWH]:
            moves = _handle(p, s, key)
            s[S_CARRY] -= 1.0 if moves > 0.0 else 0.0
            s[S_BATTERY_KWH] -= moves * p[P_MOVE_KWH]

    charging = 0.0
    pause = 43_200 <= clock < 46_800
    if cut < 0.0 and (not is_open or pause or s[S_BATTERY_KWH] < 0.3 * p[P_FORK_KWH]):
        charging = min(p[P_CHARGER_KW], p[P_FORK_KWH] - s[S_BATTERY_KWH])  # the last of it within about an hour
        s[S_BATTERY_KWH] += charging / 3600.0
    fork_kw = charging / p[P_CHARGER_ETA]

    gain_j = moves * p[P_COLD_SHARE] * (PALLET_COOL_J + DOOR_COOL_J)
    half = 0.5 if p[P_CHILL_W] > 0.0 and p[P_FROZEN_W] > 0.0 else 1.0
    cold_kw = _room(
        s, S_CHILL_C, S_CHILL_ON, p[P_CHILL_UA], p[P_CHILL_C], p[P_CHILL_SET_C], p[P_CHILL_W], half * gain_j, live
    )
    cold_kw += _room(
        s, S_FROZEN_C, S_FROZEN_ON, p[P_FROZEN_UA], p[P_FROZEN_C], p[P_FROZEN_SET_C], p[P_FROZEN_W], half * gain_j, live
    )
    light_kw = (p[P_LIGHT_KW] * (0.8 if is_open or late else 0.1)) if live else 0.0
    base_kw = p[P_BASE_KW] if live else 0.0

    set_c = p[P_HEAT_OPEN_C] if is_open else p[P_HEAT_CLOSED_C]
    heat_kw = min(max((set_c - s[S_INDOOR_C]) * 0.5 * p[P_HEAT_KW], 0.0), p[P_HEAT_KW]) if live else 0.0
    pump_kw = heat_kw / HEAT_PUMP_COP if p[P_HEAT_ETA] <= 0.0 else 0.0
    shell_w = (p[P_UA] + (p[P_DOOR_UA] if moves > 0.0 else 0.0)) * (s[S_OUTDOOR_C] - s[S_INDOOR_C])
    s[S_INDOOR_C] += (shell_w + 1000.0 * (heat_kw + light_kw + base_kw)) / p[P_C]

    load_kw = fork_kw + cold_kw + light_kw + base_kw + pump_kw
    if not math.isnan(p[P_LOAD_KW]):
        load_kw = p[P_LOAD_KW] if live else 0.0
    pv_kw = s[S_PV_NOW_KW] if cut < 0.0 else 0.0
    test = p[P_GENSET_KW] > 0.0 and cut < 0.0 and (local // DAY_S + 3) % 7 == 0 and 36_000 <= clock < 36_900
    genset_kw = 0.0
    if genset:
        genset_kw = min(load_kw, p[P_GENSET_KW])
        load_kw = genset_kw
    elif test:
        genset_kw = min(0.25 * p[P_GENSET_KW], max(load_kw - pv_kw, 0.0))
    if genset or test:
        s[S_GENSET_KWH] += genset_kw / 3600.0
        s[S_GENSET_L] += genset_lph(genset_kw, p[P_GENSET_KW]) / 3600.0
    grid_kw = load_kw - pv_kw - genset_kw if cut < 0.0 else 0.0
    s[S_GRID_KW] = grid_kw
    s[S_LOAD_NOW_KW] = load_kw
    s[S_IMPORT_KWH] += max(grid_kw, 0.0) / 3600.0
    s[S_EXPORT_KWH] += max(-grid_kw, 0.0) / 3600.0
    s[S_PV_KWH] += pv_kw / 3600.0
    s[S_LOAD_KWH] += load_kw / 3600.0
    s[S_FORK_KWH] += fork_kw / 3600.0
    s[S_COLD_KWH] += cold_kw / 3600.0
    s[S_LIGHT_KWH] += light_kw / 3600.0
    s[S_BASE_KWH] += base_kw / 3600.0
    s[S_HEAT_KWH] += pump_kw / 3600.0
    if p[P_HEAT_ETA] > 0.0:
        s[S_GAS_KWH] += heat_kw / p[P_HEAT_ETA] / 3600.0

    leak = min(p[P_CHARGE_KG] * p[P_LEAK_S], s[S_GAS_LEFT_KG])
    s[S_GAS_LEFT_KG] -= leak
    s[S_LEAK_KG] += leak
    if workday and clock == SERVICE_S and s[S_GAS_LEFT_KG] < SERVICE_SHARE * p[P_CHARGE_KG]:
        added = math.floor((p[P_CHARGE_KG] - s[S_GAS_LEFT_KG]) * 10.0) / 10.0  # the fitter's scale shows 0.1 kg
        s[S_GAS_LEFT_KG] += added
        s[S_TOPUP_KG] += added


@kernel
def advance(p: Vector, s: Vector, key: int, t: int, until: int) -> None:
    """Advance the state from second ``t`` to ``until``."""
    for now in range(t, until):
        step(p, s, key, now)
