"""Counting S0 pulses (EN 62053-31: closed for 30 ms or more, open for 30 ms or more)."""

from .clock import ticks_since


class Pulses:
    """One input. An edge is believed when the level has stayed for ``debounce_ms``; each closing that is believed counts.

    ``on_edge`` may run in an interrupt: it makes no objects. ``count`` is that of this start.
    """

    def __init__(self, debounce_ms: int) -> None:
        self._debounce_ms = debounce_ms
        self._closed = False  # as believed
        self._raw = False  # as last seen
        self._since = 0  # ticks of the last edge
        self._known = False
        self.count = 0
        self.glitches = 0

    def begin(self, closed: bool, ticks: int) -> None:
        """Take the level at the start: an input that is closed then has not just made a pulse."""
        self._closed = self._raw = closed
        self._since = ticks
        self._known = True

    def on_edge(self, closed: bool, ticks: int) -> None:
        """The level is now ``closed``."""
        if not self._known:
            self.begin(closed, ticks)
            return
        self.settle(ticks)
        if closed != self._raw and self._raw != self._closed and self._raw:
            self.glitches += 1  # it had closed, but not for long enough
        self._raw = closed
        self._since = ticks

    def settle(self, ticks: int) -> None:
        """Believe the level if it has stayed. Call at least once a day."""
        if self._raw != self._closed and ticks_since(ticks, self._since) >= self._debounce_ms:
            self._closed = self._raw
            if self._closed:
                self.count += 1
