"""Eight numbers side by side at once, where a processor has vectors for them.

Each of these is the loop that stands in its Python form below; compiled, its eight passes are one operation on a vector (LLVM splits
it where vectors are shorter). Elementwise and without fused multiply-add, so the same bytes come out of both.
"""

from typing import Any, Final

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from stream.columns import UNKNOWN
from stream.fixed import LIMIT, to_fixed
from stream.table import FACTORS, N_ADDED

WIDTH: Final = 8
_INTS: Final = ir.VectorType(ir.IntType(64), WIDTH)
_FLOATS: Final = ir.VectorType(ir.DoubleType(), WIDTH)


def _put_products_loop(block: Any, b: int, amount: float, p: Any) -> None:
    """Places 0 to 7 of row ``b``: ``amount`` times each of ``FACTORS`` as int64, half to even, UNKNOWN where int64 has no value.

    Eq. 18. The two places after them are left to be written over.
    """
    for k, name in enumerate(FACTORS):
        block[k, b] = to_fixed(amount, p[name])


def _put_rounded_loop(
    block: Any,
    k: int,
    b: int,
    x0: float,
    x1: float,
    x2: float,
    x3: float,
    x4: float,
    x5: float,
    x6: float,
    x7: float,
) -> None:
    """Places ``k`` to ``k`` + 7 of row ``b``: the amounts as int64, half to even; 0 where there is none or int64 has no value."""
    for n, x in enumerate((x0, x1, x2, x3, x4, x5, x6, x7)):
        block[k + n, b] = int(np.rint(x)) if abs(x) < LIMIT else 0


def _add_known_loop(roll: Any, first: int, j: int, block: Any, b: int) -> None:
    """Add the first ``N_ADDED`` places of row ``b`` to those from ``first`` of partial sum ``j``, leaving out what is UNKNOWN."""
    for k in range(N_ADDED):
        if block[k, b] != UNKNOWN:
            roll[first + k, j] += block[k, b]


def _place(context: Any, builder: Any, matrix: Any, value: Any, row: Any, column: Any) -> Any:
    """Address of ``value[row, column]``; columns lie together (Fortran order)."""
    if matrix.layout != "F":
        raise TypeError("what belongs to one row or partial sum must lie together")
    array = cgutils.create_struct_proxy(matrix)(context, builder, value)
    rows = builder.extract_value(array.shape, 0)
    return builder.gep(array.data, [builder.add(builder.mul(column, rows), row)])


def _load(builder: Any, address: Any, vector: Any) -> Any:
    return builder.load(builder.bitcast(address, vector.as_pointer()), align=8)


def _store(builder: Any, values: Any, address: Any) -> None:
    builder.store(values, builder.bitcast(address, values.type.as_pointer()), align=8)


def _all(vector: Any, value: Any) -> Any:
    return ir.Constant(vector, [value] * WIDTH)


def _rounded(builder: Any, x: Any, otherwise: int) -> Any:
    """x as int64, half to even; ``otherwise`` where int64 has no value."""
    one = ir.FunctionType(_FLOATS, [_FLOATS])
    call = {
        name: cgutils.get_or_insert_function(builder.module, one, f"llvm.{name}.v{WIDTH}f64")
        for name in ("rint", "fabs")
    }
    fits = builder.fcmp_ordered("<", builder.call(call["fabs"], [x]), _all(_FLOATS, LIMIT))
    whole = builder.fptosi(builder.call(call["rint"], [x]), _INTS)
    return builder.select(fits, whole, _all(_INTS, otherwise))


@intrinsic  # type: ignore[misc]
def _put_products_vector(typing: Any, block: Any, b: Any, amount: Any, p: Any) -> Any:
    at = p.offset(FACTORS[0])
    if [p.offset(name) for name in FACTORS] != [at + 8 * k for k in range(len(FACTORS))]:
        raise TypeError(f"{', '.join(FACTORS)} must follow each other in the parameters")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        block_value, b_value, amount_value, record = args
        bytes_of = builder.bitcast(record, ir.IntType(8).as_pointer())
        factors = _load(builder, builder.gep(bytes_of, [ir.Constant(ir.IntType(64), at)]), _FLOATS)
        amounts = _splat(builder, amount_value)
        zero = ir.Constant(ir.IntType(64), 0)
        address = _place(context, builder, signature.args[0], block_value, zero, b_value)
        _store(builder, _rounded(builder, builder.fmul(amounts, factors), UNKNOWN), address)
        return context.get_dummy_value()

    return types.void(block, types.intp, types.float64, p), generate


def _splat(builder: Any, value: Any) -> Any:
    """The same number in each place."""
    first = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH))


@intrinsic  # type: ignore[misc]
def _put_rounded_vector(
    typing: Any, block: Any, k: Any, b: Any, x0: Any, x1: Any, x2: Any, x3: Any, x4: Any, x5: Any, x6: Any, x7: Any
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = ir.Constant(_FLOATS, ir.Undefined)
        for n, x in enumerate(args[3:]):
            values = builder.insert_element(values, x, ir.Constant(ir.IntType(32), n))
        address = _place(context, builder, signature.args[0], args[0], args[1], args[2])
        _store(builder, _rounded(builder, values, 0), address)
        return context.get_dummy_value()

    return types.void(block, types.intp, types.intp, *(types.float64 for _ in range(WIDTH))), generate


@intrinsic  # type: ignore[misc]
def _add_known_vector(typing: Any, roll: Any, first: Any, j: Any, block: Any, b: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        roll_value, first_value, j_value, block_value, b_value = args
        for k in range(0, N_ADDED, WIDTH):
            at = ir.Constant(ir.IntType(64), k)
            row = _load(builder, _place(context, builder, signature.args[3], block_value, at, b_value), _INTS)
            known = builder.icmp_signed("!=", row, _all(_INTS, UNKNOWN))
            place = _place(context, builder, signature.args[0], roll_value, builder.add(first_value, at), j_value)
            more = builder.select(known, row, _all(_INTS, 0))
            _store(builder, builder.add(_load(builder, place, _INTS), more), place)
        return context.get_dummy_value()

    return types.void(roll, types.intp, types.intp, block, types.intp), generate


put_products = _put_products_loop if numba.config.DISABLE_JIT else _put_products_vector
put_rounded = _put_rounded_loop if numba.config.DISABLE_JIT else _put_rounded_vector
add_known = _add_known_loop if numba.config.DISABLE_JIT else _add_known_vector
