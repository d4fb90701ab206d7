"""Published figures: sealed, recomputed outside the project, restated openly, in the shapes of PACT and iLEAP."""

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from litestar import Litestar
from litestar.testing import TestClient

from dashboards.feed.app import create_app
from dashboards.feed.ileap import HOC, TOC, ShipmentFootprint
from dashboards.feed.linter import lint
from dashboards.feed.periods import month
from dashboards.feed.publish import Outcome, publish, publish_orders, sealed_feed
from dashboards.feed.service import Feed
from storage.export import export
from storage.lake import Lake
from storage.roots import load_key, make_key, seal
from tests import feed_lake
from tests.support import SHARED

Client = TestClient[Litestar]
STANDARDS = SHARED / "data" / "standards"
HOUR = 3_600 * feed_lake.SECOND
OCTOBER = month(2026, 10)
ORDERS = """\
order,leg,tenant,vehicle,warehouse,start,end,mass_kg,consignment,packaging_co2e_kg,origin_city,origin_country,\
destination_city,destination_country,delivered
o-1,1,acme,,hub-1,2026-10-05T04:00:00Z,2026-10-05T05:00:00Z,500,,0.2,,,,,
o-1,2,acme,truck-0,,2026-10-05T05:00:00Z,2026-10-05T12:00:00Z,500,c-1,,Duisburg,DE,Kassel,DE,1
o-2,1,acme,van-0,,2026-11-20T05:00:00Z,,40,,,,,,,
"""


class World:
    """A lake of its own with a signing key, a feed folder and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, feed_lake.NOW + HOUR
        self.lake = feed_lake.build(folder / "lake")
        self.public = make_key(folder / "signing.pem")
        (folder / "orders.csv").write_text(ORDERS)
        self.config = feed_lake.config(folder, orders=str(folder / "orders.csv"))
        self.headers = {"X-API-Key": feed_lake.key_for(folder)[1]}

    def clock(self) -> int:
        return self.now

    def seal(self) -> None:
        seal(self.lake, key=load_key(self.folder / "signing.pem"), now_ns=self.clock)

    def publish(self, by: Any) -> list[Outcome]:
        feed = sealed_feed(self.lake, "acme", self.config, self.clock)
        try:
            if by == "order":
                return list(publish_orders(feed, feed.reader.cursor(), asked_set=None, orders=feed.orders))
            return list(publish(feed, feed.reader.cursor(), by, OCTOBER, asked_set=None, tenant="acme"))
        finally:
            feed.reader.close()

    def client(self) -> Client:
        return TestClient(create_app(Feed(self.lake, "acme", self.config, self.clock)))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A sealed lake of which operator, route groups, warehouse and orders of October are published."""
    made = World(tmp_path_factory.mktemp("published"))
    made.seal()
    for by in ("operator", "route_group", "warehouse", "order"):
        made.publish(by)
    return made


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[Client]:
    with world.client() as found:
        yield found


