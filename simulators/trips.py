"""The dispatcher: orders become a day of tasks for each vehicle, with known loads, empty legs and their causes.

A day is a flat list of task rows (``layout.K_*``). It starts with a wait for the shift and ends at the base. Everything is drawn
from the vehicle's key and the day's number, so a day can be planned alone and again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulators import layout as at
from simulators.rng import gauss, key_of, uniform
from simulators.roads import bessel_j0, rhumb, road
from simulators.scenario import Fleet, Place, Route, Scenario

KINDS = {"urban": at.URBAN, "rural": at.RURAL, "motorway": at.MOTORWAY}
DOOR, TAIL_LIFT, TRAILER, TRU = 1, 2, 8, 64  # bits of the switches signal
PALLET_KG = {"heavy": (640.0, 90.0), "mixed": (370.0, 120.0), "light": (170.0, 45.0), "parcels": (150.0, 25.0)}
CARRIER_KG = 32.0  # an empty roll cage or a stack of returned packaging per pallet position
SHIFT_START_H = {"day": (5.0, 8.5), "night": (18.0, 21.5), "two_shift": (3.5, 5.5), "always": (0.0, 0.0)}
SHIFT_LENGTH_H = {"day": 8.5, "night": 9.0, "two_shift": 15.0, "always": 26.0}
MEAN_MS = {at.URBAN: 6.0, at.RURAL: 14.0, at.MOTORWAY: 20.0}
SWAP_S, CHARGE_S = 300.0, 5400.0
SERVICE_S = (2400.0, 5400.0)  # at a workshop
WAITING_S = (2100.0, 4500.0)  # at a lay-by
LAY_BY_KM = (2.0, 3.5)
DETOUR_KM = 30.0  # as the crow flies: farther pumps and workshops are for others
KWH_PER_KM = {"bev_van_3.5t": 0.4, "bev_artic_40t": 1.9}  # what a careful dispatcher counts with
MAX_TOURS = 40  # a day of the shortest shuttles; bounds a plan

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Geography:
    """Places and routes of a scenario, by id; ``route_ids`` fixes the routes' numbers."""

    places: Mapping[str, Place]
    routes: Mapping[str, Route]
    route_ids: Sequence[str]

    @classmethod
    def of(cls, scenario: Scenario) -> "Geography":
        """The geography of a scenario."""
        return cls(
            {place.id: place for place in scenario.place},
            {route.id: route for route in scenario.route},
            [route.id for route in scenario.route],
        )

    def point(self, place: str) -> Point:
        """Latitude, longitude [deg] and height [m] of a place."""
        found = self.places[place]
        return found.lat_deg, found.lon_deg, found.alt_m

    def between(self, a: str, b: str) -> Route | None:
        """The route from ``a`` to ``b``, else the one from ``b`` to ``a``, else None."""
        other = None
        for route in self.routes.values():
            if (route.origin, route.destination) == (a, b):
                return route
            if (route.origin, route.destination) == (b, a):
                other = route
        return other


@dataclass(frozen=True, slots=True)
class Carrier:
    """What the dispatcher knows of a vehicle."""

    fleet: Fleet
    key: int
    tare_kg: float
    gvw_kg: float
    pallets: int
    battery_kwh: float
    idle_share: float
    knows_order: bool


