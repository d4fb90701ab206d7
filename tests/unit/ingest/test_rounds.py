"""Which records each commit keeps: a restart after any of them finds the whole state again."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import rounds
from ingest.rounds import next_part
from storage.lake import Lake, StatePart
from stream.fleet import Fleet, Vehicle
from stream.pipeline import State, start, step
from stream.state import STATE
from tests.lake_data import nothing
from tests.support import fleet, join, readings

FLEET = fleet(*(Vehicle(f"t{i}", f"d-{i:02}", "artic_40t", "diesel_b7") for i in range(9)))


def _drive(state: State, devices: set[int], seq: int) -> State:
    batch = join(*(readings([float(seq)], d, seq0=int(state.rows[d]["next_seq"]), speed_kmh=50.0) for d in devices))
    return step(state, batch)[0]


class _Process:
    """What a consumer does with its state: settle it, count, begin anew where it was."""

    def __init__(self, of: Fleet, parts: list[StatePart]) -> None:
        self.state = start(of, [b"".join(part.blocks) for part in parts])
        self.at: int | None = None

    def commit(self, devices: set[int], seq: int) -> StatePart:
        state = _drive(self.state, devices, seq)
        part, self.at = next_part(state, self.at)
        kept = StatePart((b"".join(part.blocks),), part.begins, part.ends)
        self.state = state.settled()
        return kept


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sets(st.integers(0, 8), min_size=1), st.booleans()), min_size=1, max_size=25),
    st.integers(1, 5),
)
def test_parts_since_the_last_whole_round_are_the_state(told: list[tuple[set[int], bool]], stretch: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "LEAST_BYTES", stretch * STATE.itemsize)
        process, parts = _Process(FLEET, []), list[StatePart]()
        begun = 0
        for seq, (devices, restart) in enumerate(told):
            if restart:
                process = _Process(FLEET, parts)
            parts.append(process.commit(devices, seq))
            begun = len(parts) - 1 if parts[-1].begins else begun
            if parts[-1].ends:
                parts, begun = parts[begun:], 0
            assert start(FLEET, [b"".join(part.blocks) for part in parts]).to_bytes() == process.state.to_bytes()
            assert len(parts) <= 2 * -(-9 // stretch) + 1


def test_a_commit_of_a_large_fleet_keeps_little(tmp_path: Path) -> None:
    large = fleet(*(Vehicle(f"t{i}", f"d-{i:05}", "artic_40t", "diesel_b7") for i in range(4_000)))
    state = _drive(start(large), set(range(4_000)), 0).settled()
    state = _drive(state, {5, 7}, 1)
    part, at = next_part(state, 0)
    size = sum(len(block) for block in part.blocks)
    assert (part.begins, part.ends, at) == (True, False, rounds.LEAST_BYTES // STATE.itemsize)
    assert size < rounds.LEAST_BYTES + 4 * STATE.itemsize + 8 * at
    with Lake.open(tmp_path, create=True) as lake:
        lake.commit(nothing(state.to_bytes()))
        lake.commit(nothing(part))
        first, second = sorted((tmp_path / "state").iterdir())
        assert second.stat().st_size < first.stat().st_size / 5
    with Lake.open(tmp_path, create=False) as lake:
        assert start(large, lake.recover()[1]).to_bytes() == state.to_bytes()


def test_devices_that_were_never_heard_cost_nothing() -> None:
    part, _ = next_part(_drive(start(FLEET), {3}, 0), None)
    assert sum(len(block) for block in part.blocks) < 2 * STATE.itemsize
    assert (part.begins, part.ends) == (True, True)
    assert np.flatnonzero(start(FLEET, [b"".join(part.blocks)]).rows["boot_id"]).tolist() == [3]
