"""Alert rules: a query with one number and its labels, and a limit of ``limits`` that also colours the panels.

Texts say ``.Labels`` and ``.Values``: Grafana's file provisioning takes what follows a ``$`` for a variable of the environment.
"""

from dataclasses import dataclass
from typing import Any, Final

from dashboards.grafana import limits
from dashboards.grafana.boards import panel_id
from dashboards.grafana.sql import DATASOURCE_UID, Query, raw

FOLDER_UID: Final = "fleetco2"
FOLDER: Final = "fleetco2"
GROUP: Final = "fleetco2"
EVERY_S: Final = 60
CONTACT_UID: Final = "fleetco2"
CONTACT: Final = "fleetco2"


@dataclass(frozen=True)
class Alert:
    """Fires where ``query``'s number is above ``limit`` for ``hold``. ``query`` sees ``window_s`` of time."""

    uid: str
    title: str
    query: Query
    limit: float
    unit: str
    summary: str
    board: str
    panel: str
    window_s: int = 600
    hold: str = "2m"
    severity: str = "warning"


# The newest factor vintage is the one that alerts look at: a viewer's choice does not reach them.
_NEWEST: Final = "factor_set = (SELECT max(factor_set) FROM factor_sets)"

ALERTS: Final = (
    Alert(
        "fleetco2-empty",
        "Empty running above benchmark",
        raw(
            f"""SELECT region, benchmark, max(gap_low_pp) AS value FROM region_benchmark
            WHERE {_NEWEST} AND period > $__timeFrom()::TIMESTAMP - INTERVAL 1 MONTH AND gap_low_pp IS NOT NULL GROUP BY 1, 2""",
            "region",
            "benchmark",
            "value",
        ),
        limits.EMPTY_OVER_BENCHMARK_PP,
        "pp",
        "In {{ .Labels.region }} the empty share's lower bound is {{ .Values.A }} points above {{ .Labels.benchmark }}.",
        "fleetco2-empty",
        "Regions against benchmark",
        window_s=7 * 86_400,
        hold="1h",
    ),
    Alert(
        "fleetco2-budget",
        "CO2e above budget",
        raw(
            f"""SELECT scope, key, max(co2e_wtw_kg / nullif(target_to_date_kg, 0)) AS value FROM progress_to_date
            WHERE {_NEWEST} AND as_of_ns >= $__unixEpochNanoFrom() AND target_to_date_kg > 0 GROUP BY 1, 2""",
            "scope",
            "key",
            "value",
        ),
        limits.BUDGET_OVER,
        "",
        "{{ .Labels.scope }} {{ .Labels.key }} has emitted {{ .Values.A }} times what its target path allows so far this year.",
        "fleetco2-progress",
        "Against the target path, this year so far",
        window_s=86_400,
        hold="1h",
    ),
    Alert(
        "fleetco2-silent",
        "Source silent",
        raw(
            f"""SELECT kind, asset, max(age_s) AS value FROM assets_seen
            WHERE {_NEWEST} AND now_at_ns >= $__unixEpochNanoFrom() AND expected_now GROUP BY 1, 2""",
            "kind",
            "asset",
            "value",
        ),
        limits.SILENT_S,
        "s",
        "{{ .Labels.asset }} has not been heard for {{ .Values.A }} s, though it was moving or metered when it was last heard.",
        "fleetco2-operations",
        "Sources",
    ),
    Alert(
        "fleetco2-loss",
        "Readings missing",
        raw(
            """SELECT device, sum(missing) AS value FROM sequence_holes WHERE newest_ns >= $__unixEpochNanoFrom() GROUP BY 1""",
            "device",
            "value",
        ),
        0,
        "readings",
        "{{ .Values.A }} readings of {{ .Labels.device }} lie behind a number that has arrived.",
        "fleetco2-operations",
        "Readings missing",
        window_s=3_600,
        hold="15m",
    ),
    Alert(
        "fleetco2-backlog",
        "Readings arrive late",
        raw(
            """SELECT asset, max(newest_received_ns - newest_time_ns) / 1e9 AS value FROM rollups
            WHERE newest_received_ns >= $__unixEpochNanoFrom() AND minute_ns >= $__unixEpochNanoFrom() - 604800000000000 GROUP BY 1""",
            "asset",
            "value",
        ),
        limits.BACKLOG_S,
        "s",
        "{{ .Labels.asset }} sends readings that are {{ .Values.A }} s old.",
        "fleetco2-operations",
        "Age at receipt",
        hold="10m",
        severity="info",
    ),
    Alert(
        "fleetco2-outbox",
        "Outbox filling",
        raw(
            """SELECT device, asset, max(100 * fill) AS value FROM gateways_now
            WHERE now_at_ns >= $__unixEpochNanoFrom() AND fill IS NOT NULL GROUP BY 1, 2""",
            "device",
            "asset",
            "value",
        ),
        100 * limits.OUTBOX_FULL,
        "%",
        "The outbox of {{ .Labels.device }} ({{ .Labels.asset }}) is {{ .Values.A }} % full; readings are thinned when it is full.",
        "fleetco2-operations",
        "Outboxes now",
        hold="10m",
    ),
    Alert(
        "fleetco2-drain",
        "Fuel drained",
        raw(
            """SELECT asset, coalesce(place, 'on the road') AS place, max(amount) AS value FROM events
            WHERE kind = 'drain' AND $__unixEpochNanoFilter(time_ns) GROUP BY 1, 2""",
            "asset",
            "place",
            "value",
        ),
        limits.DRAIN_L,
        "L",
        "{{ .Values.A }} L left the tank of {{ .Labels.asset }} ({{ .Labels.place }}) while it stood.",
        "fleetco2-vehicle",
        "Events",
        window_s=3_600,
        hold="0s",
        severity="critical",
    ),
    Alert(
        "fleetco2-disk",
        "Disk nearly full",
        raw(
            """SELECT 'lake' AS disk, 100 * (1 - free_share) AS value FROM disk_now WHERE time_ns >= $__unixEpochNanoFrom()""",
            "disk",
            "value",
        ),
        100 * (1 - limits.DISK_FREE_LOW),
        "%",
        "{{ .Values.A }} % of the disk of the {{ .Labels.disk }} are taken.",
        "fleetco2-operations",
        "Disk free",
        window_s=86_400,
        hold="5m",
        severity="critical",
    ),
    Alert(
        "fleetco2-refrigerant",
        "Refrigerant topped up",
        raw(
            """SELECT asset, sum(amount) AS value FROM events WHERE kind = 'refrigerant_topup' AND $__unixEpochNanoFilter(time_ns) GROUP BY 1""",
            "asset",
            "value",
        ),
        0,
        "kg",
        "{{ .Values.A }} kg of refrigerant went into {{ .Labels.asset }}: as much had leaked.",
        "fleetco2-warehouse",
        "In this time",
        window_s=86_400,
        hold="0s",
    ),
)