def verifier(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """The stand-alone verifier of an export, outside the project."""
    return subprocess.run(
        [sys.executable, "-I", str(folder / "verify_export.py"), str(folder), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_published_figure_is_verified_and_can_be_computed_again(world: World, client: Client, tmp_path: Path) -> None:
    figures = client.get("/v1/figures", headers=world.headers).json()["figures"]
    assert {(f["by"], f["name"]) for f in figures} == {
        ("operator", "acme"),
        ("route_group", "trunk"),
        ("route_group", "last_mile"),
        ("warehouse", "hub-1"),
        ("order", "o-1"),
    }
    answer = client.get("/v1/progress?from=2026-10&tenant=acme", headers=world.headers).json()
    assert (answer["figures"][0]["state"], answer["figures"][0]["why"]) == ("verified", [])
    export(world.lake, tmp_path / "export", date(2026, 10, 1), date(2026, 11, 1))
    words = ["--key", world.public]
    for f in figures:
        if f["kind"] == "progress":
            path = tmp_path / f"{f['id']}.json"
            path.write_bytes(client.get(f"/v1/figures/{f['id']}", headers=world.headers).content)
            words += ["--figure", str(path)]
    done = verifier(tmp_path / "export", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("its sums are those of the rows, its proof leads to root") == 4
    told = json.loads(path.read_text())
    told["sums"]["co2e_ttw_ug"] += 1
    path.write_text(json.dumps(told))
    assert verifier(tmp_path / "export", *words).returncode == 1


def test_the_proof_leads_to_a_signed_root(world: World, client: Client) -> None:
    [f] = [f for f in client.get("/v1/figures", headers=world.headers).json()["figures"] if f["by"] == "operator"]
    proof = client.get(f"/v1/figures/{f['id']}/proof", headers=world.headers).json()
    assert proof["sealed"] is True
    assert proof["signed"] is True
    assert proof["proof"]["root"]["public_key"] == world.public
    figure = client.get(f"/v1/figures/{f['id']}", headers=world.headers).json()
    assert figure["commits"] == {"first": 1, "last": 2, "sha256": figure["commits"]["sha256"]}
    assert figure["kernel_versions"] == [1]
    assert json.loads(proof["proof"]["line"])["n"] == 2


def test_late_data_makes_a_restatement_that_points_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.seal()
    [first] = world.publish("operator")
    assert world.publish("operator") == [Outcome("acme", "unchanged", first.id)]
    with Lake.open(world.lake, create=False, now_ns=world.clock) as lake:
        lake.commit(feed_lake.commit_of([feed_lake.rollup("van-0", OCTOBER.from_ns)]))
    with world.client() as client:
        [f] = client.get("/v1/progress?from=2026-10&tenant=acme", headers=world.headers).json()["figures"]
        assert (f["state"], f["why"]) == (
            "closed",
            ["the lake has changed since it was published; a restatement is due"],
        )
    world.now += 2 * HOUR
    world.seal()
    [second] = world.publish("operator")
    assert second.what == "published, version 1"
    with world.client() as client:
        old, new = (client.get(f"/v1/figures/{x.id}", headers=world.headers).json() for x in (first, second))
        listed = client.get("/v1/figures", headers=world.headers).json()["figures"]
        change = client.get("/v1/change?tenant=acme&from=2026-10&against=2026-10", headers=world.headers).json()
    assert new["precedingPfIds"] == [first.id]
    assert new["sums"]["co2e_wtt_ug"] - old["sums"]["co2e_wtt_ug"] == 40 * feed_lake.KG
    assert {x["id"]: x["active"] for x in listed} == {first.id: False, second.id: True}
    assert change["change_kg"] == 0.0


def test_a_provisional_figure_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.seal()
    feed = sealed_feed(world.lake, "acme", world.config, world.clock)
    [found] = publish(feed, feed.reader.cursor(), "operator", month(2026, 11), asked_set=None, tenant="acme")
    feed.reader.close()
    assert found.what.startswith("refused, provisional: late data is waited for")


def test_label_of_an_order(world: World, client: Client) -> None:
    """500 kg: 4 kg/t in the hub; 0.155 kg/t km over 300 km; 200 g of packaging."""
    label = client.get("/v1/orders/o-1", headers=world.headers).json()
    assert [leg["co2e_wtw_g"] for leg in label["legs"]] == [2_000.0, pytest.approx(0.155 * 0.5 * 300 * 1000)]
    assert label["co2e_wtw_g"] == pytest.approx(2_000 + 23_250 + 200)
    assert label["final"] is True
    assert label["primary_data_share_pct"] == pytest.approx(100 * 25_250 / 25_450)
    assert len(label["history"]) == 1
    under_way = client.get("/v1/orders/o-2", headers=world.headers).json()
    assert (under_way["delivered"], under_way["final"], under_way["legs_known"]) == (False, False, 1)


def _schema(archive: str, name: str) -> Any:
    if not STANDARDS.is_dir():
        pytest.skip("../shared/data/standards is not here: the published schemas cannot be compared with")
    with tarfile.open(STANDARDS / archive) as tar:
        [member] = [m for m in tar.getmembers() if m.name.endswith(name)]
        file = tar.extractfile(member)
        assert file is not None
        return yaml.safe_load(file.read())


def test_footprints_fit_the_published_schema(world: World, client: Client) -> None:
    schema = _schema("pact_data_model_schema.tar.xz", "data-model-schema.json")
    found = client.get("/2/footprints", headers=world.headers).json()["data"]
    assert len(found) == 4
    checker = jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker())
    for pf in found:
        assert [e.message for e in checker.iter_errors(pf)] == []
    kinds = {"toc.json": TOC, "hoc.json": HOC, "shipment-footprint.json": ShipmentFootprint}
    for pf in found:
        [extension] = pf["extensions"]
        item = msgspec.convert(extension["data"], kinds[extension["dataSchema"].rsplit("/", 1)[1]])
        assert lint(item) == []


def test_footprints_fit_the_openapi_of_pact(world: World, client: Client) -> None:
    document = _schema("pact_openapi_examples.tar.xz", "spec/v2/openapi.yaml")
    root = {"$ref": "#/components/schemas/ProductFootprint", "components": document["components"]}
    checker = jsonschema.Draft202012Validator(root)
    for pf in client.get("/2/footprints", headers=world.headers).json()["data"]:
        # Its list of standards has no name in common with that of PACT's own JSON schema, which is the one followed.
        found = [(list(e.absolute_path), e.validator) for e in checker.iter_errors(pf)]
        assert found == [(["pcf", "crossSectoralStandardsUsed", 0], "enum")]


def test_derived_fields_are_those_of_the_mapping_tables(world: World, client: Client) -> None:
    """iLEAP 1.0, sections pcf-mapping-toc, -hoc, -sf."""
    found = {
        pf["productIds"][0].split(":")[5]: pf
        for pf in client.get("/2/footprints", headers=world.headers).json()["data"]
    }
    assert {pf["productCategoryCpc"] for pf in found.values()} == {"83117"}
    assert {pf["pcf"]["packagingEmissionsIncluded"] for pf in found.values()} == {False}
    hoc, shipment = found["hoc"], found["shipment"]
    assert (hoc["pcf"]["declaredUnit"], hoc["pcf"]["unitaryProductAmount"]) == ("kilogram", "1000")
    assert hoc["pcf"]["pCfExcludingBiogenic"] == hoc["extensions"][0]["data"]["co2eIntensityWTW"] == "4"
    assert (shipment["pcf"]["declaredUnit"], shipment["pcf"]["unitaryProductAmount"]) == ("ton kilometer", "150")
    assert shipment["pcf"]["pCfExcludingBiogenic"] == "25.25"
    [hub, leg] = shipment["extensions"][0]["data"]["tces"]
    assert (hub["hocId"], leg["tocId"]) == ("acme.hub-1.2026-10-01.2026-11-01", "acme.trunk.2026-10-01.2026-11-01")
    assert leg["prevTceIds"] == [hub["tceId"]]
    tocs = {
        pf["extensions"][0]["data"]["tocId"]: pf["extensions"][0]["data"]
        for pf in found.values()
        if "toc" in pf["productIds"][0]
    }
    assert len(tocs) >= 1
    for toc in tocs.values():
        assert sum(float(c["relativeShare"]) for c in toc["energyCarriers"]) == 1.0


def test_pages_and_filters(world: World, client: Client) -> None:
    first = client.get("/2/footprints?limit=3", headers=world.headers)
    assert len(first.json()["data"]) == 3
    link = first.headers["link"]
    assert link == '<http://testserver.local/2/footprints?offset=3&limit=3>; rel="next"'
    second = client.get(link[1 : link.index(">")], headers=world.headers)
    assert len(second.json()["data"]) == 1
    assert "link" not in second.headers
    ids = [pf["id"] for pf in (*first.json()["data"], *second.json()["data"])]
    assert len(set(ids)) == 4
    one = client.get(f"/2/footprints/{ids[0]}", headers=world.headers)
    assert one.json()["data"]["id"] == ids[0]
    for text, n in (
        ("productCategoryCpc eq '83117'", 4),
        ("created ge '2030-01-01T00:00:00Z'", 0),
        ("productIds/any(p:(p eq 'urn:pathfinder:product:customcode:vendor-assigned:shipment:o-1'))", 1),
        ("pcf/geographyCountry eq 'DE' and status eq 'Active'", 4),
    ):
        found = client.get("/2/footprints", params={"$filter": text}, headers=world.headers)
        assert len(found.json()["data"]) == n, text


def test_activity_data(world: World, client: Client) -> None:
    everything = client.get("/2/ileap/tad", headers=world.headers).json()["data"]
    assert [a["activityId"] for a in everything] == ["o-1-2"]
    assert everything[0]["distance"] == {"actual": "300"}
    assert client.get("/2/ileap/tad?mode=road&country=de", headers=world.headers).json()["data"] == everything
    assert client.get("/2/ileap/tad?mode=Rail", headers=world.headers).json()["data"] == []


def test_pact_errors_and_events(world: World, client: Client) -> None:
    """iLEAP test cases 7 and 8: an invalid token is 403 AccessDenied."""
    denied = client.get("/2/ileap/tad", headers={"Authorization": "Bearer wrong"})
    assert (denied.status_code, denied.json()["code"]) == (403, "AccessDenied")
    missing = client.get("/2/footprints/00000000-0000-0000-0000-000000000000", headers=world.headers)
    assert (missing.status_code, missing.json()["code"]) == (404, "NotFound")
    for product, answered in (("shipment:o-1", "Fulfilled"), ("shipment:none", "Rejected")):
        wanted = f"urn:pathfinder:product:customcode:vendor-assigned:{product}"
        event = {
            "type": "org.wbcsd.pathfinder.ProductFootprintRequest.Created.v1",
            "specversion": "1.0",
            "id": product,
            "source": "//partner",
            "time": "2026-11-01T00:00:00Z",
            "data": {"pf": {"productIds": [wanted]}},
        }
        sent = {**world.headers, "Content-Type": "application/cloudevents+json"}
        assert client.post("/2/events", content=json.dumps(event), headers=sent).json()["code"] == "Accepted"
        assert "before" in client.post("/2/events", content=json.dumps(event), headers=sent).json()["message"]
        [answer] = [
            e
            for e in client.get("/v1/events", headers=world.headers).json()["events"]
            if e["data"]["requestEventId"] == product
        ]
        assert answered in answer["type"]
