"""Connections: the views of a lake, kept up to date, and what may be asked."""

from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from storage.backhaul import write_day
from storage.errors import LakeMissingError
from storage.gateway_views import GATEWAY_FIGURES
from storage.gateways import gateways_table
from storage.kpi_views import KPIS
from storage.lake import Lake
from storage.now_views import NOW
from storage.quarantine import Refused, quarantine_table
from storage.query import QueryError, connect, refresh, select
from storage.references import Baseline, Benchmark
from storage.registry import Registry, write_dimensions
from storage.schema import DERIVED, SUMMARIES
from storage.views import FIGURES, STORED
from stream.backhaul import Limits
from stream.fleet import Route, Vehicle, Warehouse
from stream.market import MarketFactor
from stream.places import Place
from stream.regions import Region
from tests.lake_data import GATEWAY, T0, batches, commit, nothing

REFUSED = quarantine_table([Refused(T0, "t", "bad_magic", "no FC", b"\xff\0")])
REGISTRY = Registry(
    (Vehicle("v", "gw-v", "c", "f"),),
    (Warehouse("w", "gw-w", "W", 1, 2, "uk"),),
    (Route("r", "R"),),
    (Baseline("operator", "o", 2025),),
    (Benchmark("eu", 2024, 21.6, "eurostat", "s"),),
    (MarketFactor("eac", 0.0, 2025, "certificate 7", asset="w"),),
    (Place("yard", "Yard", "depot", 50.0, 8.0),),
    (Region("r", "R", "POLYGON ((7 49, 9 49, 9 51, 7 49))"),),
)


def shape(path: Path, view: str) -> list[tuple[str, str]]:
    return [(str(d[0]), str(d[1])) for d in connect(path).execute(f"SELECT * FROM {view}").description or []]


def one_backhaul() -> pa.Table:
    schema = DERIVED["backhaul"].remove(DERIVED["backhaul"].get_field_index("day"))
    values = {pa.string(): "t1", pa.bool_(): True}
    return pa.Table.from_pylist([{f.name: values.get(f.type, 1) for f in schema}], schema=schema)


@pytest.mark.parametrize("view", [*STORED, *FIGURES, *NOW, *KPIS, *GATEWAY_FIGURES])
def test_a_view_over_no_file_and_over_many_has_the_same_columns(tmp_path: Path, view: str) -> None:
    with Lake.open(tmp_path / "empty", create=True):
        pass
    with Lake.open(tmp_path / "full", create=True) as lake:
        write_dimensions(lake, REGISTRY)
        for i in range(3):
            lake.commit(
                replace(commit(20, seed=i), quarantine=REFUSED, batches=batches(4), gateways=gateways_table([GATEWAY]))
            )
    write_day(tmp_path / "full", "2026-11-22", one_backhaul(), Limits(), now_ns=lambda: 1)
    without = shape(tmp_path / "empty", view)
    assert without == shape(tmp_path / "full", view)
    assert len(without) >= 3
    if view in STORED and view not in SUMMARIES:  # which compaction makes
        assert connect(tmp_path / "full").execute(f"SELECT count(*) FROM {view}").fetchall() != [(0,)]


