"""Recorded speed cycles for trunk roads, where the folder with them is there; else the traffic generator drives alone."""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

CYCLES: Final = (  # line haul and regional: what a trunk vehicle does
    "t3co_class8_linehaul_lammert",
    "t3co_regional_haul",
    "t3co_long_haul",
    "HHDDTCruiseSmooth",
)
MAX_PAUSE_S: Final = 45  # longer stops of a recording are breaks, and the dispatcher plans those
MAX_MS: Final = 40.0

Index = list[tuple[int, int]]  # first value and length of each cycle


def load_traces(folder: str | None) -> tuple[npt.NDArray[np.float64], Index, tuple[str, ...]]:
    """Speeds [m/s] at 1 Hz of all cycles end to end, where each begins and how long it is, and notes for the user.

    Reads Parquet files with the columns cycSecs [s] and cycMps [m/s]; resampled to 1 Hz, long pauses cut. Without the folder
    both are empty and a note says so. Needs pyarrow where the folder exists.
    """
    none = np.zeros(1)
    if folder is None:
        return none, [], ()
    path = Path(folder)
    found = [path / f"{name}.parquet" for name in CYCLES if (path / f"{name}.parquet").is_file()]
    if not found:
        return none, [], (f"no speed cycles in {folder}: speeds come from the built-in generator",)
    import pyarrow.parquet as pq

    parts: list[npt.NDArray[np.float64]] = []
    index: Index = []
    start = 0
    for file in found:
        table = pq.read_table(file, columns=["cycSecs", "cycMps"])
        seconds = table["cycSecs"].to_numpy().astype(np.float64)
        speed = table["cycMps"].to_numpy().astype(np.float64)
        at_1_hz = np.interp(np.arange(seconds[0], seconds[-1] + 1.0), seconds, np.clip(speed, 0.0, MAX_MS))
        still = at_1_hz < 0.3
        begun = np.maximum.accumulate(np.where(still, 0, np.arange(1, still.size + 1)))
        paused_s = np.where(still, np.arange(1, still.size + 1) - begun, 0)
        kept = at_1_hz[paused_s <= MAX_PAUSE_S]
        parts.append(kept)
        index.append((start, kept.size))
        start += kept.size
    return np.concatenate(parts), index, (f"speeds of trunk roads from {len(found)} recorded cycles in {folder}",)
