"""SQL of the panels: what Grafana's core PostgreSQL data source sends, with its macros and this project's dashboard variables.

Every query filters by the dashboard's time, so that files of other days are not opened. Amounts are sums
of int64 columns divided once. A bucket without a known figure is NULL and drawn as a gap.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.models.dashboard import DataSourceRef

DATASOURCE_UID: Final = "fleetco2"
DATASOURCE_TYPE: Final = "grafana-postgresql-datasource"
BUCKET: Final = "$__timeGroupAlias(time, $__interval, NULL)"  # a macro's argument must be a plain column: Grafana ends it at the first )

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


def sums(where: str, *, by_trip: bool = True) -> str:
    """Partial sums inside the dashboard's time: by the hour where a bucket is an hour or more, else by the minute.

    Grafana writes its interval into the text, and the SQL server takes the view that fits. ``by_trip``: with route, load state and
    stage by the newest word on each trip; what does not ask for them is cheaper without.
    """
    view = "sums_for" if by_trip else "parts_for"
    return f"(SELECT * FROM {view}($__interval_ms) WHERE $__timeFilter(time) AND factor_set = '${{factor_set}}' AND {where})"


def bucketed(*, metric: str, amount: str, where: str, value: str = "value", by_trip: bool = True) -> Query:
    """A time series per ``metric`` over ``sums``; empty buckets are filled with NULL by Grafana."""
    raw = (
        f'SELECT {BUCKET}, {metric} AS metric, {amount} AS "{value}"'
        f" FROM {sums(where, by_trip=by_trip)} AS s GROUP BY 1, 2 ORDER BY 1, 2"
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
