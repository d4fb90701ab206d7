"""Market-based electricity: the order of instruments, and what is refused."""

import math

import pytest

from stream.factors import FactorError, GridFactors, grid_factors
from stream.market import MarketFactor, market_index, market_total
from tests.support import factors

UK = grid_factors(factors(), "uk")
BEYOND = UK.total - UK.generation


def of(*rows: MarketFactor, grid: GridFactors = UK, asset: str = "w", zone: str = "UK") -> float:
    return market_total(grid, asset, zone, market_index(rows))


def row(
    instrument: str, factor: float, asset: str | None = "w", zone: str | None = None, share: float = 1.0
) -> MarketFactor:
    return MarketFactor(instrument, factor, 2025, "who", asset, zone, share)


def test_without_an_instrument_it_is_the_location() -> None:
    assert of() == UK.total
    assert of(row("eac", 0.0, asset="another")) == UK.total
    assert of(row("residual", 0.4, asset=None, zone="de")) == UK.total


def test_the_best_instrument_answers_in_whatever_order_they_stand() -> None:
    rows = [row("residual", 0.4, None, "uk"), row("supplier", 0.3), row("contract", 0.2), row("eac", 0.1)]
    for n, best in ((4, 0.1), (3, 0.2), (2, 0.3), (1, 0.4)):
        assert of(*rows[:n]) == pytest.approx(best + BEYOND)
        assert of(*reversed(rows[:n])) == pytest.approx(best + BEYOND)


def test_an_asset_before_its_zone() -> None:
    assert of(row("contract", 0.5, None, "uk"), row("contract", 0.2)) == pytest.approx(0.2 + BEYOND)


def test_shares_are_filled_in_order_and_the_rest_takes_the_location() -> None:
    half = of(row("contract", 0.2, share=0.3), row("eac", 0.0, share=0.5))
    assert half == pytest.approx(0.3 * 0.2 + 0.2 * UK.generation + BEYOND)
    assert of(row("eac", 0.0, share=0.7), row("contract", 0.2, share=0.7)) == pytest.approx(0.3 * 0.2 + BEYOND)


def test_life_cycle_zones_take_a_life_cycle_figure() -> None:
    assert of(row("contract", 0.03), grid=grid_factors(factors(), "de"), zone="de") == 0.03


def test_an_unknown_location_leaves_what_is_not_covered_unknown() -> None:
    assert math.isnan(of(row("eac", 0.0, share=0.5), grid=grid_factors(factors(), "us-camx")))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (row("green", 0.1), "'green' is not known; use one of eac, contract, supplier, residual"),
        (row("eac", -0.1), "outside 0 to 3"),
        (row("eac", math.nan), "outside 0 to 3"),
        (row("eac", 400.0), "check the unit"),
        (row("eac", 0.1, share=1.5), "share: 1.5"),
        (row("eac", 0.1, asset=None), "either asset or grid_zone"),
        (row("eac", 0.1, zone="uk"), "either asset or grid_zone"),
        (row("residual", 0.0, None, "AT"), "Austria's published residual mix of 0 must not be used"),
    ],
)
def test_refused(bad: MarketFactor, said: str) -> None:
    with pytest.raises(FactorError, match=said):
        market_index([bad])
