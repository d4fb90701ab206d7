"""The SQL server as psycopg and Debian's psql see it."""

import datetime
import os
import shutil
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from storage.dependencies import VIEWS
from storage.lake import Lake
from storage.query import connect
from storage.views import STORED
from tests.lake_data import commit, nothing
from tests.sql_server import PASSWORD, Address, make_lake, running, two_tenants
from tests.unit.dashboards.test_sql_check import HOSTILE

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "sql"
PSQL = shutil.which("psql")
needs_psql = pytest.mark.skipif(PSQL is None, reason="psql is not installed: apt-get install postgresql-client")


def golden(name: str) -> list[str]:
    """The statements of a file, one per paragraph."""
    parts = (GOLDEN / name).read_text(encoding="utf-8").split("\n\n")
    return [part.strip().rstrip(";") for part in parts if not part.startswith("--")]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lake(tmp_path_factory.mktemp("lake") / "lake")


@pytest.fixture(scope="module")
def address(lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with running(
        lake, tmp_path_factory.mktemp("server"), memory_mb=256, rows=200_000, result_mb=20, time_s=3.0
    ) as address:
        yield address


@pytest.fixture
def acme(address: Address) -> Iterator[psycopg.Connection]:
    with psycopg.connect(address.dsn(), autocommit=True) as con:
        yield con


def one(con: psycopg.Connection, sql: str, *values: object) -> object:
    row = con.execute(sql, values or None).fetchone()
    assert row is not None
    return row[0]


def test_values_come_as_what_they_are(acme: psycopg.Connection) -> None:
    sql = (
        "SELECT 1::int8, 1.25::float8, 'é', true, NULL, DATE '2026-01-02', TIMESTAMP '2026-01-02 03:04:05.6', INTERVAL '1 day 1 second',"
        " 1.50::numeric(5,2), ARRAY[1,2], 12345678901234567890::hugeint"
    )
    wanted = (
        1,
        1.25,
        "é",
        True,
        None,
        datetime.date(2026, 1, 2),
        datetime.datetime(2026, 1, 2, 3, 4, 5, 600_000, datetime.UTC),
        datetime.timedelta(days=1, seconds=1),
        Decimal("1.50"),
        [1, 2],
        12345678901234567890,
    )
    assert acme.execute(sql.replace("::hugeint", "::numeric(38,0)")).fetchone() == wanted
    assert acme.cursor(binary=True).execute(sql.replace("::hugeint", "::numeric(38,0)")).fetchone() == wanted


def test_parameters_are_bound(acme: psycopg.Connection) -> None:
    hostile = "truck-000' OR true --"
    assert one(acme, "SELECT count(*) FROM rollups WHERE asset = %s", hostile) == 0
    assert one(acme, "SELECT count(*) FROM vehicles WHERE vehicle = ANY(%s)", ["truck-000", "truck-003", "x"]) == 2
    assert one(acme, "SELECT %s::text", hostile) == hostile
    since = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
    everything = one(acme, "SELECT count(*) FROM rollups")
    assert (
        one(
            acme, "SELECT count(*) FROM rollups WHERE time BETWEEN %s AND %s", since, since + datetime.timedelta(days=1)
        )
        == everything
    )
    assert one(acme, "SELECT count(*) FROM rollups WHERE time < %s", since) == 0
    for i in range(8):  # psycopg prepares a statement that comes often
        assert one(acme, "SELECT %s + 1", i) == i + 1


def test_prepared_statements_transactions_and_streams(acme: psycopg.Connection) -> None:
    with acme.transaction():
        assert one(acme, "SELECT 1") == 1
        with pytest.raises(errors.UndefinedColumn), acme.transaction():
            acme.execute("SELECT nope")
        assert one(acme, "SELECT 2") == 2
    with pytest.raises(errors.UndefinedTable):
        acme.execute("SELECT * FROM nope", prepare=True)
    assert sum(1 for _ in acme.cursor().stream("SELECT i FROM generate_series(1, 1000) i")) == 1_000
    assert acme.execute("SELECT 1 WHERE false").fetchall() == []
    assert acme.info.server_version == 150008


def test_a_tenant_sees_what_is_his_and_the_operator_everything(address: Address, lake: Path) -> None:
    counts: dict[str, int] = {}
    for user in ("acme", "other", "admin"):
        with psycopg.connect(address.dsn(user), autocommit=True) as con:
            counts[user] = int(str(one(con, "SELECT count(*) FROM emissions")))
            assert one(con, "SELECT current_user") == user
            if user == "other":
                rows = con.execute("SELECT DISTINCT asset FROM rollups").fetchall()
                others = {v.vehicle for v in two_tenants().vehicles if v.tenant == "other"}
                assert {r[0] for r in rows} <= others
                assert one(con, "SELECT count(*) FROM routes WHERE route <> 'r-south'") == 0
    assert (
        counts["acme"] + counts["other"]
        == counts["admin"]
        == connect(lake).execute("SELECT count(*) FROM emissions").fetchall()[0][0]
    )
    assert min(counts.values()) > 0


def test_hostile_sql_is_refused_and_the_lake_is_as_before(acme: psycopg.Connection, lake: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in lake.rglob("*")}
    for sql in HOSTILE:
        if sql.startswith(("SET", "RESET", "BEGIN", "SHOW", "PREPARE")):
            continue
        with pytest.raises(psycopg.Error) as refused:
            acme.execute(sql.encode(), prepare=False)
        assert refused.value.sqlstate is not None
        assert str(lake) not in str(refused.value)
    assert {p: p.stat().st_mtime_ns for p in lake.rglob("*")} == before
    for setting in ("SET memory_limit = '1TB'", "SET enable_external_access = true", "SET threads = 99"):
        acme.execute(
            setting
        )  # taken as a word of the session, as PostgreSQL takes names with a dot; nothing reaches DuckDB
        with pytest.raises(errors.InsufficientPrivilege):
            acme.execute("COPY (SELECT 1) TO '/tmp/x'")
    with pytest.raises(errors.InsufficientPrivilege):
        acme.execute("SET transaction_read_only = off")


@pytest.mark.parametrize("user", ["acme", "nobody", ""])
def test_a_wrong_password_and_a_wrong_user_are_told_alike(address: Address, user: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="user and password do not fit"):
        psycopg.connect(address.dsn(user or "x", password="wrong"))


def test_another_database_is_none(address: Address) -> None:
    with pytest.raises(psycopg.OperationalError, match='"fleetco2" does'):
        psycopg.connect(address.dsn(dbname="postgres"))


def test_limits_of_rows_size_memory_and_time(acme: psycopg.Connection) -> None:
    with pytest.raises(errors.ProgramLimitExceeded, match="more than 200000 rows"):
        acme.execute("SELECT i FROM generate_series(1, 200001) i")
    wide = ", ".join(["i::text || i::text || i::text"] * 10)
    with pytest.raises(errors.ProgramLimitExceeded, match="more than 20 MB"):
        acme.execute(f"SELECT {wide} FROM generate_series(100000, 250000) i".encode())
    with pytest.raises(errors.OutOfMemory):
        acme.execute("SELECT string_agg('xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' || i) FROM generate_series(1, 100000000) i")
    with pytest.raises(errors.QueryCanceled, match="longer than 3 s"):
        acme.execute("SELECT count(*) FROM generate_series(1, 100000000000) a WHERE hash(a) = 7")
    assert one(acme, "SELECT 1") == 1


def test_commits_show_and_a_version_that_is_asked_twice_is_answered_alike(tmp_path: Path) -> None:
    path = tmp_path / "lake"
    with (
        Lake.open(path, create=True) as lake,
        running(path, tmp_path) as address,
        psycopg.connect(address.dsn("admin"), autocommit=True) as con,
    ):
        assert one(con, "SELECT count(*) FROM readings") == 0
        for i in range(1, 4):
            lake.commit(commit(100, seed=i))
            seen = -1
            until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=20)
            while seen != i * 100 and datetime.datetime.now(datetime.UTC) < until:
                seen = int(str(one(con, "SELECT count(*) FROM readings")))
            assert seen == i * 100
        lake.commit(nothing())
        assert one(con, "SELECT count(*) FROM readings") == 300


