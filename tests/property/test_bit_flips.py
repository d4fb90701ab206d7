"""One bit is flipped anywhere in a lake: ``verify`` finds it, whatever kind of file it is in."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.compact import compact
from storage.inventory import active
from storage.lake import Lake
from storage.proof import latest_root
from storage.quarantine import Refused, quarantine_table
from storage.registry import Registry, write_dimensions
from storage.roots import load_key, make_key
from storage.verify import Report, verify
from stream.fleet import Route
from tests.lake_data import T0, Clock, batches, commit

KINDS = {  # kind of file -> what it is called, relative to the lake
    "as written": r"(readings|emissions|rollups|trips|events|quarantine|batches)/day=.*/0[^/]*\.parquet",
    "merged": r"[a-z]+/day=.*/merged[^/]*\.parquet",
    "dimension": r"(vehicles|warehouses|routes|factors)/[0-9a-f]{64}-[^/]*\.parquet",
    "state": r"state/.*",
    "commits": r"ledger/0.*jsonl",
    "changes": r"ledger/changes/.*",
    "roots": r"ledger/roots/.*",
    "logs": r"[a-z]+/_delta_log/.*",
}


class Sealed:
    """A lake over three hours, compacted and signed, and its files by kind."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lake"
        self.public = make_key(folder / "server.key")
        clock = Clock()
        refused = quarantine_table([Refused(T0, "a/b", "bad_magic", "no FC", b"FX")])
        with Lake.open(self.path, create=True, now_ns=clock) as lake:
            write_dimensions(lake, Registry((), (), (Route("r-north", "North"),)))
            for i in range(9):
                rows = replace(commit(20, seed=i), quarantine=refused, batches=batches(3, seed=i))
                lake.commit(rows)
                clock.move(1200)
        key = load_key(folder / "server.key")
        list(compact(self.path, now_ns=clock, key=key))
        with Lake.open(self.path, create=False, now_ns=clock) as lake:
            lake.commit(commit(20, seed=20))
        clock.move(3600)
        list(compact(self.path, now_ns=clock, key=key))
        names = [str(p.relative_to(self.path)) for p in sorted(self.path.rglob("*")) if p.is_file()]
        self.files = {kind: [n for n in names if re.fullmatch(form, n)] for kind, form in KINDS.items()}

    def verified(self) -> Report:
        return verify(self.path, trusted=self.public)

    def named(self) -> dict[str, Any]:
        """What the tables' logs tell a reader."""
        return {t: active(self.path, t) for t in ("readings", "emissions", "rollups", "routes")}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    return Sealed(tmp_path_factory.mktemp("flips"))


def test_every_kind_of_file_is_there_and_nothing_is_wrong(lake: Sealed) -> None:
    assert {kind: bool(files) for kind, files in lake.files.items()} == dict.fromkeys(KINDS, True)
    report = lake.verified()
    assert report.findings == []
    assert (report.commits, report.roots, report.unsigned) == (10, 4, 0)
    assert report.changes > 10


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(KINDS)), data=st.data())
def test_a_flipped_bit_is_found(lake: Sealed, kind: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(lake.files[kind]))
    path = lake.path / name
    content = path.read_bytes()
    at = data.draw(st.integers(0, 8 * len(content) - 1))
    damaged = bytearray(content)
    damaged[at // 8] ^= 1 << at % 8
    before = lake.named()
    path.write_bytes(damaged)
    try:
        report = lake.verified()
        if kind != "logs":
            assert report.findings, (name, at)
        elif not report.findings:  # a note of the log that no reader goes by
            assert lake.named() == before
    finally:
        path.write_bytes(content)
    first = report.first("file")
    if kind in ("as written", "merged"):
        assert first is not None
        assert first.where == name
        assert re.fullmatch(r"2026-11-22T0[0-4]Z", first.hour)


def test_the_first_of_several_is_named(lake: Sealed) -> None:
    [first, *_, last] = lake.files["as written"]
    contents = {name: (lake.path / name).read_bytes() for name in (first, last)}
    for name, content in contents.items():
        (lake.path / name).write_bytes(content[:-4] + b"1PAR")
    found = [f.where for f in lake.verified().findings if f.kind == "file"]
    for name, content in contents.items():
        (lake.path / name).write_bytes(content)
    assert sorted(found) == sorted(contents)


@pytest.mark.parametrize("kind", ["as written", "merged", "dimension", "commits", "changes"])
def test_a_file_that_is_gone_is_missed(lake: Sealed, kind: str) -> None:
    named = {f"{t}/{p}" for t in ("readings", "emissions", "routes") for p in active(lake.path, t)}
    name = next(n for n in lake.files[kind] if n in named or kind in ("commits", "changes"))
    away = lake.path.parent / "away"
    (lake.path / name).rename(away)
    report = lake.verified()
    away.rename(lake.path / name)
    assert report.findings


def test_rows_put_in_by_hand_are_found(lake: Sealed) -> None:
    ledger = lake.path / "ledger" / "000000000000.jsonl"
    content = ledger.read_bytes()
    lines = content.splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:3] + lines[4:]))
    report = lake.verified()
    ledger.write_bytes(content)
    first = report.first("hour")
    assert first is not None
    assert "commit 5 does not follow commit 3" in first.what
    assert first.hour == "2026-11-22T01Z"


def test_a_lake_cut_short_lacks_the_root_that_was_published(lake: Sealed) -> None:
    root = latest_root(lake.path)
    assert root is not None
    assert verify(lake.path, published=root.root).findings == []
    path = lake.path / lake.files["roots"][0]
    content = path.read_bytes()
    path.write_bytes(b"".join(content.splitlines(keepends=True)[:-1]))
    report = verify(lake.path, published=root.root)
    path.write_bytes(content)
    assert ["was published, but is not here" in f.what for f in report.findings] == [True]
