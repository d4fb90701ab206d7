"""Fuels of the registry as iLEAP's energy carriers, with the factors of the factor set behind the figures."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import duckdb
import msgspec

from dashboards.feed.decimals import DIGITS, ratio, text
from dashboards.feed.ileap import CarrierType, EnergyCarrier, Feedstock, Unit
from dashboards.feed.periods import Period
from dashboards.feed.reader import query
from dashboards.feed.sums import By, CarrierSums, here, parameters
from storage.factor_files import factor_set as packaged
from stream.factors import ELECTRICITY, FactorError, FactorSet, blend_parts, fuel_factors, is_gwp_set

_START: Final[tuple[tuple[str, CarrierType], ...]] = (
    ("diesel", "Diesel"),
    ("gas_oil", "Diesel"),
    ("fame", "Diesel"),
    ("hvo", "HVO"),
    ("petrol", "Petrol"),
    ("bio_cng", "CNG"),
    ("cng", "CNG"),
    ("bio_lng", "LNG"),
    ("lng", "LNG"),
    ("lpg", "LPG"),
    ("hydrogen", "Hydrogen"),
)
_UNITS: Final[Mapping[str, Unit]] = {"l": "l", "kg": "kg"}


class CarrierError(ValueError):
    """A fuel that the standard has no name for, or that the factor set does not know."""


def carrier_type(fuel: str) -> CarrierType:
    """The standard's name of a fuel; a blend goes by its larger part. Raises CarrierError."""
    if fuel == ELECTRICITY:
        return "Electric"
    parts = blend_parts(fuel)
    if parts is not None and parts[0] == "hvo100":
        return "HVO" if parts[2] > 0.5 else "Diesel"
    for start, found in _START:
        if fuel.startswith(start):
            return found
    raise CarrierError(f"iLEAP has no energy carrier for the fuel {fuel!r}")


def gwp_set(factor_set: str) -> str:
    """AR5 or AR6: the characterisation factors of a set, as PACT names them. Raises CarrierError for another."""
    found = [name for name in packaged(factor_set).gwp_sets() if is_gwp_set(name)]
    if len(found) != 1 or found[0] not in ("AR5", "AR6"):
        raise CarrierError(f"PACT allows AR5 and AR6; the factor set {factor_set} is in {', '.join(found) or 'none'}")
    return found[0]


def work_by_fuel(
    cursor: duckdb.DuckDBPyConnection, by: By, period: Period, factor_set: str, own: str
) -> dict[tuple[str, str], dict[str, int]]:
    """(tenant, cell) -> fuel -> goods mass times distance within ``period``. [kg m]"""
    rows = query(
        cursor,
        f"""
WITH here AS ({here(by)})
SELECT tenant, name, fuel, CAST(sum(transport_kgm) AS HUGEINT) AS work
FROM here JOIN (SELECT vehicle AS asset, fuel FROM vehicles) USING (asset)
GROUP BY 1, 2, 3 HAVING sum(transport_kgm) > 0""",  # noqa: S608
        parameters(period, factor_set, own),
    )
    out: dict[tuple[str, str], dict[str, int]] = {}
    for r in rows:
        out.setdefault((r["tenant"], r["name"]), {})[r["fuel"]] = r["work"]
    return out


class _Part(msgspec.Struct):
    """What is summed up of one carrier type."""

    unit: Unit
    work: int = 0
    energy: int = 0
    wtw: Decimal = Decimal(0)
    ttw: Decimal = Decimal(0)


def _factors(factors: FactorSet, fuel: str, c: CarrierSums) -> tuple[Unit, Decimal, Decimal]:
    """Unit, WTW and TTW factor of one unit of the fuel. Electricity: what the cell's own charging zones came to per kWh."""
    if fuel == ELECTRICITY:
        if c.energy <= 0:
            raise CarrierError("electric vehicles without an energy figure have no factor")
        return "kWh", ratio(c.co2e_ttw_ug + c.co2e_wtt_ug, c.energy), ratio(c.co2e_ttw_ug, c.energy)
    try:
        found = fuel_factors(factors, fuel)
    except FactorError as e:
        raise CarrierError(str(e)) from None
    unit = found.unit.rpartition("/")[2]
    ttw, wtt = Decimal(str(found.ttw)), Decimal(str(found.wtt))
    return _UNITS[unit if unit in _UNITS else "l"], ttw + wtt, ttw


def carriers(factor_set: str, work: Mapping[str, int], sums: Mapping[str, CarrierSums]) -> tuple[EnergyCarrier, ...]:
    """The carriers of one cell. ``relativeShare`` is of the transport activity, as the standard wants; shares add up to 1 exactly.

    Fuels of one carrier type are one entry, their factors weighted by energy. Raises CarrierError where nothing was carried.
    """
    factors = packaged(factor_set)
    parts: dict[CarrierType, _Part] = {}
    for fuel in sorted(work):
        c = sums.get(fuel)
        if c is None:
            continue
        unit, wtw, ttw = _factors(factors, fuel, c)
        part = parts.setdefault(carrier_type(fuel), _Part(unit))
        weight = max(c.energy, 1)
        part.work += work[fuel]
        part.energy += weight
        part.wtw += wtw * weight
        part.ttw += ttw * weight
    total = sum(p.work for p in parts.values())
    if not total:
        raise CarrierError("no goods were carried, so there is no transport activity to share")
    shares = _shares([p.work for p in parts.values()], total)
    return tuple(
        EnergyCarrier(
            energyCarrier=name,
            relativeShare=text(share),
            feedstocks=(Feedstock(feedstock="Grid"),) if name == "Electric" else None,
            energyConsumption=text(_rounded(Decimal(p.energy).scaleb(-9) / (Decimal(p.work).scaleb(-6)))),
            energyConsumptionUnit=p.unit,
            emissionFactorWTW=text(_rounded(p.wtw / p.energy)),
            emissionFactorTTW=text(_rounded(p.ttw / p.energy)),
        )
        for (name, p), share in zip(parts.items(), shares, strict=True)
    )


def _rounded(value: Decimal) -> Decimal:
    return Decimal(f"{value:.{DIGITS}g}")


def _shares(parts: list[int], total: int) -> list[Decimal]:
    """Shares of 1 with twelve digits that add up to 1: what rounding leaves goes to the largest."""
    out = [(Decimal(p) / total).quantize(Decimal("1e-12")) for p in parts]
    out[parts.index(max(parts))] += 1 - sum(out)
    return out
