"""Boots of a device follow each other in time; their ids are random and must not decide."""

import numpy as np
import pytest

from stream.pipeline import Columns, start, step
from tests.support import fleet, join, readings

FLEET = fleet()


def _boot(boot_id: int, begin_s: int) -> Columns:
    s = np.arange(begin_s, begin_s + 40, dtype=float)
    return readings(
        s,
        0,
        boot_id,
        0,
        fuel_total_hr_l=100 + s * 0.005,
        speed_kmh=np.full(40, 60.0),
        engine_speed_rpm=np.full(40, 1200.0),
    )


@pytest.mark.parametrize("ids", [(900, 5), (5, 900)])
@pytest.mark.parametrize("seed", range(4))
def test_rows_of_two_boots_in_one_shuffled_batch(ids: tuple[int, int], seed: int) -> None:
    batch = join(_boot(ids[0], 0), _boot(ids[1], 60))
    _, wanted = step(start(FLEET), batch)
    order = np.random.default_rng(seed).permutation(80)
    _, found = step(start(FLEET), {name: values[order] for name, values in batch.items()})
    assert found.accepted == wanted.accepted == 80
    for name in ("boot_id", "seq", "fuel_nl", "co2e_ttw_ug", "distance_mm"):
        np.testing.assert_array_equal(found.emissions[name], wanted.emissions[name])
    assert int(wanted.emissions["fuel_nl"][1:].sum()) == int(0.099 * 5e9)  # one counter runs through both boots
