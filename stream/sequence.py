"""Which rows of a batch come next: per device in the order of their numbers, each once, whatever way they came."""

from typing import Any, Final

from stream.kernel import kernel
from stream.state import OLD_BOOTS

ACCEPT: Final = 0
DUPLICATE: Final = 1  # taken before
AHEAD: Final = 2  # a row before it is missing


@kernel
def sequence(state: Any, device: Any, boot_id: Any, seq: Any, merged: Any, verdict: Any) -> int:
    """Fill ``verdict`` (n,) int8 for rows in the order given, advancing ``boot_id`` and ``next_seq`` of each device; count accepted.

    A row with number s that stands for m readings covers s-m+1 .. s. It is next when it covers ``next_seq``; wholly below, it is a
    duplicate. A boot not heard of begins at 0 and closes the boot before; rows of a closed boot are duplicates, because a gateway
    sends a new boot only after the old one was confirmed (or lost with its memory).
    """
    accepted = 0
    for i in range(device.size):
        s = state[device[i]]
        first = seq[i] - merged[i] + 1
        if boot_id[i] == s["boot_id"]:
            if seq[i] < s["next_seq"]:
                verdict[i] = DUPLICATE
                continue
            if first > s["next_seq"]:
                verdict[i] = AHEAD
                continue
        else:
            known = False
            for k in range(OLD_BOOTS):
                if s["old_boots"][k] == boot_id[i]:
                    known = True
            if known:
                verdict[i] = DUPLICATE
                continue
            if first > 0:
                verdict[i] = AHEAD
                continue
            for k in range(OLD_BOOTS - 1, 0, -1):
                s["old_boots"][k] = s["old_boots"][k - 1]
            s["old_boots"][0] = s["boot_id"]
            s["boot_id"] = boot_id[i]
        s["next_seq"] = seq[i] + 1
        verdict[i] = ACCEPT
        accepted += 1
    return accepted
