"""``python -m storage``."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from storage.__main__ import main
from storage.lake import Lake
from storage.quarantine import Refused, quarantine_table
from storage.registry import Registry, write_dimensions
from stream.fleet import Route
from tests.lake_data import T0, commit


@pytest.fixture
def lake(tmp_path: Path) -> str:
    path = tmp_path / "lake"
    refused = quarantine_table([Refused(T0, "a/b", "bad_magic", "no FC", b"FX\xff")])
    with Lake.open(path, create=True) as lake:
        write_dimensions(lake, Registry((), (), (Route("r-north", "North, and up"),)))
        lake.commit(commit(30))
        lake.commit(replace(commit(30), quarantine=refused))
    return str(path)


def test_table(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lake", lake, "sql", "SELECT count(*) AS n, NULL AS u, 1 / 3 AS third FROM readings"]) == 0
    assert capsys.readouterr().out.split() == ["n", "u", "third", "60", "·", "0.333333"]


def test_csv(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lake", lake, "sql", "--format", "csv", "SELECT route, name, stage, origin FROM routes"]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows == [["route", "name", "stage", "origin"], ["r-north", "North, and up", "other", ""]]


def test_json_carries_what_json_has_no_form_for(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    query = (
        "SELECT time, payload, 'NaN'::DOUBLE AS nan, 1e300 * 1e300 AS inf, seq, 2::HUGEINT ** 70 AS big FROM quarantine"
    )
    assert main(["--lake", lake, "sql", "--format", "json", query]) == 0
    [row] = json.loads(capsys.readouterr().out, parse_constant=lambda c: pytest.fail(c))
    assert row["time"] == "2026-11-22 00:00:00.000"
    assert row["payload"] == "FX\\xff"
    assert (row["nan"], row["inf"], row["seq"]) == ("nan", "inf", None)


def test_a_query_from_standard_input(
    lake: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 7 AS seven"))
    assert main(["--lake", lake, "sql", "--format", "csv", "-"]) == 0
    assert capsys.readouterr().out == "seven\n7\n"


def test_it_answers_while_a_consumer_writes(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Lake.open(Path(lake), create=False) as writer:
        for n in (90, 120):
            writer.commit(commit(30))
            assert main(["--lake", lake, "sql", "--format", "csv", "SELECT count(*) FROM readings"]) == 0
            assert capsys.readouterr().out.split() == ["count_star()", str(n)]


def test_stats(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lake", lake, "stats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["readings", "2", "60"]
    assert [line.split()[0] for line in lines[1:21]] == [
        "readings",
        "emissions",
        "rollups",
        "trips",
        "events",
        "quarantine",
        "batches",
        "gateways",
        "rollup_hours",
        "trip_words",
        "backhaul",
        "market_factors",
        "vehicles",
        "warehouses",
        "routes",
        "places",
        "regions",
        "baselines",
        "benchmarks",
        "factors",
    ]
    assert lines[-1].startswith("newest commit 2 at ")


def test_stats_of_an_empty_lake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Lake.open(tmp_path, create=True).close()
    assert main(["--lake", str(tmp_path), "stats"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "no commit yet"


def test_compact_and_verify(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lake", lake, "verify"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "2 commits and 0 changes, 0 hourly roots (0 unsigned)",
        "11 files with 139 rows as written, 0 replaced and removed since",
    ]
    assert main(["--lake", lake, "compact"]) == 0
    assert "readings 2026-11-22: 2 files, 60 rows -> 1 file, 60 rows" in capsys.readouterr().out
    assert main(["--lake", lake, "verify"]) == 0
    [path, *_] = (Path(lake) / "emissions").glob("day=*/*/0*.parquet")
    path.write_bytes(path.read_bytes()[:-1])
    assert main(["--lake", lake, "verify"]) == 1
    out = capsys.readouterr().out
    assert f"first file: {path.relative_to(lake)}: is not as it was written" in out
    assert "the first hour is 20" in out


def test_days_that_are_not_kept(lake: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lake", lake, "compact", "--keep", "events=-1"]) == 0
    assert "events: 2 files of days over -1 days ago dropped" in capsys.readouterr().out
    assert main(["--lake", lake, "compact", "--keep", "nothing=3"]) == 2
    assert "there is no table nothing" in capsys.readouterr().err


def test_a_key_signs_the_roots(lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "server.key"
    assert main(["key", "--out", str(key)]) == 0
    public = capsys.readouterr().out.strip()
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(public)) == 32
    assert main(["key", "--out", str(key)]) == 2
    assert main(["--lake", lake, "compact", "--key", str(key)]) == 0
    assert main(["--lake", lake, "verify", "--key", public]) == 0
    key.chmod(0o644)
    assert main(["--lake", lake, "compact", "--key", str(key)]) == 2
    assert "others may read this key" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["stats"], ["compact"], ["verify"], ["sql", "SELECT 1"]])
def test_no_lake(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(["--lake", str(tmp_path / "typo"), *words]) == 2
    assert capsys.readouterr().err.startswith(f"storage: {tmp_path / 'typo'}: there is no lake here")
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT x FROM readings", '"x" not found'),
        ("DROP VIEW readings", "only one SELECT"),
    ],
)
def test_bad_sql(lake: str, capsys: pytest.CaptureFixture[str], sql: str, message: str) -> None:
    assert main(["--lake", lake, "sql", sql]) == 2
    assert message in capsys.readouterr().err


def test_one_tenant_alone_is_refused_and_nothing_is_written(
    lake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "acme"
    days = ["--from", "2026-11-22", "--to", "2026-11-23"]
    assert main(["--lake", lake, "export", *days, "--out", str(out), "--tenant", "acme"]) == 2
    assert "acme cannot be exported alone: what is proved is the hash of a file" in capsys.readouterr().err
    assert not out.exists()
