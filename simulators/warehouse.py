"""Warehouses with known truth: what they are, how they run, and the readings their gateways would send.

One warehouse needs the standard library only, so a gateway can run one in real time; ``simulate`` needs numpy and
gives columns.
"""

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from devices.signals import SIGNALS
from devices.wire import CLOCK_SOURCES
from simulators import warehouse_meters as meters
from simulators import warehouse_model as model
from simulators.meter_series import MeterSeries
from simulators.rng import key_of, splitmix64, uniform
from simulators.warehouse_meters import MeterEvent
from simulators.warehouse_spec import WarehouseSpec, check, parameters

if TYPE_CHECKING:
    import numpy.typing as npt

    Columns = dict[str, npt.NDArray[Any]]

START_REGISTER: Final = 400_000.0  # a meter in place for years shows up to this


def first_state(p: Sequence[float], key: int) -> "array[float]":
    """The state of the beginning: rooms at their set points, batteries charged, positions filled as aimed at.

    The cooling plant is somewhere between two visits of the fitter.
    """
    s = array("d", [0.0]) * model.N_S
    s[model.S_STORED] = math.floor(p[model.P_POSITIONS] * p[model.P_FILL])
    s[model.S_BATTERY_KWH] = p[model.P_FORK_KWH]
    s[model.S_GAS_LEFT_KG] = p[model.P_CHARGE_KG] * (1.0 - (1.0 - model.SERVICE_SHARE) * uniform(key, 90))
    s[model.S_INDOOR_C], s[model.S_OUTDOOR_C] = 15.0, p[model.P_TEMP_MEAN]
    s[model.S_CHILL_C], s[model.S_FROZEN_C] = p[model.P_CHILL_SET_C], p[model.P_FROZEN_SET_C]
    s[model.S_PALLETS_S] = -1.0  # no weather yet
    return s


@dataclass(frozen=True, slots=True)
class Register:
    """A counter of the site: its signal, the total it measures, its steps per unit, and where it is fitted."""

    signal: str
    total: int
    steps: Callable[[WarehouseSpec], float]
    fitted: Callable[[WarehouseSpec], bool]


def _own(spec: WarehouseSpec) -> float:
    return round(1 / spec.meter_step_kwh)


REGISTERS: Final = (
    Register("grid_import_kwh", model.S_IMPORT_KWH, _own, lambda w: True),
    Register("grid_export_kwh", model.S_EXPORT_KWH, _own, lambda w: w.pv_kwp > 0),
    Register("pv_kwh", model.S_PV_KWH, _own, lambda w: w.pv_kwp > 0),
    Register("forklift_kwh", model.S_FORK_KWH, _own, lambda w: True),
    Register("gas_kwh_gross", model.S_GAS_KWH, lambda w: 10.0, lambda w: w.heating == "gas"),
    Register("genset_fuel_total_l", model.S_GENSET_L, lambda w: 10.0, lambda w: w.genset_kw > 0),
)
TRUTH: Final[Mapping[str, int]] = {  # column of the truth -> total
    "grid_import_kwh": model.S_IMPORT_KWH,
    "grid_export_kwh": model.S_EXPORT_KWH,
    "pv_kwh": model.S_PV_KWH,
    "genset_kwh": model.S_GENSET_KWH,
    "genset_fuel_l": model.S_GENSET_L,
    "load_kwh": model.S_LOAD_KWH,
    "forklift_kwh": model.S_FORK_KWH,
    "cold_kwh": model.S_COLD_KWH,
    "light_kwh": model.S_LIGHT_KWH,
    "base_kwh": model.S_BASE_KWH,
    "heat_kwh": model.S_HEAT_KWH,
    "gas_kwh_gross": model.S_GAS_KWH,
    "pallets_in": model.S_IN,
    "pallets_out": model.S_OUT,
    "goods_out_kg": model.S_OUT_KG,
    "rehandled": model.S_REHANDLED,
    "refrigerant_topup_kg": model.S_TOPUP_KG,
    "refrigerant_leak_kg": model.S_LEAK_KG,
    "outage_s": model.S_OUTAGE_S,
}


