"""What must outlive a power cut besides the records: one small entry, written in turn into two sectors, A and B.

An entry is appended to the sector in use; when that is full the other one is erased and used. The entry that fits and has
the highest generation counts, so a cut at any moment leaves the entry before or the new one. 88 bytes, little-endian::

    magic "ST" · u8 version · u8 bit 0 tare is set · u32 generation · u32 ring_id · u32 acked · i32 tare [HX711 counts] ·
    4 x (u32 boot_id or 0, u32 t_ms of that start modulo 2^32, u64 UTC in ms then) · u32 CRC-32

An entry a minute wears out a flash of 100,000 erases in some 17 years.
"""

import struct
from binascii import crc32

from .hal import Flash

MAGIC = 0x5453  # "ST"
VERSION = 1
SIZE = 88
ANCHORS = 4  # starts whose time is known; a start whose records are all acknowledged needs none
_HEAD = "<HBBIIIi"


class State:
    """The entry in the sectors ``first`` and ``first + 1`` of ``flash``. Call ``load`` before anything else."""

    def __init__(self, flash: Flash, first: int) -> None:
        self._flash = flash
        self._first = first
        self._slots = flash.sector_size // SIZE
        self._generation = 0
        self._held = 1  # sector with the newest entry
        self._sector = 1  # sector in use
        self._slot = self._slots
        self.ring_id = 0
        self.acked = 0
        self.tare = 0
        self.has_tare = False
        self.anchors: list[tuple[int, int, int]] = []  # (boot_id, t_ms, UTC in ms then), newest first

    def load(self) -> None:
        """Take the newest entry that fits; without one everything stays 0."""
        for sector in (0, 1):
            slot = self._load_sector(sector)
            if slot:
                self._held, self._sector, self._slot = sector, sector, slot

    def save(self) -> None:
        """Write an entry. OSError if the flash does not keep it; then the one before counts."""
        data = self._pack(self._generation + 1)
        erased = False
        while True:
            if self._slot >= self._slots:
                if erased:
                    raise OSError("the flash does not keep what is written")
                self._flash.erase(self._first + 1 - self._held)  # never the one with the entry that counts
                self._sector, self._slot, erased = 1 - self._held, 0, True
            at = self._address(self._sector, self._slot)
            self._slot += 1
            self._flash.write(at, data)
            if self._flash.read(at, SIZE) == data:
                self._held = self._sector
                self._generation += 1
                return

    def set_anchor(self, boot_id: int, t_ms: int, utc_ms: int) -> None:
        """Know from now on what time it was at ``t_ms`` of that start."""
        anchors = [anchor for anchor in self.anchors if anchor[0] != boot_id]
        anchors.insert(0, (boot_id, t_ms & 0xFFFFFFFF, utc_ms))
        self.anchors = anchors[:ANCHORS]

    def _load_sector(self, sector: int) -> int:
        """First free slot of the sector if it holds the newest entry so far, else 0."""
        newest = False
        free = 0
        for slot in range(self._slots):
            data = self._flash.read(self._address(sector, slot), SIZE)
            if data == b"\xff" * SIZE:
                continue
            free = slot + 1
            newest = self._unpack(data) or newest
        return free if newest else 0

    def _pack(self, generation: int) -> bytes:
        body = struct.pack(
            _HEAD, MAGIC, VERSION, 1 if self.has_tare else 0, generation, self.ring_id, self.acked, self.tare
        )
        for anchor in self.anchors:
            body += struct.pack("<IIQ", *anchor)
        body += bytes(SIZE - 4 - len(body))
        return body + struct.pack("<I", crc32(body) & 0xFFFFFFFF)

    def _unpack(self, data: bytes) -> bool:
        magic, version, flags, generation, ring_id, acked, tare = struct.unpack_from(_HEAD, data, 0)
        crc = struct.unpack_from("<I", data, SIZE - 4)[0]
        if (
            magic != MAGIC
            or version != VERSION
            or crc != crc32(data[:-4]) & 0xFFFFFFFF
            or generation <= self._generation
        ):
            return False
        self._generation, self.ring_id, self.acked, self.tare, self.has_tare = (
            generation,
            ring_id,
            acked,
            tare,
            bool(flags & 1),
        )
        anchors = [struct.unpack_from("<IIQ", data, 20 + 16 * i) for i in range(ANCHORS)]
        self.anchors = [(boot_id, t_ms, utc_ms) for boot_id, t_ms, utc_ms in anchors if boot_id]
        return True

    def _address(self, sector: int, slot: int) -> int:
        return (self._first + sector) * self._flash.sector_size + slot * SIZE
