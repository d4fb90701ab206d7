"""Fixed point: one rounding, half to even, as Python's own integers do it; what does not fit is unknown."""

import math
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from stream.columns import UNKNOWN
from stream.fixed import LIMIT, plus, rounded, times, to_fixed
from stream.kernel import kernel

numbers = (
    st.floats(allow_nan=True, allow_infinity=True)
    | st.floats(-1e7, 1e7)
    | st.integers(-(10**6), 10**6).map(lambda n: n + 0.5)
)
amounts = st.integers(-(2**62), 2**62) | st.just(UNKNOWN)


@kernel
def _to_fixed(value: float, scale: float) -> Any:
    return to_fixed(value, scale)


@kernel
def _rounded(value: float) -> Any:
    return rounded(value)


@kernel
def _times(amount: int, factor: float) -> Any:
    return times(amount, factor)


def _whole(x: float) -> int | None:
    """The whole number nearest to ``x``, by decimal arithmetic; None where int64 has none."""
    if not math.fabs(x) < LIMIT:
        return None
    return int(Decimal(x).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)) if math.fabs(x) < 2**53 else int(x)


@given(numbers, st.sampled_from([1.0, 1e3, 1e9, 0.1]))
@example(0.5, 1.0)
@example(2.5, 1.0)
@example(-0.5, 1.0)
@example(9.2e9, 1e9)
@example(-9.3e9, 1e9)
def test_a_number_is_rounded_once_half_to_even(value: float, scale: float) -> None:
    wanted = _whole(value * scale)
    assert _to_fixed(value, scale) == (UNKNOWN if wanted is None else wanted)
    assert _rounded(value * scale) == (wanted or 0)


@given(amounts, st.floats(0.0, 10.0))
def test_an_amount_times_a_factor(amount: int, factor: float) -> None:
    wanted = None if amount == UNKNOWN else _whole(float(amount) * factor)
    assert _times(amount, factor) == (UNKNOWN if wanted is None else wanted)


@given(st.integers(-(2**61), 2**61) | st.just(UNKNOWN), st.integers(-(2**61), 2**61) | st.just(UNKNOWN))
def test_unknown_plus_anything_is_unknown(a: int, b: int) -> None:
    assert plus(a, b) == (UNKNOWN if UNKNOWN in (a, b) else a + b)
