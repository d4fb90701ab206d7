"""An attacker who knows all that is shown cannot solve for a hidden cell of too few vehicles."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dashboards.feed.disclosure import hide

cells = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 6), min_size=1, max_size=8)


@given(cells, st.integers(1, 5))
def test_no_hidden_cell_can_be_solved_for(vehicles: dict[str, int], k: int) -> None:
    """The attacker's equations: each shown cell, the total where shown, and that empty cells are 0."""
    names = sorted(vehicles)
    out = hide(vehicles, k, total=sum(vehicles.values()))
    rows = [[float(n == name) for n in names] for name in names if name not in out.cells]
    if not out.total:
        rows.append([1.0] * len(names))
    known = np.array(rows).reshape(-1, len(names))
    rank = np.linalg.matrix_rank(known) if known.size else 0
    for name in out.cells:
        unit = np.array([[float(n == name) for n in names]])
        assert np.linalg.matrix_rank(np.vstack([known, unit])) == rank + 1, f"{name} can be solved for"
    assert all(n >= k or n == 0 for name, n in vehicles.items() if name not in out.cells)


@given(cells, st.integers(1, 5))
def test_what_a_shown_total_gives_away_holds_k_vehicles(vehicles: dict[str, int], k: int) -> None:
    """The difference of total and shown cells is a sum over the hidden ones, which must not be small either."""
    out = hide(vehicles, k, total=sum(vehicles.values()))
    if out.cells and not out.total:
        assert sum(vehicles[name] for name in out.cells) >= k
