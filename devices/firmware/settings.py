"""What a fitter sets for one vehicle or site. Written into ``main.py`` on the board; whole numbers only."""

from .load import CHANNEL_A_128


class TruckSettings:
    """A truck. ``has_cell`` and ``has_axle`` say what is fitted; the calibration is that of the place where it is fitted."""

    def __init__(self) -> None:
        self.interval_ms = 1_000
        self.baud = 115_200
        self.has_cell = False
        self.cell_pulses = CHANNEL_A_128
        self.cell_zero = 0  # counts without load; the tare button replaces it
        self.cell_kg = 10_000  # this load ...
        self.cell_counts = 1_000_000  # ... gives so many counts more; negative if the cell is wired the other way
        self.has_axle = False
        self.axle_mv_least = 250  # below: broken wire of a 0.5 to 4.5 V sensor
        self.axle_mv_most = 4_750  # above: short to supply
        self.axle_line = (1_000, 2_000, 4_000, 11_500)  # mV empty, kg empty, mV laden, kg laden
        self.spread_kg = 100  # a load that stays within this is steady ...
        self.standing_n = 10  # ... after so many records of a standing vehicle ...
        self.moving_n = 60  # ... or after so many of any


class WarehouseSettings:
    """A warehouse. ``inputs`` says how many of the three pulse inputs are wired, from the first on."""

    def __init__(self) -> None:
        self.interval_ms = 10_000
        self.baud = 115_200
        self.inputs = 1
        self.debounce_ms = 10  # an S0 pulse lasts 30 ms or more
