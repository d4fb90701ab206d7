"""The source "firmware": a sensor node (``devices/firmware``) on a serial line, or on any other stream of bytes.

The rules are in ``devices.firmware_intake``; here are the options, the meaning of the fields, and the port. After a restart of
the gateway the node sends again what was not yet acknowledged; the server books nothing twice from it, because a reading that
is not newer than the newest of its device changes no figure.
"""

import asyncio
import errno
import importlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, Protocol

import msgspec
from msgspec import Meta

from devices import firmware_record as fr
from devices.config import ConfigError, convert
from devices.counters import CounterName
from devices.firmware_intake import REPLY_S, Figures, Intake
from devices.firmware_record import Truck, TruckFlags, Warehouse
from devices.outbox import CUMULATIVE
from devices.sources import Context, Source
from devices.wire import Sample

BELOW_ZERO_KG: Final = -400  # slope, braking and levelling move a scale by so much: down to there it is empty
READ_BYTES: Final = 4096  # what a kernel keeps for a serial line

LoadSignal = Literal["", "gross_weight_kg", "cargo_kg"]


class PulseInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one pulse input counts."""

    signal: Annotated[str, Meta(description="a counter such as grid_import_kwh; blank = input not used")] = ""
    per_unit: Annotated[float, Meta(gt=0, le=1e9, description="pulses per unit of the signal, as on the meter")] = 1000
    start: Annotated[float, Meta(ge=0, le=1e12, description="the meter's reading when the node's count was 0")] = 0


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``[[source]] kind = "firmware"`` takes."""

    port: Annotated[str, Meta(min_length=1, description='the serial port, such as "/dev/serial0"')]
    baud: Annotated[int, Meta(ge=1200, le=4_000_000, description="as set in the node, 1200 to 4000000")] = 115_200
    load_cell: Annotated[
        LoadSignal, Meta(description='what the load cell weighs: "" (not used), "gross_weight_kg" or "cargo_kg"')
    ] = ""
    load_cell_add_kg: Annotated[float, Meta(ge=0, le=100_000, description="weight that does not rest on it, kg")] = 0
    axle: Annotated[
        LoadSignal, Meta(description='what the axle pressure weighs: "" (not used), "gross_weight_kg" or "cargo_kg"')
    ] = ""
    axle_add_kg: Annotated[float, Meta(ge=0, le=100_000, description="weight that does not rest on it, kg")] = 0
    pulses: Annotated[
        tuple[PulseInput, ...], Meta(max_length=fr.PULSE_INPUTS, description="the pulse inputs, first to third")
    ] = ()
    ack_after_s: Annotated[
        float,
        Meta(
            ge=0, le=600, description="with an outbox in memory: seconds after which a reading counts as safe, 0 to 600"
        ),
    ] = 15
    silent_s: Annotated[float, Meta(ge=3, le=600, description="seconds without a frame that are a fault, 3 to 600")] = (
        10
    )


_COUNTED: Final[dict[CounterName, str]] = {
    "firmware_frame_damaged": "damaged",
    "firmware_frame_newer": "newer",
    "firmware_record_lost": "lost",
    "firmware_record_undated": "undated",
    "firmware_record_repeated": "repeated",
}


class PortError(OSError):
    """A port that cannot be opened, that has gone, or on which no node speaks."""


class Port(Protocol):
    """A stream of bytes, both ways."""

    async def read(self, timeout_s: float) -> bytes | None:
        """What has come; b"" if nothing came in that time; None at the end of the stream. PortError if it has gone."""
        ...

    def write(self, data: bytes) -> None:
        """Send without waiting; what the line does not take is lost, and a second later the same is said again."""
        ...


OpenPort = Callable[[], AbstractAsyncContextManager[Port]]


class FirmwareSource:
    """One node. ``open_port`` is called by ``samples``, again after each fault; what was taken is remembered here."""

    def __init__(self, options: Options, context: Context, open_port: OpenPort) -> None:
        self._options = options
        self._context = context
        self._open_port = open_port
        self._intake = Intake(lambda record: values_of(record, options), ack_after_s=options.ack_after_s)

    @property
    def name(self) -> str:
        return self._context.name

    @property
    def figures(self) -> Figures:
        """What happened on the line so far."""
        return self._intake.figures

    def on_durable(self, at_s: float) -> None:
        """Everything given before ``at_s`` [monotonic s] is on the gateway's disk."""
        self._intake.on_durable(at_s)

    async def samples(self) -> AsyncIterator[Sample]:
        """Readings in the order they were taken. PortError when the port or the node cannot be reached."""
        intake, context = self._intake, self._context
        async with self._open_port() as port:
            intake.on_open()
            heard_s, before = context.monotonic(), intake.figures
            while (data := await port.read(REPLY_S)) is not None:
                now_s = context.monotonic()
                told = intake.figures
                for sample in intake.on_bytes(data, now_s, context.now_ns()):
                    yield sample
                self._count(told)
                now_s = context.monotonic()
                if reply := intake.reply(now_s, context.now_ns()):
                    port.write(reply)
                if intake.figures.frames > before.frames:
                    heard_s, before = now_s, intake.figures
                elif now_s - heard_s >= self._options.silent_s:
                    raise PortError(self._silence(intake.figures.damaged - before.damaged))

    def _count(self, told: Figures) -> None:
        """What went wrong on the line since ``told``, under the gateway's counters."""
        for name, field in _COUNTED.items():
            if more := getattr(self._intake.figures, field) - getattr(told, field):
                self._context.counters.add(name, more, label=self.name)

    def _silence(self, damaged: int) -> str:
        on = f"{self._options.port} for {self._options.silent_s:g} s"
        if damaged:
            return f"only unreadable bytes on {on}; is the node set to {self._options.baud} baud too?"
        return f"nothing on {on}; has the node power, and is its TX on our RX?"


