"""Where each column of a result lies in the int64 matrix that the kernels fill: one row per column, so columns come out contiguous."""

from typing import Final

from stream.columns import EMISSION, ROLLUP, TRIP

_NOT_IN_KERNEL: Final = ("device", "boot_id", "seq", "time_ns", "asset", "load_state_p", "co2e_u_rel", "kernel_version")
EMISSION_ROWS: Final = tuple(c.name for c in EMISSION if c.name not in _NOT_IN_KERNEL)
ROW_ROUTE: Final = EMISSION_ROWS.index("route")
ROW_REGION: Final = EMISSION_ROWS.index("region")
ROW_TRIP: Final = EMISSION_ROWS.index("trip_start_ns")
LOAD_STATE: Final = EMISSION_ROWS.index("load_state")
DT: Final = EMISSION_ROWS.index("dt_us")
DISTANCE: Final = EMISSION_ROWS.index("distance_mm")
DISTANCE_METHOD: Final = EMISSION_ROWS.index("distance_method")
FUEL_LIQUID: Final = EMISSION_ROWS.index("fuel_nl")
TRU_FUEL: Final = EMISSION_ROWS.index("tru_fuel_nl")
FUEL_GAS: Final = EMISSION_ROWS.index("fuel_gas_ug")
ENERGY: Final = EMISSION_ROWS.index("energy_uwh")
METHOD: Final = EMISSION_ROWS.index("energy_method")
CO2: Final = EMISSION_ROWS.index("co2_ttw_ug")
CO2E_TTW: Final = EMISSION_ROWS.index("co2e_ttw_ug")
CO2E_WTT: Final = EMISSION_ROWS.index("co2e_wtt_ug")
CO2_BIOGENIC: Final = EMISSION_ROWS.index("co2_biogenic_ug")

ROLLUP_ROWS: Final = tuple(c.name for c in ROLLUP if c.name != "kernel_version")
MINUTE: Final = ROLLUP_ROWS.index("minute_ns")
KIND: Final = ROLLUP_ROWS.index("kind")
ASSET: Final = ROLLUP_ROWS.index("asset")
ROUTE: Final = ROLLUP_ROWS.index("route")
REGION: Final = ROLLUP_ROWS.index("region")
TRIP_START: Final = ROLLUP_ROWS.index("trip_start_ns")
ROLLUP_LOAD_STATE: Final = ROLLUP_ROWS.index("load_state")
READINGS: Final = ROLLUP_ROWS.index("readings")
OBSERVED: Final = ROLLUP_ROWS.index("observed_us")
UNKNOWN_TIME: Final = ROLLUP_ROWS.index("unknown_us")
MOVING: Final = ROLLUP_ROWS.index("moving_us")
IDLE: Final = ROLLUP_ROWS.index("idle_us")
DISTANCE_UNKNOWN: Final = ROLLUP_ROWS.index("distance_unknown_us")
MEASURED: Final = ROLLUP_ROWS.index("co2e_measured_ug")
BAND: Final = ROLLUP_ROWS.index("co2e_u_ug")
NEWEST_TIME: Final = ROLLUP_ROWS.index("newest_time_ns")
NEWEST_RECEIVED: Final = ROLLUP_ROWS.index("newest_received_ns")
SUMMED: Final = tuple(  # (row of the result, row of the sum it is added to)
    (EMISSION_ROWS.index(name), ROLLUP_ROWS.index(name))
    for name in (
        "distance_mm",
        "fuel_nl",
        "fuel_gas_ug",
        "tru_fuel_nl",
        "energy_uwh",
        "co2_ttw_ug",
        "co2e_ttw_ug",
        "co2e_wtt_ug",
        "co2_biogenic_ug",
    )
)

TRIP_FLOATS: Final = tuple(c.name for c in TRIP if c.dtype == "float64")
TRIP_INTS: Final = tuple(c.name for c in TRIP if c.dtype != "float64" and c.name != "kernel_version")
TRIP_SUMS: Final = (  # of its rollups
    "distance_mm",
    "moving_us",
    "idle_us",
    "observed_us",
    "unknown_us",
    "fuel_nl",
    "energy_uwh",
    "co2e_ttw_ug",
    "co2e_wtt_ug",
)
TRIP_SUMMED: Final = tuple((ROLLUP_ROWS.index(name), k) for k, name in enumerate(TRIP_SUMS))
