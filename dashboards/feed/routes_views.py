"""Endpoints: why it changed, electric kilometres, order labels, rows."""

from typing import Annotated, Final

import duckdb
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import PathParameter, QueryParameter
from litestar.response import Stream

from dashboards.feed import export as rows
from dashboards.feed.answers import choose_factor_set
from dashboards.feed.change import Change, change
from dashboards.feed.electric import Electric, electric
from dashboards.feed.errors import PROBLEMS
from dashboards.feed.keys import Key
from dashboards.feed.orders import Label, label
from dashboards.feed.parameters import (
    NAME,
    BoundaryParameter,
    ByParameter,
    FactorSetParameter,
    FromParameter,
    TheFeed,
    TheKey,
    ToParameter,
    period_of,
)
from dashboards.feed.periods import FORM
from dashboards.feed.problem import ProblemError
from dashboards.feed.progress import MM_PER_KM
from dashboards.feed.routes_progress import NO_STORE
from dashboards.feed.service import rights
from dashboards.feed.tables import MEDIA_TYPES

OwnerParameter = Annotated[str, QueryParameter(pattern=r"^[a-z0-9-]{3,40}$", description="The operator.")]
CellParameter = Annotated[
    str | None, QueryParameter(pattern=NAME, description="The cell; without it the operator's own.")
]
AgainstFrom = Annotated[
    str, QueryParameter(name="against", pattern=FORM, description="Start of the period to compare with.")
]
AgainstTo = Annotated[str | None, QueryParameter(name="against_to", pattern=FORM, description="Its end.")]
AgainstSet = Annotated[
    str | None,
    QueryParameter(pattern=r"^[a-z0-9.-]{1,60}$", description="Its factor set, if it was published under another."),
]


@get("/v1/change", responses=PROBLEMS, tags=["progress"])
async def why(
    feed: TheFeed,
    key: TheKey,
    tenant: OwnerParameter,
    against: AgainstFrom,
    by: ByParameter = "operator",
    name: CellParameter = None,
    start: FromParameter = None,
    end: ToParameter = None,
    against_end: AgainstTo = None,
    factor_set: FactorSetParameter = None,
    against_factor_set: AgainstSet = None,
    boundary: BoundaryParameter = "wtw",
) -> Change:
    """A change of emissions split exactly: activity, load factor, empty share, energy mix, efficiency, factors, late data."""
    if by == "warehouse":
        raise ProblemError(400, "a warehouse has no distance; ask by operator, region, route_group, route or vehicle")
    now = feed.now_ns()
    after, before = period_of(start, end, now), period_of(against, against_end, now)
    question = (tenant, by, name or tenant, before, after, against_factor_set, factor_set, boundary)
    found = await feed.cached(
        ("change", rights(key), question),
        lambda cursor: change(
            cursor,
            feed,
            key,
            by,
            tenant,
            name or tenant,
            before=before,
            after=after,
            before_set=against_factor_set,
            after_set=factor_set,
            boundary=boundary,
        ),
    )
    return Response(found.content, media_type="application/json", headers=NO_STORE)  # type: ignore[return-value]


def _single_vehicles(key: Key) -> None:
    if not key.reaches("vehicles") or not key.sees_region(None):
        raise ProblemError(403, "single vehicles and orders need a key of detail 'vehicles' without limits to regions")


@get("/v1/electric", responses=PROBLEMS, tags=["subsidy"])
async def electric_view(
    feed: TheFeed,
    key: TheKey,
    start: FromParameter = None,
    end: ToParameter = None,
    factor_set: FactorSetParameter = None,
) -> Electric:
    """Verified zero-emission loaded kilometres per vehicle, each once, and the energy charged with its zone's factor."""
    _single_vehicles(key)
    period = period_of(start, end, feed.now_ns())

    def made(cursor: duckdb.DuckDBPyConnection) -> Electric:
        all_of_them = electric(cursor, period, choose_factor_set(cursor, factor_set), feed.reader.own_tenant)
        mine = tuple(v for v in all_of_them.vehicles if key.sees_tenant(v.tenant))
        total = round(sum(v.verified_loaded_km for v in mine) * MM_PER_KM) / MM_PER_KM
        return Electric(
            from_=all_of_them.from_,
            to=all_of_them.to,
            factor_set=all_of_them.factor_set,
            verified_loaded_km=total,
            vehicles=mine,
        )

    found = await feed.cached(("electric", rights(key), period, factor_set), made)
    return Response(found.content, media_type="application/json", headers=NO_STORE)  # type: ignore[return-value]


OrderParameter = Annotated[str, PathParameter(pattern=NAME, description="The order.")]


@get("/v1/orders/{order:str}", responses=PROBLEMS, tags=["orders"])
async def order_label(
    feed: TheFeed, key: TheKey, order: OrderParameter, factor_set: FactorSetParameter = None
) -> Label:
    """g CO2e of one order from packaging, legs and hubs; moves until it is delivered. Its history shows what it said before."""
    _single_vehicles(key)
    legs = feed.orders.all().get(order)
    if not legs or not key.sees_tenant(legs[0].tenant):
        raise ProblemError(404, f"there is no order {order!r} that your key reaches")
    found = await feed.cached(
        ("order", rights(key), order, factor_set),
        lambda cursor: label(cursor, feed.reader, legs, factor_set, feed.history),
    )
    return Response(found.content, media_type="application/json", headers=NO_STORE)  # type: ignore[return-value]


def _export(form: str) -> HTTPRouteHandler:
    @get(
        f"/v1/export/{form}/{{table:str}}",
        responses=PROBLEMS,
        media_type=MEDIA_TYPES[form],
        tags=["rows"],
        name=f"export_{form}",
    )
    async def export_rows(
        feed: TheFeed,
        key: TheKey,
        table: Annotated[rows.Exported, PathParameter(description="Which rows.")],
        start: FromParameter = None,
        end: ToParameter = None,
        factor_set: FactorSetParameter = None,
    ) -> Stream:
        """Rows behind the figures, streamed; any number of them."""
        rows.may_export(key)
        period = period_of(start, end, feed.now_ns())
        chosen = await feed.reader.run(lambda cursor: choose_factor_set(cursor, factor_set))
        return Stream(
            rows.stream(feed.reader, key, table, form, period, chosen),
            media_type=MEDIA_TYPES[form],
            headers={**NO_STORE, "Content-Disposition": f'attachment; filename="{table}.{form}"'},
        )

    return export_rows


ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (
    why,
    electric_view,
    order_label,
    *(_export(form) for form in MEDIA_TYPES),
)
