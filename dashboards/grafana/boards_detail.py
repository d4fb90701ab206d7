"""Vehicle and Warehouse: one asset, second by second."""

from grafana_foundation_sdk.builders import dashboard

from dashboards.grafana import limits
from dashboards.grafana.boards_fleet import FACTORS, KG_PER_H, MARKS, PARTS, RATE, attribution
from dashboards.grafana.parts import (
    STATE_COLOURS,
    banded,
    board,
    choice,
    high_is_bad,
    lines,
    number,
    places,
    rows,
    shares,
    strip,
)
from dashboards.grafana.sql import BUCKET, Query, banded_rate, bucketed, emitted, known, raw, sums

THIS = "kind = 'vehicle' AND asset = '${vehicle}'"
SITE = "kind = 'warehouse' AND asset = '${warehouse}'"


def _signals(*columns: tuple[str, str]) -> Query:
    """Means of readings of the vehicle by bucket."""
    chosen = ", ".join(f'avg({signal}) AS "{name}"' for name, signal in columns)
    return raw(
        f"""SELECT {BUCKET}, {chosen} FROM readings WHERE $__unixEpochNanoFilter(time_ns)
        AND device IN (SELECT device FROM vehicles WHERE vehicle = '${{vehicle}}') GROUP BY 1 ORDER BY 1""",
        "time",
        *(name for name, _ in columns),
        form="time_series",
    )


