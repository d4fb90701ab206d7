"""What the core tells of itself and of its clock, and that another configuration touches no reading."""

import random

import msgspec
import numpy as np

from devices.actions import About, Action, Publish
from devices.clock import ClockState
from devices.config import Broker, GatewayConfig
from devices.core import BEHIND_READINGS, STATE_BEHIND_S, STATE_EVERY_S, STATE_GAP_S, GatewayCore
from devices.counters import Counters
from devices.wire import CLOCK_SOURCES, Ack, AppliedConfig, GatewayState, Sample
from ingest.decode import Message, decode

START_NS = 1_700_000_000_000_000_000


def core_with(**changes: object) -> GatewayCore:
    base = GatewayConfig(device="truck-01", tenant="acme", broker=Broker(host="broker"))
    config = msgspec.structs.replace(base, **changes)
    return GatewayCore(config, boot_id=7, rng=random.Random(1), counters=Counters())


def connected_core(**changes: object) -> GatewayCore:
    core = core_with(**changes)
    core.on_connected(0.0)
    return core


def sample(i: int) -> Sample:
    return Sample(START_NS + i * 10**9, {"odometer_m": float(i)})


def batches(actions: list[Action]) -> list[Publish]:
    return [a for a in actions if isinstance(a, Publish) and a.topic.endswith("up/readings")]


def rows(*published: Publish) -> dict[str, np.ndarray]:
    messages = [Message(p.topic, p.payload, START_NS + 10**18) for p in published]
    decoded = decode(messages, {"truck-01": 0}, ["acme"], earliest_ns=0)
    assert not decoded.rejected
    return decoded.columns


def seqs(*published: Publish) -> list[int]:
    return [int(s) for s in rows(*published)["seq"]]


def ack(next_seq: int) -> bytes:
    return msgspec.json.encode(Ack(7, next_seq))


def states(actions: list[Action]) -> list[GatewayState]:
    return [
        msgspec.json.decode(a.payload, type=GatewayState)
        for a in actions
        if isinstance(a, Publish) and a.topic.endswith("up/state")
    ]


def test_state_follows_what_changes_but_is_no_flood() -> None:
    core = connected_core()
    about = About(("can", "gps"), missing=("gps",))
    assert core.on_about(about, 1.0) == []  # birth was at 0
    assert core.wake_at() == STATE_GAP_S
    (state,) = states(core.on_tick(STATE_GAP_S))
    assert (state.status, state.sources, state.missing) == ("online", ("can", "gps"), ("gps",))
    core.on_about(About(("can", "gps"), missing=("gps",), undated=0), 2 * STATE_GAP_S)
    assert states(core.on_tick(3 * STATE_GAP_S)) == []
    core.on_about(About(("can", "gps")), 3 * STATE_GAP_S)
    core.on_about(about, 3 * STATE_GAP_S)
    core.on_about(About(("can", "gps"), stuck=("odometer_m",), config=AppliedConfig(3, "ab")), 3 * STATE_GAP_S)
    (state,) = states(core.on_tick(5 * STATE_GAP_S))
    assert (state.missing, state.stuck, state.config) == ((), ("odometer_m",), AppliedConfig(3, "ab"))


def test_a_change_while_the_link_is_gone_is_in_the_next_birth() -> None:
    core = connected_core()
    core.on_disconnected("gone", 1.0)
    assert core.on_about(About(("can",), stuck=("odometer_m",)), 50.0) == []
    (state,) = states(core.on_connected(60.0))
    assert state.stuck == ("odometer_m",)
    assert states(core.on_tick(200.0)) == []


def test_state_is_said_again_now_and_then() -> None:
    core = connected_core()
    assert core.wake_at() == STATE_EVERY_S
    assert states(core.on_tick(STATE_EVERY_S - 1)) == []
    (state,) = states(core.on_tick(STATE_EVERY_S))
    assert (state.unconfirmed, state.thinned, state.in_memory) == (0, 0, True)
    assert core.wake_at() == 2 * STATE_EVERY_S


def test_a_gateway_that_is_behind_tells_how_it_catches_up() -> None:
    core = core_with(batch_max=600)
    kept = BEHIND_READINGS + 1
    for i in range(kept):
        core.on_sample(sample(i), float(i))
    at = float(kept)
    actions = core.on_connected(at)
    (birth,) = states(actions)
    assert birth.unconfirmed == kept
    assert birth.oldest_unsent_ns == START_NS
    assert birth.fill is not None
    assert 0 < birth.fill <= 1
    for batch in batches(actions):
        core.on_puback(batch.token, 0, at)
    core.on_ack(ack(kept - 1), at + 1)
    assert states(core.on_tick(at + STATE_BEHIND_S - 1)) == []
    (state,) = states(core.on_tick(at + STATE_BEHIND_S))
    assert (state.unconfirmed, state.oldest_unsent_ns) == (1, START_NS + (kept - 1) * 10**9)


def test_each_reading_travels_with_the_clock_it_was_taken_with() -> None:
    core = core_with(clock="auto", batch_s=10)
    core.on_clock(ClockState("gps", 1000))
    core.on_sample(sample(0), 0.0)
    core.on_clock(ClockState("holdover", 3000))
    core.on_sample(sample(1), 1.0)
    core.on_clock(ClockState("ntp", 20))
    core.on_sample(sample(2), 2.0)
    clocks = []
    for publish in batches(core.on_connected(100.0)):
        got = rows(publish)
        clocks += list(zip(got["seq"], got["clock_source"], got["clock_error_ms"], strict=True))
    holdover = CLOCK_SOURCES.index("holdover")
    assert clocks == [(seq, holdover, 4096) for seq in range(3)]  # the worst of the batch, rounded up
    core.on_ack(ack(3), 101.0)
    (live,) = batches([*core.on_sample(sample(3), 102.0), *core.on_tick(103.0)])
    assert [
        (CLOCK_SOURCES[s], e) for s, e in zip(rows(live)["clock_source"], rows(live)["clock_error_ms"], strict=True)
    ] == [("ntp", 32)]


def test_a_repeated_batch_says_the_same_of_its_clock() -> None:
    core = core_with(clock="auto")
    core.on_clock(ClockState("rtc", -1))
    core.on_sample(sample(0), 0.0)
    (first,) = batches(core.on_connected(0.0))
    core.on_clock(ClockState("ntp", 20))
    core.on_disconnected("gone", 1.0)
    (again,) = batches(core.on_connected(2.0))
    assert again.payload == first.payload


def test_another_configuration_touches_no_reading() -> None:
    core = connected_core(batch_s=3600, batch_max=600)
    core.on_sample(sample(0), 0.0)
    for i in range(1, 50):
        core.on_sample(sample(i), 1.0)
    before = core.figures()
    core.reconfigure(msgspec.structs.replace(core.config, batch_max=10))
    assert core.figures() == before
    core.on_disconnected("gone", 2.0)
    sent = batches(core.on_connected(3.0))
    assert seqs(*sent)[:10] == list(range(10))
    assert max(len(rows(b)["seq"]) for b in sent) == 10
