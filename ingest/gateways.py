"""What gateways say of themselves on ``up/state``, as rows that the next commits take with them.

State is no reading: its message is acknowledged to the broker before its row is on the disk, and one that is lost is made good by the
next. So it costs no commit of its own while readings come, and of a gateway to which nothing happens one row a minute is kept at most.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from devices.wire import GatewayState
from ingest.message import Message, Refusal
from storage.gateways import GatewayRow

STATE_BYTES: Final = 16 * 1024  # a gateway with a hundred sources says a tenth of it
ROW_EVERY_S: Final = 60.0  # between rows of one gateway whose figures alone have changed
LAND_AFTER_S: Final = 10.0  # how long rows wait for a commit that has readings
TEXT: Final = 200  # characters kept of each text; the names of twenty sources
_STATE: Final = msgspec.json.Decoder(GatewayState)


def read_state(message: Message) -> GatewayState | Refusal:
    """The state in a message, or why it is none."""
    if len(message.payload) > STATE_BYTES:
        return Refusal("too_large", f"{len(message.payload)} bytes; a state has at most {STATE_BYTES}")
    try:
        return _STATE.decode(message.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Refusal("bad_json", str(error))


def row_of(message: Message, tenant: str, device: str, state: GatewayState) -> GatewayRow:
    """The row of one message. A will tells nothing of the outbox: its figures are those of when the gateway connected."""
    config = state.config
    return GatewayRow(
        received_ns=message.received_ns,
        tenant=tenant,
        device=device,
        status=state.status,
        is_will=state.is_will,
        retained=message.retained,
        boot_id=state.boot_id,
        software=state.software[:TEXT],
        waiting=None if state.is_will else state.unconfirmed,
        oldest_ns=None if state.is_will else state.oldest_unsent_ns,
        fill=None if state.is_will else state.fill,
        thinned=None if state.is_will else state.thinned,
        in_memory=state.in_memory,
        clock=state.clock,
        undated=None if state.is_will else state.undated,
        missing=", ".join(state.missing)[:TEXT],
        stuck=", ".join(state.stuck)[:TEXT],
        config_version=None if config is None else config.version,
        config_refused="" if config is None else config.refused[:TEXT],
    )


class GatewayStates:
    """The newest unkept row of each gateway, at most one each, and when each was kept last. ``devices``: how many there are."""

    def __init__(self, devices: int) -> None:
        self._kept_at = np.full(devices, -np.inf)
        self._kept = np.zeros(devices, np.int64)  # what the kept row says beside figures, as a hash
        self._payload = np.zeros(devices, np.int64)
        self._waiting: dict[int, GatewayRow] = {}
        self._since = np.inf

    def take(self, device: int, row: GatewayRow, payload: bytes, now: float) -> None:
        """Hold ``row`` of device number ``device``. What the broker had kept and tells once more is no news."""
        same = hash(payload)
        if row.retained and same == self._payload[device]:
            return
        self._payload[device] = same
        if not self._waiting:
            self._since = now
        self._waiting[device] = row

    def due(self, now: float, *, at_once: bool) -> Sequence[GatewayRow]:
        """Rows to be kept by a commit now; ``at_once``: there is one anyway. They are not given again."""
        if not self._waiting or not (at_once or now - self._since >= LAND_AFTER_S):
            return ()
        found: list[GatewayRow] = []
        for device, row in list(self._waiting.items()):
            said = hash((row.status, row.boot_id, row.software, row.clock, row.missing, row.stuck, row.config_version,
                row.config_refused, row.in_memory))  # fmt: skip
            if said != self._kept[device] or now - self._kept_at[device] >= ROW_EVERY_S:
                self._kept[device], self._kept_at[device] = said, now
                found.append(self._waiting.pop(device))
        self._since = now
        return found
