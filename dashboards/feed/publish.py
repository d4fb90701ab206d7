"""Publishing: closed figures into the archive, with their PACT footprints where there is one. The operator's act, by command."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from dashboards.feed import orders as labels
from dashboards.feed.answers import choose_factor_set, loss_of, too_small
from dashboards.feed.archive import Cell, Commits, Filter, Published
from dashboards.feed.carriers import CarrierError, carriers, work_by_fuel
from dashboards.feed.config import FeedConfig
from dashboards.feed.decimals import ratio, text
from dashboards.feed.footprints import UG_PER_KG, Owner, Quality, hoc, product_footprint, toc
from dashboards.feed.ileap import HOC, TOC, EnergyCarrier, ShipmentFootprint
from dashboards.feed.keys import ALL, Key
from dashboards.feed.linter import ImpossibleError
from dashboards.feed.periods import Period, iso, month_of
from dashboards.feed.progress import coverage, methods
from dashboards.feed.reader import query
from dashboards.feed.service import Feed, Question
from dashboards.feed.state import closes_ns
from dashboards.feed.sums import NONE, By, Sums, cells, parameters, received
from dashboards.feed.sums import carriers as carrier_sums
from storage.proof import commit_range, inclusion, latest_root

PUBLISHED_BY: Final[tuple[By, ...]] = ("operator", "route_group", "route", "warehouse", "vehicle")
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
    "transport_kgm",
    "capacity_kgm",
    "goods_out_g",
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


class PublishError(Exception):
    """Nothing can be published at the moment. The text says what to do first."""


def sealed_feed(lake: Path, tenant: str, config: FeedConfig, now_ns: Callable[[], int]) -> Feed:
    """The feed as of the newest sealed hour: that state can be read again for ever. Raises PublishError."""
    root = latest_root(lake)
    if root is None:
        raise PublishError(f"no hour is sealed yet; run: python -m storage --lake {lake} compact --key FILE")
    return Feed(lake, tenant, config, now_ns, as_of=root.last)


class _Basis(msgspec.Struct, frozen=True):
    """What all figures of one run share."""

    period: Period
    factor_set: str
    commits: Commits
    proof: dict[str, Any]
    created: str
    owner: Owner


def publish(
    feed: Feed, cursor: duckdb.DuckDBPyConnection, by: By, period: Period, *, asked_set: str | None, tenant: str | None
) -> Iterator[Outcome]:
    """Publish every closed figure of ``by`` over ``period``; a provisional one is refused and says why. Raises PublishError."""
    basis = _basis(feed, cursor, period, asked_set)
    where = _Where(cursor, period, basis.factor_set)
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
            cell=Cell(s.tenant, by, s.name),
            where=where.of(by, s),
            sums={name: getattr(s, name) for name in SUMMED},
            factor_set=basis.factor_set,
            kernel_versions=s.kernel_versions,
            commits=basis.commits,
            created=basis.created,
            small=(s.tenant, s.name) in small,
            figure=told,
            footprint=_footprint(item, basis, quality),
            proof=basis.proof,
        )
        word = f"published, version {made.version}" if new else "unchanged"
        yield Outcome(figure.name, word + (f"; no footprint: {reason}" if reason else ""), made.id)


def _basis(feed: Feed, cursor: duckdb.DuckDBPyConnection, period: Period, asked_set: str | None) -> _Basis:
    """What the figures rest on: the commit that ``feed`` shows, which must lie under a root."""
    newest = feed.reader.newest
    proof = inclusion(feed.lake, newest.n) if newest else None
    if newest is None or proof is None:
        raise PublishError("no hour is sealed yet; run: python -m storage --lake LAKE compact --key FILE")
    found = commit_range(feed.lake, period.from_ns, feed.now_ns() + 1)
    first = found[0] if found else 1
    owner = Owner(feed.config.company, feed.config.company_ids, feed.config.country)
    commits = Commits(first, newest.n, newest.sha256)
    chosen = choose_factor_set(cursor, asked_set)
    return _Basis(period, chosen, commits, msgspec.to_builtins(proof), iso(feed.now_ns()), owner)


class _Where:
    """Filters that the verifier can apply without our registry. Vehicles are named only where kind and routes are not enough."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, period: Period, factor_set: str) -> None:
        self._period = period
        self._rows = query(
            cursor,
            """
SELECT DISTINCT kind, asset, r.route, registered AS stage
FROM rollups AS r LEFT JOIN (SELECT route, stage AS registered FROM routes) AS routes ON routes.route = r.route
WHERE factor_set = $factor_set AND day BETWEEN $first_day AND $last_day AND minute_ns >= $from_ns AND minute_ns < $to_ns""",
            {k: v for k, v in parameters(period, factor_set, "").items() if k != "own"},
        )

    def of(self, by: By, s: Sums) -> Filter:
        """The filter of one cell."""
        kind = "warehouse" if by == "warehouse" else "vehicle"
        routes: tuple[str, ...] | None = None
        if by == "route":
            routes = (s.name,)
        elif by == "route_group":
            routes = tuple(sorted({r["route"] for r in self._rows if r["stage"] == s.name and r["route"] is not None}))
        here = {r["asset"] for r in self._rows if r["kind"] == kind and (routes is None or r["route"] in routes)}
        return Filter(
            from_ns=self._period.from_ns,
            to_ns=self._period.to_ns,
            kinds=(kind,),
            routes=routes,
            assets=None if here == set(s.assets) else s.assets,
        )


