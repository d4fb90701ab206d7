"""What a query may say: hostile strings are refused before anything runs, the rest becomes DuckDB's SQL with every name in full."""

import pytest

from dashboards.sql.check import MAX_SQL, Plan, Relation, Surroundings, plan
from dashboards.sql.errors import ACCESS_DENIED, SYNTAX, TOO_LARGE, UNDEFINED_FUNCTION, UNDEFINED_TABLE, SqlError

ROLLUPS = Relation(
    "main",
    "rollups",
    {"asset": "VARCHAR", "n": "BIGINT", "x": "DOUBLE", "time": "TIMESTAMP", "minute_ns": "BIGINT"},
    "minute_ns",
)
ROUTES = Relation("main", "routes", {"route": "VARCHAR", "asset": "VARCHAR"})
HOURS = Relation("main", "asset_hours", {"asset": "VARCHAR", "time": "TIMESTAMP", "hour_ns": "BIGINT"}, "hour_ns")
CLASS = Relation("pgc", "pg_class", {"oid": "BIGINT", "relname": "VARCHAR"})
AROUND = Surroundings(
    {
        ("public", "rollups"): ROLLUPS,
        ("public", "asset_hours"): HOURS,
        ("public", "routes"): ROUTES,
        ("pg_catalog", "pg_class"): CLASS,
    },
    {**ROUTES.columns, **ROLLUPS.columns},
    "fleetco2",
    "o'brien",
    7,
    "PostgreSQL 15",
    {"search_path": "public"}.get,
)


def planned(sql: str) -> Plan:
    return plan(sql, AROUND)


