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
from dashboards.grafana.sql import BUCKET, Query, bucketed, emitted, known, raw, sums

COUNTED = f"{VEHICLES} AND NOT coalesce(excluded, false)"
DRIVEN = "coalesce(sum(distance_mm), 0)"
DAY_NS = 86_400_000_000_000
# Figures of now are dated by the server's clock, milliseconds after the "to" that the browser sent: a day more is allowed.
TO_NOW = f"<= $__unixEpochNanoTo() + {DAY_NS}"
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


def _told(amount: str, value: str) -> Query:
    """What gateways said of themselves in the last day of the dashboard's time, of the 20 with most of it: each hour is a file, and
    a month of them took half a second. Not filled: between two words a line is drawn."""
    inside = f"""$__timeFilter(time) AND received_ns > $__unixEpochNanoTo() - {DAY_NS}
        AND day >= ($__timeTo()::TIMESTAMP - INTERVAL 1 DAY)::DATE"""
    return raw(
        f"""SELECT $__timeGroupAlias(time, $__interval), device AS metric, max({amount}) AS "{value}" FROM gateways
        WHERE {inside} AND device IN (SELECT device FROM gateways WHERE {inside}
        GROUP BY 1 ORDER BY max({amount}) DESC NULLS LAST LIMIT 20) GROUP BY 1, 2 ORDER BY 1, 2""",
        "time",
        "metric",
        value,
        form="time_series",
    )


