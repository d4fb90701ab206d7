"""One record per device: a step makes new ones for the devices it touched and shares all others with the state before."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.state import STATE, StateRows, words

Devices = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Records:
    """``base`` has a record of every device (n,); those of ``devices`` (m,), ascending, are newer in ``rows`` (m,)."""

    base: StateRows
    devices: Devices
    rows: StateRows

    def __getitem__(self, key: Any) -> Any:
        """The record of one device by its number, or a field of all devices by its name: to read, not to write."""
        if isinstance(key, str):
            column = self.base[key].copy()
            column[self.devices] = self.rows[key]
            return column
        at = int(self.devices.searchsorted(key))
        return self.rows[at] if at < self.devices.size and self.devices[at] == key else self.base[key]

    def take(self, devices: Devices) -> StateRows:
        """Copies of the records of ``devices``."""
        found = words(self.base)[devices]
        if self.devices.size:
            at = np.minimum(np.searchsorted(self.devices, devices), self.devices.size - 1)
            newer = self.devices[at] == devices
            found[newer] = words(self.rows)[at[newer]]
        return found.reshape(-1).view(STATE)

    def put(self, devices: Devices, rows: StateRows) -> "Records":
        """With ``rows`` as the records of ``devices``, ascending. ``rows`` is kept and must not change any more."""
        if not self.devices.size or np.array_equal(self.devices, devices):
            return Records(self.base, devices, rows)
        both = np.union1d(self.devices, devices).astype(np.int32, copy=False)
        if both.size == devices.size:
            return Records(self.base, devices, rows)
        newer = np.empty(both.size, STATE)
        words(newer)[np.searchsorted(both, self.devices)] = words(self.rows)
        words(newer)[np.searchsorted(both, devices)] = words(rows)
        return Records(self.base, both, newer)

    def whole(self) -> StateRows:
        """The records of all devices (n,): to read, not to write."""
        if not self.devices.size:
            return self.base
        found = words(self.base).copy()
        found[self.devices] = words(self.rows)
        return found.reshape(-1).view(STATE)

    def settled(self) -> "Records":
        """The same records with none beside ``base``, which is changed **in place**.

        All other ``Records`` of this base are spent: only their one owner may call this, when it needs no state before this one
        and none that a step has made from those.
        """
        words(self.base)[self.devices] = words(self.rows)
        return records(self.base)


def records(base: StateRows) -> Records:
    """Records with nothing beside ``base``."""
    return Records(base, np.empty(0, np.int32), np.empty(0, STATE))
