"""What the device's clock rests on. UTC is the boottime clock, which nobody sets, plus an anchor that is learned.

While the anchor is not known, ``Timekeeper.now_ns`` gives time since boot, which reads as 1970; a sample with such a time is
*undated*. Once the anchor is known, ``dated`` moves it to UTC, once and before it is sent. Time of other origin is never
changed, and a reading is never stamped again. Steps of the system's clock do not move readings: the anchor stays
(holdover) until the same or a better source has held another time for ``ADOPT_S``.
"""

import ctypes
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Final, Literal

from devices.counters import Counters
from devices.wire import ClockSource, Sample

NowNs = Callable[[], int]
"""UTC now, ns since 1970."""

BUILD_NS: Final = 1_795_305_600_000_000_000  # 2026-11-22: no clock that is right shows less; raised with each release
ERA_END_NS: Final = 2_085_978_496_000_000_000  # 2036-02-07 06:28:16, where NTP's seconds begin again at 0
UNDATED_BELOW_NS: Final = 315_532_800_000_000_000  # ten years: above any uptime, below any date
ROLL_OVER_NS: Final = 1024 * 7 * 86_400 * 10**9  # GPS counts weeks with 10 bits
ROLL_NEAR_NS: Final = 2 * 86_400 * 10**9
STEP_NS: Final = 500_000_000  # chrony and timesyncd slew what is smaller, and both at most 0.1 s in a second
LOOK_NS: Final = 900_000_000  # the system is asked at most about once a second
ADOPT_S: Final = 30.0  # another time must be held so long before it is believed over the anchor
DRIFT: Final = 1e-4  # 100 ppm: crystal of a Raspberry Pi from -20 to 70 °C, with reserve
OFFER_STANDS_S: Final = 60.0  # a receiver that gave no time for so long is silent: holdover begins
NTP_FLOOR_MS: Final = 100  # the kernel's bound leaves out the asymmetry of a mobile link
ERROR_MOST_MS: Final = 2**31 - 1
EPOCHS_MAX: Final = 256  # changes of the clock among the readings kept; more are joined, the worse one counts

Refused = Literal["before_build", "after_2036", "week_rollover"]
_STA_UNSYNC, _TIME_ERROR = 0x40, 5


def wall_ns() -> int:
    """UTC now by the system's clock, ns since 1970."""
    return time.time_ns()


def boot_ns() -> int:
    """Time since boot, suspend included, ns. Steps of the clock do not touch it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class ClockState:
    """What every batch says of the clock: its source, and a bound on its error in ms, -1 = not known."""

    source: ClockSource = "none"
    error_ms: int = -1


class _Timex(ctypes.Structure):
    """The kernel's struct timex, as far as it is read here; the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def system_state(root: Path = Path("/")) -> ClockState:
    """What the kernel says of the system's clock: "ntp" with its bound when chrony (``rtcsync``), ntpd or timesyncd keeps it.

    "rtc" when it was set from a battery-backed clock at boot; "none" otherwise.
    """
    timex = _Timex()
    if _libc().adjtimex(ctypes.byref(timex)) not in (-1, _TIME_ERROR) and not timex.status & _STA_UNSYNC:
        return ClockState("ntp", NTP_FLOOR_MS + ceil(timex.maxerror / 1000))
    if (root / "run/systemd/timesync/synchronized").exists() and not timex.status & _STA_UNSYNC:
        return ClockState("ntp", -1)  # where a sandbox forbids adjtimex
    try:
        from_rtc = (root / "sys/class/rtc/rtc0/hctosys").read_text().strip() == "1"
    except OSError:
        from_rtc = False
    return ClockState("rtc") if from_rtc else ClockState()


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def refuse_time(time_ns: int, near_ns: int | None = None) -> Refused | None:
    """Why a time cannot be now; None if it can. ``near_ns`` : UTC by another clock, which shows a roll-over of weeks."""
    if near_ns is not None and _rolled(time_ns - near_ns):
        return "week_rollover"
    if time_ns < BUILD_NS:
        return "before_build"
    return "after_2036" if time_ns >= ERA_END_NS else None


