"""Publishing: closed figures into the archive, with their PACT footprints where there is one. The operator's act, by command."""

from collections.abc import Iterator
from typing import Any, Final

import duckdb
import msgspec

from dashboards.feed import orders as labels
from dashboards.feed.answers import choose_factor_set, loss_of, too_small
from dashboards.feed.archive import Commits, Filter, Published
from dashboards.feed.carriers import CarrierError, carriers, work_by_fuel
from dashboards.feed.decimals import ratio, text
from dashboards.feed.footprints import UG_PER_KG, Owner, Quality, hoc, product_footprint, toc
from dashboards.feed.ileap import HOC, TOC, EnergyCarrier, ShipmentFootprint
from dashboards.feed.keys import ALL, Key
from dashboards.feed.linter import ImpossibleError
from dashboards.feed.periods import Period, iso, month_of
from dashboards.feed.progress import coverage, methods
from dashboards.feed.service import Feed, Question
from dashboards.feed.state import closes_ns
from dashboards.feed.sums import NONE, By, HubFacts, Sums, cells, hub_facts, received
from dashboards.feed.sums import carriers as carrier_sums
from storage.proof import commit_range

PUBLISHED_BY: Final[tuple[By, ...]] = ("operator", "region", "route_group", "route", "warehouse", "vehicle")
SUMMED: Final = (  # what the verifier makes again from the exported rows
    "observed_us",
    "unknown_us",
    "distance_mm",
    "fuel_nl",
    "fuel_gas_ug",
    "energy_uwh",
    "co2e_ttw_ug",
    "co2e_wtt_ug",
    "co2_biogenic_ug",
    "co2e_measured_ug",
)


class Outcome(msgspec.Struct, frozen=True):
    """What became of one figure: published, unchanged or refused, and why."""

    name: str
    what: str
    id: str | None = None


def _operator() -> Key:
    """The rights of whoever runs the command beside the archive."""
    return Key(
        id="operator0000",
        name="operator",
        salt="",
        hash="",
        tenants=(ALL,),
        regions=(ALL,),
        detail="vehicles",
        created_ns=0,
        expires_ns=2**62,
    )


class _Basis(msgspec.Struct, frozen=True):
    """What all figures of one run share."""

    period: Period
    factor_set: str
    commits: Commits
    created: str
    owner: Owner


def publish(
    feed: Feed, cursor: duckdb.DuckDBPyConnection, by: By, period: Period, *, asked_set: str | None, tenant: str | None
) -> Iterator[Outcome]:
    """Publish every closed figure of ``by`` over ``period``; a provisional one is refused and says why."""
    basis = _basis(feed, cursor, period, asked_set)
    if basis is None:
        yield Outcome(by, f"refused: nothing was committed from {iso(period.from_ns)} on")
        return
    own = feed.reader.own_tenant
    answer = feed.answer(cursor, _operator(), Question(by, period, tenant, basis.factor_set))
    found = {(s.tenant, s.name): s for s in cells(cursor, by, period, basis.factor_set, own)}
    small = (
        too_small(cursor, by, period, basis.factor_set, own, feed.config.k)[0]
        if by not in ("warehouse", "vehicle")
        else set()
    )
    losses = received(cursor, period)
    carrying = _Carrying(cursor, by, basis.factor_set, period, own)
    for figure in answer.figures:
        s = found[figure.tenant, figure.name]
        if s.name == NONE:
            continue  # what belongs to no cell is no figure
        if figure.state == "provisional":
            yield Outcome(figure.name, "refused, provisional: " + "; ".join(figure.why))
            continue
        try:
            item = carrying.item(s)
        except (ImpossibleError, CarrierError, ValueError) as e:
            item, reason = None, str(e)
        else:
            reason = ""
        quality = _quality(s, loss_of(s, losses))
        told = msgspec.to_builtins(figure)
        for moving in ("state", "why", "age_s", "figure_id"):
            told.pop(moving, None)
        made, new = feed.archive.publish(
            kind="progress",
            where=Filter(
                tenant=s.tenant, by=by, name=s.name, from_ns=period.from_ns, to_ns=period.to_ns, assets=s.assets
            ),
            sums={name: getattr(s, name) for name in SUMMED},
            factor_set=basis.factor_set,
            kernel_versions=s.kernel_versions,
            commits=basis.commits,
            created=basis.created,
            small=(s.tenant, s.name) in small,
            figure=told,
            footprint=_footprint(item, basis, quality),
        )
        word = f"published, version {made.version}" if new else "unchanged"
        yield Outcome(figure.name, word + (f"; no footprint: {reason}" if reason else ""), made.id)


def _basis(feed: Feed, cursor: duckdb.DuckDBPyConnection, period: Period, asked_set: str | None) -> _Basis | None:
    newest = feed.reader.newest
    found = commit_range(feed.lake, period.from_ns, feed.now_ns() + 1) if newest else None
    if newest is None or found is None:
        return None
    owner = Owner(feed.config.company, feed.config.company_ids, feed.config.country)
    commits = Commits(found[0], newest.n, newest.sha256)
    return _Basis(period, choose_factor_set(cursor, asked_set), commits, iso(feed.now_ns()), owner)


