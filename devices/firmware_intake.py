"""What arrives from one sensor node, without input or output: bytes in, readings and answers out.

The node keeps each record in its own flash until it hears that it is safe here, and sends from where it is asked to. Records
are taken strictly in the order of their seq: a missing one is asked for again, and given up only when the node has been seen
to go back and still does not have it.

Records carry no UTC, only ms since the node's start. They are dated by the beats of that start, or by an anchor that the node
keeps for an earlier one. A record that neither can date is counted and passed over; it never gets a guessed time.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import inf, nextafter
from typing import Final, TypeVar

from devices import firmware_record as fr
from devices.firmware_record import Anchor, Beat, Head, Truck, Warehouse
from devices.wire import Sample

V = TypeVar("V")

REPLY_S: Final = 1.0  # the node stops sending records when it has not heard us for ten
ASK_S: Final = 1.0  # what was on the line when we asked has arrived by then
GAP_TRIES: Final = 10  # times the node went back without it: with one frame in four damaged, wrong once in a million
QUIET_S: Final = 2.0  # a beat says there is more, and nothing comes for so long
UNDATED_BEATS: Final = 3  # the node sends its anchors each time it is asked; so many times all of them were damaged
DELAYS_KEPT: Final = 32  # beats; the least delayed dates the records; a crystal drifts by 3 ms in that time
STARTS_KEPT: Final = 16  # starts of the node that are remembered; it keeps four itself
CLOCK_LEAST_NS: Final = (
    1_704_067_200 * 10**9
)  # 2024: a clock that shows less is not set, and the node must not learn it
AHEAD_MS: Final = 3_600_000  # a record of this start is at most so much newer than its newest beat
TAKEN_KEPT: Final = 600  # replies that wait for the disk, ten minutes; one that refuses for longer is waited for
_NS_PER_MS: Final = 1_000_000
_HALF: Final = fr.U32 // 2  # 24.8 days


@dataclass(frozen=True, slots=True)
class Figures:
    """What happened since the gateway's start. ``node`` is the newest beat."""

    frames: int = 0  # frames of the node whose checksum fits
    damaged: int = 0  # frames that are none: COBS, length, magic or checksum
    newer: int = 0  # frames of a version or kind that this gateway does not know
    records: int = 0  # records taken over
    repeated: int = 0  # records that had been taken before
    lost: int = 0  # records the node no longer had
    undated: int = 0  # records of a start whose time nobody knows
    asked: int = 0  # times the node was asked to go back
    node: Beat | None = None


@dataclass(slots=True)
class _Start:
    """A start of the node seen by its beats."""

    t_ms: int  # of its newest beat, not wrapped
    delays_s: deque[float]  # monotonic s at t_ms 0, as late as each beat came