class _Day:
    """A day under construction: rows, the load aboard, the time spent."""

    def __init__(self, carrier: Carrier, geography: Geography, day: int) -> None:
        self.c, self.g, self.key = carrier, geography, key_of(carrier.key, "day", day)
        self.rows: list[float] = []
        self.draws = 0
        self.seconds = 0.0
        self.payload = self.units = self.fill = 0.0
        self.at = carrier.fleet.base
        self.point = geography.point(self.at)
        self.route, self.stage, self.cause = 0, 0, 0
        self.charge_kwh = 0.9 * carrier.battery_kwh
        artic = "artic" in carrier.fleet.vehicle_class
        self.static = (TRAILER if artic else 0) | (TRU if carrier.fleet.refrigerated else 0)

    def u(self, low: float = 0.0, high: float = 1.0) -> float:
        """The next uniform number of this day."""
        self.draws += 1
        return low + (high - low) * uniform(self.key, self.draws)

    def task(self, kind: int) -> list[float]:
        """A row with what all tasks share; add it with ``put``."""
        k = [0.0] * at.N_TASK
        k[at.K_KIND] = kind
        k[at.K_PAYLOAD], k[at.K_UNITS], k[at.K_FILL] = self.payload, self.units, self.fill
        k[at.K_ORDER_KG] = (
            self.payload * (1.0 + 0.01 * gauss(self.key, len(self.rows))) if self.c.knows_order else math.nan
        )
        k[at.K_ROUTE], k[at.K_STAGE] = self.route, self.stage
        k[at.K_CAUSE] = self.cause if self.payload <= 0.0 else 0
        k[at.K_SWITCHES] = self.static
        return k

    def put(self, k: list[float]) -> None:
        """Add a row."""
        self.rows.extend(k)

    def work(self, seconds: float, *, switches: int = 0, energy: int = 0, idle: float | None = None) -> None:
        """Stand for ``seconds`` and leave with the load as it is now."""
        k = self.task(at.STAND)
        k[at.K_SECONDS] = float(int(seconds))
        k[at.K_SWITCHES] = self.static | switches
        k[at.K_ENERGY] = energy
        runs_on = self.u() < self.c.idle_share * 0.6
        k[at.K_IDLE] = idle if idle is not None else (min(seconds, 600.0) if runs_on else 10.0)
        self.put(k)
        self.seconds += seconds

    def wait_until(self, world_s: float) -> None:
        """Park with the ignition off until ``world_s`` seconds of world time."""
        self.cause = 0
        k = self.task(at.WAIT)
        k[at.K_SECONDS] = float(int(world_s))
        k[at.K_SWITCHES] = self.static & ~TRU
        self.put(k)

    def load(self, goods: str, share: float) -> None:
        """Take goods aboard: ``share`` of the pallet positions, as heavy as the kind of goods is and the axles bear."""
        mean, sd = PALLET_KG[goods]
        count = max(1, round(self.c.pallets * share))
        each = max(40.0, mean + sd * gauss(self.key, 10_000 + len(self.rows)))
        self.payload = min(count * each, self.c.gvw_kg - self.c.tare_kg - self.units)
        self.fill = count / self.c.pallets
        self.units = 0.0

    def drive(self, to: Point, *, road_id: int, kind: int, hills_m: float, meander: float, back: bool) -> None:
        """Drive to ``to``; ``back``: against the direction in which the road is described."""
        k = self.task(at.DRIVE)
        a, b = (to, self.point) if back else (self.point, to)
        road(k, road_id=road_id, back=back, a=a, b=b, kind=kind, hills_m=hills_m, meander=meander)
        self.put(k)
        self.point = to
        self.seconds += k[at.K_LENGTH] / MEAN_MS[kind]
        self.charge_kwh -= k[at.K_LENGTH] / 1000.0 * KWH_PER_KM.get(self.c.fleet.vehicle_class, 0.0)

    def go(self, place: str) -> None:
        """Drive from the place the vehicle is at to another one, along the scenario's route where there is one."""
        # One road per pair of places, described in the order of their ids, so both ways meet the same hills.
        low, high = sorted((self.at, place))
        found = self.g.between(self.at, place)
        kind, hills, meander = at.RURAL, 15.0, 0.6
        if found is not None:
            kind, hills, meander = KINDS[found.kind], found.hills_m, found.meander
        road_id, back = key_of(1, low, high) % (1 << 40), self.at > place
        self.drive(self.g.point(place), road_id=road_id, kind=kind, hills_m=hills, meander=meander, back=back)
        self.at = place

    def energise(self, next_km: float) -> None:
        """At a yard: fuel if low (decided when it happens), swap or charge if the next leg would not be reached."""
        name = self.c.fleet.vehicle_class
        if self.c.battery_kwh <= 0.0:
            if self.at == self.c.fleet.base:
                self.work(420, energy=at.REFUEL, idle=0.0)
            return
        if self.charge_kwh < next_km * KWH_PER_KM[name] + 0.12 * self.c.battery_kwh:
            swap = name == "bev_artic_40t"
            self.work(SWAP_S if swap else CHARGE_S, energy=at.SWAP if swap else at.CHARGE, idle=0.0)
            self.charge_kwh = 0.9 * self.c.battery_kwh


