"""Loads: the HX711's 24-bit protocol, scale and tare in whole numbers, the air-pressure line, and when a load is steady."""

from . import record
from .hal import Hal

CHANNEL_A_128 = 25  # pulses of one reading; they choose input and gain of the next one
CHANNEL_B_32 = 26
CHANNEL_A_64 = 27
SETTLING = 4  # conversions after power-up and reset that are not yet right: 400 ms at 10 Hz
SILENT_MS = 1_000  # at 10 Hz a conversion comes every 100 ms
CONVERSIONS_MOST = 80  # kept for the median of a second; the HX711 makes 80 at most
HIGHEST, LOWEST = 0x7FFFFF, -0x800000  # what it gives when its input is out of range


def read_hx711(hal: Hal, pulses: int) -> int | None:
    """Clock out a conversion that is ready, -8388607 to 8388606; None if it is saturated or a pulse got lost.

    The last pulse must leave DOUT high: if it is low then pulses and bits do not match.
    """
    raw = 0
    for _ in range(24):
        raw = raw << 1 | hal.hx_clock()
    for _ in range(pulses - 24):
        hal.hx_clock()
    if hal.hx_ready():
        return None
    if raw & 0x800000:
        raw -= 1 << 24
    return raw if LOWEST < raw < HIGHEST else None


def median(values: list[int]) -> int:
    """The middle value, the lower of two."""
    return sorted(values)[(len(values) - 1) // 2]


def to_kg(raw: int, zero: int, kg: int, counts: int) -> int:
    """Load of a reading when ``counts`` more than ``zero`` are ``kg``; rounded half up, ``counts`` may be negative."""
    if counts < 0:
        kg, counts = -kg, -counts
    return ((raw - zero) * kg * 2 + counts) // (2 * counts)


def by_line(x: int, x0: int, y0: int, x1: int, y1: int) -> int:
    """The straight line through two calibration points, rounded half up."""
    return y0 + to_kg(x, x0, y1 - y0, x1 - x0)


class Cell:
    """The load cell: takes each conversion as it comes, gives the median of those since the last question."""

    def __init__(self, pulses: int) -> None:
        self._pulses = pulses
        self._kept: list[int] = []
        self._to_skip = SETTLING
        self._answered = -1  # when it last answered
        self.bad = 0  # conversions that were none

    def poll(self, hal: Hal, now: int) -> None:
        """Call at least once per conversion, more often is better."""
        if self._answered < 0:
            self._answered = now
        if hal.hx_ready():
            self._answered = now
            raw = read_hx711(hal, self._pulses)
            if raw is None:
                self.bad += 1
            elif self._to_skip:
                self._to_skip -= 1
            elif len(self._kept) < CONVERSIONS_MOST:
                self._kept.append(raw)
        elif now - self._answered > SILENT_MS:
            hal.hx_reset()
            self._answered = now
            self._to_skip = SETTLING
            self.bad += 1

    def take(self) -> int | None:
        """Median of the conversions since the last call; None if there were none."""
        kept, self._kept = self._kept, []
        return median(kept) if kept else None


class Steady:
    """When a load may be believed: median of the last values, steady if they lie close together for long enough.

    A load wanders by 100 to 400 kg with slope, braking and levelling, so it counts when the vehicle is known to stand for
    ``standing_n`` values, else when it was steady for ``moving_n`` values.
    """

    def __init__(self, spread_kg: int, standing_n: int, moving_n: int) -> None:
        self._spread_kg = spread_kg
        self._standing_n = standing_n
        self._moving_n = moving_n
        self._values: list[int] = []
        self._standing = 0

    def add(self, kg: int | None, standing: bool) -> None:
        """Take the value of this record; None = there is none, and what was is no longer steady."""
        self._standing = self._standing + 1 if standing else 0
        if kg is None:
            self._values = []
        else:
            self._values.append(kg)
            if len(self._values) > self._moving_n:
                self._values.pop(0)

    def result(self) -> tuple[int, bool]:
        """(load in kg or NA16, whether it is steady)."""
        values = self._values
        if not values:
            return record.NA16, False
        if self._standing >= self._standing_n:
            recent = values[-self._standing_n :]
            if len(recent) == self._standing_n and max(recent) - min(recent) <= self._spread_kg:
                return median(recent), True
        if len(values) == self._moving_n and max(values) - min(values) <= self._spread_kg:
            return median(values), True
        return values[-1], False


class Axle:
    """Air pressure of the axle's bellows as a voltage; kg by a line through two calibration points."""

    def __init__(self, least_mv: int, most_mv: int, line: tuple[int, int, int, int]) -> None:
        self._least_mv = least_mv
        self._most_mv = most_mv
        self._line = line  # mV empty, kg empty, mV laden, kg laden
        self._kept: list[int] = []

    def poll(self, hal: Hal) -> None:
        """Take a voltage."""
        if len(self._kept) < CONVERSIONS_MOST:
            self._kept.append(hal.pressure_mv())

    def take(self) -> int | None:
        """kg by the median voltage since the last call; None outside what a sound sensor gives."""
        kept, self._kept = self._kept, []
        if not kept:
            return None
        mv = median(kept)
        return by_line(mv, *self._line) if self._least_mv <= mv <= self._most_mv else None
