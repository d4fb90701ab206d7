"""A node: one loop that measures, keeps, sends, and feeds the watchdog only when it did both."""

from .clock import Clock
from .hal import Hal
from .link import Link
from .record import AFTER_WATCHDOG, head
from .ring import Ring
from .state import State

STATE_SECTORS = 2
ACKED_KEPT_MS = 60_000  # acknowledgements since then are forgotten in a power cut; their records are sent again
LINE_PART = 2  # records may take half of the line


class Sensors:
    """What a kind of node measures."""

    kind = 0

    def begin(self, hal: Hal, state: State, last: bytes) -> None:
        """The hardware, what outlived the power cut, and the newest record in flash or nothing."""
        raise NotImplementedError

    def poll(self, now: int) -> None:
        """Called in every pass; ``now`` in ms since the start."""
        raise NotImplementedError

    def take(self, now: int) -> tuple[bytes, int]:
        """(fields, flags) of the record that is due."""
        raise NotImplementedError

    def state_changed(self) -> bool:
        """Whether the state must be written at once; asked once per record."""
        return False


class Node:
    """Call ``begin`` once, then ``step`` for ever. The first sectors of the flash hold the state, the others the ring."""

    def __init__(self, hal: Hal, sensors: Sensors, interval_ms: int, baud: int) -> None:
        self._hal = hal
        self._sensors = sensors
        self._interval_ms = interval_ms
        self._baud = baud
        self._clock = Clock()
        self._due = interval_ms
        self._wrote = False
        self._linked = False
        self._saved_at = 0
        self._saved_acked = 0
        self.boot_id = 0
        self.faults = 0  # flash or line did not work

    def begin(self) -> None:
        """Look at the flash. Writes nothing."""
        hal = self._hal
        self.state = State(hal.flash, 0)
        self.state.load()
        self.ring = Ring(hal.flash, STATE_SECTORS, hal.flash.sectors - STATE_SECTORS)
        self.ring.mount(hal.random_u32())
        if self.state.ring_id == self.ring.ring_id:
            self.ring.ack(self.state.acked)
        self.ring.rewind(self.ring.acked)
        self._saved_acked = self.ring.acked
        self.boot_id = hal.random_u32()
        if self.ring.last and head(self.ring.last)[1] == self.boot_id:
            self.boot_id = self.boot_id % 0xFFFFFFFF + 1
        self._sensors.begin(hal, self.state, self.ring.last)
        self.link = Link(hal, self.ring, self.state, self.boot_id, self._baud // 10 // LINE_PART)
        self._clock.now(hal.ticks_ms())

    def step(self) -> None:
        """One pass, a few ms; more when flash is erased."""
        hal = self._hal
        now = self._clock.now(hal.ticks_ms())
        self._sensors.poll(now)
        must_save = False
        if now >= self._due:
            self._due = (
                self._due + self._interval_ms if now - self._due < self._interval_ms else now + self._interval_ms
            )
            self._record(now)
            must_save = self._sensors.state_changed()
        try:
            self.link.run(now, self.ring.failed_writes)
            self._linked = True
        except OSError:
            self.faults += 1
        self._save(now, must_save)
        if self._wrote and self._linked:
            hal.feed_watchdog()
            self._wrote = self._linked = False

    def _record(self, now: int) -> None:
        fields, flags = self._sensors.take(now)
        if self._hal.after_watchdog():
            flags |= AFTER_WATCHDOG
        try:
            self.ring.append(self._sensors.kind, self.boot_id, now, fields, flags)
            self._wrote = True
        except OSError:
            self.faults += 1

    def _save(self, now: int, must: bool) -> None:
        acked = self.ring.acked
        if must or self.link.dirty or (acked != self._saved_acked and now - self._saved_at >= ACKED_KEPT_MS):
            self.state.ring_id, self.state.acked = self.ring.ring_id, acked
            self._saved_at, self._saved_acked, self.link.dirty = now, acked, False
            try:
                self.state.save()
            except OSError:
                self.faults += 1


def run(hal: Hal, sensors: Sensors, interval_ms: int, baud: int) -> None:
    """Never returns."""
    node = Node(hal, sensors, interval_ms, baud)
    node.begin()
    while True:
        node.step()
