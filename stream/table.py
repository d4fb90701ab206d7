"""Where each column of a result lies in the matrices that the kernels fill: one row per column, so columns come out contiguous."""

from typing import Final

from stream.columns import EMISSION, ROLLUP, TRIP

_NOT_IN_KERNEL: Final = ("device", "boot_id", "seq", "time_ns", "load_state_p", "co2e_u_rel", "kernel_version")
EMISSION_INTS: Final = tuple(c.name for c in EMISSION if c.dtype == "int64" and c.name not in _NOT_IN_KERNEL)
EMISSION_CODES: Final = tuple(c.name for c in EMISSION if c.dtype == "code" and c.name not in _NOT_IN_KERNEL)
EMISSION_ROWS: Final = EMISSION_INTS + EMISSION_CODES
ROW_ASSET: Final = EMISSION_ROWS.index("asset")
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
CH4: Final = EMISSION_ROWS.index("ch4_co2e_ttw_ug")
N2O: Final = EMISSION_ROWS.index("n2o_co2e_ttw_ug")
CO2E_WTT_MARKET: Final = EMISSION_ROWS.index("co2e_wtt_market_ug")
REFRIGERANT: Final = EMISSION_ROWS.index("refrigerant_co2e_ug")
TRANSPORT: Final = EMISSION_ROWS.index("transport_kgm")

ROLLUP_ROWS: Final = tuple(c.name for c in ROLLUP if c.name != "kernel_version")
MINUTE: Final = ROLLUP_ROWS.index("minute_ns")
KIND: Final = ROLLUP_ROWS.index("kind")
ASSET: Final = ROLLUP_ROWS.index("asset")
ROUTE: Final = ROLLUP_ROWS.index("route")
REGION: Final = ROLLUP_ROWS.index("region")
TRIP_START: Final = ROLLUP_ROWS.index("trip_start_ns")
ROLLUP_LOAD_STATE: Final = ROLLUP_ROWS.index("load_state")
NEWEST_TIME: Final = ROLLUP_ROWS.index("newest_time_ns")
NEWEST_RECEIVED: Final = ROLLUP_ROWS.index("newest_received_ns")
FIRST_SUM: Final = ROLLUP_ROWS.index("readings")  # the sums lie together, from here to the newest times
SUM_NAMES: Final = ROLLUP_ROWS[FIRST_SUM:NEWEST_TIME]
N_SUMS: Final = len(SUM_NAMES)

# Places within one reading's share of the sums.
READINGS: Final = SUM_NAMES.index("readings")
OBSERVED: Final = SUM_NAMES.index("observed_us")
UNKNOWN_TIME: Final = SUM_NAMES.index("unknown_us")
DISTANCE_UNKNOWN: Final = SUM_NAMES.index("distance_unknown_us")
MEASURED: Final = SUM_NAMES.index("co2e_measured_ug")
BY_FIRST: Final = SUM_NAMES.index("by_rolling_ug")  # and the seven after it
SPLIT: Final = SUM_NAMES.index("co2e_split_ug")
REFRIGERANT_UNKNOWN: Final = SUM_NAMES.index("refrigerant_unknown_g")
PV_USED: Final = SUM_NAMES.index("pv_used_uwh")
GRID_EXPORT: Final = SUM_NAMES.index("grid_export_uwh")
GAS_USED: Final = SUM_NAMES.index("gas_uwh")
HEAT_USED: Final = SUM_NAMES.index("heat_uwh")
FORKLIFT: Final = SUM_NAMES.index("forklift_uwh")
GOODS_OUT: Final = SUM_NAMES.index("goods_out_g")
PALLETS_IN: Final = SUM_NAMES.index("pallets_in")
PALLETS_OUT: Final = SUM_NAMES.index("pallets_out")
PALLET_TIME: Final = SUM_NAMES.index("pallet_us")
CAPACITY: Final = SUM_NAMES.index("capacity_kgm")
PAYLOAD_UNKNOWN: Final = SUM_NAMES.index("payload_unknown_mm")
IDLE: Final = SUM_NAMES.index("idle_us")
MOVING: Final = SUM_NAMES.index("moving_us")
U_IND: Final = SUM_NAMES.index("u_ind_mg2")
U_TRIP: Final = SUM_NAMES.index("u_trip_ug")
U_ASSET: Final = SUM_NAMES.index("u_asset_ug")
U_MODEL: Final = SUM_NAMES.index("u_model_ug")
U_FUEL_TTW: Final = SUM_NAMES.index("u_fuel_ttw_ug")
U_FUEL_WTT: Final = SUM_NAMES.index("u_fuel_wtt_ug")
U_GRID: Final = SUM_NAMES.index("u_grid_ug")
SUMMED: Final = tuple(  # (row of the result, place of the sum it is added to)
    (EMISSION_ROWS.index(name), SUM_NAMES.index(name)) for name in SUM_NAMES if name in EMISSION_ROWS
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