def test_refresh_shows_new_commits_and_is_false_without(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        con = connect(tmp_path)
        assert refresh(con) is False
        for i in range(1, 4):
            lake.commit(commit(10, seed=i))
            assert con.execute("SELECT count(*) FROM readings").fetchall() == [((i - 1) * 10,)]
            assert refresh(con) is True
            assert con.cursor().execute("SELECT count(*) FROM readings").fetchall() == [(i * 10,)]
        assert refresh(con) is False


def test_a_connection_survives_checkpoints_and_a_cleaned_log(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(commit(10))
        con = connect(tmp_path)
        for _ in range(60):
            lake.commit(nothing())
        lake.commit(commit(10))
        lake._ready()
        for entry in sorted((tmp_path / "readings" / "_delta_log").glob("*.json"))[:50]:
            entry.unlink()  # as the log's retention does
        assert refresh(con) is True
        assert con.execute("SELECT count(*) FROM readings").fetchall() == [(20,)]


def test_times_and_sums_beside_the_stored_columns(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(commit(200))
    con = connect(tmp_path)
    assert con.execute("SELECT count(*) FROM readings WHERE epoch_ns(time) // 1000 <> time_ns // 1000").fetchall() == [
        (0,)
    ]
    wrong = "co2e_wtw_ug IS DISTINCT FROM co2e_ttw_ug + co2e_wtt_ug"
    assert con.execute(f"SELECT count(*) FROM emissions WHERE {wrong}").fetchall() == [(0,)]
    assert con.execute("SELECT count(*) FROM emissions WHERE co2e_wtw_ug IS NULL").fetchall() != [(0,)]
    assert con.execute("SELECT DISTINCT typeof(time), typeof(day) FROM readings").fetchall() == [("TIMESTAMP", "DATE")]


def test_files_of_a_commit_that_did_not_happen_are_not_read(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(commit(10))
    [path] = (tmp_path / "readings").glob("day=*/*.parquet")
    (path.parent / "orphan.parquet").write_bytes(path.read_bytes())
    assert connect(tmp_path).execute("SELECT count(*) FROM readings").fetchall() == [(10,)]


@pytest.mark.parametrize("name", ["with space", "o'clock", "größe", "#1", "{x}", "a&b=c"])
def test_a_lake_may_lie_in_an_odd_folder(tmp_path: Path, name: str) -> None:
    with Lake.open(tmp_path / name, create=True) as lake:
        lake.commit(commit(10))
        lake.commit(commit(10))
    assert connect(tmp_path / name).execute("SELECT count(*) FROM rollups").fetchall() == [(2,)]


@pytest.mark.parametrize("name", ["100%", "a\\b", "[1]", "a*b", "a?b"])
def test_a_folder_that_not_every_reader_can_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LakeMissingError, match="choose a folder without"):
        Lake.open(tmp_path / name, create=True)
    with pytest.raises(LakeMissingError, match="choose a folder without"):
        connect(tmp_path / name)


def test_no_lake_is_said(tmp_path: Path) -> None:
    with pytest.raises(LakeMissingError, match="there is no lake here"):
        connect(tmp_path / "typo")


def test_one_select_is_answered(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(commit(10))
    con = connect(tmp_path)
    for sql in (
        "SELECT count(*) FROM readings",
        "WITH a AS (FROM rollups) FROM a;",
        "DESCRIBE readings",
        "SHOW TABLES",
    ):
        assert select(con, sql).fetchall()


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO 'LAKE/x.csv'",
        "EXPORT DATABASE 'LAKE/x'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO 'LAKE/x.csv'",
        "CREATE TABLE t (a INT)",
        "DROP VIEW readings",
        "SET threads = 1",
        "PRAGMA version",
        "SELECT 1; DROP VIEW readings",
        "",
        "SELEKT 1",
        "SELECT nothing FROM readings",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM read_text('LAKE/../secret')",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
    ],
)
def test_anything_else_is_refused(tmp_path: Path, sql: str) -> None:
    (tmp_path / "secret").write_text("secret")
    with Lake.open(tmp_path / "lake", create=True) as lake:
        lake.commit(commit(10))
    before = sorted((tmp_path / "lake").rglob("*"))
    con = connect(tmp_path / "lake")
    with pytest.raises(QueryError):
        select(con, sql.replace("LAKE", str(tmp_path / "lake"))).fetchall()
    assert sorted((tmp_path / "lake").rglob("*")) == before
    assert con.execute("SELECT count(*) FROM readings").fetchall() == [(10,)]


def test_python_variables_are_not_tables(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True):
        pass
    hidden = commit(1).readings
    assert hidden.num_rows == 1
    with pytest.raises(QueryError, match="hidden"):
        select(connect(tmp_path), "SELECT * FROM hidden")


def test_the_settings_are_locked(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True):
        pass
    with pytest.raises(duckdb.Error, match="locked"):
        connect(tmp_path).execute("SET enable_external_access = true")


def test_readers_do_not_hold_up_a_compaction_by_somebody_else(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        for i in range(4):
            lake.commit(commit(10, seed=i))
    con = connect(tmp_path)
    DeltaTable(str(tmp_path / "readings")).optimize.compact()
    assert con.execute("SELECT count(*) FROM readings").fetchall() == [(40,)]
    assert refresh(con) is True
    assert con.execute("SELECT count(*) FROM readings").fetchall() == [(40,)]
