"""Results made anew from raw: the same bytes as live, other factors beside them, while somebody writes, whole or not at all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import raw_parts
from storage.__main__ import main
from storage.compact import compact, read_files
from storage.disk import lock
from storage.errors import LakeBusyError, StorageError
from storage.inventory import active, moment
from storage.lake import Lake
from storage.query import connect
from storage.rebuild import canonical_sha256, rebuild, units
from storage.result_files import RESULTS
from storage.schema import LANDED
from storage.taken_order import taken_order
from storage.verify import verify
from stream.factors import FactorError
from stream.fleet import Route
from tests.lake_data import T0, Crash, FaultyDisk, nothing
from tests.real_lake import NEW, OLD, REGISTRY, build, drive, split
from tests.support import T0_NS, rows


def results(lake: Path, factors: str) -> dict[str, str]:
    """Hash of all rows of each result table under a factor set."""
    found = {}
    for table in RESULTS:
        paths = [lake / table / p for p, a in active(lake, table).items() if a.partition["factor_set"] == factors]
        found[table] = canonical_sha256(table, read_files(table, paths)) if paths else "none"
    return found


def hours_of_data() -> list[dict[str, np.ndarray]]:
    """Three trucks for 100 minutes in 20 batches; a reboot, and rows of the old boot that come after the new one's."""
    first = drive(4000)
    late = rows(first, first["time_ns"] >= T0_NS + 3990 * 10**9)
    on_time = rows(first, first["time_ns"] < T0_NS + 3990 * 10**9)
    second = drive(2000, start_s=4100, boot_id=5, seed=2)
    return [*split(on_time, 12), *split(second, 4), late, *split(drive(600, start_s=6200, boot_id=900, seed=3), 3)]


def test_the_same_factors_give_the_same_bytes(tmp_path: Path) -> None:
    made = build(tmp_path, hours_of_data())
    live = results(tmp_path, OLD)
    assert "none" not in {live[t] for t in ("emissions", "rollups", "trips")}
    assert connect(tmp_path).execute("SELECT DISTINCT region FROM rollups").fetchall() == [("r1",)]
    for _ in range(2):
        done = rebuild(tmp_path, OLD, compare=True, now_ns=made.clock)
        assert (done.same, done.other, done.files) == (done.units, [], [])
        assert done.readings == sum(b["seq"].size for b in hours_of_data())
        assert done.units > 1
        list(compact(tmp_path, now_ns=made.clock))
        assert results(tmp_path, OLD) == live


def test_other_factors_give_what_they_would_have_given_live(tmp_path: Path) -> None:
    made = build(tmp_path / "old", hours_of_data())
    build(tmp_path / "new", hours_of_data(), factors=NEW)
    before = results(tmp_path / "old", OLD)
    list(compact(tmp_path / "old", now_ns=made.clock))
    done = rebuild(tmp_path / "old", NEW, now_ns=made.clock)
    assert done.n is not None
    assert results(tmp_path / "old", NEW) == results(tmp_path / "new", NEW)
    assert results(tmp_path / "old", OLD) == before
    assert results(tmp_path / "old", NEW) != before
    assert verify(tmp_path / "old").findings == []
    again = rebuild(tmp_path / "old", NEW, now_ns=made.clock)
    assert (again.made, again.n) == (0, None)


def test_results_go_on_where_the_last_rebuild_ended(tmp_path: Path) -> None:
    data = hours_of_data()
    made = build(tmp_path / "a", data[:7])
    rebuild(tmp_path / "a", NEW, now_ns=made.clock)
    build(tmp_path / "a", data[7:], clock=made.clock)
    list(compact(tmp_path / "a", now_ns=made.clock))
    done = rebuild(tmp_path / "a", NEW, now_ns=made.clock)
    assert 0 < done.made < done.units
    build(tmp_path / "b", data, factors=NEW)
    assert results(tmp_path / "a", NEW) == results(tmp_path / "b", NEW)


def test_the_registry_of_the_time_is_taken(tmp_path: Path) -> None:
    data = hours_of_data()
    moved = replace(
        REGISTRY,
        vehicles=(replace(REGISTRY.vehicles[0], route="south"), *REGISTRY.vehicles[1:]),
        routes=(Route("south", "South"), *REGISTRY.routes),
    )
    made = build(tmp_path, data[:5])
    build(tmp_path, data[5:], registry=moved, clock=made.clock)
    assert rebuild(tmp_path, OLD, compare=True, now_ns=made.clock).other == []


def test_beside_a_writer_its_next_commit_takes_the_files_up(tmp_path: Path) -> None:
    lake, new = tmp_path / "lake", tmp_path / "new"
    made = build(lake, hours_of_data()[:6])
    with Lake.open(lake, create=False, now_ns=made.clock) as writer:
        writer.recover()
        assert rebuild(lake, NEW, now_ns=made.clock).n is None
        assert results(lake, NEW)["emissions"] == "none"
        writer.commit(nothing(None))
        assert results(lake, NEW)["emissions"] != "none"
        writer.commit(nothing(None))
    assert not list((lake / "adopt").iterdir())
    assert verify(lake).findings == []
    build(new, hours_of_data()[:6], factors=NEW)
    assert results(lake, NEW) == results(new, NEW)