def _quality(s: Sums, loss: float | None) -> Quality:
    total = s.co2e_wtw_ug
    return Quality(coverage(s, loss) or 0.0, methods(s).measured or 0.0, s.co2e_u_ug / total if total > 0 else 1.0)


class _Carrying:
    """Makes TOCs and HOCs of one run."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, by: By, factor_set: str, period: Period, own: str) -> None:
        self._by, self._factor_set, self._period = by, factor_set, period
        self._work = work_by_fuel(cursor, by, period, factor_set, own) if by == "route_group" else {}
        self._sums = carrier_sums(cursor, by, period, factor_set, own) if by == "route_group" else {}
        self._goods = hub_facts(cursor, period) if by == "warehouse" else {}

    def item(self, s: Sums) -> TOC | HOC | None:
        """The operation category behind a cell; None for cells that are none. Raises ImpossibleError, CarrierError, ValueError."""
        cell = s.tenant, s.name
        if self._by == "route_group":
            parts = carriers(self._factor_set, self._work.get(cell, {}), self._sums.get(cell, {}))
            return toc(s, self._period, parts)
        if self._by == "warehouse":
            goods = self._goods.get(s.name, HubFacts(None, None)).goods_out_kg
            return hoc(s, self._period, goods or 0.0, _site_carriers(s))
        return None


def _site_carriers(s: Sums) -> tuple[EnergyCarrier, ...]:
    """A site on electricity alone. Others wait until their fuels are summed one by one."""
    if s.co2e_ttw_ug or s.fuel_nl or s.energy_uwh <= 0:
        raise CarrierError("the site burns fuels that the sums do not tell apart, so no energy carriers can be named")
    factor = text(ratio(s.co2e_wtt_ug, s.energy_uwh))
    return (
        EnergyCarrier(energyCarrier="Electric", relativeShare="1", emissionFactorWTW=factor, emissionFactorTTW="0"),
    )


def _footprint(item: TOC | HOC | ShipmentFootprint | None, basis: _Basis, quality: Quality) -> Any:
    if item is None:
        return None

    def made(figure_id: str, version: int, preceding: tuple[str, ...]) -> dict[str, Any]:
        return product_footprint(
            item,
            figure_id=figure_id,
            version=version,
            preceding=preceding,
            created=basis.created,
            owner=basis.owner,
            period=basis.period,
            factor_set=basis.factor_set,
            quality=quality,
        )

    return made


def publish_orders(
    feed: Feed, cursor: duckdb.DuckDBPyConnection, *, asked_set: str | None, orders: labels.Orders
) -> Iterator[Outcome]:
    """Publish delivered orders whose months have closed as iLEAP shipments."""
    factor_set = choose_factor_set(cursor, asked_set)
    known = labels.Categories(cursor, feed.reader, factor_set)
    now = feed.now_ns()
    for name, legs in sorted(orders.all().items()):
        ends = [month_of(leg.start_ns) for leg in legs]
        period = Period(min(leg.start_ns for leg in legs), max(leg.end_ns or now for leg in legs))
        due = max(closes_ns(p, feed.config.rules) for p in ends)
        if not any(leg.delivered for leg in legs) or now < due:
            yield Outcome(name, f"refused: not delivered, or its month closes at {iso(due)}")
            continue
        found = labels.elements(legs, known, now)
        basis = _basis(feed, cursor, Period(min(p.from_ns for p in ends), period.to_ns), factor_set)
        if None in found.tces or basis is None:
            yield Outcome(name, "refused: a leg has no distance or no intensity")
            continue
        item = labels.shipment(legs, found)
        primary = [p or 0.0 for p in found.primary]
        sums = {f"{t.tceId} wtw_ug": round(float(t.co2eWTW) * UG_PER_KG) for t in found.tces if t is not None}
        made, new = feed.archive.publish(
            kind="shipment",
            where=Filter(
                tenant=legs[0].tenant, by="order", name=name, from_ns=period.from_ns, to_ns=period.to_ns, assets=()
            ),
            sums=sums,
            factor_set=factor_set,
            kernel_versions=(),
            commits=basis.commits,
            created=basis.created,
            small=True,
            figure={},
            footprint=_footprint(
                item,
                msgspec.structs.replace(basis, period=period),
                Quality(1.0, sum(primary) / len(primary), 1.0),
            ),
        )
        yield Outcome(name, f"published, version {made.version}" if new else "unchanged", made.id)


def visible(key: Key, p: Published) -> bool:
    """Whether a key may see a published figure."""
    f = p.filter
    if not key.sees_tenant(f.tenant):
        return False
    if not key.sees_region(None):
        return f.by == "region" and key.sees_region(f.name) and not (p.small and key.hides)
    needs = {
        "operator": "totals",
        "region": "totals",
        "route_group": "routes",
        "route": "routes",
        "warehouse": "routes",
    }
    return key.reaches(needs.get(f.by, "vehicles")) and not (p.small and key.hides)  # type: ignore[arg-type]
