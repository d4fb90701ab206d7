"""The SQL of the views: stored tables under their own names, dimensions, and the figures that are made when they are read.

Sums are taken over int64 columns (DuckDB widens them to HUGEINT) and divided once, so a figure does not depend on the order of
rows. A sum over time without a figure is null, never 0. Each figure has its unit in its name. ``now_ns()`` is the wall clock, or
the variable ``now_ns`` where a caller has set it (``SET VARIABLE now_ns = ...``).
"""
# ruff: noqa: S608  the names are those of our own schema; nothing from outside gets in here

import datetime
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from storage.bands import ASSET_GROUPS, BAND_MACROS, ONE_ASSET_MG2, ROW_BAND, U_PARTS, bands_macro, summed
from storage.schema import (
    DERIVED,
    DIMENSIONS,
    HOURS,
    LANDED,
    PARTITIONS,
    ROLLUP_KEYS,
    ROLLUP_NEWEST,
    ROLLUP_SUMS,
    SUMMARIES,
    WORDS,
    arrow_schema,
)

MINUTE_NS: Final = 60_000_000_000
HOUR_NS: Final = 60 * MINUTE_NS
OPEN_ROLLUPS: Final = "rollups_open"
RECENT_ROLLUPS: Final = "rollups_recent"
OPEN: Final = {
    HOURS: OPEN_ROLLUPS,
    WORDS: "trips_open",
}  # summary -> view of the rows of its source that it does not cover
FRESH: Final = {  # stored table -> table in memory of the rows of its newest, small files
    source: f"{source}_fresh" for source in SUMMARIES.values()
}
LOOKBACK_NS: Final = 86_400_000_000_000  # a route or warehouse silent for longer shows no newest time
UNKNOWN_SHARE: Final = 0.05  # of observed time that may lack energy or distance where g/km is still told

_DAY: Final = re.compile(r"/day=(\d{4}-\d{2}-\d{2})/")
_SQL_TYPES: Final = {
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.int8(): "TINYINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.binary(32): "BLOB",
    pa.binary(64): "BLOB",
    pa.date32(): "DATE",
}
_TIMES: Final = {  # table -> columns added: name -> the nanoseconds it shows
    "readings": {"time": "time_ns", "received_time": "received_ns"},
    "emissions": {"time": "time_ns"},
    "rollups": {"time": "minute_ns", "newest_time": "newest_time_ns"},
    "trips": {"time": "trip_start_ns", "end_time": "trip_end_ns"},
    "events": {"time": "time_ns", "end_time": "end_ns"},
    "quarantine": {"time": "received_ns"},
    "batches": {"time": "time_ns", "received_time": "received_ns"},
    "gateways": {"time": "received_ns"},
    "rollup_hours": {"time": "hour_ns", "newest_time": "newest_time_ns"},
    "trip_words": {"time": "trip_start_ns", "end_time": "trip_end_ns"},
    "backhaul": {"time": "trip_start_ns", "load_time": "load_trip_start_ns", "pickup_time": "pickup_ns"},
}
STORED: Final = (*LANDED, *SUMMARIES, *DERIVED, *DIMENSIONS)

MACROS: Final = (
    "CREATE OR REPLACE MACRO now_ns() AS coalesce(getvariable('now_ns'), epoch_ns(now()))",
    *BAND_MACROS,
)


def timestamp(ns: str) -> str:
    """SQL of nanoseconds as a timestamp of whole microseconds."""
    return f"make_timestamp({ns} // 1000)"


def _literal(path: str) -> str:
    return "'" + path.replace("'", "''") + "'"


