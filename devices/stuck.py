"""Sensors that stand still although others say they must move. Pure: seen once a reading, flagged, never repaired.

A value that does not change collects evidence: metres driven for an odometer, litres burnt for a fuel counter. When the
evidence since its last change exceeds a limit, it counts as stuck, once until it moves again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAX_STEP_S: Final = 10.0  # a gap between readings longer than this gives no evidence
DRIVEN_M: Final = 1000.0  # eight steps of the coarsest odometer (SPN 245, 125 m)
BURNT_HR_L: Final = 0.1  # a hundred steps of SPN 5054
BURNT_L: Final = 2.0  # four steps of SPN 250
CHANGED_KMH: Final = 100.0  # speed gone up and down while the value stood still
SPEED_STEP_KMH: Final = 1.0  # smaller changes of speed are noise, not evidence
RULES: Final = {  # signal: evidence against it, and how much is enough
    "odometer_m": ("driven_m", DRIVEN_M),
    "fuel_total_hr_l": ("burnt_l", BURNT_HR_L),
    "fuel_total_l": ("burnt_l", BURNT_L),
    "engine_speed_rpm": ("changed_kmh", CHANGED_KMH),
    "fuel_rate_lph": ("changed_kmh", CHANGED_KMH),
    "speed_kmh": ("disagreed_m", DRIVEN_M),
    "lat_deg": ("driven_by_gps_m", DRIVEN_M),
}
_MAY_REST_AT_ZERO: Final = frozenset(("engine_speed_rpm", "fuel_rate_lph"))  # coasting, or driving on a battery


@dataclass(slots=True)
class _Watch:
    value: float
    evidence: float = 0.0
    flagged: bool = False


class StuckWatch:
    """Watches the readings of one device; tell it each one once."""

    __slots__ = ("_at_s", "_last", "_watches")

    def __init__(self) -> None:
        self._at_s = 0.0
        self._last: Mapping[str, float] = {}
        self._watches: dict[str, _Watch] = {}

    def on_reading(self, values: Mapping[str, float], at_s: float) -> list[str]:
        """Signals that have just become stuck. ``at_s`` [s] is a steady clock."""
        dt_s, self._at_s = at_s - self._at_s, at_s
        evidence = _evidence(self._last, values, dt_s) if self._last and 0 < dt_s <= MAX_STEP_S else {}
        self._last = dict(values)
        return [
            signal for signal, (kind, limit) in RULES.items() if self._is_new(signal, kind, limit, values, evidence)
        ]

    def _is_new(
        self, signal: str, kind: str, limit: float, values: Mapping[str, float], evidence: Mapping[str, float]
    ) -> bool:
        value = values.get(signal)
        if value is None:
            return False
        watch = self._watches.get(signal)
        if watch is None or watch.value != value or (value == 0 and signal in _MAY_REST_AT_ZERO):
            self._watches[signal] = _Watch(value)
            return False
        watch.evidence += evidence.get(kind, 0.0)
        if watch.flagged or abs(watch.evidence) <= limit:
            return False
        watch.flagged = True
        return True


def _evidence(old: Mapping[str, float], new: Mapping[str, float], dt_s: float) -> dict[str, float]:
    """What happened between two readings, so far as both say it."""
    found: dict[str, float] = {}
    if "speed_kmh" in old and "speed_kmh" in new:
        found["driven_m"] = (old["speed_kmh"] + new["speed_kmh"]) / 7.2 * dt_s
        change_kmh = abs(new["speed_kmh"] - old["speed_kmh"])
        found["changed_kmh"] = change_kmh if change_kmh >= SPEED_STEP_KMH else 0.0
    if "fuel_rate_lph" in old and "fuel_rate_lph" in new:
        found["burnt_l"] = (old["fuel_rate_lph"] + new["fuel_rate_lph"]) / 7200.0 * dt_s
    if "gps_speed_kmh" in old and "gps_speed_kmh" in new:
        found["driven_by_gps_m"] = (old["gps_speed_kmh"] + new["gps_speed_kmh"]) / 7.2 * dt_s
    if "driven_m" in found and "odometer_m" in old and "odometer_m" in new:
        found["disagreed_m"] = new["odometer_m"] - old["odometer_m"] - found["driven_m"]
    return found
