"""Values of the bus on one sample clock: each with its own age, held for a limited time, the most trusted first. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from devices.counters import Counters
from devices.j1939 import BY_NUMBER, GIVES, STEADY_S, Batch
from devices.wire import Sample

SETTLE_S: Final = 15.0  # FMS values are reliable some 10 s after ignition; so long a better counter is waited for
POSITIVE: Final = {"discharge": 1.0, "charge": -1.0}
SIGNALS: Final = frozenset((*GIVES, "battery_power_kw"))
_VOLTAGE, _CURRENT = 5919, 5920
_USED: Final = frozenset((_VOLTAGE, _CURRENT, *(spn for spns in GIVES.values() for spn in spns)))
_COUNTERS: Final = frozenset(name for name, spns in GIVES.items() if BY_NUMBER[spns[0]].counter)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration says. ``axles`` = locations that make up the whole vehicle, 0 = never add them up."""

    axles: int = 0
    battery_positive: Literal["", "discharge", "charge"] = ""
    hold_s: Mapping[str, float] = field(default_factory=dict)  # by signal, instead of the table's


class _Held(NamedTuple):
    value: float
    at_s: float


class Sampler:
    """Takes decoded batches, gives readings. Ages follow the steady clock, a reading's time is that of its newest value."""

    __slots__ = (
        "_axles",
        "_begun_s",
        "_chosen",
        "_counters",
        "_held",
        "_is_new",
        "_rules",
        "_time_ns",
    )

    def __init__(self, rules: Rules, counters: Counters) -> None:
        self._rules = rules
        self._counters = counters
        self._held: dict[int, _Held] = {}
        self._axles: dict[int, _Held] = {}
        self._chosen: dict[str, int] = {}  # the SPN that a counter is taken from, for good
        self._begun_s: float | None = None
        self._time_ns = 0
        self._is_new = False

    def take(self, batch: Batch, now_s: float, time_ns: int) -> None:
        """Values that arrived until ``now_s`` [s, steady clock], which is ``time_ns`` UTC."""
        arrived = False
        for held, values in ((self._held, batch.values), (self._axles, batch.axles)):
            for key, value in values.items():
                if value is None:
                    held.pop(key, None)
                else:
                    held[key] = _Held(value, now_s)
                    arrived = arrived or key in _USED or held is self._axles
        if arrived:
            self._is_new = True
            self._time_ns = time_ns
            self._begun_s = now_s if self._begun_s is None else self._begun_s

    def sample(self, now_s: float) -> Sample | None:
        """The reading of now, or None if nothing arrived since the last one."""
        if not self._is_new:
            return None
        self._is_new = False
        values: dict[str, float] = {}
        for signal, spns in GIVES.items():
            value = self._counter(signal, spns, now_s) if signal in _COUNTERS else self._first(signal, spns, now_s)
            if value is not None:
                values[signal] = value
        if "gross_weight_kg" not in values and self._axles:
            self._add_axles(values, now_s)
        self._add_battery(values, now_s)
        if not values:
            return None
        return Sample(self._time_ns, values)

    def _fresh(self, signal: str, spn: int, now_s: float) -> float | None:
        held = self._held.get(spn)
        if held is None or now_s - held.at_s > self._rules.hold_s.get(signal, BY_NUMBER[spn].hold_s):
            return None
        return held.value

    def _first(self, signal: str, spns: tuple[int, ...], now_s: float) -> float | None:
        for spn in spns:
            if (value := self._fresh(signal, spn, now_s)) is not None:
                return value
        return None

    def _counter(self, signal: str, spns: tuple[int, ...], now_s: float) -> float | None:
        """Always from one SPN: two counters of the same thing differ, and a change between them looks like consumption."""
        chosen = self._chosen.get(signal)
        if chosen is None:
            settled = self._begun_s is not None and now_s - self._begun_s >= SETTLE_S
            for spn in spns if settled else spns[:1]:
                if self._fresh(signal, spn, now_s) is not None:
                    chosen = self._chosen[signal] = spn
                    break
            else:
                return None
        return self._fresh(signal, chosen, now_s)

    def _add_axles(self, values: dict[str, float], now_s: float) -> None:
        hold_s = self._rules.hold_s.get("gross_weight_kg", STEADY_S)
        fresh = [held.value for held in self._axles.values() if now_s - held.at_s <= hold_s]
        if self._rules.axles and len(fresh) == self._rules.axles:
            values["gross_weight_kg"] = sum(fresh)
        elif fresh:
            self._counters.add("can_value_withheld", label="gross_weight_kg")

    def _add_battery(self, values: dict[str, float], now_s: float) -> None:
        volts, amps = (self._fresh("battery_power_kw", spn, now_s) for spn in (_VOLTAGE, _CURRENT))
        if volts is None or amps is None:
            return
        if self._rules.battery_positive:
            values["battery_power_kw"] = volts * amps / 1000.0 * POSITIVE[self._rules.battery_positive]
        else:
            self._counters.add("can_value_withheld", label="battery_power_kw")
