"""The condition on nanoseconds leaves exactly the rows that the one on ``time`` leaves."""

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboards.sql import check, prune
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
@settings(max_examples=60)
def test_the_same_rows_are_left(store: Store, how: str, offset_us: int, mirrored: bool) -> None:
    moment = f"make_timestamp({MICRO + offset_us})"
    literal = store._con.execute(f"SELECT CAST({moment} AS VARCHAR)").fetchall()[0][0]
    mirror = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "="}[how]
    condition = f"'{literal}Z' {mirror} time" if mirrored else f"time {how} '{literal}Z'"
    for table in ("readings", "rollups"):
        plan = check.plan(f"SELECT count(*) FROM {table} WHERE {condition}", surroundings(store))
        assert "fleet_first_ns" in plan.sql or "fleet_last_ns" in plan.sql
        wanted = store._con.execute(f"SELECT count(*) FROM {table} WHERE time {how} {moment}").fetchall()
        assert store._con.execute(plan.sql).fetchall() == wanted


@given(
    st.sampled_from(["<", "<=", ">", ">=", "="]),
    st.one_of(st.integers(-60, 3_700).map(lambda s: s * 1_000_000), st.integers(-(10**8), 4 * 10**9)),
)
@settings(max_examples=80)
def test_a_literal_moved_to_the_minute_leaves_the_same_rows(store: Store, how: str, offset_us: int) -> None:
    moment = datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(microseconds=MICRO + offset_us)
    literal = moment.strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".") + "Z"
    plan = check.plan(f"SELECT count(*) FROM rollups WHERE time {how} '{literal}'", surroundings(store))
    if how != "=":
        assert ":00Z'" in plan.sql
    wanted = store._con.execute(
        f"SELECT count(*) FROM rollups WHERE time {how} make_timestamp({MICRO + offset_us})"
    ).fetchall()
    assert store._con.execute(plan.sql).fetchall() == wanted


def test_viewers_within_a_minute_ask_the_same(store: Store) -> None:
    asked = "SELECT route, count(*) FROM route_minutes WHERE time BETWEEN '2026-11-22T00:00:{0}Z' AND '2026-11-22T06:00:{0}Z' GROUP BY 1"
    plans = {check.plan(asked.format(s), surroundings(store)).sql for s in ("01", "17.5", "59.999999")}
    assert len(plans) == 1
    assert check.plan(asked.format("00"), surroundings(store)).sql not in plans  # at 00:00:00 that minute is in
    readings = "SELECT count(*) FROM readings WHERE time > '2026-11-22T00:00:17Z'"
    assert "00:00:17Z" in check.plan(readings, surroundings(store)).sql  # readings are not by the minute


@pytest.mark.parametrize(
    ("sql", "rounded", "moved"),
    [
        ("SELECT 1 FROM rollups WHERE time BETWEEN '{}' AND '{}'", True, 2),
        ("SELECT 1 FROM asset_hours WHERE time BETWEEN '{}' AND '{}' AND factor_set = 'f'", True, 2),
        ("SELECT 1 FROM (SELECT * FROM sums_for(60000) WHERE time BETWEEN '{}' AND '{}') AS s", True, 2),
        ("SELECT 1 FROM readings WHERE time BETWEEN '{}' AND '{}'", True, 0),
        ("SELECT 1 FROM rollups WHERE NOT time BETWEEN '{}' AND '{}'", True, 0),
        ("SELECT 1 FROM rollups WHERE newest_time BETWEEN '{}' AND '{}'", True, 0),
        ("SELECT 1 FROM rollups WHERE time BETWEEN '{}' AND '{}' OR asset = 'x'", True, 0),
        ("SELECT 1 FROM rollups AS a, readings AS b WHERE a.time BETWEEN '{0}' AND '{1}' AND b.time BETWEEN '{0}' AND '{1}'", True, 2),
        ("SELECT 1 FROM rollups WHERE time BETWEEN '{0}' AND '{1}' AND newest_time > '{0}'", False, 0),
        ("SELECT 'BETWEEN ''{}'' AND ''{}''' FROM rollups", False, 0),
        ("SELECT 1 FROM rollups WHERE time > now()", False, 0),
    ],
)  # fmt: skip
def test_a_plan_is_shared_only_where_all_its_moments_are_whole_minutes(
    store: Store, sql: str, rounded: bool, moved: int
) -> None:
    asked = sql.format("2026-11-22T00:00:17.5Z", "2026-11-22T03:00:17.5Z")
    found = prune.whole_minutes(asked)
    assert (found is not None) is rounded
    if found is not None:
        plan = check.plan(found.sql, surroundings(store))
        assert plan.moved == moved
        if moved == found.literals:
            assert plan.sql == check.plan(asked, surroundings(store)).sql
            assert plan.sql != check.plan(asked.replace(":17.5", ":00"), surroundings(store)).sql
