"""Views of what is emitted now: by route and by warehouse, silent ones too, and of the fleet as a whole.

Panels ask them again and again and planning is most of their cost, so they name no column that they do not show.
"""
# ruff: noqa: S608  the names are those of our own schema; nothing from outside gets in here

from typing import Final

from storage.bands import U_PARTS, summed
from storage.views import (
    FRESHNESS,
    HOUR_NS,
    KNOWN,
    LOOKBACK_NS,
    MINUTE_NS,
    NEWEST,
    RECENT_ROLLUPS,
    REGISTERED,
    figures,
    sums_of_parts,
    timestamp,
)

WINDOW_NS: Final = 2 * MINUTE_NS  # "now": the last full minute and the running one, so 60 to 120 s
_SUMS: Final = (
    *(
        "observed_us",
        "unknown_us",
        "distance_unknown_us",
        "distance_mm",
        "fuel_nl",
        "fuel_gas_ug",
        "tru_fuel_nl",
        "energy_uwh",
    ),
    *("co2e_ttw_ug", "co2e_wtt_ug", "co2e_wtw_ug", "co2e_wtt_market_ug", "co2e_measured_ug"),
    *("refrigerant_co2e_ug", "refrigerant_unknown_g"),
)
_RATE: Final = f"CASE WHEN sum({KNOWN}) > 0 THEN sum(co2e_wtw_ug) * 3600000000 // sum({KNOWN}) END AS rate_ug_per_h"
_BAND: Final = """\
    co2e_wtw_kg_per_h,
    band_low(co2e_wtw_kg_per_h, abs(co2e_wtw_kg_per_h) * co2e_u_rel / 1.96) AS co2e_wtw_low_kg_per_h,
    band_high(co2e_wtw_kg_per_h, abs(co2e_wtw_kg_per_h) * co2e_u_rel / 1.96) AS co2e_wtw_high_kg_per_h"""


def since(ns: int, start: str = "minute_ns", width_ns: int = 0) -> str:
    """The condition for minutes of the last ``ns``, said of the day too: files are left out by it without a look into them.

    Also for buckets of ``width_ns`` that begin at ``start`` and reach into that time.
    """
    since = f"(now_ns() - {ns + width_ns})"
    return f"{start} > {since} AND day >= CAST({timestamp(since)} AS DATE)"


def _now(key: str, kind: str, dimension: str, column: str, counts: str) -> str:
    """What each ``key`` of ``dimension`` emits now, silent ones too.

    The rate is that of the time with a figure, asset by asset: a gap in the readings does not lower it, it lowers coverage.
    """
    per_asset = f"""
  SELECT {key}, factor_set, asset, fuel, vehicle_class, grid_zone,
    {sums_of_parts((*_SUMS, *U_PARTS))},
    {_RATE}
  FROM here LEFT JOIN asset_groups USING (asset) WHERE {since(WINDOW_NS)} GROUP BY ALL"""
    extra = {"reporting": "count(DISTINCT asset)|sum(reporting)", "rate_ug_per_h": "sum(rate_ug_per_h)"}
    by_key = summed(per_asset, (key, "factor_set"), _SUMS, extra)
    return f"""
WITH here AS NOT MATERIALIZED (
  SELECT {column} AS {key}, * EXCLUDE (route) FROM {RECENT_ROLLUPS} WHERE kind = '{kind}'
), seen AS (
  SELECT {column} AS {key}, factor_set, {NEWEST} FROM asset_hours
  WHERE kind = '{kind}' AND {since(LOOKBACK_NS, "hour_ns", HOUR_NS)} GROUP BY ALL HAVING max(newest_time_ns) > now_ns() - {LOOKBACK_NS}
), known AS (
  SELECT coalesce(d.{key}, s.{key}) AS {key}, d.name, s.* EXCLUDE ({key})
  FROM {dimension} AS d FULL JOIN seen AS s ON s.{key} = d.{key}
), {by_key}, expected AS (
  SELECT known.*, summed.* EXCLUDE ({key}, factor_set),
    coalesce(registered, 0) AS vehicles_registered, coalesce(reporting, 0) AS vehicles_reporting,
    greatest(coalesce(registered, 0), coalesce(reporting, 0))
      * (60000000 + now_ns() % {MINUTE_NS} // 1000) AS expected_us
  FROM known LEFT JOIN summed
    ON summed.{key} IS NOT DISTINCT FROM known.{key} AND summed.factor_set = known.factor_set
    LEFT JOIN ({REGISTERED[key]}) AS fleet ON fleet.{key} = known.{key}
), shown AS (
  SELECT *,
    rate_ug_per_h / 1e9 AS co2e_wtw_kg_per_h,
{figures("co2e_u_rel")}
  FROM expected
)
SELECT {key}, name AS {key}_name, factor_set, {counts}
{_BAND},
    co2e_u_rel,
{figures("co2e_wtw_g_per_km", "measured_share", "coverage", "observed_s", "expected_s", "distance_km", "fuel_l", "fuel_gas_kg")},
{figures("tru_fuel_l", "energy_kwh", "co2e_wtw_kg", "refrigerant_co2e_kg", "co2e_wtw_market_kg")},
{FRESHNESS}
FROM shown"""


_PER_ASSET: Final = f"""
  SELECT factor_set, kind, asset, fuel, vehicle_class, grid_zone, max(newest_time_ns) AS newest_time_ns,
    {sums_of_parts(("co2e_wtw_ug", *U_PARTS))},
    {_RATE}
  FROM {RECENT_ROLLUPS} LEFT JOIN asset_groups USING (asset) WHERE {since(WINDOW_NS)} GROUP BY ALL"""
_ALL: Final = {
    "vehicles_reporting": "count(DISTINCT asset) FILTER (kind = 'vehicle')|CAST(sum(vehicles_reporting) AS BIGINT)",
    "warehouses_reporting": "count(DISTINCT asset) FILTER (kind = 'warehouse')|CAST(sum(warehouses_reporting) AS BIGINT)",
    "rate_ug_per_h": "sum(rate_ug_per_h)",
    "newest_time_ns": "max(newest_time_ns)",
}
_FLEET_NOW: Final = f"""
WITH {summed(_PER_ASSET, ("factor_set",), ("co2e_wtw_ug",), _ALL)}, shown AS (
  SELECT *, rate_ug_per_h / 1e9 AS co2e_wtw_kg_per_h,
{figures("co2e_u_rel")}
  FROM summed
)
SELECT factor_set, vehicles_reporting, warehouses_reporting,
{_BAND},
    co2e_u_rel,
{FRESHNESS}
FROM shown"""

NOW: Final = {
    "route_now": _now("route", "vehicle", "routes", "route", "vehicles_registered, vehicles_reporting,"),
    "warehouse_now": _now("warehouse", "warehouse", "warehouses", "asset", ""),
    "fleet_now": _FLEET_NOW,
}


def now_views() -> list[str]:
    """Statements that make the views, over the stored ones and those of figures."""
    return [f"CREATE OR REPLACE VIEW {name} AS {sql}" for name, sql in NOW.items()]
