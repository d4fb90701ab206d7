"""A tenant's view of the lake: one DuckDB of its own with a memory limit of its own, and the connections that run queries."""

import os
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import duckdb

from dashboards.sql import catalog, encode, types
from dashboards.sql.check import Plan, Relation
from dashboards.sql.errors import CANCELLED, LAKE, TOO_LARGE, SqlError, of_duckdb
from dashboards.sql.protocol import Field
from storage.dependencies import VIEWS, stored_behind
from storage.errors import StorageError
from storage.query import connect, refresh
from storage.schema import DAY_OF
from storage.views import STORED, Tenant

BATCH_ROWS: Final = 10_000  # rows that are encoded at once
REFRESH_S: Final = 0.1  # a commit is looked for this often at most: 0.2 ms without one, some 6 ms with one
_NANOSECONDS: Final = (
    "minute_ns",
    "hour_ns",
    "time_ns",
    "received_ns",
)  # what ``time`` shows: the first of these that a view has


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one query's result."""

    rows: int
    size: int  # bytes as sent


@dataclass(frozen=True, slots=True)
class Result:
    """An answer: its columns, and DataRow messages in pieces."""

    fields: tuple[Field, ...]
    pieces: tuple[bytes, ...]
    rows: int

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self.pieces))


@dataclass
class Job:
    """One run of a query, which another thread may stop: ``why`` is what the client is told then."""

    why: SqlError | None = None
    started: float = 0.0
    _cursor: duckdb.DuckDBPyConnection | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stop(self, why: SqlError) -> None:
        """End the run; again and again until it has ended, as an interrupt between two steps is lost."""
        with self._lock:
            self.why = self.why or why
            if self._cursor is not None:
                self._cursor.interrupt()

    def runs_on(self, cursor: duckdb.DuckDBPyConnection | None) -> None:
        """Say which connection it runs on; None when it is done."""
        with self._lock:
            self._cursor = cursor
        if cursor is not None:
            self.check()

    def check(self) -> None:
        """Raise what ``stop`` was given."""
        if self.why is not None:
            raise self.why


class Store:
    """Opened by ``open_store``."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, relations: Mapping[tuple[str, str], Relation], cursors: int
    ) -> None:
        self.relations = relations
        self.column_types = {
            column: kind
            for (schema, _), r in relations.items()
            if schema == "public"
            for column, kind in r.columns.items()
        }
        self._looked = dict.fromkeys(STORED, time.monotonic())  # when the newest version of each table was looked for
        self._con = con
        self._cursors: queue.SimpleQueue[duckdb.DuckDBPyConnection] = queue.SimpleQueue()
        for _ in range(cursors):
            self._cursors.put(con.cursor())

    def age_s(self, reads: frozenset[str]) -> float:
        """Seconds since the newest commit was looked for in all that these tables and views show."""
        return time.monotonic() - min(self._looked[table] for table in stored_behind(reads))

    def look(self, reads: frozenset[str]) -> None:
        """Bring what these tables and views show up to the newest commit. One thread at a time. Raises SqlError."""
        tables, now = stored_behind(reads), time.monotonic()
        try:
            refresh(self._con, tables)
        except StorageError as error:
            raise SqlError(LAKE, "the lake cannot be read now; the server's log says more") from error
        self._looked |= dict.fromkeys(tables, now)

    def run(self, plan: Plan, values: Sequence[Any], formats: Sequence[int], limits: Limits, job: Job) -> Result:
        """Answer ``plan``. ``formats`` as in Bind. Raises SqlError."""
        cursor = self._cursors.get()
        try:
            job.runs_on(cursor)
            relation = cursor.sql(plan.sql, params=list(values) if values else None)
            fields = _fields(plan, relation)
            forms = spread(formats, len(fields))
            reader = relation.to_arrow_reader(BATCH_ROWS)
            del relation
            try:
                return _read(reader, fields, forms, limits, job)
            finally:
                reader.close()
        except duckdb.Error as error:
            failure = job.why or of_duckdb(error)
        finally:
            job.runs_on(None)
            self._cursors.put(cursor)
        raise failure  # from outside of the handler: its traceback would keep what the query held

    def describe(self, plan: Plan) -> tuple[Field, ...]:
        """The columns that ``plan`` would give. Raises SqlError."""
        cursor = self._cursors.get()
        try:
            return _fields(plan, cursor.sql(plan.sql, params=[None] * len(plan.parameters) or None))
        except duckdb.Error as error:
            raise of_duckdb(error) from error
        finally:
            self._cursors.put(cursor)


def _fields(plan: Plan, relation: Any) -> tuple[Field, ...]:
    names = relation.columns if plan.names is None or len(plan.names) != len(relation.columns) else plan.names
    return tuple(types.field(name, str(kind)) for name, kind in zip(names, relation.types, strict=True))


def _read(reader: Any, fields: Sequence[Field], forms: Sequence[int], limits: Limits, job: Job) -> Result:
    pieces: list[bytes] = []
    rows = size = 0
    oids = [f.oid for f in fields]
    for batch in reader:
        job.check()
        rows += batch.num_rows
        if rows > limits.rows:
            raise SqlError(TOO_LARGE, f"more than {limits.rows} rows", hint="ask for a shorter time, a sum, or LIMIT")
        if batch.num_rows:
            pieces.append(encode.data_rows(batch, oids, forms))
            size += len(pieces[-1])
        if size > limits.size:
            raise SqlError(TOO_LARGE, f"more than {limits.size / 1e6:.0f} MB", hint="ask for fewer columns or rows")
    job.check()
    return Result(tuple(fields), tuple(pieces), rows)


def spread(formats: Sequence[int], n: int) -> tuple[int, ...]:
    """Format codes as in Bind, one for each of ``n`` columns. Raises SqlError for another number of them."""
    if len(formats) == n:
        return tuple(formats)
    if len(formats) > 1:
        raise SqlError("08P01", f"{len(formats)} formats for {n} columns")
    return (formats[0] if formats else 0,) * n


def open_store(
    lake: Path,
    tenant: Tenant | None,
    *,
    unnamed: str = "",
    database: str,
    memory_mb: int,
    threads: int,
    cursors: int,
    settings: Mapping[str, str],
) -> Store:
    """Connect to ``lake`` for ``tenant`` (None = all; ``unnamed`` owns what is nobody's). Raises StorageError."""
    con = connect(
        lake, threads=threads or os.cpu_count(), memory_limit=f"{memory_mb}MB", tenant=tenant, unnamed=unnamed
    )
    tables, views = ([_relation(con, name) for name in names] for names in (STORED, VIEWS))
    relations = catalog.install(con, database, tables, views, settings)
    return Store(con, relations, cursors)


def _relation(con: duckdb.DuckDBPyConnection, name: str) -> Relation:
    columns = {str(row[0]): str(row[1]) for row in con.execute(f"DESCRIBE {name}").fetchall()}
    nanoseconds = next((c for c in _NANOSECONDS if c in columns), "") if "time" in columns else ""
    by_day = "day" in columns and nanoseconds == DAY_OF.get(name, nanoseconds)
    return Relation("main", name, columns, nanoseconds, by_day)


CANCELLED_BY_USER: Final = SqlError(CANCELLED, "canceling statement due to user request")
