"""What the recordings of real vehicles say happened, held against the recorded columns themselves."""

from typing import Any

import numpy as np
import pytest

from simulators.recordings import Trip
from simulators.replay import read_trips
from stream.fleet import Vehicle
from stream.pipeline import start, step
from tests.event_list import listed
from tests.support import SHARED, fleet, readings

RECORDINGS = SHARED / "data" / "replay_trips.parquet"

pytestmark = pytest.mark.skipif(not RECORDINGS.exists(), reason="needs the recordings in ../shared/data")


def _told(trip: Trip) -> list[dict[str, Any]]:
    batch = readings(np.zeros(trip.time_ns.size))
    batch["time_ns"][:] = batch["received_ns"][:] = trip.time_ns
    for name, values in trip.signals.items():
        batch[name][:] = values
    _, r = step(start(fleet(Vehicle("t1", "d-t1", "car", "diesel_b7"))), batch)
    found = listed(r.events)
    for event, ns in zip(found, r.events["time_ns"].tolist(), strict=True):
        event["ns"] = ns
    return found


@pytest.fixture(scope="module")
def trips() -> list[Trip]:
    return read_trips([RECORDINGS])


@pytest.fixture(scope="module")
def told(trips: list[Trip]) -> list[tuple[Trip, list[dict[str, Any]]]]:
    return [(trip, _told(trip)) for trip in trips]


def _of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [e for e in events if e["kind"] == kind]


def test_counters_that_fall_while_time_goes_on_are_resets_and_those_of_rows_out_of_order_are_not(
    told: list[tuple[Trip, list[dict[str, Any]]]],
) -> None:
    """The recorder put segments of a trip one behind another out of order; each counts from 0."""
    resets = out_of_order = 0
    for trip, events in told:
        total = trip.signals.get("fuel_total_l")
        if total is None:
            continue
        known = np.flatnonzero(~np.isnan(total))
        newest = np.maximum.accumulate(trip.time_ns)
        falls = known[1:][np.diff(total[known]) < 0.0]
        newer = [int(trip.time_ns[i]) for i in falls if trip.time_ns[i] > newest[i - 1]]
        assert [e["ns"] for e in _of(events, "counter_reset")] == newer
        resets += len(newer)
        out_of_order += len(falls) - len(newer)
    assert (resets, out_of_order) == (2, 12)


def test_a_receiver_that_froze_on_the_way_is_a_jump_and_a_moving_one_is_not(
    told: list[tuple[Trip, list[dict[str, Any]]]],
) -> None:
    for trip, events in told:
        lat, lon, speed = (trip.signals[name] for name in ("lat_deg", "lon_deg", "speed_kmh"))
        known = np.flatnonzero(~np.isnan(lat))
        time_s = trip.time_ns[known] / 1e9
        still = (np.diff(lat[known]) == 0.0) & (np.diff(lon[known]) == 0.0) & (speed[known][1:] > 30.0)
        frozen = set()
        for i in np.flatnonzero(still).tolist():
            after = i + 2  # the first fix behind the two that are the same
            moved = after < known.size and not (still[after - 1] if after - 1 < still.size else True)
            if moved and time_s[after] > time_s[i + 1]:
                north = (lat[known[after]] - lat[known[i]]) * 111_195.0
                east = (lon[known[after]] - lon[known[i]]) * 111_195.0 * np.cos(np.radians(lat[known[i]]))
                if np.hypot(north, east) > 300.0:
                    frozen.add(int(trip.time_ns[known[after]]))
        assert {e["ns"] for e in _of(events, "gps_jump")} == frozen
    assert sum(len(_of(events, "gps_jump")) for _, events in told) == 2


def test_nothing_was_filled_or_drained_where_no_level_is_sent(told: list[tuple[Trip, list[dict[str, Any]]]]) -> None:
    tanks = {"refuel", "drain", "recharge", "fuel_conflict", "weight_conflict", "tare_drift"}
    assert not [e for _, events in told for e in events if e["kind"] in tanks]


def test_speeding_idling_and_harsh_events_are_in_the_recorded_speed(
    told: list[tuple[Trip, list[dict[str, Any]]]],
) -> None:
    seen = set()
    for trip, events in told:
        speed, rpm = trip.signals["speed_kmh"], trip.signals["engine_speed_rpm"]
        for e in events:
            during = (trip.time_ns >= e["ns"]) & (trip.time_ns <= e["ns"] + round((e["end"] - e["at"]) * 1e9))
            if e["kind"] == "speeding":
                assert np.nanmin(speed[during]) > 130.0
                assert np.nanmax(speed[during]) == pytest.approx(e["amount"], abs=0.5)
            elif e["kind"] == "idling":
                assert np.nanmax(speed[during]) < 1.0
                assert np.nanmin(rpm[during]) > 300.0
                assert e["end"] - e["at"] >= 60.0
            elif e["kind"].startswith("harsh"):
                assert 2.0 <= e["amount"] <= 6.0
            else:
                continue
            seen.add(e["kind"])
    assert {"speeding", "idling", "harsh_acceleration"} <= seen
