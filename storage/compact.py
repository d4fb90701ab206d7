"""Compaction beside a running writer: many small files become few, rollups of one minute and asset become one row.

A group of files of one partition is read, merged, written and synced, read back and compared with what went in; then one Delta
commit removes the old files and adds the new one. Delta does not refuse a file that is removed twice, which would double its rows.
So the commit is made only on the very version on which all old files were seen to be there (no retries inside delta-rs), and it is
tried again on a newer one; a lock keeps a second compaction out.

What became of which files stands in the chain of changes, and hours that are over get their root first. Files are merged within
an hour of commits, never across: what was known at the end of any hour can be read for ever.
"""

import datetime
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from storage import hours
from storage.delta import DELTA_FAULTS, DeltaLog, add_action, remove_action
from storage.disk import Disk, check_folder, fault, lock
from storage.errors import LakeMissingError, StorageError
from storage.file_names import HOURS as HOURS_FILE
from storage.file_names import MERGED, commits_of, is_rebuilt, new_name
from storage.landing import write_table
from storage.ledger import CHANGES, Change, FileEntry, Ledger, decode_as, digest, encode
from storage.proof import latest_root
from storage.roots import Epochs, epochs, seal
from storage.schema import LANDED, PARTITIONS, ROLLUP_KEYS, ROLLUP_NEWEST, ROLLUP_SUMS, SUMMARIES, arrow_schema

TARGET_ROWS: Final = 500_000  # of a merged file: 400 MB of arrays while it is made
COMMIT_TRIES: Final = 200  # each takes about 15 ms; a writer makes a few commits a second
TMP: Final = "tmp-compact"  # the writer empties its own
KEEP_HOURS: Final = 1  # replaced files stay for readers that began before; at least the longest query


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
    lake: Path,
    *,
    disk: Disk | None = None,
    now_ns: Callable[[], int] = time.time_ns,
    target_rows: int = TARGET_ROWS,
    key: Ed25519PrivateKey | None = None,
) -> Generator[Merged]:
    """Seal the hours that are over with ``key``, then merge what is worth merging in every table, yielding each group when its
    commit is on the disk.

    Raises LakeMissingError, LakeBusyError where another compaction runs, StorageError where the disk or the log refuses.
    """
    disk = disk or Disk()
    held = _held(lake)
    try:
        disk.make_dir(lake / TMP)
        for left in (lake / TMP).iterdir():
            disk.remove(left)
        seal(lake, key=key, disk=disk, now_ns=now_ns)
        bounds = epochs(lake)
        for log in _logs(lake, disk):
            table = log.path.name
            for partition, files in _partitions(log):
                alike = [f for f in files if not log.mixed() or _is_current(table, log.path / f.path)]
                for group in _within(bounds, alike, target_rows):
                    yield _merge(lake, disk, log, partition, group, now_ns)
        for table in SUMMARIES:
            yield from _summary(lake, disk, now_ns, table)
    except DELTA_FAULTS as e:
        raise fault(lake, e) from e
    finally:
        os.close(held)


def _summary(lake: Path, disk: Disk, now_ns: Callable[[], int], table: str) -> Iterator[Merged]:
    """Hourly sums, or newest words on trips, of what lies under roots."""
    root = latest_root(lake)
    if root is None:
        return

    def record(partition: dict[str, str], removed: list[str], made: FileEntry) -> None:
        record_change(lake, disk, now_ns(), "hours", table, partition, removed, made)

    for partition, files, rows in hours.make(
        table, lake, disk, lake / TMP, root.last, read_files, record, now_ns() // 1_000_000
    ):
        yield Merged(table, "/".join(partition.values()), files, 0, rows)


def drop(
    lake: Path, table: str, before: datetime.date, *, disk: Disk | None = None, now_ns: Callable[[], int] = time.time_ns
) -> int:
    """Take the days of ``table`` before ``before`` out of it; ``sweep`` removes their files later. Gives the number of files.

    Raises as ``compact``, ValueError for a table that there is not.
    """
    if table not in (*LANDED, *SUMMARIES):
        raise ValueError(f"there is no table {table} to drop days of; there are {', '.join((*LANDED, *SUMMARIES))}")
    disk = disk or Disk()
    held = _held(lake)
    dropped = 0
    try:
        if not (lake / table / "_delta_log").is_dir():
            return 0
        log = DeltaLog(lake / table, arrow_schema(table, partitions=True), PARTITIONS[table], disk)
        log.attach()
        for partition, files in _partitions(log):
            if datetime.date.fromisoformat(partition["day"]) >= before:
                continue
            record_change(lake, disk, now_ns(), "drop", table, partition, [f.path for f in files], None)
            now_ms = now_ns() // 1_000_000
            log.commit([remove_action(f.path, f.bytes, partition, now_ms) for f in files], None, {})
            log.sync()
            log.attach()
            dropped += len(files)
    except DELTA_FAULTS as e:
        raise fault(lake, e) from e
    finally:
        os.close(held)
    return dropped


