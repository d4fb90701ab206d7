"""What was measured and handed over, what the server has on disk, and every way in which the two may not differ."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from devices.wire import Hole
from storage.lake import Commit
from storage.schema import ROLLUP_KEYS, ROLLUP_NEWEST, ROLLUP_SUMS, Names, to_arrow
from stream.columns import READING, UNKNOWN
from stream.fleet import Fleet
from stream.pipeline import Columns, empty_columns, start, step

Key = tuple[int, int]  # device, boot
SIGNALS = ("odometer_m", "fuel_total_hr_l", "speed_kmh")
TIME_REASONS = ("time_future", "time_past")
CLOCK_NS = 1_500_000_000  # a reading's time is cut to ms, and the clock drifts
FREE = ("boot_id", "next_seq", "old_boots", "old_next")  # of the state; compared with the ledger itself


class ViolationError(AssertionError):
    """A promise was broken. ``what`` names it: lost, duplicated, altered, invented, freed, bound, settle, results."""

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(f"{what}: {detail}")
        self.what = what


class Handed(NamedTuple):
    """A reading as it was handed to the outbox. ``true_ns``: when it was taken, by the clock of the world."""

    time_ns: int
    values: tuple[float, float, float]
    true_ns: int
    lied: bool  # the gateway's clock had said something false of late


@dataclass
class Boot:
    """One start of a gateway."""

    handed: list[Handed] = field(default_factory=list)
    durable: int = 0  # below it a reading must arrive, or be told to be gone
    next: int = 0  # of the server's disk


@dataclass
class Row:
    """A row of the table ``readings``, in the order of the commits."""

    key: Key
    first: int
    seq: int
    received_ns: int
    historical: bool
    clock_source: int
    clock_error_ms: int


class Ledger:
    """Checks each commit when it stands, and all of them at the end."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.names = Names(device=fleet.devices, asset=fleet.assets)
        self.boots: dict[Key, Boot] = {}
        self.rows: list[Row] = []
        self.gone: list[tuple[Key, int, int]] = []
        self.heard: dict[int, list[int]] = {}  # boots of a device in the order in which the server took them up
        self.misdated: set[tuple[Key, int]] = set()
        self.commits: list[Commit] = []
        self.counts: Counter[str] = Counter()

    def hand(self, key: Key, reading: Handed) -> None:
        """A reading was numbered; its number is how many came before it."""
        self.boots.setdefault(key, Boot()).handed.append(reading)

    def died(self, key: Key, durable: int) -> None:
        """A start has ended; its readings from ``durable`` on were not on its disk."""
        boot = self.boots.get(key)
        if boot is not None:
            boot.durable = durable
            self.counts["unsynced"] += len(boot.handed) - durable

    def next(self, key: Key) -> int:
        """Readings of a boot below it are on the server's disk, or told to be gone."""
        boot = self.boots.get(key)
        return 0 if boot is None else boot.next

    def committed(self, commit: Commit) -> None:
        """A commit stands."""
        self.commits.append(commit)
        found = [*self._taken(commit.readings), *self._set_aside(commit.quarantine)]
        found.sort(key=lambda f: (f[0], f[2], f[1]))
        for key, first, last, row in found:
            boot = self.boots.get(key)
            if boot is None or (last >= len(boot.handed) and row is not None):
                raise ViolationError("invented", f"reading {last} of {key} was never handed over")
            if last < boot.next:
                what = "a row" if row is not None else "an entry of the quarantine"
                raise ViolationError("duplicated", f"{first} to {last} of {key} is {what} below {boot.next}")
            if first > boot.next and row is not None:
                raise ViolationError(
                    "lost", f"readings {boot.next} to {first - 1} of {key} were passed over in silence"
                )
            if not boot.next:
                self.heard.setdefault(key[0], []).append(key[1])
            boot.next = last + 1

    def _taken(self, table: pa.Table) -> Iterator[tuple[Key, int, int, Row | None]]:
        names = ("boot_id", "seq", "merged", "time_ns", "received_ns", "clock_error_ms", *SIGNALS)
        columns = [table[name].to_numpy() for name in names]
        devices = [self.fleet.device_index[d] for d in table["device"].to_pylist()]
        sources = [_index_of(s) for s in table["clock_source"].to_pylist()]
        historical = table["historical"].to_pylist()
        for i, device in enumerate(devices):
            boot_id, seq, merged, time_ns, received_ns, error_ms = (int(c[i]) for c in columns[:6])
            key = (device, boot_id)
            row = Row(key, seq - merged + 1, seq, received_ns, historical[i], sources[i], error_ms)
            self._compare(row, time_ns, tuple(float(c[i]) for c in columns[6:]), merged)
            self.rows.append(row)
            self.counts["stored"] += 1
            self.counts["merged"] += merged - 1
            yield key, row.first, seq, row

    def _compare(self, row: Row, time_ns: int, values: tuple[float, ...], merged: int) -> None:
        boot = self.boots.get(row.key)
        if boot is None or row.seq >= len(boot.handed) or row.first < 0:
            raise ViolationError("invented", f"reading {row.seq} of {row.key}, standing for {merged}")
        was = boot.handed[row.seq]
        if (time_ns, values) != (was.time_ns, was.values):
            raise ViolationError("altered", f"{row.key} {row.seq}: {time_ns} {values}, handed over as {was}")
        if not was.lied and abs(time_ns - was.true_ns) > CLOCK_NS + 1_000_000 * max(0, row.clock_error_ms):
            raise ViolationError("altered", f"{row.key} {row.seq} is dated {(time_ns - was.true_ns) / 1e9} s off")

    def _set_aside(self, table: pa.Table) -> Iterator[tuple[Key, int, int, Row | None]]:
        for row in table.to_pylist():
            if row["boot_id"] is None:
                self.counts[f"refused {row['reason']}"] += 1
                continue
            key = (self.fleet.device_index[row["device"]], row["boot_id"])
            if row["reason"] == "hole":
                hole = msgspec.json.decode(row["payload"], type=Hole)
                self.gone.append((key, hole.begin, hole.end))
                self.counts["reported_gone"] += hole.end - hole.begin
                yield key, hole.begin, hole.end - 1, None
            elif row["reason"] in TIME_REASONS:
                self._misdated(key, row)
                yield key, row["seq"], row["seq"], None
            else:
                raise ViolationError("altered", f"{key} {row['seq']} was set aside: {row['detail']}")

    def _misdated(self, key: Key, row: dict[str, Any]) -> None:
        boot, kept = self.boots.get(key), msgspec.json.decode(row["payload"])
        if boot is None or row["seq"] >= len(boot.handed):
            raise ViolationError("invented", f"reading {row['seq']} of {key} in quarantine")
        was = boot.handed[row["seq"]]
        if not was.lied:
            raise ViolationError("altered", f"{key} {row['seq']}: a time that was right was refused")
        if (kept["time_ns"], tuple(kept["signals"][s] for s in SIGNALS)) != (was.time_ns, was.values):
            raise ViolationError("altered", f"{key} {row['seq']} in quarantine: {kept}, handed over as {was}")
        self.misdated.add((key, row["seq"]))
        self.counts["quarantined_time"] += 1

    def at_rest(self, harmed: dict[int, dict[int, list[tuple[int, int]]]], told: dict[int, int]) -> None:
        """Nothing more will come. ``harmed``: by device and boot, readings that a disk has spoilt; ``told``: by device, how many
        damages its gateway has counted."""
        for key, begin, end in self.gone:
            spoilt = harmed.get(key[0], {}).get(key[1], [])
            for seq in range(begin, min(end, self.boots[key].durable)):
                if not _within(seq, spoilt):
                    raise ViolationError(
                        "lost", f"reading {seq} of {key} is told to be gone, and no disk has spoilt it"
                    )
        for key, boot in self.boots.items():
            spoilt = harmed.get(key[0], {}).get(key[1], [])
            for seq in range(boot.next, boot.durable):
                if not _within(seq, spoilt):
                    raise ViolationError("lost", f"reading {seq} of {key}, on its disk to {boot.durable}, never came")
                if not told.get(key[0]):
                    raise ViolationError("lost", f"reading {seq} of {key} is spoilt, and nobody was told")
                self.counts["spoilt_at_the_end"] += 1

    def results(self, state_rows: Any) -> None:
        """What the consumer computed is what one ``step`` makes of the ledger's readings, in the order they were taken."""
        batch = self._batch()
        state, made = step(start(self.fleet), batch)
        if made.accepted != batch["seq"].size:
            raise ViolationError("results", f"{made.accepted} of {batch['seq'].size} readings taken")
        wanted_rows = state.rows.whole()
        for name in wanted_rows.dtype.names or ():
            if name not in FREE and wanted_rows[name].tobytes() != np.ascontiguousarray(state_rows[name]).tobytes():
                raise ViolationError("results", f"the consumer's state differs in {name}")
        for row, device in zip(state_rows, range(len(self.fleet.devices)), strict=True):
            known = {int(row["boot_id"]): int(row["next_seq"])}
            known |= dict(zip(row["old_boots"].tolist(), row["old_next"].tolist(), strict=True))
            for boot_id, next_seq in known.items():
                if boot_id and next_seq != self.next((device, boot_id)):
                    raise ViolationError("results", f"the state says {next_seq} of {(device, boot_id)}")
        for name, keys in (
            ("emissions", ("device", "boot_id", "seq")),
            ("trips", ("device", "trip_start_ns", "version")),
            ("events", ("device", "time_ns", "kind", "end_ns", "amount")),
        ):
            wanted = to_arrow(name, getattr(made, name), self.names)
            stored = pa.concat_tables([getattr(c, name) for c in self.commits])
            if not _sorted(stored, keys).equals(_sorted(wanted, keys)):
                raise ViolationError(
                    "results", f"{name}: {stored.num_rows} rows, {wanted.num_rows} by one step, or others"
                )
        sums = [
            _sums(pa.concat_tables([c.rollups for c in self.commits])),
            _sums(to_arrow("rollups", made.rollups, self.names)),
        ]
        if not sums[0].equals(sums[1]):
            raise ViolationError("results", "rollups differ from those of one step")

    def _batch(self) -> Columns:
        """The rows taken, with the values handed over; a row without time fills each place that was told to be missing."""
        at: dict[Key, int] = {}
        made: list[tuple[Row, Handed | None]] = []
        for row in self.rows:
            if row.first > at.get(row.key, 0):
                filler = Row(row.key, at.get(row.key, 0), row.first - 1, row.received_ns, False, 0, -1)
                made.append((filler, None))
            made.append((row, self.boots[row.key].handed[row.seq]))
            at[row.key] = row.seq + 1
        columns = empty_columns(READING, len(made))
        for column in READING:
            if columns[column.name].dtype == np.float64:
                columns[column.name][:] = np.nan
        for i, (row, was) in enumerate(made):
            for name, value in (
                ("device", row.key[0]),
                ("boot_id", row.key[1]),
                ("seq", row.seq),
                ("merged", row.seq - row.first + 1),
                ("received_ns", row.received_ns),
                ("historical", row.historical),
                ("clock_source", row.clock_source),
                ("clock_error_ms", row.clock_error_ms),
            ):
                columns[name][i] = value
            columns["time_ns"][i] = UNKNOWN if was is None else was.time_ns
            if was is not None:
                for name, measured in zip(SIGNALS, was.values, strict=True):
                    columns[name][i] = measured
        return columns


def ranges(harmed: list[tuple[int, int, int]]) -> dict[int, list[tuple[int, int]]]:
    """By boot, sorted."""
    found: dict[int, list[tuple[int, int]]] = {}
    for boot_id, first, end in sorted(harmed):
        found.setdefault(boot_id, []).append((first, end))
    return found


def _within(seq: int, spans: list[tuple[int, int]]) -> bool:
    return any(first <= seq < end for first, end in spans[: bisect_right(spans, (seq, 2**63))])


def _index_of(source: str) -> int:
    return next(c for c in READING if c.name == "clock_source").codes.index(source)


def _sorted(table: pa.Table, keys: tuple[str, ...]) -> pa.Table:
    return _plain(table).sort_by([(key, "ascending") for key in keys]).combine_chunks()


def _plain(table: pa.Table) -> pa.Table:
    """Codes as text."""
    fields = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields))


def _sums(table: pa.Table) -> pa.Table:
    """Sums and newest values by key."""
    how = [(name, "sum") for name in ROLLUP_SUMS] + [(name, "max") for name in ROLLUP_NEWEST]
    return _sorted(_plain(table).group_by(list(ROLLUP_KEYS)).aggregate(how), ROLLUP_KEYS)
