"""Where things are, in the form that the kernels read: places, regions and the ends of routes."""

from collections import namedtuple
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from stream.columns import TRIP_STAGES
from stream.kernel import kernel
from stream.places import Place, build_places
from stream.regions import Region, build_regions


class RouteLike(Protocol):
    """What is asked of a route: its ends, its stage and its number."""

    @property
    def route(self) -> str: ...
    @property
    def origin(self) -> str | None: ...
    @property
    def destination(self) -> str | None: ...
    @property
    def stage(self) -> str: ...
    @property
    def number(self) -> int | None: ...


# ``places``, ``regions``: their indexes. ``route`` (n, 3): place of origin and of destination, -1 unknown; stage as TRIP_STAGES.
# ``number`` (m, 2): dispatch number, route, sorted. ``ends`` (m, 3): origin, destination, route, sorted: routes by their ends.
Geography: Any = namedtuple("Geography", ("places", "regions", "route", "number", "ends"))


def build_geography(places: Sequence[Place], regions: Sequence[Region], routes: Sequence[RouteLike]) -> Any:
    """Indexes over all of them. Raises ValueError for a place, region or route number that stands twice."""
    index = {p.place: i for i, p in enumerate(places)}
    if len(index) != len(places):
        names = [p.place for p in places]
        raise ValueError(
            f"place {next(n for n in names if names.count(n) > 1)!r} stands twice; warehouses are places too"
        )
    if len({r.region for r in regions}) != len(regions):
        raise ValueError("a region stands twice in regions.csv")
    ends = [(index.get(r.origin or "", -1), index.get(r.destination or "", -1)) for r in routes]
    route = np.array([(*e, TRIP_STAGES.index(r.stage)) for e, r in zip(ends, routes, strict=True)], np.int64)
    numbers = sorted((r.number, i) for i, r in enumerate(routes) if r.number is not None)
    if len({n for n, _ in numbers}) != len(numbers):
        raise ValueError("a number stands at two routes of routes.csv")
    by_ends = sorted((a, b, i) for i, (a, b) in enumerate(ends) if a >= 0 and b >= 0)
    return Geography(
        build_places(places),
        build_regions(regions),
        route.reshape(-1, 3),
        np.array(numbers, np.int64).reshape(-1, 2),
        np.array(by_ends, np.int64).reshape(-1, 3),
    )


@kernel
def route_by_number(geography: Any, number: float) -> int:
    """Route that a dispatcher calls ``number``, -1 for none."""
    low, high = 0, geography.number.shape[0]
    while low < high:
        middle = (low + high) // 2
        if geography.number[middle, 0] < number:
            low = middle + 1
        else:
            high = middle
    if low < geography.number.shape[0] and geography.number[low, 0] == number:
        return int(geography.number[low, 1])
    return -1


@kernel
def route_between(geography: Any, origin: int, destination: int, assigned: int) -> int:
    """Route (index) from ``origin`` to ``destination``: ``assigned`` where it is one of them, else the first; -1 for none."""
    if origin < 0 or destination < 0:
        return -1
    low, high = 0, geography.ends.shape[0]
    while low < high:
        middle = (low + high) // 2
        a, b = geography.ends[middle, 0], geography.ends[middle, 1]
        if a < origin or (a == origin and b < destination):
            low = middle + 1
        else:
            high = middle
    found = -1
    while low < geography.ends.shape[0] and geography.ends[low, 0] == origin and geography.ends[low, 1] == destination:
        if found < 0 or geography.ends[low, 2] == assigned:
            found = int(geography.ends[low, 2])
        low += 1
    return found
