"""How far the reported figures are from the simulated truth, by method, class and span; and what faults do to the readings.

Reported CO2e is compared with true fuel or energy times the same factors, so the error of the factors is not in these
figures: it is a convention of the factor set, not a measurement.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from devices.wire import Sample, encode_batch, topic
from ingest.decode import Message as Received
from ingest.decode import decode
from simulators.classes import LNG_KG_PER_L
from simulators.emptiness import Emptiness, Judged, emptiness
from simulators.fault_messages import Message
from simulators.faults import FaultPlan, Ledger, disturb
from simulators.fleet import World, build
from simulators.registry_files import write_registry
from storage.factor_files import class_table, factor_set
from storage.registry import load_registry
from stream.columns import ENERGY_METHODS, SIGNALS, UNKNOWN
from stream.fleet import Fleet, build_fleet
from stream.pipeline import Columns, start, step

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
METHODS: Final = ("measured", "rate only", "model, class default", "model, learnt", "torque, learnt")
_COUNTERS: Final = ("fuel_total_hr_l", "fuel_total_l", "fuel_flow_total_l", "gas_total_kg", "battery_energy_total_kwh")
_RATES: Final = ("fuel_rate_lph", "battery_power_kw")
_TORQUE: Final = ("engine_torque_pct",)
_HIDDEN: Final = {
    "measured": (),
    "rate only": _COUNTERS,
    "model, class default": (*_COUNTERS, *_RATES, *_TORQUE),
    "model, learnt": (),
    "torque, learnt": (),
}
_SILENT: Final = {  # from the middle of the run on
    "model, learnt": _HIDDEN["model, class default"],
    "torque, learnt": (*_COUNTERS, *_RATES),
}
_OBTAINED: Final = {
    "measured": ("counter_hr", "counter", "counter_gap", "flow_meter", "meter"),
    "rate only": ("rate",),
    "model, class default": ("model", "tank"),
    "model, learnt": ("model", "tank"),
    "torque, learnt": ("model",),
}
_PARTS: Final = ("u_ind_mg2", "u_trip_ug", "u_asset_ug", "u_model_ug")  # of the error of an amount
MINUTE_NS: Final = 60_000_000_000
LEARN_SHARE: Final = 0.5  # of the time, after which the signals of the learnt models fall silent
WHOLE: Final = 0.95  # share of a trip's or kilometre's rows that must be obtained in the way that is judged
STOP_S: Final = 300  # a pause this long ends a trip
TRIP_MIN_KM: Final = 2.0
FAULT_MINUTES: Final = 20
FAULT_BATCH: Final = 30
FAULTS: Final = FaultPlan(
    duplicate=0.2,
    reorder=0.2,
    delay=0.1,
    delay_max_s=300,
    offline=0.01,
    offline_max_s=900,
    reboot=0.01,
    poison=0.05,
    spoof=0.05,
)


@dataclass(frozen=True, slots=True)
class Errors:
    """Relative errors of CO2e against truth, 0.01 = 1 %. NaN = nothing to compare. ``total`` keeps its sign.

    ``second``, ``km``, ``trip``: median of the absolute errors; ``trip_p95`` their 95th percentile; ``band``: share of trips
    whose truth lies within the reported 95 % band, without the factors' part, which reported and true CO2e share; ``share``:
    part of the true CO2e for which the figure was obtained so.
    """

    vehicle_class: str
    method: str
    vehicles: int
    trips: int
    second: float
    km: float
    trip: float
    trip_p95: float
    total: float
    band: float
    share: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """Readings through encoder, faults, decoder and step."""

    sent: int
    arrived: int
    stored: int
    lost: int
    duplicated: int
    hostile: int
    hostile_refused: int
    faults: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the accuracy table tells."""

    scenario: str
    seed: int
    hours: float
    readings: int
    factor_set: str
    errors: list[Errors]
    emptiness: list[Emptiness]
    judged: list[Judged]
    delivery: Delivery


