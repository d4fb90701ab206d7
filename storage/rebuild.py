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
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from storage.adoption import offer, offers
from storage.as_of import dimensions_at
from storage.compact import read_files, summed
from storage.delta import DELTA_FAULTS
from storage.disk import Disk, fault, lock
from storage.errors import LakeBusyError, StorageError
from storage.factor_files import class_table, factor_set
from storage.file_names import REBUILT, commits_of, new_name
from storage.inventory import Moment, active, moment, newest_numbers
from storage.lake import Commit, Lake
from storage.landing import partition_folder, write_table
from storage.ledger import FileEntry, decode, line_of
from storage.progress import Step, silent
from storage.registry_read import fleet_of
from storage.roots import epochs
from storage.schema import LANDED, PARTITIONS, Columns, Names, days, empty, to_arrow
from storage.taken_order import taken_order
from stream.advance import READ
from stream.fleet import Fleet
from stream.pipeline import Results, State, retake, start

RESULTS: Final = tuple(t for t in LANDED if "factor_set" in PARTITIONS[t])
SHARD_ROWS: Final = (
    4_000_000  # readings read at once: about 1 GB of columns; more are split by device, each part read by itself
)
CHUNK_ROWS: Final = 65_536  # readings computed at once: their results fit into the processor's cache
AHEAD: Final = 2  # hours read, or results not yet written, beside the one that is computed
CUTS: Final = 5
KEYS: Final = ("device", "boot_id", "seq")


@dataclass(frozen=True, slots=True)
class Unit:
    """Readings of one hour of commits (or a part of it, where registry or factor set changed): ``files`` in the order of commits."""

    first: int
    last: int
    rows: int
    files: tuple[str, ...]


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
    factors, classes = factor_set(name), class_table()
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
        state: State | None = None
        in_force: dict[str, str] = {}
        with ThreadPoolExecutor(3, thread_name_prefix="rebuild") as pool:
            writing: deque[Future[list[FileEntry]]] = deque()
            for i, (unit, shard, table) in _ahead(lake, pool, todo[:end]):
                dimensions = dimensions_at(lake, unit.first)
                if state is None or dimensions != in_force:
                    fleet = fleet_of(lake, dimensions, factors, classes)
                    state = start(fleet, state.to_bytes() if state else ())
                    in_force = dimensions
                state, found = _take(state, table)
                done.readings += table.num_rows
                step("rebuild", done.readings, total)
                if wanted[i] and have[i] < unit.rows:
                    writing.append(pool.submit(partial(_write, lake, disk, name, unit, state.fleet, found)))
                    done.made += shard == 0
                elif wanted[i]:
                    fits = _same(lake, now, name, unit, _tables(state.fleet, found), shard)
                    done.same += fits
                    if not fits:
                        done.other.append(f"commits {unit.first} to {unit.last}")
                while len(writing) > AHEAD:
                    done.files += writing.popleft().result()
            for left in writing:
                done.files += left.result()
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
    lake: Path, pool: ThreadPoolExecutor, todo: Sequence[Unit]
) -> Iterator[tuple[int, tuple[Unit, int, pa.Table]]]:
    """Readings of all units in order, split by device where there are many; the next ones are read meanwhile."""
    jobs = [(i, unit, shard, of) for i, unit in enumerate(todo) for of in (_shards(unit),) for shard in range(of)]
    reading: deque[tuple[int, Unit, int, Future[pa.Table]]] = deque()
    left = iter(jobs)
    cuts: dict[int, list[str]] = {}

    def more() -> None:
        if (job := next(left, None)) is not None:
            i, unit, shard, of = job
            if of > 1 and i not in cuts:
                cuts.clear()
                cuts[i] = _cuts(lake, unit, of)
            reading.append((i, unit, shard, pool.submit(_read, lake, unit, cuts.get(i, []), shard)))

    for _ in range(AHEAD):
        more()
    while reading:
        i, unit, shard, future = reading.popleft()
        table = future.result()
        more()
        yield i, (unit, shard, table)


