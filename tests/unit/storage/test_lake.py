"""Commits of the lake: what stands where, in which order, and who may write."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from storage.errors import LakeBusyError, LakeMissingError, StorageError
from storage.lake import Commit, Lake, StatePart
from storage.ledger import Record, chain, digest, encode
from storage.quarantine import Refused, quarantine_table
from storage.schema import DAY_NS, LANDED, to_arrow
from storage.verify import verify
from tests.lake_data import FACTOR_SET, NAMES, SECOND, T0, batches, columns, commit, nothing, recovered, rows_of


def stored(lake: Path, table: str) -> pa.Table:
    """What a reader of the Delta table finds, without the partition columns, in the order of the files' numbers."""
    uris = sorted(DeltaTable(str(lake / table)).file_uris(), key=lambda u: Path(u).name)
    return pa.concat_tables([pq.read_table(u, partitioning=None) for u in uris]) if uris else None


def test_what_is_committed_is_read_back(tmp_path: Path) -> None:
    data = replace(commit(500), batches=batches(20))
    with Lake.open(tmp_path / "lake", create=True) as lake:
        assert recovered(lake) == (0, b"")
        assert lake.commit(data) == 1
    for name, table in data.tables():
        found = stored(tmp_path / "lake", name)
        assert rows_of(found) == rows_of(table) if table.num_rows else found is None


