"""What the lake takes of its disk: bytes by table and day, as the tables' logs say, and the free space, as of the last look.

Only files that the newest versions name are counted; what a compaction has replaced lies there up to ``--keep-hours`` longer.
"""
# ruff: noqa: S608  numbers, and the names of our own tables

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

DAY_NS: Final = 86_400_000_000_000
Sizes = Mapping[str, Mapping[str, tuple[int, int]]]  # table -> day, blank where it has none -> files, bytes

_DISK_NOW: Final = f"""
WITH sizes AS (
  SELECT CAST(sum(bytes) AS BIGINT) AS lake_bytes, CAST(sum(files) AS BIGINT) AS files,
    sum(bytes) FILTER (day < CAST(make_timestamp(now_ns() // 1000) AS DATE)
      AND day >= CAST(make_timestamp((now_ns() - 7 * {DAY_NS}) // 1000) AS DATE)) AS week_bytes,
    count(DISTINCT day) FILTER (day < CAST(make_timestamp(now_ns() // 1000) AS DATE)
      AND day >= CAST(make_timestamp((now_ns() - 7 * {DAY_NS}) // 1000) AS DATE)) AS days
  FROM lake_files
)
SELECT time_ns, (now_ns() - time_ns) / 1e9 AS age_s, lake_bytes, files, total_bytes, free_bytes,
  free_bytes / nullif(total_bytes, 0) AS free_share, week_bytes / nullif(days, 0) AS bytes_per_day,
  free_bytes / nullif(week_bytes / nullif(days, 0), 0) AS days_left
FROM disk, sizes"""


def sizes(partitions: Iterable[tuple[str | None, int]]) -> dict[str, tuple[int, int]]:
    """Files and bytes by day, from (day, bytes) of each file."""
    found: dict[str, tuple[int, int]] = {}
    for day, size in partitions:
        files, total = found.get(day or "", (0, 0))
        found[day or ""] = (files + 1, total + size)
    return found


def disk_tables(lake: Path, told: Sizes, now_ns: int, *, shown: bool) -> list[str]:
    """Statements that make the tables ``lake_files`` and ``disk``; without rows where they are not ``shown``. Raises OSError."""
    rows = [
        "('{}', {}, {}, {})".format(table, f"DATE '{day}'" if day else "CAST(NULL AS DATE)", files, size)
        for table, days in told.items()
        for day, (files, size) in days.items()
        if shown
    ]
    disk = shutil.disk_usage(lake)
    columns = {"table_name": "VARCHAR", "day": "DATE", "files": "BIGINT", "bytes": "BIGINT"}
    empty = f"SELECT {', '.join(f'CAST(NULL AS {kind}) AS {name}' for name, kind in columns.items())} WHERE false"
    values = f" UNION ALL VALUES {', '.join(rows)}" if rows else ""
    space = {"time_ns": now_ns, "total_bytes": disk.total, "free_bytes": disk.free}
    told_now = ", ".join(f"CAST({value} AS BIGINT) AS {name}" for name, value in space.items())
    return [
        f"CREATE OR REPLACE TABLE lake_files AS {empty}{values}",
        f"CREATE OR REPLACE TABLE disk AS SELECT {told_now} WHERE {shown}",
    ]


DISK_TABLES: Final = ("lake_files", "disk")
DISK: Final = {"disk_now": _DISK_NOW}


def disk_views() -> list[str]:
    """Statements that make the views over them."""
    return [f"CREATE OR REPLACE VIEW {name} AS {sql}" for name, sql in DISK.items()]
