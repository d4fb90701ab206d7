"""One Modbus line, TCP or RTU: who is asked, what comes back, and which silence means what. pymodbus stands only here."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from pymodbus import FramerType, ModbusException
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException
from pymodbus.pdu import ModbusPDU

from devices.meters import Function, Span
from devices.modbus_options import Line

_NO_ANSWER: Final = {  # what a gateway in between says when the meter behind it is silent or not ready
    5: "is still busy with an earlier request",
    6: "is busy",
    10: "cannot be reached by its gateway",
    11: "does not answer its gateway",
}
NO_REGISTER: Final = 2
_REFUSED: Final = {
    1: "does not know the function",
    NO_REGISTER: "does not have the register",
    3: "does not like the request",
}
_NEVER: Final = (
    1_000_000_000  # pymodbus hangs up after so many silences; a dead meter must not cost the others the line
)


class BusError(OSError):
    """The line itself is gone or cannot be opened."""


class NoAnswerError(Exception):
    """A meter gave no answer that can be used."""


class RefusedError(Exception):
    """A meter answered with a Modbus exception: ``code`` 1 function, 2 register, 3 value, 4 failure."""

    def __init__(self, code: int) -> None:
        super().__init__(f"it {_REFUSED.get(code, 'reports a failure')} (exception {code})")
        self.code = code


class Bus:
    """A line with one request under way at a time."""

    def __init__(self, line: Line, sleep: Callable[[float], Awaitable[Any]]) -> None:
        self._line = line
        self._sleep = sleep
        self._client: AsyncModbusTcpClient | AsyncModbusSerialClient | None = None

    async def open(self) -> None:
        """Connect. BusError tells the place and the reason."""
        line = self._line
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # its every timeout; the source says it once
        if line.serial:
            _look_at(line.serial)
            self._client = AsyncModbusSerialClient(
                line.serial,
                baudrate=line.baudrate,
                parity=line.parity,
                stopbits=line.stopbits,
                timeout=line.timeout_s,
                retries=0,
                reconnect_delay=0,
            )
        else:
            self._client = AsyncModbusTcpClient(
                line.host,
                port=line.port,
                framer=FramerType.RTU if line.rtu else FramerType.SOCKET,
                timeout=line.timeout_s,
                retries=0,
                reconnect_delay=0,
            )
        self._client.set_max_no_responses(_NEVER)
        if not await self._client.connect():
            self.close()
            raise BusError(f"{line.place} cannot be opened: {await self._why()}")
        if line.rs485:
            try:
                _drive_rs485(self._client)
            except OSError as error:
                self.close()
                raise BusError(f"{line.serial} has no RS-485 mode ({error}); leave rs485 out") from None

    async def read(self, unit: int, function: Function, span: Span, *, attempts: int = 1) -> list[int]:
        """The registers of ``span``. NoAnswerError after so many attempts, RefusedError, BusError."""
        while True:
            attempts -= 1
            try:
                return await self._read(unit, function, span)
            except NoAnswerError:
                if attempts <= 0:
                    raise

    async def write(self, unit: int, address: int, value: int) -> None:
        """Write one register. Errors as with ``read``."""
        await self._ask(unit, 6, lambda c: c.write_register(address, value, device_id=unit))

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _read(self, unit: int, function: Function, span: Span) -> list[int]:
        def call(client: AsyncModbusTcpClient | AsyncModbusSerialClient) -> Awaitable[ModbusPDU]:
            read = client.read_holding_registers if function == 3 else client.read_input_registers
            return read(span.address, count=span.words, device_id=unit)

        words = list((await self._ask(unit, function, call)).registers)
        if len(words) != span.words:
            await self._settle()
            raise NoAnswerError(f"it sends {len(words)} registers where {span.words} were asked for")
        return words

    async def _ask(self, unit: int, function: int, call: Callable[[Any], Awaitable[ModbusPDU]]) -> ModbusPDU:
        client = self._client
        if client is None or not client.connected:
            raise BusError(f"{self._line.place} was lost")
        if self._line.gap_s:
            await self._sleep(self._line.gap_s)
        try:
            answer = await call(client)
        except ConnectionException:
            raise BusError(f"{self._line.place} was lost") from None
        except ModbusException:
            if not client.connected:
                raise BusError(f"{self._line.place} was lost") from None
            await self._settle()
            raise NoAnswerError(f"unit {unit} does not answer within {self._line.timeout_s:g} s") from None
        if answer.isError():
            if answer.exception_code in _NO_ANSWER:
                raise NoAnswerError(f"unit {unit} {_NO_ANSWER[answer.exception_code]}")
            raise RefusedError(answer.exception_code)
        if answer.function_code != function:
            await self._settle()
            raise NoAnswerError(f"it answers function {answer.function_code} where {function} was asked")
        return answer

    async def _settle(self) -> None:
        """Let an answer that is late pass by: RTU frames do not say which question they answer."""
        if self._line.rtu or self._line.serial:
            await self._sleep(self._line.timeout_s)

    async def _why(self) -> str:
        """Why the line did not open; pymodbus keeps that to itself."""
        if self._line.serial:
            return "it exists, but is in use or no serial line"
        try:
            async with asyncio.timeout(self._line.timeout_s):
                _, writer = await asyncio.open_connection(self._line.host, self._line.port)
        except TimeoutError:
            return f"no answer within {self._line.timeout_s:g} s"
        except OSError as error:
            return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        writer.close()
        return "it hung up"


def _drive_rs485(client: Any) -> None:
    """Have the kernel switch the driver's direction (TIOCSRS485), for boards that wire it to RTS. OSError if it cannot."""
    from serial.rs485 import RS485Settings

    try:
        client.ctx.transport.sync_serial.rs485_mode = RS485Settings()
    except ValueError as error:
        raise OSError(str(error)) from None


def _look_at(path: str) -> None:
    """Say in words what opening would say in numbers."""
    if path.startswith(("socket://", "rfc2217://")):
        return
    if not Path(path).exists():
        raise BusError(f"{path} does not exist; is the adapter plugged in?")
    if not os.access(path, os.R_OK | os.W_OK):
        raise BusError(f"{path} may not be opened by this user; add it to the group that owns it, usually dialout")
