"""Views made for dashboards: hours under their trip's final word, positions, who was heard, what is missing, target paths.

Built on the figures and trips; a panel's own SQL stays a selection and a sum.
"""
# ruff: noqa: S608  the names are those of our own schema; nothing from outside gets in here

from typing import Final

from storage.views import MINUTE_NS, RECENT_ROLLUPS

HOUR_NS: Final = 60 * MINUTE_NS
DAY_NS: Final = 24 * HOUR_NS
POSITIONS_NS: Final = 15 * MINUTE_NS  # how far back a position is looked for among the readings
SEEN_NS: Final = 7 * DAY_NS  # an asset silent for longer has no newest time
HOLES_NS: Final = HOUR_NS  # readings looked through for missing numbers

_HOURS: Final = """
SELECT h.* EXCLUDE (load_state, route), coalesce(t.load_state, h.load_state) AS load_state, coalesce(t.route, h.route) AS route,
    coalesce(t.stage, 'unknown') AS stage, coalesce(t.empty_cause, 'none') AS empty_cause, coalesce(t.excluded, false) AS excluded
FROM asset_hours AS h LEFT JOIN trips_final AS t USING (asset, trip_start_ns, factor_set)"""

_FACTOR_SETS: Final = "SELECT factor_set, max(hour_ns) AS newest_hour_ns FROM asset_hours GROUP BY factor_set"

_POSITIONS_NOW: Final = f"""
WITH seen AS (
  SELECT device, max(time_ns) AS time_ns, arg_max(lat_deg, time_ns) AS lat_deg, arg_max(lon_deg, time_ns) AS lon_deg,
    arg_max(coalesce(speed_kmh, gps_speed_kmh), time_ns) AS speed_kmh
  FROM readings WHERE time_ns >= now_ns() - {POSITIONS_NS} AND lat_deg IS NOT NULL GROUP BY device
), burnt AS (
  SELECT asset, r.factor_set, CASE WHEN sum(r.unknown_us) <= 0.05 * sum(r.observed_us)
      THEN sum(r.co2e_wtw_ug) / nullif(sum(r.distance_mm), 0) END
      AS co2e_wtw_g_per_km, arg_max(coalesce(t.load_state, r.load_state), minute_ns) AS load_state,
    arg_max(coalesce(t.route, r.route), minute_ns) AS route
  FROM {RECENT_ROLLUPS} AS r LEFT JOIN trips_final AS t USING (asset, trip_start_ns, factor_set)
  WHERE minute_ns >= now_ns() - {POSITIONS_NS} AND kind = 'vehicle' GROUP BY ALL
)
SELECT v.vehicle, b.factor_set, b.route, s.lat_deg, s.lon_deg, s.speed_kmh, b.co2e_wtw_g_per_km,
    coalesce(b.load_state, 'unknown') AS load_state, (now_ns() - s.time_ns) / 1e9 AS age_s
FROM seen AS s JOIN vehicles AS v USING (device) LEFT JOIN burnt AS b ON b.asset = v.vehicle"""

_ASSETS_SEEN: Final = f"""
WITH registered AS (
  SELECT 'vehicle' AS kind, vehicle AS asset FROM vehicles UNION ALL SELECT 'warehouse', warehouse FROM warehouses
), heard AS (
  SELECT asset, factor_set, max(newest_time_ns) AS newest_time_ns FROM asset_hours WHERE hour_ns >= now_ns() - {SEEN_NS} GROUP BY ALL
), under_way AS (
  SELECT asset, factor_set, arg_max(closed, trip_start_ns) AS closed FROM trips_final
  WHERE trip_start_ns >= now_ns() - {SEEN_NS} GROUP BY ALL
)
SELECT r.kind, r.asset, h.factor_set, now_ns() AS now_at_ns, (now_ns() - h.newest_time_ns) / 1e9 AS age_s,
    h.newest_time_ns IS NOT NULL AND (r.kind = 'warehouse' OR NOT coalesce(u.closed, true)) AS expected_now
FROM registered AS r LEFT JOIN heard AS h USING (asset) LEFT JOIN under_way AS u USING (asset, factor_set)"""

_SEQUENCE_HOLES: Final = f"""
SELECT device, boot_id, max(time_ns) AS newest_ns, CAST(sum(merged) AS BIGINT) AS present,
    greatest(0, max(seq) + 1 - min(seq - merged + 1) - sum(merged))::BIGINT AS missing,
    CAST(sum(merged) - count(*) AS BIGINT) AS merged_away
FROM readings WHERE time_ns >= now_ns() - {HOLES_NS} GROUP BY ALL"""

