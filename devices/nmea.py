"""NMEA 0183 of a GNSS receiver: sentences RMC, GGA, GSA and ZDA to fixes. Pure; strict, because receivers are not.

    $ttsss,field,...*hh    tt talker (any two; P = proprietary), sss sentence, hh xor of the bytes between $ and *
    latitude ddmm.mmmm     longitude dddmm.mmmm     minutes below 60     time hhmmss[.sss]     date ddmmyy

A sentence without checksum, with a wrong one or with a field that cannot be is refused with its reason. The date is the
receiver's own; ``devices.gps`` judges it.
"""

import re
from calendar import timegm
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Literal

from devices.gps import Fix

Refused = Literal["no_sentence", "too_long", "no_checksum", "bad_checksum", "unreadable"]

MAX_BYTES: Final = 256  # NMEA allows 82; receivers with many digits reach some 120
KNOT_KMH: Final = 1.852
DAY_NS: Final = 86_400 * 10**9
DATED_NS: Final = 3600 * 10**9  # a date stands so long for times that come without one
_CENTURY: Final = 80  # two-digit years from here on are of 19xx: GPS began in 1980
_TIME: Final = re.compile(r"([01]\d|2[0-3])([0-5]\d)([0-5]\d|60)(?:\.(\d{0,9})\d*)?", re.ASCII)
_DATE: Final = re.compile(r"(\d\d)(\d\d)(\d\d)", re.ASCII)
_ANGLE: Final = re.compile(r"(\d{2,3})([0-5]\d(?:\.\d*)?)", re.ASCII)
_NUMBER: Final = re.compile(r"-?(?:\d+\.?\d*|\.\d+)", re.ASCII)
_GUESSED: Final = {"E": "estimated", "M": "manual", "S": "simulated", "6": "estimated", "7": "manual", "8": "simulated"}


@dataclass(frozen=True, slots=True)
class Sentence:
    """What one sentence says; None where it does not. ``tod_ns`` is the time of day in UTC, ``day`` days since 1970."""

    kind: Literal["RMC", "GGA", "GSA", "ZDA", "other"]
    tod_ns: int | None = None
    day: int | None = None
    lat_deg: float | None = None
    lon_deg: float | None = None
    alt_m: float | None = None
    speed_kmh: float | None = None
    hdop: float | None = None
    mode: int | None = None  # of GSA: 1 none, 2 or 3 dimensions
    no_fix: str = ""  # why the receiver itself says that this is no measured position


OTHER: Final = Sentence("other")


def parse(line: bytes) -> Sentence | Refused:
    """One line, with or without its end; bytes before the ``$`` are those of an interrupted line and are cut."""
    begin = line.rfind(b"$")
    if begin < 0 or line.startswith(b"#"):  # a remark in a recording
        return "no_sentence"
    text = line[begin + 1 :].strip()
    if len(text) > MAX_BYTES:
        return "too_long"
    body, star, check = text.partition(b"*")
    if not star:
        return "no_checksum"
    total = 0
    for byte in body:
        total ^= byte
    if check.upper() != b"%02X" % total:
        return "bad_checksum"
    kind, *fields = body.decode("ascii", "replace").split(",")
    read = {"RMC": _rmc, "GGA": _gga, "GSA": _gsa, "ZDA": _zda}.get(kind[2:])
    if read is None or kind.startswith("P"):
        return OTHER
    try:
        return read(fields)
    except (ValueError, IndexError):
        return "unreadable"


class Epochs:
    """Puts the sentences of one instant together. A fix is given when the kinds of the instant before are complete."""

    __slots__ = ("_dated_ns", "_expected", "_fix", "_kinds", "_mode", "_mode_age", "_tod_ns")

    def __init__(self) -> None:
        self._tod_ns: int | None = None
        self._fix: Fix | None = None  # of the instant in work, None once it is given out
        self._kinds: set[str] = set()
        self._expected: set[str] = {"RMC", "GGA"}
        self._dated_ns: int | None = None
        self._mode: int | None = None
        self._mode_age = 0  # instants since the GSA

    def on_sentence(self, sentence: Sentence, at_s: float, wall_ns: int) -> list[Fix]:
        """Fixes that this sentence completes, 0 to 2. It arrived at ``at_s`` of a steady clock, ``wall_ns`` UTC."""
        if sentence.kind == "GSA":
            self._mode, self._mode_age = sentence.mode, 0
        if sentence.kind == "ZDA":
            self._date(sentence)
        if sentence.kind not in ("RMC", "GGA"):
            return []
        done: list[Fix] = []
        if sentence.tod_ns is None or sentence.tod_ns != self._tod_ns:
            done = self.flush()
            self._expected = self._kinds or self._expected
            self._tod_ns, self._kinds, self._mode_age = sentence.tod_ns, set(), self._mode_age + 1
            self._fix = Fix(at_s=at_s, wall_ns=wall_ns)
        self._kinds.add(sentence.kind)
        if sentence.kind == "RMC":
            self._date(sentence)
        if self._fix is not None:
            self._fix = _joined(self._fix, sentence)
            if self._kinds >= self._expected:
                done += self.flush()
        return done

    def flush(self) -> list[Fix]:
        """The instant in work, if it was not given yet."""
        fix, self._fix = self._fix, None
        if fix is None:
            return []
        mode = self._mode if self._mode_age <= 2 else None
        return [replace(fix, mode=mode, time_ns=self._time_ns())]

    def _date(self, sentence: Sentence) -> None:
        if sentence.day is not None and sentence.tod_ns is not None:
            self._dated_ns = sentence.day * DAY_NS + sentence.tod_ns

    def _time_ns(self) -> int | None:
        if self._dated_ns is None or self._tod_ns is None:
            return None
        later_ns = (self._tod_ns - self._dated_ns) % DAY_NS
        return self._dated_ns + later_ns if later_ns <= DATED_NS else None


