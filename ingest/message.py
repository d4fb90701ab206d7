"""One message: its topic, and its header or JSON checked against every limit before anything is allocated."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import msgspec
import zstandard

from devices import wire
from devices.signals import SIGNALS

RejectReason = Literal[
    "too_large",  # packet above 256 KiB
    "bad_topic",
    "tenant_unknown",
    "device_unknown",
    "device_mismatch",  # payload names another device than the topic
    "bad_magic",
    "bad_version",  # newer than this reader
    "truncated",
    "bad_header",
    "too_many_readings",
    "bad_compression",
    "too_large_decompressed",
    "bad_column",
    "bad_json",
    "not_finite",  # NaN, Infinity or 1e999 in JSON
    "out_of_range",  # a value; a whole message if it has more than MAX_BAD_CELLS
    "unknown_field",  # a JSON field (message) or signal (value) that version 1 does not have
    "time_future",  # a row more than FUTURE_NS ahead of the server
    "time_past",  # a row before the earliest time that can be true
    "tenant_mismatch",  # the topic's tenant is not the one in the registry
    "signature_missing",  # a batch of a device whose public_key is registered, not signed
    "signature_bad",  # signed by another key, or altered
    "device_revoked",  # its id is in the file that the configuration names as revoked
    "key_unknown",  # signatures are required, and the registry has no public_key
]

MAX_BAD_CELLS: Final = 64  # one stuck sensor in a 60-reading batch is reported value by value; more is a broken sender
_HALF_STEP: Final = 0.5


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT message as it came."""

    topic: str
    payload: bytes
    received_ns: int
    retained: bool = False  # from the broker's memory, so it was said before


class Refusal(NamedTuple):
    """Why a message is not read."""

    reason: RejectReason
    detail: str


@dataclass(slots=True)
class Entry:
    """A message whose header, or JSON, is sound. JSON has no ``body``, but ``time_ns``, ``values`` and ``bad``."""

    message: Message
    index: int
    device: str
    device_code: int
    boot_id: int
    seq0: int
    clock_source: int
    clock_error_ms: int
    n: int = 1
    covered: int = 1
    t0_ms: int = 0
    columns: int = 0
    historical: bool = False
    body: bytes = b""
    time_ns: int = 0
    values: dict[int, float] = field(default_factory=dict)  # by index in devices.signals.SIGNALS
    bad: list[tuple[str, float, RejectReason]] = field(default_factory=list)


def address_of(topic: str, devices: Mapping[str, int], tenants: Collection[str]) -> wire.Topic | Refusal:
    """Whose readings come on ``topic``."""
    address = wire.parse_topic(topic)
    if address is None or address.leaf not in ("up/readings", "up/json"):
        return Refusal("bad_topic", "not fleet/v1/<tenant>/<device>/up/readings or up/json")
    if address.tenant not in tenants:
        return Refusal("tenant_unknown", address.tenant)
    if address.device not in devices:
        return Refusal("device_unknown", address.device)
    return address


def read(
    message: Message, index: int, address: wire.Topic, code: int, decompressor: zstandard.ZstdDecompressor
) -> Entry | Refusal:
    """The entry of a message from ``address``, which has device code ``code``. ``index`` is kept for the caller."""
    if len(message.payload) > wire.MAX_PACKET_BYTES:
        return Refusal("too_large", f"{len(message.payload)} bytes; a message has at most {wire.MAX_PACKET_BYTES}")
    if address.leaf == "up/json":
        return _json(message, index, address.device, code)
    return _frame(message, index, address.device, code, decompressor)


