"""The one list of columns: readings as received, emissions per reading, rollups per minute, trips, events.

Arrow schemas (``storage.schema``), SQL views, the tables in ``stream/README.md`` and panel units derive from it. A column
that may be unknown is nullable: NaN (float) inside numpy, null in Arrow and SQL. Never 0. An int64 result column that may be
unknown marks it with ``UNKNOWN`` (the smallest int64) inside numpy.
"""

from dataclasses import dataclass
from typing import Final, Literal

DType = Literal["int64", "int32", "int8", "float64", "bool", "code"]
UNKNOWN: Final = -(2**63)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    ``dtype`` "code" is an int32 index inside numpy and text outside: into ``codes`` where that is given, else into the
    fleet's list that ``names`` tells ("device", "asset", "route", "place", "region").
    """

    name: str
    dtype: DType
    unit: str
    doc: str
    nullable: bool = False
    codes: tuple[str, ...] = ()
    names: Literal["", "device", "asset", "route", "place", "region"] = ""


CLOCK_SOURCES: Final = ("none", "rtc", "ntp", "gps", "holdover")
DISTANCE_METHODS: Final = ("none", "odometer", "wheel_speed", "gps_speed")
ENERGY_METHODS: Final = ("none", "counter_hr", "counter", "counter_gap", "flow_meter", "rate", "tank", "model", "meter")
LOAD_STATES: Final = ("unknown", "empty", "empty_with_load_units", "partial", "full")
ASSET_KINDS: Final = ("vehicle", "warehouse")
ROUTE_SOURCES: Final = ("none", "dispatch", "inferred", "registry")
TRIP_STAGES: Final = ("unknown", "trunk", "last_mile", "return", "reposition", "other")
EMPTY_CAUSES: Final = (
    "none",
    "unknown",
    "return",
    "reposition",
    "to_depot",
    "to_charger",
    "to_fuel",
    "waiting",
    "service",
)
EVENT_KINDS: Final = {  # kind -> unit of its amount
    "refuel": "L",
    "drain": "L",
    "recharge": "kWh",
    "harsh_acceleration": "m/s²",
    "harsh_braking": "m/s²",
    "idling": "s",
    "speeding": "km/h",
    "refrigerant_topup": "kg",
    "gps_jump": "m",
    "odometer_conflict": "1",
    "wheel_scale": "1",
    "weight_conflict": "1",
    "fuel_conflict": "1",
    "tare_drift": "kg",
    "model_drift": "1",
    "counter_reset": "L",
}
CHOSEN_SOURCES: Final = (
    "none",
    "gps",
    "wheel_speed",
    "odometer",
    "counter",
    "rate",
    "tank",
    "weight",
    "can_mass",
    "model",
    "order",
)


def _signal(name: str, unit: str, doc: str) -> Column:
    return Column(name, "float64", unit, doc, nullable=True)


SIGNALS: Final = (
    _signal("lat_deg", "°", "Latitude, WGS 84, north positive."),
    _signal("lon_deg", "°", "Longitude, WGS 84, east positive."),
    _signal(
        "alt_m",
        "m",
        "GNSS altitude above the ellipsoid or sea level, as the receiver gives it. Never used raw for grade.",
    ),
    _signal("gps_speed_kmh", "km/h", "Speed over ground of the GNSS receiver."),
    _signal("hdop", "1", "Horizontal dilution of precision."),
    _signal("speed_kmh", "km/h", "Wheel or tachograph speed (SPN 84, 1624)."),
    _signal("odometer_m", "m", "Total vehicle distance (SPN 917, 245)."),
    _signal("engine_speed_rpm", "rpm", "Engine speed (SPN 190)."),
    _signal("engine_torque_pct", "%", "Actual engine torque of the reference torque (SPN 513)."),
    _signal("engine_load_pct", "%", "Engine load at current speed (SPN 92)."),
    _signal("fuel_rate_lph", "L/h", "Engine fuel rate (SPN 183)."),
    _signal("fuel_total_hr_l", "L", "Total fuel used, high resolution, 1 mL steps (SPN 5054)."),
    _signal("fuel_total_l", "L", "Total fuel used, 0.5 L steps (SPN 250) or a trip counter."),
    _signal("fuel_flow_total_l", "L", "Total of an inline flow meter."),
    _signal("fuel_level_pct", "%", "Tank level (SPN 96)."),
    _signal("gas_total_kg", "kg", "Total gaseous fuel used (SPN 1040)."),
    _signal("gross_weight_kg", "kg", "Gross combination weight (SPN 1760) or calibrated axle sum."),
    _signal("cargo_kg", "kg", "Cargo weight by order or WMS."),
    _signal("ambient_temp_c", "°C", "Ambient air temperature (SPN 171)."),
    _signal("baro_kpa", "kPa", "Barometric pressure (SPN 108)."),
    _signal(
        "switches",
        "bits",
        "Bit 0 door, 1 tail-lift, 2 PTO, 3 trailer coupled, 4 ignition, 5 service brake, 6 refrigeration unit running.",
    ),
    _signal("battery_power_kw", "kW", "Traction battery power, discharge positive."),
    _signal(
        "battery_energy_total_kwh",
        "kWh",
        "Net energy taken from the traction battery since new (discharge minus regeneration).",
    ),
    _signal("battery_soc_pct", "%", "State of charge (SPN 5464)."),
    _signal("tru_fuel_total_l", "L", "Total fuel used by the refrigeration unit, its own tank."),
    _signal("adblue_total_l", "L", "Total diesel exhaust fluid used."),
    _signal("heading_deg", "°", "Course over ground, clockwise from north."),
    _signal("wind_speed_ms", "m/s", "Wind speed at the vehicle, from a weather service."),
    _signal("wind_from_deg", "°", "Direction the wind comes from, clockwise from north."),
    _signal("precipitation_mm_h", "mm/h", "Rain or melted snow, from a weather service."),
    _signal("grade_pct", "%", "Road grade from a map or another filtered source, uphill positive."),
    _signal("road_iri_m_per_km", "m/km", "International roughness index of the road, from a map."),
    _signal("engine_ref_torque_nm", "N·m", "Engine reference torque (SPN 544)."),
    _signal("engine_friction_torque_pct", "%", "Nominal friction torque of the reference torque (SPN 514)."),
    _signal("load_units_loaded", "1", "Pallets or roll cages with goods aboard, by order or WMS."),
    _signal("load_units_empty", "1", "Empty load units aboard, by order or WMS."),
    _signal("route_number", "1", "Dispatched route: the column number of routes.csv."),
    _signal("pto_power_kw", "kW", "Power taken by the power take-off."),
    _signal("grid_import_kwh", "kWh", "Counter of energy drawn from the grid."),
    _signal("grid_export_kwh", "kWh", "Counter of energy fed into the grid."),
    _signal("pv_kwh", "kWh", "Counter of on-site solar generation."),
    _signal("forklift_kwh", "kWh", "Counter of forklift charging, a part of the site's load."),
    _signal("gas_kwh_gross", "kWh gross CV", "Counter of natural gas, gross calorific value."),
    _signal("genset_fuel_total_l", "L", "Counter of generator fuel."),
    _signal("grid_power_kw", "kW", "Momentary grid power, import positive."),
    _signal("pallets_in_total", "1", "Counter of pallets received."),
    _signal("pallets_out_total", "1", "Counter of pallets shipped."),
    _signal("goods_out_total_kg", "kg", "Counter of goods shipped, the ISO 14083 hub activity."),
    _signal("pallets_stored", "1", "Pallet positions occupied."),
    _signal("refrigerant_topup_total_kg", "kg", "Counter of refrigerant topped up."),
    _signal("indoor_temp_c", "°C", "Temperature in the building or cold room."),
    _signal("heat_kwh", "kWh", "Counter of district heat."),
)

READING: Final = (
    Column("device", "code", "", "Gateway that took the reading.", names="device"),
    Column("boot_id", "int64", "", "Random id of the gateway's boot, 1 to 2^63-1."),
    Column(
        "seq", "int64", "", "Number of the reading within the boot, from 0. (device, boot_id, seq) is its identity."
    ),
    Column(
        "merged", "int32", "1", "How many original readings this row stands for; 1 unless the gateway's ring was full."
    ),
    Column("time_ns", "int64", "ns", "When the device took the reading, UTC since 1970."),
    Column("received_ns", "int64", "ns", "When the server received it, UTC since 1970."),
    Column("clock_source", "code", "", "What the device's clock rests on.", codes=CLOCK_SOURCES),
    Column("clock_error_ms", "int32", "ms", "Bound on the device clock's error; -1 = not known."),
    Column("historical", "bool", "", "Sent from the backlog after an outage."),
    *SIGNALS,
)

_KEY = (
    Column("device", "code", "", "Gateway that took the reading.", names="device"),
    Column("boot_id", "int64", "", "See readings."),
    Column("seq", "int64", "", "See readings."),
    Column("time_ns", "int64", "ns", "When the device took the reading, UTC since 1970."),
    Column("asset", "code", "", "Vehicle or warehouse the device is fitted to.", names="asset"),
)

EMISSION: Final = (
    *_KEY,
    Column("route", "code", "", "Route of the vehicle at that time.", nullable=True, names="route"),
    Column("region", "code", "", "Region it was in.", nullable=True, names="region"),
    Column("trip_start_ns", "int64", "ns", "Trip it belongs to, by name; null for warehouses.", nullable=True),
    Column("load_state", "code", "", "What the vehicle carried, as known then.", codes=LOAD_STATES),
    Column("load_state_p", "float64", "1", "Probability of that load state.", nullable=True),
    Column("dt_us", "int64", "µs", "Time since the device's previous reading; null for the first.", nullable=True),
    Column("distance_mm", "int64", "mm", "Distance driven since then. Additive.", nullable=True),
    Column("distance_method", "code", "", "How the distance was obtained.", codes=DISTANCE_METHODS),
    Column("fuel_nl", "int64", "nL", "Liquid fuel burnt. Additive.", nullable=True),
    Column("fuel_gas_ug", "int64", "µg", "Gaseous fuel burnt, by mass. Additive.", nullable=True),
    Column("tru_fuel_nl", "int64", "nL", "Fuel of the refrigeration unit, in the CO2e. Additive.", nullable=True),
    Column(
        "energy_uwh",
        "int64",
        "µWh",
        "Electric energy used: battery side on vehicles, meter on sites. Additive.",
        nullable=True,
    ),
    Column("energy_method", "code", "", "How fuel or energy was obtained.", codes=ENERGY_METHODS),
    Column("co2_ttw_ug", "int64", "µg", "Fossil CO2, tank-to-wheel. Additive.", nullable=True),
    Column("co2e_ttw_ug", "int64", "µg", "CO2e, tank-to-wheel. Additive.", nullable=True),
    Column("co2e_wtt_ug", "int64", "µg", "CO2e, well-to-tank. Additive. TTW + WTT = WTW.", nullable=True),
    Column("co2_biogenic_ug", "int64", "µg", "Biogenic CO2, outside the total. Additive.", nullable=True),
    Column(
        "ch4_co2e_ttw_ug",
        "int64",
        "µg",
        "CH4 inside co2e_ttw, as CO2e; null where the factor does not tell it apart. Additive.",
        nullable=True,
    ),
    Column("n2o_co2e_ttw_ug", "int64", "µg", "N2O inside co2e_ttw, as CO2e; null as before. Additive.", nullable=True),
    Column(
        "co2e_wtt_market_ug",
        "int64",
        "µg",
        "CO2e, well-to-tank, electricity market-based instead of location-based. Never added to co2e_wtt. Additive.",
        nullable=True,
    ),
    Column(
        "refrigerant_co2e_ug",
        "int64",
        "µg",
        "CO2e of refrigerant that was topped up, so had leaked. In no other total. Additive.",
        nullable=True,
    ),
    Column("transport_kgm", "int64", "kg·m", "Goods mass times distance; 10^6 = 1 t km. Additive.", nullable=True),
    Column(
        "co2e_u_rel", "float64", "1", "Half-width of the 95 % interval of co2e_ttw + co2e_wtt, relative.", nullable=True
    ),
    Column("kernel_version", "int32", "", "Version of the kernels that made this row."),
)


def _by(name: str, doc: str) -> Column:
    return Column(
        f"by_{name}_ug", "int64", "µg", f"TTW + WTT for {doc}. The eight add up exactly; one may be negative."
    )


ROLLUP: Final = (
    Column("minute_ns", "int64", "ns", "Start of the minute, UTC since 1970."),
    Column("kind", "code", "", "What the asset is.", codes=ASSET_KINDS),
    Column("asset", "code", "", "Vehicle or warehouse.", names="asset"),
    Column(
        "route",
        "code",
        "",
        "Route of the vehicle; null for warehouses and unassigned vehicles.",
        nullable=True,
        names="route",
    ),
    Column("region", "code", "", "Region it was in.", nullable=True, names="region"),
    Column("trip_start_ns", "int64", "ns", "Trip it belongs to, by name; null for warehouses.", nullable=True),
    Column("load_state", "code", "", "What the vehicle carried, as known then.", codes=LOAD_STATES),
    Column("readings", "int64", "1", "Readings in this partial sum."),
    Column("observed_us", "int64", "µs", "Time covered by consecutive readings."),
    Column("unknown_us", "int64", "µs", "Part of it for which no energy figure exists."),
    Column("moving_us", "int64", "µs", "Time moving."),
    Column("idle_us", "int64", "µs", "Time standing with the engine on and no power take-off."),
    Column("distance_mm", "int64", "mm", "Distance driven."),
    Column("distance_unknown_us", "int64", "µs", "Time for which no distance exists."),
    Column("fuel_nl", "int64", "nL", "Liquid fuel burnt."),
    Column("fuel_gas_ug", "int64", "µg", "Gaseous fuel burnt, by mass."),
    Column("tru_fuel_nl", "int64", "nL", "Fuel of refrigeration units, in the CO2e."),
    Column("energy_uwh", "int64", "µWh", "Electric energy used."),
    Column("co2_ttw_ug", "int64", "µg", "Fossil CO2, tank-to-wheel."),
    Column("co2e_ttw_ug", "int64", "µg", "CO2e, tank-to-wheel."),
    Column("co2e_wtt_ug", "int64", "µg", "CO2e, well-to-tank."),
    Column("co2_biogenic_ug", "int64", "µg", "Biogenic CO2, outside the total."),
    Column("co2e_measured_ug", "int64", "µg", "Part of TTW + WTT whose fuel or energy was measured."),
    Column("co2e_split_ug", "int64", "µg", "Part of TTW whose CO2, CH4 and N2O are known apart."),
    Column("ch4_co2e_ttw_ug", "int64", "µg", "CH4 inside that part of TTW, as CO2e."),
    Column("n2o_co2e_ttw_ug", "int64", "µg", "N2O inside that part of TTW, as CO2e."),
    Column(
        "co2e_wtt_market_ug", "int64", "µg", "CO2e, well-to-tank, electricity market-based. Never added to co2e_wtt."
    ),
    Column("refrigerant_co2e_ug", "int64", "µg", "CO2e of refrigerant topped up. In no other total."),
    Column("refrigerant_unknown_g", "int64", "g", "Refrigerant topped up whose kind the registry does not tell."),
    Column("pv_used_uwh", "int64", "µWh", "Own solar electricity used on the site; not in energy_uwh."),
    Column("grid_export_uwh", "int64", "µWh", "Electricity fed into the grid; never a negative emission."),
    Column("gas_uwh", "int64", "µWh gross CV", "Natural gas burnt on the site."),
    Column("heat_uwh", "int64", "µWh", "District heat used."),
    Column("forklift_uwh", "int64", "µWh", "Forklift charging, a part of energy_uwh and pv_used_uwh."),
    Column("goods_out_g", "int64", "g", "Goods shipped, the ISO 14083 hub activity."),
    Column("pallets_in", "int64", "1", "Pallets received."),
    Column("pallets_out", "int64", "1", "Pallets shipped."),
    Column("pallet_us", "int64", "µs", "Pallet positions occupied times time."),
    Column("transport_kgm", "int64", "kg·m", "Goods mass times distance; 10^6 = 1 t km."),
    Column("capacity_kgm", "int64", "kg·m", "Capacity times distance of the loaded kilometres."),
    Column("payload_unknown_mm", "int64", "mm", "Part of the distance on which the payload is not known."),
    Column("u_ind_mg2", "int64", "mg²", "Variance of TTW + WTT by errors of single readings. Adds up."),
    Column("u_trip_ug", "int64", "µg", "Standard deviation shared within one trip: what a model does not see of it."),
    Column(
        "u_asset_ug", "int64", "µg", "Standard deviation shared within one asset: bias of its meter or calibration."
    ),
    Column("u_model_ug", "int64", "µg", "Standard deviation shared within one vehicle class: bias of its model."),
    Column("u_fuel_ttw_ug", "int64", "µg", "Standard deviation shared within one fuel: its TTW factor."),
    Column("u_fuel_wtt_ug", "int64", "µg", "Standard deviation shared within one fuel: its WTT factor."),
    Column("u_grid_ug", "int64", "µg", "Standard deviation shared within one grid zone: its factor."),
    _by("rolling", "rolling resistance, empty vehicle"),
    _by("air", "air drag"),
    _by("grade", "height gained or lost in brakes, empty vehicle"),
    _by("acceleration", "speed that ended in brakes, empty vehicle"),
    _by("idling", "standing, engine on, no power take-off"),
    _by("auxiliaries", "auxiliaries, cab heat, power take-off"),
    _by("load", "the payload, marginal to the empty vehicle"),
    _by("other", "the refrigeration unit and what the model leaves open"),
    Column("newest_time_ns", "int64", "ns", "Device time of the newest reading. Take the maximum, do not add."),
    Column("kernel_version", "int32", "", "Version of the kernels that made this row."),
    Column("newest_received_ns", "int64", "ns", "Receive time of the newest reading. Take the maximum, do not add."),
)


def _amount(name: str, unit: str, doc: str) -> Column:
    return Column(name, "int64", unit, doc, nullable=True)


TRIP: Final = (
    Column("device", "code", "", "Gateway of the vehicle.", names="device"),
    Column("asset", "code", "", "Vehicle.", names="asset"),
    Column("trip_start_ns", "int64", "ns", "When it began, UTC since 1970. (asset, trip_start_ns) is the trip's name."),
    Column("version", "int32", "", "From 1. The highest version of a trip is what is known of it."),
    Column("trip_end_ns", "int64", "ns", "When the stop that ended it began; null while under way.", nullable=True),
    Column("closed", "bool", "", "Whether the trip has ended."),
    Column("start_lat_deg", "float64", "°", "Where it began.", nullable=True),
    Column("start_lon_deg", "float64", "°", "Where it began.", nullable=True),
    Column("end_lat_deg", "float64", "°", "Where it ended.", nullable=True),
    Column("end_lon_deg", "float64", "°", "Where it ended.", nullable=True),
    Column("start_place", "code", "", "Known place it began at.", nullable=True, names="place"),
    Column("end_place", "code", "", "Known place it ended at.", nullable=True, names="place"),
    Column(
        "route",
        "code",
        "",
        "Route: dispatched, inferred from its ends, or the registry's.",
        nullable=True,
        names="route",
    ),
    Column("route_source", "code", "", "How the route is known.", codes=ROUTE_SOURCES),
    Column("stage", "code", "", "Part of the chain it served.", codes=TRIP_STAGES),
    Column("load_state", "code", "", "What the vehicle carried.", codes=LOAD_STATES),
    Column("load_state_p", "float64", "1", "Probability of that load state.", nullable=True),
    Column(
        "evidence",
        "int64",
        "bits",
        "Bit 0 weight, 1 CAN mass, 2 order or WMS, 3 place, 4 doors, 5 trailer, 6 load units, 7 the trip after it.",
    ),
    Column("payload_kg", "float64", "kg", "Goods aboard.", nullable=True),
    Column("payload_u_kg", "float64", "kg", "Half-width of its 95 % interval.", nullable=True),
    Column("capacity_kg", "float64", "kg", "What the vehicle may carry.", nullable=True),
    Column("empty_cause", "code", "", "Why it ran empty.", codes=EMPTY_CAUSES),
    Column("excluded", "bool", "", "Yard or power take-off movement: counted in no share of running."),
    Column("distance_mm", "int64", "mm", "Distance driven."),
    Column("moving_us", "int64", "µs", "Time moving."),
    Column("idle_us", "int64", "µs", "Time standing with the engine on and no power take-off."),
    _amount("stop_us", "µs", "Time of the stop before it; null where it was not seen whole."),
    Column("observed_us", "int64", "µs", "Time covered by consecutive readings."),
    Column("unknown_us", "int64", "µs", "Part of it for which no energy figure exists."),
    _amount("fuel_nl", "nL", "Liquid fuel burnt."),
    _amount("energy_uwh", "µWh", "Electric energy used."),
    _amount("co2e_ttw_ug", "µg", "CO2e, tank-to-wheel."),
    _amount("co2e_wtt_ug", "µg", "CO2e, well-to-tank."),
    _amount("avoidable_ug", "µg", "Of an empty trip: CO2e that would not have been, had its load ridden along."),
    _amount("transport_kgm", "kg·m", "Goods mass times distance."),
    Column("kernel_version", "int32", "", "Version of the kernels that made this row."),
)

EVENT: Final = (
    Column("device", "code", "", "Gateway that saw it.", names="device"),
    Column("asset", "code", "", "Vehicle or warehouse.", names="asset"),
    Column("time_ns", "int64", "ns", "When it began, UTC since 1970."),
    Column("end_ns", "int64", "ns", "When it ended."),
    Column("trip_start_ns", "int64", "ns", "Trip it happened on.", nullable=True),
    Column("kind", "code", "", "What happened.", codes=tuple(EVENT_KINDS)),
    Column("lat_deg", "float64", "°", "Where.", nullable=True),
    Column("lon_deg", "float64", "°", "Where.", nullable=True),
    Column("place", "code", "", "Known place.", nullable=True, names="place"),
    Column("amount", "float64", "", "How much, in the unit of the kind.", nullable=True),
    Column("expected", "float64", "", "What was to be expected instead, same unit.", nullable=True),
    _amount("explained_nl", "nL", "Fuel it explains. Never added to a total: it is in the fuel already."),
    Column("chosen", "code", "", "Source believed where two contradict each other.", codes=CHOSEN_SOURCES),
    Column("kernel_version", "int32", "", "Version of the kernels that made this row."),
)

TABLES: Final = {"readings": READING, "emissions": EMISSION, "rollups": ROLLUP, "trips": TRIP, "events": EVENT}
