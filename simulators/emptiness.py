"""Empty running against the simulated truth, by what the vehicles let us see: kilometres told empty against kilometres empty.

Beside it the stage of each kilometre, and the cause of each empty one, as told and as they were. The final word on each trip counts
(its newest version), as in the view ``minutes``: what is learnt late is back-dated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simulators.fleet import World
from simulators.layout import CAUSES, STAGES
from stream.columns import EMPTY_CAUSES, LOAD_STATES, TRIP_STAGES
from stream.fleet import Fleet
from stream.load_state import BIT_ORDER, BIT_SCALES
from stream.pipeline import start, step

_ORDERS: Final = ("cargo_kg", "load_units_loaded", "load_units_empty")
_WEIGHT: Final = ("gross_weight_kg",)
_GNSS: Final = ("lat_deg", "lon_deg", "alt_m", "gps_speed_kmh", "hdop")
_SWITCHES: Final = ("switches",)
_BUS: Final = (
    "speed_kmh",
    "odometer_m",
    "engine_speed_rpm",
    "engine_torque_pct",
    "engine_load_pct",
    "fuel_rate_lph",
    "fuel_total_hr_l",
    "fuel_total_l",
    "gas_total_kg",
    "battery_power_kw",
    "battery_energy_total_kwh",
)
HIDDEN: Final[Mapping[str, tuple[str, ...]]] = {  # evidence -> signals that are kept from the step
    "all that is fitted": (),
    "weight sensor, no orders": _ORDERS,
    "CAN and GNSS, no weight, doors or orders": (*_ORDERS, *_WEIGHT, *_SWITCHES),
    "CAN alone, not even a position": (*_ORDERS, *_WEIGHT, *_SWITCHES, *_GNSS),
    "GNSS and geofences alone": (*_ORDERS, *_WEIGHT, *_SWITCHES, *_BUS),
    "orders and GNSS": (*_WEIGHT, *_SWITCHES, *_BUS),
}
_ONLY_WITH: Final = {"weight sensor, no orders": BIT_SCALES, "orders and GNSS": BIT_ORDER}  # vehicles that have it
_ASKED: Final = "all that is fitted"  # stages and causes are judged by this evidence
SAME_CAUSE: Final[Mapping[str, str]] = {  # the simulator's word -> the project's
    "no_backload": "return",
    "one_way_flow": "return",
    "return_to_base": "return",
    "cancelled_order": "return",
    "reposition": "reposition",
    "to_fuel": "to_fuel",
    "to_charger": "to_charger",
    "to_service": "service",
    "waiting": "waiting",
    "from_detour": "return",  # to where the last load came from, mostly
}
NOT_EMPTY: Final = "(goods aboard)"
NO_TRIP: Final = "(between trips)"
_EMPTY: Final = tuple(LOAD_STATES.index(s) for s in ("empty", "empty_with_load_units"))
_UNKNOWN: Final = LOAD_STATES.index("unknown")
LIGHT: Final = (1e-6, 0.06, 0.12, 0.25)  # of capacity: where LOADS part
LOADS: Final = ("no goods", "below 6 % of capacity", "6 to 12 %", "12 to 25 %", "above 25 %")
_DAY_NS: Final = 86_400_000_000_000
DAY_MIN_KM: Final = 1.0
SLACK: Final = 0.005  # of a day's kilometres: what a vehicle rolls before its trip begins and after it ends
Values = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Emptiness:
    """Empty running by kilometre; shares of 1, NaN = nothing was reported as that.

    ``days_inside``: share of vehicle-days whose true empty share lies between the reported bounds.
    """

    evidence: str
    vehicles: int
    km: float
    precision: float
    recall: float
    unknown_share: float
    true_share: float
    reported_low: float
    reported_high: float
    days_inside: float


@dataclass(frozen=True, slots=True)
class Judged:
    """Kilometres that truly were one thing, in the simulator's words, and what was told of them, in the project's.

    ``what``: "stage" or "cause of an empty leg".
    """

    what: str
    true: str
    told: str
    km: float


@dataclass(frozen=True, slots=True)
class Missed:
    """Kilometres of a class whose load was not known, or told wrong, by what they truly carried (``load``, of LOADS)."""

    evidence: str
    vehicle_class: str
    load: str
    unknown_km: float
    wrong_km: float
    all_km: float


def _share(part: float, of: float) -> float:
    return part / of if of else float("nan")


def _judge(evidence: str, device: Values, day: Values, km: Values, told: Values, true: Values) -> Emptiness:
    """``told``, ``true``: load state of each row, as indices of LOAD_STATES."""
    says, is_so, unknown = np.isin(told, _EMPTY), np.isin(true, _EMPTY), told == _UNKNOWN
    total, both = float(km.sum()), float(km[says & is_so].sum())
    _, at = np.unique(np.stack([device.astype(np.int64), day]), axis=1, return_inverse=True)
    at = at.ravel()
    sums = [np.bincount(at, km * mask) for mask in (np.ones(km.size), says, says | unknown, is_so)]
    real = sums[0] >= DAY_MIN_KM
    low, high, truth = (s[real] / sums[0][real] for s in sums[1:])
    inside = (low - SLACK <= truth) & (truth <= high + SLACK)
    return Emptiness(
        evidence,
        int(np.unique(device).size),
        total,
        _share(both, float(km[says].sum())),
        _share(both, float(km[is_so].sum())),
        _share(float(km[unknown].sum()), total),
        _share(float(km[is_so].sum()), total),
        _share(float(km[says].sum()), total),
        _share(float(km[says | unknown].sum()), total),
        float(inside.mean()) if inside.size else float("nan"),
    )


def emptiness(
    world: World, fleet: Fleet, hours: float, progress: Callable[[float], None] = lambda _: None, only: str = ""
) -> tuple[list[Emptiness], list[Judged], list[Missed]]:
    """Run the world once and the step once for each kind of evidence whose name begins with ``only``."""
    chosen = {e: hidden for e, hidden in HIDDEN.items() if e.startswith(only)}
    if not chosen:
        msg = f"evidence is {only!r}, wanted the beginning of one of {', '.join(HIDDEN)}"
        raise ValueError(msg)
    states = {e: start(fleet) for e in chosen}
    rows: dict[str, list[Values]] = {e: [] for e in chosen}
    trips: dict[str, list[Values]] = {e: [] for e in chosen}
    capacity_kg = fleet.params["capacity_kg"]
    seconds = int(hours * 3600)
    begin_s = world.now_s
    for chunk in world.chunks(seconds, chunk_s=min(1800, seconds)):
        nothing = np.full(chunk.n, np.nan)
        truth = chunk.truth
        load = np.searchsorted(LIGHT, truth["payload_kg"] / capacity_kg[truth["device"]])
        for evidence, hidden in chosen.items():
            seen = {name: nothing if name in hidden else values for name, values in chunk.readings.items()}
            states[evidence], r = step(states[evidence], seen)
            e = r.emissions
            rows[evidence].append(
                np.stack(
                    [
                        e["device"].astype(np.int64),
                        e["trip_start_ns"],
                        truth["time_ns"] // _DAY_NS,
                        np.rint(truth["distance_m"] * 1000).astype(np.int64),
                        truth["load_state"].astype(np.int64),
                        truth["stage"].astype(np.int64),
                        truth["empty_cause"].astype(np.int64),
                        load,
                    ]
                )
            )
            t = r.trips
            names = ("device", "trip_start_ns", "version", "load_state", "evidence", "stage", "empty_cause")
            trips[evidence].append(np.stack([t[name].astype(np.int64) for name in names]))
        progress((world.now_s - begin_s) / seconds)
    told = {e: (np.concatenate(rows[e], 1), np.concatenate(trips[e], 1)) for e in chosen}
    judged = _judged(*told[_ASKED]) if _ASKED in told else []
    missed = [m for e in chosen for m in _missed(e, fleet, *told[e])]
    return [_told(e, *told[e]) for e in chosen], judged, missed


def _final(rows: Values, trips: Values) -> tuple[Values, Values]:
    """Newest version of each trip, and which of them each row belongs to."""
    trips = trips[:, np.lexsort((trips[2], trips[1], trips[0]))]
    last = np.append((np.diff(trips[0]) != 0) | (np.diff(trips[1]) != 0), True)
    trips = trips[:, last]
    column = {(int(d), int(s)): i for i, (d, s) in enumerate(trips[:2].T)}
    names, at = np.unique(rows[:2], axis=1, return_inverse=True)
    return trips, np.array([column[int(d), int(s)] for d, s in names.T])[at.ravel()]


def _told(evidence: str, rows: Values, trips: Values) -> Emptiness:
    """Give each row the load state of its trip's newest version."""
    device, _, day, mm, true = rows[:5]
    trips, at = _final(rows, trips)
    chosen = np.ones(device.size, np.bool_)
    if evidence in _ONLY_WITH:
        has = np.unique(trips[0][trips[4] & _ONLY_WITH[evidence] != 0])
        chosen = np.isin(device, has)
    return _judge(evidence, device[chosen], day[chosen], mm[chosen] / 1e6, trips[3][at][chosen], true[chosen])


