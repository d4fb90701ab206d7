"""SQL over a lake: an in-memory DuckDB whose views read exactly the files of each table's newest Delta version.

Never a glob: it would find files of commits that did not happen and files that a compaction has replaced. The connection holds no
file of its own, reads nothing outside the lake and cannot be reconfigured. Of tables that live panels ask all the time it holds the
rows of commits since the views were made: such a commit makes no view anew, and no small file is opened by each query.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import duckdb
from deltalake import DeltaTable

from storage.as_of import commit_time_ns, dimensions_at, files_at
from storage.delta import mixed
from storage.disk import check_folder
from storage.disk_views import Sizes, disk_tables, disk_views, sizes
from storage.errors import LakeMissingError, StorageError
from storage.file_names import commits_of
from storage.gateway_views import gateway_views
from storage.hours import split, stays_beside
from storage.kpi_views import kpi_views
from storage.now_views import now_views
from storage.panel_views import panel_views
from storage.schema import DIMENSIONS, SUMMARIES
from storage.table_log import NONE, Version, is_newer, newest
from storage.trip_views import trip_views
from storage.views import (
    FRESH,
    MACROS,
    OPEN,
    STORED,
    Tenant,
    figure_views,
    no_fresh_rows,
    owner_macro,
    recent_view,
    stored_schema,
    stored_view,
    take_fresh_rows,
)

MEMORY_LIMIT: Final = "1GB"  # a query that wants more is refused; nothing spills to disk
# Rows of a table in ``FRESH``, some 600 bytes each. Then they are read from their files, which cost each query 0.7 ms apiece.
MAX_FRESH_ROWS: Final = 100_000


class QueryError(Exception):
    """SQL that is not one SELECT, or that DuckDB refuses. The text says why."""


@dataclass
class _Table:
    """What a connection knows of one table: the version that its views show, and how many of its rows are held in ``FRESH``."""

    path: Path
    shown: Version = NONE
    fresh_rows: int = 0

    def newest(self) -> Version:
        """The newest version. Raises StorageError."""
        return newest(self.path, self.shown, stored_schema(self.path.name).names)


@dataclass
class _Reader:
    """``counting``: the files of summaries that are read. ``told``: the disk's tables say what ``tables`` do."""

    lake: Path
    fresh_rows: int
    tables: dict[str, _Table] = field(default_factory=dict)
    tenant: Tenant | None = None
    counting: dict[str, list[str]] = field(default_factory=dict)
    told: bool = False


@dataclass(frozen=True, slots=True)
class _Added:
    """Files of commits that came since the views were made, and their rows."""

    files: list[str]
    rows: int


_READERS: WeakKeyDictionary[duckdb.DuckDBPyConnection, _Reader] = WeakKeyDictionary()


def connect(
    lake: Path,
    *,
    threads: int | None = None,
    memory_limit: str = MEMORY_LIMIT,
    tenant: Tenant | None = None,
    unnamed: str = "",
    as_of: int | None = None,
    fresh_rows: int = MAX_FRESH_ROWS,
) -> duckdb.DuckDBPyConnection:
    """A connection to the lake at ``lake`` with a view for every table and every figure, as of now; ``refresh`` brings it up to date.

    With ``tenant`` every view shows that tenant's rows only; who can read files can still go round them: check the SQL of strangers.
    With ``as_of``, a commit, they show what was known at it, the registry of then included; the clock stands at its time and ``refresh``
    changes nothing. ``unnamed``: who owns what the registry gives to nobody, where all tenants' rows are shown. ``fresh_rows``: how many
    rows of a table of ``FRESH`` are held in memory.
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
    reader = _Reader(lake, fresh_rows, {name: _Table(lake / name) for name in STORED}, tenant)
    for statement in (*MACROS, owner_macro(tenant.name if tenant else unnamed)):
        con.execute(statement)
    for name in reversed(STORED):  # what belongs to whom stands in the dimension tables, which come last
        _show_files(con, name, [], mixed=False, tenant=tenant)
    for name in FRESH:
        con.execute(no_fresh_rows(name))
    _show_disk(con, lake, {}, tenant)
    for statement in (
        *figure_views(),
        *now_views(),
        *trip_views(),
        *kpi_views(),
        *panel_views(),
        *gateway_views(),
        *disk_views(),
    ):
        con.execute(statement)
    _READERS[con] = reader
    if as_of is None:
        refresh(con)
    else:
        reader.tables.clear()
        reader.told = True
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
    con: duckdb.DuckDBPyConnection,
    name: str,
    files: Sequence[str],
    *,
    mixed: bool,
    tenant: Tenant | None,
    fresh: bool = False,
) -> None:
    """Make the view of a stored table read ``files``. The registry is small and asked by every other view: it is held in memory."""
    made = stored_view(name, files, mixed=mixed, fresh=fresh, tenant=tenant)
    con.execute(made.replace("CREATE OR REPLACE VIEW", "CREATE OR REPLACE TABLE", 1) if name in DIMENSIONS else made)
    for shown in (OPEN[summary] for summary, source in SUMMARIES.items() if source == name and not files):
        con.execute(stored_view(name, [], tenant=tenant, name=shown))
    if name == "rollups":
        now_ns = con.execute("SELECT now_ns()").fetchall()[0][0]
        con.execute(recent_view(files, now_ns, mixed=mixed, fresh=fresh, tenant=tenant))


def _show_disk(con: duckdb.DuckDBPyConnection, lake: Path, told: Sizes, tenant: Tenant | None) -> None:
    """Make the tables of the disk say what is known now. It is the operator's: a tenant who is not sees no row."""
    shown = tenant is None or tenant.owns_unnamed
    for statement in disk_tables(lake, told, time.time_ns(), shown=shown):
        con.execute(statement)


