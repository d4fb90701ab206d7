"""The hash grid of geofences and the raster of regions against looking at every one of them."""

import numpy as np
import numpy.typing as npt
import pytest

from stream.fleet import Route, Warehouse
from stream.geography import build_geography, route_between, route_by_number
from stream.places import PLACE_KINDS, Place, build_places, place_at
from stream.polygon import PolygonError, parse_wkt
from stream.regions import BORDER, Region, build_regions, region_at
from tests.support import fleet

RNG = np.random.default_rng(5)


def test_ten_thousand_geofences_are_found_as_by_looking_at_all() -> None:
    lat, lon = RNG.uniform(45, 55, 10_000), RNG.uniform(0, 15, 10_000)
    radius = np.exp(RNG.uniform(np.log(50), np.log(30_000), 10_000))
    places = [
        Place(f"p{i}", "", PLACE_KINDS[i % 7], float(lat[i]), float(lon[i]), float(radius[i])) for i in range(10_000)
    ]
    index = build_places(places)
    found = 0
    for _ in range(500):
        y, x = RNG.uniform(44.9, 55.1), RNG.uniform(-0.1, 15.1)
        haversine = np.sin(np.radians(y - lat) / 2) ** 2
        haversine += np.cos(np.radians(y)) * np.cos(np.radians(lat)) * np.sin(np.radians(x - lon) / 2) ** 2
        metres = 2 * 6_371_000 * np.arcsin(np.sqrt(haversine))
        if np.min(np.abs(metres - radius) / radius) < 0.01:
            continue  # on an edge the flat Earth of the index may differ
        inside = np.flatnonzero(metres < radius)
        want = int(inside[np.argmin(radius[inside])]) if inside.size else -1
        assert place_at(index, y, x) == want
        found += want >= 0
    assert found > 50


def test_a_polygon_holds_instead_of_the_circle_and_the_smaller_place_wins() -> None:
    yard = Place("yard", "", "depot", 50.0, 8.0, 250.0, "POLYGON ((8 50, 8.01 50, 8.01 50.01, 8 50.01, 8 50))")
    town = Place("town", "", "customer", 50.0, 8.0, 20_000.0)
    index = build_places([town, yard])
    assert [place_at(index, *p) for p in ((50.005, 8.005), (49.999, 7.999), (51.0, 8.0))] == [1, 0, -1]
    assert place_at(index, float("nan"), 8.0) == -1
    assert place_at(build_places([]), 50.0, 8.0) == -1


def _star(lon: float, lat: float, n: int = 24) -> npt.NDArray[np.float64]:
    angle = np.sort(RNG.uniform(0, 2 * np.pi, n))
    r = RNG.uniform(0.2, 1.8, n)
    ring = np.stack([lon + r * np.cos(angle), lat + r * np.sin(angle)], axis=1)
    return np.vstack([ring, ring[:1]])


def _winding(ring: npt.NDArray[np.float64], lon: float, lat: float) -> bool:
    """Sum of the angles under which the edges are seen: a full turn inside."""
    angle = np.unwrap(np.arctan2(ring[:, 1] - lat, ring[:, 0] - lon))
    return bool(abs(angle[-1] - angle[0]) > 3.0)


def test_regions_by_raster_are_those_by_winding_number() -> None:
    rings = [_star(*RNG.uniform([2, 46], [13, 54])) for _ in range(30)]
    text = [", ".join(f"{x!r} {y!r}" for x, y in ring.tolist()) for ring in rings]
    index = build_regions([Region(f"r{i}", "", f"POLYGON (({t}))") for i, t in enumerate(text)])
    shoelace = [
        abs(np.dot(r[:-1, 0], r[1:, 1]) - np.dot(r[1:, 0], r[:-1, 1])) * np.cos(np.radians(r[:, 1].mean()))
        for r in rings
    ]
    assert 0.01 < (index.raster == BORDER).mean() < 0.2
    for _ in range(2000):
        y, x = RNG.uniform(44, 56), RNG.uniform(0, 15)
        inside = [i for i, ring in enumerate(rings) if _winding(ring, x, y)]
        assert region_at(index, y, x) == (min(inside, key=lambda i: shoelace[i]) if inside else -1)


def test_holes_and_several_parts() -> None:
    wkt = "MULTIPOLYGON (((0 0, 4 0, 4 4, 0 4, 0 0), (1 1, 3 1, 3 3, 1 3, 1 1)), ((6 0, 7 0, 7 1, 6 0)))"
    index = build_regions([Region("ring", "", wkt)])
    assert [region_at(index, *p) for p in ((0.5, 0.5), (2.0, 2.0), (0.2, 6.8), (0.5, 5.0))] == [0, -1, 0, -1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("POINT (1 2)", "neither POLYGON"),
        ("POLYGON ((0 0, 1 0, 1 1, 0 1))", "the last as the first"),
        ("POLYGON ((0 0, 1 0, x 1, 0 0))", "no number"),
        ("POLYGON ((0 0, 100 95, 1 1, 0 0))", "longitude comes first"),
        ("POLYGON ((0 0, 1 0, 1 1, 0 0)", "brackets"),
    ],
)
def test_text_that_is_no_polygon_says_why(text: str, message: str) -> None:
    with pytest.raises(PolygonError, match=message):
        parse_wkt(text)


def test_routes_by_ends_and_by_number() -> None:
    places = [Place(p, "", "warehouse", 50.0 + i, 8.0) for i, p in enumerate("abc")]
    routes = [
        Route("ab", "", "a", "b", "trunk", number=7),
        Route("ba", "", "b", "a", "return"),
        Route("ab2", "", "a", "b", number=3),
    ]
    g = build_geography(places, [], routes)
    assert [route_by_number(g, n) for n in (3.0, 7.0, 5.0, 7.5)] == [2, 0, -1, -1]
    assert [route_between(g, 0, 1, -1), route_between(g, 0, 1, 2), route_between(g, 1, 0, 0)] == [0, 2, 1]
    assert [route_between(g, 0, 2, 0), route_between(g, -1, 1, 0)] == [-1, -1]
    with pytest.raises(ValueError, match="'a' stands twice"):
        build_geography([*places, places[0]], [], [])


def test_every_warehouse_is_a_place_and_lies_in_its_region() -> None:
    f = fleet(
        warehouses=(Warehouse("w", "d-w", "W", 50.5, 8.5, "uk"),),
        places=(Place("shop", "", "customer", 51.0, 9.0),),
        regions=(Region("here", "", "POLYGON ((8 50, 9 50, 9 51, 8 51, 8 50))"),),
    )
    assert f.place_names == ("w", "shop")
    assert f.params["region"].tolist() == [-1, 0]