def psql(address: Address, *commands: str, user: str = "acme") -> str:
    words = [w for c in commands for w in ("-c", c)]
    run = subprocess.run(
        [str(PSQL), "-X", "-v", "ON_ERROR_STOP=1", "-A", "-t", address.dsn(user), *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "PGCLIENTENCODING": "UTF8"},
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@needs_psql
def test_psql_asks_and_lists(address: Address) -> None:
    assert psql(address, "SELECT 1 + 1; SELECT 'a;b'", "SHOW server_version") == "2\na;b\n15.8\n"
    tables = {line.split("|")[1] for line in psql(address, r"\dt").splitlines()}
    assert tables == set(STORED)
    assert {line.split("|")[1] for line in psql(address, r"\dv").splitlines()} == set(VIEWS)
    assert psql(address, r"\l").startswith("fleetco2|")
    assert "co2e_wtw_kg|double precision" in psql(address, r"\d route_minutes")
    assert "time|timestamp with time zone" in psql(address, r"\d rollups")


@needs_psql
@pytest.mark.parametrize(
    "command",
    [r"\d", r"\d+", r"\d+ rollups",
     r"\d+ route_now", r"\dt+", r"\dv+", r"\dn+", r"\du+", r"\df", r"\di", r"\ds", r"\dT", r"\dx", r"\dp", r"\db", r"\l+"],
)  # fmt: skip
def test_psql_commands_that_describe(address: Address, command: str) -> None:
    psql(address, command)


@needs_psql
def test_psql_variables_and_formats(address: Address) -> None:
    out = psql(address, r"\x on", "SELECT NULL AS unknown, -1.5::float8 AS number, TIMESTAMP '2026-01-01' AS time")
    assert "number|-1.5" in out
    assert "time|2026-01-01 00:00:00+00" in out
    assert PASSWORD not in out


GRAFANA = [  # the query builder of Grafana's PostgreSQL data source, release 12
    ("SELECT current_setting('server_version_num')::int/100 as version", None),
    ("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'", set()),
    ("SELECT datname FROM pg_database WHERE datistemplate = false ORDER BY datname", {"fleetco2"}),
    (
        "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN ('information_schema', 'pg_catalog', 'pg_toast')",
        {"public"},
    ),
]
SEARCHED = (
    "quote_ident(table_schema) IN (SELECT CASE WHEN trim(s[i]) = '\"$user\"' THEN user ELSE trim(s[i]) END FROM generate_series("
    " array_lower(string_to_array(current_setting('search_path'),','),1),"
    " array_upper(string_to_array(current_setting('search_path'),','),1)"
    " ) as i, string_to_array(current_setting('search_path'),',') s)"
)
GRAFANA_TABLES = (
    f"SELECT CASE WHEN {SEARCHED} THEN quote_ident(table_name)"
    " ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS \"table\""
    " FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', '_timescaledb_cache')"
    f" ORDER BY CASE WHEN {SEARCHED} THEN 0 ELSE 1 END, 1"
)
GRAFANA_COLUMNS = (
    'SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns WHERE'
    " CASE WHEN array_length(parse_ident('route_minutes'),1) = 2 THEN quote_ident(table_schema) = (parse_ident('route_minutes'))[1]"
    " AND quote_ident(table_name) = (parse_ident('route_minutes'))[2] ELSE quote_ident(table_name) = 'route_minutes'"
    f" AND {SEARCHED} END"
)


def test_the_query_builder_of_grafana(acme: psycopg.Connection) -> None:
    for sql, found in GRAFANA:
        rows = {r[0] for r in acme.execute(sql).fetchall()}
        assert found is None or rows == found
    assert {r[0] for r in acme.execute(GRAFANA_TABLES).fetchall()} == {*STORED, *VIEWS}
    columns = {str(r[0]): str(r[1]) for r in acme.execute(GRAFANA_COLUMNS).fetchall()}
    assert columns["time"] == "timestamp with time zone"
    assert columns["co2e_wtw_kg"] == "double precision"
    assert columns["route"] == "text"


@pytest.mark.parametrize("sql", golden("grafana_panels.sql"))
def test_what_grafanas_macros_and_dashboards_send(acme: psycopg.Connection, sql: str) -> None:
    assert acme.execute(sql).fetchall()


@pytest.mark.parametrize("sql", golden("catalogue_probes.sql"))
def test_what_other_clients_ask_the_catalogue(acme: psycopg.Connection, sql: str) -> None:
    assert acme.execute(sql).fetchall()
