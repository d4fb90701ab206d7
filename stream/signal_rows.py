"""Signals of a block of rows, column after column in one stretch of memory that stays in the cache: taken from the batch at once.

Fifty columns are fifty places of memory; waiting for each row of each, and keeping their addresses, costs more than copying them.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel
from stream.table import BLOCK

SIGNALS: Final = (
    "speed_kmh",
    "gps_speed_kmh",
    "odometer_m",
    "engine_speed_rpm",
    "fuel_rate_lph",
    "fuel_total_hr_l",
    "fuel_total_l",
    "fuel_flow_total_l",
    "gas_total_kg",
    "tru_fuel_total_l",
    "switches",
    "gross_weight_kg",
    "ambient_temp_c",
    "baro_kpa",
    "alt_m",
    "battery_power_kw",
    "battery_energy_total_kwh",
    "grid_import_kwh",
    "grid_export_kwh",
    "pv_kwh",
    "heat_kwh",
    "forklift_kwh",
    "goods_out_total_kg",
    "pallets_in_total",
    "pallets_out_total",
    "pallets_stored",
    "adblue_total_l",
    "gas_kwh_gross",
    "genset_fuel_total_l",
    "lat_deg",
    "lon_deg",
    "hdop",
    "fuel_level_pct",
    "battery_soc_pct",
    "refrigerant_topup_total_kg",
    "cargo_kg",
    "load_units_loaded",
    "load_units_empty",
    "route_number",
    "pto_power_kw",
    "grade_pct",
    "engine_torque_pct",
    "engine_friction_torque_pct",
    "engine_ref_torque_nm",
    "heading_deg",
    "wind_speed_ms",
    "wind_from_deg",
    "precipitation_mm_h",
    "road_iri_m_per_km",
)
WORD: Final = 8  # bytes of a number
READ: Final = ("device", "time_ns", "received_ns", *SIGNALS)  # of the table ``readings``
# Where each begins, in the order of ``SIGNALS``.
(
    SPEED,
    GPS_SPEED,
    ODOMETER,
    RPM,
    FUEL_RATE,
    FUEL_HR,
    FUEL_TOTAL,
    FUEL_FLOW,
    GAS_TOTAL,
    TRU_TOTAL,
    SWITCHES,
    GROSS,
    TEMP,
    BARO,
    ALT,
    BATTERY_KW,
    BATTERY_KWH,
    GRID_KWH,
    EXPORT_KWH,
    PV_KWH,
    HEAT_KWH,
    FORKLIFT_KWH,
    GOODS,
    PALLETS_IN,
    PALLETS_OUT,
    PALLETS_STORED,
    ADBLUE_TOTAL,
    GAS_KWH,
    GENSET,
    LAT,
    LON,
    HDOP,
    LEVEL,
    SOC,
    TOPUP,
    CARGO,
    UNITS_LOADED,
    UNITS_EMPTY,
    ROUTE_NUMBER,
    PTO_KW,
    GRADE,
    TORQUE,
    FRICTION,
    REF_TORQUE,
    HEADING,
    WIND,
    WIND_FROM,
    RAIN,
    IRI,
) = range(0, len(SIGNALS) * BLOCK, BLOCK)


def _bits(*begins: int) -> int:
    return sum(1 << begin // BLOCK for begin in begins)


# Bits of signals that few vehicles send: what nobody in a block of rows sent is not looked at in each of them.
WEATHER: Final = _bits(BARO, WIND, WIND_FROM, RAIN, REF_TORQUE)
HEIGHTS: Final = _bits(ALT, GRADE, BARO)
ORDERS: Final = _bits(CARGO, UNITS_LOADED, UNITS_EMPTY, ROUTE_NUMBER)
ENGINE: Final = _bits(TORQUE)
EXTRAS: Final = _bits(PTO_KW, TRU_TOTAL, ADBLUE_TOTAL, TOPUP, IRI)


def new_signals() -> Any:
    """Room for the signals of a block, none sent."""
    return np.full(len(SIGNALS) * BLOCK, np.nan)


def new_far() -> Any:
    """Room for ``far_columns``."""
    return np.zeros(len(SIGNALS) + 2, np.int64)


@kernel
def far_columns(columns: Any, bits: int, times: Any, far: Any) -> int:
    """Fill ``far`` with the addresses of the columns that a block is taken from: those of ``columns`` whose bit of ``bits`` is set, and
    ``times``; count these.

    They are asked for while the block before is worked on, one with each row: waiting for them costs a tenth of a reading, and asking
    for all of them at once as much, for no more than a few dozen requests are under way at a time.
    """
    n = 0
    for k in range(len(columns)):
        if bits >> k & 1:
            far[n] = columns[k].ctypes.data
            n += 1
    for column in times:
        far[n] = column.ctypes.data
        n += 1
    return n


@kernel
def has_value(column: Any) -> bool:
    """Whether any row of ``column`` (n,) is not NaN."""
    n = 0
    while n < column.size and column[n] != column[n]:
        n += 1
    return bool(n < column.size)


def sent(columns: Sequence[npt.NDArray[np.float64]]) -> int:
    """Bits of the ``columns`` (of ``SIGNALS``) in which any row has a value. Those that no message held are mostly one array."""
    seen: dict[int, bool] = {}
    bits = 0
    for k, column in enumerate(columns):
        if id(column) not in seen:
            seen[id(column)] = has_value(column)
        bits |= seen[id(column)] << k
    return bits
