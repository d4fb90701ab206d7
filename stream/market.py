"""Market-based electricity: which instrument answers for an asset's kWh, in the order of the GHG Protocol's Scope 2 Guidance.

Energy attribute certificate > contract > supplier mix > residual mix > location. An instrument may cover a share of the
consumption; what none covers takes the location's factor. Residual mixes (AIB) are licensed: the operator brings the numbers
in ``market_factors.csv``, none is shipped.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stream.factors import FactorError, GridFactors

INSTRUMENTS: Final = ("eac", "contract", "supplier", "residual")  # best first


@dataclass(frozen=True, slots=True)
class MarketFactor:
    """One row of ``market_factors.csv``: an instrument of one asset, or of every asset in a grid zone where ``asset`` is blank.

    ``factor_kg_per_kwh`` takes the place of generation alone; in a zone of life-cycle figures it is a life-cycle figure too.
    """

    instrument: str
    factor_kg_per_kwh: float
    year: int
    source: str
    asset: str | None = None
    grid_zone: str | None = None
    share: float = 1.0  # of the consumption that it covers


def market_fault(m: MarketFactor) -> tuple[str, str] | None:
    """(column, what is wrong with it) of a row that cannot be used, else None."""
    if m.instrument not in INSTRUMENTS:
        return "instrument", f"{m.instrument!r} is not known; use one of {', '.join(INSTRUMENTS)}"
    if (m.asset is None) == (m.grid_zone is None):
        return "asset", "fill in either asset or grid_zone"
    if not 0.0 <= m.factor_kg_per_kwh <= 3.0:
        return "factor_kg_per_kwh", f"{m.factor_kg_per_kwh} is outside 0 to 3; check the unit"
    if not 0.0 < m.share <= 1.0:
        return "share", f"{m.share} is outside 0 to 1"
    zone = (m.grid_zone or "").strip().lower()
    if m.instrument == "residual" and zone == "at" and m.factor_kg_per_kwh == 0.0:
        what = "Austria's published residual mix of 0 must not be used; take its total supplier mix"
        return "factor_kg_per_kwh", what
    return None


MarketIndex = Mapping[str, Sequence[MarketFactor]]


def market_index(rows: Iterable[MarketFactor]) -> MarketIndex:
    """Checked rows by asset (``asset:NAME``) or zone (``zone:name``). Raises FactorError for a row that cannot be used."""
    found: dict[str, list[MarketFactor]] = {}
    for m in rows:
        if (fault := market_fault(m)) is not None:
            raise FactorError(f"market factor of {m.asset or m.grid_zone or 'nobody'}: {fault[0]}: {fault[1]}")
        key = f"zone:{(m.grid_zone or '').strip().lower()}" if m.asset is None else f"asset:{m.asset}"
        found.setdefault(key, []).append(m)
    return found


def market_total(grid: GridFactors, asset: str, zone: str, index: MarketIndex) -> float:
    """Market-based CO2e of a kWh delivered to ``asset`` [kg/kWh], losses and supply as location-based.

    The asset's own instruments come before those of its zone within one kind. Where nothing is known of the market it is the
    location's figure, NaN where that is unknown.
    """
    mine = [*index.get(f"asset:{asset}", ()), *index.get(f"zone:{zone.strip().lower()}", ())]
    mine.sort(key=lambda m: (INSTRUMENTS.index(m.instrument), m.asset is None))
    beyond = 0.0 if math.isnan(grid.generation) else grid.total - grid.generation
    left, total = 1.0, 0.0
    for m in mine:
        covered = min(m.share, left)
        total += covered * (m.factor_kg_per_kwh + beyond)
        left -= covered
    return total + left * grid.total if left > 0.0 else total