# Path of a target: base (1 - reduction (t - base year) / (target year - base year)), a year's share up to now. Mission definitions 9.
_PATHS: Final = """
WITH clock AS (
  SELECT year(make_timestamp(now_ns() // 1000)) AS this_year,
    epoch_ns(date_trunc('year', make_timestamp(now_ns() // 1000))) AS year_start_ns,
    epoch_ns(date_trunc('year', make_timestamp(now_ns() // 1000)) + INTERVAL 1 YEAR) AS year_end_ns
), path AS (
  SELECT b.* EXCLUDE (tenant), owner(tenant) AS tenant, now_ns() AS as_of_ns, year_start_ns,
    (now_ns() - year_start_ns) / (year_end_ns - year_start_ns) AS elapsed,
    baseline_co2e_wtw_kg * (1 - target_reduction_pct / 100 * least(1, greatest(0, this_year - baseline_year)
      / nullif(target_year - baseline_year, 0))) AS target_year_kg
  FROM baselines AS b, clock
)
SELECT *, target_year_kg * elapsed AS target_to_date_kg, target_year_kg / 365.25 AS target_day_kg FROM path"""

_PROGRESS: Final = """
WITH owned AS (
  SELECT vehicle AS asset, owner(tenant) AS tenant FROM vehicles UNION ALL SELECT warehouse, owner(tenant) FROM warehouses
), parts AS MATERIALIZED (
  SELECT kind, asset, tenant, region, route, stage, factor_set, sum(co2e_ttw_ug + co2e_wtt_ug) AS co2e_ug, sum(transport_kgm) AS kgm,
    sum(goods_out_g) AS goods_g, sum(distance_mm) AS mm, sum(co2e_measured_ug) AS measured_ug, sum(observed_us) AS observed_us,
    sum(unknown_us) AS unknown_us
  FROM hours LEFT JOIN owned USING (asset)
  WHERE hour_ns >= epoch_ns(date_trunc('year', make_timestamp(now_ns() // 1000)))
    AND day >= CAST(date_trunc('year', make_timestamp(now_ns() // 1000)) AS DATE) GROUP BY ALL
), cells AS (
  SELECT 'operator' AS scope, '' AS key, * FROM parts
  UNION ALL BY NAME SELECT 'region' AS scope, region AS key, * FROM parts WHERE region IS NOT NULL
  UNION ALL BY NAME SELECT 'route' AS scope, route AS key, * FROM parts WHERE route IS NOT NULL
  UNION ALL BY NAME SELECT 'stage' AS scope, stage AS key, * FROM parts WHERE kind = 'vehicle'
  UNION ALL BY NAME SELECT 'warehouse' AS scope, asset AS key, * FROM parts WHERE kind = 'warehouse'
), emitted AS (
  SELECT scope, key, tenant, factor_set, sum(co2e_ug) / 1e9 AS co2e_wtw_kg, sum(kgm) / 1e6 AS tkm, sum(goods_g) / 1e6 AS t,
    sum(mm) / 1e6 AS km,
    sum(measured_ug) / nullif(sum(co2e_ug), 0) AS measured_share,
    sum(observed_us - unknown_us) / nullif(sum(observed_us), 0) AS coverage
  FROM cells GROUP BY ALL
)
SELECT p.scope, p.key, p.tenant, e.factor_set, p.as_of_ns, p.baseline_year, p.target_year, p.target_reduction_pct, e.co2e_wtw_kg,
    p.target_to_date_kg, p.target_day_kg, 1 - e.co2e_wtw_kg / nullif(p.baseline_co2e_wtw_kg * p.elapsed, 0) AS reduction,
    (1 - e.co2e_wtw_kg / nullif(p.baseline_co2e_wtw_kg * p.elapsed, 0)) / nullif(p.target_reduction_pct / 100, 0) AS progress,
    e.co2e_wtw_kg / nullif(CASE p.activity_unit WHEN 'tkm' THEN e.tkm WHEN 't' THEN e.t WHEN 'km' THEN e.km END, 0) AS kg_per_activity,
    p.baseline_co2e_wtw_kg / nullif(p.baseline_activity, 0) AS baseline_kg_per_activity, p.activity_unit, e.measured_share, e.coverage
FROM target_paths AS p JOIN emitted AS e
  ON e.scope = p.scope AND e.tenant = p.tenant AND (p.scope = 'operator' OR e.key = p.key)
    AND (p.factor_set IS NULL OR p.factor_set = e.factor_set)"""

PANELS: Final = {  # in the order in which they build on each other
    "hours": _HOURS,
    "factor_sets": _FACTOR_SETS,
    "positions_now": _POSITIONS_NOW,
    "assets_seen": _ASSETS_SEEN,
    "sequence_holes": _SEQUENCE_HOLES,
    "target_paths": _PATHS,
    "progress_to_date": _PROGRESS,
}


def panel_views() -> list[str]:
    """Statements that make the views, over those of figures and trips."""
    return [f"CREATE OR REPLACE VIEW {name} AS {sql}" for name, sql in PANELS.items()]
