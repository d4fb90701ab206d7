"""Buses and receivers under noise: nothing crashes, nothing is invented, and what follows the noise is read."""

import asyncio
import math
import socket
from collections.abc import Iterable
from datetime import UTC, date, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from devices.can_sampler import Rules, Sampler
from devices.clock import BUILD_NS
from devices.counters import Counters
from devices.gps import Fix, Receiver
from devices.j1939 import BY_NUMBER, GIVES, SPNS, Batch, Decoder, Frame
from devices.j1939_transport import MAX_SESSIONS
from devices.nmea import OTHER, Epochs, Sentence, parse
from devices.source_can import SocketBus
from devices.source_gps import make_gpsd
from devices.sources import Context

S = 10**9
T0 = BUILD_NS + 86_400 * S
KNOWN = sorted({spn.pgn for spn in SPNS} | {0xEC00, 0xEB00, 0xFEEC})
SINGLE = [spn for spn in SPNS if spn.first + spn.size <= 8 and spn.pgn != 0xFEEA]

data_bytes = st.binary(max_size=8) | st.binary(min_size=8, max_size=8)
can_ids = st.integers(0, 2**29 - 1) | st.builds(
    lambda priority, pgn, low: priority << 26 | pgn << 8 | low,
    st.integers(0, 7),
    st.sampled_from(KNOWN),
    st.integers(0, 255),
)
frames = st.lists(st.tuples(can_ids, data_bytes), max_size=60)


def values_of(batch: Batch) -> Iterable[tuple[int, float]]:
    for spn, value in (*batch.values.items(), *((582, w) for w in batch.axles.values())):
        if value is not None:
            yield spn, value


@given(frames)
def test_any_frames_give_values_within_the_range_of_their_codes_or_none(noise: list[Frame]) -> None:
    counters = Counters()
    batch = Decoder(counters).decode_many(noise, 0.0)
    for number, value in values_of(batch):
        spn = BY_NUMBER[number]
        most = ((0xFB << 8 * (spn.size - 1)) - 1) * spn.num / spn.den + spn.offset
        assert spn.offset <= value <= most
    assert batch.vin == "" or len(batch.vin) == 17
    assert counters["can_frames"] == len(noise)


@given(st.sampled_from(SINGLE), st.binary(min_size=8, max_size=8), st.integers(0, 255))
def test_a_frame_against_arithmetic_by_hand(spn: tuple[int, ...], data: bytes, sender: int) -> None:
    number, pgn, first, size, num, den, offset = spn[:7]
    value = Decoder(Counters()).decode_many([(pgn << 8 | sender, data)], 0.0).values.get(number)
    if data[first + size - 1] > 0xFA:
        assert value is None
    else:
        raw = sum(data[first + i] * 256**i for i in range(size))
        assert value is not None
        assert math.isclose(value, raw * (num / den) + offset, rel_tol=1e-12, abs_tol=1e-9)


@given(frames, st.data())
def test_a_batch_may_be_split_anywhere(noise: list[Frame], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(noise)))
    whole, parts = Decoder(counters := Counters()), Decoder(split_counters := Counters())
    one = whole.decode_many(noise, 0.0)
    a, b = parts.decode_many(noise[:cut], 0.0), parts.decode_many(noise[cut:], 0.0)
    assert one == Batch(a.values | b.values, a.axles | b.axles, b.vin or a.vin)
    assert counters.snapshot() == split_counters.snapshot()


def announced(payload: bytes, sender: int = 0) -> list[Frame]:
    """VI as a broadcast of three packets."""
    head = bytes([32, len(payload), 0, 3, 255, 0xEC, 0xFE, 0])
    filled = payload.ljust(21, b"\xff")
    parts = [bytes([n + 1]) + filled[7 * n : 7 * n + 7] for n in range(3)]
    return [(0x1CECFF00 | sender, head), *((0x1CEBFF00 | sender, p) for p in parts)]


transport_frames = st.lists(
    st.tuples(
        st.builds(
            lambda form, to, sender: form | to << 8 | sender,
            st.sampled_from([0x1CEC0000, 0x1CEB0000]),
            st.sampled_from([0xFF, 0xF9, 0x00]),
            st.integers(0, 3),
        ),
        st.binary(min_size=8, max_size=8)
        | st.builds(
            lambda kind, size, n, pgn: bytes([kind, size, 0, n, 255, pgn & 255, pgn >> 8, 0]),
            st.sampled_from([16, 17, 19, 32, 255]),
            st.integers(0, 255),
            st.integers(0, 40),
            st.sampled_from([0xFEEC, 0xFEE3, 0xFECA]),
        ),
    ),
    max_size=MAX_SESSIONS,
)


@given(transport_frames)
def test_after_any_packets_a_whole_message_is_read(noise: list[Frame]) -> None:
    decoder = Decoder(Counters())
    decoder.decode_many(noise, 0.0)
    assert decoder.decode_many(announced(b"WDB9634031L123456*"), 0.0).vin == "WDB9634031L123456"


