"""The source "wms": stock and throughput of a warehouse from its management system.

By ``folder`` it reads CSV files that are dropped, by ``url`` it asks for JSON, by ``broker`` it listens to JSON over MQTT.
"""

import asyncio
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from devices import csv_drop, source_mqtt
from devices.config import ConfigError, Tls, convert
from devices.csv_drop import CsvDrop, FolderOptions
from devices.json_values import MAX_BYTES, Reader, ValueOptions, check_signals, read, time_at
from devices.sources import Context, Source
from devices.wire import Sample

CHUNK: Final = 1 << 16
_WAYS: Final = ("folder", "url", "broker")


class UrlOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the source "wms" takes for JSON over HTTP."""

    url: Annotated[str, Meta(pattern="^https?://[^\\s]+$", description="what to GET, http:// or https://")]
    value: Annotated[tuple[ValueOptions, ...], Meta(min_length=1, description="[[source.value]] tables")]
    time: Annotated[str, Meta(description="where the answer's own time stands; blank = it is of now")] = ""
    time_unit: Annotated[Literal["s", "ms"], Meta(description='of a time that is a number: "s" or "ms"')] = "s"
    every_s: Annotated[float, Meta(ge=0.1, le=86_400, description="seconds between requests")] = 60
    timeout_s: Annotated[float, Meta(gt=0, le=300, description="seconds for a whole answer")] = 10
    token_env: Annotated[str, Meta(description="name of the environment variable with a bearer token")] = ""
    tls: Tls | None = None


def make(options: Mapping[str, Any], context: Context) -> Source:
    """The source. ConfigError if a signal or a column is not known, or none or several of the ways are given."""
    key = f"source.{context.name}"
    ways = [way for way in _WAYS if way in options]
    if len(ways) != 1:
        raise ConfigError(context.where, key, f"give one of {', '.join(_WAYS)}: where the figures come from")
    if ways == ["broker"]:
        return source_mqtt.make(options, context)
    if ways == ["folder"]:
        folder = convert(dict(options), FolderOptions, context.where, key)
        check_signals(folder.value, context.where, f"{key}.value")
        if (wrong := csv_drop.check(folder)) is not None:
            raise ConfigError(context.where, f"{key}.{wrong[0]}", wrong[1])
        return CsvDrop(folder, context)
    given = convert(dict(options), UrlOptions, context.where, key)
    check_signals(given.value, context.where, f"{key}.value")
    token = ""
    if given.token_env:
        if given.token_env not in os.environ:
            raise ConfigError(context.where, f"{key}.token_env", f"the environment has no {given.token_env}; set it")
        if not given.url.startswith("https://"):
            raise ConfigError(context.where, f"{key}.url", "a token is sent over https:// only")
        token = os.environ[given.token_env]
    return JsonOverHttp(given, token, context)


class JsonOverHttp:
    """Asks every ``every_s``. An answer with its own time is a reading of that time, once."""

    def __init__(self, options: UrlOptions, token: str, context: Context) -> None:
        self._options = options
        self._token = token
        self._context = context
        self._reader = Reader(options.value, context.counters)
        self._newest_ns = 0

    @property
    def name(self) -> str:
        return self._context.name

    async def samples(self) -> AsyncIterator[Sample]:
        """Readings. OSError tells the address and what it answered."""
        context, options = self._context, self._options
        opener = self._opener()
        while True:
            try:
                async with asyncio.timeout(options.timeout_s):
                    payload = await asyncio.to_thread(self._get, opener)
            except TimeoutError:
                raise OSError(f"{options.url} did not answer within {options.timeout_s:g} s") from None
            sample = self._sample(payload)
            if sample is not None:
                yield sample
            await context.sleep(options.every_s)

    def _sample(self, payload: bytes) -> Sample | None:
        context, options = self._context, self._options
        document = read(payload)
        if document is None:
            context.counters.add("message_unreadable", label=self.name)
            raise OSError(f"{options.url} gives no JSON, but {payload[:40]!r}")
        time_ns: int | None = context.now_ns()
        if options.time:
            time_ns = time_at(document, options.time, per_s=source_mqtt.PER_S[options.time_unit])
        if time_ns is None:
            context.counters.add("message_unreadable", label=self.name)
            raise OSError(f"{options.url} gives no time with a zone at {options.time}")
        if options.time and time_ns <= self._newest_ns:
            context.counters.add("message_stale", label=self.name)
            return None
        self._newest_ns = time_ns
        values = self._reader.values(document, time_ns / 1e9)
        return Sample(time_ns, values) if values else None

    def _get(self, opener: urllib.request.OpenerDirector) -> bytes:
        """The answer's body. Runs in a thread, which ends by itself when a read takes longer than the timeout."""
        options = self._options
        headers = {"Accept": "application/json", "Cache-Control": "no-cache", "User-Agent": "fleetco2"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(options.url, headers=headers)  # noqa: S310  the pattern allows http(s) only
        try:
            with opener.open(request, timeout=options.timeout_s) as answer:
                body = b""
                while len(body) <= MAX_BYTES and (part := answer.read1(CHUNK)):
                    body += part
        except urllib.error.HTTPError as error:
            error.close()
            raise OSError(f"{options.url} answers {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise OSError(f"{options.url} cannot be reached: {error.reason}") from None
        if len(body) > MAX_BYTES:
            raise OSError(f"{options.url} answers with more than {MAX_BYTES} bytes; ask it for less")
        return body

    def _opener(self) -> urllib.request.OpenerDirector:
        """Follows no redirect: a token is for the address that was written down."""
        tls, base = self._options.tls or Tls(), self._context.base
        try:
            trust = ssl.create_default_context(cafile=str(base / tls.ca) if tls.ca else None)
            if tls.cert:
                trust.load_cert_chain(str(base / tls.cert), str(base / tls.key))
        except (OSError, ssl.SSLError) as error:
            raise OSError(f"tls cannot be used: {error}") from None
        return urllib.request.build_opener(_Stay(), urllib.request.HTTPSHandler(context=trust))


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None
