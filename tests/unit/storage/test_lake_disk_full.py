"""A file system that is really full, at every page: delta-rs writes its log entries past our own disk layer."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = r"""
import os, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2]]
from deltalake import DeltaTable
from tests.lake_data import commit, nothing, recovered
from storage.errors import LakeInDoubtError, StorageError
from storage.lake import Lake
from storage.schema import LANDED

mount, page = Path(sys.argv[1]), 4096
first, second = commit(40, seed=1, state=b"first"), commit(30, seed=2, state=b"second")
outcomes = set()
for free in range(16):
    path, ballast = mount / f"lake{free}", mount / "ballast"
    lake = Lake.open(path, create=True)
    lake.commit(first)
    lake._ready()
    with ballast.open("wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(page))
        except OSError:
            pass
        f.truncate(max(0, f.tell() - free * page))
    try:
        n = lake.commit(second)
        outcome = "stands"
        ballast.unlink()
    except LakeInDoubtError:
        outcome = "in doubt"
        ballast.unlink()
        lake.close()
        lake = Lake.open(path, create=False)
        n, state = recovered(lake)
        if n == 1:
            n = lake.commit(second)
    except StorageError as e:
        outcome = "refused"
        assert str(path) in str(e), e
        assert "no space left on the disk" in str(e), e
        ballast.unlink()
        n = lake.commit(second)
    assert n == 2, n
    assert lake.commit(nothing(b"third")) == 3
    lake.close()
    rows = {t: DeltaTable(str(path / t)).to_pyarrow_table(columns=["day"]).num_rows for t in LANDED}
    full = {"readings": 70, "emissions": 70, "rollups": 7, "trips": 7, "events": 7}
    assert rows == dict.fromkeys(LANDED, 0) | full, (free, outcome, rows)
    with Lake.open(path, create=False) as again:
        assert recovered(again) == (3, b"third")
    outcomes.add(outcome)
    print(free, outcome)
assert {"stands", "refused"} <= outcomes, outcomes
"""


def test_no_page_left_at_any_point(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    mount = tmp_path / "small"
    mount.mkdir()
    shell = 'mount -t tmpfs -o size=16m small "$1" && shift && exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", shell, "sh", str(mount)]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let us mount a small tmpfs")
    tests = str(Path(__file__).parents[2])
    done = subprocess.run(
        [*prefix, sys.executable, "-c", PROGRAM, str(mount), tests], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
