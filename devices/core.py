"""The delivery of one gateway without sockets, clock or tasks: events in, actions out.

``now`` is monotonic [s]. The shell (``devices.gateway``), or a simulator, calls ``on_*``, does the actions it gets, and
calls ``on_tick`` when ``wake_at`` has come. The rules (``devices/README.md`` tells why):

- a reading gets its number before it may be sent; numbers begin at 0 with each ``boot_id`` and are never used again;
- a PUBACK only frees the window; a reading is dropped only below the server's ``next``;
- without a confirmation in time everything from ``next`` on is sent again, one batch at first, then doubling.
"""

import random
from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Final

import msgspec

from devices.actions import About, Action, Connect, Drop, Figures, Publish, Say
from devices.clock import ClockLog, ClockState, coarse
from devices.config import GatewayConfig
from devices.counters import Counters
from devices.outbox import Outbox
from devices.patience import Patience
from devices.signals import SIGNALS
from devices.wire import Ack, GatewayState, Sample, encode_batch, topic

FIRST_BATCHES_S: Final = (
    1.0  # after a connect the live period begins here and doubles up to batch_s: figures come quickly
)
BACKLOG_GAP_S: Final = (
    0.25  # 4 old batches a second per gateway, so that a thousand returning gateways do not drown the server
)
UNCONFIRMED_WINDOWS: Final = 4  # windows sent but not confirmed, at most: what one stall can make repeat
START_BATCHES: Final = 4  # unconfirmed batches right after a connect; doubles with every confirmation
REFUSED_MOST_S: Final = 60.0  # ceiling of the wait after the broker said "not delivered"; begins at 1 s and doubles
PUBACK_MOST_S: Final = 60.0  # a broker that takes nothing for so long is left and connected to anew
RETRY_MOST_S: Final = 60.0  # ceiling of the jittered wait before a connect
STATE_GAP_S: Final = 10.0  # between two messages of state on one link: a sensor that comes and goes is no flood
STABLE_S: Final = 60.0  # a link that held this long resets the back-off
NOT_DELIVERED: Final = {0x10: "no subscriber", 0x87: "not authorized", 0x97: "quota exceeded"}
_BOUNDS: Final = {s.name: (s.low, s.high) for s in SIGNALS}
_LATEST_NS: Final = 2**63 - 1


@dataclass(slots=True)
class _Sent:
    end: int
    at: float
    fresh: bool  # no reading of it had been sent before: its confirmation tells the round trip


