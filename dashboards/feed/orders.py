"""Order labels: g CO2e of one order from its packaging, legs and hubs, moving until it is delivered.

``orders.csv`` names each order's legs in their sequence. A leg is carried by a vehicle from ``start`` to ``end`` (blank: under way),
or handled in a warehouse. Its part of the emissions is, after ISO 14083, the intensity of its operation category times what it
asks of it: mass x distance of a leg (g_TOC), mass of a hub (h_HOC). The category is the vehicle's route group, or the warehouse, in
the calendar month that the leg began in: empty running and the others' loads are in it already.
"""

import csv
import datetime
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import duckdb
import msgspec

from dashboards.feed.answers import choose_factor_set
from dashboards.feed.decimals import ratio, text
from dashboards.feed.footprints import UG_PER_KG, toc_id
from dashboards.feed.ileap import TAD, TCE, Distance, Location, ShipmentFootprint
from dashboards.feed.linter import check
from dashboards.feed.periods import Period, iso, month_of, to_ns
from dashboards.feed.reader import Reader, query
from dashboards.feed.sums import NONE, Sums, cells

ORDERS: Final = 1_000_000  # rows of the file; about 200 MB, read once per change
COLUMNS: Final = (
    "order", "leg", "tenant", "vehicle", "warehouse", "start", "end", "mass_kg", "consignment", "packaging_co2e_kg",
    "origin_city", "origin_country", "destination_city", "destination_country", "delivered",
)  # fmt: skip


class OrdersError(ValueError):
    """An orders file that cannot be used. The text names file, line, column and mend."""


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One row of ``orders.csv``; times are UTC, a blank ``end`` means under way."""

    order: str
    leg: int
    tenant: str
    start_ns: int
    mass_kg: float
    vehicle: str | None = None
    warehouse: str | None = None
    end_ns: int | None = None
    consignment: str | None = None
    packaging_co2e_kg: float | None = None
    origin_city: str | None = None
    origin_country: str | None = None
    destination_city: str | None = None
    destination_country: str | None = None
    delivered: bool = False


def _time(value: str) -> int:
    if not value.endswith("Z"):
        raise ValueError("write UTC as 2026-11-22T10:00:00Z")
    return to_ns(datetime.datetime.fromisoformat(value))


def _leg(row: Mapping[str, str]) -> Leg:
    def given(name: str) -> str | None:
        return row[name].strip() or None

    end, packaging = given("end"), given("packaging_co2e_kg")
    leg = Leg(
        order=row["order"].strip(),
        leg=int(row["leg"]),
        tenant=row["tenant"].strip(),
        start_ns=_time(row["start"].strip()),
        mass_kg=float(row["mass_kg"]),
        vehicle=given("vehicle"),
        warehouse=given("warehouse"),
        end_ns=_time(end) if end else None,
        consignment=given("consignment"),
        packaging_co2e_kg=float(packaging) if packaging else None,
        origin_city=given("origin_city"),
        origin_country=given("origin_country"),
        destination_city=given("destination_city"),
        destination_country=given("destination_country"),
        delivered=row["delivered"].strip().lower() in ("1", "true", "yes"),
    )
    if not leg.order or not leg.tenant:
        raise ValueError("order and tenant must be given")
    if (leg.vehicle is None) == (leg.warehouse is None):
        raise ValueError("give a vehicle or a warehouse, not both")
    if not 0.0 < leg.mass_kg < 1e9:
        raise ValueError(f"mass_kg {leg.mass_kg} is not above 0")
    if leg.end_ns is not None and leg.end_ns <= leg.start_ns:
        raise ValueError("end is not after start")
    return leg


def load(path: Path) -> dict[str, tuple[Leg, ...]]:
    """Orders by name, legs in their sequence. Raises OrdersError."""
    out: dict[str, list[Leg]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise OrdersError(f"{path}, line 1: the header must be {','.join(COLUMNS)}")
            for n, row in enumerate(reader):
                if n >= ORDERS:
                    raise OrdersError(f"{path}: more than {ORDERS} rows; move delivered orders to another file")
                try:
                    leg = _leg(row)
                except (ValueError, TypeError, AttributeError) as e:
                    raise OrdersError(f"{path}, line {reader.line_num}: {e}") from None
                out.setdefault(leg.order, []).append(leg)
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise OrdersError(f"{path} cannot be read as CSV in UTF-8: {e}") from e
    return {name: tuple(sorted(legs, key=lambda leg: leg.leg)) for name, legs in out.items()}


class Orders:
    """The orders of a file that others replace; read again when it has changed."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._orders: dict[str, tuple[Leg, ...]] = {}

    def all(self) -> Mapping[str, tuple[Leg, ...]]:
        """Orders by name. Raises OrdersError."""
        if self._path is not None:
            try:
                info = self._path.stat()
            except OSError as e:
                raise OrdersError(f"{self._path} cannot be read: {e}") from e
            stamp = (info.st_mtime_ns, info.st_ino)
            if stamp != self._stamp:
                self._orders, self._stamp = load(self._path), stamp
        return self._orders


