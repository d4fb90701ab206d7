"""Empty running against the simulated truth, by what the vehicles let us see: kilometres told empty against kilometres empty.

The final word on each trip counts (its newest version), as in the view ``minutes``: what is learnt late is back-dated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simulators.fleet import World
from stream.columns import LOAD_STATES
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
_EMPTY: Final = tuple(LOAD_STATES.index(s) for s in ("empty", "empty_with_load_units"))
_UNKNOWN: Final = LOAD_STATES.index("unknown")
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
    world: World, fleet: Fleet, hours: float, progress: Callable[[float], None] = lambda _: None
) -> list[Emptiness]:
    """Run the world once and the step once for each kind of evidence."""
    states = {e: start(fleet) for e in HIDDEN}
    rows: dict[str, list[Values]] = {e: [] for e in HIDDEN}
    trips: dict[str, list[Values]] = {e: [] for e in HIDDEN}
    seconds = int(hours * 3600)
    begin_s = world.now_s
    for chunk in world.chunks(seconds, chunk_s=min(1800, seconds)):
        nothing = np.full(chunk.n, np.nan)
        truth = chunk.truth
        for evidence, hidden in HIDDEN.items():
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
                    ]
                )
            )
            t = r.trips
            names = ("device", "trip_start_ns", "version", "load_state", "evidence")
            trips[evidence].append(np.stack([t[name].astype(np.int64) for name in names]))
        progress((world.now_s - begin_s) / seconds)
    return [
        _told(evidence, np.concatenate(rows[evidence], 1), np.concatenate(trips[evidence], 1)) for evidence in HIDDEN
    ]


def _told(evidence: str, rows: Values, trips: Values) -> Emptiness:
    """Give each row the load state of its trip's newest version."""
    device, trip_start, day, mm, true = rows
    order = np.lexsort((trips[2], trips[1], trips[0]))
    trips = trips[:, order]
    last = np.append((np.diff(trips[0]) != 0) | (np.diff(trips[1]) != 0), True)
    final = {(int(d), int(s)): int(load) for d, s, _, load, _ in trips[:, last].T}
    names, at = np.unique(np.stack([device, trip_start]), axis=1, return_inverse=True)
    told = np.array([final[int(d), int(s)] for d, s in names.T])[at.ravel()]
    chosen = np.ones(device.size, np.bool_)
    if evidence in _ONLY_WITH:
        has = np.unique(trips[0][trips[4] & _ONLY_WITH[evidence] != 0])
        chosen = np.isin(device, has)
    return _judge(evidence, device[chosen], day[chosen], mm[chosen] / 1e6, told[chosen], true[chosen])
