"""What a seed makes of a world: sizes, rates, and which faults there are. Not every seed has every fault."""

import random
from dataclasses import dataclass, field
from typing import Final

FAULTS: Final = (
    "broker_forgets",  # it dies and remembers neither sessions nor messages
    "broker_restarts",  # it dies and remembers all
    "broker_drops",  # what waits for the consumer is dropped, after a PUBACK that said "Success"
    "broker_refuses",  # PUBACKs say "not delivered" for a while
    "link_cut",
    "half_open",  # what is sent vanishes and nobody says so
    "storm",  # every link at once
    "replayed",  # somebody publishes batches again that he has caught
    "poison",  # somebody publishes bytes that are no batch
    "gateway_kill",
    "gateway_kill_at_step",  # between any two calls of the disk or actions of the core
    "gateway_stop",  # in good order
    "power_cut",
    "power_cut_at_step",
    "bit_flip",
    "disk_refuses",  # EIO or ENOSPC for a while
    "disk_unreadable",
    "clock_jump",
    "clock_lost",  # nobody knows the time for a while
    "server_kill",
    "server_kill_at_step",  # between any two of take, commit, acknowledgement, publication
    "commit_refused",  # the lake's disk is full for a while
    "commit_in_doubt",
    "consumer_link_cut",
    "ack_stale",  # the broker repeats an old "durable up to"
    "ack_future",  # the broker makes one up
)


@dataclass(slots=True)
class Net:
    """One way of a link. Chances are per message; a link that is not ``ordered`` overtakes, as no TCP does."""

    loss: float
    duplicate: float
    slow: float  # chance of a long delay
    slow_s: float
    ordered: bool


@dataclass(slots=True)
class Plan:
    """One world. Times in seconds."""

    hours: float
    gateways: int
    sample_s: float
    commit_s: float
    batch_s: float
    batch_max: int
    window: int
    keep_max: int
    segments: int
    segment_bytes: int
    queue_max: int  # messages that the broker keeps for the consumer
    receive_max: int
    mqtt5: bool
    signed: bool
    real_lake: bool
    hole_s: float
    net: Net
    every_s: dict[str, float] = field(default_factory=dict)  # mean time between faults of a kind


def plan_of(rng: random.Random, hours: float | None, *, real_lake: bool = False) -> Plan:
    """The dice of a seed, always thrown in the same order."""
    readings = rng.choice([40, 100, 200, 400])
    dense = rng.random() < 0.2
    chosen = rng.choice([0.2, 0.5]) if dense else rng.choice([12.0, 24.0, 48.0, 96.0, 168.0])
    plan = Plan(
        hours=chosen,
        gateways=rng.choice([1, 2, 2, 3]),
        sample_s=1.0,
        commit_s=rng.choice([1.0, 10.0, 10.0]),
        batch_s=rng.choice([1.0, 10.0, 60.0]),
        batch_max=rng.choice([3, 20, 60]),
        window=rng.choice([1, 3, 20]),
        keep_max=rng.choice([40, 200, 2000]),
        segments=rng.choice([4, 5, 8]),
        segment_bytes=rng.choice([4096, 16_384]),
        queue_max=rng.choice([5, 50, 1000]),
        receive_max=rng.choice([1, 20, 2000]),
        mqtt5=rng.random() < 0.7,
        signed=rng.random() < 0.12,
        real_lake=real_lake,
        hole_s=rng.choice([60.0, 600.0]),
        net=Net(
            loss=rng.choice([0.0, 0.0, 0.02, 0.2]),
            duplicate=rng.choice([0.0, 0.05, 0.3]),
            slow=rng.choice([0.0, 0.05, 0.3]),
            slow_s=rng.choice([2.0, 20.0]),
            ordered=rng.random() < 0.5,
        ),
    )
    plan.hours = chosen if hours is None else hours
    span_s = plan.hours * 3600
    plan.sample_s = max(0.2, span_s / readings)
    together = rng.choice([0, 0, 4, 12])  # readings in a live batch, 0 = as drawn above
    if together:
        plan.batch_s = min(3600.0, together * plan.sample_s)
    share = rng.choice([0.15, 0.4, 0.8])
    for name in FAULTS:
        present, times = rng.random() < share, rng.choice([1, 4, 12])
        if present:
            plan.every_s[name] = span_s / times
    return plan
