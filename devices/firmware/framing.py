"""Frames on the serial line: COBS, ended by one zero byte. And the frame that comes back from the gateway.

COBS was chosen over magic + length + CRC because a zero byte occurs nowhere but at the end of a frame: after any garbage
the reader is in step again at the next zero, it needs no search for a magic that may also stand in the data, and a damaged
length cannot swallow the frames behind it. It costs two bytes a frame.

The gateway's frame, 28 bytes, little-endian::

    0   2s   magic "FA"
    2   u8   version, 1
    3   u8   flags: 1 acked is valid, 2 resume is valid, 4 utc_ms is valid
    4   u32  ring_id, copied from the beat; a frame for another ring is not meant for this flash
    8   u32  acked: every record with a lower seq is safe at the gateway
    12  u32  resume: send again from this seq
    16  u64  utc_ms, ms since 1970 at the moment of sending
    24  u32  CRC-32 of bytes 0 to 23
"""

import struct
from binascii import crc32

FRAME_MOST = 64  # encoded bytes; a record takes 44, and whatever is longer is garbage
DOWN_SIZE = 28
DOWN_MAGIC = 0x4146  # "FA"
DOWN_VERSION = 1
HAS_ACKED = 1
HAS_RESUME = 2
HAS_UTC = 4
_DOWN = "<HBBIIIQ"


def encode(data: bytes) -> bytes:
    """``data`` of at most 253 bytes as one frame, its zero included."""
    out = bytearray(len(data) + 2)
    code_at = 0
    at = 1
    for byte in data:
        if byte:
            out[at] = byte
        else:
            out[code_at] = at - code_at
            code_at = at
        at += 1
    out[code_at] = at - code_at
    return bytes(out)


def decode(frame: bytes) -> bytes | None:
    """What is in a frame without its zero; None if it cannot be one."""
    out = bytearray(len(frame))
    at = 0
    used = 0
    size = len(frame)
    while at < size:
        code = frame[at]
        end = at + code
        if code == 0 or end > size:
            return None
        out[used : used + code - 1] = frame[at + 1 : end]
        used += code - 1
        at = end
        if at < size:
            used += 1  # the zero that stood here
    return bytes(out[:used])


class Reader:
    """Cuts a stream of bytes into frames. Holds at most FRAME_MOST bytes, whatever comes."""

    def __init__(self) -> None:
        self._kept = b""
        self._skipping = False
        self.bad = 0  # frames too long, or that COBS cannot have made

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that ``data`` completes, decoded."""
        parts = data.split(b"\0")
        done = []
        for i in range(len(parts)):
            if not self._skipping:
                self._kept += parts[i]
                if len(self._kept) > FRAME_MOST:
                    self._kept = b""
                    self._skipping = True
                    self.bad += 1
            if i == len(parts) - 1:
                break
            if self._kept:
                frame = decode(self._kept)
                if frame is None:
                    self.bad += 1
                else:
                    done.append(frame)
            self._kept = b""
            self._skipping = False
        return done


def unpack_down(data: bytes) -> tuple[int, int, int, int, int] | None:
    """(flags, ring_id, acked, resume, utc_ms) of the gateway's frame; None if it is damaged or of another version."""
    if len(data) != DOWN_SIZE or struct.unpack_from("<I", data, DOWN_SIZE - 4)[0] != crc32(data[:-4]) & 0xFFFFFFFF:
        return None
    magic, version, flags, ring_id, acked, resume, utc_ms = struct.unpack_from(_DOWN, data, 0)
    if magic != DOWN_MAGIC or version != DOWN_VERSION:
        return None
    return flags, ring_id, acked, resume, utc_ms
