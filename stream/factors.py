"""Emission factors: dated, immutable sets read from text, looked up by item and parameter, with unit, source and band.

A set is one CSV in ``stream/factor_sets``; adding a set is adding a file. Nothing here reads a file: the caller hands in the
text. A factor that is not in the set is an error that names it; nothing is guessed from a similar name. A set answers in one
GWP set only, so no report can add CO2e of two kinds.
"""

import csv
import difflib
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Final

ELECTRICITY: Final = "electricity"
_NUMBERS: Final = ("value", "co2", "ch4_co2e", "n2o_co2e", "low", "high")
_BLENDS = {  # name of a blend by volume -> (bio share pattern, biofuel, base fuel)
    "diesel_b": (re.compile(r"diesel_b(\d{1,2})$"), "fame", "diesel_b0"),
    "hvo": (re.compile(r"hvo(\d{1,2})$"), "hvo100", "diesel_b0"),
    "petrol_e": (re.compile(r"petrol_e(\d{1,2})$"), "bioethanol", "petrol_e0"),
}
_ALIASES = {"petrol_avg": "petrol_e10"}
U_TTW_REL = 0.02  # 95 %, relative, of fossil CO2: IPCC 72.6-74.8 g/MJ with EN 590 density, science reference section 8
U_GASES_REL = 1.0  # of CH4 and N2O: a factor of 2 to 3, same table
U_ENGINE_GAS_TTW_REL = (
    0.05  # where a gaseous fuel's gases are not told apart: methane slip, +4.6 % in the mean, section 1
)
U_WTT_REL = 0.12  # 10-15 %, same table
U_GRID_REL = 0.075  # annual national grid factor 5-10 %, same table
ADBLUE_KG_PER_L: Final = 1.09  # 32.5 % urea solution, ISO 22241: 1.087-1.093 at 20 °C


class Unit(StrEnum):
    """Every unit a factor may be in; text that is none of them cannot become a ``Factor``."""

    KG_CO2E_PER_L = "kgCO2e/l"
    KG_CO2E_PER_KG = "kgCO2e/kg"
    KG_CO2_PER_L = "kgCO2/l"
    KG_CO2_PER_KG = "kgCO2/kg"
    KG_CO2E_PER_KWH = "kgCO2e/kWh"  # of electricity or heat: a kWh of fuel tells its calorific basis
    KG_CO2_PER_KWH = "kgCO2/kWh"
    KG_CO2E_PER_KWH_GROSS = "kgCO2e/kWh gross CV"
    KG_CO2E_PER_KWH_NET = "kgCO2e/kWh net CV"
    KG_PER_L = "kg/l"
    MJ_PER_KG = "MJ/kg"


_UNITS: Final = {str(u): u for u in Unit}
_FUEL_UNITS: Final = (
    Unit.KG_CO2E_PER_L,
    Unit.KG_CO2E_PER_KG,
    Unit.KG_CO2E_PER_KWH_GROSS,
    Unit.KG_CO2E_PER_KWH_NET,
)
_CO2_UNITS: Final = (Unit.KG_CO2_PER_L, Unit.KG_CO2_PER_KG)
_GRID_UNITS: Final = (Unit.KG_CO2E_PER_KWH, Unit.KG_CO2_PER_KWH)
PARAMETERS: Final[Mapping[str, tuple[str, tuple[Unit, ...]]]] = {  # name -> (meaning, the units it may be in)
    "ttw": ("tank-to-wheel CO2e", (*_FUEL_UNITS, *_CO2_UNITS)),
    "wtt": ("well-to-tank CO2e", _FUEL_UNITS),
    "biogenic": ("biogenic CO2, outside the total", _CO2_UNITS),
    "density": ("mass of a litre at 15 °C", (Unit.KG_PER_L,)),
    "lhv": ("lower (net) heating value", (Unit.MJ_PER_KG,)),
    "generation": ("grid electricity as generated, location-based", _GRID_UNITS),
    "td_loss": ("losses between power station and meter", _GRID_UNITS),
    "upstream": ("supply of electricity before generation: fuel, plant", _GRID_UNITS),
    "life_cycle": ("grid electricity, generation and supply in one figure", _GRID_UNITS),
    "gwp100": ("warming of a kilogram that leaks, over 100 years", (Unit.KG_CO2E_PER_KG,)),
}
SOLAR: Final = "solar_onsite"  # item of the supply of a kWh made on the own roof


