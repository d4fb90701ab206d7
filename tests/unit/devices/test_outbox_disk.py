"""The real folder: preallocated once, for one gateway, smaller where the disk is."""

import errno
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest

from devices.config import ConfigError, GatewayConfig, Loaded, OutboxConfig
from devices.disk import JOURNAL_BYTES, FolderDisk
from devices.outbox_folder import batch_signer, open_outbox, outbox_folder
from tests.disk_world import config

SIZE = 64 * 1024


def test_all_is_taken_at_the_first_start_and_kept_at_the_next(tmp_path: Path) -> None:
    disk = FolderDisk(tmp_path / "outbox", 5, SIZE)
    assert (disk.segments, disk.segment_bytes) == (5, SIZE)
    sizes = {p.name: p.stat() for p in (tmp_path / "outbox").iterdir()}
    assert sizes["segment-0005"].st_size == SIZE
    assert sizes["segment-0005"].st_blocks * 512 >= SIZE  # not sparse: a full partition cannot refuse it later
    assert sizes["journal"].st_size == JOURNAL_BYTES
    disk.write(2, 100, b"hello")
    disk.sync([2])
    disk.close()
    again = FolderDisk(tmp_path / "outbox", 6, 2 * SIZE)
    assert (again.segments, again.segment_bytes) == (6, SIZE)
    assert again.read(2, 100, 5) == b"hello"
    again.close()
    fewer = FolderDisk(tmp_path / "outbox", 4, SIZE)
    assert fewer.segments == 6  # what is there may hold readings
    fewer.close()


def test_two_gateways_do_not_share_a_folder(tmp_path: Path) -> None:
    disk = FolderDisk(tmp_path, 4, SIZE)
    with pytest.raises(BlockingIOError, match="another gateway uses this outbox"):
        FolderDisk(tmp_path, 4, SIZE)
    with pytest.raises(BlockingIOError, match="another gateway"):
        open_outbox(config(), tmp_path, None)
    disk.close()


def _in_child(limit: int, folder: Path, segments: int) -> int:
    """Open in a process whose files may not grow beyond ``limit`` bytes; gives segments, or 100 + errno."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            code = FolderDisk(folder, segments, SIZE).segments
        except OSError as error:
            code = 100 + (error.errno or 0)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_file_that_may_not_grow_is_an_error_that_names_it(tmp_path: Path) -> None:
    assert _in_child(SIZE // 2, tmp_path, 4) == 100 + errno.EFBIG


@pytest.fixture
def small_partition(tmp_path: Path) -> Path:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={JOURNAL_BYTES + 6 * SIZE + 8192}", "tmpfs", str(tmp_path)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    return tmp_path


def test_a_partition_with_less_room_gives_fewer_segments_and_says_so(small_partition: Path) -> None:
    try:
        opened = open_outbox(
            config(outbox=OutboxConfig(max_mib=4, segment_kib=64)), small_partition, None
        )  # 64 segments
        assert 4 <= opened.ring.disk.segments <= 6
        assert "free some, then restart" in opened.warning
        assert not opened.ring.volatile
        opened.ring.disk.close()  # type: ignore[attr-defined]
    finally:
        subprocess.run(["umount", str(small_partition)], check=True)


def test_a_folder_that_cannot_be_used_leaves_memory_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    opened = open_outbox(config(), tmp_path / "file" / "outbox", None)
    assert opened.ring.volatile
    assert "readings are kept in memory only" in opened.warning


def loaded(base: Path, **changes: object) -> Loaded:
    chosen: GatewayConfig = config(**changes)
    return Loaded(chosen, (), "gateway.toml", base)


def test_the_folder_is_the_configured_one_else_that_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert outbox_folder(loaded(tmp_path)) is None
    assert outbox_folder(loaded(tmp_path, outbox=OutboxConfig(folder="box"))) == tmp_path / "box"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/fleetco2:/var/lib/other")
    assert outbox_folder(loaded(tmp_path)) == Path("/var/lib/fleetco2/outbox")


def test_a_key_that_cannot_sign_names_itself(tmp_path: Path) -> None:
    assert batch_signer(loaded(tmp_path)) is None
    (tmp_path / "batch.key").write_text("no key")
    for name in ("batch.key", "none.key"):
        with pytest.raises(ConfigError, match="batch_key"):
            batch_signer(loaded(tmp_path, batch_key=name))
