"""Operations: whether the system itself is well."""

from grafana_foundation_sdk.builders import dashboard

from dashboards.grafana import limits
from dashboards.grafana.parts import (
    board,
    high_is_bad,
    lines,
    low_is_bad,
    number,
    rows,
    shares,
)
from dashboards.grafana.sql import TO_NOW, Query, raw
from storage.disk_views import DAY_NS


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
