"""What batches say of the clock, and that nothing stamps a reading again."""

import random
import time

import msgspec
import pytest

from devices.actions import Publish
from devices.clock import ClockState, wall_ns
from devices.config import GatewayConfig
from devices.core import GatewayCore
from devices.counters import Counters
from devices.wire import CLOCK_SOURCES, ClockSource, Sample
from ingest.decode import Message, decode


def test_wall_time_is_utc_in_ns() -> None:
    before = time.time()
    assert before <= wall_ns() / 1e9 + 1e-3
    assert wall_ns() / 1e9 <= time.time() + 1e-3


def test_an_unknown_clock_is_the_default() -> None:
    assert ClockState() == ClockState("none", -1)


@pytest.mark.parametrize(("source", "error_ms"), [("gps", 1), ("ntp", 50), ("rtc", 2000), ("none", -1)])
def test_batches_carry_the_clock_and_the_reading_its_own_time(source: ClockSource, error_ms: int) -> None:
    tree = {"device": "truck-01", "tenant": "acme", "broker": {"host": "b"}}
    config = msgspec.convert({**tree, "clock": source, "clock_error_ms": error_ms}, GatewayConfig)
    core = GatewayCore(config, boot_id=1, rng=random.Random(1), counters=Counters())
    recorded_ns = 1_400_000_000_123_000_000  # 2014: a recording keeps its time
    core.on_sample(Sample(recorded_ns, {}), 0.0)
    batch = core.on_connected(0.0)[-1]
    assert isinstance(batch, Publish)
    got = decode([Message(batch.topic, batch.payload, 2 * 10**18)], {"truck-01": 0}, ["acme"], earliest_ns=0).columns
    assert CLOCK_SOURCES[got["clock_source"][0]] == source
    assert got["clock_error_ms"][0] == error_ms
    assert got["time_ns"][0] == recorded_ns