@given(st.lists(st.lists(st.sampled_from([0, 1, 1, 1, 2]), min_size=4, max_size=4), min_size=1, max_size=8))
def test_lost_and_doubled_packets_never_make_another_vin(copies: list[list[int]]) -> None:
    """Message after message, five seconds apart; each frame is lost, sent once or sent twice."""
    decoder, now_s = Decoder(Counters()), 0.0
    for i, times in enumerate(copies):
        vin = f"WDB9634031L{i:06}"
        heard = []
        for (can_id, data), n in zip(announced(vin.encode() + b"*"), times, strict=True):
            now_s += 0.05
            heard += [decoder.decode_many([(can_id, data)], now_s).vin for _ in range(n)]
        assert set(heard) <= {"", vin}
        if times == [1, 1, 1, 1]:
            assert heard[-1] == vin
        now_s += 5.0


moments = st.lists(
    st.tuples(
        st.floats(0, 30),
        st.dictionaries(st.sampled_from(sorted(BY_NUMBER)), st.none() | st.floats(0, 1000), max_size=6),
    ),
    max_size=30,
)


@given(moments)
def test_every_value_in_a_reading_was_heard_lately(script: list[tuple[float, dict[int, float | None]]]) -> None:
    sampler, now_s, heard = Sampler(Rules(), Counters()), 0.0, []
    for wait_s, values in script:
        now_s += wait_s
        sampler.take(Batch(values), now_s, T0 + round(now_s * S))
        heard += [(now_s, spn, value) for spn, value in values.items() if value is not None]
        sample = sampler.sample(now_s)
        for signal, value in (sample.values if sample else {}).items():
            assert any(
                spn in GIVES[signal] and v == value and now_s - at_s <= BY_NUMBER[spn].hold_s for at_s, spn, v in heard
            )
        if sample is not None:
            assert sample.time_ns == T0 + round(now_s * S), "something new came just now"


@given(st.lists(st.binary(max_size=24) | st.binary(min_size=16, max_size=16), max_size=8))
def test_any_datagrams_of_a_socket(datagrams: list[bytes]) -> None:
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    bus = SocketBus(ours)
    with kernel:
        for datagram in datagrams:
            kernel.send(datagram)
        look = bus.read()
    bus.close()
    assert len(look.frames) + look.other + look.errors == len(datagrams)
    assert all(can_id < 2**29 and len(data) <= 8 for can_id, data in look.frames)


def line(body: str) -> bytes:
    total = 0
    for char in body.encode():
        total ^= char
    return f"${body}*{total:02X}\r\n".encode()


@given(st.binary(max_size=300) | st.binary(max_size=80).map(lambda b: b"$GPRMC," + b))
def test_any_bytes_are_a_sentence_or_a_reason(raw: bytes) -> None:
    got = parse(raw)
    assert isinstance(got, str | Sentence)


@given(st.text(alphabet="0123456789.,ANSEWVM-+eGPRMCGGAZD*$ ", max_size=90))
def test_any_fields_with_a_right_checksum(text: str) -> None:
    for kind in ("RMC", "GGA", "GSA", "ZDA"):
        got = parse(line(f"GP{kind},{text}"))
        if isinstance(got, Sentence):
            for value in (got.lat_deg, got.lon_deg, got.alt_m, got.speed_kmh, got.hdop):
                assert value is None or math.isfinite(value)
            assert got.tod_ns is None or 0 <= got.tod_ns < 86_401 * S


places = st.tuples(st.integers(-89, 89), st.integers(0, 599_999), st.integers(-179, 179), st.integers(0, 599_999))


@given(
    places,
    st.integers(0, 86_399_999),
    st.integers(0, 9999),
    st.dates(date(1981, 1, 1), date(2079, 12, 31)),
)
def test_what_a_receiver_writes_is_what_is_read(
    place: tuple[int, int, int, int], tod_ms: int, speed: int, day: date
) -> None:
    lat, lat_min, lon, lon_min = place
    seconds, ms = divmod(tod_ms, 1000)
    clock = f"{seconds // 3600:02}{seconds // 60 % 60:02}{seconds % 60:02}.{ms:03}"
    north, east = "NS"[lat < 0], "EW"[lon < 0]
    got = parse(
        line(
            f"GPRMC,{clock},A,{abs(lat):02}{lat_min // 10_000:02}.{lat_min % 10_000:04},{north},"
            f"{abs(lon):03}{lon_min // 10_000:02}.{lon_min % 10_000:04},{east},{speed / 10:.1f},0.0,{day:%d%m%y},,,A"
        )
    )
    assert isinstance(got, Sentence)
    assert got.lat_deg is not None
    assert got.lon_deg is not None
    assert got.speed_kmh is not None
    assert got.day is not None
    assert math.isclose(abs(got.lat_deg), abs(lat) + lat_min / 600_000, abs_tol=1e-9)
    assert math.isclose(abs(got.lon_deg), abs(lon) + lon_min / 600_000, abs_tol=1e-9)
    assert math.isclose(got.speed_kmh, speed / 10 * 1.852, abs_tol=1e-9)
    assert got.tod_ns == tod_ms * 10**6
    assert datetime.fromtimestamp(got.day * 86_400, tz=UTC).date() == day