def _shards(unit: Unit) -> int:
    return -(-unit.rows // SHARD_ROWS)


def _cuts(lake: Path, unit: Unit, of: int) -> list[str]:
    """Device names that begin a shard each, from the second on."""
    devices: set[str] = set()
    for path in unit.files:
        column = pq.read_table(
            lake / "readings" / path, columns=["device"], partitioning=None, read_dictionary=["device"]
        )
        for chunk in column["device"].chunks:
            devices.update(chunk.dictionary.to_pylist())
    names = sorted(devices)
    return [names[len(names) * k // of] for k in range(1, of)]


def _read(lake: Path, unit: Unit, cuts: list[str], shard: int) -> pa.Table:
    """The readings' columns that the kernels need; of one shard of the devices where there are ``cuts``."""
    wanted = [*KEYS, *(c for c in READ if c not in KEYS)]
    tables = []
    for path in unit.files:
        full = lake / "readings" / path
        here = set(pq.read_schema(full).names)
        columns = [c for c in wanted if c in here]
        if not cuts:
            tables.append(pq.read_table(full, columns=columns, partitioning=None, read_dictionary=["device"]))
            continue
        form = ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(dictionary_columns=["device"]))
        keep = pc.scalar(True)
        if shard > 0:
            keep &= pc.field("device") >= cuts[shard - 1]
        if shard < len(cuts):
            keep &= pc.field("device") < cuts[shard]
        tables.append(ds.dataset(full, format=form).to_table(columns=columns, filter=keep))
    return pa.concat_tables(tables, promote_options="default").unify_dictionaries().combine_chunks()


def _columns(table: pa.Table, fleet: Fleet) -> Columns:
    """numpy columns of stored readings: device numbers of ``fleet``, NaN where a value is null.

    Raises StorageError for a device that the fleet lacks.
    """
    n = table.num_rows
    device = (
        table["device"].chunk(0)
        if n
        else pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], pa.string()))
    )
    names = device.dictionary.to_pylist()
    codes = np.array([fleet.device_index.get(d, -1) for d in names], np.int32)
    taken = codes[device.indices.to_numpy()] if n else np.empty(0, np.int32)
    if n and taken.min() < 0:
        lost = names[int(np.flatnonzero(codes < 0)[0])]
        raise StorageError(Path("readings"), f"device {lost} is not in the registry that was in force")
    nobody = np.full(n, np.nan)
    columns: Columns = {"device": taken}
    for name in (*KEYS[1:], *READ):
        if name not in columns:
            columns[name] = nobody if name not in table.column_names else _values(table[name], nobody)
    return columns


def _values(column: pa.ChunkedArray, nobody: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    if not len(column):
        return nobody if pa.types.is_floating(column.type) else np.empty(0, np.int64)
    if column.null_count == len(column):
        return nobody
    found: npt.NDArray[Any] = column.chunk(0).to_numpy(zero_copy_only=False)
    return found


def _take(state: State, table: pa.Table) -> tuple[State, list[Results]]:
    """The next state, and results of stored readings, part by part."""
    columns = _columns(table, state.fleet)
    order = taken_order(
        columns["device"], columns["boot_id"], columns["seq"], columns["received_ns"], len(state.fleet.devices)
    )
    if order is not None:
        columns = {name: values[order] for name, values in columns.items()}
    found: list[Results] = []
    for start_row in range(0, table.num_rows, CHUNK_ROWS):
        chunk = {name: values[start_row : start_row + CHUNK_ROWS] for name, values in columns.items()}
        state, results = retake(state, chunk)
        state = state.settled()
        found.append(results)
    return state, found


def _tables(fleet: Fleet, found: Sequence[Results]) -> dict[str, pa.Table]:
    """Results as tables by name."""
    names = Names(
        device=fleet.devices,
        asset=fleet.assets,
        route=fleet.route_names,
        place=fleet.place_names,
        region=fleet.region_names,
    )
    made = {}
    for table in RESULTS:
        parts = [to_arrow(table, getattr(results, table), names) for results in found]
        made[table] = (
            pa.concat_tables(parts, promote_options="permissive").unify_dictionaries() if parts else empty(table)
        )
    return made


def _write(lake: Path, disk: Disk, name: str, unit: Unit, fleet: Fleet, found: Sequence[Results]) -> list[FileEntry]:
    """Write results into their tables' folders, synced, named by nothing yet."""
    tmp = lake / "tmp-rebuild"
    disk.make_dir(tmp)
    entries = []
    for table, whole in _tables(fleet, found).items():
        for day, rows in days(table, whole):
            partition = {k: {"day": day, "factor_set": name}[k] for k in PARTITIONS[table]}
            folder = lake / table / partition_folder(partition)
            disk.make_dir(folder)
            file = new_name(REBUILT, unit.first, unit.last)
            entries.append(write_table(disk, tmp, lake / table, file, partition, rows))
            disk.sync(folder)
    return entries


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
    if _shards(unit) > 1:
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
