"""What was known at a commit: the files of each table then, and the registry in force.

Files are never merged across the end of an hour, so the state at the end of every hour can be read for ever. The state at any
other commit can be read as long as the files that were merged since are kept (``KEEP_HOURS`` of ``storage.compact``, or longer).
A factor set whose results were made anew later is there at the ends of hours only; at other commits none of its rows are shown.
"""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

from storage.errors import StorageError
from storage.file_names import REBUILT, commits_of
from storage.inventory import Moment, moment
from storage.ledger import CHANGES, Change, Record, decode, decode_as, line_of, lines
from storage.proof import commit_at
from storage.roots import roots
from storage.schema import LANDED


class NotKeptError(StorageError):
    """The state at that commit cannot be read any more. ``before`` and ``after`` are the nearest commits at which it can."""

    def __init__(self, path: Path, n: int, before: int, after: int) -> None:
        super().__init__(
            path,
            f"holds rows of commits {before + 1} to {after} in one file, and those it was made of are gone: what was known at"
            f" commit {n} cannot be told apart; as of commit {before} or {after} it can",
        )
        self.before = before
        self.after = after


def commit_of(lake: Path, text: str) -> int:
    """The commit that ``text`` means: its number, or the newest one before a UTC time such as 2026-11-22 or 2026-11-22T10:30.

    Raises ValueError for text that is neither, StorageError where there was no commit yet.
    """
    if text.isdigit():
        n = int(text)
        if n and line_of(lake / "ledger", n) is None:
            raise StorageError(lake / "ledger", f"there is no commit {n}")
    else:
        when = datetime.datetime.fromisoformat(text)
        when = when if when.tzinfo else when.replace(tzinfo=datetime.UTC)
        n = commit_at(lake, round(when.timestamp()) * 1_000_000_000)
    if not n:
        raise StorageError(lake, f"nothing was committed before {text}")
    return n


def commit_time_ns(lake: Path, n: int) -> int:
    """When commit ``n`` was made, by the server's clock. Raises StorageError where there is none."""
    line = line_of(lake / "ledger", n)
    if line is None:
        raise StorageError(lake / "ledger", f"there is no commit {n}")
    return decode(line, lake / "ledger").time_ns


def files_at(lake: Path, n: int, tables: Sequence[str] = LANDED) -> dict[str, list[str]]:
    """Paths of each table's files as of commit ``n``. Raises NotKeptError, StorageError."""
    return at(lake, n, moment(lake, tables))


def at(lake: Path, n: int, now: Moment) -> dict[str, list[str]]:
    """As ``files_at``, from a state that was looked at already."""
    hidden: set[str] = set()
    kept = {table: _files(lake, table, n, found, hidden) for table, found in now.files.items()}
    if not hidden:
        return kept
    return {
        table: [path for path in paths if not hidden.intersection(path.split("/"))] for table, paths in kept.items()
    }


def _files(lake: Path, table: str, n: int, found: Mapping[str, object], hidden: set[str]) -> list[str]:
    """Files of one table. Partitions (``factor_set=...``) that were made anew with commits up to ``n`` and later ones go to ``hidden``."""
    keep: list[str] = []
    open_ones = list(found)
    changes: dict[str, Change] | None = None
    while open_ones:
        path = open_ones.pop()
        known = commits_of(path)
        if known is None:
            raise StorageError(lake / table / path, "does not say which commits it holds: merged by an older program")
        first, last = known
        if last <= n:
            keep.append(path)
        elif first <= n and path.rpartition("/")[2].startswith(REBUILT):
            hidden.update(part for part in path.split("/") if part.startswith("factor_set="))
        elif first <= n:
            changes = _merges(lake) if changes is None else changes
            change = changes.get(path)
            if change is None or not all((lake / table / removed).exists() for removed in change.removed):
                raise NotKeptError(lake / table / path, n, first - 1, last)
            open_ones += change.removed
    return sorted(keep)


def _merges(lake: Path) -> dict[str, Change]:
    """Changes by the path of the file they made."""
    folder = lake / "ledger" / CHANGES
    found = (decode_as(Change, line, path) for path, line in lines(folder))
    return {change.made.path: change for change in found if change.made is not None}


def dimensions_at(lake: Path, n: int) -> dict[str, str]:
    """File of each dimension table that was in force at commit ``n``; empty where no commit up to it has named any."""
    found: dict[str, str] = {}
    first = 1
    for root, _ in roots(lake):
        if root.last > n:
            break
        found, first = root.dimensions, root.last + 1
    for path, line in lines(lake / "ledger", first):
        record: Record = decode(line, path)
        if record.n > n:
            break
        found = record.dimensions or found
    return found
