"""Views of how the fleet ran: empty running by day, region and route, regions against published shares, docks, open cases.

All are sums over vehicles' minutes, joined with what is known of their trip by now, and divided when read. An empty kilometre counts
by two definitions: **strict** (no goods aboard) and **eurostat** (empty load units aboard are no empty run). Kilometres of
unknown load count as loaded in the low and as empty in the high share. Yard and power take-off movement is left out.
"""
# ruff: noqa: S608  the names are those of our own schema; nothing from outside gets in here

from typing import Final

K_DEFAULT: Final = 5  # vehicles below which a cell tells of single ones
K_LEAST: Final = 1
CASE_KINDS: Final = (
    "odometer_conflict",
    "wheel_scale",
    "weight_conflict",
    "fuel_conflict",
    "tare_drift",
    "model_drift",
)

K: Final = (
    "CREATE OR REPLACE MACRO k_vehicles() AS "
    f"greatest({K_LEAST}, CAST(coalesce(getvariable('k_vehicles'), {K_DEFAULT}) AS INTEGER))"
)

_VEHICLE_DAYS: Final = """
WITH hours_now AS (
  SELECT r.day, r.factor_set, r.asset, r.region, coalesce(t.route, r.route) AS route,
    coalesce(t.load_state, r.load_state) AS state, r.distance_mm, r.co2e_wtw_ug, r.fuel_nl, r.observed_us, r.distance_unknown_us,
    CAST(round(t.payload_kg) AS BIGINT) AS payload_kg, CAST(round(t.capacity_kg) AS BIGINT) AS capacity_kg,
    CAST(r.co2e_wtw_ug AS HUGEINT) * t.avoidable_ug // nullif(t.co2e_wtw_ug, 0) AS avoidable_ug
  FROM asset_hours AS r LEFT JOIN trips_final AS t
    ON t.asset = r.asset AND t.trip_start_ns = r.trip_start_ns AND t.factor_set = r.factor_set
  WHERE r.kind = 'vehicle' AND NOT coalesce(t.excluded, false)
)
SELECT day, factor_set, region, route, asset,
  sum(distance_mm) AS distance_mm,
  coalesce(sum(distance_mm) FILTER (state = 'empty'), 0) AS empty_mm,
  coalesce(sum(distance_mm) FILTER (state = 'empty_with_load_units'), 0) AS empty_units_mm,
  coalesce(sum(distance_mm) FILTER (state IN ('partial', 'full')), 0) AS loaded_mm,
  coalesce(sum(distance_mm) FILTER (state = 'unknown'), 0) AS unknown_mm,
  sum(co2e_wtw_ug) AS co2e_wtw_ug,
  coalesce(sum(co2e_wtw_ug) FILTER (state IN ('empty', 'empty_with_load_units')), 0) AS empty_co2e_wtw_ug,
  sum(avoidable_ug) FILTER (state IN ('empty', 'empty_with_load_units')) AS avoidable_ug,
  coalesce(sum(CAST(distance_mm AS HUGEINT) * payload_kg // 1000)
    FILTER (state IN ('partial', 'full') AND capacity_kg IS NOT NULL), 0) AS transport_kgm,
  coalesce(sum(CAST(distance_mm AS HUGEINT) * capacity_kg // 1000)
    FILTER (state IN ('partial', 'full') AND payload_kg IS NOT NULL), 0) AS capacity_kgm,
  sum(observed_us) AS observed_us, sum(distance_unknown_us) AS distance_unknown_us
FROM hours_now GROUP BY ALL"""

_RUNNING_DAYS: Final = """
WITH summed AS (
  SELECT day, factor_set, region, route, count(DISTINCT asset) AS vehicles, sum(distance_mm) AS distance_mm,
    sum(empty_mm) AS empty_mm, sum(empty_units_mm) AS units_mm, sum(loaded_mm) AS loaded_mm, sum(unknown_mm) AS unknown_mm,
    sum(co2e_wtw_ug) AS co2e_ug, sum(empty_co2e_wtw_ug) AS empty_ug, sum(avoidable_ug) AS avoidable_ug,
    sum(transport_kgm) AS transport_kgm, sum(capacity_kgm) AS capacity_kgm
  FROM running_vehicle_days GROUP BY ALL
)
SELECT day, factor_set, region, route, vehicles,
  distance_mm / 1e6 AS distance_km, loaded_mm / 1e6 AS loaded_km,
  (empty_mm + units_mm) / 1e6 AS empty_km, empty_mm / 1e6 AS empty_eurostat_km, unknown_mm / 1e6 AS unknown_km,
  100 * (empty_mm + units_mm) / nullif(distance_mm, 0) AS empty_share_low_pct,
  100 * (empty_mm + units_mm + unknown_mm) / nullif(distance_mm, 0) AS empty_share_high_pct,
  100 * empty_mm / nullif(distance_mm, 0) AS empty_share_eurostat_low_pct,
  100 * (empty_mm + unknown_mm) / nullif(distance_mm, 0) AS empty_share_eurostat_high_pct,
  co2e_ug / 1e9 AS co2e_wtw_kg, empty_ug / 1e9 AS empty_co2e_wtw_kg, avoidable_ug / 1e9 AS avoidable_co2e_wtw_kg,
  100 * empty_ug / nullif(co2e_ug, 0) AS empty_co2e_share_pct,
  transport_kgm / 1e6 AS transport_tkm, transport_kgm / nullif(capacity_kgm, 0) AS load_factor
FROM summed"""