def _quality(s: Sums, loss: float | None) -> Quality:
    return Quality(coverage(s, loss) or 0.0, methods(s).measured or 0.0, 1.0 if s.u_rel is None else s.u_rel)


class _Carrying:
    """Makes TOCs and HOCs of one run."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, by: By, factor_set: str, period: Period, own: str) -> None:
        self._by, self._factor_set, self._period = by, factor_set, period
        self._work = work_by_fuel(cursor, by, period, factor_set, own) if by == "route_group" else {}
        self._sums = carrier_sums(cursor, by, period, factor_set, own) if by == "route_group" else {}

    def item(self, s: Sums) -> TOC | HOC | None:
        """The operation category behind a cell; None for cells that are none. Raises ImpossibleError, CarrierError, ValueError."""
        cell = s.tenant, s.name
        if self._by == "route_group":
            parts = carriers(self._factor_set, self._work.get(cell, {}), self._sums.get(cell, {}))
            return toc(s, self._period, parts)
        if self._by == "warehouse":
            return hoc(s, self._period, _site_carriers(s))
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
    basis = _basis(feed, cursor, Period(0, now), factor_set)
    for name, legs in sorted(orders.all().items()):
        ends = [month_of(leg.start_ns) for leg in legs]
        period = Period(min(leg.start_ns for leg in legs), max(leg.end_ns or now for leg in legs))
        due = max(closes_ns(p, feed.config.rules) for p in ends)
        if not any(leg.delivered for leg in legs) or now < due:
            yield Outcome(name, f"refused: not delivered, or its month closes at {iso(due)}")
            continue
        found = labels.elements(legs, known, now)
        if None in found.tces:
            yield Outcome(name, "refused: a leg has no distance or no intensity")
            continue
        item = labels.shipment(legs, found)
        primary = [p or 0.0 for p in found.primary]
        sums = {f"{t.tceId} wtw_ug": round(float(t.co2eWTW) * UG_PER_KG) for t in found.tces if t is not None}
        made, new = feed.archive.publish(
            kind="shipment",
            cell=Cell(legs[0].tenant, "order", name),
            where=Filter(from_ns=period.from_ns, to_ns=period.to_ns, kinds=None, routes=None, assets=None),
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
            proof=basis.proof,
        )
        yield Outcome(name, f"published, version {made.version}" if new else "unchanged", made.id)


def visible(key: Key, p: Published) -> bool:
    """Whether a key may see a published figure."""
    f = p.cell
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
