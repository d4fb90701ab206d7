"""Compaction: the same sums in fewer files, beside a writer, and never twice."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from storage import compact as compaction
from storage.compact import Merged, compact, groups, sweep
from storage.errors import LakeBusyError, LakeMissingError, StorageError
from storage.file_names import commits_of
from storage.lake import Lake
from storage.ledger import Change, chain
from storage.query import connect, refresh
from tests.lake_data import SECOND, T0, Crash, FaultyDisk, batches, commit, nothing, rollup_rows

KEY = "minute_ns, kind, asset, route, region, trip_start_ns, load_state, kernel_version, factor_set"
SUMS = "sum(readings), sum(observed_us), sum(co2e_ttw_ug), sum(co2e_wtt_ug), sum(distance_mm), sum(u_asset_ug), sum(u_ind_mg2)"
COMMITTED = ("readings", "emissions", "rollups", "trips", "events")
DIED = "merged-000000000001-000000000002-died.parquet"
QUESTIONS = (
    "SELECT * FROM readings ORDER BY ALL",
    "SELECT * FROM emissions ORDER BY ALL",
    f"SELECT {KEY}, {SUMS}, max(newest_time_ns), max(newest_received_ns) FROM rollups GROUP BY ALL ORDER BY ALL",
    "SELECT * FROM route_minutes ORDER BY ALL",
)


def answers(lake: Path) -> list[Any]:
    con = connect(lake)
    con.execute(f"SET VARIABLE now_ns = {T0 + 3 * 3600 * SECOND}")
    return [con.execute(q).fetchall() for q in QUESTIONS]


def filled(path: Path, commits: int = 12) -> Path:
    with Lake.open(path, create=True) as lake:
        for i in range(commits):
            start = T0 - 1800 * SECOND if i % 3 == 0 else T0
            lake.commit(commit(100, seed=i % 2, start_ns=start, span_ns=900 * SECOND))
    return path


def n_files(lake: Path, table: str) -> int:
    return len(DeltaTable(str(lake / table)).file_uris())


def test_every_answer_is_the_same_from_fewer_files(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    before = answers(lake)
    done = list(compact(lake))
    assert answers(lake) == before
    assert {(m.table, m.files) for m in done} == {(t, n) for t in COMMITTED for n in (4, 8)}
    assert [n_files(lake, t) for t in COMMITTED] == [2] * len(COMMITTED)
    assert all(m.rows_after < m.rows_before for m in done if m.table == "rollups")
    assert list(compact(lake)) == []


def test_partial_sums_of_one_key_become_one_row(tmp_path: Path) -> None:
    row = {"minute_ns": T0, "asset": 3, "readings": 2, "co2e_ttw_ug": 2**40, "newest_time_ns": T0 + 5}
    other = row | {"route": -1, "newest_time_ns": T0 + 7}
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(replace(nothing(), rollups=rollup_rows(row, other)))
        lake.commit(replace(nothing(), rollups=rollup_rows(row | {"newest_time_ns": T0 + 9}, other)))
    assert list(compact(tmp_path)) == [Merged("rollups", "2026-11-22/fleetco2-2026.1", 2, 4, 2)]
    found = (
        connect(tmp_path)
        .execute("SELECT route, readings, co2e_ttw_ug, newest_time_ns FROM rollups ORDER BY 1")
        .fetchall()
    )
    assert found == [("r-north", 4, 2**41, T0 + 9), (None, 4, 2**41, T0 + 7)]


def test_rows_of_a_device_lie_together(tmp_path: Path) -> None:
    lake = filled(tmp_path, 4)
    list(compact(lake))
    for uri in DeltaTable(str(lake / "readings")).file_uris():
        rows = pq.read_table(uri, partitioning=None)
        key = list(zip(*(rows[n].to_pylist() for n in ("device", "boot_id", "seq")), strict=True))
        assert key == sorted(key, key=lambda k: ([d for d, _, _ in key].index(k[0]), k[1], k[2]))


def sizes(rows: list[int], *, last: bool = False) -> list[list[int]]:
    files = [compaction._File(f"{i:05d}", n, 1) for i, n in enumerate(rows)]
    return [[f.rows for f in g] for g in groups(files, 500_000, last=last)]


def test_neighbours_of_like_size_are_merged() -> None:
    assert sizes([1000, 10, 400_000, 10, 10, 600_000, 300_000]) == [[1000, 10], [10, 10]]
    assert sizes([100_000] * 11) == [[100_000] * 4, [100_000] * 4, [100_000] * 2]
    assert sizes([400_000, 10, 90_000, 600_000, 5], last=True) == [[400_000, 10, 90_000]]
    assert sizes([100_000] * 11, last=True) == [[100_000] * 5, [100_000] * 5]


def test_a_row_is_written_again_only_a_few_times() -> None:
    files: list[compaction._File] = []
    written = 0
    for i in range(3000):
        files.append(compaction._File(f"n{i:05d}", 200, 1))
        if i % 10 == 9:
            for g in groups(files, 500_000):
                rows = sum(f.rows for f in g)
                written += rows
                at = files.index(g[0])
                files[at : at + len(g)] = [compaction._File(f"m{i:05d}", rows, 1)]
    assert written / (3000 * 200) < 6
    assert len(files) < 20


def test_signed_frames_stay_as_they_came(tmp_path: Path) -> None:
    parts = [batches(9, seed=i, start_ns=T0 + i * 60 * SECOND) for i in range(3)]
    with Lake.open(tmp_path, create=True) as lake:
        for rows in parts:
            lake.commit(replace(nothing(), batches=rows))
    assert list(compact(tmp_path)) == [Merged("batches", "2026-11-22", 3, 27, 27)]
    [uri] = DeltaTable(str(tmp_path / "batches")).file_uris()
    by_hash = [("frame_sha256", "ascending")]
    found = pq.read_table(uri, partitioning=None)
    assert found.sort_by(by_hash).to_pylist() == pa.concat_tables(parts).sort_by(by_hash).to_pylist()


def test_a_table_that_an_older_program_did_not_make_is_left_out(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    shutil.rmtree(lake / "batches")
    before = answers(lake)
    assert len(list(compact(lake))) == 10
    assert sweep(lake) == []
    assert answers(lake) == before


def test_a_writer_goes_on_beside_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from storage.compact import compact\n"
        "done = 0\n"
        "print('ready', flush=True)\n"
        "while not sys.stdin.readline().startswith('end'): done += len(list(compact(Path(sys.argv[1]))))\n"
        "print(done)"
    )
    with Lake.open(tmp_path / "with", create=True) as lake, Lake.open(tmp_path / "without", create=True) as alone:
        lake.commit(nothing())
        other = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "with")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        alone.commit(nothing())
        for i in range(40):
            lake.commit(commit(50, seed=i))
            alone.commit(commit(50, seed=i))
            if i % 8 == 7:
                other.stdin.write("again\n")
                other.stdin.flush()
        out, _ = other.communicate("end\n")
    assert other.returncode == 0
    assert int(out) > 3
    assert answers(tmp_path / "with") == answers(tmp_path / "without")


def test_a_second_compaction_is_refused(tmp_path: Path) -> None:
    lake = filled(tmp_path, 3)
    first = compact(lake)
    next(first)
    with pytest.raises(LakeBusyError, match="already compacts"):
        list(compact(lake))
    first.close()
    list(compact(lake))


def test_files_replaced_by_somebody_else_stop_it_and_nothing_doubles(tmp_path: Path) -> None:
    lake = filled(tmp_path, 4)
    before = answers(lake)

    class OptimizedMeanwhile(FaultyDisk):
        def sync(self, path: Path) -> None:
            if path.name.startswith("day="):
                DeltaTable(str(lake / "readings")).optimize.compact()
            super().sync(path)

    with pytest.raises(StorageError, match="somebody else has replaced files"):
        list(compact(lake, disk=OptimizedMeanwhile()))
    assert answers(lake) == before
    list(compact(lake))
    assert answers(lake) == before


@pytest.mark.parametrize("at", range(18))
def test_it_may_die_at_any_call(tmp_path: Path, at: int) -> None:
    lake = filled(tmp_path, 4)
    before = answers(lake)
    disk = FaultyDisk()
    disk.arm(at, Crash(), once=False)
    with pytest.raises(Crash):
        list(compact(lake, disk=disk))
    assert answers(lake) == before
    list(compact(lake))
    assert not list((lake / "tmp-compact").iterdir())
    assert answers(lake) == before
    assert [n_files(lake, t) for t in COMMITTED] == [2] * len(COMMITTED)


def test_sums_that_differ_stop_it(tmp_path: Path) -> None:
    lake = filled(tmp_path, 4)
    before = answers(lake)

    class Flipping(FaultyDisk):
        def write(self, tmp: Path, path: Path, data: Any) -> None:
            rows = pq.read_table(pa.BufferReader(data))
            sink = pa.BufferOutputStream()
            pq.write_table(rows.slice(1), sink)
            super().write(tmp, path, sink.getvalue())

    with pytest.raises(StorageError, match="does not add up"):
        list(compact(lake, disk=Flipping()))
    assert answers(lake) == before


def test_replaced_and_orphaned_files_go_after_their_time(tmp_path: Path) -> None:
    lake = filled(tmp_path, 4)
    con = connect(lake)
    asked = con.execute("SELECT count(*) FROM readings").fetchall()
    list(compact(lake))
    assert sweep(lake) == []
    assert con.execute("SELECT count(*) FROM readings").fetchall() == asked
    [day, *_] = (lake / "emissions").glob("day=*/factor_set=*")
    long_ago = time.time() - 5 * 3600
    for name in ("000000000002-failed.parquet", "000000000005-under-way.parquet", DIED):
        (day / name).write_bytes(b"orphan")
    for path in lake.rglob("*.parquet"):
        os.utime(path, (long_ago, long_ago))
    assert sorted(p.name for p in sweep(lake)) == ["000000000002-failed.parquet", DIED]
    refresh(con)
    assert con.execute("SELECT count(*) FROM readings").fetchall() == asked
    assert answers(lake)


def test_no_lake_is_said(tmp_path: Path) -> None:
    with pytest.raises(LakeMissingError, match="there is no lake here"):
        list(compact(tmp_path))


def test_the_chain_of_changes_says_what_replaced_what(tmp_path: Path) -> None:
    lake = filled(tmp_path, 3)
    list(compact(lake))
    for change, _ in chain(lake / "ledger" / "changes", Change, "change"):
        assert change.kind == "merge"
        assert change.made is not None
        content = (lake / change.table / change.made.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == change.made.sha256
        assert [commits_of(p) for p in change.removed] == [(2, 2), (3, 3)]
        assert commits_of(change.made.path) == (2, 3)
