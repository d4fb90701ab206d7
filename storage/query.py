"""SQL over a lake: an in-memory DuckDB whose views read exactly the files of each table's newest Delta version.

Never a glob: it would find files of commits that did not happen and files that a compaction has replaced. The connection holds no
file of its own, reads nothing outside the lake and cannot be reconfigured.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote
from weakref import WeakKeyDictionary

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from storage.as_of import commit_time_ns, dimensions_at, files_at
from storage.delta import log_entry, mixed
from storage.disk import check_folder
from storage.disk_views import Sizes, disk_tables, disk_views, sizes
from storage.errors import LakeMissingError, StorageError
from storage.file_names import commits_of
from storage.hours import split
from storage.kpi_views import kpi_views
from storage.panel_views import panel_views
from storage.schema import DIMENSIONS, SUMMARIES
from storage.trip_views import trip_views
from storage.views import (
    MACROS,
    OPEN,
    STORED,
    Tenant,
    figure_views,
    owner_macro,
    recent_view,
    stored_schema,
    stored_view,
)

MEMORY_LIMIT: Final = "1GB"  # a query that wants more is refused; nothing spills to disk
REOPEN_AFTER: Final = 20  # versions; a handle reads every log entry since it was opened
_TRIES: Final = 5  # a log that is cleaned while it is read is read again


class QueryError(Exception):
    """SQL that is not one SELECT, or that DuckDB refuses. The text says why."""


@dataclass
class _Table:
    """What a connection knows of one table."""

    path: Path
    handle: DeltaTable | None = None
    opened_at: int = -1
    version: int = -1  # of the view; -1 = there is no table yet
    files: list[str] = field(default_factory=list)
    mixed: bool = False
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)  # day -> files, bytes

    def newer(self) -> bool:
        """Whether there is a version that the view does not show: a look at two files."""
        if log_entry(self.path, self.version + 1).exists():
            return True
        try:
            pointer = json.loads((self.path / "_delta_log" / "_last_checkpoint").read_bytes())
        except (OSError, ValueError):
            return False
        return int(pointer["version"]) > self.version

    def read(self) -> tuple[int, list[str], bool]:
        """The newest version, its files, whether some of them may lack columns. Raises DeltaError."""
        if self.handle is None or self.handle.version() - self.opened_at > REOPEN_AFTER:
            self.handle = DeltaTable(str(self.path))
            self.opened_at = self.handle.version()
        else:
            self.handle.update_incremental()
        actions = pa.table(self.handle.get_add_actions(flatten=True))
        days = (
            actions["partition.day"].to_pylist() if "partition.day" in actions.column_names else [None] * len(actions)
        )
        self.sizes = sizes(
            (None if day is None else str(day), size)
            for day, size in zip(days, actions["size_bytes"].to_pylist(), strict=True)
        )
        files = [f"{self.path}/{unquote(path)}" for path in actions["path"].to_pylist()]
        return self.handle.version(), files, mixed(self.handle, stored_schema(self.path.name).names)


@dataclass
class _Reader:
    lake: Path
    tables: dict[str, _Table] = field(default_factory=dict)
    tenant: Tenant | None = None


_READERS: WeakKeyDictionary[duckdb.DuckDBPyConnection, _Reader] = WeakKeyDictionary()


def connect(
    lake: Path,
    *,
    threads: int | None = None,
    memory_limit: str = MEMORY_LIMIT,
    tenant: Tenant | None = None,
    unnamed: str = "",
    as_of: int | None = None,
) -> duckdb.DuckDBPyConnection:
    """A connection to the lake at ``lake`` with a view for every table and every figure, as of now; ``refresh`` brings it up to date.

    With ``tenant`` every view shows that tenant's rows only; who can read files can still go round them: check the SQL of strangers.
    With ``as_of``, a commit, they show what was known at it, the registry of then included; the clock stands at its time and ``refresh``
    changes nothing. ``unnamed``: who owns what the registry gives to nobody, where all tenants' rows are shown.
    Cursors see the same views and may be used from other threads. Raises LakeMissingError where there is no lake,
    StorageError (NotKeptError) where the state at that commit cannot be read.
    """
    lake = lake.absolute()
    check_folder(lake)
    if not (lake / "readings" / "_delta_log").is_dir():
        raise LakeMissingError(lake, "there is no lake here; name the folder that the consumer writes to")
    settings: dict[str, Any] = {
        "memory_limit": memory_limit,
        "temp_directory": "",
        "python_enable_replacements": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    if threads is not None:
        settings["threads"] = threads
    con = duckdb.connect(":memory:", config=settings)
    con.execute("SET parquet_metadata_cache = true")  # files never change
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET allowed_directories = [$lake]", {"lake": f"{lake}/"})
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    reader = _Reader(lake, {name: _Table(lake / name) for name in STORED}, tenant)
    for statement in (*MACROS, owner_macro(tenant.name if tenant else unnamed)):
        con.execute(statement)
    for name in reversed(STORED):  # what belongs to whom stands in the dimension tables, which come last
        _show_files(con, name, [], mixed=False, tenant=tenant)
    _show_disk(con, lake, {}, tenant)
    for statement in (*figure_views(), *trip_views(), *kpi_views(), *panel_views(), *disk_views()):
        con.execute(statement)
    _READERS[con] = reader
    if as_of is None:
        refresh(con)
    else:
        reader.tables.clear()
        _show(con, lake, as_of, tenant)
    return con


def _show(con: duckdb.DuckDBPyConnection, lake: Path, n: int, tenant: Tenant | None) -> None:
    """Make the views show commit ``n``."""
    for name, path in dimensions_at(lake, n).items():
        _show_files(con, name, [str(lake / name / path)], mixed=True, tenant=tenant)
    for name, paths in files_at(lake, n).items():
        files = [str(lake / name / path) for path in paths]
        _show_files(con, name, files, mixed=_is_mixed(lake / name), tenant=tenant)
        for shown in (OPEN[summary] for summary, source in SUMMARIES.items() if source == name):
            con.execute(stored_view(name, files, mixed=_is_mixed(lake / name), tenant=tenant, name=shown))
    con.execute(f"SET VARIABLE now_ns = {commit_time_ns(lake, n)}")


def _show_files(
    con: duckdb.DuckDBPyConnection, name: str, files: list[str], *, mixed: bool, tenant: Tenant | None
) -> None:
    """Make the view of a stored table read ``files``. The registry is small and asked by every other view: it is held in memory."""
    made = stored_view(name, files, mixed=mixed, tenant=tenant)
    con.execute(made.replace("CREATE OR REPLACE VIEW", "CREATE OR REPLACE TABLE", 1) if name in DIMENSIONS else made)
    for shown in (OPEN[summary] for summary, source in SUMMARIES.items() if source == name and not files):
        con.execute(stored_view(name, [], tenant=tenant, name=shown))
    if name == "rollups":
        now_ns = con.execute("SELECT now_ns()").fetchall()[0][0]
        con.execute(recent_view(files, now_ns, mixed=mixed, tenant=tenant))


def _show_disk(con: duckdb.DuckDBPyConnection, lake: Path, told: Sizes, tenant: Tenant | None) -> None:
    """Make the tables of the disk say what is known now. It is the operator's: a tenant who is not sees no row."""
    shown = tenant is None or tenant.owns_unnamed
    for statement in disk_tables(lake, told, time.time_ns(), shown=shown):
        con.execute(statement)


