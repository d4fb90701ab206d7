"""The nomenclature of ``stream/README.md``: symbol, name, unit and meaning of each quantity, made from columns and parameters."""

from collections.abc import Mapping
from typing import Final

from stream.columns import TABLES
from stream.fleet import PARAMS

BEGIN: Final = "<!-- nomenclature: made by python -m stream nomenclature -->"
END: Final = "<!-- end of nomenclature -->"

SYMBOLS: Final[Mapping[str, str]] = {  # letters of the science reference's equations, for columns
    "speed_kmh": "v",
    "alt_m": "h",
    "ambient_temp_c": "T",
    "grade_pct": "tan θ",
    "wind_speed_ms": "w",
    "road_iri_m_per_km": "IRI",
    "pto_power_kw": "P_pto",
    "engine_ref_torque_nm": "T_ref",
    "baro_kpa": "p",
    "gross_weight_kg": "m",
    "transport_kgm": "T",
    "fuel_rate_lph": "q",
    "engine_speed_rpm": "n",
    "fuel_total_hr_l": "C",
    "fuel_total_l": "C",
    "dt_us": "Δt",
    "co2e_u_rel": "u",
}

PARAMETERS: Final[Mapping[str, tuple[str, str, str]]] = {  # field of ``fleet.PARAMS`` -> (symbol, unit, meaning)
    "kind": ("", "", "What the asset is, index into ASSET_KINDS."),
    "asset": ("", "", "Index of the vehicle or warehouse that the device is fitted to."),
    "route": ("", "", "Index of the assigned route, -1 for none."),
    "has_fuel": ("", "", "1 for a vehicle that burns liquid or gaseous fuel."),
    "has_battery": ("", "", "1 for a vehicle that drives on its battery."),
    "fuel_is_gas": ("", "", "1 for fuel that is metered by mass: fuel factors are per kg, else per L."),
    "ref_torque_known": ("", "", "1 where the registry tells the reference torque."),
    "fuel_ttw": ("EF_TTW", "kg/L or kg/kg", "CO2e of the vehicle's fuel, tank-to-wheel."),
    "fuel_wtt": ("EF_WTT", "kg/L or kg/kg", "CO2e of the vehicle's fuel, well-to-tank."),
    "fuel_co2": ("", "kg/L or kg/kg", "Fossil CO2 inside fuel_ttw."),
    "fuel_biogenic": ("", "kg/L or kg/kg", "Biogenic CO2 of the fuel, outside the total."),
    "fuel_ch4": ("", "kg/L or kg/kg", "CO2e of the CH4 inside fuel_ttw."),
    "fuel_n2o": ("", "kg/L or kg/kg", "CO2e of the N2O inside fuel_ttw."),
    "fuel_u_ttw_rel": ("u", "1", "Half-width of the 95 % interval of fuel_ttw, relative."),
    "fuel_u_wtt_rel": ("u", "1", "The same of fuel_wtt."),
    "fuel_kg_per_l": ("ρ_f", "kg/L", "Density of the fuel; 1 for gases."),
    "grid_total": (
        "EF_grid",
        "kg/kWh",
        "CO2e of grid electricity with losses and supply; vehicles: per kWh of the battery, charger loss inside.",
    ),
    "grid_market": ("", "kg/kWh", "The same, market-based."),
    "grid_u_rel": ("u", "1", "Half-width of the 95 % interval of grid_total, relative."),
    "solar_wtt": ("", "kg/kWh", "CO2e of the making of a kWh on the own roof."),
    "solar_u_rel": ("u", "1", "Half-width of the 95 % interval of solar_wtt, relative."),
    "heat_wtt": ("", "kg/kWh", "CO2e of district heat, told by its supplier."),
    "gas_ttw": ("", "kg/kWh gross CV", "CO2e of natural gas burnt on site."),
    "gas_wtt": ("", "kg/kWh gross CV", "CO2e of the supply of natural gas."),
    "gas_oil_ttw": ("", "kg/L", "CO2e of gas oil in refrigeration units and generators, tank-to-wheel."),
    "gas_oil_wtt": ("", "kg/L", "The same, well-to-tank."),
    "gas_oil_co2": ("", "kg/L", "Fossil CO2 inside gas_oil_ttw."),
    "gas_oil_ch4": ("", "kg/L", "CO2e of the CH4 inside gas_oil_ttw."),
    "gas_oil_n2o": ("", "kg/L", "CO2e of the N2O inside gas_oil_ttw."),
    "gas_oil_u_ttw_rel": ("u", "1", "Half-width of the 95 % interval of gas_oil_ttw, relative."),
    "adblue_co2": ("", "kg/L", "Fossil CO2 of a litre of AdBlue."),
    "refrigerant_gwp": ("GWP", "kg/kg", "CO2e of a kilogram of refrigerant."),
    "empty_below_kg": ("T_lo", "kg", "Less than this on the scales is no goods."),
    "mass_kg": ("m", "kg", "Gross mass assumed where no weight is measured."),
    "tare_kg": ("m_0", "kg", "Mass of the empty vehicle or combination."),
    "gvw_kg": ("m_max", "kg", "Permitted gross mass."),
    "cda_m2": ("CdA", "m²", "Drag area."),
    "crr": ("Crr", "1", "Rolling resistance at 25 °C on a dry, smooth road."),
    "p_rated_kw": ("P_rated", "kW", "Rated power of engine or motor."),
    "aux_kw": ("P_aux", "kW", "Mean power of auxiliaries."),
    "willans_b": ("b", "g/kWh", "Fuel for one more kWh at the crankshaft."),
    "willans_a": ("a", "g/(h kW)", "Fuel that keeps the engine turning, per kW of rated power."),
    "idle_g_per_h": ("", "g/h", "Least fuel rate of the running engine."),
    "f_rot": ("f_rot", "1", "Mass factor of what rotates: wheels, shafts, engine."),
    "capacity_kg": ("m_cap", "kg", "Goods it may carry."),
    "pallet_positions": ("", "1", "Load units it has room for; unknown where not given."),
    "ref_torque_nm": ("T_ref", "N·m", "Engine reference torque (SPN 544), where no signal tells it."),
    "has_trailer": ("", "flag", "A tractor: without its trailer it carries nothing."),
    "region": ("", "index", "Region a warehouse lies in, -1 = none."),
    "eta_drive": ("η", "1", "Battery to wheel."),
    "eta_regen": ("η_regen", "1", "Wheel to battery when braking."),
    "yaw_a1": ("a1", "m²/°", "Drag area for each degree of yaw, by body."),
    "yaw_a2": ("a2", "m²/°²", "The same, for its square."),
    "yaw_a3": ("a3", "m²/°³", "The same, for its cube."),
    "cruise_rpm": ("n_cruise", "rpm", "Engine speed that a holds for."),
    "pto_kw": ("P_pto", "kW", "Power of the power take-off where only its switch is known."),
    "tru_lph": ("", "L/h", "Fuel of a running refrigeration unit without a counter."),
    "level_size": ("", "L or kWh", "Tank or battery at a level of 100 %."),
    "level_per_amount": ("", "L/nL, L/µg or kWh/µWh", "What one unit used takes from the tank or battery."),
    "speed_limit_kmh": ("", "km/h", "Limit that speeding is judged by."),
    "harsh_acceleration_ms2": ("", "m/s²", "Least acceleration that is harsh; by mass where not given."),
    "harsh_braking_ms2": ("", "m/s²", "Least braking that is harsh; by mass where not given."),
    "fuel_cap_per_s": ("", "nL/s or µg/s", "Most fuel that the engine can burn."),
    "fuel_per_g": ("", "L/g or kg/g", "Amount of fuel per gram."),
}


