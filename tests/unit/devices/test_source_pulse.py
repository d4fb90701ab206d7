"""Pulses become a count that outlives the gateway, never falls, and takes no noise for energy."""

import asyncio
import contextlib
import os
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from devices import gpio_edges
from devices.config import ConfigError, convert
from devices.counters import Counters
from devices.source_pulse import GpioPulses, Options, last_count, make
from devices.sources import Context
from devices.wire import Sample
from tests.pace import Pace, take

GAS = {"signal": "gas_kwh_gross", "per_unit": 100, "every_s": 60}


class Meter:
    """A source in the test's own time; ``meanwhile`` happens during each wait."""

    def __init__(self, folder: Path, meanwhile: Callable[[], None] = lambda: None, pace: Pace | None = None) -> None:
        self.pace = pace or Pace()
        self.pace.on_sleep = meanwhile
        self.counters = Counters()
        self.context = Context(
            name="gas",
            base=folder,
            counters=self.counters,
            now_ns=self.pace.now_ns,
            monotonic=self.pace.monotonic,
            sleep=self.pace.sleep,
        )

    def file(self, **options: Any) -> AsyncIterator[Sample]:
        return make({**GAS, "path": "count", **options}, self.context).samples()

    def gpio(self, fd: int, **options: Any) -> AsyncIterator[Sample]:
        given = convert({**GAS, "chip": "/dev/gpiochip0", **options}, Options, "gateway.toml")
        return GpioPulses(given, self.context.base / "gas.json", self.context, lambda: fd).samples()


def put(path: Path, count: int) -> None:
    path.write_text(f"{count}\n")


def totals(samples: list[Sample]) -> list[float]:
    return [round(s.values["gas_kwh_gross"] * 100) for s in samples]


async def some(samples: AsyncIterator[Sample], n: int) -> list[float]:
    try:
        return totals(await take(samples, n))
    finally:
        await samples.aclose()  # type: ignore[attr-defined]


def event(number: int) -> bytes:
    """A line event as the kernel gives it: time, id, offset, number, number on the line."""
    return struct.pack("=QIIII24x", 1, 2, 17, number, number)


class Line:
    """A pipe in place of the kernel's line descriptor: the source reads it as it reads the line."""

    def __init__(self) -> None:
        self.fd, self._write = os.pipe()
        os.set_blocking(self.fd, False)
        self.number = 0

    def pulse(self, n: int, lost: int = 0) -> None:
        for _ in range(n):
            self.number += 1
            os.write(self._write, event(self.number))
        self.number += lost

    def close(self) -> None:
        os.close(self._write)