def _missed(evidence: str, fleet: Fleet, rows: Values, trips: Values) -> list[Missed]:
    """Where the load was unknown or wrong, by class and true load."""
    device, _, _, mm, true, _, _, load = rows
    trips, at = _final(rows, trips)
    told = trips[3][at]
    wrong = (told != _UNKNOWN) & (np.isin(told, _EMPTY) != np.isin(true, _EMPTY))
    names = {fleet.device_index[v.device]: v.vehicle_class for v in fleet.vehicles}
    classes = sorted(set(names.values()))
    of = np.array([classes.index(names[d]) if d in names else -1 for d in range(len(fleet.devices))])[device]
    found = []
    for i, name in enumerate(classes):
        for j, said in enumerate(LOADS):
            here = (of == i) & (load == j)
            if here.any():
                km = [float(mm[here & mask].sum()) / 1e6 for mask in (told == _UNKNOWN, wrong, here)]
                found.append(Missed(evidence, name, said, *km))
    return found


def _judged(rows: Values, trips: Values) -> list[Judged]:
    """Stages of all kilometres, and causes of those that were empty or were told so."""
    _, _, _, mm, load, stage, cause, _ = rows
    trips, at = _final(rows, trips)
    told_empty = np.isin(trips[3][at], _EMPTY)
    unknown = trips[3][at] == _UNKNOWN
    true_cause = np.where(np.isin(load, _EMPTY), cause, -1)
    told_cause = np.where(told_empty, trips[6][at], np.where(unknown, -2, -1))
    either = (true_cause != -1) | told_empty
    found = []
    for what, true, told, chosen in (
        ("stage", stage, trips[5][at], np.ones(mm.size, np.bool_)),
        ("cause of an empty leg", true_cause, told_cause, either),
    ):
        pairs, of = np.unique(np.stack([true[chosen], told[chosen]]), axis=1, return_inverse=True)
        km = np.bincount(of.ravel(), mm[chosen] / 1e6)
        for (a, b), driven in zip(pairs.T.tolist(), km.tolist(), strict=True):
            if what == "stage":
                found.append(Judged(what, STAGES[a] or NO_TRIP, TRIP_STAGES[b], driven))
            else:
                words = {-1: NOT_EMPTY, -2: "(load unknown)"}
                found.append(Judged(what, words.get(a) or CAUSES[a] or "none", words.get(b) or EMPTY_CAUSES[b], driven))
    return found
