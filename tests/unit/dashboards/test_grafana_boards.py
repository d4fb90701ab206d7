"""Dashboards as code: the generated files, their form, and every panel's SQL on a real lake through the real server's checks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dashboards.grafana import build, lint
from dashboards.grafana.alerts import ALERTS, rule_group
from dashboards.grafana.macros import Window, expand
from dashboards.grafana.parts import BOARDS
from dashboards.grafana.sql import Query
from tests.lake_data import FACTOR_SET, T0
from tests.sql_server import Address, make_lake, running

UIDS = frozenset(BOARDS)
VARIABLES = {
    "factor_set": FACTOR_SET,
    "basis": "CO2e WTW",
    "route": ("r-north", "r-south"),
    "vehicle": "truck-000",
    "warehouse": "w-acme",
}
HOUR_NS = 3_600_000_000_000
WINDOWS = {
    "minutes": Window(T0, T0 + HOUR_NS, 60),
    "hours": Window(T0 - 24 * HOUR_NS, T0 + 24 * HOUR_NS, 3600, timescaledb=True),
}


def queries() -> Iterator[tuple[str, Query]]:
    """Every query of every panel and alert, with where it stands."""
    for make in build._BUILDERS:
        board = make().build()
        for panel in board.panels or ():
            for query in getattr(panel, "targets", None) or ():
                assert isinstance(query, Query)
                yield f"{board.title} / {panel.title} / {query.ref}", query
    for alert in ALERTS:
        yield f"alert / {alert.title}", alert.query


QUERIES = dict(queries())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    folder = tmp_path_factory.mktemp("grafana")
    with running(make_lake(folder / "lake"), folder) as address:
        yield address


@pytest.fixture(scope="module")
def client(server: Address) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(server.dsn("acme"), autocommit=True) as connection:
        yield connection


def test_the_committed_files_are_what_the_code_makes() -> None:
    want = build.files()
    have = {
        str(p.relative_to(build.FILES)): p.read_text(encoding="utf-8") for p in build.FILES.rglob("*") if p.is_file()
    }
    assert have == dict(want), "run python -m dashboards grafana build"


@pytest.mark.parametrize("uid", BOARDS)
def test_a_dashboard_is_in_form(uid: str) -> None:
    assert list(lint.problems(json.loads(build.dashboards()[uid]), UIDS)) == []


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("where", QUERIES)
def test_a_query_is_answered_with_the_columns_it_names(
    client: psycopg.Connection[Any], where: str, window: str
) -> None:
    query = QUERIES[where]
    answer = client.execute(expand(query.raw, WINDOWS[window], VARIABLES))
    assert tuple(c.name for c in answer.description or ()) == query.columns
    answer.fetchall()


def _broken(change: Any) -> list[str]:
    board = json.loads(build.dashboards()["fleetco2-live"])
    change(board)
    return list(lint.problems(board, UIDS))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b.update(uid="mine"), "is not listed"),
        (lambda b: b.update(timezone="browser"), "must be UTC"),
        (lambda b: b["panels"][0]["fieldConfig"]["defaults"].pop("unit"), "no unit"),
        (lambda b: b["panels"][0]["fieldConfig"]["defaults"].pop("thresholds"), "no thresholds"),
        (lambda b: b["panels"][0].pop("description"), "no description"),
        (lambda b: b["panels"][1].update(id=1), "used twice"),
        (lambda b: b["panels"][1]["gridPos"].update(x=0, y=0), "lies over"),
        (lambda b: b["panels"][1]["gridPos"].update(x=20, w=9), "does not fit the grid"),
        (lambda b: b["panels"][6]["targets"][0].update(rawSql="SELECT 1"), "does not filter by time"),
        (lambda b: b["panels"][6]["targets"][0].update(rawSql="SELECT '${nobody}', $__timeFrom()"), "'nobody' does not exist"),
        (lambda b: b["panels"][0].update(datasource={"type": "x", "uid": "y"}), "data source is"),
        (lambda b: b["links"][0].update(url="/d/elsewhere"), "which does not exist"),
    ],
)  # fmt: skip
def test_the_linter_finds(change: Any, said: str) -> None:
    assert any(said in problem for problem in _broken(change))


def test_rules_share_the_panels_limits_and_name_their_dashboard() -> None:
    for rule in rule_group()["rules"]:
        assert rule["annotations"]["__dashboardUid__"] in UIDS
        assert rule["data"][0]["model"]["rawSql"].count("AS value") == 1


def test_macros_as_grafana_expands_them() -> None:
    window = Window(1_795_305_600_000_000_000, 1_795_309_200_000_000_000, 300)
    group = "floor(extract(epoch from time)/300)*300"
    assert expand("SELECT $__timeGroupAlias(time, $__interval, NULL)", window, {}) == f'SELECT {group} AS "time"'
    assert expand("$__timeFilter(time)", window, {}) == "time BETWEEN '2026-11-22T00:00:00Z' AND '2026-11-22T01:00:00Z'"
    assert expand("x IN (${route:sqlstring})", window, {"route": ("a", "o'b")}) == "x IN ('a','o''b')"
    bucket = Window(0, 1, 300, timescaledb=True)
    assert (
        expand("$__timeGroup(to_timestamp(t / 1e9), $__interval)", bucket, {})
        == "time_bucket('300.000s',to_timestamp(t / 1e9))"
    )
    with pytest.raises(ValueError, match="not one of Grafana's"):
        expand("$__now()", window, {})


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    assert len(build.write(tmp_path)) == len(build.files())
    (tmp_path / "old.json").write_text("{}")
    assert [p.name for p in build.write(tmp_path)] == ["old.json"]
    assert build.write(tmp_path) == []