def vehicle() -> dashboard.Dashboard:
    """One vehicle: where it was, what it carried, what it burnt and why."""
    track = raw(
        """SELECT time_bucket(INTERVAL '30 seconds', time) AS "at", avg(lat_deg) AS lat_deg, avg(lon_deg) AS lon_deg, avg(speed_kmh) AS speed_kmh
        FROM readings WHERE $__unixEpochNanoFilter(time_ns) AND lat_deg IS NOT NULL
        AND device IN (SELECT device FROM vehicles WHERE vehicle = '${vehicle}') GROUP BY 1 ORDER BY 1 LIMIT 5000""",
        "at",
        "lat_deg",
        "lon_deg",
        "speed_kmh",
    )
    rate = raw(
        f"""SELECT {BUCKET}, sum(co2e_ttw_ug + co2e_wtt_ug) * 3.6 / nullif(sum(dt_us), 0) AS "kg/h" FROM emissions
        WHERE $__unixEpochNanoFilter(time_ns) AND asset = '${{vehicle}}' AND {FACTORS} AND co2e_ttw_ug IS NOT NULL GROUP BY 1 ORDER BY 1""",
        "time",
        "kg/h",
        form="time_series",
    )
    split = raw(
        f"""SELECT {BUCKET},
        {", ".join(f"sum(by_{name}_ug) / 1e9 AS {chr(34)}{name}{chr(34)}" for name in PARTS)}
        FROM {sums(THIS, by_trip=False)} AS s GROUP BY 1 ORDER BY 1""",
        "time",
        *PARTS,
        form="time_series",
    )
    states = raw(
        """SELECT time, load_state AS "load" FROM trips_final
        WHERE asset = '${vehicle}' AND $__unixEpochNanoFilter(trip_start_ns) AND factor_set = '${factor_set}' ORDER BY 1""",
        "time",
        "load",
        form="time_series",
    )
    trips = raw(
        """SELECT time AS "from", end_time AS "to", start_place, end_place, route, load_state, load_state_p, payload_kg / 1e3 AS payload_t,
        distance_mm / 1e6 AS km, co2e_wtw_ug / 1e9 AS kg,
        CASE WHEN unknown_us <= 0.05 * observed_us THEN co2e_wtw_ug / nullif(distance_mm, 0) END AS g_per_km,
        idle_us / 1e6 AS idle_s, empty_cause FROM trips_final
        WHERE asset = '${vehicle}' AND $__unixEpochNanoFilter(trip_start_ns) AND factor_set = '${factor_set}' ORDER BY trip_start_ns DESC LIMIT 500""",
        "from",
        "to",
        "start_place",
        "end_place",
        "route",
        "load_state",
        "load_state_p",
        "payload_t",
        "km",
        "kg",
        "g_per_km",
        "idle_s",
        "empty_cause",
    )
    events = raw(
        """SELECT time AS "at", kind, amount, expected, explained_nl / 1e9 AS explained_l, place, lat_deg, lon_deg FROM events
        WHERE asset = '${vehicle}' AND $__unixEpochNanoFilter(time_ns) AND factor_set = '${factor_set}' ORDER BY time_ns DESC LIMIT 500""",
        "at",
        "kind",
        "amount",
        "expected",
        "explained_l",
        "place",
        "lat_deg",
        "lon_deg",
    )
    total = raw(
        f"""SELECT sum({emitted()}) / 1e9 AS "kg", sum(distance_mm) / 1e6 AS "km", sum(fuel_nl) / 1e9 AS "L", sum(energy_uwh) / 1e9 AS "kWh",
        100.0 * sum(co2e_measured_ug) / nullif(sum(co2e_ttw_ug + co2e_wtt_ug), 0) AS "measured %", sum(idle_us) / 3.6e9 AS "idle h"
        FROM {sums(THIS, by_trip=False)} AS s""",
        "kg",
        "km",
        "L",
        "kWh",
        "measured %",
        "idle h",
    )
    panels = [
        number(
            "In this time",
            "Known CO2e, distance, fuel, traction energy, measured share and idling of the vehicle.",
            "none",
            total,
            size=(24, 4),
        ),
        places(
            "Track",
            "Position every 30 s, coloured by speed. No map tiles are loaded.",
            "velocitykmh",
            track,
            None,
            "speed_kmh",
            MARKS,
            size=(10, 16),
        ),
        lines(
            "Speed",
            "Wheel speed, and that of the receiver.",
            "velocitykmh",
            _signals(("wheels", "speed_kmh"), ("receiver", "gps_speed_kmh")),
            size=(14, 5),
        ),
        lines(
            "Gross weight",
            "As the vehicle's axles tell it.",
            "masskg",
            _signals(("gross weight", "gross_weight_kg")),
            size=(7, 5),
        ),
        lines(
            "Altitude",
            "Of the receiver; the model uses a filtered grade, never this.",
            "lengthm",
            _signals(("altitude", "alt_m")),
            size=(7, 5),
            low=None,
        ),
        lines("CO2e rate, WTW", "Per reading, as a rate over the time with a figure.", KG_PER_H, rate, size=(14, 6)),
        lines(
            "Where the energy went",
            "Modelled split of the known CO2e per bucket; the parts add up to it.",
            "suffix: kg",
            split,
            size=(14, 8),
            stacked=True,
            bars=True,
        ),
        banded(
            lines(
                "CO2e with its 95 % band, WTW",
                "Known emissions as a rate, whatever the basis; the truth lies in the band 95 times of 100.",
                KG_PER_H,
                banded_rate(THIS),
                size=(14, 6),
            ),
            "kg/h",
            "low",
            "high",
        ),
        shares(
            "The same, over all of this time",
            "Modelled split of the known CO2e.",
            "suffix: kg",
            attribution(THIS, by_trip=False),
            size=(10, 8),
        ),
        strip("Load state", "By trip, as it is known now.", states, STATE_COLOURS, size=(24, 4)),
        rows(
            "Trips",
            "The newest 500 of this time.",
            trips,
            {
                "load_state_p": "percentunit",
                "payload_t": "suffix: t",
                "km": "lengthkm",
                "kg": "suffix: kg",
                "g_per_km": "suffix: g/km",
                "idle_s": "s",
            },
            size=(24, 9),
        ),
        rows(
            "Events",
            "Refuelling, charging, driving, sensor conflicts. Explained litres are inside the fuel, never added.",
            events,
            {"explained_l": "litre"},
            size=(24, 8),
        ),
    ]
    return board(
        "fleetco2-vehicle",
        refresh="10s",
        start="now-3h",
        variables=[choice("vehicle", "Vehicle", "SELECT vehicle FROM vehicles ORDER BY 1", multi=False)],
        panels=panels,
    )


