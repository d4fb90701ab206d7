"""The disk of a gateway: a page cache over a platter, and everything that can go wrong between them."""

import errno
import random
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from devices.disk import JOURNAL_BYTES
from devices.records import BATCH, HEAD_BYTES, JOURNAL_ROWS, Found, content_at, read_head, record_size, scan
from devices.unbatch import head

SECTOR = 512


class KilledError(BaseException):
    """The process ends here. Nothing may catch it."""


class Write(NamedTuple):
    """Bytes that lie in the page cache."""

    file: int
    offset: int
    data: bytes


class Harmed(NamedTuple):
    """Readings ``first`` to ``end`` - 1 of a boot whose record the disk has spoilt."""

    boot_id: int
    first: int
    end: int


class SimDisk:
    """``view`` is what a process reads, ``platter`` what a power cut leaves. ``step`` is called before each call."""

    volatile = False

    def __init__(self, segments: int, segment_bytes: int, step: Callable[[], None]) -> None:
        self.segments = segments
        self.segment_bytes = segment_bytes
        self.step = step
        self.platter = [bytearray(JOURNAL_BYTES), *(bytearray(segment_bytes) for _ in range(segments))]
        self.view = [bytearray(file) for file in self.platter]
        self.dirty: list[Write] = []
        self.syncing: list[Write] = []
        self.refuses = 0  # errno of every write and sync
        self.unreadable = False  # every read is EIO
        self.harmed: list[Harmed] = []
        self.headless: set[int] = set()  # files whose head is spoilt: no start finds what is still written to them

    def read(self, file: int, offset: int, length: int) -> bytes:
        self.step()
        if self.unreadable:
            self.harmed += self._readings(file, offset, offset + length)
            raise OSError(errno.EIO, "made up: it cannot be read")
        return bytes(self.view[file][offset : offset + length])

    def write(self, file: int, offset: int, data: bytes) -> None:
        assert offset + len(data) <= len(self.view[file]), "written beyond the file"
        self.step()
        self._check()
        if not offset:
            self.headless.discard(file)
        elif file in self.headless:
            self.harmed += _record_readings(content_at(data, 0, int.from_bytes(data[8:12], "little")))
        self.view[file][offset : offset + len(data)] = data
        self.dirty.append(Write(file, offset, data))

    def sync(self, files: Iterable[int]) -> None:
        """As a start does it: it waits."""
        self.begin_sync(files)
        self.end_sync()

    def begin_sync(self, files: Iterable[int]) -> None:
        """Everything written to ``files`` so far is on its way."""
        chosen = set(files)
        self.syncing += [w for w in self.dirty if w.file in chosen]
        self.dirty = [w for w in self.dirty if w.file not in chosen]

    def end_sync(self) -> None:
        """It has arrived. OSError: it has not, and the kernel holds it for written all the same."""
        self.step()
        try:
            self._check()
        except OSError:
            self.syncing = []
            raise
        for file, offset, data in self.syncing:
            self.platter[file][offset : offset + len(data)] = data
        self.syncing = []

    def _check(self) -> None:
        if self.refuses:
            raise OSError(self.refuses, "made up: it refuses")

    def process_died(self) -> None:
        """The kernel goes on and keeps what was written, a sync under way or not."""
        self.dirty = self.syncing + self.dirty
        self.syncing = []

    def power_cut(self, rng: random.Random) -> None:
        """Of what was not synced any sectors are there, as the drive had got to."""
        share = rng.choice([0.0, 0.5, 0.9, 1.0])
        for file, offset, data in self.syncing + self.dirty:
            for begin in range(0, len(data), SECTOR):
                if rng.random() < share:
                    part = data[begin : begin + SECTOR]
                    self.platter[file][offset + begin : offset + begin + len(part)] = part
        self.dirty, self.syncing = [], []
        self.view = [bytearray(file) for file in self.platter]

    def flip(self, rng: random.Random) -> str:
        """One bit of a file in use turns over, in the cache and below it. Says where."""
        used = [f for f in range(self.segments + 1) if read_head(bytes(self.view[f][:HEAD_BYTES])) is not None]
        if not used:
            return "nothing yet"
        file = rng.choice(used)
        data = bytes(self.view[file])
        top = read_head(data)
        end = HEAD_BYTES if top is None else scan(data, top.life).end
        at, bit = rng.randrange(end), 1 << rng.randrange(8)
        if at < HEAD_BYTES:
            self.headless.add(file)
            self.harmed += self._readings(file, 0, end)
        else:
            self.harmed += self._readings(file, at, at + 1)
        self.view[file][at] ^= bit
        self.platter[file][at] ^= bit
        return f"file {file} byte {at}"

    def _readings(self, file: int, begin: int, end: int) -> Iterator[Harmed]:
        """What the sound records of ``file`` that touch ``begin`` to ``end`` stand for."""
        data = bytes(self.view[file])
        top = read_head(data)
        for item in [] if top is None else scan(data, top.life).found:
            if item.offset < end and item.offset + record_size(len(item.content)) > begin:
                yield from _record_readings(item)


def _record_readings(item: Found | None) -> Iterator[Harmed]:
    if item is not None and item.kind in (BATCH, JOURNAL_ROWS):
        h = head(item.content)
        yield Harmed(h.boot_id, h.seq0, h.end)