def _against(period: str) -> str:
    """Regions and all of them together against each benchmark, by ``period`` (an expression of ``day``).

    Share: of kilometres whose load is known. Its sampling error is that of a ratio over vehicles as clusters (Cochran, Sampling
    Techniques, 3rd ed., eq. 6.13): var = n/(n-1) sum (e_i - s k_i)^2 / (sum k)^2, 1.96 standard errors. The band also takes unknown
    kilometres as all loaded and all empty. A region with fewer than k vehicles is hidden; where what is hidden in a period is
    still below k, or a single region, the smallest other one is hidden too, so that it is not the rest of the total.
    """
    return f"""
WITH by_vehicle AS (
  SELECT {period} AS period, factor_set, region, asset, sum(empty_mm) AS empty_mm, sum(empty_units_mm) AS units_mm,
    sum(loaded_mm) AS loaded_mm, sum(unknown_mm) AS unknown_mm
  FROM running_vehicle_days GROUP BY ALL
), whole AS (
  SELECT *, false AS is_total FROM by_vehicle
  UNION ALL BY NAME
  SELECT period, factor_set, asset, true AS is_total, NULL AS region, sum(empty_mm) AS empty_mm, sum(units_mm) AS units_mm,
    sum(loaded_mm) AS loaded_mm, sum(unknown_mm) AS unknown_mm FROM by_vehicle GROUP BY period, factor_set, asset
), defined AS (
  SELECT *, definition, CAST(empty_mm + CASE definition WHEN 'strict' THEN units_mm ELSE 0 END AS HUGEINT) AS e,
    CAST(empty_mm + units_mm + loaded_mm AS HUGEINT) AS k
  FROM whole, (VALUES ('strict'), ('eurostat')) AS d (definition)
), cell AS (
  SELECT period, factor_set, is_total, region, definition, count(*) FILTER (k + unknown_mm > 0) AS vehicles,
    count(*) FILTER (k > 0) AS n, sum(e) AS e, sum(k) AS k, sum(unknown_mm) AS unknown_mm,
    sum(e // 1000 * (e // 1000)) AS ee, sum(e // 1000 * (k // 1000)) AS ek, sum(k // 1000 * (k // 1000)) AS kk
  FROM defined GROUP BY ALL
), ranked AS (
  SELECT *, vehicles < k_vehicles() AS small,
    row_number() OVER (PARTITION BY period, factor_set, definition, is_total, vehicles < k_vehicles()
      ORDER BY vehicles, region NULLS FIRST) AS place
  FROM cell WHERE vehicles > 0
), covered AS (
  SELECT *, count(*) FILTER (small) OVER w AS hidden_cells, coalesce(sum(vehicles) FILTER (small) OVER w, 0) AS hidden_vehicles
  FROM ranked WINDOW w AS (PARTITION BY period, factor_set, definition, is_total)
), shown AS (
  SELECT *, small OR (NOT is_total AND place = 1 AND hidden_cells > 0
      AND (hidden_cells = 1 OR hidden_vehicles < k_vehicles())) AS hidden,
    e / nullif(k, 0) AS share, e / nullif(k + unknown_mm, 0) AS low, (e + unknown_mm) / nullif(k + unknown_mm, 0) AS high,
    CASE WHEN n > 1 THEN 1.96 * 1000 / k * sqrt(greatest(0, n / (n - 1)
      * (ee - 2 * (e / nullif(k, 0)) * ek + (e / nullif(k, 0)) * (e / nullif(k, 0)) * kk))) END AS half
  FROM covered
)
SELECT period, s.factor_set, CASE WHEN is_total THEN 'all' ELSE s.region END AS region, is_total, s.definition, hidden,
  CASE WHEN NOT hidden THEN vehicles END AS vehicles,
  CASE WHEN NOT hidden THEN (k + unknown_mm) / 1e6 END AS distance_km,
  CASE WHEN NOT hidden THEN unknown_mm / 1e6 END AS unknown_km,
  CASE WHEN NOT hidden THEN 100 * share END AS empty_share_pct,
  CASE WHEN NOT hidden THEN 100 * greatest(0, low - coalesce(half, 1)) END AS empty_share_low_pct,
  CASE WHEN NOT hidden THEN 100 * least(1, high + coalesce(half, 1)) END AS empty_share_high_pct,
  b.benchmark, b.year AS benchmark_year, b.empty_share_pct AS benchmark_pct, b.source AS benchmark_source, b.note AS benchmark_note,
  CASE WHEN NOT hidden THEN 100 * share - b.empty_share_pct END AS gap_pp,
  CASE WHEN NOT hidden THEN 100 * greatest(0, low - coalesce(half, 1)) - b.empty_share_pct END AS gap_low_pp,
  CASE WHEN NOT hidden THEN 100 * least(1, high + coalesce(half, 1)) - b.empty_share_pct END AS gap_high_pp
FROM shown AS s JOIN benchmarks AS b
  ON b.definition = s.definition AND (b.region IS NULL OR b.region = s.region)"""


