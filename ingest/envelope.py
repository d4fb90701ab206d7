"""The frames behind the readings, as rows of the table ``batches``: what an auditor needs to check a gateway's signature.

A frame is landed in the commit that takes its readings, once: not while they wait for earlier ones, and not again when it is
repeated.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa

from devices.envelope import UNSIGNED, Envelope, batch_hash, envelope
from devices.wire import HEADER, MAGIC
from ingest.message import Message
from storage.schema import BATCHES

HELD_BYTES: Final = 64 << 20  # frames whose readings wait for earlier ones; 200,000 readings of 60 a frame are 4 MB


class Framed(NamedTuple):
    """One frame with a sound header: the readings ``first`` to ``end`` - 1."""

    message: Message
    tenant: str
    device: str
    code: int
    boot_id: int
    first: int
    end: int
    t0_ns: int
    sealed: Envelope


def framed(message: Message, tenant: str, device: str, code: int) -> Framed | None:
    """The frame in a message; None if it has none, or a header that ``ingest.message`` refuses."""
    payload = message.payload
    if len(payload) < HEADER.size or payload[:2] != MAGIC:
        return None
    _, _, _, header_len, _, boot_id, seq0, covered, t0_ms, _, _, _, name_len = HEADER.unpack_from(payload)
    if not HEADER.size + name_len <= header_len <= len(payload):
        return None
    try:
        sealed = envelope(payload)
    except (ValueError, IndexError):
        sealed = UNSIGNED  # extensions of somebody else: kept with the frame, and proof of nothing
    return Framed(message, tenant, device, code, boot_id, seq0, seq0 + covered, t0_ms * 1_000_000, sealed)


def batches_table(frames: Sequence[Framed]) -> pa.Table:
    """Rows of the table ``batches``."""
    columns: dict[str, list[Any]] = {
        "tenant": [f.tenant for f in frames],
        "device": [f.device for f in frames],
        "boot_id": [f.boot_id for f in frames],
        "first_seq": [f.first for f in frames],
        "n": [f.end - f.first for f in frames],
        "time_ns": [f.t0_ns for f in frames],
        "received_ns": [f.message.received_ns for f in frames],
        "frame_sha256": [batch_hash(f.message.payload) for f in frames],
        "previous_sha256": [f.sealed.previous for f in frames],
        "signature": [f.sealed.signature for f in frames],
        "frame": [f.message.payload for f in frames],
    }
    return pa.Table.from_arrays([pa.array(columns[f.name], f.type) for f in BATCHES], schema=BATCHES)


class Held:
    """Frames whose readings wait for earlier ones."""

    def __init__(self) -> None:
        self._frames: dict[tuple[int, int, int, int], Framed] = {}  # device, boot, first, end
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether the bound is passed: then the waiting readings are given up, and their gateways send again."""
        return self._bytes > HELD_BYTES

    def clear(self) -> None:
        """Forget all."""
        self._frames.clear()
        self._bytes = 0

    def settle(self, frames: Iterable[Framed], taken: Callable[[int, int], tuple[int, int]]) -> list[Framed]:
        """Those of ``frames`` and of the ones held that brought new readings; the ones that still wait are held.

        taken : of a device and a boot, the numbers (before, after) below which everything was and is taken.
        """
        offered = [*self._frames.values(), *frames]
        self.clear()
        new: list[Framed] = []
        done: set[tuple[int, int, int, int]] = set()
        for f in offered:
            before, after = taken(f.code, f.boot_id)
            key = (f.code, f.boot_id, f.first, f.end)
            if f.end <= before or key in done:
                continue  # a repeat
            if f.first < after:
                done.add(key)
                new.append(f)
            elif key not in self._frames:
                self._frames[key] = f
                self._bytes += len(f.message.payload)
        return new
