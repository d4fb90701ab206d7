"""Known places: circles and polygons in a hash grid, so that ten thousand geofences cost no more than ten."""

import math
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from stream.kernel import kernel
from stream.polygon import METRES_PER_DEG, area_m2, crossings, flat, parse_wkt

PLACE_KINDS: Final = ("warehouse", "customer", "depot", "charger", "fuel", "service", "other")
DEFAULT_RADIUS_M: Final = 250.0  # of a warehouse or a place that states none: a yard with its gate
CELL_DEG: Final = 0.02  # about 2 km: most places lie in one to four cells
MAX_CELLS: Final = 64  # a place over more cells than this is looked at for every point instead
_MIX: Final = -7046029254386353131  # 2^64 / golden ratio, as int64: spreads neighbouring cells over the table
_ROWS: Final = 1 << 20  # cells of one row of the grid; 360 / CELL_DEG fit


@dataclass(frozen=True, slots=True)
class Place:
    """One row of ``places.csv``. ``polygon`` (WKT) holds instead of the circle of ``radius_m``."""

    place: str
    name: str
    kind: str
    lat_deg: float
    lon_deg: float
    radius_m: float = DEFAULT_RADIUS_M
    polygon: str | None = None
    tenant: str | None = None


# The kernel's form. ``circle`` (n, 5): lat, lon, radius m, cos(lat), area m2; ``ring`` (n, 2): rows of ``vertices``, -1 = circle;
# ``kind`` (n,); ``slot`` (2^k, 3): cell, first, end in ``entry``, open addressing, cell -1 = free; ``large``: places over many cells.
PlaceIndex: Any = namedtuple("PlaceIndex", ("circle", "ring", "vertices", "kind", "slot", "entry", "large"))


@kernel
def _cell(lat: float, lon: float) -> int:
    return math.floor((lat + 90.0) / CELL_DEG) * _ROWS + math.floor((lon + 180.0) / CELL_DEG)


@kernel
def _slot(cell: int, mask: int) -> int:
    """Where the search for ``cell`` begins."""
    return ((cell * _MIX) >> 20) & mask


def _box(place: Place) -> tuple[float, float, float, float]:
    """South, west, north, east."""
    if place.polygon is not None:
        points = np.concatenate(parse_wkt(place.polygon))
        (west, south), (east, north) = points.min(axis=0), points.max(axis=0)
        return float(south), float(west), float(north), float(east)
    high = place.radius_m / METRES_PER_DEG
    wide = high / max(0.01, math.cos(math.radians(place.lat_deg)))
    return place.lat_deg - high, place.lon_deg - wide, place.lat_deg + high, place.lon_deg + wide


def build_places(places: Sequence[Place]) -> Any:
    """The index over ``places``. Raises PolygonError, ValueError for a kind that does not exist."""
    n = len(places)
    circle, ring = np.zeros((n, 5)), np.full((n, 2), -1, np.int64)
    kind = np.zeros(n, np.int64)
    vertices, at = [np.zeros((0, 2))], 0
    cells: dict[int, list[int]] = {}
    large = []
    for i, place in enumerate(places):
        if place.kind not in PLACE_KINDS:
            raise ValueError(f"place {place.place}: kind {place.kind!r} is not one of {', '.join(PLACE_KINDS)}")
        kind[i] = PLACE_KINDS.index(place.kind)
        area = math.pi * place.radius_m**2
        if place.polygon is not None:
            rings = parse_wkt(place.polygon)
            area = area_m2(rings)
            vertices.append(flat(rings))
            ring[i] = at, at + len(vertices[-1])
            at += len(vertices[-1])
        circle[i] = place.lat_deg, place.lon_deg, place.radius_m, math.cos(math.radians(place.lat_deg)), area
        south, west, north, east = _box(place)
        rows = range(math.floor((south + 90.0) / CELL_DEG), math.floor((north + 90.0) / CELL_DEG) + 1)
        columns = range(math.floor((west + 180.0) / CELL_DEG), math.floor((east + 180.0) / CELL_DEG) + 1)
        if len(rows) * len(columns) > MAX_CELLS:
            large.append(i)
            continue
        for row in rows:
            for column in columns:
                cells.setdefault(row * _ROWS + column, []).append(i)
    size = 1 << max(4, (2 * len(cells)).bit_length())
    entry: list[int] = []
    slot = np.full((size, 3), -1, np.int64)
    for cell, members in cells.items():
        j = _slot(cell, size - 1)
        while slot[j, 0] >= 0:
            j = (j + 1) & (size - 1)
        slot[j] = cell, len(entry), len(entry) + len(members)
        entry += members
    return PlaceIndex(
        circle, ring, np.concatenate(vertices), kind, slot, np.array(entry, np.int64), np.array(large, np.int64)
    )


@kernel
def _inside(index: Any, i: int, lat: float, lon: float) -> bool:
    if index.ring[i, 0] >= 0:
        return crossings(index.vertices, index.ring[i, 0], index.ring[i, 1], lon, lat)
    north = (lat - index.circle[i, 0]) * METRES_PER_DEG
    east = (lon - index.circle[i, 1]) * METRES_PER_DEG * index.circle[i, 3]
    return bool(north * north + east * east <= index.circle[i, 2] * index.circle[i, 2])


@kernel
def _smaller(index: Any, i: int, best: int) -> bool:
    return best < 0 or index.circle[i, 4] < index.circle[best, 4]


@kernel
def place_at(index: Any, lat: float, lon: float) -> int:
    """Index of the smallest place that holds the point ``lat``, ``lon`` [°], -1 for none or an unknown point. The first of equals."""
    best = -1
    if not (math.fabs(lat) <= 90.0 and math.fabs(lon) <= 180.0):
        return best
    for i in index.large:
        if _smaller(index, i, best) and _inside(index, i, lat, lon):
            best = i
    cell = _cell(lat, lon)
    mask = index.slot.shape[0] - 1
    j = _slot(cell, mask)
    while index.slot[j, 0] >= 0:
        if index.slot[j, 0] == cell:
            for k in range(index.slot[j, 1], index.slot[j, 2]):
                i = index.entry[k]
                if _smaller(index, i, best) and _inside(index, i, lat, lon):
                    best = i
            break
        j = (j + 1) & mask
    return best
