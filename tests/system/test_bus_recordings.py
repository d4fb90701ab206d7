"""Recordings of real trucks and receivers, read and compared with a second reading that shares no code.

The recordings lie beside the project, in ``../shared/data``; where they are absent, these tests are skipped.
"""

import math
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from devices.can_sampler import Rules, Sampler
from devices.counters import Counters
from devices.gps import Fix, Receiver, TimeGate, distance_m
from devices.j1939 import Decoder, Frame
from devices.nmea import Epochs, Sentence, parse
from devices.source_join import Joiner
from devices.wire import Sample

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the recordings {DATA} are not here")
S = 10**9

# Written by hand from the public FMS-Standard description v04 and J1939-71, not from devices/j1939.py.
DBC = """\
BO_ 2365456382 LFE: 8 X
 SG_ S183 : 0|16@1+ (0.05,0) [0|3212.75] "L/h" X
BO_ 2365392382 HRLFC: 8 X
 SG_ S5054 : 32|32@1+ (0.001,0) [0|4211081.215] "L" X
BO_ 2365450494 LFC: 8 X
 SG_ S250 : 32|32@1+ (0.5,0) [0|2105540607.5] "L" X
BO_ 2365418750 TCO1: 8 X
 SG_ S1624 : 48|16@1+ (0.00390625,0) [0|250.996] "km/h" X
BO_ 2365456126 CCVS: 8 X
 SG_ S84 : 8|16@1+ (0.00390625,0) [0|250.996] "km/h" X
BO_ 2365440510 VDHR: 8 X
 SG_ S917 : 0|32@1+ (5,0) [0|21055406000] "m" X
BO_ 2365448190 VD: 8 X
 SG_ S245 : 32|32@1+ (125,0) [0|526385151000] "m" X
BO_ 2364540158 EEC1: 8 X
 SG_ S513 : 16|8@1+ (1,-125) [-125|125] "%" X
 SG_ S190 : 24|16@1+ (0.125,0) [0|8031.875] "rpm" X
BO_ 2364539902 EEC2: 8 X
 SG_ S92 : 16|8@1+ (1,0) [0|250] "%" X
BO_ 2365453566 AMB: 8 X
 SG_ S108 : 0|8@1+ (0.5,0) [0|125] "kPa" X
 SG_ S171 : 24|16@1+ (0.03125,-273) [-273|1735] "C" X
BO_ 2365455358 DD1: 8 X
 SG_ S96 : 8|8@1+ (0.4,0) [0|100] "%" X
"""


def dbc() -> dict[int, dict[int, tuple[int, int, float, float]]]:
    """First bit, bits, scale and offset by PGN and SPN."""
    groups: dict[int, dict[int, tuple[int, int, float, float]]] = {}
    pgn = 0
    for text in DBC.splitlines():
        if match := re.match(r"BO_ (\d+)", text):
            pgn = int(match[1]) >> 8 & 0x1FFFF
        elif match := re.match(r" SG_ S(\d+) : (\d+)\|(\d+)@1\+ \(([^,]+),([^)]+)\)", text):
            groups.setdefault(pgn, {})[int(match[1])] = (
                int(match[2]),
                int(match[3]),
                float(match[4]),
                float(match[5]),
            )
    return groups


def logs() -> list[Any]:
    found = sorted((DATA / "j1939_logs").glob("*.parquet"))
    return [pytest.param(path, id=path.stem) for path in found] or [pytest.param(None, id="none")]


@cache
def recorded(path: Path) -> tuple[list[float], list[Frame]]:
    table = pq.read_table(path)
    frames = zip(table["can_id"].to_pylist(), table["data"].to_pylist(), strict=True)
    return table["t"].to_pylist(), list(frames)


def second_reading(path: Path) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
    """Frame numbers and values (NaN = none) by SPN and sender: numpy on the table written above."""
    _, frames = recorded(path)
    ids = np.array([can_id for can_id, _ in frames])
    words = np.array([int.from_bytes(data.ljust(8, b"\xff"), "little") for _, data in frames], dtype=np.uint64)
    found = {}
    for pgn, signals in dbc().items():
        for spn, (first, bits, scale, offset) in signals.items():
            for sender in np.unique(ids[(ids >> 8 & 0x1FFFF) == pgn] & 0xFF):
                at = np.flatnonzero(((ids >> 8 & 0x1FFFF) == pgn) & ((ids & 0xFF) == sender))
                raw = (words[at] >> np.uint64(first)) & np.uint64(2**bits - 1)
                values = np.where(raw >> np.uint64(bits - 8) >= 0xFB, np.nan, raw * scale + offset)
                found[spn, int(sender)] = (at, values)
    return found


