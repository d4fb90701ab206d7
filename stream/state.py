"""What the kernels remember of each device between batches: one fixed-size record, to bytes and back without loss."""

import zlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.columns import UNKNOWN

COUNTERS: Final = (
    "odometer",
    "fuel_hr",
    "fuel",
    "fuel_flow",
    "gas",
    "battery",
    "grid_import",
    "grid_export",
    "pv",
    "gas_kwh",
    "genset",
    "refrigerant",
    "tru",
)
# Half-width of the 95 % interval of a trip before anything was learnt, and after, where load, hills and weather are known: from the
# trips' errors against simulated truth (accuracy table). ``conditions.widened`` adds what is assumed. The class default's 15 % and
# the calibrated 5 % of the science reference are the shared part alone.
U_CLASS_REL: Final = 0.14
U_CALIBRATED_REL: Final = 0.115
U_TORQUE_REL: Final = 0.20  # by engine torque: the reference torque is known to 15 %, indicated efficiency to 7 %
U_TORQUE_CALIBRATED_REL: Final = 0.07
OLD_BOOTS: Final = 6  # boots whose late copies are still known as copies; a truck reboots about once a day
COUNTER: Final = np.dtype(  # one cache line
    [
        ("last", "i8"),  # fixed point, UNKNOWN = not anchored
        ("time_ns", "i8"),  # when it was read
        ("suspect", "i8"),  # a value too far ahead, waiting for a second one that agrees
        ("suspect_ns", "i8"),
        ("ahead", "i8"),  # booked minus counted since the anchor
        ("silent", "i8"),  # estimated use while the counter stood still
        ("falls", "i8"),  # how often it fell: reset, wrap, another control unit
        ("fell", "i8"),  # by how much the last time
    ],
    align=True,
)
RATIO: Final = np.dtype(  # measured over modelled of one way to model; stream.learning
    [
        ("window_s", "f8"),  # since the last fold: measured time,
        ("window_measured", "f8"),  # use in L, kg or kWh,
        ("window_modelled", "f8"),
        ("measured", "f8"),  # fading sums
        ("modelled", "f8"),
        ("ratio", "f8"),  # what later gaps are scaled by
        ("u_rel", "f8"),  # half-width of the 95 % interval of an amount modelled so
    ],
    align=True,
)
STATE: Final = np.dtype(
    [
        ("boot_id", "i8"),  # 0 = nothing heard yet
        ("next_seq", "i8"),
        ("time_ns", "i8"),  # newest device time taken, UNKNOWN = none
        ("speed_kmh", "f8"),  # of the reading at time_ns
        ("gps_speed_kmh", "f8"),
        ("fuel_rate_lph", "f8"),
        ("battery_power_kw", "f8"),
        ("engine_kw", "f8"),  # indicated power by torque and speed
        ("slow_ns", "i8"),  # when a slow signal (weather, weight) was last heard; they are held an hour
        ("temp_c", "f8"),
        ("baro_kpa", "f8"),
        ("wind_speed_ms", "f8"),
        ("wind_from_deg", "f8"),
        ("rain_mm_h", "f8"),
        ("rho", "f8"),  # air density and tyre factor of these
        ("rho_height_m", "f8"),
        ("tyre", "f8"),
        ("gross_kg", "f8"),  # smoothed
        ("cargo_kg", "f8"),
        ("ref_torque_nm", "f8"),  # SPN 544, sent rarely and never changing
        ("height_m", "f8"),  # the grade filter's height and grade (rise over run)
        ("grade", "f8"),
        ("height_seen_m", "f8"),  # the last height, its rise, and the noise of such rises [m2/m]
        ("rise_m", "f8"),
        ("height_noise", "f8"),
        ("grade_run_m", "f8"),  # distance since the filter was anchored, at most grade.SETTLED_M
        ("road", RATIO),  # model by road load
        ("torque", RATIO),  # model by engine torque
        ("drift_measured", "f8"),  # fading sums of measured and of learnt model: the last weeks
        ("drift_modelled", "f8"),
        ("base_measured", "f8"),  # and the vehicle's long memory
        ("base_modelled", "f8"),
        ("bias_counted", "f8"),  # fading litres by counter and by rate over the same time
        ("bias_rated", "f8"),
        ("rest_s", "f8"),  # how long it has been standing
        ("tank_pct", "f8"),  # level at the last settled stop
        ("tank_modelled", "f8"),  # bare model since then, L
        ("tank_level_pct", "f8"),  # mean of the level during this stop
        ("tank_taught", "i8"),  # 1 while the tank is what the road model learnt from
        ("fuel_tick_nl", "i8"),  # smallest step seen of the coarse fuel counter
        *((name, COUNTER) for name in COUNTERS),
        ("old_boots", "i8", (OLD_BOOTS,)),  # newest first
        ("old_next", "i8", (OLD_BOOTS,)),
    ],
    align=True,
)
StateRows = npt.NDArray[np.void]
_MAGIC: Final = b"FS"
_VERSION: Final = 3
_HEADER: Final = 2 + 1 + 4 + 4 + 4


