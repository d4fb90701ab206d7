"""One world: a heap of events, the faults, the end of all faults, and the judgement."""

import errno
import heapq
import random
import tempfile
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devices.clock import BUILD_NS
from devices.unbatch import head
from stream.fleet import Fleet, Vehicle
from tests.support import fleet
from tests.system.vopr.broker import SimBroker
from tests.system.vopr.dice import FAULTS, Plan, plan_of
from tests.system.vopr.gateway import TENANT, SimGateway
from tests.system.vopr.lake import ModelLake, RealLake
from tests.system.vopr.ledger import Ledger, ViolationError, ranges
from tests.system.vopr.server import SimServer

T0_NS = BUILD_NS + 30 * 86_400 * 10**9
MOST_GATEWAYS = 4
SETTLE_MOST_S = 4 * 3600.0  # after the last fault; a hole that is asked for in vain takes six times hole_s
JUMPS_S = (10 * 365.25 * 86_400, -16 * 365.25 * 86_400, 1024 * 7 * 86_400.0, 2.0, -2.0, 5000.0, -5000.0)
BOOTS_REPLAYED = 3  # the server knows seven; a batch may be under way while others begin
KEPT = 60  # lines of the trace that a failure shows


@dataclass
class Outcome:
    """What a seed did."""

    seed: int
    hours: float
    settle_s: float
    readings: int
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)


class FailedError(AssertionError):
    """A seed has failed."""

    def __init__(self, seed: int, hours: float | None, error: BaseException, lines: list[str]) -> None:
        self.seed = seed
        self.what = error.what if isinstance(error, ViolationError) else type(error).__name__
        again = f"python -m tests.system.vopr --seed {seed}" + (f" --hours {hours}" if hours is not None else "")
        super().__init__(f"seed {seed}: {error}\nreplay: {again} --trace\n" + "\n".join(lines))


@cache
def the_fleet() -> Fleet:
    """A few vehicles."""
    return fleet(
        *(Vehicle(f"t{i}", f"gw-{i:03d}", "artic_40t", "diesel_b7", tenant=TENANT) for i in range(MOST_GATEWAYS))
    )


