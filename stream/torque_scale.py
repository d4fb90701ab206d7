"""By which factor the torque reads a vehicle's mass wrong: a belief over a grid of factors that every trip sharpens.

Efficiency, reference torque and tyres are class defaults, so a mass by torque is c times the true one, and c is the vehicle's own.
No trip tells it alone, for what is aboard is not known either: each multiplies p(c) by the likelihood of its mass under c, goods or
none (Bayes). Near-empty trips do most, as nothing is lighter than empty. What a trip has added can be taken out again, so that it
is judged by the others.
"""

import math
from typing import Any, Final

from stream.aboard import goods_density, none_density
from stream.kernel import kernel
from stream.mass import BOBTAIL_SHARE, CAN_TEACHES_REL, can_mass, guessed_torque, torque_is_wrong

FACTORS: Final = 33
MIDDLE: Final = 16
PER_SD: Final = 4.0  # steps of the grid to a standard deviation of the prior: +-4 of them in all
OUTLIER: Final = 0.03  # of the trips, whose mass says nothing: rain, a headwind all day, a trailer of another
FADES: Final = 0.02  # of what was learnt, as a power, with each trip: tyres wear, a new set is fitted
ORDER_U_REL: Final = 0.02  # of a load by order; standard deviation


@kernel
def _prior(k: int) -> float:
    """Weight of factor ``k`` before any trip."""
    z = float(k - MIDDLE) / PER_SD
    return math.exp(-0.5 * z * z)


@kernel
def factor(state: Any, k: int) -> float:
    """Factor ``k`` of the grid: mass by torque over true mass, a ratio near 1."""
    return 1.0 + float(k - MIDDLE) * float(state["scale_step"])


@kernel
def trip_likelihood(
    state: Any, p: Any, c: float, mass_kg: float, sd_kg: float, p_loaded: float, cargo_kg: float
) -> float:
    """Density [1/kg] of a mass by torque under factor ``c``; goods aboard with ``p_loaded``, or known by order (else NaN)."""
    capacity = float(p["capacity_kg"])
    x, sd = mass_kg / c - float(p["tare_kg"]), sd_kg / c
    nothing_told = OUTLIER / capacity
    if not math.isnan(cargo_kg):
        sd = math.hypot(sd, ORDER_U_REL * cargo_kg)
        if cargo_kg < 1.0:
            return (1.0 - OUTLIER) * none_density(x, sd, capacity) + nothing_told
        z = (x - cargo_kg) / sd
        return (1.0 - OUTLIER) * math.exp(-0.5 * z * z) / (sd * math.sqrt(2.0 * math.pi)) + nothing_told
    mixed = (1.0 - p_loaded) * none_density(x, sd, capacity) + p_loaded * goods_density(state, x, sd, capacity)
    return (1.0 - OUTLIER) * mixed + nothing_told


@kernel
def open_belief(state: Any, p: Any) -> None:
    """Begin with the prior, and again where the reference torque has become known."""
    step = guessed_torque(state, p) / PER_SD
    if state["scale_step"] != step:
        state["scale_step"] = step
        for k in range(FACTORS):
            state["scale_belief"][k] = _prior(k)


@kernel
def learn_scale(state: Any, p: Any, p_loaded: float) -> None:
    """Take the trip that has ended into the belief, and its mean and standard deviation into ``scale_mean`` and ``scale_sd``.

    ``p_loaded``: probability of goods by all evidence but the torque. A bobtail's trip and one with a poor mass teach nothing.
    """
    open_belief(state, p)
    mass, sd = can_mass(state)
    if math.isnan(mass) or sd > CAN_TEACHES_REL * mass or mass < BOBTAIL_SHARE * p["tare_kg"] or torque_is_wrong(state):
        return
    belief = state["scale_belief"]
    total = 0.0
    for k in range(FACTORS):
        faded = math.pow(belief[k], 1.0 - FADES) * math.pow(_prior(k), FADES)
        belief[k] = faded * trip_likelihood(state, p, factor(state, k), mass, sd, p_loaded, state["order_cargo_kg"])
        total += belief[k]
    for k in range(FACTORS):
        belief[k] /= total
    state["scale_mean"], state["scale_sd"] = scale_without(state, p, math.nan, math.nan, math.nan)


@kernel
def scale_without(state: Any, p: Any, mass_kg: float, sd_kg: float, p_loaded: float) -> tuple[float, float]:
    """(mean, standard deviation) of the factor, ratios, by all trips but the one of this mass and ``sd_kg`` [kg]; NaN: by all trips.

    ``p_loaded``: probability of goods on that trip by all evidence but the torque, 0 to 1.
    """
    all_of_them = math.isnan(mass_kg) or sd_kg > CAN_TEACHES_REL * mass_kg
    s0, s1, s2 = 0.0, 0.0, 0.0
    for k in range(FACTORS):
        c = factor(state, k)
        w = float(state["scale_belief"][k])
        if not all_of_them:
            w /= trip_likelihood(state, p, c, mass_kg, sd_kg, p_loaded, math.nan)
        s0 += w
        s1 += w * c
        s2 += w * c * c
    mean = s1 / s0
    return mean, math.sqrt(max(s2 / s0 - mean * mean, 0.0))
