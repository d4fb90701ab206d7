"""A period handed out, and the checker that comes with it, run outside the project as its user would."""

import datetime
import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from storage import verify_export
from storage.__main__ import main
from storage.compact import compact
from storage.errors import StorageError
from storage.export import export
from storage.lake import Lake
from storage.proof import inclusion, latest_root
from storage.query import connect
from storage.registry import Registry, write_dimensions
from storage.roots import load_key, make_key
from stream.fleet import Route
from tests.lake_data import FACTOR_SET, SECOND, T0, Clock, batches, commit

DAY = datetime.date(2026, 11, 22)
NEXT = datetime.date(2026, 11, 23)
HOUR = 3600 * SECOND


class Given:
    """An export of a day and what is needed to check it."""

    def __init__(self, folder: Path) -> None:
        self.lake, self.out = folder / "lake", folder / "out"
        self.key = make_key(folder / "key")
        clock = Clock()
        with Lake.open(self.lake, create=True, now_ns=clock) as lake:
            write_dimensions(lake, Registry((), (), (Route("r-north", "North"),)))
            for i in range(8):
                start = T0 - 1800 * SECOND if i == 2 else T0
                lake.commit(replace(commit(40, seed=i, start_ns=start), batches=batches(3, seed=i)))
                clock.move(900)
        list(compact(self.lake, now_ns=clock, key=load_key(folder / "key")))
        clock.move(3600)
        with Lake.open(self.lake, create=False, now_ns=clock) as lake:
            lake.commit(commit(5, start_ns=T0 - 86_400 * SECOND))
        clock.move(3600)
        list(compact(self.lake, now_ns=clock, key=load_key(folder / "key")))
        self.done = export(self.lake, self.out, DAY, NEXT)

    def copy(self, folder: Path) -> Path:
        return Path(shutil.copytree(self.out, folder / "copy"))

    def figure(self) -> dict[str, Any]:
        """As the feed publishes one."""
        root = latest_root(self.lake)
        assert root is not None
        columns = ("readings", "co2e_ttw_ug", "co2e_wtt_ug", "distance_mm")
        where = f"route = 'r-north' AND kind = 'vehicle' AND minute_ns >= {T0} AND minute_ns < {T0 + HOUR}"
        sums = ", ".join(f"sum({c})" for c in columns)
        [row] = connect(self.lake).execute(f"SELECT {sums} FROM rollups WHERE {where}").fetchall()
        return {
            "format": "fleetco2 figure 1",
            "id": "north-1",
            "filter": {"from_ns": T0, "to_ns": T0 + HOUR, "routes": ["r-north"], "kinds": ["vehicle"], "assets": None},
            "factor_set": FACTOR_SET,
            "kernel_versions": [1],
            "commits": {"last": root.last},
            "sums": dict(zip(columns, map(int, row), strict=True)),
            "proof": json.loads(msgspec.json.encode(inclusion(self.lake, root.last))),
        }


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    return Given(tmp_path_factory.mktemp("export"))


def checked(folder: Path, *words: str) -> tuple[int, str]:
    """The export's own checker, isolated from this project."""
    program = [sys.executable, "-I", str(folder / "verify_export.py"), str(folder), *words]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd="/")
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_all_fits(given: Given) -> None:
    code, out = checked(given.out, "--key", given.key)
    assert (code, out.splitlines()[-1]) == (0, "ALL FITS")
    assert "24 batches" in out
    rows = pq.ParquetDataset(sorted((given.out / "data" / "readings").rglob("*.parquet"))).read()
    con = connect(given.lake)
    assert con.execute("SELECT count(*) FROM readings WHERE day = '2026-11-22'").fetchall() == [(rows.num_rows,)]
    assert given.done.open_lines == 0


def test_a_published_figure_is_computed_again(given: Given, tmp_path: Path) -> None:
    path = tmp_path / "figure.json"
    path.write_text(json.dumps(given.figure()))
    code, out = checked(given.out, "--key", given.key, "--figure", str(path))
    assert (code, "figure north-1: its sums are those of the rows, its proof leads to root" in out) == (0, True)


@pytest.mark.parametrize("what", ["sum", "proof", "period", "newer"])
def test_a_figure_that_is_not_true(given: Given, tmp_path: Path, what: str) -> None:
    figure = given.figure()
    if what == "sum":
        figure["sums"]["co2e_ttw_ug"] -= 1
    elif what == "proof":
        figure["proof"]["path"][0] = "00" * 32
    elif what == "period":
        figure["filter"]["to_ns"] += 24 * HOUR
    else:
        figure["commits"]["last"] += 1
    path = tmp_path / "figure.json"
    path.write_text(json.dumps(figure))
    code, out = checked(given.out, "--figure", str(path))
    assert code == 1
    assert "DOES NOT FIT: " in out
    assert {"sum": "states co2e_ttw_ug", "proof": "does not lead", "period": "another period", "newer": "newer"}[
        what
    ] in out


def every_file(given: Given) -> list[str]:
    names = [str(p.relative_to(given.out)) for p in sorted(given.out.rglob("*")) if p.is_file()]
    return [n for n in names if n not in ("verify_export.py", "README.txt")]


def test_one_bit_anywhere_is_found(given: Given, tmp_path: Path) -> None:
    copy = given.copy(tmp_path)
    files = every_file(given)
    assert {n.split("/")[0] for n in files} == {"data", "ledger", "dimensions", "manifest.json", "factors"}
    missed = []
    for i, name in enumerate(files):
        content = (copy / name).read_bytes()
        damaged = bytearray(content)
        at = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) % len(content)
        if name.endswith(".gz"):
            at = max(at, 10)  # the header of gzip holds a time stamp that nobody reads
        if name == "manifest.json":
            at = content.index(b'"sha256"') if b'"sha256"' in content else content.index(b'"rows": ') + 8
        damaged[at] ^= 1 << i % 7
        (copy / name).write_bytes(damaged)
        try:
            verify_export.check(copy, given.key, [], unsealed=False)
        except (verify_export.DoesNotFitError, *verify_export.UNREADABLE):
            pass
        else:
            missed.append(name)
        (copy / name).write_bytes(content)
    assert missed == []


def test_what_is_left_out_is_missed(given: Given, tmp_path: Path) -> None:
    copy = given.copy(tmp_path)
    manifest = json.loads((copy / "manifest.json").read_bytes())
    gone = manifest["files"].pop(3)
    (copy / "data" / gone["table"] / gone["path"]).unlink()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    code, out = checked(copy)
    assert code == 1
    assert "was landed for the period, but neither it nor what became of it is here" in out


def test_another_key_is_not_believed(given: Given) -> None:
    code, out = checked(given.out, "--key", "ab" * 32)
    assert code == 1
    assert "is signed by another key" in out


def test_it_says_what_no_root_covers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Lake.open(tmp_path / "lake", create=True) as lake:
        lake.commit(commit(10))
    words = ["export", "--from", "2026-11-22", "--to", "2026-11-23", "--out", str(tmp_path / "out")]
    assert main(["--lake", str(tmp_path / "lake"), *words]) == 0
    assert "1 ledger lines lie under no hourly root yet" in capsys.readouterr().out
    assert checked(tmp_path / "out")[0] == 1
    assert checked(tmp_path / "out", "--unsealed")[0] == 0
    assert main(["--lake", str(tmp_path / "lake"), *words]) == 2
    assert "is there already" in capsys.readouterr().err


def test_an_empty_period_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is empty"):
        export(tmp_path, tmp_path / "out", DAY, DAY)
