"""What a benchmark gives back: one figure, its unit, and what it is compared with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One measured figure. ``compared_with`` names the target or the other candidates of the same run."""

    name: str
    value: float
    unit: str
    compared_with: str