def fleet_of(world: World, factors: str) -> Fleet:
    """The registry of a world as the pipeline sees it; devices in the world's order."""
    with tempfile.TemporaryDirectory() as folder:
        write_registry(Path(folder), world.registry())
        registry = load_registry(Path(folder))
    return build_fleet(
        registry.vehicles,
        registry.warehouses,
        registry.routes,
        factor_set(factors),
        class_table(),
        registry.places,
        registry.regions,
        market=registry.market,
    )


@dataclass
class _Rows:
    """What is kept of each reading: (n,) arrays in pieces."""

    pieces: list[dict[str, npt.NDArray[Any]]]
    sums: list[dict[str, npt.NDArray[Any]]]

    def column(self, name: str) -> npt.NDArray[Any]:
        return np.concatenate([p[name] for p in self.pieces])

    def sum_column(self, name: str) -> npt.NDArray[Any]:
        """The same of the partial sums per minute."""
        return np.concatenate([p[name] for p in self.sums])


def _without(readings: Columns, hidden: Sequence[str]) -> Columns:
    nothing = np.full(readings["seq"].size, np.nan)
    return {name: nothing if name in hidden else values for name, values in readings.items()}


def _true_ug(fleet: Fleet, truth: Columns) -> Floats:
    """True CO2e, well-to-wheel, by the same factors, refrigeration unit included."""
    p = fleet.params[truth["device"]]
    fuel_l, energy_kwh = truth["fuel_l"], truth["energy_kwh"]
    cooling = truth["tru_fuel_l"] * (p["gas_oil_ttw"] + p["gas_oil_wtt"])
    fuel_kg_co2e = np.where(p["fuel_is_gas"] == 1, fuel_l * LNG_KG_PER_L, fuel_l) * (p["fuel_ttw"] + p["fuel_wtt"])
    drive = np.where(p["has_battery"] == 1, energy_kwh * p["grid_total"], fuel_kg_co2e)
    ug: Floats = (drive + cooling) * 1e9
    return ug


def _collect(
    world: World, fleet: Fleet, hours: float, progress: Callable[[float], None]
) -> tuple[dict[str, _Rows], int]:
    """Run the world once and the step once for each method on what that method may see."""
    states = {m: start(fleet) for m in METHODS}
    rows = {m: _Rows([], []) for m in METHODS}
    seconds = int(hours * 3600)
    n = 0
    for chunk in world.chunks(seconds, chunk_s=min(600, seconds)):
        n += chunk.n
        truth = chunk.truth
        true_ug = _true_ug(fleet, truth)
        for method in METHODS:
            hidden = _HIDDEN[method]
            if chunk.start_s >= LEARN_SHARE * seconds:
                hidden = _SILENT.get(method, hidden)
            states[method], results = step(states[method], _without(chunk.readings, hidden))
            e = results.emissions
            if results.readings["seq"].size != chunk.n:
                raise AssertionError("the simulator's readings come in order, so every one is taken")
            ways = [ENERGY_METHODS.index(m) for m in _OBTAINED[method]]
            known = (e["co2e_wtt_ug"] != UNKNOWN) & np.isin(e["energy_method"], ways)
            reported = np.where(known, e["co2e_ttw_ug"] + e["co2e_wtt_ug"], 0).astype(np.float64)
            rows[method].pieces.append(
                {
                    "device": e["device"],
                    "time_ns": truth["time_ns"],
                    "distance_m": truth["distance_m"],
                    "speed_kmh": truth["speed_kmh"],
                    "true": true_ug,
                    "reported": reported,
                    "known": known,
                }
            )
            rows[method].sums.append({name: results.rollups[name] for name in ("asset", "minute_ns", *_PARTS)})
        progress(world.now_s / seconds if seconds else 1.0)
    return rows, n


def _groups(key: Ints, *values: Floats) -> list[Floats]:
    """Sums of each of ``values`` over equal ``key``."""
    _, at = np.unique(key, return_inverse=True)
    return [np.bincount(at, v).astype(np.float64) for v in values]


def _trips(time_ns: Ints, speed_kmh: Floats) -> Ints:
    """Number of the trip that each row of one vehicle belongs to: a pause of STOP_S or more ends one."""
    moving = speed_kmh > 1.0
    last_move = np.maximum.accumulate(np.where(moving, time_ns, time_ns[0]))
    idle_s = (time_ns - np.concatenate((last_move[:1], last_move[:-1]))) / 1e9
    return np.cumsum(moving & (idle_s >= STOP_S))


