"""How long the gateway waits for a confirmation before it sends again: round trips as in RFC 6298, and Karn's rule."""

from typing import Final

STALL_LEAST_S: Final = 5.0  # the server confirms once a second; less would repeat what is only on its way
STALL_MOST_S: Final = 60.0  # a server that is away is asked this often


class Patience:
    """Waiting time between STALL_LEAST_S and STALL_MOST_S, learned from round trips, doubled by each stall."""

    __slots__ = ("_spread_s", "_stalls", "_trip_s")

    def __init__(self) -> None:
        self._trip_s: float | None = None
        self._spread_s = 0.0
        self._stalls = 0

    @property
    def stalls(self) -> int:
        """Stalls since the last round trip that could be measured."""
        return self._stalls

    def wait_s(self) -> float:
        """How long to wait for progress."""
        trip_s = STALL_LEAST_S if self._trip_s is None else max(STALL_LEAST_S, self._trip_s + 4 * self._spread_s)
        return min(STALL_MOST_S, trip_s * 2.0 ** min(self._stalls, 16))

    def on_stall(self) -> None:
        """Nothing came in time. The longer wait stays until a round trip is measured (Karn)."""
        self._stalls += 1

    def on_round_trip(self, trip_s: float) -> None:
        """Something sent once only was confirmed after ``trip_s``. Smoothing: RFC 6298, section 2."""
        self._stalls = 0
        if self._trip_s is None:
            self._trip_s, self._spread_s = trip_s, trip_s / 2
        else:
            self._spread_s += (abs(self._trip_s - trip_s) - self._spread_s) / 4
            self._trip_s += (trip_s - self._trip_s) / 8

    def restart(self) -> None:
        """A new link: what is known of round trips stays, stalls are forgotten."""
        self._stalls = 0
