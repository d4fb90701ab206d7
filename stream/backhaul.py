"""Empty legs that could have carried a load: pairs that cross in time and space, within capacity.

A **leg** is a trip that ran empty, from 0 to 1. A **load** is a loaded trip of another vehicle, or an order. The leg's driver
would go from 0 to the load's origin A, carry it to its destination B, and go on to 1. A pair is legal if

1. the vehicles differ,
2. A lies within ``approach_km`` of 0 and B of 1, and the way 0-A-B-1 is at most ``detour_km`` longer than 0-1,
3. the driver reaches A not later than the load may leave, and need not wait longer than ``wait_s``,
4. the load's mass and the leg's free capacity are known, and it fits,
5. bodies are alike where both are known, and a cooled load meets a cooled body,
6. kilometres are left over: those of the load's own trip, and of its empty return where there was one, less the detour.

Distances between places are great circles times ``ROAD``; kilometres driven are those that were measured. Pure; positions in
degrees, times in ns, masses in kg, distances in m.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel

ROAD: Final = 1.25  # road over great circle in regions with a dense network, 1.2 to 1.4 [C]
SPEED_MS: Final = 60.0 / 3.6  # mean of a leg with its small stops
EARTH_M: Final = 6_371_000.0
EMPTY_L_PER_KG_M: Final = (
    0.67e-8  # marginal fuel of a payload: 0.67 L/100 km per t at 50 km/h, EMEP/EEA artic, the upper end
)
MOST_PER_LEG: Final = 8  # pairs kept of one leg, best first; more choice helps nobody
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
LEG: Final = np.dtype(
    [
        ("vehicle", "i8"),
        ("start_ns", "i8"),
        ("lat0_deg", "f8"),
        ("lon0_deg", "f8"),
        ("lat1_deg", "f8"),
        ("lon1_deg", "f8"),
        ("capacity_kg", "f8"),  # NaN = not known
        ("body", "i8"),  # any code, -1 = not known
        ("cooled", "i8"),  # the body can cool
        ("litres_per_m", "f8"),  # what it burnt, NaN = not known
    ]
)
LOAD: Final = np.dtype(
    [
        ("vehicle", "i8"),  # -1 = an order that nobody has carried
        ("ready_ns", "i8"),
        ("due_ns", "i8"),  # latest departure
        ("lat0_deg", "f8"),
        ("lon0_deg", "f8"),
        ("lat1_deg", "f8"),
        ("lon1_deg", "f8"),
        ("mass_kg", "f8"),  # NaN = not known
        ("body", "i8"),
        ("cooled", "i8"),  # it must be cooled
        ("driven_m", "f8"),  # own trip and empty return
        ("litres", "f8"),  # of both, NaN = not known
        ("back", "i8"),  # index of the leg that is its empty return, -1 = none
    ]
)
PAIR: Final = np.dtype(
    [
        ("leg", "i8"),
        ("load", "i8"),
        ("pickup_ns", "i8"),
        ("wait_s", "f8"),
        ("detour_m", "f8"),
        ("saved_m", "f8"),
        ("saved_l", "f8"),  # NaN = not known
        ("best", "i8"),  # 1: among the pairs that can all be done together
    ]
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a dispatcher would accept."""

    approach_km: float = 30.0
    detour_km: float = 50.0
    wait_s: float = 7_200.0


@kernel
def away_m(lat0: float, lon0: float, lat1: float, lon1: float) -> float:
    """Great-circle distance [m] from ``lat0``, ``lon0`` to ``lat1``, ``lon1`` [°] by the haversine formula; error 0.5 %."""
    a, b = math.radians(lat0), math.radians(lat1)
    h = math.sin(0.5 * (b - a)) ** 2 + math.cos(a) * math.cos(b) * math.sin(0.5 * math.radians(lon1 - lon0)) ** 2
    return 2.0 * EARTH_M * math.asin(math.sqrt(min(1.0, h)))


@kernel
def _keep(kept: Any, n: int, pair: Any) -> int:
    """Insert ``pair`` into the ``n`` best of a leg, most metres saved first; ties by the load's index."""
    if n == kept.size:
        if pair["saved_m"] <= kept[n - 1]["saved_m"]:
            return n
        n -= 1
    i = n
    while i > 0 and kept[i - 1]["saved_m"] < pair["saved_m"]:
        kept[i] = kept[i - 1]
        i -= 1
    kept[i] = pair
    return n + 1


