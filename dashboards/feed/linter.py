"""Refuses figures that cannot be: what passes here is what the feed publishes.

The rules are physics and the standards' own definitions, none is a matter of taste. iLEAP 1.0's example of a TOC (diesel with
WTW 2.67 below TTW 2.80) fails, as does its second shipment (87 kg over 423 km called 3.6801 t km).
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from dashboards.feed.decimals import parse
from dashboards.feed.ileap import HOC, TAD, TCE, TOC, EnergyCarrier, ShipmentFootprint

SHARE_ERROR: Final = Decimal("1e-9")  # of a sum of shares; decimals are exact, so only the twelfth digit may be off
ACTIVITY_ERROR: Final = Decimal("1e-6")  # relative, of mass x distance: both are rounded to six digits or more
FOSSIL: Final = frozenset({"Diesel", "Petrol", "CNG", "LNG", "LPG", "HFO", "MGO", "Aviation fuel"})


class Finding(msgspec.Struct, frozen=True):
    """One rule that a figure breaks: which field, what it says, what would be right."""

    field: str
    rule: str
    detail: str


class ImpossibleError(ValueError):
    """A figure that must not be published."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("; ".join(f"{f.field}: {f.detail}" for f in findings))
        self.findings = tuple(findings)


def _number(value: str | None, field: str, out: list[Finding]) -> Decimal | None:
    if value is None:
        return None
    try:
        return parse(value)
    except ValueError as e:
        out.append(Finding(field, "decimal", str(e)))
        return None


def _both(wtw: str | None, ttw: str | None, at: str, fossil: bool, out: list[Finding]) -> None:
    """WTW and TTW of one thing."""
    w, t = _number(wtw, f"{at}WTW", out), _number(ttw, f"{at}TTW", out)
    if w is None or t is None:
        if wtw is None or ttw is None:
            out.append(Finding(at, "both_boundaries", "WTW and TTW must both stand; add the one that is missing"))
        return
    if w < 0 or t < 0:
        out.append(
            Finding(
                at, "offsets", f"WTW {wtw} or TTW {ttw} is below 0: offsets and exports are outside (ISO 14083, 5.2.7)"
            )
        )
    if w < t:
        out.append(
            Finding(at, "wtw_below_ttw", f"WTW {wtw} is below TTW {ttw}; WTW is TTW plus the supply of the energy")
        )
    elif fossil and w == t and t > 0:
        out.append(
            Finding(at, "no_supply", f"WTW equals TTW {ttw} for a fossil fuel, as if its supply emitted nothing")
        )


def _within(
    value: str | None, field: str, low: Decimal, high: Decimal, *, low_open: bool, high_open: bool, out: list[Finding]
) -> None:
    v = _number(value, field, out)
    if v is None:
        return
    if v < low or v > high or (low_open and v == low) or (high_open and v == high):
        out.append(
            Finding(
                field, "range", f"{value} is outside {'(' if low_open else '['}{low}, {high}{')' if high_open else ']'}"
            )
        )


_ZERO, _ONE = Decimal(0), Decimal(1)


def _carriers(carriers: Iterable[EnergyCarrier], *, factors: bool, out: list[Finding]) -> None:
    total = _ZERO
    for i, c in enumerate(carriers):
        at = f"energyCarriers[{i}]"
        _within(c.relativeShare, f"{at}.relativeShare", _ZERO, _ONE, low_open=True, high_open=False, out=out)
        total += _number(c.relativeShare, at, []) or _ZERO
        if factors or c.emissionFactorWTW is not None:
            fossil = c.energyCarrier in FOSSIL and all(f.feedstock != "Cooking oil" for f in c.feedstocks or ())
            _both(c.emissionFactorWTW, c.emissionFactorTTW, f"{at}.emissionFactor", fossil, out)
        if (
            c.energyCarrier == "Electric"
            and c.emissionFactorTTW is not None
            and (_number(c.emissionFactorTTW, at, []) or _ZERO) > 0
        ):
            out.append(
                Finding(
                    f"{at}.emissionFactorTTW",
                    "electric_ttw",
                    f"{c.emissionFactorTTW} for electricity, which emits nothing where it is used; the power station belongs to WTW",
                )
            )
        if (c.energyConsumption is None) != (c.energyConsumptionUnit is None):
            out.append(
                Finding(
                    f"{at}.energyConsumption",
                    "unit",
                    "energyConsumption and energyConsumptionUnit stand together or not at all",
                )
            )
        feed = sum((_number(f.feedstockShare, f"{at}.feedstocks", out) or _ZERO for f in c.feedstocks or ()), _ZERO)
        if feed > _ONE + SHARE_ERROR:
            out.append(Finding(f"{at}.feedstocks", "shares", f"shares add up to {feed}, more than 1"))
    if abs(total - _ONE) > SHARE_ERROR:
        out.append(Finding("energyCarriers", "shares", f"relative shares add up to {total}, not 1"))


