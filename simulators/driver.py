"""The day of one vehicle: its tasks in turn, the road under it, the weather around it, and the driver who follows a speed.

``second`` does what changes slowly, ``drive_tick`` one tenth of a second at the wheel, ``advance`` runs both.
"""

import math

from simulators.kernel import kernel
from simulators.layout import (
    CHARGE,
    DRIVE,
    K_BACK,
    K_ENERGY,
    K_FILL,
    K_IDLE,
    K_KIND,
    K_LAT_A,
    K_LAT_B,
    K_LENGTH,
    K_LON_A,
    K_LON_B,
    K_PAYLOAD,
    K_ROAD_TYPE,
    K_SECONDS,
    K_SWITCHES,
    K_UNITS,
    MOTORWAY,
    N_TASK,
    P_ACCEL,
    P_BATTERY_J,
    P_BRAKE,
    P_CONGESTION,
    P_PACE,
    P_RAIN,
    P_SNOW,
    P_SOLAR_H0,
    P_TANK,
    P_TARE,
    P_TEMP_C,
    P_TEMP_SWING_C,
    P_TRACE_AT,
    P_TRACE_N,
    P_TRU,
    P_V_MAX,
    P_WIND,
    REFUEL,
    RURAL,
    S_ALT,
    S_AMBIENT_C,
    S_CELL,
    S_CHARGE,
    S_ENGINE_ON,
    S_FILL,
    S_FILL_0,
    S_GRADE,
    S_HEADING,
    S_LAT,
    S_LIMIT,
    S_LIMIT_AT,
    S_LIMIT_NEXT,
    S_LON,
    S_MASS,
    S_PARKED_S,
    S_PAYLOAD,
    S_PAYLOAD_0,
    S_POS,
    S_RHO,
    S_ROUGH,
    S_SLOW_POS,
    S_SNOW,
    S_STARTED,
    S_STOP_AT,
    S_STOP_WAIT,
    S_TANK,
    S_TARGET,
    S_TASK,
    S_TASK_AGE,
    S_TRACE,
    S_TRAFFIC,
    S_TRU_MODE,
    S_TRU_TANK,
    S_TUNNEL,
    S_UNITS,
    S_UNITS_0,
    S_V,
    S_WAIT,
    S_WET,
    S_WIND_ACROSS,
    S_WIND_ALONG,
    S_ZONE,
    STAND,
    SWAP,
    URBAN,
    WAIT,
    Vector,
)
from simulators.rng import smooth_noise, uniform
from simulators.roads import (
    CELL_M,
    EARTH_M,
    along,
    heading_at,
    height_m,
    limit_ms,
    roughness_at,
    stop_here,
    tunnel_at,
    zone_at,
)
from simulators.vehicle import move, refrigerate, stand, warm_up

TICK_S = 0.1
TICKS_PER_S = 10
TRU_TANK_L = 200.0
LIMIT_SIGHT_M = 260.0


@kernel
def weather(s: Vector, p: Vector, world: int, t: float) -> None:
    """Air of this moment and place: temperature, rain, snow, density, wind as felt on the heading. ``t`` [s] of the world."""
    hour = (t / 3600.0 + p[P_SOLAR_H0]) % 24.0
    day = t / 86400.0
    base = p[P_TEMP_C] + 3.0 * smooth_noise(world + 11, day / 3.0)
    air = base - p[P_TEMP_SWING_C] * math.cos(2.0 * math.pi * (hour - 3.0) / 24.0) - 0.0065 * s[S_ALT]
    s[S_AMBIENT_C] = air
    front = 0.5 + 0.5 * smooth_noise(world + 12, t / 9000.0 + 50.0 * (s[S_LAT] + s[S_LON] + 540.0) / 360.0)
    s[S_WET] = 1.0 if front < p[P_RAIN] else 0.0
    s[S_SNOW] = 1.0 if front < p[P_SNOW] and air < 1.5 else 0.0
    pressure = 101325.0 * math.exp(-s[S_ALT] / (29.27 * (air + 273.15)))
    s[S_RHO] = pressure / (287.05 * (air + 273.15))
    speed = p[P_WIND] * (1.0 + 0.7 * smooth_noise(world + 13, t / 1800.0))
    to = math.pi * 2.0 * smooth_noise(world + 14, t / 20000.0)
    angle = to - s[S_HEADING]
    s[S_WIND_ALONG] = speed * math.cos(angle)  # above 0: a headwind
    s[S_WIND_ACROSS] = speed * math.sin(angle)


