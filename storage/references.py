"""What figures are compared with: baselines with targets, and published shares of empty running. Two optional CSV files.

A baseline without ``baseline_co2e_wtw_kg`` is measured: the lake's own rows of that year, under the factor set that is asked for. One
with it is stated, and holds under ``factor_set`` only.
"""

from dataclasses import dataclass
from typing import Final

SCOPES: Final = ("operator", "region", "stage", "route", "warehouse")
ACTIVITY_UNITS: Final = ("tkm", "t", "km")
DEFINITIONS: Final = ("strict", "eurostat")


@dataclass(frozen=True, slots=True)
class Baseline:
    """One row of ``baselines.csv``: base year and target of one cell. Reductions are per cent of the base year."""

    scope: str
    key: str
    baseline_year: int
    baseline_co2e_wtw_kg: float | None = None
    baseline_co2e_ttw_kg: float | None = None
    baseline_activity: float | None = None
    activity_unit: str | None = None
    target_year: int | None = None
    target_reduction_pct: float | None = None
    target_intensity_reduction_pct: float | None = None
    factor_set: str | None = None
    tenant: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One row of ``benchmarks.csv``: a published share of empty vehicle-kilometres. A blank region holds for all."""

    benchmark: str
    year: int
    empty_share_pct: float
    definition: str
    source: str
    region: str | None = None
    note: str | None = None


def baseline_fault(b: Baseline) -> tuple[str, str] | None:
    """(column, what is wrong and how to mend it), or None for a row that can be used."""
    if b.scope not in SCOPES:
        return "scope", f"{b.scope!r} is not known; use one of {', '.join(SCOPES)}"
    if not 1990 <= b.baseline_year <= 2100:
        return "baseline_year", f"{b.baseline_year} is outside 1990 to 2100"
    for column in ("baseline_co2e_wtw_kg", "baseline_co2e_ttw_kg", "baseline_activity"):
        value = getattr(b, column)
        if value is not None and not 0.0 < value < 1e15:
            return column, f"{value} is not above 0; leave it blank for a baseline measured from the lake"
    if b.baseline_co2e_wtw_kg is not None and not b.factor_set:
        return "factor_set", "is blank; a stated baseline holds under one factor set only, so name it"
    if (b.baseline_activity is None) != (b.activity_unit is None):
        return "activity_unit", "baseline_activity and activity_unit go together; give both or neither"
    if b.activity_unit is not None and b.activity_unit not in ACTIVITY_UNITS:
        return "activity_unit", f"{b.activity_unit!r} is not known; use one of {', '.join(ACTIVITY_UNITS)}"
    reductions = (b.target_reduction_pct, b.target_intensity_reduction_pct)
    if b.target_year is None and any(r is not None for r in reductions):
        return "target_year", "is blank; a target needs the year by which it is to be reached"
    if b.target_year is not None and b.target_year <= b.baseline_year:
        return "target_year", f"{b.target_year} is not after baseline_year {b.baseline_year}"
    for column, value in zip(("target_reduction_pct", "target_intensity_reduction_pct"), reductions, strict=True):
        if value is not None and not 0.0 < value <= 100.0:
            return column, f"{value} is outside 0 to 100 per cent"
    return None


def benchmark_fault(b: Benchmark) -> tuple[str, str] | None:
    """(column, what is wrong and how to mend it), or None for a row that can be used."""
    if not 0.0 <= b.empty_share_pct <= 100.0:
        return "empty_share_pct", f"{b.empty_share_pct} is outside 0 to 100 per cent"
    if b.definition not in DEFINITIONS:
        return "definition", f"{b.definition!r} is not known; use one of {', '.join(DEFINITIONS)}"
    return None
