"""Additive sums of cells (operator, region, route group, route, warehouse, vehicle) over a period, asked of the rollups.

Everything is an exact integer; figures are made of it in ``progress``. A cell belongs to one tenant: there are no sums over
tenants, which would let one be had as the difference of two.
"""
# ruff: noqa: S608  the SQL is put together from our own names; values go in as parameters

import datetime
from collections.abc import Mapping
from typing import Any, Final, Literal

import duckdb
import msgspec

from dashboards.feed.periods import DAY_NS, MINUTE_NS, Period
from dashboards.feed.reader import query
from storage.bands import half_widths

By = Literal["operator", "region", "route_group", "route", "warehouse", "vehicle"]
NONE: Final = "(none)"  # name of the cell of what has no region, route or stage
LONGEST_TRIP: Final = datetime.timedelta(
    days=7
)  # a trip that began earlier is not looked for; its load is unknown then
LIVE_WINDOW_NS: Final = 2 * DAY_NS  # how far back the last minute of enough vehicles is looked for

_CELL: Final[Mapping[str, str]] = {
    "operator": "coalesce(owner.tenant, $own)",
    "region": f"coalesce(r.region, '{NONE}')",
    "route_group": f"coalesce(routes.registered, '{NONE}')",
    "route": f"coalesce(r.route, '{NONE}')",
    "vehicle": "r.asset",
    "warehouse": "r.asset",
}


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one cell. Units stand in the names; µg, mm, µs, nL, µWh, kg m. ``through_ns`` is where the sums end."""

    tenant: str
    name: str
    vehicles: int = 0
    days: int = 0
    readings: int = 0
    observed_us: int = 0
    unknown_us: int = 0
    distance_mm: int = 0
    distance_unknown_us: int = 0
    excluded_mm: int = 0
    empty_mm: int = 0
    empty_units_mm: int = 0
    loaded_mm: int = 0
    transport_kgm: int = 0
    capacity_kgm: int = 0
    co2e_empty_ug: int = 0
    fuel_nl: int = 0
    fuel_gas_ug: int = 0
    energy_uwh: int = 0
    co2e_ttw_ug: int = 0
    co2e_wtt_ug: int = 0
    co2_biogenic_ug: int = 0
    co2e_measured_ug: int = 0
    refrigerant_co2e_ug: int = 0
    goods_out_g: int = 0
    pallets_out: int = 0
    co2e_u_ug: int = 0  # half-width of the 95 % band of TTW + WTT; of cells it does not add up
    newest_time_ns: int | None = None
    newest_received_ns: int | None = None
    kernel_versions: tuple[int, ...] = ()
    assets: tuple[str, ...] = ()
    through_ns: int = 0

    @property
    def co2e_wtw_ug(self) -> int:
        """Well-to-wheel."""
        return self.co2e_ttw_ug + self.co2e_wtt_ug

    @property
    def u_rel(self) -> float | None:
        """The half-width as a share of TTW + WTT."""
        return self.co2e_u_ug / self.co2e_wtw_ug if self.co2e_wtw_ug > 0 else None

    @property
    def running_mm(self) -> int:
        """Distance that counts in shares of running: all but yard and power take-off movements."""
        return max(0, self.distance_mm - self.excluded_mm)

    @property
    def unknown_load_mm(self) -> int:
        """Distance whose load state no trip tells."""
        return max(0, self.running_mm - self.empty_mm - self.empty_units_mm - self.loaded_mm)


_ADDITIVE: Final = (
    "readings",
    "observed_us",
    "unknown_us",
    "distance_mm",
    "distance_unknown_us",
    "fuel_nl",
    "fuel_gas_ug",
    "energy_uwh",
    "co2e_ttw_ug",
    "co2e_wtt_ug",
    "co2_biogenic_ug",
    "co2e_measured_ug",
    "refrigerant_co2e_ug",
    "goods_out_g",
    "pallets_out",
    "transport_kgm",
    "capacity_kgm",
)


def here(by: By) -> str:
    """Rows of the period with their tenant and cell."""
    kind, owner = ("warehouse", "warehouses") if by == "warehouse" else ("vehicle", "vehicles")
    return f"""
  SELECT coalesce(owner.tenant, $own) AS tenant, {_CELL[by]} AS name, r.*
  FROM rollups AS r JOIN (SELECT {kind}, tenant FROM {owner}) AS owner ON owner.{kind} = r.asset
    LEFT JOIN (SELECT route, stage AS registered FROM routes) AS routes ON routes.route = r.route
  WHERE r.kind = '{kind}' AND r.factor_set = $factor_set
    AND r.day BETWEEN $first_day AND $last_day AND r.minute_ns >= $from_ns AND r.minute_ns < $to_ns"""


def parameters(period: Period, factor_set: str, own: str) -> dict[str, Any]:
    """What every query over a period binds."""
    first, last = period.days
    return {
        "own": own,
        "factor_set": factor_set,
        "first_day": first,
        "last_day": last,
        "from_ns": period.from_ns,
        "to_ns": period.to_ns,
    }


def cells(
    cursor: duckdb.DuckDBPyConnection, by: By, period: Period, factor_set: str, own: str, *, k: int = 1
) -> list[Sums]:
    """Sums of every cell that has rows in ``period``.

    With ``k`` above 1 each cell ends with its last minute in which at least ``k`` vehicles reported, so that two looks at a
    running period never differ by the doings of fewer.
    """
    if period.to_ns <= period.from_ns:
        return []
    cut = ""
    bound = parameters(period, factor_set, own)
    if k > 1:
        bound |= {"k": k, "since": max(period.from_ns, period.to_ns - LIVE_WINDOW_NS)}
        cut = """, limits AS (
  SELECT tenant, name, max(last) AS last FROM (
    SELECT tenant, name, minute_ns AS last FROM here WHERE minute_ns >= $since
    GROUP BY ALL HAVING count(DISTINCT asset) >= $k
    UNION ALL SELECT DISTINCT tenant, name, $since - 1 FROM here WHERE minute_ns < $since
  ) GROUP BY ALL
)"""
    source = "here JOIN limits USING (tenant, name) WHERE minute_ns <= last" if k > 1 else "here"
    last = "max(last)" if k > 1 else "NULL"
    rows = query(
        cursor,
        f"""
