"""Signals of the vehicle bus: nine SPNs of eight single-frame parameter groups, as raw codes.

Codes that are no value never become one: of the highest byte, 0xFB to 0xFD are reserved, 0xFE is an error, 0xFF is "not
available". Of several addresses that send a signal the first one with a value is believed until it falls silent or has
none any more; a counter's first one for good, because another unit's total is another total. A value is repeated until it
is as old as its group allows, then it is absent.
"""

from . import record

SECOND_SOURCE_MS = 10_000  # how long a second source is reported after its last value
ALIVE_MS = 2_000  # the slowest group that every truck sends comes once a second
STANDING_SPEED = 256  # raw, 1 km/h

# index: (PGN, SPN, first byte, bytes, most age [ms]). Bytes and scales: FMS-Standard v04 and J1939-71.
SIGNALS = (
    (0xFD09, 5054, 4, 4, 5_000),  # HRLFC total fuel, 1 mL
    (0xFEE9, 250, 4, 4, 5_000),  # LFC total fuel, 0.5 L
    (0xFEC1, 917, 0, 4, 5_000),  # VDHR distance, 5 m
    (0xFEF2, 183, 0, 2, 1_000),  # LFE fuel rate, 0.05 L/h
    (0xFE6C, 1624, 6, 2, 1_000),  # TCO1 tachograph speed, 1/256 km/h
    (0xFEF1, 84, 1, 2, 1_000),  # CCVS wheel speed, 1/256 km/h
    (0xF004, 190, 3, 2, 1_000),  # EEC1 engine speed, 0.125 rpm
    (0xFE70, 1760, 2, 2, 30_000),  # CVW gross combination weight, 10 kg; byte order to be checked on a vehicle
)
FUEL_FINE, FUEL, DISTANCE, FUEL_RATE, TACHO, WHEEL, RPM, WEIGHT = range(8)
COUNTERS = (FUEL_FINE, FUEL, DISTANCE)
PGNS = tuple([signal[0] for signal in SIGNALS])
VALUE, RESERVED, ERROR, NOT_AVAILABLE = range(4)


def pgn_of(can_id: int) -> int:
    """Parameter group of a 29-bit identifier; the destination of a PDU1 group is not part of it."""
    pgn = can_id >> 8 & 0x3FFFF
    return pgn if pgn >> 8 & 0xFF >= 240 else pgn & 0x3FF00


def source_of(can_id: int) -> int:
    """Source address of a 29-bit identifier."""
    return can_id & 0xFF


def filters() -> list[tuple[int, int]]:
    """(identifier, mask) that let exactly these groups pass, from any address at any priority."""
    return [(pgn << 8, 0x3FFFF00) for pgn in PGNS]


def classify(raw: int, size: int) -> int:
    """VALUE, RESERVED, ERROR or NOT_AVAILABLE for a code of ``size`` bytes."""
    top = raw >> 8 * (size - 1)
    if top <= 0xFA:
        return VALUE
    if top == 0xFF:
        return NOT_AVAILABLE
    return ERROR if top == 0xFE else RESERVED


class Bus:
    """The newest raw code of each signal. Times are ms of one clock that never wraps."""

    def __init__(self) -> None:
        n = len(SIGNALS)
        self._raw = [-1] * n  # -1 = absent
        self._source = [-1] * n  # the address that is believed, -1 = none yet
        self._at = [0] * n
        self._frame_at = -ALIVE_MS - 1
        self._second_at = -SECOND_SOURCE_MS - 1

    def on_frame(self, can_id: int, data: bytes, now: int) -> None:
        """Take a frame of the bus; other groups and frames too short are nothing."""
        self._frame_at = now
        pgn = pgn_of(can_id)
        if pgn in PGNS:
            index = PGNS.index(pgn)
            first, size = SIGNALS[index][2], SIGNALS[index][3]
            if len(data) >= first + size:
                self._take(index, int.from_bytes(data[first : first + size], "little"), source_of(can_id), now)

    def value(self, index: int, now: int) -> int:
        """Raw code of a signal, or -1 if it has no value or too old a one."""
        return self._raw[index] if now - self._at[index] <= SIGNALS[index][4] else -1

    def fields(self, now: int) -> tuple[int, int, int, int, int, int]:
        """(fuel total, odometer, fuel rate, speed, engine speed, gross weight), all bits set where absent."""
        fuel = self.value(FUEL_FINE, now)
        if fuel < 0:
            fuel = self.value(FUEL, now)
        distance = self.value(DISTANCE, now)
        small = [self.value(FUEL_RATE, now), self.speed(now), self.value(RPM, now), self.value(WEIGHT, now)]
        rate, speed, rpm, weight = [record.NA16 if v < 0 else v for v in small]
        return (record.NA32 if fuel < 0 else fuel, record.NA32 if distance < 0 else distance, rate, speed, rpm, weight)

    def flags(self, now: int) -> int:
        """Flags of the record that go with ``fields``."""
        flags = 0
        if now - self._frame_at <= ALIVE_MS:
            flags |= record.BUS_ALIVE
        if now - self._second_at <= SECOND_SOURCE_MS:
            flags |= record.SECOND_SOURCE
        if self.value(TACHO, now) >= 0:
            flags |= record.TACHO_SPEED
        if self.value(FUEL_FINE, now) < 0 and self.value(FUEL, now) >= 0:
            flags |= record.FUEL_COARSE
        return flags

    def speed(self, now: int) -> int:
        """Raw speed, the tachograph's before the wheels', or -1."""
        tacho = self.value(TACHO, now)
        return tacho if tacho >= 0 else self.value(WHEEL, now)

    def standing(self, now: int) -> bool:
        """Whether the bus says that the vehicle stands; False if it says nothing."""
        return 0 <= self.speed(now) < STANDING_SPEED

    def _take(self, index: int, raw: int, source: int, now: int) -> None:
        owner = self._source[index]
        if index not in COUNTERS and self.value(index, now) < 0:
            owner = -1
        if classify(raw, SIGNALS[index][3]) != VALUE:
            if source == owner:
                self._raw[index] = -1
        elif owner < 0 or source == owner:
            self._raw[index], self._source[index], self._at[index] = raw, source, now
        else:
            self._second_at = now
