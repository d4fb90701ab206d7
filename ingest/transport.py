"""The consumer's MQTT link on paho-mqtt: persistent session, manual acknowledgement bound to its connection, bounded queue.

paho's thread only moves messages into the queue; everything else happens in the caller's thread. Of paho's way of reading three
things are done here instead, which cost 40 of 58 µs a message: four calls of the system per packet, an object for the properties
of MQTT 5 that nobody reads, and a packet per acknowledgement.
"""

import logging
import queue
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from devices.config import Broker
from devices.wire import MAX_PACKET_BYTES

SESSION_S: Final = 7 * 24 * 3600  # how long the broker keeps what arrives while the server is away
RECONNECT_MAX_S: Final = 60
SILENT_S: Final = 5.0  # a broker that answers no CONNECT for so long may speak the other version only
READ_BYTES: Final = 1 << 16  # one call of the system fetches some 60 batches
PACKETS_AT_ONCE: Final = 256  # then the loop looks whether there is something to send
FULL_S: Final = 0.02  # wait for room in the queue before the same look
_PUBACK: Final = struct.Struct(">BBH")
_PUBLISH_QOS_1: Final = 0x32  # upper bits of a PUBLISH; 0x08 says duplicate, 0x01 retained
_QOS: Final = 0xF6
_LOG: Final = logging.getLogger("fleetco2.ingest")


class Arrived(NamedTuple):
    """One message as the link handed it over. ``connection`` counts connections: an acknowledgement belongs to one of them."""

    topic: str
    payload: bytes
    received_ns: int
    message_id: int
    connection: int
    retained: bool = False  # from the broker's memory, as this connection began


class _Buffered:
    """A socket that is read in large pieces. Everything else is the socket's own; ``pending`` as TLS sockets have it."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._held = b""
        self._at = 0

    def recv(self, most: int) -> bytes:
        """At most ``most`` bytes; none at the end of the connection."""
        if self._at == len(self._held):
            self._held, self._at = self._sock.recv(READ_BYTES), 0
        found: bytes = self._held[self._at : self._at + most]
        self._at += len(found)
        return found

    def pending(self) -> int:
        """Bytes that ``recv`` gives although the system's socket may have none."""
        inner = getattr(self._sock, "pending", None)
        return len(self._held) - self._at + (inner() if inner else 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Client(mqtt.Client):
    """paho's client, reading many packets per call of the system, while there is ``room``. ``arrived`` gets topic, payload, id of a
    message at QoS 1, and whether it was retained.
    """

    arrived: Callable[[str, bytes, int, bool], None]
    room: Callable[[], bool]

    def confirm(self, message_ids: Sequence[int]) -> None:
        """Acknowledge messages at QoS 1, in one piece."""
        if message_ids:
            packets = b"".join([_PUBACK.pack(mqtt.PUBACK, 2, message_id) for message_id in message_ids])
            self._packet_queue(mqtt.PUBACK, packets, 0, 1)

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Handle what has been read, not one packet only. Where there is no room it stays unread, and what is to be sent is sent."""
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        if not self.room():
            time.sleep(FULL_S)
        for _ in range(PACKETS_AT_ONCE):
            if not self.room():
                break
            code = super().loop_read(max_packets)
            sock: Any = self._sock
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS or sock is None or not sock.pending():
                break
        return code

    def _create_socket(self) -> Any:
        return _Buffered(super()._create_socket())

    def _handle_publish(self) -> MQTTErrorCode:
        """A message at QoS 1 without properties, as gateways send them; paho handles all else."""
        packet: bytearray = self._in_packet["packet"]
        at = 4 + int.from_bytes(packet[:2], "big")
        plain = self._in_packet["command"] & _QOS == _PUBLISH_QOS_1 and len(packet) > at
        if self._protocol == mqtt.MQTTv5:
            plain = plain and packet[at] == 0
        if not plain:
            return super()._handle_publish()
        try:
            topic = packet[2 : at - 2].decode()
        except UnicodeDecodeError:
            return super()._handle_publish()
        message_id = int.from_bytes(packet[at - 2 : at], "big")
        retained = bool(self._in_packet["command"] & 1)
        self.arrived(topic, bytes(packet[at + (self._protocol == mqtt.MQTTv5) :]), message_id, retained)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


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

    def _make_client(self) -> _Client:
        client = _Client(
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
        client.arrived = self._arrived
        client.room = lambda: not self._queue.full()
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
        self._client.confirm([m.message_id for m in messages if m.connection == self._connection and m.message_id])

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
        self._arrived(m.topic, bytes(m.payload), m.mid if m.qos else 0, m.retain)

    def _arrived(self, topic: str, payload: bytes, message_id: int, retained: bool) -> None:
        self._queue.put_nowait(Arrived(topic, payload, self._now_ns(), message_id, self._connection, retained))
