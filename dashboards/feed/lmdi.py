"""Exact split of a change in emissions into its causes: logarithmic mean Divisia index, additive form (LMDI-I).

For each energy carrier k of a period:  E_k = T * (L / T) * (D / L) * (D_k / D) * (F_k / D_k) * (E_k / F_k)

    T    transport activity [t km]         activity
    L/T  loaded distance per t km          load factor (its inverse is the mean payload)
    D/L  distance per loaded distance      empty share: 1 / (1 - ER)
    D_k/D  share of the distance           energy mix: which carrier drives
    F_k/D_k  energy per distance           efficiency: driving, payload, weather
    E_k/F_k  CO2e per energy               carrier intensity: where it was charged, refrigeration units

The change is the sum over k and factors x of  L(E_k1, E_k0) * ln(x1 / x0),  L(a, b) = (a - b) / ln(a / b).

Zeros take their analytical limits [1, 2]: where E_k comes from or goes to 0, the factors that are 0 share the whole change
equally, the others contribute nothing. A change of sign goes through 0 in two such steps. A factor that a period does not
define (no distance, so no energy per distance) counts as unchanged. Emissions without any distance (engines running at a
standstill all period) are no product of these factors: they are the term ``standing``.

.. [1] B. W. Ang, Energy Policy 33 (2005) 867, The LMDI approach to decomposition analysis: a practical guide.
.. [2] B. W. Ang, N. Liu, Energy Policy 35 (2007) 238, Handling zero values in the logarithmic mean Divisia index.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

FACTORS: Final = ("activity", "load_factor", "empty_share", "energy_mix", "efficiency", "carrier_intensity")


class Carrier(msgspec.Struct, frozen=True):
    """One energy carrier in one period. ``energy`` may be in any unit that both periods share."""

    distance_km: float
    energy: float
    co2e_kg: float


class Period(msgspec.Struct, frozen=True):
    """Sums of one period. Without ``transport_tkm`` or ``loaded_km`` (0 = not known) the chain starts at the distance."""

    carriers: Mapping[str, Carrier]
    transport_tkm: float = 0.0
    loaded_km: float = 0.0

    @property
    def co2e_kg(self) -> float:
        """All carriers together."""
        return math.fsum(c.co2e_kg for c in self.carriers.values())


def _ratio(a: float, b: float) -> float | None:
    """``a / b``; None where it is not defined or too large to be a number."""
    if b == 0.0:
        return None
    value = a / b
    return value if math.isfinite(value) else None


def _chain(period: Period, name: str, by_load: bool) -> tuple[float | None, ...]:
    """Factors of one carrier, None where not defined."""
    c = period.carriers.get(name, Carrier(0.0, 0.0, 0.0))
    distance = math.fsum(other.distance_km for other in period.carriers.values())
    head: tuple[float | None, ...] = (distance, 1.0, 1.0)
    if by_load:
        t, loaded = period.transport_tkm, period.loaded_km
        head = (t, _ratio(loaded, t), _ratio(distance, loaded))
    if c.energy == 0.0 and c.co2e_kg != 0.0:  # emissions without an energy figure: intensity per distance
        return (*head, _ratio(c.distance_km, distance), 1.0, _ratio(c.co2e_kg, c.distance_km))
    return (
        *head,
        _ratio(c.distance_km, distance),
        _ratio(c.energy, c.distance_km),
        _ratio(c.co2e_kg, c.energy),
    )


def _to_zero(value: float, away: Sequence[float | None], gone: Sequence[float | None]) -> list[float]:
    """Contributions when a product of ``value`` (of factors ``away``) appears beside 0 (of factors ``gone``)."""
    zeros = [a not in (None, 0.0) and g == 0.0 for a, g in zip(away, gone, strict=True)]
    if not any(zeros):  # the carrier is absent as a whole: that is a change of the mix
        zeros = [name == "energy_mix" for name in FACTORS]
    share = value / sum(zeros)
    return [share if z else 0.0 for z in zeros]


def _term(e0: float, e1: float, x0: Sequence[float | None], x1: Sequence[float | None]) -> list[float]:
    if e0 == 0.0 and e1 == 0.0:
        return [0.0] * len(FACTORS)
    if e0 == 0.0:
        return _to_zero(e1, x1, x0)
    if e1 == 0.0:
        return _to_zero(-e0, x0, x1)
    if (e0 < 0.0) != (e1 < 0.0):
        signs = [
            a is not None and b is not None and a != 0.0 and (a < 0.0) != (b < 0.0) for a, b in zip(x0, x1, strict=True)
        ]
        turned = signs if any(signs) else [name == "carrier_intensity" for name in FACTORS]
        return [(e1 - e0) / sum(turned) if s else 0.0 for s in turned]
    logs = [
        math.log(abs(b)) - math.log(abs(a)) if a not in (None, 0.0) and b not in (None, 0.0) else 0.0
        for a, b in zip(x0, x1, strict=True)
    ]
    total = math.log(abs(e1)) - math.log(abs(e0))
    logs[-1] += total - math.fsum(logs)  # what is not defined in one period stays with the last link
    if abs(total) < 1e-6:  # (a - b) / ln(a / b) is 0 / 0 here; the mean differs from it by total**2 / 12 of itself
        mean = (e0 + e1) / 2.0
        out = [mean * x for x in logs]
    else:
        out = [(e1 - e0) * (x / total) for x in logs]
    out[-1] += (e1 - e0) - math.fsum(out)  # rounding only
    return out


def split(before: Period, after: Period) -> dict[str, float]:
    """Contributions of each factor, and of ``standing``, to ``after.co2e_kg - before.co2e_kg``. [kg]

    They add up to the change to 1e-9 of the larger of the two. Where a period lacks transport activity or loaded distance,
    ``activity`` is the distance driven and load factor and empty share contribute 0.
    """
    by_load = min(before.transport_tkm, before.loaded_km, after.transport_tkm, after.loaded_km) > 0.0
    parts: dict[str, list[float]] = {name: [] for name in (*FACTORS, "standing")}
    for name in sorted({*before.carriers, *after.carriers}):
        c0 = before.carriers.get(name, Carrier(0.0, 0.0, 0.0))
        c1 = after.carriers.get(name, Carrier(0.0, 0.0, 0.0))
        e0 = c0.co2e_kg if c0.distance_km else 0.0
        e1 = c1.co2e_kg if c1.distance_km else 0.0
        parts["standing"] += [c1.co2e_kg - e1, -(c0.co2e_kg - e0)]
        term = _term(e0, e1, _chain(before, name, by_load), _chain(after, name, by_load))
        for factor, value in zip(FACTORS, term, strict=True):
            parts[factor].append(value)
    return {name: math.fsum(values) for name, values in parts.items()}