_DOCK_DAYS: Final = """
WITH stops AS (
  SELECT day, factor_set, start_place AS warehouse, count(*) AS departures, count(stop_us) AS dwells, count(DISTINCT asset) AS vehicles,
    sum(stop_us) AS dwell_us, median(stop_us) AS median_us
  FROM trips_final WHERE start_place IN (SELECT warehouse FROM warehouses) GROUP BY ALL
), idling AS (
  SELECT day, factor_set, place AS warehouse, count(*) AS idlings,
    sum(CAST((end_ns - time_ns) // 1000 AS BIGINT)) AS idle_us, sum(explained_nl) AS idle_nl
  FROM events WHERE kind = 'idling' AND place IN (SELECT warehouse FROM warehouses) GROUP BY ALL
)
SELECT coalesce(s.day, i.day) AS day, coalesce(s.factor_set, i.factor_set) AS factor_set,
  coalesce(s.warehouse, i.warehouse) AS warehouse, w.name AS warehouse_name,
  s.vehicles, s.departures, s.dwell_us / 1e6 AS dwell_s, s.dwell_us / nullif(s.dwells, 0) / 1e6 AS mean_dwell_s,
  s.median_us / 1e6 AS median_dwell_s, i.idlings, i.idle_us / 1e6 AS idle_s, i.idle_nl / 1e9 AS idle_l,
  i.idle_us / nullif(s.dwell_us, 0) AS idle_share
FROM stops AS s FULL JOIN idling AS i
  ON s.day = i.day AND s.factor_set = i.factor_set AND s.warehouse = i.warehouse
JOIN warehouses AS w ON w.warehouse = coalesce(s.warehouse, i.warehouse)"""

_CASES: Final = f"""
WITH told AS (
  SELECT *, coalesce(sum(CAST(chosen = 'none' AS INTEGER)) OVER (PARTITION BY asset, kind, factor_set ORDER BY time_ns
    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS ended_before
  FROM events WHERE kind IN ({", ".join(f"'{kind}'" for kind in CASE_KINDS)})
), kept AS (
  SELECT asset, kind, factor_set, ended_before + 1 AS number,
    min(time_ns) FILTER (chosen <> 'none') AS first_ns, max(time_ns) FILTER (chosen <> 'none') AS last_ns,
    max(time_ns) FILTER (chosen = 'none') AS closed_ns, count(*) FILTER (chosen <> 'none') AS reports,
    arg_max(amount, time_ns) FILTER (chosen <> 'none') AS amount, arg_max(expected, time_ns) FILTER (chosen <> 'none') AS expected,
    arg_max(chosen, time_ns) FILTER (chosen <> 'none') AS chosen,
    arg_min(lat_deg, time_ns) AS lat_deg, arg_min(lon_deg, time_ns) AS lon_deg
  FROM told GROUP BY ALL
)
SELECT asset, kind, factor_set, number, CASE WHEN closed_ns IS NULL THEN 'open' ELSE 'closed' END AS state,
  make_timestamp(first_ns // 1000) AS first_seen, make_timestamp(last_ns // 1000) AS last_seen,
  make_timestamp(closed_ns // 1000) AS closed_at, (now_ns() - first_ns) / 86400e9 AS age_days, reports, amount, expected, chosen,
  CASE kind
    WHEN 'wheel_scale' THEN format('wheel speed is {{:.3f}} times that of the satellites', amount)
    WHEN 'odometer_conflict' THEN format('odometer counts {{:.3f}} times the way by the satellites', amount)
    WHEN 'weight_conflict' THEN format('scales show {{:.3f}} times the mass by order or torque', amount)
    WHEN 'fuel_conflict' THEN format('the tank falls {{:.3f}} times as fast as fuel is counted', amount)
    WHEN 'tare_drift' THEN format('the empty vehicle weighs {{:.0f}} kg more than the registry says', amount)
    ELSE format('it burns {{:.3f}} times what the model says', amount) END AS evidence,
  lat_deg, lon_deg, first_ns, last_ns, closed_ns
FROM kept WHERE reports > 0"""

KPIS: Final = {  # in the order in which they build on each other
    "running_vehicle_days": _VEHICLE_DAYS,
    "running_days": _RUNNING_DAYS,
    "region_benchmark_days": _against("day"),
    "region_benchmark": _against("CAST(date_trunc('month', day) AS DATE)"),
    "dock_days": _DOCK_DAYS,
    "cases": _CASES,
}


def kpi_views() -> list[str]:
    """Statements that make the views of running, regions, docks and cases, over the stored tables."""
    return [K, *(f"CREATE OR REPLACE VIEW {name} AS {sql}" for name, sql in KPIS.items())]
