"""A vehicle teaches its model: where fuel or energy is measured, the ratio of measured to modelled is kept for later gaps.

Slow (hours of driving), bounded, and part of the state. Until enough was seen the ratio stays near 1, the class default.
"""

import math
from typing import Any, Final

from stream.fixed import PER_UNIT
from stream.kernel import kernel

MEMORY_S: Final = (
    4.0 * 3600.0
)  # measured time after which what was learnt has faded to 1/e: weather and load change by the day
PRIOR: Final = 10.0  # litres (kg, kWh) that the class default counts for against what is measured
LEARNT: Final = 20.0  # modelled litres (kg, kWh) after which two thirds of the way to the calibrated band are gone
LOWEST: Final = 0.6  # beyond these the class or a sensor is wrong, and the model must not follow it
HIGHEST: Final = 1.6


@kernel
def ratio(state: Any) -> float:
    """Measured over modelled of this vehicle, 0.6 to 1.6; 1 before anything was measured."""
    learnt = (PRIOR + state["learnt_measured"]) / (PRIOR + state["learnt_modelled"])
    return float(min(max(learnt, LOWEST), HIGHEST))


@kernel
def learn(state: Any, measured: int, modelled: int, dt_s: float) -> None:
    """Take in one interval whose use was measured (fixed point) and what the bare model says of it."""
    keep = math.exp(-dt_s / MEMORY_S)
    state["learnt_measured"] = state["learnt_measured"] * keep + measured / PER_UNIT
    state["learnt_modelled"] = state["learnt_modelled"] * keep + modelled / PER_UNIT
