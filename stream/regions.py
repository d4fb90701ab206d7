"""Regions by polygon: a raster answers most points at once, only cells on a border ask the polygons."""

import math
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from stream.kernel import kernel
from stream.polygon import Floats, area_m2, crossings, flat, parse_wkt

MAX_CELLS: Final = 1_000_000  # 4 MB of raster
FINEST_DEG: Final = 0.01  # about 1 km
BORDER: Final = -2  # of a cell: ask the polygons


@dataclass(frozen=True, slots=True)
class Region:
    """One row of ``regions.csv``: ``polygon`` in WKT, lon lat."""

    region: str
    name: str
    polygon: str


# The kernel's form. ``raster`` (rows, columns) int32: region, -1 none, BORDER; ``frame``: south, west, cell in degrees;
# ``ring`` (n, 2) rows of ``vertices``; ``box`` (n, 4) south, west, north, east; ``order``: regions, the smallest first.
RegionIndex: Any = namedtuple("RegionIndex", ("raster", "frame", "ring", "vertices", "box", "order"))


def _mark_borders(raster: Any, ring: Floats, south: float, west: float, cell: float) -> None:
    """Mark every cell that an edge of the ring touches, and half a thousandth of a cell beside it."""
    slack = 5e-4
    x, y = (ring[:, 0] - west) / cell, (ring[:, 1] - south) / cell
    for x0, y0, x1, y1 in zip(x[:-1], y[:-1], x[1:], y[1:], strict=True):
        low, high = min(y0, y1) - slack, max(y0, y1) + slack
        for row in range(max(0, math.floor(low)), min(raster.shape[0] - 1, math.floor(high)) + 1):
            a, b = max(low, row), min(high, row + 1)  # the part of the edge within this row
            if abs(y1 - y0) > 1e-12:
                ends = sorted(x0 + (min(max(t, min(y0, y1)), max(y0, y1)) - y0) / (y1 - y0) * (x1 - x0) for t in (a, b))
            else:
                ends = sorted((x0, x1))
            raster[row, max(0, math.floor(ends[0] - slack)) : math.floor(ends[1] + slack) + 1] = BORDER


def build_regions(regions: Sequence[Region]) -> Any:
    """The index over ``regions``; where they overlap the smallest holds. Raises PolygonError naming the region."""
    n = len(regions)
    if n == 0:
        nothing = np.zeros((0, 2))
        return RegionIndex(
            np.full((1, 1), -1, np.int32), np.array([0.0, 0.0, 1.0]), np.zeros((0, 2), np.int64), nothing,
            np.zeros((0, 4)), np.zeros(0, np.int64),
        )  # fmt: skip
    shapes = [parse_wkt(r.polygon) for r in regions]
    points = [np.concatenate(rings) for rings in shapes]
    box = np.array([[p[:, 1].min(), p[:, 0].min(), p[:, 1].max(), p[:, 0].max()] for p in points])
    south, west, north, east = box[:, 0].min(), box[:, 1].min(), box[:, 2].max(), box[:, 3].max()
    cell = max(FINEST_DEG, math.sqrt((north - south + FINEST_DEG) * (east - west + FINEST_DEG) / MAX_CELLS))
    raster = np.full((math.floor((north - south) / cell) + 1, math.floor((east - west) / cell) + 1), -1, np.int32)
    order = np.argsort([area_m2(rings) for rings in shapes], kind="stable").astype(np.int64)
    flats = [flat(rings) for rings in shapes]
    ends = np.cumsum([len(f) for f in flats])
    ring = np.stack([ends - [len(f) for f in flats], ends], axis=1).astype(np.int64)
    vertices = np.concatenate(flats)
    columns = west + (np.arange(raster.shape[1]) + 0.5) * cell
    for i in order[::-1]:  # the largest first, so the smaller one is painted over it
        for row in range(raster.shape[0]):
            inside = _row_inside(vertices[ring[i, 0] : ring[i, 1]], columns, south + (row + 0.5) * cell)
            raster[row, inside] = i
    for rings in shapes:
        for one in rings:
            _mark_borders(raster, one, float(south), float(west), cell)
    return RegionIndex(raster, np.array([south, west, cell]), ring, vertices, box, order)


def _row_inside(vertices: Floats, lons: Floats, lat: float) -> Any:
    """Which points of one parallel lie inside: the even-odd rule over all its crossings."""
    x0, y0, x1, y1 = vertices[:-1, 0], vertices[:-1, 1], vertices[1:, 0], vertices[1:, 1]
    cross = (y0 > lat) != (y1 > lat)
    cross &= ~np.isnan(y0) & ~np.isnan(y1)
    at = np.sort(x0[cross] + (lat - y0[cross]) / (y1[cross] - y0[cross]) * (x1[cross] - x0[cross]))
    return (at.size - np.searchsorted(at, lons, side="right")) % 2 == 1


@kernel
def region_at(index: Any, lat: float, lon: float) -> int:
    """Index of the smallest region that holds the point ``lat``, ``lon`` [°], -1 for none or an unknown point."""
    row = (lat - index.frame[0]) / index.frame[2]
    column = (lon - index.frame[1]) / index.frame[2]
    if not (0.0 <= row < index.raster.shape[0] and 0.0 <= column < index.raster.shape[1]):
        return -1
    found = int(index.raster[int(row), int(column)])
    if found != BORDER:
        return found
    for i in index.order:
        if (
            index.box[i, 0] <= lat <= index.box[i, 2]
            and index.box[i, 1] <= lon <= index.box[i, 3]
            and crossings(index.vertices, index.ring[i, 0], index.ring[i, 1], lon, lat)
        ):
            return int(i)
    return -1
