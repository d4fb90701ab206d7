"""Files that survive a power cut: write, fsync, rename, fsync of the directory. The one place that knows the order.

``Disk`` is passed in, so that a test can fail or stop at any single call.
"""

import errno
import fcntl
import os
import re
from pathlib import Path
from typing import Any, Final

from storage.errors import LakeBusyError, LakeMissingError, StorageError

_MENDS: Final = {
    errno.ENOSPC: "no space left on the disk; free some, then write again",
    errno.EDQUOT: "the disk quota is used up; raise it, then write again",
    errno.EIO: "the disk reports an input/output error; check the disk",
    errno.EROFS: "the file system is mounted read-only",
    errno.EACCES: "permission denied",
}
_OS_ERROR: Final = re.compile(r"os error (\d+)")
_COLOUR: Final = re.compile(r"\x1b\[\d*m")


def fault(path: Path, error: Exception) -> StorageError:
    """``error`` of the disk or of delta-rs as a StorageError that names ``path`` and, for the common ones, what to do."""
    found = _OS_ERROR.search(str(error))
    code = getattr(error, "errno", None) or (int(found[1]) if found else 0)
    if code:
        return StorageError(path, _MENDS.get(code, os.strerror(code)))
    return StorageError(path, "the table log refused: " + " ".join(_COLOUR.sub("", str(error)).split()))


def check_folder(path: Path) -> None:
    """Refuse a lake's path that delta-rs decodes (%) or splits (backslash), or that DuckDB takes for a pattern."""
    for character in "%\\*?[":
        if character in str(path.absolute()):
            raise LakeMissingError(
                path, f"choose a folder without {character!r} in its path: not every reader can name it"
            )


class Disk:
    """The real disk. Every method raises OSError."""

    def write(self, tmp: Path, path: Path, data: Any) -> None:
        """Write ``data`` (a buffer) to ``tmp``, sync it, rename it to ``path``. The directory is synced by ``sync``."""
        fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            _write_all(fd, data, None)
            os.fsync(fd)
        finally:
            os.close(fd)
        tmp.rename(path)

    def overwrite(self, path: Path, offset: int, data: bytes) -> None:
        """Write ``data`` at ``offset`` of ``path`` and cut the file there. Not synced."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            _write_all(fd, data, offset)
            os.ftruncate(fd, offset + len(data))
        finally:
            os.close(fd)

    def sync(self, path: Path) -> None:
        """Bring a file or a directory onto the disk."""
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def make_dir(self, path: Path) -> None:
        """Make ``path`` and what is missing above it, each synced in its parent."""
        if path.is_dir():
            return
        self.make_dir(path.parent)
        path.mkdir(exist_ok=True)
        self.sync(path.parent)

    def remove(self, path: Path) -> None:
        """Remove a file; one that is not there is fine."""
        path.unlink(missing_ok=True)


def _write_all(fd: int, data: Any, offset: int | None) -> None:
    rest = memoryview(data).cast("B")
    while rest:
        done = os.write(fd, rest) if offset is None else os.pwrite(fd, rest, offset)
        offset = None if offset is None else offset + done
        rest = rest[done:]


def lock(path: Path, what: str) -> int:
    """Take the lock file ``path`` for this process and return its descriptor; closing it lets go. Raises LakeBusyError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        holder = os.read(fd, 64).decode(errors="replace").strip()
        os.close(fd)
        if e.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise fault(path, e) from e
        raise LakeBusyError(path, f"process {holder or 'unknown'} already {what} this lake; end it first") from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
