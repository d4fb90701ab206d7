"""Which positions and times of a GNSS receiver are believed. Pure: times come with the fix, reasons are counted.

A position is refused whole, with its reason. A receiver's time is believed only where nothing speaks against it; a fresh
position with an unbelievable date is kept and has the time at which it arrived, a repeated or late one is never stamped anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import asin, cos, hypot, isfinite, radians, sin, sqrt
from typing import Final, Literal

from devices.clock import BUILD_NS, ERA_END_NS, ROLL_OVER_NS
from devices.counters import Counters
from devices.wire import Sample

HDOP_MOST: Final = 5.0
JUMP_KMH: Final = 160.0  # above what a truck drives
JUMP_LEAST_S: Final = 1.0  # noise of some metres between fixes of a fast receiver is no jump
AGREEING: Final = 10  # refused fixes in a row that agree with each other: then it was the last good one that was wrong
DRIFT_NS: Final = 2 * 10**9  # between receiver and steady clock since the last good time
AGREEING_TIMES: Final = 30  # as AGREEING, for times: half a minute
CLOCK_NS: Final = 5 * 10**9  # receiver and system clock may differ by so much, else a reading is stamped by the latter
NEAR_NS: Final = 180 * 86_400 * 10**9  # a system clock without network may be so wrong and still tell a roll-over
LAST_NS: Final = 10 * 31_557_600 * 10**9  # ten Julian years after the first time that is believed
JITTER: Final = 0.97  # of a period: closer readings are one too many
_EARTH_M: Final = 6_371_008.8

Verdict = Literal["good", "wrong_date", "stale"]


@dataclass(frozen=True, slots=True)
class Fix:
    """One instant of a receiver as it says it; None = not said. Arrived at ``at_s`` [s, steady clock], ``wall_ns`` UTC."""

    at_s: float
    wall_ns: int
    time_ns: int | None = None
    lat_deg: float | None = None
    lon_deg: float | None = None
    alt_m: float | None = None
    speed_kmh: float | None = None
    hdop: float | None = None
    mode: int | None = None  # 0 and 1 none, 2 and 3 dimensions
    no_fix: str = ""  # why the receiver itself says that this is no measured position


def fault(fix: Fix) -> str:
    """Why a fix is no position by itself; blank = it may be one."""
    lat, lon = fix.lat_deg, fix.lon_deg
    if fix.no_fix:
        return fix.no_fix
    if (fix.mode is not None and fix.mode < 2) or lat is None or lon is None:
        return "no_fix"
    if fix.hdop is not None and not fix.hdop <= HDOP_MOST:
        return "hdop"
    if not (abs(lat) <= 90 and abs(lon) <= 180):  # also true of NaN
        return "range"
    if lat == 0 and lon == 0:
        return "zero"
    return ""


def distance_m(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Great-circle distance of two places in degrees, on a sphere; 0.5 % off at most."""
    half_lat, half_lon = radians(lat2 - lat1) / 2, radians(lon2 - lon1) / 2
    chord = hypot(sin(half_lat), sqrt(max(0.0, cos(radians(lat1)) * cos(radians(lat2)))) * sin(half_lon))
    return 2 * _EARTH_M * asin(min(1.0, chord))


class Track:
    """Refuses jumps against the last good fix; a wrong one is left behind when ``AGREEING`` later ones agree."""

    __slots__ = ("_agreeing", "_good", "_refused")

    def __init__(self) -> None:
        self._good: tuple[float, float, float] | None = None  # s, latitude, longitude
        self._refused: tuple[float, float, float] | None = None
        self._agreeing = 0

    def is_jump(self, at_s: float, lat_deg: float, lon_deg: float) -> bool:
        """Tell each fix once, with its time [s] on one clock."""
        here = (at_s, lat_deg, lon_deg)
        if self._good is not None and _kmh(self._good, here) > JUMP_KMH:
            agrees = self._refused is not None and _kmh(self._refused, here) <= JUMP_KMH
            self._agreeing = self._agreeing + 1 if agrees else 1
            self._refused = here
            if self._agreeing < AGREEING:
                return True
        self._good, self._refused, self._agreeing = here, None, 0
        return False


def _kmh(a: tuple[float, float, float], b: tuple[float, float, float]) -> float:
    return distance_m(a[1], a[2], b[1], b[2]) / max(abs(b[0] - a[0]), JUMP_LEAST_S) * 3.6


