"""The sources on gpsd and on receivers: real sockets, pipes and terminals, with a receiver's words at the other end."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from devices.clock import BUILD_NS
from devices.config import ConfigError
from devices.counters import Counters
from devices.source_gps import WATCH, make_gpsd, make_nmea
from devices.sources import Context, Source
from devices.wire import Sample

S = 10**9
T0 = BUILD_NS + 86_400 * S
DAY = datetime.fromtimestamp(T0 // S, tz=UTC)


def line(body: str) -> bytes:
    total = 0
    for char in body.encode():
        total ^= char
    return f"${body}*{total:02X}\r\n".encode()


def nmea(second: int, *, lat: str = "5000.0000") -> bytes:
    clock = f"{DAY:%H%M}{second:02}.00"
    return line(f"GPGGA,{clock},{lat},N,00800.0000,E,1,09,0.9,100.0,M,47.0,M,,") + line(
        f"GPRMC,{clock},A,{lat},N,00800.0000,E,10.0,0.0,{DAY:%d%m%y},,,A"
    )


def tpv(second: int, **changes: Any) -> bytes:
    time = datetime.fromtimestamp(T0 // S + second, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    said = {"class": "TPV", "mode": 3, "time": time, "lat": 50.0, "lon": 8.0, "altMSL": 100.0, "speed": 10.0} | changes
    return json.dumps({k: v for k, v in said.items() if v is not None}).encode() + b"\n"


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Place:
    """Where a source runs: counters, and both clocks at a second that the receiver's words move."""

    def __init__(self, base: Path) -> None:
        self.counters = Counters()
        self.base = base
        self.second = 0.0

    def context(self) -> Context:
        return Context(
            name="gps",
            base=self.base,
            counters=self.counters,
            now_ns=lambda: T0 + round(self.second * S),
            monotonic=lambda: 1000 + self.second,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def take(source: Source, n: int) -> list[Sample]:
    samples = source.samples()
    try:
        return [await anext(samples) for _ in range(n)]
    finally:
        await samples.aclose()  # type: ignore[attr-defined]


async def fault(source: Source) -> str:
    with pytest.raises(OSError, match=r".") as caught:
        await take(source, 1000)
    return str(caught.value)


@asynccontextmanager
async def server(serve: Serve, port: int = 0) -> AsyncIterator[int]:
    """A TCP server for one test; ``serve`` speaks with each client, which then is hung up on."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
            await writer.drain()
        finally:
            writer.close()

    listening = await asyncio.start_server(client, "127.0.0.1", port)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


def gpsd(words: list[bytes], *, stay: bool = False) -> Serve:
    """A gpsd that says ``words`` after it was asked to."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"class":"VERSION","release":"3.22","proto_major":3,"proto_minor":14}\n')
        assert await reader.readline() == WATCH
        writer.writelines(words)
        if stay:
            await reader.read()

    return serve


async def with_gpsd(place: Place, words: list[bytes], n: int) -> list[Sample]:
    async with server(gpsd(words)) as port:
        return await take(make_gpsd({"port": port}, place.context()), n)


SKY = b'{"class":"SKY","hdop":1.2,"satellites":[]}\n'


def test_gpsd_s_fix_becomes_a_reading(place: Place) -> None:
    (sample,) = asyncio.run(with_gpsd(place, [SKY, tpv(0)], 1))
    assert sample == Sample(T0, {"lat_deg": 50.0, "lon_deg": 8.0, "alt_m": 100.0, "gps_speed_kmh": 36.0, "hdop": 1.2})


def test_gpsd_s_hdop_is_used_once(place: Place) -> None:
    first, second = asyncio.run(with_gpsd(place, [SKY, tpv(0), tpv(1)], 2))
    assert ("hdop" in first.values, "hdop" in second.values) == (True, False)


def test_gpsd_s_heights(place: Place) -> None:
    words = [
        tpv(0, altHAE=147.0),
        tpv(1, altMSL=None, altHAE=147.0),
        tpv(2, altMSL=None, alt=99.0),
        tpv(3, altMSL=None),
    ]
    got = asyncio.run(with_gpsd(place, words, 4))
    assert [s.values.get("alt_m") for s in got] == [100.0, 147.0, 99.0, None]


def test_what_gpsd_says_is_judged(place: Place) -> None:
    words = [
        tpv(0, mode=1),
        tpv(0, lat=None),
        b'{"class":"SKY","hdop":9.9}\n' + tpv(0),
        tpv(0, lat=0.0, lon=0.0),
        tpv(0, lat=91.0),
        b'{"class":"TPV","mode":3,"lat":"50"}\n',
        b"{nonsense\n",
        b"\xff\xfe\n",
        b"[1]\n",
        b'{"class":"TOFF"}\n',
        tpv(1, time="2020-04-08T00:00:01.000Z"),
    ]
    (sample,) = asyncio.run(with_gpsd(place, words, 1))
    assert sample.time_ns == T0, "a position of now with a date of years ago has the time of its arrival"
    assert place.counters.by_label("gps_fix_refused") == {"no_fix": 2, "hdop": 1, "zero": 1, "range": 1}
    assert place.counters["gps_message_refused"] == 4
    assert place.counters.by_label("gps_time_refused") == {"before_build": 1}


def test_gpsd_absent_then_there(place: Place) -> None:
    async def run() -> None:
        async with server(gpsd([])) as port:
            pass
        source = make_gpsd({"port": port}, place.context())
        said = await fault(source)
        assert said.startswith(f"gpsd at 127.0.0.1:{port} cannot be reached (")
        assert said.endswith("): is its service running?")
        async with server(gpsd([tpv(0)]), port):
            assert len(await take(source, 1)) == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("words", "stay", "said"),
    [
        ([b'{"class":"DEVICES","devices":[]}\n'], True, "gpsd has no receiver: is it plugged in"),
        ([tpv(0)], True, "has sent nothing for 0.1 s"),
        ([tpv(0)], False, "is gone: unplugged, or its connection was closed"),
        ([b"x" * 200_000], True, "sends no lines"),
    ],
)
def test_gpsd_in_trouble(place: Place, words: list[bytes], stay: bool, said: str) -> None:
    async def run() -> str:
        async with server(gpsd(words, stay=stay)) as port:
            return await fault(make_gpsd({"port": port, "silent_s": 0.1}, place.context()))

    assert said in asyncio.run(run())


