"""The faults of ``simulators.faults`` on readings in memory: on rows, and on whole batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from simulators.faults import COPIES_MAX, FaultPlan
from simulators.rng import GAMMA, MIX_1, MIX_2, derive, key_of, uniform

Columns = dict[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float64]
T = TypeVar("T")

SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True)
class RowLedger:
    """What became of each input row, (n,) arrays: its identity and time as sent, how often it arrives."""

    boot_id: npt.NDArray[np.int64]
    seq: npt.NDArray[np.int64]
    time_ns: npt.NDArray[np.int64]
    arrivals: npt.NDArray[np.int64]


def disturb_columns(
    columns: Mapping[str, npt.NDArray[Any]], plan: FaultPlan, *, seed: int, batch_rows: int = 1000
) -> tuple[list[Columns], RowLedger]:
    """Readings in batches of 1 to ``batch_rows`` rows as they arrive, and what became of each row.

    ``columns`` has at least device, boot_id, seq and time_ns, each device's rows in seq order; rows are taken whole.
    A row counts as a message, its ``time_ns`` as the time at which it is published. ValueError for a plan with poison
    or spoof, which are messages and not rows.
    """
    if plan.poison or plan.spoof:
        raise ValueError("poison and spoof are faults of messages; columns are what has been accepted")
    key = key_of(seed, "fault columns")
    n = columns["seq"].size
    device = columns["device"].astype(np.int64)
    sent_ns = columns["time_ns"].astype(np.int64)
    boot_id, seq = columns["boot_id"].astype(np.int64), columns["seq"].astype(np.int64)
    time_ns = sent_ns.copy()
    arrival_ns = sent_ns.copy()
    for d in np.unique(device):
        at = np.flatnonzero(device == d)
        own = derive(key, int(d))
        _reboots(own, at, boot_id, seq, plan.reboot)
        time_ns[at] += _clock_shift_ns(own, at.size, plan)
        arrival_ns[at] = _offline_until(own, sent_ns[at], plan)
    lost = _draws(key, 1, n) < plan.drop
    late = _draws(key, 2, n) < plan.delay
    arrival_ns += np.where(late, _draws(key, 3, n) * plan.delay_max_s * SECOND_NS, 0.0).astype(np.int64)
    copies = np.where(_draws(key, 4, n) < plan.duplicate, 1 + (_draws(key, 5, n) * COPIES_MAX).astype(np.int64), 0)
    arrivals = np.where(lost, 0, 1 + copies)
    rows = np.repeat(np.arange(n), arrivals)
    first = np.r_[True, rows[1:] != rows[:-1]] if rows.size else np.zeros(0, bool)
    extra = np.where(first, 0.0, _draws(key, 6, rows.size) * plan.delay_max_s * SECOND_NS).astype(np.int64)
    order = rows[np.argsort(arrival_ns[rows] + extra, kind="stable")]
    overtaken = _draws(key, 7, order.size) < plan.reorder
    places = np.arange(order.size) + np.where(overtaken, 1 + _draws(key, 8, order.size) * plan.reorder_depth, 0.0)
    order = order[np.argsort(places, kind="stable")]
    changed: Columns = dict(columns) | {"boot_id": boot_id, "seq": seq, "time_ns": time_ns}
    batches = split({name: values[order] for name, values in changed.items()}, seed=seed, batch_rows=batch_rows)
    return batches, RowLedger(boot_id, seq, time_ns, arrivals)


def split(columns: Mapping[str, npt.NDArray[Any]], *, seed: int, batch_rows: int = 1000) -> list[Columns]:
    """The rows, in order, in batches of random length 1 to ``batch_rows``."""
    n = columns["seq"].size
    lengths = 1 + (_draws(key_of(seed, "split"), 0, n) * batch_rows).astype(np.int64)
    ends = np.cumsum(lengths)
    edges = [0, *ends[ends < n].tolist(), n] if n else []
    return [{name: v[a:b] for name, v in columns.items()} for a, b in pairwise(edges)]


def disturb_batches(batches: Sequence[T], plan: FaultPlan, *, seed: int) -> list[T]:
    """Whole batches dropped, repeated and overtaken by others; ``delay`` moves a batch back by up to 100 places."""
    key = key_of(seed, "fault batches")
    placed: list[tuple[float, int, T]] = []
    for i, batch in enumerate(batches):
        if uniform(derive(key, 1), i) < plan.drop:
            continue
        place = float(i)
        if uniform(derive(key, 2), i) < plan.delay:
            place += 100.0 * uniform(derive(key, 3), i)
        if uniform(derive(key, 4), i) < plan.reorder:
            place += 1.0 + plan.reorder_depth * uniform(derive(key, 5), i)
        placed.append((place, i, batch))
        if uniform(derive(key, 6), i) < plan.duplicate:
            copies = range(1 + int(COPIES_MAX * uniform(derive(key, 7), i)))
            placed += [(place + 100.0 * uniform(derive(key, 8), 8 * i + c), i, batch) for c in copies]
    return [batch for _, _, batch in sorted(placed, key=lambda p: (p[0], p[1]))]


def _draws(key: int, stream: int, n: int) -> Floats:
    """(n,) numbers in [0, 1): ``rng.uniform(derive(key, stream), i)`` for i from 0."""
    z = np.uint64(derive(key, stream)) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(GAMMA)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(MIX_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(MIX_2)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _reboots(key: int, at: npt.NDArray[np.int64], boot_id: Any, seq: Any, chance: float) -> None:
    """Give one device's rows another boot_id and seq from 0 after each reboot, in place."""
    fresh = np.r_[True, boot_id[at][1:] != boot_id[at][:-1]]
    hit = (_draws(key, 1, at.size) < chance) & ~fresh
    ids = np.maximum((_draws(key, 2, at.size) * 2.0**62).astype(np.int64), 1)
    start = np.maximum.accumulate(np.where(fresh | hit, np.arange(at.size), 0))
    restarted = hit[start]
    first_seq = seq[at][start]
    boot_id[at] = np.where(restarted, ids[start], boot_id[at])
    seq[at] = np.where(restarted, seq[at] - first_seq, seq[at])


def _clock_shift_ns(key: int, n: int, plan: FaultPlan) -> npt.NDArray[np.int64]:
    hit = _draws(key, 3, n) < plan.clock_step
    steps = ((2.0 * _draws(key, 4, n) - 1.0) * plan.clock_step_max_s * 1000).astype(np.int64) * 1_000_000
    since = np.maximum.accumulate(np.where(hit, np.arange(n), -1))
    return np.where(since >= 0, steps[since], 0)


def _offline_until(key: int, sent_ns: npt.NDArray[np.int64], plan: FaultPlan) -> npt.NDArray[np.int64]:
    """When each row of a device arrives that goes out of reach now and then."""
    begins = np.flatnonzero(_draws(key, 5, sent_ns.size) < plan.offline)
    arrival = sent_ns.copy()
    online = np.iinfo(np.int64).min
    for i in begins.tolist():
        if sent_ns[i] >= online:
            online = sent_ns[i] + int(uniform(derive(key, 6), i) * plan.offline_max_s * SECOND_NS)
            held = (sent_ns >= sent_ns[i]) & (sent_ns < online)
            arrival[held] = online
    return arrival
