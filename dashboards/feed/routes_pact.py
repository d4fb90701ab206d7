"""Endpoints of PACT 2 and iLEAP 1.0: footprints, transport activity data, events."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body, PathParameter, QueryParameter

from dashboards.feed.answers import choose_factor_set
from dashboards.feed.errors import PACT_ERRORS, PROBLEMS, AnyRequest
from dashboards.feed.footprints import deprecated
from dashboards.feed.ileap import TAD
from dashboards.feed.keys import Key
from dashboards.feed.odata import FilterError, parse
from dashboards.feed.orders import Categories, activity_data, elements
from dashboards.feed.parameters import TheFeed, TheKey
from dashboards.feed.periods import iso
from dashboards.feed.problem import ProblemError
from dashboards.feed.publish import visible
from dashboards.feed.requests import Event, Fulfilled, Rejected, reply
from dashboards.feed.service import Feed, rights

PAGE: Final = 100
PAGE_MAX: Final = 1_000

PageParameter = Annotated[
    int, QueryParameter(ge=0, le=2**31 - 1, description="Most items of the answer; 0 = as many as fit a page.")
]
OffsetParameter = Annotated[int, QueryParameter(ge=0, le=10_000_000, description="Part of pagination links.")]
FilterParameter = Annotated[
    str | None,
    QueryParameter(name="$filter", max_length=2_000, description="OData: created ge '2026-01-01T00:00:00Z' and ..."),
]


class ProductFootprints(msgspec.Struct, frozen=True):
    """A page of footprints."""

    data: list[dict[str, Any]]


class OneFootprint(msgspec.Struct, frozen=True):
    """One footprint."""

    data: dict[str, Any]


class Activities(msgspec.Struct, frozen=True):
    """A page of transport activity data."""

    data: list[TAD]


def _footprints(feed: Feed, key: Key) -> list[dict[str, Any]]:
    """What the key may see, oldest first, deprecated ones marked."""
    return [
        dict(p.footprint) if feed.archive.active(p) else deprecated(p.footprint)
        for p in feed.archive.all()
        if p.footprint is not None and visible(key, p)
    ]


def _link(request: AnyRequest, path: str, offset: int, limit: int, more: Mapping[str, str]) -> dict[str, str]:
    """The pagination link: absolute, on the host that the client named."""
    host = request.headers.get("host", "localhost")
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme)
    target = f"{scheme if scheme in ('http', 'https') else 'https'}://{host}{path}"
    return {"Link": f'<{target}?{urlencode({**more, "offset": offset, "limit": limit})}>; rel="next"'}


def _page(found: Sequence[Any], limit: int, offset: int) -> tuple[list[Any], int, bool]:
    size = min(limit or PAGE, PAGE_MAX)
    return list(found[offset : offset + size]), size, offset + size < len(found)


@get("/2/footprints", responses=PACT_ERRORS, tags=["PACT"])
async def footprints(
    feed: TheFeed,
    key: TheKey,
    request: AnyRequest,
    limit: PageParameter = PAGE,
    offset: OffsetParameter = 0,
    filter_: FilterParameter = None,
) -> Response[ProductFootprints]:
    """Action ListFootprints: operation categories, hubs and shipments that were published."""
    try:
        match = parse(filter_ or "")
    except FilterError as e:
        raise ProblemError(400, str(e), code="BadRequest" if e.offered else "NotImplemented") from None
    everything = await asyncio.to_thread(_footprints, feed, key)
    found, size, is_more = _page([pf for pf in everything if match(pf)], limit, offset)
    more = {"$filter": filter_} if filter_ else {}
    headers = _link(request, "/2/footprints", offset + size, size, more) if is_more else {}
    return Response(ProductFootprints(found), headers=headers)


@get(
    "/2/footprints/{footprint_id:str}",
    responses=PACT_ERRORS,
    tags=["PACT"],
)
async def footprint(
    feed: TheFeed,
    key: TheKey,
    footprint_id: Annotated[str, PathParameter(pattern="^[0-9a-fA-F-]{36}$", description="Its id.")],
) -> OneFootprint:
    """Action GetFootprint; older versions stay to be had, as Deprecated."""
    wanted = footprint_id.lower()
    for pf in await asyncio.to_thread(_footprints, feed, key):
        if pf["id"] == wanted:
            return OneFootprint(pf)
    raise ProblemError(404, "there is no footprint of this id that this key reaches", code="NotFound")


class Accepted(msgspec.Struct, frozen=True):
    """An event was taken."""

    code: str
    message: str


@post("/2/events", status_code=200, responses=PACT_ERRORS, tags=["PACT"])
async def events(
    feed: TheFeed,
    key: TheKey,
    data: Annotated[Event, Body(media_type="application/cloudevents+json")],
) -> Accepted:
    """Action Events. A request for footprints is answered at once; the answer is fetched at /v1/events."""
    new = await asyncio.to_thread(feed.requests.take, key.id, data, iso(feed.now_ns()))
    return Accepted("Accepted", "taken; GET /v1/events has the answer" if new else "came before")


class Answers(msgspec.Struct, frozen=True):
    """Answers to the requests of a key, oldest first, as PACT events."""

    events: list[Fulfilled | Rejected]


@get("/v1/events", responses=PROBLEMS, tags=["PACT"])
async def answers(feed: TheFeed, key: TheKey) -> Answers:
    """What the key's requests are answered as of now; this server calls nobody back."""

    def made() -> Answers:
        found, now = _footprints(feed, key), iso(feed.now_ns())
        return Answers([reply(asked, found, "/2/events", now) for asked in feed.requests.asked(key.id)])

    return await asyncio.to_thread(made)


def _holds(item: Any, name: str, wanted: str) -> bool:
    """Whether a field of that name, here or further inside, has the value, whatever the case."""
    if isinstance(item, dict):
        own = item.get(name)
        if own is not None and not isinstance(own, dict | list) and str(own).lower() == wanted.lower():
            return True
        return any(_holds(v, name, wanted) for v in item.values())
    return isinstance(item, list) and any(_holds(v, name, wanted) for v in item)


@get("/2/ileap/tad", responses=PACT_ERRORS, tags=["PACT"])
async def transport_activity(
    feed: TheFeed,
    key: TheKey,
    request: AnyRequest,
    limit: Annotated[int, QueryParameter(ge=1, le=2**31 - 1)] = PAGE,
    offset: OffsetParameter = 0,
) -> Response[Activities]:
    """Action TransportActivityData: legs of orders that are over. Any field filters: ?mode=Road&city=Duisburg."""
    if not key.reaches("vehicles") or not key.sees_region(None):
        raise ProblemError(403, "activity data needs a key of detail 'vehicles'", code="AccessDenied")

    def made(cursor: Any) -> list[Any]:
        known = Categories(cursor, feed.reader, choose_factor_set(cursor, None))
        out: list[TAD] = []
        for legs in feed.orders.all().values():
            if key.sees_tenant(legs[0].tenant):
                out += activity_data(legs, elements(legs, known, feed.now_ns()))
        return [msgspec.to_builtins(item) for item in out]

    everything = msgspec.json.decode((await feed.cached(("tad", rights(key)), made)).content)
    more = {k: v for k, v in request.query_params.items() if k not in ("limit", "offset")}
    matching = [item for item in everything if all(_holds(item, k, v) for k, v in more.items())]
    found, size, is_more = _page(matching, limit, offset)
    headers = _link(request, "/2/ileap/tad", offset + size, size, more) if is_more else {}
    return Response(Activities(msgspec.convert(found, list[TAD])), headers=headers)


ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (footprints, footprint, events, answers, transport_activity)
