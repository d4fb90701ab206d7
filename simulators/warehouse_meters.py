"""What a meter says of a growing total: whole steps of its register, its class error, and how real meters misbehave.

Scalar functions as in ``simulators.warehouse_model``. Faults happen at random seconds of random days; they are a
function of (key, day), so ``events`` can list them without running anything.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from simulators.kernel import kernel
from simulators.rng import derive, gauss, uniform

Vector = Any
EventKind = Literal["reset", "swap", "stall"]

(
    M_STEPS,  # register steps per unit: 10 for 0.1 kWh
    M_START,  # register at the beginning, units
    M_CLASS,  # half-width of the 95 % band of the gain error, relative
    M_RESETS,  # a day
    M_SWAPS,
    M_STALLS,
    M_LOSS,  # share of single values that are not read
    N_M,
) = range(8)
(
    R_REGISTER,  # what the meter has counted, finer than its steps
    R_TOTAL,  # the true total at the last look
    R_SHOWN,  # what it said last
    R_GAIN,
    R_STALL_S,  # seconds of silence left; the register counts on
    R_TIME,  # of the last look; below 0 = never
    N_R,
) = range(7)
KINDS: Final[tuple[EventKind, ...]] = ("reset", "swap", "stall")
DAY_S: Final = 86_400
_SLACK: Final = 1e-9  # of a step: sums of many small parts must not fall short of a whole step
_DRAWS: Final = 16  # counters per day


class MeterFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How often meters misbehave: per meter and year, shares lost, and the 95 % band of the gain. Default never."""

    resets_per_year: float = 0.0
    swaps_per_year: float = 0.0
    stalls_per_year: float = 0.0
    value_loss: float = 0.0
    reading_loss: float = 0.0
    class_error: float = 0.0


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """One fault of one meter. A stall lasts ``duration_s``; a reset or swap puts the register to ``register`` units."""

    time_s: int
    signal: str
    kind: EventKind
    duration_s: int
    register: float


def check_faults(faults: MeterFaults, where: str) -> None:
    """ValueError, naming ``where`` and the key, for a share outside 0 to 1 or not 0 to 365 events a year."""
    for name in faults.__struct_fields__:
        value = getattr(faults, name)
        high = 365.0 if name.endswith("_per_year") else 1.0
        if not 0 <= value <= high:
            raise ValueError(f"{where}: meter_faults.{name} is {value}; it must be 0 to {high:g}")


@kernel
def event_s(m: Vector, key: int, kind: int, day: int) -> int:
    """Second of a fault of ``kind`` (index of KINDS) on ``day`` since 1970, or -1."""
    if uniform(key, _DRAWS * day + 4 * kind) >= m[M_RESETS + kind]:
        return -1
    return day * DAY_S + int(uniform(key, _DRAWS * day + 4 * kind + 1) * DAY_S)


@kernel
def stall_length_s(key: int, day: int) -> int:
    """How long a stall of ``day`` lasts: 10 min to 12 h."""
    u = uniform(key, _DRAWS * day + 10)
    return 600 + int(42_600 * u * u)


@kernel
def swap_register(key: int, day: int) -> float:
    """Register of the meter put in by a swap of ``day``: new, or from stock with up to 50 000 units on it."""
    u = uniform(key, _DRAWS * day + 6)
    return 0.0 if u < 0.5 else math.floor(100_000.0 * (u - 0.5))


@kernel
def read(m: Vector, r: Vector, key: int, t: int, total: float) -> float:
    """What the meter says at second ``t`` of its true ``total``; NaN = not read. ``t`` grows from call to call."""
    if r[R_TIME] < 0.0:
        r[R_REGISTER], r[R_TOTAL], r[R_TIME], r[R_STALL_S] = m[M_START], total, float(t), 0.0
        r[R_GAIN] = 1.0 + 0.5 * m[M_CLASS] * gauss(key, _DRAWS * (t // DAY_S) + 12)
        r[R_SHOWN] = math.floor(r[R_REGISTER] * m[M_STEPS] + _SLACK) / m[M_STEPS]
    before = int(r[R_TIME])
    grown = total - r[R_TOTAL]
    r[R_REGISTER] += grown * r[R_GAIN]
    r[R_STALL_S] = max(r[R_STALL_S] - (t - before), 0.0)
    for day in range(before // DAY_S, t // DAY_S + 1):
        for kind in range(3):
            at = event_s(m, key, kind, day)
            if before < at <= t:
                after = grown * (t - at) / (t - before)  # of the growth since the last look
                if kind == 2:
                    r[R_STALL_S] = max(r[R_STALL_S], float(at + stall_length_s(key, day) - t))
                else:
                    if kind == 1:
                        r[R_GAIN] = 1.0 + 0.5 * m[M_CLASS] * gauss(key, _DRAWS * day + 12)
                    r[R_REGISTER] = (swap_register(key, day) if kind == 1 else 0.0) + after * r[R_GAIN]
    r[R_TOTAL], r[R_TIME] = total, float(t)
    if r[R_STALL_S] <= 0.0:
        r[R_SHOWN] = math.floor(r[R_REGISTER] * m[M_STEPS] + _SLACK) / m[M_STEPS]
    if uniform(derive(key, 1), t) < m[M_LOSS]:
        return math.nan
    return float(r[R_SHOWN])


def events(m: Vector, key: int, signal: str, since_s: int, until_s: int) -> Iterator[MeterEvent]:
    """Faults of one meter after ``since_s`` up to ``until_s``, day by day."""
    for day in range(since_s // DAY_S, until_s // DAY_S + 1):
        for kind, name in enumerate(KINDS):
            at = event_s(m, key, kind, day)
            if since_s < at <= until_s:
                length = stall_length_s(key, day) if name == "stall" else 0
                yield MeterEvent(at, signal, name, length, swap_register(key, day) if name == "swap" else 0.0)
