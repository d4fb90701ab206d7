"""Which files a lake should hold, by its ledger, and which its tables name, by their logs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from storage.disk import Disk
from storage.errors import StorageError
from storage.file_names import commits_of
from storage.ledger import CHANGES, Change, FileEntry, Ledger, Record, decode, decode_as
from storage.schema import LANDED, SUMMARIES

LOOKS: Final = 50  # each takes some 20 ms, commits come a few a second
KEPT: Final = (*LANDED, *SUMMARIES)  # the last ones are made by maintenance alone, no commit lands in them


@dataclass(frozen=True, slots=True)
class Active:
    """A file that the newest version of a table names, with what its log says of it."""

    rows: int
    bytes: int
    partition: dict[str, str]


def active(lake: Path, table: str) -> dict[str, Active]:
    """Files of the newest version of ``table`` by path; none where there is no such table. Raises StorageError."""
    folder = lake / table
    if not any((folder / "_delta_log").glob("*.json")):
        return {}
    try:
        handle = DeltaTable(str(folder))
        rows = pa.table(handle.get_add_actions(flatten=True)).to_pylist()
    except (DeltaError, OSError, ValueError, KeyError) as e:
        raise StorageError(folder, f"the table log cannot be read: {' '.join(str(e).split())}") from e
    keys = [k for k in (rows[0] if rows else {}) if k.startswith("partition.")]
    return {
        unquote(row["path"]): Active(
            row["num_records"] or 0, row["size_bytes"], {k.removeprefix("partition."): str(row[k]) for k in keys}
        )
        for row in rows
    }


@dataclass(frozen=True, slots=True)
class Moment:
    """One state of a lake: its newest commit and change, and the files of each table then."""

    commit: int
    change: int
    files: dict[str, dict[str, Active]]


def moment(lake: Path, tables: Sequence[str]) -> Moment:
    """A state of ``tables`` in which no commit and no compaction is half done. Raises StorageError where no look was quiet."""
    for _ in range(LOOKS):
        before = newest_numbers(lake)
        files = {table: active(lake, table) for table in tables}
        if newest_numbers(lake) == before:
            landed = {t: {p: a for p, a in found.items() if _landed(p, before[0])} for t, found in files.items()}
            return Moment(*before, landed)
    raise StorageError(lake, f"was written to at each of {LOOKS} looks; try again")


def _landed(path: str, newest: int) -> bool:
    """Whether a file is not that of a commit whose line is still to be written."""
    known = commits_of(path)
    return known is None or known[0] <= newest


def newest_numbers(lake: Path) -> tuple[int, int]:
    """Numbers of the newest commit and the newest change, 0 for none."""
    folder = lake / "ledger"
    commits, changes = Ledger(folder, Disk()), Ledger(folder / CHANGES, Disk())
    commits.load()
    changes.load()
    return (
        decode(commits.newest, folder).n if commits.newest else 0,
        decode_as(Change, changes.newest, folder).n if changes.newest else 0,
    )


@dataclass
class Expected:
    """What the ledger says, by table: ``entries`` every file ever named, ``standing`` those that should be in the newest version."""

    entries: dict[str, dict[str, FileEntry]]
    standing: dict[str, set[str]]
    faults: list[tuple[str, str, str]]  # (table, path, what does not fit)


def expected(records: list[Record], changes: list[Change], now: dict[str, dict[str, Active]], settled: int) -> Expected:
    """Follow the changes back from the files that are there now: what remains must be what the commits landed, each file once.

    ``now`` was read before ``records``, and commit ``settled`` was the newest before that: a younger one may be missing in ``now``.
    """
    found = Expected({t: {} for t in KEPT}, {t: set() for t in KEPT}, [])
    landed: dict[str, set[str]] = {t: set() for t in KEPT}
    young: set[str] = set()
    for record in records:
        for entry in record.files:
            found.entries.setdefault(entry.table, {})[entry.path] = entry
            landed.setdefault(entry.table, set()).add(entry.path)
            if record.n > settled and entry.path not in now.get(entry.table, ()):
                young.add(entry.path)
    for change in changes:
        if change.made is not None:
            found.entries.setdefault(change.table, {})[change.made.path] = change.made
    left = {t: set(files) for t, files in now.items()}
    for change in reversed(changes):
        files = left.setdefault(change.table, set())
        if change.made is None:
            files |= set(change.removed) - set(now.get(change.table, ()))
        elif change.made.path in files:
            files.remove(change.made.path)
            for path in change.removed:
                if path in files:
                    found.faults.append((change.table, path, f"stands beside {change.made.path}, which holds its rows"))
                files.add(path)
    for table, wanted in landed.items():
        have = left.get(table, set())
        found.faults += [(table, path, "is named by the table's log, but no commit made it") for path in have - wanted]
        found.faults += [(table, path, "was committed, but the table's log does not name it") for path in wanted - have]
        found.standing[table] = set(now.get(table, ()))
    return found
