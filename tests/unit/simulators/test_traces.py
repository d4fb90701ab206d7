"""Recorded speed cycles: used where they are, said where they are not."""

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simulators.fleet import build
from simulators.traces import MAX_PAUSE_S, load_traces
from tests.small_world import run, scenario

RECORDED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "nrel_truck_cycles"


def test_without_the_folder_a_note_says_so() -> None:
    speeds, index, notes = load_traces("/nowhere")
    assert index == []
    assert speeds.size == 1
    assert "/nowhere" in notes[0]
    assert load_traces(None)[2] == ()
    assert build(scenario(traces="/nowhere"), 1).notes == notes


def test_pauses_are_cut_and_gaps_filled(tmp_path: Path) -> None:
    seconds = np.array([0.0, 1.0, 2.0, 4.0, 5.0, 400.0, 401.0])  # 3 s is missing; a pause of 395 s
    speed = np.array([5.0, 6.0, 7.0, 9.0, 0.0, 0.0, 8.0])
    pq.write_table(pa.table({"cycSecs": seconds, "cycMps": speed}), tmp_path / "t3co_long_haul.parquet")
    speeds, index, notes = load_traces(str(tmp_path))
    assert index == [(0, speeds.size)]
    assert speeds[:5].tolist() == [5.0, 6.0, 7.0, 8.0, 9.0]
    assert (speeds == 0.0).sum() == MAX_PAUSE_S
    assert speeds[-1] == 8.0
    assert "1 recorded cycle" in notes[0]


def test_vehicles_follow_the_recorded_speeds(tmp_path: Path) -> None:
    t = np.arange(4000.0)
    wave = 18.0 + 3.0 * np.sin(t / 60.0)
    pq.write_table(pa.table({"cycSecs": t, "cycMps": wave}), tmp_path / "t3co_long_haul.parquet")
    _, truth = run(build(scenario(traces=str(tmp_path)), 5), 3 * 3600)
    fast = truth["speed_kmh"] > 45.0
    assert fast.sum() > 1000
    assert truth["speed_kmh"].max() < (21.0 + 0.7) * 3.6
    assert abs(truth["speed_kmh"][fast].mean() / 3.6 - 18.0) < 1.0


@pytest.mark.skipif(not RECORDED.is_dir(), reason="no ../shared/data/nrel_truck_cycles")
def test_recorded_cycles_drive_the_trunk() -> None:
    speeds, index, notes = load_traces(str(RECORDED))
    assert len(index) == 4
    assert 15.0 < speeds.mean() < 25.0
    assert speeds.size == sum(length for _, length in index)
    changed = msgspec.structs.replace(scenario(), traces=str(RECORDED))
    world = build(changed, 2)
    assert world.notes == notes
    _, truth = run(world, 6 * 3600)
    assert truth["distance_m"].sum() > 50_000.0
