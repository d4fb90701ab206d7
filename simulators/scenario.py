"""Scenario files: a small world in TOML. Every mistake is a ``ScenarioError`` that names the file and the key."""

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from simulators.classes import CLASSES

SHIPPED: Final = Path(__file__).parent / "scenarios"
MAX_VEHICLES: Final = 20_000  # a run holds every vehicle's state and two days of tasks in memory, about 60 kB each

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,32}$")]
Class = Literal[
    "van_3.5t",
    "rigid_7.5t",
    "rigid_12t",
    "rigid_18t",
    "rigid_26t",
    "artic_40t",
    "bev_van_3.5t",
    "bev_artic_40t",
]


class ScenarioError(ValueError):
    """A scenario that cannot be: the message names file, key and what is wrong with it."""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Climate(_Table, frozen=True, kw_only=True):
    """Weather of the world. Temperatures at sea level; ``rain`` and ``snow`` are shares of the time."""

    mean_c: Annotated[float, msgspec.Meta(ge=-50, le=50)] = 12.0
    day_swing_c: Annotated[float, msgspec.Meta(ge=0, le=20)] = 4.0
    wind_ms: Annotated[float, msgspec.Meta(ge=0, le=30)] = 3.5
    rain: Share = 0.12
    snow: Share = 0.0


class Sensors(_Table, frozen=True, kw_only=True):
    """Which lies the sensors tell. All off: exact values, as often as asked."""

    resolution: bool = True  # steps of the SPN: 0.05 L/h, 0.5 L, 1 mL, 1/256 km/h, ...
    not_available: bool = True  # minutes in which one signal is the not-available code
    counter_reset: bool = True  # a fuel counter starts again at 0 after a reboot
    ecu_swap: bool = True  # another control unit: another count, for good
    fuel_bias: bool = True  # what the engine thinks it injected: per vehicle 3 % (2 sigma); the rate drifts besides
    axle_noise: bool = True  # 2 to 5 % of the weight, more on slopes and under braking
    gps_noise: bool = True
    tunnels: bool = True  # no fix inside
    gps_jumps: bool = True
    first_fix: bool = True  # no fix for about 69 s after a start
    wheel_bias: bool = True  # worn tyres: speed and distance of the wheels read high
    stuck: bool = True  # minutes in which one signal keeps its last value
    on_change: bool = False  # slow signals are sent when they change
    no_rtc: bool = False  # the clock starts where it stopped, until the network or a fix sets it


class Place(_Table, frozen=True, kw_only=True):
    """A site; ``kind`` "area" is a region with customers within ``radius_km``; charger, fuel and service are what detours lead to."""

    id: Name
    name: str
    kind: Literal["warehouse", "depot", "area", "charger", "fuel", "service"] = "warehouse"
    lat_deg: Annotated[float, msgspec.Meta(ge=-85, le=85)]
    lon_deg: Annotated[float, msgspec.Meta(ge=-179, le=179)]
    alt_m: Annotated[float, msgspec.Meta(ge=-400, le=5000)] = 100.0
    radius_km: Annotated[float, msgspec.Meta(gt=0, le=100)] = 8.0
    area_m2: Annotated[float, msgspec.Meta(gt=0)] = 10_000.0
    pallet_positions: Annotated[int, msgspec.Meta(gt=0)] = 8_000
    grid_zone: str = ""


class Route(_Table, frozen=True, kw_only=True):
    """A relation that vehicles serve. ``hills_m`` sets the height of its hills, ``kind`` what the road is out of town."""

    id: Name
    name: str
    origin: str
    destination: str
    stage: Literal["trunk", "last_mile", "return", "reposition"] = "trunk"
    kind: Literal["urban", "rural", "motorway"] = "motorway"
    hills_m: Annotated[float, msgspec.Meta(ge=0, le=200)] = 18.0
    meander: Annotated[float, msgspec.Meta(ge=0, le=1.5)] = 0.65


class Styles(_Table, frozen=True, kw_only=True):
    """Weights of the driver styles in a fleet."""

    eco: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    normal: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    aggressive: Annotated[float, msgspec.Meta(ge=0)] = 1.0


class Fleet(_Table, frozen=True, kw_only=True):
    """A group of like vehicles. ``duty`` shuttle: full loads along the routes; drops: tours over customers of an area."""

    name: Name
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_VEHICLES)]
    vehicle_class: Class = msgspec.field(name="class")
    fuel: Literal["diesel_b0", "diesel_b7", "hvo100", "hvo30", "lng", "electricity"]
    duty: Literal["shuttle", "drops"]
    base: str
    routes: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    shift: Literal["day", "night", "two_shift", "always"] = "day"
    goods: Literal["heavy", "mixed", "light", "parcels"] = "mixed"
    drops: Annotated[int, msgspec.Meta(ge=1, le=200)] = 10
    backload: Share = 0.6  # chance of goods for the way back
    packaging: Share = 0.5  # chance that empty load carriers come back where goods do not
    detours: Share = (
        0.0  # chance before a tour of an empty way to a pump or charger, to a workshop, or to a lay-by to wait
    )
    refrigerated: bool = False
    tru_set_c: Annotated[float, msgspec.Meta(ge=-30, le=25)] = 4.0
    styles: Styles = Styles()
    tare_kg: Annotated[float, msgspec.Meta(gt=0)] | None = None
    gvw_kg: Annotated[float, msgspec.Meta(gt=0)] | None = None
    certified: bool = False  # the registry knows drag area and rolling resistance
    fuel_signals: Literal["high_resolution", "total", "rate", "none"] | None = None  # None: a mix
    weight_sensor: bool | None = None  # None: most vehicles from 18 t up
    order_weight: Share = 0.8  # share of vehicles whose order weight is known
    grid_zone: str = ""


