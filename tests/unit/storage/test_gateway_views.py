"""``gateways_now``: the last word of each registered gateway; what nobody said is unknown."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage.gateways import GatewayRow, gateways_table
from storage.lake import Lake
from storage.query import connect
from storage.registry import Registry, write_dimensions
from storage.views import Tenant
from stream.fleet import Vehicle, Warehouse
from tests.lake_data import GATEWAY, SECOND, T0, nothing, recovered

NOW = T0 + 3_600 * SECOND
ROW = replace(GATEWAY, received_ns=NOW, oldest_ns=NOW - 50 * SECOND)


def registry() -> Registry:
    vehicles = [
        Vehicle(f"truck-{i}", f"gw-{i}", "c", "f", tenant=t) for i, t in ((1, "acme"), (2, "acme"), (3, "other"))
    ]
    return Registry(tuple(vehicles), (Warehouse("hall", "gw-4", "H", 1, 2, "uk", tenant="acme"),), ())


def told(path: Path, *rows: GatewayRow, tenant: Tenant | None = None) -> dict[str, dict[str, Any]]:
    """Rows of the view by device, an hour after T0."""
    with Lake.open(path, create=True) as lake:
        if recovered(lake)[0] == 0:
            write_dimensions(lake, registry())
        lake.commit(replace(nothing(), gateways=gateways_table(rows)))
    con = connect(path, tenant=tenant)
    con.execute(f"SET VARIABLE now_ns = {NOW}")
    found: duckdb.DuckDBPyConnection = con.execute("SELECT * FROM gateways_now")
    names = [c[0] for c in found.description or ()]
    return {row["device"]: row for row in (dict(zip(names, values, strict=True)) for values in found.fetchall())}


def test_the_newest_word_counts(tmp_path: Path) -> None:
    older = replace(ROW, received_ns=NOW - 100 * SECOND, waiting=900)
    found = told(tmp_path, older, replace(ROW, received_ns=NOW - 20 * SECOND))["gw-1"]
    assert (found["asset"], found["status"], found["waiting"], found["fill"]) == ("truck-1", "online", 40, 0.25)
    assert found["age_s"] == 20
    assert found["oldest_age_s"] == 50


def test_a_gateway_never_heard_is_unknown_and_not_zero(tmp_path: Path) -> None:
    found = told(tmp_path, ROW)
    assert set(found) == {"gw-1", "gw-2", "gw-3", "gw-4"}
    unknown = {name: found["gw-2"][name] for name in ("status", "age_s", "waiting", "fill", "oldest_age_s", "thinned")}
    assert unknown == dict.fromkeys(unknown)
    assert (found["gw-4"]["kind"], found["gw-4"]["asset"]) == ("warehouse", "hall")


def test_one_silent_for_a_week_is_unknown_too(tmp_path: Path) -> None:
    assert told(tmp_path, replace(ROW, received_ns=NOW - 8 * 86_400 * SECOND))["gw-1"]["status"] is None


def test_a_word_that_the_broker_had_kept_has_no_age(tmp_path: Path) -> None:
    found = told(tmp_path, replace(ROW, retained=True))["gw-1"]
    assert (found["waiting"], found["age_s"]) == (40, None)


def test_a_will_leaves_the_outbox_unknown(tmp_path: Path) -> None:
    will = replace(ROW, received_ns=NOW + 1, status="offline", is_will=True, waiting=None, oldest_ns=None, fill=None)
    found = told(tmp_path, ROW, will)["gw-1"]
    assert (found["status"], found["waiting"], found["fill"], found["oldest_age_s"]) == ("offline", None, None, None)


def test_an_empty_outbox_has_nothing_old(tmp_path: Path) -> None:
    assert told(tmp_path, replace(ROW, waiting=0, oldest_ns=None, fill=0.0))["gw-1"]["oldest_age_s"] == 0


@pytest.mark.parametrize(
    ("tenant", "devices"), [("acme", {"gw-1", "gw-2", "gw-4"}), ("other", {"gw-3"}), ("else", set())]
)
def test_a_tenant_sees_his_gateways(tmp_path: Path, tenant: str, devices: set[str]) -> None:
    rows = [ROW, replace(ROW, tenant="other", device="gw-3")]
    found = told(tmp_path, *rows, tenant=Tenant(tenant))
    assert set(found) == devices
    assert {d for d, row in found.items() if row["waiting"] is not None} == devices & {"gw-1", "gw-3"}
