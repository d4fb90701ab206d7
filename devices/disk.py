"""The disk under the outbox: a fixed number of preallocated files, written in place and synced when told.

File 0 is the journal, 1 to ``segments`` are the segments. ``FolderDisk`` is real, ``MemoryDisk`` forgets with its process;
tests put their own in between to fail or stop at any single call. Every method raises OSError.
"""

import errno
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

JOURNAL: Final = 0
JOURNAL_BYTES: Final = 256 * 1024  # readings not yet in a batch: 600 rows of every signal, committed ten at a time, fit
SEGMENTS_LEAST: Final = 4  # one written, one being emptied, one for what is thinned, one to begin with


class Disk(Protocol):
    """Files of fixed size. What was written is on the disk after ``sync`` of its file, and may be before."""

    @property
    def volatile(self) -> bool:
        """True if nothing outlives the process, so that there is nothing to sync."""
        ...

    @property
    def segments(self) -> int:
        """How many there are."""
        ...

    @property
    def segment_bytes(self) -> int:
        """Size of each."""
        ...

    def read(self, file: int, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer at the end of what was ever written."""
        ...

    def write(self, file: int, offset: int, data: bytes) -> None:
        """Write in place, within the file's size."""
        ...

    def sync(self, files: Iterable[int]) -> None:
        """Bring what was written to ``files`` onto the disk. Called from a thread of its own."""
        ...


class MemoryDisk:
    """Bytes in memory, taken as they are written."""

    volatile = True

    def __init__(self, segments: int, segment_bytes: int) -> None:
        self.segments = segments
        self.segment_bytes = segment_bytes
        self._files = [bytearray() for _ in range(segments + 1)]

    def read(self, file: int, offset: int, length: int) -> bytes:
        return bytes(self._files[file][offset : offset + length])

    def write(self, file: int, offset: int, data: bytes) -> None:
        held = self._files[file]
        if len(held) < offset:
            held += bytes(offset - len(held))
        held[offset : offset + len(data)] = data

    def sync(self, files: Iterable[int]) -> None:
        pass


class FolderDisk:
    """Files in a folder of one gateway, made in full at the first start.

    Raises BlockingIOError if another process has the folder, OSError with ENOSPC if not even SEGMENTS_LEAST segments fit. Where the disk
    has room for fewer segments than wanted, ``segments`` says how many there are; the next start tries again.
    """

    volatile = False

    def __init__(self, folder: Path, segments: int, segment_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._fds: list[int] = []
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                text = "another gateway uses this outbox; give each its own folder"
                raise BlockingIOError(errno.EBUSY, text, str(folder)) from None
            there = sum(1 for _ in folder.glob("segment-*"))
            made = (folder / _name(1)).stat().st_size if there > 1 else 0
            self.segment_bytes = made or segment_bytes  # files that are there keep their size, and their content
            self._open(folder / "journal", JOURNAL_BYTES)
            for number in range(1, max(segments, there) + 1):
                try:
                    self._open(folder / _name(number), self.segment_bytes)
                except OSError as error:
                    if error.errno not in (errno.ENOSPC, errno.EDQUOT) or number <= SEGMENTS_LEAST:
                        raise
                    (folder / _name(number)).unlink(missing_ok=True)
                    break
            self.segments = len(self._fds) - 1
            _sync_folder(folder)
            _sync_folder(folder.parent)
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path, size: int) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._fds.append(fd)
        if os.fstat(fd).st_size < size:
            try:
                os.posix_fallocate(fd, 0, size)
                os.fsync(fd)
            except OSError as error:
                os.close(self._fds.pop())
                raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from None

    def close(self) -> None:
        """Let go of the files and of the folder."""
        while self._fds:
            os.close(self._fds.pop())
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def read(self, file: int, offset: int, length: int) -> bytes:
        return os.pread(self._fds[file], length, offset)

    def write(self, file: int, offset: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            done = os.pwrite(self._fds[file], rest, offset)
            rest, offset = rest[done:], offset + done

    def sync(self, files: Iterable[int]) -> None:
        for file in files:
            os.fdatasync(self._fds[file])


def _name(number: int) -> str:
    return f"segment-{number:04d}"


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
