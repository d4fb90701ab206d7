"""What gateways say of themselves: what is kept of it, what is refused, and that readings do not wait for it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.config import Broker
from devices.counters import Counters
from devices.wire import AppliedConfig, GatewayState, Sample, encode_batch, topic
from ingest.config import FleetConfig
from ingest.core import ConsumerCore, Work
from ingest.decode import Message
from ingest.gateways import LAND_AFTER_S, ROW_EVERY_S, STATE_BYTES, TEXT, GatewayStates, row_of
from storage.gateways import gateways_table
from storage.schema import GATEWAYS
from stream.fleet import Vehicle
from stream.pipeline import start
from tests.support import T0_NS, fleet

STATE = GatewayState("online", 7, "1.2.3", 40, T0_NS, ("can",), "gps", fill=0.25, thinned=3, in_memory=False)


def said(device: str = "d-t1", tenant: str = "acme", *, retained: bool = False, **changes: Any) -> Message:
    state = msgspec.structs.replace(STATE, **changes)
    return Message(topic(tenant, device, "up/state"), msgspec.json.encode(state), T0_NS, retained)


def readings(seq0: int) -> Message:
    frame = encode_batch(
        "d-t1", 7, seq0, [Sample(T0_NS + i * 10**9, {"speed_kmh": 50.0}) for i in range(seq0, seq0 + 5)]
    )
    return Message(topic("acme", "d-t1", "up/readings"), frame, T0_NS + 3600 * 10**9)


class Bench:
    """A consumer of two devices whose commits always succeed."""

    def __init__(self) -> None:
        config = FleetConfig(tenants=("acme", "globex"), registry="r", lake="l", broker=Broker(host="none"))
        vehicles = [
            Vehicle("t1", "d-t1", "artic_40t", "diesel_b7"),
            Vehicle("t2", "d-t2", "artic_40t", "diesel_b7", tenant="globex"),
        ]
        self.counters = Counters()
        state = start(fleet(*vehicles))
        self.core = ConsumerCore(config, state.fleet, state, self.counters)

    def take(self, *messages: Message, now: float = 0.0) -> Work | None:
        work = self.core.take(messages, now, T0_NS)
        if work is not None:
            self.core.stored(work, now)
        return work

    def rows(self, *messages: Message, now: float = 0.0) -> list[dict[str, Any]]:
        work = self.take(*messages, now=now)
        return [] if work is None else work.commit.gateways.to_pylist()


def test_state_goes_along_with_the_next_readings() -> None:
    bench = Bench()
    assert bench.take(said()) is None
    work = bench.take(readings(0), now=1.0)
    assert work is not None
    assert work.readings == 5
    [row] = work.commit.gateways.to_pylist()
    told = {
        "device": "d-t1", "tenant": "acme", "status": "online", "waiting": 40, "oldest_ns": T0_NS, "fill": 0.25, "thinned": 3,
        "clock": "gps", "received_ns": T0_NS, "retained": False, "config_version": None, "missing": "",
    }  # fmt: skip
    assert {name: row[name] for name in told} == told
    assert bench.rows(readings(5), now=2.0) == []


def test_without_readings_it_lands_by_itself_after_a_while() -> None:
    bench = Bench()
    assert bench.take(said()) is None
    assert bench.take(now=LAND_AFTER_S - 0.1) is None
    work = bench.take(now=LAND_AFTER_S)
    assert work is not None
    assert work.worth
    assert work.commit.gateways.num_rows == 1


def test_figures_are_kept_once_a_minute_and_the_newest_is_not_lost() -> None:
    bench = Bench()
    assert len(bench.rows(said(), readings(0))) == 1
    for i in range(1, 4):
        assert bench.rows(said(unconfirmed=40 - i), readings(5 * i), now=10.0 * i) == []
    [row] = bench.rows(readings(20), now=ROW_EVERY_S)
    assert row["waiting"] == 37


def test_a_change_is_kept_at_once() -> None:
    bench = Bench()
    bench.rows(said(), readings(0))
    [row] = bench.rows(said(missing=("gps",)), readings(5), now=1.0)
    assert row["missing"] == "gps"
    [row] = bench.rows(said(status="offline"), readings(10), now=2.0)
    assert row["status"] == "offline"


def test_a_will_tells_nothing_of_the_outbox() -> None:
    [row] = Bench().rows(said(status="offline", is_will=True), readings(0))
    assert [row[name] for name in ("waiting", "oldest_ns", "fill", "thinned", "undated")] == [None] * 5
    assert (row["status"], row["is_will"]) == ("offline", True)


def test_what_the_broker_kept_is_no_news_the_second_time() -> None:
    bench = Bench()
    [row] = bench.rows(said(retained=True), readings(0))
    assert row["retained"]
    assert bench.rows(said(retained=True), readings(5), now=2 * ROW_EVERY_S) == []
    [row] = bench.rows(said(), readings(10), now=3 * ROW_EVERY_S)
    assert not row["retained"]


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("bad_json", Message(topic("acme", "d-t1", "up/state"), b"{", T0_NS)),
        ("bad_json", Message(topic("acme", "d-t1", "up/state"), b'{"status":"well"}', T0_NS)),
        ("bad_json", Message(topic("acme", "d-t1", "up/state"), b"[" * 10_000, T0_NS)),
        ("too_large", said(software="x" * STATE_BYTES)),
        ("device_unknown", said("d-t9")),
        ("tenant_unknown", said(tenant="nobody")),
        ("tenant_unknown", said("d-t2")),  # it is globex's
        ("bad_json", said(unconfirmed=-1)),
        ("bad_json", said(fill=1.5)),
        ("bad_json", said(thinned=2**63)),
    ],
)
def test_what_is_no_state_of_that_gateway_is_kept_aside(reason: str, message: Message) -> None:
    bench = Bench()
    work = bench.take(message, readings(0))
    assert work is not None
    assert work.readings == 5
    assert bench.counters.by_label("rejected") == {reason: 1}
    assert work.commit.gateways.num_rows == 0
    assert work.commit.quarantine["payload"].to_pylist() == [message.payload]


def test_a_flood_of_states_holds_one_row_a_gateway() -> None:
    states = GatewayStates(2)
    for i in range(1_000):
        message = said(unconfirmed=i)
        states.take(
            i % 2, row_of(message, "acme", "d-t1", msgspec.structs.replace(STATE, unconfirmed=i)), message.payload, 0.0
        )
    assert [row.waiting for row in states.due(0.0, at_once=True)] == [998, 999]


count = st.integers(0, 2**63 - 1)
names = st.lists(st.text(max_size=20), max_size=30).map(tuple)


@given(
    st.builds(
        GatewayState,
        status=st.sampled_from(("online", "offline")),
        boot_id=st.integers(1, 2**63 - 1),
        software=st.text(max_size=300),
        unconfirmed=count,
        oldest_unsent_ns=st.none() | st.integers(-(2**63) + 1, 2**63 - 1),
        sources=names,
        undated=count,
        missing=names,
        stuck=names,
        config=st.none() | st.builds(AppliedConfig, version=count, refused=st.text(max_size=300)),
        fill=st.none() | st.floats(0, 1),
        thinned=st.none() | count,
        in_memory=st.none() | st.booleans(),
        is_will=st.booleans(),
    )
)
def test_every_state_has_a_row(state: GatewayState) -> None:
    message = Message("t", msgspec.json.encode(state), T0_NS)
    [row] = gateways_table(
        [row_of(message, "acme", "d-t1", msgspec.json.decode(message.payload, type=GatewayState))]
    ).to_pylist()
    assert list(row) == GATEWAYS.names
    assert row["waiting"] == (None if state.is_will else state.unconfirmed)
    assert row["config_version"] == (state.config and state.config.version)
    assert max(len(row["missing"]), len(row["software"]), len(row["config_refused"])) <= TEXT