@kernel
def traffic(s: Vector, p: Vector, key: int, t: float) -> None:
    """How far traffic lets the driver: a factor on the target speed, drawn anew every 15 s, worse in the two rush hours."""
    hour = (t / 3600.0 + p[P_SOLAR_H0]) % 24.0
    morning = hour - 8.0
    evening = hour - 17.0
    rush = math.exp(-morning * morning / 2.0) + math.exp(-evening * evening / 3.0)
    zone = int(s[S_ZONE])
    open_road = 1.0 if zone == URBAN else 0.55 if zone == RURAL else 0.7
    wave = 0.5 + 0.5 * smooth_noise(key + 2, t / 600.0)  # jams come in stretches
    level = min(0.9, 2.0 * wave * wave * p[P_CONGESTION] * (0.35 + rush) * open_road)
    u = uniform(key, int(t / 15.0) * 64 + 1)
    if u < 0.45 * level:
        s[S_TRAFFIC] = 0.08 + 0.5 * u  # stop and go
    elif u < level:
        s[S_TRAFFIC] = 0.35 + 0.5 * u
    else:
        s[S_TRAFFIC] = 1.0 - 0.06 * (u - level)


@kernel
def enter_cell(s: Vector, p: Vector, k: Vector, world: int, t: float) -> None:
    """Read the road where the vehicle now is: slope, surface, limit, what comes next."""
    pos = s[S_POS]
    x = along(k, pos)
    cell = int(x / CELL_M)
    if float(cell) == s[S_CELL]:
        return
    s[S_CELL] = float(cell)
    back = k[K_BACK] > 0.0
    length = k[K_LENGTH]
    x0 = min(cell * CELL_M, length - 1.0)
    x1 = min((cell + 1) * CELL_M, length)
    slope = (height_m(world, k, x1) - height_m(world, k, x0)) / (x1 - x0)
    s[S_GRADE] = -slope if back else slope
    zone = zone_at(k, x)
    s[S_ZONE] = float(zone)
    s[S_LIMIT] = limit_ms(zone)
    s[S_ROUGH] = roughness_at(world, k, x)
    s[S_TUNNEL] = 1.0 if tunnel_at(world, k, x) else 0.0
    ahead = limit_ms(zone_at(k, along(k, pos + LIMIT_SIGHT_M)))
    s[S_LIMIT_NEXT] = ahead
    s[S_LIMIT_AT] = pos + LIMIT_SIGHT_M if ahead < s[S_LIMIT] else length + 1e6
    if s[S_STOP_AT] >= length:
        step = -1 if back else 1
        # The stop stands at the far edge of the next cell, so a heavy vehicle has 100 to 200 m to brake.
        edge = (cell + step) * CELL_M if back else (cell + step + 1) * CELL_M
        at_pos = length - edge if back else edge
        if pos + 40.0 < at_pos < length - 50.0 and stop_here(world, k, cell + step, zone, int(t / 1000.0)):
            s[S_STOP_AT] = at_pos
            s[S_STOP_WAIT] = 6.0 + 44.0 * uniform(world + 15, cell + int(t))


@kernel
def start_task(s: Vector, p: Vector, k: Vector) -> None:
    """Begin the task in ``k``."""
    s[S_STARTED] = 1.0
    s[S_TASK_AGE] = 0.0
    s[S_PAYLOAD_0] = s[S_PAYLOAD]
    s[S_UNITS_0] = s[S_UNITS]
    s[S_FILL_0] = s[S_FILL]
    s[S_WAIT] = 0.0
    if p[P_TRU] > 0.0:
        running = int(k[K_SWITCHES]) & 64
        if running == 0:
            s[S_TRU_MODE] = 0.0
        elif s[S_TRU_MODE] <= 0.0:
            s[S_TRU_MODE] = 2.0
    if int(k[K_KIND]) == DRIVE:
        s[S_ENGINE_ON] = 1.0
        s[S_POS] = 0.0
        s[S_SLOW_POS] = 0.0
        s[S_CELL] = -1.0
        s[S_STOP_AT] = k[K_LENGTH]
        s[S_PARKED_S] = 0.0
        if k[K_BACK] > 0.0:
            s[S_LAT], s[S_LON] = k[K_LAT_B], k[K_LON_B]
        else:
            s[S_LAT], s[S_LON] = k[K_LAT_A], k[K_LON_A]
    else:
        s[S_GRADE] = 0.0
        s[S_TUNNEL] = 0.0