def _held(lake: Path) -> int:
    """The lock of the one compaction."""
    check_folder(lake)
    if not (lake / LANDED[0] / "_delta_log").is_dir():
        raise LakeMissingError(lake, "there is no lake here; name the folder that the consumer writes to")
    return lock(lake / "compact.lock", "compacts")


def _logs(lake: Path, disk: Disk, tables: Sequence[str] = LANDED) -> Iterator[DeltaLog]:
    """The tables' logs as they are now, raw first; a table that an older program did not make is left out."""
    for table in tables:
        if (lake / table / "_delta_log").is_dir():
            log = DeltaLog(lake / table, arrow_schema(table, partitions=True), PARTITIONS[table], disk)
            log.attach()
            yield log


def _partitions(log: DeltaLog) -> list[tuple[dict[str, str], list[_File]]]:
    """Files of the newest version by partition, oldest day first."""
    found: dict[tuple[str, ...], list[_File]] = {}
    actions = pa.table(log.handle.get_add_actions(flatten=True))
    names = PARTITIONS[log.path.name]
    for row in actions.select(["path", "num_records", "size_bytes", *(f"partition.{n}" for n in names)]).to_pylist():
        key = tuple(str(row[f"partition.{n}"]) for n in names)
        found.setdefault(key, []).append(_File(row["path"], row["num_records"], row["size_bytes"]))
    return [(dict(zip(names, key, strict=True)), found[key]) for key in sorted(found)]


def _is_current(table: str, path: Path) -> bool:
    """Whether a file has today's columns: one from before a column was added stays as it is."""
    return bool(pq.read_schema(path).names == arrow_schema(table).names)


def _within(bounds: Epochs, files: list[_File], target_rows: int) -> Iterator[list[_File]]:
    """Groups to merge, each within one hour of commits. A file whose name does not tell its commits stays as it is."""
    by_epoch: dict[int, list[tuple[tuple[int, int], _File]]] = {}
    for file in files:
        known = None if is_rebuilt(file.path) else commits_of(file.path)
        if known is not None and (epoch := bounds.of(*known)) is not None:
            by_epoch.setdefault(epoch, []).append((known, file))
    for epoch in sorted(by_epoch):
        in_order = [file for _, file in sorted(by_epoch[epoch], key=lambda f: f[0])]
        yield from groups(in_order, target_rows, last=epoch < len(bounds.starts))


def groups(files: list[_File], target_rows: int, *, last: bool = False) -> list[list[_File]]:
    """Which neighbours, in the order of their commits, to merge: those of like size, so that a row is written again only when its file
    doubles; ``last``, when no more files will come, whatever fits into one.
    """
    small = target_rows // 100
    runs: list[tuple[int, list[_File]]] = []
    for file in files:
        rows, run = file.rows, [file]
        while runs and runs[-1][0] + rows <= target_rows:
            before = runs[-1][0]
            if not last and not (before <= max(rows, small) and rows <= 2 * max(before, small)):
                break
            rows, run = before + rows, [*runs.pop()[1], *run]
        runs.append((rows, run))
    return [run for _, run in runs if len(run) > 1]


def _merge(
    lake: Path,
    disk: Disk,
    log: DeltaLog,
    partition: dict[str, str],
    group: list[_File],
    now_ns: Callable[[], int],
) -> Merged:
    table = log.path.name
    before = read_files(table, [log.path / f.path for f in group])
    after = summed(before) if table == "rollups" else _in_order(before)
    known = [commits_of(f.path) or (0, 0) for f in group]
    name = new_name(MERGED, min(first for first, _ in known), max(last for _, last in known))
    entry = write_table(disk, lake / TMP, log.path, name, partition, after, merged=True)
    path = log.path / entry.path
    disk.sync(path.parent)
    if totals(read_files(table, [path])) != totals(before):
        disk.remove(path)
        raise StorageError(path, "the merged file does not add up to those it was made of; nothing was changed")
    change = record_change(lake, disk, now_ns(), "merge", table, partition, [f.path for f in group], entry)
    now_ms = now_ns() // 1_000_000
    actions: list[AddAction | RemoveAction] = [
        *(remove_action(f.path, f.bytes, partition, now_ms) for f in group),
        add_action(entry, now_ms, data_change=False),
    ]
    for _ in range(COMMIT_TRIES):
        log.attach()
        here = {f.path for _, files in _partitions(log) for f in files}
        if not here.issuperset(f.path for f in group):
            raise StorageError(
                log.path, "somebody else has replaced files of this group; nothing was changed, run it again"
            )
        try:
            log.commit(actions, None, {"fleetco2.change": str(change.n)}, retries=0)
        except CommitFailedError:
            continue  # another version came in between: look again
        log.sync()
        log.attach()
        return Merged(table, "/".join(partition.values()), len(group), before.num_rows, after.num_rows)
    raise StorageError(log.path, f"no quiet moment in {COMMIT_TRIES} tries; nothing was changed, run it again")