class FactorError(ValueError):
    """A factor is missing, ambiguous or has the wrong unit. The text names item, parameter and set."""


def near(name: str, known: Iterable[str]) -> str:
    """``"; nearest in spelling: a, b"``, or nothing where no known name looks like ``name``."""
    close = difflib.get_close_matches(name, sorted(set(known)), n=4)
    return f"; nearest in spelling: {', '.join(close)}" if close else ""


@dataclass(frozen=True, slots=True)
class Factor:
    """One row of a set. ``value`` in ``unit``; the gas columns are kg CO2e per the same unit, NaN where not published.

    It cannot be built with an unknown parameter, or in a unit that is not one of the parameter's: FactorError.
    """

    item: str
    parameter: str
    value: float
    unit: Unit
    co2: float
    ch4_co2e: float
    n2o_co2e: float
    gwp_set: str
    region: str
    vintage: str
    low: float
    high: float
    confidence: str
    source_id: str
    source: str
    url: str
    licence: str
    notes: str

    def __post_init__(self) -> None:
        if self.parameter not in PARAMETERS:
            raise FactorError(f"unknown parameter {self.parameter!r}{near(self.parameter, PARAMETERS)}")
        units = PARAMETERS[self.parameter][1]
        if not isinstance(self.unit, Unit) or self.unit not in units:
            basis = " (a kWh of fuel must tell its calorific basis)" if str(self.unit).endswith("kWh") else ""
            raise FactorError(
                f"{self.item} {self.parameter} is in {str(self.unit)!r}, not in {' or '.join(units)}{basis}"
            )

    def u_rel(self, assumed: float) -> float:
        """Half-width of the 95 % interval, relative: of the row's own band where it has one, else ``assumed``."""
        if math.isnan(self.low) or math.isnan(self.high) or not self.value:
            return assumed
        return (self.high - self.low) / 2.0 / self.value


CO2_ONLY: Final = "CO2 only"
LIFE_CYCLE: Final = "life cycle"
NO_GWP: Final = "n/a"
_ASSESSMENT = re.compile(r"\b(?:SAR|TAR|AR\d)\b")


@cache
def _basis(parameter: str, unit: Unit, label: str) -> str:
    if parameter in ("density", "lhv") or label.strip().lower() == NO_GWP:
        return NO_GWP
    if unit.startswith("kgCO2/") or label.strip().lower() == "co2 only":
        return CO2_ONLY
    if re.search(r"life.?cycle", label, re.IGNORECASE):
        return LIFE_CYCLE
    found = set(_ASSESSMENT.findall(label))
    if len(found) != 1:
        raise FactorError(f"gwp_set {label!r} is not one of AR4, AR5, AR6, {CO2_ONLY}, {LIFE_CYCLE}, {NO_GWP}")
    return str(found.pop())


def gwp_basis(factor: Factor) -> str:
    """What the gases of a row were weighed with: ``"AR4"``, ``"AR5"``, ``"AR6"``.

    ``"CO2 only"``, ``"life cycle"`` and ``"n/a"`` (densities, heating values) may stand beside any of them: the first has
    no other gas, the second comes as one published figure whose gases cannot be taken apart. Raises FactorError.
    """
    return _basis(factor.parameter, factor.unit, factor.gwp_set)


def is_gwp_set(basis: str) -> bool:
    """Whether a basis weighs several gases, so that it must not be mixed with another."""
    return basis not in (CO2_ONLY, LIFE_CYCLE, NO_GWP)


