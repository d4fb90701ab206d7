"""Figures of reduction progress, made of exact sums: absolute and intensity side by side, TTW and WTW, one factor vintage.

With base period b, target share r to be reached by year H, and E_b, E_t under the same factor set and boundary:

    reduction  A(t) = (E_b - E_t) / E_b          progress = A(t) / r
    path       E*(t) = E_b (1 - r (t - b) / (H - b))      gap = E_t - E*(t)

and the same for intensity g (kg CO2e per t km). t, b and H are the middles of their periods, in years. A base period of
another length than t's is scaled by time, and the figure says so. What is not known is null, never 0.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from dashboards.feed.periods import Period, iso, year, year_fraction
from dashboards.feed.state import State
from dashboards.feed.sums import By, Sums

UG_PER_KG: Final = 1e9
MM_PER_KM: Final = 1e6
KGM_PER_TKM: Final = 1e6
BOUNDARY: Final = (
    "ISO 14083:2023 transport operations: energy of driving, idling and refrigeration units, empty running included; "
    "WTW = TTW + supply of the energy; no offsets, no biogenic CO2; vehicles and infrastructure not included"
)
HUB_BOUNDARY: Final = (
    "ISO 14083:2023 hub operations: electricity, heat and fuels of the site per tonne that left it; refrigerants beside it; "
    "no offsets, no biogenic CO2; buildings not included"
)

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """The base period's sums under ``factor_set``. ``source``: measured = from this lake's own rows, stated = from the registry.

    ``activity`` is in t km, of a warehouse in t that left it.
    """

    period: Period
    factor_set: str
    source: str
    co2e_wtw_kg: float | None
    co2e_ttw_kg: float | None
    activity: float | None


class Target(msgspec.Struct, frozen=True):
    """``reduction`` of absolute emissions and of intensity, each a share of 1, by the end of ``year``; None = none set."""

    year: int
    absolute: float | None
    intensity: float | None = None


class Benchmark(msgspec.Struct, frozen=True):
    """A published share of empty kilometres. ``definition``: eurostat = nothing aboard at all, strict = no goods aboard."""

    share: float
    series: str
    region: str | None
    year: int
    definition: str
    source: str


class Boundaries(msgspec.Struct, frozen=True):
    """The same quantity well-to-wheel and tank-to-wheel."""

    wtw: float | None
    ttw: float | None


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """Baseline, target path and where the figure stands, for one quantity in one unit."""

    unit: str
    value: float | None
    baseline: float | None
    reduction: float | None
    path: float | None
    gap: float | None
    progress: float | None


class Methods(msgspec.Struct, frozen=True):
    """Shares of the CO2e by how fuel or energy was had, and the share of the time without any figure."""

    measured: Share | None
    modelled: Share | None
    time_unknown: Share | None


class Empty(msgspec.Struct, frozen=True, kw_only=True):
    """Empty running by distance: low = unknown counts as loaded, high = unknown counts as empty.

    ``with_load_units`` adds kilometres with empty pallets, cages or containers only, which Eurostat does not count as empty.
    """

    low: Share | None
    high: Share | None
    low_with_load_units: Share | None
    high_with_load_units: Share | None
    km_unknown: float
    co2e_share: Share | None
    load_factor: Share | None
    benchmark: Benchmark | None = None
    gap_low_pp: float | None = None
    gap_high_pp: float | None = None


class Band(msgspec.Struct, frozen=True):
    """95 % interval of the WTW figure: errors of one meter, vehicle class, fuel or grid zone are shared within it, others are not."""

    low_kg: float
    high_kg: float
    u_rel: float


class Management(msgspec.Struct, frozen=True, kw_only=True):
    """Figures for managers. Square metres and pallets are no activity units of ISO 14083."""

    kg_co2e_wtw_per_m2_year: float | None
    kwh_per_m2_year: float | None
    kg_co2e_wtw_per_pallet_out: float | None
    pallets_out: int | None


class Hub(msgspec.Struct, frozen=True, kw_only=True):
    """A warehouse as ISO 14083 has it: per tonne that left it. ``management`` holds what is no ISO figure."""

    outbound_t: float | None
    kg_co2e_per_t: Boundaries
    energy_kwh: float
    refrigerant_co2e_kg: float
    management: Management


class BaselineView(msgspec.Struct, frozen=True, kw_only=True):
    """What a figure is compared with. ``scaled_by_time``: the base period was of another length; seasons are not evened out."""

    period: Annotated[list[str], msgspec.Meta(min_length=2, max_length=2)]
    factor_set: str
    source: str
    co2e_wtw_kg: float | None
    co2e_ttw_kg: float | None
    activity: float | None
    scaled_by_time: bool


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One cell's figures over [from, through). Where ``hidden`` everything but the names is null."""

    tenant: str
    by: str
    name: str
    hidden: bool
    state: State
    why: tuple[str, ...]
    through: str | None = None
    vehicles: int | None = None
    co2e_kg: Boundaries | None = None
    intensity_kg_per_tkm: Boundaries | None = None
    intensity_g_per_km: Boundaries | None = None
    transport_tkm: float | None = None
    distance_km: float | None = None
    absolute: Path | None = None
    intensity: Path | None = None
    baseline: BaselineView | None = None
    target: Target | None = None
    methods: Methods | None = None
    primary_data_share_pct: float | None = None
    coverage: Share | None = None
    loss_rate: Share | None = None
    empty: Empty | None = None
    band: Band | None = None
    hub: Hub | None = None
    newest_reading: str | None = None
    age_s: float | None = None
    figure_id: str | None = None