class World:
    """Everything of one seed. ``calm`` once there are no more faults, ``over`` once everything has come to rest."""

    def __init__(
        self, seed: int, hours: float | None, *, folder: Path | None, say: Callable[[str], None] | None
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.plan: Plan = plan_of(self.rng, hours, real_lake=folder is not None)
        self.net = self.plan.net
        self.now = 0.0
        self.calm = self.over = False
        self.faults: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.lines: deque[str] = deque(maxlen=KEPT)
        self._say = say
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self.fleet = the_fleet()
        self.ledger = Ledger(self.fleet)
        self.broker = SimBroker(self)
        keys = [Ed25519PrivateKey.from_private_bytes(self.rng.randbytes(32)) for _ in range(self.plan.gateways)]
        signed = self.plan.signed
        public = {f"gw-{i:03d}": k.public_key().public_bytes_raw().hex() for i, k in enumerate(keys)}
        self.gateways = [SimGateway(self, i, f"gw-{i:03d}", k.sign if signed else None) for i, k in enumerate(keys)]
        self.lake: ModelLake | RealLake
        if folder is None:
            self.lake = ModelLake(self.rng, lambda: self.server.step(), self.ledger.committed)
        else:
            self.lake = RealLake(folder, self.rng, lambda: self.server.step(), self.ledger.committed, self.now_ns)
        self.server = SimServer(self, self.lake, public if signed else {})
        self._calm_at = self.plan.hours * 3600
        self.trace(repr(self.plan))

    def now_ns(self) -> int:
        return T0_NS + int(self.now * 1e9)

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), what))

    def luck(self, chance: float) -> bool:
        return not self.calm and chance > 0 and self.rng.random() < chance

    def count(self, fault: str) -> None:
        self.faults[fault] += 1

    def trace(self, line: str) -> None:
        self.lines.append(f"{self.now:12.3f} {line}")
        if self._say is not None:
            self._say(self.lines[-1])

    def advance(self, until: float) -> bool:
        """Let the next event happen; False, and time moves to ``until``, if there is none before."""
        if not self._events or self._events[0][0] > until:
            self.now = max(self.now, until)
            return False
        when, _, what = heapq.heappop(self._events)
        self.now = max(self.now, when)
        what()
        return True

    def to_gateway(self, where: str, payload: bytes) -> None:
        name = where.split("/")[3]
        for gateway in self.gateways:
            if gateway.name == name:
                gateway.deliver(where, payload)

    def run(self) -> Outcome:
        for gateway in self.gateways:
            self.at(self.rng.random(), gateway.start)
        self.at(0.0, self.server.run)
        for name in FAULTS:
            if name in self.plan.every_s:
                self._later(name)
        self.at(self._calm_at - 200.0, lambda: self._burst(20) if self.plan.every_s else None)
        self.at(self._calm_at, self._end_faults)
        while not self.over:
            if not self.advance(float("inf")):
                raise ViolationError("settle", "nothing more happens, and not everything has come to rest")
        return self._judge()

    def _judge(self) -> Outcome:
        for gateway in self.gateways:
            gateway.last_word()
        harmed = {g.index: ranges([(h.boot_id, h.first, h.end) for h in g.disk.harmed]) for g in self.gateways}
        self.ledger.at_rest(harmed, {g.index: g.damages for g in self.gateways})
        core = self.server.core
        assert core is not None
        if core.open_holes or core.state.waiting["seq"].size:
            raise ViolationError("settle", f"{core.open_holes} holes are open")
        if isinstance(self.lake, RealLake) and self.lake.rows() != len(self.ledger.rows):
            raise ViolationError(
                "lost", f"{self.lake.rows()} readings in Parquet, {len(self.ledger.rows)} by the commits"
            )
        self.ledger.results(core.state.rows.whole())
        readings = sum(len(b.handed) for b in self.ledger.boots.values())
        counts = self.counts + self.ledger.counts
        return Outcome(self.seed, self.now / 3600, self.now - self._calm_at, readings, counts, self.faults)

    # faults

    def _later(self, name: str) -> None:
        self.at(self.now + self.rng.expovariate(1 / self.plan.every_s[name]), lambda: self._strike(name))

    def _strike(self, name: str) -> None:
        if self.calm:
            return
        self._later(name)
        self._now(name)
        if self.rng.random() < 0.5:  # faults seldom come alone
            self._burst(self.rng.randrange(1, 8))

    def _burst(self, n: int) -> None:
        """Some more faults of this world within minutes."""
        near_s = 10 ** self.rng.uniform(0, 3)
        for name in self.rng.choices(sorted(self.plan.every_s), k=n):
            self.at(self.now + self.rng.random() * near_s, lambda name=name: self._now(name))  # type: ignore[misc]

    def _now(self, name: str) -> None:
        if not self.calm:
            self.count(name)
            self.trace(name)
            getattr(self, f"_{name}")()

    def _gateway(self) -> SimGateway:
        return self.rng.choice(self.gateways)

    def _a_while(self) -> float:
        """Mostly seconds, sometimes an hour."""
        return float(10 ** self.rng.uniform(0, 3.6))

    def _broker_dies(self, *, forget: bool) -> None:
        if not self.broker.running:
            return
        self.broker.stop(forget=forget)
        self.server.cut()
        for gateway in self.gateways:
            self.at(self.now + self.rng.random() * 5, gateway.lose)
        self.at(self.now + self._a_while(), self._broker_up)

    def _broker_up(self) -> None:
        self.broker.running = True

    def _broker_forgets(self) -> None:
        self._broker_dies(forget=True)

    def _broker_restarts(self) -> None:
        self._broker_dies(forget=False)

    def _broker_drops(self) -> None:
        self.counts["dropped_after_puback"] += self.broker.drop()

    def _broker_refuses(self) -> None:
        self.broker.refusing = True
        self.at(self.now + self._a_while(), self._broker_takes)

    def _broker_takes(self) -> None:
        self.broker.refusing = False

    def _link_cut(self) -> None:
        self._gateway().lose()

    def _half_open(self) -> None:
        gateway = self._gateway()
        line = gateway.line
        if line is not None:
            line.half_open = True
            keep_alive_s = self.rng.uniform(30, 120)
            self.at(self.now + keep_alive_s, lambda: gateway.lose() if gateway.line is line else None)

    def _storm(self) -> None:
        for gateway in self.gateways:
            gateway.lose()

    def _replayed(self) -> None:
        """Of boots that the server still has to know; an older one would be taken for a new one."""
        known = {(d, b) for d, boots in self.ledger.heard.items() for b in boots[-BOOTS_REPLAYED:]}
        fresh = [m for m in self.broker.caught if self._key_of(*m) in known]
        for _ in range(min(len(fresh), 5)):
            self.broker.inject(*self.rng.choice(fresh))

    def _key_of(self, where: str, payload: bytes) -> tuple[int, int]:
        return self.fleet.device_index[where.split("/")[3]], head(payload).boot_id

    def _poison(self) -> None:
        gateway = self._gateway()
        leaf = self.rng.choice(["up/readings", "up/json", "up/gone", "up/state"])
        noise = self.rng.randbytes(self.rng.randrange(200))
        if self.rng.random() < 0.2:
            noise = b'{"boot_id":1,"x":' + b"[" * 5000  # deeper than a parser goes
        elif self.broker.caught and self.rng.random() < 0.5:
            _, payload = self.rng.choice(list(self.broker.caught))
            noise = payload[: self.rng.randrange(len(payload))]
        self.broker.inject(f"fleet/v1/{TENANT}/{gateway.name}/{leaf}", noise)

    def _gateway_kill(self) -> None:
        self._gateway().die("kill")

    def _power_cut(self) -> None:
        self._gateway().die("power cut")

    def _gateway_kill_at_step(self) -> None:
        gateway = self._gateway()
        gateway.kill_in, gateway.kill_by = self.rng.randrange(1, 30), "kill"

    def _power_cut_at_step(self) -> None:
        gateway = self._gateway()
        gateway.kill_in, gateway.kill_by = self.rng.randrange(1, 30), "power cut"

    def _gateway_stop(self) -> None:
        gateway = self._gateway()
        if gateway.core is not None:
            gateway.do(gateway.core.on_stop, self.now)
            self.at(self.now + self.rng.random() * 20, lambda: gateway.die("stop"))

    def _bit_flip(self) -> None:
        gateway = self._gateway()
        self.trace(f"{gateway.name}: {gateway.disk.flip(self.rng)}")

    def _disk_refuses(self) -> None:
        self._gateway().refuse(self.rng.choice([errno.EIO, errno.ENOSPC]), self._a_while())

    def _disk_unreadable(self) -> None:
        self._gateway().unread(self._a_while())

    def _clock_jump(self) -> None:
        self._gateway().jump(self.rng.choice(JUMPS_S), self._a_while(), believed=self.rng.random() < 0.5)

    def _clock_lost(self) -> None:
        self._gateway().lose_time(self._a_while())

    def _server_kill(self) -> None:
        self.server.killed = self.server.core is not None

    def _server_kill_at_step(self) -> None:
        self.server.kill_in = self.rng.randrange(1, 20)

    def _commit_refused(self) -> None:
        self.lake.refuses = True
        self.at(self.now + self._a_while(), self._commit_taken)

    def _commit_taken(self) -> None:
        self.lake.refuses = False

    def _commit_in_doubt(self) -> None:
        self.lake.doubtful = True
        if isinstance(self.lake, RealLake) and self.rng.random() < 0.5:
            self.lake.doubtful, self.lake.dies = False, True

    def _consumer_link_cut(self) -> None:
        self.server.cut()

    def _ack_stale(self) -> None:
        gateway = self._gateway()
        where = f"fleet/v1/{TENANT}/{gateway.name}/dn/ack"
        if self.broker.acks.get(where):
            gateway.take(where, self.rng.choice(list(self.broker.acks[where])))

    def _ack_future(self) -> None:
        gateway = self._gateway()
        gateway.take(f"fleet/v1/{TENANT}/{gateway.name}/dn/ack", gateway.future_ack())

    # the end of all faults

    def _end_faults(self) -> None:
        self.trace("no more faults")
        self.calm = True
        self.broker.running, self.broker.refusing = True, False
        self.lake.refuses = self.lake.doubtful = False
        if isinstance(self.lake, RealLake):
            self.lake.dies = False
        self.server.kill_in = 0
        for gateway in self.gateways:
            gateway.kill_in = 0
            gateway.mend()
            gateway.right()
            if gateway.line is not None and gateway.line.half_open:
                self.at(self.now + 60, gateway.lose)
        self._look()

    def _look(self) -> None:
        """Has everything come to rest?"""
        for gateway in self.gateways:
            gateway.look()
            gateway.end()
        core = self.server.core
        quiet = core is not None and not core.open_holes and not self.broker.held and not self.server.inbox
        if quiet and all(g.at_rest for g in self.gateways):
            self.trace("at rest")
            self.over = True
            return
        if self.now > self._calm_at + SETTLE_MOST_S:
            waits = [(g.name, g.live, len(g.core) if g.core else 0) for g in self.gateways]
            raise ViolationError(
                "settle", f"after {SETTLE_MOST_S} s: {waits}, {core and core.open_holes} holes, {self.broker.held} held"
            )
        self.at(self.now + 5.0, self._look)


def run_seed(
    seed: int, hours: float | None = None, *, real_lake: bool = False, say: Callable[[str], None] | None = None
) -> Outcome:
    """Run one seed. FailedError names it and how to see it again."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(seed, hours, folder=Path(folder) / "lake" if real_lake else None, say=say)
        try:
            return world.run()
        except Exception as error:
            raise FailedError(seed, hours, error, list(world.lines)) from error
