"""The verdict of a fault run: ledgers against the Parquet, read by Delta's log and without any code of this project."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from tests.system.fault_ledger import ENDED, SAMPLE, fuel_ml_at, rpm_eighths_at

RECORDS = np.dtype([("kind", "<u8"), ("n", "<u8"), ("time_ns", "<i8"), ("odometer_m", "<i8"), ("taken_ns", "<i8")])
FUTURE_NS = 300 * 10**9
EARLIEST_NS = 1_704_067_200 * 10**9  # 2024-01-01, the consumer's default


@dataclass
class Found:
    """The verdict. Readings, unless the name says otherwise."""

    sampled: int = 0
    stored: int = 0  # rows
    thinned: int = 0  # readings that stand in another one's row
    kept: int = 0  # in quarantine under their number, because their time cannot be
    unsent: int = 0  # of killed gateways, never on their disk
    oldest_unsent_s: float = 0.0  # age of the oldest of them when the gateway was killed
    lost: int = 0
    duplicated: int = 0
    altered: int = 0
    invented: int = 0
    totals: str = ""  # what of fuel and way does not fit
    examples: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing lost, duplicated, altered, invented; the totals fit."""
        return not (self.lost or self.duplicated or self.altered or self.invented or self.totals)


def columns_of(lake: Path, table: str, names: list[str]) -> dict[str, npt.NDArray[np.generic]]:
    """Columns of a Delta table, by the log and without any code of this project. Files without a column give nulls."""
    found: dict[str, list[npt.NDArray[np.generic]]] = {name: [] for name in names}
    for path in DeltaTable(str(lake / table)).file_uris():
        file = pq.read_table(path, columns=names, partitioning=None)
        for name in names:
            column = pc.fill_null(file[name], -1) if str(file[name].type).startswith(("int", "uint")) else file[name]
            found[name].append(column.to_numpy())
    return {name: np.concatenate(parts) if parts else np.zeros(0) for name, parts in found.items()}


def compare(folder: Path, lake: Path, *, commit_s: float) -> Found:
    """The ledgers in ``folder`` against the lake.

    ``commit_s``: what a killed gateway had sampled longer ago than this must have been on its disk. A reading whose
    time cannot be belongs into quarantine under its number.
    """
    names = ["device", "boot_id", "seq", "merged", "time_ns", "odometer_m", "fuel_total_hr_l", "engine_speed_rpm"]
    rows = columns_of(lake, "readings", names)
    refused = columns_of(lake, "quarantine", ["reason", "device", "boot_id", "seq"])
    refused_at = Counter(
        (str(device), int(boot), int(seq))
        for reason, device, boot, seq in zip(*refused.values(), strict=True)
        if str(reason).startswith("time_")
    )
    found = Found(stored=rows["seq"].size)
    seen = 0
    for path in sorted(folder.iterdir()):
        device, _, boot = path.name.rpartition(".")
        mine = (rows["boot_id"] == int(boot)) & (rows["device"] == device)
        seen += int(mine.sum())
        _compare_start(found, path, {n: v[mine] for n, v in rows.items()}, refused_at, commit_s)
    found.invented += rows["seq"].size - seen
    if seen != rows["seq"].size:
        found.examples.append(f"{rows['seq'].size - seen} rows of boots that never were")
    return found


def _impossible(sample: np.void) -> bool:
    """Whether its time is over five minutes after it was taken, or before the consumer's ``earliest``."""
    return bool(sample["time_ns"] > sample["taken_ns"] + FUTURE_NS or sample["time_ns"] < EARLIEST_NS)


def _compare_start(
    found: Found,
    path: Path,
    rows: dict[str, npt.NDArray[np.generic]],
    refused_at: Counter[tuple[str, int, int]],
    commit_s: float,
) -> None:
    device, _, boot = path.name.rpartition(".")
    records = np.fromfile(path, RECORDS)
    samples = records[records["kind"] == SAMPLE]
    n = samples.size
    found.sampled += n
    if n and not np.array_equal(samples["n"], np.arange(n)):
        raise AssertionError(f"{path} is no ledger: its numbers have gaps")
    told = records[records["kind"] != SAMPLE]
    durable = int(told["n"].max()) if told.size else 0
    ended = bool(records.size and (records["kind"] == ENDED).any())

    seq, merged = rows["seq"].astype(np.int64), rows["merged"].astype(np.int64)
    covered = np.zeros(n + 1, dtype=np.int64)  # how many rows stand for each sample
    outside = (seq >= n) | (seq - merged + 1 < 0)
    found.invented += int(merged[outside].sum())
    inside = ~outside
    np.add.at(covered, seq[inside] - merged[inside] + 1, 1)
    np.add.at(covered, seq[inside] + 1, -1)
    covered = np.cumsum(covered)[:n]
    found.thinned += int((merged[inside] - 1).sum())
    found.duplicated += int((covered[covered > 1] - 1).sum())

    at = seq[inside]
    same = (
        (rows["time_ns"][inside] == samples["time_ns"][at])
        & (rows["odometer_m"][inside] == samples["odometer_m"][at])
        & (np.rint(rows["fuel_total_hr_l"][inside].astype(np.float64) * 1000) == fuel_ml_at(samples["odometer_m"][at]))
        & (rows["engine_speed_rpm"][inside] * 8 == rpm_eighths_at(samples["odometer_m"][at]))
    )
    found.altered += int((~same).sum())
    for i in np.flatnonzero(~same)[:3]:
        found.examples.append(f"{path.name} seq {at[i]} is not what was sampled")

    kept = [i for i in range(n) if _impossible(samples[i]) and refused_at[device, int(boot), i] == 1]
    found.kept += len(kept)
    covered[kept] += 1
    missing = np.flatnonzero(covered == 0)
    if not missing.size:
        return
    killed_ns = int(records["taken_ns"][-1])
    age_s = (killed_ns - samples["taken_ns"][missing]) * 1e-9
    lost = (missing < durable) | (age_s > commit_s) | ended
    found.lost += int(lost.sum())
    found.unsent += int((~lost).sum())
    if (~lost).any():
        found.oldest_unsent_s = max(found.oldest_unsent_s, float(age_s[~lost].max()))
    for i in missing[lost][:3]:
        found.examples.append(f"{path.name} seq {i} of {n} (durable {durable}, ended {ended}) is not in the lake")


def received_ns(lake: Path) -> list[int]:
    """When the consumer received what it stored, each moment once [ns], sorted."""
    found: list[int] = np.unique(columns_of(lake, "readings", ["received_ns"])["received_ns"]).tolist()
    return found


def totals(folder: Path, lake: Path) -> str:
    """Fuel [nL] and way [mm] of each device in ``emissions`` against the gauges of the first and last stored reading; "" if equal."""
    rows = columns_of(lake, "readings", ["device", "odometer_m"])
    sums = columns_of(lake, "emissions", ["device", "fuel_nl", "distance_mm"])
    wrong = []
    for device in sorted({path.name.rpartition(".")[0] for path in folder.iterdir()}):
        metres = rows["odometer_m"][rows["device"] == device].astype(np.int64)
        if not metres.size:
            continue
        mine = sums["device"] == device
        fuel, way = (np.maximum(sums[name][mine].astype(np.int64), 0).sum() for name in ("fuel_nl", "distance_mm"))
        first, last = int(metres.min()), int(metres.max())
        burnt = int(fuel_ml_at(last) - fuel_ml_at(first))
        if (fuel, way) != (burnt * 1_000_000, (last - first) * 1000):
            wrong.append(f"{device}: {fuel} nL for {burnt} mL, {way} mm for {last - first} m")
    return "; ".join(wrong)