HOSTILE = [
    # statements that write, hidden or open
    "COPY (SELECT 1) TO '/tmp/x'",
    "WITH x AS (COPY (SELECT 1) TO '/tmp/x') SELECT * FROM x",
    "WITH x AS (INSERT INTO rollups VALUES (1) RETURNING *) SELECT * FROM x",
    "WITH x AS (DELETE FROM rollups RETURNING *) SELECT * FROM x",
    "WITH x AS (UPDATE rollups SET n = 1 RETURNING *) SELECT * FROM x",
    "WITH a AS (WITH b AS (COPY (SELECT 1) TO '/tmp/x') SELECT * FROM b) SELECT * FROM a",
    "SELECT * FROM (WITH x AS (COPY (SELECT 1) TO '/tmp/x') SELECT * FROM x)",
    "INSERT INTO rollups SELECT * FROM rollups",
    "CREATE TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW rollups AS SELECT 1",
    "CREATE MACRO now_ns() AS 0",
    "CREATE SECRET s (TYPE s3)",
    "DROP VIEW rollups",
    "ALTER TABLE rollups RENAME TO r",
    "UPDATE rollups SET n = 0",
    "DELETE FROM rollups",
    "TRUNCATE rollups",
    "MERGE INTO rollups USING routes ON true WHEN MATCHED THEN DELETE",
    "ATTACH '/tmp/x.db'",
    "DETACH memory",
    "USE main",
    "SET memory_limit = '1TB'",
    "SET VARIABLE now_ns = 0",
    "RESET memory_limit",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "INSTALL httpfs",
    "LOAD '/tmp/evil.so'",
    "FORCE INSTALL httpfs",
    "EXPORT DATABASE '/tmp/x'",
    "IMPORT DATABASE '/tmp/x'",
    "CHECKPOINT",
    "VACUUM",
    "ANALYZE",
    "CALL pragma_version()",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN SELECT * FROM rollups",
    "EXPLAIN ANALYZE SELECT * FROM rollups",
    "BEGIN; SELECT 1",
    "SELECT 1; DROP VIEW rollups",
    "SELECT 1 INTO t",
    "COMMENT ON VIEW rollups IS 'x'",
    # files and what is like them
    "SELECT * FROM 'lake/rollups/x.parquet'",
    "SELECT * FROM \"/etc/passwd\"",
    "SELECT * FROM '*.csv'",
    "FROM read_parquet('lake/*')",
    "SELECT * FROM parquet_scan('x')",
    "SELECT * FROM parquet_metadata('x')",
    "SELECT * FROM parquet_file_metadata('x')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv_auto('/etc/passwd')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM pandas_scan(1)",
    "SELECT * FROM seq_scan('rollups')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('rollups')",
    "SELECT * FROM wtw_bands(asset, source := 'x.parquet')",
    "SELECT * FROM wtw_bands(asset, true, source := 'rollups')",
    "SELECT * FROM wtw_bands((SELECT max(file) FROM glob('*')))",
    "SELECT * FROM generate_series(1, 3, stop := 4)",
    "SELECT * FROM json_execute_serialized_sql('{}')",
    "SELECT * FROM generate_series(1, (SELECT count(*) FROM read_text('/etc/passwd')))",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT 1 WHERE EXISTS (SELECT * FROM glob('*'))",
    "SELECT 1 ORDER BY (SELECT max(file) FROM glob('*'))",
    "SELECT 1 LIMIT (SELECT count(*) FROM glob('*'))",
    "SELECT count(*) FILTER (WHERE EXISTS (FROM glob('*'))) FROM rollups",
    "SELECT sum(n) OVER (ORDER BY (SELECT max(file) FROM glob('*'))) FROM rollups",
    "SELECT * FROM rollups JOIN glob('*') ON true",
    "SELECT 1 UNION ALL SELECT count(*) FROM glob('*')",
    "VALUES ((SELECT max(file) FROM glob('*')))",
    "SELECT * FROM rollups POSITIONAL JOIN glob('*')",
    "SELECT CASE WHEN true THEN (SELECT max(file) FROM glob('*')) END",
    # what the engine tells of itself
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_views()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_functions()",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM duckdb_tables",
    "SELECT * FROM system.information_schema.tables",
    "SELECT * FROM memory.main.rollups",
    "SELECT * FROM pgc.pg_class",
    "SELECT * FROM main.pg_class",
    "SELECT * FROM temp.x",
    "SHOW ALL TABLES",
    "DESCRIBE rollups",
    "SUMMARIZE rollups",
    "SELECT getvariable('now_ns')",
    "SELECT getenv('HOME')",
    "SELECT which_secret('x', 's3')",
    "SELECT current_query()",
    "SELECT current_setting('memory_limit')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_sleep(1000)",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_terminate_backend(1)",
    "SELECT nextval('s')",
    "SELECT write_log('x')",
    "SELECT error('x')",
    "SELECT main.getenv('x')",
    "SELECT system.main.abs(1)",
    # what grows without end, or is not needed
    "SELECT repeat('x', 1000000000)",
    "SELECT lpad('x', 1000000000, 'y')",
    "SELECT rpad('x', 1000000000, 'y')",
    "SELECT printf('%1000000000d', 1)",
    "SELECT format('{:1000000000}', 1)",
    "SELECT range(1000000000)",
    "SELECT generate_series(1, 1000000000)",
    "SELECT list_resize([1], 1000000000)",
    "SELECT bitstring('1', 1000000000)",
    "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT 1 FROM r) SELECT * FROM r",
    "WITH RECURSIVE r AS (SELECT 1 AS x UNION SELECT x + 1 FROM r) SELECT count(*) FROM r",
    "SELECT list_transform([1], lambda x: x + 1)",
    "SELECT COLUMNS('.*') FROM rollups",
    "SELECT COLUMNS(c -> c LIKE 'a%') FROM rollups",
    "SELECT * FROM rollups AT (VERSION => 1)",
    "SELECT * FROM rollups TABLESAMPLE 10%",
    "SELECT * FROM rollups USING SAMPLE 10",
    "PIVOT rollups ON asset USING sum(n)",
    "UNPIVOT rollups ON n INTO NAME a VALUE b",
    "SELECT 'x'::json",
    "SELECT x::STRUCT(a INT) FROM rollups",
    "SELECT x::main.integer FROM rollups",
    "SELECT TRY(n) FROM rollups",
    "SELECT {'a': 1}",
    "SELECT $x",
    "SELECT 1 COLLATE nocase",
    # a CTE's name means that CTE and only where it stands
    "SELECT * FROM duckdb_tables, (WITH duckdb_tables AS (SELECT 1) SELECT * FROM duckdb_tables)",
    "SELECT (WITH sqlite_master AS (SELECT 1) SELECT 1), (SELECT max(name) FROM sqlite_master)",
    "WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a",
    "WITH a AS (SELECT * FROM a) SELECT * FROM a",
    "(WITH glob AS (SELECT 1) SELECT * FROM glob) UNION ALL SELECT * FROM glob",
    "SELECT * FROM main.x, (WITH x AS (SELECT 1) SELECT * FROM x)",
    "SELECT",
    "garbage",
    "SELECT * FROM",
    "SELECT 'x",
]  # fmt: skip


