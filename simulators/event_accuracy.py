"""Events against the simulated truth: refuellings, charging, idling and position jumps as they were, and faults planted on top.

Planted into what the sensors say, with the world as it is: a drain from every third tank at a long standstill, a wheel speed
scaled by 1.4 on every fifth vehicle, an odometer of 2 % too much on the next.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simulators.accuracy import fleet_of
from simulators.fleet import World, build
from stream.columns import EVENT_KINDS
from stream.pipeline import Columns, start, step

Floats = npt.NDArray[np.float64]
KINDS: Final = tuple(EVENT_KINDS)
CHUNK_S: Final = 600
DRAIN_EVERY: Final = 3
DRAIN_SHARE: Final = 0.10  # of the tank
DRAIN_STAND_S: Final = 120
WHEEL_EVERY, WHEEL_SCALE = 5, 1.4
ODOMETER_SCALE: Final = 1.02
CHANGE_L: Final = 5.0  # of a tank, in ten minutes, that is a refuelling
CHANGE_KWH: Final = 2.0
JUMP_M: Final = 300.0
JUMP_GAP_S: Final = 10.0
IDLE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Found:
    """Events of one sort against what was. ``error``: median relative error of the amount, NaN where it has none."""

    kind: str
    true: int
    found: int
    told: int
    error: float

    @property
    def recall(self) -> float:
        """Share of the true ones that were told."""
        return self.found / self.true if self.true else float("nan")

    @property
    def precision(self) -> float:
        """Share of those told that were true."""
        return min(self.found, self.told) / self.told if self.told else float("nan")


@dataclass(frozen=True, slots=True)
class EventReport:
    """``km_to_wheel``, ``km_to_odometer``: kilometres until the planted fault was found, one per vehicle.

    ``charging``: batteries that were still at it at the end, as far as their vehicles tell: they sleep, and nothing is over.
    """

    scenario: str
    seed: int
    hours: float
    readings: int
    found: tuple[Found, ...]
    idle_recall: float
    idle_precision: float
    km_to_wheel: tuple[float, ...]
    km_to_odometer: tuple[float, ...]
    planted_wheels: int
    planted_odometers: int
    charging: int
    others: dict[str, int]


@dataclass
class _Faults:
    """What is planted, vehicle by vehicle."""

    wheel: Floats
    odometer: Floats
    drained_pct: Floats
    drained_at: Floats
    stood_s: Floats

    @classmethod
    def plan(cls, n: int, has_tank: npt.NDArray[np.bool_]) -> "_Faults":
        turn = np.arange(n) % WHEEL_EVERY
        faults = cls(np.ones(n), np.ones(n), np.zeros(n), np.full(n, np.inf), np.zeros(n))
        faults.wheel[turn == 0] = WHEEL_SCALE
        faults.odometer[turn == 1] = ODOMETER_SCALE
        faults.drained_at[(np.arange(n) % DRAIN_EVERY == 0) & has_tank] = np.nan  # due
        return faults

    def spoil(self, readings: Columns, truth: Columns) -> Columns:
        """The chunk as the sensors with their faults tell it; rows are grouped by vehicle, in order of time."""
        r = {name: values.copy() for name, values in readings.items()}
        d = r["device"]
        r["speed_kmh"] = r["speed_kmh"] * self.wheel[d]
        r["odometer_m"] = r["odometer_m"] * self.odometer[d]
        for v in np.unique(d).tolist():
            rows = np.flatnonzero(d == v)
            if np.isnan(self.drained_at[v]):
                still = truth["speed_kmh"][rows] < 0.1
                moved = np.flatnonzero(~still)
                time = truth["time_ns"][rows] / 1e9
                run = time - (time[moved[-1]] if moved.size else time[0]) + (0.0 if moved.size else self.stood_s[v])
                self.stood_s[v] = run[-1] if still[-1] else 0.0
                ripe = np.flatnonzero(
                    still & (run >= DRAIN_STAND_S) & (np.nan_to_num(r["fuel_level_pct"][rows]) > 30.0)
                )
                if ripe.size:
                    self.drained_at[v] = time[ripe[0]]
                    self.drained_pct[v] = 100 * DRAIN_SHARE
                    r["fuel_level_pct"][rows[ripe[0] :]] -= self.drained_pct[v]
            elif self.drained_pct[v] > 0.0:
                r["fuel_level_pct"][rows] = np.maximum(0.0, r["fuel_level_pct"][rows] - self.drained_pct[v])
        return r


def _match(
    true: list[tuple[int, float, float]], told: list[tuple[int, float, float, float]], slack_s: float
) -> tuple[int, float]:
    """True (vehicle, second, amount) found in told (vehicle, begin, end, amount), each told one once; median error of amounts."""
    left, errors, found = list(told), [], 0
    for vehicle, at, amount in true:
        near = [e for e in left if e[0] == vehicle and e[1] - slack_s <= at <= e[2] + slack_s]
        if near:
            best = min(near, key=lambda e: abs(e[3] - amount))
            left.remove(best)
            found += 1
            errors.append(abs(best[3] - amount) / amount)
    return found, float(np.median(errors)) if errors else float("nan")


@dataclass
class _Jumps:
    """Steps of the error of a position: (vehicle, second, metres). A receiver that is stuck drifts off, and steps when it wakes."""

    last: dict[int, tuple[float, float]]
    found: list[tuple[int, float, float]]

    def take(self, readings: Columns, truth: Columns) -> None:
        north = (readings["lat_deg"] - truth["lat_deg"]) * 111_195.0
        east = (readings["lon_deg"] - truth["lon_deg"]) * 111_195.0 * np.cos(np.radians(truth["lat_deg"]))
        known = ~np.isnan(north) & ~np.isnan(east)
        newest = {f[0]: i for i, f in enumerate(self.found)}
        for v, t, off in zip(
            truth["device"][known].tolist(),
            (truth["time_ns"][known] / 1e9).tolist(),
            np.hypot(north, east)[known].tolist(),
            strict=True,
        ):
            before, off_before = self.last.get(v, (t, off))
            self.last[v] = (t, off)
            step = abs(off - off_before)
            if step <= JUMP_M or t - before > JUMP_GAP_S:
                continue
            if v not in newest or t - self.found[newest[v]][1] > JUMP_GAP_S:
                newest[v] = len(self.found)
                self.found.append((v, t, step))


@dataclass
class _Idle:
    """Idling as it was: seconds of engine on, standing, at least 60 s in one piece."""

    since: dict[int, float]
    last: dict[int, float]
    spans: list[tuple[int, float, float]]

    def take(self, truth: Columns, burns: npt.NDArray[np.bool_]) -> None:
        d, time = truth["device"], truth["time_ns"] / 1e9
        on = (truth["engine_on"] > 0) & (truth["speed_kmh"] < 1.0) & burns[d]
        for v, t, idle in zip(d.tolist(), time.tolist(), on.tolist(), strict=True):
            if v in self.since and (not idle or t - self.last[v] > 120.0):
                self.end(v)
            if idle:
                self.since.setdefault(v, t)
                self.last[v] = t

    def end(self, v: int) -> None:
        begin = self.since.pop(v)
        if self.last[v] - begin >= IDLE_S:
            self.spans.append((v, begin, self.last[v]))


def _overlap(a: list[tuple[int, float, float]], b: list[tuple[int, float, float]]) -> float:
    return sum(max(0.0, min(x[2], y[2]) - max(x[1], y[1])) for x in a for y in b if x[0] == y[0])


def _length(spans: list[tuple[int, float, float]]) -> float:
    return sum(end - begin for _, begin, end in spans)


def measure_events(
    scenario: str, seed: int, *, hours: float, factors: str, progress: Callable[[float], None] = lambda _: None
) -> EventReport:
    """Run fleet, sensors, planted faults and pipeline in memory on virtual time. Same seed, same report."""
    world: World = build(scenario, seed, warmup_s=3600)
    fleet = fleet_of(world, factors)
    n = len(world.devices)
    burns = fleet.params["has_fuel"][:n] == 1
    sized = burns & ~np.isnan(fleet.params["level_size"][:n])
    tank, charge = world.tanks_l(), world.batteries_kwh()
    level_seen = np.zeros(n, bool)
    faults = _Faults.plan(n, sized)
    state, told, count = start(fleet), [], 0
    refuels: list[tuple[int, float, float]] = []
    charges: list[tuple[int, float, float]] = []
    jumps = _Jumps({}, [])
    idle = _Idle({}, {}, [])
    when: list[list[float]] = [[0.0] for _ in range(n)]
    way: list[list[float]] = [[0.0] for _ in range(n)]
    seconds = int(hours * 3600)
    for chunk in world.chunks(seconds, chunk_s=min(CHUNK_S, seconds)):
        count += chunk.n
        d, truth = chunk.truth["device"], chunk.truth
        readings = faults.spoil(chunk.readings, truth)
        level_seen |= np.bincount(d, ~np.isnan(readings["fuel_level_pct"]), n) > 0
        state, r = step(state, readings)
        told.append(r.events)
        used = np.bincount(d, truth["fuel_l"], n)
        drawn = np.bincount(d, truth["energy_kwh"], n)
        driven = np.bincount(d, truth["distance_m"], n)
        now, power = world.tanks_l(), world.batteries_kwh()
        at = world.start_ns / 1e9 + chunk.end_s
        refuels += [(v, at, float(x)) for v, x in enumerate(now - tank + used) if sized[v] and x > CHANGE_L]
        charges += [(v, at, float(x)) for v, x in enumerate(power - charge + drawn) if not burns[v] and x > CHANGE_KWH]
        tank, charge = now, power
        for v in np.flatnonzero(driven > 0).tolist():
            when[v].append(at)
            way[v].append(way[v][-1] + driven[v] / 1000.0)
        jumps.take(chunk.readings, truth)
        idle.take(truth, burns)
        progress(world.now_s / seconds)
    events: dict[str, Any] = {name: np.concatenate([e[name] for e in told]) for name in told[0]}
    rows = [
        (KINDS[k], int(v), b / 1e9, e / 1e9, float(a))
        for k, v, b, e, a in zip(
            *(events[c].tolist() for c in ("kind", "device", "time_ns", "end_ns", "amount")), strict=True
        )
    ]

    def of(kind: str) -> list[tuple[int, float, float, float]]:
        return [(v, b, e, a) for k, v, b, e, a in rows if k == kind]

    drains = [
        (v, float(faults.drained_at[v]), DRAIN_SHARE * float(fleet.params["level_size"][v]))
        for v in range(n)
        if faults.drained_pct[v] > 0
    ]
    refuels = [t for t in refuels if level_seen[t[0]]]
    over = [t for t in charges if when[t[0]][-1] > t[1]]  # it has driven since
    found = []
    for kind, true, slack in (
        ("refuel", refuels, CHUNK_S),  # when it truly was is known to ten minutes
        ("drain", drains, CHUNK_S),
        ("recharge", over, CHUNK_S),
        ("gps_jump", jumps.found, 10.0),
    ):
        hits, error = _match(true, of(kind), slack)
        told_of = len(of(kind))
        if kind == "recharge":  # one that is told before its vehicle wakes is no false one
            told_of -= _match(charges, of(kind), slack)[0] - hits
        found.append(Found(kind, len(true), hits, told_of, error))
    for v in list(idle.since):
        idle.since.pop(v)  # still going on at the end: no event yet
    said = [(v, b, e) for v, b, e, _ in of("idling")]
    both = _overlap(idle.spans, said)

    def km_until(kind: str, vehicles: npt.NDArray[np.intp]) -> tuple[float, ...]:
        first = {v: b for v, b, _, _ in reversed(of(kind))}
        return tuple(float(np.interp(first[v], when[v], way[v])) for v in vehicles.tolist() if v in first)

    wheels, odometers = np.flatnonzero(faults.wheel > 1), np.flatnonzero(faults.odometer > 1)
    far = np.array([w[-1] for w in way])
    wheels, odometers = wheels[far[wheels] > 10.0], odometers[far[odometers] > 60.0]
    counted: dict[str, int] = {}
    for kind, *_ in rows:
        counted[kind] = counted.get(kind, 0) + 1
    return EventReport(
        scenario,
        seed,
        hours,
        count,
        tuple(found),
        both / _length(idle.spans) if idle.spans else float("nan"),
        both / _length(said) if said else float("nan"),
        km_until("wheel_scale", wheels),
        km_until("odometer_conflict", odometers),
        wheels.size,
        odometers.size,
        len(charges) - len(over),
        counted,
    )


def markdown(report: EventReport) -> str:
    """The report as Markdown tables."""

    def share(x: float) -> str:
        return "–" if x != x else f"{100 * x:.1f} %"

    def kilometres(found: tuple[float, ...]) -> str:
        return f"median {np.median(found):.1f} km, most {max(found):.1f} km" if found else "–"

    lines = [
        f"Scenario {report.scenario}, seed {report.seed}, {report.hours:g} h of virtual time, {report.readings:,} readings.",
        "",
        "| event | true | found | told | recall | precision | error of the amount, median |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {f.kind} | {f.true} | {f.found} | {f.told} | {share(f.recall)} | {share(f.precision)} | {share(f.error)} |"
        for f in report.found
    ]
    lines += [
        f"| idling, by time | | | | {share(report.idle_recall)} | {share(report.idle_precision)} | |",
        "",
        f"Wheel speed times 1.4: found on {len(report.km_to_wheel)} of {report.planted_wheels}, {kilometres(report.km_to_wheel)}.",
        f"Odometer 2 % high: {len(report.km_to_odometer)} of {report.planted_odometers}, {kilometres(report.km_to_odometer)}.",
        f"Batteries still charging at the end, so with no event yet: {report.charging}.",
        "All events: " + ", ".join(f"{kind} {n}" for kind, n in sorted(report.others.items())) + ".",
    ]
    return "\n".join(lines)
