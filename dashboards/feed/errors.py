"""How errors are answered and documented."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

from dashboards.feed.access import RefusedError
from dashboards.feed.orders import OrdersError
from dashboards.feed.problem import PROBLEM_TYPE, PactError, Problem, ProblemError, TokenError, body
from storage.errors import StorageError

_LOG: Final = logging.getLogger(__name__)
AnyRequest = Request[Any, Any, State]


def _specs(kind: type[Any], media_type: str, statuses: Mapping[int, str]) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(
            data_container=kind,
            media_type=media_type,
            generate_examples=False,
            description=text,
        )
        for status, text in statuses.items()
    }


_WHAT: Final = {
    400: "The request is malformed; detail says what to write.",
    401: "No key, or an expired token.",
    403: "The key is not known or does not reach this.",
    404: "There is no such thing.",
    429: "Too many requests; Retry-After says when to come again.",
    503: "Busy, or the lake cannot be read at the moment.",
}
PROBLEMS: Final = _specs(Problem, PROBLEM_TYPE, _WHAT)
PACT_ERRORS: Final = _specs(PactError, "application/json", _WHAT)
TOKEN_ERRORS: Final = _specs(TokenError, "application/json", {k: _WHAT[k] for k in (400, 401, 429)})


def answer(request: AnyRequest, status: int, detail: str, **more: Any) -> Response[bytes]:
    """An error as a response in the form of the path."""
    code, headers = more.get("code"), more.get("headers") or {}
    content, media_type = body(request.scope["path"], status, detail, code)
    return Response(content, status_code=status, media_type=media_type, headers=headers)


def on_problem(request: AnyRequest, error: ProblemError) -> Response[bytes]:
    """Ours."""
    return answer(request, error.status, error.detail, code=error.code, headers=error.headers)


_NAMES: Final = {"start": "from", "end": "to", "last_event": "Last-Event-ID", "filter_": "$filter"}
_MENDS: Final = {
    "from": "write UTC as 2026-11, 2026-11-22 or 2026-11-22T10:00Z",
    "to": "write UTC as 2026-11, 2026-11-22 or 2026-11-22T10:00Z",
    "Last-Event-ID": "send the id of the last event, a number",
}


def _told(error: Mapping[str, Any]) -> str:
    """What is wrong with one parameter."""
    key = str(error.get("key", ""))
    name = _NAMES.get(key, key)
    return f"{name}: {_MENDS.get(name) or error.get('message', '')}"


def on_http(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """The library's: a path, method, body or parameter that does not fit."""
    detail = error.detail
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        detail = "; ".join(_told(e) for e in error.extra if isinstance(e, dict)) or detail
    if error.status_code == 404:
        detail = "there is nothing at this path; GET /openapi.json lists what there is"
    return answer(request, error.status_code, detail, headers=error.headers)


def on_storage(request: AnyRequest, _: StorageError) -> Response[bytes]:
    """The lake cannot be read at the moment."""
    return answer(request, 503, "the lake cannot be read at the moment; ask again", headers={"Retry-After": "2"})


def on_orders(request: AnyRequest, _: OrdersError) -> Response[bytes]:
    """The operator's file of orders is damaged; its text may tell about others' orders."""
    return answer(request, 503, "the operator's list of orders cannot be read at the moment; tell the operator")


def on_refused(_: AnyRequest, error: RefusedError) -> Response[TokenError]:
    """A token request that is refused."""
    headers = {"WWW-Authenticate": 'Basic realm="fleetco2"'} if error.status == 401 else {}
    return Response(error.error, status_code=error.status, media_type="application/json", headers=headers)


def on_crash(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Our mistake: told without its inside, which stands in the server's log."""
    _LOG.error("request crashed", exc_info=error, extra={"path": request.scope["path"]})
    return answer(request, 500, "the server made a mistake; tell the operator the time of this request")


HANDLERS: Final[Mapping[Any, Any]] = {
    ProblemError: on_problem,
    RefusedError: on_refused,
    StorageError: on_storage,
    OrdersError: on_orders,
    HTTPException: on_http,
    500: on_crash,
}
