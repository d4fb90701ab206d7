"""Polygons in WKT, and whether a point lies inside one. Longitude before latitude, degrees, as WKT is written."""

import math
import re
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel

METRES_PER_DEG: Final = 111_195.0  # of a great circle, mean Earth radius 6371.0 km
_RING: Final = re.compile(r"\(([^()]*)\)")
_KIND: Final = re.compile(r"\s*(POLYGON|MULTIPOLYGON)\s*(?=\()", re.IGNORECASE)
Floats = npt.NDArray[np.float64]


class PolygonError(ValueError):
    """Text that is no polygon. The message says what is wrong."""


def parse_wkt(text: str) -> list[Floats]:
    """Rings of a POLYGON or MULTIPOLYGON, each (n, 2) lon, lat, closed. Raises PolygonError.

    A point is inside where it is inside an odd number of rings, so holes need no mark.
    """
    kind = _KIND.match(text)
    if kind is None:
        raise PolygonError(f"{text[:40]!r} is neither POLYGON ((...)) nor MULTIPOLYGON (((...)))")
    if text.count("(") != text.count(")"):
        raise PolygonError("its brackets do not match")
    rings = []
    for ring in _RING.findall(text[kind.end() :]):
        try:
            points = [[float(x) for x in pair.split()] for pair in ring.split(",")]
        except ValueError as e:
            raise PolygonError(f"a coordinate is no number: {e}") from e
        if any(len(p) != 2 for p in points) or len(points) < 4 or points[0] != points[-1]:
            raise PolygonError(
                f"a ring of {len(points)} points: it needs 4 or more 'lon lat' pairs, the last as the first"
            )
        found = np.array(points)
        inside = (np.abs(found[:, 0]) <= 180.0) & (np.abs(found[:, 1]) <= 90.0)
        if not inside.all():
            raise PolygonError("a point lies outside -180..180, -90..90; longitude comes first")
        rings.append(found)
    if not rings:
        raise PolygonError("it has no ring")
    return rings


def area_m2(rings: list[Floats]) -> float:
    """Area of the rings, holes counted as area: good enough to tell the smaller of two."""
    total = 0.0
    for ring in rings:
        x, y = ring[:, 0] * math.cos(math.radians(float(ring[:, 1].mean()))), ring[:, 1]
        total += abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))) / 2.0
    return total * METRES_PER_DEG * METRES_PER_DEG


@kernel
def crossings(vertices: Any, first: int, last: int, lon: float, lat: float) -> bool:
    """Even-odd rule over the edges between ``vertices[first:last]`` (lon, lat); a NaN row parts two rings."""
    inside = False
    for i in range(first, last - 1):
        x0, y0, x1, y1 = vertices[i, 0], vertices[i, 1], vertices[i + 1, 0], vertices[i + 1, 1]
        if (y0 > lat) != (y1 > lat) and lon < x0 + (lat - y0) / (y1 - y0) * (x1 - x0):
            inside = not inside
    return inside


def flat(rings: list[Floats]) -> Floats:
    """Rings one after another with a NaN row between them, for ``crossings``."""
    parts = []
    for ring in rings:
        parts += [ring, np.full((1, 2), np.nan)]
    return np.concatenate(parts)