def quantities() -> dict[str, tuple[str, str, list[str]]]:
    """Columns that have a unit: name -> (unit, meaning, tables). ValueError where two tables give one name two units."""
    found: dict[str, tuple[str, str, list[str]]] = {}
    for table, columns in TABLES.items():
        for c in columns:
            if not c.unit:
                continue
            unit, _, tables = found.setdefault(c.name, (c.unit, c.doc, []))
            if unit != c.unit:
                raise ValueError(f"{c.name} is in {c.unit} in {table}, but in {unit} in {tables[0]}")
            tables.append(table)
    return found


def markdown() -> str:
    """Two Markdown tables: quantities that are stored, parameters of a vehicle or warehouse that the kernels read.

    Raises ValueError naming parameters that have no entry here, or entries that are no parameter.
    """
    names = PARAMS.names or ()
    unlike = set(names) ^ set(PARAMETERS)
    if unlike:
        raise ValueError(f"fleet.PARAMS and nomenclature.PARAMETERS differ in {', '.join(sorted(unlike))}")
    lines = ["| symbol | quantity | unit | meaning | stored in |", "|---|---|---|---|---|"]
    for name, (unit, doc, tables) in quantities().items():
        lines.append(f"| {SYMBOLS.get(name, '')} | {name} | {unit} | {doc} | {', '.join(tables)} |")
    lines += ["", "| symbol | parameter | unit | meaning |", "|---|---|---|---|"]
    for name in names:
        symbol, unit, doc = PARAMETERS[name]
        lines.append(f"| {symbol} | {name} | {unit} | {doc} |")
    return "\n".join(lines) + "\n"


def replaced(text: str) -> str:
    """``text`` of the README with its nomenclature made anew. ValueError where the marks are missing."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the text has no {BEGIN} ... {END}")
    return f"{head}{BEGIN}\n{markdown()}{END}{tail}"
