"""What really was, for one reading: the row of ``layout.TRUTH`` that stands beside it."""

from simulators.kernel import kernel
from simulators.layout import (
    K_CAUSE,
    K_KIND,
    K_ROUTE,
    K_STAGE,
    P_GVW,
    P_TARE,
    S_ALT,
    S_DISTANCE,
    S_ENERGY,
    S_ENGINE_ON,
    S_FILL,
    S_FUEL,
    S_GRADE,
    S_LAT,
    S_LON,
    S_MASS,
    S_PAYLOAD,
    S_SENT_DISTANCE,
    S_SENT_ENERGY,
    S_SENT_FUEL,
    S_SENT_TRU,
    S_TRU_FUEL,
    S_UNITS,
    S_V,
    S_ZONE,
    WAIT,
    Vector,
)

EMPTY, WITH_UNITS, PARTIAL, FULL = 1, 2, 3, 4  # indices of layout.LOAD_STATES
FULL_SHARE = 0.9  # of the payload the axles bear, or of the pallet positions


@kernel
def load_state(payload_kg: float, units_kg: float, fill_mass: float, fill_volume: float) -> int:
    """What is aboard, as an index of ``layout.LOAD_STATES``. Full by mass or by volume; any goods at all are not empty."""
    if payload_kg < 1.0:
        return WITH_UNITS if units_kg >= 1.0 else EMPTY
    return FULL if max(fill_mass, fill_volume) >= FULL_SHARE else PARTIAL


@kernel
def truth_row(s: Vector, p: Vector, k: Vector, out: Vector) -> None:
    """Write ``layout.TRUTH`` into ``out``. Fuel, energy and distance are those since the vehicle's row before."""
    capacity = p[P_GVW] - p[P_TARE]
    fill_mass = s[S_PAYLOAD] / capacity
    state = load_state(s[S_PAYLOAD], s[S_UNITS], fill_mass, s[S_FILL])
    out[0] = s[S_MASS]
    out[1] = s[S_PAYLOAD]
    out[2] = s[S_UNITS]
    out[3] = fill_mass
    out[4] = s[S_FILL]
    out[5] = float(state)
    out[6] = k[K_ROUTE]
    out[7] = k[K_STAGE] if int(k[K_KIND]) != WAIT else 0.0
    out[8] = k[K_CAUSE] if state <= WITH_UNITS else 0.0
    out[9] = s[S_FUEL] - s[S_SENT_FUEL]
    out[10] = (s[S_ENERGY] - s[S_SENT_ENERGY]) / 3.6e6
    out[11] = s[S_TRU_FUEL] - s[S_SENT_TRU]
    out[12] = s[S_DISTANCE] - s[S_SENT_DISTANCE]
    out[13] = s[S_GRADE]
    out[14] = s[S_V] * 3.6
    out[15] = s[S_LAT]
    out[16] = s[S_LON]
    out[17] = s[S_ALT]
    out[18] = s[S_ENGINE_ON]
    out[19] = s[S_ZONE]
    s[S_SENT_FUEL] = s[S_FUEL]
    s[S_SENT_ENERGY] = s[S_ENERGY]
    s[S_SENT_TRU] = s[S_TRU_FUEL]
    s[S_SENT_DISTANCE] = s[S_DISTANCE]