class Intake:
    """One node. Times are monotonic seconds ``now_s`` and UTC ``now_ns``, both of the same moment."""

    def __init__(self, values: Callable[[Truck | Warehouse], dict[str, float]], *, ack_after_s: float) -> None:
        """``ack_after_s``: a record taken so long ago is safe, unless ``on_durable`` tells; then what that says counts."""
        self._values = values
        self._ack_after_s = ack_after_s
        self._durable_s: float | None = None
        self._reader = fr.FrameReader()
        self._reader_bad = 0
        self._ring_id: int | None = None
        self._next = 0  # seq to be taken next
        self._safe = 0  # records below it may be acknowledged
        self._taken: deque[tuple[float, int]] = deque()  # (when, next), one a reply, no older than ack_after_s
        self._boot_id = 0
        self._starts: dict[int, _Start] = {}
        self._anchors: dict[int, tuple[int, int]] = {}  # boot_id: (t_ms, UTC ms)
        self._beats = 0
        self._undated_at: dict[int, int] = {}  # boot_id: beats when its first record could not be dated
        self._must_ask = False
        self._asked_at = -inf
        self._went_back = False  # since we asked
        self._tries = 0
        self._gap_low = self._gap_high = 0  # seqs seen beyond the missing one
        self._record_at = -inf
        self._replied_at = -inf
        self.figures = Figures()

    def on_open(self) -> None:
        """The line is new: half a frame on it is forgotten, what was taken is not."""
        self._reader = fr.FrameReader()
        self._reader_bad = 0
        self._replied_at = -inf

    def on_bytes(self, data: bytes, now_s: float, now_ns: int) -> Iterator[Sample]:
        """The readings in ``data``. One counts as taken when the next is asked for."""
        for content in self._reader.feed(data):
            record = fr.decode(content)
            if isinstance(record, fr.Refused):
                known = record.reason in ("version", "kind")
                self._count(newer=int(known), damaged=int(not known))
                if record.head is not None and self._is_next(record.head, now_s):
                    self._advance()
                continue
            self._count(frames=1)
            if isinstance(record, Beat):
                self._on_beat(record, now_s)
            elif isinstance(record, Anchor):
                _remember(self._anchors, record.head.boot_id, (record.head.t_ms, record.utc_ms))
            elif self._is_next(record.head, now_s):
                time_ns = self._time_ns(record.head, now_s, now_ns)
                if time_ns is not None:
                    yield Sample(time_ns, self._values(record))
                    self._count(records=1)
                elif self._may_still_be_dated(record.head.boot_id):
                    self._must_ask = True
                    continue
                else:
                    self._count(undated=1)
                self._advance()
        self._count(damaged=self._reader.bad - self._reader_bad)
        self._reader_bad = self._reader.bad

    def reply(self, now_s: float, now_ns: int) -> bytes:
        """What to send now, perhaps nothing. Call it after each reading of the port."""
        asks = self._must_ask and now_s - self._asked_at >= ASK_S
        if self._ring_id is None or not (asks or now_s - self._replied_at >= REPLY_S):
            return b""
        self._replied_at = now_s
        if not self._taken or self._taken[-1][1] != self._next:
            self._taken.append((now_s, self._next))
            if len(self._taken) > TAKEN_KEPT:
                self._taken.popleft()  # what it says is said, later, by the next one
        safe_s = now_s - self._ack_after_s if self._durable_s is None else self._durable_s
        while self._taken and self._taken[0][0] <= safe_s:
            self._safe = self._taken.popleft()[1]
        if asks:
            self._must_ask, self._went_back, self._asked_at = False, False, now_s
            self._count(asked=1)
        return fr.frame(
            fr.encode_down(
                self._ring_id,
                acked=self._safe,
                resume=self._next if asks else None,
                utc_ms=now_ns // _NS_PER_MS if now_ns >= CLOCK_LEAST_NS else None,
            )
        )

    def on_durable(self, at_s: float) -> None:
        """Every reading given before ``at_s`` is on this gateway's disk: its record may be acknowledged."""
        self._durable_s = nextafter(at_s, -inf)

    def _on_beat(self, beat: Beat, now_s: float) -> None:
        self.figures = replace(self.figures, node=beat)
        self._beats += 1
        if beat.ring_id != self._ring_id or beat.next < self._next:  # another flash, or it forgot what it had sent
            self._next = min(beat.acked, beat.next) if beat.ring_id != self._ring_id else beat.next
            self._ring_id, self._safe = beat.ring_id, self._next
            self._taken.clear()
            self._close_gap()
            self._must_ask, self._asked_at = True, -inf
        head = beat.head
        self._boot_id = head.boot_id
        start = self._starts.get(head.boot_id)
        if start is None:
            start = _Start(head.t_ms, deque(maxlen=DELAYS_KEPT))
            self._must_ask = True  # it would begin at what its flash knows to be acknowledged, up to a minute ago
        start.t_ms += (head.t_ms - start.t_ms) % fr.U32
        start.delays_s.append(now_s - start.t_ms / 1000)
        _remember(self._starts, head.boot_id, start)
        if beat.oldest > self._next:
            self._lose_until(beat.oldest)
        if beat.next > self._next and now_s - max(self._record_at, self._asked_at) >= QUIET_S:
            self._must_ask = True

    def _is_next(self, head: Head, now_s: float) -> bool:
        """Whether the record of ``head`` is the one to be taken."""
        if self._ring_id is None:
            return False  # a beat comes within a second, and then everything is asked for
        if head.seq < self._next:
            self._count(repeated=1)
            return False
        self._record_at = now_s
        if head.seq == self._next:
            self._close_gap()
            return True
        if not self._gap_high:
            self._gap_low = self._gap_high = head.seq
        elif head.seq <= self._gap_high and not self._went_back:
            self._went_back = True
            self._tries += 1
        self._gap_low = min(self._gap_low, head.seq)
        self._gap_high = max(self._gap_high, head.seq)
        if self._tries >= GAP_TRIES and head.seq == self._gap_low:
            self._lose_until(head.seq)
            return True
        self._must_ask = True
        return False

    def _advance(self) -> None:
        self._next += 1
        self._must_ask = False

    def _lose_until(self, seq: int) -> None:
        self._count(lost=seq - self._next)
        self._next = seq
        self._close_gap()

    def _close_gap(self) -> None:
        self._tries = self._gap_low = self._gap_high = 0

    def _time_ns(self, head: Head, now_s: float, now_ns: int) -> int | None:
        """UTC of a record; None if the time of its start is not known."""
        start = self._starts.get(head.boot_id)
        if start is not None:
            # in flash for up to 49.7 days, unless its start is over: then it may also be newer than the last beat seen
            ahead_ms = AHEAD_MS if head.boot_id == self._boot_id else _HALF
            age_ms = (start.t_ms - head.t_ms + ahead_ms) % fr.U32 - ahead_ms
            taken_s = min(start.delays_s) + (start.t_ms - age_ms) / 1000
            return now_ns - round((now_s - taken_s) * 1e9)
        anchor = self._anchors.get(head.boot_id)
        if anchor is not None:
            t_ms, utc_ms = anchor
            return (utc_ms + (head.t_ms - t_ms + _HALF) % fr.U32 - _HALF) * _NS_PER_MS
        return None

    def _may_still_be_dated(self, boot_id: int) -> bool:
        """Whether a beat or an anchor of that start may just have been damaged."""
        if boot_id not in self._undated_at:
            _remember(self._undated_at, boot_id, self._beats)
        return self._beats - self._undated_at[boot_id] < UNDATED_BEATS

    def _count(self, **more: int) -> None:
        if any(more.values()):
            changes = {name: getattr(self.figures, name) + n for name, n in more.items()}
            self.figures = replace(self.figures, **changes)


def _remember(what: dict[int, V], boot_id: int, value: V) -> None:
    """Keep the value as the newest of at most STARTS_KEPT."""
    what.pop(boot_id, None)
    what[boot_id] = value
    while len(what) > STARTS_KEPT:
        del what[next(iter(what))]
