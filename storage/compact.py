"""Compaction beside a running writer: many small files become few, rollups of one minute and asset become one row.

A group of files of one partition is read, merged, written and synced, read back and compared with what went in; then one Delta
commit removes the old files and adds the new one. Delta does not refuse a file that is removed twice, which would double its rows.
So the commit is made only on the very version on which all old files were seen to be there (no retries inside delta-rs), and it is
tried again on a newer one; a lock keeps a second compaction out.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from storage.delta import DELTA_FAULTS, DeltaLog, add_action
from storage.disk import Disk, check_folder, fault, lock
from storage.errors import LakeMissingError, StorageError
from storage.landing import write_table
from storage.schema import LANDED, PARTITIONS, arrow_schema
from stream.columns import ROLLUP

TARGET_ROWS: Final = 500_000  # of a merged file: 400 MB of arrays while it is made
COMMIT_TRIES: Final = 200  # each takes about 15 ms; a writer makes a few commits a second
KEEP_HOURS: Final = 1  # replaced files stay for readers that began before; at least the longest query

ROLLUP_NEWEST: Final = tuple(c.name for c in ROLLUP if c.name.startswith("newest_"))
ROLLUP_SUMS: Final = tuple(c.name for c in ROLLUP if c.dtype == "int64" and c.name not in (*ROLLUP_NEWEST, "minute_ns"))
ROLLUP_KEYS: Final = tuple(c.name for c in ROLLUP if c.name not in (*ROLLUP_NEWEST, *ROLLUP_SUMS))


@dataclass(frozen=True, slots=True)
class Merged:
    """One group of files that became one. ``partition`` as in the path."""

    table: str
    partition: str
    files: int
    rows_before: int
    rows_after: int


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    rows: int
    bytes: int


def compact(
    lake: Path, *, disk: Disk | None = None, now_ns: Callable[[], int] = time.time_ns, target_rows: int = TARGET_ROWS
) -> Iterator[Merged]:
    """Merge what is worth merging in every table, yielding each group when its commit is on the disk.

    Raises LakeMissingError, LakeBusyError where another compaction runs, StorageError where the disk or the log refuses.
    """
    disk = disk or Disk()
    check_folder(lake)
    if not (lake / LANDED[0] / "_delta_log").is_dir():
        raise LakeMissingError(lake, "there is no lake here; name the folder that the consumer writes to")
    held = lock(lake / "compact.lock", "compacts")
    try:
        for table in LANDED:
            log = DeltaLog(lake / table, arrow_schema(table, partitions=True), PARTITIONS[table], disk)
            try:
                log.attach()
                for partition, files in _partitions(log):
                    for group in groups(files, target_rows):
                        yield _merge(lake, disk, log, table, partition, group, now_ns)
            except DELTA_FAULTS as e:
                raise fault(log.path, e) if isinstance(e, OSError) else StorageError(log.path, str(e)) from e
    finally:
        os.close(held)


def _partitions(log: DeltaLog) -> list[tuple[dict[str, str], list[_File]]]:
    """Files of the newest version by partition, oldest day first."""
    found: dict[tuple[str, ...], list[_File]] = {}
    actions = pa.table(log.handle.get_add_actions(flatten=True))
    names = PARTITIONS[log.path.name]
    for row in actions.select(["path", "num_records", "size_bytes", *(f"partition.{n}" for n in names)]).to_pylist():
        key = tuple(str(row[f"partition.{n}"]) for n in names)
        found.setdefault(key, []).append(_File(row["path"], row["num_records"], row["size_bytes"]))
    return [(dict(zip(names, key, strict=True)), found[key]) for key in sorted(found)]


def groups(files: list[_File], target_rows: int) -> list[list[_File]]:
    """Which files to merge: small ones with their like, so that a row is written again only when its file doubles."""
    chosen: list[list[_File]] = []
    group: list[_File] = []
    rows = 0
    for file in sorted((f for f in files if f.rows < target_rows), key=lambda f: (f.rows, f.path)):
        if group and (rows + file.rows > target_rows or file.rows > max(rows, target_rows // 100)):
            chosen.append(group)
            group, rows = [], 0
        group.append(file)
        rows += file.rows
    return [g for g in [*chosen, group] if len(g) > 1]


def _merge(
    lake: Path,
    disk: Disk,
    log: DeltaLog,
    table: str,
    partition: dict[str, str],
    group: list[_File],
    now_ns: Callable[[], int],
) -> Merged:
    text = [f.name for f in arrow_schema(table) if pa.types.is_string(f.type)]
    parts = [pq.read_table(log.path / f.path, partitioning=None, read_dictionary=text) for f in group]
    before = pa.concat_tables(parts).unify_dictionaries()
    merged = (
        _summed(before) if table == "rollups" else _sorted(before) if "device" in text and "seq" in text else before
    )
    merged = merged.cast(_as_stored(merged.schema, table))
    entry = write_table(disk, lake, table, f"c-{uuid.uuid4().hex}", partition, merged)
    path = log.path / entry.path
    try:
        disk.sync(path.parent)
        if totals(table, pq.read_table(path, partitioning=None)) != totals(table, before):
            raise StorageError(path, "the merged file does not add up to those it was made of; nothing was changed")
        _commit(
            log,
            group,
            partition,
            entry_add=add_action(entry, now_ns() // 1_000_000, data_change=False),
            made={"path": entry.path, "sha256": entry.sha256, "rows": entry.rows},
            now_ms=now_ns() // 1_000_000,
        )
    except BaseException:
        disk.remove(path)
        raise
    log.sync()
    log.attach()
    return Merged(table, "/".join(partition.values()), len(group), before.num_rows, merged.num_rows)