class Scenario(_Table, frozen=True, kw_only=True):
    """A whole world. ``traces``: a folder of recorded speed cycles for the trunk roads, made up where it is absent."""

    name: str
    start: datetime
    utc_offset_h: Annotated[float, msgspec.Meta(ge=-12, le=14)] = 0.0
    congestion: Share = 0.25
    sleep_s: Annotated[float, msgspec.Meta(ge=60)] = 300.0  # a parked vehicle's gateway goes off after this
    always_on: bool = False  # gateways never go off
    traces: str | None = None
    climate: Climate = Climate()
    sensors: Sensors = Sensors()
    place: tuple[Place, ...]
    route: tuple[Route, ...]
    fleet: tuple[Fleet, ...]


def parse(text: str, *, source: str = "scenario") -> Scenario:
    """A checked scenario from TOML text. Raises ScenarioError; ``source`` is what the message calls the text."""
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{source}: not TOML: {error}"
        raise ScenarioError(msg) from error
    try:
        scenario = msgspec.convert(table, Scenario)
    except msgspec.ValidationError as error:
        msg = f"{source}: {error}"
        raise ScenarioError(msg) from error
    check(scenario, source=source)
    return scenario


def load(path_or_name: str | Path) -> Scenario:
    """The scenario in a file, or one that is shipped, by its name (``shipped()``)."""
    path = Path(path_or_name)
    if not path.suffix:
        path = SHIPPED / f"{path_or_name}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        msg = f"{path_or_name}: no such scenario; shipped are {', '.join(shipped())}"
        raise ScenarioError(msg) from error
    return parse(text, source=path.name)


def shipped() -> list[str]:
    """Names of the scenarios that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def check(scenario: Scenario, *, source: str = "scenario") -> None:
    """Raise ScenarioError for what types cannot tell: names that do not exist, vehicles that cannot be."""

    def fail(key: str, what: str) -> None:
        msg = f"{source}: {what} - at `$.{key}`"
        raise ScenarioError(msg)

    if scenario.start.tzinfo is None:
        fail("start", "a time zone is needed, for example 2026-03-02T04:00:00Z")
    for key in ("place", "route", "fleet"):
        items: tuple[Any, ...] = getattr(scenario, key)
        if not items:
            fail(key, f"at least one [[{key}]] is needed")
        names = [item.name if key == "fleet" else item.id for item in items]
        for i, name in enumerate(names):
            if name in names[:i]:
                fail(f"{key}[{i}]", f"{name!r} is there twice")
    places = {place.id: place for place in scenario.place}
    routes = {route.id: route for route in scenario.route}
    for i, route in enumerate(scenario.route):
        for end in ("origin", "destination"):
            if getattr(route, end) not in places:
                fail(f"route[{i}].{end}", f"no place {getattr(route, end)!r}")
        if route.origin == route.destination:
            fail(f"route[{i}].destination", "a route leads somewhere else than its origin")
    if sum(fleet.count for fleet in scenario.fleet) > MAX_VEHICLES:
        fail("fleet", f"more than {MAX_VEHICLES} vehicles")
    for i, fleet in enumerate(scenario.fleet):
        _check_fleet(f"fleet[{i}]", fleet, places, routes, fail)


def _check_fleet(key: str, fleet: Fleet, places: dict[str, Place], routes: dict[str, Route], fail: Any) -> None:
    c = CLASSES[fleet.vehicle_class]
    if c.electric != (fleet.fuel == "electricity"):
        fail(f"{key}.fuel", f"a {fleet.vehicle_class} does not run on {fleet.fuel}")
    tare = fleet.tare_kg if fleet.tare_kg is not None else c.tare_kg * 1.1 + 700.0 * fleet.refrigerated
    gvw = fleet.gvw_kg if fleet.gvw_kg is not None else c.gvw_kg
    if tare >= gvw - 200.0:
        blame = "tare_kg" if fleet.tare_kg is not None else "gvw_kg"
        fail(f"{key}.{blame}", f"tare {tare:.0f} kg leaves no load under {gvw:.0f} kg gross")
    if fleet.base not in places:
        fail(f"{key}.base", f"no place {fleet.base!r}")
    if places[fleet.base].kind not in ("warehouse", "depot"):
        fail(f"{key}.base", "the base is a warehouse or a depot")
    if fleet.styles.eco + fleet.styles.normal + fleet.styles.aggressive <= 0.0:
        fail(f"{key}.styles", "at least one weight above 0 is needed")
    for j, route in enumerate(fleet.routes):
        if route not in routes:
            fail(f"{key}.routes[{j}]", f"no route {route!r}")
        to_area = places[routes[route].destination].kind == "area"
        if fleet.duty == "drops" and not to_area:
            fail(f"{key}.routes[{j}]", "a drops tour ends in a place of kind area")
        if fleet.duty == "shuttle" and places[routes[route].destination].kind not in ("warehouse", "depot"):
            fail(f"{key}.routes[{j}]", "a shuttle ends at a warehouse or a depot")
