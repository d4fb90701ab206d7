"""NMEA sentences to fixes; expected values are worked out by hand from the text of the sentences."""

from datetime import UTC, datetime

import pytest

from devices.gps import Fix
from devices.nmea import OTHER, Epochs, Sentence, parse

S = 10**9
DAY_0 = int(datetime(2020, 3, 18, tzinfo=UTC).timestamp()) // 86_400
TOD = (13 * 3600 + 28 * 60 + 20) * S + 600_000_000


def line(body: str) -> bytes:
    total = 0
    for char in body.encode():
        total ^= char
    return f"${body}*{total:02X}\r\n".encode()


def read(body: str) -> Sentence:
    got = parse(line(body))
    assert isinstance(got, Sentence), got
    return got


RMC = "GPRMC,132820.60,A,4134.4500,N,09345.0300,W,10.0,92.3,180320,11.6,E,D"
GGA = "GPGGA,132820.60,4134.4500,N,09345.0300,W,2,09,1.0,278.020,M,-31.442,M,7.6,0133"


def test_published_sentences() -> None:
    got = parse(b"$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\r\n")
    assert isinstance(got, Sentence)
    assert got.lat_deg == pytest.approx(48 + 7.038 / 60)
    assert got.lon_deg == pytest.approx(11 + 31 / 60)
    assert got.speed_kmh == pytest.approx(22.4 * 1.852)
    assert (got.day, got.tod_ns) == (datetime(1994, 3, 23, tzinfo=UTC).timestamp() // 86_400, 45_319 * S)
    got = parse(b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n")
    assert isinstance(got, Sentence)
    assert (got.hdop, got.alt_m, got.no_fix) == (0.9, 545.4, "")


def test_rmc() -> None:
    got = read(RMC)
    assert (got.kind, got.tod_ns, got.day, got.no_fix) == ("RMC", TOD, DAY_0, "")
    assert got.lat_deg == pytest.approx(41.574166666)
    assert got.lon_deg == pytest.approx(-93.7505)
    assert got.speed_kmh == pytest.approx(18.52)


def test_other_talkers_and_proprietary_sentences() -> None:
    assert read("GN" + RMC[2:]) == read("GL" + RMC[2:]) == read(RMC)
    for body in ("GPGSV,1,1,01,21,00,000,", "PGRMC,132820,A", "PMTK010,001", "GPTXT,01,01,02,hello", "X", ""):
        assert parse(line(body)) is OTHER


def test_the_end_of_the_line_and_a_line_begun_before_do_not_matter() -> None:
    assert parse(line(RMC).strip()) == read(RMC)
    assert parse(b"\x00\xffGP,1234$GPG" + line(RMC)) == read(RMC)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "no_sentence"),
        (b"!AIVDM,1,1,,A,14eG;o@034o8sd<L9i:a;WF>062D,0*7D", "no_sentence"),
        (b"# $GPRMC is a remark", "no_sentence"),
        (line(RMC)[:-5], "no_checksum"),
        (line(RMC)[:-3], "bad_checksum"),
        (line(RMC).replace(b"4134", b"4135"), "bad_checksum"),
        (b"$" + b"A" * 300 + b"*00", "too_long"),
    ],
)
def test_lines_that_are_refused(raw: bytes, reason: str) -> None:
    assert parse(raw) == reason


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("4134.4500", "4160.0000"),  # a minute has 60 seconds, a degree 60 minutes
        ("4134.4500", "41x4.45"),
        ("4134.4500", "-134.45"),
        ("4134.4500", ""),
        (",N,", ",E,"),
        (",N,", ",,"),
        ("10.0", "nan"),
        ("10.0", "1e999"),
        ("10.0", "1_0"),
        ("10.0", "-1"),
        ("180320", "310220"),
        ("180320", "2208-1"),
        ("180320", "18032"),
        ("132820.60", "256199.60"),
        ("132820.60", "1328"),
        ("132820.60,A", "132820.60"),
        (",180320,11.6,E,D", ""),
    ],
)
def test_fields_that_cannot_be(old: str, new: str) -> None:
    assert parse(line(RMC.replace(old, new, 1))) == "unreadable"


def test_a_leap_second_and_long_fractions() -> None:
    assert read(RMC.replace("132820.60", "235960.00")).tod_ns == 86_400 * S
    assert read(RMC.replace("132820.60", "000000.123456789123")).tod_ns == 123_456_789


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (RMC.replace(",A,", ",V,"), "no_fix"),
        (RMC.replace(",A,", ",,"), "no_fix"),
        ("GPRMC,235947.004,V,8960.000000,N,00000.000000,E,0.000,0.00,050180,,,N", "no_fix"),  # what a receiver fills in
        (RMC[:-1] + "E", "estimated"),
        (RMC[:-1] + "M", "manual"),
        (RMC[:-1] + "S", "simulated"),
        (GGA.replace(",2,09,", ",0,00,"), "no_fix"),
        (GGA.replace(",2,09,", ",,,"), "no_fix"),
        (GGA.replace(",2,09,", ",6,09,"), "estimated"),
        (GGA.replace(",2,09,", ",8,09,"), "simulated"),
        (GGA.replace(",2,09,", ",4,09,"), ""),
    ],
)
def test_what_the_receiver_itself_does_not_believe(body: str, reason: str) -> None:
    assert read(body).no_fix == reason


