"""Views of empty running over 1,000 vehicles and 30 days of minute sums: by day and route, by region against benchmarks, one vehicle.

The lake of the panels' benchmark knows no regions: each vehicle is given one of 12 here, and three shares to compare with.
"""

import statistics
import time
from typing import Final

from storage.query import connect
from tests.bench.panels_lake import FACTOR_SET, lake
from tests.bench.result import Result

ASKED: Final = 8  # times each question is asked; the first, which opens files, is not counted
REGIONS: Final = 12
BENCHMARKS: Final = (
    "('EU', 21.6, 'eurostat', NULL), ('US', 16.7, 'strict', NULL), ('example', 44.0, 'strict', 'region-03')"
)
QUESTIONS: Final = {
    "running_30_days": "FROM running_days",
    "running_by_route": "SELECT route, sum(empty_km) / sum(distance_km) FROM running_days GROUP BY route",
    "one_day": "FROM running_days WHERE factor_set = '{factor_set}' AND day = DATE '{day}'",
    "one_vehicle": "FROM running_vehicle_days WHERE asset = 'truck-0002'",
    "region_by_month": "FROM region_benchmark",
    "region_by_day": "FROM region_benchmark_days",
    "docks": "FROM dock_days",
}


def run() -> list[Result]:
    """Milliseconds of each question, median, alone on one connection."""
    con = connect(lake(time.time_ns()))
    (plain,) = con.execute("SELECT sql FROM duckdb_views() WHERE view_name = 'asset_hours'").fetchone() or ("",)
    con.execute(plain.replace("VIEW asset_hours", "VIEW hours_without_region", 1))
    region = f"format('region-{{:02d}}', CAST(right(asset, 4) AS INTEGER) % {REGIONS})"
    con.execute(
        "CREATE OR REPLACE VIEW asset_hours AS "
        f"SELECT * REPLACE (CASE WHEN kind = 'vehicle' THEN {region} END AS region) FROM hours_without_region"
    )
    con.execute(f"INSERT INTO benchmarks (benchmark, empty_share_pct, definition, region) VALUES {BENCHMARKS}")
    (day,) = con.execute("SELECT max(day) FROM rollup_hours").fetchone() or ("",)
    results = []
    for name, question in QUESTIONS.items():
        sql = question.format(factor_set=FACTOR_SET, day=day)
        took, rows = [], 0
        for _ in range(ASKED):
            begin = time.perf_counter()
            rows = len(con.execute(sql).fetchall())
            took.append((time.perf_counter() - begin) * 1000)
        note = f"{rows:,} rows, slowest {max(took[1:]):.0f} ms; a panel is to stay below 200"
        results.append(Result(f"kpi_{name}_ms", statistics.median(took[1:]), "ms", note))
    return results