@dataclass(frozen=True, slots=True)
class FactorSet:
    """A set of factors under one name. ``rows`` by (item, parameter), ``sha256`` of the text it was read from.

    ``gwp_example`` is a row of the GWP set that most of its rows use, the only one that it answers in; None where no row
    has one.
    """

    name: str
    rows: Mapping[tuple[str, str], Factor]
    gwp_example: Factor | None = None
    sha256: str = ""

    def gwp_sets(self) -> Counter[str]:
        """Rows by ``gwp_basis``."""
        return Counter(gwp_basis(f) for f in self.rows.values())

    def get(self, item: str, parameter: str, *units: Unit) -> Factor:
        """The factor, checked to be in one of ``units`` and of the GWP set of the whole set. Raises FactorError."""
        factor = self.rows.get((item, parameter))
        if factor is None:
            raise FactorError(f"factor set {self.name} has no {parameter!r} for {item!r}")
        if units and factor.unit not in units:
            raise FactorError(
                f"factor set {self.name}: {item} {parameter} is in {str(factor.unit)!r}, wanted {' or '.join(units)}"
            )
        basis, example = gwp_basis(factor), self.gwp_example
        if example is not None and is_gwp_set(basis) and basis != gwp_basis(example):
            raise FactorError(
                f"factor set {self.name} mixes GWP sets: {item} {parameter} ({factor.source_id}) is {basis}, but"
                f" {example.item} {example.parameter} ({example.source_id}) is {gwp_basis(example)}, as most of the set;"
                " one report has one GWP set"
            )
        return factor

    def value(self, item: str, parameter: str, *units: Unit) -> float:
        """The value alone. Raises FactorError."""
        return self.get(item, parameter, *units).value

    def zones(self) -> list[str]:
        """Grid zones of the set."""
        return sorted({item for item, parameter in self.rows if parameter in ("generation", "life_cycle")})


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _parse_row(row: Mapping[str, str]) -> Factor:
    """One checked row. Raises FactorError, KeyError, TypeError or ValueError without saying where."""
    fields: dict[str, Any] = {k: _number(v) if k in _NUMBERS else v for k, v in row.items()}
    unit = _UNITS.get(row["unit"], row["unit"])
    factor = Factor(**{**fields, "item": row["item"].strip().lower(), "unit": unit})
    if not math.isfinite(factor.value):
        raise FactorError(f"{factor.item} {factor.parameter} has no value")
    if factor.low > factor.value or factor.high < factor.value:
        raise FactorError(
            f"{factor.item} {factor.parameter} {factor.value} is outside its band {factor.low} to {factor.high}"
        )
    gwp_basis(factor)
    return factor


