"""Which files the newest version of a table names, for readers: new log entries are read as they come, else the whole log.

Reading an entry takes 0.1 ms; delta-rs takes 10 ms to take up one entry in a table of 700 files.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import msgspec
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from storage.delta import log_entry, mixed
from storage.errors import StorageError

_TRIES: Final = 5  # a log that is cleaned while it is read is read again


@dataclass(frozen=True, slots=True)
class File:
    """``day``: of its partition, blank where the table has none. ``rows`` is None where the log does not say."""

    day: str
    bytes: int
    rows: int | None


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a table: its files by whole path. ``mixed``: some may lack columns. Number -1: there is no table yet."""

    number: int
    files: dict[str, File]
    mixed: bool


NONE: Final = Version(-1, {}, False)


def is_newer(table: Path, number: int) -> bool:
    """Whether the table at ``table`` has a version after ``number``: a look at two files."""
    if log_entry(table, number + 1).exists():
        return True
    try:
        pointer = json.loads((table / "_delta_log" / "_last_checkpoint").read_bytes())
    except (OSError, ValueError):
        return False
    return int(pointer["version"]) > number


def newest(table: Path, known: Version, columns: list[str]) -> Version:
    """The newest version of the table at ``table``, of which ``known`` was read before. ``columns``: of its schema. Raises StorageError."""
    followed = _followed(table, known) if known.number >= 0 else None
    if followed is not None:
        return followed
    for _ in range(_TRIES - 1):
        try:
            return _whole(table, columns)
        except DeltaError:
            continue
    try:
        return _whole(table, columns)
    except DeltaError as e:
        raise StorageError(table, f"the table log cannot be read: {e}") from e


def _whole(table: Path, columns: list[str]) -> Version:
    handle = DeltaTable(str(table))
    actions = pa.table(handle.get_add_actions(flatten=True))
    days = actions["partition.day"].to_pylist() if "partition.day" in actions.column_names else [None] * len(actions)
    told = zip(
        actions["path"].to_pylist(),
        days,
        actions["size_bytes"].to_pylist(),
        actions["num_records"].to_pylist(),
        strict=True,
    )
    files = {f"{table}/{unquote(path)}": File(str(day or ""), size, rows) for path, day, size, rows in told}
    return Version(handle.version(), files, mixed(handle, columns))


def _followed(table: Path, known: Version) -> Version | None:
    """``known`` with the entries after it. None where they do not tell all: gone, half written, or about more than files."""
    files, number = dict(known.files), known.number
    try:
        while (entry := log_entry(table, number + 1)).exists():
            for line in entry.read_bytes().splitlines():
                if not _take(files, table, msgspec.json.decode(line)):
                    return None
            number += 1
    except (OSError, ValueError, KeyError, TypeError, msgspec.MsgspecError):
        return None
    return Version(number, files, known.mixed) if number > known.number else None


def _take(files: dict[str, File], table: Path, action: dict[str, Any]) -> bool:
    if (add := action.get("add")) is not None:
        rows = msgspec.json.decode(add["stats"]).get("numRecords") if add.get("stats") else None
        files[f"{table}/{unquote(add['path'])}"] = File(add["partitionValues"].get("day") or "", add["size"], rows)
    elif (remove := action.get("remove")) is not None:
        files.pop(f"{table}/{unquote(remove['path'])}", None)
    else:
        return not action.keys() & {"metaData", "protocol"}
    return True
