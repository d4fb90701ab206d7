"""What a mass aboard says: goods or none, by how masses of either kind are spread, and how this vehicle was loaded before.

None is nothing, or empty load units. Goods are spread by the shares of a vehicle's own trips over bands of its capacity (``load_shares``),
which begin as those of any vehicle: half even, half rising, for heavy loads are more common than light ones.
"""

import math
from typing import Any, Final

from stream.kernel import kernel

UNITS_SHARE: Final = 0.06  # of capacity: what empty load units weigh at most (33 roll cages of 45 kg on 25 t)
P_NOTHING: Final = 0.6  # of trips without goods: not even units aboard
LOAD_EDGES: Final = (
    0.02,
    0.06,
    0.12,
    0.25,
    0.5,
    0.75,
    1.05,
)  # of capacity; goods below the first weigh no more than units
N_LOADS: Final = len(LOAD_EDGES) - 1
LOADS_PRIOR: Final = 4.0  # trips that the shares of any vehicle count for
LOADS_MEMORY: Final = 60.0  # trips that the own shares remember


@kernel
def between(x: float, low: float, high: float, sd: float) -> float:
    """Density at ``x`` of a value that is even between ``low`` and ``high``, seen with a normal error of ``sd``."""
    scale = sd * math.sqrt(2.0)
    return 0.5 * (math.erf((x - low) / scale) - math.erf((x - high) / scale)) / (high - low)


@kernel
def none_density(x_kg: float, sd_kg: float, capacity_kg: float) -> float:
    """Density [1/kg] of a mass aboard of ``x_kg`` with a normal error of ``sd_kg``, where there are no goods."""
    z = x_kg / sd_kg
    nothing = math.exp(-0.5 * z * z) / (sd_kg * math.sqrt(2.0 * math.pi))
    return P_NOTHING * nothing + (1.0 - P_NOTHING) * between(x_kg, 0.0, UNITS_SHARE * capacity_kg, sd_kg)


@kernel
def usual_share(k: int) -> float:
    """Share of band ``k`` (0 to ``N_LOADS`` - 1) in the loads of any vehicle: density 0.5 + (x - low) / (high - low)."""
    low, high = LOAD_EDGES[0], LOAD_EDGES[N_LOADS]
    u, v = (LOAD_EDGES[k] - low) / (high - low), (LOAD_EDGES[k + 1] - low) / (high - low)
    return 0.5 * (v - u) + 0.5 * (v * v - u * u)


@kernel
def band_density(k: int, x_kg: float, sd_kg: float, capacity_kg: float) -> float:
    """Density [1/kg] of a mass aboard of ``x_kg`` with an error of ``sd_kg`` in band ``k``; the heaviest goes on as high beyond its end."""
    low, high = LOAD_EDGES[k] * capacity_kg, LOAD_EDGES[k + 1] * capacity_kg
    if k == N_LOADS - 1:
        return 2.0 * between(x_kg, low, 2.0 * high - low, sd_kg)
    return between(x_kg, low, high, sd_kg)


@kernel
def goods_density(state: Any, x_kg: float, sd_kg: float, capacity_kg: float) -> float:
    """Density [1/kg] of a mass aboard of ``x_kg`` with a normal error of ``sd_kg``, where there are goods. Overloaded is no less loaded."""
    x = min(x_kg, capacity_kg)
    found, counted = 0.0, LOADS_PRIOR
    for k in range(N_LOADS):
        seen = float(state["loads_seen"][k])
        found += (LOADS_PRIOR * usual_share(k) + seen) * band_density(k, x, sd_kg, capacity_kg)
        counted += seen
    return found / counted


@kernel
def usual_density(x_kg: float, sd_kg: float, capacity_kg: float) -> float:
    """Density [1/kg] of a mass aboard of ``x_kg`` with an error of ``sd_kg`` in the loads of any vehicle."""
    x = min(x_kg, capacity_kg)
    found = 0.0
    for k in range(N_LOADS):
        found += usual_share(k) * band_density(k, x, sd_kg, capacity_kg)
    return found


@kernel
def mass_log_ratio(state: Any, aboard_kg: float, sd_kg: float, capacity_kg: float, weighed: bool) -> float:
    """Log of P(mass aboard | goods) / P(mass aboard | none) for a mass with a normal error of ``sd_kg`` [kg].

    ``weighed``: by scales, which are exact enough to say what is aboard whatever the vehicle carries else.
    """
    x = max(aboard_kg, 0.0)
    goods = usual_density(x, sd_kg, capacity_kg) if weighed else goods_density(state, x, sd_kg, capacity_kg)
    return math.log((goods + 1e-12) / (none_density(x, sd_kg, capacity_kg) + 1e-12))


@kernel
def learn_loads(state: Any, aboard_kg: float, sd_kg: float, capacity_kg: float, p_loaded: float) -> None:
    """Count a trip that was loaded with probability ``p_loaded``, in the bands that its mass aboard [kg] may lie in."""
    x = min(max(aboard_kg, 0.0), capacity_kg)
    counted = LOADS_PRIOR
    for k in range(N_LOADS):
        counted += float(state["loads_seen"][k])
    density = goods_density(state, x, sd_kg, capacity_kg) + 1e-12
    seen = state["loads_seen"]
    for k in range(N_LOADS):
        share = (LOADS_PRIOR * usual_share(k) + seen[k]) / counted
        here = share * band_density(k, x, sd_kg, capacity_kg) / density
        seen[k] = seen[k] * (1.0 - 1.0 / LOADS_MEMORY) + p_loaded * here