def _relative(reported: Floats, true: Floats) -> Floats:
    enough = true > 0
    return np.abs(reported[enough] - true[enough]) / true[enough]


def _half_widths(rows: _Rows, minute_key: Ints, trip_key: Ints) -> Floats:
    """Half-width of the 95 % band of each trip [µg], in the order of its key; ``minute_key`` names the minute of each row."""
    keys, first = np.unique(minute_key, return_index=True)
    trips, trip_of = np.unique(trip_key[first], return_inverse=True)
    of_sum = _minute_key(rows.sum_column("asset"), rows.sum_column("minute_ns"))
    here = np.isin(of_sum, keys)
    trip = trip_of[np.searchsorted(keys, of_sum[here])]
    parts = {name: np.bincount(trip, rows.sum_column(name)[here], trips.size) for name in _PARTS}
    variance = parts["u_ind_mg2"] * 1e6
    for name in _PARTS[1:]:  # one trip lies within one asset and class: each is one group
        variance = variance + parts[name] ** 2
    half: Floats = 1.96 * np.sqrt(variance)
    return half


def _minute_key(device: npt.NDArray[Any], time_ns: npt.NDArray[Any]) -> Ints:
    key: Ints = device.astype(np.int64) * 10**9 + time_ns // MINUTE_NS
    return key


def _quantile(values: Floats, q: float) -> float:
    return float(np.quantile(values, q)) if values.size else float("nan")


def _errors(rows: _Rows, devices: Ints, vehicle_class: str, method: str) -> Errors:
    chosen = np.isin(rows.column("device"), devices)
    c = {name: rows.column(name)[chosen] for name in rows.pieces[0]}
    order = np.lexsort((c["time_ns"], c["device"]))
    c = {name: values[order] for name, values in c.items()}
    bounds = np.flatnonzero(np.diff(c["device"])) + 1
    km_key, trip_key = np.empty(c["device"].size, np.int64), np.empty(c["device"].size, np.int64)
    for a, b in zip([0, *bounds], [*bounds, c["device"].size], strict=True):
        base = int(c["device"][a]) * 10_000_000
        km_key[a:b] = base + np.floor(np.cumsum(c["distance_m"][a:b]) / 1000).astype(np.int64)
        trip_key[a:b] = base + _trips(c["time_ns"][a:b], c["speed_kmh"][a:b])
    minute_key = _minute_key(c["device"], c["time_ns"])
    _, first, at = np.unique(minute_key, return_index=True, return_inverse=True)
    trip_key = trip_key[first][at]  # a minute belongs to the trip it began in, as its sums do
    known, reported = c["known"], c["reported"]
    every, true = c["true"], np.where(c["known"], c["true"], 0.0)
    second = _relative(reported[known], true[known])
    k_true, k_reported, k_known, k_n = _groups(km_key, true, reported, known.astype(float), np.ones(true.size))
    whole = k_known >= WHOLE * k_n
    km = _relative(k_reported[whole], k_true[whole])
    t_true, t_reported, t_m, t_known, t_n = _groups(
        trip_key, true, reported, c["distance_m"], known.astype(float), np.ones(true.size)
    )
    half = _half_widths(rows, minute_key, trip_key)
    real = (t_m >= TRIP_MIN_KM * 1000) & (t_known >= WHOLE * t_n)
    trip = _relative(t_reported[real], t_true[real])
    inside = np.abs(t_reported[real] - t_true[real]) <= half[real]
    total = float(true[known].sum())
    return Errors(
        vehicle_class,
        method,
        len(devices),
        int(real.sum()),
        _quantile(second, 0.5),
        _quantile(km, 0.5),
        _quantile(trip, 0.5),
        _quantile(trip, 0.95),
        (float(reported[known].sum()) - total) / total if total else float("nan"),
        float(inside.mean()) if real.any() else float("nan"),
        total / float(every.sum()) if every.sum() else float("nan"),
    )


_TENANT: Final = "sim"