WITH here AS ({here(by)}
){cut}, chosen AS (SELECT * FROM {source}
), wide AS ({half_widths("chosen", ("tenant", "name"))}
)
SELECT tenant, name, count(DISTINCT asset) AS vehicles, count(DISTINCT day) AS days,
  {", ".join(f"CAST(sum({c}) AS HUGEINT) AS {c}" for c in _ADDITIVE)},
  coalesce(max(co2e_u_ug), 0) AS co2e_u_ug,
  max(newest_time_ns) AS newest_time_ns, max(newest_received_ns) AS newest_received_ns,
  list_sort(list(DISTINCT kernel_version)) AS kernel_versions, list_sort(list(DISTINCT asset)) AS assets, {last} AS last
FROM chosen LEFT JOIN (SELECT tenant AS whose, name AS cell, co2e_u_ug FROM wide) ON whose = tenant AND cell IS NOT DISTINCT FROM name
GROUP BY tenant, name ORDER BY tenant, name""",
        bound,
    )
    trips = {} if by == "warehouse" else _trips(cursor, by, period, factor_set, own)
    return [_sums(row, period, trips) for row in rows]


def _sums(row: dict[str, Any], period: Period, trips: Mapping[tuple[str, str], dict[str, int]]) -> Sums:
    last = row.pop("last")
    cell = {
        **{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()},
        **trips.get((row["tenant"], row["name"]), {}),
        "through_ns": period.to_ns if last is None else min(period.to_ns, (last // MINUTE_NS + 1) * MINUTE_NS),
    }
    return msgspec.convert(cell, Sums)


_BY_TRIP: Final = {  # sum -> what is summed, over which of the minutes
    "excluded_mm": ("mm", "excluded"),
    "empty_mm": ("mm", "NOT excluded AND load_state = 'empty'"),
    "empty_units_mm": ("mm", "NOT excluded AND load_state = 'empty_with_load_units'"),
    "loaded_mm": ("mm", "NOT excluded AND load_state IN ('partial', 'full')"),
    "co2e_empty_ug": ("ug", "NOT excluded AND load_state = 'empty'"),
}


def _trips(
    cursor: duckdb.DuckDBPyConnection, by: By, period: Period, factor_set: str, own: str
) -> dict[tuple[str, str], dict[str, int]]:
    """What only trips know of the minutes in ``period``, by cell: load states, and what counts in no share of running.

    The newest version of a trip is what holds, whatever was known when its minutes were summed.
    """
    sums = ", ".join(
        f"CAST(coalesce(sum({what}) FILTER ({which}), 0) AS HUGEINT) AS {name}"
        for name, (what, which) in _BY_TRIP.items()
    )
    rows = query(
        cursor,
        f"""