@kernel
def _pairs(
    legs: Any,
    loads: Any,
    first: Any,
    end: Any,
    by_due: Any,
    approach_m: float,
    detour_m: float,
    wait_s: float,
    kept: Any,
    one: Any,
    out: Any,
) -> int:
    """All legal pairs of each leg, the best ``MOST_PER_LEG`` of them, into ``out``; returns how many.

    ``by_due``: loads by latest departure; ``first[i]`` to ``end[i]``: those that leave neither before leg ``i`` nor long after it.
    ``kept`` and ``one`` are room to work in.
    """
    lat_reach = math.degrees(approach_m / EARTH_M) * 1.0001
    n_out = 0
    for i in range(legs.size):
        leg = legs[i]
        n = 0
        if not leg["capacity_kg"] > 0.0:
            continue
        straight = away_m(leg["lat0_deg"], leg["lon0_deg"], leg["lat1_deg"], leg["lon1_deg"])
        for k in range(first[i], end[i]):
            j = by_due[k]
            load = loads[j]
            if not math.fabs(load["lat0_deg"] - leg["lat0_deg"]) <= lat_reach:
                continue
            if not math.fabs(load["lat1_deg"] - leg["lat1_deg"]) <= lat_reach:
                continue
            if not load["mass_kg"] <= leg["capacity_kg"] or load["vehicle"] == leg["vehicle"]:
                continue
            if load["cooled"] and not leg["cooled"]:
                continue
            if load["body"] >= 0 and leg["body"] >= 0 and load["body"] != leg["body"]:
                continue
            to_a = away_m(leg["lat0_deg"], leg["lon0_deg"], load["lat0_deg"], load["lon0_deg"])
            from_b = away_m(load["lat1_deg"], load["lon1_deg"], leg["lat1_deg"], leg["lon1_deg"])
            if to_a > approach_m or from_b > approach_m:
                continue
            there_ns = leg["start_ns"] + int(to_a * ROAD / SPEED_MS * 1e9)
            wait = max(0.0, (load["ready_ns"] - there_ns) * 1e-9)
            if there_ns > load["due_ns"] or wait > wait_s:
                continue
            carried = away_m(load["lat0_deg"], load["lon0_deg"], load["lat1_deg"], load["lon1_deg"])
            detour = (to_a + carried + from_b - straight) * ROAD
            saved = load["driven_m"] - detour
            if detour > detour_m or not saved > 0.0:
                continue
            one[0]["leg"] = i
            one[0]["load"] = j
            one[0]["pickup_ns"] = max(there_ns, load["ready_ns"])
            one[0]["wait_s"] = wait
            one[0]["detour_m"] = detour
            one[0]["saved_m"] = saved
            extra = EMPTY_L_PER_KG_M * load["mass_kg"] * carried * ROAD + leg["litres_per_m"] * detour
            one[0]["saved_l"] = load["litres"] - extra
            one[0]["best"] = 0
            n = _keep(kept, n, one[0])
        for k in range(n):
            out[n_out] = kept[k]
            n_out += 1
    return n_out


@kernel
def _choose(pairs: Any, order: Any, loads: Any, leg_used: Any, leg_gone: Any, load_used: Any) -> None:
    """Mark pairs that can all be done together, most metres saved first: each leg carries once, each load rides once.

    Where a load rides with another vehicle its own empty return is not driven, so that leg can carry nothing; and a load
    whose return carries something stays where it is.
    """
    for k in order:
        leg, load = pairs[k]["leg"], pairs[k]["load"]
        back = loads[load]["back"]
        if leg_used[leg] or leg_gone[leg] or load_used[load]:
            continue
        if back >= 0 and (leg_used[back] or leg_gone[back]):
            continue
        pairs[k]["best"] = 1
        leg_used[leg] = 1
        load_used[load] = 1
        if back >= 0:
            leg_gone[back] = 1


def find_pairs(legs: npt.NDArray[np.void], loads: npt.NDArray[np.void], limits: Limits) -> npt.NDArray[np.void]:
    """Legal pairs of ``legs`` (LEG) and ``loads`` (LOAD) as PAIR, by leg, most kilometres saved first.

    At most ``MOST_PER_LEG`` of a leg. ``saved_m``: metres not driven; ``saved_l``: litres of the load's own trip and its return, less
    what the payload and the detour cost the carrier. The same answer for the same rows, in any order of equal worth by index.
    """
    by_due = np.argsort(loads["due_ns"], kind="stable")
    due = loads["due_ns"][by_due]
    patience = int(np.max(loads["due_ns"] - loads["ready_ns"], initial=0))
    latest_ns = patience + int((limits.approach_km * 1000.0 * ROAD / SPEED_MS + limits.wait_s + 1.0) * 1e9)
    out = np.empty(legs.size * MOST_PER_LEG, PAIR)
    n = _pairs(
        legs,
        loads,
        np.searchsorted(due, legs["start_ns"]),
        np.searchsorted(due, legs["start_ns"] + latest_ns, "right"),
        by_due,
        limits.approach_km * 1000.0,
        limits.detour_km * 1000.0,
        limits.wait_s,
        np.empty(MOST_PER_LEG, PAIR),
        np.empty(1, PAIR),
        out,
    )
    pairs = out[:n]
    order = np.lexsort((pairs["load"], pairs["leg"], -pairs["saved_m"]))
    _choose(pairs, order, loads, *(np.zeros(k, np.int64) for k in (legs.size, legs.size, loads.size)))
    return pairs
