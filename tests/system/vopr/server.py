"""The consumer's processes: the real ``Service`` over the real ``ConsumerCore``, killed between any two of its steps."""

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from devices.config import Broker
from devices.counters import Counters
from devices.wire import Ack
from ingest.config import CommitConfig, FleetConfig
from ingest.core import ConsumerCore
from ingest.service import Service
from ingest.signatures import Signatures
from ingest.transport import Arrived
from storage.errors import LakeInDoubtError
from stream.pipeline import MAX_WAITING, start
from tests.system.vopr.broker import Line
from tests.system.vopr.disk import KilledError
from tests.system.vopr.gateway import TENANT
from tests.system.vopr.lake import LakeWorld
from tests.system.vopr.ledger import ViolationError

if TYPE_CHECKING:
    from tests.system.vopr.world import World

IDLE_S = (0.25, 1.0, 5.0, 30.0, 300.0)  # waits in an empty world, one after another
DOWN_MOST_S = 300.0


class SimServer:
    """What outlives the processes: the lake. ``inbox`` is the queue of the link."""

    def __init__(self, world: "World", lake: LakeWorld, keys: dict[str, str]) -> None:
        self.world = world
        self.lake = lake
        self._signatures = Signatures(keys)
        self.core: ConsumerCore | None = None
        self.kill_in = 0
        self.killed = False
        self.inbox: deque[Arrived] = deque()
        self._line: Line | None = None
        self._connection = 0
        self._idle = 0
        self._life = 0
        plan = world.plan
        self.config = FleetConfig(
            tenants=(TENANT,),
            registry="r",
            lake="l",
            broker=Broker(host="none"),
            hole_s=plan.hole_s,
            hole_lost_s=6 * plan.hole_s,
            commit=CommitConfig(max_messages=plan.receive_max),
        )

    def run(self) -> None:
        """One process, from start to death. Everything else in the world happens while it waits."""
        world = self.world
        self._life += 1
        self.killed, self.kill_in = False, 0
        self.inbox.clear()
        state = start(world.fleet, self.lake.recover())
        counters = Counters()
        self.core = ConsumerCore(self.config, world.fleet, state, counters, self._signatures)
        service = Service(
            self.config,
            self.core,
            self.lake,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            counters,
            world.now_ns,
            monotonic=lambda: world.now,
            sleep=self._sleep,
        )
        self._connect(self._life)
        try:
            service.run(lambda: world.over)
        except KilledError:
            world.trace("the server is killed")
        except LakeInDoubtError:
            world.trace("the server ends in doubt")
        self._lose()
        self.lake.process_died()
        if not world.over:
            self.core = None
            world.at(world.now + world.rng.random() ** 3 * DOWN_MOST_S + 0.5, self.run)

    def step(self) -> None:
        """Between any two steps of a process."""
        if self.kill_in:
            self.kill_in -= 1
            if not self.kill_in:
                raise KilledError

    # the link, as the service sees it

    connected = True

    @property
    def queued(self) -> int:
        return len(self.inbox)

    def take(self, at_most: int, wait_s: float) -> list[Arrived]:
        self.step()
        if not self.inbox:
            first = wait_s >= IDLE_S[0]
            longest = len(IDLE_S) - (2 if self.core is not None and self.core.open_holes else 1)
            self._wait(IDLE_S[self._idle] if first else wait_s, until_message=True)
            self._idle = min(self._idle + 1, longest) if first else self._idle
        found: list[Arrived] = []
        while self.inbox and len(found) < at_most:
            found.append(self.inbox.popleft())
        if found:
            self._idle = 0
        if len(self.inbox) > self.world.plan.receive_max * 4:
            raise ViolationError("bound", f"{len(self.inbox)} messages in the consumer's queue")
        self.step()
        return found

    def acknowledge(self, messages: Iterable[Arrived]) -> None:
        for message in messages:
            self.step()
            line = self._line
            if line is not None and message.connection == self._connection and message.message_id:
                mid, connection = message.message_id, message.connection
                line.carry("up", lambda m=mid, c=connection: self.world.broker.consumer_acks(c, m))  # type: ignore[misc]
        core = self.core
        if core is not None and core.state.waiting["seq"].size > MAX_WAITING:
            raise ViolationError("bound", f"{core.state.waiting['seq'].size} rows wait")

    def publish(self, where: str, payload: bytes) -> None:
        self.step()
        if where.endswith("dn/ack"):
            self._check(where, msgspec.json.decode(payload, type=Ack))
        if self._line is not None:
            self._line.carry("up", lambda: self.world.broker.publish_down(where, payload))

    def _check(self, where: str, ack: Ack) -> None:
        """Nothing is called durable that is not."""
        device = self.world.fleet.device_index[where.split("/")[3]]
        for boot_id, next_seq in [(p.boot_id, p.next) for p in ack.old] + [(ack.boot_id, ack.next)]:
            if boot_id and next_seq > self.world.ledger.next((device, boot_id)):
                raise ViolationError(
                    "early",
                    f"{where}: {next_seq} of boot {boot_id} is said, {self.world.ledger.next((device, boot_id))} is on disk",
                )

    def _connect(self, life: int) -> None:
        if life != self._life or self.core is None or self._line is not None or self.world.over:
            return
        line = Line(self.world, self.cut)
        self._connection += 1
        if self.world.broker.consumer_connects(line, self._connection, self.inbox.append):
            self._line = line
            return
        self.world.at(self.world.now + self.world.rng.uniform(1, 60), lambda: self._connect(life))

    def _lose(self) -> None:
        if self._line is not None:
            self._line.up = False
            self._line = None
            self.world.broker.consumer_gone()

    def cut(self) -> None:
        """The consumer's link breaks; paho comes back."""
        if self._line is None:
            return
        self._lose()
        life = self._life
        self.world.at(self.world.now + self.world.rng.uniform(1, 20), lambda: self._connect(life))

    def _sleep(self, seconds: float) -> None:
        self.step()
        self._wait(seconds, until_message=False)

    def _wait(self, seconds: float, *, until_message: bool) -> None:
        world = self.world
        until = world.now + seconds
        while not world.over and not (until_message and self.inbox):
            if not world.advance(until):
                break
            if self.killed:
                raise KilledError