RMC = line("GPRMC,132820.60,A,4134.4500,N,09345.0300,W,10.0,92.3,180320,11.6,E,D")


@given(st.integers(0, len(RMC) * 8 - 1))
def test_no_single_wrong_bit_gives_another_position(bit: int) -> None:
    damaged = bytearray(RMC)
    damaged[bit // 8] ^= 1 << bit % 8
    got = parse(bytes(damaged))
    assert isinstance(got, str) or got is OTHER or got == parse(RMC)


sentences = st.builds(
    Sentence,
    kind=st.sampled_from(["RMC", "GGA", "GSA", "ZDA", "other"]),
    tod_ns=st.none() | st.integers(0, 5).map(lambda s: s * S),
    day=st.none() | st.integers(20_000, 20_002),
    lat_deg=st.none() | st.floats(-90, 90),
    lon_deg=st.none() | st.floats(-180, 180),
    mode=st.none() | st.integers(1, 3),
)


@given(st.lists(sentences, max_size=40))
def test_fixes_have_the_times_of_their_sentences_and_no_instant_twice_in_a_row(said: list[Sentence]) -> None:
    epochs, fixes = Epochs(), []
    for n, sentence in enumerate(said):
        fixes += epochs.on_sentence(sentence, float(n), n)
    fixes += epochs.flush()
    arrivals = [fix.at_s for fix in fixes]
    assert arrivals == sorted(set(arrivals))
    for fix in fixes:
        if fix.time_ns is not None:
            assert fix.time_ns % S == 0
            assert fix.time_ns % (86_400 * S) == said[int(fix.at_s)].tod_ns


maybe = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(-200, 200) | st.just(0.0)
fixes = st.builds(
    Fix,
    at_s=st.floats(0, 1e6),
    wall_ns=st.integers(0, 4 * 10**18) | st.integers(T0, T0 + 100 * S),
    time_ns=st.none() | st.integers(-(10**18), 4 * 10**18) | st.integers(T0, T0 + 100 * S),
    lat_deg=maybe,
    lon_deg=maybe,
    alt_m=maybe,
    speed_kmh=maybe,
    hdop=maybe,
    mode=st.none() | st.integers(0, 3),
    no_fix=st.sampled_from(["", "", "estimated"]),
)


@given(st.lists(fixes, max_size=30), st.booleans())
def test_any_fixes_give_only_places_and_times_that_can_be(said: list[Fix], recorded: bool) -> None:
    receiver = Receiver(Counters(), recorded=recorded)
    for fix in said:
        sample = receiver.on_fix(fix)
        if sample is None:
            continue
        lat, lon = sample.values["lat_deg"], sample.values["lon_deg"]
        assert (lat, lon) == (fix.lat_deg, fix.lon_deg) != (0, 0)
        assert abs(lat) <= 90
        assert abs(lon) <= 180
        assert sample.values.get("hdop", 0) <= 5
        assert all(math.isfinite(v) for v in sample.values.values())
        assert sample.time_ns == fix.time_ns or (not recorded and sample.time_ns == fix.wall_ns)
        assert not recorded or sample.time_ns > BUILD_NS
        assert receiver.anchor is None or BUILD_NS < receiver.anchor[0] < BUILD_NS + 3653 * 86_400 * S


GOOD_TPV = b'{"class":"TPV","mode":3,"lat":50.0,"lon":8.0}\n'


@settings(max_examples=25)
@given(
    st.lists(
        st.binary(max_size=200).map(lambda b: b.replace(b"\n", b""))
        | st.sampled_from(
            [b'{"class":"TPV"', b'{"class":1}', b"[" * 5000, b'{"class":"TPV","mode":3,"lat":1e999}', b"null"]
        ),
        max_size=40,
    )
)
def test_after_any_lines_of_gpsd_a_fix_is_read(noise: list[bytes]) -> None:
    async def run() -> None:
        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"\n".join(noise) + b"\n" + GOOD_TPV)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        context = Context(name="gps", now_ns=lambda: T0)
        samples = make_gpsd({"port": server.sockets[0].getsockname()[1]}, context).samples()
        assert (await anext(samples)).values == {"lat_deg": 50.0, "lon_deg": 8.0}
        await samples.aclose()  # type: ignore[attr-defined]
        server.close()

    asyncio.run(run())
