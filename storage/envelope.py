"""Hash and signed message of a gateway's frame, as ``devices/README.md`` lays the frame down."""

import hashlib
from typing import Final

CONTEXT: Final = b"fleetco2 batch 1\n"
_FLAGS_AT: Final = 3
_HISTORICAL: Final = 1  # says how a frame travels, so neither hash nor signature covers it


def _plain(frame: bytes) -> bytes:
    if len(frame) <= _FLAGS_AT or not frame[_FLAGS_AT] & _HISTORICAL:
        return frame
    return frame[:_FLAGS_AT] + bytes((frame[_FLAGS_AT] & ~_HISTORICAL,)) + frame[_FLAGS_AT + 1 :]


def batch_hash(frame: bytes) -> bytes:
    """SHA-256 that the gateway's next batch names as its previous."""
    return hashlib.sha256(_plain(frame)).digest()


def signed_message(frame: bytes, tenant: str, signature: bytes) -> bytes:
    """What ``signature``, which stands in the frame's header, is over."""
    before, _, after = _plain(frame).partition(signature)
    return CONTEXT + tenant.encode() + b"\n" + before + after
