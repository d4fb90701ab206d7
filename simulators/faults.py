"""Faults between a gateway and the server, by seed: what a stream of messages becomes, and a ledger of it.

Every fault is a chance per message, each drawn from its own random numbers: switching one on leaves the others as
they were. Pure: no clock, no I/O. ``simulators.fault_columns`` does the same to rows and batches in memory.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta

from devices import wire
from simulators.fault_messages import (
    POISONS,
    SPOOFS,
    Message,
    PoisonKind,
    SpoofKind,
    historical,
    identity,
    poison,
    rewrite,
    spoof,
)
from simulators.rng import derive, key_of, splitmix64, uniform

FaultKind = Literal["drop", "duplicate", "reorder", "delay", "offline", "reboot", "clock_step", "poison", "spoof"]
SECOND_NS: Final = 1_000_000_000
COPIES_MAX: Final = 3  # of one message beside itself; QoS 1 redelivers once per broken connection

Chance = Annotated[float, Meta(ge=0, le=1)]


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Chances per message, all 0 unless given. ``poison`` and ``spoof`` are hostile messages beside the real ones."""

    drop: Chance = 0.0  # never arrives
    duplicate: Chance = 0.0  # arrives 2 to 4 times
    reorder: Chance = 0.0  # is overtaken by later messages of its device
    reorder_depth: Annotated[int, Meta(ge=1, le=1000)] = 8  # by so many at most
    delay: Chance = 0.0  # arrives late
    delay_max_s: Annotated[float, Meta(gt=0, le=30 * 86_400)] = 600.0
    offline: Chance = 0.0  # its device goes out of reach; all it sends comes in one go at the end
    offline_max_s: Annotated[float, Meta(gt=0, le=30 * 86_400)] = 6 * 3600.0
    reboot: Chance = 0.0  # its gateway starts anew before it: another boot_id, seq from 0
    clock_step: Chance = 0.0  # its gateway's clock jumps before it, forward or back, until the next jump
    clock_step_max_s: Annotated[float, Meta(gt=0, le=20 * 365 * 86_400)] = 3600.0
    poison: Chance = 0.0
    spoof: Chance = 0.0


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one message: it holds seq0 to seq0 + covered - 1 of (device, boot_id), as sent.

    ``index`` counts the input's messages. ``arrivals`` 0 = lost. ``shift_ns`` is how far off the device's clock was.
    """

    index: int
    device: str
    boot_id: int
    seq0: int
    covered: int
    arrivals: int
    shift_ns: int
    faults: tuple[FaultKind, ...]


@dataclass(frozen=True, slots=True)
class Hostile:
    """One message that must be rejected, whole."""

    kind: PoisonKind | SpoofKind
    message: Message


@dataclass(slots=True)
class Ledger:
    """What was done, in input order; complete once the stream has been taken to its end."""

    fates: list[Fate] = field(default_factory=list)
    hostile: list[Hostile] = field(default_factory=list)

    def arriving(self) -> set[tuple[str, int, int]]:
        """(device, boot_id, seq) of every reading that arrives at least once."""
        return {r for f in self.fates if f.arrivals for r in _readings(f)}

    def lost(self) -> set[tuple[str, int, int]]:
        """(device, boot_id, seq) of every reading that never arrives."""
        return {r for f in self.fates if not f.arrivals for r in _readings(f)}

    def counts(self) -> dict[FaultKind, int]:
        """Messages by fault."""
        found: dict[FaultKind, int] = {}
        for fate in self.fates:
            for kind in fate.faults:
                found[kind] = found.get(kind, 0) + 1
        for hostile in self.hostile:
            kind = "poison" if hostile.kind in POISONS else "spoof"
            found[kind] = found.get(kind, 0) + 1
        return found


def _readings(fate: Fate) -> Iterator[tuple[str, int, int]]:
    return ((fate.device, fate.boot_id, seq) for seq in range(fate.seq0, fate.seq0 + fate.covered))


@dataclass(slots=True)
class _Device:
    """What a device's faults remember from message to message."""

    key: int
    first_seq: list[int] = field(default_factory=list)  # seqs before which it was started anew, within original_boot
    boot_ids: list[int] = field(default_factory=list)
    original_boot: int = 0
    shift_ns: int = 0
    online_ns: int = 0  # out of reach before
    waiting: "list[tuple[int, Message]]" = field(default_factory=list)  # (later messages to wait for, message)


def disturb(messages: Iterable[Message], plan: FaultPlan, *, seed: int, ledger: Ledger) -> Iterator[Message]:
    """The messages as they arrive, with ``plan``'s faults, by arrival time. Writes ``ledger`` as it goes.

    ``messages`` come by publish time, those of a device in seq order. Batches and JSON readings suffer; other topics
    pass. Held at once: what is late or offline, at most what is published in ``delay_max_s`` and ``offline_max_s``.
    """
    world = key_of(seed, "faults")
    devices: dict[str, _Device] = {}
    late: list[tuple[int, int, Message]] = []
    number = now_ns = 0
    for index, message in enumerate(messages):
        while late and late[0][0] <= message.time_ns:
            yield heappop(late)[2]
        now_ns = message.time_ns
        topic = wire.parse_topic(message.topic)
        if topic is None or topic.leaf not in ("up/readings", "up/json"):
            yield message
            continue
        device = devices.setdefault(topic.device, _Device(key_of(world, topic.device)))
        sent, fate = _gateway(message, topic.device, device, plan, index)
        arrivals, faults = _link(sent, device, plan, index)
        ledger.fates.append(replace(fate, arrivals=len(arrivals), faults=fate.faults + faults))
        released = _released(device, message.time_ns)
        if arrivals and _hit("reorder", plan.reorder, device, index):
            wait = 1 + int(_draw("reorder", device, index) * plan.reorder_depth)
            device.waiting.append((wait, arrivals.pop(0)))
            ledger.fates[-1] = replace(ledger.fates[-1], faults=(*ledger.fates[-1].faults, "reorder"))
        arrivals += released
        hostile = _hostile(sent, device, devices, plan, index)
        ledger.hostile += hostile
        for one in (*arrivals, *(h.message for h in hostile)):
            number += 1
            heappush(late, (one.time_ns, number, one))
        while late and late[0][0] <= message.time_ns:
            yield heappop(late)[2]
    for one in (m for device in devices.values() for _, m in device.waiting):
        number += 1
        end_ns = max(one.time_ns, now_ns)
        heappush(late, (end_ns, number, replace(one, time_ns=end_ns)))
    while late:
        yield heappop(late)[2]


