"""Rows of the table ``gateways``: what each gateway says of itself, as it was heard. Status, not readings: one may be missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from storage.quarantine import storable
from storage.schema import GATEWAYS


@dataclass(frozen=True, slots=True)
class GatewayRow:
    """One message of state. None = not told. ``GATEWAYS`` says what each column is."""

    received_ns: int
    tenant: str
    device: str
    status: str
    is_will: bool
    retained: bool
    boot_id: int
    software: str
    waiting: int | None
    oldest_ns: int | None
    fill: float | None
    thinned: int | None
    in_memory: bool | None
    clock: str
    undated: int | None
    missing: str
    stuck: str
    config_version: int | None
    config_refused: str


def gateways_table(rows: Sequence[GatewayRow]) -> pa.Table:
    """``rows`` in the schema of the table. Text that UTF-8 cannot carry is replaced."""
    return pa.Table.from_arrays(
        [pa.array([storable(getattr(r, f.name)) for r in rows], f.type) for f in GATEWAYS], schema=GATEWAYS
    )
