"""Distance between two readings: odometer before wheel speed before GNSS speed."""

from typing import Any, Final

from stream.columns import DISTANCE_METHODS, UNKNOWN
from stream.counters import advance, book, count, settle
from stream.fixed import PER_METRE, to_fixed
from stream.kernel import inlined

NONE: Final = DISTANCE_METHODS.index("none")
BY_ODOMETER: Final = DISTANCE_METHODS.index("odometer")
BY_WHEEL: Final = DISTANCE_METHODS.index("wheel_speed")
BY_GPS: Final = DISTANCE_METHODS.index("gps_speed")
V_MAX_MM_PER_S: Final = 160.0 / 3.6 * 1000.0
MS_PER_KMH: Final = 1.0 / 3.6
PER_HOUR: Final = 1.0 / 3600.0
ODOMETER_TICK_MM: Final = 1_000_000  # the coarsest odometers step by 1 km
ODOMETER_LSB_MM: Final = 5_000  # SPN 917


@inlined
def integrate(before: float, now: float, held_s: float, units_per_s: float) -> float:
    """Trapezoid of a momentary value over ``held_s`` [s]: (before + now) dt / 2; NaN where an end is missing.

    ``held_s``: the interval, NaN where it is 0 or over 10 s (``counters.HOLD_S``).
    ``units_per_s``: amount that a value of 1 makes in a second. Error: 1 % of a trip at 1 Hz; a value held over a gap instead is the
    classic tenfold error (science reference, section 4).
    """
    return 0.5 * (before + now) * held_s * units_per_s


@inlined
def distance(
    state: Any, odometer_m: float, speed_kmh: float, gps_speed_kmh: float, time_ns: int, held_s: float
) -> tuple[int, int]:
    """(distance s [mm] or UNKNOWN, method of ``DISTANCE_METHODS``) of an interval of ``held_s`` [s], NaN where speeds are not held so long.

    ``odometer_m`` [m] by Eq. 17 (its sum is within one tick, 5 m or 1 km), else the trapezoid of ``speed_kmh``, else of
    ``gps_speed_kmh`` [km/h, 0 to 160]; NaN = not measured. Error: 1 % by wheels (tyre wear), 0.3 % by receiver. Never negative.
    """
    estimate = to_fixed(integrate(state["speed_kmh"], speed_kmh, held_s, MS_PER_KMH), PER_METRE)
    method = BY_WHEEL
    if estimate == UNKNOWN:
        estimate = to_fixed(integrate(state["gps_speed_kmh"], gps_speed_kmh, held_s, MS_PER_KMH), PER_METRE)
        method = BY_GPS
    amount = UNKNOWN
    c = state["odometer"]
    risen = advance(c, to_fixed(odometer_m, PER_METRE), time_ns, V_MAX_MM_PER_S, ODOMETER_TICK_MM, ODOMETER_LSB_MM)
    if risen != UNKNOWN:
        count(c, risen, estimate, ODOMETER_TICK_MM)
        amount = settle(c, estimate, ODOMETER_TICK_MM, False)
    if amount != UNKNOWN:
        method = BY_ODOMETER
    else:
        amount = estimate
    if amount == UNKNOWN:
        method = NONE
    book(c, 0 if amount == UNKNOWN else amount)
    return amount, method
