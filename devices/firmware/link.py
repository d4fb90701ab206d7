"""The serial line to the gateway: beats, anchors and records go out, acknowledgements and the time come in.

A beat goes out every second, whoever listens. Records go out while the gateway is heard, in the order of their seq, from where
it asked to resume, with the anchors before them; it alone decides what to send again. What it acknowledges is never sent again.
"""

from . import framing, record
from .hal import Hal
from .ring import Ring
from .state import State

BEAT_MS = 1_000
HEARD_MS = 10_000  # the gateway sends every second; after this it is not there and records stay in flash
BURST = 512  # bytes a pass may send after a pause; at 115200 baud they take 45 ms
ANCHOR_KEPT_MS = 6 * 3_600_000  # a crystal drifts by a second in that time at most
ANCHOR_LEAST_MS = 60_000  # spares the flash when the gateway's clock is being set
ANCHOR_ERROR_MS = 2_000
STUCK_MS = 5_000  # a line that takes nothing for so long is broken
UTC_LEAST_MS = 1_700_000_000_000  # 2023; a gateway that says less does not know the time
UTC_MOST_MS = 1 << 48


class Link:
    """One pass is ``run``. ``bytes_per_s`` is what records may take of the line's speed."""

    def __init__(self, hal: Hal, ring: Ring, state: State, boot_id: int, bytes_per_s: int) -> None:
        self._hal = hal
        self._ring = ring
        self._state = state
        self._boot_id = boot_id
        self._bytes_per_s = bytes_per_s
        self._reader = framing.Reader()
        self._pending = b""
        self._moved_at = 0  # when the line last took something, or had nothing to take
        self._budget = BURST
        self._budget_at = 0
        self._beat_at = 0
        self._heard_at = -HEARD_MS - 1
        self._start_utc_ms = 0
        self._anchor_due = 0
        self._bad = 0
        self.dirty = False  # the state has an anchor that is not yet in flash

    def run(self, now: int, failed_writes: int) -> None:
        """Take what came, send what is due. OSError if the line does not work."""
        for frame in self._reader.feed(self._hal.uart_read()):
            down = framing.unpack_down(frame)
            if down is None:
                self._bad += 1
            elif down[1] == self._ring.ring_id:
                self._on_down(down, now)
        earned = (now - self._budget_at) * self._bytes_per_s // 1000
        if earned:
            self._budget = min(BURST, self._budget + earned)
            self._budget_at = now
        self._flush(now)
        if now >= self._beat_at and not self._pending:
            self._beat_at = now + BEAT_MS
            self._queue_beat(now, failed_writes)
            self._flush(now)
        if now - self._heard_at <= HEARD_MS:
            while not self._pending and self._budget > 0:
                data = self._ring.next_record()
                if data is None:
                    break
                self._queue(data)
                self._flush(now)

    def _on_down(self, down: tuple[int, int, int, int, int], now: int) -> None:
        flags, _ring_id, acked, resume, utc_ms = down
        self._heard_at = now
        if flags & framing.HAS_ACKED:
            self._ring.ack(acked)
        if flags & framing.HAS_RESUME:
            self._ring.rewind(max(resume, self._ring.acked))
            if len(self._pending) < BURST:
                self._queue_anchors()
        if flags & framing.HAS_UTC and UTC_LEAST_MS < utc_ms < UTC_MOST_MS:
            self._on_utc(utc_ms, now)

    def _on_utc(self, utc_ms: int, now: int) -> None:
        wrong = abs(utc_ms - now - self._start_utc_ms) > ANCHOR_ERROR_MS
        if now >= self._anchor_due or (wrong and now >= self._anchor_due - ANCHOR_KEPT_MS + ANCHOR_LEAST_MS):
            self._state.set_anchor(self._boot_id, now, utc_ms)
            self._start_utc_ms = utc_ms - now
            self._anchor_due = now + ANCHOR_KEPT_MS
            self.dirty = True

    def _queue_anchors(self) -> None:
        for boot_id, t_ms, utc_ms in self._state.anchors:
            self._queue(record.pack(record.ANCHOR, boot_id, 0, t_ms, record.anchor_fields(utc_ms), 0))

    def _queue_beat(self, now: int, failed_writes: int) -> None:
        ring = self._ring
        fields = record.beat_fields(
            ring.ring_id, ring.acked, ring.next, ring.oldest, self._bad + self._reader.bad, failed_writes
        )
        flags = record.AFTER_WATCHDOG if self._hal.after_watchdog() else 0
        self._queue(record.pack(record.BEAT, self._boot_id, ring.next, now, fields, flags))

    def _queue(self, data: bytes) -> None:
        frame = framing.encode(data)
        self._budget -= len(frame)
        self._pending += frame

    def _flush(self, now: int) -> None:
        taken = self._hal.uart_write(self._pending) if self._pending else 0
        if taken or not self._pending:
            self._pending = self._pending[taken:]
            self._moved_at = now
        elif now - self._moved_at > STUCK_MS:
            raise OSError("the line takes nothing")
