"""Counters that only rise, judged where they are read: what cannot be is refused before it leaves the gateway. Pure."""

from math import inf, isfinite
from typing import Final, Literal

from devices.outbox import CUMULATIVE
from devices.signals import BY_NAME

COUNTERS: Final = frozenset(name for name in CUMULATIVE if BY_NAME[name].low >= 0)  # a battery's energy may fall
AGREE: Final = 3  # readings that must fit each other before a counter that fell or jumped is taken up anew
TICK: Final = 1.0  # the coarsest meters step by 1 kWh, 1 L, 1 pallet

Judgement = Literal["good", "anew", "not_finite", "below_zero", "above_top", "fell", "jumped"]
GOOD: Final = ("good", "anew")


class CounterGuard:
    """Judges the readings of one counter.

    ``per_h`` : the most it can rise in an hour. ``top`` : above it no reading is believed. A value below 0 or above ``top``
    is never taken. A fall, or a rise faster than ``per_h``, is refused until ``AGREE`` readings in a row fit each other;
    then the counter goes on from there ("anew"), as after the exchange of a meter. The jump is in no case a consumption:
    the server books none that is faster than possible.
    """

    __slots__ = ("_last", "_per_s", "_suspect", "_top")

    def __init__(self, *, per_h: float, top: float = inf) -> None:
        self._per_s = per_h / 3600.0
        self._top = top
        self._last: tuple[float, float] | None = None
        self._suspect: tuple[float, float, int] | None = None

    def judge(self, value: float, at_s: float) -> Judgement:
        """Whether ``value``, read at ``at_s`` [s, any origin], is a reading of this counter."""
        if not isfinite(value):
            return "not_finite"
        if value < 0.0:
            return "below_zero"
        if value > self._top:
            return "above_top"
        if self._last is None or self._fits(value, at_s, *self._last):
            return self._take(value, at_s, "good")
        reason: Judgement = "fell" if value < self._last[0] else "jumped"
        agreeing = 1
        if self._suspect is not None and self._fits(value, at_s, *self._suspect[:2]):
            agreeing += self._suspect[2]
        if agreeing >= AGREE:
            return self._take(value, at_s, "anew")
        self._suspect = (value, at_s, agreeing)
        return reason

    def forget(self) -> None:
        """The meter is known to be another one: whatever it says next is where it begins."""
        self._last = self._suspect = None

    def _fits(self, value: float, at_s: float, before: float, before_s: float) -> bool:
        if self._per_s == inf:  # times 0 s it would be NaN
            return value >= before
        return 0.0 <= value - before <= self._per_s * max(0.0, at_s - before_s) + TICK

    def _take(self, value: float, at_s: float, judgement: Judgement) -> Judgement:
        self._last = (value, at_s)
        self._suspect = None
        return judgement
