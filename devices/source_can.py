"""The source "can": a truck's FMS connector or J1939 bus, read only, as one reading a second.

python-can opens the bus; nothing is ever sent. From SocketCAN the frames are then read straight from the socket, all that
have come, ten times a second, which costs a fifth of ``recv`` with its message for each frame (``devices/README.md``). Other
interfaces of python-can (``virtual`` in tests, USB adapters) are read through ``recv``.
"""

import asyncio
import errno
import importlib
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, Protocol

import msgspec
from msgspec import Meta

from devices.can_sampler import SIGNALS, Rules, Sampler
from devices.config import ConfigError, convert
from devices.j1939 import Decoder, Frame
from devices.sources import Context, Source
from devices.wire import Sample

POLL_S: Final = 0.1  # between two looks at the bus: bounds the error of a frame's time; 180 frames at full load
MAX_FRAMES: Final = 4096  # taken in one look: two seconds of a full bus, then the others get their turn
RECEIVE_BYTES: Final = 1 << 20  # asked of the kernel, which gives what net.core.rmem_max allows
SILENT_S: Final = 10.0  # without a frame; the fastest FMS groups come every 20 ms
MANY_ERRORS: Final = 20  # bus errors since the last frame; a wrong bitrate gives hundreds, a last gasp a few
_FRAME: Final = struct.Struct("=IB3x8s")  # struct can_frame of linux/can.h
_EXTENDED, _REMOTE, _ERROR = 0x80000000, 0x40000000, 0x20000000
_FLAGS: Final = _EXTENDED | _REMOTE | _ERROR
_IDENTIFIER: Final = 0x1FFFFFFF
_BUS_OFF: Final = 0x40  # CAN_ERR_BUSOFF of linux/can/error.h


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``[[source]] kind = "can"`` takes."""

    channel: Annotated[str, Meta(min_length=1, description="the interface, such as can0")] = "can0"
    interface: Annotated[
        str, Meta(min_length=1, description='"socketcan", or another interface that python-can knows')
    ] = "socketcan"
    bitrate: Annotated[
        int, Meta(ge=10_000, le=1_000_000, description="bit/s, for adapters; SocketCAN's is set with ip link")
    ] = 250_000
    sample_s: Annotated[float, Meta(ge=0.1, le=3600, description="seconds between readings, 0.1 to 3600")] = 1.0
    hold_s: Annotated[
        dict[str, Annotated[float, Meta(ge=0, le=3600)]],
        Meta(description="signal = seconds its last value stands, instead of 2.5 to 25 by its period"),
    ] = {}
    axles: Annotated[
        int, Meta(ge=0, le=64, description="axle locations that make up the whole vehicle; 0 = do not add up axles")
    ] = 0
    battery_positive: Annotated[
        Literal["", "discharge", "charge"],
        Meta(description='what a positive battery current means on this bus; "" = not known, no battery power'),
    ] = ""
    vin: Annotated[
        str,
        Meta(pattern="^([A-HJ-NPR-Z0-9]{17})?$", description="the vehicle's VIN; readings of another are withheld"),
    ] = ""


@dataclass(slots=True)
class _Watch:
    """What has been heard since the bus was opened."""

    heard_s: float
    errors: int = 0  # since the last frame
    is_silent: bool = False


class Bus(Protocol):
    """Where frames come from."""

    def read(self) -> "Look":
        """What has come since the last look, without waiting. OSError if the bus is lost."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Look:
    """What one look at the bus gave: J1939 data frames, and how many others."""

    frames: list[Frame] = field(default_factory=list)
    other: int = 0
    errors: int = 0
    bus_off: bool = False


def make(options: Mapping[str, Any], context: Context) -> Source:
    """A source on the bus that ``options`` name. ConfigError if they are wrong or python-can is not installed."""
    key = f"source.{context.name}"
    given = convert(dict(options), Options, context.where, key)
    for signal in given.hold_s:
        if signal not in SIGNALS:
            mend = f"{signal!r} is no signal of the bus; known are {', '.join(sorted(SIGNALS))}"
            raise ConfigError(context.where, f"{key}.hold_s", mend)
    try:
        can = importlib.import_module("can")
    except ImportError as error:
        mend = f"python-can cannot be loaded ({error}); it comes with: pip install 'fleetco2[can]'"
        raise ConfigError(context.where, f"{key}.kind", mend) from None
    if given.interface not in can.VALID_INTERFACES:
        mend = f"python-can has no interface {given.interface!r}; known are {', '.join(sorted(can.VALID_INTERFACES))}"
        raise ConfigError(context.where, f"{key}.interface", mend)
    return CanSource(given, context)


