"""The outbox on disk: sealed batches in a ring of segments, a journal for readings that are not in a batch yet.

A batch is written once, as it will travel, and read again each time it is sent. It may be sent when it is durable, that is
when a sync that began after it was written has ended well. Nothing here waits: the caller takes ``begin_sync``, has the
disk sync those files in a thread, and says ``synced`` or ``sync_failed``.

A segment whose batches are all confirmed is used again, the oldest first. When none is left, the oldest batches that have
not been sent are thinned: rows of a minute (ten minutes, and so on, when they were thinned before) become one, counters stay
exact, and the new batch says which ones it stands for, so that the chain of hashes holds.
"""

import errno
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from math import inf
from typing import Final

from devices.disk import JOURNAL, JOURNAL_BYTES, Disk
from devices.entries import DamagedError, Entry, Ranges, Recovered, clock_of, entry_of, runs
from devices.envelope import ENVELOPE_BYTES, Sign, batch_hash, envelope, seal
from devices.outbox import thinned
from devices.records import (
    BATCH,
    HEAD_BYTES,
    JOURNAL_ROWS,
    POSITION,
    RECORD_BYTES,
    Head,
    content_at,
    head_bytes,
    read_head,
    record,
    record_size,
    scan,
)
from devices.unbatch import head, samples
from devices.wire import MAX_READINGS, encode_batch

THIN_SPAN_NS: Final = 60 * 10**9  # rows of a minute become one, then of ten minutes, then of a hundred
THIN_ROWS: Final = 2400  # rows thinned in one go at most: some 30 ms on a server, a tenth of a second on a Pi
THIN_STEPS: Final = 4  # goes per batch written while room is short: frees more than the batch takes
LEVELS: Final = 12  # rows of 60e12 s: nothing is longer
SHORT: Final = 2  # free segments left when thinning begins; the last one is kept for what is thinned
POSITIONS_MOST: Final = 1000  # boots named in a position; a gateway that starts so often unheard has other troubles
_POSITION: Final = struct.Struct("<QQ")


@dataclass(slots=True)
class _Segment:
    head: Head
    at: int  # where the next record goes
    queued: int = 0  # entries in it


@dataclass(slots=True)
class _Sync:
    writes: list[tuple[int, int, bytes]] = field(default_factory=list)
    mark: int = 0


