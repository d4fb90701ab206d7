"""Progress over HTTP, against figures worked out by hand from ``tests.feed_lake``."""

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from dashboards.feed.app import create_app
from tests import feed_lake

Client = TestClient[Litestar]
Headers = Callable[..., dict[str, str]]


def cell(answer: Any, name: str, tenant: str = "acme") -> dict[str, Any]:
    [found] = [f for f in answer.json()["figures"] if (f["tenant"], f["name"]) == (tenant, name)]
    return dict(found)


def test_absolute_and_intensity_side_by_side(client: Client, headers: Headers) -> None:
    """31 days: three trucks at 250 + 60 kg, three vans at 40 kg; 20 t on 300 km and 3 t on 300 km a day."""
    f = cell(client.get("/v1/progress?from=2026-10&by=operator", headers=headers()), "acme")
    assert f["co2e_kg"] == {"wtw": 31 * (3 * 310 + 3 * 40), "ttw": 31 * 3 * 250}
    assert f["transport_tkm"] == 31 * (2 * 10 + 3 * 1) * 300
    assert f["intensity_kg_per_tkm"]["wtw"] == pytest.approx(32_550 / 213_900)
    assert f["intensity_g_per_km"]["ttw"] == pytest.approx(1000 * 23_250 / 55_800)
    assert f["vehicles"] == 6
    assert f["empty"]["low"] == f["empty"]["high"] == pytest.approx(1 / 6)
    assert f["empty"]["load_factor"] == pytest.approx(31 * 6_900 / (31 * 300 * (2 * 25 + 3 * 1.25)))
    assert f["empty"]["gap_low_pp"] == pytest.approx(100 / 6 - 21.6)
    assert f["empty"]["benchmark"]["year"] == 2024
    # each vehicle's meter is off by one fortieth (1 sd), by itself: 3 trucks and 3 vans add in squares
    sd = 31 * math.sqrt(3 * (310 / 40) ** 2 + 3 * (40 / 40) ** 2)
    assert f["band"]["u_rel"] == pytest.approx(1.96 * sd / 32_550)
    assert f["band"]["low_kg"] < 32_550 - 1.9 * sd
    assert f["band"]["high_kg"] == pytest.approx(32_550 + 1.96 * sd, rel=1e-3)
    assert (f["coverage"], f["loss_rate"], f["primary_data_share_pct"]) == (1.0, 0.0, 100.0)
    assert f["age_s"] == (feed_lake.NOW - feed_lake.days("2026-10-31", "2026-10-31")[0] - feed_lake.SIX) / 1e9 - 59
    assert f["state"] == "closed"


def test_progress_against_a_measured_baseline(lake_with_base: Path, tmp_path: Path, headers: Headers) -> None:
    """2025 had a tenth more: A = 1 - 1/1.1; r = 40 % by 2030, the middle of October lies (t - b) years on the way."""
    with TestClient(create_app(feed_lake.feed(lake_with_base, tmp_path))) as client:
        f = cell(client.get("/v1/progress?from=2026-10", headers=headers()), "acme")
    achieved = 1 - 1 / 1.1
    on_the_way = (2026 + (273 + 15.5) / 365 - 2025.5) / 5.0
    assert f["baseline"]["source"] == "measured"
    assert f["baseline"]["scaled_by_time"] is True
    assert f["baseline"]["co2e_wtw_kg"] == pytest.approx(365 * 1_050 * 1.1)
    assert f["absolute"]["baseline"] == pytest.approx(31 * 1_050 * 1.1)
    assert f["absolute"]["reduction"] == pytest.approx(achieved)
    assert f["absolute"]["progress"] == pytest.approx(achieved / 0.4)
    assert f["absolute"]["path"] == pytest.approx(31 * 1_050 * 1.1 * (1 - 0.4 * on_the_way))
    assert f["absolute"]["gap"] == pytest.approx(31 * 1_050 - f["absolute"]["path"])
    assert f["intensity"]["unit"] == "kg CO2e WTW per t km"


def test_a_stated_baseline_holds_under_its_own_factors_only(client: Client, headers: Headers) -> None:
    answer = client.get("/v1/progress?from=2026-10&by=route_group", headers=headers())
    trunk = cell(answer, "trunk")
    assert trunk["intensity"]["baseline"] == pytest.approx(0.1)
    assert trunk["intensity"]["value"] == pytest.approx(3 * 310 / (2 * 10 * 300))
    assert trunk["intensity"]["progress"] == pytest.approx((0.1 - 0.155) / 0.1 / 0.4)
    assert cell(answer, "last_mile")["absolute"] is None


