"""Zero-emission loaded kilometres per vehicle, for subsidies: each kilometre once, measured, with the energy behind it.

A kilometre counts when the vehicle runs on electricity alone, its trip is closed and carried goods, and the trip's energy and
distance are known throughout. A trip is one row of one asset, so a kilometre lies in one trip only; an asset whose VIN is
registered twice, here or with another operator, counts for nothing until that is mended.
"""

from typing import Final

import duckdb
import msgspec

from dashboards.feed.periods import Period, iso
from dashboards.feed.progress import MM_PER_KM, UWH_PER_KWH
from dashboards.feed.reader import query
from dashboards.feed.sums import parameters
from storage.factor_files import factor_set as packaged
from stream.factors import ELECTRICITY, FactorError, grid_factors

UNKNOWN_MAX: Final = 0.05  # of a trip's observed time that may lack an energy figure


class ElectricVehicle(msgspec.Struct, frozen=True, kw_only=True):
    """One vehicle in the period. ``verified_loaded_km`` is what a subsidy may rest on; the rest says why not more."""

    tenant: str
    vehicle: str
    grid_zone: str | None
    verified_loaded_km: float
    loaded_km: float
    empty_km: float
    unknown_load_km: float
    unmeasured_km: float
    trips: int
    energy_kwh: float
    charged_kwh: float | None
    kg_co2e_per_kwh: float | None
    co2e_wtw_kg: float
    refused: str | None = None


class Electric(msgspec.Struct, frozen=True, kw_only=True):
    """All electric vehicles that a key may see."""

    from_: str = msgspec.field(name="from")
    to: str
    factor_set: str
    verified_loaded_km: float
    vehicles: tuple[ElectricVehicle, ...]
    rule: str = (
        "closed trips with goods aboard, on electricity alone, energy known for at least 95 % of the time; a trip belongs to the "
        "period in which it began; energy_kwh at the battery, charged_kwh as the vehicle's recharge events tell"
    )


_SQL: Final = """
WITH newest AS (
  SELECT *, row_number() OVER (PARTITION BY asset, trip_start_ns ORDER BY version DESC) AS place FROM trips
  WHERE day BETWEEN $first_day AND $last_day AND trip_start_ns >= $from_ns AND trip_start_ns < $to_ns
    AND factor_set = $factor_set
), judged AS (
  SELECT *, closed AND coalesce(fuel_nl, 0) = 0 AND observed_us > 0 AND unknown_us <= $unknown_max * observed_us
    AND energy_uwh IS NOT NULL AS measured, load_state IN ('partial', 'full') AS loaded
  FROM newest WHERE place = 1 AND NOT excluded
), charged AS (
  SELECT asset, sum(amount) AS kwh FROM (
    SELECT DISTINCT asset, time_ns, amount FROM events
    WHERE kind = 'recharge' AND day BETWEEN $first_day AND $last_day AND time_ns >= $from_ns AND time_ns < $to_ns
      AND factor_set = $factor_set
  ) GROUP BY asset
), doubled AS (
  SELECT vin FROM vehicles WHERE vin IS NOT NULL GROUP BY vin HAVING count(*) > 1
)
SELECT coalesce(v.tenant, $own) AS tenant, v.vehicle, v.grid_zone, v.vin IN (SELECT vin FROM doubled) AS twice,
  coalesce(sum(distance_mm) FILTER (loaded AND measured), 0) AS verified, coalesce(sum(distance_mm) FILTER (loaded), 0) AS loaded,
  coalesce(sum(distance_mm) FILTER (load_state IN ('empty', 'empty_with_load_units')), 0) AS empty,
  coalesce(sum(distance_mm) FILTER (load_state = 'unknown'), 0) AS unknown,
  coalesce(sum(distance_mm) FILTER (NOT measured), 0) AS unmeasured,
  count(trip_start_ns) AS trips, coalesce(sum(energy_uwh), 0) AS energy,
  coalesce(sum(co2e_ttw_ug + co2e_wtt_ug), 0) AS co2e, any_value(kwh) AS charged
FROM (SELECT vehicle, tenant, grid_zone, vin, fuel FROM vehicles) AS v
  LEFT JOIN judged ON judged.asset = v.vehicle LEFT JOIN charged ON charged.asset = v.vehicle
WHERE v.fuel = $electricity GROUP BY ALL ORDER BY tenant, v.vehicle"""


def electric(cursor: duckdb.DuckDBPyConnection, period: Period, factor_set: str, own: str) -> Electric:
    """Every electric vehicle of the registry over ``period``."""
    bound = {**parameters(period, factor_set, own), "unknown_max": UNKNOWN_MAX, "electricity": ELECTRICITY}
    vehicles = []
    for r in query(cursor, _SQL, bound):
        twice = bool(r["twice"])
        vehicles.append(
            ElectricVehicle(
                tenant=r["tenant"],
                vehicle=r["vehicle"],
                grid_zone=r["grid_zone"],
                verified_loaded_km=0.0 if twice else int(r["verified"]) / MM_PER_KM,
                loaded_km=int(r["loaded"]) / MM_PER_KM,
                empty_km=int(r["empty"]) / MM_PER_KM,
                unknown_load_km=int(r["unknown"]) / MM_PER_KM,
                unmeasured_km=int(r["unmeasured"]) / MM_PER_KM,
                trips=r["trips"],
                energy_kwh=int(r["energy"]) / UWH_PER_KWH,
                charged_kwh=r["charged"],
                kg_co2e_per_kwh=zone_factor(factor_set, r["grid_zone"]),
                co2e_wtw_kg=int(r["co2e"]) / 1e9,
                refused="its VIN is registered more than once; mend the registry" if twice else None,
            )
        )
    return Electric(
        from_=iso(period.from_ns),
        to=iso(period.to_ns),
        factor_set=factor_set,
        verified_loaded_km=sum(v.verified_loaded_km for v in vehicles),
        vehicles=tuple(vehicles),
    )


def zone_factor(factor_set: str, zone: str | None) -> float | None:
    """kg CO2e per kWh at the meter of a grid zone under a packaged factor set; None where it holds none."""
    if zone is None:
        return None
    try:
        return grid_factors(packaged(factor_set), zone).total
    except FactorError:
        return None
