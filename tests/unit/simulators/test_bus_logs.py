import tarfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from simulators.bus_logs import Frame, can_rows, frames_from_candump, frames_from_table, join, nmea_rows, trip
from simulators.replay import read_trips

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
T0 = 1_436_509_052
SECOND = 1_000_000_000


def frame(pgn: int, data: str, *, at_s: float = 0.0, sender: int = 0, priority: int = 6) -> Frame:
    return Frame(T0 * SECOND + round(at_s * SECOND), priority << 26 | pgn << 8 | sender, bytes.fromhex(data))


@pytest.mark.parametrize(
    ("pgn", "data", "expected"),
    [  # by hand from the scales of the FMS description
        (0xFEF2, "B400FFFFFFFFFFFF", {"fuel_rate_lph": 9.0}),  # 180 * 0.05
        (0xFD09, "FFFFFFFF40420F00", {"fuel_total_hr_l": 1000.0}),  # 1,000,000 mL
        (0xFEE9, "FFFFFFFFD0070000", {"fuel_total_l": 1000.0}),  # 2000 * 0.5
        (0xFE6C, "FFFFFFFFFFFF0050", {"speed_kmh": 80.0}),  # 0x5000 / 256
        (0xFEF1, "FF0050FFFFFFFFFF", {"speed_kmh": 80.0}),
        (0xFEC1, "40420F00FFFFFFFF", {"odometer_m": 5_000_000.0}),
        (0xFE70, "FFFFA00FFFFFFFFF", {"gross_weight_kg": 40_000.0}),
        (0xF004, "FFFF96803EFFFFFF", {"engine_torque_pct": 25.0, "engine_speed_rpm": 2000.0}),
        (0xF003, "FFFF32FFFFFFFFFF", {"engine_load_pct": 50.0}),
        (0xFEF5, "C8FFFF2025FFFFFF", {"baro_kpa": 100.0, "ambient_temp_c": 24.0}),
        (0xFEFC, "FF7DFFFFFFFFFFFF", {"fuel_level_pct": 50.0}),
    ],
)
def test_a_parameter_group_gives_its_values(pgn: int, data: str, expected: dict[str, float]) -> None:
    rows = can_rows([frame(pgn, data)])
    assert rows.by_second == {T0: pytest.approx(expected)}


@pytest.mark.parametrize(
    ("pgn", "data", "value"),
    [
        (0xFEF2, "FFFAFFFFFFFFFFFF", 3212.75),  # the last valid raw value, 0xFAFF
        (0xFEF2, "00FBFFFFFFFFFFFF", None),  # reserved
        (0xFEF2, "FFFEFFFFFFFFFFFF", None),  # error
        (0xFEF2, "FFFFFFFFFFFFFFFF", None),  # not available, 3276.75 if it were scaled
        (0xFD09, "FFFFFFFFFFFFFFFA", 4_211_081.215),
        (0xFD09, "FFFFFFFF000000FB", None),
        (0xF003, "FFFFFAFFFFFFFFFF", 250.0),
        (0xF003, "FFFFFBFFFFFFFFFF", None),
    ],
)
def test_not_available_is_absent_whatever_it_would_scale_to(pgn: int, data: str, value: float | None) -> None:
    rows = can_rows([frame(pgn, data)])
    if value is None:
        assert rows.by_second == {}
        assert rows.dropped == {"not_available": 1}
    else:
        assert next(iter(rows.by_second[T0].values())) == pytest.approx(value)


def test_the_tachographs_speed_comes_before_the_wheels() -> None:
    wheel, tacho = frame(0xFEF1, "FF0028FFFFFFFFFF"), frame(0xFE6C, "FFFFFFFFFFFF0050")
    assert can_rows([tacho, wheel]).by_second[T0]["speed_kmh"] == 80.0
    assert can_rows([wheel, tacho]).by_second[T0]["speed_kmh"] == 80.0
    assert can_rows([wheel]).by_second[T0]["speed_kmh"] == 40.0


def test_of_two_senders_the_first_valid_one_counts() -> None:
    frames = [
        frame(0xFEC1, "FFFFFFFFFFFFFFFF", sender=1),
        frame(0xFEC1, "40420F00FFFFFFFF", sender=2),
        frame(0xFEC1, "00000000FFFFFFFF", sender=1),
    ]
    rows = can_rows(frames)
    assert rows.by_second[T0]["odometer_m"] == 5_000_000.0
    assert rows.dropped == {"not_available": 1, "other_sender": 1}


