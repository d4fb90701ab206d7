"""From float64 to additive int64 fixed point: rounded once, half to even; NaN becomes UNKNOWN.

litre -> nL, kWh -> µWh, kg -> µg all take ``PER_UNIT``; metre -> mm takes ``PER_METRE``; second -> µs takes ``PER_SECOND``.
With kg per L (or per kWh) as factor, ``fixed amount * factor`` is µg without any further constant.
"""

import math
from typing import Any, Final

import numba.core.cgutils
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from stream.columns import UNKNOWN
from stream.kernel import JIT_OFF, inlined

cgutils: Final[Any] = numba.core.cgutils  # has no types
PER_UNIT: Final = 1e9
PER_METRE: Final = 1e3
PER_SECOND: Final = 1e6
LIMIT: Final = 9.2e18  # beyond it int64 has no value; such an amount is unknown, never wrapped


def _nearest_python(x: float) -> int:
    """The whole number nearest to ``x``, half to even; any number where int64 has none for it."""
    return int(np.rint(x)) if math.fabs(x) < LIMIT else UNKNOWN


@intrinsic
def _nearest_instruction(typing: Any, x: Any) -> Any:
    """The same as one instruction: rounding first and converting then are two, one after the other."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole, number = ir.IntType(64), ir.DoubleType()
        lrint = cgutils.get_or_insert_function(builder.module, ir.FunctionType(whole, [number]), "llvm.lrint.i64.f64")
        return builder.call(lrint, args)

    return types.int64(types.float64), generate


nearest: Final[Any] = _nearest_python if JIT_OFF else _nearest_instruction


@inlined
def to_fixed(value: float, scale: float) -> int:
    """``value * scale`` as int64, half to even. UNKNOWN where value is NaN or the product does not fit."""
    x = value * scale
    if not (math.fabs(x) < LIMIT):
        return UNKNOWN
    return int(nearest(x))


@inlined
def times(amount: int, factor: float) -> int:
    """``amount * factor`` as int64, half to even. UNKNOWN where either is unknown."""
    if amount == UNKNOWN:
        return UNKNOWN
    return to_fixed(float(amount), factor)


@inlined
def whole_us(ns: int) -> int:
    """``ns`` [ns, >= 0] as whole microseconds, cut."""
    return int(np.uint64(ns) // np.uint64(1000))


@inlined
def plus(a: int, b: int) -> int:
    """``a + b``. UNKNOWN where either is unknown."""
    if a == UNKNOWN or b == UNKNOWN:
        return UNKNOWN
    return a + b


@inlined
def rounded(amount: float) -> int:
    """The whole number (int64) nearest to ``amount``, in its unit, half to even; 0 where it is NaN or int64 has no value for it."""
    return int(nearest(amount)) if math.fabs(amount) < LIMIT else 0
