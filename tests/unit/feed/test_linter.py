"""Impossible figures are refused, the specification's own faulty examples among them."""

import re
from typing import Any

import msgspec
import pytest

from dashboards.feed.ileap import HOC, TAD, TOC, ShipmentFootprint
from dashboards.feed.linter import ImpossibleError, check, lint

GOOD_TOC: dict[str, Any] = {
    "tocId": "toc-1",
    "mode": "Road",
    "energyCarriers": [
        {"energyCarrier": "Diesel", "relativeShare": "0.3", "emissionFactorWTW": "3.24", "emissionFactorTTW": "2.67"},
        {"energyCarrier": "Electric", "relativeShare": "0.7", "emissionFactorWTW": "0.05", "emissionFactorTTW": "0"},
    ],
    "co2eIntensityWTW": "0.08",
    "co2eIntensityTTW": "0.05",
    "transportActivityUnit": "tkm",
    "loadFactor": "0.6",
    "emptyDistanceFactor": "0.17",
}
GOOD_SHIPMENT: dict[str, Any] = {  # the worked shipment of the specification, its first form
    "mass": "87",
    "shipmentId": "1237890",
    "tces": [
        {
            "tceId": "abcdef",
            "prevTceIds": [],
            "tocId": "truck-40t-euro5-de",
            "shipmentId": "1237890",
            "mass": "87",
            "distance": {"actual": "423"},
            "transportActivity": "36.801",
            "co2eWTW": "3.6801",
            "co2eTTW": "3.2801",
        },
        {
            "tceId": "ghijkl",
            "prevTceIds": ["abcdef"],
            "tocId": "operator-z-truck-89sdff",
            "shipmentId": "1237890",
            "mass": "87",
            "distance": {"actual": "321"},
            "transportActivity": "27.927",
            "co2eWTW": "4.74759",
            "co2eTTW": "4.272831",
        },
    ],
}


def toc(**changes: Any) -> TOC:
    return msgspec.convert({**GOOD_TOC, **changes}, TOC)


def shipment(leg: int = 0, **changes: Any) -> ShipmentFootprint:
    legs = [dict(t) for t in GOOD_SHIPMENT["tces"]]
    legs[leg] |= changes
    return msgspec.convert({**GOOD_SHIPMENT, "tces": legs}, ShipmentFootprint)


def carrier(**changes: Any) -> list[dict[str, Any]]:
    return [{**GOOD_TOC["energyCarriers"][0], "relativeShare": "1", **changes}]


def test_good_figures_pass() -> None:
    assert lint(toc()) == []
    assert lint(shipment()) == []


def test_the_faulty_example_of_the_specification_is_refused() -> None:
    """iLEAP 1.0, TOC/energyCarriers: diesel with WTW 2.67 and TTW 2.80, electricity with TTW as large as WTW."""
    example = [
        {"energyCarrier": "Diesel", "relativeShare": "0.30", "emissionFactorWTW": "2.67", "emissionFactorTTW": "2.80"},
        {
            "energyCarrier": "Electric",
            "relativeShare": "0.70",
            "emissionFactorWTW": "0.05",
            "emissionFactorTTW": "0.05",
        },
    ]
    with pytest.raises(ImpossibleError, match=re.escape("WTW 2.67 is below TTW 2.80")) as e:
        check(toc(energyCarriers=example))
    assert [f.rule for f in e.value.findings] == ["wtw_below_ttw", "electric_ttw"]


def test_the_second_shipment_of_the_specification_is_refused() -> None:
    """It calls 87 kg over 423 km 3.6801 t km."""
    assert [f.rule for f in lint(shipment(transportActivity="3.6801"))] == ["activity"]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"co2eIntensityTTW": "0.09"}, "wtw_below_ttw"),
        ({"co2eIntensityWTW": "-0.01", "co2eIntensityTTW": "-0.02"}, "offsets"),
        ({"energyCarriers": carrier(relativeShare="0.99")}, "shares"),
        ({"energyCarriers": carrier(relativeShare="0")}, "range"),
        ({"energyCarriers": carrier(emissionFactorTTW=None)}, "both_boundaries"),
        ({"energyCarriers": carrier(emissionFactorWTW="2.67", emissionFactorTTW="2.67")}, "no_supply"),
        ({"energyCarriers": carrier(energyConsumption="0.03")}, "unit"),
        ({"energyCarriers": carrier(feedstocks=[{"feedstock": "Fossil", "feedstockShare": "1.2"}])}, "shares"),
        ({"loadFactor": "0"}, "range"),
        ({"loadFactor": "1.01"}, "range"),
        ({"emptyDistanceFactor": "1"}, "range"),
    ],
)
def test_impossible_tocs(changes: dict[str, Any], rule: str) -> None:
    assert rule in [f.rule for f in lint(toc(**changes))]


@pytest.mark.parametrize(
    ("leg", "changes", "rule"),
    [
        (0, {"co2eTTW": "3.7"}, "wtw_below_ttw"),
        (0, {"hocId": "hub"}, "one_category"),
        (0, {"distance": {}}, "distance"),
        (0, {"mass": "0", "transportActivity": "0"}, "range"),
        (0, {"shipmentId": "other"}, "identity"),
        (1, {"tceId": "abcdef", "prevTceIds": []}, "identity"),
        (0, {"prevTceIds": ["ghijkl"]}, "order"),
    ],
)
def test_impossible_shipments(leg: int, changes: dict[str, Any], rule: str) -> None:
    assert rule in [f.rule for f in lint(shipment(leg, **changes))]


def test_hubs_and_activity_data() -> None:
    hub = {
        "hocId": "h1",
        "hubType": "Warehouse",
        "energyCarriers": GOOD_TOC["energyCarriers"],
        "co2eIntensityWTW": "4",
        "co2eIntensityTTW": "1",
        "hubActivityUnit": "tonnes",
    }
    assert lint(msgspec.convert(hub, HOC)) == []
    assert [f.rule for f in lint(msgspec.convert({**hub, "co2eIntensityTTW": "5"}, HOC))] == ["wtw_below_ttw"]
    place = {"city": "Duisburg", "country": "DE"}
    activity = {
        "activityId": "a",
        "consignmentIds": ["c"],
        "distance": {"actual": "10"},
        "origin": place,
        "destination": place,
        "departureAt": "2026-01-02T00:00:00Z",
        "arrivalAt": "2026-01-01T00:00:00Z",
        "mode": "Road",
    }
    assert [f.rule for f in lint(msgspec.convert(activity, TAD))] == ["order"]


def test_decimals_are_strings_of_digits() -> None:
    with pytest.raises(msgspec.ValidationError, match="regex"):
        toc(co2eIntensityWTW="8,42769")  # as the specification's shipment writes it
