"""A link that only listens to a broker of somebody else, such as that of a building's devices. aiomqtt, as ``transport``."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiomqtt

from devices.config import Broker
from devices.transport import (
    _PROTOCOL,
    _SILENT,
    HANDSHAKE_S,
    LinkError,
    MqttVersion,
    _Client,
    _code,
    _reason,
    _refusal,
    _tls,
)

HEARD_MAX: Final = 1000  # messages not yet read: a burst of a large site; what is more is counted and lost


@dataclass(frozen=True, slots=True)
class Heard:
    """A message. ``retained`` : the broker had kept it, so it may be of any age."""

    topic: str
    payload: bytes
    retained: bool


@asynccontextmanager
async def listen(
    broker: Broker,
    version: MqttVersion,
    *,
    client_id: str,
    password: str | None,
    base: Path,
    topics: tuple[str, ...],
    on_overflow: Callable[[], None],
) -> AsyncIterator[AsyncIterator[Heard]]:
    """What is published on ``topics``, until LinkError; LinkError too if that cannot be begun.

    The broker keeps no session. ``on_overflow`` is called for each message for which there was no room.
    """
    address = f"{broker.host}:{broker.port}"
    v5 = version == "5"
    client = _Ear(
        on_overflow,
        hostname=broker.host,
        port=broker.port,
        identifier=client_id,
        username=broker.username or None,
        password=password,
        protocol=_PROTOCOL[version],
        keepalive=broker.keepalive_s,
        clean_session=None if v5 else True,
        timeout=HANDSHAKE_S,
        max_queued_incoming_messages=HEARD_MAX,
        tls_context=_tls(broker, base),
        logger=_SILENT,
    )
    try:
        await client.__aenter__()
    except aiomqtt.MqttError as error:
        client.abandon()
        raise _refusal(error, address, v5=v5) from None
    except BaseException:
        client.abandon()
        raise
    try:
        try:
            granted = await client.subscribe_or_lose(topics)
        except aiomqtt.MqttError as error:
            raise LinkError(f"{address}: {_reason(error)}") from None
        for topic, code in zip(topics, granted, strict=True):
            if _code(code) >= 0x80:
                raise LinkError(f"{address} does not let {client_id} read {topic}; mend the broker's access rules")
        yield _heard(client, address)
    finally:
        await client.leave()


async def _heard(client: "_Ear", address: str) -> AsyncIterator[Heard]:
    try:
        async for message in client.messages:
            yield Heard(str(message.topic), bytes(message.payload), message.retain)
    except aiomqtt.MqttError as error:
        raise LinkError(f"{address}: {_reason(error)}") from None


class _Ear(_Client):
    def __init__(self, on_overflow: Callable[[], None], **options: Any) -> None:
        super().__init__(lambda token, reason: None, **options)
        self._overflow = on_overflow

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        if self._queue.full():
            self._overflow()
        else:
            super()._on_message(client, userdata, message)
