"""Which rows of a batch come next: per device in the order of their numbers, each once, whatever way they came."""

from typing import Any, Final

from stream.columns import UNKNOWN
from stream.kernel import kernel
from stream.state import OLD_BOOTS

ACCEPT: Final = 0
DUPLICATE: Final = 1  # taken before
AHEAD: Final = 2  # a row before it is missing


@kernel
def slots(device: Any, table: Any, slot: Any) -> int:
    """Fill ``slot`` (n,) with where each row's device stands among those that have a row, ascending; count these.

    ``table`` (devices,) comes in as -1 and leaves with the slot of each device that has a row.
    """
    last = -1
    for i in range(device.size):
        if device[i] != last:
            last = device[i]
            table[last] = 0
    n = 0
    for d in range(table.size):
        if table[d] == 0:
            table[d] = n
            n += 1
    last, stands = -1, 0
    for i in range(device.size):
        if device[i] != last:
            last = device[i]
            stands = table[last]
        slot[i] = stands
    return n


@kernel
def _place(first: int, last: int, next_seq: int) -> int:
    """Where a row that covers ``first`` .. ``last`` stands when ``next_seq`` is next."""
    if last < next_seq:
        return DUPLICATE
    return AHEAD if first > next_seq else ACCEPT


@kernel
def sequence(
    state: Any, slot: Any, boot_id: Any, seq: Any, merged: Any, time_ns: Any, verdict: Any
) -> tuple[int, int, int]:
    """Fill ``verdict`` (n,) int8 for rows in the order given, advancing ``boot_id`` and ``next_seq`` of each device. ``slot`` (n,) is
    where the record of each row's device stands in ``state``. Returns how many rows are accepted, accepted with a known time, ahead.

    A row with number s that stands for m readings covers s-m+1 .. s. It is next when it covers the boot's next number; wholly
    below, it is a duplicate. A boot not heard of begins at 0 and takes the place of the boot before, whose late rows are still
    taken in their own order (a gateway starts a new boot when the old one was confirmed, or lost with its memory).
    """
    accepted, timeless, ahead = 0, 0, 0
    last, boot, newest = -1, 0, 0
    for i in range(slot.size):
        if slot[i] == last and boot_id[i] == boot and seq[i] - merged[i] == newest:
            verdict[i] = ACCEPT  # the row after the one just accepted
            newest = seq[i]
            accepted += 1
            timeless += time_ns[i] == UNKNOWN
            continue
        if last >= 0:
            state[last]["next_seq"] = newest + 1
        last = -1
        s = state[slot[i]]
        first = seq[i] - merged[i] + 1
        if boot_id[i] != s["boot_id"]:
            old = -1
            for k in range(OLD_BOOTS):
                if s["old_boots"][k] == boot_id[i]:
                    old = k
            if old >= 0:
                verdict[i] = _place(first, seq[i], s["old_next"][old])
                if verdict[i] == ACCEPT:
                    s["old_next"][old] = seq[i] + 1
                    accepted += 1
                    timeless += time_ns[i] == UNKNOWN
                ahead += verdict[i] == AHEAD
                continue
            if first > 0:
                verdict[i] = AHEAD
                ahead += 1
                continue
            for k in range(OLD_BOOTS - 1, 0, -1):
                s["old_boots"][k] = s["old_boots"][k - 1]
                s["old_next"][k] = s["old_next"][k - 1]
            s["old_boots"][0] = s["boot_id"]
            s["old_next"][0] = s["next_seq"]
            s["boot_id"] = boot_id[i]
            s["next_seq"] = 0
        verdict[i] = _place(first, seq[i], s["next_seq"])
        ahead += verdict[i] == AHEAD
        if verdict[i] != ACCEPT:
            continue
        accepted += 1
        timeless += time_ns[i] == UNKNOWN
        last, boot, newest = slot[i], boot_id[i], seq[i]
    if last >= 0:
        state[last]["next_seq"] = newest + 1
    return accepted, accepted - timeless, ahead
