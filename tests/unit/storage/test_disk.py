"""Files on the disk, and what its faults are called."""

import errno
from pathlib import Path

import pytest

from storage.disk import Disk, fault


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "x"), "/lake/a: no space left on the disk; free some, then write again"),
        (OSError(errno.EIO, "x"), "/lake/a: the disk reports an input/output error; check the disk"),
        (OSError(errno.EMFILE, "x"), "/lake/a: Too many open files"),
        (
            OSError("Generic error \x1b[31m↳\x1b[0m No space left on device (os error 28)"),
            "/lake/a: no space left on the disk",
        ),
        (
            ValueError("Kernel error:\n  \x1b[31m↳\x1b[0m broken"),
            "/lake/a: the table log refused: Kernel error: ↳ broken",
        ),
    ],
)
def test_a_fault_names_the_path_and_the_mend(error: Exception, text: str) -> None:
    assert str(fault(Path("/lake/a"), error)).startswith(text)


def test_write_leaves_the_whole_file_and_no_other(tmp_path: Path) -> None:
    Disk().write(tmp_path / "tmp", tmp_path / "file", memoryview(b"content"))
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"content")]


def test_overwrite_cuts_what_lay_behind(tmp_path: Path) -> None:
    path = tmp_path / "file"
    Disk().overwrite(path, 0, b"one\ntwo\nthr")
    Disk().overwrite(path, 8, b"3\n")
    assert path.read_bytes() == b"one\ntwo\n3\n"


def test_folders_are_made_with_those_above(tmp_path: Path) -> None:
    Disk().make_dir(tmp_path / "a" / "b" / "c")
    Disk().make_dir(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    Disk().remove(tmp_path / "nothing")
