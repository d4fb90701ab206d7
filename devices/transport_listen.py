"""A link that only listens to a broker of somebody else, such as that of a building's devices."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiomqtt

from devices.broker_client import BrokerClient, MqttVersion, client_options, connected, lost
from devices.config import Broker

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
    client = _Ear(
        on_overflow,
        max_queued_incoming_messages=HEARD_MAX,
        **client_options(broker, version, client_id=client_id, password=password, base=base),
    )
    async with connected(client, address, version, topics):
        yield _heard(client, address)


async def _heard(client: "_Ear", address: str) -> AsyncIterator[Heard]:
    try:
        async for message in client.messages:
            yield Heard(str(message.topic), bytes(message.payload), message.retain)
    except aiomqtt.MqttError as error:
        raise lost(error, address) from None


class _Ear(BrokerClient):
    def __init__(self, on_overflow: Callable[[], None], **options: Any) -> None:
        super().__init__(lambda token, reason: None, **options)
        self._overflow = on_overflow

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        if self._queue.full():
            self._overflow()
        else:
            super()._on_message(client, userdata, message)
