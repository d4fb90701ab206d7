"""Summaries for panels over weeks: hourly sums of rollups, the newest word on each trip. Exact at any moment together with what
they do not cover yet.

One file per day and factor set sums up all rollups, or trips, that came with commits up to the end of a sealed hour. What comes
later, late data too, lies in files of the table itself with higher commits, until the summary is made anew. Results that a rebuild adds
have low commits: a file counts only while its partition has as many rebuilt files as it was made of, else the table itself is read.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.delta import DeltaLog, add_action, remove_action
from storage.disk import Disk
from storage.file_names import commits_of, covered_by, hours_name, is_rebuilt
from storage.inventory import active
from storage.landing import partition_folder, write_table
from storage.ledger import FileEntry
from storage.schema import HOURS, PARTITIONS, ROLLUP_KEYS, ROLLUP_NEWEST, ROLLUP_SUMS, SUMMARIES, WORDS, arrow_schema

HOUR_NS: Final = 3_600_000_000_000
KEYS: Final = ("hour_ns", *(k for k in ROLLUP_KEYS if k != "minute_ns"))


def split(sources: Iterable[str], summaries: Iterable[str]) -> tuple[list[str], list[str]]:
    """Files of summaries that count, and files of their source that none of them covers. Paths of files, whole or below their tables."""
    by_partition: dict[str, list[str]] = {}
    for path in sources:
        by_partition.setdefault(_partition(path), []).append(path)
    counting: list[str] = []
    for path in summaries:
        told = covered_by(path)
        here = by_partition.get(_partition(path), [])
        if told is None or told[1] != sum(map(is_rebuilt, here)) or any(_straddles(p, told[0]) for p in here):
            continue
        counting.append(path)
        by_partition[_partition(path)] = [p for p in here if not _is_covered(p, told[0])]
    return counting, [path for here in by_partition.values() for path in here]


def stays_beside(path: str, counting: Iterable[str]) -> bool:
    """Whether ``split`` leaves the new file ``path`` of a source beside the summaries ``counting`` and lets the same ones count."""
    known = commits_of(path)
    if known is None or is_rebuilt(path):
        return False
    here = _partition(path)
    return all(known[0] > told[0] for p in counting if (told := covered_by(p)) is not None and _partition(p) == here)


def _partition(path: str) -> str:
    return "/".join(part for part in path.split("/") if part.startswith(("day=", "factor_set=")))


def _is_covered(path: str, last: int) -> bool:
    known = commits_of(path)
    return is_rebuilt(path) or (known is not None and known[1] <= last)


def _straddles(path: str, last: int) -> bool:
    known = commits_of(path)
    return known is None or (not is_rebuilt(path) and known[0] <= last < known[1])


def hourly(rows: pa.Table) -> pa.Table:
    """Sums by hour of rollups, or of hourly sums; text may be dictionaries."""
    if "minute_ns" in rows.column_names:
        minutes = rows["minute_ns"].to_numpy()
        at = rows.column_names.index("minute_ns")
        rows = rows.set_column(at, arrow_schema(HOURS).field("hour_ns"), pa.array(minutes - minutes % HOUR_NS))
    wanted = [*((name, "sum") for name in ROLLUP_SUMS), *((name, "max") for name in ROLLUP_NEWEST)]
    found = rows.group_by(list(KEYS), use_threads=False).aggregate(wanted)
    found = found.rename_columns([name.removesuffix("_sum").removesuffix("_max") for name in found.column_names])
    order = np.argsort(found["hour_ns"].to_numpy(), kind="stable")
    schema = arrow_schema(HOURS)
    plain = [found[f.name].cast(f.type) for f in schema]
    return pa.Table.from_arrays(plain, schema=schema).take(pa.array(order)).combine_chunks()


def newest_words(rows: pa.Table) -> pa.Table:
    """The row with the highest kernel version, then version, of each trip. Trips of one factor set; text may be dictionaries."""
    schema = arrow_schema(WORDS)
    plain = pa.Table.from_arrays([rows[f.name].cast(f.type) for f in schema], schema=schema).combine_chunks()
    order = plain.sort_by(
        [
            ("trip_start_ns", "ascending"),
            ("asset", "ascending"),
            ("kernel_version", "descending"),
            ("version", "descending"),
        ]
    )
    if order.num_rows == 0:
        return order
    start, asset = order["trip_start_ns"].to_numpy(), order["asset"].combine_chunks()
    same_asset = pc.equal(asset.slice(1), asset.slice(0, len(asset) - 1)).to_numpy(zero_copy_only=False)
    first = np.append(True, (start[1:] != start[:-1]) | ~same_asset)
    return order.filter(pa.array(first)).combine_chunks()


_MADE: Final = {HOURS: hourly, WORDS: newest_words}


def make(
    table: str,
    lake: Path,
    disk: Disk,
    tmp: Path,
    sealed: int,
    read: Callable[[str, list[Path]], pa.Table],
    record: Callable[[dict[str, str], list[str], FileEntry], None],
    now_ms: int,
) -> Iterator[tuple[dict[str, str], int, int]]:
    """Bring summary ``table`` up to commit ``sealed``; gives (partition, files taken in, rows made) of each file made.

    The caller holds ``compact.lock``; ``read`` reads files of a table, ``record`` writes the change down before it is made.
    """
    source, short = SUMMARIES[table], _MADE[table]
    sources, summaries = active(lake, source), active(lake, table)
    partitions: dict[str, list[str]] = {}
    for path in sources:
        partitions.setdefault(_partition(path), []).append(path)
    old_by: dict[str, str] = {_partition(path): path for path in summaries}
    log: DeltaLog | None = None
    for name, here in sorted(partitions.items()):
        rebuilt = [p for p in here if is_rebuilt(p)]
        own = [p for p in here if not is_rebuilt(p) and (known := commits_of(p)) is not None and known[1] <= sealed]
        old = old_by.get(name)
        counts, left = split(here, [old] if old else [])
        base = counts if counts and _is_current(table, lake / table / counts[0]) else []
        todo = [p for p in left if p in own] if base else [*own, *rebuilt]
        if not todo:
            continue
        parts = [short(read(source, [lake / source / p for p in todo]))]
        parts += [short(read(table, [lake / table / p])) for p in base]
        sums = short(pa.concat_tables(parts))
        if log is None:
            log = DeltaLog(lake / table, arrow_schema(table, partitions=True), PARTITIONS[table], disk)
            log.open()
        partition = dict(sources[todo[0]].partition)
        disk.make_dir(lake / table / partition_folder(partition))
        entry = write_table(disk, tmp, lake / table, hours_name(sealed, len(rebuilt)), partition, sums, merged=True)
        disk.sync((lake / table / entry.path).parent)
        removed = [old] if old else []
        record(partition, removed, entry)
        gone = [remove_action(p, summaries[p].bytes, partition, now_ms) for p in removed]
        log.commit([*gone, add_action(entry, now_ms, data_change=True)], None, {})
        log.sync()
        log.refresh()
        yield partition, len(todo), sums.num_rows


def _is_current(table: str, path: Path) -> bool:
    return bool(pq.read_schema(path).names == arrow_schema(table).names)
