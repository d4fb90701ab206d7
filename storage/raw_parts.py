"""Raw readings as the kernels want them: numpy columns in the order in which they were taken, part by part."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from storage.errors import StorageError
from storage.schema import Columns
from storage.taken_order import stand_in_order, taken_order
from stream.fleet import Fleet
from stream.signal_rows import READ

SHARD_ROWS: Final = (
    4_000_000  # readings sorted at once: about 1 GB of columns; more are split by device, each part read by itself
)
PART_ROWS: Final = 65_536  # readings read at once: their columns are soon used again, so memory is not asked for anew
KEYS: Final = ("device", "boot_id", "seq")
ORDER: Final = (*KEYS, "received_ns")
WANTED: Final = (*KEYS, *(c for c in READ if c not in KEYS))


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Row group ``number`` of a file of readings."""

    path: Path
    metadata: pq.FileMetaData
    number: int

    @property
    def rows(self) -> int:
        """How many it has."""
        return int(self.metadata.row_group(self.number).num_rows)

    def filled(self, wanted: Sequence[str]) -> list[str]:
        """Those of ``wanted`` that the file has and that are not told to be null in all its rows."""
        found = self.metadata.row_group(self.number)
        names = self.metadata.schema.names
        here = {name: k for k, name in enumerate(names)}
        kept = []
        for name in wanted:
            if name in here:
                told = found.column(here[name]).statistics
                if told is None or not told.has_null_count or told.null_count < self.rows:
                    kept.append(name)
        return kept

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Its rows. By a handle of its own: one that several threads read from gives an error now and then."""
        with pq.ParquetFile(
            self.path, metadata=self.metadata, read_dictionary=["device"], memory_map=True, pre_buffer=False
        ) as file:
            return file.read_row_group(self.number, columns=list(columns), use_threads=False)


@dataclass(frozen=True, slots=True)
class Unit:
    """Readings of one hour of commits (or a part of it, where registry or factor set changed): ``files`` in the order of commits."""

    first: int
    last: int
    rows: int
    files: tuple[str, ...]


def shards(unit: Unit) -> int:
    """Into how many parts the devices of ``unit`` are split where its readings have to be sorted."""
    return -(-unit.rows // SHARD_ROWS)


def calls(lake: Path, unit: Unit, fleet: Fleet, *, sharded: bool = False) -> list[Callable[[], Columns]]:
    """Calls that read the parts of ``unit``, to be taken in this order.

    Parts are row groups where all rows stand in the order in which they were taken. Else, and where it is to be ``sharded``, there is one
    for each of ``shards``, read whole and sorted. The calls, and this, raise StorageError for a device that the fleet lacks.
    """
    if not sharded:
        groups = list(row_groups(lake, unit))
        if stand_in_order((_keys(group, fleet) for group in groups), len(fleet.devices)):
            return [partial(_part, part, fleet) for part in _together(groups)]
    of = shards(unit)
    cuts = _cuts(lake, unit, of) if of > 1 else []
    return [partial(_shard, lake, unit, fleet, cuts, k) for k in range(of)]


def row_groups(lake: Path, unit: Unit) -> Iterator[RowGroup]:
    """Those of all files of ``unit``, in their order."""
    for name in unit.files:
        path = lake / "readings" / name
        metadata = pq.read_metadata(path)
        for number in range(metadata.num_row_groups):
            yield RowGroup(path, metadata, number)


def _keys(group: RowGroup, fleet: Fleet) -> tuple[npt.NDArray[Any], ...]:
    """What tells the order of a row group: device number, boot, number, receive time."""
    columns = _columns(group.read(ORDER), fleet, ORDER)
    return tuple(columns[name] for name in ORDER)


def _together(groups: list[RowGroup]) -> Iterator[list[RowGroup]]:
    """Row groups in their order, as many together as make a part."""
    part: list[RowGroup] = []
    rows = 0
    for group in groups:
        part.append(group)
        rows += group.rows
        if rows >= PART_ROWS:
            yield part
            part, rows = [], 0
    if part:
        yield part


def _part(part: list[RowGroup], fleet: Fleet) -> Columns:
    return _columns(_one([group.read(group.filled(WANTED)) for group in part]), fleet)


def _one(tables: list[pa.Table]) -> pa.Table:
    """Rows behind one another as one table, each column in one piece."""
    if len(tables) == 1:
        return tables[0].unify_dictionaries().combine_chunks()
    return pa.concat_tables(tables, promote_options="default").unify_dictionaries().combine_chunks()


def _shard(lake: Path, unit: Unit, fleet: Fleet, cuts: list[str], shard: int) -> Columns:
    columns = _columns(_read(lake, unit, cuts, shard), fleet)
    order = taken_order(
        columns["device"], columns["boot_id"], columns["seq"], columns["received_ns"], len(fleet.devices)
    )
    return columns if order is None else {name: values[order] for name, values in columns.items()}


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
    tables = []
    for path in unit.files:
        full = lake / "readings" / path
        here = set(pq.read_schema(full).names)
        columns = [c for c in WANTED if c in here]
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
    return _one(tables)


def _columns(table: pa.Table, fleet: Fleet, wanted: tuple[str, ...] = WANTED) -> Columns:
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
    for name in wanted:
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
