"""The disk fails, or the process dies, at every single call of a commit: nothing is lost, doubled or half there."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest
from deltalake import DeltaTable

from storage.errors import LakeInDoubtError, StorageError
from storage.lake import Lake, StatePart
from storage.schema import LANDED
from storage.verify import verify
from tests.lake_data import Crash, FaultyDisk, commit, nothing, recovered

FIRST = commit(40, seed=1, state=b"first")
SECOND = commit(30, seed=2, state=b"second")
THIRD = commit(20, seed=3, state=b"third")
NONE = dict.fromkeys(LANDED, 0)
AFTER_FIRST = NONE | {"readings": 40, "emissions": 40, "rollups": 4, "trips": 4, "events": 4}
AFTER_THIRD = NONE | {"readings": 90, "emissions": 90, "rollups": 9, "trips": 9, "events": 9}
N_CALLS = 30  # of a commit; test_every_call_is_struck holds it to that


def lake_with_first(path: Path, disk: FaultyDisk) -> Lake:
    """A lake at commit 2: an empty one, so that an old state file is there to be forgotten, and FIRST."""
    lake = Lake.open(path, create=True, disk=disk)
    lake.commit(nothing())
    assert lake.commit(FIRST) == 2
    lake._ready()
    return lake


def rows(path: Path) -> dict[str, int]:
    """Rows that a reader finds in each table."""
    return {t: DeltaTable(str(path / t)).to_pyarrow_table(columns=["day"]).num_rows for t in LANDED}


def test_every_call_is_struck(tmp_path: Path) -> None:
    disk = FaultyDisk()
    with lake_with_first(tmp_path, disk) as lake:
        disk.arm(None, Crash())
        lake.commit(SECOND)
        lake._ready()
    assert len(disk.calls) == N_CALLS
    assert {c.split()[0] for c in disk.calls} == {"write", "written", "sync", "overwrite", "remove"}


@pytest.mark.parametrize("at", range(N_CALLS))
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failing_call(tmp_path: Path, at: int, code: int) -> None:
    disk = FaultyDisk()
    lake = lake_with_first(tmp_path, disk)
    disk.arm(at, OSError(code, "made up"))
    try:
        assert lake.commit(SECOND) == 3
        lake._ready()
    except LakeInDoubtError:
        with pytest.raises(LakeInDoubtError, match="open the lake again"):
            lake.commit(SECOND)
        lake.close()
        lake = Lake.open(tmp_path, create=False, disk=disk)
        assert recovered(lake) == (3, b"second")
    except StorageError as e:
        assert str(tmp_path) in str(e)  # noqa: PT017  which of the three ways it goes depends on the call
        assert rows(tmp_path) == AFTER_FIRST
        assert not list((tmp_path / "tmp").iterdir())
        assert lake.commit(SECOND) == 3
    assert lake.commit(THIRD) == 4
    lake.close()
    assert rows(tmp_path) == AFTER_THIRD
    with Lake.open(tmp_path, create=False) as again:
        assert recovered(again) == (4, b"third")


@pytest.mark.parametrize("at", range(N_CALLS))
def test_a_process_that_dies(tmp_path: Path, at: int) -> None:
    disk = FaultyDisk()
    lake = lake_with_first(tmp_path, disk)
    disk.arm(at, Crash(), once=False)
    try:
        lake.commit(SECOND)
        lake._ready()
    except Crash:
        pass
    lake.close()
    with Lake.open(tmp_path, create=False) as again:
        assert not list((tmp_path / "tmp").iterdir())
        n, state = recovered(again)
        assert (n, state) in {(2, b"first"), (3, b"second")}
        found = rows(tmp_path)
        assert found == AFTER_FIRST if n == 2 else found["readings"] == found["emissions"] == 70
        if n == 2:
            assert again.commit(SECOND) == 3
        assert again.commit(THIRD) == 4
    assert rows(tmp_path) == AFTER_THIRD


@pytest.mark.parametrize("at", range(N_CALLS))
def test_a_process_that_dies_between_parts_of_the_state(tmp_path: Path, at: int) -> None:
    """The commit struck ends a round: with it an older file is not needed any more, without it that file still is."""
    disk = FaultyDisk()
    lake = Lake.open(tmp_path, create=True, disk=disk)
    lake.commit(nothing(b"whole"))
    lake.commit(replace(FIRST, state=StatePart((b"-begin",), begins=True, ends=False)))
    lake._ready()
    disk.arm(at, Crash(), once=False)
    try:
        lake.commit(replace(SECOND, state=StatePart((b"-end",), begins=False, ends=True)))
        lake._ready()
    except Crash:
        pass
    lake.close()
    with Lake.open(tmp_path, create=False) as again:
        n, state = recovered(again)
        assert (n, state) in {(2, b"whole-begin"), (3, b"-begin-end")}
        assert len(list((tmp_path / "state").iterdir())) == 2
        assert again.commit(replace(THIRD, state=StatePart((b"-on",), begins=False, ends=False))) == n + 1
    assert verify(tmp_path).findings == []
    with Lake.open(tmp_path, create=False) as again:
        assert recovered(again) == (n + 1, state + b"-on")


@pytest.mark.parametrize("at", range(18))
def test_a_disk_that_stays_full_for_a_while(tmp_path: Path, at: int) -> None:
    disk = FaultyDisk()
    with lake_with_first(tmp_path, disk) as lake:
        disk.arm(at, OSError(errno.ENOSPC, "made up"), once=False)
        for _ in range(4):
            with pytest.raises(StorageError, match="no space left on the disk"):
                lake.commit(SECOND)
        assert rows(tmp_path) == AFTER_FIRST
        disk.arm(None, Crash())
        assert lake.commit(SECOND) == 3
        assert lake.commit(THIRD) == 4
    assert rows(tmp_path) == AFTER_THIRD
