"""SQL of the panels: what Grafana's core PostgreSQL data source sends, with its macros and this project's dashboard variables.

Every query filters by the dashboard's time on the integer column, so that files of other days are not opened. Amounts are sums
of int64 columns divided once. A bucket without a known figure is NULL and drawn as a gap.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.models.dashboard import DataSourceRef

DATASOURCE_UID: Final = "fleetco2"
DATASOURCE_TYPE: Final = "grafana-postgresql-datasource"
HOUR_MS: Final = 3_600_000  # buckets of an hour or more are read from the hourly sums

BASES: Final = ("CO2e WTW", "CO2e TTW", "CO2 TTW")  # of the variable ``basis``


@dataclass(frozen=True)
class Query(variants.Dataquery):
    """One query of a panel. ``columns`` are those it returns, checked by a test against a real answer."""

    raw: str
    columns: tuple[str, ...]
    form: Literal["table", "time_series"] = "table"
    ref: str = "A"

    def build(self) -> "Query":
        """Itself: the SDK asks builders for what they build."""
        return self

    def to_json(self) -> dict[str, object]:
        """In the form of the PostgreSQL data source."""
        return {
            "datasource": {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID},
            "editorMode": "code",
            "format": self.form,
            "rawQuery": True,
            "rawSql": self.raw,
            "refId": self.ref,
        }


def datasource() -> DataSourceRef:
    """The data source of every panel."""
    return DataSourceRef(type_val=DATASOURCE_TYPE, uid=DATASOURCE_UID)


def emitted(prefix: str = "") -> str:
    """Micrograms by the dashboard's ``basis``."""
    p = prefix
    return (
        f"CASE '${{basis}}' WHEN 'CO2 TTW' THEN {p}co2_ttw_ug WHEN 'CO2e TTW' THEN {p}co2e_ttw_ug"
        f" ELSE {p}co2e_ttw_ug + {p}co2e_wtt_ug END"
    )


def known(amount: str, *, least: float = 0.5) -> str:
    """``amount`` where at least that share of the observed time has a figure, else NULL."""
    return f"CASE WHEN sum(observed_us - unknown_us) >= {least} * sum(observed_us) THEN {amount} END"


def sums(where: str) -> str:
    """Partial sums inside the dashboard's time: by the hour where a bucket is an hour or more, else by the minute.

    Grafana writes its interval into the text, so one of the two branches is constantly false and is not read.
    """
    return (
        "(SELECT * EXCLUDE (hour_ns), hour_ns AS bucket_ns FROM hours"
        f" WHERE $__interval_ms >= {HOUR_MS} AND $__unixEpochNanoFilter(hour_ns) AND factor_set = '${{factor_set}}' AND {where}"
        " UNION ALL BY NAME"
        " SELECT * EXCLUDE (minute_ns), minute_ns AS bucket_ns FROM minutes"
        f" WHERE $__interval_ms < {HOUR_MS} AND $__unixEpochNanoFilter(minute_ns) AND factor_set = '${{factor_set}}' AND {where})"
    )


def bucketed(*, metric: str, amount: str, where: str, value: str = "value") -> Query:
    """A time series per ``metric`` over ``sums``; empty buckets are filled with NULL by Grafana."""
    raw = (
        f'SELECT $__timeGroupAlias(to_timestamp(bucket_ns / 1e9), $__interval, NULL), {metric} AS metric, {amount} AS "{value}"'
        f" FROM {sums(where)} AS s GROUP BY 1, 2 ORDER BY 1, 2"
    )
    return Query(raw, ("time", "metric", value), "time_series")


def one_line(text: str) -> str:
    """SQL written over several lines, as one."""
    return " ".join(text.split())


def raw(text: str, *columns: str, form: Literal["table", "time_series"] = "table", ref: str = "A") -> Query:
    """A query written out."""
    return Query(one_line(text), columns, form, ref)


def as_json(value: Any) -> Any:
    """What the SDK's objects print, as plain JSON values."""
    if hasattr(value, "to_json"):
        return as_json(value.to_json())
    if isinstance(value, dict):
        return {k: as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(v) for v in value]
    return value
