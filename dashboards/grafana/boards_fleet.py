"""Fleet live and Route: what is emitted now, where, and how it moves."""

from grafana_foundation_sdk.builders import dashboard

from dashboards.grafana import limits
from dashboards.grafana.parts import (
    STATE_COLOURS,
    board,
    choice,
    coloured,
    high_is_bad,
    lines,
    link_to,
    low_is_bad,
    number,
    places,
    rows,
    shares,
    steps,
)
from dashboards.grafana.sql import Query, bucketed, emitted, known, raw, sums

VEHICLES = "kind = 'vehicle'"
SITES = "kind = 'warehouse'"
ON_ROUTE = "kind = 'vehicle' AND route IN (${route:sqlstring})"
BY_ROUTE = "coalesce(route, 'no route')"
MARKS = steps((None, "green"), (limits.G_PER_KM[0], "orange"), (limits.G_PER_KM[1], "red"))
KG_PER_H = "suffix: kg/h"
PARTS = ("rolling", "air", "grade", "acceleration", "idling", "auxiliaries", "load", "other")
RATE = known(f"sum({emitted()}) / 1e9 / ($__interval_ms / 3.6e6)")
FACTORS = "factor_set = '${factor_set}'"


def route_choice() -> dashboard.QueryVariable:
    """Routes of the registry."""
    return choice("route", "Route", "SELECT route FROM routes ORDER BY 1")


def attribution(where: str, *, by_trip: bool = True) -> Query:
    """Where the CO2e of the selection went; the parts add up to its total."""
    names = ", ".join(f"'{name}'" for name in PARTS)
    amounts = ", ".join(f"sum(by_{name}_ug) / 1e9" for name in PARTS)
    return raw(
        f"SELECT unnest([{names}]) AS part, unnest([{amounts}]) AS kg FROM {sums(where, by_trip=by_trip)} AS s",
        "part",
        "kg",
    )


