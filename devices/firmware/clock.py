"""Time without a real-time clock: ms since the start, from a tick counter that wraps."""

TICKS_PERIOD = 1 << 30  # of MicroPython's ticks_ms: 12.4 days


def ticks_since(now: int, then: int) -> int:
    """ms from ``then`` to ``now``, both ticks; right for less than one period."""
    return (now - then) & (TICKS_PERIOD - 1)


class Clock:
    """ms since the first look at it; it must be looked at once in a period."""

    def __init__(self) -> None:
        self._last = -1
        self._ms = 0

    def now(self, ticks: int) -> int:
        """ms since the start; never wraps."""
        if self._last >= 0:
            self._ms += ticks_since(ticks, self._last)
        self._last = ticks
        return self._ms
