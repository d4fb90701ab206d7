"""The command line: help worth reading, and errors that say what to do."""

import re
from pathlib import Path

import pytest

from devices.__main__ import main
from devices.config import load
from devices.signals import SIGNALS


def gateway_toml(folder: Path, text: str = "", source: str = '[[source]]\nkind = "csv"\npath = "trip.csv"\n') -> str:
    (folder / "trip.csv").write_text("time,hdop\n1704067200,1\n")
    path = folder / "gateway.toml"
    path.write_text(f'device = "truck-01"\ntenant = "acme"\n{text}[broker]\nhost = "127.0.0.1"\n{source}')
    return str(path)


def test_the_example_in_the_help_is_a_good_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["gateway", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    example = re.search(r"example of gateway.toml:\n\n(.*?)\nkeys of", text, re.DOTALL)
    assert example is not None
    (tmp_path / "ca.pem").write_text("")
    path = tmp_path / "gateway.toml"
    path.write_text(example[1])
    assert load(path).sources[0].options == {"path": "trip.csv", "speed": 60}


def test_check_tells_that_all_is_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gateway", "--config", gateway_toml(tmp_path), "--check"]) == 0
    assert "truck-01, sources csv" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "source", "mend"),
    [
        ("batchs = 1\n", '[[source]]\nkind = "csv"\npath = "trip.csv"\n', "did you mean batch_s?"),
        ("", "", "no source is configured"),
        ("", '[[source]]\nkind = "no-such-kind"\n', "installed are"),
        ("", '[[source]]\nkind = "csv"\npath = "none.csv"\n', "none.csv"),
        ("", 'password_env = "NOT_SET_ANYWHERE"\n[[source]]\nkind = "csv"\npath = "trip.csv"\n', "NOT_SET_ANYWHERE"),
    ],
)
def test_a_wrong_configuration_ends_with_2_and_the_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, source: str, mend: str
) -> None:
    assert main(["gateway", "--config", gateway_toml(tmp_path, text, source), "--check"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "gateway.toml" in error
    assert mend in error
    assert "Traceback" not in error


def test_a_missing_file_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gateway", "--config", str(tmp_path / "none.toml")]) == 2
    assert "none.toml" in capsys.readouterr().err


def test_the_kinds_and_signals_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sources"]) == 0
    assert "csv" in capsys.readouterr().out
    assert main(["signals"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(SIGNALS) + 1
