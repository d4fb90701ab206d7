"""Why it changed: one cell over two periods, split into causes that add up to the change exactly.

    E(before, old factors, as published) -> late data -> E(before, old factors, as known now)
                                         -> factor vintage -> E(before, new factors)
                                         -> activity, load, empty share, mix, efficiency ... -> E(after, new factors)

Each arrow is one term (the last one is split by ``lmdi``), so the terms add up whatever they are.
"""

from typing import Annotated, Final

import duckdb
import msgspec

from dashboards.feed import lmdi
from dashboards.feed.answers import choose_factor_set, may_ask, too_small
from dashboards.feed.keys import Key
from dashboards.feed.periods import Period, iso
from dashboards.feed.problem import ProblemError
from dashboards.feed.progress import KGM_PER_TKM, MM_PER_KM, UG_PER_KG
from dashboards.feed.reader import Reader
from dashboards.feed.service import Feed
from dashboards.feed.sums import By, CarrierSums, Sums, carriers, cells

UNIT_PER_ENERGY: Final = 1e9  # nL, µg and µWh to L, kg and kWh


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a comparison."""

    from_: str = msgspec.field(name="from")
    to: str
    factor_set: str
    co2e_kg: float
    transport_tkm: float | None
    distance_km: float
    published: str | None = None


class Cause(msgspec.Struct, frozen=True):
    """One term of the change. [kg CO2e]"""

    cause: str
    kg: float
    share_of_change: float | None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """The change of one cell's emissions and what it is made of. The causes add up to ``change_kg``."""

    tenant: str
    by: str
    name: str
    boundary: str
    before: Side
    after: Side
    change_kg: float
    causes: tuple[Cause, ...]
    activity_unit: Annotated[str, msgspec.Meta(description="t km; km where goods are not known in both periods")]
    weather: Annotated[str, msgspec.Meta(description="how weather is treated")]


WEATHER: Final = "inside efficiency: the sums behind figures hold no weather, so its part cannot be told apart"


def _lmdi(sums: Sums, found: dict[str, CarrierSums], boundary: str) -> lmdi.Period:
    def kg(c: CarrierSums) -> float:
        return (c.co2e_ttw_ug + (c.co2e_wtt_ug if boundary == "wtw" else 0)) / UG_PER_KG

    return lmdi.Period(
        {fuel: lmdi.Carrier(c.distance_mm / MM_PER_KM, c.energy / UNIT_PER_ENERGY, kg(c)) for fuel, c in found.items()},
        sums.transport_kgm / KGM_PER_TKM,
        sums.loaded_mm / MM_PER_KM,
    )


def _one(found: list[Sums], tenant: str, name: str, period: Period) -> Sums:
    for s in found:
        if (s.tenant, s.name) == (tenant, name):
            return s
    raise ProblemError(404, f"{name!r} of {tenant!r} has no results from {iso(period.from_ns)} to {iso(period.to_ns)}")


def _visible(
    cursor: duckdb.DuckDBPyConnection, reader: Reader, k: int, by: By, period: Period, names: tuple[str, str, str]
) -> None:
    tenant, name, factor_set = names
    small, _ = too_small(cursor, by, period, factor_set, reader.own_tenant, k)
    if (tenant, name) in small:
        raise ProblemError(403, f"{name!r} of {tenant!r} has too few vehicles to be shown in this period")


def change(
    cursor: duckdb.DuckDBPyConnection,
    feed: Feed,
    key: Key,
    by: By,
    tenant: str,
    name: str,
    *,
    before: Period,
    after: Period,
    before_set: str | None,
    after_set: str | None,
    boundary: str,
) -> Change:
    """The change from ``before`` to ``after``. Raises ProblemError 403 and 404.

    Late data is what the lake knows now and the published figure of ``before`` did not; without a published one it is 0.
    """
    for period in (before, after):
        may_ask(key, by, period, tenant)
    if by == "region" and not key.sees_region(name):
        raise ProblemError(403, f"your key does not reach the region {name!r}")
    reader = feed.reader
    own, now = reader.own_tenant, reader.now_ns()
    if after.to_ns > now or before.to_ns > now:
        raise ProblemError(400, "both periods must be over; a running one changes by the minute, take /v1/progress")
    new = choose_factor_set(cursor, after_set)
    old = choose_factor_set(cursor, before_set) if before_set else new
    if key.hides:
        for period, used in ((before, old), (before, new), (after, new)):
            _visible(cursor, reader, feed.config.k, by, period, (tenant, name, used))
    old_sums = _one(cells(cursor, by, before, old, own), tenant, name, before)
    new_before = _one(cells(cursor, by, before, new, own), tenant, name, before)
    new_after = _one(cells(cursor, by, after, new, own), tenant, name, after)
    c0 = carriers(cursor, by, before, new, own)[tenant, name]
    c1 = carriers(cursor, by, after, new, own)[tenant, name]

    def kg(ttw: int, wtt: int) -> float:
        return (ttw + (wtt if boundary == "wtw" else 0)) / UG_PER_KG

    published = feed.archived(tenant, by, name, before, old)
    known_then = published.sums if published else None
    start = (
        kg(old_sums.co2e_ttw_ug, old_sums.co2e_wtt_ug)
        if known_then is None
        else kg(known_then["co2e_ttw_ug"], known_then["co2e_wtt_ug"])
    )
    as_known = kg(old_sums.co2e_ttw_ug, old_sums.co2e_wtt_ug)
    recalculated = kg(new_before.co2e_ttw_ug, new_before.co2e_wtt_ug)
    end = kg(new_after.co2e_ttw_ug, new_after.co2e_wtt_ug)
    p0, p1 = _lmdi(new_before, c0, boundary), _lmdi(new_after, c1, boundary)
    parts = {"late_data": as_known - start, "factor_vintage": recalculated - as_known, **lmdi.split(p0, p1)}
    total = end - start
    by_load = min(p0.transport_tkm, p0.loaded_km, p1.transport_tkm, p1.loaded_km) > 0
    return Change(
        tenant=tenant,
        by=by,
        name=name,
        boundary=boundary,
        before=_side(before, old, start, new_before, published.id if published else None),
        after=_side(after, new, end, new_after, None),
        change_kg=total,
        causes=tuple(Cause(cause, value, value / total if total else None) for cause, value in parts.items()),
        activity_unit="t km" if by_load else "km",
        weather=WEATHER,
    )


def _side(period: Period, factor_set: str, kg: float, s: Sums, published: str | None) -> Side:
    return Side(
        from_=iso(period.from_ns),
        to=iso(period.to_ns),
        factor_set=factor_set,
        co2e_kg=kg,
        transport_tkm=s.transport_kgm / KGM_PER_TKM or None,
        distance_km=s.distance_mm / MM_PER_KM,
        published=published,
    )
