"""SQL of the panels: what Grafana's core PostgreSQL data source sends, with its macros and this project's dashboard variables.

Every query filters by the dashboard's time, so that files of other days are not opened. Amounts are sums
of int64 columns divided once. A bucket without a known figure is NULL and drawn as a gap.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from storage.bands import U_PARTS
from storage.disk_views import DAY_NS

DATASOURCE_UID: Final = "fleetco2"
DATASOURCE_TYPE: Final = "grafana-postgresql-datasource"
# Figures of now are dated by the server's clock, milliseconds after the "to" that the browser sent: a day more is allowed.
TO_NOW: Final = f"<= $__unixEpochNanoTo() + {DAY_NS}"
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


def banded_rate(where: str) -> Query:
    """CO2e (WTW) of one asset as a rate with its 95 % band, log-normal as in the views.

    Within one asset the shared parts of the error add up linearly; parts of several trips in one bucket are taken as shared too, which
    makes the band rather too wide than too narrow.
    """
    shared = " + ".join(f"pow(sum({part}) / 1e3, 2)" for part in U_PARTS if part != "u_ind_mg2")
    spread = "ln(1 + pow(sd_ug / nullif(ug, 0), 2))"
    kg_per_h = "/ 1e9 / ($__interval_ms / 3.6e6)"
    low, high = (f"ug * exp(-{spread} / 2 {sign} 1.96 * sqrt({spread})) {kg_per_h}" for sign in ("-", "+"))
    return raw(
        f"""SELECT "time", ug {kg_per_h} AS "kg/h", {low} AS "low", {high} AS "high" FROM (
        SELECT {BUCKET}, {known("sum(co2e_ttw_ug + co2e_wtt_ug)")} AS ug, 1e3 * sqrt(sum(u_ind_mg2) + {shared}) AS sd_ug
        FROM {sums(where, by_trip=False)} AS s GROUP BY 1) AS b ORDER BY 1""",
        "time",
        "kg/h",
        "low",
        "high",
        form="time_series",
    )


def as_json(value: Any) -> Any:
    """What the SDK's objects print, as plain JSON values."""
    if hasattr(value, "to_json"):
        return as_json(value.to_json())
    if isinstance(value, dict):
        return {k: as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(v) for v in value]
    return value
