"""All results anew from the raw readings: under another factor set beside the old ones, or under the same one to compare.

Readings are taken hour of commits by hour of commits, as they became known, under the registry in force then. So what a factor set
would have shown at the end of any hour can be asked for later (``storage.as_of``). The files are offered to the one committer
(``storage.adoption``): all of them become visible in one commit, or none.
"""

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.adoption import offer, offers
from storage.as_of import dimensions_at
from storage.compact import read_files, summed
from storage.delta import DELTA_FAULTS
from storage.disk import Disk, fault, lock
from storage.errors import LakeBusyError, StorageError
from storage.factor_files import class_table, factor_set
from storage.file_names import REBUILT, commits_of
from storage.inventory import Moment, active, moment, newest_numbers
from storage.lake import Commit, Lake
from storage.ledger import FileEntry, decode, line_of
from storage.progress import Step, silent
from storage.raw_parts import Unit, calls, shards
from storage.registry_read import fleet_of
from storage.result_files import RESULTS, ResultFiles, tables_of
from storage.roots import epochs
from storage.schema import LANDED, Columns, empty
from stream.fleet import Fleet
from stream.pipeline import Results, State, retake, start

CHUNK_ROWS: Final = 65_536  # readings computed at once: their results fit into the processor's cache
AHEAD: Final = 3  # parts read, or results not yet written, beside the one that is computed
CUTS: Final = 5


@dataclass
class Rebuilt:
    """What was done. ``same`` and ``other`` count units of earlier results under this factor set that were compared, by what came out."""

    readings: int = 0
    units: int = 0
    made: int = 0
    files: list[FileEntry] = field(default_factory=list)
    same: int = 0
    other: list[str] = field(default_factory=list)
    n: int | None = None  # commit that took the files up; None = a running writer will, with its next one
    seconds: float = 0.0


def units(lake: Path, now: Moment) -> list[Unit]:
    """The raw readings, unit by unit. Raises StorageError for a file that does not say which commits it holds."""
    bounds = epochs(lake)
    found: dict[int, list[tuple[tuple[int, int], str]]] = {}
    for path in now.files["readings"]:
        known = commits_of(path)
        epoch = bounds.of(*known) if known else None
        if known is None or epoch is None:
            raise StorageError(
                lake / "readings" / path, "holds more than one hour of commits: merged by an older program"
            )
        found.setdefault(epoch, []).append((known, path))
    made = []
    for epoch in sorted(found):
        files = sorted(found[epoch])
        rows = sum(now.files["readings"][path].rows for _, path in files)
        first, last = min(k[0] for k, _ in files), max(k[1] for k, _ in files)
        made.append(Unit(first, last, rows, tuple(path for _, path in files)))
    return made


def rebuild(
    lake: Path,
    name: str,
    *,
    compare: bool = False,
    disk: Disk | None = None,
    now_ns: Callable[[], int] = time.time_ns,
    step: Step = silent,
) -> Rebuilt:
    """Make the results of factor set ``name`` wherever they are missing; with ``compare`` also make those that are there and compare.

    Runs beside a writer. Raises StorageError, FactorError for a factor set that there is not, LakeBusyError beside another rebuild.
    """
    disk = disk or Disk()
    factor_set(name)  # there is one, before anything is done
    held = lock(lake / "rebuild.lock", "rebuilds")
    began = time.perf_counter()
    done = Rebuilt()
    try:
        _take_up_waiting(lake, disk, now_ns)
        now = _cut_off(lake, disk)
        _clean(lake, now, disk)
        todo = units(lake, now)
        have = [_have(lake, now, name, unit) for unit in todo]
        wanted = [compare or rows < unit.rows for unit, rows in zip(todo, have, strict=True)]
        end = max((i for i, w in enumerate(wanted) if w), default=-1) + 1
        total = sum(u.rows for u in todo[:end])
        compared = [w and rows == unit.rows for w, unit, rows in zip(wanted, todo, have, strict=True)]
        state: State | None = None
        with ThreadPoolExecutor(2, "rebuild-read") as pool, ThreadPoolExecutor(1, "rebuild-write") as writer:
            writing: deque[Future[None]] = deque()
            files: ResultFiles | None = None
            for i, fleet, part, last, columns in _ahead(lake, pool, todo[:end], compared, name):
                unit = todo[i]
                if state is None or fleet is not state.fleet:
                    state = start(fleet, state.to_bytes() if state else ())
                if wanted[i] and not compared[i] and files is None:
                    files = ResultFiles(lake, disk, name, fleet, unit.first, unit.last)
                found: list[Results] = []
                for chunk in _chunks(columns):
                    state, results = retake(state, chunk)
                    state = state.settled()
                    if files is not None:
                        writing.append(writer.submit(files.add, results))
                    elif compared[i]:
                        found.append(results)
                    while len(writing) > AHEAD:
                        writing.popleft().result()
                done.readings += columns["seq"].size
                step("rebuild", done.readings, total)
                if files is not None and last:
                    writing.append(writer.submit(files.close, done.files))
                    files = None
                    done.made += 1
                if compared[i]:
                    fits = _same(lake, now, name, unit, tables_of(fleet, found), part)
                    done.same += fits
                    if not fits:
                        done.other.append(f"commits {unit.first} to {unit.last}")
            for left in writing:
                left.result()
        done.units = end
        if done.files:
            offer(lake, tuple(done.files), now.commit, disk)
            done.n = _take_up(lake, disk, now_ns)
    except DELTA_FAULTS as e:
        raise fault(lake, e) from e
    finally:
        os.close(held)
    done.seconds = time.perf_counter() - began
    return done