def test_warehouse_per_tonne_and_management_figures(client: Client, headers: Headers) -> None:
    """200 kg a day; 50 t and 100 pallets between two readings a day."""
    f = cell(client.get("/v1/progress?from=2026-10-05&to=2026-10-06&by=warehouse", headers=headers()), "hub-1")
    assert f["hub"]["outbound_t"] == 50.0
    assert f["hub"]["kg_co2e_per_t"] == {"wtw": 4.0, "ttw": 0.0}
    assert f["hub"]["management"]["kg_co2e_wtw_per_pallet_out"] == 2.0
    assert f["hub"]["management"]["kg_co2e_wtw_per_m2_year"] == pytest.approx(200 * 365.25 / 10_000)
    assert f["empty"] is None


def test_the_running_month_is_provisional_and_says_why(client: Client, headers: Headers) -> None:
    f = cell(client.get("/v1/progress", headers=headers()), "acme")
    assert f["state"] == "provisional"
    assert f["why"] == ["late data is waited for until 2026-12-05T00:00:00Z"]
    assert f["through"] == "2026-11-22T10:00:00Z"
    assert f["co2e_kg"]["wtw"] == 21 * 1_050


def test_small_cells_are_hidden_from_all_but_vehicle_keys(client: Client, headers: Headers) -> None:
    totals, vehicles = headers("totals"), headers("vehicles")
    answer = client.get("/v1/progress?from=2026-10", headers=totals)
    assert cell(answer, "acme")["co2e_kg"]["wtw"] == 32_550
    other = cell(answer, "other", "other")
    assert other["hidden"] is True
    assert {k for k, v in other.items() if v is not None} == {"tenant", "by", "name", "hidden", "state", "why"}
    assert cell(client.get("/v1/progress?from=2026-10", headers=vehicles), "other", "other")["hidden"] is False


def test_the_running_month_ends_for_totals_where_enough_vehicles_reported(tmp_path: Path) -> None:
    """Two trucks more on the 21st at 08:00 do not move the figure; a third one does."""
    from storage.lake import Lake

    path = feed_lake.build(tmp_path / "lake")
    late = feed_lake.days("2026-11-21", "2026-11-21")[0] + 8 * 3_600 * feed_lake.SECOND
    key = {"X-API-Key": feed_lake.key_for(tmp_path, "totals")[1]}

    def told() -> tuple[float, str]:
        with TestClient(create_app(feed_lake.feed(path, tmp_path))) as client:
            f = cell(client.get("/v1/progress", headers=key), "acme")
        return f["co2e_kg"]["wtw"], f["through"]

    assert told() == (22_050, "2026-11-21T06:01:00Z")
    for vehicle, want in (
        ("truck-0", (22_050, "2026-11-21T06:01:00Z")),
        ("truck-1", (22_050, "2026-11-21T06:01:00Z")),
        ("van-0", (22_710, "2026-11-21T08:01:00Z")),
    ):
        with Lake.open(path, create=False, now_ns=lambda: feed_lake.NOW) as lake:
            lake.commit(feed_lake.commit_of([feed_lake.rollup(vehicle, late)]))
        assert told() == want


@pytest.mark.parametrize(
    ("rights", "url", "says"),
    [
        ({"detail": "totals"}, "/v1/progress?by=route_group&from=2026-10", "needs 'routes'"),
        ({"detail": "routes"}, "/v1/progress?by=vehicle&from=2026-10", "needs 'vehicles'"),
        ({"detail": "routes"}, "/v1/progress?from=2026-10-01&to=2026-10-15", "calendar months"),
        ({"tenants": ["acme"]}, "/v1/progress?tenant=other&from=2026-10", "does not reach"),
        ({"regions": ["ruhr"]}, "/v1/progress?from=2026-10", "limited to the regions ruhr"),
        ({"detail": "routes"}, "/v1/electric?from=2026-10", "detail 'vehicles'"),
        ({"detail": "routes"}, "/v1/export/csv/rollups?from=2026-10", "detail 'vehicles'"),
    ],
)
def test_rights(client: Client, headers: Headers, rights: dict[str, Any], url: str, says: str) -> None:
    answer = client.get(url, headers=headers(**rights))
    assert answer.status_code == 403
    assert says in answer.json()["detail"]


