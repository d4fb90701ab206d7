"""kill -9 of a real process at every system call that its outbox makes: what it said was durable is there afterwards."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devices.disk import FolderDisk
from tests.disk_world import Bench, Server, value_of
from tests.support import ROOT

STRACE = shutil.which("strace")
pytestmark = pytest.mark.skipif(STRACE is None, reason="strace is not installed on this machine")


def run(folder: Path, boot: int, *inject: str) -> tuple[int, int]:
    """Return code of the child and the last number of durable readings that it told."""
    assert STRACE is not None
    command = [STRACE, "-f", "-qq", "-o", "/dev/null"] if inject else []
    for what in inject:
        command += ["-e", f"inject={what}"]
    done = subprocess.run(
        [*command, sys.executable, "-m", "tests.system.outbox_child", str(folder), str(boot)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    told = done.stdout.split()
    return done.returncode, int(told[-1]) if told else 0


def delivered(folder: Path) -> Server:
    """What a server gets from the next start."""
    server = Server()
    disk = FolderDisk(folder, 5, 4096)
    last = Bench(disk, 99)
    last.drain(server)
    disk.close()
    return server


def injectable(folder: Path) -> bool:
    """Whether this machine lets strace trace and inject."""
    return run(folder, 1, "fdatasync:signal=KILL:when=1")[0] in (-9, 137)


# each of them is hit at its first calls, in the middle and at the end; the calls are counted over the whole process
@pytest.mark.parametrize(
    ("call", "hits"),
    [("fallocate", (1, 3, 6)), ("pwrite64", (1, 2, 3, 4, 5, 6, 8, 9, 11, 13)), ("fdatasync", (1, 2, 3, 4, 5, 6, 7))],
)
def test_kill_9_at_each_call_keeps_what_was_durable(tmp_path: Path, call: str, hits: tuple[int, ...]) -> None:
    if not injectable(tmp_path / "probe"):
        pytest.skip("strace may not inject here")
    killed = 0
    for hit in hits:
        folder = tmp_path / f"{call}-{hit}"
        code, durable = run(folder, 1, f"{call}:signal=KILL:when={hit}")
        killed += code in (-9, 137)
        server = delivered(folder)
        assert server.next.get(1, 0) >= durable
        assert not server.gone
        assert all(value == value_of(boot, seq) for (boot, seq), (value, _) in server.rows.items())
    assert killed >= len(hits) - 2  # the numbers do hit


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_disk_that_refuses_for_a_while_loses_nothing(tmp_path: Path, error: str) -> None:
    if not injectable(tmp_path / "probe"):
        pytest.skip("strace may not inject here")
    folder = tmp_path / "outbox"
    assert run(folder, 1)[0] == 0  # the files are made
    code, durable = run(folder, 2, f"pwrite64:error={error}:when=9..11", f"fdatasync:error={error}:when=7..8")
    assert code == 0, errno.errorcode
    assert durable >= 55
    server = delivered(folder)
    assert server.next[2] >= durable
    assert not server.gone
