"""Readings that later ones wait for: asked for after a while, and passed over when they are gone. Sans-I/O.

A hole blocks nobody for ever. The gateway says that the readings are gone, or it has been asked three times, has spoken
after each, and an hour has passed; then they are counted as lost, kept in quarantine by their numbers, and the next ones taken.
A gateway that is silent is waited for: it may still have them.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from devices.wire import Hole
from stream.columns import READING, UNKNOWN
from stream.pipeline import Columns, empty_columns
from stream.records import Records

ASKED_LEAST: Final = 3  # times before a hole is given up
GONE_MOST: Final = 2**31 - 1  # readings that one row can stand for


class Gap(NamedTuple):
    """The readings ``begin`` to ``end`` - 1 of a boot are missing."""

    device: int
    boot_id: int
    begin: int
    end: int


@dataclass(slots=True)
class _Hole:
    begin: int
    end: int
    since: float
    ask_at: float
    asked: int = 0
    answers: int = 0  # times after which the gateway has spoken


def next_of(rows: Records, device: int, boot_id: int) -> int:
    """The number that comes next of a boot; 0 of one that was not heard of."""
    row = rows[device]
    if row["boot_id"] == boot_id:
        return int(row["next_seq"])
    for old, next_seq in zip(row["old_boots"], row["old_next"], strict=True):
        if old == boot_id:
            return int(next_seq)
    return 0


class Holes:
    """Holes by device and boot. Times are monotonic seconds."""

    def __init__(self, ask_after_s: float, give_up_s: float) -> None:
        self._ask_after_s = ask_after_s
        self._give_up_s = give_up_s
        self._holes: dict[tuple[int, int], _Hole] = {}

    def __len__(self) -> int:
        """Holes that are open."""
        return len(self._holes)

    def on_state(self, rows: Records, waiting: Columns, now: float) -> None:
        """What waits after a step."""
        if not waiting["seq"].size:
            self._holes.clear()
            return
        first = waiting["seq"] - waiting["merged"] + 1
        found: dict[tuple[int, int], int] = {}
        for device, boot, seq in zip(
            waiting["device"].tolist(), waiting["boot_id"].tolist(), first.tolist(), strict=True
        ):
            found[device, boot] = min(seq, found.get((device, boot), seq))
        for key in self._holes.keys() - found.keys():
            del self._holes[key]
        for key, end in found.items():
            begin = next_of(rows, *key)
            hole = self._holes.get(key)
            if hole is None or hole.begin != begin:
                self._holes[key] = _Hole(begin, end, now, now + self._ask_after_s)
            else:
                hole.end = end

    def on_heard(self, device: int) -> None:
        """A gateway has spoken."""
        for (of, _), hole in self._holes.items():
            if of == device:
                hole.answers = hole.asked

    def due(self, now: float) -> list[Gap]:
        """Holes to be asked for now."""
        asked: list[Gap] = []
        for (device, boot), hole in self._holes.items():
            if now >= hole.ask_at and hole.answers == hole.asked:
                hole.asked += 1
                hole.ask_at = now + self._ask_after_s
                asked.append(Gap(device, boot, hole.begin, hole.end))
        return asked

    def given_up(self, now: float) -> list[Gap]:
        """Holes that are lost by now."""
        return [
            Gap(device, boot, hole.begin, hole.end)
            for (device, boot), hole in self._holes.items()
            if hole.answers >= ASKED_LEAST and now >= hole.since + self._give_up_s
        ]


def gap_of(hole: Hole, device: int, rows: Records) -> Gap | None:
    """What a gateway says is gone, as far as it is what the server waits for; None if it is not."""
    begin = next_of(rows, device, hole.boot_id)
    if not hole.begin <= begin < hole.end:
        return None
    return Gap(device, hole.boot_id, begin, min(hole.end, begin + GONE_MOST))


def passed_over(gaps: list[Gap], received_ns: int) -> Columns:
    """One row for each gap, numbered and not computed with: later readings follow it."""
    rows = empty_columns(READING, len(gaps))
    for column in READING:
        if rows[column.name].dtype == np.float64:
            rows[column.name][:] = np.nan
    for i, gap in enumerate(gaps):
        rows["device"][i], rows["boot_id"][i] = gap.device, gap.boot_id
        rows["seq"][i], rows["merged"][i] = gap.end - 1, gap.end - gap.begin
    rows["time_ns"][:] = UNKNOWN
    rows["received_ns"][:] = received_ns
    return rows
