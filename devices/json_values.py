"""Numbers out of the JSON of devices and warehouse systems: where each stands, its unit, and what is refused. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import inf, isfinite
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from devices.config import ConfigError
from devices.counter_guard import COUNTERS, GOOD, CounterGuard
from devices.counters import Counters
from devices.signals import BY_NAME
from devices.source_csv import parse_time

MAX_BYTES: Final = 1 << 20  # a WMS that answers with all its stock is asked for less


class ValueOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One number and the signal it feeds: ``value = number * factor + offset``."""

    signal: Annotated[str, Meta(description="name of a signal, see: python -m devices signals")]
    key: Annotated[str, Meta(description='where it stands: "stock.pallets", or "meters.0.kwh"; blank = all of it')] = ""
    factor: Annotated[float, Meta(description="to the unit of the signal: 0.001 from Wh to kWh")] = 1
    offset: Annotated[float, Meta(description="added after that")] = 0
    max_per_h: Annotated[float, Meta(gt=0, description="counters: the most they can rise in an hour")] = inf


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON document that was read, or a plain text, in which each number is looked for."""

    tree: Any


def read(payload: bytes) -> Document | None:
    """The document; None if it is neither JSON nor a plain number, or too long. Never raises."""
    if len(payload) > MAX_BYTES:
        return None
    try:
        return Document(msgspec.json.decode(payload))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return None


def number_at(document: Document, key: str) -> float | None:
    """The finite number at a dotted path, whose parts are names or places in a list. None where there is none.

    Text is no number, nor are true, false and null: a device that says so measured nothing.
    """
    found = at(document, key)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    try:
        number = float(found)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def at(document: Document, key: str) -> Any:
    """What stands at a dotted path, None where nothing does."""
    here = document.tree
    for part in key.split(".") if key else ():
        if isinstance(here, dict):
            here = here.get(part)
        elif isinstance(here, list):
            here = here[int(part)] if part.isascii() and part.isdigit() and int(part) < len(here) else None
        else:
            return None
    return here


def time_at(document: Document, key: str, *, per_s: int = 1) -> int | None:
    """ns since 1970 at a dotted path: ISO 8601 with a zone, or a number of 1 / ``per_s`` seconds. None if it is neither."""
    found = at(document, key)
    if isinstance(found, str):
        return parse_time(found)
    number = number_at(document, key)
    if number is None or not 0 <= number / per_s < 2**63 / 1e9:
        return None
    return int(found) * (10**9 // per_s) if isinstance(found, int) else int(number / per_s * 1e9)


class Reader:
    """Takes the wanted numbers out of documents, and counts what cannot be."""

    def __init__(self, wanted: Sequence[ValueOptions], counters: Counters) -> None:
        self._wanted = tuple(wanted)
        self._counters = counters
        self._guards = {
            w.signal: CounterGuard(per_h=w.max_per_h, top=BY_NAME[w.signal].high)
            for w in wanted
            if w.signal in COUNTERS
        }

    def values(self, document: Document, at_s: float) -> dict[str, float]:
        """By signal; what is absent or impossible is not in it. ``at_s`` [s] orders the readings of counters."""
        found: dict[str, float] = {}
        for wanted in self._wanted:
            number = number_at(document, wanted.key)
            if number is None:
                self._counters.add("message_value_unreadable", label=wanted.signal)
            elif (value := self.value(wanted, number, at_s)) is not None:
                found[wanted.signal] = value
        return found

    def value(self, wanted: ValueOptions, number: float, at_s: float) -> float | None:
        """A number in the unit of its signal; None, counted, where a counter cannot show it."""
        value = number * wanted.factor + wanted.offset
        guard = self._guards.get(wanted.signal)
        judgement = "good" if guard is None else guard.judge(value, at_s)
        if judgement == "anew":
            self._counters.add("meter_counter_anew", label=wanted.signal)
        if judgement in GOOD:
            return value
        self._counters.add("meter_value_refused", label=f"{wanted.signal}: {judgement}")
        return None


def check_signals(wanted: Sequence[ValueOptions], where: str, key: str) -> None:
    """ConfigError where a signal is not known, or fed twice."""
    seen: set[str] = set()
    for i, options in enumerate(wanted):
        at_key = f"{key}[{i}].signal"
        if options.signal not in BY_NAME:
            near = get_close_matches(options.signal, BY_NAME, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(where, at_key, f"{options.signal!r} is no signal{hint}")
        if options.signal in seen:
            raise ConfigError(where, at_key, f"{options.signal} is fed twice; leave one of the two out")
        seen.add(options.signal)
