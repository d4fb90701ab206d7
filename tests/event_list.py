"""Events of a few readings, as a list that tests can read."""

from typing import Any

from stream.columns import CHOSEN_SOURCES, EVENT_KINDS, UNKNOWN
from stream.fleet import Fleet
from stream.pipeline import Columns, start, step
from tests.support import T0_NS, fleet

KINDS = tuple(EVENT_KINDS)


def listed(events: Columns) -> list[dict[str, Any]]:
    """Rows as dictionaries: kind and chosen by name, ``at`` and ``end`` in seconds after T0, ``litres`` explained or None."""
    rows = []
    for i in range(events["time_ns"].size):
        nl = int(events["explained_nl"][i])
        rows.append(
            {
                "kind": KINDS[events["kind"][i]],
                "chosen": CHOSEN_SOURCES[events["chosen"][i]],
                "at": (int(events["time_ns"][i]) - T0_NS) / 1e9,
                "end": (int(events["end_ns"][i]) - T0_NS) / 1e9,
                "amount": float(events["amount"][i]),
                "expected": float(events["expected"][i]),
                "litres": None if nl == UNKNOWN else nl / 1e9,
                "lat": float(events["lat_deg"][i]),
                "device": int(events["device"][i]),
            }
        )
    return rows


def happened(batch: Columns, among: Fleet | None = None) -> list[dict[str, Any]]:
    """What one step over ``batch`` tells."""
    _, results = step(start(among or fleet()), batch)
    return listed(results.events)


def kinds(batch: Columns, among: Fleet | None = None) -> list[str]:
    """Kinds of events, in the order they were written."""
    return [e["kind"] for e in happened(batch, among)]