def _is_mixed(path: Path) -> bool:
    return (path / "_delta_log").is_dir() and mixed(DeltaTable(str(path)), stored_schema(path.name).names)


def refresh(con: duckdb.DuckDBPyConnection, tables: Iterable[str] | None = None) -> bool:
    """Bring the views of a connection made by ``connect`` up to the newest versions, of all tables or of these. True if any changed.

    Costs two looks at the disk per table when nothing is new. Raises StorageError for a log that cannot be read.
    """
    reader = _READERS[con]
    asked = reader.tables if tables is None else reader.tables.keys() & tables
    newer = [name for name in asked if is_newer(reader.tables[name].path, reader.tables[name].shown.number)]
    found = {name: reader.tables[name].newest() for name in newer}
    whole = len(asked) == len(reader.tables)
    if not found and (reader.told or not whole):
        return False
    try:
        _take_up(con, reader, found, {name: rows for name in found if (rows := _appended(reader, name, found))}, whole)
    except duckdb.OutOfMemoryException:  # the newest rows do not fit beside what runs: from their files, then
        _take_up(con, reader, found, {}, whole)
    return bool(found)


def _take_up(
    con: duckdb.DuckDBPyConnection, reader: _Reader, found: dict[str, Version], fresh: dict[str, _Added], whole: bool
) -> None:
    """Show the versions ``found``: those in ``fresh`` by taking these files' rows into memory, the others by new views."""
    tables = {name: found.get(name, table.shown) for name, table in reader.tables.items()}
    anew = found.keys() - fresh.keys()
    pairs = [(summary, source) for summary, source in SUMMARIES.items() if not anew.isdisjoint((summary, source))]
    anew |= {source for _, source in pairs}
    counting = dict(reader.counting)
    con.execute("BEGIN")
    try:
        for name, added in fresh.items():
            if name not in anew and added.files:
                con.execute(take_fresh_rows(name, added.files, mixed=tables[name].mixed))
        for name in [n for n in STORED if n in anew]:
            if name in FRESH:
                con.execute(no_fresh_rows(name))
            version = tables[name]
            _show_files(con, name, [*version.files], mixed=version.mixed, tenant=reader.tenant, fresh=True)
        for summary, source in pairs:
            counting[summary] = _show_summary(con, summary, tables[summary], tables[source], reader.tenant)
        if whole:
            told = {name: sizes((f.day, f.bytes) for f in version.files.values()) for name, version in tables.items()}
            _show_disk(con, reader.lake, told, reader.tenant)
        con.execute("COMMIT")
    except (duckdb.Error, OSError) as e:
        con.execute("ROLLBACK")
        if isinstance(e, duckdb.OutOfMemoryException) and fresh:
            raise
        raise StorageError(reader.lake, f"a file of the newest version cannot be read: {e}") from e
    reader.counting, reader.told = counting, whole
    for name, table in reader.tables.items():
        table.shown = tables[name]
        table.fresh_rows = 0 if name in anew else table.fresh_rows + (fresh[name].rows if name in fresh else 0)


def _appended(reader: _Reader, name: str, found: dict[str, Version]) -> _Added | None:
    """What the version in ``found`` has more than the one shown. None where there is more to it than a few rows in files of commits."""
    table, new = reader.tables[name], found[name]
    if name not in FRESH or table.shown.number < 0 or new.mixed != table.shown.mixed:
        return None
    files = [path for path in new.files if path not in table.shown.files]
    rows = [new.files[path].rows for path in files]
    total = sum(n for n in rows if n is not None)
    counting = [
        path for summary, source in SUMMARIES.items() if source == name for path in reader.counting.get(summary, ())
    ]
    if (
        len(new.files) != len(table.shown.files) + len(files)
        or None in rows
        or table.fresh_rows + total > reader.fresh_rows
        or not all(stays_beside(path, counting) for path in files)
    ):
        return None
    return _Added(files, total)


def shows(con: duckdb.DuckDBPyConnection, table: str, n: int) -> bool:
    """Whether the view of ``table`` holds the rows that commit ``n`` brought to it: tables take up a commit one after another."""
    ranges = (commits_of(path) for path in _READERS[con].tables[table].shown.files)
    return any(found is not None and found[0] <= n <= found[1] for found in ranges)


def _show_summary(
    con: duckdb.DuckDBPyConnection, summary: str, sums: Version, source: Version, tenant: Tenant | None
) -> list[str]:
    """Show the files of a summary that count, and the rows of its source beside them. Gives these files."""
    counting, left = split(source.files, sums.files)
    con.execute(stored_view(summary, counting, mixed=sums.mixed, tenant=tenant))
    con.execute(
        stored_view(SUMMARIES[summary], left, mixed=source.mixed, fresh=True, tenant=tenant, name=OPEN[summary])
    )
    return counting


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
