"""The hardware of an STM32 board with MicroPython 1.29 or later, through ``machine``. Pins: ``README.md``.

Not tried on a board: ``tests/system/test_firmware_micropython.py`` runs it against a ``machine`` of memory.
"""

import os
import time

import machine

from . import j1939
from .hal import Flash, Hal

CAN_ID = 1
CAN_BITRATE = 250_000
UART_ID = 2
SPI_ID = 3
SPI_BAUD = 10_000_000
FLASH_CS = "A4"
HX_SCK = "E9"
HX_DOUT = "E11"
PRESSURE = "A3"
TARE = "E13"
PULSES = ("F13", "E14", "F15")
ADC_FULL_MV = 3_300
DIVIDER_NUM, DIVIDER_DEN = 2, 1  # 10 k over 10 k: 5 V become 2.5 V
WATCHDOG_LEAST_MS = 8_000
WATCHDOG_MOST_MS = 32_000  # the IWDG reaches no further
PAGE = 256
WRITE_MOST_MS = 50  # a page takes 3 ms at most
ERASE_MOST_MS = 2_000  # a sector takes 400 ms at most, when old


class SpiNor(Flash):
    """A serial NOR flash of the W25Q kind with three-byte addresses: 1 to 16 MiB."""

    def __init__(self, spi, cs) -> None:
        self._spi = spi
        self._cs = cs
        self.sector_size = 4096
        self.sectors = 0

    def open(self) -> None:
        """Ask for its size. OSError if nothing answers sensibly."""
        size_code = self._ask(b"\x9f", 3)[2]
        if not 20 <= size_code <= 24:
            raise OSError("no serial flash")
        self.sectors = (1 << size_code) // self.sector_size

    def read(self, at: int, size: int) -> bytes:
        return self._ask(b"\x03" + at.to_bytes(3, "big"), size)

    def write(self, at: int, data: bytes) -> None:
        done = 0
        while done < len(data):
            n = min(len(data) - done, PAGE - (at + done) % PAGE)
            self._tell(b"\x06")
            self._tell(b"\x02" + (at + done).to_bytes(3, "big") + data[done : done + n])
            self._wait(WRITE_MOST_MS)
            done += n

    def erase(self, sector: int) -> None:
        self._tell(b"\x06")
        self._tell(b"\x20" + (sector * self.sector_size).to_bytes(3, "big"))
        self._wait(ERASE_MOST_MS)

    def _wait(self, most_ms: int) -> None:
        begun = time.ticks_ms()
        while self._ask(b"\x05", 1)[0] & 1:
            if time.ticks_diff(time.ticks_ms(), begun) > most_ms:
                raise OSError("flash stays busy")

    def _ask(self, command: bytes, size: int) -> bytes:
        self._cs(0)
        self._spi.write(command)
        data = self._spi.read(size)
        self._cs(1)
        return data

    def _tell(self, command: bytes) -> None:
        self._cs(0)
        self._spi.write(command)
        self._cs(1)


class Stm32Hal(Hal):
    """Opens everything but the bus at once: it runs on nothing but a board."""

    def __init__(self, baud: int, interval_ms: int, has_bus: bool) -> None:
        self._after_watchdog = machine.reset_cause() == machine.WDT_RESET
        self._uart = machine.UART(UART_ID, baudrate=baud, timeout=0, timeout_char=5, rxbuf=512)
        spi = machine.SPI(SPI_ID, baudrate=SPI_BAUD, polarity=0, phase=0)
        self.flash = SpiNor(spi, machine.Pin(FLASH_CS, machine.Pin.OUT, value=1))
        self.flash.open()
        self._sck = machine.Pin(HX_SCK, machine.Pin.OUT, value=0)
        self._dout = machine.Pin(HX_DOUT, machine.Pin.IN, machine.Pin.PULL_UP)  # not fitted = never ready
        self._pressure = machine.ADC(PRESSURE)
        self._tare = machine.Pin(TARE, machine.Pin.IN, machine.Pin.PULL_UP)
        self._pulses = [machine.Pin(name, machine.Pin.IN, machine.Pin.PULL_UP) for name in PULSES]
        self._can = None
        self._overrun = False
        if has_bus:
            self._open_can()
        watchdog_ms = min(WATCHDOG_MOST_MS, max(WATCHDOG_LEAST_MS, 3 * interval_ms))
        self._watchdog = machine.WDT(timeout=watchdog_ms)

    def _open_can(self) -> None:
        """Silent mode: the controller never drives the bus, not even to acknowledge."""
        can = machine.CAN(CAN_ID, CAN_BITRATE, mode=machine.CAN.MODE_SILENT)
        wanted = [(can_id, mask, machine.CAN.FLAG_EXT_ID) for can_id, mask in j1939.filters()]
        can.set_filters(wanted if len(wanted) <= machine.CAN.FILTERS_MAX else None)
        self._can = can

    def ticks_ms(self) -> int:
        return time.ticks_ms()

    def random_u32(self) -> int:
        return int.from_bytes(os.urandom(4), "little") or 1

    def after_watchdog(self) -> bool:
        return self._after_watchdog

    def feed_watchdog(self) -> None:
        self._watchdog.feed()

    def uart_read(self) -> bytes:
        return self._uart.read(self._uart.any()) or b"" if self._uart.any() else b""

    def uart_write(self, data: bytes) -> int:
        return self._uart.write(data) or 0

    def can_recv(self):
        if self._can is None:
            return None
        while True:
            frame = self._can.recv()
            if frame is None:
                return None
            can_id, data, flags, errors = frame
            if errors & machine.CAN.RECV_ERR_OVERRUN:
                self._overrun = True
            if flags & machine.CAN.FLAG_EXT_ID and not flags & machine.CAN.FLAG_RTR:
                return can_id, bytes(data)

    def can_fault(self) -> bool:
        if self._can is None:
            return False
        state = self._can.state()
        if state == machine.CAN.STATE_BUS_OFF:
            self._can.restart()
        fault = self._overrun or state in (machine.CAN.STATE_PASSIVE, machine.CAN.STATE_BUS_OFF)
        self._overrun = False
        return fault

    def hx_ready(self) -> bool:
        return not self._dout.value()

    def hx_clock(self) -> int:
        state = machine.disable_irq()  # high for 60 µs would switch the chip off
        self._sck.value(1)
        bit = self._dout.value()
        self._sck.value(0)
        machine.enable_irq(state)
        return bit

    def hx_reset(self) -> None:
        self._sck.value(1)
        time.sleep_us(100)
        self._sck.value(0)

    def pressure_mv(self) -> int:
        return self._pressure.read_u16() * ADC_FULL_MV * DIVIDER_NUM // (65_535 * DIVIDER_DEN)

    def tare_pressed(self) -> bool:
        return not self._tare.value()

    def pulses_irq(self, on_edge) -> None:
        for i in range(len(self._pulses)):
            self._watch(i, on_edge)

    def lock(self) -> int:
        return machine.disable_irq()

    def unlock(self, state: int) -> None:
        machine.enable_irq(state)

    def _watch(self, i: int, on_edge) -> None:
        ticks_ms = time.ticks_ms

        def handler(pin) -> None:
            on_edge(i, not pin.value(), ticks_ms())

        pin = self._pulses[i]
        on_edge(i, not pin.value(), ticks_ms())
        pin.irq(handler, machine.Pin.IRQ_RISING | machine.Pin.IRQ_FALLING, hard=True)
