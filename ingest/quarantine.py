"""What was refused, as rows of the quarantine table: messages whole, single readings and values as JSON."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from devices.wire import parse_topic
from ingest.decode import BadCell, BadRow, Decoded, Rejected
from storage.quarantine import Refused
from stream.records import Records


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


def _newly_taken(bad: BadRow | BadCell, index: Mapping[str, int], before: Records, after: Records) -> bool:
    """True if this step took the reading; a copy of one taken earlier is in quarantine already."""
    old, new = before[index[bad.device]], after[index[bad.device]]
    if new["boot_id"] != bad.boot_id or bad.seq >= new["next_seq"]:
        return False
    return bool(old["boot_id"] != bad.boot_id or bad.seq >= old["next_seq"])


def refused(decoded: Decoded, index: Mapping[str, int], before: Records, after: Records) -> Iterator[Refused]:
    """Rejected messages, then refused readings and values that this step took. ``index``: number of each device in the states."""
    for rejected in decoded.rejected:
        yield _message(rejected)
    for bad in decoded.bad_rows:
        if _newly_taken(bad, index, before, after):
            yield _reading(bad)