def test_nmea_over_tcp(place: Place) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"4.45,N*33\r\n" + nmea(0) + b"\r\n" + nmea(0).replace(b"5000", b"5100") + nmea(1))

    async def run() -> list[Sample]:
        async with server(serve) as port:
            return await take(make_nmea({"host": "127.0.0.1", "port": port}, place.context()), 2)

    got = asyncio.run(run())
    assert [(s.time_ns - T0) // S for s in got] == [0, 1]
    assert got[0].values == pytest.approx(
        {"lat_deg": 50.0, "lon_deg": 8.0, "alt_m": 100.0, "gps_speed_kmh": 18.52, "hdop": 0.9}
    )
    assert place.counters.by_label("gps_sentence_refused") == {"no_sentence": 1, "bad_checksum": 2}


def test_a_named_pipe_is_read_until_its_writer_leaves_and_again_when_it_is_back(place: Place) -> None:
    path = place.base / "gps"
    os.mkfifo(path)
    source = make_nmea({"path": "gps"}, place.context())

    async def run(second: int) -> None:
        keep = os.open(path, os.O_RDWR)  # so that the source finds a writer when it opens
        samples = source.samples()
        os.write(keep, nmea(second))
        assert (await anext(samples)).time_ns == T0 + second * S
        os.close(keep)
        with pytest.raises(OSError, match=r"the receiver at .*gps is gone: unplugged"):
            await anext(samples)

    asyncio.run(run(0))
    asyncio.run(run(1))


async def hear(samples: AsyncIterator[Sample], terminal: int, words: bytes) -> Sample:
    """The next reading, while the receiver repeats itself: what came before the device was opened is thrown away."""
    os.set_blocking(terminal, False)
    heard = asyncio.ensure_future(anext(samples))
    while not heard.done():
        with suppress(BlockingIOError):
            os.write(terminal, words)
        await asyncio.sleep(0)
    return heard.result()


def test_a_serial_receiver_unplugged_and_plugged_in_again(place: Place) -> None:
    pytest.importorskip("serial", reason="pyserial is not installed (extra gps)")
    link = place.base / "ttyGPS"

    async def run() -> None:
        source = make_nmea({"path": "ttyGPS", "baud": 9600}, place.context())
        assert (await fault(source)).startswith(f"there is no {link}: is the receiver plugged in? Serial devices here:")
        for second in (0, 1):
            ours, theirs = os.openpty()
            link.unlink(missing_ok=True)
            link.symlink_to(os.ttyname(theirs))
            samples = source.samples()
            assert (await hear(samples, ours, nmea(second))).time_ns == T0 + second * S
            os.close(theirs)
            os.close(ours)
            with pytest.raises(OSError, match="is gone: unplugged"):
                await anext(samples)

    asyncio.run(run())


def test_a_device_in_use_is_named(place: Place) -> None:
    pytest.importorskip("serial", reason="pyserial is not installed (extra gps)")
    ours, theirs = os.openpty()
    (place.base / "tty").symlink_to(os.ttyname(theirs))

    async def run() -> None:
        first = make_nmea({"path": "tty"}, place.context()).samples()
        await hear(first, ours, nmea(0))
        assert "is in use by another program, such as gpsd" in await fault(make_nmea({"path": "tty"}, place.context()))
        await first.aclose()  # type: ignore[attr-defined]

    asyncio.run(run())
    os.close(ours)
    os.close(theirs)


def test_what_is_no_receiver_is_said(place: Place) -> None:
    pytest.importorskip("serial", reason="pyserial is not installed (extra gps)")
    said = asyncio.run(fault(make_nmea({"path": str(place.base)}, place.context())))
    assert "it is no serial device" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_device_without_permission_is_named(place: Place) -> None:
    os.mkfifo(place.base / "gps", 0o000)
    said = asyncio.run(fault(make_nmea({"path": "gps"}, place.context())))
    assert said.startswith(f"no permission for {place.base / 'gps'}: add the gateway's user to the group dialout")


def test_a_silent_receiver_is_said(place: Place) -> None:
    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def run() -> str:
        async with server(serve) as port:
            options = {"host": "127.0.0.1", "port": port, "silent_s": 0.1}
            return await fault(make_nmea(options, place.context()))

    assert "has sent nothing for 0.1 s" in asyncio.run(run())


def test_a_wrong_speed_is_said(place: Place) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"\xf8\x00\x80garbage\n")
            place.second += 1
            await writer.drain()
            await asyncio.sleep(0)

    async def run() -> str:
        async with server(serve) as port:
            return await fault(make_nmea({"host": "127.0.0.1", "port": port, "baud": 4800}, place.context()))

    assert "sends bytes that are no NMEA: is baud = 4800 right?" in asyncio.run(run())
    assert place.counters.by_label("gps_sentence_refused").keys() == {"no_sentence"}


