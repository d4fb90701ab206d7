"""Joining of several sources: each value by its own age, never longer than ``hold_s``."""

from hypothesis import given
from hypothesis import strategies as st

from devices.source_join import Joiner
from devices.wire import Sample

S = 10**9


def joined(*given: tuple[int, float, dict[str, float]], sample_s: float = 1, hold_s: float = 2) -> list[Sample]:
    """Joined readings of (source, second, values)."""
    joiner = Joiner(sample_s=sample_s, hold_s=hold_s)
    out = [s for source, t, values in given for s in joiner.on_sample(source, Sample(round(t * S), values))]
    return out + joiner.flush()


def test_two_sources_become_one_reading_per_cell() -> None:
    got = joined(
        (0, 10.1, {"speed_kmh": 50}),
        (1, 10.3, {"lat_deg": 45}),
        (0, 11.1, {"speed_kmh": 51}),
        (1, 11.4, {"lat_deg": 46}),
    )
    assert got == [
        Sample(round(10.3 * S), {"speed_kmh": 50, "lat_deg": 45}),
        Sample(round(11.4 * S), {"speed_kmh": 51, "lat_deg": 46}),
    ]


def test_each_value_is_held_by_its_own_age() -> None:
    got = joined(
        (1, 10, {"gross_weight_kg": 20_000, "hdop": 1}),
        (0, 11, {"speed_kmh": 50}),
        (0, 12, {"speed_kmh": 51, "hdop": 2}),
        (0, 13, {"speed_kmh": 52}),
    )
    assert [s.values for s in got] == [
        {"gross_weight_kg": 20_000, "hdop": 1},
        {"gross_weight_kg": 20_000, "hdop": 1, "speed_kmh": 50},
        {"gross_weight_kg": 20_000, "hdop": 2, "speed_kmh": 51},
        {"hdop": 2, "speed_kmh": 52},  # the weight is 3 s old now
    ]


def test_nothing_is_held_with_hold_0() -> None:
    got = joined((1, 10, {"hdop": 1}), (0, 11, {"speed_kmh": 50}), hold_s=0)
    assert [s.values for s in got] == [{"hdop": 1}, {"speed_kmh": 50}]


def test_the_first_source_is_believed_while_its_value_is_fresh() -> None:
    got = joined(
        (0, 10.0, {"speed_kmh": 50}),
        (1, 10.5, {"speed_kmh": 99}),
        (1, 11.5, {"speed_kmh": 98}),
        (1, 12.5, {"speed_kmh": 97}),
        (0, 13.0, {"speed_kmh": 53}),
    )
    assert [s.values["speed_kmh"] for s in got] == [50, 50, 97, 53]


def test_a_late_reading_does_not_go_back_in_time() -> None:
    got = joined((0, 10.2, {"speed_kmh": 50}), (0, 11.2, {"speed_kmh": 51}), (0, 10.9, {"speed_kmh": 40}))
    assert [(s.time_ns, s.values["speed_kmh"]) for s in got] == [(round(10.2 * S), 50), (round(11.2 * S), 51)]


def test_a_step_of_the_clock_back_goes_on_at_once_and_forgets() -> None:
    got = joined((1, 1000, {"hdop": 1}), (0, 1000.5, {"speed_kmh": 50}), (0, 10, {"speed_kmh": 51}), (0, 11, {}))
    assert [s.time_ns for s in got] == [round(1000.5 * S), 10 * S, 11 * S]
    assert got[1].values == {"speed_kmh": 51}


def test_a_source_that_stops_does_not_stop_the_other() -> None:
    steps = [(0, float(t), {"speed_kmh": float(t)}) for t in range(3)]
    steps += [(1, float(t), {"hdop": 1.0}) for t in range(3, 10)]
    assert len(joined(*steps)) == 10


def test_flush_gives_a_reading_once() -> None:
    joiner = Joiner(sample_s=1, hold_s=2)
    joiner.on_sample(0, Sample(S, {"hdop": 1}))
    assert len(joiner.flush()) == 1
    assert joiner.flush() == []


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50_000), st.sampled_from(["hdop", "speed_kmh", "lat_deg"]))),
    st.sampled_from([0.0, 0.5, 3.0]),
)
def test_no_value_is_invented_or_older_than_hold(steps: list[tuple[int, int, str]], hold_s: float) -> None:
    joiner = Joiner(sample_s=1, hold_s=hold_s)
    given_at: dict[tuple[str, float], int] = {}
    out: list[Sample] = []
    for i, (source, t_ms, name) in enumerate(steps):
        value = float(i)  # each value is its own, so it can be traced to its reading
        given_at[name, value] = t_ms * 10**6
        out += joiner.on_sample(source, Sample(t_ms * 10**6, {name: value}))
    out += joiner.flush()
    for sample in out:
        for name, value in sample.values.items():
            assert 0 <= sample.time_ns - given_at[name, value] <= hold_s * 1e9
