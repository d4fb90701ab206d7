"""The gateway's link to a broker: publish with QoS 1, PUBACKs with their reason, messages of a few topics."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiomqtt

from devices.broker_client import BrokerClient, MqttVersion, client_options, connected, lost
from devices.config import Broker

INCOMING_MAX: Final = 64  # messages from the broker not yet read; they are cumulative, so one lost is none lost
PAHO_WINDOW: Final = (
    200  # above ``window``'s greatest value and the state messages, so that our window is the one that binds
)


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, retained, when the link is lost."""

    topic: str
    payload: bytes


class Link:
    """A standing connection. All methods belong to the event loop it was made in."""

    def __init__(self, client: BrokerClient, address: str) -> None:
        self._client = client
        self._address = address

    def publish(self, token: int, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hand over a message with QoS 1; its PUBACK comes with ``token``. On a dead link it is lost without a word."""
        self._client.send(token, topic, payload, retain=retain)

    def cut(self, reason: str) -> None:
        """Give the link up; ``messages`` raises LinkError with ``reason``."""
        self._client.cut(reason)

    async def messages(self) -> AsyncIterator[tuple[str, bytes]]:
        """Topic and payload of what was subscribed. LinkError when the link is lost."""
        try:
            async for message in self._client.messages:
                yield str(message.topic), bytes(message.payload)
        except aiomqtt.MqttError as error:
            raise lost(error, self._address) from None


@asynccontextmanager
async def connect(
    broker: Broker,
    version: MqttVersion,
    *,
    client_id: str,
    password: str | None,
    base: Path,
    will: Will,
    subscribe: Sequence[str],
    on_puback: Callable[[int, int], None],
) -> AsyncIterator[Link]:
    """A link with the topics ``subscribe`` subscribed. ``on_puback(token, reason)`` is called from the loop, reason 0 = taken.

    The broker keeps no session: what it forgets, the gateway sends again. LinkError tells the address and what to mend.
    """
    address = f"{broker.host}:{broker.port}"
    client = BrokerClient(
        on_puback,
        will=aiomqtt.Will(will.topic, will.payload, qos=1, retain=True),
        max_queued_incoming_messages=INCOMING_MAX,
        max_inflight_messages=PAHO_WINDOW,
        **client_options(broker, version, client_id=client_id, password=password, base=base),
    )
    async with connected(client, address, version, subscribe):
        yield Link(client, address)