class GatewayCore:
    """The state of one gateway's delivery. ``boot_id`` must differ at every start; ``rng`` only makes jitter."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        boot_id: int,
        rng: random.Random,
        counters: Counters,
        software: str = "fleetco2",
        sources: tuple[str, ...] = (),
    ) -> None:
        self.config = config
        self.boot_id = boot_id
        self.ack_topic = topic(config.tenant, config.device, "dn/ack")
        self.state_topic = topic(config.tenant, config.device, "up/state")
        self._readings_topic = topic(config.tenant, config.device, "up/readings")
        self._clock = ClockState("none" if config.clock == "auto" else config.clock, config.clock_error_ms)
        self._clocks = ClockLog(self._clock)
        self._software = software
        self._about = About(sources)
        self._told: tuple[object, ...] = ()  # what the last message of state said
        self._state_at = -inf
        self._rng = rng
        self._counters = counters
        self._outbox = Outbox(config.keep_max_readings)
        self._cursor = 0  # the next reading to send
        self._token = 0
        self._window: set[int] = set()  # batches without a PUBACK
        self._puback_at = 0.0
        self._refused = 0
        self._retry_at = inf
        self._unconfirmed: deque[_Sent] = deque()  # batches without a confirmation
        self._allowed = START_BATCHES
        self._progress_at = 0.0
        self._patience = Patience()
        self._period_s = 0.0  # live batches; 0 = send what there is
        self._backlog_at = -inf
        self._connected = False
        self._connected_at = 0.0
        self._links = 0
        self._failures = 0
        self._draining = False
        self._said: set[str] = set()

    def __len__(self) -> int:
        """Rows that wait for confirmation."""
        return len(self._outbox)

    def figures(self) -> Figures:
        """A snapshot."""
        box = self._outbox
        reconnects = max(0, self._links - 1)
        return Figures(
            device=self.config.device,
            boot_id=self.boot_id,
            sent=box.numbered,
            confirmed=box.confirmed,
            kept_rows=len(box),
            thinned=box.thinned,
            reconnects=reconnects,
            connected=self._connected,
        )

    def state(self, *, online: bool) -> bytes:
        """The message for ``up/state``: birth, or the will and the last word."""
        box = self._outbox
        return msgspec.json.encode(
            GatewayState(
                status="online" if online else "offline",
                boot_id=self.boot_id,
                software=self._software,
                unconfirmed=box.numbered - box.confirmed,
                oldest_unsent_ns=box.oldest_ns,
                sources=self._about.sources,
                clock=self._clock.source,
                undated=self._about.undated,
                missing=self._about.missing,
                stuck=self._about.stuck,
                config=self._about.config,
            )
        )

    @property
    def writable(self) -> bool:
        """Whether the outbox takes readings: in memory it does as long as it keeps its bound."""
        return len(self._outbox) <= self.config.keep_max_readings

    @property
    def clock(self) -> ClockState:
        """What the readings to come are dated with."""
        return self._clock

    def reconfigure(self, config: GatewayConfig) -> None:
        """Use other batches and windows from now on. Identity, broker and the outbox's bound stay those of the start."""
        self.config = config

    def on_clock(self, state: ClockState) -> None:
        """What the readings to come are dated with; those taken before keep what they had."""
        self._clock = coarse(state)
        self._clocks.note(self._outbox.numbered, self._clock)

    def on_about(self, about: About, now: float) -> list[Action]:
        """Sources, faults or configuration have changed."""
        self._about = about
        return self._pump(now)

    def on_sample(self, sample: Sample, now: float) -> list[Action]:
        """Number and keep a reading; values that cannot be are left out and counted."""
        if not 0 < sample.time_ns <= _LATEST_NS:
            self._counters.add("time_impossible")
            return []
        thinned = self._outbox.append(sample.time_ns, self._possible(sample.values), now)
        self._counters.add("readings_numbered")
        actions: list[Action] = []
        if thinned:
            self._counters.add("readings_thinned", thinned)
            actions += self._say_once(
                "outbox_full", f"{len(self._outbox)} readings are unconfirmed; the oldest are merged from now on"
            )
        return actions + self._pump(now)

    def on_start(self) -> list[Action]:
        """The first connect, at once."""
        return [Connect(0.0)]

    def on_connected(self, now: float) -> list[Action]:
        """The link stands and ``ack_topic`` is subscribed: say who we are, resume at what the server last confirmed."""
        self._connected, self._connected_at = True, now
        self._links += 1
        self._counters.add("connected")
        self._allowed = START_BATCHES
        self._patience.restart()
        self._period_s = 0.0
        self._go_back(now)
        self._said -= {"broker_unreachable", "broker_lost"}
        self._state_at = now
        return [self._publish_state(online=True), *self._pump(now)]

    def on_disconnected(self, reason: str, now: float) -> list[Action]:
        """The link is gone, or an attempt to make it failed: connect again after a wait with full jitter."""
        if self._connected:
            self._counters.add("disconnected")
            if now - self._connected_at >= STABLE_S:
                self._failures = 0
            said = [Say("broker_lost", f"{reason}; readings are kept and the connection is made again")]
        else:
            self._counters.add("connect_failed", label=reason)
            said = self._say_once("broker_unreachable", f"{reason}; trying again for ever, readings are kept")
        self._connected = False
        self._window.clear()
        self._unconfirmed.clear()
        self._retry_at = inf
        delay_s = self._rng.uniform(0.0, min(RETRY_MOST_S, 2.0**self._failures))
        self._failures = min(self._failures + 1, 16)  # 2^16 s is far above the ceiling
        return [*said, Connect(delay_s)]

    def on_puback(self, token: int, reason: int, now: float) -> list[Action]:
        """The broker took a message, or says by ``reason`` (MQTT 5) that it is not delivered. Frees the window only."""
        if token not in self._window:
            return []
        self._window.discard(token)
        self._puback_at = now
        said: list[Say] = []
        if reason in NOT_DELIVERED or reason >= 0x80:
            text = NOT_DELIVERED.get(reason, f"reason {reason:#04x}")
            self._counters.add("publish_refused", label=text)
            said = self._say_once("publish_refused", f"{text}; readings are kept and sent again")
            if self._retry_at == inf:
                wait_s = min(REFUSED_MOST_S, 2.0**self._refused)
                self._retry_at = now + self._rng.uniform(wait_s / 2, wait_s)
                self._refused = min(self._refused + 1, 16)
        return [*said, *self._pump(now)]

    def on_ack(self, payload: bytes, now: float) -> list[Action]:
        """A message on ``ack_topic``: the server has everything of this boot below ``next`` on disk."""
        try:
            ack = msgspec.json.decode(payload, type=Ack)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._counters.add("ack_unreadable")
            return []
        if ack.boot_id != self.boot_id:
            self._counters.add("ack_other_boot")
            return []
        if ack.next > self._outbox.sent_end:
            self._counters.add("ack_beyond_sent")
            return []
        gained = self._outbox.confirm(ack.next)
        if not gained:
            return []
        self._counters.add("readings_confirmed", gained)
        self._clocks.forget(ack.next)
        self._cursor = max(self._cursor, ack.next)
        self._progress_at, self._refused = now, 0
        self._allowed = min(self._allowed * 2, UNCONFIRMED_WINDOWS * self.config.window)
        self._said -= {"publish_refused", "server_silent"}
        if len(self._outbox) <= self.config.keep_max_readings // 2:
            self._said.discard("outbox_full")
        while self._unconfirmed and self._unconfirmed[0].end <= ack.next:
            sent = self._unconfirmed.popleft()
            if sent.fresh:
                self._patience.on_round_trip(now - sent.at)
        return self._pump(now)

    def on_tick(self, now: float) -> list[Action]:
        """Do what has become due by ``now``."""
        said: list[Say] = []
        if self._window and now >= self._puback_at + PUBACK_MOST_S:
            self._puback_at = now
            return [Drop(f"the broker has taken nothing for {PUBACK_MOST_S:.0f} s")]
        if now >= self._retry_at:
            self._allowed = 1
            self._go_back(now)
        elif self._unconfirmed and now >= self._stalled_at():
            self._counters.add("stalled")
            self._patience.on_stall()
            self._allowed = 1
            self._go_back(now)
            if self._patience.stalls > 1:  # a single one heals by itself
                box = self._outbox
                text = f"nothing confirmed since reading {box.confirmed}; {box.numbered - box.confirmed} are kept"
                said = self._say_once("server_silent", text)
        return [*said, *self._pump(now)]

    def on_stop(self, now: float) -> list[Action]:
        """No more samples will come: send what is left without waiting for a full batch."""
        self._draining = True
        return self._pump(now)

    def farewell(self) -> Publish:
        """The last word before a clean disconnect."""
        return self._publish_state(online=False)

    def on_closed(self) -> None:
        """The link was ended in good order, for good."""
        self._connected = False

    def wake_at(self) -> float:
        """When ``on_tick`` has something to do; inf if only an event can change anything."""
        stalled_at = self._stalled_at() if self._unconfirmed else inf
        puback_at = self._puback_at + PUBACK_MOST_S if self._window else inf
        return min(stalled_at, puback_at, self._retry_at, self._due_at(), self._state_due_at())

    def _possible(self, values: dict[str, float]) -> dict[str, float]:
        """Values whose signal exists and whose range holds them; the rest is counted. NaN fails every comparison."""
        kept: dict[str, float] = {}
        for name, value in values.items():
            bounds = _BOUNDS.get(name)
            if bounds is None:
                self._counters.add("signal_unknown", label=name)
            elif bounds[0] <= value <= bounds[1]:
                kept[name] = value
            else:
                self._counters.add("value_out_of_range", label=name)
        return kept

    def _due_at(self) -> float:
        """When the next batch may go; inf while the link, the window or the outbox holds it back."""
        pending = self._outbox.pending(self._cursor)
        free = len(self._window) < self.config.window and len(self._unconfirmed) < self._allowed
        if not (self._connected and pending and free and self._retry_at == inf):
            return inf
        repeated = self._cursor < self._outbox.sent_end
        if repeated or self._draining or pending >= self.config.batch_max:
            return self._backlog_at
        return max(self._outbox.accepted_s(self._cursor) + self._period_s, self._backlog_at)

    def _pump(self, now: float) -> list[Action]:
        """Send every batch that is due."""
        actions: list[Action] = []
        if now >= self._state_due_at():
            self._state_at = now
            actions.append(self._publish_state(online=True))
        while now >= self._due_at():
            actions.append(self._publish_batch(now))
        return actions

    def _publish_batch(self, now: float) -> Publish:
        old_before = now - 2 * self.config.batch_s
        historical = self._outbox.accepted_s(self._cursor) < old_before
        fresh = self._cursor >= self._outbox.sent_end
        batch = self._outbox.take(self._cursor, self.config.batch_max, before_s=old_before if historical else inf)
        if not self._unconfirmed:
            self._progress_at = now
        self._unconfirmed.append(_Sent(batch.end, now, fresh))
        self._cursor = batch.end
        self._counters.add("batches_published")
        if historical:
            self._backlog_at = now + BACKLOG_GAP_S
        if not fresh:
            self._counters.add("batches_repeated")
        elif not historical:
            self._period_s = min(self.config.batch_s, max(FIRST_BATCHES_S, 2 * self._period_s))
        self._token += 1
        if not self._window:
            self._puback_at = now
        self._window.add(self._token)
        clock = self._clocks.over(batch.seq0, batch.end)
        payload = encode_batch(  # 1,000 readings of noise in every signal stay far below the packet limit
            self.config.device,
            self.boot_id,
            batch.seq0,
            batch.samples,
            historical=historical,
            clock_source=clock.source,
            clock_error_ms=clock.error_ms,
        )
        return Publish(self._token, self._readings_topic, payload)

    def _telling(self) -> tuple[object, ...]:
        about = self._about
        return about.sources, about.missing, about.stuck, about.config, about.undated > 0, self._clock.source

    def _state_due_at(self) -> float:
        if not self._connected or self._draining or self._told == self._telling():
            return inf
        return self._state_at + STATE_GAP_S

    def _publish_state(self, *, online: bool) -> Publish:
        self._told = self._telling()
        self._token += 1
        return Publish(self._token, self.state_topic, self.state(online=online), retain=True)

    def _go_back(self, now: float) -> None:
        self._cursor = self._outbox.confirmed
        self._unconfirmed.clear()
        self._progress_at = now
        self._backlog_at = -inf
        self._retry_at = inf

    def _stalled_at(self) -> float:
        return self._progress_at + self._patience.wait_s()

    def _say_once(self, event: str, detail: str) -> list[Say]:
        """Say it unless it has been said and not been mended since."""
        if event in self._said:
            return []
        self._said.add(event)
        return [Say(event, detail)]