class Ring:
    """Batches of one gateway in the order they are to be sent. ``entries`` [0] is the oldest that is not confirmed.

    ``numbered`` readings and rows are the caller's; a ``boot_id`` is used by one start only. Methods that write raise OSError and
    leave everything as it was.
    """

    def __init__(self, disk: Disk, *, device: str = "", tenant: str = "", sign: Sign | None = None) -> None:
        self.disk = disk
        self.entries: list[Entry] = []
        self.thinned = 0  # readings that lost their own row
        self.damaged = 0  # batches found damaged when they were to be thinned
        self.rows = 0
        self._device = device
        self._tenant = tenant
        self._sign = sign
        self._chain: bytes | None = None  # hash of the newest batch
        self._life = 0
        self._segments: dict[int, _Segment] = {}  # files in use
        self._free: deque[int] = deque(range(1, disk.segments + 1))
        self._limbo: list[tuple[int, int]] = []  # (mark, file): free once what replaces their content is durable
        self._active = 0  # file that batches go to, 0 = none
        self._scratch = 0  # file that thinned batches go to
        self._thinning = 0  # file whose batches are being thinned
        self._journal: _Segment | None = None
        self._boot = 0  # the newest
        self._confirmed: dict[int, int] = {}  # boot_id: next, of boots with entries and the newest
        self._position: bytes = b""
        self._dirty: list[tuple[int, int, bytes]] = []
        self._syncing: _Sync | None = None
        self._rewrite = False
        self._mark = 0
        self.durable = 0  # entries with a mark up to this are on the disk

    @property
    def volatile(self) -> bool:
        """Whether nothing outlives the process."""
        return self.disk.volatile

    @property
    def free_segments(self) -> int:
        """Segments that hold nothing unconfirmed."""
        return len(self._free)

    @property
    def dirty(self) -> bool:
        """Whether something was written that no sync has covered."""
        return bool(self._dirty)

    @property
    def syncing(self) -> bool:
        """Whether a sync is under way."""
        return self._syncing is not None

    def is_durable(self, entry: Entry) -> bool:
        """Whether a batch may be sent."""
        return entry.mark <= self.durable

    def fill(self) -> float:
        """Share of the segments that hold something unconfirmed, 0 to 1."""
        return 1 - len(self._free) / self.disk.segments

    def recover(self) -> Recovered:
        """Find what the starts before this one left. Waits for the disk; OSError if it refuses, ValueError for other files."""
        result = Recovered()
        found: list[tuple[tuple[int, int], Entry]] = []
        position: tuple[tuple[int, int], bytes] = ((-1, -1), b"")
        newest: tuple[tuple[int, int], bytes] = ((-1, -1), b"")
        for file in range(1, self.disk.segments + 1):
            data = self.disk.read(file, 0, self.disk.segment_bytes)
            top = read_head(data)
            if top is None:
                result.damaged += any(data[:HEAD_BYTES])
                continue
            self._life = max(self._life, top.life)
            seen = scan(data, top.life)
            result.damaged += seen.damaged
            result.torn += seen.torn
            self._segments[file] = _Segment(top, seen.end)
            for item in seen.found:
                place = (top.order, item.offset)
                if item.kind == POSITION and place > position[0]:
                    position = (place, item.content)
                elif item.kind == BATCH:
                    if place > newest[0] and not top.thinned:
                        newest = (place, item.content)
                    if not top.done and (entry := entry_of(item.content, file, item.offset, item.level)) is not None:
                        found.append((place, entry))
        if newest[1]:
            self._chain = batch_hash(newest[1])
        self._queue(found, *position)
        result.batches = len(self.entries)
        self._use_files()
        result.journal = self._take_journal(result)
        result.readings = sum(e.end - max(e.first, self._confirmed.get(e.boot_id, 0)) for e in self.entries)
        # What a killed process wrote may lie in the page cache alone: it counts as durable from here on, so it is synced.
        self.disk.sync(sorted({*self.begin_sync(), *self._segments}))
        self.synced()
        return result

    def _use_files(self) -> None:
        """Go on writing where the start before stopped; what holds nothing unconfirmed is free, the oldest first."""
        files = range(1, self.disk.segments + 1)
        used = {f: s for f, s in self._segments.items() if s.queued}
        free = sorted(
            (f for f in files if f not in used), key=lambda f: s.head.life if (s := self._segments.get(f)) else 0
        )
        self._free = deque(free)
        self._segments = used
        self._active = max((f for f in used if not used[f].head.thinned), key=lambda f: used[f].head.life, default=0)
        self._scratch = max((f for f in used if used[f].head.thinned), key=lambda f: used[f].head.life, default=0)

    def _queue(self, found: list[tuple[tuple[int, int], Entry]], where: tuple[int, int], position: bytes) -> None:
        """Put the batches found in order, without those confirmed and those that a thinned batch stands for.

        The newest ``position``, at ``where``, names the boots that were not confirmed then, in order; later ones follow.
        """
        listed = dict(_POSITION.iter_unpack(position))
        places: dict[int, tuple[int, int]] = {}
        for place, entry in found:
            places[entry.boot_id] = min(place, places.get(entry.boot_id, place))
        ranks = {boot: i for i, boot in enumerate(listed)}
        boots = sorted(places, key=lambda b: (0, ranks[b], 0) if b in ranks else (1, *places[b]))
        for boot in boots:
            everything = places[boot] < where and boot not in listed
            self._confirmed[boot] = 2**63 if everything else listed.get(boot, 0)
        held = {boot: Ranges() for boot in boots}
        taken: dict[int, list[Entry]] = {boot: [] for boot in boots}
        for _, entry in sorted(found, key=lambda f: (-f[1].level, f[1].first, -f[1].end)):
            if entry.end > self._confirmed[entry.boot_id] and held[entry.boot_id].add(entry.first, entry.end):
                taken[entry.boot_id].append(entry)
        for boot in boots:
            for entry in sorted(taken[boot], key=lambda e: e.first):
                self._add(len(self.entries), entry)
        self._boot = boots[-1] if boots else 0
        self._confirmed = {b: n for b, n in self._confirmed.items() if taken[b] or b == self._boot}

    def _take_journal(self, result: Recovered) -> int:
        """Make batches of the readings in the journal that no batch holds; gives how many there are.

        A batch may be missing although a later one is there: a power cut keeps what it likes of what was not synced.
        """
        data = self.disk.read(JOURNAL, 0, JOURNAL_BYTES)
        top = read_head(data)
        if top is None:
            result.damaged += any(data[:HEAD_BYTES])
            return 0
        self._life = max(self._life, top.life)
        seen = scan(data, top.life)
        result.damaged += seen.damaged
        result.torn += seen.torn
        frames = [item.content for item in seen.found if item.kind == JOURNAL_ROWS]
        held: dict[int, Ranges] = {}
        for entry in self.entries:
            held.setdefault(entry.boot_id, Ranges()).add(entry.first, entry.end)
        for boot, next_seq in self._confirmed.items():
            held.setdefault(boot, Ranges()).add(0, next_seq)
        taken = 0
        for (boot, source, error), group in groupby(frames, clock_of):
            for begin, rows in runs(group, held.setdefault(boot, Ranges())):
                end = begin
                for part in range(0, len(rows), MAX_READINGS):
                    some = rows[part : part + MAX_READINGS]
                    frame = encode_batch(self._device, boot, end, some, clock_source=source, clock_error_ms=error)
                    self._append_now(frame, result)
                    end += sum(s.merged for s in some)
                taken += end - begin
        for boot in held:
            self._sort(boot)
        self.disk.sync(self.begin_sync())
        self.synced()
        self._begin_journal()  # or a later start would find these readings again when their batches are gone
        return taken

    def _sort(self, boot_id: int) -> None:
        """Bring the batches of a boot into the order of their readings, in the places that they have together."""
        places = [i for i, entry in enumerate(self.entries) if entry.boot_id == boot_id]
        for place, entry in zip(places, sorted((self.entries[i] for i in places), key=lambda e: e.first), strict=True):
            self.entries[place] = entry

    def _append_now(self, frame: bytes, result: Recovered) -> None:
        """Append at a start, where it is no harm to wait for the disk. OSError if there is no room at all."""
        for _ in range(2 * self.disk.segments):
            if self.append(frame, -inf) is not None:
                return
            self.disk.sync(self.begin_sync())
            self.synced()
        dropped = self._drop_oldest()
        if not dropped:
            raise OSError(errno.ENOSPC, "the outbox has no room for the readings of its journal; give it more segments")
        result.dropped += dropped
        self._append_now(frame, result)

    def _drop_oldest(self) -> int:
        """The last resort of a start, when nothing can be thinned: too many earlier starts were never heard. Gives readings."""
        file = next((e.file for e in self.entries if e.file not in (self._active, self._scratch)), 0)
        gone = [e for e in self.entries if e.file == file]
        for entry in gone:
            self.drop(entry)
        return sum(e.end - e.first for e in gone)

    @property
    def largest(self) -> int:
        """Bytes of a frame that fits into a segment with its envelope."""
        return self.disk.segment_bytes - HEAD_BYTES - self._position_room() - record_size(ENVELOPE_BYTES) - RECORD_BYTES

    def append(self, frame: bytes, accepted_s: float, *, cursor: int = 0) -> Entry | None:
        """Seal a batch and write it; None if there is no room. Unsent ones from ``cursor`` on may be thinned to make some."""
        for _ in range(THIN_STEPS if len(self._free) <= SHORT else 0):
            self._thin(cursor, again=False)
        sealed = seal(frame, self._tenant, previous=self._chain, replaces=None, sign=self._sign)
        size = record_size(len(sealed))
        boot = head(frame).boot_id
        before, self._boot = self._boot, boot
        self._confirmed.setdefault(boot, 0)
        try:
            if not self._room(self._active, size + self._position_room()):
                while len(self._free) < 2 and not self._limbo and self._thin(cursor, again=True):
                    pass
                if len(self._free) < 2:
                    self._boot = before
                    self._forget(boot)
                    return None
                self._active = self._activate(self._active)
            self._write_position()
            offset = self._write(self._active, BATCH, sealed)
        except OSError:
            self._boot = before
            self._forget(boot)
            raise
        self._forget(before)
        entry = self._made(sealed, self._active, offset, accepted_s)
        self._chain = batch_hash(sealed)
        self._add(len(self.entries), entry)
        return entry

    def note(self, frame: bytes) -> bool:
        """Write readings that are not in a batch yet to the journal; False if it has no room."""
        journal = self._journal or self._begin_journal()
        if journal.at + record_size(len(frame)) > JOURNAL_BYTES:
            return False
        whole = record(JOURNAL_ROWS, journal.head.life, frame)
        self._put(JOURNAL, journal.at, whole)
        journal.at += len(whole)
        return True

    def _begin_journal(self) -> _Segment:
        top = Head(0, self._life + 1)
        self._put(JOURNAL, 0, head_bytes(top))
        self._life += 1
        self._journal = _Segment(top, HEAD_BYTES)
        return self._journal

    def forget_journal(self) -> None:
        """All readings of the journal are in durable batches: the next note begins it anew."""
        self._journal = None

    def read(self, entry: Entry) -> bytes:
        """The batch as it is sent. DamagedError if the disk gives back something else than was written."""
        data = self.disk.read(entry.file, entry.offset, RECORD_BYTES + entry.length)
        found = content_at(data, 0, self._segments[entry.file].head.life)
        if found is None:
            raise DamagedError(f"the batch of the readings {entry.first} to {entry.end - 1} is damaged on the disk")
        return found.content

    def drop(self, entry: Entry) -> None:
        """Give up a batch that is damaged."""
        self._remove(self.entries.index(entry), 1)

    def confirm(self, boot_id: int, next_seq: int) -> int:
        """The server has everything of a boot below ``next_seq``: forget what is wholly below. Gives the entries gone."""
        if boot_id in self._confirmed:
            self._confirmed[boot_id] = max(self._confirmed[boot_id], next_seq)
            for entry in self.entries:
                if entry.boot_id == boot_id:
                    if entry.end > next_seq:
                        break
                    entry.confirmed = True
        gone = 0
        while gone < len(self.entries) and self.entries[gone].confirmed:
            gone += 1
        self._remove(0, gone)
        return gone

    def confirmed(self, boot_id: int) -> int:
        """Next of a boot that has entries, as far as the server told."""
        return self._confirmed.get(boot_id, 0)

    def begin_sync(self) -> list[int]:
        """Files to be synced now, one sync at a time; none if nothing was written. OSError if a rewrite fails."""
        if self._syncing is not None:
            return []
        if self._dirty:
            self._write_position()
        if self._rewrite:
            for file, offset, data in self._dirty:
                self.disk.write(file, offset, data)
            self._rewrite = False
        self._mark += 1
        self._syncing = _Sync(self._dirty, self._mark)
        self._dirty = []
        return sorted({file for file, _, _ in self._syncing.writes})

    def synced(self) -> None:
        """The sync under way has ended well."""
        if self._syncing is None:
            return
        self.durable = self._syncing.mark
        self._syncing = None
        ready = [file for mark, file in self._limbo if mark <= self.durable]
        self._limbo = [(mark, file) for mark, file in self._limbo if mark > self.durable]
        for file in ready:
            self._set_free(file)

    def sync_failed(self) -> None:
        """It has not: what it was to cover is written anew before the next one, because the kernel may have dropped it."""
        if self._syncing is None:
            return
        self._dirty = self._syncing.writes + self._dirty
        self._syncing, self._rewrite = None, True

    def _made(self, frame: bytes, file: int, offset: int, accepted_s: float, level: int = 0) -> Entry:
        entry = entry_of(frame, file, offset, level)
        if entry is None:
            raise AssertionError("a batch of our own must have a header")
        entry.accepted_s = accepted_s
        entry.mark = 0 if self.volatile else self._mark + 1
        return entry

    def _add(self, index: int, entry: Entry) -> None:
        self.entries.insert(index, entry)
        self._segments[entry.file].queued += 1
        self.rows += entry.rows

    def _remove(self, index: int, n: int) -> None:
        gone = self.entries[index : index + n]
        del self.entries[index : index + n]
        for entry in gone:
            self.rows -= entry.rows
            segment = self._segments[entry.file]
            segment.queued -= 1
            if not segment.queued and entry.file not in (self._active, self._scratch):
                self._finish(entry.file)
        for boot in {e.boot_id for e in gone}:
            self._forget(boot)

    def _forget(self, boot_id: int) -> None:
        """A boot without batches needs no position, except the newest, which may go on."""
        if boot_id != self._boot and not any(e.boot_id == boot_id for e in self.entries):
            self._confirmed.pop(boot_id, None)

    def _finish(self, file: int) -> None:
        """All in ``file`` is confirmed: say so on the disk, so that no later start sends it again."""
        segment = self._segments[file]
        with suppress(OSError):  # a later start sends it once more, and the server drops it
            self._put(file, 0, head_bytes(segment.head._replace(done=True)))
        self._set_free(file)

    def _set_free(self, file: int) -> None:
        self._segments.pop(file, None)
        self._free.append(file)

    def _room(self, file: int, size: int) -> bool:
        return file != 0 and self._segments[file].at + size <= self.disk.segment_bytes

    def _position_room(self) -> int:
        return record_size(_POSITION.size * min(len(self._confirmed) + 1, POSITIONS_MOST))

    def _activate(self, before: int, *, order: int | None = None) -> int:
        """Begin a free segment; with ``order`` one for thinned batches, which stand where those were.

        ``before``, which is full, becomes free if nothing in it is unconfirmed.
        """
        file = self._free[0]
        life = self._life + 1
        top = Head(life if order is None else order, life, order is not None)
        self._put(file, 0, head_bytes(top))
        self._free.popleft()
        self._life = life
        self._segments[file] = _Segment(top, HEAD_BYTES)
        if order is None:
            self._position = b""
        if before and not self._segments[before].queued:
            self._finish(before)
        return file

    def _write(self, file: int, kind: int, content: bytes, level: int = 0) -> int:
        segment = self._segments[file]
        whole = record(kind, segment.head.life, content, level)
        offset = segment.at
        self._put(file, offset, whole)
        segment.at += len(whole)
        return offset

    def _put(self, file: int, offset: int, data: bytes) -> None:
        self.disk.write(file, offset, data)
        if not self.volatile:
            self._dirty.append((file, offset, data))

    def _write_position(self) -> None:
        """Keep how far each boot is confirmed, where it has changed and there is room."""
        if self.volatile:
            return
        some = list(self._confirmed.items())[-POSITIONS_MOST:]
        position = b"".join(_POSITION.pack(boot, next_seq) for boot, next_seq in some)
        if position != self._position and self._room(self._active, record_size(len(position))):
            self._write(self._active, POSITION, position)
            self._position = position

    def _thin(self, cursor: int, *, again: bool) -> bool:
        """Thin some batches of the segment that was thinned least and is the oldest; False if there is none.

        ``again``: one that was thinned before may be thinned further, which is only done when there is no other room.
        """
        first = self._victim(cursor, again=again)
        if first is None:
            return False
        begin, file = self.entries.index(first), first.file
        run: list[Entry] = []
        for entry in self._run(begin, file):
            run.append(entry)
            if sum(e.rows for e in run) >= THIN_ROWS:
                break
        try:
            frames = [self.read(entry) for entry in run]
        except DamagedError:
            self._drop_damaged(run)
            return True
        rows = thinned([s for f in frames for s in samples(f)], THIN_SPAN_NS * 10**first.level)
        top = head(frames[0])
        frame = encode_batch(
            self._device,
            first.boot_id,
            first.first,
            rows,
            clock_source=top.clock_source,
            clock_error_ms=max((head(f).clock_error_ms for f in frames), key=lambda e: (e < 0, e)),
        )
        last = envelope(frames[-1])
        sealed = seal(
            frame,
            self._tenant,
            previous=envelope(frames[0]).previous,
            replaces=last.replaces or batch_hash(frames[-1]),
            sign=self._sign,
        )
        if len(sealed) >= sum(e.length for e in run):  # no gain, but its file becomes free when all in it is elsewhere
            run, sealed, rows = run[:1], frames[0], samples(frames[0])
        size = record_size(len(sealed))
        if not self._room(self._scratch, size):
            if not self._free:
                return False
            before, self._scratch = self._scratch, 0
            self._scratch = self._activate(before, order=self._segments[file].head.order)
        level = min(first.level + 1, LEVELS)
        offset = self._write(self._scratch, BATCH, sealed, level)
        made = self._made(sealed, self._scratch, offset, first.accepted_s, level)
        before_rows = sum(e.rows for e in run)
        del self.entries[begin : begin + len(run)]
        self._segments[file].queued -= len(run)
        self.rows -= before_rows
        self._add(begin, made)
        self.thinned += before_rows - made.rows
        if not self._segments[file].queued:
            if self.volatile:
                self._set_free(file)
            else:
                self._limbo.append((made.mark, file))
        return True

    def _drop_damaged(self, run: Sequence[Entry]) -> None:
        for entry in run:
            try:
                self.read(entry)
            except DamagedError:
                self.damaged += 1
                self.drop(entry)

    def _victim(self, cursor: int, *, again: bool) -> Entry | None:
        """The first batch of the segment to be thinned next: the one begun, else the oldest of those thinned least.

        Batches that were sent or lie before ``cursor`` stay: the server may have them as they are.
        """
        busy = {e.file for i, e in enumerate(self.entries) if e.sent or i < cursor} | {self._active, self._scratch}
        busy.update(file for _, file in self._limbo)
        level: dict[int, int] = {}
        first: dict[int, Entry] = {}
        for entry in self.entries:
            if entry.file not in busy:
                level[entry.file] = min(entry.level, level.get(entry.file, LEVELS))
                first.setdefault(entry.file, entry)
        if self._thinning in first:
            return first[self._thinning]
        ready = [f for f in first if level[f] < (LEVELS if again else 1)]
        self._thinning = min(ready, key=lambda f: (level[f], self._segments[f].head.order), default=0)
        return first.get(self._thinning)

    def _run(self, begin: int, file: int) -> Iterator[Entry]:
        boot, end, level = self.entries[begin].boot_id, self.entries[begin].first, self.entries[begin].level
        for entry in self.entries[begin:]:
            if entry.file != file or entry.boot_id != boot or entry.first != end or entry.level != level:
                return
            end = entry.end
            yield entry
