-- What Grafana makes of a panel's SQL with its macros, TimescaleDB on and off, and what dashboards add to that.

SELECT time AS "time", route AS metric, co2e_wtw_kg_per_h FROM route_now, (SELECT now() AS time) AS t ORDER BY
1;

SELECT floor(extract(epoch from time)/60)*60 AS "time", sum(co2e_wtw_kg) AS kg FROM route_minutes WHERE time
BETWEEN '2026-11-21T00:00:00Z' AND '2026-11-23T00:00:00.123456789Z' GROUP BY 1 ORDER BY 1;

SELECT time_bucket('60.000s',time) AS "time", sum(co2e_wtw_kg) AS kg FROM route_minutes WHERE time >=
'2026-11-21T00:00:00Z' AND time <= '2026-11-23T00:00:00Z' AND route IN ('r-north','r-south') GROUP BY 1 ORDER
BY 1;

SELECT extract(epoch from time) as "time", coverage FROM route_minutes WHERE time > now() - interval '100
years';

SELECT minute_ns/1000000000 AS time FROM rollups WHERE minute_ns/1000000000 >= 1 AND minute_ns/1000000000 <=
2000000000 GROUP BY 1;

SELECT floor((minute_ns/1000000000)/300)*300 AS "time", avg(readings::float) FROM rollups GROUP BY 1;

SELECT time, timeend, text, tags FROM (SELECT min(time) AS time, max(time) AS timeend, 'x' AS text, 'a,b' AS
tags FROM rollups) AS a;

SELECT DISTINCT route FROM route_minutes ORDER BY 1;

SELECT vehicle AS __value, vehicle || ' (' || coalesce(route, '-') || ')' AS __text FROM vehicles;

SELECT date_trunc('hour', time) AS time, to_timestamp(max(newest_time_ns) / 1e9) FROM rollups GROUP BY 1;

SELECT time AT TIME ZONE 'Europe/Berlin' FROM rollups LIMIT 1;

WITH d AS (SELECT asset, max(time) AS t FROM rollups GROUP BY 1) SELECT count(*) FROM d WHERE t::date =
'2026-11-22';

SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY distance_mm) FROM rollups;

SELECT time, sum(distance_mm) OVER (PARTITION BY asset ORDER BY time ROWS BETWEEN 3 PRECEDING AND CURRENT ROW)
FROM rollups LIMIT 5;