def _cut_off(lake: Path, disk: Disk) -> Moment:
    """The lake as of its newest commit, which from now on no merging goes across. Raises StorageError."""
    for _ in range(CUTS):
        newest, _ = newest_numbers(lake)
        offer(lake, (), newest, disk)
        now = moment(lake, LANDED)
        ranges = {path: commits_of(path) or (0, 0) for files in now.files.values() for path in files}
        if all(last <= newest or first > newest for first, last in ranges.values()):
            files = {t: {p: a for p, a in found.items() if ranges[p][1] <= newest} for t, found in now.files.items()}
            return Moment(newest, now.change, files)
    raise StorageError(lake, f"a compaction came in between {CUTS} times; try again")


def _have(lake: Path, now: Moment, name: str, unit: Unit) -> int:
    """Readings of ``unit`` that have a result under ``name``: all or none of them."""
    rows = 0
    for path, told in now.files["emissions"].items():
        known = commits_of(path)
        if told.partition["factor_set"] == name and known and unit.first <= known[0] and known[1] <= unit.last:
            rows += told.rows
    if rows not in (0, unit.rows):
        raise StorageError(
            lake / "emissions",
            f"{name} has results for {rows} of {unit.rows} readings of commits {unit.first} to {unit.last}",
        )
    return rows


def _ahead(
    lake: Path, pool: ThreadPoolExecutor, todo: Sequence[Unit], sharded: Sequence[bool], name: str
) -> Iterator[tuple[int, Fleet, int, bool, Columns]]:
    """Parts of all units in order: number of the unit, registry then in force, number of the part, whether it is the unit's last, and its
    readings. The next ones are read meanwhile.
    """
    factors, classes = factor_set(name), class_table()

    def plans() -> Iterator[tuple[int, Fleet, Future[list[Callable[[], Columns]]]]]:
        fleet: Fleet | None = None
        in_force: dict[str, str] = {}
        for i, unit in enumerate(todo):
            dimensions = dimensions_at(lake, unit.first)
            if fleet is None or dimensions != in_force:
                fleet, in_force = fleet_of(lake, dimensions, factors, classes), dimensions
            yield i, fleet, pool.submit(calls, lake, unit, fleet, sharded=sharded[i])

    def jobs() -> Iterator[tuple[int, Fleet, int, bool, Callable[[], Columns]]]:
        coming = plans()
        plan = next(coming, None)
        while plan is not None:
            (i, fleet, future), plan = plan, next(coming, None)
            found = future.result()
            for k, call in enumerate(found):
                yield i, fleet, k, k == len(found) - 1, call

    left = jobs()
    reading: deque[tuple[int, Fleet, int, bool, Future[Columns]]] = deque()

    def more() -> None:
        if (job := next(left, None)) is not None:
            reading.append((*job[:4], pool.submit(job[4])))

    for _ in range(AHEAD):
        more()
    while reading:
        i, fleet, k, last, future = reading.popleft()
        columns = future.result()
        more()
        yield i, fleet, k, last, columns


def _chunks(columns: Columns) -> Iterator[Columns]:
    for first in range(0, columns["seq"].size, CHUNK_ROWS):
        yield {name: values[first : first + CHUNK_ROWS] for name, values in columns.items()}