def _near(d: _Day, place: Place) -> bool:
    return rhumb(d.point[0], d.point[1], place.lat_deg, place.lon_deg)[0] <= 1000.0 * DETOUR_KM


def _detour(d: _Day) -> None:
    """From where the next load waits, empty: to a pump or charger, a workshop, or to a lay-by to wait; then back."""
    home = d.at
    energy = "charger" if d.c.battery_kwh > 0.0 else "fuel"
    ends = [place for place in d.g.places.values() if place.kind in (energy, "service") and _near(d, place)]
    chosen = int(d.u() * (len(ends) + 1))
    route, stage = d.route, d.stage
    d.work(300.0)  # papers at the gate
    d.stage = at.STAGES.index("reposition")
    if chosen == len(ends):
        point, angle, far = d.point, d.u(0.0, 2.0 * math.pi), 1000.0 * d.u(*LAY_BY_KM)
        road_id = int(d.u() * 2**40)
        lat = point[0] + far * math.cos(angle) / 111_195.0
        lon = point[1] + far * math.sin(angle) / (111_195.0 * math.cos(math.radians(point[0])))
        for end, back, cause in (((lat, lon, point[2]), False, "waiting"), (point, True, "from_detour")):
            d.cause = at.CAUSES.index(cause)
            d.drive(end, road_id=road_id, kind=at.URBAN, hills_m=5.0, meander=0.4, back=back)
            if not back:
                d.work(d.u(*WAITING_S), idle=0.0)
    else:
        kind = ends[chosen].kind
        d.cause = at.CAUSES.index(f"to_{kind}")
        d.go(ends[chosen].id)
        if kind == "service":
            d.work(d.u(*SERVICE_S), idle=0.0)
        else:
            d.work(600.0 if kind == "fuel" else CHARGE_S, energy=at.REFUEL if kind == "fuel" else at.CHARGE, idle=0.0)
            if kind == "charger":
                d.charge_kwh = 0.9 * d.c.battery_kwh
        d.cause = at.CAUSES.index("from_detour")
        d.go(home)
    d.route, d.stage, d.cause = route, stage, 0


def distance_km(g: Geography, route: Route) -> float:
    """Length of a route's road [km]."""
    a, b = g.point(route.origin), g.point(route.destination)
    return rhumb(a[0], a[1], b[0], b[1])[0] / bessel_j0(route.meander) / 1000.0


def plan_day(carrier: Carrier, geography: Geography, day: int, world_day_s: float) -> list[float]:
    """Tasks of the vehicle's day number ``day``, which begins ``world_day_s`` seconds (may be below 0) into world time, local midnight."""
    d = _Day(carrier, geography, day)
    fleet = carrier.fleet
    low, high = SHIFT_START_H[fleet.shift]
    weekly = uniform(carrier.key, 7) * (high - low) + low
    d.wait_until(world_day_s + 3600.0 * (weekly + d.u(-0.2, 0.2)) if high > 0.0 else 0.0)
    budget = SHIFT_LENGTH_H[fleet.shift] * 3600.0
    tour = _drops if fleet.duty == "drops" else _shuttle
    longest = 0.0
    for number in range(MAX_TOURS):
        before = d.seconds
        tour(d, number)
        longest = max(longest, d.seconds - before)
        if d.seconds + longest > budget:
            break
        if fleet.shift != "always" or d.u() < 0.5:
            d.work(2700 if d.seconds - before > 3.5 * 3600.0 else 900, idle=0.0)  # the driver's break
    if d.at != fleet.base:
        d.stage, d.cause = at.STAGES.index("reposition"), at.CAUSES.index("return_to_base")
        d.go(fleet.base)
    d.stage = 0
    if carrier.battery_kwh > 0.0:
        d.charge_kwh = 0.0
    d.energise(0.0)
    return d.rows