def test_gsa_and_zda() -> None:
    sats = "," * 12
    assert [read(f"GPGSA,A,{mode}{sats},1.5,1.0,1.2").mode for mode in ("1", "2", "3", "")] == [1, 2, 3, None]
    assert read("GPZDA,132820.60,18,03,2020,00,00").day == DAY_0
    assert read("GPZDA,132820.60,,,,,").day is None
    assert parse(line("GPZDA,132820.60,32,03,2020,00,00")) == "unreadable"
    assert parse(line("GPZDA,132820.60,1_8,03,2020,00,00")) == "unreadable"


class Stream:
    """Sentences in the order and at the times a receiver sends them."""

    def __init__(self) -> None:
        self.it = Epochs()
        self.at_s = 0.0

    def say(self, *bodies: str) -> list[Fix]:
        fixes = []
        for body in bodies:
            self.at_s += 0.01
            fixes += self.it.on_sentence(read(body), self.at_s, round(self.at_s * S))
        return fixes


def at(body: str, second: int) -> str:
    return body.replace("132820.60", f"1328{second:02}.00")


def test_the_sentences_of_an_instant_make_one_fix() -> None:
    (fix,) = Stream().say(GGA, "GPGSA,A,3,,,,,,,,,,,,,1.5,1.0,1.2", RMC)
    assert (fix.at_s, fix.wall_ns, fix.time_ns) == (0.01, 10_000_000, DAY_0 * 86_400 * S + TOD)
    assert (fix.alt_m, fix.hdop, fix.mode, fix.no_fix) == (278.02, 1.0, 3, "")
    assert fix.lat_deg == pytest.approx(41.574166666)
    assert fix.lon_deg == pytest.approx(-93.7505)
    assert fix.speed_kmh == pytest.approx(18.52)


def test_either_order_gives_the_same() -> None:
    (a,), (b,) = Stream().say(GGA, RMC), Stream().say(RMC, GGA)
    assert a == b


def test_a_receiver_with_rmc_alone_is_learned() -> None:
    stream = Stream()
    assert stream.say(at(RMC, 20)) == []
    assert len(stream.say(at(RMC, 21))) == 2
    assert len(stream.say(at(RMC, 22))) == 1
    assert stream.it.flush() == []


def test_said_again_is_no_new_fix() -> None:
    stream = Stream()
    assert len(stream.say(GGA, RMC, GGA, RMC, GGA, RMC)) == 1
    assert stream.it.flush() == []


def test_either_sentence_can_say_that_there_is_no_fix() -> None:
    for bodies in ((GGA, RMC.replace(",A,", ",V,")), (GGA.replace(",2,09,", ",0,00,"), RMC)):
        (fix,) = Stream().say(*bodies)
        assert fix.no_fix == "no_fix"


def test_a_mode_told_long_ago_is_not_repeated() -> None:
    stream = Stream()
    gsa = "GPGSA,A,1,,,,,,,,,,,,,1.5,1.0,1.2"
    modes = [f.mode for f in stream.say(gsa, *(at(b, s) for s in range(5) for b in (GGA, RMC)))]
    assert modes == [1, 1, None, None, None]


def test_a_receiver_without_rmc_has_the_date_of_zda_or_none() -> None:
    stream = Stream()
    assert [f.time_ns for f in stream.say(at(GGA, 20), at(GGA, 21), at(GGA, 22))] == [None] * 3
    (fix,) = stream.say("GPZDA,132823.00,18,03,2020,00,00", at(GGA, 23))
    assert fix.time_ns == DAY_0 * 86_400 * S + TOD + 2_400_000_000


def test_midnight_between_date_and_position() -> None:
    stream = Stream()
    stream.say("GPZDA,235959.00,18,03,2020,00,00", GGA.replace("132820.60", "235959.00"))
    fixes = stream.say(GGA.replace("132820.60", "000000.00")) + stream.it.flush()
    assert fixes[-1].time_ns == (DAY_0 + 1) * 86_400 * S


def test_a_date_of_hours_ago_is_not_used() -> None:
    stream = Stream()
    stream.say("GPZDA,112820.60,18,03,2020,00,00", GGA)
    (fix,) = stream.it.flush()
    assert fix.time_ns is None
    assert fix.lat_deg is not None
