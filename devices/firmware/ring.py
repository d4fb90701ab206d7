"""Records in flash: a ring of sectors that a power cut at any moment cannot harm.

A sector begins with a header: ``magic "RG" · u8 version · u8 0xFF · u32 ring_id · u32 generation · u32 first seq · u32 CRC-32``,
then come slots of one record each. Sectors are used in turn, each with the next generation; a sector is erased just before
it is used, whatever it seems to hold. So at any moment at most one thing is half done: a record (its CRC does not fit, its
slot is passed over), a header (its sector is erased again) or an erase (of the oldest sector, or of a free one).

Nothing is changed on mounting. What a record's slot holds after a write is read back, and a slot that did not take it is
passed over. Acknowledged records are not erased, they are only not sent again.
"""

import struct
from binascii import crc32

from . import record
from .hal import Flash

MAGIC = 0x4752  # "RG"
VERSION = 1
HEADER_SIZE = 20
LEAST_SECTORS = 3  # one in use, one being erased, and one that still has the newest record of before
TRIES = (
    4  # slots or sectors that may refuse one record: a bad place is passed over, a bad flash is not erased to the end
)
SLOTS_LOOKED_AT = 128  # slots read in one call of next_record: more than a sector has, a few ms at most
_HEADER = "<HBBIIII"