class StateError(ValueError):
    """State bytes that cannot be used: damaged, of another version or of another shape."""


_UNKNOWN_AT_FIRST: Final = ("time_ns", "fuel_tick_nl")
_NAN_AT_FIRST: Final = (
    "speed_kmh",
    "gps_speed_kmh",
    "fuel_rate_lph",
    "battery_power_kw",
    "engine_kw",
    "temp_c",
    "baro_kpa",
    "wind_speed_ms",
    "wind_from_deg",
    "rain_mm_h",
    "rho_height_m",
    "gross_kg",
    "cargo_kg",
    "ref_torque_nm",
    "height_m",
    "height_seen_m",
    "rise_m",
    "tank_pct",
    "tank_level_pct",
)


def empty_state(n: int) -> StateRows:
    """State of ``n`` devices of which nothing was heard."""
    rows = np.zeros(n, STATE)
    for name in _UNKNOWN_AT_FIRST:
        rows[name] = UNKNOWN
    for name in _NAN_AT_FIRST:
        rows[name] = np.nan
    for counter in COUNTERS:
        for name in ("last", "suspect"):
            rows[counter][name] = UNKNOWN
    for model, u_rel in (("road", U_CLASS_REL), ("torque", U_TORQUE_REL)):
        rows[model]["ratio"] = 1.0
        rows[model]["u_rel"] = u_rel
    return rows


def state_to_bytes(rows: StateRows, devices: tuple[str, ...]) -> bytes:
    """Version byte, sizes, device names, records and a CRC-32, little-endian."""
    if len(devices) != rows.size:
        raise ValueError(f"{len(devices)} names for {rows.size} records")
    names = "\n".join(devices).encode()
    body = names + rows.tobytes()
    head = _MAGIC + bytes([_VERSION]) + rows.size.to_bytes(4, "little") + len(names).to_bytes(4, "little")
    return head + zlib.crc32(body).to_bytes(4, "little") + body


def state_from_bytes(data: bytes, devices: tuple[str, ...]) -> StateRows:
    """Records in the order of ``devices``: known names keep their state, new ones start empty. Raises StateError.

    A device that left the registry is dropped with its state.
    """
    if len(data) < _HEADER or data[:2] != _MAGIC:
        raise StateError("not a state file")
    if data[2] != _VERSION:
        raise StateError(f"state has version {data[2]}, this program reads {_VERSION}")
    n, n_names = (int.from_bytes(data[i : i + 4], "little") for i in (3, 7))
    body = data[_HEADER:]
    if len(body) != n_names + n * STATE.itemsize:
        raise StateError(
            f"state holds {len(body)} bytes, wanted {n_names + n * STATE.itemsize}: cut short or made by another layout"
        )
    if zlib.crc32(body) != int.from_bytes(data[11:15], "little"):
        raise StateError("state is damaged: checksum differs")
    stored = np.frombuffer(body, STATE, n, n_names)
    names = body[:n_names].decode().split("\n") if n else []
    if tuple(names) == devices:
        return stored.copy()
    rows = empty_state(len(devices))
    at: dict[str, Any] = {name: i for i, name in enumerate(names)}
    for i, device in enumerate(devices):
        if device in at:
            rows[i] = stored[at[device]]
    return rows
