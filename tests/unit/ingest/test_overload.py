"""Ten times more than the server can take, for a minute, on virtual time: bounded everywhere, nothing lost, then drained."""

import random
from collections import deque

import pytest

from devices.actions import Action, Publish
from devices.config import Broker, GatewayConfig
from devices.core import UNCONFIRMED_WINDOWS, GatewayCore
from devices.counters import Counters
from devices.wire import Sample
from ingest.config import FleetConfig
from ingest.core import ConsumerCore
from ingest.decode import Message
from stream.fleet import Vehicle
from stream.pipeline import start
from tests.support import T0_NS, fleet

GATEWAYS = 4
RATE_HZ = 50
CAPACITY = 20  # readings a second that the server takes: a tenth of what comes
OVERLOAD_S = 60
QUEUE = 40  # messages that the broker holds; more are dropped, after a PUBACK that says "Success"
WINDOW = 5


class World:
    """Gateways, a broker with a small queue, and a server that takes so much a second."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        names = [f"gw-{i:03d}" for i in range(GATEWAYS)]
        self.counters = Counters()
        state = start(fleet(*(Vehicle(n, n, "artic_40t", "diesel_b7") for n in names)))
        config = FleetConfig(tenants=("acme",), registry="r", lake="l", broker=Broker(host="none"))
        self.server = ConsumerCore(config, state.fleet, state, self.counters)
        self.gateways = {
            n: GatewayCore(
                GatewayConfig(device=n, tenant="acme", broker=Broker(host="b"), batch_s=1, batch_max=50, window=WINDOW),
                boot_id=i + 1,
                rng=rng,
                counters=Counters(),
            )
            for i, n in enumerate(names)
        }
        self.queue: deque[tuple[int, Message]] = deque()
        self.dropped = 0
        self.now = 0.0
        self.most_waiting = 0
        self.stored: list[tuple[str, int]] = []

    def do(self, name: str, actions: list[Action]) -> None:
        todo = list(actions)
        while todo:
            action = todo.pop(0)
            if not isinstance(action, Publish):
                continue
            todo += self.gateways[name].on_puback(action.token, 0, self.now)
            if not action.topic.endswith("up/readings"):
                continue
            if len(self.queue) >= QUEUE:
                self.dropped += 1
                continue
            rows = int.from_bytes(action.payload[6:8], "little")
            self.queue.append((rows, Message(action.topic, action.payload, T0_NS + int(self.now * 1e9))))

    def serve(self) -> None:
        credit, taken = CAPACITY * 5, []
        while self.queue and credit >= self.queue[0][0]:
            rows, message = self.queue.popleft()
            credit -= rows
            taken.append(message)
        work = self.server.take(taken, self.now, T0_NS + int(self.now * 1e9))
        if work is not None:
            self.server.stored(work, self.now)
            table = work.commit.readings
            self.stored += zip(table["device"].to_pylist(), table["seq"].to_pylist(), strict=True)
        self.most_waiting = max(self.most_waiting, self.server.state.waiting["seq"].size)
        for said in self.server.due(self.now):
            name = said.topic.split("/")[3]
            assert said.topic.endswith("dn/ack")
            self.do(name, self.gateways[name].on_ack(said.payload, self.now))

    def run(self) -> None:
        for name, gateway in self.gateways.items():
            self.do(name, gateway.on_connected(0.0))
        tick, ticks = 0.2, 0
        while True:
            self.now = ticks * tick
            if self.now < OVERLOAD_S:
                for name, gateway in self.gateways.items():
                    for i in range(int(RATE_HZ * tick)):
                        at_ns = T0_NS + int(self.now * 1e9) + i * 20_000_000
                        self.do(name, gateway.on_sample(Sample(at_ns, {"odometer_m": 5.0 * ticks}), self.now))
            elif not any(len(g) for g in self.gateways.values()):
                return
            if self.now >= OVERLOAD_S:
                for name, gateway in self.gateways.items():
                    self.do(name, gateway.on_stop(self.now))
            for name, gateway in self.gateways.items():
                if gateway.wake_at() <= self.now:
                    self.do(name, gateway.on_tick(self.now))
            if ticks % 25 == 0:
                self.serve()
            ticks += 1
            assert self.now < 4 * OVERLOAD_S * GATEWAYS * RATE_HZ / CAPACITY, "the backlog is not drained"


@pytest.mark.parametrize("seed", [1])
def test_ten_times_the_capacity_for_a_minute(seed: int) -> None:
    world = World(seed)
    world.run()
    total = GATEWAYS * RATE_HZ * OVERLOAD_S
    assert len(world.stored) == len(set(world.stored)) == total
    assert world.counters["readings_stored"] == total
    assert world.dropped > 0  # the broker did lose what it had acknowledged
    assert world.most_waiting <= GATEWAYS * UNCONFIRMED_WINDOWS * WINDOW * 50
    assert world.now < 2.5 * total / CAPACITY  # repeats cost less than the readings themselves