class CanSource:
    """Readings of one bus. Started again after a fault it remembers the senders, so that counters stay comparable."""

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._context = context
        self._decoder = Decoder(context.counters)
        self._sampler = Sampler(Rules(options.axles, options.battery_positive, options.hold_s), context.counters)
        self._vin = ""

    @property
    def name(self) -> str:
        return self._context.name

    @property
    def vin(self) -> str:
        """The vehicle identification that the bus gave last; blank = none yet."""
        return self._vin

    async def samples(self) -> AsyncIterator[Sample]:
        """A reading every ``sample_s`` in which something came. OSError that says what is wrong with the bus."""
        now, period_s = self._context.monotonic, self._options.sample_s
        bus = await asyncio.to_thread(open_bus, self._options)
        try:
            watch = _Watch(heard_s=now())
            due_s = (now() // period_s + 1) * period_s
            while True:
                look, now_s = self._look(bus), now()
                self._check(look, watch, now_s)
                if look.frames:
                    self._take(look.frames, now_s)
                if now_s >= due_s:
                    due_s = (now_s // period_s + 1) * period_s
                    sample = self._sampler.sample(now_s)
                    if sample is not None and not self._is_other_vehicle():
                        yield sample
                await self._context.sleep(POLL_S)
        finally:
            bus.close()

    def _look(self, bus: Bus) -> Look:
        try:
            return bus.read()
        except OSError as error:
            raise OSError(_why(error, self._options)) from error

    def _check(self, look: Look, watch: "_Watch", now_s: float) -> None:
        """Count what is no frame. OSError when only errors come; a silent bus may be a parked truck and is waited for."""
        count, channel = self._context.counters.add, self._options.channel
        if look.other:
            count("can_frame_not_j1939", look.other)
        if look.errors:
            count("can_bus_error", look.errors)
            watch.errors += look.errors
        if look.bus_off:
            raise OSError(f"{channel} is bus-off: a wrong bitrate or a short circuit; {_mend(self._options)}")
        if look.frames:
            watch.heard_s, watch.errors, watch.is_silent = now_s, 0, False
        elif now_s - watch.heard_s > SILENT_S:
            if watch.errors >= MANY_ERRORS:
                raise OSError(f"{channel} gives only bus errors: is the bitrate right? {_mend(self._options)}")
            if not watch.is_silent:
                watch.is_silent = True
                count("can_silent")

    def _take(self, frames: list[Frame], now_s: float) -> None:
        batch = self._decoder.decode_many(frames, now_s)
        self._sampler.take(batch, now_s, self._context.now_ns())
        if batch.vin:
            self._vin = batch.vin
            if self._is_other_vehicle():
                self._context.counters.add("can_vin_other", label=batch.vin)
                text = f"the bus is that of {batch.vin}, the configuration says {self._options.vin}"
                raise OSError(f"{text}; readings are withheld until it is that vehicle")

    def _is_other_vehicle(self) -> bool:
        return bool(self._options.vin and self._vin and self._vin != self._options.vin)


class SocketBus:
    """Frames of a raw SocketCAN socket, read in one go. ``sock`` gives one ``struct can_frame`` per datagram."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)

    def read(self) -> Look:
        look = Look()
        frames, receive, unpack, size = look.frames, self._sock.recv, _FRAME.unpack, _FRAME.size
        for _ in range(MAX_FRAMES):
            try:
                datagram = receive(size)
            except BlockingIOError:
                break
            if len(datagram) != size:
                look.other += 1
                continue
            can_id, length, data = unpack(datagram)
            if can_id & _FLAGS == _EXTENDED and length <= 8:
                frames.append((can_id & _IDENTIFIER, data if length == 8 else data[:length]))
            elif can_id & _ERROR:
                look.errors += 1
                look.bus_off = look.bus_off or bool(can_id & _BUS_OFF)
            else:
                look.other += 1
        return look

    def close(self) -> None:
        self._sock.close()


class MessageBus:
    """Frames through python-can's own messages, for every interface that is not SocketCAN."""

    def __init__(self, bus: Any, error: type[Exception]) -> None:
        self._bus = bus
        self._error = error

    def read(self) -> Look:
        look = Look()
        for _ in range(MAX_FRAMES):
            try:
                message = self._bus.recv(timeout=0)
            except self._error as error:
                raise OSError(str(error)) from error
            if message is None:
                break
            if message.is_error_frame:
                look.errors += 1
                look.bus_off = look.bus_off or bool(message.arbitration_id & _BUS_OFF)
            elif message.is_extended_id and not message.is_remote_frame and len(message.data) <= 8:
                look.frames.append((message.arbitration_id, bytes(message.data)))
            else:
                look.other += 1
        return look

    def close(self) -> None:
        self._bus.shutdown()


def open_bus(options: Options) -> Bus:
    """The bus, open for reading. OSError that says what is missing and how to mend it."""
    can = importlib.import_module("can")
    try:
        bus = can.Bus(interface=options.interface, channel=options.channel, bitrate=options.bitrate)
    except (OSError, can.CanError) as error:
        raise OSError(_why(error, options)) from error
    if options.interface != "socketcan":
        return MessageBus(bus, can.CanError)
    taken = SocketBus(bus.socket.dup())
    bus.shutdown()
    return taken


def _why(error: Exception, options: Options) -> str:
    channel = options.channel
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
        return f"this kernel has no SocketCAN ({error}): load its modules can and can_raw, or use another interface"
    if code == errno.ENODEV:
        return f"there is no interface {channel}: is the CAN adapter fitted? {_mend(options)}"
    if code in (errno.ENETDOWN, errno.ENXIO):
        return f"{channel} is down; {_mend(options)}"
    if code in (errno.EPERM, errno.EACCES):
        return f"no permission for {channel} ({error}): allow this user or unit to use the device"
    return f"{options.interface} {channel}: {error}"


def _mend(options: Options) -> str:
    if options.interface != "socketcan":
        return "check interface, channel and bitrate"
    return f"set it up with: ip link set {options.channel} up type can bitrate 250000 listen-only on"