def stored_schema(table: str) -> pa.Schema:
    """Columns of a stored table, those in the path included."""
    made = {**DERIVED, **DIMENSIONS}
    return made[table] if table in made else arrow_schema(table, partitions=True)


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose rows a connection shows. ``owns_unnamed``: also those of things that the registry gives to nobody."""

    name: str
    owns_unnamed: bool = False


def owner_macro(unnamed: str) -> str:
    """The statement that makes ``owner(tenant)``: whose a row of the registry is, ``unnamed`` where it tells nobody."""
    return f"CREATE OR REPLACE MACRO owner(tenant) AS coalesce(tenant, {_literal(unnamed)})"


OPEN_TO_ALL: Final = ("benchmarks", "factors", "regions")  # tables that belong to no tenant
_ASSETS: Final = "SELECT vehicle FROM vehicles UNION ALL SELECT warehouse FROM warehouses"
_DEVICES: Final = "SELECT device FROM vehicles UNION ALL SELECT device FROM warehouses"


def rows_of(table: str, tenant: Tenant | None) -> str:
    """The condition that leaves the rows of ``tenant``. None where all are shown. A table that nobody has placed shows none.

    IS TRUE makes DuckDB look each row up among the tenant's assets. Without it the planner may turn the join round: it takes the files
    of days before the newest for a single row, and then makes a hash table of all their rows.
    """
    names = stored_schema(table).names
    if tenant is None or table in OPEN_TO_ALL:
        return "true"
    if "tenant" in names:
        unnamed = " OR tenant IS NULL" if tenant.owns_unnamed and table != "quarantine" else ""
        return f"(tenant = {_literal(tenant.name)}{unnamed})"
    if "asset" in names:
        return f"(asset IN ({_ASSETS})) IS TRUE"
    if "device" in names:
        return f"(device IN ({_DEVICES})) IS TRUE"
    return "false"


def _typed(schema: pa.Schema) -> str:
    return f"SELECT {', '.join(f'CAST(NULL AS {_SQL_TYPES[f.type]}) AS {f.name}' for f in schema)} WHERE false"


def _source(table: str, files: Sequence[str], *, mixed: bool) -> str:
    """What stands after FROM for exactly ``files`` of ``table``."""
    schema = stored_schema(table)
    if not files:
        return f"({_typed(schema)})"
    types = ", ".join(f"'{name}': {_SQL_TYPES[schema.field(name).type]}" for name in PARTITIONS.get(table, ()))
    options = f", hive_partitioning = true, hive_types = {{{types}}}" if types else ""
    options += ", union_by_name = true" if mixed else ""
    read = f"read_parquet([{', '.join(_literal(f) for f in files)}]{options})"
    return f"({_typed(schema)} UNION ALL BY NAME SELECT * FROM {read})" if mixed else read


def no_fresh_rows(table: str) -> str:
    """The statement that makes the table in ``FRESH`` without rows."""
    return f"CREATE OR REPLACE TABLE {FRESH[table]} AS {_typed(stored_schema(table))}"


def take_fresh_rows(table: str, files: Sequence[str], *, mixed: bool) -> str:
    """The statement that puts the rows of ``files`` into the table in ``FRESH``."""
    names = ", ".join(stored_schema(table).names)
    return f"INSERT INTO {FRESH[table]} ({names}) SELECT {names} FROM {_source(table, files, mixed=mixed)}"


def stored_view(
    table: str,
    files: Sequence[str],
    *,
    mixed: bool = False,
    fresh: bool = False,
    tenant: Tenant | None = None,
    name: str | None = None,
) -> str:
    """The statement that makes the view of a stored table over exactly ``files``; without files it has no rows, in the same types.

    ``mixed`` says that some files may lack columns, which are null then. ``fresh``: with the rows in memory, for tables in ``FRESH``.
    ``tenant`` leaves only what is his. ``name`` is that of the view where it is not the table's.
    """
    schema = stored_schema(table)
    extra = [f"{timestamp(ns)} AS {name}" for name, ns in _TIMES.get(table, {}).items()]
    if table in ("emissions", "rollups", "trips", *SUMMARIES):
        extra.append("co2e_ttw_ug + co2e_wtt_ug AS co2e_wtw_ug")
    if table == "emissions":
        extra += ROW_BAND
    columns = ", ".join([f.name for f in schema] + extra)
    source = _source(table, files, mixed=mixed)
    if fresh and table in FRESH:
        names = ", ".join(schema.names)
        old = f"SELECT {names} FROM {source} UNION ALL " if files else ""
        source = f"({old}SELECT {names} FROM {FRESH[table]})"
    where = "" if tenant is None else f" WHERE {rows_of(table, tenant)}"
    return f"CREATE OR REPLACE VIEW {name or table} AS SELECT {columns} FROM {source}{where}"


def recent_view(files: Sequence[str], now_ns: int, *, mixed: bool, tenant: Tenant | None, fresh: bool = False) -> str:
    """The statement that makes ``rollups_recent``: the rollups of the last day and of the running one, from few files.

    What shows "now" reads it, as naming a file costs a query 20 µs even where it is not opened. A clock that was moved back to
    before it is an error, not a figure without its readings.
    """
    days = {f: d[1] for f in files if (d := _DAY.search(f)) is not None}
    newest = min(max(days.values(), default=""), _day(now_ns))
    first = _day(_start_ns(newest) - LOOKBACK_NS) if newest else ""
    kept = [f for f in files if days.get(f, first) >= first]
    view = stored_view("rollups", kept, mixed=mixed, fresh=fresh, tenant=tenant, name=RECENT_ROLLUPS)
    if len(kept) == len(files):
        return view
    least = _start_ns(first) + LOOKBACK_NS
    guard = f"CASE WHEN now_ns() < {least} THEN error('the clock was moved back: open the lake as of a commit') ELSE true END"
    return f"{view} {'WHERE' if tenant is None else 'AND'} {guard}"


def _day(ns: int) -> str:
    return datetime.datetime.fromtimestamp(ns // 10**9, datetime.UTC).date().isoformat()


def _start_ns(day: str) -> int:
    return int(datetime.datetime.fromisoformat(f"{day}T00:00+00:00").timestamp()) * 10**9


# Additive columns of a rollup -> what must be above 0 for them to be known. Always known where that is empty.
KNOWN: Final = "observed_us - unknown_us"
_PAYLOAD_KNOWN: Final = "distance_mm - payload_unknown_mm"
_KNOWN_FOR: Final = {
    **dict.fromkeys(("readings", "observed_us", "unknown_us", "distance_unknown_us", "idle_us", "moving_us"), ""),
    **dict.fromkeys(("refrigerant_co2e_ug", "refrigerant_unknown_g", "goods_out_g", "pallet_us"), ""),
    **dict.fromkeys(("pallets_in", "pallets_out", "forklift_uwh"), ""),
    "distance_mm": "observed_us - distance_unknown_us",
    "payload_unknown_mm": "observed_us - distance_unknown_us",
    "transport_kgm": _PAYLOAD_KNOWN,
    "capacity_kgm": _PAYLOAD_KNOWN,
}
_OF_ASSETS: Final = {name: _KNOWN_FOR.get(name, KNOWN) for name in (*ROLLUP_SUMS, "co2e_wtw_ug")}
_SUMS: Final = tuple(
    name for name in _OF_ASSETS if name not in U_PARTS
)  # the parts of the band add up within one asset only
_ADDITIVE: Final = ", ".join(_SUMS)


def sums_of_parts(names: Iterable[str]) -> str:
    """SQL of the sums of these additive columns, null where nothing of them is known."""
    return ",\n    ".join(
        f"CASE WHEN sum({known}) > 0 THEN CAST(sum({name}) AS BIGINT) END AS {name}"
        if (known := _OF_ASSETS[name])
        else f"CAST(sum({name}) AS BIGINT) AS {name}"
        for name in names
    )


NEWEST: Final = ", ".join(f"max({name}) AS {name}" for name in ROLLUP_NEWEST)
FRESHNESS: Final = f"""\
    {timestamp("newest_time_ns")} AS newest_time,
    (now_ns() - newest_time_ns) / 1e9 AS age_s"""
REGISTERED: Final = {
    "route": "SELECT route, count(*) AS registered FROM vehicles WHERE route IS NOT NULL GROUP BY route",
    "warehouse": "SELECT warehouse, 1 AS registered FROM warehouses",
}

# Needs the additive columns and expected_us. 1 g/km is 1 µg/mm.
_FIGURE_OF: Final = {
    "observed_s": "observed_us / 1e6",
    "expected_s": "expected_us / 1e6",
    "coverage": "CASE WHEN expected_us > 0 THEN least(1.0, coalesce(observed_us, 0) / expected_us) END",
    "distance_km": "distance_mm / 1e6",
    "fuel_l": "fuel_nl / 1e9",
    "fuel_gas_kg": "fuel_gas_ug / 1e9",
    "tru_fuel_l": "tru_fuel_nl / 1e9",
    "energy_kwh": "energy_uwh / 1e9",
    "co2e_ttw_kg": "co2e_ttw_ug / 1e9",
    "co2e_wtt_kg": "co2e_wtt_ug / 1e9",
    "co2e_wtw_kg": "co2e_wtw_ug / 1e9",
    "co2_biogenic_kg": "co2_biogenic_ug / 1e9",
    "co2e_wtw_market_kg": "(co2e_ttw_ug + co2e_wtt_market_ug) / 1e9",
    "ch4_co2e_ttw_kg": "CASE WHEN co2e_split_ug = co2e_ttw_ug THEN ch4_co2e_ttw_ug / 1e9 END",
    "n2o_co2e_ttw_kg": "CASE WHEN co2e_split_ug = co2e_ttw_ug THEN n2o_co2e_ttw_ug / 1e9 END",
    "refrigerant_co2e_kg": "CASE WHEN refrigerant_unknown_g = 0 THEN refrigerant_co2e_ug / 1e9 END",
    "co2e_wtw_g_per_km": f"CASE WHEN greatest(unknown_us, distance_unknown_us) <= {UNKNOWN_SHARE} * observed_us"
    " THEN co2e_wtw_ug / nullif(distance_mm, 0) END",
    "measured_share": "co2e_measured_ug / nullif(co2e_wtw_ug, 0)",
    "co2e_u_rel": "1.96e3 * sqrt(u_mg2) / nullif(abs(co2e_wtw_ug), 0)",
    "co2e_wtw_low_kg": "band_low(co2e_wtw_ug, 1e3 * sqrt(u_mg2)) / 1e9",
    "co2e_wtw_high_kg": "band_high(co2e_wtw_ug, 1e3 * sqrt(u_mg2)) / 1e9",
}


def figures(*names: str) -> str:
    """SQL of these figures, all where none is named, over additive columns and ``expected_us``."""
    return ",\n".join(f"    {_FIGURE_OF[name]} AS {name}" for name in names or _FIGURE_OF)


# Of vehicles; 1 g per t km is 1 µg per kg m.
_TRANSPORT: Final = f"""\
    transport_kgm / 1e6 AS transport_tkm,
    transport_kgm / nullif(capacity_kgm, 0) AS load_factor,
    payload_unknown_mm / nullif(distance_mm, 0) AS payload_unknown_share,
    CASE WHEN greatest(unknown_us, distance_unknown_us) <= {UNKNOWN_SHARE} * observed_us
        AND payload_unknown_mm <= {UNKNOWN_SHARE} * distance_mm
      THEN co2e_wtw_ug / nullif(transport_kgm, 0) END AS co2e_wtw_g_per_tkm,
    idle_us / 1e6 AS idle_s,
    moving_us / 1e6 AS moving_s"""
# Of warehouses; 1 kg per t is 1000 µg per g.
_SITE: Final = """\
    pv_used_uwh / 1e9 AS pv_used_kwh,
    grid_export_uwh / 1e9 AS grid_export_kwh,
    gas_uwh / 1e9 AS gas_kwh_gross,
    heat_uwh / 1e9 AS heat_kwh,
    forklift_uwh / 1e9 AS forklift_kwh,
    goods_out_g / 1e6 AS goods_out_t,
    pallet_us / 3.6e9 AS pallet_h,
    CASE WHEN refrigerant_unknown_g = 0
      THEN (co2e_wtw_ug + refrigerant_co2e_ug) / 1e3 / nullif(goods_out_g, 0) END AS co2e_hub_kg_per_t"""

_ASSET_MINUTES: Final = f"""
SELECT {timestamp("minute_ns")} AS time, minute_ns, day, kind, asset, route, factor_set,
    {sums_of_parts(_OF_ASSETS)},
    {NEWEST}
