"""Who asks: API keys and short tokens, how often they may ask, and the log of what they asked for."""

import base64
import binascii
import datetime
import hashlib
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from dashboards.feed.keys import Key, fits, load, split
from dashboards.feed.problem import ProblemError, TokenError

TOKENS: Final = 10_000  # live tokens; 100 authorities that fetch one per minute and never use it do not reach this
BUCKETS: Final = 10_000  # keys with a rate account; there are never more keys than that
RELOAD_NS: Final = 1_000_000_000  # a revoked key ends within this time
SECOND_NS: Final = 1_000_000_000


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests a key may make: ``per_s`` in the long run, ``burst`` at once."""

    per_s: float = 20.0
    burst: int = 200


class Token(msgspec.Struct, frozen=True):
    """An answer of the token endpoint, RFC 6749 section 5.1."""

    access_token: str
    token_type: str
    expires_in: int


class RefusedError(Exception):
    """A token request that is refused."""

    def __init__(self, status: int, error: TokenError) -> None:
        super().__init__(error.error_description)
        self.status, self.error = status, error


class _Issued(msgspec.Struct, frozen=True):
    key_id: str
    expires_ns: int


class Access:
    """Keys of one file, tokens in memory (a restart ends them; clients fetch new ones)."""

    def __init__(self, path: Path, now_ns: Callable[[], int], *, token_s: int = 900, rate: Rate | None = None) -> None:
        self._path, self._now_ns, self._token_s, self._rate = path, now_ns, token_s, rate or Rate()
        self._keys: dict[str, Key] = {}
        self._seen: tuple[int, int] | None = None
        self._looked_ns = -RELOAD_NS
        self._tokens: OrderedDict[bytes, _Issued] = OrderedDict()
        self._accounts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def _fresh(self) -> dict[str, Key]:
        """The keys, read again where the file has changed. Raises KeyFileError."""
        now = self._now_ns()
        if now - self._looked_ns >= RELOAD_NS:
            self._looked_ns = now
            try:
                info = self._path.stat()
                seen = (info.st_mtime_ns, info.st_ino)
            except FileNotFoundError:
                seen = (0, 0)
            if seen != self._seen:
                self._keys, self._seen = load(self._path), seen
        return self._keys

    def check(self) -> None:
        """Read the keys once, so that a file that cannot be used is told at the start. Raises KeyFileError."""
        self._fresh()

    def _valid(self, key: Key | None) -> Key:
        if key is None:
            raise ProblemError(403, "this key is not known; ask the operator for one", code="AccessDenied")
        now = self._now_ns()
        if key.revoked_ns is not None:
            raise ProblemError(403, "this key was revoked; ask the operator for a new one", code="AccessDenied")
        if now >= key.expires_ns:
            raise ProblemError(403, "this key has expired; ask the operator for a new one", code="AccessDenied")
        return key

    def by_key(self, text: str) -> Key:
        """The rights of an API key. Raises ProblemError 403."""
        parts = split(text)
        key = self._fresh().get(parts[0]) if parts else None
        if key is None or parts is None or not fits(key, parts[1]):
            return self._valid(None)
        return self._valid(key)

    def stands(self, key_id: str) -> bool:
        """Whether a key that was let in still holds."""
        try:
            self._valid(self._fresh().get(key_id))
        except ProblemError:
            return False
        return True

    def _by_token(self, text: str) -> Key:
        issued = self._tokens.get(_token_digest(text))
        if issued is None:
            raise ProblemError(403, "this access token is not known; fetch one at /auth/token", code="AccessDenied")
        if self._now_ns() >= issued.expires_ns:
            raise ProblemError(
                401, "this access token has expired; fetch a new one at /auth/token", code="TokenExpired"
            )
        return self._valid(self._fresh().get(issued.key_id))

    def authenticate(self, headers: Mapping[str, str]) -> Key:
        """The rights behind a request, after it is charged to its account. Raises ProblemError 401, 403 or 429."""
        api_key, authorization = headers.get("x-api-key"), headers.get("authorization")
        if api_key is not None:
            key = self.by_key(api_key)
        elif authorization is not None:
            scheme, _, text = authorization.partition(" ")
            if scheme.lower() != "bearer" or not text:
                raise ProblemError(400, "the Authorization header must read: Bearer <key or token>", code="BadRequest")
            key = self.by_key(text) if text.startswith("fc_") else self._by_token(text)
        else:
            raise ProblemError(
                401,
                "no key given; send 'Authorization: Bearer <key or token>' or 'X-API-Key: <key>'",
                code="AccessDenied",
                headers={"WWW-Authenticate": 'Bearer realm="fleetco2"'},
            )
        self._charge(key.id)
        return key

    def _charge(self, key_id: str) -> None:
        """Token bucket per key."""
        now = self._now_ns()
        left, at = self._accounts.pop(key_id, (float(self._rate.burst), now))
        left = min(float(self._rate.burst), left + (now - at) / SECOND_NS * self._rate.per_s)
        if len(self._accounts) >= BUCKETS:
            self._accounts.popitem(last=False)
        if left < 1.0:
            self._accounts[key_id] = (left, now)
            wait = max(1, round((1.0 - left) / self._rate.per_s + 0.5))
            raise ProblemError(
                429,
                f"more than {self._rate.per_s:g} requests per second; wait {wait} s, or take /v1/live",
                headers={"Retry-After": str(wait)},
            )
        self._accounts[key_id] = (left - 1.0, now)

    def token(self, authorization: str | None, form: Mapping[str, str]) -> Token:
        """Client credentials grant, RFC 6749 section 4.4; the client names itself by HTTP Basic or in the form. Raises RefusedError."""
        if form.get("grant_type") != "client_credentials":
            raise RefusedError(400, TokenError("unsupported_grant_type", "grant_type must be client_credentials"))
        client_id, secret = _credentials(authorization, form)
        try:
            key = self.by_key(secret)
        except ProblemError as e:
            raise RefusedError(401, TokenError("invalid_client", e.detail)) from None
        if key.id != client_id:
            raise RefusedError(
                401, TokenError("invalid_client", "client_id is the part of the key between the underscores")
            )
        try:
            self._charge(key.id)
        except ProblemError as e:
            raise RefusedError(429, TokenError("invalid_request", e.detail)) from None
        text = secrets.token_urlsafe(32)
        while len(self._tokens) >= TOKENS:
            self._tokens.popitem(last=False)
        self._tokens[_token_digest(text)] = _Issued(key.id, self._now_ns() + self._token_s * SECOND_NS)
        return Token(text, "bearer", self._token_s)


def _token_digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=32).digest()


def _credentials(authorization: str | None, form: Mapping[str, str]) -> tuple[str, str]:
    if authorization is None:
        return form.get("client_id", ""), form.get("client_secret", "")
    scheme, _, text = authorization.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError(scheme)
        client_id, _, secret = base64.b64decode(text, validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        raise RefusedError(400, TokenError("invalid_request", "the Authorization header must be HTTP Basic")) from None
    return client_id, secret


class Audit:
    """Who pulled what: one JSON line per answered request, in one file per UTC day, only ever appended to."""

    def __init__(self, folder: Path, now_ns: Callable[[], int]) -> None:
        self._folder, self._now_ns = folder, now_ns
        self._day = ""
        self._handle = -1

    def write(self, **fields: Any) -> None:
        """Append a line. Raises OSError: what cannot be logged must not be answered."""
        now = self._now_ns()
        at = datetime.datetime.fromtimestamp(now / SECOND_NS, datetime.UTC)
        day = at.date().isoformat()
        if day != self._day:
            self.close()
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self._folder / f"{day}.jsonl"
            self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._day = day
        line = msgspec.json.encode({"time": at.isoformat(timespec="milliseconds"), **fields}) + b"\n"
        os.write(self._handle, line)

    def close(self) -> None:
        """Let go of the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle, self._day = -1, ""