def warehouse() -> dashboard.Dashboard:
    """One warehouse: energy by carrier, activity, and what stood at its docks."""
    carriers = raw(
        f"""SELECT {BUCKET},
        sum(energy_uwh) / 1e9 AS "grid", sum(pv_used_uwh) / 1e9 AS "own solar", sum(gas_uwh) / 1e9 AS "gas", sum(heat_uwh) / 1e9 AS "heat",
        sum(fuel_nl) / 1e9 * 10 AS "generator (10 kWh/L)", sum(forklift_uwh) / 1e9 AS "of it forklifts"
        FROM {sums(SITE, by_trip=False)} AS s GROUP BY 1 ORDER BY 1""",
        "time",
        "grid",
        "own solar",
        "gas",
        "heat",
        "generator (10 kWh/L)",
        "of it forklifts",
        form="time_series",
    )
    per_tonne = bucketed(
        metric="asset",
        amount=known(f"sum({emitted()}) / 1e9 / nullif(sum(goods_out_g) / 1e6, 0)"),
        where=SITE,
        by_trip=False,
        value="kg/t",
    )
    occupancy = raw(
        f"""SELECT {BUCKET},
        100.0 * sum(pallet_us) / nullif(sum(observed_us), 0) / max(pallet_positions) AS "occupied"
        FROM {sums(SITE, by_trip=False)} AS s JOIN warehouses ON warehouse = asset GROUP BY 1 ORDER BY 1""",
        "time",
        "occupied",
        form="time_series",
    )
    dock = raw(
        """SELECT day::VARCHAR AS day, vehicles, departures, mean_dwell_s / 60 AS mean_stay_min, median_dwell_s / 60 AS median_stay_min,
        idlings, idle_s / 60 AS idle_min, idle_l FROM dock_days
        WHERE warehouse = '${warehouse}' AND factor_set = '${factor_set}' AND day BETWEEN $__timeFrom()::TIMESTAMP::DATE AND $__timeTo()::TIMESTAMP::DATE
        ORDER BY 1 DESC""",
        "day",
        "vehicles",
        "departures",
        "mean_stay_min",
        "median_stay_min",
        "idlings",
        "idle_min",
        "idle_l",
    )
    totals = raw(
        f"""SELECT sum({emitted()}) / 1e9 AS "kg", sum(energy_uwh) / 1e9 AS "grid kWh", sum(goods_out_g) / 1e6 AS "t out",
        sum({emitted()}) / 1e9 / nullif(sum(goods_out_g) / 1e6, 0) AS "kg/t", sum(refrigerant_co2e_ug) / 1e9 AS "refrigerant kg",
        sum({emitted()}) / 1e9 / nullif(sum(pallets_out), 0) AS "kg/pallet (management figure)"
        FROM {sums(SITE, by_trip=False)} AS s""",
        "kg",
        "grid kWh",
        "t out",
        "kg/t",
        "refrigerant kg",
        "kg/pallet (management figure)",
    )
    panels = [
        number(
            "In this time",
            "CO2e of the site without refrigerant, energy, outbound tonnes (the ISO 14083 hub activity) and their ratio.",
            "none",
            totals,
            size=(24, 4),
        ),
        lines(
            "CO2e",
            "Known emissions as a rate.",
            KG_PER_H,
            bucketed(metric="asset", amount=RATE, where=SITE, by_trip=False),
        ),
        banded(
            lines(
                "CO2e with its 95 % band, WTW",
                "Known emissions as a rate, whatever the basis; the truth lies in the band 95 times of 100.",
                KG_PER_H,
                banded_rate(SITE),
            ),
            "kg/h",
            "low",
            "high",
        ),
        lines(
            "Energy by carrier",
            "kWh per bucket. Gas in gross calorific value; forklifts are a part of the site's electricity, not added to it.",
            "kwatth",
            carriers,
        ),
        lines(
            "CO2e per tonne out",
            "Hub intensity by ISO 14083: each tonne counted once, outbound.",
            "suffix: kg/t",
            per_tonne,
        ),
        lines("Occupancy", "Pallet positions occupied, of those registered.", "percent", occupancy),
        rows(
            "Stops at the dock",
            "Vehicles that stood here, and how long their engine ran meanwhile.",
            dock,
            {"mean_stay_min": "m", "median_stay_min": "m", "idle_min": "m", "idle_l": "litre"},
            size=(24, 8),
            limits={"idle_min": high_is_bad(limits.IDLE_MIN)},
        ),
    ]
    return board(
        "fleetco2-warehouse",
        refresh="30s",
        start="now-24h",
        variables=[choice("warehouse", "Warehouse", "SELECT warehouse FROM warehouses ORDER BY 1", multi=False)],
        panels=panels,
    )