class TimeGate:
    """Judges receiver times: ``not_before_ns`` < t < ten years later, and in step with a steady clock.

    The first time that fits is the base. Later ones must lie within ``DRIFT_NS`` of it, carried on by the steady clock; a
    base is left when ``AGREEING_TIMES`` others in a row agree, or at once if its date was wrong and the new one is right.
    """

    __slots__ = ("_agreeing", "_base", "_base_is_good", "_counters", "_not_before_ns", "_other", "_seen_ns")

    def __init__(self, counters: Counters, not_before_ns: int = BUILD_NS) -> None:
        self._counters = counters
        self._not_before_ns = not_before_ns
        self._base: tuple[int, float] | None = None  # receiver's time [ns], steady clock [s]
        self._base_is_good = False
        self._other: tuple[int, float] | None = None
        self._agreeing = 0
        self._seen_ns: int | None = None

    @property
    def anchor(self) -> tuple[int, float] | None:
        """The last good time: UTC [ns] and the steady clock [s] at which it arrived."""
        return self._base if self._base_is_good else None

    def judge(self, time_ns: int, at_s: float, wall_ns: int) -> Verdict:
        """Of a time that arrived at ``at_s``, when the system's clock said ``wall_ns``; a reason is counted."""
        if time_ns == self._seen_ns:
            return self._refuse("repeated", "stale")
        self._seen_ns = time_ns
        reason = self._implausible(time_ns, wall_ns)
        if self._base is not None:
            drift_ns = _drift_ns(self._base, time_ns, at_s)
            if abs(drift_ns) >= DRIFT_NS and not (not reason and not self._base_is_good):
                if self._base_is_good and _is_rollover(drift_ns, DRIFT_NS):
                    return self._refuse("week_rollover", "wrong_date")
                if not self._agrees(time_ns, at_s):
                    return self._refuse("drift", "stale")
        self._base, self._base_is_good = (time_ns, at_s), not reason
        self._other, self._agreeing = None, 0
        return self._refuse(reason, "wrong_date") if reason else "good"

    def _implausible(self, time_ns: int, wall_ns: int) -> str:
        first_ns = self._not_before_ns
        off_ns = time_ns - wall_ns
        if _is_rollover(off_ns, NEAR_NS) and first_ns < wall_ns:
            return "week_rollover"
        if time_ns >= ERA_END_NS > first_ns:
            return "era_2036"
        if time_ns <= first_ns:
            return "before_build"
        if time_ns >= first_ns + LAST_NS:
            return "after_build"
        return ""

    def _agrees(self, time_ns: int, at_s: float) -> bool:
        is_next = self._other is not None and abs(_drift_ns(self._other, time_ns, at_s)) < DRIFT_NS
        self._agreeing = self._agreeing + 1 if is_next else 1
        self._other = (time_ns, at_s)
        return self._agreeing >= AGREEING_TIMES

    def _refuse(self, reason: str, verdict: Verdict) -> Verdict:
        self._counters.add("gps_time_refused", label=reason)
        return verdict


def _drift_ns(base: tuple[int, float], time_ns: int, at_s: float) -> int:
    return time_ns - base[0] - round((at_s - base[1]) * 1e9)


def _is_rollover(off_ns: int, tolerance_ns: int) -> bool:
    weeks = round(off_ns / ROLL_OVER_NS)
    return weeks != 0 and abs(off_ns - weeks * ROLL_OVER_NS) <= tolerance_ns


class Receiver:
    """Fixes of one receiver to readings, at most one per ``sample_s``.

    ``recorded``: the receiver's own times are the only clock; a fix whose time is not believed is then refused.
    """

    __slots__ = ("_counters", "_last_ns", "_period_ns", "_recorded", "_times", "_track")

    def __init__(
        self,
        counters: Counters,
        *,
        sample_s: float = 1.0,
        not_before_ns: int = BUILD_NS,
        recorded: bool = False,
    ) -> None:
        self._counters = counters
        self._period_ns = round(sample_s * 1e9)
        self._recorded = recorded
        self._times = TimeGate(counters, not_before_ns)
        self._track = Track()
        self._last_ns: int | None = None

    @property
    def anchor(self) -> tuple[int, float] | None:
        """The last good time: UTC [ns] and the steady clock [s] at which it arrived. None of a recording: it is not now."""
        return None if self._recorded else self._times.anchor

    def on_fix(self, fix: Fix) -> Sample | None:
        """The reading of a fix, or None: refused and counted, or too soon after the last."""
        if reason := fault(fix):
            self._counters.add("gps_fix_refused", label=reason)
            return None
        time_ns, at_s = self._time(fix)
        if time_ns is None:
            return None
        values = _values(fix)
        if self._track.is_jump(at_s, values["lat_deg"], values["lon_deg"]):
            self._counters.add("gps_fix_refused", label="jump")
            return None
        if self._is_too_soon(time_ns):
            return None
        self._last_ns = time_ns
        return Sample(time_ns, values)

    def _is_too_soon(self, time_ns: int) -> bool:
        """In the same period as the last reading, unless that is nearly a period ago: arrivals jitter."""
        if self._last_ns is None or time_ns // self._period_ns != self._last_ns // self._period_ns:
            return False
        return 0 <= time_ns - self._last_ns < JITTER * self._period_ns

    def _time(self, fix: Fix) -> tuple[int | None, float]:
        """The reading's time, None if the fix is not of now, and the steady clock of the fix."""
        said_ns = fix.time_ns
        if self._recorded:
            if said_ns is None:
                self._counters.add("gps_time_refused", label="no_date")
                return None, fix.at_s
            at_s = said_ns / 1e9
            return (said_ns if self._times.judge(said_ns, at_s, said_ns) == "good" else None), at_s
        if said_ns is None:
            return fix.wall_ns, fix.at_s
        verdict = self._times.judge(said_ns, fix.at_s, fix.wall_ns)
        if verdict == "stale":
            return None, fix.at_s
        if verdict == "good" and abs(said_ns - fix.wall_ns) <= CLOCK_NS:
            return said_ns, fix.at_s
        if verdict == "good":
            self._counters.add("gps_clock_differs")
        return fix.wall_ns, fix.at_s


def _values(fix: Fix) -> dict[str, float]:
    said: Mapping[str, float | None] = {
        "lat_deg": fix.lat_deg,
        "lon_deg": fix.lon_deg,
        "alt_m": fix.alt_m,
        "gps_speed_kmh": fix.speed_kmh,
        "hdop": fix.hdop,
    }
    return {name: value for name, value in said.items() if value is not None and isfinite(value)}