def parse_factors(name: str, text: str) -> FactorSet:
    """Read a set from CSV text. Items are taken in lower case, so the case of a zone's name does not matter.

    Raises FactorError naming set and line for a bad value, an unknown parameter, a unit that is not one of the
    parameter's, a value outside its band, an unknown GWP set, or a doubled key.
    """
    rows: dict[tuple[str, str], Factor] = {}
    for line, row in enumerate(csv.DictReader(text.splitlines()), start=2):
        try:
            factor = _parse_row(row)
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            raise FactorError(f"factor set {name}, line {line}: {e}") from e
        key = (factor.item, factor.parameter)
        if key in rows:
            raise FactorError(f"factor set {name}, line {line}: {key} stands twice")
        rows[key] = factor
    weighed = [f for f in rows.values() if is_gwp_set(gwp_basis(f))]
    usual = Counter(gwp_basis(f) for f in weighed).most_common(1)
    example = next((f for f in weighed if gwp_basis(f) == usual[0][0]), None) if usual else None
    return FactorSet(name, rows, example, hashlib.sha256(text.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class FuelFactors:
    """What one litre (kg for gases) of a fuel emits. NaN = not published, so unknown.

    ttw, wtt: kg CO2e; co2: fossil kg CO2 inside ttw; ch4, n2o: kg CO2e of these gases inside ttw (published parts need not
    add up to it, so a total is never made of them); biogenic: kg CO2 outside the total; density kg/L; lhv MJ/kg;
    u_ttw_rel, u_wtt_rel: half-widths of the 95 % intervals of ttw and wtt, which are independent of each other.
    """

    unit: str
    ttw: float
    wtt: float
    co2: float
    ch4: float
    n2o: float
    biogenic: float
    density: float
    lhv: float
    u_ttw_rel: float
    u_wtt_rel: float

    @property
    def u_rel(self) -> float:
        """Half-width of the 95 % interval of ttw + wtt, relative: U = sqrt(U1^2 + U2^2)."""
        total = self.ttw + self.wtt
        return math.hypot(self.ttw * self.u_ttw_rel, self.wtt * self.u_wtt_rel) / total if total > 0 else U_WTT_REL


def u_ttw_rel(ttw: float, co2: float, gaseous: bool) -> float:
    """Half-width of the 95 % interval of a factor ``ttw``, relative: its ``co2`` is known to 2 %, the rest (CH4, N2O) to a factor of 2."""
    if math.isnan(co2) or ttw <= 0.0:
        return U_ENGINE_GAS_TTW_REL if gaseous else U_TTW_REL
    return math.hypot(co2 * U_TTW_REL, max(ttw - co2, 0.0) * U_GASES_REL) / ttw


def _blend(factors: FactorSet, bio: str, base: str, share: float) -> FuelFactors:
    """Mix by volume. Energy adds by volume x density x lhv, mass by volume x density. A gas that one part lacks is unknown."""
    a, b = fuel_factors(factors, bio), fuel_factors(factors, base)

    def mix(x: float, y: float) -> float:
        return share * x + (1 - share) * y

    density = mix(a.density, b.density)
    ttw, co2 = mix(a.ttw, b.ttw), mix(a.co2, b.co2)
    return FuelFactors(
        unit="l",
        ttw=ttw,
        wtt=mix(a.wtt, b.wtt),
        co2=co2,
        ch4=mix(a.ch4, b.ch4),
        n2o=mix(a.n2o, b.n2o),
        biogenic=mix(a.biogenic, b.biogenic),
        density=density,
        lhv=mix(a.density * a.lhv, b.density * b.lhv) / density,
        u_ttw_rel=u_ttw_rel(ttw, co2, gaseous=False),
        u_wtt_rel=U_WTT_REL,
    )


def blend_parts(fuel: str) -> tuple[str, str, float] | None:
    """(biofuel, base fuel, volume share of the biofuel) of a blend's name such as ``diesel_b7``; None for any other name."""
    for pattern, bio, base in _BLENDS.values():
        match = pattern.match(fuel)
        if match:
            return bio, base, int(match[1]) / 100
    return None


def fuel_factors(factors: FactorSet, fuel: str) -> FuelFactors:
    """Factors of a fuel or of a blend by volume (``diesel_b7``, ``hvo30``, ``petrol_e10``). Raises FactorError."""
    fuel = _ALIASES.get(fuel, fuel)
    if (fuel, "ttw") not in factors.rows:
        parts = blend_parts(fuel)
        if parts:
            return _blend(factors, *parts)
        known = sorted({item for item, parameter in factors.rows if parameter == "ttw"})
        raise FactorError(
            f"factor set {factors.name} has no fuel {fuel!r}; it has {', '.join(known)} and blends such as diesel_b7"
        )
    ttw = factors.get(fuel, "ttw", Unit.KG_CO2E_PER_L, Unit.KG_CO2E_PER_KG)
    unit = ttw.unit.rpartition("/")[2]
    wtt = factors.get(fuel, "wtt", ttw.unit)
    has_biogenic = (fuel, "biogenic") in factors.rows
    return FuelFactors(
        unit=unit,
        ttw=ttw.value,
        wtt=wtt.value,
        co2=ttw.co2,
        ch4=ttw.ch4_co2e,
        n2o=ttw.n2o_co2e,
        biogenic=factors.value(fuel, "biogenic", Unit(f"kgCO2/{unit}")) if has_biogenic else 0.0,
        density=factors.value(fuel, "density", Unit.KG_PER_L) if unit == "l" else 1.0,
        lhv=factors.value(fuel, "lhv", Unit.MJ_PER_KG) if (fuel, "lhv") in factors.rows else math.nan,
        u_ttw_rel=ttw.u_rel(u_ttw_rel(ttw.value, ttw.co2, gaseous=unit == "kg")),
        u_wtt_rel=wtt.u_rel(U_WTT_REL),
    )


def adblue_co2_kg_per_l(factors: FactorSet) -> float:
    """Fossil CO2 of a litre of AdBlue [kg/L], from its urea: 12/60 x 0.325 x 44/12 x density. Raises FactorError."""
    return factors.value("adblue", "ttw", Unit.KG_CO2_PER_KG) * ADBLUE_KG_PER_L


def refrigerant_gwp(factors: FactorSet, refrigerant: str) -> float:
    """Warming of a kilogram that leaks, GWP100 [kg CO2e/kg] in the GWP set of the whole set. Raises FactorError."""
    name = refrigerant.strip().lower().replace("-", "")
    if (name, "gwp100") not in factors.rows:
        known = sorted(item for item, parameter in factors.rows if parameter == "gwp100")
        raise FactorError(f"factor set {factors.name} has no refrigerant {refrigerant!r}; it has {', '.join(known)}")
    return factors.value(name, "gwp100", Unit.KG_CO2E_PER_KG)


@dataclass(frozen=True, slots=True)
class GridFactors:
    """Per kWh delivered [kg CO2e]: ``generation`` (scope 2, NaN where only a life-cycle figure exists), ``total`` with losses
    and supply; ``u_rel``: half-width of the 95 % interval of ``total``, relative.
    """

    generation: float
    total: float
    u_rel: float


def grid_factors(factors: FactorSet, zone: str) -> GridFactors:
    """Location-based factors of a grid zone, upper or lower case. FactorError for a zone the set does not have: never filled
    from a neighbour.
    """
    rows, zone = factors.rows, zone.strip().lower()
    if (zone, "life_cycle") in rows:
        whole = factors.get(zone, "life_cycle", *_GRID_UNITS)
        return GridFactors(math.nan, whole.value, whole.u_rel(U_GRID_REL))
    if (zone, "generation") not in rows:
        zones = factors.zones()
        raise FactorError(
            f"factor set {factors.name} has no grid zone {zone!r} among its {len(zones)}{near(zone, zones)};"
            f" `python -m stream factors list {factors.name}` prints all"
        )
    generation = factors.get(zone, "generation", *_GRID_UNITS)
    extra = [factors.get(zone, p, *_GRID_UNITS) for p in ("td_loss", "upstream") if (zone, p) in rows]
    total = generation.value + (sum(f.value for f in extra) if extra else math.nan)
    u = math.hypot(generation.value * generation.u_rel(U_GRID_REL), *(f.value * f.u_rel(U_WTT_REL) for f in extra))
    return GridFactors(generation.value, total, u / total)


def solar_factor(factors: FactorSet) -> tuple[float, float]:
    """Supply of a kWh from the own roof [kg CO2e/kWh] and its relative half-width; NaN in sets before 2025.2 and 2026.2."""
    if (SOLAR, "upstream") not in factors.rows:
        return math.nan, math.nan
    row = factors.get(SOLAR, "upstream", *_GRID_UNITS)
    return row.value, row.u_rel(U_WTT_REL)


@dataclass(frozen=True, slots=True)
class VehicleClass:
    """Defaults of a class (science reference 3.2). NaN where the class has no such parameter (a battery van has no idle rate)."""

    curb_kg: float
    gvw_kg: float
    cda_m2: float
    crr: float
    p_rated_kw: float
    aux_kw: float
    willans_b_g_per_kwh: float
    willans_a_g_per_h_kw: float
    idle_lph: float
    f_rot: float
    eta_drive: float
    eta_regen: float
    eta_charge: float
    yaw_a1: float  # m2 per degree of yaw, and per its square and cube
    yaw_a2: float
    yaw_a3: float
    cruise_rpm: float
    pto_kw: float
    tru_lph: float


ClassTable = Mapping[str, VehicleClass]
_CLASS_FIELDS = {
    "curb": "curb_kg",
    "gvw": "gvw_kg",
    "CdA": "cda_m2",
    "Crr": "crr",
    "P_rated": "p_rated_kw",
    "aux": "aux_kw",
    "b": "willans_b_g_per_kwh",
    "a": "willans_a_g_per_h_kw",
    "idle": "idle_lph",
    "rot": "f_rot",
    "eta_batt_wheel": "eta_drive",
    "eta_regen": "eta_regen",
    "eta_charge": "eta_charge",
    "yaw_a1": "yaw_a1",
    "yaw_a2": "yaw_a2",
    "yaw_a3": "yaw_a3",
    "n_cruise": "cruise_rpm",
    "pto": "pto_kw",
    "tru": "tru_lph",
}
_BATTERY_TWIN = {
    "bev_van_3.5t": "van_3.5t",
    "bev_artic_40t": "artic_40t",
}  # whose gvw, power and auxiliaries count where none are given


def parse_classes(text: str) -> dict[str, VehicleClass]:
    """Read ``vehicle_classes.csv``. Raises FactorError naming the line."""
    table: dict[str, dict[str, float]] = {}
    for line, row in enumerate(csv.DictReader(text.splitlines()), start=2):
        try:
            field, value = _CLASS_FIELDS.get(row["parameter"]), float(row["value"])
        except (KeyError, TypeError, ValueError) as e:
            raise FactorError(f"vehicle classes, line {line}: {e}") from e
        if field:
            table.setdefault(row["vehicle_class"], {})[field] = value
    for battery, twin in _BATTERY_TWIN.items():
        if battery in table and twin in table:
            table[battery] = {
                "gvw_kg": table[twin]["gvw_kg"],
                "p_rated_kw": table[twin]["p_rated_kw"],
                **table[battery],
            }
            table[battery].setdefault("aux_kw", table[twin]["aux_kw"])
            table[battery].setdefault("f_rot", table[twin]["f_rot"])
    names = VehicleClass.__dataclass_fields__
    return {c: VehicleClass(**{n: p.get(n, math.nan) for n in names}) for c, p in table.items()}