def _pick(d: _Day, names: Sequence[str], number: int) -> str:
    return names[(number + int(uniform(d.c.key, 8) * len(names)) + (1 if d.u() < 0.2 else 0)) % len(names)]


def _begin(d: _Day, route: Route) -> None:
    """Be at the route's origin, empty: drive there if need be."""
    if d.at != route.origin:
        d.stage, d.cause = at.STAGES.index("reposition"), at.CAUSES.index("reposition")
        d.route = d.g.route_ids.index(route.id)
        d.go(route.origin)
    d.route = d.g.route_ids.index(route.id)
    d.stage = at.STAGES.index(route.stage)
    d.cause = 0


def _go_back(d: _Day, route: Route, cause: str) -> None:
    """Turn to the way back of ``route``: its own route where the scenario has one."""
    for i, name in enumerate(d.g.route_ids):
        other = d.g.routes[name]
        if (other.origin, other.destination) == (route.destination, route.origin):
            d.route = i
    d.stage = at.STAGES.index("return")
    d.cause = at.CAUSES.index(cause)


def _shuttle(d: _Day, number: int) -> None:
    """One full load out; goods, empties or nothing back."""
    fleet = d.c.fleet
    here = [name for name in fleet.routes if d.g.routes[name].origin == d.at]
    own = here if here and d.u() < 0.88 else list(fleet.routes)  # else the next load may wait elsewhere
    route = d.g.routes[_pick(d, own, number)]
    km = distance_km(d.g, route)
    _begin(d, route)
    if fleet.detours > 0.0 and d.u() < fleet.detours:
        _detour(d)
    d.energise(km)
    d.load(fleet.goods, d.u(0.72, 1.0))
    d.work(d.u(1500, 2700), switches=DOOR)
    d.go(route.destination)
    full = d.fill
    d.payload = d.fill = 0.0
    d.work(d.u(1200, 2400), switches=DOOR)
    chance = d.u()
    if chance < fleet.backload:
        _go_back(d, route, "")
        d.energise(km)
        d.load(fleet.goods, d.u(0.5, 1.0))
        d.work(d.u(1500, 2700), switches=DOOR)
    elif chance < fleet.backload + 0.04:
        _go_back(d, route, "cancelled_order")
        d.work(1800)
    elif d.u() < fleet.packaging:
        _go_back(d, route, "no_backload")
        d.units = CARRIER_KG * d.c.pallets * d.u(0.4, 1.0)
        d.work(d.u(600, 1200), switches=DOOR)
    else:
        _go_back(d, route, "one_way_flow" if fleet.backload < 0.05 else "no_backload")
    if d.units > 0.0 or d.payload > 0.0:
        d.fill = min(1.0, d.fill or full * 0.8)
    onward = [name for name in fleet.routes if d.g.routes[name].origin == d.at and d.g.routes[name].id != route.id]
    if d.payload <= 0.0 and d.units <= 0.0 and onward and d.u() < 0.35:
        return  # the next load waits here
    d.energise(km)
    d.go(route.origin)
    if d.payload > 0.0 or d.units > 0.0:
        d.payload = d.units = d.fill = 0.0
        d.work(d.u(600, 1800), switches=DOOR)
    d.fill = 0.0


