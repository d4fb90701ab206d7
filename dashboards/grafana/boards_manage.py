"""Empty running, Reduction progress and Operations."""

from grafana_foundation_sdk.builders import dashboard

from dashboards.grafana import limits
from dashboards.grafana.boards_fleet import FACTORS, VEHICLES
from dashboards.grafana.parts import (
    STATE_COLOURS,
    banded,
    board,
    coloured,
    high_is_bad,
    lines,
    low_is_bad,
    number,
    rows,
    shares,
)
from dashboards.grafana.sql import bucketed, raw, sums

COUNTED = f"{VEHICLES} AND NOT coalesce(excluded, false)"
DRIVEN = "coalesce(sum(distance_mm), 0)"
EMPTY = "sum(distance_mm) FILTER (load_state IN ('empty', 'empty_with_load_units'))"
UNKNOWN = "sum(distance_mm) FILTER (load_state = 'unknown')"
LOW = f"100.0 * coalesce({EMPTY}, 0) / nullif({DRIVEN}, 0)"
HIGH = f"100.0 * (coalesce({EMPTY}, 0) + coalesce({UNKNOWN}, 0)) / nullif({DRIVEN}, 0)"


def empty() -> dashboard.Dashboard:
    """Empty kilometres: how many, where, why, and which pairs could have been one."""
    share = raw(
        f"""SELECT {LOW} AS "low", {HIGH} AS "high", 100.0 * coalesce({UNKNOWN}, 0) / nullif({DRIVEN}, 0) AS "unknown",
        coalesce({EMPTY}, 0) / 1e6 AS "empty km", sum(co2e_ttw_ug + co2e_wtt_ug) FILTER (load_state IN ('empty', 'empty_with_load_units')) / 1e9 AS "empty kg"
        FROM {sums(COUNTED)} AS s""",
        "low",
        "high",
        "unknown",
        "empty km",
        "empty kg",
    )
    over_time = raw(
        f"""SELECT $__timeGroupAlias(to_timestamp(bucket_ns / 1e9), $__interval, NULL), {LOW} AS "low", {HIGH} AS "high",
        (SELECT max(empty_share_pct) FROM benchmarks WHERE region IS NULL) AS "benchmark"
        FROM {sums(COUNTED)} AS s GROUP BY 1 ORDER BY 1""",
        "time",
        "low",
        "high",
        "benchmark",
        form="time_series",
    )
    by_route = raw(
        f"""SELECT coalesce(route, 'no route') AS route, {DRIVEN} / 1e6 AS km, {LOW} AS low_pct, {HIGH} AS high_pct,
        sum(co2e_ttw_ug + co2e_wtt_ug) FILTER (load_state IN ('empty', 'empty_with_load_units')) / 1e9 AS empty_kg
        FROM {sums(COUNTED)} AS s GROUP BY 1 HAVING {DRIVEN} > 0 ORDER BY low_pct DESC""",
        "route",
        "km",
        "low_pct",
        "high_pct",
        "empty_kg",
    )
    by_region = raw(
        """SELECT region, benchmark, benchmark_year, benchmark_pct, low_pct, high_pct, gap_low_pp, gap_high_pp, vehicles
        FROM region_benchmark WHERE factor_set = '${factor_set}' AND $__unixEpochNanoFilter(day_ns) ORDER BY gap_low_pp DESC NULLS LAST""",
        "region",
        "benchmark",
        "benchmark_year",
        "benchmark_pct",
        "low_pct",
        "high_pct",
        "gap_low_pp",
        "gap_high_pp",
        "vehicles",
    )
    causes = raw(
        """SELECT empty_cause AS cause, sum(distance_mm) / 1e6 AS km FROM trips_final
        WHERE load_state IN ('empty', 'empty_with_load_units') AND NOT excluded AND $__unixEpochNanoFilter(trip_start_ns)
        AND factor_set = '${factor_set}' GROUP BY 1 ORDER BY 2 DESC""",
        "cause",
        "km",
    )
    pairs = raw(
        """SELECT * FROM backhaul WHERE $__unixEpochNanoFilter(trip_start_ns) LIMIT 200""",
        "trip_start_ns",
    )
    states = bucketed(metric="load_state", amount="sum(distance_mm) / 1e6", where=COUNTED)
    panels = [
        number("Empty share of kilometres", "Low: unknown counted as loaded. High: unknown counted as empty. Yard and power take-off movements are left out. Carrying empty load units counts as empty here.", "none", share, size=(24, 4)),
        banded(lines("Empty share", "The truth lies between low and high; the benchmark is the registry's for all regions.", "percent", over_time), "low", "low", "high"),
        coloured(lines("Kilometres by load state", "By the newest knowledge of each trip.", "lengthkm", states, stacked=True, bars=True), STATE_COLOURS),
        shares("Causes of empty kilometres", "By the rules of the trip detection.", "lengthkm", causes, size=(8, 9)),
        rows("By route", "Share of empty kilometres, low and high bound, and the CO2e burnt in them.", by_route, {"km": "lengthkm", "low_pct": "percent", "high_pct": "percent", "empty_kg": "suffix: kg"}, size=(16, 9)),
        rows("Regions against benchmark", "Difference in percentage points; regions with fewer vehicles than the disclosure limit are hidden.", by_region, {"benchmark_pct": "percent", "low_pct": "percent", "high_pct": "percent", "gap_low_pp": "suffix: pp", "gap_high_pp": "suffix: pp"}, size=(24, 8), limits={"gap_low_pp": high_is_bad(limits.EMPTY_OVER_BENCHMARK_PP)}),
        rows("Backhaul pairs", "Empty legs that could have carried another trip's goods.", pairs, {}, size=(24, 8)),
    ]  # fmt: skip
    return board("fleetco2-empty", refresh="1m", start="now-7d", variables=[], panels=panels)
