"""What was refused, as rows of the quarantine table: messages whole, single readings and values as JSON."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from devices.wire import parse_topic
from ingest.decode import BadCell, BadRow, Rejected
from storage.quarantine import Refused

BAD_HELD: Final = 20_000  # about 20 MB of values; rows that wait are 200,000 at most, and few of them are bad


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


class BadHeld:
    """Bad readings and values whose rows wait for earlier ones: they are told when their row is taken, like the row itself."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int, int, str], BadRow | BadCell] = {}

    @property
    def full(self) -> bool:
        """Whether the bound is passed: then the waiting readings are given up, and their gateways send again."""
        return len(self._waiting) > BAD_HELD

    def clear(self) -> None:
        """Forget all."""
        self._waiting.clear()

    def settle(
        self, found: Iterable[BadRow | BadCell], taken: Callable[[str, int], tuple[int, int]]
    ) -> Iterator[Refused]:
        """Rows for those whose reading was taken now. A copy of a reading taken earlier is in quarantine already.

        taken : of a device and a boot, the numbers (before, after) below which everything was and is taken.
        """
        offered = self._waiting
        self._waiting = {}
        for bad in found:
            offered.setdefault((bad.device, bad.boot_id, bad.seq, bad.signal if isinstance(bad, BadCell) else ""), bad)
        for key, bad in offered.items():
            before, after = taken(bad.device, bad.boot_id)
            if bad.seq >= after:
                self._waiting[key] = bad
            elif bad.seq >= before:
                yield _reading(bad)


def refused(rejected: Iterable[Rejected]) -> Iterator[Refused]:
    """Messages that could not be read, whole."""
    return map(_message, rejected)