class LabelLeg(msgspec.Struct, frozen=True, kw_only=True):
    """One leg's part. Null where no intensity or distance is known yet: it is missing from the label, not 0 in it."""

    leg: int
    what: str
    start: str
    end: str | None
    distance_km: float | None
    co2e_wtw_g: float | None
    co2e_ttw_g: float | None
    primary_share: float | None


class LabelVersion(msgspec.Struct, frozen=True):
    """What the label said before."""

    time: str
    co2e_wtw_g: float
    legs_known: int


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """The label of one order. ``final`` when it is delivered and every leg is known."""

    order: str
    tenant: str
    factor_set: str
    delivered: bool
    final: bool
    co2e_wtw_g: float
    co2e_ttw_g: float
    packaging_g: float | None
    legs_known: int
    legs: tuple[LabelLeg, ...]
    primary_data_share_pct: float | None
    generated: str
    history: tuple[LabelVersion, ...] = ()


class Elements(msgspec.Struct, frozen=True):
    """Transport chain elements of one order with the primary share of each; None for legs not known yet."""

    tces: tuple[TCE | None, ...]
    primary: tuple[float | None, ...]


class Categories:
    """Operation categories of months, looked up once each."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, reader: Reader, factor_set: str) -> None:
        self._cursor, self._reader, self.factor_set = cursor, reader, factor_set
        self._groups: dict[Period, dict[tuple[str, str], Sums]] = {}
        self._hubs: dict[Period, dict[str, Sums]] = {}
        self._stage = {
            r["vehicle"]: (r["tenant"] or reader.own_tenant, r["stage"] or NONE)
            for r in query(
                cursor, "SELECT vehicle, vehicles.tenant, routes.stage FROM vehicles LEFT JOIN routes USING (route)"
            )
        }

    def toc(self, vehicle: str, at_ns: int) -> tuple[Sums, str] | None:
        """The vehicle's route group in the month of ``at_ns``, and its name."""
        where, period = self._stage.get(vehicle), month_of(at_ns)
        if where is None:
            return None
        if period not in self._groups:
            here = period.cut(self._reader.now_ns())
            found = cells(self._cursor, "route_group", here, self.factor_set, self._reader.own_tenant)
            self._groups[period] = {(s.tenant, s.name): s for s in found}
        s = self._groups[period].get(where)
        return None if s is None or s.transport_kgm <= 0 else (s, toc_id(*where, period))

    def hoc(self, warehouse: str, at_ns: int) -> tuple[Sums, str] | None:
        """The warehouse in the month of ``at_ns``, and its name."""
        period = month_of(at_ns)
        if period not in self._hubs:
            here = period.cut(self._reader.now_ns())
            found = cells(self._cursor, "warehouse", here, self.factor_set, self._reader.own_tenant)
            self._hubs[period] = {s.name: s for s in found}
        s = self._hubs[period].get(warehouse)
        return None if s is None or s.goods_out_g <= 0 else (s, toc_id(s.tenant, warehouse, period))

    def driven_mm(self, vehicle: str, start_ns: int, end_ns: int) -> int | None:
        """Distance the vehicle drove in whole minutes of a window; None without any."""
        rows = query(
            self._cursor,
            """
SELECT CAST(sum(distance_mm) AS HUGEINT) AS mm FROM rollups
WHERE asset = $vehicle AND factor_set = $factor_set AND day BETWEEN $first_day AND $last_day
  AND minute_ns >= $from_ns AND minute_ns < $to_ns""",
            {
                "vehicle": vehicle,
                "factor_set": self.factor_set,
                "first_day": Period(start_ns, end_ns).days[0],
                "last_day": Period(start_ns, end_ns).days[1],
                "from_ns": start_ns,
                "to_ns": end_ns,
            },
        )
        return rows[0]["mm"] if rows and rows[0]["mm"] else None