def share(part: float, whole: float) -> float | None:
    """``part / whole`` within 0 to 1; None without a whole."""
    return None if whole <= 0 else min(1.0, max(0.0, part / whole))


def quotient(a: float | None, b: float | None) -> float | None:
    """``a / b``; None where one is missing or ``b`` is not above 0."""
    return None if a is None or b is None or b <= 0 else a / b


def against(
    unit: str, value: float | None, baseline: float | None, reduction: float | None, at: float, base: float, goal: float
) -> Path:
    """The formulae of the module's head. ``at``, ``base`` and ``goal`` are years; ``reduction`` is r."""
    achieved = None if value is None or baseline is None or baseline <= 0 else (baseline - value) / baseline
    path = gap = progress = None
    if baseline is not None and reduction is not None and goal > base:
        path = baseline * (1.0 - reduction * (at - base) / (goal - base))
        gap = None if value is None else value - path
    if achieved is not None and reduction:
        progress = achieved / reduction
    return Path(unit=unit, value=value, baseline=baseline, reduction=achieved, path=path, gap=gap, progress=progress)


def empty_running(s: Sums, benchmark: Benchmark | None) -> Empty:
    """Bounds of the empty share and their distance from a benchmark in percentage points, not per cent."""
    total = s.running_mm
    low, high = share(s.empty_mm, total), share(s.empty_mm + s.unknown_load_mm, total)
    with_units = s.empty_mm + s.empty_units_mm
    low_units, high_units = share(with_units, total), share(with_units + s.unknown_load_mm, total)
    same = (low_units, high_units) if benchmark is not None and benchmark.definition == "strict" else (low, high)
    return Empty(
        low=low,
        high=high,
        low_with_load_units=low_units,
        high_with_load_units=high_units,
        km_unknown=s.unknown_load_mm / MM_PER_KM,
        co2e_share=share(s.co2e_empty_ug, s.co2e_wtw_ug),
        load_factor=share(s.transport_kgm, s.capacity_kgm),
        benchmark=benchmark,
        gap_low_pp=None if benchmark is None or same[0] is None else 100.0 * (same[0] - benchmark.share),
        gap_high_pp=None if benchmark is None or same[1] is None else 100.0 * (same[1] - benchmark.share),
    )


def methods(s: Sums) -> Methods:
    """How the emissions were had."""
    measured = share(s.co2e_measured_ug, s.co2e_wtw_ug)
    return Methods(measured, None if measured is None else 1.0 - measured, share(s.unknown_us, s.observed_us))


def known(s: Sums) -> bool:
    """Whether any of the cell's time has an energy figure; without one a sum of 0 is no figure."""
    return s.observed_us > s.unknown_us


def coverage(s: Sums, loss: float | None) -> float | None:
    """Share of the operating time with a figure: of the readings taken, those here; of their time, that with energy."""
    unknown = share(s.unknown_us, s.observed_us)
    return None if unknown is None or loss is None else (1.0 - unknown) * (1.0 - loss)


def band(s: Sums) -> Band | None:
    """95 % interval, log-normal as in the views, so never below 0; None where nothing is known."""
    total = s.co2e_wtw_ug / UG_PER_KG
    if not known(s) or total <= 0 or s.u_rel is None:
        return None
    spread = math.sqrt(math.log1p((s.u_rel / 1.96) ** 2))
    low, high = (total * math.exp(-spread * spread / 2 + side * 1.96 * spread) for side in (-1, 1))
    return Band(low, high, s.u_rel)


def scaled(baseline: Baseline, period: Period) -> tuple[float, bool]:
    """Share of the base period that ``period`` is compared with, and whether that is not simply 1."""
    base, here = baseline.period.seconds, period.seconds
    same_length = abs(here - base) <= 0.004 * base  # leap years: 366 / 365 = 1.0027
    return (1.0, False) if same_length else (here / base, True)


