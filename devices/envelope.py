"""What makes a batch provable: the hash of the batch before it and the gateway's signature, in the header's extensions.

After the device name a header may hold extensions, each ``u8 type, u8 length, bytes``; a reader skips a type it does not
know, and one that knows none reads the batch all the same. Known are::

    1  previous   32 bytes, hash of the batch before this one; absent in the first batch of a gateway without memory
    2  replaces   32 bytes, hash of the last batch that a thinned batch stands for; the next one names it as its previous
    3  signature  64 bytes, Ed25519, the last extension

The *hash* of a batch is SHA-256 of the frame with bit 0 of its flags (historical, which says how it travels) cleared. The
*signed message* is ``b"fleetco2 batch 1\n" + tenant + b"\n"`` and then the same bytes without the 64 of the signature.
So whoever has a gateway's public key and its frames can tell that none was altered, left out or put in.
"""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from devices.wire import HEADER

PREVIOUS: Final = 1
REPLACES: Final = 2
SIGNATURE: Final = 3
HASH_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
ENVELOPE_BYTES: Final = 2 * (2 + HASH_BYTES) + 2 + SIGNATURE_BYTES  # all three extensions
CONTEXT: Final = b"fleetco2 batch 1\n"
_FLAGS_AT: Final = 3
_HEADER_LEN: Final = struct.Struct("<H")
_HEADER_LEN_AT: Final = 4
_HISTORICAL: Final = 1
_LENGTHS: Final = {PREVIOUS: HASH_BYTES, REPLACES: HASH_BYTES, SIGNATURE: SIGNATURE_BYTES}

Sign = Callable[[bytes], bytes]
"""Signed message -> signature of 64 bytes."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """The extensions of one frame. ``signature_at`` is where the signature's 64 bytes begin, 0 without one."""

    previous: bytes | None = None
    replaces: bytes | None = None
    signature: bytes | None = None
    signature_at: int = 0


UNSIGNED: Final = Envelope()


def seal(frame: bytes, tenant: str, *, previous: bytes | None, replaces: bytes | None, sign: Sign | None) -> bytes:
    """``frame``, which has no extensions, with those given. Without any of them it stays as it is."""
    extensions = b"".join(
        bytes((kind, HASH_BYTES)) + value for kind, value in ((PREVIOUS, previous), (REPLACES, replaces)) if value
    )
    room = bytes((SIGNATURE, SIGNATURE_BYTES)) + bytes(SIGNATURE_BYTES) if sign else b""
    header_len = _header_len(frame)
    longer = _HEADER_LEN.pack(header_len + len(extensions) + len(room))
    sealed = frame[:_HEADER_LEN_AT] + longer + frame[6:header_len] + extensions + room + frame[header_len:]
    if sign is None:
        return sealed
    at = header_len + len(extensions) + 2
    return sealed[:at] + sign(signed_message(sealed, tenant, at)) + sealed[at + SIGNATURE_BYTES :]


def envelope(frame: bytes) -> Envelope:
    """The extensions of a frame whose header is sound. ValueError where they do not fit into the header."""
    header_len = _header_len(frame)
    at = HEADER.size + frame[HEADER.size - 1]
    if at == header_len:
        return UNSIGNED
    found: dict[int, bytes] = {}
    signature_at = 0
    while at < header_len:
        if signature_at or at + 2 > header_len or at + 2 + frame[at + 1] > header_len:
            raise ValueError("an extension of the header does not fit into it")
        kind, length = frame[at], frame[at + 1]
        if kind in found or _LENGTHS.get(kind, length) != length:
            raise ValueError(f"extension {kind} of the header has {length} bytes, or comes twice")
        found[kind] = frame[at + 2 : at + 2 + length]
        if kind == SIGNATURE:
            signature_at = at + 2
        at += 2 + length
    return Envelope(found.get(PREVIOUS), found.get(REPLACES), found.get(SIGNATURE), signature_at)


def signed_message(frame: bytes, tenant: str, signature_at: int) -> bytes:
    """What the signature at ``signature_at`` signs."""
    return b"".join(
        (CONTEXT, tenant.encode(), b"\n", _plain(frame)[:signature_at], frame[signature_at + SIGNATURE_BYTES :])
    )


def batch_hash(frame: bytes) -> bytes:
    """SHA-256 that the next batch names as its previous."""
    return hashlib.sha256(_plain(frame)).digest()


def replaced(frame: bytes) -> tuple[bytes, ...]:
    """Hash of the last batch that a thinned one stands for: its successor names that one as its previous."""
    try:
        last = envelope(frame).replaces
    except (ValueError, IndexError):
        return ()
    return () if last is None else (last,)


def as_historical(frame: bytes) -> bytes:
    """The same batch, marked as late data. Hash and signature stay good."""
    return frame[:_FLAGS_AT] + bytes((frame[_FLAGS_AT] | _HISTORICAL,)) + frame[_FLAGS_AT + 1 :]


def _plain(frame: bytes) -> bytes:
    if not frame[_FLAGS_AT] & _HISTORICAL:
        return frame
    return frame[:_FLAGS_AT] + bytes((frame[_FLAGS_AT] & ~_HISTORICAL,)) + frame[_FLAGS_AT + 1 :]


def _header_len(frame: bytes) -> int:
    return int(_HEADER_LEN.unpack_from(frame, _HEADER_LEN_AT)[0])
