"""Views over trips: what is known of each now, minutes under their trip's final word, empty running as sums.

A trip is told in versions; the newest holds. Rollups carry the trip's name, so back-dating is a join: no total changes, kilometres
only move from one load state to another. Strict: empty where no goods are aboard. Eurostat: empty load units aboard make it no
empty run. What is unknown stays its own sum, so every share has a low and a high end.
"""
# ruff: noqa: S608  the names are those of our own schema; nothing from outside gets in here

from typing import Final

_KEY: Final = "asset, trip_start_ns, factor_set"

# Trips told again since their words were summed up are few: only they are put in order anew.
_TRIPS_FINAL: Final = f"""
WITH told_since AS (SELECT * FROM trips_open)
SELECT w.* FROM trip_words AS w ANTI JOIN told_since USING ({_KEY})
UNION ALL BY NAME
SELECT * FROM (SELECT * FROM told_since UNION ALL BY NAME SELECT w.* FROM trip_words AS w SEMI JOIN told_since USING ({_KEY}))
QUALIFY row_number() OVER (PARTITION BY {_KEY} ORDER BY kernel_version DESC, version DESC) = 1"""

_TRIPS_NOW: Final = f"""
WITH driven AS (
  SELECT {_KEY}, sum(distance_mm) / 1e6 AS driven_km, sum(co2e_ttw_ug + co2e_wtt_ug) / 1e9 AS co2e_so_far_kg,
    max(newest_time_ns) AS newest_time_ns
  FROM rollups WHERE trip_start_ns IS NOT NULL GROUP BY ALL
)
SELECT t.*, driven_km, co2e_so_far_kg, (now_ns() - newest_time_ns) / 1e9 AS age_s
FROM trips_final AS t LEFT JOIN driven USING ({_KEY})
QUALIFY row_number() OVER (PARTITION BY asset, factor_set ORDER BY trip_start_ns DESC) = 1"""

# Every trip has a version of 0 or more: the condition tells DuckDB, which takes it for one that leaves a fifth, to make its hash table of
# the trips. Made of a day's minutes it costs a quarter more; an hour's minutes cost the same either way.
_MINUTES: Final = f"""
SELECT r.* EXCLUDE (load_state, route),
    coalesce(t.load_state, r.load_state) AS load_state, t.load_state_p,
    coalesce(t.route, r.route) AS route, coalesce(t.route_source, 'none') AS route_source,
    coalesce(t.stage, 'unknown') AS stage, coalesce(t.empty_cause, 'none') AS empty_cause,
    coalesce(t.excluded, false) AS excluded, t.payload_kg, t.payload_u_kg, t.capacity_kg,
    CASE WHEN t.avoidable_ug IS NULL THEN 0
      ELSE CAST(round(r.co2e_wtw_ug * (t.avoidable_ug / nullif(t.co2e_wtw_ug, 0))) AS BIGINT) END AS avoidable_ug
FROM rollups AS r LEFT JOIN (FROM trips_final WHERE version >= 0) AS t USING ({_KEY})"""

_EMPTY: Final = "load_state IN ('empty', 'empty_with_load_units')"
_LOADED: Final = "load_state IN ('partial', 'full')"


def _mm(condition: str) -> str:
    return f"CAST(coalesce(sum(distance_mm) FILTER ({condition}), 0) AS BIGINT)"


def _share(empty: str, unknown: str) -> str:
    return f"({empty}{unknown}) / nullif(loaded_mm + empty_strict_mm + unknown_mm, 0)"


_EMPTY_RUNNING: Final = f"""
WITH sums AS (
  SELECT day, asset, route, region, stage, factor_set,
    {_mm(_LOADED)} AS loaded_mm,
    {_mm(_EMPTY)} AS empty_strict_mm,
    {_mm("load_state = 'empty'")} AS empty_eurostat_mm,
    {_mm("load_state = 'unknown'")} AS unknown_mm,
    CAST(coalesce(sum(co2e_wtw_ug) FILTER ({_EMPTY}), 0) AS BIGINT) AS empty_co2e_wtw_ug,
    CAST(coalesce(sum(co2e_measured_ug) FILTER ({_EMPTY}), 0) AS BIGINT) AS empty_co2e_measured_ug,
    CAST(sum(avoidable_ug) AS BIGINT) AS avoidable_ug,
    CAST(sum(co2e_wtw_ug) AS BIGINT) AS co2e_wtw_ug
  FROM minutes WHERE kind = 'vehicle' AND NOT excluded GROUP BY ALL
)
SELECT *,
    {_share("empty_strict_mm", "")} AS empty_strict_low,
    {_share("empty_strict_mm", " + unknown_mm")} AS empty_strict_high,
    {_share("empty_eurostat_mm", "")} AS empty_eurostat_low,
    {_share("empty_eurostat_mm", " + unknown_mm")} AS empty_eurostat_high
FROM sums"""

TRIP_FIGURES: Final = {  # in the order in which they build on each other
    "trips_final": _TRIPS_FINAL,
    "trips_now": _TRIPS_NOW,
    "minutes": _MINUTES,
    "empty_running": _EMPTY_RUNNING,
}


def trip_views() -> list[str]:
    """Statements that make the views, over the stored ones."""
    return [f"CREATE OR REPLACE VIEW {name} AS {sql}" for name, sql in TRIP_FIGURES.items()]