def _is_mixed(path: Path) -> bool:
    return (path / "_delta_log").is_dir() and mixed(DeltaTable(str(path)), stored_schema(path.name).names)


def refresh(con: duckdb.DuckDBPyConnection) -> bool:
    """Bring the views of a connection made by ``connect`` up to the newest versions. True if any changed.

    Costs two looks at the disk per table when nothing is new. Raises StorageError for a log that cannot be read.
    """
    tables = _READERS[con].tables
    found = {name: _read(table) for name, table in tables.items() if table.newer()}
    if not found:
        return False
    con.execute("BEGIN")
    try:
        for name, (_, files, mixed_columns) in found.items():
            _show_files(con, name, files, mixed=mixed_columns, tenant=_READERS[con].tenant)
        for summary, source in SUMMARIES.items():
            if not {source, summary}.isdisjoint(found):
                _show_summary(con, summary, found)
        _show_disk(con, _READERS[con].lake, {name: table.sizes for name, table in tables.items()}, _READERS[con].tenant)
        con.execute("COMMIT")
    except (duckdb.Error, OSError) as e:
        con.execute("ROLLBACK")
        raise StorageError(_READERS[con].lake, f"a file of the newest version cannot be read: {e}") from e
    for name, (version, files, mixed_columns) in found.items():
        tables[name].version, tables[name].files, tables[name].mixed = version, files, mixed_columns
    return True


def shows(con: duckdb.DuckDBPyConnection, table: str, n: int) -> bool:
    """Whether the view of ``table`` holds the rows that commit ``n`` brought to it: tables take up a commit one after another."""
    ranges = (commits_of(path) for path in _READERS[con].tables[table].files)
    return any(found is not None and found[0] <= n <= found[1] for found in ranges)


def _show_summary(con: duckdb.DuckDBPyConnection, summary: str, found: dict[str, tuple[int, list[str], bool]]) -> None:
    """The files of a summary that count, and the rows of its source beside them."""
    reader, source = _READERS[con], SUMMARIES[summary]
    now = {
        t: found[t][1:] if t in found else (reader.tables[t].files, reader.tables[t].mixed) for t in (source, summary)
    }
    sums, left = split(now[source][0], now[summary][0])
    con.execute(stored_view(summary, sums, mixed=now[summary][1], tenant=reader.tenant))
    con.execute(stored_view(source, left, mixed=now[source][1], tenant=reader.tenant, name=OPEN[summary]))


def _read(table: _Table) -> tuple[int, list[str], bool]:
    for _ in range(_TRIES - 1):
        try:
            return table.read()
        except DeltaError:
            table.handle = None
    try:
        return table.read()
    except DeltaError as e:
        raise StorageError(table.path, f"the table log cannot be read: {e}") from e


def select(con: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyConnection:
    """Run one SELECT (WITH, FROM, DESCRIBE, SHOW and SUMMARIZE count as such) and return the connection with its result.

    Raises QueryError for anything else: what writes must not pass, and a lake's folder is open to COPY.
    """
    try:
        statements = con.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            kinds = ", ".join(s.type.name for s in statements) or "nothing"
            raise QueryError(f"only one SELECT is answered, this is: {kinds}")
        return con.execute(statements[0])
    except duckdb.Error as e:
        raise QueryError(str(e)) from e
