"""The sources "gpsd" and "nmea": positions from gpsd's JSON over TCP, or from a receiver's NMEA sentences.

NMEA comes from a serial device (through pyserial, extra ``gps``), a named pipe, a TCP port, or from a file, which is
replayed at the pace of its own times. What is believed is decided in ``devices.gps``.
"""

import asyncio
import errno
import importlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from devices.clock import BUILD_NS
from devices.config import ConfigError, convert
from devices.gps import Fix, Receiver
from devices.nmea import Epochs, parse
from devices.source_csv import parse_time
from devices.sources import Context, Source
from devices.wire import Sample

LINE_BYTES: Final = 65_536  # of one message; gpsd's list of all satellites has some 10,000
GOODBYE_S: Final = 1.0  # for a connection to close
WATCH: Final = b'?WATCH={"enable":true,"json":true};\n'
MPS_KMH: Final = 3.6
_SERIAL_PLACES: Final = ("/dev/serial/by-id", "/dev/ttyACM*", "/dev/ttyUSB*")

_Sample_s = Annotated[float, Meta(ge=0.1, le=3600, description="seconds between readings at least, 0.1 to 3600")]
_Silent_s = Annotated[
    float, Meta(ge=0.1, le=3600, description="seconds without a message after which the receiver counts as gone")
]
_NotBefore = Annotated[
    date | None, Meta(description="earliest date to believe, and ten years on; unset = that of this software")
]


class GpsdOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``[[source]] kind = "gpsd"`` takes."""

    host: Annotated[str, Meta(min_length=1, description="where gpsd runs")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535, description="its port")] = 2947
    sample_s: _Sample_s = 1.0
    silent_s: _Silent_s = 10.0
    not_before: _NotBefore = None


class NmeaOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``[[source]] kind = "nmea"`` takes: ``path`` or ``host`` and ``port``."""

    path: Annotated[str, Meta(description="serial device such as /dev/ttyACM0, named pipe, or a file to replay")] = ""
    baud: Annotated[int, Meta(ge=300, le=4_000_000, description="speed of a serial device")] = 9600
    host: Annotated[str, Meta(description="server that sends NMEA over TCP, instead of path")] = ""
    port: Annotated[int, Meta(ge=0, le=65535, description="its port")] = 0
    speed: Annotated[float, Meta(ge=0, description="replay: 1 = as recorded, 0 = as fast as it goes")] = 1.0
    sample_s: _Sample_s = 1.0
    silent_s: _Silent_s = 10.0
    not_before: _NotBefore = None


def make_gpsd(options: Mapping[str, Any], context: Context) -> Source:
    """A source on a gpsd, which need not run yet. ConfigError if ``options`` are wrong."""
    return GpsdSource(convert(dict(options), GpsdOptions, context.where, f"source.{context.name}"), context)


def make_nmea(options: Mapping[str, Any], context: Context) -> Source:
    """A source on a receiver, which need not be plugged in yet. ConfigError if ``options`` or a library are wrong."""
    key = f"source.{context.name}"
    given = convert(dict(options), NmeaOptions, context.where, key)
    if bool(given.path) == bool(given.host) or bool(given.host) != bool(given.port):
        raise ConfigError(context.where, key, 'give either path = "/dev/..." or host = "..." and port = ...')
    path = context.base / given.path
    if given.path and path.is_file():
        return NmeaReplay(path, given, context)
    if given.path and not path.is_fifo():
        try:
            importlib.import_module("serial")
        except ImportError as error:
            mend = f"pyserial cannot be loaded ({error}); it comes with: pip install 'fleetco2[gps]'"
            raise ConfigError(context.where, f"{key}.path", mend) from None
    return NmeaSource(path, given, context)