def test_a_value_stands_for_two_seconds_and_weight_for_fifteen() -> None:
    frames = [frame(0xFE70, "FFFFA00FFFFFFFFF"), frame(0xFEF2, "B400FFFFFFFFFFFF")]
    frames += [frame(0xF003, "FFFF32FFFFFFFFFF", at_s=s) for s in (0.9, 1.0, 1.5, 2.2, 14.0, 15.0)]
    rows = can_rows(frames).by_second
    assert sorted(s - T0 for s in rows) == [0, 1, 2, 14, 15]
    assert [s - T0 for s in sorted(rows) if "fuel_rate_lph" in rows[s]] == [0, 1]
    assert [s - T0 for s in sorted(rows) if "gross_weight_kg" in rows[s]] == [0, 1, 2, 14]


def test_short_frames_are_counted() -> None:
    assert can_rows([frame(0xFEF2, "B4")]).dropped == {"short_frame": 1}


def test_candump_text_in_both_forms_and_what_is_none() -> None:
    lines = [
        f"({T0}.249713) can0 18FEF200#B400FFFFFFFFFFFF\n",
        f" ({T0 + 1}.249713)  can0  18FEF200   [8]  B4 00 FF FF FF FF FF FF\n",
        f"({T0}.3) can0 123#00\n",  # 11 bits: passed over
        "\n",
        f"({T0}.4) can0 18FEF200#R\n",
        f"({T0}.4) can0 18FEF200##1B400\n",
        f"({T0}.4) can0 18FEF200#B40\n",
        f"({T0}.4) can0 18FEF200 [3] B4 00\n",
        "interface can0 is up\n",
    ]
    found = list(frames_from_candump(lines))
    assert found[:2] == [
        Frame(T0 * SECOND + 249_713_000, 0x18FEF200, bytes.fromhex("B400FFFFFFFFFFFF")),
        Frame((T0 + 1) * SECOND + 249_713_000, 0x18FEF200, bytes.fromhex("B400FFFFFFFFFFFF")),
    ]
    assert found[2:] == ["not_candump"] * 5
    rows = can_rows(found)
    assert rows.by_second == {T0: {"fuel_rate_lph": 9.0}, T0 + 1: {"fuel_rate_lph": 9.0}}
    assert rows.dropped == {"not_candump": 5}


def test_a_log_without_a_date_needs_one() -> None:
    table = pa.table({"t": [1.5], "can_id": pa.array([0x18FEF200], pa.uint32()), "data": [b"\xb4\x00" + b"\xff" * 6]})
    with pytest.raises(ValueError, match="say when that was"):
        list(frames_from_table(table))
    assert next(iter(frames_from_table(table, start_ns=T0 * SECOND))) == frame(0xFEF2, "B400FFFFFFFFFFFF", at_s=1.5)
    with pytest.raises(ValueError, match="no column can_id"):
        list(frames_from_table(table.drop_columns(["can_id"])))


def sentence(body: str) -> str:
    check = 0
    for char in body.encode():
        check ^= char
    return f"${body}*{check:02X}\n"


RMC = "GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W"
GGA = "GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,"
FIX_S = 764_426_119  # 23 March 1994, 12:35:19 UTC


@pytest.mark.parametrize("order", [(RMC, GGA), (GGA, RMC)])
def test_a_fix_has_position_speed_height_and_hdop(order: tuple[str, str]) -> None:
    rows = nmea_rows([sentence(body) for body in order])
    assert rows.by_second == {
        FIX_S: pytest.approx(
            {"lat_deg": 48.1173, "lon_deg": 11.516667, "gps_speed_kmh": 41.4848, "alt_m": 545.4, "hdop": 0.9}, rel=1e-7
        )
    }
    assert rows.dropped == {}