def _place(city: str | None, country: str | None) -> Location | None:
    return Location(city=city, country=country) if city and country else None


def elements(legs: Sequence[Leg], known: Categories, now_ns: int) -> Elements:
    """The transport chain elements of an order so far."""
    tces: list[TCE | None] = []
    primary: list[float | None] = []
    before: tuple[str, ...] = ()
    for leg in legs:
        found = _transport(leg, leg.vehicle, known, now_ns) if leg.vehicle else _handling(leg, known)
        if found is None:
            tces.append(None)
            primary.append(None)
            continue
        s, distance_mm, wtw, ttw, category = found
        mass_g = round(leg.mass_kg * 1000)
        tce = TCE(
            tceId=f"{leg.order}-{leg.leg}",
            shipmentId=leg.order,
            consignmentId=leg.consignment,
            mass=text(ratio(mass_g, 1000)),
            distance=Distance(actual=text(ratio(distance_mm, 10**6))),
            transportActivity=text(ratio(mass_g * distance_mm, 10**12)),
            co2eWTW=text(ratio(wtw, UG_PER_KG)),
            co2eTTW=text(ratio(ttw, UG_PER_KG)),
            prevTceIds=before,
            tocId=category if leg.vehicle else None,
            hocId=None if leg.vehicle else category,
            origin=_place(leg.origin_city, leg.origin_country),
            destination=_place(leg.destination_city, leg.destination_country),
            departureAt=iso(leg.start_ns),
            arrivalAt=iso(leg.end_ns) if leg.end_ns else None,
        )
        before = (tce.tceId,)
        tces.append(tce)
        primary.append(s.co2e_measured_ug / s.co2e_wtw_ug if s.co2e_wtw_ug > 0 else None)
    return Elements(tuple(tces), tuple(primary))


def _transport(leg: Leg, vehicle: str, known: Categories, now_ns: int) -> tuple[Sums, int, int, int, str] | None:
    """Category, distance, WTW, TTW (µg) and category's name of a leg."""
    category = known.toc(vehicle, leg.start_ns)
    end = min(leg.end_ns or now_ns, now_ns)
    mm = known.driven_mm(vehicle, leg.start_ns, end) if end > leg.start_ns else None
    if category is None or mm is None:
        return None
    s, name = category
    kgm = round(leg.mass_kg * 1000) * mm // 10**6
    return s, mm, s.co2e_wtw_ug * kgm // s.transport_kgm, s.co2e_ttw_ug * kgm // s.transport_kgm, name


def _handling(leg: Leg, known: Categories) -> tuple[Sums, int, int, int, str] | None:
    """The same of a hub; its distance is 0."""
    category = known.hoc(leg.warehouse or "", leg.start_ns)
    if category is None:
        return None
    s, name = category
    grams = round(leg.mass_kg * 1000)
    return s, 0, s.co2e_wtw_ug * grams // s.goods_out_g, s.co2e_ttw_ug * grams // s.goods_out_g, name


def shipment(legs: Sequence[Leg], found: Elements) -> ShipmentFootprint | None:
    """The order as iLEAP shipment, of the legs that are known; None without any. Raises ImpossibleError."""
    tces = tuple(t for t in found.tces if t is not None)
    if not tces:
        return None
    item = ShipmentFootprint(mass=text(ratio(round(legs[0].mass_kg * 1000), 1000)), shipmentId=legs[0].order, tces=tces)
    check(item)
    return item