class _GpsSource:
    """What the sources share: the memory of one receiver, kept when its connection is made again."""

    def __init__(self, options: GpsdOptions | NmeaOptions, context: Context, *, recorded: bool = False) -> None:
        self._context = context
        self._silent_s = options.silent_s
        self._receiver = Receiver(
            context.counters,
            sample_s=options.sample_s,
            not_before_ns=_not_before_ns(options.not_before),
            recorded=recorded,
        )

    @property
    def name(self) -> str:
        return self._context.name

    @property
    def anchor(self) -> tuple[int, float] | None:
        """The last believed time: UTC [ns] and the steady clock [s] at which it arrived."""
        return self._receiver.anchor

    async def _line(self, reader: asyncio.StreamReader, what: str) -> bytes:
        """The next line. OSError when none comes any more."""
        try:
            async with asyncio.timeout(self._silent_s):
                return await reader.readuntil(b"\n")
        except TimeoutError:
            raise OSError(f"{what} has sent nothing for {self._silent_s:g} s") from None
        except asyncio.LimitOverrunError:
            raise OSError(f"{what} sends no lines: is it a receiver, and is the speed right?") from None
        except (asyncio.IncompleteReadError, OSError):
            raise OSError(f"{what} is gone: unplugged, or its connection was closed") from None


class GpsdSource(_GpsSource):
    """Positions of the receiver that gpsd has found."""

    def __init__(self, options: GpsdOptions, context: Context) -> None:
        super().__init__(options, context)
        self._host, self._port = options.host, options.port

    async def samples(self) -> AsyncIterator[Sample]:
        """A reading for each good fix. OSError that says what is wrong with gpsd."""
        what = f"gpsd at {self._host}:{self._port}"
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port, limit=LINE_BYTES)
        except OSError as error:
            raise OSError(f"{what} cannot be reached ({error}): is its service running?") from error
        try:
            writer.write(WATCH)
            hdop: float | None = None
            while True:
                fix = self._message(await self._line(reader, what), hdop)
                if isinstance(fix, Fix):
                    hdop = None
                    if (sample := self._receiver.on_fix(fix)) is not None:
                        yield sample
                elif fix is not None:
                    hdop = fix
        finally:
            await _close(writer)

    def _message(self, line: bytes, hdop: float | None) -> Fix | float | None:
        """A fix of a TPV, the HDOP of a SKY, or None."""
        try:
            said = msgspec.json.decode(line, type=_Gpsd)
        except (msgspec.DecodeError, RecursionError):
            self._context.counters.add("gps_message_refused")
            return None
        if said.kind == "DEVICES" and said.devices == []:
            raise OSError("gpsd has no receiver: is it plugged in, and named in gpsd's DEVICES?")
        if said.kind == "SKY":
            return said.hdop
        if said.kind != "TPV":
            return None
        time_ns = parse_time(said.time) if "T" in said.time else None
        return Fix(
            at_s=self._context.monotonic(),
            wall_ns=self._context.now_ns(),
            time_ns=time_ns,
            lat_deg=said.lat,
            lon_deg=said.lon,
            alt_m=next((a for a in (said.alt_msl, said.alt, said.alt_hae) if a is not None), None),
            speed_kmh=None if said.speed is None else said.speed * MPS_KMH,
            hdop=hdop,
            mode=said.mode,
        )


class _Gpsd(msgspec.Struct, frozen=True):
    """The part of gpsd's messages that is used; protocol 3."""

    kind: str = msgspec.field(name="class")
    mode: int = 0
    time: str = ""
    lat: float | None = None
    lon: float | None = None
    alt: float | None = None
    alt_msl: float | None = msgspec.field(name="altMSL", default=None)
    alt_hae: float | None = msgspec.field(name="altHAE", default=None)
    speed: float | None = None
    hdop: float | None = None
    devices: list[Any] | None = None


