"""Backhauls of a day: legs, loads and legal pairs of fleets of 1,000 and 10,000 vehicles."""

import time

import numpy as np
import numpy.typing as npt

from stream.backhaul import LEG, LOAD, Limits, find_pairs
from tests.bench.result import Result

HOUR = 3_600 * 10**9
TOWNS = 60
EACH = 3  # empty legs and loads of a vehicle in a day


def _day(vehicles: int) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """Random legs and loads between towns of a region of 600 by 600 km."""
    rng = np.random.default_rng(1)
    n = EACH * vehicles
    legs, loads = np.zeros(n, LEG), np.zeros(n, LOAD)
    towns = np.column_stack((rng.uniform(48, 53.4, TOWNS), rng.uniform(5, 13.5, TOWNS)))
    for rows in (legs, loads):
        ends = towns[rng.integers(0, TOWNS, (2, n))] + rng.normal(0, 0.1, (2, n, 2))
        rows["vehicle"] = rng.integers(0, vehicles, n)
        rows["lat0_deg"], rows["lon0_deg"] = ends[0].T
        rows["lat1_deg"], rows["lon1_deg"] = ends[1].T
        rows["body"] = -1
    legs["start_ns"], legs["capacity_kg"], legs["litres_per_m"] = rng.integers(0, 24 * HOUR, n), 24_000, 0.00025
    loads["ready_ns"] = rng.integers(0, 24 * HOUR, n)
    loads["due_ns"] = loads["ready_ns"] + 2 * HOUR
    loads["mass_kg"], loads["driven_m"], loads["litres"] = rng.uniform(100, 20_000, n), 900e3, 270.0
    loads["back"] = -1
    return legs, loads


def run() -> list[Result]:
    """Seconds to find the pairs."""
    find_pairs(*_day(10), Limits())
    results = []
    for vehicles in (1_000, 10_000):
        legs, loads = _day(vehicles)
        begin = time.perf_counter()
        pairs = find_pairs(legs, loads, Limits())
        took = time.perf_counter() - begin
        note = f"{legs.size:,} empty legs, {loads.size:,} loads, {pairs.size:,} legal pairs"
        results.append(Result(f"backhaul_{vehicles // 1000}k_vehicles_s", took, "s", note))
    return results
