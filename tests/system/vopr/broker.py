"""A broker that keeps a session for the consumer as long as it pleases, and links that carry what they please."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ingest.transport import Arrived

if TYPE_CHECKING:
    from tests.system.vopr.world import World

REFUSALS = (0x10, 0x87, 0x97)
BREAKS = 50  # the consumer's link is in a data centre
ACKS_KEPT = 50  # old acknowledgements that a hostile broker may repeat, of each gateway


class Line:
    """One connection of somebody with the broker. With ``broken`` it loses nothing without breaking, as TCP does."""

    def __init__(self, world: "World", broken: Callable[[], None] | None = None) -> None:
        self._world = world
        self._broken = broken
        self.up = True
        self.half_open = False
        self._last = {"up": 0.0, "down": 0.0}

    def carry(self, way: str, arrive: Callable[[], None]) -> None:
        """Take a message along, or not. What was on the way up may arrive after the connection has ended."""
        world, net = self._world, self._world.net
        if not self.up or self.half_open:
            return
        if world.luck(net.loss if self._broken is None else net.loss / BREAKS):
            world.count("net_lost")
            if self._broken is not None:
                world.at(world.now, self._broken)
            return
        copies = 1
        if world.luck(net.duplicate):
            world.count("net_duplicated")
            copies = 2
        for _ in range(copies):
            delay_s = world.rng.random() * 0.1
            if world.luck(net.slow):
                world.count("net_slow")
                delay_s = world.rng.random() * net.slow_s
            at = world.now + delay_s
            if net.ordered or world.calm:
                at = max(at, self._last[way])
            self._last[way] = at
            world.at(at, lambda: arrive() if self.up or way == "up" else None)


class SimBroker:
    """QoS 1 to the consumer over a persistent session, QoS 0 to the gateways."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.running = True
        self.refusing = False
        self._session = False
        self._queue: deque[tuple[str, bytes]] = deque()
        self._inflight: dict[int, tuple[str, bytes]] = {}
        self._mid = 0
        self._consumer: Line | None = None
        self._connection = 0
        self._take: Callable[[Arrived], None] = lambda _: None
        self.caught: deque[tuple[str, bytes]] = deque(maxlen=200)
        self.acks: dict[str, deque[bytes]] = {}

    @property
    def held(self) -> int:
        """Messages for the consumer."""
        return len(self._queue) + len(self._inflight)

    def stop(self, *, forget: bool) -> None:
        """It dies; every link breaks."""
        self.running = False
        self.consumer_gone()
        if forget:
            self._session = False
            self._queue.clear()
            self._inflight.clear()
            self._mid = 0

    def drop(self) -> int:
        """Messages for the consumer vanish that were acknowledged to their gateways."""
        kept = [m for m in self._queue if self._world.rng.random() < 0.5]
        dropped = len(self._queue) - len(kept)
        self._queue = deque(kept)
        return dropped

    def consumer_connects(self, line: Line, connection: int, take: Callable[[Arrived], None]) -> bool:
        """The consumer is here: what was not acknowledged comes again."""
        if not self.running:
            return False
        self._session = True
        self._queue.extendleft(reversed(self._inflight.values()))
        self._inflight.clear()
        self._consumer, self._connection, self._take = line, connection, take
        self._pump()
        return True

    def consumer_gone(self) -> None:
        if self._consumer is not None:
            self._consumer.up = False
            self._consumer = None

    def consumer_acks(self, connection: int, mid: int) -> None:
        if connection == self._connection and self._consumer is not None:
            self._inflight.pop(mid, None)
            self._pump()

    def publish(self, where: str, payload: bytes, puback: Callable[[int], None]) -> None:
        """From a gateway."""
        world = self._world
        if not self.running:
            return
        reason = 0
        if self.refusing:
            reason = world.rng.choice(REFUSALS)
        elif not self._session:
            reason = 0x10 if world.plan.mqtt5 else 0  # 3.1.1 has no way to say that nobody listens
        elif len(self._queue) < world.plan.queue_max or world.calm:
            self._queue.append((where, payload))
        else:
            world.count("broker_queue_full")
        if where.endswith("up/readings"):
            self.caught.append((where, payload))
        puback(reason)
        self._pump()

    def inject(self, where: str, payload: bytes) -> None:
        """From somebody who has got in."""
        if self.running and self._session:
            self._queue.append((where, payload))
            self._pump()

    def publish_down(self, where: str, payload: bytes) -> None:
        """From the consumer to a gateway that is here, else to nobody."""
        if where.endswith("dn/ack"):
            self.acks.setdefault(where, deque(maxlen=ACKS_KEPT)).append(payload)
        if self.running:
            self._world.to_gateway(where, payload)

    def _pump(self) -> None:
        line = self._consumer
        while line is not None and self._queue and len(self._inflight) < self._world.plan.receive_max:
            message = self._queue.popleft()
            self._mid = self._mid % 65_535 + 1
            self._inflight[self._mid] = message
            self._send(line, self._mid, message)

    def _send(self, line: Line, mid: int, message: tuple[str, bytes]) -> None:
        connection, take = self._connection, self._take
        line.carry("down", lambda: take(Arrived(*message, self._world.now_ns(), mid, connection)))
