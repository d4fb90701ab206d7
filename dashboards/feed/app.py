"""The HTTP application: endpoints, their documents, who asks, and what is logged."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from litestar import Litestar, Response, get
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, Contact, License, OAuthFlow, OAuthFlows, SecurityScheme
from litestar.types import Message, Scope

from dashboards.feed.errors import HANDLERS, AnyRequest
from dashboards.feed.keys import Key
from dashboards.feed.routes_pact import ROUTES as PACT
from dashboards.feed.routes_progress import ROUTES as PROGRESS
from dashboards.feed.routes_published import ROUTES as PUBLISHED
from dashboards.feed.routes_views import ROUTES as VIEWS
from dashboards.feed.service import Feed

BODY_MAX: Final = 64 * 1024  # the largest body is a PACT event with a few footprints
DESCRIPTION: Final = """\
Live, checkable CO2 figures of truck fleets and warehouses for authorities and customers.
All times are UTC, all periods half-open: from is part of them, to is not. Unknown values are null, never 0.
Masses are kg CO2e unless a name says otherwise. Small cells are hidden."""


def _documents(server: str) -> OpenAPIConfig:
    return OpenAPIConfig(
        title="fleetco2 regulator feed",
        version="1.0.0",
        description=DESCRIPTION,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        contact=Contact(name="operator of this server"),
        path="/documents",
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        use_handler_docstrings=True,
        security=[{"key": []}, {"token": []}],
        components=Components(
            security_schemes={
                "key": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
                "client": SecurityScheme(type="http", scheme="basic", description="Key id and key, for /auth/token."),
                "token": SecurityScheme(
                    type="oauth2",
                    description="OAuth2 client credentials, as PACT asks for.",
                    flows=OAuthFlows(client_credentials=OAuthFlow(token_url=f"{server}/auth/token", scopes={})),
                ),
            }
        ),
    )


@get("/openapi.json", sync_to_thread=False, include_in_schema=False)
def document(request: AnyRequest) -> Response[dict[str, Any]]:
    """What there is, as OpenAPI 3.1. No key needed."""
    return Response(request.app.openapi_schema.to_schema(), media_type="application/vnd.oai.openapi+json")


def create_app(feed: Feed, *, server: str = "") -> Litestar:
    """The application over ``feed``, which it opens and closes with its own life. ``server`` is the public base address."""

    @asynccontextmanager
    async def life(_: Litestar) -> AsyncIterator[None]:
        await feed.open()
        try:
            yield
        finally:
            await feed.close()

    def the_feed() -> Feed:
        return feed

    def key(request: AnyRequest) -> Key:
        found = feed.access.authenticate(request.headers)
        request.scope["state"]["fleetco2_key"] = found
        return found

    async def log(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start":
            _log(feed, scope, message["status"])

    return Litestar(
        route_handlers=[document, *PROGRESS, *VIEWS, *PUBLISHED, *PACT],
        dependencies={
            "feed": Provide(the_feed, sync_to_thread=False),
            "key": Provide(key, sync_to_thread=False),
        },
        exception_handlers=dict(HANDLERS),
        openapi_config=_documents(server),
        request_max_body_size=BODY_MAX,
        lifespan=[life],
        before_send=[log],
        logging_config=None,
    )


def _log(feed: Feed, scope: Scope, status: int) -> None:
    key: Any = scope["state"].get("fleetco2_key")
    client = scope["client"]
    feed.audit.write(
        key=key.id if key else None,
        name=key.name if key else None,
        client=client[0] if client else None,
        method=scope.get("method"),
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        status=status,
    )