class NmeaSource(_GpsSource):
    """Positions of a receiver on a serial line, a named pipe or a TCP port."""

    def __init__(self, path: Path, options: NmeaOptions, context: Context) -> None:
        super().__init__(options, context)
        self._path = path
        self._options = options

    async def samples(self) -> AsyncIterator[Sample]:
        """A reading for each good fix. OSError that says what is wrong with the receiver."""
        epochs, now_s, now_ns = Epochs(), self._context.monotonic, self._context.now_ns
        what, reader, close = await self._open()
        try:
            heard_s = now_s()
            while True:
                sentence = parse(line := await self._line(reader, what))
                at_s = now_s()
                if isinstance(sentence, str):
                    if line.strip():
                        self._context.counters.add("gps_sentence_refused", label=sentence)
                    if at_s - heard_s > self._silent_s:
                        raise OSError(f"{what} sends bytes that are no NMEA: is baud = {self._options.baud} right?")
                    continue
                heard_s = at_s
                for fix in epochs.on_sentence(sentence, at_s, now_ns()):
                    if (sample := self._receiver.on_fix(fix)) is not None:
                        yield sample
        finally:
            await close()

    async def _open(self) -> tuple[str, asyncio.StreamReader, Callable[[], Any]]:
        """What it is, where its bytes come from, and how it is closed."""
        if self._options.host:
            what = f"the receiver at {self._options.host}:{self._options.port}"
            try:
                reader, writer = await asyncio.open_connection(self._options.host, self._options.port, limit=LINE_BYTES)
            except OSError as error:
                raise OSError(f"{what} cannot be reached: {error}") from error
            return what, reader, lambda: _close(writer)
        what = f"the receiver at {self._path}"
        try:
            pipe = _open_device(self._path, self._options.baud)
        except OSError as error:
            raise OSError(_why(error, self._path)) from error
        reader = asyncio.StreamReader(limit=LINE_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )

        async def close() -> None:
            transport.close()
            await asyncio.sleep(0)  # the transport closes the device in the next round of the loop

        return what, reader, close


class NmeaReplay(_GpsSource):
    """A recording of NMEA: its own times are the clock. Called again, it goes on where it was."""

    can_wait = True

    def __init__(self, path: Path, options: NmeaOptions, context: Context) -> None:
        super().__init__(options, context, recorded=True)
        self._path = path
        self._speed = options.speed
        self._lines_done = 0
        self._epochs = Epochs()

    async def samples(self) -> AsyncIterator[Sample]:
        """A reading for each good fix of the recording, at its pace times ``speed``."""
        clock, first_ns, begun_s = self._context.monotonic, None, self._context.monotonic()
        for fix in self._fixes():
            sample = self._receiver.on_fix(fix)
            if sample is None:
                continue
            first_ns = sample.time_ns if first_ns is None else first_ns
            due_s = begun_s + (sample.time_ns - first_ns) / 1e9 / self._speed if self._speed else begun_s
            await self._context.sleep(max(0.0, due_s - clock()))
            yield sample

    def _fixes(self) -> Iterator[Fix]:
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if number <= self._lines_done:
                    continue
                self._lines_done = number
                sentence = parse(line)
                if not isinstance(sentence, str):
                    yield from self._epochs.on_sentence(sentence, 0.0, 0)
                elif line.strip() and not line.startswith((b"#", b"!")):  # remarks, and ships' transponders
                    self._context.counters.add("gps_sentence_refused", label=sentence)
        yield from self._epochs.flush()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(GOODBYE_S):
            await writer.wait_closed()


def _open_device(path: Path, baud: int) -> Any:
    """A serial device or named pipe, ready to be read without waiting. OSError if there is none."""
    mode = path.stat().st_mode
    if stat.S_ISFIFO(mode):
        return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
    if not stat.S_ISCHR(mode):
        raise OSError(errno.ENOTTY, "it is no serial device")
    return importlib.import_module("serial").Serial(str(path), baudrate=baud, timeout=0, exclusive=True)


def _why(error: OSError, path: Path) -> str:
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        here = sorted(str(p) for place in _SERIAL_PLACES for p in Path("/").glob(place.lstrip("/")))
        return f"there is no {path}: is the receiver plugged in? Serial devices here: {', '.join(here) or 'none'}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission for {path}: add the gateway's user to the group dialout, or allow the device in its unit"
    if error.errno in (errno.EBUSY, errno.EAGAIN):
        return f"{path} is in use by another program, such as gpsd"
    return f"{path} cannot be read: {error}"


def _not_before_ns(given: date | None) -> int:
    if given is None:
        return BUILD_NS
    return int(datetime(given.year, given.month, given.day, tzinfo=UTC).timestamp()) * 10**9