def disturb_all(messages: Iterable[Message], plan: FaultPlan, *, seed: int) -> tuple[list[Message], Ledger]:
    """``disturb`` to the end."""
    ledger = Ledger()
    return list(disturb(messages, plan, seed=seed, ledger=ledger)), ledger


_KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)


def _hit(kind: FaultKind, chance: float, device: _Device, index: int) -> bool:
    return chance > 0 and uniform(derive(device.key, 1 + _KINDS.index(kind)), index) < chance


def _draw(kind: FaultKind, device: _Device, index: int, which: int = 0) -> float:
    return uniform(derive(device.key, 20 + _KINDS.index(kind)), 8 * index + which)


def _gateway(message: Message, name: str, device: _Device, plan: FaultPlan, index: int) -> tuple[Message, Fate]:
    """The message as its faulty gateway sends it. ValueError if it is not one of ours."""
    boot_id, seq0, covered = identity(message)
    if boot_id != device.original_boot:
        device.original_boot, device.first_seq, device.boot_ids = boot_id, [0], [boot_id]
    faults: list[FaultKind] = []
    if seq0 > device.first_seq[-1] and _hit("reboot", plan.reboot, device, index):
        device.first_seq.append(seq0)
        device.boot_ids.append(max(int(splitmix64(derive(device.key, 50), index)) >> 1, 1))
        faults.append("reboot")
    if _hit("clock_step", plan.clock_step, device, index):
        device.shift_ns = int((2 * _draw("clock_step", device, index) - 1) * plan.clock_step_max_s * 1000) * 1_000_000
        faults.append("clock_step")
    epoch = bisect_right(device.first_seq, seq0) - 1
    sent_boot, sent_seq = device.boot_ids[epoch], seq0 - device.first_seq[epoch]
    payload = rewrite(message, sent_boot, sent_seq, device.shift_ns)
    fate = Fate(index, name, sent_boot, sent_seq, covered, 0, device.shift_ns, tuple(faults))
    return replace(message, payload=payload), fate


def _link(
    message: Message, device: _Device, plan: FaultPlan, index: int
) -> tuple[list[Message], tuple[FaultKind, ...]]:
    """When the message arrives, how often, and what happened on the way."""
    faults: list[FaultKind] = []
    if message.time_ns >= device.online_ns and _hit("offline", plan.offline, device, index):
        device.online_ns = message.time_ns + int(_draw("offline", device, index) * plan.offline_max_s * SECOND_NS)
    if message.time_ns < device.online_ns:
        faults.append("offline")
        message = replace(historical(message), time_ns=device.online_ns)
    if _hit("drop", plan.drop, device, index):
        return [], (*faults, "drop")
    if _hit("delay", plan.delay, device, index):
        faults.append("delay")
        message = _later(message, _draw("delay", device, index) * plan.delay_max_s)
    arrivals = [message]
    if _hit("duplicate", plan.duplicate, device, index):
        faults.append("duplicate")
        copies = range(1, 2 + int(_draw("duplicate", device, index) * COPIES_MAX))
        arrivals += [_later(message, _draw("duplicate", device, index, c) * plan.delay_max_s) for c in copies]
    return arrivals, tuple(faults)


def _later(message: Message, by_s: float) -> Message:
    return replace(message, time_ns=message.time_ns + int(by_s * SECOND_NS))


def _released(device: _Device, now_ns: int) -> list[Message]:
    """Overtaken messages for which this one, published at ``now_ns``, is the last to pass."""
    free = [replace(m, time_ns=max(m.time_ns, now_ns)) for wait, m in device.waiting if wait == 1]
    device.waiting = [(wait - 1, m) for wait, m in device.waiting if wait > 1]
    return free


def _hostile(
    message: Message, device: _Device, devices: dict[str, _Device], plan: FaultPlan, index: int
) -> list[Hostile]:
    """Hostile messages made of a real one."""
    found: list[Hostile] = []
    if _hit("poison", plan.poison, device, index):
        kind = POISONS[int(_draw("poison", device, index) * len(POISONS))]
        found.append(Hostile(kind, poison(message, kind, derive(derive(device.key, 10), index))))
    if _hit("spoof", plan.spoof, device, index):
        trick = SPOOFS[int(_draw("spoof", device, index) * len(SPOOFS))]
        others = [name for name in devices if devices[name] is not device] or ["someone-else"]
        other = others[int(_draw("spoof", device, index, 1) * len(others))]
        found.append(Hostile(trick, spoof(message, trick, other)))
    return found
