"""Small cells: a figure over fewer than ``k`` vehicles would tell about single customers, so it is hidden.

One hidden cell could be had back by taking the others from their total. So the hidden cells of one breakdown must be at least
two and together hold at least ``k`` vehicles; the next smallest cells are hidden until they do, and where that is not
possible the total is hidden instead. Cells are of one tenant and of one fixed period (a calendar month, for instance), which
leaves no sums over tenants and no overlapping periods to take from each other.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

K_DEFAULT: Final = 3  # the least k at which no single vehicle's owner can subtract himself and read a competitor's


class Hidden(msgspec.Struct, frozen=True):
    """Names of the cells that may not be shown, and whether their total may not."""

    cells: frozenset[str]
    total: bool


def hide(vehicles: Mapping[str, int], k: int, *, total: int | None = None) -> Hidden:
    """Which cells of one breakdown are hidden.

    ``vehicles`` holds the number of distinct vehicles behind each cell, ``total`` those behind the total where it is shown (a
    vehicle may stand in several cells). An empty cell is no secret: it holds nothing. Raises ValueError for k below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}; 1 shows everything, larger hides")
    filled = sorted((n, name) for name, n in vehicles.items() if n > 0)
    hidden = [(n, name) for n, name in filled if n < k]
    rest = filled[len(hidden) :]
    if total is not None and total < k:
        return Hidden(frozenset(name for n, name in filled), total > 0)
    if total is None or not hidden:
        return Hidden(frozenset(name for _, name in hidden), False)
    while rest and (len(hidden) < 2 or sum(n for n, _ in hidden) < k):
        hidden.append(rest.pop(0))
    enough = len(hidden) >= 2 and sum(n for n, _ in hidden) >= k
    return Hidden(frozenset(name for _, name in hidden), not enough)