def test_it_may_die_anywhere_and_be_run_again(tmp_path: Path) -> None:
    lake, want = tmp_path / "lake", tmp_path / "want"
    made = build(lake, hours_of_data()[:8], apart_s=900)
    build(want, hours_of_data()[:8], factors=NEW, apart_s=900)
    disk = FaultyDisk()
    at = 0
    while True:
        disk.arm(at, Crash(), once=False)
        try:
            rebuild(lake, NEW, disk=disk, now_ns=made.clock)
        except Crash:
            assert set(results(lake, NEW).values()) <= {"none"} or at > 10
            at += 7
        else:
            break
    disk.arm(None, Crash())
    rebuild(lake, NEW, now_ns=made.clock)
    with Lake.open(lake, create=False, now_ns=made.clock) as writer:
        writer.recover()
        writer.commit(nothing(None))
    assert at > 20
    assert results(lake, NEW) == results(want, NEW)
    assert verify(lake).findings == []


def test_many_devices_are_taken_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, new = tmp_path / "lake", tmp_path / "new"
    made = build(lake, hours_of_data())
    list(compact(lake, now_ns=made.clock))
    monkeypatch.setattr(raw_parts, "SHARD_ROWS", 3_000)
    assert rebuild(lake, OLD, compare=True, now_ns=made.clock).other == []
    rebuild(lake, NEW, now_ns=made.clock)
    build(new, hours_of_data(), factors=NEW)
    assert results(lake, NEW) == results(new, NEW)


def test_row_groups_are_taken_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that stand in order are not read whole: several files in one part, several parts in a unit, two days in a unit."""
    batches = split(drive(4000), 8)
    for batch in batches:
        batch["time_ns"] -= np.int64(T0_NS + 2000 * 10**9 - T0)
    lake, live = tmp_path / "lake", tmp_path / "live"
    made = build(lake, batches, apart_s=900)
    monkeypatch.setattr(raw_parts, "PART_ROWS", 2_500)
    monkeypatch.setattr(raw_parts, "_shard", None)  # nothing has to be sorted
    done = rebuild(lake, NEW, now_ns=made.clock)
    assert (done.readings, done.made) == (12_000, 3)
    emissions = {f.path: f.rows for f in done.files if f.table == "emissions"}
    assert (len(emissions), sum(emissions.values())) == (4, 12_000)
    build(live, batches, factors=NEW, apart_s=900)
    assert results(lake, NEW) == results(live, NEW)
    assert verify(lake).findings == []


def test_columns_without_a_value_are_not_read(tmp_path: Path) -> None:
    """What is told to be null everywhere is left out, as written and merged; what is null only here and there is read."""
    made = build(tmp_path, split(drive(600), 3))
    for _ in range(2):
        [unit] = units(tmp_path, moment(tmp_path, LANDED))
        groups = list(raw_parts.row_groups(tmp_path, unit))
        assert len(groups) == len(unit.files)
        for group in groups:
            table = pq.read_table(group.path, partitioning=None)
            filled = [c for c in raw_parts.WANTED if table[c].null_count < table.num_rows]
            assert group.filled(raw_parts.WANTED) == filled
            assert 0 < table["fuel_total_hr_l"].null_count < table.num_rows
            assert {"speed_kmh", "fuel_total_hr_l"} < set(filled)
            assert "pv_kwh" not in filled
        list(compact(tmp_path, now_ns=made.clock))


def test_what_was_altered_comes_out(tmp_path: Path) -> None:
    made = build(tmp_path, hours_of_data()[:4])
    [path, *_] = active(tmp_path, "emissions")
    table = read_files("emissions", [tmp_path / "emissions" / path])
    rows_ = table.set_column(
        table.column_names.index("co2e_ttw_ug"),
        table.schema.field("co2e_ttw_ug"),
        pa.array([(v or 0) + 1 for v in table["co2e_ttw_ug"].to_pylist()]),
    )
    pq.write_table(rows_, tmp_path / "emissions" / path)
    assert rebuild(tmp_path, OLD, compare=True, now_ns=made.clock).other


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(tmp_path, hours_of_data()[:2])
    with pytest.raises(FactorError, match="there is no factor set"):
        rebuild(tmp_path, "nothing-1")
    assert main(["--lake", str(tmp_path), "rebuild", "--factors", "nothing-1"]) == 2
    assert "there is no factor set" in capsys.readouterr().err
    assert main(["--lake", str(tmp_path), "rebuild", "--factors", NEW]) == 0
    assert "readings" in capsys.readouterr().out
    held = lock(tmp_path / "rebuild.lock", "rebuilds")
    assert held > 0
    with pytest.raises(LakeBusyError, match="already rebuilds"):
        rebuild(tmp_path, NEW)
    with pytest.raises(StorageError):
        rebuild(tmp_path, NEW)


@settings(max_examples=60)
@given(st.data())
def test_the_order_of_taking_is_found_from_any_order(data: st.DataObject) -> None:
    """Rows as they were taken, shuffled within what storing keeps, come back in the order of taking."""
    boots = {d: [data.draw(st.integers(1, 10**6)) * 10 + k for k in range(3)] for d in range(3)}
    taken: list[tuple[int, int, int, int]] = []
    numbers: dict[tuple[int, int], int] = {}
    for now in range(data.draw(st.integers(1, 40))):
        device = data.draw(st.integers(0, 2))
        boot = boots[device][data.draw(st.integers(0, 2))]
        for _ in range(data.draw(st.integers(1, 3))):
            seq = numbers.get((device, boot), 0)
            numbers[device, boot] = seq + 1
            taken.append((device, boot, seq, now))
    shuffled = data.draw(st.permutations(taken))
    columns = np.array(shuffled, np.int64).T
    order = taken_order(columns[0].astype(np.int32), columns[1], columns[2], columns[3], 3)
    found = shuffled if order is None else [shuffled[i] for i in order]
    for d in range(3):
        assert [row for row in found if row[0] == d] == [row for row in taken if row[0] == d]
