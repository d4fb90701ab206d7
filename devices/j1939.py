"""Parameter groups of the FMS-Standard (v04) and J1939-71 that the fleet needs: frames of the bus to values. Pure.

    identifier, 29 bits   3 priority · 1 extended page · 1 page · 8 PF · 8 PS · 8 source address
    parameter group       page << 16 | PF << 8 | PS; where PF < 240, PS is a destination and counts as 0
    value                 raw * num / den + offset, raw little-endian; top byte 0xFF not available, 0xFE error,
                          0xFB to 0xFD reserved: such a code is never scaled

The table holds facts of the public FMS-Standard description v04, and for batteries what two independent public decoders
agree on. ``devices/README.md`` says which.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from devices.counters import Counters
from devices.j1939_transport import Reassembler

Frame = tuple[int, bytes]
"""29-bit identifier and 0 to 8 data bytes."""

VIN_PGN: Final = 0xFEEC
AXLE_WEIGHT: Final = 582
FAST_S, STEADY_S, SLOW_S = 2.5, 5.0, 25.0  # how long a value stands; nominal periods: up to 0.1 s, 1 s, 5 to 10 s
_MAX_ROUTES: Final = 4096  # identifiers remembered; a bus has some 300, more are noise and are told anew
_VIN: Final = re.compile(r"[A-HJ-NPR-Z0-9]{17}")
_FIRST_UNUSABLE: Final = 0xFB
_WHY: Final = {0xFF: "not_available", 0xFE: "error"}
_UNKNOWN, _PLAIN, _AXLE, _CONTROL, _PACKET = range(5)


class Spn(NamedTuple):
    """Where a value lies, ``first`` counted from 0, and how it is scaled. A ``counter`` never changes its sender."""

    number: int
    pgn: int
    first: int
    size: int
    num: int
    den: int
    offset: float = 0.0
    hold_s: float = STEADY_S
    counter: bool = False


SPNS: Final = (
    Spn(183, 0xFEF2, 0, 2, 1, 20, hold_s=FAST_S),  # LFE: fuel rate, 0.05 L/h
    Spn(5054, 0xFD09, 4, 4, 1, 1000, counter=True),  # HRLFC: total fuel, 0.001 L
    Spn(250, 0xFEE9, 4, 4, 1, 2, counter=True),  # LFC: total fuel, 0.5 L
    Spn(1040, 0xFEAF, 4, 4, 1, 2, counter=True),  # GFC: total gaseous fuel, 0.5 kg
    Spn(1624, 0xFE6C, 6, 2, 1, 256, hold_s=FAST_S),  # TCO1: tachograph speed, 1/256 km/h
    Spn(84, 0xFEF1, 1, 2, 1, 256, hold_s=FAST_S),  # CCVS: wheel speed, 1/256 km/h
    Spn(917, 0xFEC1, 0, 4, 5, 1, counter=True),  # VDHR: distance, 5 m
    Spn(245, 0xFEE0, 4, 4, 125, 1, counter=True),  # VD: distance, 125 m
    Spn(1760, 0xFE70, 2, 2, 10, 1, hold_s=SLOW_S),  # CVW: gross combination weight, 10 kg
    Spn(AXLE_WEIGHT, 0xFEEA, 1, 2, 1, 2),  # VW: weight on the axle of byte 1, 0.5 kg
    Spn(181, 0xFEEA, 5, 2, 2, 1),  # VW: cargo weight, 2 kg
    Spn(190, 0xF004, 3, 2, 1, 8, hold_s=FAST_S),  # EEC1: engine speed, 1/8 rpm
    Spn(513, 0xF004, 2, 1, 1, 1, -125, hold_s=FAST_S),  # EEC1: actual torque, 1 %
    Spn(544, 0xFEE3, 19, 2, 1, 1, hold_s=SLOW_S),  # EC1, multi-packet: reference torque, 1 Nm
    Spn(92, 0xF003, 2, 1, 1, 1, hold_s=FAST_S),  # EEC2: load at this speed, 1 %
    Spn(171, 0xFEF5, 3, 2, 1, 32, -273),  # AMB: ambient temperature, 1/32 °C
    Spn(108, 0xFEF5, 0, 1, 1, 2),  # AMB: barometric pressure, 0.5 kPa
    Spn(96, 0xFEFC, 1, 1, 2, 5),  # DD1: fuel level, 0.4 %
    Spn(5464, 0xFCB7, 0, 2, 1, 400),  # VEP4: remaining charge, 0.0025 %
    Spn(5919, 0xF090, 4, 2, 1, 20, hold_s=FAST_S),  # HVESSD1: battery voltage, 0.05 V
    Spn(5920, 0xF090, 6, 2, 1, 20, -1600, hold_s=FAST_S),  # HVESSD1: battery current, 0.05 A
    Spn(5921, 0xF091, 0, 2, 1, 640, hold_s=FAST_S),  # HVESSD2: state of charge, 1/640 %
)
BY_NUMBER: Final = {spn.number: spn for spn in SPNS}

GIVES: Final[Mapping[str, tuple[int, ...]]] = {  # signal: SPNs in the order of trust
    "speed_kmh": (1624, 84),
    "odometer_m": (917, 245),
    "engine_speed_rpm": (190,),
    "engine_torque_pct": (513,),
    "engine_load_pct": (92,),
    "fuel_rate_lph": (183,),
    "fuel_total_hr_l": (5054,),
    "fuel_total_l": (250,),
    "fuel_level_pct": (96,),
    "gas_total_kg": (1040,),
    "gross_weight_kg": (1760,),
    "cargo_kg": (181,),
    "ambient_temp_c": (171,),
    "baro_kpa": (108,),
    "battery_soc_pct": (5464, 5921),
}


@dataclass(slots=True)
class Batch:
    """The newest value of each SPN in some frames; None where the sender took its value back (not available, error)."""

    values: dict[int, float | None] = field(default_factory=dict)
    axles: dict[int, float | None] = field(default_factory=dict)  # kg by axle location, byte 1 of VW
    vin: str = ""


class _Field(NamedTuple):
    spn: int
    shift: int
    mask: int
    unusable: int
    top: int
    num: int
    den: int
    offset: float
    end: int


class _Route(NamedTuple):
    kind: int
    sender: int
    destination: int
    fields: tuple[_Field, ...]


class Decoder:
    """Decodes frames in batches and remembers who sends what: the first sender of a valid value owns its SPN.

    An owner that gives no valid value for ``OWNER_S`` loses it to the next, except for counters: another control unit's
    counter is another number. Axle weights are owned by location. Counts frames and what is left out.
    """

    OWNER_S: Final = 60.0

    __slots__ = ("_counters", "_owners", "_routes", "_transport")

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._routes: dict[int, _Route] = {}
        self._owners: dict[int, tuple[int, float]] = {}  # SPN, or SPN and axle: sender, and when it was last valid
        self._transport = Reassembler({spn.pgn for spn in SPNS if _multi_packet(spn)} | {VIN_PGN}, counters)

    def decode_many(self, frames: Iterable[Frame], now_s: float) -> Batch:
        """Frames in the order they came, read until ``now_s`` [s], a steady clock."""
        batch = Batch()
        routes = self._routes
        bad: dict[tuple[int, int], int] = {}  # SPN and top byte, top byte -1 = another sender, -2 = short
        total = unknown = 0
        for can_id, data in frames:
            total += 1
            kind, sender, destination, fields = routes.get(can_id) or self._route(can_id)
            if kind == _PLAIN:
                self._values(fields, sender, data, now_s, batch.values, bad)
            elif kind == _UNKNOWN:
                unknown += 1
            elif kind == _AXLE:
                self._axle(fields, sender, data, now_s, batch, bad)
            elif kind == _CONTROL:
                self._transport.on_control(sender, destination, data, now_s)
            elif (message := self._transport.on_packet(sender, destination, data, now_s)) is not None:
                self._message(*message, sender, now_s, batch, bad)
        if total:
            self._counters.add("can_frames", total)
        if unknown:
            self._counters.add("can_pgn_unknown", unknown)
        if bad:
            self._count(bad)
        return batch

    def _values(
        self,
        fields: tuple[_Field, ...],
        sender: int,
        data: bytes,
        now_s: float,
        values: dict[int, float | None],
        bad: dict[tuple[int, int], int],
        place: int = 0,
    ) -> None:
        word = int.from_bytes(data, "little")
        for spn, shift, mask, unusable, top, num, den, offset, end in fields:
            if len(data) < end:
                bad[spn, -2] = bad.get((spn, -2), 0) + 1
                continue
            raw = word >> shift & mask
            key = spn | place
            owner = self._owners.get(key)
            if raw >= unusable:
                reason = (spn, raw >> top)
                bad[reason] = bad.get(reason, 0) + 1
                if owner is not None and owner[0] == sender:
                    values[spn] = None
            elif owner is None or owner[0] == sender or self._is_free(spn, owner[1], now_s):
                self._owners[key] = (sender, now_s)
                values[spn] = raw * num / den + offset
            else:
                bad[spn, -1] = bad.get((spn, -1), 0) + 1

    def _is_free(self, spn: int, valid_s: float, now_s: float) -> bool:
        return now_s - valid_s > self.OWNER_S and not BY_NUMBER[spn].counter

    def _axle(
        self,
        fields: tuple[_Field, ...],
        sender: int,
        data: bytes,
        now_s: float,
        batch: Batch,
        bad: dict[tuple[int, int], int],
    ) -> None:
        """One frame per axle. Only its weight is the axle's own; cargo missing from one frame may be in the next."""
        if not data or data[0] >= _FIRST_UNUSABLE:
            reason = (928, data[0] if data else -2)
            bad[reason] = bad.get(reason, 0) + 1
            return
        values: dict[int, float | None] = {}
        self._values(fields[:1], sender, data, now_s, values, bad, place=(data[0] + 1) << 20)
        if AXLE_WEIGHT in values:
            batch.axles[data[0]] = values[AXLE_WEIGHT]
        values = {}
        self._values(fields[1:], sender, data, now_s, values, bad)
        batch.values.update((spn, value) for spn, value in values.items() if value is not None)

    def _message(
        self, pgn: int, data: bytes, sender: int, now_s: float, batch: Batch, bad: dict[tuple[int, int], int]
    ) -> None:
        if pgn != VIN_PGN:
            self._values(_FIELDS[pgn], sender, data, now_s, batch.values, bad)
            return
        text = data.partition(b"*")[0].decode("ascii", "replace").strip()
        if _VIN.fullmatch(text):
            batch.vin = text
        else:
            self._counters.add("can_vin_unreadable")

    def _route(self, can_id: int) -> _Route:
        sender, specific, form = can_id & 0xFF, can_id >> 8 & 0xFF, can_id >> 16 & 0xFF
        pgn = (can_id >> 24 & 3) << 16 | form << 8 | (specific if form >= 240 else 0)
        kind, fields = _UNKNOWN, _FIELDS.get(pgn, ())
        if pgn == 0xEC00:
            kind = _CONTROL
        elif pgn == 0xEB00:
            kind = _PACKET
        elif fields and not _multi_packet(BY_NUMBER[fields[0].spn]):
            kind = _AXLE if fields[0].spn == AXLE_WEIGHT else _PLAIN
        if len(self._routes) >= _MAX_ROUTES:
            self._routes.clear()
        route = self._routes[can_id] = _Route(kind, sender, specific, fields)
        return route

    def _count(self, bad: Mapping[tuple[int, int], int]) -> None:
        add = self._counters.add
        for (spn, what), n in bad.items():
            if what == -1:
                add("can_source_conflict", n, str(spn))
            elif what == -2:
                add("can_frame_short", n, str(spn))
            else:
                add("can_raw_unusable", n, f"{spn} {_WHY.get(what, 'reserved')}")


def _multi_packet(spn: Spn) -> bool:
    return spn.first + spn.size > 8


def _field(spn: Spn) -> _Field:
    top = 8 * (spn.size - 1)
    return _Field(
        spn=spn.number,
        shift=8 * spn.first,
        mask=(1 << 8 * spn.size) - 1,
        unusable=_FIRST_UNUSABLE << top,
        top=top,
        num=spn.num,
        den=spn.den,
        offset=spn.offset,
        end=spn.first + spn.size,
    )


_FIELDS: Final = {pgn: tuple(_field(s) for s in SPNS if s.pgn == pgn) for pgn in dict.fromkeys(s.pgn for s in SPNS)}
