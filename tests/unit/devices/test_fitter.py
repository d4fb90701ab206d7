"""What a fitter reads: each source in plain words, and an exit code that a script can use."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from devices.__main__ import main
from devices.config import ConfigError, SourceConfig
from devices.fitter import Found, Heard, is_good, look, plain, report
from devices.sources import Source
from devices.wire import Sample

NOW_NS = 1_800_000_000 * 10**9


@dataclass
class Script:
    """A source that gives what is written, then fails or is silent."""

    name: str
    values: list[dict[str, float]] = field(default_factory=list)
    age_s: float = 0.5
    error: Exception | None = None
    can_wait: bool = False
    ends: bool = False

    async def samples(self) -> AsyncIterator[Sample]:
        for values in self.values:
            yield Sample(NOW_NS - round(self.age_s * 1e9), values)
        if self.error is not None:
            raise self.error
        if not self.ends:
            await asyncio.Event().wait()


def found(*sources: Script | ConfigError) -> list[Found]:
    made: dict[str, Any] = {f"s{i}": source for i, source in enumerate(sources)}

    def make(config: SourceConfig) -> Source:
        source = made[config.name]
        if isinstance(source, ConfigError):
            raise source
        assert isinstance(source, Script)
        return source

    configs = [SourceConfig(kind="test", name=name, options={}) for name in made]
    return asyncio.run(look(configs, make, 0.05))


def lines(one: Found) -> str:
    return "\n".join(report(one, lambda: NOW_NS))


def test_a_good_source_is_told_with_value_age_and_verdict() -> None:
    (one,) = found(Script("s0", [{"speed_kmh": 80.0}, {"speed_kmh": 81.5, "odometer_m": 1e6}]))
    assert is_good(one, NOW_NS)
    text = lines(one)
    assert "s0 (test): 2 readings" in text
    assert "speed_kmh" in text
    assert "81.5" in text
    assert "0.5 s ago" in text
    assert text.count("plausible") == 2


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Script("s0", [{"hdop": 999.0}]), "NO: outside 0 to 100"),
        (Script("s0", [{"hdop": float("nan")}]), "NO: outside"),
        (Script("s0", [{"hdopp": 1.0}]), "NO: there is no such signal"),
        (Script("s0", [{"odometer_m": 5.0}, {"odometer_m": 4.0}, {"odometer_m": 6.0}]), "NO: this counter fell"),
        (Script("s0", [{"hdop": 1.0}], age_s=3600), "NO: old"),
        (Script("s0", [{"hdop": 1.0}], age_s=-60), "NO: its time lies in the future"),
        (Script("s0"), "SILENT"),
        (Script("s0", [{}]), "SILENT"),
        (Script("s0", error=OSError(errno.EACCES, "Permission denied", "/dev/ttyUSB0")), "dialout"),
        (Script("s0", error=FileNotFoundError(errno.ENOENT, "No such file", "/dev/ttyUSB9")), "is it plugged in"),
        (Script("s0", error=OSError(errno.ENODEV, "No such device")), "is it plugged in"),
        (Script("s0", error=RuntimeError("a plug-in's mistake")), "a plug-in's mistake"),
        (Script("s0", [{"hdop": 1.0}], error=OSError(errno.EIO, "gone")), "then it failed"),
        (ConfigError("f", "source.s0.kind", "there is no kind 'cann'"), "there is no kind 'cann'"),
    ],
)
def test_what_is_wrong_is_said_in_plain_words(source: Script | ConfigError, words: str) -> None:
    good, one = found(Script("s1", [{"hdop": 1.0}]), source)
    assert is_good(good, NOW_NS)  # whatever the other does
    assert not is_good(one, NOW_NS)
    assert words in lines(one)


def test_a_recording_may_be_old_and_a_battery_s_energy_may_fall() -> None:
    values = [{"battery_energy_total_kwh": 5.0}, {"battery_energy_total_kwh": 4.5}]
    (one,) = found(Script("s0", values, age_s=1e7, can_wait=True, ends=True))
    assert is_good(one, NOW_NS)
    assert "115.7 days ago" in lines(one)


def test_every_error_has_words() -> None:
    assert plain(ValueError()) == "ValueError"
    assert plain(OSError(errno.ENOSPC, "No space left")) == f"[Errno {errno.ENOSPC}] No space left"


def gateway(folder: Path, *sources: str) -> list[str]:
    (folder / "trip.csv").write_text("time,hdop\n1704067200,1\n")
    head = 'device = "truck-01"\ntenant = "acme"\n[broker]\nhost = "broker.invalid"\n'
    (folder / "gateway.toml").write_text(head + "".join(f"[[source]]\n{s}\n" for s in sources))
    return ["check", "--config", str(folder / "gateway.toml"), "--seconds", "0.2"]


def test_the_command_needs_no_broker_and_says_0_when_all_is_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(gateway(tmp_path, 'kind = "csv"\npath = "trip.csv"')) == 0
    out = capsys.readouterr().out
    assert "csv (csv): 1 readings" in out
    assert "hdop" in out
    assert "clock: " in out


def test_the_command_says_1_when_a_source_is_missing_and_tells_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = ('kind = "csv"\npath = "trip.csv"', 'kind = "csv"\nname = "gone"\npath = "gone.csv"', 'kind = "cann"')
    assert main(gateway(tmp_path, *sources)) == 1
    out = capsys.readouterr().out
    assert "csv (csv): 1 readings" in out
    assert "gone (csv): MISSING" in out
    assert "cann (cann): MISSING" in out
    assert "there is no kind 'cann'" in out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_must_not_be_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = gateway(tmp_path, 'kind = "csv"\npath = "trip.csv"')
    (tmp_path / "trip.csv").chmod(0)
    assert main(arguments) == 1
    assert "Permission denied" in capsys.readouterr().out


def test_a_wrong_configuration_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(gateway(tmp_path)) == 2
    assert "no source is configured" in capsys.readouterr().err


def test_while_the_clock_is_not_known_a_live_value_has_its_age_and_a_recording_its_date() -> None:
    up_ns = 100 * 10**9
    live = Found("can", "can", signals={"hdop": Heard(1.0, up_ns - 2 * 10**9)}, readings=1)
    recorded = Found("csv", "csv", signals={"hdop": Heard(1.0, NOW_NS)}, readings=1)
    assert "2.0 s ago" in "\n".join(report(live, lambda: up_ns))
    assert "2027-01-15" in "\n".join(report(recorded, lambda: up_ns))
    assert is_good(live, up_ns)
    assert is_good(recorded, up_ns)
    assert "no date yet" in "\n".join(report(live, lambda: NOW_NS))
