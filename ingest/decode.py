"""Messages to columns: many at once, whatever they contain. Nothing here raises on what a device sent.

A message that cannot be read is ``Rejected`` whole and alone; a value outside its range, or a row whose time cannot be
true, is reported beside the columns. ``ingest.message`` reads headers and JSON, ``ingest.frame`` the bodies of batches.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import zstandard

from devices import wire
from devices.signals import SIGNALS
from ingest import frame
from ingest.message import MAX_BAD_CELLS, Entry, Message, Refusal, RejectReason, address_of, read
from stream.columns import READING, UNKNOWN

__all__ = ["BadCell", "BadRow", "Columns", "Decoded", "Message", "RejectReason", "Rejected", "decode"]

Columns = dict[str, npt.NDArray[Any]]

FUTURE_NS: Final = 5 * 60 * 1_000_000_000  # a clock without GPS drifts by seconds; five minutes is a broken clock
MAX_WINDOW_BYTES: Final = 1 << 20  # bounds zstd's own buffer; frames that arrive whole, as ours do, need none
GROUP_BODY_BYTES: Final = 16 << 20  # bodies held at a time, some 10,000 live batches, however large a call is
MAX_DETAIL_CHARS: Final = 200  # a detail may quote what was sent; the payload is kept whole beside it


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message of which nothing is in the columns."""

    reason: RejectReason
    topic: str
    payload: bytes
    received_ns: int
    detail: str


@dataclass(frozen=True, slots=True)
class BadCell:
    """A value that is null in the columns. ``value`` as sent."""

    reason: RejectReason
    topic: str
    received_ns: int
    device: str
    boot_id: int
    seq: int
    signal: str
    value: float


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row whose time cannot be true. In the columns its ``time_ns`` is UNKNOWN; here ``time_ns`` is as sent."""

    reason: RejectReason
    topic: str
    received_ns: int
    device: str
    boot_id: int
    seq: int
    time_ns: int  # cut to what int64 holds
    values: dict[str, float]  # those within their range


@dataclass(frozen=True, slots=True)
class Decoded:
    """``columns``: every column of ``stream.columns.READING``, (n,), rows in the order of the messages.

    Signals that no message held share one read-only array of NaN. ``rejected`` and ``bad_rows`` are in message order.
    """

    columns: Columns
    n: int
    rejected: list[Rejected]
    bad_rows: list[BadRow | BadCell]


def decode(
    messages: Sequence[Message], devices: Mapping[str, int], tenants: Collection[str], *, earliest_ns: int
) -> Decoded:
    """Decode messages of ``up/readings`` and ``up/json``.

    devices : index of each known device, for the column ``device``. tenants : those whose topics are read.
    earliest_ns : a row with an earlier time is a ``BadRow``, as is one more than FUTURE_NS after its receipt.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    addresses: dict[str, wire.Topic | Refusal] = {}
    refusals: list[tuple[int, Refusal]] = []
    parts: list[_Part] = []
    group: list[Entry] = []
    held = 0
    for index, message in enumerate(messages):
        address = addresses.get(message.topic)
        if address is None:
            address = addresses[message.topic] = address_of(message.topic, devices, tenants)
        if isinstance(address, Refusal):
            refusals.append((index, address))
            continue
        entry = read(message, index, address, devices[address.device], decompressor)
        if isinstance(entry, Refusal):
            refusals.append((index, entry))
            continue
        if held + len(entry.body) > GROUP_BODY_BYTES:
            parts.append(_part(group, earliest_ns))
            group, held = [], 0
        group.append(entry)
        held += len(entry.body)
    parts.append(_part(group, earliest_ns))
    refusals += [refusal for part in parts for refusal in part.refusals]
    refusals.sort(key=lambda refusal: refusal[0])
    columns = _joined(parts)
    rejected = [_rejected(messages[index], refusal) for index, refusal in refusals]
    return Decoded(columns, columns["seq"].size, rejected, [bad for part in parts for bad in part.bad_rows])


def _rejected(message: Message, why: Refusal) -> Rejected:
    return Rejected(why.reason, message.topic, message.payload, message.received_ns, why.detail[:MAX_DETAIL_CHARS])


@dataclass(slots=True)
class _Part:
    """What a group of entries gives. ``columns`` holds only the signals that some entry had."""

    columns: Columns
    refusals: list[tuple[int, Refusal]]
    bad_rows: list[BadRow | BadCell]