class Ring:
    """Records in the sectors ``first`` to ``first + sectors - 1`` of ``flash``. Call ``mount`` before anything else."""

    def __init__(self, flash: Flash, first: int, sectors: int) -> None:
        if sectors < LEAST_SECTORS:
            raise ValueError("a ring needs three sectors")
        self._flash = flash
        self._first = first
        self._sectors = sectors
        self._slots = (flash.sector_size - HEADER_SIZE) // record.SIZE
        self._generation = 0
        self._sector = sectors - 1  # in use
        self._slot = self._slots  # next free one there
        self._read_sector = self._sector  # where next_record looks next
        self._read_slot = self._slots
        self._wanted = 0  # the least seq that next_record may give
        self.ring_id = 0
        self.next = 0  # seq of the next record
        self.oldest = 0  # no record in flash has a lower seq
        self.acked = 0  # records with a lower seq are safe at the gateway
        self.failed_writes = 0
        self.last = b""  # the newest record, if there is any

    def mount(self, fresh_id: int) -> None:
        """Find what is there; an empty flash becomes a ring named ``fresh_id`` with its first record."""
        self.ring_id = fresh_id
        for sector in range(self._sectors):
            header = self._header(sector)
            if header is not None and header[1] > self._generation:
                self.ring_id, self._generation, self.next = header
                self._sector = sector
        if self._generation == 0:
            return
        self._slot = 0
        for slot in range(self._slots):
            data = self._read(self._sector, slot)
            if data != b"\xff" * record.SIZE:
                self._slot = slot + 1
                self._note(data)
        self.oldest = self._first_seq_from(self._sector + 1)
        if not self.last:
            self._find_last()
        self.rewind(self.oldest)

    def append(self, kind: int, boot_id: int, t_ms: int, fields: bytes, flags: int) -> int:
        """Keep a record; gives its seq. OSError if the flash does not keep it: then nothing was written."""
        data = record.pack(kind, boot_id, self.next, t_ms, fields, flags)
        for _ in range(TRIES):
            if self._slot >= self._slots and not self._advance():
                continue
            at = self._address(self._sector, self._slot)
            self._slot += 1
            self._flash.write(at, data)
            if self._flash.read(at, record.SIZE) == data:
                self.last = data
                self.next += 1
                return self.next - 1
            self.failed_writes += 1
        raise OSError("the flash does not keep what is written")

    def ack(self, below: int) -> None:
        """Records with a seq lower than ``below`` need not be sent again."""
        self.acked = max(self.acked, min(below, self.next))

    def rewind(self, seq: int) -> None:
        """Have ``next_record`` give the records from ``seq`` on, or from the oldest that is left."""
        self._wanted = seq
        self._read_sector, self._read_slot = self._sector, self._slots
        for back in range(self._sectors):
            sector = (self._sector - back) % self._sectors
            header = self._own_header(sector)
            if header is not None:
                self._read_sector, self._read_slot = sector, 0
                if header[2] <= seq:
                    return

    def next_record(self) -> bytes | None:
        """The next record to send; None if there is none for now, also when it had to look at too many slots."""
        for _ in range(SLOTS_LOOKED_AT):
            if self._read_sector == self._sector and self._read_slot >= self._slot:
                return None
            if self._read_slot >= self._slots:
                self._read_from((self._read_sector + 1) % self._sectors)
                continue
            data = self._read(self._read_sector, self._read_slot)
            self._read_slot += 1
            if record.fits(data):
                seq = record.head(data)[2]
                if seq >= self._wanted:
                    self._wanted = seq + 1
                    return data
        return None

    def _advance(self) -> bool:
        """Erase the next sector and begin it. Whether it took its header."""
        sector = (self._sector + 1) % self._sectors
        had = self._own_header(sector) is not None
        self._flash.erase(self._first + sector)
        self._generation += 1
        self._sector, self._slot = sector, self._slots
        if self._read_sector == sector:  # what it stood at is gone
            self._read_from((sector + 1) % self._sectors)
        body = struct.pack(_HEADER[:-1], MAGIC, VERSION, 0xFF, self.ring_id, self._generation, self.next)
        data = body + struct.pack("<I", crc32(body) & 0xFFFFFFFF)
        at = self._address(sector, 0) - HEADER_SIZE
        self._flash.write(at, data)
        kept = self._flash.read(at, HEADER_SIZE) == data
        if kept:
            self._slot = 0
        else:
            self.failed_writes += 1
        if had:
            self.oldest = self._first_seq_from(sector + 1)
        return kept

    def _read_from(self, sector: int) -> None:
        self._read_sector = sector
        self._read_slot = 0 if self._own_header(sector) is not None else self._slots

    def _first_seq_from(self, sector: int) -> int:
        """First seq of the first sector in use, looking from ``sector`` on."""
        for i in range(self._sectors):
            header = self._own_header((sector + i) % self._sectors)
            if header is not None:
                return header[2]
        return self.next

    def _find_last(self) -> None:
        """The newest record, when the sector in use has none yet."""
        for back in range(1, self._sectors):
            sector = (self._sector - back) % self._sectors
            if self._own_header(sector) is not None:
                for slot in range(self._slots):
                    self._note(self._read(sector, slot))
                if self.last:
                    return

    def _note(self, data: bytes) -> None:
        if record.fits(data):
            self.last = data
            self.next = max(self.next, record.head(data)[2] + 1)

    def _own_header(self, sector: int) -> tuple[int, int, int] | None:
        """The header of a sector of this ring with the generation that belongs to its place."""
        header = self._header(sector)
        if header is None or header[0] != self.ring_id:
            return None
        return header if header[1] == self._generation - (self._sector - sector) % self._sectors else None

    def _header(self, sector: int) -> tuple[int, int, int] | None:
        """(ring_id, generation, first seq), or None if there is no header that fits."""
        data = self._flash.read(self._address(sector, 0) - HEADER_SIZE, HEADER_SIZE)
        magic, version, _pad, ring_id, generation, first_seq, crc = struct.unpack(_HEADER, data)
        if magic != MAGIC or version != VERSION or crc != crc32(data[:-4]) & 0xFFFFFFFF:
            return None
        return ring_id, generation, first_seq

    def _read(self, sector: int, slot: int) -> bytes:
        return self._flash.read(self._address(sector, slot), record.SIZE)

    def _address(self, sector: int, slot: int) -> int:
        return (self._first + sector) * self._flash.sector_size + HEADER_SIZE + slot * record.SIZE