def _drops(d: _Day, number: int) -> None:
    """A tour over customers: the load shrinks from stop to stop, empties come back."""
    fleet = d.c.fleet
    route = d.g.routes[_pick(d, fleet.routes, number)]
    _begin(d, route)
    if fleet.detours > 0.0 and d.u() < fleet.detours:
        _detour(d)
    area = d.g.places[route.destination]
    parcels = fleet.goods == "parcels"
    d.energise(distance_km(d.g, route) * 2.0 + area.radius_km * 5.0)
    d.load(fleet.goods, d.u(0.75, 1.0))
    d.work(d.u(1200, 2400), switches=DOOR)
    count = max(1, round(fleet.drops * d.u(0.7, 1.2)))
    each, full, fill = d.payload / count, d.payload, d.fill
    collects = d.u() < fleet.packaging and not parcels
    start = d.u(0.0, 2.0 * math.pi)
    for i in range(count):
        angle = start + 2.0 * math.pi * i / count + d.u(-0.1, 0.1)
        radius = area.radius_km * 1000.0 * math.sqrt(d.u(0.03, 1.0)) * (0.55 if count > 30 else 1.0)
        north, east = radius * math.cos(angle), radius * math.sin(angle)
        lat = area.lat_deg + north / 111_195.0
        lon = area.lon_deg + east / (111_195.0 * math.cos(math.radians(area.lat_deg)))
        if count > 30 and i % 8:  # streets: the next door is near
            last = d.point
            lat = last[0] + (0.0016 + 0.003 * d.u()) * (1.0 if d.u() < 0.5 else -1.0)
            lon = last[1] + d.u(-1.0, 1.0) * 0.0065
        first = i == 0
        kind = KINDS[route.kind] if first else at.RURAL if area.radius_km > 15.0 else at.URBAN
        d.drive(
            (lat, lon, area.alt_m + d.u(-10.0, 10.0)),
            road_id=int(d.u() * 2**40) if not first else key_of(1, route.origin, route.destination) % (1 << 40),
            kind=kind,
            hills_m=route.hills_m if first else 0.3 * route.hills_m,
            meander=route.meander if first else 0.7,
            back=False,
        )
        d.at = ""
        d.payload = max(0.0, full - each * (i + 1)) if i + 1 < count else 0.0
        d.fill = fill * (1.0 - (i + 1) / count)
        if collects:
            d.units += CARRIER_KG * d.c.pallets / count * d.u(0.5, 1.0)
        stay = d.u(50, 170) if parcels else d.u(480, 1500)
        d.work(stay, switches=DOOR | (0 if parcels else TAIL_LIFT))
    _go_back(d, route, "return_to_base")
    d.drive(
        d.g.point(route.origin),
        road_id=key_of(1, route.origin, route.destination) % (1 << 40),
        kind=KINDS[route.kind],
        hills_m=route.hills_m,
        meander=route.meander,
        back=True,
    )
    d.at = route.origin
    if d.units > 0.0:
        d.units = 0.0
        d.work(d.u(300, 900), switches=DOOR)
    d.fill = 0.0


class Plan:
    """The tasks a vehicle has before it: two days at a time. ``day_0_s``: world time of the first local midnight [s]."""

    def __init__(self, carrier: Carrier, geography: Geography, day_0_s: float) -> None:
        self._carrier, self._geography, self._day_0_s = carrier, geography, day_0_s
        self._day = 1
        self.first_rows = 0
        self._second_rows = 0

    def _rows(self, day: int) -> list[float]:
        return plan_day(self._carrier, self._geography, day, self._day_0_s + day * 86_400.0)

    def begin(self) -> list[float]:
        """Task rows of the first two days, flat."""
        first, second = self._rows(0), self._rows(1)
        self.first_rows, self._second_rows = len(first) // at.N_TASK, len(second) // at.N_TASK
        return first + second

    def follow(self) -> tuple[int, int, list[float]]:
        """When task ``first_rows`` has begun: how many rows to drop in front, how many then stay, the rows to put behind."""
        self._day += 1
        following = self._rows(self._day)
        dropped, kept = self.first_rows, self._second_rows
        self.first_rows, self._second_rows = kept, len(following) // at.N_TASK
        return dropped, kept, following
