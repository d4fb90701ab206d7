"""The hash chain: one JSON line per commit, each naming the hash of its files and of the line before.

The same line stands in the metadata of the commit on ``readings``, which is what makes it true. The ledger keeps it after
Delta has cleaned its log. It is appended without a sync (a lost tail is read again from the log) and synced before the log
is cleaned. A second chain of the same form, ``ledger/changes``, says which files a compaction has put in the place of which; it
has its own one writer, the process that holds ``compact.lock``.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from storage.disk import Disk
from storage.errors import StorageError

SEGMENT: Final = 10_000  # records per ledger file: about 10 MB, read whole when a chain is checked
TAIL_BYTES: Final = (
    1 << 22
)  # a record with 1,000 new files is about 0.4 MB; a longer tail is read where a line is longer
CHANGES: Final = "changes"  # folder of the second chain
T = TypeVar("T", bound=msgspec.Struct)


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
    """One commit. ``previous`` is the SHA-256 of the line before it, empty for the first; ``state`` names the state file,
    empty where the state is as it was. The whole state is in the files of commits ``state_since`` to ``n``, later ones counting
    (0: in this one alone).

    ``dimensions`` tells the file of each dimension table where these are new since the commit before (else it is empty).
    """

    n: int
    attempt: str
    time_ns: int
    factor_set: str
    state: str
    state_sha256: str
    files: tuple[FileEntry, ...]
    previous: str
    format: int = 1
    dimensions: dict[str, str] = {}
    adopted: dict[
        str, int
    ] = {}  # offers (``storage.adoption``) whose files are among ``files``, with the commit they reach to
    state_since: int = 0


class Change(msgspec.Struct, frozen=True):
    """What maintenance did to one partition. ``n`` is its number in the chain of changes.

    "merge": ``made`` holds the rows of ``removed``. "drop": ``removed`` are gone, their time to be kept was over. "hours":
    ``made`` sums up days, in the place of ``removed``. The line is written before the table's log: a change counts when its
    file stands in the table, or in a later change.
    """

    n: int
    time_ns: int
    kind: Literal["merge", "drop", "hours"]
    table: str
    partition: dict[str, str]
    removed: tuple[str, ...]
    made: FileEntry | None
    previous: str
    format: int = 1


def encode(record: msgspec.Struct) -> bytes:
    """The record as one line of JSON without its newline; equal records give equal bytes."""
    return msgspec.json.encode(record, order="sorted")


def decode_as(kind: type[T], line: bytes, path: Path) -> T:
    """The ``kind`` of record that ``line`` holds. Raises StorageError naming ``path``."""
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise StorageError(path, f"damaged record: {e}") from e


def decode(line: bytes, path: Path) -> Record:
    """The commit of ``line``. Raises StorageError naming ``path``."""
    return decode_as(Record, line, path)


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
        length = TAIL_BYTES
        while True:
            start = max(0, size - length)
            with self._path.open("rb") as file:
                file.seek(start)
                tail = file.read()
            whole = tail.rfind(b"\n") + 1
            if not start or b"\n" in tail[: max(0, whole - 1)]:
                break
            length *= 2
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


def lines(folder: Path, first: int = 1) -> Iterator[tuple[Path, bytes]]:
    """Whole lines from number ``first`` on, oldest first, each with its file; lines are numbered without a gap from 1.

    What a writer is just appending, or a crash tore off, is no whole line. Raises OSError.
    """
    start = first // SEGMENT * SEGMENT
    for path in segments_of(folder):
        base = int(path.stem)
        if base < start:
            continue
        content = path.read_bytes()
        found = content[: content.rfind(b"\n") + 1].splitlines()
        skip = max(0, first - max(base, 1))
        for line in found[skip:]:
            yield path, line


def line_of(folder: Path, n: int) -> bytes | None:
    """Line number ``n``, or None where there is none."""
    return next((line for _, line in lines(folder, n)), None)


def find(folder: Path, text: str) -> bytes | None:
    """The newest line that holds ``text``, such as a file's path; None where none does."""
    wanted = text.encode()
    for path in reversed(segments_of(folder)):
        content = path.read_bytes()
        if wanted in content:
            return next(line for line in reversed(content.splitlines()) if wanted in line)
    return None


def chain(folder: Path, kind: type[T], what: str) -> Iterator[tuple[T, bytes]]:
    """All records and their lines, oldest first, each checked against the one before it.

    Raises StorageError at the first that does not fit.
    """
    previous, n = "", 0
    for path, line in lines(folder):
        record: Any = decode_as(kind, line, path)
        if record.n != n + 1 or record.previous != previous:
            raise StorageError(path, f"the chain is broken at {what} {record.n}: it does not follow {what} {n}")
        previous, n = digest(line), record.n
        yield record, line
