"""Results made anew as files: of one hour of commits each, named by nothing yet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from storage.disk import Disk
from storage.file_names import REBUILT, new_name
from storage.landing import partition_folder, write_content, write_table
from storage.ledger import FileEntry
from storage.parquet import Growing
from storage.schema import LANDED, PARTITIONS, Columns, days, empty, names_of, to_arrow
from stream.fleet import Fleet
from stream.pipeline import Results

RESULTS: Final = tuple(t for t in LANDED if "factor_set" in PARTITIONS[t])
PER_READING: Final = "emissions"  # the table with as many rows as readings


def tables_of(fleet: Fleet, found: Sequence[Results]) -> dict[str, pa.Table]:
    """Results as tables by name."""
    names = names_of(fleet)
    return {
        t: to_arrow(t, _joined([getattr(results, t) for results in found]), names) if found else empty(t)
        for t in RESULTS
    }


def _joined(parts: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class ResultFiles:
    """Results for ``fleet`` of commits ``first`` to ``last`` under factor set ``name``, from one thread at a time.

    The rows of ``PER_READING`` are encoded as they come, so that memory holds them in their files' size; the few of the other tables wait.
    """

    def __init__(self, lake: Path, disk: Disk, name: str, fleet: Fleet, first: int, last: int) -> None:
        self._lake = lake
        self._disk = disk
        self._name = name
        self._names = names_of(fleet)
        self._commits = (first, last)
        self._growing: dict[str, Growing] = {}
        self._few: dict[str, list[Columns]] = {table: [] for table in RESULTS if table != PER_READING}

    def add(self, results: Results) -> None:
        """Take what one step made."""
        for day, rows in days(PER_READING, to_arrow(PER_READING, getattr(results, PER_READING), self._names)):
            if day not in self._growing:
                self._growing[day] = Growing(PER_READING, rows.schema)
            self._growing[day].add(rows)
        for table, parts in self._few.items():
            parts.append(getattr(results, table))

    def close(self, entries: list[FileEntry]) -> None:
        """Write the files into their tables' folders, synced, and add them to ``entries``. Raises StorageError."""
        tmp = self._lake / "tmp-rebuild"
        self._disk.make_dir(tmp)
        for day, growing in sorted(self._growing.items()):
            partition, file = self._place(PER_READING, day)
            content, rows, ranges = growing.finish()
            path = self._lake / PER_READING
            entries.append(write_content(self._disk, tmp, path, file, partition, content, rows, ranges))
            self._disk.sync(path / partition_folder(partition))
        for table, parts in self._few.items():
            for day, found in days(table, to_arrow(table, _joined(parts), self._names) if parts else empty(table)):
                partition, file = self._place(table, day)
                entries.append(write_table(self._disk, tmp, self._lake / table, file, partition, found))
                self._disk.sync(self._lake / table / partition_folder(partition))

    def _place(self, table: str, day: str) -> tuple[dict[str, str], str]:
        partition = {k: {"day": day, "factor_set": self._name}[k] for k in PARTITIONS[table]}
        self._disk.make_dir(self._lake / table / partition_folder(partition))
        return partition, new_name(REBUILT, *self._commits)
