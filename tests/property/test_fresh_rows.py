"""A connection that holds the newest rows in memory shows the same as one that has just been opened, whatever has happened."""

import tempfile
from pathlib import Path
from typing import Any

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.compact import compact
from storage.dependencies import stored_behind
from storage.lake import Lake
from storage.query import connect, refresh
from storage.registry import write_dimensions
from storage.schema import ROLLUP_SUMS
from storage.views import FRESH, Tenant
from tests.lake_data import SECOND, T0, Clock, commit
from tests.sql_server import two_tenants

HOUR = 3600 * SECOND
ACME = Tenant("acme", owns_unnamed=True)
SUMS = ", ".join(f"sum({name})" for name in ROLLUP_SUMS)
ASKED = {
    "rollups": "SELECT * FROM rollups ORDER BY ALL",
    "trips": "SELECT * FROM trips ORDER BY ALL",
    "asset_hours": f"SELECT hour_ns, asset, route, load_state, factor_set, day, {SUMS} FROM asset_hours GROUP BY ALL ORDER BY ALL",
    "trips_final": "SELECT asset, trip_start_ns, version, load_state, route, co2e_ttw_ug FROM trips_final ORDER BY ALL",
    "route_now": "SELECT * FROM route_now ORDER BY ALL",
    "fleet_now": "SELECT * FROM fleet_now ORDER BY ALL",
    "readings": "SELECT count(*), sum(time_ns) FROM readings",
}
STEPS = st.lists(
    st.sampled_from(["commit", "commit", "commit", "late", "none", "compact", "look", "some", "restart"]), max_size=9
)


def shown(con: duckdb.DuckDBPyConnection, asked: list[str], now_ns: int) -> list[list[Any]]:
    """As text, as NaN is not itself."""
    con.execute(f"SET VARIABLE now_ns = {now_ns}")
    return [[repr(row) for row in con.execute(ASKED[name]).fetchall()] for name in asked]


@settings(max_examples=8)
@given(STEPS, st.sampled_from([0, 40, 100_000]), st.sampled_from([None, ACME]), st.randoms(use_true_random=False))
def test_it_shows_what_a_new_one_shows(steps: list[str], fresh: int, tenant: Tenant | None, rng: Any) -> None:
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        lake = Lake.open(path, create=True, now_ns=clock)
        write_dimensions(lake, two_tenants())
        lake.commit(commit(100))
        con = connect(path, tenant=tenant, fresh_rows=fresh)
        for i, step in enumerate([*steps, "commit"]):
            clock.move(rng.choice([1, 400, 3600]))
            match step:
                case "commit" | "late":
                    start = T0 - 20 * HOUR if step == "late" else clock.now_ns // HOUR * HOUR
                    lake.commit(commit(rng.choice([20, 150]), seed=i + 2, start_ns=start, span_ns=HOUR))
                case "none":
                    lake.commit(commit(0))
                case "compact":
                    list(compact(path, now_ns=clock))
                case "look":
                    refresh(con)
                case "some":
                    name = rng.choice(sorted(ASKED))
                    refresh(con, stored_behind([name]))
                    anew = connect(path, tenant=tenant)
                    assert shown(con, [name], clock.now_ns) == shown(anew, [name], clock.now_ns)
                case "restart":
                    lake.close()
                    lake = Lake.open(path, create=False, now_ns=clock)
        refresh(con)
        anew = connect(path, tenant=tenant)
        assert shown(con, [*ASKED], clock.now_ns) == shown(anew, [*ASKED], clock.now_ns)
        lake.close()


def test_rows_of_commits_are_held_until_files_change(tmp_path: Path) -> None:
    clock = Clock()

    def held() -> list[int]:
        return [con.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0] for name in FRESH.values()]

    with Lake.open(tmp_path, create=True, now_ns=clock) as lake:
        lake.commit(commit(100))
        con = connect(tmp_path, fresh_rows=50)
        assert held() == [0, 0]
        seen = []
        for i in range(6):
            lake.commit(commit(200, seed=i))
            refresh(con)
            seen.append(held())
        assert seen == [[20, 20], [40, 40], [0, 0], [20, 20], [40, 40], [0, 0]]
        lake.commit(commit(200))
        refresh(con)
        assert held() == [20, 20]
        clock.move(3600)
        list(compact(tmp_path, now_ns=clock))
        refresh(con)
        assert held() == [0, 0]


def test_a_question_looks_only_at_its_tables(tmp_path: Path) -> None:
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(commit(100))
        con = connect(tmp_path)
        lake.commit(commit(100))
        assert refresh(con, stored_behind(["trips_final"])) is True
        counts = [con.execute(f"SELECT count(*) FROM {t}").fetchall()[0][0] for t in ("trips", "rollups", "readings")]
        assert counts == [20, 10, 100]
        assert refresh(con, stored_behind(["trips_final"])) is False
        assert refresh(con) is True
        counts = [con.execute(f"SELECT count(*) FROM {t}").fetchall()[0][0] for t in ("trips", "rollups", "readings")]
        assert counts == [20, 20, 200]
