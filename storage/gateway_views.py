"""What each gateway last said of itself: its outbox, its clock, what it misses. One that was never heard says nothing: unknown, not 0."""
# ruff: noqa: S608  the names are those of our own schema; nothing from outside gets in here

from typing import Final

from storage.disk_views import DAY_NS

HEARD_NS: Final = (
    7 * DAY_NS
)  # a gateway that said nothing for longer is unknown; one that is well says something every hour

_GATEWAYS_NOW: Final = f"""
WITH registered AS (
  SELECT 'vehicle' AS kind, vehicle AS asset, device FROM vehicles WHERE device <> ''
  UNION ALL SELECT 'warehouse', warehouse, device FROM warehouses WHERE device <> ''
), newest AS (
  SELECT * FROM gateways WHERE received_ns >= now_ns() - {HEARD_NS}
    AND day >= CAST(make_timestamp((now_ns() - {HEARD_NS}) // 1000) AS DATE)
  QUALIFY row_number() OVER (PARTITION BY device ORDER BY received_ns DESC) = 1
)
SELECT r.kind, r.asset, r.device, g.status, now_ns() AS now_at_ns,
    CASE WHEN NOT g.retained THEN (now_ns() - g.received_ns) / 1e9 END AS age_s,
    g.waiting, g.fill, CASE WHEN g.waiting = 0 THEN 0 ELSE (now_ns() - g.oldest_ns) / 1e9 END AS oldest_age_s, g.thinned, g.in_memory,
    g.clock, g.undated, g.missing, g.stuck, g.software, g.boot_id, g.config_version, g.config_refused
FROM registered AS r LEFT JOIN newest AS g USING (device)"""

GATEWAY_FIGURES: Final = {"gateways_now": _GATEWAYS_NOW}


def gateway_views() -> list[str]:
    """Statements that make the views."""
    return [f"CREATE OR REPLACE VIEW {name} AS {sql}" for name, sql in GATEWAY_FIGURES.items()]
