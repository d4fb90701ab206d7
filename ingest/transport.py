"""The consumer's MQTT link on paho-mqtt: persistent session, manual acknowledgement bound to its connection, bounded queue.

paho's thread only moves messages into the queue; everything else happens in the caller's thread.
"""

import logging
import queue
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from devices.config import Broker
from devices.wire import MAX_PACKET_BYTES

SESSION_S: Final = 7 * 24 * 3600  # how long the broker keeps what arrives while the server is away
RECONNECT_MAX_S: Final = 60
SILENT_S: Final = 5.0  # a broker that answers no CONNECT for so long may speak the other version only
_LOG: Final = logging.getLogger("fleetco2.ingest")


@dataclass(frozen=True, slots=True)
class Arrived:
    """One message as the link handed it over. ``connection`` counts connections: an acknowledgement belongs to one of them."""

    topic: str
    payload: bytes
    received_ns: int
    message_id: int
    connection: int


class Link:
    """A connection that comes back by itself. ``take`` gives messages, ``acknowledge`` confirms them in order."""

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        password: str | None,
        topics: Sequence[str],
        receive_maximum: int,
        now_ns: Any,
    ) -> None:
        self._broker = broker
        self._topics = topics
        self._receive_maximum = receive_maximum
        self._now_ns = now_ns
        self._queue: queue.Queue[Arrived] = queue.Queue(maxsize=receive_maximum)
        self._connection = 0
        self._version = mqtt.MQTTv311 if broker.protocol == "3.1.1" else mqtt.MQTTv5
        self._client_id = client_id
        self._password = password
        self._client = self._make_client()
        self._other_version = False
        self._ever = False
        self._started = 0.0
        self.connected = False

    def _make_client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=False if self._version == mqtt.MQTTv311 else None,
            protocol=self._version,
            manual_ack=True,
        )
        if self._broker.username:
            client.username_pw_set(self._broker.username, self._password)
        if self._broker.tls is not None:
            tls = self._broker.tls
            client.tls_set(tls.ca or None, tls.cert or None, tls.key or None)
        client.reconnect_delay_set(1, RECONNECT_MAX_S)
        client.max_queued_messages_set(10_000)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def start(self) -> None:
        """Begin connecting in the background; an absent broker is tried again for as long as it takes."""
        host, port, keepalive = self._broker.host, self._broker.port, self._broker.keepalive_s
        if self._version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = SESSION_S
            properties.ReceiveMaximum = min(self._receive_maximum, 65_535)
            properties.MaximumPacketSize = MAX_PACKET_BYTES + 1024
            self._client.connect_async(host, port, keepalive, clean_start=False, properties=properties)
        else:
            self._client.connect_async(host, port, keepalive)
        self._started = time.monotonic()
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect; the session stays at the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def take(self, at_most: int, wait_s: float) -> list[Arrived]:
        """Up to ``at_most`` messages; waits ``wait_s`` for the first, for no other."""
        silent = not self._ever and time.monotonic() - self._started > SILENT_S
        if self._broker.protocol == "auto" and (self._other_version or silent):
            self._change_version()
        try:
            found = [self._queue.get(timeout=wait_s)]
        except queue.Empty:
            return []
        while len(found) < at_most:
            try:
                found.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return found

    def acknowledge(self, messages: Iterable[Arrived]) -> None:
        """Confirm in order. Messages of an earlier connection are left out: their numbers may mean others by now."""
        for message in messages:
            if message.connection == self._connection and message.message_id:
                self._client.ack(message.message_id, 1)

    @property
    def queued(self) -> int:
        """Messages that came and were not taken yet."""
        return self._queue.qsize()

    def publish(self, topic: str, payload: bytes) -> None:
        """Send with QoS 0: what is said here is cumulative and said again."""
        self._client.publish(topic, payload, qos=0)

    def _change_version(self) -> None:
        """The broker hung up on the CONNECT and ``protocol`` is "auto": it may speak the other version only."""
        self._other_version = False
        self._client.loop_stop()
        self._version = mqtt.MQTTv311 if self._version == mqtt.MQTTv5 else mqtt.MQTTv5
        self._client = self._make_client()
        self.start()

    def _on_connect(self, client: mqtt.Client, _: Any, __: Any, reason: ReasonCode, ___: Any) -> None:
        if reason.is_failure:
            _LOG.error("broker_refused host=%s port=%d reason=%r", self._broker.host, self._broker.port, str(reason))
            return
        self._connection += 1
        self.connected = self._ever = True
        _LOG.info("connected host=%s port=%d", self._broker.host, self._broker.port)
        options: Any = SubscribeOptions(qos=1) if self._version == mqtt.MQTTv5 else 1
        client.subscribe([(t, options) for t in self._topics])

    def _on_connect_fail(self, *_: Any) -> None:
        _LOG.error("broker_absent host=%s port=%d: is it running? trying again", self._broker.host, self._broker.port)

    def _on_disconnect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if self.connected:
            _LOG.warning("disconnected reason=%r", str(reason))
        else:
            self._other_version = True
        self.connected = False

    def _on_message(self, _: mqtt.Client, __: Any, m: mqtt.MQTTMessage) -> None:
        self._queue.put(Arrived(m.topic, bytes(m.payload), self._now_ns(), m.mid if m.qos else 0, self._connection))