@kernel
def end_task(s: Vector, p: Vector, k: Vector, tasks: Vector, key: int) -> None:
    """Finish the task in ``k`` and copy the next one of ``tasks`` into it."""
    kind = int(k[K_KIND])
    if kind == DRIVE:
        if k[K_BACK] > 0.0:
            s[S_LAT], s[S_LON] = k[K_LAT_A], k[K_LON_A]
        else:
            s[S_LAT], s[S_LON] = k[K_LAT_B], k[K_LON_B]
    else:
        s[S_PAYLOAD] = k[K_PAYLOAD]
        s[S_UNITS] = k[K_UNITS]
        s[S_FILL] = k[K_FILL]
        energy = int(k[K_ENERGY])
        if energy == REFUEL and s[S_TANK] < 0.5 * p[P_TANK]:
            s[S_TANK] = p[P_TANK] * (0.96 + 0.03 * uniform(key, int(s[S_TASK]) * 64 + 2))
        if energy != 0 and s[S_TRU_TANK] < 0.5 * TRU_TANK_L:
            s[S_TRU_TANK] = TRU_TANK_L * 0.97
        if energy in (SWAP, CHARGE):
            s[S_CHARGE] = p[P_BATTERY_J] * 0.95
    s[S_MASS] = p[P_TARE] + s[S_PAYLOAD] + s[S_UNITS]
    s[S_TASK] += 1.0
    row = int(s[S_TASK]) * N_TASK
    for i in range(N_TASK):
        k[i] = tasks[row + i]
    start_task(s, p, k)


@kernel
def second(s: Vector, p: Vector, k: Vector, tasks: Vector, traces: Vector, world: int, key: int, t: float) -> None:
    """What happens once a second of world time ``t`` [s, whole]: task, place, weather, traffic, heat."""
    if s[S_STARTED] <= 0.0:
        start_task(s, p, k)
    kind = int(k[K_KIND])
    if kind == DRIVE:
        if s[S_V] < 0.05 and k[K_LENGTH] - s[S_POS] < 3.0:
            end_task(s, p, k, tasks, key)
    elif kind == WAIT:
        if t >= k[K_SECONDS]:
            end_task(s, p, k, tasks, key)
    elif s[S_TASK_AGE] >= k[K_SECONDS]:
        end_task(s, p, k, tasks, key)
    kind = int(k[K_KIND])
    s[S_TASK_AGE] += 1.0
    door = False
    if kind == DRIVE:
        _place(s, k, world)
        enter_cell(s, p, k, world, t)
        if int(t) % 15 == 0 or s[S_TRAFFIC] <= 0.0:
            traffic(s, p, key, t)
        if p[P_TRACE_N] > 0.0 and int(k[K_ROAD_TYPE]) == MOTORWAY:
            s[S_TARGET] = min(p[P_V_MAX], traces[int(p[P_TRACE_AT]) + int(s[S_TRACE]) % int(p[P_TRACE_N])])
            s[S_TRACE] += 1.0
        else:
            flow = 0.93 + 0.06 * smooth_noise(key + 1, t / 40.0)
            free = min(p[P_V_MAX] * min(1.0, p[P_PACE]), s[S_LIMIT] * p[P_PACE] * flow)
            s[S_TARGET] = free * s[S_TRAFFIC]
    else:
        s[S_PARKED_S] = s[S_PARKED_S] + 1.0 if kind == WAIT else 0.0
        s[S_ENGINE_ON] = 1.0 if s[S_TASK_AGE] <= k[K_IDLE] else 0.0
        if kind == STAND:
            done = min(1.0, s[S_TASK_AGE] / max(1.0, k[K_SECONDS]))
            s[S_PAYLOAD] = s[S_PAYLOAD_0] + (k[K_PAYLOAD] - s[S_PAYLOAD_0]) * done
            s[S_UNITS] = s[S_UNITS_0] + (k[K_UNITS] - s[S_UNITS_0]) * done
            s[S_FILL] = s[S_FILL_0] + (k[K_FILL] - s[S_FILL_0]) * done
            s[S_MASS] = p[P_TARE] + s[S_PAYLOAD] + s[S_UNITS]
            door = int(k[K_SWITCHES]) & 1 != 0
    if kind == DRIVE or int(t) % 60 == 0:
        weather(s, p, world, t)
    warm_up(s, p, 1.0)
    refrigerate(s, p, door, 1.0)


