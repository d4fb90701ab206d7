"""Hardware in memory, for tests: flash that loses power, a line of bytes, an HX711 that counts its pulses.

It runs on MicroPython too, so that the same scenario can be run there.
"""

import struct
from binascii import crc32

from . import framing
from .clock import TICKS_PERIOD
from .hal import Flash, Hal


class PowerCutError(Exception):
    """The power went away in the middle of a write or an erase."""


class FakeFlash(Flash):
    """NOR flash in a bytearray. ``cut_in`` bytes more are written or erased, then the power goes; -1 = never.

    ``erase_order`` says how an erase proceeds: 1 upwards, -1 downwards. ``stuck`` are addresses whose bits do not clear.
    """

    def __init__(self, sector_size: int, sectors: int) -> None:
        self.sector_size = sector_size
        self.sectors = sectors
        self.data = bytearray(b"\xff" * (sector_size * sectors))
        self.cut_in = -1
        self.erase_order = 1
        self.broken = False
        self.stuck: list[int] = []
        self.erases = [0] * sectors
        self.written = 0

    def read(self, at: int, size: int) -> bytes:
        return bytes(self.data[at : at + size])

    def write(self, at: int, data: bytes) -> None:
        if self.broken:
            raise OSError("flash does not answer")
        for i in range(len(data)):
            self._spend()
            if at + i not in self.stuck:
                self.data[at + i] &= data[i]

    def erase(self, sector: int) -> None:
        if self.broken:
            raise OSError("flash does not answer")
        self.erases[sector] += 1
        places = list(range(sector * self.sector_size, (sector + 1) * self.sector_size))
        if self.erase_order < 0:
            places.reverse()
        for place in places:
            self._spend()
            self.data[place] = 0xFF

    def _spend(self) -> None:
        if self.cut_in == 0:
            raise PowerCutError
        if self.cut_in > 0:
            self.cut_in -= 1
        self.written += 1


class FakeHal(Hal):
    """``now_ms`` is moved by the test. What is sent is in ``sent``; what the gateway says is put into ``received``."""

    def __init__(self, flash: FakeFlash, seed: int) -> None:
        self.flash = flash
        self.now_ms = 0
        self.ticks_at_start = 0
        self.sent = b""
        self.received = b""
        self.line_broken = False
        self.takes = 1 << 30  # bytes that one uart_write takes at most
        self.frames: list[tuple[int, bytes]] = []
        self.bus_fault = False
        self.watchdog_start = False
        self.fed: list[int] = []
        self.mv = 0
        self.tare = False
        self.cell: list[int] = []  # conversions to come, each ready at once
        self.cell_shorted = False
        self.slip = 0  # this pulse of the next conversion gets lost
        self.hx_pulses: list[int] = []  # pulses that each conversion got
        self.hx_resets = 0
        self.locks = 0
        self._hx_pulse = 0
        self._seed = seed
        self._on_edge: object = None

    def ticks_ms(self) -> int:
        return (self.ticks_at_start + self.now_ms) % TICKS_PERIOD

    def random_u32(self) -> int:
        self._seed = (self._seed * 1_664_525 + 1_013_904_223) & 0xFFFFFFFF
        return self._seed or 1

    def after_watchdog(self) -> bool:
        return self.watchdog_start

    def feed_watchdog(self) -> None:
        self.fed.append(self.now_ms)

    def uart_read(self) -> bytes:
        if self.line_broken:
            raise OSError("line")
        data, self.received = self.received, b""
        return data

    def uart_write(self, data: bytes) -> int:
        if self.line_broken:
            raise OSError("line")
        n = min(len(data), self.takes)
        self.sent += data[:n]
        return n

    def can_recv(self) -> tuple[int, bytes] | None:
        return self.frames.pop(0) if self.frames else None

    def can_fault(self) -> bool:
        fault, self.bus_fault = self.bus_fault, False
        return fault

    def hx_ready(self) -> bool:
        if self.cell_shorted:
            return True
        return self._hx_pulse < 25 and bool(self.cell)

    def hx_clock(self) -> int:
        if self.cell_shorted:
            return 0
        if self.slip and self._hx_pulse + 1 == self.slip:
            self.slip = 0
            return 0
        self._hx_pulse += 1
        if self._hx_pulse > 24:
            return 1
        return self.cell[0] >> (24 - self._hx_pulse) & 1

    def end_of_conversion(self) -> None:
        """The next conversion of the cell: DOUT goes low again if there is one."""
        if self._hx_pulse:
            self.hx_pulses.append(self._hx_pulse)
            self.cell.pop(0)
            self._hx_pulse = 0

    def hx_reset(self) -> None:
        self.hx_resets += 1
        self._hx_pulse = 0

    def pressure_mv(self) -> int:
        return self.mv

    def tare_pressed(self) -> bool:
        return self.tare

    def pulses_irq(self, on_edge: object) -> None:
        self._on_edge = on_edge
        for i in range(3):
            self.edge(i, False)

    def edge(self, i: int, closed: bool) -> None:
        """An edge at pulse input ``i``, now."""
        if callable(self._on_edge):
            self._on_edge(i, closed, self.ticks_ms())

    def lock(self) -> int:
        self.locks += 1
        return self.locks - 1

    def unlock(self, state: int) -> None:
        self.locks = state


def down_frame(flags: int, ring_id: int, acked: int, resume: int, utc_ms: int) -> bytes:
    """What a gateway sends, as bytes on the line."""
    body = struct.pack("<HBBIIIQ", framing.DOWN_MAGIC, framing.DOWN_VERSION, flags, ring_id, acked, resume, utc_ms)
    return framing.encode(body + struct.pack("<I", crc32(body) & 0xFFFFFFFF))
