"""Small worlds for tests: one truck on one road, everything else as asked."""

from typing import Any

import msgspec
import numpy as np

from simulators import layout as at
from simulators.fleet import World, build
from simulators.scenario import Scenario, parse

TEXT = """
name = "small"
start = 2026-05-04T06:00:00Z
congestion = 0.0
[climate]
mean_c = 15.0
day_swing_c = 0.0
wind_ms = 0.0
rain = 0.0
[[place]]
id = "here"
name = "Here"
lat_deg = 50.0
lon_deg = 8.0
[[place]]
id = "there"
name = "There"
lat_deg = 50.0
lon_deg = 8.6
[[place]]
id = "town"
name = "Town"
kind = "area"
lat_deg = 50.05
lon_deg = 8.05
radius_km = 5.0
[[route]]
id = "out"
name = "Here - There"
origin = "here"
destination = "there"
hills_m = 0.0
meander = 0.3
[[route]]
id = "tour"
name = "Here - Town"
origin = "here"
destination = "town"
stage = "last_mile"
kind = "urban"
hills_m = 5.0
[[fleet]]
name = "truck"
count = 1
class = "artic_40t"
fuel = "diesel_b7"
duty = "shuttle"
base = "here"
routes = ["out"]
shift = "always"
styles = { eco = 0.0, normal = 1.0, aggressive = 0.0 }
"""
HONEST = dict.fromkeys(
    (
        "resolution",
        "not_available",
        "counter_reset",
        "ecu_swap",
        "fuel_bias",
        "axle_noise",
        "gps_noise",
        "tunnels",
        "gps_jumps",
        "first_fix",
        "wheel_bias",
        "stuck",
    ),
    False,
)


def scenario(
    *,
    fleet: dict[str, Any] | None = None,
    climate: dict[str, Any] | None = None,
    sensors: dict[str, Any] | None = None,
    route: dict[str, Any] | None = None,
    **top: Any,
) -> Scenario:
    """The small scenario with changes in its one fleet, climate, sensors, first route, or at the top."""
    small = parse(TEXT)
    replace = msgspec.structs.replace
    return replace(
        small,
        fleet=(replace(small.fleet[0], **(fleet or {})),),
        climate=replace(small.climate, **(climate or {})),
        sensors=replace(small.sensors, **(sensors or {})),
        route=(replace(small.route[0], **(route or {})), small.route[1]),
        **top,
    )


def run(world: World, seconds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Readings and truth of a stretch, in one piece each."""
    chunks = list(world.chunks(seconds, chunk_s=600))
    readings = {name: np.concatenate([c.readings[name] for c in chunks]) for name in chunks[0].readings}
    truth = {name: np.concatenate([c.truth[name] for c in chunks]) for name in chunks[0].truth}
    return readings, truth


def litres_per_100_km(*, seed: int = 5, hours: int = 8, loaded: bool | None = None, **changes: Any) -> float:
    """Fuel of the one truck over distance, while driving; ``loaded`` picks rows with or without goods."""
    _, truth = run(build(scenario(**changes), seed), hours * 3600)
    rows = truth["speed_kmh"] >= 0.0
    if loaded is not None:
        rows = truth["load_state"] >= 3 if loaded else truth["load_state"] <= 2
        rows &= truth["distance_m"] > 0.0
    return float(1e5 * truth["fuel_l"][rows].sum() / truth["distance_m"][rows].sum())


def kwh_per_km(*, seed: int = 5, hours: int = 8, **changes: Any) -> float:
    """Battery energy of the one vehicle over distance."""
    _, truth = run(build(scenario(**changes), seed), hours * 3600)
    return float(1e3 * truth["energy_kwh"].sum() / truth["distance_m"].sum())


__all__ = ["HONEST", "at", "kwh_per_km", "litres_per_100_km", "run", "scenario"]
