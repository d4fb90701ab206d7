"""The sum of a column of a block over some of its rows, on vectors where a processor has them."""

from typing import Any, Final

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from stream.columns import UNKNOWN
from stream.table import BLOCK

_WORD: Final = ir.IntType(64)
_COLUMN: Final = ir.VectorType(_WORD, BLOCK)


def _sum_known_loop(block: Any, at: int, begin: int, end: int) -> int:
    """Sum of rows ``begin`` to ``end`` - 1 of the column that begins at ``at``, leaving out what is UNKNOWN."""
    return sum(int(x) for x in block[at + begin : at + end] if x != UNKNOWN)


@intrinsic  # type: ignore[misc]
def _sum_known_vector(typing: Any, block: Any, at: Any, begin: Any, end: Any) -> Any:
    """The same as all ``BLOCK`` rows at once, those outside masked out (LLVM splits what is longer than the processor's vectors)."""

    def all_of(builder: Any, value: Any) -> Any:
        one = builder.insert_element(ir.Constant(_COLUMN, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
        address = builder.bitcast(builder.gep(array.data, [args[1]]), _COLUMN.as_pointer())
        column = builder.load(address, align=8)
        number = ir.Constant(_COLUMN, list(range(BLOCK)))
        inside = builder.and_(
            builder.icmp_signed(">=", number, all_of(builder, args[2])),
            builder.icmp_signed("<", number, all_of(builder, args[3])),
        )
        known = builder.icmp_signed("!=", column, ir.Constant(_COLUMN, [UNKNOWN] * BLOCK))
        added = builder.select(builder.and_(inside, known), column, ir.Constant(_COLUMN, [0] * BLOCK))
        total = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_WORD, [_COLUMN]), f"llvm.vector.reduce.add.v{BLOCK}i64"
        )
        return builder.call(total, [added])

    return types.int64(block, types.intp, types.intp, types.intp), generate


sum_known = _sum_known_loop if numba.config.DISABLE_JIT else _sum_known_vector