def _factors(item: TOC | TAD, out: list[Finding]) -> None:
    _within(item.loadFactor, "loadFactor", _ZERO, _ONE, low_open=True, high_open=False, out=out)
    _within(item.emptyDistanceFactor, "emptyDistanceFactor", _ZERO, _ONE, low_open=False, high_open=True, out=out)


def _tce(tce: TCE, at: str, out: list[Finding]) -> None:
    if (tce.tocId is None) == (tce.hocId is None):
        out.append(Finding(f"{at}.tocId", "one_category", "exactly one of tocId and hocId must stand"))
    _both(tce.co2eWTW, tce.co2eTTW, f"{at}.co2e", False, out)
    mass = _number(tce.mass, f"{at}.mass", out)
    activity = _number(tce.transportActivity, f"{at}.transportActivity", out)
    distances = [
        d
        for name in ("actual", "gcd", "sfd")
        if (d := _number(getattr(tce.distance, name), f"{at}.distance.{name}", out)) is not None
    ]
    if not distances:
        out.append(Finding(f"{at}.distance", "distance", "one of actual, gcd and sfd must stand"))
    if mass is not None and mass <= 0:
        out.append(Finding(f"{at}.mass", "range", f"{tce.mass} kg is not above 0"))
    if mass is None or activity is None or not distances:
        return
    if all(abs(activity - mass * d / 1000) > ACTIVITY_ERROR * max(abs(activity), mass * d / 1000) for d in distances):
        wanted = " or ".join(f"{mass * d / 1000:f}" for d in distances)
        out.append(
            Finding(
                f"{at}.transportActivity", "activity", f"{tce.transportActivity} t km is not mass x distance, {wanted}"
            )
        )


def _shipment(item: ShipmentFootprint, out: list[Finding]) -> None:
    seen: set[str] = set()
    for i, tce in enumerate(item.tces):
        at = f"tces[{i}]"
        _tce(tce, at, out)
        if tce.shipmentId != item.shipmentId:
            out.append(
                Finding(
                    f"{at}.shipmentId", "identity", f"{tce.shipmentId!r} is another shipment than {item.shipmentId!r}"
                )
            )
        if tce.tceId in seen:
            out.append(Finding(f"{at}.tceId", "identity", f"{tce.tceId!r} stands twice"))
        out.extend(
            Finding(f"{at}.prevTceIds", "order", f"{previous!r} does not come before {tce.tceId!r}")
            for previous in tce.prevTceIds or ()
            if previous not in seen
        )
        seen.add(tce.tceId)


def lint(item: TOC | HOC | ShipmentFootprint | TAD) -> list[Finding]:
    """Every rule that ``item`` breaks; empty for what may be published."""
    out: list[Finding] = []
    match item:
        case TOC():
            _carriers(item.energyCarriers, factors=True, out=out)
            fossil = all(c.energyCarrier in FOSSIL for c in item.energyCarriers)
            _both(item.co2eIntensityWTW, item.co2eIntensityTTW, "co2eIntensity", fossil, out)
            _factors(item, out)
        case HOC():
            _carriers(item.energyCarriers, factors=True, out=out)
            _both(item.co2eIntensityWTW, item.co2eIntensityTTW, "co2eIntensity", False, out)
        case TAD():
            if item.energyCarriers is not None:
                _carriers(item.energyCarriers, factors=False, out=out)
            _factors(item, out)
            if item.arrivalAt < item.departureAt:
                out.append(Finding("arrivalAt", "order", f"{item.arrivalAt} is before departureAt {item.departureAt}"))
        case ShipmentFootprint():
            _shipment(item, out)
    return out


def check(item: TOC | HOC | ShipmentFootprint | TAD) -> None:
    """Raises ImpossibleError naming every rule that ``item`` breaks."""
    if findings := lint(item):
        raise ImpossibleError(findings)