@kernel
def _place(s: Vector, k: Vector, world: int) -> None:
    """Move the position along the road by what was driven since the last second."""
    ds = s[S_POS] - s[S_SLOW_POS]
    x = along(k, s[S_POS] - 0.5 * ds)
    heading = heading_at(k, x)
    if k[K_BACK] > 0.0:
        heading += math.pi
    north = ds * math.cos(heading)
    east = ds * math.sin(heading)
    phi = s[S_LAT] * math.pi / 180.0
    s[S_LAT] += north / EARTH_M * 180.0 / math.pi
    s[S_LON] += east / (EARTH_M * math.cos(phi)) * 180.0 / math.pi
    s[S_HEADING] = heading
    s[S_ALT] = height_m(world, k, along(k, s[S_POS]))
    s[S_SLOW_POS] = s[S_POS]


@kernel
def drive_tick(s: Vector, p: Vector, k: Vector) -> None:
    """A tenth of a second at the wheel: the acceleration the driver asks for, then the physics."""
    v = s[S_V]
    if s[S_WAIT] > 0.0:
        s[S_WAIT] -= TICK_S
        stand(s, p, TICK_S)
        return
    gap = s[S_STOP_AT] - s[S_POS]
    at_end = s[S_STOP_AT] >= k[K_LENGTH]
    if v < 0.25 and gap < 2.5:
        if at_end:
            s[S_V] = 0.0
        else:
            s[S_WAIT] = s[S_STOP_WAIT]
            s[S_STOP_AT] = k[K_LENGTH]
        stand(s, p, TICK_S)
        return
    brake = p[P_BRAKE]
    target = s[S_TARGET]
    following = p[P_TRACE_N] > 0.0 and int(k[K_ROAD_TYPE]) == MOTORWAY
    if following:
        a = min(max((target - v) / 1.5, -2.5), 1.3 * p[P_ACCEL])
    elif v < target:
        x = v / target
        x2 = x * x
        a = min(p[P_ACCEL] * (1.0 - x2 * x2), 0.8 * (target - v))
    else:
        a = max(-brake, -0.4 * (v - target))
    if not following and s[S_LIMIT_NEXT] * p[P_PACE] < v:
        low = s[S_LIMIT_NEXT] * p[P_PACE]
        need = (v * v - low * low) / (2.0 * max(1.0, s[S_LIMIT_AT] - s[S_POS]))
        if need > 0.7 * brake:
            a = min(a, -need)
    need = v * v / (2.0 * max(0.3, gap - 1.0))
    if need > 0.7 * brake:
        a = min(a, -need)
    if gap < 12.0:  # roll up to the line
        a = min(a, 1.5 * (math.sqrt(max(0.0, 0.8 * brake * (gap - 0.8))) + 0.2 - v))
    if v < 0.05 and a <= 0.02:
        stand(s, p, TICK_S)
        return
    move(s, p, a, TICK_S)


@kernel
def advance(
    s: Vector, p: Vector, k: Vector, tasks: Vector, traces: Vector, world: int, key: int, tick: int, ticks: int
) -> None:
    """Run one vehicle from ``tick`` (tenths of a second since the world began) for ``ticks`` of them."""
    end = tick + ticks
    while tick < end:
        if tick % TICKS_PER_S == 0:
            second(s, p, k, tasks, traces, world, key, tick * TICK_S)
        if int(k[K_KIND]) == DRIVE:
            drive_tick(s, p, k)
            tick += 1
        else:
            span = TICKS_PER_S - tick % TICKS_PER_S  # nothing changes at rest within a second
            if span > end - tick:
                span = end - tick
            stand(s, p, span * TICK_S)
            tick += span