@pytest.mark.parametrize("path", logs())
def test_every_frame_of_every_log_as_a_second_reading_has_it(path: Path) -> None:
    times, frames = recorded(path)
    decoder = Decoder(Counters())
    got: dict[int, list[tuple[int, float | None]]] = {}
    for n, (at_s, frame) in enumerate(zip(times, frames, strict=True)):
        for spn, value in decoder.decode_many([frame], at_s).values.items():
            got.setdefault(spn, []).append((n, value))
    compared = 0
    expected = second_reading(path)
    for spn in {spn for spn, _ in expected}:
        owners = [(values[1][~np.isnan(values[1])], key, values) for key, values in expected.items() if key[0] == spn]
        valid = [(values[0][~np.isnan(values[1])][0], values) for some, _, values in owners if some.size]
        if not valid:
            assert all(value is None for _, value in got.get(spn, []))
            continue
        at, values = min(valid, key=lambda v: int(v[0]))[1]  # of the first sender of a valid value
        heard = dict(got[spn])
        first = int(at[~np.isnan(values)][0])
        for n, value in zip(at, values, strict=True):
            if n < first:
                assert int(n) not in heard
            elif math.isnan(value):
                assert heard[int(n)] is None
            else:
                assert heard[int(n)] == pytest.approx(value, rel=1e-12, abs=1e-9)
                compared += 1
        assert set(heard) <= set(at.tolist())
    assert compared > 1000 or path.stem == "css_j1939_idle_186s"


@pytest.mark.parametrize("path", logs())
def test_every_value_as_cantools_has_it(path: Path) -> None:
    cantools = pytest.importorskip("cantools", reason="cantools is not installed")
    database = cantools.database.load_string(
        DBC + '\nBA_DEF_ "ProtocolType" STRING;\nBA_ "ProtocolType" "J1939";', "dbc"
    )
    by_pgn = {message.frame_id >> 8 & 0x1FFFF: message for message in database.messages}
    compared = 0
    for can_id, data in recorded(path)[1][:20_000]:
        message = by_pgn.get(can_id >> 8 & 0x1FFFF)
        if message is None:
            continue
        values = Decoder(Counters()).decode_many([(can_id, data)], 0.0).values
        for name, value in message.decode(data, decode_choices=False).items():
            ours = values.get(int(name[1:]))
            if ours is not None:
                assert ours == pytest.approx(value, rel=1e-12, abs=1e-9)
                compared += 1
    assert compared


def readings(path: Path, counters: Counters) -> list[Sample]:
    """As the source "can" makes them: looks at the bus ten times a second, a reading each second."""
    times, frames = recorded(path)
    decoder, sampler = Decoder(counters), Sampler(Rules(), counters)
    found, due_s, n = [], math.floor(times[0]) + 1.0, 0
    while n < len(times):
        now_s = due_s - 1.0
        while now_s < due_s:
            now_s += 0.1
            begin = n
            while n < len(times) and times[n] <= now_s:
                n += 1
            sampler.take(decoder.decode_many(frames[begin:n], now_s), now_s, round(now_s * S))
        if (sample := sampler.sample(due_s)) is not None:
            found.append(sample)
        due_s += 1.0
    return found


def test_a_parked_truck_whose_cluster_wakes_before_its_tachograph() -> None:
    """The cluster gives a distance of its own, then 0, then the tachograph's: passed on as said, from one sender."""
    counters = Counters()
    got = readings(DATA / "j1939_logs" / "css_j1939_gnss_401s.parquet", counters)
    assert len(got) == pytest.approx(402, abs=2)
    assert {s.values["speed_kmh"] for s in got[2:]} == {0.0}
    said = [s.values["odometer_m"] for s in got if "odometer_m" in s.values]
    assert list(dict.fromkeys(said)) in ([37_500.0, 158_910_600.0], [37_500.0, 0.0, 158_910_600.0])
    assert counters.by_label("can_source_conflict").keys() == {"917"}


def test_a_truck_whose_sensors_say_error_has_no_value_for_them() -> None:
    counters = Counters()
    got = readings(DATA / "j1939_logs" / "watermark_normal_211s.parquet", counters)
    assert counters.by_label("can_raw_unusable")["84 error"] > 700
    assert counters.by_label("can_raw_unusable")["171 error"] == 83
    assert not any("ambient_temp_c" in s.values for s in got)
    totals = [s.values["fuel_total_hr_l"] for s in got if "fuel_total_hr_l" in s.values]
    rates = [s.values["fuel_rate_lph"] for s in got if "fuel_rate_lph" in s.values]
    assert totals == sorted(totals)
    assert totals[-1] - totals[0] == pytest.approx(sum(rates) / 3600, abs=0.05)


