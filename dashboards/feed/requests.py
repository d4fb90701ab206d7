"""PACT events: requests for footprints, kept as they came, and what they are answered."""

import os
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from dashboards.feed.problem import ProblemError

KEPT: Final = 100_000  # events ever taken; a partner who asks for every product once a day for a year stays below

_ID = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_PREFIX: Final = "org.wbcsd.pathfinder."


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    specversion: _ID
    id: _ID
    source: _ID
    time: _ID


class Wanted(msgspec.Struct, frozen=True):
    """A fragment of the footprint that is asked for, e.g. its productIds."""

    pf: dict[str, Any]
    comment: str | None = None


class Fulfilment(msgspec.Struct, frozen=True):
    """Footprints that answer a request."""

    requestEventId: str  # noqa: N815
    pfs: list[dict[str, Any]]


class Rejection(msgspec.Struct, frozen=True):
    """Why a request is not fulfilled."""

    requestEventId: str  # noqa: N815
    error: dict[str, str]


class Updated(msgspec.Struct, frozen=True):
    """Footprints that another data owner has published."""

    pfIds: list[str] = []  # noqa: N815


class Created(_Event, frozen=True, tag=f"{_PREFIX}ProductFootprintRequest.Created.v1"):
    """A request for footprints."""

    data: Wanted


class Fulfilled(_Event, frozen=True, tag=f"{_PREFIX}ProductFootprintRequest.Fulfilled.v1"):
    """Footprints are here."""

    data: Fulfilment


class Rejected(_Event, frozen=True, tag=f"{_PREFIX}ProductFootprintRequest.Rejected.v1"):
    """There will be none."""

    data: Rejection


class PublishedEvent(_Event, frozen=True, tag=f"{_PREFIX}ProductFootprint.Published.v1"):
    """Someone else's footprints are new."""

    data: Updated


Event = Created | Fulfilled | Rejected | PublishedEvent


class _Kept(msgspec.Struct, frozen=True):
    key: str
    received: str
    event: Event


class Requests:
    """Events of partners, one JSON line each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def _all(self) -> list[_Kept]:
        if not self._path.exists():
            return []
        return [msgspec.json.decode(line, type=_Kept) for line in self._path.read_bytes().splitlines()]

    def take(self, key_id: str, event: Event, received: str) -> bool:
        """Keep an event; False where it came before. Raises ProblemError 503 when no more are taken."""
        with self._lock:
            return self._take(key_id, event, received)

    def _take(self, key_id: str, event: Event, received: str) -> bool:
        kept = self._all()
        if any(k.key == key_id and k.event.id == event.id and k.event.source == event.source for k in kept):
            return False
        if len(kept) >= KEPT:
            raise ProblemError(503, "no more events are taken; tell the operator to clear them", code="InternalError")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, msgspec.json.encode(_Kept(key_id, received, event)) + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
        return True

    def asked(self, key_id: str) -> list[Created]:
        """The requests of one key, oldest first."""
        return [k.event for k in self._all() if k.key == key_id and isinstance(k.event, Created)]


def fits(wanted: Mapping[str, Any], pf: Mapping[str, Any]) -> bool:
    """Whether a footprint is what a fragment asks for: equal fields; one of the ids where it names several."""
    for name, value in wanted.items():
        found = pf.get(name)
        if isinstance(value, list) and isinstance(found, list):
            if not {str(v).lower() for v in value} & {str(v).lower() for v in found}:
                return False
        elif found != value:
            return False
    return bool(wanted)


def reply(asked: Created, footprints: Sequence[dict[str, Any]], source: str, time: str) -> Fulfilled | Rejected:
    """The answer to a request."""
    found = [pf for pf in footprints if fits(asked.data.pf, pf)]
    event_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{asked.source}#{asked.id}"))
    common = {"specversion": "1.0", "id": event_id, "source": source, "time": time}
    if found:
        return Fulfilled(**common, data=Fulfilment(asked.id, found))
    error = {"code": "NotFound", "message": "no published footprint fits; GET /2/footprints lists those there are"}
    return Rejected(**common, data=Rejection(asked.id, error))
