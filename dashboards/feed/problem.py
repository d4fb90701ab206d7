"""Errors as the feed answers them: problem+json (RFC 9457) under /v1, the PACT form under /2. Each says what to change."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Literal

import msgspec

PROBLEM_TYPE: Final = "application/problem+json"

PactCode = Literal[
    "BadRequest",
    "AccessDenied",
    "TokenExpired",
    "NotFound",
    "NotImplemented",
    "InternalError",
    "TooManyRequests",
]


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """``detail`` tells what is wrong with this request and what would be right."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    instance: str | None = None


class PactError(msgspec.Struct, frozen=True):
    """An error in the form of the PACT Technical Specifications, section "Error codes"."""

    code: str
    message: str


class TokenError(msgspec.Struct, frozen=True):
    """An error of the token endpoint, RFC 6749 section 5.2."""

    error: Literal["invalid_request", "invalid_client", "unsupported_grant_type"]
    error_description: str


class ProblemError(Exception):
    """A request that is not answered. ``code`` is the PACT code where the status does not tell it."""

    def __init__(
        self, status: int, detail: str, *, code: PactCode | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.code = status, detail, code
        self.headers = dict(headers or {})


_PACT: Final[dict[int, PactCode]] = {
    400: "BadRequest",
    401: "AccessDenied",
    403: "AccessDenied",
    404: "NotFound",
    405: "NotImplemented",
    500: "InternalError",
    503: "InternalError",
}


def title(status: int) -> str:
    """The phrase of an HTTP status."""
    return HTTPStatus(status).phrase


def body(path: str, status: int, detail: str, code: PactCode | None = None) -> tuple[bytes, str]:
    """(content, content type) of an error on ``path``."""
    if path.startswith("/2/"):
        return msgspec.json.encode(PactError(code or _PACT.get(status, "BadRequest"), detail)), "application/json"
    return msgspec.json.encode(Problem(title(status), status, detail, instance=path)), PROBLEM_TYPE
