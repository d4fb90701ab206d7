"""The truck's node: bus, load cell, axle pressure. On the board: ``import firmware.truck_node as node; node.main(settings)``."""

from . import record
from .hal import Hal
from .j1939 import Bus
from .load import Axle, Cell, Steady, median, to_kg
from .node import Sensors, run
from .settings import TruckSettings
from .state import State

FRAMES_MOST = 64  # taken from the controller in one pass; bounds the pass
TARE_RECORDS = 3  # the button is held for so many records, and they agree


class Truck(Sensors):
    """Sensors of a truck."""

    kind = record.TRUCK

    def __init__(self, settings: TruckSettings) -> None:
        s = settings
        self._settings = s
        self._bus = Bus()
        self._cell = Cell(s.cell_pulses)
        self._axle = Axle(s.axle_mv_least, s.axle_mv_most, s.axle_line)
        self._load = Steady(s.spread_kg, s.standing_n, s.moving_n)
        self._axle_load = Steady(s.spread_kg, s.standing_n, s.moving_n)
        self._bus_fault = False
        self._tare: list[int] = []
        self._tared = False
        self._released = True

    def begin(self, hal: Hal, state: State, last: bytes) -> None:
        self._hal = hal
        self._state = state

    def poll(self, now: int) -> None:
        hal = self._hal
        for _ in range(FRAMES_MOST):
            frame = hal.can_recv()
            if frame is None:
                break
            self._bus.on_frame(frame[0], frame[1], now)
        if hal.can_fault():
            self._bus_fault = True
        if self._settings.has_cell:
            self._cell.poll(hal, now)
        if self._settings.has_axle:
            self._axle.poll(hal)

    def take(self, now: int) -> tuple[bytes, int]:
        flags = self._bus.flags(now)
        if self._bus_fault:
            flags |= record.BUS_FAULT
            self._bus_fault = False
        standing = self._bus.standing(now)
        load_kg, axle_kg = record.NA16, record.NA16
        if self._settings.has_cell:
            raw = self._cell.take()
            self._on_tare(raw)
            self._load.add(None if raw is None else self._kg(raw), standing)
            load_kg, steady = self._load.result()
            flags |= (record.LOAD_STABLE if steady else 0) | (record.LOAD_FAULT if raw is None else 0)
        if self._settings.has_axle:
            kg = self._axle.take()
            self._axle_load.add(kg, standing)
            axle_kg, steady = self._axle_load.result()
            flags |= (record.AXLE_STABLE if steady else 0) | (record.AXLE_FAULT if kg is None else 0)
        return record.truck_fields(*self._bus.fields(now), load_kg, axle_kg), flags

    def state_changed(self) -> bool:
        tared, self._tared = self._tared, False
        return tared

    def _kg(self, raw: int) -> int:
        zero = self._state.tare if self._state.has_tare else self._settings.cell_zero
        return to_kg(raw, zero, self._settings.cell_kg, self._settings.cell_counts)

    def _on_tare(self, raw: int | None) -> None:
        """Take the zero anew when the button is held while the load does not move; once until it is let go."""
        if not self._hal.tare_pressed():
            self._tare = []
            self._released = True
            return
        if raw is None or not self._released:
            return
        self._tare.append(raw)
        if len(self._tare) < TARE_RECORDS:
            return
        loads = [self._kg(value) for value in self._tare]
        if max(loads) - min(loads) <= self._settings.spread_kg:
            self._state.tare, self._state.has_tare = median(self._tare), True
            self._tared, self._released = True, False
            self._load.add(None, False)  # what came before is of the old zero
        self._tare = []


def main(settings: TruckSettings) -> None:
    """Run on the board; never returns."""
    from .hal_stm32 import Stm32Hal

    hal = Stm32Hal(settings.baud, settings.interval_ms, True)
    run(hal, Truck(settings), settings.interval_ms, settings.baud)