def _messages(world: World, seconds: int) -> Iterator[Message]:
    """The world's readings as its gateways publish them, by publish time."""
    waiting: dict[int, list[Sample]] = {}
    first: dict[int, tuple[int, int]] = {}
    for chunk in world.chunks(seconds, chunk_s=FAULT_BATCH):
        r = chunk.readings
        names = [s.name for s in SIGNALS if not np.isnan(r[s.name]).all()]
        table = np.array([r[n] for n in names]).T
        due: list[Message] = []
        for i in range(chunk.n):
            d = int(r["device"][i])
            identity = (int(r["boot_id"][i]), int(r["seq"][i]))
            if d in waiting and first[d][0] != identity[0]:
                due.append(_message(world.devices[d], first.pop(d), waiting.pop(d)))
            first.setdefault(d, identity)
            values = {n: float(v) for n, v in zip(names, table[i], strict=True) if v == v}
            waiting.setdefault(d, []).append(Sample(int(r["time_ns"][i]), values))
        due += [_message(world.devices[d], first.pop(d), waiting.pop(d)) for d in list(waiting)]
        yield from sorted(due, key=lambda m: m.time_ns)


def _message(device: str, identity: tuple[int, int], samples: list[Sample]) -> Message:
    boot_id, seq0 = identity
    payload = encode_batch(device, boot_id or 1, seq0, samples, clock_source="ntp", clock_error_ms=20)
    return Message(topic=topic(_TENANT, device, "up/readings"), payload=payload, time_ns=samples[-1].time_ns)


def _delivery(world: World, fleet: Fleet, seed: int) -> Delivery:
    """Twenty minutes of messages through every fault that loses nothing, then decoder and step."""
    ledger = Ledger()
    state = start(fleet)
    stored: list[npt.NDArray[Any]] = []
    refused = 0
    batch: list[Received] = []

    def flush() -> None:
        nonlocal state, refused
        decoded = decode(batch, fleet.device_index, {_TENANT}, earliest_ns=0)
        refused += len(decoded.rejected)
        state, results = step(state, decoded.columns)
        keys = np.stack([results.readings[k].astype(np.int64) for k in ("device", "boot_id", "seq")])
        stored.append(keys)
        batch.clear()

    for m in disturb(_messages(world, FAULT_MINUTES * 60), FAULTS, seed=seed, ledger=ledger):
        batch.append(Received(m.topic, m.payload, m.time_ns + 3600 * 10**9))
        if len(batch) == 200:
            flush()
    flush()
    found = np.concatenate(stored, axis=1)
    have = {(fleet.devices[d], b, s) for d, b, s in found.T.tolist()}
    arriving = ledger.arriving()
    return Delivery(
        sent=sum(f.covered for f in ledger.fates),
        arrived=len(arriving),
        stored=len(have),
        lost=len(arriving - have),
        duplicated=found.shape[1] - len(have),
        hostile=len(ledger.hostile),
        hostile_refused=refused,
        faults={str(k): n for k, n in ledger.counts().items()},
    )


def measure(
    scenario: str, seed: int, *, hours: float, factors: str, progress: Callable[[float], None] = lambda _: None
) -> Report:
    """Run fleet, sensors and pipeline in memory on virtual time. Same seed, same report."""
    world = build(scenario, seed, warmup_s=3600)
    fleet = fleet_of(world, factors)
    rows, n = _collect(world, fleet, hours, progress)
    classes: dict[str, list[int]] = {}
    for vehicle in fleet.vehicles:
        key = f"{vehicle.vehicle_class} {vehicle.fuel}"
        classes.setdefault(key, []).append(fleet.device_index[vehicle.device])
    everyone = [d for group in classes.values() for d in group]
    groups = {"all vehicles": everyone, **dict(sorted(classes.items()))}
    errors = [
        _errors(rows[method], np.array(devices), name, method) for name, devices in groups.items() for method in METHODS
    ]
    errors = [e for e in errors if e.share > 0]
    delivery = _delivery(build(scenario, seed, warmup_s=3600), fleet, seed)
    empty, judged, _ = emptiness(build(scenario, seed, warmup_s=3600), fleet, hours)
    return Report(scenario, seed, hours, n, factors, errors, empty, judged, delivery)
