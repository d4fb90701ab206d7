"""Recorded trips through gateway, broker and consumer to Parquet, and what became of each."""

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devices.counters import Counters
from simulators.demo import gateway
from simulators.local_broker import local_broker
from simulators.recordings import Trip, TripLedger, trips_from_table
from simulators.registry_files import write_registry
from simulators.replay import TripSource, read_trips, registry_for
from simulators.server_process import consumer
from storage.query import connect
from storage.schema import DIMENSIONS

PROGRESS_EVERY_S: Final = 0.2
EARLIEST: Final = "2000-01-01"  # recordings keep their own time
_TRIPS_SQL: Final = """
SELECT device,
       count(*) AS readings,
       sum(fuel_nl) / 1e9 AS fuel_l,
       sum(distance_mm) / 1e6 AS distance_km,
       sum(co2e_ttw_ug) / 1e9 AS co2e_ttw_kg,
       sum(co2e_ttw_ug + co2e_wtt_ug) / 1e9 AS co2e_wtw_kg,
       sum(dt_us) FILTER (energy_method <> 'none') / sum(dt_us) AS coverage,
       string_agg(DISTINCT energy_method, ' ' ORDER BY energy_method) FILTER (energy_method <> 'none') AS methods,
       min(fuel_nl) AS least_nl
FROM emissions GROUP BY device
"""
_STORED_SQL: Final = "SELECT device, count(*), count(DISTINCT (boot_id, seq)) FROM readings GROUP BY device"
_REFUSED_SQL: Final = "SELECT device, reason, count(*) FROM quarantine GROUP BY ALL"


@dataclass(frozen=True, slots=True)
class TripResult:
    """One trip from file to Parquet. ``None`` = not known. ``coverage``: share of the time with a fuel figure, 0 to 1."""

    ledger: TripLedger
    stored: int
    duplicates: int
    rejected: int
    reasons: dict[str, int]
    fuel_l: float | None
    distance_km: float | None
    co2e_ttw_kg: float | None
    co2e_wtw_kg: float | None
    coverage: float | None
    methods: str

    @property
    def lost(self) -> int:
        """Readings that were sent and are neither stored nor in quarantine."""
        return self.ledger.sent - self.stored - self.rejected


Registry = Mapping[str, Sequence[Mapping[str, object]]]


def recorded(paths: Sequence[Path], *, vehicle_class: str, fuel: str) -> tuple[list[Trip], Registry]:
    """Trips of recordings and a registry with one vehicle for each; ``fuel`` where the recording does not say."""
    trips = read_trips(paths)
    rows = registry_for(trips, vehicle_class=vehicle_class)
    return trips, {"vehicles": [row | {"fuel": row["fuel"] or fuel} for row in rows]}


def stored(lake: Path) -> tuple[list[Trip], Registry]:
    """The raw readings of a lake, one trip per device, and the registry that it was made with."""
    con = connect(lake)
    trips = trips_from_table(con.sql("SELECT * FROM readings").to_arrow_table())
    registry: dict[str, list[Mapping[str, object]]] = {}
    for name in (table for table in DIMENSIONS if table != "factors"):
        found = con.execute(f"SELECT * FROM {name}")  # noqa: S608
        columns = [d[0] for d in found.description or ()]
        registry[name] = [
            {k: "" if v is None else v for k, v in zip(columns, row, strict=True)} for row in found.fetchall()
        ]
    con.close()
    return trips, registry


async def replay(
    trips: Sequence[Trip],
    registry: Registry,
    folder: Path,
    *,
    speed: float,
    max_gap_s: float,
    factor_set: str,
    embedded_broker: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> list[TripResult]:
    """Send every trip by a gateway of its own and wait until all of it is durable; Ctrl-C ends early, with what is done.

    ``progress`` is told how many readings are confirmed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_registry(folder / "registry", registry)
    counters = Counters()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    sources = [TripSource(t, speed=speed, max_gap_s=max_gap_s) for t in trips]
    async with (
        local_broker(folder, embedded=embedded_broker) as broker,
        consumer(folder, broker, earliest=EARLIEST, factor_set=factor_set) as server,
    ):
        made = [
            gateway(t.device, s, broker, batch_s=1.0, counters=counters, seed=0)
            for t, s in zip(trips, sources, strict=True)
        ]
        running = asyncio.gather(*(g.run(stop) for g in made))
        while not running.done():
            progress(sum(g.figures().confirmed for g in made))
            await asyncio.wait([running], timeout=PROGRESS_EVERY_S)
        await running
    return await asyncio.to_thread(_results, server.lake, [s.ledger for s in sources])


def _results(lake: Path, ledgers: Sequence[TripLedger]) -> list[TripResult]:
    con = connect(lake)
    figures = {row[0]: row[1:] for row in con.execute(_TRIPS_SQL).fetchall()}
    stored = {row[0]: row[1:] for row in con.execute(_STORED_SQL).fetchall()}
    refused: dict[str, dict[str, int]] = {}
    for device, reason, n in con.execute(_REFUSED_SQL).fetchall():
        refused.setdefault(device, {})[reason] = n
    con.close()
    results = []
    for ledger in ledgers:
        rows, distinct = stored.get(ledger.device, (0, 0))
        reasons = refused.get(ledger.device, {})
        _, fuel_l, km, ttw, wtw, coverage, methods, _ = figures.get(ledger.device, (0, *[None] * 7))
        rejected = sum(n for reason, n in reasons.items() if reason.startswith("time_"))
        results.append(
            TripResult(
                ledger, distinct, rows - distinct, rejected, reasons, fuel_l, km, ttw, wtw, coverage, methods or "-"
            )
        )
    return results


def table(results: Sequence[TripResult]) -> str:
    """The results for people, one line a trip; "-" = not known."""
    head = (
        f"{'trip':42} {'sent':>6} {'stored':>6} {'rej.':>5} {'lost':>5} {'fuel L':>9} {'km':>9} "
        f"{'CO2e TTW kg':>12} {'WTW kg':>9} {'coverage':>8}  method"
    )
    lines = [head, "-" * len(head)]
    lines += [
        f"{r.ledger.device:42} {r.ledger.sent:6} {r.stored:6} {r.rejected:5} {r.lost:5} {_number(r.fuel_l, 9, 3)} "
        f"{_number(r.distance_km, 9, 2)} {_number(r.co2e_ttw_kg, 12, 2)} {_number(r.co2e_wtw_kg, 9, 2)} "
        f"{_number(None if r.coverage is None else 100 * r.coverage, 7, 1)}%  {r.methods}"
        for r in results
    ]
    sent, stored = sum(r.ledger.sent for r in results), sum(r.stored for r in results)
    lines.append(
        f"{len(results)} trips: {sent} sent, {stored} stored, {sum(r.rejected for r in results)} rejected, "
        f"{sum(r.lost for r in results)} lost, {sum(r.duplicates for r in results)} duplicated"
    )
    return "\n".join(lines)


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"
