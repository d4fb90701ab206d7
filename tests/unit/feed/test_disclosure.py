"""Which cells are hidden."""

import pytest

from dashboards.feed.disclosure import Hidden, hide


def test_large_cells_are_shown() -> None:
    assert hide({"north": 5, "south": 9}, 3, total=14) == Hidden(frozenset(), False)


def test_a_single_small_cell_takes_the_next_smallest_with_it() -> None:
    assert hide({"north": 1, "south": 9, "west": 4}, 3, total=14) == Hidden(frozenset({"north", "west"}), False)


def test_two_small_cells_that_hold_too_few_together() -> None:
    assert hide({"a": 1, "b": 1, "c": 8, "d": 9}, 3, total=19).cells == {"a", "b", "c"}


def test_where_nothing_else_can_be_hidden_the_total_is() -> None:
    assert hide({"north": 1}, 3, total=4) == Hidden(frozenset({"north"}), True)


def test_without_a_total_only_the_small_ones() -> None:
    assert hide({"north": 1, "south": 9}, 3) == Hidden(frozenset({"north"}), False)


def test_a_small_total_hides_everything_and_an_empty_cell_is_no_secret() -> None:
    assert hide({"north": 2, "south": 0}, 3, total=2) == Hidden(frozenset({"north"}), True)
    assert hide({"north": 0}, 3, total=0) == Hidden(frozenset(), False)


def test_k_must_be_positive() -> None:
    with pytest.raises(ValueError, match="k is 0"):
        hide({}, 0)
