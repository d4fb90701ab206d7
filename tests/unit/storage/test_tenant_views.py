"""A connection for one tenant: every view shows what is his, and nothing else."""

from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from storage.dependencies import VIEWS
from storage.gateways import gateways_table
from storage.lake import Lake
from storage.quarantine import Refused, quarantine_table
from storage.query import connect
from storage.references import Baseline, Benchmark
from storage.registry import Registry, write_dimensions
from storage.views import OPEN_TO_ALL, STORED, Tenant, stored_schema
from stream.fleet import Route, Vehicle, Warehouse
from stream.places import Place
from tests.lake_data import GATEWAY, SECOND, T0, commit

SITE = ("uk", None, None)
TOLD = [replace(GATEWAY, tenant=tenant, device=device) for tenant, device in (("acme", "gw-001"), ("other", "gw-002"))]


def registry() -> Registry:
    owners = [None if i % 3 == 0 else ("acme", "other")[i % 2] for i in range(100)]
    return Registry(
        tuple(Vehicle(f"truck-{i:03d}", f"gw-{i:03d}", "c", "f", tenant=t) for i, t in enumerate(owners)),
        (
            Warehouse("w-acme", "gw-w1", "W", 1, 2, *SITE, tenant="acme"),
            Warehouse("w-other", "gw-w2", "W", 1, 2, *SITE, tenant="other"),
        ),
        (Route("r-north", "N", tenant="acme"), Route("r-south", "S", tenant="other")),
        tuple(
            Baseline("operator", name, 2025, 1e6, target_year=2030, target_reduction_pct=50.0, tenant=owner)
            for name, owner in (("acme", "acme"), ("other", "other"), ("nobody", None))
        ),
        (Benchmark("eu", 2024, 21.6, "eurostat", "road_go_ta"),),
        places=tuple(Place(f"p-{t}", "", "customer", 1.0, 2.0, tenant=t) for t in ("acme", "other", None)),
    )


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("lake")
    refused = quarantine_table(
        [Refused(1, "t", "bad_magic", "d", b"x", tenant, "gw-001") for tenant in ("acme", "other", None)]
    )
    with Lake.open(tmp_path, create=True) as lake:
        write_dimensions(lake, registry())
        for i in range(2):
            lake.commit(replace(commit(3_000, seed=i), quarantine=refused, gateways=gateways_table(TOLD)))
    return tmp_path


def values(con: duckdb.DuckDBPyConnection, sql: str) -> set[object]:
    return {row[0] for row in con.execute(sql).fetchall()}


def test_a_tenant_sees_his_rows_in_every_table(lake: Path) -> None:
    everyone, acme = connect(lake), connect(lake, tenant=Tenant("acme"))
    his = {v.vehicle for v in registry().vehicles if v.tenant == "acme"}
    assert values(acme, "SELECT vehicle FROM vehicles") == his
    assert values(acme, "SELECT asset FROM rollups") == his & values(everyone, "SELECT asset FROM rollups") != set()
    assert values(acme, "SELECT asset FROM emissions") == his & values(everyone, "SELECT asset FROM emissions")
    assert values(acme, "SELECT device FROM readings") <= {v.replace("truck", "gw") for v in his}
    assert values(acme, "SELECT warehouse FROM warehouses") == {"w-acme"}
    assert values(acme, "SELECT route FROM routes") == {"r-north"}
    assert values(acme, "SELECT tenant FROM quarantine") == {"acme"}
    assert values(acme, "SELECT count(*) FROM factors") == values(everyone, "SELECT count(*) FROM factors")


def test_things_of_nobody_are_seen_by_the_one_tenant_that_owns_them(lake: Path) -> None:
    his = {v.vehicle for v in registry().vehicles if v.tenant in (None, "acme")}
    assert values(connect(lake, tenant=Tenant("acme", owns_unnamed=True)), "SELECT vehicle FROM vehicles") == his
    assert values(connect(lake, tenant=Tenant("acme", owns_unnamed=True)), "SELECT tenant FROM quarantine") == {"acme"}


@pytest.fixture(scope="module")
def connections(lake: Path) -> dict[str, duckdb.DuckDBPyConnection]:
    named = {name: connect(lake, tenant=Tenant(name)) for name in ("acme", "other", "stranger")}
    return {"": connect(lake), **named}


@pytest.mark.parametrize("view", [*STORED, *VIEWS])
def test_a_stranger_sees_nothing_and_the_tenants_together_no_more_than_there_is(
    connections: dict[str, duckdb.DuckDBPyConnection], view: str
) -> None:
    found = {
        name: int(con.execute(f"SELECT count(*) FROM {view}").fetchall()[0][0]) for name, con in connections.items()
    }
    if view in OPEN_TO_ALL:
        assert found["stranger"] == found[""]
        return
    assert found["stranger"] == 0
    if view in STORED:
        assert found["acme"] + found["other"] <= found[""]
        assert (found["acme"] > 0) == (found[""] > 0)


def test_every_table_is_placed() -> None:
    """A new table has a tenant, an asset or a device, or is said to be open to all; else no tenant sees it."""
    known = {"tenant", "asset", "device"}
    closed = [t for t in STORED if t not in OPEN_TO_ALL and not known & set(stored_schema(t).names)]
    assert closed == []


def test_rows_of_an_older_day_are_looked_up_among_the_assets(tmp_path: Path) -> None:
    """DuckDB takes the files of days before the newest for one row; it must not make its hash table of them for that."""
    with Lake.open(tmp_path, create=True) as made:
        write_dimensions(made, registry())
        for day in range(3):
            made.commit(commit(3_000, start_ns=T0 - day * 86_400 * SECOND))
    con = connect(tmp_path, tenant=Tenant("acme"))
    for table in ("rollups", "emissions", "readings", "trips"):
        sql = f"EXPLAIN SELECT count(*) FROM {table} WHERE day = DATE '2026-11-21'"
        planned = con.execute(sql).fetchall()[0][1]
        assert "MARK" in planned
        assert "SEMI" not in planned


def test_places_are_shown_to_their_tenant(lake: Path) -> None:
    places = "SELECT place FROM places"
    assert values(connect(lake), places) == {"p-acme", "p-other", "p-None"}
    assert values(connect(lake, tenant=Tenant("acme")), places) == {"p-acme"}
    assert values(connect(lake, tenant=Tenant("other", owns_unnamed=True)), places) == {"p-other", "p-None"}


def test_a_baseline_is_set_against_the_emissions_of_its_own_tenant(lake: Path) -> None:
    """Seen by one who may see all: the same figures as each tenant sees, blank ones being those of whom is said to own them."""
    sql = "SELECT key, tenant, co2e_wtw_kg, target_to_date_kg, reduction FROM progress_to_date ORDER BY key"

    def progress(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[object, ...]]:
        con.execute(f"SET VARIABLE now_ns = {T0 + 3_600 * SECOND}")
        return {row[0]: row[1:] for row in con.execute(sql).fetchall()}

    everyone = progress(connect(lake))
    assert set(everyone) == {"acme", "other", "nobody"}
    for name in ("acme", "other"):
        assert progress(connect(lake, tenant=Tenant(name)))[name] == everyone[name]
    assert len({row[1] for row in everyone.values()}) == 3
    owned = progress(connect(lake, unnamed="other"))
    assert owned == progress(connect(lake, tenant=Tenant("other", owns_unnamed=True))) | {"acme": everyone["acme"]}


def test_a_tenants_name_is_a_literal(lake: Path) -> None:
    assert values(connect(lake, tenant=Tenant("' OR true --")), "SELECT vehicle FROM vehicles") == set()