def fleet() -> dashboard.Dashboard:
    """What the fleet and its warehouses emit now."""
    total = raw(
        f"""SELECT co2e_wtw_kg_per_h AS "now", co2e_wtw_low_kg_per_h AS "low", co2e_wtw_high_kg_per_h AS "high"
        FROM fleet_now WHERE {FACTORS}""",
        "now",
        "low",
        "high",
    )
    health = raw(
        f"""SELECT sum(vehicles_reporting)::DOUBLE AS "reporting", sum(vehicles_registered)::DOUBLE AS "registered",
        100 * sum(observed_s) / nullif(sum(expected_s), 0) AS "coverage", min(age_s) AS "age",
        100 * sum(measured_share * co2e_wtw_kg) / nullif(sum(co2e_wtw_kg), 0) AS "measured"
        FROM route_now WHERE {FACTORS} OR factor_set IS NULL""",
        "reporting",
        "registered",
        "coverage",
        "age",
        "measured",
    )
    today = raw(
        f"""SELECT sum({emitted()}) / 1e12 AS "today",
        (SELECT sum(target_day_kg) / 1e3 FROM target_paths WHERE scope = 'operator' AND (factor_set IS NULL OR {FACTORS})) AS "target today" FROM asset_hours
        WHERE time >= date_trunc('day', now()) AND {FACTORS}""",
        "today",
        "target today",
    )
    position = raw(
        """SELECT vehicle, lat_deg, lon_deg, speed_kmh, co2e_wtw_g_per_km, load_state, route, age_s FROM positions_now
        WHERE factor_set = '${factor_set}' AND age_s < 86400""",
        "vehicle",
        "lat_deg",
        "lon_deg",
        "speed_kmh",
        "co2e_wtw_g_per_km",
        "load_state",
        "route",
        "age_s",
    )
    sites = raw("SELECT warehouse, name, lat_deg, lon_deg FROM warehouses", "warehouse", "name", "lat_deg", "lon_deg")
    sites = type(sites)(sites.raw, sites.columns, sites.form, "B")
    state = bucketed(
        metric="load_state", amount="sum(distance_mm) / 1e6", where=f"{VEHICLES} AND NOT coalesce(excluded, false)"
    )
    now = raw(
        f"""SELECT route, vehicles_reporting, vehicles_registered, co2e_wtw_kg_per_h, co2e_wtw_low_kg_per_h, co2e_wtw_high_kg_per_h,
        co2e_wtw_g_per_km, 100 * measured_share AS measured_pct, 100 * coverage AS coverage_pct, age_s
        FROM route_now WHERE {FACTORS} OR factor_set IS NULL ORDER BY co2e_wtw_kg_per_h DESC NULLS LAST""",
        "route",
        "vehicles_reporting",
        "vehicles_registered",
        "co2e_wtw_kg_per_h",
        "co2e_wtw_low_kg_per_h",
        "co2e_wtw_high_kg_per_h",
        "co2e_wtw_g_per_km",
        "measured_pct",
        "coverage_pct",
        "age_s",
    )
    places_now = raw(
        f"""SELECT warehouse, co2e_wtw_kg_per_h, co2e_wtw_low_kg_per_h, co2e_wtw_high_kg_per_h, energy_kwh * 3600 / nullif(observed_s, 0) AS power_kw,
        100 * measured_share AS measured_pct, 100 * coverage AS coverage_pct, age_s
        FROM warehouse_now WHERE {FACTORS} OR factor_set IS NULL ORDER BY 1""",
        "warehouse",
        "co2e_wtw_kg_per_h",
        "co2e_wtw_low_kg_per_h",
        "co2e_wtw_high_kg_per_h",
        "power_kw",
        "measured_pct",
        "coverage_pct",
        "age_s",
    )
    panels = [
        number(
            "CO2e now, WTW",
            "Rate of the last one to two minutes, with its 95 % band; vehicles and sites.",
            KG_PER_H,
            total,
            size=(7, 4),
            decimals=0,
        ),
        number(
            "Vehicles",
            "Reporting in the last one to two minutes, of those registered.",
            "none",
            health,
            size=(4, 4),
            decimals=0,
            field="/^re/",
        ),
        number(
            "Coverage",
            "Time with readings over time expected.",
            "percent",
            health,
            size=(3, 4),
            thresholds=low_is_bad(100 * limits.COVERAGE_LOW),
            field="coverage",
        ),
        number(
            "Newest reading",
            "Age of the newest reading of the freshest route.",
            "s",
            health,
            size=(3, 4),
            thresholds=high_is_bad(limits.STALE_S),
            field="age",
        ),
        number(
            "Measured",
            "Share of vehicles' CO2e whose fuel or energy was measured, not modelled.",
            "percent",
            health,
            size=(3, 4),
            thresholds=low_is_bad(100 * limits.MEASURED_LOW),
            field="measured",
        ),
        number(
            "Today",
            "Tonnes since midnight UTC, known part; and the target path's share of a day where one is registered.",
            "suffix: t",
            today,
            size=(4, 4),
            decimals=2,
        ),
        lines(
            "CO2e by route",
            "Known emissions per bucket as a rate; a gap where less than half of the time has a figure.",
            KG_PER_H,
            bucketed(metric=BY_ROUTE, amount=RATE, where=VEHICLES),
            stacked=True,
        ),
        lines(
            "CO2e by warehouse",
            "Grid, gas and generator, as a rate. Refrigerant is apart.",
            KG_PER_H,
            bucketed(metric="asset", amount=RATE, where=SITES, by_trip=False),
            stacked=True,
        ),
        places(
            "Vehicles now",
            "Newest position of each vehicle, coloured by g CO2e/km (WTW) of its last ten minutes; grey where that is unknown. No map tiles are loaded.",
            "suffix: g/km",
            position,
            sites,
            "co2e_wtw_g_per_km",
            MARKS,
        ),
        coloured(
            lines(
                "Kilometres by load state",
                "What the vehicles carried, by the newest knowledge of each trip. Yard movements are left out.",
                "lengthkm",
                state,
                stacked=True,
                bars=True,
                size=(12, 12),
            ),
            STATE_COLOURS,
        ),
        rows(
            "Routes now",
            "The last one to two minutes of each route.",
            now,
            {
                "co2e_wtw_kg_per_h": KG_PER_H,
                "co2e_wtw_low_kg_per_h": KG_PER_H,
                "co2e_wtw_high_kg_per_h": KG_PER_H,
                "co2e_wtw_g_per_km": "suffix: g/km",
                "measured_pct": "percent",
                "coverage_pct": "percent",
                "age_s": "s",
            },
            size=(14, 9),
            links={"route": link_to("fleetco2-route", "route", "route")},
            limits={"age_s": high_is_bad(limits.STALE_S), "coverage_pct": low_is_bad(100 * limits.COVERAGE_LOW)},
        ),
        rows(
            "Warehouses now",
            "The last one to two minutes of each warehouse.",
            places_now,
            {
                "co2e_wtw_kg_per_h": KG_PER_H,
                "co2e_wtw_low_kg_per_h": KG_PER_H,
                "co2e_wtw_high_kg_per_h": KG_PER_H,
                "power_kw": "kwatt",
                "measured_pct": "percent",
                "coverage_pct": "percent",
                "age_s": "s",
            },
            size=(10, 9),
            links={"warehouse": link_to("fleetco2-warehouse", "warehouse", "warehouse")},
            limits={"age_s": high_is_bad(limits.STALE_S)},
        ),
    ]
    return board("fleetco2-live", refresh="5s", start="now-1h", variables=[], panels=panels)


