"""Which signals a batch holds: what is not looked at must not be there."""

import numpy as np
import pytest

from stream.columns import SIGNALS as ALL
from stream.signal_rows import BARO, HEIGHTS, ORDERS, READ, SIGNALS, WEATHER, far_columns, has_value, new_far, sent
from stream.table import BLOCK


def test_a_column_has_a_value_wherever_it_stands() -> None:
    column = np.full(70, np.nan)
    assert not has_value(column)
    column[-1] = 0.0
    assert has_value(column)
    assert not has_value(column[:0])


def test_columns_that_no_message_held_may_be_one_array() -> None:
    nothing, some = np.full(5, np.nan), np.array([np.nan, 1.0, np.nan, np.nan, np.nan])
    assert sent((nothing, some, nothing, nothing.copy(), some)) == 0b10010


def test_each_signal_has_a_bit() -> None:
    assert len(SIGNALS) == len(set(SIGNALS)) <= 63
    assert set(SIGNALS) < {signal.name for signal in ALL}
    assert READ[3:] == SIGNALS
    assert SIGNALS[BARO // BLOCK] == "baro_kpa"


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (ORDERS, {"cargo_kg", "load_units_loaded", "load_units_empty", "route_number"}),
        (HEIGHTS, {"alt_m", "grade_pct", "baro_kpa"}),
        (WEATHER, {"baro_kpa", "wind_speed_ms", "wind_from_deg", "precipitation_mm_h", "engine_ref_torque_nm"}),
    ],
)
def test_a_group_is_bits_of_its_signals(bits: int, names: set[str]) -> None:
    assert {name for k, name in enumerate(SIGNALS) if bits >> k & 1} == names


def test_far_columns_are_those_that_are_taken() -> None:
    columns = tuple(np.zeros(BLOCK) for _ in SIGNALS)
    for column in columns:
        column.flags.writeable = False
    times = tuple(np.zeros((2, BLOCK), np.int64))
    far = new_far()
    wanted = (columns[1], columns[48], *times)
    assert far_columns(columns, 1 << 1 | 1 << 48, times, far) == len(wanted)
    assert far[: len(wanted)].tolist() == [column.ctypes.data for column in wanted]
    assert far_columns(columns, (1 << len(SIGNALS)) - 1, times, far) == far.size <= 2 * BLOCK