def record_change(
    lake: Path,
    disk: Disk,
    time_ns: int,
    kind: Literal["merge", "drop", "hours"],
    table: str,
    partition: dict[str, str],
    removed: list[str],
    made: FileEntry | None,
) -> Change:
    """Append a change to its chain and sync it. The caller holds ``compact.lock``. Raises OSError."""
    folder = lake / "ledger" / CHANGES
    disk.make_dir(folder)
    ledger = Ledger(folder, disk)
    ledger.load()
    n = decode_as(Change, ledger.newest, folder).n + 1 if ledger.newest else 1
    change = Change(
        n, time_ns, kind, table, partition, tuple(removed), made, digest(ledger.newest) if ledger.newest else ""
    )
    ledger.append(n, encode(change))
    ledger.sync()
    return change


def read_files(table: str, paths: list[Path]) -> pa.Table:
    """Rows of files of one table, one after another, text as dictionaries shared by all of them."""
    text = [f.name for f in arrow_schema(table) if pa.types.is_string(f.type)]
    parts = [pq.read_table(path, partitioning=None, read_dictionary=text, memory_map=True) for path in paths]
    return pa.concat_tables(parts).unify_dictionaries().combine_chunks()


def _in_order(rows: pa.Table) -> pa.Table:
    """By device, boot and number where there are such: a device's rows lie together, compress and are found."""
    number = "first_seq" if "first_seq" in rows.column_names else "seq"
    if not {"device", "boot_id", number} <= set(rows.column_names) or rows["device"].null_count:
        return rows
    device = rows["device"].chunk(0).indices.to_numpy() if rows.num_rows else np.empty(0)
    order = np.lexsort((rows[number].to_numpy(), rows["boot_id"].to_numpy(), device))
    return rows.take(pa.array(order))


def summed(rows: pa.Table) -> pa.Table:
    """Partial sums of the same key as one row, by minute."""
    wanted = [*((name, "sum") for name in ROLLUP_SUMS), *((name, "max") for name in ROLLUP_NEWEST)]
    found = rows.group_by(list(ROLLUP_KEYS), use_threads=False).aggregate(wanted)
    found = found.rename_columns([name.removesuffix("_sum").removesuffix("_max") for name in found.column_names])
    by_minute = np.argsort(found["minute_ns"].to_numpy(), kind="stable")
    return (
        pa.Table.from_arrays([found[f.name] for f in rows.schema], schema=rows.schema)
        .take(pa.array(by_minute))
        .unify_dictionaries()
        .combine_chunks()
    )


def totals(rows: pa.Table) -> dict[str, int | None]:
    """What must not change: number of rows (not of rollups, which merge), sums of integers, the newest times."""
    found: dict[str, int | None] = {}
    rollups = "newest_time_ns" in rows.column_names
    if not rollups:
        found["rows"] = rows.num_rows
    for f in rows.schema:
        if pa.types.is_binary(f.type) or pa.types.is_fixed_size_binary(f.type):
            found[f.name] = pc.sum(pc.binary_length(rows[f.name])).as_py()
        if not pa.types.is_integer(f.type):
            continue
        if not rollups or f.name in ROLLUP_SUMS:
            found[f.name] = pc.sum(rows[f.name]).as_py()  # modulo 2^64 on both sides
        elif f.name in ROLLUP_NEWEST:
            found[f.name] = pc.max(rows[f.name]).as_py()
    return found


def sweep(lake: Path, *, disk: Disk | None = None, keep_hours: int = KEEP_HOURS) -> list[Path]:
    """Remove files that no version names: replaced more than ``keep_hours`` ago, or left by commits that did not happen.

    A file that a commit still under way may name is kept, however old: only numbers below the newest commit are looked at.
    Returns what was removed. Raises as ``compact``.
    """
    disk = disk or Disk()
    held = _held(lake)
    removed = []
    try:
        newest = 0
        for log in _logs(lake, disk, (*LANDED, *SUMMARIES)):
            newest = newest or log.transaction()  # raw comes first
            unnamed = log.handle.vacuum(
                retention_hours=keep_hours, dry_run=True, enforce_retention_duration=False, full=True
            )
            for name in unnamed:
                number = Path(name).name.partition("-")[0]
                if number in (MERGED, HOURS_FILE) or (number.isdigit() and int(number) < newest):
                    disk.remove(log.path / name)
                    removed.append(log.path / name)
    except DELTA_FAULTS as e:
        raise fault(lake, e) from e
    finally:
        os.close(held)
    return removed