def test_a_hardware_count_is_followed_from_where_counting_began(tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("5000\n")
    meter = Meter(tmp_path, lambda: put(count, int(count.read_text()) + 7))
    samples = asyncio.run(some(meter.file(start=12.5), 3))
    assert samples == [1250, 1257, 1264]


def test_what_hardware_counted_while_the_gateway_was_off_is_added(tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("100\n")
    meter = Meter(tmp_path)
    assert asyncio.run(some(meter.file(), 1)) == [0]
    count.write_text("350\n")
    meter.pace.now_s += 3600
    assert asyncio.run(some(Meter(tmp_path, pace=meter.pace).file(), 1)) == [250]


def test_a_count_that_begins_again_at_a_boot_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot = tmp_path / "boot_id"
    monkeypatch.setattr("devices.source_pulse.BOOT_ID", boot)
    count = tmp_path / "count"
    count.write_text("100\n")
    boot.write_text("one\n")
    meter = Meter(tmp_path)
    assert asyncio.run(some(meter.file(resets_at_boot=True), 1)) == [0]
    boot.write_text("two\n")
    count.write_text("130\n")  # more than before the boot: only the boot tells that all of it is new
    meter.pace.now_s += 3600
    assert asyncio.run(some(Meter(tmp_path, pace=meter.pace).file(resets_at_boot=True), 1)) == [130]


def test_a_count_that_began_again_at_zero_unasked_loses_nothing_of_what_it_has(tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("1000\n")
    meter = Meter(tmp_path, lambda: put(count, 5))
    assert asyncio.run(some(meter.file(), 2)) == [0, 5]
    assert meter.counters.by_label("pulse_counter_restarted") == {"gas": 1}
    assert meter.counters["pulses_impossible"] == 2  # it was believed the third time


def test_a_count_that_jumps_is_not_energy(tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("1000\n")
    meter = Meter(tmp_path, lambda: put(count, 9_999_999))
    assert asyncio.run(some(meter.file(), 2)) == [0, 0]


@pytest.mark.parametrize("text", ["", "\n\n", "12a\n", "-5\n", "1.5\n", "9" * 30 + "\n"])
def test_a_file_without_a_count_says_what_it_has(tmp_path: Path, text: str) -> None:
    (tmp_path / "count").write_text(text)
    with pytest.raises(OSError, match="not a count"):
        asyncio.run(some(Meter(tmp_path).file(), 1))


def test_the_last_whole_line_counts(tmp_path: Path) -> None:
    path = tmp_path / "count"
    path.write_text("7")
    assert last_count(path) == 7
    path.write_text("7\n8\n9")  # 9 is perhaps the beginning of 90
    assert last_count(path) == 8
    path.write_text("1\n" * 100_000 + "2\n\n")
    assert last_count(path) == 2
    with pytest.raises(FileNotFoundError):
        last_count(tmp_path / "none")


def test_pulses_on_a_line_are_counted_also_those_the_buffer_lost(tmp_path: Path) -> None:
    line = Line()
    plan = [(3, 0), (0, 0), (2, 5), (1, 0)]
    meter = Meter(tmp_path, lambda: line.pulse(*plan.pop(0)))
    assert asyncio.run(some(meter.gpio(line.fd, start=1), 4)) == [103, 103, 105, 111]
    again = Line()
    later = Meter(tmp_path, lambda: again.pulse(4), meter.pace)
    assert asyncio.run(some(later.gpio(again.fd, start=1), 2)) == [115, 119]


def test_noise_on_a_line_is_not_energy(tmp_path: Path) -> None:
    line = Line()
    plan = [(3, 0), (1, 50_000), (1, 0), (2, 0)]
    meter = Meter(tmp_path, lambda: line.pulse(*plan.pop(0)))
    assert asyncio.run(some(meter.gpio(line.fd), 4)) == [3, 4, 4, 6]
    assert meter.counters.by_label("pulses_impossible") == {"gas": 50_001}


def test_a_line_that_is_lost_is_said_and_its_last_pulses_are_saved(tmp_path: Path) -> None:
    line = Line()

    def unplug() -> None:
        line.pulse(5)
        line.close()

    async def run() -> None:
        meter = Meter(tmp_path, unplug)
        with pytest.raises(OSError, match="was it unplugged"):
            await some(meter.gpio(line.fd), 2)

    asyncio.run(run())
    assert b'"pulses":5' in (tmp_path / "gas.json").read_bytes()


def test_a_reading_is_given_only_when_its_count_is_on_disk(tmp_path: Path) -> None:
    """Else a power cut would make the counter fall."""
    line = Line()
    folder = tmp_path / "state"
    folder.mkdir()
    rounds = 0

    def meanwhile() -> None:
        nonlocal rounds
        rounds += 1
        line.pulse(1)
        if rounds == 2:
            folder.rename(tmp_path / "away")
        if rounds == 4:
            (tmp_path / "away").rename(folder)

    meter = Meter(folder, meanwhile)
    assert asyncio.run(some(meter.gpio(line.fd), 2)) == [1, 4]
    assert meter.counters.by_label("pulse_count_unsaved") == {"gas": 2}


def test_the_request_is_laid_out_as_in_the_kernel_s_header() -> None:
    """Offsets and values as a C compiler gives them for linux/gpio.h (struct gpio_v2_line_request, 592 bytes)."""
    got = gpio_edges.request(17, edge="falling", bias="pull-up", debounce_us=10_000)
    assert len(got) == 592
    assert struct.unpack_from("=I", got, 0) == (17,)
    assert got[256:288].rstrip(b"\0") == b"fleetco2 S0"
    assert struct.unpack_from("=QI", got, 288) == (0x4 | 0x20 | 0x100, 1)  # input, falling edge, pull-up; 1 attribute
    assert struct.unpack_from("=IIII", got, 320) == (3, 0, 10_000, 0)  # debounce
    assert struct.unpack_from("=Q", got, 336) == (1,)
    assert struct.unpack_from("=II", got, 560) == (1, 1024)
    assert gpio_edges._GET_LINE == 0xC250B407
    assert gpio_edges._EVENT.size == 48


def test_events_in_pieces_of_any_size_are_counted() -> None:
    count = gpio_edges.EdgeCount()
    data = b"".join(event(n) for n in (1, 2, 3, 9))
    for i in range(0, len(data), 7):
        count.feed(data[i : i + 7])
    assert count.edges == 9


def test_a_chip_that_is_not_there_or_is_none_is_named(tmp_path: Path) -> None:
    missing, wrong = tmp_path / "gpiochip9", tmp_path / "file"
    wrong.touch()
    for path, text in ((missing, "does not exist"), (wrong, "no GPIO chip")):
        samples = make({**GAS, "chip": str(path)}, Meter(tmp_path).context).samples()
        with pytest.raises(OSError, match=text):
            asyncio.run(some(samples, 1))


@pytest.mark.parametrize(
    ("options", "key", "mend"),
    [
        ({"path": "a", "signal": "grid_power_kw"}, "signal", "is no counter"),
        ({}, "", "give chip and line (GPIO) or path"),
        ({"path": "a", "chip": "b"}, "", "one of the two"),
        ({"path": "a", "per_unit": 0}, "per_unit", "> 0"),
    ],
)
def test_what_is_wrong_in_the_configuration_is_named(
    tmp_path: Path, options: dict[str, Any], key: str, mend: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make({**GAS, **options}, Meter(tmp_path).context)
    assert caught.value.key == ".".join(filter(None, ["source.gas", key]))
    assert mend in caught.value.mend


def test_a_damaged_saved_count_is_not_counted_on_from_zero(tmp_path: Path) -> None:
    (tmp_path / "gas.count.json").write_text('{"pulses": 12')
    with pytest.raises(ConfigError, match="mend it, or remove it"):
        make({**GAS, "path": "count"}, Meter(tmp_path).context)


def test_no_half_written_count_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("1\n")
    asyncio.run(some(Meter(tmp_path).file(), 3))
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "count").unlink()
    assert [p.name for p in tmp_path.iterdir()] == ["gas.count.json"]