WITH here AS ({here(by)}
), driven AS (
  SELECT tenant, name, asset, trip_start_ns, sum(distance_mm) AS mm, sum(co2e_ttw_ug + co2e_wtt_ug) AS ug
  FROM here WHERE trip_start_ns IS NOT NULL GROUP BY ALL
), newest AS (
  SELECT asset, trip_start_ns, load_state, excluded,
    row_number() OVER (PARTITION BY asset, trip_start_ns ORDER BY version DESC) AS place
  FROM trips WHERE day BETWEEN $first_trip_day AND $last_day AND factor_set = $factor_set
), known AS (
  SELECT driven.*, load_state, excluded FROM driven JOIN newest USING (asset, trip_start_ns) WHERE place = 1
)
SELECT tenant, name, {sums} FROM known GROUP BY tenant, name""",
        {**parameters(period, factor_set, own), "first_trip_day": period.days[0] - LONGEST_TRIP},
    )
    return {(r.pop("tenant"), r.pop("name")): r for r in rows}


class Received(msgspec.Struct, frozen=True):
    """Readings of one asset's gateway: how many it numbered and how many of them are here."""

    numbered: int
    here: int


def received(cursor: duckdb.DuckDBPyConnection, period: Period) -> dict[str, Received]:
    """By asset. A gateway numbers what it reads without gaps, so a gap in the numbers is a loss (or still under way)."""
    first, last = period.days
    rows = query(
        cursor,
        """
WITH boots AS (
  SELECT device, boot_id, max(seq) - min(seq) + 1 AS numbered, least(sum(merged), max(seq) - min(seq) + 1) AS here
  FROM readings WHERE day BETWEEN $first_day AND $last_day AND time_ns >= $from_ns AND time_ns < $to_ns
  GROUP BY device, boot_id
), fitted AS (SELECT vehicle AS asset, device FROM vehicles UNION ALL SELECT warehouse, device FROM warehouses)
SELECT asset, CAST(sum(numbered) AS HUGEINT) AS numbered, CAST(sum(here) AS HUGEINT) AS here
FROM boots JOIN fitted USING (device) GROUP BY asset""",
        {"first_day": first, "last_day": last, "from_ns": period.from_ns, "to_ns": period.to_ns},
    )
    return {r["asset"]: Received(r["numbered"], r["here"]) for r in rows}


class CarrierSums(msgspec.Struct, frozen=True):
    """One fuel of the registry in one cell. ``energy`` is nL, µg or µWh: whichever that fuel is counted in."""

    distance_mm: int
    energy: int
    co2e_ttw_ug: int
    co2e_wtt_ug: int


def carriers(
    cursor: duckdb.DuckDBPyConnection, by: By, period: Period, factor_set: str, own: str
) -> dict[tuple[str, str], dict[str, CarrierSums]]:
    """(tenant, cell) -> fuel -> sums."""
    rows = query(
        cursor,
        f"""
WITH here AS ({here(by)})
SELECT tenant, name, fuel, CAST(sum(distance_mm) AS HUGEINT) AS distance_mm,
  CAST(sum(CASE WHEN fuel = 'electricity' THEN energy_uwh WHEN fuel_gas_ug > 0 THEN fuel_gas_ug ELSE fuel_nl END)
    AS HUGEINT) AS energy,
  CAST(sum(co2e_ttw_ug) AS HUGEINT) AS co2e_ttw_ug, CAST(sum(co2e_wtt_ug) AS HUGEINT) AS co2e_wtt_ug
FROM here JOIN (SELECT vehicle, fuel FROM vehicles) ON vehicle = asset GROUP BY 1, 2, 3""",
        parameters(period, factor_set, own),
    )
    out: dict[tuple[str, str], dict[str, CarrierSums]] = {}
    for r in rows:
        cell = out.setdefault((r["tenant"], r["name"]), {})
        cell[r["fuel"]] = CarrierSums(r["distance_mm"], r["energy"], r["co2e_ttw_ug"], r["co2e_wtt_ug"])
    return out


def factor_sets(cursor: duckdb.DuckDBPyConnection) -> list[str]:
    """Factor sets that have results in this lake, by their newest result last."""
    rows = query(
        cursor, "SELECT factor_set, max(day) AS newest FROM rollups GROUP BY factor_set ORDER BY newest, factor_set"
    )
    return [r["factor_set"] for r in rows]


def counts(
    cursor: duckdb.DuckDBPyConnection, by: By, period: Period, factor_set: str, own: str
) -> dict[str, dict[str, int]]:
    """tenant -> cell -> number of distinct vehicles."""
    rows = query(
        cursor,
        f"WITH here AS ({here(by)}) SELECT tenant, name, count(DISTINCT asset) AS n FROM here GROUP BY ALL",
        parameters(period, factor_set, own),
    )
    out: dict[str, dict[str, int]] = {}
    for r in rows:
        out.setdefault(r["tenant"], {})[r["name"]] = r["n"]
    return out
