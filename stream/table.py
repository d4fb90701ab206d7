"""Where each column of a result lies in the matrices that the kernels fill: one row per column, so columns come out contiguous."""

from typing import Final

from stream.columns import EMISSION, ROLLUP, TRIP

EMISSION_REALS: Final = ("co2e_u_rel", "load_state_p")
_NOT_IN_KERNEL: Final = ("device", "boot_id", "seq", "time_ns", "kernel_version", *EMISSION_REALS)
BLOCK: Final = (
    32  # rows of which columns lie together while the kernels work on them: 27 kB with what they need, in the cache
)
ROOM: Final = BLOCK + 8  # eight rows are filled in at a time, from anywhere
# Columns of a block: first what is added up, in the order of a partial sum.
_ADDED: Final = (
    *("co2e_ttw_ug", "co2e_wtt_ug", "co2_ttw_ug", "ch4_co2e_ttw_ug", "n2o_co2e_ttw_ug", "co2_biogenic_ug"),
    *("co2e_wtt_market_ug", "readings"),
    *("refrigerant_co2e_ug", "distance_mm", "fuel_nl", "fuel_gas_ug", "tru_fuel_nl", "energy_uwh", "transport_kgm"),
    *("observed_us", "unknown_us", "distance_unknown_us", "moving_us", "idle_us"),
    *("co2e_measured_ug", "co2e_split_ug", "capacity_kgm", "payload_unknown_mm"),
    *("by_rolling_ug", "by_air_ug", "by_grade_ug", "by_acceleration_ug"),
    *("by_idling_ug", "by_auxiliaries_ug", "by_load_ug", "by_other_ug"),
    *("u_ind_mg2", "u_trip_ug", "u_asset_ug", "u_model_ug", "u_fuel_ttw_ug", "u_fuel_wtt_ug", "u_grid_ug"),
    "refrigerant_unknown_g",
)
EMISSION_INTS: Final = tuple(c.name for c in EMISSION if c.dtype == "int64" and c.name not in _NOT_IN_KERNEL)
EMISSION_CODES: Final = tuple(c.name for c in EMISSION if c.dtype == "code" and c.name not in _NOT_IN_KERNEL)
ROW: Final = (*_ADDED, *(name for name in EMISSION_INTS + EMISSION_CODES if name not in _ADDED))
N_ADDED: Final = len(_ADDED)
INTS_AT: Final = tuple(ROW.index(name) * ROOM for name in EMISSION_INTS)  # where each begins in a block
CODES_AT: Final = tuple(ROW.index(name) * ROOM for name in EMISSION_CODES)
ROW_ASSET: Final = ROW.index("asset") * ROOM
ROW_ROUTE: Final = ROW.index("route") * ROOM
ROW_REGION: Final = ROW.index("region") * ROOM
ROW_TRIP: Final = ROW.index("trip_start_ns") * ROOM
LOAD_STATE: Final = ROW.index("load_state") * ROOM
DT: Final = ROW.index("dt_us") * ROOM
DISTANCE: Final = ROW.index("distance_mm") * ROOM
DISTANCE_METHOD: Final = ROW.index("distance_method") * ROOM
FUEL_LIQUID: Final = ROW.index("fuel_nl") * ROOM
TRU_FUEL: Final = ROW.index("tru_fuel_nl") * ROOM
FUEL_GAS: Final = ROW.index("fuel_gas_ug") * ROOM
ENERGY: Final = ROW.index("energy_uwh") * ROOM
METHOD: Final = ROW.index("energy_method") * ROOM
CO2: Final = ROW.index("co2_ttw_ug") * ROOM
CO2E_TTW: Final = ROW.index("co2e_ttw_ug") * ROOM
CO2E_WTT: Final = ROW.index("co2e_wtt_ug") * ROOM
CO2_BIOGENIC: Final = ROW.index("co2_biogenic_ug") * ROOM
CH4: Final = ROW.index("ch4_co2e_ttw_ug") * ROOM
N2O: Final = ROW.index("n2o_co2e_ttw_ug") * ROOM
CO2E_WTT_MARKET: Final = ROW.index("co2e_wtt_market_ug") * ROOM
REFRIGERANT: Final = ROW.index("refrigerant_co2e_ug") * ROOM
TRANSPORT: Final = ROW.index("transport_kgm") * ROOM

READINGS: Final = ROW.index("readings") * ROOM
OBSERVED: Final = ROW.index("observed_us") * ROOM
UNKNOWN_TIME: Final = ROW.index("unknown_us") * ROOM
DISTANCE_UNKNOWN: Final = ROW.index("distance_unknown_us") * ROOM
MEASURED: Final = ROW.index("co2e_measured_ug") * ROOM
BY_FIRST: Final = ROW.index("by_rolling_ug") * ROOM  # and the seven after it
SPLIT: Final = ROW.index("co2e_split_ug") * ROOM
CAPACITY: Final = ROW.index("capacity_kgm") * ROOM
PAYLOAD_UNKNOWN: Final = ROW.index("payload_unknown_mm") * ROOM
IDLE: Final = ROW.index("idle_us") * ROOM
MOVING: Final = ROW.index("moving_us") * ROOM
U_FIRST: Final = ROW.index("u_ind_mg2") * ROOM  # and the six after it

# What ``stream.co2e_rows`` fills in of each row, and what of a vehicle's only; a site's are UNKNOWN there.
COUNTED: Final = (READINGS, OBSERVED, UNKNOWN_TIME, MEASURED, SPLIT, *(U_FIRST + k * ROOM for k in range(7)))
OF_VEHICLES: Final = (
    *(DISTANCE_UNKNOWN, TRANSPORT, CAPACITY, PAYLOAD_UNKNOWN, MOVING, IDLE),
    *(BY_FIRST + k * ROOM for k in range(8)),
)

_NEWEST: Final = ("newest_time_ns", "newest_received_ns")
_SUMS: Final = tuple(
    c.name for c in ROLLUP if c.dtype == "int64" and c.name not in ("minute_ns", "trip_start_ns", *_NEWEST)
)
SUM_NAMES: Final = (*_ADDED, *(name for name in _SUMS if name not in _ADDED))
_KEYS: Final = tuple(c.name for c in ROLLUP if c.name not in (*SUM_NAMES, *_NEWEST, "kernel_version"))
ROLLUP_ROWS: Final = (*_KEYS, *SUM_NAMES, *_NEWEST)
MINUTE: Final = ROLLUP_ROWS.index("minute_ns")
KIND: Final = ROLLUP_ROWS.index("kind")
ASSET: Final = ROLLUP_ROWS.index("asset")
ROUTE: Final = ROLLUP_ROWS.index("route")
REGION: Final = ROLLUP_ROWS.index("region")
TRIP_START: Final = ROLLUP_ROWS.index("trip_start_ns")
ROLLUP_LOAD_STATE: Final = ROLLUP_ROWS.index("load_state")
NEWEST_TIME: Final = ROLLUP_ROWS.index("newest_time_ns")
NEWEST_RECEIVED: Final = ROLLUP_ROWS.index("newest_received_ns")
FIRST_SUM: Final = len(_KEYS)  # the sums lie together, from here to the newest times

# Places within a partial sum of what no column of emissions tells.
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
