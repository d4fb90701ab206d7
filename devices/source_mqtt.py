"""The source "mqtt": devices that publish numbers, bare or in JSON, on a broker of their own.

A message without a time of its own is taken at its arrival, and what arrives within ``every_s`` becomes one reading with the
time of the first; one that the broker had kept for an unknown time is dropped. A message with its own time is a reading of
that time, once.
"""

import asyncio
import logging
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from math import inf
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from devices.broker_client import LinkError, MqttVersion
from devices.config import Broker, ConfigError, convert, password
from devices.json_values import Reader, ValueOptions, check_signals, read, time_at
from devices.sources import Context, Source
from devices.transport_listen import Heard, listen
from devices.wire import Sample

PER_S: Final = {"s": 1, "ms": 1000}
_LOG: Final = logging.getLogger("devices.mqtt")


class TopicValueOptions(ValueOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A ``[[source.value]]``: a number in the messages of a topic."""

    topic: Annotated[str, Meta(min_length=1, description="the topic, without wildcards")]
    time: Annotated[str, Meta(description="where the message's own time stands; blank = it is new when it arrives")] = (
        ""
    )
    time_unit: Annotated[Literal["s", "ms"], Meta(description='of a time that is a number: "s" or "ms"')] = "s"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``[[source]] kind = "mqtt"`` takes."""

    broker: Broker
    value: Annotated[tuple[TopicValueOptions, ...], Meta(min_length=1, description="[[source.value]] tables")]
    every_s: Annotated[float, Meta(ge=0, le=3600, description="messages of so many seconds make one reading")] = 10
    silent_s: Annotated[float, Meta(gt=0, description="a topic that is silent for so long is named")] = 600
    client_id: Annotated[str, Meta(description="blank = made of the gateway's id and the source's name")] = ""


def make(options: Mapping[str, Any], context: Context) -> Source:
    """The devices of one broker. ConfigError if a signal is not known, fed twice, or a topic has wildcards."""
    key = f"source.{context.name}"
    given = convert(dict(options), Options, context.where, key)
    check_signals(given.value, context.where, f"{key}.value")
    for i, value in enumerate(given.value):
        if "+" in value.topic or "#" in value.topic:
            mend = f"{value.topic!r} has a wildcard: two devices could feed one signal; give each its topic"
            raise ConfigError(context.where, f"{key}.value[{i}].topic", mend)
    secret = password(given.broker, os.environ, context.where)
    return MqttDevices(given, secret, context)


@dataclass(slots=True)
class _Topic:
    reader: Reader
    time: str
    per_s: int
    heard_at: float = 0.0
    silent: bool = False
    newest_ns: int = 0


@dataclass(slots=True)
class _Gathered:
    until: float = inf
    time_ns: int = 0
    values: dict[str, float] = field(default_factory=dict)


class MqttDevices:
    """Listens to the topics of its values. Started again it knows its counters' last readings."""

    def __init__(self, options: Options, secret: str | None, context: Context) -> None:
        self._options = options
        self._secret = secret
        self._context = context
        self._client_id = options.client_id or re.sub(r"[^A-Za-z0-9-]", "-", f"{context.device}-{context.name}")
        self._topics = {name: self._topic(name) for name in dict.fromkeys(v.topic for v in options.value)}

    @property
    def name(self) -> str:
        return self._context.name

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with single devices now, in words."""
        return tuple(f"topic {name} is silent" for name, topic in self._topics.items() if topic.silent)

    async def samples(self) -> AsyncIterator[Sample]:
        """Readings as they come. LinkError if the broker cannot be reached or is lost."""
        wanted = self._options.broker.protocol
        try:
            async with aclosing(self._samples("3.1.1" if wanted == "3.1.1" else "5")) as samples:
                async for sample in samples:
                    yield sample
        except LinkError as error:
            if not (error.old_broker and wanted == "auto"):
                raise
        async with aclosing(self._samples("3.1.1")) as samples:
            async for sample in samples:
                yield sample

    async def _samples(self, version: MqttVersion) -> AsyncGenerator[Sample, None]:
        clock = self._context.monotonic
        async with listen(
            self._options.broker,
            version,
            client_id=self._client_id,
            password=self._secret,
            base=self._context.base,
            topics=tuple(self._topics),
            on_overflow=lambda: self._context.counters.add("message_overflow", label=self.name),
        ) as heard:
            for topic in self._topics.values():
                topic.heard_at = clock()
            gathered = _Gathered()
            coming = asyncio.ensure_future(anext(heard))
            try:
                while True:
                    wake_at = min(gathered.until, self._next_silence())
                    await asyncio.wait({coming}, timeout=max(0.0, wake_at - clock()) if wake_at < inf else None)
                    if coming.done():
                        sample = self._take(coming.result(), gathered)
                        coming = asyncio.ensure_future(anext(heard))
                        if sample is not None:
                            yield sample
                    if clock() >= gathered.until:
                        yield Sample(gathered.time_ns, gathered.values)
                        gathered = _Gathered()
                    self._name_the_silent()
            finally:
                coming.cancel()
                await asyncio.wait({coming})
                if not coming.cancelled():
                    coming.exception()  # seen; asyncio complains about one that nobody looked at

    def _take(self, heard: Heard, gathered: _Gathered) -> Sample | None:
        """The reading of a message that has its own time; others go into ``gathered``."""
        count = self._context.counters.add
        clock = self._context.monotonic
        topic = self._topics.get(heard.topic)
        if topic is None:
            return None
        if not heard.retained:
            topic.heard_at = clock()
        document = read(heard.payload)
        if document is None:
            count("message_unreadable", label=self.name)
            return None
        if not topic.time:
            if heard.retained:
                count("message_stale", label=self.name)
                return None
            values = topic.reader.values(document, clock())
            if values:
                if not gathered.values:
                    gathered.time_ns, gathered.until = self._context.now_ns(), clock() + self._options.every_s
                gathered.values |= values
            return None
        time_ns = time_at(document, topic.time, per_s=topic.per_s)
        if time_ns is None:
            count("message_unreadable", label=self.name)
            return None
        if time_ns <= topic.newest_ns:
            count("message_stale", label=self.name)
            return None
        topic.newest_ns = time_ns
        values = topic.reader.values(document, time_ns / 1e9)
        return Sample(time_ns, values) if values else None

    def _topic(self, name: str) -> _Topic:
        values = [v for v in self._options.value if v.topic == name]
        if len({(v.time, v.time_unit) for v in values}) > 1:
            mend = f"the values of {name} do not agree in time and time_unit; a message has one time"
            raise ConfigError(self._context.where, f"source.{self.name}.value", mend)
        return _Topic(Reader(values, self._context.counters), values[0].time, PER_S[values[0].time_unit])

    def _next_silence(self) -> float:
        return min((t.heard_at + self._options.silent_s for t in self._topics.values() if not t.silent), default=inf)

    def _name_the_silent(self) -> None:
        now = self._context.monotonic()
        for name, topic in self._topics.items():
            silent = now - topic.heard_at >= self._options.silent_s
            if silent != topic.silent:
                topic.silent = silent
                self._context.counters.add("meter_silent" if silent else "meter_returned", label=name)
                event = "topic_silent" if silent else "topic_returned"
                _LOG.warning("%s source=%s topic=%s", event, self.name, name)
