"""Dashboards as code: the generated files, their form, and every panel's SQL on a real lake through the real server's checks."""

import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.grafana import build, lint
from dashboards.grafana.alerts import ALERTS, rule_group
from dashboards.grafana.boards import BUILDERS, panel_id
from dashboards.grafana.macros import MacroError, Window, expand
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
    for make in BUILDERS:
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


def test_what_stands_now_is_shown_though_the_asking_is_later_than_the_end_of_the_time(
    client: psycopg.Connection[Any],
) -> None:
    """Grafana's "now" is some milliseconds before the server's: a view's own moment is never inside the dashboard's time."""
    now_ns = time.time_ns()
    window = Window(now_ns - HOUR_NS, now_ns, 60)
    [(_, _, never_heard, _, _)] = client.execute(
        expand(QUERIES["fleetco2: Operations / Gateways / A"].raw, window, VARIABLES)
    ).fetchall()
    assert [(never_heard,)] == client.execute(
        "SELECT (SELECT count(*) FROM vehicles) + (SELECT count(*) FROM warehouses)"
    ).fetchall()
    for where, query in QUERIES.items():
        assert not re.search(r"NanoFilter\((now_at_ns|as_of_ns|newest_ns)\)", query.raw), where


def test_a_panel_is_found_by_its_title() -> None:
    with pytest.raises(KeyError, match="0 panels"):
        panel_id("fleetco2-live", "No such")
    assert panel_id("fleetco2-live", "CO2e now, WTW") == 1


def test_the_band_of_an_asset_is_that_of_its_parts(client: psycopg.Connection[Any]) -> None:
    """Against the definition, by hand: independent parts as variances, shared ones linearly, log-normal around the value."""
    query = QUERIES["fleetco2: Vehicle and trip / CO2e with its 95 % band, WTW / A"]
    shown = client.execute(expand(query.raw, WINDOWS["minutes"], VARIABLES)).fetchall()
    parts = ("u_trip_ug", "u_asset_ug", "u_model_ug", "u_fuel_ttw_ug", "u_fuel_wtt_ug", "u_grid_ug")
    told = client.execute(
        f"""SELECT minute_ns, sum(co2e_wtw_ug), sum(u_ind_mg2), sum(observed_us), sum(unknown_us), {", ".join(f"sum({p})" for p in parts)}
        FROM rollups WHERE asset = 'truck-000' AND kind = 'vehicle' AND minute_ns BETWEEN {T0} AND {T0 + HOUR_NS} GROUP BY 1 ORDER BY 1"""
    ).fetchall()
    assert len(shown) == len(told) > 0
    banded = 0
    for (at, rate, low, high), (minute_ns, ug, own, observed, unknown, *shared) in zip(shown, told, strict=True):
        assert at == minute_ns / 1e9
        if observed - unknown < 0.5 * float(observed) or ug is None:
            assert (rate, low, high) == (None, None, None)
            continue
        sd_mg = math.sqrt(float(own) + sum((float(u) / 1e3) ** 2 for u in shared))
        s2 = math.log(1 + (sd_mg * 1e3 / float(ug)) ** 2)
        assert rate == pytest.approx(float(ug) / 1e9 * 60)
        assert (low, high) == pytest.approx(
            tuple(float(ug) / 1e9 * 60 * math.exp(-s2 / 2 + side * 1.96 * math.sqrt(s2)) for side in (-1, 1))
        )
        banded += 1
    assert banded > 0


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
        (lambda b: b["panels"][6].pop("interval"), "no least interval"),
        (lambda b: b["panels"][6].update(interval="500ms"), "no least interval"),
        (lambda b: b["panels"][6]["targets"][0].update(rawSql="SELECT $__timeGroup(f(time), $__interval)"), "Grafana refuses it"),
        (lambda b: b["links"][0].update(url="/d/elsewhere"), "which does not exist"),
    ],
)  # fmt: skip
def test_the_linter_finds(change: Any, said: str) -> None:
    assert any(said in problem for problem in _broken(change))


def test_rules_share_the_panels_limits_and_name_their_dashboard() -> None:
    for rule in rule_group()["rules"]:
        panels = json.loads(build.dashboards()[rule["annotations"]["__dashboardUid__"]])["panels"]
        assert rule["annotations"]["__panelId__"] in {str(p["id"]) for p in panels}  # Grafana wants both or none
        assert "$" not in json.dumps(rule["annotations"])  # which a provisioning file would take for a variable
        assert rule["data"][0]["model"]["rawSql"].count("AS value") == 1