def _part(group: list[Entry], earliest_ns: int) -> _Part:
    in_frames = [e for e in group if e.body]
    bodies = frame.Bodies(
        np.frombuffer(b"".join([e.body for e in in_frames]), dtype=np.uint8),
        np.cumsum([len(e.body) for e in in_frames], dtype=np.int64),
        _ints(e.n for e in in_frames),
        _ints(e.columns for e in in_frames),
        _ints(e.t0_ms for e in in_frames),
        _ints(e.covered for e in in_frames),
    )
    faults, seen = frame.check(bodies)
    if faults.any():
        return _part_without(
            group, {e.index: _fault(f) for e, f in zip(in_frames, faults, strict=True) if f}, earliest_ns
        )
    for e in group:
        for slot in e.values:
            seen[slot] = True
    n = _ints(e.n for e in group)
    row0 = np.cumsum(n) - n
    framed = np.array([bool(e.body) for e in group], dtype=np.bool_)
    filled, faults, bad = frame.fill(bodies, row0[framed], int(n.sum()), seen, MAX_BAD_CELLS)
    if faults.any() or (bad > MAX_BAD_CELLS).any():
        refusals = {e.index: _fault(f) for e, f in zip(in_frames, faults, strict=True) if f}
        refusals |= {e.index: _too_many(b) for e, b in zip(in_frames, bad, strict=True) if b > MAX_BAD_CELLS}
        return _part_without(group, refusals, earliest_ns)
    _put_json(group, row0, seen, filled)

    seq = np.cumsum(filled.merged) - 1
    seq += (_ints(e.seq0 for e in group) - seq[row0] + filled.merged[row0] - 1).repeat(n)
    received_ns = _ints(e.message.received_ns for e in group).repeat(n)
    reports = _bad_cells(group, row0, seq, filled) + _bad_rows(group, row0, seq, filled, seen, received_ns, earliest_ns)
    reports.sort(key=lambda report: report[0])
    columns: Columns = {
        "device": _ints(e.device_code for e in group).astype(np.int32).repeat(n),
        "boot_id": _ints(e.boot_id for e in group).repeat(n),
        "seq": seq,
        "merged": filled.merged.astype(np.int32),
        "time_ns": filled.time_ns,
        "received_ns": received_ns,
        "clock_source": _ints(e.clock_source for e in group).astype(np.int32).repeat(n),
        "clock_error_ms": _ints(e.clock_error_ms for e in group).astype(np.int32).repeat(n),
        "historical": np.array([e.historical for e in group], dtype=np.bool_).repeat(n),
    }
    columns |= {SIGNALS[slot].name: filled.signals[k] for k, slot in enumerate(np.flatnonzero(seen))}
    return _Part(columns, [], [report for _, report in reports])


def _part_without(group: list[Entry], refusals: dict[int, Refusal], earliest_ns: int) -> _Part:
    part = _part([e for e in group if e.index not in refusals], earliest_ns)
    part.refusals += refusals.items()
    return part


def _fault(fault: int) -> Refusal:
    return Refusal("bad_column", frame.FAULTS[fault])


def _too_many(cells: int) -> Refusal:
    return Refusal(
        "out_of_range", f"{cells} values outside their range; above {MAX_BAD_CELLS} the whole message is kept aside"
    )


def _ints(values: Iterable[int]) -> frame.Ints:
    return np.fromiter(values, dtype=np.int64)


def _put_json(group: list[Entry], row0: frame.Ints, seen: frame.Bools, filled: frame.Filled) -> None:
    where = np.cumsum(seen) - 1
    for e, row in zip(group, row0.tolist(), strict=True):
        if not e.body:
            filled.time_ns[row] = e.time_ns
            filled.signals[:, row] = np.nan
            filled.signals[where[list(e.values)], row] = list(e.values.values())


def _bad_cells(
    group: list[Entry], row0: frame.Ints, seq: frame.Ints, filled: frame.Filled
) -> list[tuple[int, BadRow | BadCell]]:
    found: list[tuple[int, BadRow | BadCell]] = []
    for row, slot, raw in zip(filled.bad_row.tolist(), filled.bad_slot.tolist(), filled.bad_raw.tolist(), strict=True):
        e = group[int(np.searchsorted(row0, row, side="right")) - 1]
        name = SIGNALS[slot].name
        found.append((row, _bad_cell(e, int(seq[row]), name, raw / wire.SCALE[name], "out_of_range")))
    for e, row in zip(group, row0.tolist(), strict=True):
        found += [(row, _bad_cell(e, e.seq0, name, value, reason)) for name, value, reason in e.bad]
    return found


def _bad_cell(e: Entry, seq: int, name: str, value: float, reason: RejectReason) -> BadCell:
    return BadCell(reason, e.message.topic, e.message.received_ns, e.device, e.boot_id, seq, name, value)


def _bad_rows(
    group: list[Entry],
    row0: frame.Ints,
    seq: frame.Ints,
    filled: frame.Filled,
    seen: frame.Bools,
    received_ns: frame.Ints,
    earliest_ns: int,
) -> list[tuple[int, BadRow | BadCell]]:
    """Report rows whose time cannot be true, and set it to UNKNOWN."""
    rows = np.flatnonzero((filled.time_ns > received_ns + FUTURE_NS) | (filled.time_ns < earliest_ns))
    names = [SIGNALS[slot].name for slot in np.flatnonzero(seen)]
    found: list[tuple[int, BadRow | BadCell]] = []
    for row, values in zip(rows.tolist(), filled.signals[:, rows].T.tolist(), strict=True):
        e = group[int(np.searchsorted(row0, row, side="right")) - 1]
        time_ns = int(filled.time_ns[row])
        reason: RejectReason = "time_past" if time_ns < earliest_ns else "time_future"
        known = {name: value for name, value in zip(names, values, strict=True) if value == value}  # not NaN
        message = e.message
        found.append(
            (
                row,
                BadRow(reason, message.topic, message.received_ns, e.device, e.boot_id, int(seq[row]), time_ns, known),
            )
        )
    filled.time_ns[rows] = UNKNOWN
    return found


def _joined(parts: list[_Part]) -> Columns:
    n = sum(part.columns["seq"].size for part in parts)
    never = np.full(n, np.nan)
    never.flags.writeable = False
    columns: Columns = {}
    for column in READING:
        if all(column.name not in part.columns for part in parts):
            columns[column.name] = never
        elif len(parts) == 1:
            columns[column.name] = parts[0].columns[column.name]
        else:
            absent = [np.full(part.columns["seq"].size, np.nan) for part in parts]
            columns[column.name] = np.concatenate(
                [part.columns.get(column.name, nan) for part, nan in zip(parts, absent, strict=True)]
            )
    return columns
