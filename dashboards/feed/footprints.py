"""Published figures as PACT 2 ProductFootprints with iLEAP data inside. Nothing leaves here that the linter refuses."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from dashboards.feed.carriers import gwp_set
from dashboards.feed.decimals import parse, ratio, text
from dashboards.feed.ileap import DOCUMENTATION, HOC, SCHEMAS, TOC, EnergyCarrier, ShipmentFootprint
from dashboards.feed.linter import check
from dashboards.feed.periods import Period, iso
from dashboards.feed.progress import BOUNDARY, HUB_BOUNDARY
from dashboards.feed.sums import Sums

SPEC_VERSION: Final = "2.1.0"
CPC_LOGISTICS: Final = "83117"
UG_PER_KG: Final = 10**9
KGM_PER_TKM: Final = 10**6
RATINGS: Final = ((0.99, 1.0), (0.95, 2.0), (0.0, 3.0))  # share -> rating, 1 is best


class Owner(msgspec.Struct, frozen=True):
    """Who publishes."""

    company: str
    company_ids: tuple[str, ...]
    country: str


class Quality(msgspec.Struct, frozen=True):
    """Shares of 1: of the time covered, of the CO2e from measurements. ``u_rel`` is the half-width of the 95 % band."""

    coverage: float
    primary: float
    u_rel: float


def toc_id(tenant: str, name: str, period: Period) -> str:
    """Name of an operation category: operator, cell, first day."""
    return f"{tenant}.{name}.{iso(period.from_ns)[:10]}.{iso(period.to_ns)[:10]}"


def _intensity(ug: int, by: int, per: int, unit: int) -> str:
    """kg per unit of activity: ``ug`` over ``by`` steps of which ``per`` make one unit."""
    return text(ratio(ug * per, by * unit))


def toc(s: Sums, period: Period, carriers: Sequence[EnergyCarrier]) -> TOC:
    """A route group as transport operation category. Raises ImpossibleError; ValueError where no goods were carried."""
    if s.transport_kgm <= 0:
        raise ValueError(f"{s.name}: no transport activity is known, so there is no intensity")
    whole = s.running_mm
    loads_known = whole > 0 and s.unknown_load_mm == 0
    item = TOC(
        tocId=toc_id(s.tenant, s.name, period),
        description=f"Road freight, {s.name.replace('_', ' ')}, empty running included",
        mode="Road",
        loadFactor=_share(s.transport_kgm, s.capacity_kgm) if s.capacity_kgm >= s.transport_kgm > 0 else None,
        emptyDistanceFactor=_share(s.empty_mm + s.empty_units_mm, whole) if loads_known else None,
        energyCarriers=tuple(carriers),
        co2eIntensityWTW=_intensity(s.co2e_wtw_ug, s.transport_kgm, KGM_PER_TKM, UG_PER_KG),
        co2eIntensityTTW=_intensity(s.co2e_ttw_ug, s.transport_kgm, KGM_PER_TKM, UG_PER_KG),
        transportActivityUnit="tkm",
    )
    check(item)
    return item


def _share(part: int, whole: int) -> str:
    return text(ratio(part, whole))


def hoc(s: Sums, period: Period, carriers: Sequence[EnergyCarrier]) -> HOC:
    """A warehouse as hub operation category, per tonne that left it. Raises ImpossibleError."""
    if s.goods_out_g <= 0:
        raise ValueError(f"{s.name}: nothing left the hub, so there is no intensity")
    item = HOC(
        hocId=toc_id(s.tenant, s.name, period),
        description=f"Hub {s.name}; goods counted once, when they leave",
        hubType="StorageAndTransshipment",
        energyCarriers=tuple(carriers),
        co2eIntensityWTW=_intensity(s.co2e_wtw_ug, s.goods_out_g, 10**6, UG_PER_KG),
        co2eIntensityTTW=_intensity(s.co2e_ttw_ug, s.goods_out_g, 10**6, UG_PER_KG),
        hubActivityUnit="tonnes",
    )
    check(item)
    return item


def _rating(share: float) -> float:
    return next(rating for least, rating in RATINGS if share >= least)


def product_footprint(
    item: TOC | HOC | ShipmentFootprint,
    *,
    figure_id: str,
    version: int,
    preceding: Sequence[str],
    created: str,
    owner: Owner,
    period: Period,
    factor_set: str,
    quality: Quality,
) -> dict[str, Any]:
    """The PACT container of ``item``, its derived fields as the iLEAP specification's mapping tables want them."""
    check(item)
    kind = type(item).__name__
    names, amount, unit, kg = _derived(item)
    gwp = gwp_set(factor_set)
    pf: dict[str, Any] = {
        "id": figure_id,
        "specVersion": SPEC_VERSION,
        "version": version,
        "created": created,
        "status": "Active",
        "companyName": owner.company,
        "companyIds": list(owner.company_ids),
        "productDescription": names[1],
        "productIds": [f"urn:pathfinder:product:customcode:vendor-assigned:{names[0]}"],
        "productCategoryCpc": CPC_LOGISTICS,
        "productNameCompany": names[1],
        "comment": "",
        "pcf": {
            "declaredUnit": unit,
            "unitaryProductAmount": amount,
            "pCfExcludingBiogenic": kg,
            "fossilGhgEmissions": kg,
            "fossilCarbonContent": "0",
            "biogenicCarbonContent": "0",
            "characterizationFactors": gwp,
            "ipccCharacterizationFactorsSources": [gwp],
            "crossSectoralStandardsUsed": ["ISO14083"],
            "boundaryProcessesDescription": HUB_BOUNDARY if isinstance(item, HOC) else BOUNDARY,
            "referencePeriodStart": iso(period.from_ns),
            "referencePeriodEnd": iso(period.to_ns),
            "geographyCountry": owner.country,
            "secondaryEmissionFactorSources": [{"name": "fleetco2 factor set", "version": factor_set}],
            "exemptedEmissionsPercent": 0.0,
            "exemptedEmissionsDescription": "",
            "packagingEmissionsIncluded": False,
            "uncertaintyAssessmentDescription": f"95 % interval of +-{100 * quality.u_rel:.1f} %",
            "primaryDataShare": round(100.0 * quality.primary, 6),
            "dqi": {
                "coveragePercent": round(100.0 * quality.coverage, 6),
                "technologicalDQR": _rating(quality.primary),
                "temporalDQR": 1.0,
                "geographicalDQR": 1.0,
                "completenessDQR": _rating(quality.coverage),
                "reliabilityDQR": _rating(quality.primary),
            },
        },
        "extensions": [
            {
                "specVersion": "2.0.0",
                "dataSchema": SCHEMAS[kind],
                "documentation": DOCUMENTATION,
                "data": msgspec.to_builtins(item),
            }
        ],
    }
    if preceding:
        pf["precedingPfIds"] = list(preceding)
    return pf


def _derived(item: TOC | HOC | ShipmentFootprint) -> tuple[tuple[str, str], str, str, str]:
    """((id, name), unitary amount, declared unit, kg CO2e) as the mapping tables of iLEAP derive them."""
    match item:
        case TOC():
            return (f"toc:{item.tocId}", f"TOC {item.tocId}"), "1", "ton kilometer", item.co2eIntensityWTW
        case HOC():
            return (f"hoc:{item.hocId}", f"HOC {item.hocId}"), "1000", "kilogram", item.co2eIntensityWTW
        case ShipmentFootprint():
            work = sum((parse(t.transportActivity) for t in item.tces), Decimal(0))
            total = sum((parse(t.co2eWTW) for t in item.tces), Decimal(0))
            names = (f"shipment:{item.shipmentId}", f"Shipment {item.shipmentId}")
            return names, text(work), "ton kilometer", text(total)


def deprecated(pf: Mapping[str, Any]) -> dict[str, Any]:
    """The same footprint after a newer version was published."""
    return {**pf, "status": "Deprecated", "statusComment": "restated; a newer version names this one in precedingPfIds"}