def test_an_idling_engine_s_torque_reference_is_put_together() -> None:
    times, frames = recorded(DATA / "j1939_logs" / "css_j1939_lfe_127s.parquet")
    decoder = Decoder(counters := Counters())
    values = [
        v
        for at_s, frame in zip(times, frames, strict=True)
        if (v := decoder.decode_many([frame], at_s).values.get(544)) is not None
    ]
    assert len(values) >= 24, "announced 25 times; a cut log may lose one"
    assert len(set(values)) == 1
    assert 500 <= values[0] <= 4000, "Nm of a truck's engine"
    assert counters["can_transfer_broken"] <= 1


def test_a_vin_put_together_from_packets_has_the_right_check_digit() -> None:
    times, frames = recorded(DATA / "j1939_logs" / "watermark_normal_211s.parquet")
    decoder = Decoder(counters := Counters())
    found = {decoder.decode_many([frame], at_s).vin for at_s, frame in zip(times, frames, strict=True)} - {""}
    assert len(found) == 1
    (vin,) = found
    worth = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", map(int, "12345678123457923456789"), strict=True))  # 49 CFR 565.15
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    total = sum(w * (int(c) if c.isdigit() else worth[c]) for w, c in zip(weights, vin, strict=True))
    assert vin[8] == "0123456789X"[total % 11]
    assert counters.by_label("can_transfer_broken") == {"aborted": 1, "gap": 1}


# gpsd's regression logs of receivers


@cache
def receiver_logs() -> Mapping[str, list[bytes]]:
    with tarfile.open(DATA / "gpsd_nmea" / "gpsd_nmea_logs.tar.xz") as archive:
        files = {m.name: archive.extractfile(m) for m in archive.getmembers() if m.isfile()}
        return {Path(name).name: file.read().split(b"\n") for name, file in sorted(files.items()) if file}


def sentences() -> Iterator[tuple[str, bytes]]:
    return ((name, text) for name, lines in receiver_logs().items() for text in lines if text[:1] in (b"$", b"!"))


def test_every_sentence_is_read_or_refused_with_a_reason() -> None:
    reasons: Counter[str] = Counter()
    for _, text in sentences():
        got = parse(text)
        reasons[got.kind if isinstance(got, Sentence) else got] += 1
    assert sum(reasons.values()) == pytest.approx(24_545, abs=5)
    assert reasons["bad_checksum"] == 72, "as the recordings' description counts them"
    assert reasons["no_checksum"] == 26 + 1, "and one torn at the end of its file"
    assert reasons["unreadable"] == 1, "a date of 2208-1"
    assert reasons["RMC"] > 2200
    assert reasons["GGA"] > 2300


def test_every_position_as_pynmeagps_has_it() -> None:
    pynmeagps = pytest.importorskip("pynmeagps", reason="pynmeagps is not installed")
    compared = 0
    for _, text in sentences():
        got = parse(text)
        if not isinstance(got, Sentence) or got.kind not in ("RMC", "GGA") or got.no_fix:
            continue
        other = pynmeagps.NMEAReader.parse(text.strip() + b"\r\n")
        assert got.lat_deg == pytest.approx(other.lat, abs=1e-8)
        assert got.lon_deg == pytest.approx(other.lon, abs=1e-8)
        moment = other.time
        assert got.tod_ns is not None
        assert (
            got.tod_ns // 1000 == (moment.hour * 3600 + moment.minute * 60 + moment.second) * 10**6 + moment.microsecond
        )
        if got.kind == "RMC":
            assert got.day == (other.date - date(1970, 1, 1)).days
            assert (got.speed_kmh is None) == (other.spd == "")
            assert got.speed_kmh is None or got.speed_kmh == pytest.approx(other.spd * 1.852)
        else:
            assert got.hdop is None or got.hdop == pytest.approx(other.HDOP)
            assert got.alt_m is None or got.alt_m == pytest.approx(other.alt)
        compared += 1
    assert compared > 3000


def fixes(lines: list[bytes]) -> list[Fix]:
    epochs, found = Epochs(), []
    for n, text in enumerate(lines):
        sentence = parse(text)
        if isinstance(sentence, Sentence):
            found += epochs.on_sentence(sentence, float(n), 0)
    return found + epochs.flush()