@pytest.mark.parametrize("sql", HOSTILE)
def test_hostile_sql_is_refused_before_anything_runs(sql: str) -> None:
    with pytest.raises(SqlError) as refused:
        planned(sql)
    assert refused.value.state in {
        ACCESS_DENIED,
        SYNTAX,
        TOO_LARGE,
        UNDEFINED_FUNCTION,
        UNDEFINED_TABLE,
        "42P02",
        "42704",
        "0A000",
    }
    assert not refused.value.fatal


@pytest.mark.parametrize(
    ("sql", "ran"),
    [
        ("SELECT * FROM rollups", "SELECT * FROM main.rollups AS rollups"),
        ("SELECT r.n FROM public.rollups r", "SELECT r.n FROM main.rollups AS r"),
        ('SELECT "N x" FROM "Rollups"', 'SELECT "N x" FROM main.rollups AS Rollups'),
        ("SELECT 1 FROM fleetco2.public.rollups", "SELECT 1 FROM main.rollups AS rollups"),
        ("SELECT relname FROM pg_class", "SELECT relname FROM pgc.pg_class AS pg_class"),
        (
            "WITH rollups AS (SELECT 1 AS n) SELECT n FROM rollups",
            "WITH with_1 AS (SELECT 1 AS n) SELECT n FROM with_1 AS rollups",
        ),
        (
            "SELECT 1::float, 2::real, 3::numeric, 4::numeric(9,2)",
            "SELECT CAST(1 AS DOUBLE), CAST(2 AS DOUBLE), CAST(3 AS DOUBLE), CAST(4 AS DECIMAL(9, 2))",
        ),
        ("SELECT user", "SELECT 'o''brien' AS \"user\""),
        ("SELECT current_setting('search_path') AS s", "SELECT 'public' AS s"),
        ("SELECT s FROM string_to_array('a,b', ',') s", "SELECT s FROM (SELECT string_to_array('a,b', ',') AS s) AS s"),
        ("SELECT i FROM generate_series(1, 3) AS i", "SELECT i FROM generate_series(1, 3) AS i(i)"),
        (
            "SELECT * FROM wtw_bands(asset, condition := n > 1) AS b",
            "SELECT * FROM wtw_bands(asset, condition := (n > 1)) AS b",
        ),
    ],
)  # fmt: skip
def test_what_is_run(sql: str, ran: str) -> None:
    assert planned(sql).sql == ran


def test_a_name_in_the_from_of_a_subquery_is_checked_there() -> None:
    sql = "SELECT * FROM rollups WHERE n IN (SELECT n FROM rollups AS inner_one WHERE EXISTS (SELECT 1 FROM routes))"
    assert "main.routes AS routes" in planned(sql).sql
    with pytest.raises(SqlError, match='relation "secrets" does not exist'):
        planned(sql.replace("routes", "secrets"))


