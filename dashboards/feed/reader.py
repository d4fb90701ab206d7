"""The lake as the feed reads it: one DuckDB, few queries at once, each with a time limit, and the newest commit's number."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import duckdb
import msgspec

from dashboards.feed.problem import ProblemError
from storage.ledger import TAIL_BYTES, decode, digest, segments_of
from storage.query import connect, refresh, shows

T = TypeVar("T")

WORKERS: Final = 2  # queries at once: more would share the same two cores and each be slower
WAITING: Final = 64  # queries that may wait for a worker; beyond that the answer is 503 at once
TIME_LIMIT_S: Final = 20.0
TAIL_STEP: Final = 1 << 16  # bytes of the ledger read at first; a commit's line is about 1 kB

Row = dict[str, Any]


class CommitMark(msgspec.Struct, frozen=True):
    """A commit as the feed names it: its number, time, and the hash of its ledger line."""

    n: int
    time_ns: int
    sha256: str
    rows: Mapping[str, int]


class _Number(msgspec.Struct):
    n: int


def _mark(line: bytes, path: Path) -> CommitMark:
    record = decode(line, path)
    rows: dict[str, int] = {}
    for file in record.files:
        rows[file.table] = rows.get(file.table, 0) + file.rows
    return CommitMark(record.n, record.time_ns, digest(line), rows)


def newest_commit(lake: Path) -> CommitMark | None:
    """The last whole line of the ledger; None in a lake without commits. Raises StorageError."""
    for path in reversed(segments_of(lake / "ledger")):
        size = path.stat().st_size
        step = TAIL_STEP
        with path.open("rb") as file:
            while step <= 2 * TAIL_BYTES:
                file.seek(max(0, size - step))
                tail = file.read(step)
                end = tail.rfind(b"\n")
                start = tail.rfind(b"\n", 0, max(end, 0))
                if end > 0 and (start >= 0 or step >= size):
                    return _mark(tail[start + 1 : end], path)
                if step >= size:
                    break
                step *= 4
    return None


def commits_between(lake: Path, after: int, until: int) -> Iterator[CommitMark]:
    """Commits with ``after`` < n <= ``until``, oldest first, from the ledger. Raises StorageError."""
    for path in segments_of(lake / "ledger"):
        if int(path.stem) > until:
            return
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break  # torn by a crash, or being written
                number = msgspec.json.decode(line, type=_Number).n
                if after < number <= until:
                    yield _mark(line[:-1], path)
                if number >= until:
                    return


class Reader:
    """Questions to one lake, as of now or as of a commit. ``own_tenant`` owns vehicles whose registry row names no tenant."""

    def __init__(
        self, lake: Path, own_tenant: str, now_ns: Callable[[], int] = time.time_ns, *, as_of: int | None = None
    ) -> None:
        self.lake, self.own_tenant, self.now_ns, self._as_of = lake, own_tenant, now_ns, as_of
        self._con = connect(lake, threads=WORKERS, as_of=as_of)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="feed")
        self._waiting = 0
        self._newest: CommitMark | None = None
        self._refreshing = threading.Lock()
        self.refresh()

    def close(self) -> None:
        """End what runs and let go of the lake."""
        self._con.interrupt()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._con.close()

    def refresh(self) -> bool:
        """Look for new commits; True if there are. Raises StorageError."""
        with self._refreshing:
            n = self._as_of
            newest = newest_commit(self.lake) if n is None else next(commits_between(self.lake, n - 1, n), None)
            refresh(self._con)
            if newest == self._newest or (n is None and newest is not None and not self._shown(newest)):
                return False
            self._newest = newest
            return True

    def _shown(self, mark: CommitMark) -> bool:
        """Whether the views hold all that the commit brought: its line in the ledger comes before its results."""
        return all(shows(self._con, table, mark.n) for table in ("rollups", "trips") if mark.rows.get(table))

    @property
    def newest(self) -> CommitMark | None:
        """The newest commit that the views show."""
        return self._newest

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own over the same views."""
        return self._con.cursor()

    async def run(self, call: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """``call`` in a worker with a cursor of its own, ended after ``TIME_LIMIT_S``. Raises ProblemError 503."""
        if self._waiting >= WAITING:
            raise ProblemError(503, "too many questions at once; ask again in a moment", headers={"Retry-After": "2"})
        self._waiting += 1
        cursor = self.cursor()
        try:
            future = asyncio.get_running_loop().run_in_executor(self._pool, call, cursor)
            try:
                return await asyncio.wait_for(asyncio.shield(future), TIME_LIMIT_S)
            except TimeoutError:
                cursor.interrupt()
                raise ProblemError(
                    503, f"the answer takes longer than {TIME_LIMIT_S:g} s; ask for a shorter period"
                ) from None
        finally:
            self._waiting -= 1


def query(cursor: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
    """Rows of one query as dicts."""
    found = cursor.execute(sql, dict(parameters or {}))
    names = [str(d[0]) for d in found.description or []]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