def make(options: Mapping[str, Any], context: Context) -> Source:
    """The node that ``options`` describe. ConfigError if they are wrong or pyserial is not installed; opens nothing."""
    key = f"source.{context.name}"
    given = convert(dict(options), Options, context.where, key)
    signals = [pulse.signal for pulse in given.pulses if pulse.signal]
    for i, pulse in enumerate(given.pulses):
        if pulse.signal and pulse.signal not in CUMULATIVE:
            near = get_close_matches(pulse.signal, CUMULATIVE, n=1)
            mend = f"{pulse.signal!r} is no counter" + (f"; did you mean {near[0]!r}?" if near else "")
            raise ConfigError(context.where, f"{key}.pulses[{i}].signal", mend)
        if pulse.signal and signals.count(pulse.signal) > 1:
            raise ConfigError(context.where, f"{key}.pulses[{i}].signal", f"two inputs count {pulse.signal}")
    if given.axle and given.axle == given.load_cell:
        raise ConfigError(context.where, f"{key}.axle", f"the load cell weighs {given.axle} already; leave one blank")
    try:
        serial = importlib.import_module("serial")
    except ImportError:
        raise ConfigError(context.where, f"{key}.kind", "needs pyserial: pip install 'fleetco2[serial]'") from None
    return FirmwareSource(given, context, lambda: serial_port(serial, given.port, given.baud))


def values_of(record: Truck | Warehouse, options: Options) -> dict[str, float]:
    """Signals of a record. Loads only while they are steady; the bus's own gross weight is believed before any sensor."""
    if isinstance(record, Warehouse):
        return {
            pulse.signal: pulse.start + count / pulse.per_unit
            for pulse, count in zip(options.pulses, record.counts, strict=False)
            if pulse.signal and count is not None
        }
    values: dict[str, float] = {}
    if record.fuel_total is not None and record.flags & TruckFlags.FUEL_COARSE:
        values["fuel_total_l"] = record.fuel_total / 2
    elif record.fuel_total is not None:
        values["fuel_total_hr_l"] = record.fuel_total / 1000
    if record.odometer is not None:
        values["odometer_m"] = float(record.odometer * 5)
    if record.fuel_rate is not None:
        values["fuel_rate_lph"] = record.fuel_rate / 20
    if record.speed is not None:
        values["speed_kmh"] = record.speed / 256
    if record.rpm is not None:
        values["engine_speed_rpm"] = record.rpm / 8
    if record.gross_weight is not None:
        values["gross_weight_kg"] = float(record.gross_weight * 10)
    for signal, kg, add_kg, steady in (
        (options.load_cell, record.load_kg, options.load_cell_add_kg, TruckFlags.LOAD_STABLE),
        (options.axle, record.axle_kg, options.axle_add_kg, TruckFlags.AXLE_STABLE),
    ):
        if signal and signal not in values and kg is not None and kg >= BELOW_ZERO_KG and record.flags & steady:
            values[signal] = max(kg, 0) + add_kg
    return values


@asynccontextmanager
async def serial_port(serial: Any, path: str, baud: int) -> AsyncIterator[Port]:
    """The serial port ``path``, for us alone; ``serial`` is pyserial. PortError with what to do if it cannot be opened."""
    try:
        line = serial.Serial(path, baud, timeout=0, write_timeout=0, exclusive=True)
    except OSError as error:  # SerialException is one
        raise PortError(_why(path, error)) from None
    try:
        yield _SerialPort(line.fileno(), path)
    finally:
        line.close()


class _SerialPort:
    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path

    async def read(self, timeout_s: float) -> bytes | None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._fd, ready.set)  # only while we wait: otherwise it would call without end
        try:
            async with asyncio.timeout(timeout_s):
                await ready.wait()
        except TimeoutError:
            return b""
        finally:
            loop.remove_reader(self._fd)
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise PortError(f"{self._path} has gone ({error}); is it unplugged?") from None
        if not data:
            raise PortError(f"{self._path} has gone; is it unplugged, or open elsewhere?")
        return data

    def write(self, data: bytes) -> None:
        try:
            os.write(self._fd, data)
        except BlockingIOError:
            pass
        except OSError as error:
            raise PortError(f"{self._path} has gone ({error}); is it unplugged?") from None


def _why(path: str, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT:
            return f"there is no {path}; is it plugged in, and is the name right?"
        case errno.EACCES:
            return f"{path} may not be opened; put the service into the group that owns it, often dialout"
        case errno.EAGAIN | errno.EBUSY:
            return f"{path} is open in another program"
    return f"{path} cannot be opened: {error}"
