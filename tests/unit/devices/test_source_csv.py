"""Replay of a CSV file: order and defects kept, what cannot be told is counted, never guessed."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from devices.config import ConfigError, SourceConfig
from devices.counters import Counters
from devices.source_csv import parse_time
from devices.sources import Context, make
from devices.wire import Sample

T0 = 1_704_067_200 * 10**9  # 2024-01-01T00:00:00Z


@dataclass
class Pace:
    """A clock that only the sleeping moves."""

    now_s: float = 0.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def replay(
    folder: Path, text: str | bytes, pace: Pace | None = None, counters: Counters | None = None, **options: Any
) -> list[Sample]:
    (folder / "trip.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    pace = pace or Pace()
    context = Context(
        name="can", base=folder, monotonic=pace.monotonic, sleep=pace.sleep, counters=counters or Counters()
    )
    source = make(SourceConfig(kind="csv", name="can", options={"path": "trip.csv", **options}), context)

    async def all_of_it() -> list[Sample]:
        return [s async for s in source.samples()]

    return asyncio.run(all_of_it())


def refused(folder: Path, text: str, **options: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        replay(folder, text, **options)
    return caught.value


def test_rows_become_samples_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "time,speed_kmh,odometer_m\n2024-01-01T00:00:01Z,50.5,1000\n2024-01-01T00:00:00Z,,999\n"
    assert replay(tmp_path, text) == [
        Sample(T0 + 10**9, {"speed_kmh": 50.5, "odometer_m": 1000.0}),
        Sample(T0, {"odometer_m": 999.0}),
    ]


def test_a_mark_of_byte_order_and_quotes_and_spaces_do_not_matter(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbf"time", speed_kmh\r\n"1704067200", 50\r\n\r\n'
    assert replay(tmp_path, text) == [Sample(T0, {"speed_kmh": 50.0})]


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("2024-01-01T00:00:00Z", T0),
        ("2024-01-01T01:00:00.5+01:00", T0 + 5 * 10**8),
        ("2024-01-01 00:00:00.000001+00:00", T0 + 1000),
        ("1704067200", T0),
        ("1704067200.000000001", T0 + 1),
        (" 1.7040672e9 ", T0),
        ("2024-01-01T00:00:00", None),  # no zone
        ("1704067200000", None),  # ms: not guessed
        ("1_704_067_200", None),
        ("nan", None),
        ("-inf", None),
        ("1e999999999", None),
        ("1e-999999999", 0),
        ("9999-01-01T00:00:00Z", None),  # beyond int64
        ("yesterday", None),
        ("", None),
    ],
)
def test_times(text: str, time_ns: int | None) -> None:
    assert parse_time(text) == time_ns


def test_times_without_a_zone_are_utc_only_when_told(tmp_path: Path) -> None:
    counters = Counters()
    text = "time,hdop\n2024-01-01T00:00:00,1\n"
    assert replay(tmp_path, text, counters=counters) == []
    assert counters["csv_row_unparsable"] == 1
    assert replay(tmp_path, text, naive="utc") == [Sample(T0, {"hdop": 1.0})]


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    counters = Counters()
    rows = [
        "1,5,1",
        "2,1_0,2",  # Python would read ten
        '3,"1,5",2',  # a comma is no point
        "4,abc,2",
        "5,5",  # torn
        "6,5,1,9",
        'x,5,"',
        "7,5,1",
        "8,0x10,1",
    ]
    got = replay(tmp_path, "time,speed_kmh,hdop\n" + "\n".join(rows), counters=counters)
    assert [s.time_ns // 10**9 for s in got] == [1, 2, 3, 4, 7, 8]
    assert counters.by_label("csv_cell_unparsable") == {"speed_kmh": 4}
    assert counters.by_label("csv_row_unparsable") == {"can": 3}


def test_a_stray_quote_or_bad_byte_damages_its_own_row_only(tmp_path: Path) -> None:
    counters = Counters()
    got = replay(tmp_path, b'time,hdop\n1,1\n2,"1\n3,1\n4,\xff\n5,1\n', counters=counters)
    assert [s.time_ns // 10**9 for s in got if s.values] == [1, 2, 3, 5]
    assert counters["csv_cell_unparsable"] == 1


def test_not_a_number_is_passed_on_to_be_counted_with_its_signal(tmp_path: Path) -> None:
    (sample,) = replay(tmp_path, "time,hdop\n1,nan\n")
    assert math.isnan(sample.values["hdop"])


@pytest.mark.parametrize(("speed", "waits"), [(1, [0, 10, 0, 5]), (10, [0, 1, 0, 0.5]), (0, [0, 0, 0, 0])])
def test_the_pace_is_the_recording_s_times_the_speed(tmp_path: Path, speed: float, waits: list[float]) -> None:
    pace = Pace()
    got = replay(tmp_path, "time,hdop\n100,1\n110,1\n105,1\n115,1\n", pace, speed=speed)
    assert [s.time_ns // 10**9 for s in got] == [100, 110, 105, 115]
    assert pace.slept == pytest.approx(waits)


def test_started_again_it_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "trip.csv").write_text("time,hdop\n1,1\n2,1\n3,1\n")
    options = {"path": "trip.csv", "speed": 0}
    source = make(SourceConfig(kind="csv", name="can", options=options), Context(name="can", base=tmp_path))

    async def twice() -> list[Sample]:
        first = source.samples()
        begun = [await anext(first), await anext(first)]
        return begun + [s async for s in source.samples()]

    assert [s.time_ns // 10**9 for s in asyncio.run(twice())] == [1, 2, 3]


def test_columns_can_be_renamed_and_left_out(tmp_path: Path) -> None:
    text = "ts,v,note\n1,50,hello\n"
    got = replay(tmp_path, text, rename={"ts": "time", "v": "speed_kmh"}, ignore=["note"])
    assert got == [Sample(10**9, {"speed_kmh": 50.0})]


@pytest.mark.parametrize(
    ("text", "options", "mend"),
    [
        ("time,speed_kph\n", {}, 'rename = { "speed_kph" = "speed_kmh" }'),
        ("speed_kmh\n", {}, "no column time"),
        ("", {}, "no column time"),
        ("time,hdop,hdop\n", {}, "hdop twice"),
        ("time\n", {"spede": 2}, "did you mean speed?"),
        ("time\n", {"speed": -1}, ">= 0"),
        ("time\n", {"naive": "local"}, '"refuse" (skip and count) or "utc"'),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, options: Mapping[str, Any], mend: str) -> None:
    error = refused(tmp_path, text, **options)
    assert error.key.startswith("source.can")
    assert mend in error.mend


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    context = Context(name="can", base=tmp_path)
    with pytest.raises(ConfigError, match=r"none\.csv") as caught:
        make(SourceConfig(kind="csv", name="can", options={"path": "none.csv"}), context)
    assert caught.value.key == "source.can.path"
