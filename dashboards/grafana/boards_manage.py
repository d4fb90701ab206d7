"""Empty running and Reduction progress."""

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
    number,
    rows,
    shares,
)
from dashboards.grafana.sql import BUCKET, TO_NOW, bucketed, emitted, known, raw, sums

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
        f"""SELECT {BUCKET}, {LOW} AS "low", {HIGH} AS "high",
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
        """SELECT period::VARCHAR AS month, region, definition, benchmark, benchmark_year, benchmark_pct, empty_share_pct,
        empty_share_low_pct, empty_share_high_pct, gap_pp, gap_low_pp, gap_high_pp, vehicles FROM region_benchmark
        WHERE factor_set = '${factor_set}' AND NOT hidden AND period <= $__timeTo()::TIMESTAMP AND period > $__timeFrom()::TIMESTAMP - INTERVAL 1 MONTH
        ORDER BY period DESC, gap_low_pp DESC NULLS LAST LIMIT 500""",
        "month",
        "region",
        "definition",
        "benchmark",
        "benchmark_year",
        "benchmark_pct",
        "empty_share_pct",
        "empty_share_low_pct",
        "empty_share_high_pct",
        "gap_pp",
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
        """SELECT asset AS empty_vehicle, time AS empty_leg, load_asset AS load_of, load_time AS load_leg, wait_s, detour_km, load_kg,
        saved_km, saved_l, saved_co2e_wtw_kg FROM backhaul WHERE best AND $__unixEpochNanoFilter(trip_start_ns)
        ORDER BY saved_co2e_wtw_kg DESC NULLS LAST LIMIT 200""",
        "empty_vehicle",
        "empty_leg",
        "load_of",
        "load_leg",
        "wait_s",
        "detour_km",
        "load_kg",
        "saved_km",
        "saved_l",
        "saved_co2e_wtw_kg",
    )
    states = bucketed(metric="load_state", amount="sum(distance_mm) / 1e6", where=COUNTED)
    panels = [
        number(
            "Empty share of kilometres",
            "Low: unknown counted as loaded. High: unknown counted as empty. Yard and power take-off movements are left out. Carrying empty load units counts as empty here.",
            "none",
            share,
            size=(24, 4),
        ),
        banded(
            lines(
                "Empty share",
                "The truth lies between low and high; the benchmark is the registry's for all regions.",
                "percent",
                over_time,
            ),
            "low",
            "low",
            "high",
        ),
        coloured(
            lines(
                "Kilometres by load state",
                "By the newest knowledge of each trip.",
                "lengthkm",
                states,
                stacked=True,
                bars=True,
            ),
            STATE_COLOURS,
        ),
        shares("Causes of empty kilometres", "By the rules of the trip detection.", "lengthkm", causes, size=(8, 9)),
        rows(
            "By route",
            "Share of empty kilometres, low and high bound, and the CO2e burnt in them.",
            by_route,
            {"km": "lengthkm", "low_pct": "percent", "high_pct": "percent", "empty_kg": "suffix: kg"},
            size=(16, 9),
        ),
        rows(
            "Regions against benchmark",
            "Difference in percentage points; regions with fewer vehicles than the disclosure limit are hidden.",
            by_region,
            {
                "benchmark_pct": "percent",
                "low_pct": "percent",
                "high_pct": "percent",
                "gap_low_pp": "suffix: pp",
                "gap_high_pp": "suffix: pp",
            },
            size=(24, 8),
            limits={"gap_low_pp": high_is_bad(limits.EMPTY_OVER_BENCHMARK_PP)},
        ),
        rows("Backhaul pairs", "Empty legs that could have carried another trip's goods.", pairs, {}, size=(24, 8)),
    ]
    return board("fleetco2-empty", refresh="1m", start="now-7d", variables=[], panels=panels)


def progress() -> dashboard.Dashboard:
    """How far each baseline's target path is kept."""
    now = raw(
        f"""SELECT scope, key, baseline_year, target_year, target_reduction_pct, co2e_wtw_kg, target_to_date_kg,
        100 * (co2e_wtw_kg / nullif(target_to_date_kg, 0) - 1) AS gap_pct, 100 * reduction AS reduction_pct, 100 * progress AS progress_pct,
        kg_per_activity, baseline_kg_per_activity, activity_unit, 100 * measured_share AS measured_pct, 100 * coverage AS coverage_pct
        FROM progress_to_date WHERE factor_set = '${{factor_set}}' AND as_of_ns {TO_NOW} ORDER BY 1, 2""",
        "scope",
        "key",
        "baseline_year",
        "target_year",
        "target_reduction_pct",
        "co2e_wtw_kg",
        "target_to_date_kg",
        "gap_pct",
        "reduction_pct",
        "progress_pct",
        "kg_per_activity",
        "baseline_kg_per_activity",
        "activity_unit",
        "measured_pct",
        "coverage_pct",
    )
    days = raw(
        f"""SELECT date_trunc('day', time) AS "time", sum({emitted()}) / 1e12 AS "emitted",
        (SELECT sum(target_day_kg) / 1e3 FROM target_paths WHERE scope = 'operator' AND (factor_set IS NULL OR {FACTORS})) AS "target path"
        FROM {sums("true", by_trip=False)} AS s GROUP BY 1 ORDER BY 1""",
        "time",
        "emitted",
        "target path",
        form="time_series",
    )
    intensity = raw(
        f"""SELECT date_trunc('day', time) AS "time", sum({emitted()}) / nullif(sum(transport_kgm), 0) AS "g/tkm",
        {known("sum(" + emitted() + ") / nullif(sum(distance_mm), 0)", least=0.95)} AS "g/km"
        FROM {sums(VEHICLES, by_trip=False)} AS s GROUP BY 1 ORDER BY 1""",
        "time",
        "g/tkm",
        "g/km",
        form="time_series",
    )
    vintages = raw(
        """SELECT factor_set, sum(co2e_ttw_ug) / 1e12 AS ttw_t, sum(co2e_ttw_ug + co2e_wtt_ug) / 1e12 AS wtw_t,
        100.0 * sum(co2e_measured_ug) / nullif(sum(co2e_ttw_ug + co2e_wtt_ug), 0) AS measured_pct
        FROM asset_hours WHERE $__timeFilter(time) GROUP BY 1 ORDER BY 1""",
        "factor_set",
        "ttw_t",
        "wtw_t",
        "measured_pct",
    )
    panels = [
        rows(
            "Against the target path, this year so far",
            "Absolute and per activity, side by side; both under the chosen factor set. Gap: above (+) or below (-) what the path allows to date. What is unknown is not in it: look at the coverage.",
            now,
            {
                "target_reduction_pct": "percent",
                "co2e_wtw_kg": "masskg",
                "target_to_date_kg": "masskg",
                "gap_pct": "percent",
                "reduction_pct": "percent",
                "progress_pct": "percent",
                "measured_pct": "percent",
                "coverage_pct": "percent",
            },
            limits={"gap_pct": high_is_bad(0.0)},
            size=(24, 8),
        ),
        lines(
            "Tonnes a day",
            "Known CO2e of vehicles and sites by UTC day, and the operator's target path as a day's share.",
            "suffix: t",
            days,
            bars=True,
        ),
        lines(
            "Intensity by day",
            "Per tonne-kilometre and per kilometre; a gap where more than 5 % of the time has no figure.",
            "suffix: g",
            intensity,
        ),
        rows(
            "The same time under each factor set",
            "Results of several vintages lie side by side; a total is of one of them, never mixed.",
            vintages,
            {"ttw_t": "suffix: t", "wtw_t": "suffix: t", "measured_pct": "percent"},
            size=(24, 6),
        ),
    ]
    return board("fleetco2-progress", refresh="5m", start="now-30d", variables=[], panels=panels)