RECORDING = b"# a remark\n" + b"".join(nmea(s) for s in (0, 1, 1, 5)) + b"$GPRMC,torn"


def test_a_file_is_replayed_at_its_own_times(place: Place) -> None:
    (place.base / "log.nmea").write_bytes(RECORDING)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        place.second += seconds

    context = Context(name="gps", base=place.base, counters=place.counters, sleep=sleep, monotonic=lambda: place.second)
    source = make_nmea({"path": "log.nmea", "speed": 2}, context)

    async def run() -> list[Sample]:
        return [s async for s in source.samples()]

    assert [(s.time_ns - T0) // S for s in asyncio.run(run())] == [0, 1, 5]
    assert slept == pytest.approx([0, 0.5, 2.0])
    assert getattr(source, "can_wait", False)
    assert getattr(source, "anchor", 0) is None
    assert place.counters.by_label("gps_sentence_refused") == {"no_checksum": 1}
    assert asyncio.run(run()) == [], "called again, it goes on where it was"


def test_an_old_recording_needs_a_date_to_begin_with(place: Place) -> None:
    (place.base / "log.nmea").write_bytes(nmea(0).replace(b"%s" % f"{DAY:%d%m%y}".encode(), b"180320"))
    old = (place.base / "log.nmea").read_bytes().split(b"\r\n")
    (place.base / "log.nmea").write_bytes(b"".join(line(s[1:-3].decode()) for s in old if s))

    async def run(**options: Any) -> list[Sample]:
        return [s async for s in make_nmea({"path": "log.nmea", "speed": 0, **options}, place.context()).samples()]

    assert asyncio.run(run()) == []
    assert place.counters.by_label("gps_time_refused") == {"before_build": 1}
    (sample,) = asyncio.run(run(not_before=datetime(2019, 1, 1, tzinfo=UTC).date()))
    assert datetime.fromtimestamp(sample.time_ns // S, tz=UTC).date().isoformat() == "2020-03-18"


@pytest.mark.parametrize(
    ("make", "options", "mend"),
    [
        (make_gpsd, {"prot": 1}, "did you mean port?"),
        (make_gpsd, {"port": 0}, "its port"),
        (make_nmea, {}, 'give either path = "/dev/..." or host'),
        (make_nmea, {"path": "/dev/ttyACM0", "host": "x", "port": 1}, "give either path"),
        (make_nmea, {"host": "x"}, "give either path"),
        (make_nmea, {"path": "/dev/ttyACM0", "baud": 1}, "speed of a serial device"),
        (make_nmea, {"path": "/dev/ttyACM0", "not_before": "soon"}, "earliest date to believe"),
    ],
)
def test_wrong_options_are_named(make: Any, options: dict[str, Any], mend: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(options, Context(name="gps"))
    assert caught.value.key.startswith("source.gps")
    assert mend in caught.value.mend


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(ConfigError, match=r"pip install 'fleetco2\[gps\]'"):
        make_nmea({"path": "/dev/ttyACM0"}, place.context())
    (place.base / "log.nmea").write_bytes(RECORDING)
    assert make_nmea({"path": "log.nmea"}, place.context()).name == "gps", "a file needs no library"
