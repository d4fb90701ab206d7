"""A gateway that is started, killed and cut off; its delivery is the real one."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from devices.actions import Action, Connect, Drop, Publish, Sync
from devices.clock import ClockState, Timekeeper
from devices.config import Broker, GatewayConfig, OutboxConfig
from devices.core import UNCONFIRMED_WINDOWS, GatewayCore
from devices.counters import CounterName, Counters
from devices.intake import WAITING_MAX, Intake
from devices.ring import Ring
from devices.store import memory_ring
from devices.wire import Ack, Sample
from tests.system.vopr.broker import Line
from tests.system.vopr.disk import KilledError, SimDisk
from tests.system.vopr.ledger import SIGNALS, Handed, ViolationError

if TYPE_CHECKING:
    from tests.system.vopr.world import World

TENANT = "acme"
SYNC_MOST_S = 2.0  # a worn card takes so long
DOWN_MOST_S = 600.0
LIE_S = 90.0  # after its clock was wrong for the last time, a gateway may date falsely for so long
GIVEN_UP: Final[tuple[CounterName, ...]] = ("outbox_damaged", "outbox_torn", "outbox_dropped")


class SimGateway:
    """Device number ``index`` of the world's fleet. ``live`` while its process runs."""

    def __init__(self, world: "World", index: int, name: str, sign: Any) -> None:
        plan = world.plan
        self.world = world
        self.index = index
        self.name = name
        self._sign = sign
        self.config = GatewayConfig(
            device=name,
            tenant=TENANT,
            broker=Broker(host="none"),
            batch_s=plan.batch_s,
            batch_max=plan.batch_max,
            window=plan.window,
            keep_max_readings=plan.keep_max,
            outbox=OutboxConfig(commit_s=plan.commit_s),
            clock="auto",
        )
        self.disk = SimDisk(plan.segments, plan.segment_bytes, self._step)
        self.core: GatewayCore | None = None
        self.ring: Ring
        self.line: Line | None = None
        self.kill_in = 0  # steps until the process dies, 0 = it lives
        self.kill_by = ""
        self.boot_id = 0
        self.told: Counter[str] = Counter()  # over all starts
        self.counters = Counters()
        self._given_at: list[float] = []  # when each reading of this start was handed over
        self._life = 0
        self._tick_at = 0.0
        self._wall_off_s = 0.0
        self._known = True
        self._lied_until = 0.0
        self._booted_at = world.now - world.rng.uniform(30, 1e6)
        self._odometer = float(world.rng.randrange(10**6, 10**8))
        self._fuel_ml = world.rng.randrange(10**6, 10**8)
        self._disk_bad_until = 0.0
        self._outstanding = 0
        self._stopping = False

    @property
    def live(self) -> bool:
        return self.core is not None

    @property
    def settled(self) -> bool:
        """Whether all was delivered."""
        return self.core is not None and not len(self.core) and not self.intake.waiting

    @property
    def at_rest(self) -> bool:
        """Whether no later start has anything to deliver either."""
        return self.settled and not self.ring.volatile

    # the process

    def start(self) -> None:
        """Power is on, and the process begins."""
        if self.live:
            return
        world = self.world
        self._life += 1
        self.kill_in, self._stopping = 0, False
        self.boot_id = world.rng.randrange(1, 2**63)
        self.counters = Counters()
        self.disk.step = self._step
        recovered = None
        try:
            ring = Ring(self.disk, device=self.name, tenant=TENANT, sign=self._sign)
            recovered = ring.recover()
        except OSError as error:
            world.count("memory_outbox")
            world.trace(f"{self.name}: {error}; it keeps its readings in memory")
            ring = memory_ring(self.config, self._sign)
        except KilledError:
            world.at(world.now + 1.0, self.start)
            return
        self.ring = ring
        world.trace(
            f"{self.name} starts as {self.boot_id} with {[(e.boot_id, e.first, e.end) for e in ring.entries]}, {recovered}"
        )
        clock = Timekeeper(self.counters, wall=self._wall, boot=self._boot, system=self._system)
        self.clock = clock
        self.intake = Intake(self.config, ["can"], clock=clock, counters=self.counters)
        self._given_at = []
        self.core = GatewayCore(
            self.config, boot_id=self.boot_id, rng=world.rng, counters=self.counters, ring=ring, recovered=recovered
        )
        self._tick_at = float("inf")
        self.do(self.core.on_start)
        life = self._life
        world.at(world.now + world.rng.random() * world.plan.sample_s, lambda: self._sample(life))

    def _step(self) -> None:
        if self.kill_in:
            self.kill_in -= 1
            if not self.kill_in:
                raise KilledError

    def die(self, by: str) -> None:
        """The process is gone; with the power, so is what was not synced."""
        core, world = self.core, self.world
        if core is None:
            return
        durable = 0 if self.ring.volatile else core.durable_seq
        world.trace(f"{self.name} dies by {by}, {len(self._given_at)} handed over, {durable} on its disk")
        self._check_age(durable)
        world.ledger.died((self.index, self.boot_id), durable)
        self._remember()
        self.core = None
        self._cut()
        self.disk.process_died()
        if by.startswith("power"):
            self.disk.power_cut(world.rng)
            self._booted_at = world.now
        life = self._life
        down_s = world.rng.random() ** 3 * DOWN_MOST_S
        world.at(world.now + down_s, lambda: self.start() if life == self._life else None)

    def _check_age(self, durable: int) -> None:
        """At most the readings of one commit are not on the disk, unless the disk refused."""
        world, plan = self.world, self.world.plan
        most_s = plan.commit_s + 2 * SYNC_MOST_S
        if self.ring.volatile or self._disk_bad_until + 130 > world.now or durable >= len(self._given_at):
            return
        if world.now - self._given_at[durable] > most_s + 0.001:
            raise ViolationError(
                "unsynced", f"{self.name}: reading {durable} is {world.now - self._given_at[durable]} s old"
            )

    def _remember(self) -> None:
        for name in GIVEN_UP:
            self.told[name] += self.counters[name]

    @property
    def damages(self) -> int:
        """Told in all starts."""
        now = [self.counters[name] for name in GIVEN_UP] if self.live else []
        return sum(self.told.values()) + sum(now)

    # events

    def do(self, what: Callable[..., list[Action]], *arguments: object) -> None:
        """An event for the core, and the actions that follow. The process may die at any of them."""
        if self.core is None:
            return
        before = self.ring.entries[:]
        try:
            self._act(what(*arguments))
        except KilledError:
            self.die(self.kill_by)
            return
        self._check(before, freed=getattr(what, "__name__", "") == "on_ack")
        self._rearm()

    def _act(self, actions: list[Action]) -> None:
        life = self._life
        for action in actions:
            self._step()
            if isinstance(action, Publish):
                self._publish(action)
            elif isinstance(action, Connect):
                self.world.at(self.world.now + action.delay_s, lambda: self._connect(life))
            elif isinstance(action, Drop):
                self.world.at(self.world.now, self.lose)
            elif isinstance(action, Sync):
                self.disk.begin_sync(action.files)
                after_s = self.world.rng.random() ** 4 * SYNC_MOST_S
                self.world.at(self.world.now + after_s, lambda: self._synced(life))

    def _check(self, before: list[Any], *, freed: bool) -> None:
        """What must hold after every event."""
        core, world = self.core, self.world
        assert core is not None
        key = (self.index, self.boot_id)
        if core.figures().confirmed > world.ledger.next(key):
            raise ViolationError(
                "freed", f"{self.name} counts {core.figures().confirmed} as stored, {world.ledger.next(key)} are"
            )
        if len(before) > len(self.ring.entries) or freed:
            here = set(map(id, self.ring.entries))
            for entry in before:
                stored = world.ledger.next((self.index, entry.boot_id))
                if id(entry) not in here and entry.end > stored and not self._may_go(entry):
                    text = f"{self.name} has let go of {entry.first} to {entry.end - 1} of {entry.boot_id}"
                    raise ViolationError("freed", text)
        if core.figures().kept_rows - self.ring.rows > self.config.keep_max_readings:
            raise ViolationError("bound", f"{self.name} holds {core.figures().kept_rows - self.ring.rows} open rows")
        if self.intake.waiting > WAITING_MAX:
            raise ViolationError("bound", f"{self.name}: {self.intake.waiting} undated")
        if self._outstanding > self.config.window + 2 * UNCONFIRMED_WINDOWS:
            raise ViolationError("bound", f"{self.name}: {self._outstanding} messages without a PUBACK")

    def _may_go(self, entry: Any) -> bool:
        """Thinned into another batch, or spoilt by the disk."""
        if any(e.boot_id == entry.boot_id and e.first <= entry.first and entry.end <= e.end for e in self.ring.entries):
            return True
        return any(h.boot_id == entry.boot_id and h.first < entry.end and entry.first < h.end for h in self.disk.harmed)

    def _rearm(self) -> None:
        if self.core is None:
            return
        at = max(self.core.wake_at(), self.world.now)
        if at < self._tick_at:
            self._tick_at = at
            life = self._life
            self.world.at(at, lambda: self._tick(life, at))

    def _tick(self, life: int, at: float) -> None:
        if life != self._life or self.core is None or at != self._tick_at:
            return
        self._tick_at = float("inf")
        self.do(self.core.on_tick, self.world.now)

    def _synced(self, life: int) -> None:
        if life != self._life or self.core is None:
            return
        try:
            self.disk.end_sync()
        except OSError as error:
            self.do(self.core.on_sync_failed, str(error), self.world.now)
        except KilledError:
            self.die(self.kill_by)
        else:
            self.do(self.core.on_synced, self.world.now)

    # the link

    def _connect(self, life: int) -> None:
        if life != self._life or self.core is None or self.line is not None:
            return
        world = self.world
        if not world.broker.running or world.luck(0.05):
            self.do(self.core.on_disconnected, "refused", world.now)
            return
        self.line, self._outstanding = Line(world), 0
        self.do(self.core.on_connected, world.now)

    def lose(self) -> None:
        """The link breaks, and the gateway sees it."""
        if self.line is not None and self.core is not None:
            self._cut()
            self.do(self.core.on_disconnected, "lost", self.world.now)

    def _cut(self) -> None:
        if self.line is not None:
            self.line.up = False
            self.line = None

    def _publish(self, message: Publish) -> None:
        line = self.line
        if line is None:
            return
        if message.topic.endswith("up/readings"):
            self._outstanding += 1
            self.world.counts["batches_published"] += 1
        told = False

        def puback(reason: int) -> None:
            line.carry("down", lambda: arrived(reason))

        def arrived(reason: int) -> None:
            nonlocal told
            if line is not self.line or self.core is None or told:
                return
            told = True
            if message.topic.endswith("up/readings"):
                self._outstanding -= 1
            self.do(self.core.on_puback, message.token, reason, self.world.now)

        line.carry("up", lambda: self.world.broker.publish(message.topic, message.payload, puback))

    def deliver(self, where: str, payload: bytes) -> None:
        """A message of the broker, on the link that stands now."""
        line = self.line
        if line is not None:
            line.carry("down", lambda: self.take(where, payload) if line is self.line else None)

    def take(self, where: str, payload: bytes) -> None:
        if self.core is None:
            return
        if where.endswith("dn/nack"):
            self.do(self.core.on_nack, payload, self.world.now)
        else:
            self.do(self.core.on_ack, payload, self.world.now)

    def future_ack(self) -> bytes:
        """What a hostile broker says: more is stored than was ever sent."""
        sent = 0 if self.core is None else self.core.figures().sent
        return msgspec.json.encode(Ack(self.boot_id, self.world.rng.choice([sent + 1, sent + 50, 2**62])))

    # the vehicle and its clock

    def _sample(self, life: int) -> None:
        if life != self._life or self.core is None:
            return
        world, plan = self.world, self.world.plan
        if world.calm:
            return
        world.at(world.now + plan.sample_s, lambda: self._sample(life))
        speed = world.rng.choice([0.0, 12.5, 50.0, 80.0])
        self._odometer += float(int(speed / 3.6 * min(plan.sample_s, 600))) + 1.0
        self._fuel_ml += int(speed * min(plan.sample_s, 600) / 12) + 1
        values = {"odometer_m": self._odometer, "fuel_total_hr_l": self._fuel_ml / 1000, "speed_kmh": speed}
        self._hand(self.intake.on_sample(0, Sample(self.clock.now_ns(), values), world.now), world.now_ns())

    def look(self) -> None:
        """Date what can be dated."""
        if self.core is not None:
            self.clock.look()
            self._hand(self.intake.on_clock(), None)

    def _hand(self, readings: list[Sample], true_ns: int | None) -> None:
        world, life = self.world, self._life
        for i, reading in enumerate(readings):
            if self.core is None or life != self._life:
                return
            self.core.on_clock(self.intake.clock_state(reading.time_ns) or ClockState())
            at_ns = reading.time_ns // 1_000_000 * 1_000_000
            lied = world.now < self._lied_until
            now = true_ns is not None and i == len(readings) - 1  # those before it have waited for the clock
            true = true_ns if now and true_ns is not None else reading.time_ns
            was = Handed(at_ns, tuple(reading.values[s] for s in SIGNALS), true, lied)  # type: ignore[arg-type]
            world.ledger.hand((self.index, self.boot_id), was)
            self._given_at.append(world.now)
            self.do(self.core.on_sample, reading, world.now)

    def jump(self, seconds: float, for_s: float, *, believed: bool) -> None:
        """The system's clock shows another time; ``believed``: the kernel says that NTP keeps it."""
        self._wall_off_s, self._known = seconds, believed
        self._lied_until = self.world.now + for_s + LIE_S
        self.world.at(self.world.now + for_s, self.right)

    def lose_time(self, for_s: float) -> None:
        """Nobody keeps the clock."""
        self._known = False
        self.world.at(self.world.now + for_s, self.right)

    def right(self) -> None:
        """The system's clock is right, and kept."""
        self._wall_off_s, self._known = 0.0, True
        if self._lied_until > self.world.now:
            self._lied_until = self.world.now + LIE_S
        self.look()

    def refuse(self, code: int, for_s: float) -> None:
        """The disk takes nothing."""
        self.world.trace(f"{self.name} for {for_s:.0f} s")
        self.disk.refuses = code
        self._disk_bad_until = max(self._disk_bad_until, self.world.now + for_s)
        self.world.at(self.world.now + for_s, self.mend)

    def unread(self, for_s: float) -> None:
        """The disk gives nothing."""
        self.world.trace(f"{self.name} for {for_s:.0f} s")
        self.disk.unreadable = True
        self._disk_bad_until = max(self._disk_bad_until, self.world.now + for_s)
        self.world.at(self.world.now + for_s, self.mend)

    def mend(self) -> None:
        self.disk.refuses, self.disk.unreadable = 0, False

    def end(self) -> None:
        """No more readings; what there is is to be delivered."""
        if self.settled and self.ring.volatile:
            self.die("stop")  # what its disk holds goes with the next start
        if self.core is None:
            self.start()
        if self.core is not None and not self._stopping:
            self._stopping = True
            self._hand(self.intake.flush(), None)
            self.do(self.core.on_stop, self.world.now)

    def last_word(self) -> None:
        """The world is over: what this start was to keep."""
        if self.core is not None:
            boot = self.world.ledger.boots.get((self.index, self.boot_id))
            if boot is not None:
                boot.durable = len(boot.handed)

    def _wall(self) -> int:
        return self.world.now_ns() + int(self._wall_off_s * 1e9)

    def _boot(self) -> int:
        return int((self.world.now - self._booted_at) * 1e9)

    def _system(self) -> ClockState:
        return ClockState("ntp", 120) if self._known else ClockState()
