"""One vehicle alone: the same functions as in a fleet, on plain lists, so a gateway without numpy can run it."""

import math
from array import array
from typing import Final

from simulators import layout as at
from simulators.build import build_vehicle
from simulators.driver import advance
from simulators.kernel import COMPILED
from simulators.layout import Vector
from simulators.rng import derive, key_of
from simulators.scenario import Scenario
from simulators.sensors import clock, power, restart, sense
from simulators.trips import Geography, Plan
from simulators.truth import truth_row

TICKS_PER_S: Final = 10


def vector(values: list[float]) -> Vector:
    """A flat vector the functions can work on: a numpy array where they are compiled, else ``array('d')``."""
    if not COMPILED:
        return array("d", values)
    import numpy as np

    return np.array(values, np.float64)


class SingleVehicle:
    """Vehicle ``number`` (from 1) of fleet number ``fleet`` of a scenario, without recorded traces.

    After ``step``: ``values`` by ``layout.SIGNALS`` (NaN = not measured), ``truth`` by ``layout.TRUTH``, ``time_ns`` the device's
    time, ``true_ns`` the real one, ``awake`` whether the gateway is on.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        *,
        fleet: int = 0,
        number: int = 1,
        start_ns: int | None = None,
        every_ticks: int = TICKS_PER_S,
    ) -> None:
        self.start_ns = int(scenario.start.timestamp()) * 1_000_000_000 if start_ns is None else start_ns
        local_s = self.start_ns / 1e9 + scenario.utc_offset_h * 3600.0
        built = build_vehicle(scenario, scenario.fleet[fleet], seed, number, local_s % 86_400.0 / 3600.0, [])
        self.vehicle = built.vehicle
        self.registry = built.registry
        self.every_ticks = every_ticks
        self.tick = 0
        self.awake = False
        self.values = vector([math.nan] * len(at.SIGNALS))
        self.truth = vector([0.0] * len(at.TRUTH))
        self.time_ns = self.true_ns = self.start_ns
        self.clock_source, self.clock_error_ms = 0, -1
        self._world = key_of(seed, "world") >> 1
        self._key = built.carrier.key
        self._s, self._p = vector(list(built.state)), vector(list(built.params))
        self._plan = Plan(built.carrier, Geography.of(scenario), -(local_s % 86_400.0))
        rows = self._plan.begin()
        self._tasks = vector(rows)
        self._k = vector(rows[: at.N_TASK])
        self._traces = vector([0.0])

    @property
    def boot_id(self) -> int:
        """Id of the gateway's present boot, as a fleet gives it."""
        return int(derive(self._key, 1_000_000 + int(self._s[at.S_BOOT]))) + 1

    def restart(self) -> None:
        """The gateway's program starts anew, as after the warm-up of a fleet."""
        restart(self._s)

    def step(self) -> bool:
        """One reading further. Returns whether the gateway is on and took it."""
        if self._s[at.S_TASK] >= self._plan.first_rows:
            dropped, kept, following = self._plan.follow()
            rows = list(self._tasks[dropped * at.N_TASK : (dropped + kept) * at.N_TASK])
            self._tasks = vector(rows + following)
            self._s[at.S_TASK] -= dropped
        s, p, k = self._s, self._p, self._k
        advance(s, p, k, self._tasks, self._traces, self._world, self._key, self.tick, self.every_ticks)
        self.tick += self.every_ticks
        self.awake = bool(power(s, p, k, self._key, self.tick * 0.1))
        if not self.awake:
            return False
        offset_s, self.clock_source, self.clock_error_ms = clock(s, p, self.tick * 0.1)
        self.true_ns = self.start_ns + self.tick * (1_000_000_000 // TICKS_PER_S)
        self.time_ns = self.true_ns + int(offset_s * 1000.0) * 1_000_000
        sense(s, p, k, self.values, self._key, self.tick, self.every_ticks * 0.1)
        truth_row(s, p, k, self.truth)
        return True