def amounts(s: Sums) -> Mapping[str, Any]:
    """CO2e, transport activity, distance and intensities of one cell."""
    wtw = s.co2e_wtw_ug / UG_PER_KG if known(s) else None
    ttw = s.co2e_ttw_ug / UG_PER_KG if known(s) else None
    tkm = s.transport_kgm / KGM_PER_TKM if s.transport_kgm > 0 else None
    km = s.distance_mm / MM_PER_KM
    return {
        "co2e_kg": Boundaries(wtw, ttw),
        "transport_tkm": tkm,
        "distance_km": km,
        "intensity_kg_per_tkm": Boundaries(quotient(wtw, tkm), quotient(ttw, tkm)),
        "intensity_g_per_km": Boundaries(
            quotient(None if wtw is None else 1000 * wtw, km), quotient(None if ttw is None else 1000 * ttw, km)
        ),
    }


YEAR_S: Final = 365.25 * 86_400.0
UWH_PER_KWH: Final = 1e9


def hub(s: Sums, period: Period, area_m2: float | None) -> Hub:
    """One warehouse over ``period``. A counter that has not moved tells nothing about the goods, so it is no activity of 0."""
    found = amounts(s)["co2e_kg"]
    tonnes = s.goods_out_g / 1e6 if s.goods_out_g > 0 else None
    pallets_out = s.pallets_out if s.pallets_out > 0 else None
    per_year = YEAR_S / period.seconds
    yearly = None if found.wtw is None else found.wtw * per_year
    kwh = s.energy_uwh / UWH_PER_KWH
    return Hub(
        outbound_t=tonnes,
        kg_co2e_per_t=Boundaries(quotient(found.wtw, tonnes), quotient(found.ttw, tonnes)),
        energy_kwh=kwh,
        refrigerant_co2e_kg=s.refrigerant_co2e_ug / UG_PER_KG,
        management=Management(
            kg_co2e_wtw_per_m2_year=quotient(yearly, area_m2),
            kwh_per_m2_year=quotient(kwh * per_year, area_m2),
            kg_co2e_wtw_per_pallet_out=quotient(found.wtw, pallets_out),
            pallets_out=pallets_out,
        ),
    )


def paths(
    s: Sums, period: Period, baseline: Baseline | None, target: Target | None, site: Hub | None
) -> Mapping[str, Any]:
    """Absolute and intensity against baseline and target path. Both are given, or neither."""
    if baseline is None:
        return {}
    found = amounts(s)
    unit, intensity = "kg CO2e WTW per t km", found["intensity_kg_per_tkm"].wtw
    if site is not None:
        unit, intensity = "kg CO2e WTW per t out", site.kg_co2e_per_t.wtw
    part, is_scaled = scaled(baseline, period)
    at, base = year_fraction(period), year_fraction(baseline.period)
    goal = year_fraction(year(target.year)) if target else base
    base_kg = None if baseline.co2e_wtw_kg is None else baseline.co2e_wtw_kg * part
    base_g = quotient(baseline.co2e_wtw_kg, baseline.activity)
    return {
        "absolute": against(
            "kg CO2e WTW", found["co2e_kg"].wtw, base_kg, target.absolute if target else None, at, base, goal
        ),
        "intensity": against(
            unit,
            intensity,
            base_g,
            target.intensity if target else None,
            at,
            base,
            goal,
        ),
        "baseline": BaselineView(
            period=[iso(baseline.period.from_ns), iso(baseline.period.to_ns)],
            factor_set=baseline.factor_set,
            source=baseline.source,
            co2e_wtw_kg=baseline.co2e_wtw_kg,
            co2e_ttw_kg=baseline.co2e_ttw_kg,
            activity=baseline.activity,
            scaled_by_time=is_scaled,
        ),
        "target": target,
    }


def figure(
    by: By,
    s: Sums,
    period: Period,
    *,
    now_ns: int,
    loss: float | None,
    stands: tuple[State, tuple[str, ...]],
    baseline: Baseline | None = None,
    target: Target | None = None,
    benchmark: Benchmark | None = None,
    figure_id: str | None = None,
    site: Hub | None = None,
) -> Figure:
    """Everything that is told of one cell that may be shown."""
    how = methods(s)
    return Figure(
        tenant=s.tenant,
        by=by,
        name=s.name,
        hidden=False,
        state=stands[0],
        why=stands[1],
        through=iso(s.through_ns),
        vehicles=s.vehicles,
        **amounts(s),
        **paths(s, period.cut(s.through_ns) if s.through_ns < period.to_ns else period, baseline, target, site),
        hub=site,
        methods=how,
        primary_data_share_pct=None if how.measured is None else 100.0 * how.measured,
        coverage=coverage(s, loss),
        loss_rate=loss,
        empty=empty_running(s, benchmark) if by != "warehouse" else None,
        band=band(s),
        newest_reading=None if s.newest_time_ns is None else iso(s.newest_time_ns),
        age_s=None if s.newest_time_ns is None else (now_ns - s.newest_time_ns) / 1e9,
        figure_id=figure_id,
    )


def hidden(by: By, tenant: str, name: str) -> Figure:
    """A cell of too few vehicles."""
    return Figure(
        tenant=tenant, by=by, name=name, hidden=True, state="provisional", why=("too few vehicles to be shown",)
    )