@pytest.mark.parametrize(
    ("sql", "declared", "types"),
    [
        ("SELECT n FROM rollups WHERE n = $1", (), (20,)),
        ("SELECT n FROM rollups WHERE asset = $1 AND x > $2 LIMIT $3", (), (25, 701, 20)),
        ("SELECT n FROM rollups WHERE time BETWEEN $1 AND $2", (), (1184, 1184)),
        ("SELECT n FROM rollups WHERE asset IN ($1, $2)", (), (25, 25)),
        ("SELECT n FROM rollups WHERE n = ANY($1)", (), (1016,)),
        ("SELECT $1::int, $2::timestamptz, $3::text[]", (), (23, 1184, 1009)),
        ("SELECT $1, $2 || 'x'", (), (25, 25)),
        ("SELECT n FROM rollups WHERE n = $1", (23,), (23,)),
        ("SELECT n + $2 FROM rollups WHERE asset = $1", (705,), (25, 20)),
        ("SELECT time_bucket($1, time) FROM rollups", (), (1186,)),
    ],
)
def test_parameters_get_a_type_from_where_they_stand(
    sql: str, declared: tuple[int, ...], types: tuple[int, ...]
) -> None:
    assert plan(sql, AROUND, declared).parameters == types


def test_columns_are_named_as_postgresql_does() -> None:
    items = "n, max(n), count(*), n + 1, n::text, 1::int, time_bucket('5m', time), CASE WHEN true THEN 1 END, sum(n) OVER (), x AS y"
    assert planned(f"SELECT {items} FROM rollups GROUP BY ALL").names == (
        "n",
        "max",
        "count",
        "?column?",
        "n",
        "integer",
        "time_bucket",
        "case",
        "sum",
        "y",
    )
    assert planned("SELECT *, 1 FROM rollups").names is None


def test_too_long_and_too_deep_is_refused() -> None:
    for sql in (
        "SELECT '" + "x" * MAX_SQL + "'",
        "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
        "SELECT * FROM (" * 200 + "SELECT 1" + ")" * 200,
    ):
        with pytest.raises(SqlError) as refused:
            planned(sql)
        assert refused.value.state in (TOO_LARGE, SYNTAX)


def test_a_filter_on_time_is_said_again_in_nanoseconds() -> None:
    sql = planned("SELECT n FROM rollups r WHERE r.time >= '2026-01-01' AND now() > time AND asset = 'a'").sql
    assert "(r.minute_ns >= fleet_first_ns('2026-01-01'))" in sql
    assert "(minute_ns < fleet_first_ns(now()))" in sql


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT n FROM rollups WHERE time >= '2026-01-01' OR n = 1",
        "SELECT n FROM rollups WHERE NOT time >= '2026-01-01'",
        "SELECT n FROM rollups WHERE time >= (SELECT max(time) FROM rollups)",
        "SELECT n FROM rollups a, rollups b WHERE time >= '2026-01-01'",
        "SELECT n FROM (SELECT time, n FROM rollups) WHERE time >= '2026-01-01'",
        "WITH rollups AS (SELECT 1 AS n, now() AS time) SELECT n FROM rollups WHERE time >= '2026-01-01'",
    ],
)
def test_nothing_is_added_where_it_would_not_be_the_same(sql: str) -> None:
    assert "_ns(" not in planned(sql).sql


def test_sums_are_taken_from_the_view_that_fits_the_bucket() -> None:
    narrow = planned("SELECT s.asset FROM parts_for(3599999) AS s WHERE s.time >= '2026-11-22T10:00:30Z'").sql
    assert "main.rollups AS s" in narrow
    assert "s.minute_ns >= fleet_first_ns('2026-11-22T10:01:00Z')" in narrow  # cuts files as if the view were named
    wide = planned("SELECT asset FROM parts_for(3600000) JOIN routes USING (asset)").sql
    assert "main.asset_hours AS asset_hours" in wide


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM parts_for('3600000')",
        "SELECT * FROM parts_for()",
        "SELECT * FROM parts_for(1, 2)",
        "SELECT * FROM parts_for(1 + 1)",
        "SELECT * FROM parts_for((SELECT 1))",
        "SELECT * FROM parts_for(ms := 1)",
    ],
)
def test_a_bucket_is_one_number(sql: str) -> None:
    with pytest.raises(SqlError) as refused:
        planned(sql)
    assert refused.value.state == SYNTAX


def test_sums_for_is_no_function_elsewhere() -> None:
    for sql in ("SELECT * FROM main.parts_for(1)", "SELECT parts_for(1)", "SELECT * FROM parts_for(1) TABLESAMPLE 5"):
        with pytest.raises(SqlError):
            planned(sql)
