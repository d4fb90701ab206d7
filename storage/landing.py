"""Step 1 of a commit: its Parquet files and its state file, written side by side and synced, named by nothing yet."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage import parquet, snapshot
from storage.disk import Disk, fault
from storage.errors import StorageError
from storage.ledger import FileEntry
from storage.schema import LANDED, PARTITIONS, days, empty


@dataclass(frozen=True, slots=True)
class StatePart:
    """What one commit keeps of the pipeline's state: ``blocks``, buffers to be written one after another.

    Parts are read back in the order of their commits, and what is in a later one counts. A round of parts holds the whole state: it
    ``begins`` with one and ``ends`` with one, maybe the same. When it has ended, parts from before it are not needed any more.
    """

    blocks: tuple[Any, ...]
    begins: bool
    ends: bool


@dataclass(frozen=True, slots=True)
class Commit:
    """What one commit lands. Tables may be empty. ``state``: a part of it, or bytes that are all of it; None = it is as it was."""

    readings: pa.Table
    emissions: pa.Table
    rollups: pa.Table
    trips: pa.Table
    events: pa.Table
    quarantine: pa.Table
    factor_set: str
    state: bytes | StatePart | None
    batches: pa.Table = field(default_factory=partial(empty, "batches"))  # the signed frames behind ``readings``
    gateways: pa.Table = field(default_factory=partial(empty, "gateways"))  # what gateways said of themselves

    def tables(self) -> Iterable[tuple[str, pa.Table]]:
        """(name, rows) of each table, raw first."""
        return ((name, getattr(self, name)) for name in LANDED)

    def part(self) -> StatePart:
        """The state's part; without blocks where the state is as it was."""
        if isinstance(self.state, bytes):
            return StatePart((self.state,), begins=True, ends=True)
        return self.state or StatePart((), begins=False, ends=False)


@dataclass(frozen=True, slots=True)
class Landed:
    """Files on the disk: ``files`` in the order of the tables, ``state`` relative to the lake, empty where none was written."""

    files: tuple[FileEntry, ...]
    state: str
    state_sha256: str


def side_by_side(pool: ThreadPoolExecutor, calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """Run the calls in ``pool``, wait for all of them, return their results or raise the first error."""
    futures = [pool.submit(call) for call in calls]
    wait(futures)
    return [future.result() for future in futures]


def write_file(disk: Disk, tmp: Path, path: Path, content: Any) -> None:
    """Write and sync one file by way of the folder ``tmp``. Raises StorageError naming ``path``."""
    try:
        disk.write(tmp / uuid.uuid4().hex, path, content)
    except OSError as e:
        raise fault(path, e) from e


def write_table(
    disk: Disk, tmp: Path, path: Path, name: str, partition: dict[str, str], rows: pa.Table, *, merged: bool = False
) -> FileEntry:
    """Write ``rows`` as file ``name`` of the table at ``path``, whose partition's folder must be there. Raises StorageError."""
    content = parquet.encode(path.name, rows, merged=merged)
    ranges = parquet.ranges(path.name, rows)
    return write_content(disk, tmp, path, name, partition, content, rows.num_rows, ranges)


def write_content(
    disk: Disk,
    tmp: Path,
    path: Path,
    name: str,
    partition: dict[str, str],
    content: pa.Buffer,
    rows: int,
    ranges: dict[str, tuple[int, int]],
) -> FileEntry:
    """As ``write_table``, of a file that is encoded already."""
    relative = f"{partition_folder(partition)}/{name}.parquet"
    write_file(disk, tmp, path / relative, content)
    return FileEntry(path.name, relative, content.size, rows, parquet.sha256(content), partition, ranges)


def partition_folder(partition: dict[str, str]) -> str:
    """The folder of a partition below its table."""
    return "/".join(f"{k}={v}" for k, v in partition.items())


def land(disk: Disk, pool: ThreadPoolExecutor, lake: Path, name: str, data: Commit) -> Landed:
    """Write and sync all files of ``data`` under the unique ``name``. On a fault what was written is removed again."""
    calls: list[Callable[[], Any]] = []
    paths = []
    for table, whole in data.tables():
        for day, rows in days(table, whole):
            values = {"day": day, "factor_set": data.factor_set}
            partition = {k: values[k] for k in PARTITIONS[table]}
            paths.append(lake / table / partition_folder(partition) / f"{name}.parquet")
            calls.append(partial(write_table, disk, lake / "tmp", lake / table, name, partition, rows))
    blocks = data.part().blocks
    state = f"state/{name}.state" if blocks else ""
    if state:
        paths.append(lake / state)
    calls.append(partial(_write_state, disk, lake, state, blocks))
    folders = sorted({path.parent for path in paths})
    try:
        for folder in folders:
            _at(folder, disk.make_dir)
        *entries, sha256 = side_by_side(pool, calls)
        side_by_side(pool, [partial(_at, folder, disk.sync) for folder in folders])
    except StorageError:
        discard(disk, lake, paths)
        raise
    return Landed(tuple(entries), state, sha256)


def _write_state(disk: Disk, lake: Path, state: str, blocks: Sequence[Any]) -> str:
    """Write the state file, if there is something in it; gives the hash of its payload."""
    if not state:
        return ""
    content = snapshot.pack(blocks)
    write_file(disk, lake / "tmp", lake / state, content)
    return content[1:33].hex()


def _at(path: Path, call: Callable[[Path], None]) -> None:
    try:
        call(path)
    except OSError as e:
        raise fault(path, e) from e


def discard(disk: Disk, lake: Path, paths: Iterable[Path]) -> None:
    """Remove files of a commit that did not happen. One that cannot be removed is an orphan, which nothing names."""
    for path in [*paths, *(lake / "tmp").iterdir()]:
        try:
            disk.remove(path)
        except OSError:
            continue
