"""The hash chain: one JSON line per commit, each naming the hash of its files and of the line before.

The same line stands in the metadata of the commit on ``readings``, which is what makes it true. The ledger keeps it after
Delta has cleaned its log. It is appended without a sync (a lost tail is read again from the log) and synced before the log
is cleaned.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from storage.disk import Disk
from storage.errors import StorageError

SEGMENT: Final = 10_000  # records per ledger file: about 10 MB, read whole when a chain is checked
TAIL_BYTES: Final = 1 << 22  # a record with 1,000 new files is about 0.4 MB; the newest one must lie within the tail


class FileEntry(msgspec.Struct, frozen=True):
    """One Parquet file of a commit. ``path`` is relative to its table, ``ranges`` holds (least, largest) by column."""

    table: str
    path: str
    bytes: int
    rows: int
    sha256: str
    partition: dict[str, str]
    ranges: dict[str, tuple[int, int]]


class Record(msgspec.Struct, frozen=True):
    """One commit. ``previous`` is the SHA-256 of the line before it, empty for the first; ``state`` names the state file."""

    n: int
    attempt: str
    time_ns: int
    factor_set: str
    state: str
    state_sha256: str
    files: tuple[FileEntry, ...]
    previous: str
    format: int = 1


def encode(record: Record) -> bytes:
    """The record as one line of JSON without its newline; equal records give equal bytes."""
    return msgspec.json.encode(record, order="sorted")


def decode(line: bytes, path: Path) -> Record:
    """The record of ``line``. Raises StorageError naming ``path``."""
    try:
        return msgspec.json.decode(line, type=Record)
    except msgspec.MsgspecError as e:
        raise StorageError(path, f"damaged commit record: {e}") from e


def digest(line: bytes) -> str:
    """Hash of a line, as the next line names it."""
    return hashlib.sha256(line).hexdigest()


class Ledger:
    """The ledger files of a lake. ``newest`` is the last whole line, None in an empty ledger."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk
        self._path: Path | None = None
        self._end = 0
        self.newest: bytes | None = None

    def load(self) -> None:
        """Find the last whole line; what a crash tore off behind it is overwritten by the next append. Raises OSError."""
        segments = segments_of(self._folder)
        if not segments:
            return
        self._path = segments[-1]
        size = self._path.stat().st_size
        start = max(0, size - TAIL_BYTES)
        with self._path.open("rb") as file:
            file.seek(start)
            tail = file.read()
        whole = tail.rfind(b"\n") + 1
        self._end = start + whole
        lines = tail[:whole].splitlines()
        if lines:
            self.newest = lines[-1]
        elif len(segments) > 1:  # the first line of a new segment was torn
            self.newest = segments[-2].read_bytes().splitlines()[-1]

    def append(self, n: int, line: bytes) -> None:
        """Add the line of commit ``n``. Raises OSError; then nothing is added."""
        path = self._folder / f"{n // SEGMENT * SEGMENT:012d}.jsonl"
        if path != self._path:
            self.sync()
            self._path, self._end = path, 0
        self._disk.overwrite(path, self._end, line + b"\n")
        self._end += len(line) + 1
        self.newest = line

    def sync(self) -> None:
        """Bring the ledger onto the disk. Raises OSError."""
        if self._path is not None:
            self._disk.sync(self._path)
            self._disk.sync(self._folder)


def segments_of(folder: Path) -> list[Path]:
    """Ledger files, oldest first."""
    return sorted(folder.glob("*.jsonl"))


def chain(folder: Path) -> Iterator[Record]:
    """All records, oldest first, each checked against the one before it. Raises StorageError at the first that does not fit."""
    previous, n = "", 0
    for path in segments_of(folder):
        for line in path.read_bytes().splitlines():
            record = decode(line, path)
            if record.n != n + 1 or record.previous != previous:
                raise StorageError(path, f"the chain is broken at commit {record.n}: it does not follow commit {n}")
            previous, n = digest(line), record.n
            yield record
