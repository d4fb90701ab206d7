"""The warehouse's node: up to three pulse meters. On the board: ``import firmware.warehouse_node as node; node.main(settings)``."""

from . import record
from .hal import Hal
from .node import Sensors, run
from .pulse import Pulses
from .settings import WarehouseSettings
from .state import State

INPUTS = 3


class Warehouse(Sensors):
    """Pulse counts. They go on from the newest record in flash; at most the pulses since then are lost in a power cut."""

    kind = record.WAREHOUSE

    def __init__(self, settings: WarehouseSettings) -> None:
        self._inputs = [Pulses(settings.debounce_ms) for _ in range(settings.inputs)]
        self._base = [0] * settings.inputs
        self._new = True

    def begin(self, hal: Hal, state: State, last: bytes) -> None:
        self._hal = hal
        if last and record.head(last)[0] == record.WAREHOUSE:
            self._new = False
            counts = record.warehouse_counts(last)
            self._base = [0 if counts[i] == record.NA48 else counts[i] for i in range(len(self._inputs))]
        hal.pulses_irq(self._on_edge)

    def poll(self, now: int) -> None:
        ticks = self._hal.ticks_ms()
        state = self._hal.lock()
        for pulses in self._inputs:
            pulses.settle(ticks)
        self._hal.unlock(state)

    def take(self, now: int) -> tuple[bytes, int]:
        counts = [self._base[i] + self._inputs[i].count for i in range(len(self._inputs))]
        while len(counts) < INPUTS:
            counts.append(record.NA48)
        glitches = sum([pulses.glitches for pulses in self._inputs])
        return record.warehouse_fields(counts, glitches), record.COUNT_NEW if self._new else 0

    def _on_edge(self, i: int, closed: bool, ticks: int) -> None:
        if i < len(self._inputs):
            self._inputs[i].on_edge(closed, ticks)


def main(settings: WarehouseSettings) -> None:
    """Run on the board; never returns."""
    from .hal_stm32 import Stm32Hal

    run(Stm32Hal(settings.baud, settings.interval_ms, False), Warehouse(settings), settings.interval_ms, settings.baud)
