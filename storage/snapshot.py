"""State files: a part of the pipeline's state as one checked file per commit, named by the commit's record.

Layout: version byte (1), SHA-256 of the payload (32 bytes), length of the payload (8 bytes, little-endian), payload.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from storage.disk import fault
from storage.errors import StorageError

VERSION: Final = 1
_HEAD: Final = 1 + 32 + 8


def pack(blocks: Iterable[Any]) -> bytes:
    """The content of a state file whose payload is these buffers one after another."""
    parts = [memoryview(block).cast("B") for block in blocks]
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(part)
    return b"".join([bytes([VERSION]), sha256.digest(), sum(map(len, parts)).to_bytes(8, "little"), *parts])


def unpack(path: Path, content: bytes) -> memoryview:
    """The payload of the state file ``path``. Raises StorageError where it is damaged or of another version."""
    if not content or content[0] != VERSION:
        raise StorageError(
            path, f"state file of version {content[0] if content else 'none'}, this program reads {VERSION}"
        )
    payload = memoryview(content)[_HEAD:]
    if len(content) < _HEAD or len(payload) != int.from_bytes(content[33:_HEAD], "little"):
        raise StorageError(path, f"state file of {len(content)} bytes is not whole")
    if hashlib.sha256(payload).digest() != content[1:33]:
        raise StorageError(path, "state file is damaged: its checksum differs")
    return payload


def read(path: Path, sha256: str) -> memoryview:
    """The payload of the state file at ``path``, which a record names with its hash. Raises StorageError."""
    try:
        content = path.read_bytes()
    except OSError as e:
        raise fault(path, e) from e
    payload = unpack(path, content)
    if content[1:33].hex() != sha256:
        raise StorageError(path, "is not the state that its commit names")
    return payload
