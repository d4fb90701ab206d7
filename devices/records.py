"""Records in a file of fixed size that is used again and again: framed, checksummed, told apart from what lay there before.

A file begins with a head of 32 bytes::

    4s   magic "FCSG"
    u8   version, 1
    u8   1 = thinned batches go here
    u8   1 = done, everything in it was confirmed
    u8   0
    u64  order: where its batches stand among those of the other files
    u64  life: a number that no use of any file had before
    u32  CRC-32 of all before; then four bytes of 0

Records follow, each at a multiple of 8::

    2s   magic "FR"
    u8   kind: 1 batch, 2 position, 3 journal
    u8   level: how often the readings of a batch were thinned
    u32  length of the content
    u32  low half of the file's life
    u32  CRC-32 of all before and of the content; then the content

A reader takes every record whose checksum and life fit, and looks for the next one where they do not: a damaged record costs
itself alone, and what an earlier use of the file left is never taken.
"""

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final, NamedTuple

BATCH: Final = 1
POSITION: Final = 2
JOURNAL_ROWS: Final = 3
HEAD_BYTES: Final = 32
VERSION: Final = 1
_HEAD: Final = struct.Struct("<4sBBBBQQ")
_CRC: Final = struct.Struct("<I")
_RECORD: Final = struct.Struct("<2sBBII")
RECORD_BYTES: Final = _RECORD.size + _CRC.size
_FILE_MAGIC: Final = b"FCSG"
_MAGIC: Final = b"FR"
_ALIGN: Final = 8


class Head(NamedTuple):
    """Head of a file in use."""

    order: int
    life: int
    thinned: bool = False
    done: bool = False


class Found(NamedTuple):
    """A sound record: where it begins and what it holds."""

    kind: int
    offset: int
    content: bytes
    level: int = 0


@dataclass(slots=True)
class Scan:
    """What a file holds. ``end`` is where the next record goes, ``damaged`` counts stretches that cannot be read.

    ``torn``: the last record was cut off while it was written, as a power cut does to one that was not yet synced.
    """

    found: list[Found] = field(default_factory=list)
    end: int = HEAD_BYTES
    damaged: int = 0
    torn: bool = False


def head_bytes(head: Head) -> bytes:
    """The head as it lies on the disk."""
    packed = _HEAD.pack(_FILE_MAGIC, VERSION, head.thinned, head.done, 0, head.order, head.life)
    return (packed + _CRC.pack(zlib.crc32(packed))).ljust(HEAD_BYTES, b"\0")


def read_head(data: bytes) -> Head | None:
    """The head; None if the file was never used or its head is damaged."""
    if len(data) < HEAD_BYTES or data[:4] != _FILE_MAGIC or data[4] != VERSION:
        return None
    if _CRC.unpack_from(data, _HEAD.size)[0] != zlib.crc32(data[: _HEAD.size]):
        return None
    _, _, thinned, done, _, order, life = _HEAD.unpack_from(data)
    return Head(order, life, bool(thinned), bool(done))


def record(kind: int, life: int, content: bytes, level: int = 0) -> bytes:
    """A record as it lies on the disk, filled up to the next multiple of 8."""
    start = _RECORD.pack(_MAGIC, kind, level, len(content), life & 0xFFFF_FFFF)
    whole = start + _CRC.pack(zlib.crc32(content, zlib.crc32(start))) + content
    return whole + bytes(-len(whole) % _ALIGN)


def record_size(length: int) -> int:
    """Bytes that a record of ``length`` bytes of content takes."""
    size = RECORD_BYTES + length
    return size + -size % _ALIGN


def content_at(data: bytes, offset: int, life: int) -> Found | None:
    """The sound record at ``offset`` of this life; None if there is none."""
    if offset + RECORD_BYTES > len(data):
        return None
    magic, kind, level, length, of_life = _RECORD.unpack_from(data, offset)
    begin = offset + RECORD_BYTES
    if magic != _MAGIC or of_life != life & 0xFFFF_FFFF or begin + length > len(data):
        return None
    content = data[begin : begin + length]
    start = data[offset : offset + _RECORD.size]
    if _CRC.unpack_from(data, offset + _RECORD.size)[0] != zlib.crc32(content, zlib.crc32(start)):
        return None
    return Found(kind, offset, content, level)


def scan(data: bytes, life: int) -> Scan:
    """Every sound record of ``life`` in the bytes of a file."""
    seen = Scan()
    while True:
        found = content_at(data, seen.end, life)
        if found is None:
            found = _next(data, seen.end + _ALIGN, life)
            if found is None:
                break
            seen.damaged += 1
        seen.found.append(found)
        seen.end = found.offset + record_size(len(found.content))
    seen.torn = data[seen.end : seen.end + 2] == _MAGIC and _life_at(data, seen.end) == life & 0xFFFF_FFFF
    return seen


def _next(data: bytes, begin: int, life: int) -> Found | None:
    at = data.find(_MAGIC, begin)
    while at >= 0:
        if at % _ALIGN == 0 and (found := content_at(data, at, life)) is not None:
            return found
        at = data.find(_MAGIC, at + 1)
    return None


def _life_at(data: bytes, offset: int) -> int:
    return int(_RECORD.unpack_from(data, offset)[4]) if offset + _RECORD.size <= len(data) else -1