def operations() -> dashboard.Dashboard:
    """Whether the system itself is well: what is lost, late, refused, silent."""
    health = raw(
        f"""SELECT sum(missing)::DOUBLE AS "missing", 100.0 * sum(missing) / nullif(sum(missing + present), 0) AS "missing %"
        FROM sequence_holes WHERE newest_ns >= $__unixEpochNanoFrom() AND newest_ns {TO_NOW}""",
        "missing",
        "missing %",
    )
    latency = raw(
        """SELECT quantile_cont((newest_received_ns - newest_time_ns) / 1e9, 0.5) AS "p50", quantile_cont((newest_received_ns - newest_time_ns) / 1e9, 0.99) AS "p99"
        FROM rollups WHERE time >= now() - INTERVAL '10 minutes'""",
        "p50",
        "p99",
    )
    late = raw(
        """SELECT $__timeGroupAlias(time, $__interval, NULL), quantile_cont((newest_received_ns - newest_time_ns) / 1e9, 0.5) AS "p50",
        quantile_cont((newest_received_ns - newest_time_ns) / 1e9, 0.99) AS "p99" FROM parts_for($__interval_ms)
        WHERE $__timeFilter(time) AND factor_set = '${factor_set}' GROUP BY 1 ORDER BY 1""",
        "time",
        "p50",
        "p99",
        form="time_series",
    )
    arriving = raw(
        """SELECT $__timeGroupAlias(time, $__interval, NULL), sum(readings) / ($__interval_ms / 1e3) AS "readings/s" FROM parts_for($__interval_ms)
        WHERE $__timeFilter(time) AND factor_set = '${factor_set}' GROUP BY 1 ORDER BY 1""",
        "time",
        "readings/s",
        form="time_series",
    )
    refused = raw(
        """SELECT reason, count(*) AS refused FROM quarantine WHERE $__unixEpochNanoFilter(received_ns) GROUP BY 1 ORDER BY 2 DESC""",
        "reason",
        "refused",
    )
    silent = raw(
        f"""SELECT kind, asset, age_s, expected_now FROM assets_seen
        WHERE factor_set = '${{factor_set}}' AND now_at_ns {TO_NOW} ORDER BY age_s DESC NULLS FIRST LIMIT 200""",
        "kind",
        "asset",
        "age_s",
        "expected_now",
    )
    clocks = raw(
        """SELECT device, clock_source, max(clock_error_ms) / 1e3 AS clock_error_s, max(received_ns - time_ns) / 1e9 AS oldest_s, count(*) AS readings
        FROM readings WHERE time_ns >= now_ns() - 600000000000 GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 200""",
        "device",
        "clock_source",
        "clock_error_s",
        "oldest_s",
        "readings",
    )
    thinned = raw(
        f"""SELECT device, sum(merged_away)::BIGINT AS merged_away, 100.0 * sum(merged_away) / sum(present) AS merged_pct
        FROM sequence_holes WHERE newest_ns >= $__unixEpochNanoFrom() AND newest_ns {TO_NOW} GROUP BY 1 HAVING sum(merged_away) > 0 ORDER BY 2 DESC LIMIT 200""",
        "device",
        "merged_away",
        "merged_pct",
    )
    gateways = raw(
        f"""SELECT count(*) FILTER (status = 'online') AS "online", count(*) FILTER (status = 'offline') AS "offline",
        count(*) FILTER (status IS NULL) AS "never heard", sum(waiting)::DOUBLE AS "readings waiting", max(oldest_age_s) AS "oldest s"
        FROM gateways_now WHERE now_at_ns {TO_NOW}""",
        "online",
        "offline",
        "never heard",
        "readings waiting",
        "oldest s",
    )
    outboxes = raw(
        f"""SELECT device, asset, status, 100 * fill AS fill_pct, waiting::DOUBLE AS waiting, oldest_age_s AS oldest_s, thinned::DOUBLE AS thinned,
        in_memory, clock, missing, age_s AS told_s FROM gateways_now
        WHERE now_at_ns {TO_NOW} ORDER BY fill DESC NULLS LAST, oldest_age_s DESC NULLS LAST, device LIMIT 200""",
        "device",
        "asset",
        "status",
        "fill_pct",
        "waiting",
        "oldest_s",
        "thinned",
        "in_memory",
        "clock",
        "missing",
        "told_s",
    )
    disk = raw(
        f"""SELECT lake_bytes::DOUBLE AS "lake", free_bytes::DOUBLE AS "free", bytes_per_day::DOUBLE AS "growth a day"
        FROM disk_now WHERE time_ns {TO_NOW}""",
        "lake",
        "free",
        "growth a day",
    )
    left = raw(
        f"""SELECT 100 * free_share AS "free", days_left AS "days left", age_s AS "looked at"
        FROM disk_now WHERE time_ns {TO_NOW}""",
        "free",
        "days left",
        "looked at",
    )
    panels = [
        number(
            "Readings missing",
            "Numbers behind one that has arrived, in the last hour of data; what is still on a gateway is not missing.",
            "none",
            health,
            size=(6, 4),
            thresholds=high_is_bad(1),
            decimals=2,
        ),
        number(
            "Reading to receipt",
            "Age of the newest reading of each minute and asset when it was received, last ten minutes; storing takes a few tenths of a second more.",
            "s",
            latency,
            size=(6, 4),
            thresholds=high_is_bad(limits.LATENCY_S + 10),
            decimals=2,
        ),
        shares("Refused", "Messages and readings in quarantine, by reason.", "none", refused, size=(12, 8)),
        lines("Readings stored", "Per second, by the time they were taken.", "suffix: /s", arriving),
        lines(
            "Age at receipt", "Of the newest reading of each minute and asset. A backlog shows as a hill.", "s", late
        ),
        rows(
            "Sources",
            "Age of the newest reading; expected: a warehouse, or a vehicle under way when last heard.",
            silent,
            {"age_s": "s"},
            size=(12, 9),
            limits={"age_s": high_is_bad(limits.SILENT_S)},
        ),
        number(
            "Disk",
            "Files that the lake's tables name, free space of its disk, and what a day of the last week took.",
            "decbytes",
            disk,
            size=(12, 4),
        ),
        number(
            "Disk free",
            "Share of the disk that is free.",
            "percent",
            left,
            size=(4, 4),
            thresholds=low_is_bad(100 * limits.DISK_FREE_LOW),
            field="free",
        ),
        number(
            "Days until full",
            "At the pace of the last week; a lake younger than a day has none.",
            "none",
            left,
            size=(4, 4),
            thresholds=low_is_bad(limits.DISK_DAYS_LOW),
            field="days left",
            decimals=0,
        ),
        number(
            "Disk looked at",
            "Age of these figures: they are taken with each commit.",
            "s",
            left,
            size=(4, 4),
            field="looked at",
            decimals=0,
        ),
        rows(
            "Clocks",
            "What each device's clock rests on and its error bound, last ten minutes.",
            clocks,
            {"clock_error_s": "s", "oldest_s": "s"},
            size=(12, 9),
        ),
        number(
            "Gateways",
            "By what each last said of itself; one that said nothing for a week is never heard, and its outbox is unknown, not empty.",
            "none",
            gateways,
            size=(24, 4),
            decimals=0,
        ),
        lines(
            "Outbox fill by gateway",
            "The 20 fullest, as each told it: every hour, and every minute while it is behind. Of a longer time, its last day.",
            "percent",
            _told("100 * fill", "fill_pct"),
        ),
        lines(
            "Oldest waiting reading",
            "Age of the oldest reading that was not confirmed when the gateway said so; the 20 greatest. Of a longer time, its last day.",
            "s",
            _told("CASE WHEN waiting = 0 THEN 0 ELSE (received_ns - oldest_ns) / 1e9 END", "oldest_s"),
        ),
        rows(
            "Outboxes now",
            "What waits on each gateway, as it last said, and how long ago that was; blank where that is not known. A gateway that was cut off tells nothing until it is back.",
            outboxes,
            {"fill_pct": "percent", "oldest_s": "s", "told_s": "s", "waiting": "none", "thinned": "none"},
            size=(24, 9),
            limits={"fill_pct": high_is_bad(100 * limits.OUTBOX_FULL)},
        ),
        rows(
            "Thinned by a full outbox",
            "Readings that a gateway merged into their neighbours as its outbox was full, in the last hour of data, and their share.",
            thinned,
            {"merged_away": "none", "merged_pct": "percent"},
            size=(24, 6),
        ),
    ]
    return board("fleetco2-operations", refresh="10s", start="now-1h", variables=[], panels=panels)
