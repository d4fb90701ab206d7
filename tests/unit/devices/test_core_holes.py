"""What the gateway does when the server misses something: sends it again, or says that it is gone."""

import msgspec
import pytest

from devices.actions import Action, Publish
from devices.unbatch import head
from devices.wire import Ack, Hole, Position
from tests.disk_world import Bench, FaultDisk, Server


def nack(boot: int, begin: int, end: int) -> bytes:
    return msgspec.json.encode(Hole(boot, begin, end))


def batches(actions: list[Action]) -> list[tuple[int, int]]:
    """(boot, seq0) of each."""
    sent = [a for a in actions if isinstance(a, Publish) and a.topic.endswith("up/readings")]
    return [(head(a.payload).boot_id, head(a.payload).seq0) for a in sent]


def gone(actions: list[Action]) -> list[Hole]:
    return [
        msgspec.json.decode(a.payload, type=Hole)
        for a in actions
        if isinstance(a, Publish) and a.topic.endswith("up/gone")
    ]


def offline(n: int = 100) -> Bench:
    bench = Bench(FaultDisk(), 1, window=3)
    bench.give(n)
    return bench


def test_a_hole_that_is_here_is_sent_again() -> None:
    bench = offline()
    sent = bench.core.on_connected(bench.now)
    bench.now += 5
    sent += bench.core.on_tick(bench.now)
    assert batches(sent)[0] == (1, 0)
    for action in sent:
        if isinstance(action, Publish):
            bench.core.on_puback(action.token, 0, bench.now)
    bench.core.on_ack(msgspec.json.encode(Ack(1, 20)), bench.now)
    bench.now += 1
    told = bench.core.on_nack(nack(1, 20, 40), bench.now)
    assert gone(told) == []
    bench.now += 20
    assert (1, 20) in batches(told + bench.core.on_tick(bench.now))
    assert bench.counters["nack_received"] == 1


def test_a_hole_that_is_gone_is_said_with_its_numbers_and_not_too_often() -> None:
    bench = offline()
    bench.core.on_connected(bench.now)
    assert gone(bench.core.on_nack(nack(77, 0, 50), bench.now)) == [Hole(77, 0, 50)]  # a boot that nobody knows here
    assert gone(bench.core.on_nack(nack(77, 0, 50), bench.now + 1)) == []
    assert gone(bench.core.on_nack(nack(77, 0, 50), bench.now + 6)) == [Hole(77, 0, 50)]
    assert bench.counters["readings_gone"] == 100


def test_what_was_confirmed_and_forgotten_is_gone_but_not_what_will_be_sent() -> None:
    bench, server = offline(), Server()
    bench.connect(server)
    bench.run_until(bench.now + 30)
    assert server.next[1] == 100
    bench.server = None
    bench.give(3)
    assert gone(bench.core.on_nack(nack(1, 90, 200), bench.now)) == [Hole(1, 90, 100)]


def test_without_a_link_nothing_is_said() -> None:
    bench = offline()
    assert bench.core.on_nack(nack(77, 0, 50), bench.now) == []


@pytest.mark.parametrize("payload", [b"{", b"{}", b'{"boot_id":0,"begin":1,"end":2}', b"\xff"])
def test_a_nack_that_cannot_be_read_is_counted(payload: bytes) -> None:
    bench = offline()
    bench.core.on_connected(bench.now)
    assert bench.core.on_nack(payload, bench.now) == []
    assert bench.counters["nack_unreadable"] == 1


def test_a_late_copy_of_an_old_ack_says_nothing_is_gone() -> None:
    bench, server = offline(), Server()
    bench.connect(server)
    bench.run_until(bench.now + 30)
    bench.server = None
    told = bench.core.on_ack(msgspec.json.encode(Ack(1, 20)), bench.now)
    assert gone(told) == []
    assert bench.core.figures().confirmed == 100


def test_old_boots_are_confirmed_by_themselves() -> None:
    disk = FaultDisk()
    for boot in (1, 2):
        Bench(disk, boot).give(40)
    bench = Bench(disk, 3)
    bench.give(20)
    kept = {(e.boot_id, e.first) for e in bench.ring.entries}
    assert {boot for boot, _ in kept} == {1, 2, 3}
    bench.core.on_connected(bench.now)
    before = bench.core.figures()
    bench.core.on_ack(msgspec.json.encode(Ack(2, 20, (Position(1, 40), Position(9, 5)))), bench.now)
    after = bench.core.figures()
    assert before.earlier - after.earlier == bench.counters["readings_confirmed"] > 40
    assert {e.boot_id for e in bench.ring.entries} == {2, 3}
    assert bench.counters["ack_other_boot"] == 1  # 9 has nothing here
