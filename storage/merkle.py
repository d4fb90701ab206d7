"""Merkle trees as in RFC 6962, section 2: SHA-256, leaves and nodes hashed with different first bytes."""

import hashlib
from collections.abc import Sequence
from typing import Final

EMPTY: Final = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf."""
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of a node over two others."""
    return hashlib.sha256(b"\1" + left + right).digest()


def _split(n: int) -> int:
    """The largest power of two below ``n``."""
    return 1 << (n - 1).bit_length() - 1


def root(hashes: Sequence[bytes]) -> bytes:
    """Root over the hashes of leaves."""
    if len(hashes) < 2:
        return hashes[0] if hashes else EMPTY
    k = _split(len(hashes))
    return node_hash(root(hashes[:k]), root(hashes[k:]))


def path(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Audit path of leaf ``index``, from the leaf up."""
    if len(hashes) < 2:
        return []
    k = _split(len(hashes))
    if index < k:
        return [*path(hashes[:k], index), root(hashes[k:])]
    return [*path(hashes[k:], index - k), root(hashes[:k])]


def root_from(leaf: bytes, index: int, n: int, steps: Sequence[bytes]) -> bytes | None:
    """The root that an audit path leads to from the leaf hash at ``index`` of ``n`` (RFC 9162, 2.1.3.2); None where it does not fit."""
    if not 0 <= index < n:
        return None
    at, last, found = index, n - 1, leaf
    for step in steps:
        if not last:
            return None
        if at & 1 or at == last:
            found = node_hash(step, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, step)
        at, last = at >> 1, last >> 1
    return found if not last else None