def _frame(
    message: Message, index: int, device: str, code: int, decompressor: zstandard.ZstdDecompressor
) -> Entry | Refusal:
    payload = message.payload
    if payload[:2] != wire.MAGIC:
        return Refusal("bad_magic", f"begins with {payload[:4].hex()}")
    if len(payload) < 3:
        return Refusal("truncated", f"{len(payload)} bytes")
    if payload[2] != wire.VERSION:
        return Refusal("bad_version", f"version {payload[2]}; this reader knows {wire.VERSION}")
    if len(payload) < wire.HEADER.size:
        return Refusal("truncated", f"{len(payload)} bytes; a header has at least {wire.HEADER.size}")
    # fmt: off
    (_magic, _version, flags, header_len, n, boot_id, seq0, covered, t0_ms, clock_source, columns, clock_error_ms,
     name_len) = wire.HEADER.unpack_from(payload)
    # fmt: on
    if len(payload) <= header_len:
        return Refusal("truncated", f"{len(payload)} bytes; the header alone has {header_len}")
    if header_len < wire.HEADER.size + name_len:
        return Refusal("bad_header", f"header_len {header_len} has no room for the name")
    name = payload[wire.HEADER.size : wire.HEADER.size + name_len]
    if name != device.encode():
        return Refusal("device_mismatch", f"the payload names {name[:40].decode('ascii', 'backslashreplace')}")
    if n > wire.MAX_READINGS:
        return Refusal("too_many_readings", f"{n}; a message has at most {wire.MAX_READINGS}")
    if clock_error_ms == wire.CLOCK_ERROR_UNKNOWN:
        clock_error_ms = -1
    if (
        not 1 <= n <= covered
        or not 1 <= boot_id < 2**63
        or seq0 > wire.MAX_SEQ
        or clock_source >= len(wire.CLOCK_SOURCES)
        or clock_error_ms >= 2**31
    ):
        detail = f"n {n}, covered {covered}, boot_id {boot_id}, seq0 {seq0}, clock {clock_source}, {clock_error_ms} ms"
        return Refusal("bad_header", detail)
    body = _decompressed(memoryview(payload)[header_len:], decompressor)
    if isinstance(body, Refusal):
        return body
    return Entry(
        message, index, device, code, boot_id, seq0, clock_source, clock_error_ms, n, covered, t0_ms, columns,
        historical=bool(flags & 1), body=body,
    )  # fmt: skip


def _decompressed(data: memoryview, decompressor: zstandard.ZstdDecompressor) -> bytes | Refusal:
    try:
        parameters = zstandard.get_frame_parameters(data)
        if parameters.content_size == zstandard.CONTENTSIZE_UNKNOWN:
            return Refusal("bad_compression", "the zstd frame does not state its size")
        if parameters.content_size > wire.MAX_BODY_BYTES:  # before anything is allocated
            return Refusal("too_large_decompressed", f"{parameters.content_size} bytes; at most {wire.MAX_BODY_BYTES}")
        if not parameters.has_checksum or parameters.dict_id:
            return Refusal("bad_compression", "the zstd frame has no checksum, or needs a dictionary")
        body = decompressor.decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        return Refusal("bad_compression", str(error))
    return body or Refusal("bad_column", "the body is empty")


class _Version(msgspec.Struct):
    v: int


class _AnyFields(wire.JsonReading, frozen=True, forbid_unknown_fields=False, kw_only=True):
    pass


_READING: Final = msgspec.json.Decoder(wire.JsonReading)
_VERSION: Final = msgspec.json.Decoder(_Version)
_ANY_FIELDS: Final = msgspec.json.Decoder(_AnyFields)
_NOT_FINITE: Final = re.compile(rb"[:,\[]\s*-?(?:NaN|Infinity)")
_RANGES: Final = {  # a value inside its range may round to a step just outside, so half a step more is allowed
    s.name: (slot, s.low - _HALF_STEP * s.step, s.high + _HALF_STEP * s.step) for slot, s in enumerate(SIGNALS)
}


def _json(message: Message, index: int, device: str, code: int) -> Entry | Refusal:
    try:
        reading = _READING.decode(message.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _json_refusal(message.payload, str(error))
    if reading.device != device:
        return Refusal("device_mismatch", f"the payload names {reading.device[:40]!r}")
    values: dict[int, float] = {}
    bad: list[tuple[str, float, RejectReason]] = []
    for name, value in reading.signals.items():
        known = _RANGES.get(name)
        if known is None:
            bad.append((name, value, "unknown_field"))
        elif known[1] <= value <= known[2]:
            values[known[0]] = value
        else:
            bad.append((name, value, "out_of_range"))
    if len(bad) > MAX_BAD_CELLS:
        return Refusal(bad[0][2], f"{len(bad)} values, the first is {bad[0][0]!r}")
    clock_source = wire.CLOCK_SOURCES.index(reading.clock_source)
    return Entry(
        message, index, device, code, reading.boot_id, reading.seq, clock_source, reading.clock_error_ms,
        time_ns=reading.time_ns, values=values, bad=bad,
    )  # fmt: skip


def _json_refusal(payload: bytes, detail: str) -> Refusal:
    """Why strict decoding failed; only the name of the reason depends on what is found out here."""
    if "out of range" in detail or _NOT_FINITE.search(payload):
        return Refusal("not_finite", detail)
    try:
        version = _VERSION.decode(payload).v
        if version != wire.VERSION:
            return Refusal("bad_version", f"version {version}; this reader knows {wire.VERSION}")
        _ANY_FIELDS.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Refusal("bad_json", detail)
    return Refusal("unknown_field", detail)