def test_a_key_sees_its_tenants_only(client: Client, headers: Headers) -> None:
    answer = client.get("/v1/progress?from=2026-10&by=vehicle", headers=headers(tenants=["acme"]))
    assert {f["tenant"] for f in answer.json()["figures"]} == {"acme"}


@pytest.mark.parametrize(
    ("url", "status", "says"),
    [
        ("/v1/progress?from=yesterday", 400, "from: write UTC as 2026-11"),
        ("/v1/progress?from=2026-10-02&to=2026-10-01", 400, "not after"),
        ("/v1/progress?from=2020-01&to=2026-01", 400, "longer than 366 days"),
        ("/v1/progress?by=planet", 400, "by:"),
        ("/v1/progress?factor_set=none", 404, "there are: fleetco2-2026.1"),
        ("/v1/progress?tenant=%27%3B--", 400, "tenant:"),
        ("/v1/change?tenant=acme&against=2026-10&by=warehouse&from=2026-10", 400, "no distance"),
        ("/v1/change?tenant=acme&against=2026-10&name=nothing&from=2026-10", 404, "no results"),
        ("/v1/change?tenant=acme&against=2026-10", 400, "must be over"),
        ("/v1/orders/x", 404, "no order"),
        ("/v1/figures/00000000-0000-0000-0000-000000000000", 404, "no published figure"),
        ("/v2/progress", 404, "openapi.json"),
    ],
)
def test_errors_say_what_to_change(client: Client, headers: Headers, url: str, status: int, says: str) -> None:
    answer = client.get(url, headers=headers())
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]
    assert answer.json()["status"] == status


def test_the_four_forms_agree(client: Client, headers: Headers) -> None:
    url, key = "/v1/progress{}?from=2026-10&by=route_group", headers()
    wanted = {
        f["name"]: f["co2e_kg"]["wtw"]
        for f in client.get(url.format(""), headers=key).json()["figures"]
        if f["tenant"] == "acme"
    }
    rows = [
        r
        for r in csv.DictReader(io.StringIO(client.get(url.format(".csv"), headers=key).text))
        if r["tenant"] == "acme"
    ]
    assert {r["name"]: float(r["co2e_kg_wtw"]) for r in rows} == wanted
    for table in (
        pq.read_table(io.BytesIO(client.get(url.format(".parquet"), headers=key).content)),
        pa.ipc.open_stream(client.get(url.format(".arrow"), headers=key).content).read_all(),
    ):
        found = [r for r in table.to_pylist() if r["tenant"] == "acme"]
        assert {r["name"]: r["co2e_kg_wtw"] for r in found} == wanted


