"""Data types of iLEAP 1.0: ShipmentFootprint, TCE, TOC, HOC, TAD. Field names are the standard's own; decimals are strings.

What is not known is left out. Emissions are kg CO2e, masses kg, distances km, transport activity t km.
"""

from typing import Annotated, Final, Literal

import msgspec

Decimal = Annotated[str, msgspec.Meta(pattern=r"^-?\d+(\.\d+)?$", description="A decimal number as text.")]
Moment = Annotated[
    str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$", description="UTC, ISO 8601.")
]
Country = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}$", description="ISO 3166 alpha-2.")]

Mode = Literal["Road", "Rail", "Air", "Sea", "InlandWaterway"]
HubType = Literal[
    "Transshipment", "StorageAndTransshipment", "Warehouse", "LiquidBulkTerminal", "MaritimeContainerTerminal"
]
Temperature = Literal["ambient", "refrigerated", "mixed"]
CarrierType = Literal[
    "Diesel", "HVO", "Petrol", "CNG", "LNG", "LPG", "HFO", "MGO", "Aviation fuel", "Hydrogen", "Methanol", "Electric"
]
FeedstockType = Literal["Fossil", "Natural gas", "Grid", "Renewable electricity", "Cooking oil"]
Unit = Literal["l", "kg", "kWh", "MJ"]

SCHEMAS: Final = {  # URLs that the specification fixes
    "ShipmentFootprint": "https://api.ileap.sine.dev/shipment-footprint.json",
    "TOC": "https://api.ileap.sine.dev/toc.json",
    "HOC": "https://api.ileap.sine.dev/hoc.json",
}
DOCUMENTATION: Final = "https://sine-fdn.github.io/ileap-extension/"


class _Type(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    pass


class Feedstock(_Type, frozen=True):
    """One feedstock of an energy carrier."""

    feedstock: FeedstockType
    feedstockShare: Decimal | None = None  # noqa: N815
    regionProvenance: str | None = None  # noqa: N815


class EnergyCarrier(_Type, frozen=True):
    """``relativeShare`` is of the transport or hub activity, not of the energy. Factors are kg CO2e per unit."""

    energyCarrier: CarrierType  # noqa: N815
    relativeShare: Decimal  # noqa: N815
    feedstocks: tuple[Feedstock, ...] | None = None
    energyConsumption: Decimal | None = None  # noqa: N815
    energyConsumptionUnit: Unit | None = None  # noqa: N815
    emissionFactorWTW: Decimal | None = None  # noqa: N815
    emissionFactorTTW: Decimal | None = None  # noqa: N815


class Distance(_Type, frozen=True):
    """GLECDistance; at least one of the three. [km]"""

    actual: Decimal | None = None
    gcd: Decimal | None = None
    sfd: Decimal | None = None


class Location(_Type, frozen=True):
    """A place."""

    city: str
    country: Country
    street: str | None = None
    zip: str | None = None
    locode: str | None = None
    lat: Decimal | None = None
    lng: Decimal | None = None


class TCE(_Type, frozen=True):
    """One leg or hub operation of a shipment. Exactly one of ``tocId`` and ``hocId``."""

    tceId: str  # noqa: N815
    shipmentId: str  # noqa: N815
    mass: Decimal
    distance: Distance
    transportActivity: Decimal  # noqa: N815
    co2eWTW: Decimal  # noqa: N815
    co2eTTW: Decimal  # noqa: N815
    prevTceIds: tuple[str, ...] | None = None  # noqa: N815
    tocId: str | None = None  # noqa: N815
    hocId: str | None = None  # noqa: N815
    consignmentId: str | None = None  # noqa: N815
    origin: Location | None = None
    destination: Location | None = None
    departureAt: Moment | None = None  # noqa: N815
    arrivalAt: Moment | None = None  # noqa: N815


class ShipmentFootprint(_Type, frozen=True):
    """All elements of one shipment that this operator carried out."""

    mass: Decimal
    shipmentId: str  # noqa: N815
    tces: Annotated[tuple[TCE, ...], msgspec.Meta(min_length=1)]
    volume: Decimal | None = None


class TOC(_Type, frozen=True):
    """Transport operation category: a route group over a period."""

    tocId: str  # noqa: N815
    mode: Mode
    energyCarriers: Annotated[tuple[EnergyCarrier, ...], msgspec.Meta(min_length=1)]  # noqa: N815
    co2eIntensityWTW: Decimal  # noqa: N815
    co2eIntensityTTW: Decimal  # noqa: N815
    transportActivityUnit: Literal["tkm", "TEUkm"]  # noqa: N815
    description: str | None = None
    loadFactor: Decimal | None = None  # noqa: N815
    emptyDistanceFactor: Decimal | None = None  # noqa: N815
    temperatureControl: Temperature | None = None  # noqa: N815
    truckLoadingSequence: Literal["LTL", "FTL"] | None = None  # noqa: N815


class HOC(_Type, frozen=True):
    """Hub operation category: one warehouse over a period, per tonne that left it."""

    hocId: str  # noqa: N815
    hubType: HubType  # noqa: N815
    energyCarriers: Annotated[tuple[EnergyCarrier, ...], msgspec.Meta(min_length=1)]  # noqa: N815
    co2eIntensityWTW: Decimal  # noqa: N815
    co2eIntensityTTW: Decimal  # noqa: N815
    hubActivityUnit: Literal["tonnes", "TEU"]  # noqa: N815
    description: str | None = None
    temperatureControl: Temperature | None = None  # noqa: N815
    hubLocation: Location | None = None  # noqa: N815


class TAD(_Type, frozen=True):
    """Transport activity of one consignment and leg, without emissions."""

    activityId: str  # noqa: N815
    consignmentIds: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]  # noqa: N815
    distance: Distance
    origin: Location
    destination: Location
    departureAt: Moment  # noqa: N815
    arrivalAt: Moment  # noqa: N815
    mode: Mode
    mass: Decimal | None = None
    loadFactor: Decimal | None = None  # noqa: N815
    emptyDistanceFactor: Decimal | None = None  # noqa: N815
    energyCarriers: tuple[EnergyCarrier, ...] | None = None  # noqa: N815
    temperatureControl: Literal["ambient", "refrigerated"] | None = None  # noqa: N815
