"""Whatever two periods hold, the parts of the change add up to it."""

import math

from hypothesis import given
from hypothesis import strategies as st

from dashboards.feed.lmdi import Carrier, Period, split

sizes = st.one_of(st.just(0.0), st.floats(1e-6, 1e12))
signed = st.one_of(sizes, st.floats(-1e9, -1e-6))
carriers = st.dictionaries(
    st.sampled_from(["diesel", "lng", "electricity"]), st.builds(Carrier, sizes, signed, signed), max_size=3
)
periods = st.builds(Period, carriers, sizes, sizes)


@given(periods, periods)
def test_parts_add_up(before: Period, after: Period) -> None:
    parts = split(before, after)
    change = math.fsum([after.co2e_kg, -before.co2e_kg])
    size = (
        max(
            1.0,
            *(abs(c.co2e_kg) for p in (before, after) for c in p.carriers.values()),
        )
        if before.carriers or after.carriers
        else 1.0
    )
    assert abs(math.fsum(parts.values()) - change) <= 1e-9 * size
    assert all(math.isfinite(v) for v in parts.values())


@given(periods, periods)
def test_turned_round_every_part_changes_sign(before: Period, after: Period) -> None:
    there, back = split(before, after), split(after, before)
    size = max([1.0, *(abs(v) for v in there.values())])
    assert all(abs(there[k] + back[k]) <= 1e-6 * size for k in there)