def canonical_sha256(table: str, rows: pa.Table) -> str:
    """Hash of what ``rows`` say, whatever their order and however sums are split: partial sums are added up, rows are sorted."""
    if rows.num_rows and table == "rollups":
        rows = summed(rows)
    plain = pa.table(
        {
            f.name: rows[f.name].cast(pa.string()) if pa.types.is_dictionary(f.type) else rows[f.name]
            for f in rows.schema
        }
    )
    plain = (
        plain.sort_by([(name, "ascending") for name in plain.column_names]).combine_chunks() if rows.num_rows else plain
    )
    found = hashlib.sha256()
    for name in plain.column_names:
        column = plain[name]
        found.update(f"{name} {column.type} {len(column)}\n".encode())
        if not len(column):
            continue
        valid = pc.is_valid(column).to_numpy()
        found.update(np.packbits(valid).tobytes())
        if pa.types.is_string(column.type):
            found.update("\0".join(pc.fill_null(column, "").to_pylist()).encode())
        else:
            filler = False if pa.types.is_boolean(column.type) else 0
            found.update(np.ascontiguousarray(pc.fill_null(column, filler).to_numpy()).tobytes())
    return found.hexdigest()


def _same(lake: Path, now: Moment, name: str, unit: Unit, tables: dict[str, pa.Table], shard: int) -> bool:
    """Whether the results in the lake are those in ``tables``."""
    if shards(unit) > 1:
        return _same_shard(lake, now, name, unit, tables, shard)
    for table, made in tables.items():
        stored = _stored(lake, now, name, unit, table)
        if canonical_sha256(table, stored if stored is not None else made.slice(0, 0)) != canonical_sha256(table, made):
            return False
    return True


def _same_shard(lake: Path, now: Moment, name: str, unit: Unit, tables: dict[str, pa.Table], shard: int) -> bool:
    for table, made in tables.items():
        stored = _stored(lake, now, name, unit, table)
        if stored is None:
            stored = made.slice(0, 0)
        key = "device" if "device" in made.column_names else "asset"
        mine = pc.unique(tables["emissions"][key].cast(pa.string()))
        stored = stored.filter(pc.is_in(stored[key].cast(pa.string()), mine))
        if canonical_sha256(table, stored) != canonical_sha256(table, made):
            return False
    return True


def _stored(lake: Path, now: Moment, name: str, unit: Unit, table: str) -> pa.Table | None:
    paths = [
        lake / table / path
        for path, told in sorted(now.files[table].items())
        if told.partition["factor_set"] == name
        and (known := commits_of(path)) is not None
        and unit.first <= known[0]
        and known[1] <= unit.last
    ]
    return read_files(table, paths) if paths else None


def _clean(lake: Path, now: Moment, disk: Disk) -> None:
    """Remove what a rebuild left that died before its files were offered."""
    offered: set[str] = set()
    for path in (lake / "adopt").glob("*.json") if (lake / "adopt").is_dir() else ():
        offered.update(path.read_text(encoding="utf-8").split('"'))
    for table in RESULTS:
        for path in (lake / table).glob(f"day=*/factor_set=*/{REBUILT}-*.parquet"):
            name = path.relative_to(lake / table).as_posix()
            if name not in now.files[table] and name not in offered and name not in active(lake, table):
                disk.remove(path)


def _take_up_waiting(lake: Path, disk: Disk, now_ns: Callable[[], int]) -> None:
    """Files that an earlier run has offered must stand before it can be told what is missing. Raises StorageError."""
    waiting = [f for o in offers(lake, frozenset()).values() for f in o.files if f.path not in active(lake, f.table)]
    if waiting and _take_up(lake, disk, now_ns) is None:
        raise StorageError(
            lake / "adopt", "holds results that the running consumer takes up with its next commit; then try again"
        )


def _take_up(lake: Path, disk: Disk, now_ns: Callable[[], int]) -> int | None:
    """Make the commit that takes up what is offered, where no writer runs. Gives its number, None where a writer will."""
    try:
        with Lake.open(lake, create=False, disk=disk, now_ns=now_ns) as writer:
            n, _ = writer.recover()
            line = line_of(lake / "ledger", n)
            if line is None:
                raise StorageError(lake, "nothing was ever committed")
            nothing: dict[str, Any] = {t: empty(t) for t in LANDED}
            return writer.commit(Commit(**nothing, factor_set=decode(line, lake).factor_set, state=None))
    except LakeBusyError:
        return None
