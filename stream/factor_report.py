"""Factor sets in print: what there is, one factor with its source, what changed between two sets. Text from FactorSets."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from stream.factors import (
    PARAMETERS,
    U_GRID_REL,
    U_WTT_REL,
    Factor,
    FactorError,
    FactorSet,
    Unit,
    blend_parts,
    fuel_factors,
    gwp_basis,
    is_gwp_set,
    near,
    u_ttw_rel,
)

CONFIDENCE: Final = {
    "A": "read in a copy of the official table, or computed from it",
    "B": "read in a secondary document that cites the official one",
    "C": "from the literature: a default with a wide error bar, verify before printing it in a report",
}
_REGIONS_SHOWN: Final = 6
_GASES: Final = ("co2", "ch4_co2e", "n2o_co2e")
_ASSUMED_BAND: Final = {
    "wtt": U_WTT_REL,
    "upstream": U_WTT_REL,
    "td_loss": U_WTT_REL,
} | dict.fromkeys(("generation", "life_cycle"), U_GRID_REL)


def _known(x: float, unit: str = "") -> str:
    return "not published" if math.isnan(x) else f"{x:g}{unit and ' '}{unit}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Left-aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{c:{w}}" for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]


def _counts(values: Iterable[str], shown: int = 1000) -> str:
    counted = Counter(values).most_common()
    more = f", and {len(counted) - shown} more" if len(counted) > shown else ""
    return ", ".join(f"{value} ({n})" for value, n in counted[:shown]) + more


def _country(region: str) -> str:
    """``CN-Shanxi 山西`` -> ``CN``, ``POL Poland`` -> ``POL``."""
    return region.replace("-", " ").split(" ")[0]


def list_text(sets: Sequence[FactorSet]) -> str:
    """A paragraph for each set: size, hash, GWP sets, vintages, regions, fuels, zones."""
    parts = []
    for s in sets:
        factors = s.rows.values()
        fuels = sorted({f.item for f in factors if f.parameter == "ttw"})
        answers = f"answers in {gwp_basis(s.gwp_example)}; " if s.gwp_example else ""
        parts.append(
            f"{s.name}: {len(s.rows)} factors, sha256 {s.sha256}\n"
            f"  GWP sets  {answers}rows: {_counts(gwp_basis(f) for f in factors)}\n"
            f"  vintages  {_counts(f.vintage for f in factors)}\n"
            f"  regions   {_counts((_country(f.region) for f in factors), _REGIONS_SHOWN)}\n"
            f"  fuels     {', '.join(fuels)}; blends by volume such as diesel_b7, hvo30, petrol_e10\n"
            f"  grid      {len(s.zones())} zones"
        )
    return "\n\n".join(parts)


def items_text(factors: FactorSet) -> str:
    """One line for each factor of a set."""
    head = ("item", "parameter", "value", "unit", "GWP", "vintage", "tag", "id")
    rows = [
        (f.item, f.parameter, f"{f.value:g}", f.unit, gwp_basis(f), f.vintage, f.confidence, f.source_id)
        for f in sorted(factors.rows.values(), key=lambda f: (f.item, f.parameter))
    ]
    return "\n".join(_table([head, *rows]))


def _factor_text(f: Factor, sets: Sequence[str]) -> str:
    gases = f"CO2 {_known(f.co2)}, CH4 {_known(f.ch4_co2e)}, N2O {_known(f.n2o_co2e)} [kg CO2e in the same unit]"
    band = f"{_known(f.low)} to {_known(f.high)}"
    if math.isnan(f.low) and math.isnan(f.high):
        assumed = _ASSUMED_BAND.get(f.parameter)
        if f.parameter == "ttw":
            assumed = u_ttw_rel(f.value, f.co2, gaseous=f.unit == Unit.KG_CO2E_PER_KG)
        band = "not published" + (f"; the kernels take ±{100 * assumed:.3g} % of the value (95 %)" if assumed else "")
    lines = [
        ("value", f"{f.value:.10g} {f.unit}"),
        ("gases", "not published" if all(math.isnan(getattr(f, g)) for g in _GASES) else gases),
        ("band", band),
        ("GWP set", f"{gwp_basis(f)} (source: {f.gwp_set})"),
        ("region", f.region),
        ("version", f.vintage),
        ("confidence", f"{f.confidence}: {CONFIDENCE.get(f.confidence, 'unknown tag')}"),
        ("source id", f.source_id),
        ("source", f.source),
        ("address", f.url),
        ("licence", f.licence),
        ("notes", f.notes or "none"),
        ("in set", ", ".join(sets)),
    ]
    body = "\n".join(f"  {name:10}  {text}" for name, text in lines)
    return f"{f.item} {f.parameter}: {PARAMETERS[f.parameter][0]}\n{body}"


def _blend_text(factors: FactorSet, fuel: str) -> str:
    parts = blend_parts(fuel)
    if parts is None:
        raise FactorError(f"{fuel!r} is no blend")
    bio, base, share = parts
    f = fuel_factors(factors, fuel)
    return (
        f"{fuel}: no row; mixed by volume from {share:.0%} {bio} and {1 - share:.0%} {base}\n"
        f"  ttw         {f.ttw:.5f} kgCO2e/l, of it fossil CO2 {_known(f.co2)}\n"
        f"  wtt         {f.wtt:.5f} kgCO2e/l\n"
        f"  biogenic    {f.biogenic:.5f} kgCO2/l, outside the total\n"
        f"  density     {f.density:.5f} kg/l\n"
        f"  lhv         {f.lhv:.2f} MJ/kg\n"
        f"  95 % band   ±{f.u_rel:.1%} of ttw + wtt"
    )


def show_text(sets: Sequence[FactorSet], name: str) -> str:
    """Everything known of an item, ``item/parameter``, source id or blend, in each set. Rows that agree are shown once.

    Raises FactorError with near names where no set has it.
    """
    wanted = name.strip().lower()
    item, _, parameter = wanted.partition("/")
    found: dict[str, tuple[Factor, list[str]]] = {}  # by repr: NaN is not equal to itself
    blends: dict[str, list[str]] = {}
    for s in sets:
        rows = [
            f
            for f in s.rows.values()
            if (f.item == item and parameter in ("", f.parameter)) or f.source_id.lower() == wanted
        ]
        for f in rows:
            found.setdefault(repr(f), (f, []))[1].append(s.name)
        if not rows and blend_parts(wanted):
            blends.setdefault(_blend_text(s, wanted), []).append(s.name)
    order = list(PARAMETERS)
    texts = [
        _factor_text(f, names)
        for f, names in sorted(found.values(), key=lambda pair: (pair[0].item, order.index(pair[0].parameter)))
    ]
    texts += [f"{text}\n  in set      {', '.join(names)}" for text, names in blends.items()]
    if not texts:
        rows = [f for s in sets for f in s.rows.values()]
        known = [f"{f.item}/{f.parameter}" if parameter else f.item for f in rows] + [f.source_id for f in rows]
        raise FactorError(f"no factor {name!r} in {', '.join(s.name for s in sets)}{near(wanted, known)}")
    return "\n\n".join(texts)


def _change(a: Factor, b: Factor) -> str:
    if a.unit != b.unit:
        return "unit"
    if a.value == b.value:
        return "same"
    return f"{b.value / a.value - 1:+.2%}" if a.value else "from zero"


def _other_changes(a: Factor, b: Factor) -> str:
    """Names of the fields besides value and unit that differ."""
    names = [n for n in Factor.__dataclass_fields__ if n not in ("value", "unit")]
    return ", ".join(n for n in names if repr(getattr(a, n)) != repr(getattr(b, n)))


def compare_text(a: FactorSet, b: FactorSet) -> str:
    """What ``b`` says otherwise than ``a``: values with their change, other fields, factors that only one of them has."""
    both = sorted(set(a.rows) & set(b.rows))
    changed = [(a.rows[k], b.rows[k]) for k in both if repr(a.rows[k]) != repr(b.rows[k])]
    lines = [f"{a.name} -> {b.name}: {len(both)} factors in both, {len(changed)} of them changed"]
    gwp = [{k for k in s.gwp_sets() if is_gwp_set(k)} for s in (a, b)]
    if gwp[0] != gwp[1]:
        words = [" and ".join(sorted(g)) or "none" for g in gwp]
        lines.append(f"GWP sets differ: {words[0]} -> {words[1]}; CO2e of the two must not be compared gas by gas")
    if changed:
        head = ("item", "parameter", "old", "new", "unit", "change", "also changed")
        rows = [
            (
                x.item,
                x.parameter,
                f"{x.value:.10g}",
                f"{y.value:.10g}",
                y.unit if x.unit == y.unit else f"{x.unit} -> {y.unit}",
                _change(x, y),
                _other_changes(x, y),
            )
            for x, y in changed
        ]
        lines += ["", *_table([head, *rows])]
    for one, other in ((a, b), (b, a)):
        only = sorted(set(one.rows) - set(other.rows))
        if only:
            lines += ["", f"only in {one.name}: {len(only)}"]
            lines += _table([(f"  {i}", p, f"{one.rows[i, p].value:.10g} {one.rows[i, p].unit}") for i, p in only])
    return "\n".join(lines)