def test_state_and_number_come_back(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        for i in range(3):
            lake.commit(commit(10, seed=i, state=b"state %d" % i))
    with Lake.open(tmp_path, create=False) as lake:
        assert recovered(lake) == (3, b"state 2")
        assert lake.commit(nothing(b"state 3")) == 4
    with Lake.open(tmp_path, create=False) as lake:
        assert recovered(lake) == (4, b"state 3")
        assert [p.name[:12] for p in (tmp_path / "state").iterdir()] == ["000000000004"]


def test_a_commit_without_readings_still_advances(tmp_path: Path) -> None:
    refused = quarantine_table([Refused(T0, "fleet/v1/t/d/up/readings", "bad_magic", "no FC", b"\xff\0", device="d")])
    with Lake.open(tmp_path, create=True) as lake:
        assert lake.commit(replace(nothing(), quarantine=refused)) == 1
        assert lake.commit(nothing()) == 2
    assert rows_of(stored(tmp_path, "quarantine")) == rows_of(refused)
    assert stored(tmp_path, "readings") is None


def test_files_lie_by_day_and_factor_set(tmp_path: Path) -> None:
    data = commit(50, start_ns=T0 - 1800 * SECOND)
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(data)
    days = ["day=2026-11-21", "day=2026-11-22"]
    assert sorted(p.name for p in (tmp_path / "readings").glob("day=*")) == days
    assert sorted(str(p.relative_to(tmp_path / "rollups")) for p in (tmp_path / "rollups").glob("day=*/*")) == [
        f"{day}/factor_set={FACTOR_SET}" for day in days
    ]
    table = DeltaTable(str(tmp_path / "readings")).to_pyarrow_table(columns=["day", "time_ns"])
    assert {(str(d), t // DAY_NS - T0 // DAY_NS) for d, t in zip(*(c.to_pylist() for c in table), strict=True)} == {
        ("2026-11-21", -1),
        ("2026-11-22", 0),
    }


def test_parquet_text_is_plain_text_and_delta_keeps_units(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(commit(5))
    [uri] = DeltaTable(str(tmp_path / "readings")).file_uris()
    assert pq.read_schema(uri).field("device").type == pa.string()
    field = next(f for f in DeltaTable(str(tmp_path / "readings")).schema().fields if f.name == "speed_kmh")
    assert field.metadata["unit"] == "km/h"


def test_the_record_names_every_file_with_its_hash(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        for i in range(3):
            lake.commit(commit(20, seed=i))
    records = [r for r, _ in chain(tmp_path / "ledger", Record, "commit")]
    assert [r.n for r in records] == [1, 2, 3]
    assert records[2].previous == digest(encode(records[1]))
    for record in records:
        assert [f.table for f in record.files] == ["readings", "emissions", "rollups", "trips", "events"]
        for f in record.files:
            content = (tmp_path / f.table / f.path).read_bytes()
            assert (hashlib.sha256(content).hexdigest(), len(content)) == (f.sha256, f.bytes)
    state = (tmp_path / records[2].state).read_bytes()
    assert hashlib.sha256(state[41:]).hexdigest() == records[2].state_sha256


def test_a_record_changed_by_hand_breaks_the_chain(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        for i in range(3):
            lake.commit(commit(20, seed=i))
    [path] = (tmp_path / "ledger").glob("*.jsonl")
    text = path.read_text()
    path.write_text(text.replace('"rows":20', '"rows":21', 1))
    with pytest.raises(StorageError, match="broken at commit 2"):
        list(chain(tmp_path / "ledger", Record, "commit"))


def test_no_table_is_behind_after_a_commit(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(commit(20))
        lake.commit(nothing())
        lake.commit(commit(20))
    versions = {t: DeltaTable(str(tmp_path / t)).transaction_version("fleetco2") for t in LANDED}
    full = {"readings": 3, "emissions": 3, "rollups": 3, "trips": 3, "events": 3}
    assert versions == dict.fromkeys(LANDED) | full


def test_a_second_writer_is_refused_by_name(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True), pytest.raises(LakeBusyError, match=f"process {os.getpid()} already writes"):
        Lake.open(tmp_path, create=True)
    Lake.open(tmp_path, create=False).close()


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys; from storage.lake import Lake;"
        " Lake.open(pathlib.Path(sys.argv[1]), create=True); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == 9
    Lake.open(tmp_path, create=False).close()


def test_no_lake_is_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(LakeMissingError, match="there is no lake here"):
        Lake.open(tmp_path / "typo", create=False)
    assert list(tmp_path.iterdir()) == []


def test_data_in_other_columns_are_our_mistake_and_change_nothing(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        with pytest.raises(ValueError, match="rollups"):
            lake.commit(replace(commit(5), rollups=commit(5).readings))
        assert lake.commit(commit(5)) == 1


def test_checkpoints_bound_the_log_and_the_chain_outlives_it(tmp_path: Path) -> None:
    now = iter(range(10**9))
    with Lake.open(tmp_path, create=True, now_ns=lambda: next(now)) as lake:
        for i in range(120):
            lake.commit(nothing(b"%d" % i))
    assert len(list((tmp_path / "readings" / "_delta_log").glob("*.checkpoint.parquet"))) == 6
    for entry in sorted((tmp_path / "readings" / "_delta_log").glob("*.json"))[:100]:
        entry.unlink()  # as the log's retention does
    with Lake.open(tmp_path, create=False) as lake:
        assert recovered(lake) == (120, b"119")
    assert [r.n for r, _ in chain(tmp_path / "ledger", Record, "commit")] == list(range(1, 121))


def test_a_lost_ledger_tail_comes_back_from_the_log(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        for i in range(5):
            lake.commit(commit(5, seed=i))
    [path] = (tmp_path / "ledger").glob("*.jsonl")
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        Lake.open(tmp_path, create=False).close()
        assert path.read_bytes() == whole


def test_a_ledger_that_the_log_does_not_know_is_refused(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(commit(5))
        lake.commit(commit(5))
    (tmp_path / "readings" / "_delta_log" / f"{2:020d}.json").unlink()
    with pytest.raises(StorageError, match="ends at commit 2, but readings is at commit 1"):
        Lake.open(tmp_path, create=False)


def test_a_damaged_state_file_is_named(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(commit(5))
    [state] = (tmp_path / "state").iterdir()
    state.write_bytes(state.read_bytes()[:-1])
    with Lake.open(tmp_path, create=False) as lake, pytest.raises(StorageError, match=state.name):
        recovered(lake)


def part(text: bytes, *, begins: bool = False, ends: bool = False) -> StatePart:
    return StatePart((text[:1], memoryview(text)[1:]), begins, ends)


def kept(lake: Path) -> list[int]:
    """Commits whose state file is there."""
    return sorted(int(p.name[:12]) for p in (lake / "state").iterdir())


def test_parts_of_the_state_are_kept_for_as_long_as_they_are_needed(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        for state in (
            b"whole",
            part(b"-touched"),
            part(b"-begin", begins=True),
            None,
            part(b"-on"),
            part(b"-end", ends=True),
        ):
            lake.commit(nothing(state))
        lake._ready()
        assert kept(tmp_path) == [3, 5, 6]
        lake.commit(nothing(part(b"-7", begins=True)))
        lake.commit(nothing(part(b"-8")))
    assert verify(tmp_path).findings == []
    with Lake.open(tmp_path, create=False) as lake:
        assert recovered(lake) == (8, b"-begin-on-end-7-8")
        lake.commit(nothing(part(b"-9", ends=True)))  # of a round that another process began: it does not count
    with Lake.open(tmp_path, create=False) as lake:
        assert recovered(lake) == (9, b"-begin-on-end-7-8-9")
        lake.commit(nothing(b"all"))
        lake._ready()
        assert kept(tmp_path) == [9, 10]


@pytest.mark.parametrize("damage", ["gone", "flipped", "of another commit"])
def test_a_part_that_is_not_as_its_commit_says_is_named(tmp_path: Path, damage: str) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        for state in (b"whole", part(b"two"), part(b"three")):
            lake.commit(nothing(state))
    _, two, three = sorted((tmp_path / "state").iterdir())
    if damage == "gone":
        two.unlink()
    elif damage == "flipped":
        two.write_bytes(two.read_bytes()[:-1] + b"a")
    else:
        two.write_bytes(three.read_bytes())
    [finding] = verify(tmp_path).findings
    assert finding.where == f"state/{two.name}"
    with Lake.open(tmp_path, create=False) as lake, pytest.raises(StorageError, match=two.name):
        recovered(lake)


def test_a_state_file_that_no_commit_names_is_not_read(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(nothing(b"whole"))
        lake.commit(nothing(part(b"-two")))
    [path] = (tmp_path / "state").glob("000000000002*")
    (tmp_path / "state" / "000000000003-0123456789ab.state").write_bytes(path.read_bytes())
    with Lake.open(tmp_path, create=False) as lake:
        assert recovered(lake) == (2, b"whole-two")
        assert kept(tmp_path) == [1, 2]


@pytest.mark.parametrize("rest", [b"", b"\0" * 700, b'{"commitInfo":{"timest'])
def test_a_log_entry_torn_by_a_power_cut_never_happened(tmp_path: Path, rest: bytes) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(commit(5, state=b"one"))
    for table in ("readings", "emissions"):
        (tmp_path / table / "_delta_log" / f"{2:020d}.json").write_bytes(rest)
    with Lake.open(tmp_path, create=False) as lake:
        assert recovered(lake) == (1, b"one")
        assert lake.commit(commit(7)) == 2
    assert stored(tmp_path, "emissions").num_rows == 12


def test_a_torn_checkpoint_is_passed_over(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        for _ in range(21):
            lake.commit(nothing())
        lake.commit(commit(5))
    [checkpoint] = (tmp_path / "readings" / "_delta_log").glob("*.checkpoint.parquet")
    checkpoint.write_bytes(b"")
    with Lake.open(tmp_path, create=False) as lake:
        assert recovered(lake)[0] == 22
        assert lake.commit(commit(5)) == 23
    assert stored(tmp_path, "readings").num_rows == 10


def test_commits_ride_over_a_compaction_by_somebody_else(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        for i in range(4):
            lake.commit(commit(30, seed=i))
        for table in ("readings", "emissions"):
            DeltaTable(str(tmp_path / table)).optimize.compact()
        for i in range(3):
            lake.commit(commit(30, seed=i))
    assert DeltaTable(str(tmp_path / "readings")).to_pyarrow_table().num_rows == 210
    assert DeltaTable(str(tmp_path / "emissions")).to_pyarrow_table().num_rows == 210


def test_two_factor_sets_lie_beside_each_other(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(commit(30))
        lake.commit(replace(commit(30), factor_set="fleetco2-2025.1"))
    sets = DeltaTable(str(tmp_path / "emissions")).to_pyarrow_table(columns=["factor_set"])["factor_set"]
    assert sorted(set(sets.to_pylist())) == ["fleetco2-2025.1", FACTOR_SET]


def test_many_days_in_one_commit(tmp_path: Path) -> None:
    batch = columns("readings", 400, span_ns=300 * DAY_NS, start_ns=T0 - 300 * DAY_NS)
    data: Commit = replace(nothing(), readings=to_arrow("readings", batch, NAMES))
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(data)
    assert DeltaTable(str(tmp_path / "readings")).to_pyarrow_table().num_rows == 400
