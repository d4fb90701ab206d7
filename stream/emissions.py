"""From fuel or energy to CO2e: amount times factor, each part on its own, unknown staying unknown.

Results are tuples of numbers: an array handed to a kernel costs two atomic reference counts a call, as much as the physics.
"""

import math
from typing import Any

from stream.columns import UNKNOWN
from stream.fixed import times
from stream.kernel import kernel

Gases = tuple[int, int, int, int]


@kernel
def fuel_co2e(amount: int, p: Any) -> Gases:
    """(CO2, CO2e TTW, CO2e WTT, biogenic CO2) in µg of an ``amount`` of fuel (nL with factors per L, or µg with factors per kg).

    m = V f, IPCC Guidelines 2006, volume 2, equation 3.2.1. UNKNOWN where the amount is.
    """
    return (
        times(amount, p["fuel_co2"]),
        times(amount, p["fuel_ttw"]),
        times(amount, p["fuel_wtt"]),
        times(amount, p["fuel_biogenic"]),
    )


@kernel
def tru_co2e(tru_nl: int, p: Any) -> Gases:
    """The same of the refrigeration unit's gas oil; zeros where its use is unknown, since most vehicles have none."""
    if tru_nl == UNKNOWN:
        return 0, 0, 0, 0
    return (
        times(tru_nl, p["gas_oil_co2"]),
        times(tru_nl, p["gas_oil_ttw"]),
        times(tru_nl, p["gas_oil_wtt"]),
        0,
    )


@kernel
def battery_co2e(energy_uwh: int, grid_kg_per_kwh: float) -> Gases:
    """The same of battery energy; ``grid_kg_per_kwh`` holds generation, losses, supply and charger.

    TTW is 0 by definition (mission definitions, 6).
    """
    if energy_uwh == UNKNOWN:
        return UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN
    return 0, 0, times(energy_uwh, grid_kg_per_kwh), 0


@kernel
def product_u(amount_rel: float, factor_rel: float) -> float:
    """Half-width of the 95 % interval of amount times factor, relative: independent errors, U = sqrt(U1^2 + U2^2)."""
    return math.sqrt(amount_rel * amount_rel + factor_rel * factor_rel)