def route() -> dashboard.Dashboard:
    """A few routes: how much, how well loaded, which trips."""
    intensity = bucketed(
        metric=BY_ROUTE,
        amount=known(f"sum({emitted()}) / nullif(sum(distance_mm), 0)", least=0.95),
        where=ON_ROUTE,
    )
    per_tkm = bucketed(
        metric=BY_ROUTE, amount=known(f"sum({emitted()}) / nullif(sum(transport_kgm), 0) * 1e3 / 1e3"), where=ON_ROUTE
    )
    fill = bucketed(metric=BY_ROUTE, amount="100.0 * sum(transport_kgm) / nullif(sum(capacity_kgm), 0)", where=ON_ROUTE)
    state = bucketed(
        metric="load_state", amount="sum(distance_mm) / 1e6", where=f"{ON_ROUTE} AND NOT coalesce(excluded, false)"
    )
    summary = raw(
        f"""SELECT sum({emitted()}) / 1e9 AS "kg", sum(distance_mm) / 1e6 AS "km", sum(transport_kgm) / 1e6 AS "tkm",
        CASE WHEN sum(unknown_us) <= 0.05 * sum(observed_us) THEN sum({emitted()}) / nullif(sum(distance_mm), 0) END AS "g/km",
        100.0 * sum(co2e_measured_ug) / nullif(sum(co2e_ttw_ug + co2e_wtt_ug), 0) AS "measured %"
        FROM {sums(ON_ROUTE)} AS s""",
        "kg",
        "km",
        "tkm",
        "g/km",
        "measured %",
    )
    parts = attribution(ON_ROUTE)
    trips = raw(
        """SELECT asset AS vehicle, time AS "from", end_time AS "to", start_place, end_place, load_state, distance_mm / 1e6 AS km,
        co2e_wtw_ug / 1e9 AS kg, CASE WHEN unknown_us <= 0.05 * observed_us THEN co2e_wtw_ug / nullif(distance_mm, 0) END AS g_per_km,
        payload_kg / 1e3 AS payload_t, empty_cause FROM trips_final
        WHERE route IN (${route:sqlstring}) AND $__unixEpochNanoFilter(trip_start_ns) AND factor_set = '${factor_set}'
        ORDER BY trip_start_ns DESC LIMIT 500""",
        "vehicle",
        "from",
        "to",
        "start_place",
        "end_place",
        "load_state",
        "km",
        "kg",
        "g_per_km",
        "payload_t",
        "empty_cause",
    )
    panels = [
        number(
            "In this time",
            "Known CO2e, distance, transport work, and their ratios; g/km only where 95 % of the time has a figure.",
            "none",
            summary,
            size=(24, 4),
        ),
        lines("CO2e", "Known emissions as a rate.", KG_PER_H, bucketed(metric=BY_ROUTE, amount=RATE, where=ON_ROUTE)),
        lines(
            "CO2e per kilometre",
            "Grams per vehicle-kilometre; a gap where more than 5 % of the time has no figure.",
            "suffix: g/km",
            intensity,
        ),
        lines(
            "CO2e per tonne-kilometre",
            "Grams per tonne-kilometre on the road actually driven; empty running is in it.",
            "suffix: g/tkm",
            per_tkm,
        ),
        lines(
            "Load factor", "Transport work over what could have been carried on the loaded kilometres.", "percent", fill
        ),
        coloured(
            lines(
                "Kilometres by load state",
                "By the newest knowledge of each trip.",
                "lengthkm",
                state,
                stacked=True,
                bars=True,
            ),
            STATE_COLOURS,
        ),
        shares(
            "Where the energy went",
            "Modelled split of the CO2e of this time; the parts add up to its total.",
            "suffix: kg",
            parts,
            size=(12, 8),
        ),
        rows(
            "Trips",
            "The newest 500 trips of this time.",
            trips,
            {"km": "lengthkm", "kg": "suffix: kg", "g_per_km": "suffix: g/km", "payload_t": "suffix: t"},
            links={"vehicle": link_to("fleetco2-vehicle", "vehicle", "vehicle")},
            size=(24, 10),
        ),
    ]
    return board("fleetco2-route", refresh="30s", start="now-12h", variables=[route_choice()], panels=panels)
