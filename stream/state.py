"""What the kernels remember of each device between batches: one fixed-size record, to bytes and back without loss."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.aboard import N_LOADS
from stream.columns import UNKNOWN
from stream.table import TRIP_FLOATS, TRIP_INTS, TRIP_SUMS
from stream.torque_scale import FACTORS

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
    "heat",
    "forklift",
    "goods_out",
    "pallets_in",
    "pallets_out",
    "refrigerant",
    "tru",
    "adblue",
)
CASES: Final = ("odometer_conflict", "wheel_scale", "weight_conflict", "fuel_conflict", "tare_drift", "model_drift")
LEVEL_RING: Final = 5  # readings of the tank's level whose median is believed
OLD_BOOTS: Final = 6  # boots whose late copies are still known as copies; a truck reboots about once a day
# Half-width of the 95 % interval of a trip before anything was learnt, and after, where load, hills and weather are known: from the
# trips' errors against simulated truth (accuracy table). ``conditions.widened`` adds what is assumed. The class default's 15 % and
# the calibrated 5 % of the science reference are the shared part alone.
U_CLASS_REL: Final = 0.105
U_CALIBRATED_REL: Final = 0.10
U_TORQUE_REL: Final = 0.20  # by engine torque: the reference torque is known to 15 %, indicated efficiency to 7 %
U_TORQUE_CALIBRATED_REL: Final = 0.04
COUNTER: Final = np.dtype(
    [
        ("last", "i8"),  # fixed point, UNKNOWN = not anchored
        ("time_ns", "i8"),  # when it was read
        ("suspect", "i8"),  # a value too far ahead, waiting for a second one that agrees
        ("suspect_ns", "i8"),
        ("ahead", "i8"),  # booked minus counted since the anchor
        ("silent", "i8"),  # estimated use while the counter stood still
        ("tick_due", "i8"),  # 1 = a span began whose one tick of error is not booked yet; stream.uncertainty
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
        ("tank_pct", "f8"),  # level at the last settled stop
        ("tank_modelled", "f8"),  # bare model since then, L
        ("tank_level_pct", "f8"),  # mean of the level during this stop
        ("tank_taught", "i8"),  # 1 while the tank is what the road model learnt from
        ("fuel_tick_nl", "i8"),  # smallest step seen of the coarse fuel counter
        ("tru_owed_nl", "i8"),  # metered, in no row yet
        ("adblue_owed_nl", "i8"),
        ("export_owed_uwh", "i8"),
        ("fix_lat_deg", "f8"),  # last position that is believed (stream.plausibility)
        ("fix_lon_deg", "f8"),
        ("fix_ns", "i8"),
        ("reach_m", "f8"),  # how far from it the newest reading may be
        ("jump_ns", "i8"),  # when positions began to be unbelievable, UNKNOWN = they are believed
        ("jump_m", "f8"),
        ("stray_lat_deg", "f8"),  # the newest position that is not believed
        ("stray_lon_deg", "f8"),
        ("stray_ns", "i8"),
        ("stray_since_ns", "i8"),  # since when those agree with each other
        ("gps_seen_kmh", "f8"),  # raw, of the reading at time_ns
        ("wheel_seen_kmh", "f8"),
        ("odometer_seen_m", "f8"),
        ("total_hr_seen_l", "f8"),
        ("total_seen_l", "f8"),
        ("short_source_m", "f8", (2,)),  # stretches compared with GNSS, by the first two of CASES
        ("short_gps_m", "f8", (2,)),
        ("short_lat_deg", "f8", (2,)),
        ("short_lon_deg", "f8", (2,)),
        ("long_source_m", "f8", (2,)),
        ("long_gps_m", "f8", (2,)),
        ("case_strikes", "i8", (2,)),
        ("case_gross", "i8", (2,)),  # 1 = the source is not used
        ("case_ns", "i8", (len(CASES),)),  # newest event of an open case, UNKNOWN = no case
        ("weight_m", "f8"),
        ("weighed_kgm", "f8"),
        ("ordered_kgm", "f8"),
        ("parked_ns", "i8"),  # since when it stands, UNKNOWN = it moves or that is not known
        ("level_ring_pct", "f8", (LEVEL_RING,)),  # tank or battery, while it stands (stream.fuel_events)
        ("level_n", "i8"),
        ("level_next_ns", "i8"),
        ("level_pct", "f8"),  # last one sent
        ("level_ns", "i8"),
        ("level_anchor_pct", "f8"),  # the settled level that later ones are compared with
        ("level_anchor_ns", "i8"),
        ("level_used", "f8"),  # L or kWh since then
        ("level_unknown_s", "f8"),  # time since then whose use is not known
        ("level_open_ns", "i8"),  # when a change under way began, UNKNOWN = none
        ("level_quiet_ns", "i8"),  # last reading at which the level was as expected
        ("level_mark_pct", "f8"),
        ("level_mark_ns", "i8"),
        ("fallen_pct", "f8"),  # of the level between stops, against level_drawn
        ("drawn", "f8"),  # L or kWh
        ("topup_kg", "f8"),  # refrigerant counter as last seen
        ("window_kmh", "f8"),  # start of the window that acceleration is taken over (stream.driver_events)
        ("window_ns", "i8"),
        ("window_wheel", "i8"),
        ("harsh_sign", "i8"),  # 1 accelerating, -1 braking, 0 none
        ("harsh_ns", "i8"),
        ("harsh_last_ns", "i8"),
        ("harsh_peak_ms2", "f8"),
        ("harsh_j", "f8"),
        ("harsh_lat_deg", "f8"),
        ("harsh_lon_deg", "f8"),
        ("idle_ns", "i8"),
        ("idle_last_ns", "i8"),
        ("idle_nl", "i8"),
        ("fast_ns", "i8"),
        ("fast_last_ns", "i8"),
        ("fast_peak_kmh", "f8"),
        ("fast_j", "f8"),
        ("fast_lat_deg", "f8"),
        ("fast_lon_deg", "f8"),
        # the running trip: stream.trips
        ("trip_start_ns", "i8"),  # its name, UNKNOWN = nothing heard
        ("trip_end_ns", "i8"),  # UNKNOWN while under way
        ("trip_version", "i8"),
        ("trip_phase", "i8"),
        ("trip_sums", "i8", (len(TRIP_SUMS),)),
        ("trip_mm", "i8"),  # driven since it began; in trip_sums it waits for the minute's end
        ("trip_pauses", "i8"),  # stands of at least trips.PAUSE_NS that were no stops
        ("trip_pto_us", "i8"),  # moving with the power take-off on
        ("trip_top_kmh", "f8"),
        ("trip_route", "i8"),
        ("route_source", "i8"),
        ("trip_stage", "i8"),
        ("trip_cause", "i8"),
        ("dispatched", "f8"),  # the signal's last value
        ("dispatched_route", "i8"),
        ("stand_ns", "i8"),  # since when it stands, UNKNOWN = it moves
        ("stand_mm", "i8"),  # crept since then
        ("stop_us", "i8"),  # the stop before the trip, UNKNOWN = not seen whole
        ("stop_whole", "i8"),  # 0: the running stop hides in a gap
        ("stop_bits", "i8"),  # what is seen at the running stop
        ("stop_seen_bits", "i8"),  # the same of the stop before the trip
        ("stop_place", "i8"),
        ("stop_lat_deg", "f8"),  # mean of its fixes
        ("stop_lon_deg", "f8"),
        ("stop_fixes", "i8"),
        ("stop_misfits", "i8"),
        ("load_from", "i8"),  # where the last trip that was not empty began
        ("start_place", "i8"),
        ("start_lat_deg", "f8"),
        ("start_lon_deg", "f8"),
        ("end_place", "i8"),
        ("end_lat_deg", "f8"),
        ("end_lon_deg", "f8"),
        ("region", "i8"),
        ("region_lat_deg", "f8"),  # newest position believed
        ("region_lon_deg", "f8"),
        ("region_mm", "i8"),  # driven since then
        ("region_misfits", "i8"),
        # what it carries: stream.load_state
        ("decide_ns", "i8"),  # when evidence is looked at next
        ("p_before", "f8"),
        ("p_last", "f8"),  # P(loaded) of the trip before, where its load may have changed since; else NaN
        (
            "turns_loaded",
            "f8",
        ),  # such stops that it came to loaded, those after which it was not, and the same of empty
        ("turns_gone", "f8"),
        ("turns_empty", "f8"),
        ("turns_come", "f8"),
        ("p_loaded", "f8"),
        ("odds_but_mass", "f8"),  # log-odds of "loaded" by all evidence but the mass
        ("load_state", "i8"),
        ("load_state_p", "f8"),
        ("evidence", "i8"),
        ("aboard_kg", "f8"),  # goods or units by mass, NaN = not weighed, and its standard deviation
        ("aboard_sd_kg", "f8"),
        ("payload_kg", "f8"),  # goods, NaN = not known
        ("payload_u_kg", "f8"),
        ("units_kg", "f8"),  # empty load units
        ("mass_kg", "f8"),  # best gross mass of this trip, NaN = not known
        ("mass_u_kg", "f8"),
        ("cargo_kg", "f8"),  # order signals: the last values
        ("cargo_ns", "i8"),
        ("units_loaded", "f8"),
        ("units_empty", "f8"),
        ("units_ns", "i8"),
        ("order_cargo_kg", "f8"),  # those of this trip
        ("order_loaded", "f8"),
        ("order_empty", "f8"),
        ("order_from_ns", "i8"),  # orders older than this were of another load
        ("coupled", "i8"),  # -1 = not known
        ("coupling_works", "i8"),  # a trailer was seen coupled at least once
        ("door_works", "i8"),  # a door or lift was seen open at least once
        # what it weighs: stream.mass
        ("scales_n", "i8"),
        ("scales_sum", "f8"),  # above the registry's tare
        ("scales_sum2", "f8"),
        ("scales_ns", "i8"),
        ("can_n", "i8"),
        ("can_taken", "i8"),  # all samples of the filter, can_n those of acceleration, can_pulls accelerations
        ("can_pulls", "i8"),
        ("can_kg", "f8"),  # the filter's mass, the force nobody measures, their variances and covariance
        ("can_var", "f8"),
        ("can_covariance", "f8"),
        ("can_push_n", "f8"),
        ("can_push_var", "f8"),
        ("can_scatter", "f8"),  # squares of what was off, in units of what was expected
        ("can_taken_ns", "i8"),
        ("can_cruise_ns", "i8"),
        ("pull_ns", "i8"),
        ("can_ns", "i8"),
        ("can_v_ms", "f8"),
        ("can_a_ms2", "f8"),
        ("can_w", "f8"),
        ("can_ratio", "f8"),
        ("can_shift_ns", "i8"),
        ("tare_scales_kg", "f8"),
        ("tare_scales_n", "i8"),
        ("scale_belief", "f8", (FACTORS,)),  # over factors of the mass by torque, scale_step apart; 0 = not begun
        ("scale_step", "f8"),
        ("scale_mean", "f8"),
        ("scale_sd", "f8"),
        ("loads_seen", "f8", (N_LOADS,)),  # trips by how heavy they were loaded
        (
            "weight_by_can",
            "f8",
        ),  # scales over mass by torque where they contradict each other, 1 where they agree, NaN not known
        ("weight_by_order", "f8"),  # the same against order plus tare
        ("weight_bad", "i8"),  # 1 = the scales are not used
        # the trip before, until its successor tells more of it: stream.hindsight
        ("past_kind", "i8"),  # 0 = none is kept
        ("past_odds", "f8"),  # log-odds of "loaded" without its mass
        ("past_can_kg", "f8"),  # mass by torque and its standard deviation
        ("past_can_sd_kg", "f8"),
        ("past_load_from", "i8"),
        ("past_dwell_us", "i8"),  # the stop after it
        ("past_row", "i8", (len(TRIP_INTS),)),  # its newest version
        ("past_real", "f8", (len(TRIP_FLOATS),)),
        *((name, COUNTER) for name in COUNTERS),
        ("old_boots", "i8", (OLD_BOOTS,)),  # newest first
        ("old_next", "i8", (OLD_BOOTS,)),
    ],
    align=True,
)
_UNKNOWN_AT_FIRST: Final = (
    "time_ns",
    "fuel_tick_nl",
    "trip_start_ns",
    "trip_end_ns",
    "stand_ns",
    "stop_us",
    "cargo_ns",
    "units_ns",
    "order_from_ns",
    "fix_ns",
    "jump_ns",
    "case_ns",
    "parked_ns",
    "level_anchor_ns",
    "level_open_ns",
    "window_ns",
    "idle_ns",
    "fast_ns",
)
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
    "ref_torque_nm",
    "height_m",
    "height_seen_m",
    "rise_m",
    "tank_pct",
    "tank_level_pct",
    "dispatched",
    "stop_lat_deg",
    "stop_lon_deg",
    "start_lat_deg",
    "start_lon_deg",
    "end_lat_deg",
    "end_lon_deg",
    "region_lat_deg",
    "region_lon_deg",
    "p_before",
    "p_last",
    "p_loaded",
    "load_state_p",
    "payload_kg",
    "payload_u_kg",
    "mass_kg",
    "mass_u_kg",
    "cargo_kg",
    "units_loaded",
    "units_empty",
    "order_cargo_kg",
    "order_loaded",
    "order_empty",
    "can_v_ms",
    "can_a_ms2",
    "can_w",
    "can_ratio",
    "tare_scales_kg",
    "scale_mean",
    "aboard_kg",
    "aboard_sd_kg",
    "weight_by_can",
    "weight_by_order",
    "fix_lat_deg",
    "fix_lon_deg",
    "gps_seen_kmh",
    "wheel_seen_kmh",
    "odometer_seen_m",
    "total_hr_seen_l",
    "total_seen_l",
    "short_lat_deg",
    "short_lon_deg",
    "level_pct",
    "level_anchor_pct",
    "topup_kg",
    "window_kmh",
)
_NONE_AT_FIRST: Final = (
    "trip_route",
    "dispatched_route",
    "stop_place",
    "load_from",
    "start_place",
    "end_place",
    "region",
    "coupled",
)
StateRows = npt.NDArray[np.void]
_MAGIC: Final = b"FS"
_VERSION: Final = 10
_HEADER: Final = 2 + 1 + 4 + 4 + 4


class StateError(ValueError):
    """State bytes that cannot be used: damaged, of another version or of another shape."""


def empty_state(n: int) -> StateRows:
    """State of ``n`` devices of which nothing was heard."""
    rows = np.zeros(n, STATE)
    for name in _UNKNOWN_AT_FIRST:
        rows[name] = UNKNOWN
    for name in _NAN_AT_FIRST:
        rows[name] = np.nan
    for name in _NONE_AT_FIRST:
        rows[name] = -1
    for counter in COUNTERS:
        for name in ("last", "suspect"):
            rows[counter][name] = UNKNOWN
    for model, u_rel in (("road", U_CLASS_REL), ("torque", U_TORQUE_REL)):
        rows[model]["ratio"] = 1.0
        rows[model]["u_rel"] = u_rel
    return rows


def words(rows: StateRows) -> npt.NDArray[np.int64]:
    """The same memory as (n, words) int64: numpy picks and copies these twenty times faster than records of many fields."""
    return rows.view(np.int64).reshape(rows.size, STATE.itemsize // 8)


def state_block(rows: StateRows, devices: Sequence[str]) -> tuple[bytes, memoryview]:
    """Records of ``devices`` as they are kept: version byte, sizes, CRC-32 and names, then the records, which are not copied."""
    if len(devices) != rows.size:
        raise ValueError(f"{len(devices)} names for {rows.size} records")
    names = "\n".join(devices).encode()
    records = np.ascontiguousarray(rows).view(np.uint8).data
    head = _MAGIC + bytes([_VERSION]) + rows.size.to_bytes(4, "little") + len(names).to_bytes(4, "little")
    return head + zlib.crc32(records, zlib.crc32(names)).to_bytes(4, "little") + names, records


def take_in(rows: StateRows, data: bytes | memoryview, index: Mapping[str, int]) -> None:
    """Put the records of blocks that follow each other in ``data`` into ``rows``, each where ``index`` has its device.

    A device that is not there any more is dropped with its state. Raises StateError.
    """
    left = memoryview(data)
    while left:
        if len(left) < _HEADER or bytes(left[:2]) != _MAGIC:
            raise StateError("not a state file")
        if left[2] != _VERSION:
            raise StateError(f"state has version {left[2]}, this program reads {_VERSION}")
        n, n_names, crc = (int.from_bytes(left[i : i + 4], "little") for i in (3, 7, 11))
        end = _HEADER + n_names + n * STATE.itemsize
        body = left[_HEADER:end]
        if len(left) < end:
            raise StateError(
                f"state holds {len(left)} bytes, wanted {end}: cut short or made by another layout",
            )
        if zlib.crc32(body) != crc:
            raise StateError("state is damaged: checksum differs")
        names = bytes(body[:n_names]).decode().split("\n") if n else []
        at = np.array([index.get(name, -1) for name in names], np.int64)
        stored, into = words(np.frombuffer(body, STATE, n, n_names)), words(rows)
        if (known := at >= 0).all():
            into[at] = stored
        else:
            into[at[known]] = stored[known]
        left = left[end:]
