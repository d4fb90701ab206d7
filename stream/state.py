"""What the kernels remember of each device between batches: one fixed-size record, to bytes and back without loss."""

import zlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.columns import UNKNOWN

COUNTERS: Final = ("odometer", "fuel_hr", "fuel", "fuel_flow", "gas", "battery", "tru", "adblue", "refrigerant")
SITE_COUNTERS: Final = (  # of a warehouse, in the same places of the record: a device is fitted to one or the other
    "grid_import",
    "grid_export",
    "pv",
    "gas_kwh",
    "genset",
    "heat",
    "forklift",
    "goods_out",
    "refrigerant",
    "pallets_in",
    "pallets_out",
)
N_COUNTERS: Final = max(len(COUNTERS), len(SITE_COUNTERS))
OLD_BOOTS: Final = 6  # boots whose late copies are still known as copies; a truck reboots about once a day
STATE: Final = np.dtype(
    [
        ("boot_id", "i8"),  # 0 = nothing heard yet
        ("next_seq", "i8"),
        ("old_boots", "i8", (OLD_BOOTS,)),  # newest first
        ("old_next", "i8", (OLD_BOOTS,)),
        ("time_ns", "i8"),  # newest device time taken, UNKNOWN = none
        ("speed_kmh", "f8"),  # of the reading at time_ns
        ("gps_speed_kmh", "f8"),
        ("fuel_rate_lph", "f8"),
        ("battery_power_kw", "f8"),
        ("counter_last", "i8", (N_COUNTERS,)),  # fixed point, UNKNOWN = not anchored
        ("counter_time_ns", "i8", (N_COUNTERS,)),
        ("counter_suspect", "i8", (N_COUNTERS,)),  # a value too far ahead, waiting for a second one that agrees
        ("counter_suspect_ns", "i8", (N_COUNTERS,)),
        ("ahead", "i8", (N_COUNTERS,)),  # booked minus counted since the anchor
        ("silent", "i8", (N_COUNTERS,)),  # estimated use while the counter stood still
        ("learnt_measured", "f8"),  # L, kg or kWh, fading
        ("learnt_modelled", "f8"),
        ("fuel_tick_nl", "i8"),  # smallest step seen of the coarse fuel counter
        (
            "owed",
            "i8",
            (2,),
        ),  # metered, in no row yet. Vehicles: refrigeration unit's fuel, AdBlue [nL]; sites: export [µWh]
        ("tick_due", "i8"),  # bit k: counter k began a span whose one tick of error is not booked yet
        ("stood_s", "f8"),  # how long the vehicle has been standing
    ],
    align=True,
)
StateRows = npt.NDArray[np.void]
_MAGIC: Final = b"FS"
_VERSION: Final = 3
_HEADER: Final = 2 + 1 + 4 + 4 + 4


class StateError(ValueError):
    """State bytes that cannot be used: damaged, of another version or of another shape."""


def empty_state(n: int) -> StateRows:
    """State of ``n`` devices of which nothing was heard."""
    rows = np.zeros(n, STATE)
    for name in ("time_ns", "counter_last", "counter_suspect", "fuel_tick_nl"):
        rows[name] = UNKNOWN
    for name in ("speed_kmh", "gps_speed_kmh", "fuel_rate_lph", "battery_power_kw"):
        rows[name] = np.nan
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
