"""Endpoints: progress, live progress, published figures with their proofs, health, access tokens."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.enums import RequestEncodingType
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body, HeaderParameter
from litestar.response import Stream

from dashboards.feed.access import Token
from dashboards.feed.answers import Commit, Progress, commit_of
from dashboards.feed.errors import PROBLEMS, TOKEN_ERRORS, AnyRequest
from dashboards.feed.keys import Key
from dashboards.feed.parameters import (
    ByParameter,
    FactorSetParameter,
    FromParameter,
    TenantParameter,
    TheFeed,
    TheKey,
    ToParameter,
    period_of,
)
from dashboards.feed.service import Feed, Form, Question
from dashboards.feed.tables import MEDIA_TYPES

NO_STORE: Final = {"Cache-Control": "private, no-cache"}


class Health(msgspec.Struct, frozen=True):
    """Whether the feed answers, and the newest commit it sees."""

    status: str
    commit: Commit | None
    commit_age_s: float | None


@get("/v1/health", sync_to_thread=False, responses={503: PROBLEMS[503]}, security=[], tags=["service"])
def health(feed: TheFeed) -> Health:
    """No key needed."""
    newest = feed.reader.newest
    age = None if newest is None else (feed.now_ns() - newest.time_ns) / 1e9
    return Health("ok", commit_of(newest), age)


class TokenForm(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 6749 section 4.4.2. The client names itself by HTTP Basic, or here."""

    grant_type: Annotated[str, msgspec.Meta(description="client_credentials")]
    scope: str | None = None
    client_id: str | None = None
    client_secret: str | None = None


@post(
    "/auth/token",
    status_code=200,
    sync_to_thread=False,
    responses=TOKEN_ERRORS,
    security=[{"client": []}],
    tags=["access"],
)
def token(
    feed: TheFeed,
    request: AnyRequest,
    data: Annotated[TokenForm, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[Token]:
    """A short access token for an API key: client_id is the key's id, client_secret the whole key."""
    form = {k: v for k, v in msgspec.structs.asdict(data).items() if v is not None}
    made = feed.access.token(request.headers.get("authorization"), form)
    return Response(made, status_code=200, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})


async def _answer(feed: Feed, key: Key, question: Question, request: AnyRequest, media_type: str) -> Response[Any]:
    found = await feed.progress(key, question)
    headers = {**NO_STORE, "ETag": found.etag}
    if request.headers.get("if-none-match") == found.etag:
        return Response(None, status_code=304, headers=headers)
    return Response(found.content, media_type=media_type, headers=headers)


@get("/v1/progress", responses=PROBLEMS, tags=["progress"])
async def progress(
    feed: TheFeed,
    key: TheKey,
    request: AnyRequest,
    by: ByParameter = "operator",
    start: FromParameter = None,
    end: ToParameter = None,
    tenant: TenantParameter = None,
    factor_set: FactorSetParameter = None,
) -> Progress:
    """Emissions and intensity of each cell against baseline and target path, with quality and state. Half-open period in UTC."""
    question = Question(by, period_of(start, end, feed.now_ns()), tenant, factor_set)
    return await _answer(feed, key, question, request, "application/json")  # type: ignore[return-value]


def _table(form: Form) -> HTTPRouteHandler:
    @get(
        f"/v1/progress.{form}",
        responses=PROBLEMS,
        media_type=MEDIA_TYPES[form],
        tags=["progress"],
        name=f"progress_{form}",
    )
    async def progress_table(
        feed: TheFeed,
        key: TheKey,
        request: AnyRequest,
        by: ByParameter = "operator",
        start: FromParameter = None,
        end: ToParameter = None,
        tenant: TenantParameter = None,
        factor_set: FactorSetParameter = None,
    ) -> bytes:
        """The same as a table: one row per cell, nested names joined with an underscore."""
        question = Question(by, period_of(start, end, feed.now_ns()), tenant, factor_set, form)
        return await _answer(feed, key, question, request, MEDIA_TYPES[form])  # type: ignore[return-value]

    return progress_table


LastEvent = Annotated[
    str | None,
    HeaderParameter(
        name="Last-Event-ID",
        pattern="^[0-9]{1,18}$",
        description="Newest commit that the client knows; what came after it is told.",
    ),
]


@get("/v1/live", responses=PROBLEMS, media_type="text/event-stream", tags=["progress"])
async def live(
    feed: TheFeed,
    key: TheKey,
    by: ByParameter = "operator",
    tenant: TenantParameter = None,
    factor_set: FactorSetParameter = None,
    last_event: LastEvent = None,
) -> Stream:
    """Server-Sent Events: the running month's progress at each commit. The id of an event is the commit's number.

    Reconnect with Last-Event-ID and nothing is missed: events ``resume`` tell the commits in between, then ``progress`` goes on.
    """
    feed.check_streams(key)
    first = feed.stream(key, by, tenant, factor_set, None if last_event is None else int(last_event))
    return Stream(
        await _begun(first),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _begun(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The stream after its first part is there, so that an error is still an HTTP status."""
    head = await anext(stream)

    async def rest() -> AsyncIterator[bytes]:
        try:
            yield head
            async for text in stream:
                yield text
        finally:
            await stream.aclose()  # type: ignore[attr-defined]

    return rest()


ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (
    health,
    token,
    progress,
    _table("csv"),
    _table("parquet"),
    _table("arrow"),
    live,
)
