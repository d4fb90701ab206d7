"""The delivery of one gateway without sockets, clock or tasks: events in, actions out.

``now`` is monotonic [s]. The shell (``devices.gateway``), or a simulator, calls ``on_*``, does the actions it gets, and
calls ``on_tick`` when ``wake_at`` has come. The rules (``devices/README.md`` tells why):

- a reading gets its number, is sealed into a batch and is on the disk before it may be sent; numbers begin at 0 with each
  ``boot_id`` and are never used again; what earlier boots left goes first, as it was sealed;
- a PUBACK only frees the window; a reading is dropped only below the server's ``next``;
- without a confirmation in time everything from ``next`` on is sent again, one batch at first, then doubling;
- what the server misses and is here no more is told, so that it goes on.
"""

import random
from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Final

import msgspec

from devices.actions import About, Action, Connect, Drop, Figures, Publish, Say
from devices.clock import ClockState
from devices.config import GatewayConfig
from devices.counters import Counters
from devices.entries import DamagedError, Entry, Recovered
from devices.envelope import as_historical
from devices.patience import Patience
from devices.ring import Ring
from devices.signals import SIGNALS
from devices.store import Once, Store, memory_ring
from devices.wire import Ack, GatewayState, Hole, Sample, topic

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
STATE_EVERY_S: Final = 3600.0  # and it is said again at least so often: 100,000 gateways are 28 messages a second
STATE_BEHIND_S: Final = 60.0  # while much is unconfirmed, or was when it was last said
BEHIND_READINGS: Final = 600  # ten minutes at 1 Hz; a gateway that keeps up has some 20
STABLE_S: Final = 60.0  # a link that held this long resets the back-off
READ_TRIES: Final = 5  # after so many refusals in a row a batch counts as damaged, so that it does not block the others
BOOTS_UNDER_WAY: Final = 4  # boots with unconfirmed batches sent: the server remembers six, and must know a copy as one
GONE_GAP_S: Final = 5.0  # between two messages that something is gone
NOT_DELIVERED: Final = {0x10: "no subscriber", 0x87: "not authorized", 0x97: "quota exceeded"}
_BOUNDS: Final = {s.name: (s.low, s.high) for s in SIGNALS}
_LATEST_NS: Final = 2**63 - 1


@dataclass(slots=True)
class _Sent:
    entry: Entry
    at: float
    fresh: bool  # no reading of it had been sent before: its confirmation tells the round trip


