"""Records with newer ones laid over them say the same as a plain array that is copied at each change."""

from random import Random

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.pipeline import Columns, start, step
from stream.records import Records, records
from stream.state import StateRows, empty_state
from tests.property.test_step_order import FLEET, trips
from tests.support import rows

DEVICES = 12
changes = st.lists(
    st.tuples(st.sets(st.integers(0, DEVICES - 1)), st.integers(1, 2**40), st.booleans()), min_size=1, max_size=8
)


def _filled(devices: npt.NDArray[np.int32], value: int) -> StateRows:
    made = empty_state(devices.size)
    made["boot_id"] = value + devices.astype(np.int64)
    made["trip_sums"] = value
    return made


def _says(found: Records, wanted: StateRows) -> None:
    assert found.whole().tobytes() == wanted.tobytes()
    assert (found["boot_id"] == wanted["boot_id"]).all()
    assert all(found[d].tobytes() == wanted[d].tobytes() for d in range(DEVICES))


@given(changes)
def test_as_a_plain_copy(told: list[tuple[set[int], int, bool]]) -> None:
    plain = empty_state(DEVICES)
    ours = records(empty_state(DEVICES))
    earlier: list[tuple[Records, StateRows]] = []
    for chosen, value, settle in told:
        devices = np.array(sorted(chosen), np.int32)
        assert ours.take(devices).tobytes() == plain[devices].tobytes()
        new = _filled(devices, value)
        plain = plain.copy()
        plain[devices] = new
        ours = ours.put(devices, new)
        earlier.append((ours, plain))
        for states in earlier:
            _says(*states)
        if settle:
            ours = ours.settled()
            earlier = []
            assert ours.devices.size == 0
            _says(ours, plain)


@settings(max_examples=30)
@given(trips, st.integers(1, 60), st.randoms(use_true_random=False))
def test_settling_changes_no_result(batch: Columns, cut: int, random: Random) -> None:
    """Between any two steps the owner may settle; the state a step was given stays as it was."""
    order = list(range(batch["seq"].size))
    random.shuffle(order)
    plain, ours = start(FLEET), start(FLEET)
    for a in range(0, len(order), cut):
        part = rows(batch, np.array(order[a : a + cut]))
        before = ours.to_bytes()
        after, found = step(ours, part)
        plain, wanted = step(plain, part)
        assert ours.to_bytes() == before
        for table in ("readings", "emissions", "rollups", "trips", "events"):
            one, other = getattr(found, table), getattr(wanted, table)
            assert all(one[name].tobytes() == other[name].tobytes() for name in other)
        ours = after.settled() if random.random() < 0.5 else after
        assert ours.to_bytes() == plain.to_bytes()
    assert (plain.rows["boot_id"] != 0).any()
