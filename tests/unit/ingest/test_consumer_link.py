"""The link against a broker of a few lines: packets in any pieces, with properties, at either quality, acknowledged in one piece."""

import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from devices.config import Broker
from ingest.transport import Arrived, Link

CONNACK = {"5": b"\x20\x03\0\0\0", "3.1.1": b"\x20\x02\0\0"}
SUBACK = {"5": b"\x90\x04\0\x01\0\x01", "3.1.1": b"\x90\x03\0\x01\x01"}


def publish(
    protocol: str, topic: str, payload: bytes, message_id: int, *, properties: bytes = b"", first: int = 0x32
) -> bytes:
    """A PUBLISH packet, by the standard (MQTT 5, 3.3)."""
    name = topic.encode()
    body = struct.pack(">H", len(name)) + name + (struct.pack(">H", message_id) if first & 6 else b"")
    body += bytes([len(properties)]) + properties + payload if protocol == "5" else payload
    length, head = len(body), bytes([first])
    while True:
        head += bytes([length % 128 | (0x80 if length > 127 else 0)])
        length //= 128
        if not length:
            return head + body


class FakeBroker:
    """One connection: takes CONNECT and SUBSCRIBE, sends ``pieces``, keeps what it is told after that."""

    def __init__(self, protocol: str, pieces: list[bytes]) -> None:
        self.heard = b""
        self._said = threading.Condition()
        self._protocol, self._pieces = protocol, pieces
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        connection, _ = self._server.accept()
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.recv(4096)
            connection.sendall(CONNACK[self._protocol])
            connection.recv(4096)
            connection.sendall(SUBACK[self._protocol])
            for piece in self._pieces:
                connection.sendall(piece)
            while data := connection.recv(4096):
                with self._said:
                    self.heard += data
                    self._said.notify()

    def wait_for(self, size: int) -> bytes:
        """What it was told, once it is ``size`` bytes."""
        with self._said:
            assert self._said.wait_for(lambda: len(self.heard) >= size, timeout=30)
            return self.heard

    def close(self) -> None:
        """Wait for the end of the connection."""
        self._thread.join(timeout=30)
        self._server.close()


@contextmanager
def linked(protocol: Any, pieces: list[bytes], room: int = 5_000) -> Iterator[tuple[Link, FakeBroker]]:
    broker = FakeBroker(protocol, pieces)
    link = Link(
        Broker(host="127.0.0.1", port=broker.port, protocol=protocol), "server", None, ["fleet/#"], room, lambda: 7
    )
    link.start()
    try:
        yield link, broker
    finally:
        link.stop()
        broker.close()


def taken(link: Link, n: int) -> list[Arrived]:
    found: list[Arrived] = []
    while len(found) < n:
        more = link.take(n - len(found), 30)
        assert more, f"{len(found)} of {n} messages came"
        found += more
    return found


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_messages_in_any_pieces_arrive_whole_and_in_order(protocol: str) -> None:
    rng = random.Random(1)
    sent = [
        (f"fleet/v1/acme/gw-{k % 7}/up/readings", rng.randbytes(rng.choice([1, 90, 130, 20_000])), k + 1)
        for k in range(400)
    ]
    stream = b"".join(publish(protocol, *message) for message in sent)
    cuts = sorted(rng.sample(range(1, len(stream)), 600) + list(range(1, 60)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    with linked(protocol, pieces) as (link, broker):
        found = taken(link, len(sent))
        assert [(m.topic, m.payload, m.message_id) for m in found] == sent
        assert {(m.received_ns, m.connection) for m in found} == {(7, 1)}
        link.acknowledge(found)
        heard = broker.wait_for(4 * len(sent))
    assert heard[: 4 * len(sent)] == b"".join(struct.pack(">BBH", 0x40, 2, k + 1) for k in range(len(sent)))


def test_what_is_not_plain_arrives_too() -> None:
    """Properties, quality 0, retained, duplicate, no payload: each is a message like the others."""
    user_property = b"\x26" + struct.pack(">H", 1) + b"a" + struct.pack(">H", 1) + b"b"
    packets = [
        publish("5", "fleet/a", b"plain", 1),
        publish("5", "fleet/b", b"with properties", 2, properties=user_property),
        publish("5", "fleet/c", b"quality 0", 0, first=0x30),
        publish("5", "fleet/d", b"retained", 3, first=0x33),
        publish("5", "fleet/e", b"again", 4, first=0x3A),
        publish("5", "fleet/f", b"", 5),
    ]
    with linked("5", packets) as (link, broker):
        found = taken(link, len(packets))
        assert [(m.topic, m.payload, m.message_id) for m in found] == [
            ("fleet/a", b"plain", 1),
            ("fleet/b", b"with properties", 2),
            ("fleet/c", b"quality 0", 0),
            ("fleet/d", b"retained", 3),
            ("fleet/e", b"again", 4),
            ("fleet/f", b"", 5),
        ]
        link.acknowledge([found[0]._replace(connection=0), *found[2:4]])
        assert broker.wait_for(4) == b"\x40\x02\0\x03"


def test_a_full_queue_leaves_messages_unread_and_says_what_is_to_be_said() -> None:
    """A broker that sends more than it may: the queue stays within its bound, acknowledgements go out, nothing is dropped."""
    packets = [publish("5", "fleet/a", b"%d" % k, k + 1) for k in range(50)]
    with linked("5", [b"".join(packets)], room=4) as (link, broker):
        first = taken(link, 1)
        link.publish("said/while/full", b"durable")
        assert b"said/while/full" in broker.wait_for(len(b"said/while/full") + 10)
        assert link.queued <= 4
        found = first + taken(link, 49)
    assert [m.payload for m in found] == [b"%d" % k for k in range(50)]