def test_an_unchanged_answer_is_not_sent_again(client: Client, headers: Headers) -> None:
    key = headers()
    first = client.get("/v1/progress?from=2026-10", headers=key)
    again = client.get("/v1/progress?from=2026-10", headers={**key, "If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_everything_asked_is_logged(client: Client, tmp_path: Path) -> None:
    key, text = feed_lake.key_for(tmp_path)
    client.get("/v1/progress?from=2026-10", headers={"X-API-Key": text})
    client.get("/v1/progress")
    [log] = (tmp_path / "audit").iterdir()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(x["key"], x["path"], x["query"], x["status"]) for x in lines] == [
        (key.id, "/v1/progress", "from=2026-10", 200),
        (None, "/v1/progress", "", 401),
    ]
    assert text not in log.read_text()


def test_rows_are_exported_as_they_are(client: Client, headers: Headers) -> None:
    key = headers(tenants=["acme"])
    table = pq.read_table(io.BytesIO(client.get("/v1/export/parquet/rollups?from=2026-10", headers=key).content))
    assert table.num_rows == 31 * 7
    assert sum(table["co2e_ttw_ug"].to_pylist()) == 31 * 3 * 250 * feed_lake.KG
    arrow = pa.ipc.open_stream(client.get("/v1/export/arrow/trips?from=2026-10", headers=key).content).read_all()
    assert arrow.num_rows == 31 * 6


def test_why_it_changed(tmp_path: Path) -> None:
    """The same day twice, the second with vans twice as thirsty and truck-2 loaded: two causes and nothing else."""
    from storage.lake import Lake
    from storage.registry import write_dimensions

    first, second = feed_lake.days("2026-10-01", "2026-10-02")
    vans = {"energy_uwh": 180 * 10**9, "co2e_wtt_ug": 80 * feed_lake.KG}
    with Lake.open(tmp_path / "lake", create=True, now_ns=lambda: feed_lake.NOW) as lake:
        write_dimensions(lake, feed_lake.registry())
        lake.commit(feed_lake.day_commit([first]))
        trucks = [feed_lake.rollup(v, second + feed_lake.SIX) for v in feed_lake.TRUCKS]
        trips = [feed_lake.trip(v, second + feed_lake.SIX) for v in (*feed_lake.TRUCKS, *feed_lake.VANS)]
        trips[2] |= {"load_state": "partial", "transport_kgm": 10_000 * 300_000}
        trucks[2] |= {"transport_kgm": 10_000 * 300_000}
        lake.commit(
            feed_lake.commit_of(
                [*trucks, *(feed_lake.rollup(v, second + feed_lake.SIX, **vans) for v in feed_lake.VANS)], trips
            )
        )
    key = {"X-API-Key": feed_lake.key_for(tmp_path)[1]}
    with TestClient(create_app(feed_lake.feed(tmp_path / "lake", tmp_path))) as client:
        url = "/v1/change?tenant=acme&from=2026-10-02&to=2026-10-03&against=2026-10-01&against_to=2026-10-02"
        found = client.get(url, headers=key).json()
    causes = {c["cause"]: c["kg"] for c in found["causes"]}
    assert found["change_kg"] == 120.0
    assert sum(causes.values()) == pytest.approx(120.0, abs=1e-9)
    assert causes["efficiency"] == pytest.approx(120.0)
    # 33 t x 300 km instead of 23 t x 300 km, on 1,800 km instead of 1,500 km loaded, none empty: activity up, the others down by it
    assert causes["activity"] > 0 > causes["load_factor"]
    assert causes["empty_share"] < 0
    assert causes["activity"] + causes["load_factor"] + causes["empty_share"] == pytest.approx(0.0, abs=1e-9)
    assert (causes["late_data"], causes["factor_vintage"], causes["energy_mix"]) == (
        0.0,
        0.0,
        pytest.approx(0.0, abs=1e-9),
    )


def test_electric_kilometres_count_once_and_only_where_measured(tmp_path: Path) -> None:
    from dataclasses import replace

    from storage.lake import Lake
    from storage.registry import write_dimensions

    [day] = feed_lake.days("2026-10-01", "2026-10-01")
    registry = feed_lake.registry()
    vins = {"van-1": "SAME", "other-0": "SAME"}
    registry = replace(registry, vehicles=tuple(replace(v, vin=vins.get(v.vehicle)) for v in registry.vehicles))
    trip = feed_lake.trip("van-0", day + feed_lake.SIX)
    later = {"trip_start_ns": day + 2 * feed_lake.SIX}
    trips = [
        trip,
        {**trip, "version": 2, "distance_mm": 310 * 10**6},  # known better later: it replaces the first version
        {**trip, **later, "observed_us": 100, "unknown_us": 6},
        {**trip, "trip_start_ns": day + 3 * feed_lake.SIX - 1, "load_state": "empty"},
        feed_lake.trip("van-1", day + feed_lake.SIX),
    ]
    with Lake.open(tmp_path / "lake", create=True, now_ns=lambda: feed_lake.NOW) as lake:
        write_dimensions(lake, registry)
        lake.commit(feed_lake.commit_of([feed_lake.rollup("van-0", day)], trips))
    key = {"X-API-Key": feed_lake.key_for(tmp_path)[1]}
    with TestClient(create_app(feed_lake.feed(tmp_path / "lake", tmp_path))) as client:
        found = client.get("/v1/electric?from=2026-10", headers=key).json()
    vans = {v["vehicle"]: v for v in found["vehicles"]}
    assert vans["van-0"]["verified_loaded_km"] == found["verified_loaded_km"] == 310.0
    assert vans["van-0"]["loaded_km"] == 610.0
    assert vans["van-0"]["empty_km"] == 300.0
    assert vans["van-0"]["unmeasured_km"] == 300.0
    assert vans["van-0"]["energy_kwh"] == 3 * 90.0
    assert vans["van-0"]["kg_co2e_per_kwh"] == pytest.approx(0.381, abs=0.001)  # Ember 2023, Germany, life-cycle
    assert "VIN" in vans["van-1"]["refused"]
    assert vans["van-1"]["verified_loaded_km"] == 0.0