def is_dated(time_ns: int) -> bool:
    """Whether a sample's time is a date, and not time since boot."""
    return time_ns >= UNDATED_BELOW_NS or time_ns <= 0


def _rolled(difference_ns: int) -> bool:
    weeks = round(difference_ns / ROLL_OVER_NS)
    return weeks != 0 and abs(difference_ns - weeks * ROLL_OVER_NS) <= ROLL_NEAR_NS


@dataclass(slots=True)
class _Rival:
    """A time that contradicts the anchor, and since when the system holds it."""

    anchor_ns: int
    since_ns: int


class Timekeeper:
    """UTC of one device. All clocks are passed in: ``wall`` and ``boot`` in ns, ``system`` says what ``wall`` rests on."""

    def __init__(
        self,
        counters: Counters,
        *,
        wall: NowNs = wall_ns,
        boot: NowNs = boot_ns,
        system: Callable[[], ClockState] = system_state,
    ) -> None:
        self._counters = counters
        self._wall, self._boot, self._system = wall, boot, system
        self._looked_ns = -LOOK_NS
        self._anchor_ns: int | None = None
        self._source: ClockSource = "none"
        self._error_ms = -1
        self._sure_ns = 0  # boottime when the error was last told
        self._rivals: dict[str, _Rival] = {}  # by who says so: system or receiver
        self._refused: str = ""

    @property
    def known(self) -> bool:
        """Whether samples can be dated."""
        return self._anchor_ns is not None

    def now_ns(self) -> int:
        """UTC, or time since boot while it is not known."""
        self.look()
        return self._boot() + (self._anchor_ns or 0)

    def dated(self, sample: Sample) -> Sample:
        """The sample with UTC, if it is undated and the anchor is known; else as it is."""
        if self._anchor_ns is None or is_dated(sample.time_ns):
            return sample
        return Sample(sample.time_ns + self._anchor_ns, sample.values, sample.merged)

    def state(self, of_ns: int | None = None) -> ClockState:
        """What the clock rests on, for a reading of ``of_ns`` UTC; without it for one of now.

        The bound grows by ``DRIFT`` with the time between the reading and when the source told it. A date from before the
        start of the device is not of this clock, and counts as of now.
        """
        if self._error_ms < 0 or self._anchor_ns is None:
            return ClockState(self._source, -1)
        now_ns = self._boot()
        at_ns = now_ns if of_ns is None else of_ns - self._anchor_ns
        grown_ms = abs((at_ns if 0 <= at_ns <= now_ns else now_ns) - self._sure_ns) * DRIFT / 1e6
        return ClockState(self._source, min(ERROR_MOST_MS, self._error_ms + ceil(grown_ms)))

    def offer(self, time_ns: int, error_ms: int, age_ns: int = 0) -> bool:
        """A receiver said ``age_ns`` ago that it was ``time_ns``, within ``error_ms``. Whether that is believed.

        It sets the clock unless the network does. A date that cannot be is refused and counted; one that contradicts the
        network's by more than both bounds and ``STEP_NS``, always; one that contradicts only what was held over or told by
        a receiver before, until it has been told for ``ADOPT_S``.
        """
        boot = self._boot()
        self.look()
        anchor_ns = time_ns + age_ns - boot
        reason: str | None = refuse_time(time_ns, None if self._anchor_ns is None else boot - age_ns + self._anchor_ns)
        if reason is None and self._source not in ("none", "rtc"):
            allowed_ns = STEP_NS + (error_ms + max(0, self.state().error_ms)) * 1_000_000
            if self._contradicted("receiver", anchor_ns, boot, allowed_ns) and not (
                self._source != "ntp" and self._has_held("receiver", boot)
            ):
                reason = "differs"
        if reason is not None:
            self._counters.add("clock_refused", label=f"receiver {reason}")
            return False
        if self._source != "ntp":
            self._adopt("gps", anchor_ns, error_ms, boot)
        return True

    def look(self) -> None:
        """Ask the system; called often, it does so about once a second."""
        boot = self._boot()
        if boot - self._looked_ns < LOOK_NS:
            return
        self._looked_ns = boot
        wall, system = self._wall(), self._system()
        if (reason := refuse_time(wall)) is not None:
            if reason != self._refused:
                self._counters.add("clock_refused", label=f"system {reason}")
            self._refused = reason
            self._hold_over(boot)
            return
        self._refused = ""
        if self._source == "gps" and system.source != "ntp":
            if boot - self._sure_ns > OFFER_STANDS_S * 1e9:
                self._hold_over(boot)
            return
        self._follow(wall - boot, system, boot)

    def _follow(self, anchor_ns: int, system: ClockState, boot: int) -> None:
        stepped = self._contradicted("system", anchor_ns, boot, STEP_NS)
        better = self._anchor_ns is None or (system.source == "ntp" and self._source == "rtc")
        if system.source != "none" and (better or not stepped or self._has_held("system", boot)):
            self._adopt(system.source, anchor_ns, system.error_ms, boot)
        else:
            self._hold_over(boot)

    def _contradicted(self, who: str, anchor_ns: int, boot: int, allowed_ns: int) -> bool:
        """Whether a clock has left the anchor: it stepped. Each new time counts once."""
        if self._anchor_ns is None or abs(anchor_ns - self._anchor_ns) <= allowed_ns:
            self._rivals.pop(who, None)
            return False
        rival = self._rivals.get(who)
        if rival is None or abs(anchor_ns - rival.anchor_ns) > allowed_ns:
            self._counters.add("clock_stepped", label=f"{who} {'forward' if anchor_ns > self._anchor_ns else 'back'}")
            self._rivals[who] = _Rival(anchor_ns, boot)
        return True

    def _has_held(self, who: str, boot: int) -> bool:
        rival = self._rivals.get(who)
        return rival is not None and boot - rival.since_ns >= ADOPT_S * 1e9

    def _hold_over(self, boot: int) -> None:
        if self._anchor_ns is None or self._source == "holdover":
            return
        self._error_ms = self.state().error_ms
        self._sure_ns = boot
        self._source = "holdover"

    def _adopt(self, source: ClockSource, anchor_ns: int, error_ms: int, boot: int) -> None:
        self._anchor_ns, self._source, self._error_ms = anchor_ns, source, error_ms
        self._sure_ns = boot
        self._rivals.clear()


