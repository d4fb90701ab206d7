"""Simulated meters on pymodbus' own server, TCP or RTU over a pair of pseudo terminals, for tests of the gateway."""

import asyncio
import contextlib
import os
import pty
import struct
import tty
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from tests.pace import free_port

SILENT = "silent"


def f32(value: float) -> list[int]:
    """IEEE 754 single, high word first."""
    return list(struct.unpack(">2H", struct.pack(">f", value)))


def i64(value: int) -> list[int]:
    """64-bit integer, high word first."""
    return list(struct.unpack(">4H", struct.pack(">q", value)))


def i32_low_first(value: int) -> list[int]:
    """32-bit integer, low word first."""
    return [value & 0xFFFF, value >> 16 & 0xFFFF]


def ascii_words(text: str, words: int) -> list[int]:
    """Text, two characters a register, padded with NUL."""
    return list(struct.unpack(f">{words}H", text.encode().ljust(2 * words, b"\0")))


@dataclass
class SimMeter:
    """One meter: input and holding registers by address, and how it behaves.

    ``mood`` : "" answers, SILENT does not, an ExcCodes is what it answers. ``lose`` : so many requests get no answer.
    ``asked`` : (function, address, words) of every request.
    """

    unit: int
    inputs: dict[int, int] = field(default_factory=dict)
    holdings: dict[int, int] = field(default_factory=dict)
    mood: str | ExcCodes = ""
    lose: int = 0
    asked: list[tuple[int, int, int]] = field(default_factory=list)

    def put(self, function: int, address: int, words: list[int]) -> None:
        """Write registers, as the meter itself does."""
        bank = self.inputs if function == 4 else self.holdings
        bank.update(enumerate(words, address))

    def device(self) -> SimDevice:
        """For pymodbus. Addresses of no register are illegal; the values are looked up at each request."""
        bits = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
        more_bits = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
        holdings, inputs = list(_blocks(self.holdings)), list(_blocks(self.inputs))
        return SimDevice(self.unit, simdata=(bits, more_bits, holdings, inputs), action=self._answer)

    async def _answer(
        self, function: int, start: int, address: int, count: int, registers: list[int], written: Any
    ) -> ExcCodes | None:
        self.asked.append((function, address, count))
        if self.lose > 0:
            self.lose -= 1
            await asyncio.Event().wait()
        if self.mood == SILENT:
            await asyncio.Event().wait()
        if isinstance(self.mood, ExcCodes):
            return self.mood
        bank = self.inputs if function == 4 else self.holdings
        if written:
            bank.update(enumerate(written, address))
        if any(at not in bank for at in range(address, address + count)):
            return ExcCodes.ILLEGAL_ADDRESS
        for i in range(len(registers) - 1):  # the last is pymodbus' end mark
            registers[i] = bank.get(start + i, 0)
        return None


def sdm630(
    unit: int, *, kwh: float, kw: float = 1.0, export: float = 0.0, code: int = 0x70, serial: int = 1
) -> SimMeter:
    """An Eastron SDM630 by its manual."""
    meter = SimMeter(unit)
    meter.put(4, 0x0000, [0] * 0x50)
    meter.put(4, 0x0034, f32(kw * 1000))
    meter.put(4, 0x0046, f32(49.98))
    meter.put(4, 0x0048, f32(kwh))
    meter.put(4, 0x004A, f32(export))
    meter.put(3, 0xFC00, [serial >> 16, serial & 0xFFFF, code])
    return meter


def em24_e1(
    unit: int, *, kwh_tenths: int, watt_tenths: int = 12_345, export_tenths: int = 7, code: int = 1648
) -> SimMeter:
    """A Carlo Gavazzi EM24 with Ethernet, application H."""
    meter = SimMeter(unit)
    meter.put(4, 0x0000, [0] * 0x50)
    meter.put(4, 0x0000, i32_low_first(2299))
    meter.put(4, 0x000B, [code])
    meter.put(4, 0x0028, i32_low_first(watt_tenths))
    meter.put(4, 0x0034, i32_low_first(kwh_tenths))
    meter.put(4, 0x004E, i32_low_first(export_tenths))
    meter.put(4, 0x5000, ascii_words("AB1234567", 7))
    meter.put(3, 0xA000, [7])
    return meter


def em24(unit: int, *, kwh_tenths: int, export_tenths: int = 7) -> SimMeter:
    """A Carlo Gavazzi EM24 with RS-485."""
    meter = SimMeter(unit)
    meter.put(4, 0x0000, [0] * 0x60)
    meter.put(4, 0x0000, i32_low_first(2301))
    meter.put(4, 0x000B, [71])
    meter.put(4, 0x0028, i32_low_first(-54_321))
    meter.put(4, 0x003E, i32_low_first(kwh_tenths))
    meter.put(4, 0x0042, i32_low_first(kwh_tenths // 3))
    meter.put(4, 0x005C, i32_low_first(export_tenths))
    meter.put(3, 0x1101, [7])
    return meter


def iem3155(unit: int, *, wh: int, export_wh: int = 0, kw: float = 5.5, name: str = "iEM3155") -> SimMeter:
    """A Schneider iEM3155."""
    meter = SimMeter(unit)
    meter.put(3, 0x0031, ascii_words(name, 20))
    meter.put(3, 0x0081, [0, 4711])
    meter.put(3, 0x0BF3, f32(kw))
    meter.put(3, 0x0C25, f32(50.02))
    meter.put(3, 0x0C83, i64(wh))
    meter.put(3, 0x0C87, i64(export_wh))
    meter.put(4, 0, [0])
    return meter


@contextlib.asynccontextmanager
async def tcp(*meters: SimMeter, port: int = 0, rtu: bool = False) -> AsyncIterator[int]:
    """The meters behind a Modbus TCP gateway, or a converter that passes RTU frames; gives its port."""
    port = port or free_port()
    framer = FramerType.RTU if rtu else FramerType.SOCKET
    server = ModbusTcpServer([m.device() for m in meters], framer=framer, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    try:
        yield port
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


@contextlib.asynccontextmanager
async def rtu_line(*meters: SimMeter) -> AsyncIterator[str]:
    """The meters on a serial line; gives the path of the gateway's end."""
    with _wire() as (ours, theirs):
        server = ModbusSerialServer([m.device() for m in meters], framer=FramerType.RTU, port=theirs, baudrate=9600)
        await server.serve_forever(background=True)
        try:
            yield ours
        finally:
            await server.shutdown()  # type: ignore[no-untyped-call]


def _blocks(bank: dict[int, int]) -> Iterator[SimData]:
    addresses = sorted(bank) or [0]
    first = last = addresses[0]
    for address in [*addresses[1:], -1]:
        if address != last + 1:
            yield SimData(first, values=[0] * (last - first + 1), datatype=DataType.REGISTERS)
            first = address
        last = address


@contextlib.contextmanager
def _wire() -> Iterator[tuple[str, str]]:
    """Two terminals whose ends are joined by the running loop."""
    loop = asyncio.get_running_loop()
    (a, slave_a), (b, slave_b) = pty.openpty(), pty.openpty()
    for slave in (slave_a, slave_b):
        tty.setraw(slave)
    loop.add_reader(a, lambda: os.write(b, os.read(a, 1024)))
    loop.add_reader(b, lambda: os.write(a, os.read(b, 1024)))
    try:
        yield os.ttyname(slave_a), os.ttyname(slave_b)
    finally:
        for fd in (a, b):
            loop.remove_reader(fd)
        for fd in (a, b, slave_a, slave_b):
            os.close(fd)