def label(
    cursor: duckdb.DuckDBPyConnection, reader: Reader, legs: Sequence[Leg], asked_set: str | None, history: "History"
) -> Label:
    """The label of one order as of now, kept in its history where it has changed. Raises ProblemError 404."""
    now = reader.now_ns()
    known = Categories(cursor, reader, choose_factor_set(cursor, asked_set))
    found = elements(legs, known, now)
    shipment(legs, found)
    parts = [_label_leg(leg, tce, share) for leg, tce, share in zip(legs, found.tces, found.primary, strict=True)]
    given = [leg.packaging_co2e_kg for leg in legs if leg.packaging_co2e_kg is not None]
    packaging = 1000.0 * sum(given) if given else None
    wtw = sum(p.co2e_wtw_g or 0.0 for p in parts) + (packaging or 0.0)
    primary = sum((p.co2e_wtw_g or 0.0) * (p.primary_share or 0.0) for p in parts)
    count = sum(p.co2e_wtw_g is not None for p in parts)
    delivered = any(leg.delivered for leg in legs)
    made = Label(
        order=legs[0].order,
        tenant=legs[0].tenant,
        factor_set=known.factor_set,
        delivered=delivered,
        final=delivered and count == len(parts),
        co2e_wtw_g=wtw,
        co2e_ttw_g=sum(p.co2e_ttw_g or 0.0 for p in parts),
        packaging_g=packaging,
        legs_known=count,
        legs=tuple(parts),
        primary_data_share_pct=100.0 * primary / wtw if wtw > 0 else None,
        generated=iso(now),
    )
    return msgspec.structs.replace(made, history=history.keep(made))


def _label_leg(leg: Leg, tce: TCE | None, primary: float | None) -> LabelLeg:
    return LabelLeg(
        leg=leg.leg,
        what=leg.vehicle or leg.warehouse or "",
        start=iso(leg.start_ns),
        end=iso(leg.end_ns) if leg.end_ns else None,
        distance_km=float(tce.distance.actual or 0) if tce and leg.vehicle else None,
        co2e_wtw_g=1000.0 * float(tce.co2eWTW) if tce else None,
        co2e_ttw_g=1000.0 * float(tce.co2eTTW) if tce else None,
        primary_share=primary,
    )


def activity_data(legs: Sequence[Leg], found: Elements) -> list[TAD]:
    """Legs that are over, without emissions, where both ends' cities are known."""
    out = []
    for leg, tce in zip(legs, found.tces, strict=True):
        if tce is None or leg.vehicle is None or leg.end_ns is None or tce.origin is None or tce.destination is None:
            continue
        item = TAD(
            activityId=tce.tceId,
            consignmentIds=(leg.consignment or leg.order,),
            distance=tce.distance,
            origin=tce.origin,
            destination=tce.destination,
            departureAt=iso(leg.start_ns),
            arrivalAt=iso(leg.end_ns),
            mode="Road",
            mass=tce.mass,
        )
        check(item)
        out.append(item)
    return out


class History:
    """What labels said, one JSON line per change, in one file per order."""

    KEPT: Final = 200  # versions told; a label asked for every minute over three hours

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, made: Label) -> tuple[LabelVersion, ...]:
        """Earlier versions and this one, which is added where it says something new."""
        path = self._folder / f"{made.order.encode().hex()[:200]}.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        versions = [msgspec.convert(json.loads(line), LabelVersion) for line in lines[-self.KEPT :]]
        new = LabelVersion(made.generated, made.co2e_wtw_g, made.legs_known)
        if versions and (versions[-1].co2e_wtw_g, versions[-1].legs_known) == (new.co2e_wtw_g, new.legs_known):
            return tuple(versions)
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, msgspec.json.encode(new) + b"\n")
        finally:
            os.close(handle)
        return tuple([*versions, new][-self.KEPT :])
