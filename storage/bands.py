"""SQL of 95 % bands: how the parts of an error (``stream.uncertainty``) make the band of any sum.

Independent parts add as variances; a shared part adds linearly within its group (trip, asset, vehicle class, fuel, grid zone) and
its groups add in squares. Squares are taken of whole milligrams as HUGEINT, so a band does not depend on the order of rows.
"""
# ruff: noqa: S608  the names are those of our own schema; nothing from outside gets in here

from collections.abc import Sequence
from typing import Final

U_PARTS: Final = (
    "u_ind_mg2",
    "u_trip_ug",
    "u_asset_ug",
    "u_model_ug",
    "u_fuel_ttw_ug",
    "u_fuel_wtt_ug",
    "u_grid_ug",
)
GROUPS: Final = {  # part shared beyond one asset -> what shares it
    "u_model_ug": "vehicle_class",
    "u_fuel_ttw_ug": "fuel",
    "u_fuel_wtt_ug": "fuel",
    "u_grid_ug": "grid_zone",
}

# Log-normal around ``value`` with standard deviation ``sd``: never beyond 0. s^2 = ln(1 + (sd/value)^2).
BAND_MACROS: Final = tuple(
    f"CREATE OR REPLACE MACRO band_{side}(value, sd) AS CASE WHEN value = 0 THEN 0.0 ELSE"
    " value * exp(-ln(1 + pow(sd / value, 2)) / 2"
    f" {sign} sign(value) * 1.96 * sqrt(ln(1 + pow(sd / value, 2)))) END"
    for side, sign in (("low", "-"), ("high", "+"))
)
ROW_BAND: Final = tuple(  # of one reading, whose co2e_u_rel is 2 sd
    f"band_{side}(co2e_ttw_ug + co2e_wtt_ug, co2e_u_rel / 2 * abs(co2e_ttw_ug + co2e_wtt_ug)) AS co2e_wtw_{side}_ug"
    for side in ("low", "high")
)
ASSET_GROUPS: Final = """
SELECT vehicle AS asset, fuel, vehicle_class, lower(grid_zone) AS grid_zone FROM vehicles
UNION ALL SELECT warehouse, 'fuels of sites', NULL, lower(grid_zone) FROM warehouses"""


def _square(ug: str) -> str:
    """mg² of a standard deviation in µg."""
    return f"CAST({ug} // 1000 AS HUGEINT) * CAST({ug} // 1000 AS HUGEINT)"


ONE_ASSET_MG2: Final = " + ".join(
    ["u_ind_mg2", *(_square(name) for name in U_PARTS[1:])]
)  # one asset is one group of each
_OWN_MG2: Final = " + ".join(["u_ind_mg2", *(_square(name) for name in ("u_trip_ug", "u_asset_ug"))])


def summed(per_asset: str, keys: Sequence[str], sums: Sequence[str], extra: dict[str, str]) -> str:
    """Common table expressions that end in ``summed``: one row per ``keys`` with the total of each of ``sums``, ``extra`` and
    ``u_mg2``, the variance of TTW + WTT [mg²].

    ``per_asset``: SQL with the keys, the sums, ``U_PARTS``, ``fuel``, ``vehicle_class`` and ``grid_zone``, one row per asset and key.
    ``extra``: column -> aggregate over its rows; that over their groups is the same (max, sum) or given after ``|``.
    """
    by = ", ".join(keys)
    totals = ", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in sums)
    inner = ", ".join(f"{how.split('|')[0]} AS {name}" for name, how in extra.items())
    outer = ", ".join(f"{how.split('|')[-1]} AS {name}" for name, how in extra.items())
    shared = ", ".join(f"sum({name}) AS {name}" for name in GROUPS)
    once = " + ".join(
        f"CASE WHEN row_number() OVER (PARTITION BY {by}, {group} ORDER BY {rest}) = 1"
        f" THEN {_square(f'sum({part}) OVER (PARTITION BY {by}, {group})')} ELSE 0 END"
        for part, group in GROUPS.items()
        for rest in (", ".join(sorted(set(GROUPS.values()) - {group})),)
    )
    return f"""per_asset AS ({per_asset}
), alike AS (
  SELECT {by}, fuel, vehicle_class, grid_zone, {totals}, {inner}, sum({_OWN_MG2}) AS own_mg2, {shared}
  FROM per_asset GROUP BY ALL
), shared AS (
  SELECT * EXCLUDE ({", ".join(GROUPS)}), own_mg2 + {once} AS mg2 FROM alike
), summed AS (
  SELECT {by}, {totals}, {outer}, sum(mg2) AS u_mg2 FROM shared GROUP BY {by}
)"""