@pytest.mark.parametrize(
    ("sql", "sent"),
    [  # what Grafana's own tests of its macros (macros_test.go) and of its interpolation say
        ("SELECT $__time(time_column)", 'SELECT time_column AS "time"'),
        ("$__timeEpoch(t)", 'extract(epoch from t) as "time"'),
        ("WHERE $__timeFilter(time)", "WHERE time BETWEEN '2026-11-22T00:00:00Z' AND '2026-11-22T01:00:00.25Z'"),
        ("$__timeFrom() $__timeTo()", "'2026-11-22T00:00:00Z' '2026-11-22T01:00:00.25Z'"),
        ("GROUP BY $__timeGroup(time, '5m')", "GROUP BY floor(extract(epoch from time)/300)*300"),
        ("SELECT $__timeGroup(time, '5m'), x", 'SELECT floor(extract(epoch from time)/300)*300 AS "time", x'),
        ("$__timeGroup(time , '500ms')", "floor(extract(epoch from time)/0.5)*0.5"),
        ("$__timeGroupAlias(time,$__interval,NULL)", 'floor(extract(epoch from time)/300)*300 AS "time"'),
        ("$__timeGroupAlias(time, 1d, 0.5)", 'floor(extract(epoch from time)/86400)*86400 AS "time"'),
        ("$__timeGroup(time, '2w', previous)", "floor(extract(epoch from time)/1209600)*1209600"),
        ("$__unixEpochFilter(t)", "t >= 1795305600 AND t <= 1795309200"),
        ("$__unixEpochFrom() $__unixEpochTo()", "1795305600 1795309200"),
        ("$__unixEpochNanoFilter(t)", "t >= 1795305600000000000 AND t <= 1795309200250000000"),
        ("$__unixEpochNanoFrom() $__unixEpochNanoTo()", "1795305600000000000 1795309200250000000"),
        ("$__unixEpochGroup(t, '5m')", "floor((t)/300)*300"),
        ("$__unixEpochGroupAlias(t, '5m', NULL)", 'floor((t)/300)*300 AS "time"'),
        ("$__interval $__interval_ms", "300s 300000"),
        ("x IN (${route:sqlstring}) AND y IN (${route})", "x IN ('a','o''b') AND y IN ('a','o''b')"),
        ("'${one}'", "'o''b'"),
    ],
)  # fmt: skip
def test_macros_as_grafana_expands_them(sql: str, sent: str) -> None:
    window = Window(T0, T0 + HOUR_NS + 250_000_000, 300)
    assert expand(sql, window, {"route": ("a", "o'b"), "one": "o'b"}) == sent


def test_buckets_with_timescaledb() -> None:
    assert (
        expand("$__timeGroup(time, $__interval)", Window(0, 1, 300, timescaledb=True), {})
        == "time_bucket('300.000s',time)"
    )


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("$__timeGroup(to_timestamp(t / 1e9), $__interval)", "needs time column and interval"),  # ends at the first bracket
        ("$__timeGroup(time)", "needs time column and interval"),
        ("$__timeGroup(time, '5 minutes')", "error parsing interval"),
        ("$__timeGroup(time, '0s')", "error parsing interval"),
        ("$__timeGroup(time, '5m', none)", "error parsing fill value"),
        ("$__timeGroup(time, '500ms', NULL)", "fails below one"),
        ("$__now()", "unknown macro"),
    ],
)  # fmt: skip
def test_what_grafana_refuses(sql: str, said: str) -> None:
    with pytest.raises(MacroError, match=said):
        expand(sql, Window(0, 1, 60), {})


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    assert len(build.write(tmp_path)) == len(build.files())
    (tmp_path / "old.json").write_text("{}")
    assert [p.name for p in build.write(tmp_path)] == ["old.json"]
    assert build.write(tmp_path) == []


def _read_back(board: Any) -> Any:
    """What the SDK's models of Grafana's published schema keep of a dashboard."""
    return json.loads(json.dumps(Dashboard.from_json(json.loads(json.dumps(board))), cls=JSONEncoder))


@pytest.mark.parametrize("uid", BOARDS)
def test_grafanas_schema_knows_every_field_of_a_dashboard(uid: str) -> None:
    board = json.loads(build.dashboards()[uid])
    plugins.register_default_plugins()
    assert _read_back(board) == board
    board["panels"][0]["options"]["notInTheSchema"] = 1
    assert _read_back(board) != board
