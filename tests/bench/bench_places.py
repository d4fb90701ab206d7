"""Geofences: the step over vehicles that stop every five minutes, with ten known places and with ten thousand."""

import time

import numpy as np

from stream.fleet import Fleet, Vehicle
from stream.pipeline import Columns, start, step
from stream.places import Place, build_places
from tests.bench.result import Result
from tests.support import fleet, join, readings

VEHICLES = 40
EACH = 3000
REPEATS = 9


def _places(n: int) -> tuple[Place, ...]:
    rng = np.random.default_rng(1)
    lat, lon = rng.uniform(47, 54, n), rng.uniform(6, 14, n)
    return tuple(Place(f"p{i}", "", "customer", float(lat[i]), float(lon[i]), 300.0) for i in range(n))


def _fleet(n: int) -> Fleet:
    vehicles = (Vehicle(f"t{i}", f"d-{i:03}", "artic_40t", "diesel_b7") for i in range(VEHICLES))
    return fleet(*vehicles, places=_places(n))


def _batch() -> Columns:
    t = np.arange(EACH)
    speed = np.where(t % 300 < 180, 70.0, 0.0)
    east = np.cumsum(speed) / 3.6 / 71_000
    return join(
        *(
            readings(t, device=d, speed_kmh=speed, engine_speed_rpm=900.0, lat_deg=47.5 + 0.15 * d, lon_deg=6.5 + east)
            for d in range(VEHICLES)
        )
    )


def _rates(batch: Columns) -> tuple[float, float]:
    """Readings a second with ten and with ten thousand places, measured in turns."""
    states = [start(_fleet(n)) for n in (10, 10_000)]
    best = [np.inf, np.inf]
    for _ in range(REPEATS):
        for k, state in enumerate(states):
            begin = time.perf_counter()
            step(state, batch)
            best[k] = min(best[k], time.perf_counter() - begin)
    return VEHICLES * EACH / best[0], VEHICLES * EACH / best[1]


def run() -> list[Result]:
    """Figures of the map."""
    few, many = _rates(_batch())
    places = _places(10_000)
    begin = time.perf_counter()
    build_places(places)
    built = time.perf_counter() - begin
    return [
        Result("step_10_places", few, "1/s", "40 vehicles x 3,000 readings, a stop every 5 minutes, 10 places"),
        Result("step_10k_places_vs_10", many / few, "ratio", "the same with 10,000 places; 1 = no slower"),
        Result("build_10k_places_s", built, "s", "the index of 10,000 places"),
    ]
