"""Rows of the quarantine table: what was refused, kept whole, with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from storage.schema import QUARANTINE


@dataclass(frozen=True, slots=True)
class Refused:
    """One refused message, or one refused reading of a message (then with ``boot_id`` and ``seq``).

    ``payload`` is the whole message, or the values of the reading as JSON.
    """

    received_ns: int
    topic: str
    reason: str
    detail: str
    payload: bytes
    tenant: str | None = None
    device: str | None = None
    boot_id: int | None = None
    seq: int | None = None


def quarantine_table(rows: Sequence[Refused]) -> pa.Table:
    """``rows`` in the schema of the quarantine table. Text that UTF-8 cannot carry is replaced, the payload never."""
    return pa.Table.from_arrays(
        [pa.array([storable(getattr(r, f.name)) for r in rows], f.type) for f in QUARANTINE], schema=QUARANTINE
    )


def storable(value: object) -> object:
    """Text as UTF-8 can carry it; anything else as it is."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
