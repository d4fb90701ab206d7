"""State files: the pipeline's state as one checked file per commit, named by the commit's record.

Layout: version byte (1), SHA-256 of the payload (32 bytes), length of the payload (8 bytes, little-endian), payload.
"""

import hashlib
from pathlib import Path
from typing import Final

from storage.disk import fault
from storage.errors import StorageError

VERSION: Final = 1
_HEAD: Final = 1 + 32 + 8


def pack(payload: bytes) -> bytes:
    """The content of a state file."""
    return b"".join([bytes([VERSION]), hashlib.sha256(payload).digest(), len(payload).to_bytes(8, "little"), payload])


def unpack(path: Path, content: bytes) -> bytes:
    """The payload of the state file ``path``. Raises StorageError where it is damaged or of another version."""
    if not content or content[0] != VERSION:
        raise StorageError(
            path, f"state file of version {content[0] if content else 'none'}, this program reads {VERSION}"
        )
    payload = content[_HEAD:]
    if len(content) < _HEAD or len(payload) != int.from_bytes(content[33:_HEAD], "little"):
        raise StorageError(path, f"state file of {len(content)} bytes is not whole")
    if hashlib.sha256(payload).digest() != content[1:33]:
        raise StorageError(path, "state file is damaged: its checksum differs")
    return payload


def read(path: Path) -> bytes:
    """The payload of the state file at ``path``. Raises StorageError."""
    try:
        return unpack(path, path.read_bytes())
    except OSError as e:
        raise fault(path, e) from e
