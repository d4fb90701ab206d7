"""A world of vehicles on virtual time: scenario and seed in, readings and their truth out, in chunks of numpy columns.

A vehicle depends on its own key and the world's, never on another vehicle or on how time is cut, so any chunk length and any
number of threads gives the same bytes.
"""

import csv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from devices.signals import SIGNALS as WIRE_SIGNALS
from simulators import layout as at
from simulators.build import Built, build_vehicles
from simulators.driver import advance
from simulators.kernel import kernel
from simulators.rng import derive, key_of, uniform
from simulators.scenario import SHIPPED, Scenario, load
from simulators.sensors import clock, power, restart, sense
from simulators.traces import load_traces
from simulators.trips import Geography, Plan
from simulators.truth import truth_row

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Columns = dict[str, npt.NDArray[Any]]

TICKS_PER_S: Final = 10
MAX_CHUNK_S: Final = 3600  # plans reach a whole day ahead; more in one go would only take more memory
DAY_S: Final = 86_400
N_SIGNALS: Final = len(at.SIGNALS)
N_TRUTH: Final = len(at.TRUTH)
CODED: Final = {"load_state": at.LOAD_STATES, "stage": at.STAGES, "empty_cause": at.CAUSES}  # "route": world.routes


def published_shares() -> list[dict[str, object]]:
    """Rows for benchmarks.csv to begin with: published shares of empty running, each with year, definition and source."""
    text = (SHIPPED / "benchmarks.csv").read_text(encoding="utf-8")
    return [dict(row) for row in csv.DictReader(text.splitlines())]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of virtual time [start_s, end_s) of the world.

    ``readings``: one array of ``n`` per column of ``stream.columns.READING``, rows grouped by device, each in order of seq;
    ``device`` indexes ``world.devices``; NaN = not measured. ``truth``: what really was at the same rows, by name of
    ``layout.TRUTH``, beside device, boot_id, seq and ``time_ns`` (true time). load_state, stage and empty_cause are indices
    of ``CODED``, route of ``world.routes``; fuel_l (LNG too, as liquid), energy_kwh (battery side), tru_fuel_l and distance_m are
    sums since the device's row before, so they add up over gaps.
    """

    n: int
    start_s: int
    end_s: int
    readings: Columns
    truth: Columns


@kernel
def _run(
    first: int,
    last: int,
    s: Floats,
    p: Floats,
    k: Floats,
    tasks: Floats,
    traces: Floats,
    world: int,
    keys: Ints,
    tick: int,
    ticks: int,
    every: int,
    signals: Floats,
    truth: Floats,
    ints: Ints,
) -> int:
    """Run vehicles ``first`` to ``last`` from ``tick`` on and write a row for each reading. Returns the rows."""
    row = 0
    sensed = np.empty(N_SIGNALS)
    true = np.empty(N_TRUTH)
    dt = every * 0.1
    for v in range(first, last):
        sv = s[v]
        pv = p[v]
        kv = k[v]
        tv = tasks[v]
        key = keys[v]
        now = tick
        while now < tick + ticks:
            advance(sv, pv, kv, tv, traces, world, key, now, every)
            now += every
            t = now * 0.1
            if not power(sv, pv, kv, key, t):
                continue
            offset_s, source, bound_ms = clock(sv, pv, t)
            ints[0, row] = v
            ints[1, row] = int(derive(key, 1_000_000 + int(sv[at.S_BOOT]))) + 1
            ints[2, row] = int(sv[at.S_SEQ])
            ints[3, row] = now
            ints[4, row] = int(offset_s * 1000.0)
            ints[5, row] = source
            ints[6, row] = bound_ms
            ints[7, row] = int(300.0 + 1200.0 * uniform(key, now * 64 + 63))
            sense(sv, pv, kv, sensed, key, now, dt)
            truth_row(sv, pv, kv, true)
            for i in range(N_SIGNALS):
                signals[i, row] = sensed[i]
            for i in range(N_TRUTH):
                truth[i, row] = true[i]
            row += 1
    return row


class World:
    """Vehicles, where they are, and the time. Make one with ``build``."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        built: list[Built],
        *,
        start_ns: int,
        traces: Floats,
        notes: tuple[str, ...],
        every_ticks: int,
    ) -> None:
        self.scenario = scenario
        self.seed = seed
        self.start_ns = start_ns
        self.now_s = 0
        self.notes = notes
        self.every_ticks = every_ticks
        self.vehicles = tuple(b.vehicle.name for b in built)
        self.devices = tuple(b.vehicle.device for b in built)
        self.routes = tuple(route.id for route in scenario.route)
        geography = Geography.of(scenario)
        self._built = built
        self._world = key_of(seed, "world") >> 1
        self._traces = traces
        self._keys = np.array([b.carrier.key for b in built], np.int64)
        self._p = np.array([b.params for b in built])
        self._s = np.array([b.state for b in built])
        self._k = np.zeros((len(built), at.N_TASK))
        local = start_ns / 1e9 + scenario.utc_offset_h * 3600.0
        self._day_0_s = -(local % DAY_S)  # local midnight before the world began
        self._plans = [Plan(b.carrier, geography, self._day_0_s) for b in built]
        self._tasks = np.zeros((len(built), 0))
        for v, plan in enumerate(self._plans):
            rows = plan.begin()
            self._grow(len(rows))
            self._tasks[v, : len(rows)] = rows
            self._k[v] = rows[: at.N_TASK]
        self._first_rows = np.array([plan.first_rows for plan in self._plans])

    def advance(self, seconds: int, *, threads: int = 1) -> Chunk:
        """Move the whole world on by ``seconds`` (1 to 3600) and return what was read meanwhile."""
        if not 1 <= seconds <= MAX_CHUNK_S:
            raise ValueError(f"seconds is {seconds}, must be 1 to {MAX_CHUNK_S}")
        if seconds * TICKS_PER_S % self.every_ticks:
            raise ValueError(f"seconds is {seconds}, must be a multiple of {self.every_ticks / TICKS_PER_S:g}")
        self._replan()
        tick, ticks = self.now_s * TICKS_PER_S, seconds * TICKS_PER_S
        n = len(self.vehicles)
        edges = [n * i // threads for i in range(threads + 1)]
        blocks = [(a, b) for a, b in pairwise(edges) if b > a]

        def run(block: tuple[int, int]) -> tuple[Floats, Floats, Ints]:
            rows = (block[1] - block[0]) * (ticks // self.every_ticks)
            signals = np.empty((N_SIGNALS, rows))
            truth = np.empty((N_TRUTH, rows))
            ints = np.empty((8, rows), np.int64)
            used = _run(
                *block, self._s, self._p, self._k, self._tasks, self._traces, self._world, self._keys,
                tick, ticks, self.every_ticks, signals, truth, ints,
            )  # fmt: skip
            return signals[:, :used], truth[:, :used], ints[:, :used]

        if len(blocks) == 1:
            parts = [run(blocks[0])]
        else:
            with ThreadPoolExecutor(len(blocks)) as pool:
                parts = list(pool.map(run, blocks))
        signals, truth, ints = (
            np.concatenate(part, axis=1) if len(parts) > 1 else part[0] for part in zip(*parts, strict=True)
        )
        start, self.now_s = self.now_s, self.now_s + seconds
        return self._chunk(start, signals, truth, ints)

    def chunks(self, seconds: int, *, chunk_s: int = 60, threads: int = 1) -> Iterator[Chunk]:
        """Run for ``seconds``, ``chunk_s`` at a time."""
        end = self.now_s + seconds
        while self.now_s < end:
            yield self.advance(min(chunk_s, end - self.now_s), threads=threads)

    def tanks_l(self) -> Floats:
        """Fuel in the tank of each vehicle now [L], 0 for battery vehicles."""
        litres: Floats = self._s[:, at.S_TANK] * (self._p[:, at.P_TANK] > 0.0)
        return litres

    def batteries_kwh(self) -> Floats:
        """Energy in the battery of each vehicle now [kWh]."""
        kwh: Floats = self._s[:, at.S_CHARGE] / 3.6e6
        return kwh

    def registry(self) -> dict[str, list[dict[str, object]]]:
        """Rows for the registry's files, by table: what an operator would know. Blank = the class's default."""
        return {
            "vehicles": [b.registry for b in self._built],
            "warehouses": [
                {
                    "warehouse": place.id,
                    "device": f"gw-{place.id}",
                    "name": place.name,
                    "lat_deg": place.lat_deg,
                    "lon_deg": place.lon_deg,
                    "area_m2": place.area_m2,
                    "pallet_positions": place.pallet_positions,
                    "grid_zone": place.grid_zone,
                }
                for place in self.scenario.place
                if place.kind == "warehouse"
            ],
            "routes": [
                {
                    "route": route.id,
                    "name": route.name,
                    "origin": route.origin,
                    "destination": route.destination,
                    "stage": route.stage,
                    "number": number,
                }
                for number, route in enumerate(self.scenario.route, start=1)
            ],
            "places": [
                {
                    "place": place.id,
                    "name": place.name,
                    "kind": "customer" if place.kind == "area" else place.kind,
                    "lat_deg": place.lat_deg,
                    "lon_deg": place.lon_deg,
                    "radius_m": 1000.0 * place.radius_km if place.kind == "area" else 250.0,
                }
                for place in self.scenario.place
                if place.kind != "warehouse"
            ],
            "benchmarks": published_shares(),
        }

    def _chunk(self, start: int, signals: Floats, truth: Floats, ints: Ints) -> Chunk:
        n = signals.shape[1]
        true_ns = self.start_ns + ints[3] * (1_000_000_000 // TICKS_PER_S)
        nothing = np.full(n, np.nan)
        nothing.flags.writeable = False
        readings: Columns = {
            "device": ints[0].astype(np.int32),
            "boot_id": ints[1],
            "seq": ints[2],
            "merged": np.ones(n, np.int32),
            "time_ns": true_ns + ints[4] * 1_000_000,
            "received_ns": true_ns + ints[7] * 1_000_000,
            "clock_source": ints[5].astype(np.int32),
            "clock_error_ms": ints[6].astype(np.int32),
            "historical": np.zeros(n, np.bool_),
        }
        for signal in WIRE_SIGNALS:
            readings[signal.name] = nothing
        for i, name in enumerate(at.SIGNALS):
            readings[name] = signals[i]
        facts: Columns = {"device": readings["device"], "boot_id": ints[1], "seq": ints[2], "time_ns": true_ns}
        for i, name in enumerate(at.TRUTH):
            facts[name] = truth[i].astype(np.int32) if name in CODED or name == "route" else truth[i]
        return Chunk(n, start, self.now_s, readings, facts)

    def _grow(self, width: int) -> None:
        if width > self._tasks.shape[1]:
            wider = np.zeros((len(self.vehicles), width))
            wider[:, : self._tasks.shape[1]] = self._tasks
            self._tasks = wider

    def _replan(self) -> None:
        """Where a vehicle has come to the last day of its plan, drop the days behind it and plan the next one."""
        for v in np.flatnonzero(self._s[:, at.S_TASK] >= self._first_rows):
            dropped, kept, following = self._plans[v].follow()
            self._grow(kept * at.N_TASK + len(following))
            row = self._tasks[v]
            row[: kept * at.N_TASK] = row[dropped * at.N_TASK : (dropped + kept) * at.N_TASK].copy()
            row[kept * at.N_TASK : kept * at.N_TASK + len(following)] = following
            self._s[v, at.S_TASK] -= dropped
            self._first_rows[v] = self._plans[v].first_rows


def build(
    scenario: Scenario | str | Path,
    seed: int,
    *,
    start_ns: int | None = None,
    warmup_s: int = 0,
    rate_hz: float = 1.0,
) -> World:
    """The world of a scenario (one of ``scenario.load``, a shipped name or a file).

    ``start_ns`` replaces the scenario's start; the world begins ``warmup_s`` before it, unseen, so that vehicles are already
    under way and their gateways have just started. ``rate_hz``: readings a second, 10, 5, 2, 1 or a whole number of seconds
    between them. Raises ScenarioError.
    """
    if not isinstance(scenario, Scenario):
        scenario = load(scenario)
    every = round(TICKS_PER_S / rate_hz)
    if (
        every < 1
        or abs(every * rate_hz - TICKS_PER_S) > 1e-6
        or (every < TICKS_PER_S and TICKS_PER_S % every)
        or (every > TICKS_PER_S and every % TICKS_PER_S)
    ):
        raise ValueError(
            f"rate_hz is {rate_hz:g}; possible are 10, 5, 2, 1 and one reading per whole number of seconds"
        )
    first_ns = int(scenario.start.timestamp()) * 1_000_000_000 if start_ns is None else start_ns
    first_ns -= warmup_s * 1_000_000_000
    traces, index, notes = load_traces(scenario.traces)
    local_s = first_ns / 1e9 + scenario.utc_offset_h * 3600.0
    built = build_vehicles(scenario, seed, local_s % DAY_S / 3600.0, index)
    world = World(scenario, seed, built, start_ns=first_ns, traces=traces, notes=notes, every_ticks=every)
    step = max(every // TICKS_PER_S, 1)
    while world.now_s < warmup_s // step * step:
        world.advance(min(600 // step * step or step, warmup_s // step * step - world.now_s))
    for v in range(len(world.vehicles) if warmup_s else 0):
        restart(world._s[v])
    return world