def test_the_textbook_checksum_is_right() -> None:
    assert sentence(RMC).strip().endswith("*6A")  # printed with this sentence in the NMEA literature


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (sentence(RMC).replace("*6A", "*6B"), "bad_checksum"),
        (sentence(RMC).replace("4807", "4907"), "bad_checksum"),
        (f"${RMC}\n", "no_checksum"),
        (sentence(RMC.replace(",A,", ",V,")), "no_fix"),
        (sentence(GGA.replace(",1,08", ",0,00")), "no_fix"),
        (sentence(RMC.replace("230394", "320394")), "unreadable"),
        (sentence(RMC.replace("4807.038", "9907.038")), "unreadable"),
        (sentence(RMC.replace("4807.038", "4867.038")), "unreadable"),
        (sentence(RMC.replace("4807.038", "")), "unreadable"),
        (sentence(RMC.replace(",N,", ",E,")), "unreadable"),
        (sentence("GPRMC,123519,A"), "unreadable"),
    ],
)
def test_what_is_no_fix_is_dropped_with_its_reason(line: str, reason: str) -> None:
    rows = nmea_rows([line])
    assert [row for row in rows.by_second.values() if row] == []
    assert rows.dropped == {reason: 1}


def test_other_sentences_are_passed_over() -> None:
    rows = nmea_rows(["# comment\n", sentence("GPGSV,1,1,00"), "!AIVDM,1,1,,A,x,0*00\n", "\n"])
    assert (rows.by_second, rows.dropped) == ({}, {})


def test_south_and_west_are_negative() -> None:
    (row,) = nmea_rows([sentence(RMC.replace(",N,", ",S,").replace(",E,", ",W,"))]).by_second.values()
    assert row["lat_deg"] == pytest.approx(-48.1173)
    assert row["lon_deg"] == pytest.approx(-11.516667, rel=1e-6)


def test_two_logs_of_one_vehicle_are_joined_by_second(tmp_path: Path) -> None:
    fix_s = 1_584_966_919  # 23 March 2020, 12:35:19 UTC
    lines = [f"({fix_s + i}.5) can0 18FEF200#B400FFFFFFFFFFFF\n" for i in range(2)]
    (tmp_path / "truck.log").write_text("".join(lines))
    (tmp_path / "truck.nmea").write_text(sentence(RMC.replace("230394", "230320")) + sentence(GGA))
    (found,) = read_trips([tmp_path / "truck.log", tmp_path / "truck.nmea"])
    first, second = found.rows()
    assert set(first.values) == {"fuel_rate_lph", "lat_deg", "lon_deg", "gps_speed_kmh", "alt_m", "hdop"}
    assert second.values == {"fuel_rate_lph": 9.0}
    alone = read_trips([tmp_path / "truck.log"])
    assert [s.values for s in alone[0].rows()] == [{"fuel_rate_lph": 9.0}] * 2
    both = join(can_rows([frame(0xFEF2, "B400FFFFFFFFFFFF")]), nmea_rows([]))
    assert trip(both, "gw").ledger.rows == 1


@needs_data
def test_a_hundred_receivers_logs() -> None:
    dropped: Counter[str] = Counter()
    rows = 0
    with tarfile.open(DATA / "gpsd_nmea" / "gpsd_nmea_logs.tar.xz") as archive:
        for member in archive.getmembers():
            stored = archive.extractfile(member) if member.name.endswith(".log") else None
            if stored is not None:
                found = nmea_rows(stored.read().decode("ascii", "replace").splitlines())
                rows += len(found.by_second)
                dropped.update(found.dropped)
    assert dropped["bad_checksum"] == 72  # as the collection's own README counts them
    assert dropped["no_fix"] > 500
    assert rows > 1000


@needs_data
@pytest.mark.parametrize(
    ("name", "rows", "signal", "low", "high"),
    [
        ("css_j1939_lfe_127s", 128, "fuel_rate_lph", 0.5, 60),
        ("css_j1939_idle_186s", 185, "engine_speed_rpm", 0, 1000),
        ("css_j1939_gnss_401s", 402, "odometer_m", 0, 158_910_600),
        ("watermark_normal_211s", 84, "fuel_total_hr_l", 28_735.5, 28_735.5),
    ],
)
def test_recorded_trucks_decode_to_possible_values(name: str, rows: int, signal: str, low: float, high: float) -> None:
    (found,) = read_trips([DATA / "j1939_logs" / f"{name}.parquet"], start_ns=1_600_000_000 * SECOND)
    assert found.ledger.rows == rows
    values = [s.values[signal] for s in found.rows() if signal in s.values]
    assert values
    assert low <= min(values)
    assert max(values) <= high