class GatewayCore:
    """The state of one gateway's delivery. ``boot_id`` must differ at every start; ``rng`` only makes jitter.

    ``ring`` is the outbox, with what it ``recovered`` from earlier boots; without it, one in memory.
    """

    def __init__(
        self,
        config: GatewayConfig,
        *,
        boot_id: int,
        rng: random.Random,
        counters: Counters,
        software: str = "fleetco2",
        sources: tuple[str, ...] = (),
        ring: Ring | None = None,
        recovered: Recovered | None = None,
    ) -> None:
        self.config = config
        self.boot_id = boot_id
        self.ack_topic = topic(config.tenant, config.device, "dn/ack")
        self.nack_topic = topic(config.tenant, config.device, "dn/nack")
        self._gone_topic = topic(config.tenant, config.device, "up/gone")
        self.state_topic = topic(config.tenant, config.device, "up/state")
        self._readings_topic = topic(config.tenant, config.device, "up/readings")
        self._software = software
        self._about = About(sources)
        self._told: tuple[object, ...] = ()  # what the last message of state said
        self._told_unconfirmed = 0  # and how many readings it said were kept
        self._state_at = -inf
        self._rng = rng
        self._counters = counters
        self._once = Once()
        self._ring = ring or memory_ring(config)
        self._store = Store(config, boot_id, self._ring, counters, self._once)
        self._cursor = 0  # place in the ring of the next batch to send
        self._confirmed = 0  # readings of this boot that the server has
        self._sent_end = 0  # one above the highest reading of this boot ever sent
        self._earlier = 0  # readings of earlier boots that are not confirmed
        self._read_failures = 0
        self._gone_at: dict[int, float] = {}
        if recovered is not None:
            counters.add("outbox_inherited", recovered.readings)
            for name, n in recovered.faults:
                counters.add(name, n)
            self._earlier = recovered.readings
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

    def __len__(self) -> int:
        """Rows that wait for confirmation."""
        return self._store.rows

    def figures(self) -> Figures:
        """A snapshot."""
        reconnects = max(0, self._links - 1)
        return Figures(
            device=self.config.device,
            boot_id=self.boot_id,
            sent=self._store.open.numbered,
            confirmed=self._confirmed,
            kept_rows=len(self),
            thinned=self._store.thinned,
            reconnects=reconnects,
            connected=self._connected,
            earlier=self._earlier,
            fill=self._ring.fill(),
            on_disk=not self._ring.volatile,
        )

    def will(self) -> bytes:
        """What the broker is to say on ``up/state`` should the link end without a farewell."""
        return self.state(online=False, is_will=True)

    def state(self, *, online: bool, is_will: bool = False) -> bytes:
        """The message for ``up/state``: birth, how things stand, the last word."""
        entries = self._ring.entries
        figures = self.figures()
        return msgspec.json.encode(
            GatewayState(
                status="online" if online else "offline",
                boot_id=self.boot_id,
                software=self._software,
                unconfirmed=figures.unconfirmed,
                oldest_unsent_ns=entries[0].time_ns if entries else self._store.open.oldest_ns,
                sources=self._about.sources,
                clock=self.clock.source,
                undated=self._about.undated,
                missing=self._about.missing,
                stuck=self._about.stuck,
                config=self._about.config,
                vin=self._about.vin,
                fill=round(figures.fill, 4),
                thinned=figures.thinned,
                in_memory=not figures.on_disk,
                is_will=is_will,
            )
        )

    @property
    def writable(self) -> bool:
        """Whether readings are taken: in memory they are as long as it keeps its bound, whatever the disk does."""
        return len(self._store.open) <= self.config.keep_max_readings

    @property
    def settled(self) -> bool:
        """Whether every reading is in a batch on the disk, or confirmed."""
        return self._store.settled

    @property
    def durable_seq(self) -> int:
        """Readings of this boot below it are on the disk."""
        return self._store.durable_seq

    @property
    def clock(self) -> ClockState:
        """What the readings to come are dated with."""
        return self._store.clock

    def reconfigure(self, config: GatewayConfig) -> None:
        """Use other batches and windows from now on. Identity, broker and the outbox's bound stay those of the start."""
        self.config = self._store.config = config

    def on_clock(self, state: ClockState) -> None:
        """What the readings to come are dated with; those taken before keep what they had."""
        self._store.on_clock(state)

    def on_about(self, about: About, now: float) -> list[Action]:
        """Sources, faults or configuration have changed."""
        self._about = about
        return self._pump(now)

    def on_sample(self, sample: Sample, now: float) -> list[Action]:
        """Number and keep a reading; values that cannot be are left out and counted."""
        if not 0 < sample.time_ns <= _LATEST_NS:
            self._counters.add("time_impossible")
            return []
        return [*self._store.append(sample, self._possible(sample.values), now), *self._pump(now)]

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
        self._once.mended("broker_unreachable", "broker_lost")
        self._state_at = now
        return [self._publish_state(online=True), *self._pump(now)]

    def on_disconnected(self, reason: str, now: float) -> list[Action]:
        """The link is gone, or an attempt to make it failed: connect again after a wait with full jitter."""
        said: list[Action]
        if self._connected:
            self._counters.add("disconnected")
            if now - self._connected_at >= STABLE_S:
                self._failures = 0
            said = [Say("broker_lost", f"{reason}; readings are kept and the connection is made again")]
        else:
            self._counters.add("connect_failed", label=reason)
            said = self._once.say("broker_unreachable", f"{reason}; trying again for ever, readings are kept")
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
        said: list[Action] = []
        if reason in NOT_DELIVERED or reason >= 0x80:
            text = NOT_DELIVERED.get(reason, f"reason {reason:#04x}")
            self._counters.add("publish_refused", label=text)
            said += self._once.say("publish_refused", f"{text}; readings are kept and sent again")
            if self._retry_at == inf:
                wait_s = min(REFUSED_MOST_S, 2.0**self._refused)
                self._retry_at = now + self._rng.uniform(wait_s / 2, wait_s)
                self._refused = min(self._refused + 1, 16)
        return [*said, *self._pump(now)]

    def on_ack(self, payload: bytes, now: float) -> list[Action]:
        """A message on ``ack_topic``: the server has everything of this boot below ``next`` on disk."""
        try:
            ack = msgspec.json.decode(payload, type=Ack)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._counters.add("ack_unreadable")
            return []
        told = [(p.boot_id, p.next) for p in ack.old] + [(ack.boot_id, ack.next)]
        gained = sum(self._on_position(boot, next_seq) for boot, next_seq in told)
        gone = [action for boot, next_seq in told for action in self._gone_below(boot, next_seq, now)]
        if not gained:
            return [*gone]
        self._counters.add("readings_confirmed", gained)
        self._progress_at, self._refused = now, 0
        self._allowed = min(self._allowed * 2, UNCONFIRMED_WINDOWS * self.config.window)
        self._once.mended("publish_refused", "server_silent")
        if self._ring.fill() <= 0.5:
            self._once.mended("outbox_full")
        while self._unconfirmed and self._unconfirmed[0].entry.confirmed:
            sent = self._unconfirmed.popleft()
            if sent.fresh:
                self._patience.on_round_trip(now - sent.at)
        return [*gone, *self._pump(now)]

    def on_nack(self, payload: bytes, now: float) -> list[Action]:
        """A message on ``nack_topic``: the server misses some readings. What is here goes again, what is not is told."""
        try:
            hole = msgspec.json.decode(payload, type=Hole)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._counters.add("nack_unreadable")
            return []
        self._counters.add("nack_received")
        here = [
            (i, e)
            for i, e in enumerate(self._ring.entries)
            if e.boot_id == hole.boot_id and e.first < hole.end and e.end > hole.begin
        ]
        if here and here[0][1].first <= hole.begin:
            if not any(sent.entry is here[0][1] for sent in self._unconfirmed):
                self._cursor = min(self._cursor, here[0][0])
            return self._pump(now)
        end = here[0][1].first if here else hole.end
        if hole.boot_id == self.boot_id:
            end = min(end, self._store.open.first)  # what comes after will be sent
        return self._tell_gone(hole.boot_id, hole.begin, end, now)

    def on_synced(self, now: float) -> list[Action]:
        """The disk has done what ``Sync`` asked for."""
        self._store.on_synced()
        return self._pump(now)

    def on_sync_failed(self, reason: str, now: float) -> list[Action]:
        """The disk has not; it is asked again."""
        return [*self._store.on_sync_failed(reason, now), *self._pump(now)]

    def on_tick(self, now: float) -> list[Action]:
        """Do what has become due by ``now``."""
        said: list[Action] = []
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
                text = f"nothing confirmed since reading {self._confirmed}; {self.figures().unconfirmed} are kept"
                said = self._once.say("server_silent", text)
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
        due_at = min(self._due_at(), self._store.write_at(ending=self._draining))
        return min(stalled_at, puback_at, self._retry_at, due_at, self._state_due_at())

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

    def _on_position(self, boot_id: int, next_seq: int) -> int:
        """Take in how far the server has a boot; gives the readings that became confirmed."""
        entries = self._ring.entries
        if boot_id == self.boot_id:
            if next_seq > self._sent_end:
                self._counters.add("ack_beyond_sent")
                return 0
            gained = max(0, next_seq - self._confirmed)
            self._confirmed += gained
        else:
            of_boot = [e for e in entries if e.boot_id == boot_id]
            if not of_boot:
                self._counters.add("ack_other_boot")
                return 0
            known = max(of_boot[0].first, self._ring.confirmed(boot_id))
            gained = max(0, min(next_seq, of_boot[-1].end) - known)
            self._earlier -= min(self._earlier, gained)
        if gained:
            self._cursor = max(0, self._cursor - self._ring.confirm(boot_id, next_seq))
        return gained

    def _gone_below(self, boot_id: int, next_seq: int, now: float) -> list[Action]:
        """If the server waits for readings that lie before the oldest one here: they are gone."""
        first = next((e.first for e in self._ring.entries if e.boot_id == boot_id and not e.confirmed), None)
        if first is None and boot_id == self.boot_id:
            first = self._store.open.first
        if first is None or next_seq >= first or next_seq < self._ring.confirmed(boot_id):
            return []
        if boot_id == self.boot_id and next_seq < self._confirmed:
            return []
        return self._tell_gone(boot_id, next_seq, first, now)

    def _tell_gone(self, boot_id: int, begin: int, end: int, now: float) -> list[Action]:
        if begin >= end or not self._connected or now < self._gone_at.get(boot_id, -inf) + GONE_GAP_S:
            return []
        if len(self._gone_at) > BOOTS_UNDER_WAY:
            self._gone_at.clear()
        self._gone_at[boot_id] = now
        self._counters.add("readings_gone", end - begin)
        self._token += 1
        said = Say("readings_gone", f"the server misses the readings {begin} to {end - 1}, which are here no more")
        return [said, Publish(self._token, self._gone_topic, msgspec.json.encode(Hole(boot_id, begin, end)))]

    def _next_entry(self) -> Entry | None:
        """The batch to be sent next; those that the server has already are passed over."""
        entries = self._ring.entries
        while self._cursor < len(entries) and entries[self._cursor].confirmed:
            self._cursor += 1
        return entries[self._cursor] if self._cursor < len(entries) else None

    def _due_at(self) -> float:
        """When the next batch may go, or be sealed to go; inf while the link, the window or the disk holds it back."""
        free = len(self._window) < self.config.window and len(self._unconfirmed) < self._allowed
        if not (self._connected and free and self._retry_at == inf):
            return inf
        entry = self._next_entry()
        if entry is not None:
            if not self._ring.is_durable(entry) or self._too_many_boots(entry):
                return inf
            return self._backlog_at
        store = self._store
        if not len(store.open):
            return inf
        full_at = store.open.accepted_s() + (0.0 if self._draining else self._period_s)
        return max(full_at, self._backlog_at, store.retry_at)

    def _too_many_boots(self, entry: Entry) -> bool:
        boots = {sent.entry.boot_id for sent in self._unconfirmed}
        return entry.boot_id not in boots and len(boots) >= BOOTS_UNDER_WAY

    def _pump(self, now: float) -> list[Action]:
        """Seal, send and commit everything that is due."""
        actions: list[Action] = []
        store = self._store
        if now >= self._state_due_at():
            self._state_at = now
            actions.append(self._publish_state(online=True))
        while True:
            if now >= self._due_at():
                entry = self._next_entry()
                actions += self._seal_live(now) if entry is None else self._publish_batch(entry, now)
            elif store.must_seal(ending=self._draining) and now >= store.retry_at:
                actions += store.seal(now, self._cursor)
            else:
                break
        return actions + store.commit(now, self._cursor, ending=self._draining)

    def _seal_live(self, now: float) -> list[Action]:
        if self._store.open.accepted_s() >= now - 2 * self.config.batch_s:
            self._period_s = min(self.config.batch_s, max(FIRST_BATCHES_S, 2 * self._period_s))
        return self._store.seal(now, self._cursor)

    def _publish_batch(self, entry: Entry, now: float) -> list[Action]:
        try:
            payload = self._ring.read(entry)
        except OSError as error:
            self._read_failures += 1
            if self._read_failures < READ_TRIES:
                self._retry_at = now + 2.0**self._read_failures
                self._counters.add("outbox_refused")
                return self._once.say("outbox_refused", f"{error}; it is read again")
            return self._give_up(entry, str(error))
        except DamagedError as error:
            return self._give_up(entry, str(error))
        self._read_failures = 0
        historical = entry.accepted_s < now - 2 * self.config.batch_s
        if not self._unconfirmed:
            self._progress_at = now
        self._unconfirmed.append(_Sent(entry, now, not entry.sent))
        self._cursor += 1
        self._counters.add("batches_published")
        if historical:
            self._backlog_at = now + BACKLOG_GAP_S
        if entry.sent:
            self._counters.add("batches_repeated")
        entry.sent = True
        if entry.boot_id == self.boot_id:
            self._sent_end = max(self._sent_end, entry.end)
        self._token += 1
        if not self._window:
            self._puback_at = now
        self._window.add(self._token)
        return [Publish(self._token, self._readings_topic, as_historical(payload) if historical else payload)]

    def _give_up(self, entry: Entry, reason: str) -> list[Action]:
        """A batch that cannot be read any more blocks nobody; the server will hear that it is gone."""
        self._read_failures = 0
        self._counters.add("outbox_damaged")
        self._ring.drop(entry)
        if entry.boot_id == self.boot_id:
            self._sent_end = max(self._sent_end, entry.end)
        else:
            self._earlier -= min(self._earlier, entry.end - entry.first)
        return [Say("outbox_damaged", reason)]

    def _telling(self) -> tuple[object, ...]:
        about = self._about
        return about.sources, about.missing, about.stuck, about.config, about.vin, about.undated > 0, self.clock.source

    def _state_due_at(self) -> float:
        if not self._connected or self._draining:
            return inf
        if self._told != self._telling():
            return self._state_at + STATE_GAP_S
        behind = max(self._told_unconfirmed, self._unconfirmed_readings()) > BEHIND_READINGS
        return self._state_at + (STATE_BEHIND_S if behind else STATE_EVERY_S)

    def _unconfirmed_readings(self) -> int:
        return self._store.open.numbered - self._confirmed + self._earlier

    def _publish_state(self, *, online: bool) -> Publish:
        self._told = self._telling()
        self._told_unconfirmed = self._unconfirmed_readings()
        self._token += 1
        return Publish(self._token, self.state_topic, self.state(online=online), retain=True)

    def _go_back(self, now: float) -> None:
        self._cursor = 0
        self._unconfirmed.clear()
        self._progress_at = now
        self._backlog_at = -inf
        self._retry_at = inf

    def _stalled_at(self) -> float:
        return self._progress_at + self._patience.wait_s()
