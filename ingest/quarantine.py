"""What was refused, as rows of the quarantine table: messages whole, single readings and values as JSON."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from devices.wire import parse_topic
from ingest.decode import BadCell, BadRow, Decoded, Rejected
from storage.quarantine import Refused

WAITING_MAX: Final = 20_000  # about 20 MB; only a sender that is broken and out of order comes near


def _finite(value: float) -> float | str:
    """JSON has no NaN or infinity: they are kept as text."""
    return value if math.isfinite(value) else str(value)


def _message(r: Rejected) -> Refused:
    topic = parse_topic(r.topic)
    tenant, device = (topic.tenant, topic.device) if topic else (None, None)
    return Refused(r.received_ns, r.topic, r.reason, r.detail, r.payload, tenant, device)


def _reading(bad: BadRow | BadCell) -> Refused:
    kept: dict[str, Any]
    if isinstance(bad, BadCell):
        kept = {"signal": bad.signal, "value": _finite(bad.value)}
        detail = f"{bad.signal} = {bad.value!r}: the value was left out, the rest of the reading was taken"
    else:
        kept = {"time_ns": bad.time_ns, "signals": {k: _finite(v) for k, v in bad.values.items()}}
        detail = "the device's clock is wrong: the reading is numbered and kept here, not computed with"
    topic = parse_topic(bad.topic)
    tenant = topic.tenant if topic else None
    payload = msgspec.json.encode(kept)
    return Refused(bad.received_ns, bad.topic, bad.reason, detail, payload, tenant, bad.device, bad.boot_id, bad.seq)


class Refusals:
    """What becomes of refused readings and values: those of a reading that waits for earlier ones wait with it."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int, int, str], BadRow | BadCell] = {}  # device, boot, seq, signal

    @property
    def full(self) -> bool:
        """Whether the bound is passed: then the waiting readings are given up, and their gateways send again."""
        return len(self._waiting) > WAITING_MAX

    def clear(self) -> None:
        """Forget those that wait."""
        self._waiting.clear()

    def settle(self, decoded: Decoded, taken: Callable[[str, int], tuple[int, int]]) -> Iterator[Refused]:
        """Rejected messages, then refused readings and values that this step took, each once.

        taken : of a device and a boot, the numbers (before, after) below which everything was and is taken.
        """
        for rejected in decoded.rejected:
            yield _message(rejected)
        for bad in decoded.bad_rows:
            signal = bad.signal if isinstance(bad, BadCell) else ""
            self._waiting.setdefault((bad.device, bad.boot_id, bad.seq, signal), bad)
        for key, bad in list(self._waiting.items()):
            before, after = taken(bad.device, bad.boot_id)
            if bad.seq < after:
                del self._waiting[key]
                if bad.seq >= before:
                    yield _reading(bad)  # a copy of one taken earlier is in quarantine already