def _joined(fix: Fix, s: Sentence) -> Fix:
    return replace(
        fix,
        lat_deg=s.lat_deg if fix.lat_deg is None else fix.lat_deg,
        lon_deg=s.lon_deg if fix.lon_deg is None else fix.lon_deg,
        alt_m=s.alt_m if fix.alt_m is None else fix.alt_m,
        speed_kmh=s.speed_kmh if fix.speed_kmh is None else fix.speed_kmh,
        hdop=s.hdop if fix.hdop is None else fix.hdop,
        no_fix=fix.no_fix or s.no_fix,
    )


def _rmc(f: list[str]) -> Sentence:
    """time, A or V, lat, N, lon, E, knots, course, ddmmyy, variation, side [, mode]."""
    tod_ns, day = _tod_ns(f[0]), _day(f[8])
    if f[1] != "A":  # what stands in the other fields then is anything
        return Sentence("RMC", tod_ns=tod_ns, day=day, no_fix="no_fix")
    return Sentence(
        "RMC",
        tod_ns=tod_ns,
        day=day,
        lat_deg=_angle(f[2], f[3], "NS"),
        lon_deg=_angle(f[4], f[5], "EW"),
        speed_kmh=_scaled(f[6], KNOT_KMH),
        no_fix=_GUESSED.get(f[11] if len(f) > 11 else "", ""),
    )


def _gga(f: list[str]) -> Sentence:
    """time, lat, N, lon, E, quality, satellites, HDOP, altitude, M, ..."""
    tod_ns = _tod_ns(f[0])
    if f[5] in ("", "0"):
        return Sentence("GGA", tod_ns=tod_ns, no_fix="no_fix")
    return Sentence(
        "GGA",
        tod_ns=tod_ns,
        lat_deg=_angle(f[1], f[2], "NS"),
        lon_deg=_angle(f[3], f[4], "EW"),
        hdop=_scaled(f[7], 1),
        alt_m=_scaled(f[8], 1, low=-1e5),
        no_fix=_GUESSED.get(f[5], ""),
    )


def _gsa(f: list[str]) -> Sentence:
    """A or M, mode, 12 satellites, PDOP, HDOP, VDOP."""
    return Sentence("GSA", mode=int(f[1]) if f[1] in ("1", "2", "3") else None)


def _zda(f: list[str]) -> Sentence:
    """time, day, month, year, ..."""
    if not (f[1] and f[2] and f[3]):
        return Sentence("ZDA", tod_ns=_tod_ns(f[0]))
    if not all(x.isascii() and x.isdigit() for x in f[1:4]):
        raise ValueError(f)
    return Sentence("ZDA", tod_ns=_tod_ns(f[0]), day=_days(int(f[3]), int(f[2]), int(f[1])))


def _tod_ns(text: str) -> int | None:
    if not text:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(text)
    hours, minutes, seconds, digits = match.groups()
    return (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * 10**9 + int((digits or "").ljust(9, "0"))


def _day(text: str) -> int | None:
    if not text:
        return None
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError(text)
    day, month, year = map(int, match.groups())
    return _days(year + (1900 if year >= _CENTURY else 2000), month, day)


def _days(year: int, month: int, day: int) -> int:
    return timegm(date(year, month, day).timetuple()) // 86_400


def _angle(text: str, side: str, sides: str) -> float | None:
    if not text and not side:
        return None
    match = _ANGLE.fullmatch(text)
    if match is None or side not in sides or not side:
        raise ValueError(text)
    degrees = int(match[1]) + float(match[2]) / 60
    return degrees if side == sides[0] else -degrees


def _scaled(text: str, factor: float, low: float = 0.0) -> float | None:
    if not text:
        return None
    if _NUMBER.fullmatch(text) is None or float(text) < low:
        raise ValueError(text)
    return float(text) * factor