class Warehouse:
    """One running warehouse. ``load`` drives its electricity by a recording instead of the model.

    ValueError for a spec that cannot be or, later, for a second outside the recording.
    """

    def __init__(self, spec: WarehouseSpec, *, seed: int, start_s: int, load: MeterSeries | None = None) -> None:
        check(spec)
        self.spec = spec
        self.now_s = start_s
        self._load = load
        self._key = key_of(seed, "warehouse", spec.warehouse)
        self._p = parameters(spec, self._key)
        self._s = first_state(self._p, self._key)
        self._meters: list[tuple[Register, int, array[float], array[float]]] = []
        faults = spec.meter_faults
        for i, register in enumerate(REGISTERS):
            if register.fitted(spec):
                key = key_of(self._key >> 1, register.signal)
                start = math.floor(START_REGISTER * uniform(key, i))
                rates = (faults.resets_per_year, faults.swaps_per_year, faults.stalls_per_year)
                m = array(
                    "d",
                    [register.steps(spec), start, faults.class_error, *(r / 365.0 for r in rates), faults.value_loss],
                )
                self._meters.append((register, key, m, array("d", [-1.0]) * meters.N_R))

    def advance(self, until_s: int) -> None:
        """Run the world up to second ``until_s``."""
        while self.now_s < until_s:
            end = until_s
            if self._load is not None:
                self._p[model.P_LOAD_KW], edge = self._load.power_kw(self.now_s)
                end = min(end, edge)
            model.advance(self._p, self._s, self._key, self.now_s, end)
            self.now_s = end

    def totals(self) -> tuple[float, ...]:
        """The true totals since the start, by number of ``warehouse_model``."""
        return tuple(self._s[: model.N_TOTALS])

    def read(self) -> dict[str, float] | None:
        """What the gateway reads now, by signal; what was not read is absent, None = the whole reading was lost."""
        spec, s = self.spec, self._s
        values: dict[str, float] = {}
        for register, key, m, r in self._meters:
            value = meters.read(m, r, key, self.now_s, s[register.total])
            if not math.isnan(value):
                values[register.signal] = value
        values["grid_power_kw"] = round(s[model.S_GRID_KW], 2)
        values["pallets_in_total"] = s[model.S_IN]
        values["pallets_out_total"] = s[model.S_OUT]
        values["goods_out_total_kg"] = s[model.S_OUT_KG]
        values["pallets_stored"] = s[model.S_STORED]
        room = model.S_FROZEN_C if spec.frozen_m3 > spec.chilled_m3 else model.S_CHILL_C
        cold = spec.chilled_m3 + spec.frozen_m3 > 0
        values["indoor_temp_c"] = round(s[room if cold else model.S_INDOOR_C], 1)
        if cold:
            values["refrigerant_topup_total_kg"] = round(s[model.S_TOPUP_KG], 1)
        lost = uniform(self._key >> 2, self.now_s) < spec.meter_faults.reading_loss
        return None if lost else values

    def events(self, since_s: int, until_s: int) -> list[MeterEvent]:
        """Faults of its meters in that time, oldest first."""
        found = [e for r, key, m, _ in self._meters for e in meters.events(m, key, r.signal, since_s, until_s)]
        return sorted(found, key=lambda e: (e.time_s, e.signal))

    def registry_row(self) -> dict[str, str]:
        """Its row of warehouses.csv."""
        spec = self.spec
        names = ("warehouse", "device", "name", "lat_deg", "lon_deg", "area_m2", "pallet_positions", "grid_zone")
        return {n: str(v) if isinstance(v := getattr(spec, n), str) else f"{v:.10g}" for n in names}


@dataclass(frozen=True)
class Simulated:
    """What ``simulate`` gives. ``readings`` and ``truth`` are columns of equal length, by time and then device.

    ``readings`` has every column of a reading; its ``device`` is an index into ``devices``. ``truth`` has device,
    seq, time_ns and the amounts of ``TRUTH`` since the device's previous reading (since the start for the first).
    ``events`` by device.
    """

    devices: tuple[str, ...]
    readings: "Columns"
    truth: "Columns"
    events: Mapping[str, Sequence[MeterEvent]]


def simulate(
    specs: Sequence[WarehouseSpec],
    *,
    seed: int,
    start_s: int,
    duration_s: int,
    every_s: int = 60,
    loads: Mapping[str, MeterSeries] | None = None,
) -> Simulated:
    """Readings every ``every_s`` seconds, the first ``every_s`` after ``start_s``, and the truth behind them.

    ``loads`` gives a recording for the warehouse of that name. ValueError for specs or times that cannot be.
    """
    import numpy as np

    if not 1 <= every_s <= 3600 or duration_s < every_s:
        raise ValueError(f"every_s {every_s} must be 1 to 3600 and not above duration_s {duration_s}")
    names = [spec.device for spec in specs]
    if not names or len(set(names)) < len(names):
        raise ValueError("no warehouses" if not names else f"two warehouses have one device among {', '.join(names)}")
    sites = [Warehouse(w, seed=seed, start_s=start_s, load=(loads or {}).get(w.warehouse)) for w in specs]
    index: list[tuple[int, int, int]] = []  # time, device, seq
    rows: list[dict[str, float]] = []
    truth: list[tuple[float, ...]] = []
    before = [site.totals() for site in sites]
    seqs = [0] * len(sites)
    for now in range(start_s + every_s, start_s + duration_s + 1, every_s):
        for d, site in enumerate(sites):
            site.advance(now)
            values = site.read()
            if values is not None:
                after = site.totals()
                index.append((now * 1_000_000_000, d, seqs[d]))
                rows.append(values)
                truth.append(tuple(a - b for a, b in zip(after, before[d], strict=True)))
                before[d] = after
                seqs[d] += 1
    boots = np.array([max(int(splitmix64(key_of(seed, "boot", n), 0)) >> 1, 1) for n in names], dtype=np.int64)
    times, devices, numbers = np.array(index, dtype=np.int64).reshape(-1, 3).T.copy()
    n = times.size
    readings: Columns = {
        "device": devices.astype(np.int32),
        "boot_id": boots[devices],
        "seq": numbers,
        "merged": np.ones(n, np.int32),
        "time_ns": times,
        "received_ns": times.copy(),
        "clock_source": np.full(n, CLOCK_SOURCES.index("ntp"), np.int32),
        "clock_error_ms": np.full(n, 10, np.int32),
        "historical": np.zeros(n, bool),
    }
    nothing = np.full(n, np.nan)
    nothing.flags.writeable = False
    present = {name for row in rows for name in row}
    for signal in SIGNALS:
        if signal.name in present:
            readings[signal.name] = np.array([row.get(signal.name, math.nan) for row in rows])
        else:
            readings[signal.name] = nothing
    amounts: npt.NDArray[np.float64] = np.array(truth, dtype=np.float64).reshape(n, model.N_TOTALS)
    columns: Columns = {"device": readings["device"], "seq": numbers, "time_ns": times}
    columns |= {name: amounts[:, at].copy() for name, at in TRUTH.items()}
    events = {site.spec.device: site.events(start_s, start_s + duration_s) for site in sites}
    return Simulated(tuple(names), readings, columns, events)
