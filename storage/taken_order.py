"""The order in which a device's stored readings were taken, found from the readings themselves.

Within a boot it is the order of the numbers. A reading is taken when it and all before it in its boot have come: at the latest
receive time so far. Between boots that decides; so the order does not depend on files, commits or compaction.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel


@kernel
def _is_in_order(
    device: Any, boot_id: Any, seq: Any, received_ns: Any, last_boot: Any, last_seq: Any, last_ns: Any
) -> bool:
    """Whether each device's rows stand in the order in which they were taken: later received, and within a boot higher in number."""
    for i in range(device.size):
        d = device[i]
        if received_ns[i] < last_ns[d] or (boot_id[i] == last_boot[d] and seq[i] <= last_seq[d]):
            return False
        last_boot[d], last_seq[d], last_ns[d] = boot_id[i], seq[i], received_ns[i]
    return True


@kernel
def _taken_ns(device: Any, boot_id: Any, received_ns: Any, out: Any) -> None:
    """``out``: latest receive time so far within the boot, for rows sorted by device, boot and number."""
    for i in range(device.size):
        same = i > 0 and device[i] == device[i - 1] and boot_id[i] == boot_id[i - 1]
        out[i] = max(out[i - 1], received_ns[i]) if same else received_ns[i]


def stand_in_order(parts: Iterable[tuple[npt.NDArray[Any], ...]], devices: int) -> bool:
    """Whether rows stand in the order to take them. Each part: device, boot, number and receive time of rows behind those before."""
    last = np.zeros((3, devices), np.int64)
    return all(_is_in_order(*part, *last) for part in parts)


def taken_order(
    device: npt.NDArray[np.int32],
    boot_id: npt.NDArray[np.int64],
    seq: npt.NDArray[np.int64],
    received_ns: npt.NDArray[np.int64],
    devices: int,
) -> npt.NDArray[np.int64] | None:
    """Row numbers (n,) in the order to take them; None where the rows stand in it already. ``device`` counts from 0 to ``devices`` - 1."""
    if stand_in_order([(device, boot_id, seq, received_ns)], devices):
        return None
    order = np.lexsort((seq, boot_id, device))
    taken = np.empty(order.size, np.int64)
    _taken_ns(device[order], boot_id[order], received_ns[order], taken)
    starts = np.ones(order.size, np.bool_)  # rows taken at one time by one device: the boot that began first goes first
    starts[1:] = (device[order][1:] != device[order][:-1]) | (boot_id[order][1:] != boot_id[order][:-1])
    began = taken[np.flatnonzero(starts)][np.cumsum(starts) - 1]
    found: npt.NDArray[np.int64] = order[np.lexsort((seq[order], boot_id[order], began, taken, device[order]))]
    return found