FROM rollups GROUP BY ALL"""

_VEHICLES: Final = "SELECT * FROM asset_minutes LEFT JOIN asset_groups USING (asset) WHERE kind = 'vehicle'"
_BY_ROUTE: Final = summed(
    _VEHICLES,
    ("minute_ns", "day", "route", "factor_set"),
    _SUMS,
    {
        "vehicles_reporting": "count(DISTINCT asset)|CAST(sum(vehicles_reporting) AS BIGINT)",
        **{name: f"max({name})" for name in ROLLUP_NEWEST},
    },
)
_ROUTE_MINUTES: Final = f"""
WITH {_BY_ROUTE}, expected AS (
  SELECT *, coalesce(registered, 0) AS vehicles_registered,
    greatest(coalesce(registered, 0), vehicles_reporting)
      * least(60000000, greatest(0, (now_ns() - minute_ns) // 1000)) AS expected_us
  FROM summed LEFT JOIN ({REGISTERED["route"]}) USING (route)
)
SELECT {timestamp("minute_ns")} AS time, route, name AS route_name, factor_set, vehicles_registered, vehicles_reporting,
{figures()},
{_TRANSPORT},
{FRESHNESS},
    minute_ns, day, {_ADDITIVE}, newest_time_ns, newest_received_ns
FROM expected LEFT JOIN routes USING (route)"""

_WAREHOUSE_MINUTES: Final = f"""
WITH summed AS (
  SELECT minute_ns, day, asset AS warehouse, factor_set, {_ADDITIVE}, newest_time_ns, newest_received_ns,
    {ONE_ASSET_MG2} AS u_mg2,
    least(60000000, greatest(0, (now_ns() - minute_ns) // 1000)) AS expected_us
  FROM asset_minutes WHERE kind = 'warehouse'
)
SELECT {timestamp("minute_ns")} AS time, warehouse, name AS warehouse_name, factor_set,
{figures()},
{_SITE},
{FRESHNESS},
    minute_ns, day, {_ADDITIVE}, newest_time_ns, newest_received_ns
FROM summed LEFT JOIN warehouses USING (warehouse)"""


_HOUR_KEYS: Final = ", ".join(n for n in ROLLUP_KEYS if n != "minute_ns")
_PARTS: Final = ", ".join((_HOUR_KEYS, "factor_set", "day", *ROLLUP_SUMS, "co2e_wtw_ug", *ROLLUP_NEWEST))
_ASSET_HOURS: Final = f"""
SELECT {timestamp("hour_ns")} AS time, hour_ns, {_PARTS} FROM rollup_hours
UNION ALL
SELECT {timestamp(f"(minute_ns - minute_ns % {HOUR_NS})")}, minute_ns - minute_ns % {HOUR_NS}, {_PARTS} FROM {OPEN_ROLLUPS}"""

FIGURES: Final = {  # in the order in which they build on each other
    "asset_groups": ASSET_GROUPS,
    "asset_minutes": _ASSET_MINUTES,
    "asset_hours": _ASSET_HOURS,
    "route_minutes": _ROUTE_MINUTES,
    "warehouse_minutes": _WAREHOUSE_MINUTES,
}


def figure_views() -> list[str]:
    """Statements that make the views of figures, over the stored ones."""
    return [*(f"CREATE OR REPLACE VIEW {name} AS {sql}" for name, sql in FIGURES.items()), bands_macro()]
