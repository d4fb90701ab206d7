"""Messages: whose readings they hold, the same under another boot or clock, hostile ones made of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import msgspec
import zstandard

from devices import wire
from simulators.rng import splitmix64, uniform

PoisonKind = Literal[
    "empty",
    "garbage",
    "truncated",
    "checksum",
    "magic",
    "version",
    "rows",
    "oversize",
    "bomb",
    "topic",
    "json",
    "json_nan",
]
SpoofKind = Literal["foreign_topic", "foreign_payload", "unknown_device", "unknown_tenant"]
POISONS: Final[tuple[PoisonKind, ...]] = get_args(PoisonKind)
SPOOFS: Final[tuple[SpoofKind, ...]] = get_args(SpoofKind)
UNKNOWN_NAME: Final = "no-such-name-00"  # of a device or tenant; a fleet must not use it
_HEADER_LEN, _BOOT_ID, _SEQ0, _COVERED, _T0, _NAME_LEN = 3, 5, 6, 7, 8, 12  # fields of wire.HEADER


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT message and when it is published or arrives, ns since 1970."""

    topic: str
    payload: bytes
    time_ns: int


def identity(message: Message) -> tuple[int, int, int]:
    """boot_id, seq0 and number of readings of a batch or a JSON reading. ValueError if it is neither."""
    if message.topic.endswith("/up/json"):
        try:
            reading = msgspec.json.decode(message.payload, type=wire.JsonReading)
        except msgspec.MsgspecError as error:
            raise ValueError(f"{message.topic}: {error}") from error
        return reading.boot_id, reading.seq, 1
    if len(message.payload) < wire.HEADER.size or message.payload[:3] != wire.MAGIC + bytes([wire.VERSION]):
        raise ValueError(f"{message.topic}: not a batch of version {wire.VERSION}")
    header = wire.HEADER.unpack_from(message.payload)
    return header[_BOOT_ID], header[_SEQ0], header[_COVERED]


def rewrite(message: Message, boot_id: int, seq0: int, shift_ns: int) -> bytes:
    if message.topic.endswith("/up/json"):
        reading = msgspec.json.decode(message.payload, type=wire.JsonReading)
        return msgspec.json.encode(
            msgspec.structs.replace(reading, boot_id=boot_id, seq=seq0, time_ns=reading.time_ns + shift_ns)
        )
    header = list(wire.HEADER.unpack_from(message.payload))
    header[_BOOT_ID], header[_SEQ0] = boot_id, seq0
    header[_T0] += shift_ns // 1_000_000
    return wire.HEADER.pack(*header) + message.payload[wire.HEADER.size :]


def historical(message: Message) -> Message:
    if message.topic.endswith("/up/json"):
        return message
    payload = bytearray(message.payload)
    payload[3] |= 1
    return replace(message, payload=bytes(payload))


def poison(message: Message, kind: PoisonKind, key: int) -> Message:
    """A message made of ``message`` that no server may accept. ``key`` draws its random bytes."""
    json_topic = message.topic.removesuffix("readings").removesuffix("json") + "json"
    batch_topic = json_topic.removesuffix("json") + "readings"
    payload = message.payload
    noise = b"".join(int(splitmix64(key, i)).to_bytes(8, "little") for i in range(2 + int(uniform(key, 99) * 24)))
    batch = payload if message.topic == batch_topic else _some_batch(message.topic, key)
    made: dict[PoisonKind, Callable[[], tuple[str, bytes]]] = {
        "empty": lambda: (message.topic, b""),
        "garbage": lambda: (message.topic, b"\x00" + noise),
        "truncated": lambda: (message.topic, payload[: 1 + int(uniform(key, 98) * (len(payload) - 1))]),
        "checksum": lambda: (batch_topic, batch[:-1] + bytes([batch[-1] ^ 1])),
        "magic": lambda: (batch_topic, b"X" + batch[1:]),
        "version": lambda: (batch_topic, batch[:2] + b"\xff" + batch[3:]),
        "rows": lambda: (batch_topic, batch[:6] + b"\xff\xff" + batch[8:]),
        "oversize": lambda: (message.topic, payload + bytes(wire.MAX_PACKET_BYTES)),
        "bomb": lambda: (batch_topic, batch[: int.from_bytes(batch[4:6], "little")] + _bomb()),
        "topic": lambda: (message.topic.replace("fleet/v1", "fleet/v0", 1), payload),
        "json": lambda: (json_topic, b'{"v":1,"device":'),
        "json_nan": lambda: (json_topic, _json_reading(message.topic, b'{"speed_kmh":1e999}')),
    }
    topic, body = made[kind]()
    return Message(topic, body, message.time_ns)


def spoof(message: Message, kind: SpoofKind, other: str) -> Message:
    """``message`` under a false name; ``other`` is another device. Topic and payload no longer agree or are unknown."""
    topic = wire.parse_topic(message.topic)
    if topic is None:
        raise ValueError(f"not a topic of ours: {message.topic}")
    if kind == "foreign_topic":
        return replace(message, topic=wire.topic(topic.tenant, other, topic.leaf))
    if kind == "foreign_payload":
        return replace(message, payload=_renamed(message, other))
    if kind == "unknown_device":
        return Message(
            wire.topic(topic.tenant, UNKNOWN_NAME, topic.leaf), _renamed(message, UNKNOWN_NAME), message.time_ns
        )
    return replace(message, topic=wire.topic(UNKNOWN_NAME, topic.device, topic.leaf))


def _renamed(message: Message, device: str) -> bytes:
    if message.topic.endswith("/up/json"):
        reading = msgspec.json.decode(message.payload, type=wire.JsonReading)
        return msgspec.json.encode(msgspec.structs.replace(reading, device=device))
    header = list(wire.HEADER.unpack_from(message.payload))
    old = header[_NAME_LEN]
    header[_HEADER_LEN] += len(device) - old
    header[_NAME_LEN] = len(device)
    return wire.HEADER.pack(*header) + device.encode() + message.payload[wire.HEADER.size + old :]


def _some_batch(topic_text: str, key: int) -> bytes:
    topic = wire.parse_topic(topic_text)
    name = topic.device if topic else UNKNOWN_NAME
    return wire.encode_batch(name, 1 + int(splitmix64(key, 7)) // 4, 0, [wire.Sample(0, {"speed_kmh": 1.0})])


def _json_reading(topic_text: str, signals: bytes) -> bytes:
    topic = wire.parse_topic(topic_text)
    name = topic.device if topic else UNKNOWN_NAME
    return b'{"v":1,"device":"%s","boot_id":1,"seq":0,"time_ns":0,"signals":%s}' % (name.encode(), signals)


def _bomb() -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(bytes(wire.MAX_BODY_BYTES + 1))
