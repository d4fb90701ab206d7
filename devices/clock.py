"""What the device's clock rests on. Time itself is always passed in, as ``now_ns`` or a monotonic ``now`` in seconds.

Readings keep the time their source gave them; nothing here stamps a reading again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from devices.wire import ClockSource

NowNs = Callable[[], int]
"""UTC now, ns since 1970."""


def wall_ns() -> int:
    """UTC now by the system's clock, ns since 1970."""
    return time.time_ns()


@dataclass(frozen=True, slots=True)
class ClockState:
    """What every batch says of the clock: its source, and a bound on its error in ms, -1 = not known."""

    source: ClockSource = "none"
    error_ms: int = -1
