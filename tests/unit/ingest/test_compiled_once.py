"""What gateways send changes from batch to batch; the kernels are compiled once."""

import os

import pytest

from devices.wire import Sample, encode_batch, topic
from ingest.decode import Message, decode
from stream.advance import advance_rows
from stream.pipeline import start, step
from tests.support import T0_NS, fleet

SETS: tuple[dict[str, float], ...] = (
    {"speed_kmh": 50.0},
    {"odometer_m": 1000.0},
    {"speed_kmh": 50.0, "odometer_m": 1010.0, "fuel_total_hr_l": 10.0, "lat_deg": 48.0, "lon_deg": 11.0},
    {"engine_torque_pct": 40.0, "engine_speed_rpm": 1200.0, "gross_weight_kg": 20_000.0},
    {"ambient_temp_c": 5.0},
)


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled")
def test_another_set_of_signals_needs_no_other_kernel() -> None:
    state = start(fleet())
    compiled = set()
    first = 0
    for seq, signals in enumerate([*SETS, *SETS[::-1]]):
        n = 1 + seq % 2  # a batch of one is of either order in memory
        samples = [Sample(T0_NS + (2 * seq + k) * 10**9, signals, 1) for k in range(n)]
        frame = encode_batch("d-t1", 7, first, samples)
        first += n
        message = Message(topic("acme", "d-t1", "up/readings"), frame, T0_NS + 10**11)
        state, results = step(state, decode([message], {"d-t1": 0}, {"acme"}, earliest_ns=0).columns)
        assert results.accepted == n
        compiled.add(len(advance_rows.signatures))  # type: ignore[attr-defined]
    assert len(compiled) == 1, "a set of signals had the kernel compiled anew: the consumer stands still meanwhile"