class ClockLog:
    """Which clock the readings from a seq on were taken with."""

    __slots__ = ("_seqs", "_states")

    def __init__(self, state: ClockState) -> None:
        self._seqs = [0]
        self._states = [state]

    def note(self, seq: int, state: ClockState) -> None:
        """Readings from ``seq`` on are dated with ``state``."""
        if state == self._states[-1]:
            return
        if self._seqs[-1] >= seq:
            self._states[-1] = state
            return
        self._seqs.append(seq)
        self._states.append(state)
        if len(self._seqs) > EPOCHS_MAX:
            worse = worst(self._states[0], self._states[1])
            del self._seqs[1], self._states[1]
            self._states[0] = worse

    def over(self, first: int, end: int) -> ClockState:
        """The worst of the states that the readings ``first`` to ``end`` - 1 were taken with."""
        since, until = bisect_right(self._seqs, first) - 1, bisect_right(self._seqs, end - 1)
        state = self._states[max(0, since)]
        for _, other in pairwise(self._states[max(0, since) : until]):
            state = worst(state, other)
        return state

    def forget(self, below: int) -> None:
        """Nobody will ask for readings below ``below`` again."""
        keep = max(0, bisect_right(self._seqs, below) - 1)
        del self._seqs[:keep], self._states[:keep]


def worst(a: ClockState, b: ClockState) -> ClockState:
    """The one with the greater bound; not known is the greatest, and "none" is worse than any source."""
    return max(a, b, key=lambda s: (s.source == "none", s.error_ms < 0, s.error_ms))


def coarse(state: ClockState) -> ClockState:
    """The bound rounded up to a power of two, so that it changes rarely."""
    if state.error_ms <= 0:
        return state
    return ClockState(state.source, min(ERROR_MOST_MS, 1 << (state.error_ms - 1).bit_length()))