def rule(alert: Alert) -> dict[str, Any]:
    """One rule in the form of Grafana's provisioning API."""
    window = {"from": alert.window_s, "to": 0}
    return {
        "uid": alert.uid,
        "title": alert.title,
        "folderUID": FOLDER_UID,
        "ruleGroup": GROUP,
        "condition": "C",
        "for": alert.hold,
        "noDataState": "OK",
        "execErrState": "Error",
        "isPaused": False,
        "labels": {"severity": alert.severity, "source": "fleetco2"},
        "annotations": {"summary": alert.summary, "limit": f"{alert.limit:g} {alert.unit}".strip(), "__dashboardUid__": alert.board,
            "__panelId__": str(panel_id(alert.board, alert.panel))},
        "notification_settings": {"receiver": CONTACT},
        "data": [
            {"refId": "A", "datasourceUid": DATASOURCE_UID, "queryType": "", "relativeTimeRange": window, "model": alert.query.to_json()},
            {
                "refId": "C",
                "datasourceUid": "__expr__",
                "queryType": "",
                "relativeTimeRange": window,
                "model": {
                    "refId": "C",
                    "type": "threshold",
                    "expression": "A",
                    "datasource": {"type": "__expr__", "uid": "__expr__"},
                    "conditions": [{"evaluator": {"type": "gt", "params": [alert.limit]}}],
                },
            },
        ],
    }  # fmt: skip


def rule_group() -> dict[str, Any]:
    """All rules, evaluated together every ``EVERY_S``."""
    return {"title": GROUP, "folderUid": FOLDER_UID, "interval": EVERY_S, "rules": [rule(a) for a in ALERTS]}


def contact_point(address: str) -> dict[str, Any]:
    """Where alerts go: an e-mail address, or a webhook where it is a URL."""
    web = address.startswith(("http://", "https://"))
    return {
        "uid": CONTACT_UID,
        "name": CONTACT,
        "type": "webhook" if web else "email",
        "settings": {"url": address} if web else {"addresses": address},
        "disableResolveMessage": False,
    }
