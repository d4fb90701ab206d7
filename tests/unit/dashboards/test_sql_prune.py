"""The condition on nanoseconds leaves exactly the rows that the one on ``time`` leaves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboards.sql import check
from dashboards.sql.check import Surroundings
from dashboards.sql.store import Store, open_store
from tests.sql_server import make_lake

MICRO = 1_795_305_600_000_000  # 2026-11-22T00:00:00Z in µs


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    lake = make_lake(tmp_path_factory.mktemp("lake") / "lake", rows=300)
    return open_store(lake, None, database="fleetco2", memory_mb=256, threads=1, cursors=1, settings={})


def surroundings(store: Store) -> Surroundings:
    return Surroundings(store.relations, store.column_types, "fleetco2", "x", 1, "v", lambda _: None)


def test_every_view_with_a_time_shows_the_nanoseconds_that_are_cut_by(store: Store) -> None:
    """``time`` is what ``nanoseconds`` says, in every relation of the lake that has rows."""
    found = [r for (schema, _), r in store.relations.items() if schema == "public" and r.nanoseconds]
    assert {"rollups", "readings", "emissions", "quarantine", "asset_minutes", "route_minutes"} <= {
        r.name for r in found
    }
    for r in found:
        sql = f"SELECT count(*), count(*) FILTER (WHERE time = make_timestamp({r.nanoseconds} // 1000)) FROM {r.name}"
        rows, same = store._con.execute(sql).fetchall()[0]
        assert rows == same


@given(
    st.sampled_from(["<", "<=", ">", ">=", "="]),
    st.one_of(st.integers(0, 3_600_000_000), st.sampled_from([-(10**15), 10**16, 10**17])),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_same_rows_are_left(store: Store, how: str, offset_us: int, mirrored: bool) -> None:
    moment = f"make_timestamp({MICRO + offset_us})"
    literal = store._con.execute(f"SELECT CAST({moment} AS VARCHAR)").fetchall()[0][0]
    mirror = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "="}[how]
    condition = f"'{literal}Z' {mirror} time" if mirrored else f"time {how} '{literal}Z'"
    plan = check.plan(f"SELECT count(*) FROM readings WHERE {condition}", surroundings(store))
    assert "fleet_first_ns" in plan.sql or "fleet_last_ns" in plan.sql
    wanted = store._con.execute(f"SELECT count(*) FROM readings WHERE time {how} {moment}").fetchall()
    assert store._con.execute(plan.sql).fetchall() == wanted