def test_every_log_gives_places_that_can_be_or_says_why_not() -> None:
    silent = []
    for name, lines in receiver_logs().items():
        found = fixes(lines)
        dated = [fix.time_ns for fix in found if fix.time_ns is not None and not fix.no_fix]
        counters = Counters()
        receiver = Receiver(counters, not_before_ns=min(dated, default=0) - S, recorded=True, sample_s=0.1)
        got = [sample for fix in found if (sample := receiver.on_fix(fix)) is not None]
        refused = counters["gps_fix_refused"] + counters["gps_time_refused"]
        assert len(got) + refused <= len(found) <= len(got) + refused + sum(1 for _ in got), name
        if found and not got:
            silent.append(name)
            assert refused, name
        for a, b in pairwise(got):
            assert (a.values["lat_deg"], a.values["lon_deg"]) != (0, 0)
            metres = distance_m(a.values["lat_deg"], a.values["lon_deg"], b.values["lat_deg"], b.values["lon_deg"])
            assert metres <= 160 / 3.6 * max(1.0, abs(b.time_ns - a.time_ns) / S) * 1.001, name
    assert 10 <= len(silent) <= 20, "receivers without any fix, or with a poor one"


def test_the_night_when_the_weeks_rolled_over() -> None:
    """A receiver of April 2019 that says August 1999: its places of now are kept, its date is not."""
    found = [fix for fix in fixes(receiver_logs()["april6_2019.log"]) if not fix.no_fix and fix.time_ns]
    said = datetime.fromtimestamp((found[0].time_ns or 0) / S, tz=UTC)
    assert said.date().isoformat() == "1999-08-22"
    counters = Counters()
    gate = TimeGate(counters, not_before_ns=int(datetime(2018, 1, 1, tzinfo=UTC).timestamp()) * S)
    now = int(datetime(2019, 4, 7, tzinfo=UTC).timestamp()) * S
    assert [gate.judge(fix.time_ns or 0, float(n), now + n * S) for n, fix in enumerate(found)] == ["wrong_date"] * len(
        found
    )
    assert counters.by_label("gps_time_refused") == {"week_rollover": len(found)}


# a car's CAN logger with a receiver of its own


def test_two_sensors_of_a_car_on_one_clock() -> None:
    """Speed of the engine's computer and of the receiver, joined at 1 Hz, describe one drive."""
    gnss = pq.read_table(DATA / "canedge_obd_gnss" / "trip_3BA199E2_gnss_long.parquet")
    obd = pq.read_table(DATA / "canedge_obd_gnss" / "trip_3BA199E2_obd_long.parquet")
    counters = Counters()
    receiver = Receiver(counters)
    samples: list[tuple[float, int, Sample]] = []
    state: dict[str, Any] = {}
    for row in gnss.to_pylist():
        state |= {k: v for k, v in row.items() if v is not None}
        if row["msg"] != "gnss_speed" or "Latitude" not in state:
            continue
        at_s = row["file_start"].timestamp() + row["t_s"]
        fix = Fix(
            at_s=at_s,
            wall_ns=round(at_s * S),
            lat_deg=state["Latitude"],
            lon_deg=state["Longitude"],
            speed_kmh=state["Speed"] * 3.6,
            mode=3 if state["PositionValid"] and state["FixType"] >= 3 else 1,
        )
        if (sample := receiver.on_fix(fix)) is not None:
            samples.append((at_s, 1, sample))
    speeds = obd.filter(pc.equal(obd["signal"], "speed_kmh"))
    for row in speeds.to_pylist():
        at_s = row["file_start"].timestamp() + row["t_s"]
        samples.append((at_s, 0, Sample(round(at_s * S), {"speed_kmh": row["value"]})))
    samples.sort(key=lambda entry: entry[0])
    joiner = Joiner(sample_s=1.0, hold_s=1.5)
    joined = [done for _, index, sample in samples for done in joiner.on_sample(index, sample)]
    both = np.array(
        [
            (s.values["speed_kmh"], s.values["gps_speed_kmh"])
            for s in joined
            if {"speed_kmh", "gps_speed_kmh"} <= s.values.keys()
        ]
    )
    assert len(both) > 3000
    assert counters["gps_fix_refused"] > 0, "the first seconds have no fix"
    moving = both[both[:, 1] > 20]
    assert np.median(moving[:, 0] / moving[:, 1]) == pytest.approx(1.0, abs=0.06)
    assert np.median(np.abs(moving[:, 0] - moving[:, 1])) < 3.0