_ALL: Final = ("co2e_ttw_ug", "co2e_wtt_ug", "observed_us", "unknown_us")


def _per_asset(source: str, keys: dict[str, str], trip: str, condition: str = "true") -> str:
    """Rows of ``source`` summed per key and asset, the parts of its trips as squares."""
    by = ", ".join(keys)
    return f"""
  SELECT {by}, asset, {", ".join(f"sum({name}) AS {name}" for name in _ALL)},
    sum(u_ind_mg2) + sum({_square("u_trip_ug")}) AS u_ind_mg2, 0 AS u_trip_ug,
    {", ".join(f"sum({name}) AS {name}" for name in U_PARTS[2:])}, fuel, vehicle_class, grid_zone
  FROM (
    SELECT {", ".join(f"{what} AS {name}" for name, what in keys.items())}, asset, {trip} AS trip, fuel,
      vehicle_class, grid_zone, {", ".join(f"sum({name}) AS {name}" for name in (*_ALL, *U_PARTS))}
    FROM {source} LEFT JOIN asset_groups USING (asset) WHERE {condition} GROUP BY ALL
  ) GROUP BY ALL"""


def half_widths(source: str, keys: Sequence[str]) -> str:
    """SQL of the half-width of the 95 % band of TTW + WTT [µg], ``co2e_u_ug``, by ``keys``; ``source``: rollups, or a choice of them."""
    per_asset = _per_asset(source, {k: k for k in keys}, "trip_start_ns")
    return f"""
  WITH {summed(per_asset, keys, _ALL, {"assets": "count(DISTINCT asset)|sum(assets)"})}
  SELECT {", ".join(keys)}, CAST(round(1.96e3 * sqrt(u_mg2)) AS HUGEINT) AS co2e_u_ug FROM summed"""


def bands_macro() -> str:
    """The statement that makes ``wtw_bands(by_key, condition := true, source := 'rollups')``, a table macro.

    ``by_key`` is any expression over the columns of ``source`` and of ``asset_groups``; several keys make a struct:
    ``{'route': route, 'state': load_state}``.
    """
    keys = {"key": "by_key", "factor_set": "factor_set"}
    trips = _per_asset("query_table(source)", keys, "trip_start_ns", "condition")
    return f"""
CREATE OR REPLACE MACRO wtw_bands(by_key, condition := true, source := 'rollups') AS TABLE
WITH {summed(trips, ("key", "factor_set"), _ALL, {"assets": "count(DISTINCT asset)|sum(assets)"})}
SELECT key, factor_set, CAST(assets AS BIGINT) AS assets,
  CAST(co2e_ttw_ug + co2e_wtt_ug AS BIGINT) AS co2e_wtw_ug, (co2e_ttw_ug + co2e_wtt_ug) / 1e9 AS co2e_wtw_kg,
  band_low(co2e_ttw_ug + co2e_wtt_ug, 1e3 * sqrt(u_mg2)) / 1e9 AS co2e_wtw_low_kg,
  band_high(co2e_ttw_ug + co2e_wtt_ug, 1e3 * sqrt(u_mg2)) / 1e9 AS co2e_wtw_high_kg,
  1.96e3 * sqrt(u_mg2) / nullif(abs(co2e_ttw_ug + co2e_wtt_ug), 0) AS co2e_u_rel
FROM summed WHERE observed_us > unknown_us"""
