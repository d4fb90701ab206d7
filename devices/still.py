"""Signals that stand still although others say they must move: which ones, by name. Pure; the device's time drives it.

What must move is told by ``devices.stuck``, which weighs metres, litres and speed changes. A signal is named when that
speaks against it and it has not changed for ``after_s``, until it moves or is measured no more.
"""

from devices.stuck import StuckWatch
from devices.wire import Sample


class StillSignals:
    """The signals of one device; tell it each reading once. ``after_s`` [s], 0 = never name any."""

    __slots__ = ("_accused", "_after_ns", "_since", "_watch", "named")

    def __init__(self, after_s: float) -> None:
        self._after_ns = round(after_s * 1e9)
        self._watch = StuckWatch()
        self._since: dict[str, tuple[float, int]] = {}
        self._accused: set[str] = set()
        self.named: tuple[str, ...] = ()

    def on_reading(self, sample: Sample) -> list[str]:
        """Signals that are named from this reading on."""
        if not self._after_ns:
            return []
        now_ns, values = sample.time_ns, sample.values
        self._accused.update(self._watch.on_reading(values, now_ns / 1e9))
        for signal, value in values.items():
            since = self._since.get(signal)
            if since is None or since[0] != value:
                self._since[signal] = (value, now_ns)
                self._accused.discard(signal)
        self._accused.intersection_update(values)
        before = self.named
        self.named = tuple(sorted(s for s in self._accused if now_ns - self._since[s][1] >= self._after_ns))
        return [signal for signal in self.named if signal not in before]
