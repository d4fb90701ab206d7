"""The signals of the wire: number, name, step and the range in which a value is possible.

A signal travels as an integer in ``step`` units. Numbers are fixed for ever; a new signal takes a new number. Names and units
are those of ``stream.columns.SIGNALS`` (``tests/contract/test_schema_drift.py`` compares them).
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal: ``value = raw * step``, possible where ``low <= value <= high``."""

    number: int
    name: str
    step: float
    low: float
    high: float


SIGNALS: Final = (
    Signal(2, "lat_deg", 1e-7, -90, 90),
    Signal(3, "lon_deg", 1e-7, -180, 180),
    Signal(4, "alt_m", 0.1, -500, 9000),
    Signal(5, "gps_speed_kmh", 0.01, 0, 300),
    Signal(6, "hdop", 0.1, 0, 100),
    Signal(7, "speed_kmh", 1 / 256, 0, 251),
    Signal(8, "odometer_m", 1, 0, 21_055_406_000),
    Signal(9, "engine_speed_rpm", 0.125, 0, 8031.875),
    Signal(10, "engine_torque_pct", 1, -125, 125),
    Signal(11, "engine_load_pct", 1, 0, 125),
    Signal(12, "fuel_rate_lph", 0.05, 0, 3212.75),
    Signal(13, "fuel_total_hr_l", 0.001, 0, 4_211_081.215),
    Signal(14, "fuel_total_l", 0.001, 0, 2_105_540_607.5),
    Signal(15, "fuel_flow_total_l", 0.001, 0, 4_211_081.215),
    Signal(16, "fuel_level_pct", 0.1, 0, 100),
    Signal(17, "gas_total_kg", 0.001, 0, 2_105_540_607.5),
    Signal(18, "gross_weight_kg", 1, 0, 642_550),
    Signal(19, "cargo_kg", 1, 0, 642_550),
    Signal(20, "ambient_temp_c", 1 / 32, -60, 85),
    Signal(21, "baro_kpa", 0.1, 30, 125),
    Signal(22, "switches", 1, 0, 32_767),
    Signal(23, "battery_power_kw", 0.05, -2000, 2000),
    Signal(24, "battery_energy_total_kwh", 0.001, -1000, 100_000_000),
    Signal(25, "battery_soc_pct", 0.01, 0, 100),
    Signal(26, "tru_fuel_total_l", 0.001, 0, 4_211_081.215),
    Signal(27, "adblue_total_l", 0.001, 0, 4_211_081.215),
    Signal(28, "heading_deg", 0.1, 0, 360),
    Signal(29, "wind_speed_ms", 0.1, 0, 100),
    Signal(30, "wind_from_deg", 1, 0, 360),
    Signal(31, "precipitation_mm_h", 0.1, 0, 500),
    Signal(32, "grade_pct", 0.01, -40, 40),
    Signal(33, "road_iri_m_per_km", 0.1, 0, 30),
    Signal(34, "engine_ref_torque_nm", 1, 0, 64_255),
    Signal(35, "engine_friction_torque_pct", 1, -125, 125),
    Signal(36, "load_units_loaded", 1, 0, 10_000),
    Signal(37, "load_units_empty", 1, 0, 10_000),
    Signal(38, "route_number", 1, 0, 2_000_000_000),
    Signal(39, "pto_power_kw", 0.1, 0, 1_000),
    Signal(40, "grid_import_kwh", 0.001, 0, 9e9),
    Signal(41, "grid_export_kwh", 0.001, 0, 9e9),
    Signal(42, "pv_kwh", 0.001, 0, 9e9),
    Signal(43, "forklift_kwh", 0.001, 0, 9e9),
    Signal(44, "gas_kwh_gross", 0.001, 0, 9e9),
    Signal(45, "genset_fuel_total_l", 0.001, 0, 1e9),
    Signal(46, "grid_power_kw", 0.01, -100_000, 100_000),
    Signal(47, "pallets_in_total", 1, 0, 1e12),
    Signal(48, "pallets_out_total", 1, 0, 1e12),
    Signal(49, "goods_out_total_kg", 1, 0, 9e9),
    Signal(50, "pallets_stored", 1, 0, 1e7),
    Signal(51, "refrigerant_topup_total_kg", 0.001, 0, 1e6),
    Signal(52, "indoor_temp_c", 0.1, -80, 80),
    Signal(53, "heat_kwh", 0.001, 0, 9e9),
)
BY_NAME: Final = {s.name: s for s in SIGNALS}
