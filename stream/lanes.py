"""A column of a block at once, on vectors where a processor has them: taken, begun, copied, added up.

Each is the loop that stands in its Python form. Written as loops of a known length they would be unrolled, one number at a time.
"""

from typing import Any, Final

import numba.core.cgutils
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from stream.columns import UNKNOWN
from stream.kernel import JIT_OFF
from stream.table import BLOCK

cgutils: Final[Any] = numba.core.cgutils  # has no types
CACHE_LINE: Final = 64  # bytes
_WORD: Final = ir.IntType(64)
_COLUMN: Final = ir.VectorType(_WORD, BLOCK)


def _address(context: Any, builder: Any, matrix: Any, value: Any, at: Any, column: Any = _COLUMN) -> Any:
    """Where ``BLOCK`` numbers of an array lie, the first of them ``at`` numbers after its begin."""
    array = cgutils.create_struct_proxy(matrix)(context, builder, value)
    return builder.bitcast(builder.gep(array.data, [at]), column.as_pointer())


def _all_of(builder: Any, value: Any) -> Any:
    """The same number in each row."""
    column = ir.VectorType(value.type, BLOCK)
    one = builder.insert_element(ir.Constant(column, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK))


def _fill_loop(block: Any, at: int, value: float) -> None:
    """Set all rows of the column that begins at ``at``."""
    block[at : at + BLOCK] = value


@intrinsic
def _fill_vector(typing: Any, block: Any, at: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        column = _all_of(builder, args[2])
        builder.store(column, _address(context, builder, signature.args[0], args[0], args[1], column.type), align=8)
        return context.get_dummy_value()

    return types.void(block, types.intp, block.dtype), generate


def _bytes(builder: Any, address: Any) -> Any:
    return builder.bitcast(address, ir.IntType(8).as_pointer())


def _fetch(builder: Any, begin: Any, size: int) -> None:
    """Ask for ``size`` bytes that will be read."""
    flags = [ir.Constant(ir.IntType(32), n) for n in (0, 3, 1)]  # to read, kept near, data
    prefetch = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [begin.type, *(f.type for f in flags)]), "llvm.prefetch.p0"
    )
    for k in range(0, size, CACHE_LINE):
        builder.call(prefetch, [builder.gep(begin, [ir.Constant(_WORD, k)]), *flags])


def _expect_record_loop(records: Any, k: int) -> None:
    """Record ``k`` comes soon: the processor may fetch it. Changes nothing."""


@intrinsic
def _expect_record_vector(typing: Any, records: Any, k: Any) -> Any:
    size = records.dtype.size

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = cgutils.create_struct_proxy(records)(context, builder, args[0])
        at = builder.mul(args[1], ir.Constant(_WORD, size))
        _fetch(builder, builder.gep(_bytes(builder, array.data), [at]), size)
        return context.get_dummy_value()

    return types.void(records, types.intp), generate


def _expect_at_loop(address: int) -> None:
    """``BLOCK`` numbers at ``address`` are read soon: the processor may fetch them. Changes nothing, wherever it points."""


@intrinsic
def _expect_at_vector(typing: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _fetch(builder, builder.inttoptr(args[0], ir.IntType(8).as_pointer()), BLOCK * 8)
        return context.get_dummy_value()

    return types.void(types.intp), generate


def new_columns(k: int, n: int, dtype: Any) -> npt.NDArray[Any]:
    """(k, m) for ``k`` columns of ``n`` rows, m >= n, each of which begins on a cache line: what ``copy`` writes past the cache to."""
    in_line = CACHE_LINE // np.dtype(dtype).itemsize
    m = -(-n // in_line) * in_line
    room = np.empty(k * m + in_line, dtype)
    begin = -room.ctypes.data % CACHE_LINE // room.itemsize
    return room[begin : begin + k * m].reshape(k, m)


def _copy_loop(block: Any, at: int, matrix: Any, row: int, first: int) -> None:
    """Copy the ``BLOCK`` rows of the column that begins at ``at`` to ``matrix[row, first]`` and on.

    Where that is the begin of a cache line it is written past the cache, which has better use of its room: nobody reads it soon, and
    memory that is written whole need not be fetched before. ``written`` must follow before another thread reads.
    """
    matrix[row, first : first + BLOCK] = block[at : at + BLOCK]


@intrinsic
def _copy_vector(typing: Any, block: Any, at: Any, matrix: Any, row: Any, first: Any) -> Any:
    if matrix.layout != "C":
        raise TypeError("columns of results lie together")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        column = builder.load(_address(context, builder, signature.args[0], args[0], args[1]), align=8)
        if matrix.dtype.bitwidth < block.dtype.bitwidth:
            column = builder.trunc(column, ir.VectorType(ir.IntType(matrix.dtype.bitwidth), BLOCK))
        array = cgutils.create_struct_proxy(matrix)(context, builder, args[2])
        at = builder.add(builder.mul(args[3], builder.extract_value(array.shape, 1)), args[4])
        goal = _address(context, builder, matrix, args[2], at, column.type)
        off = builder.and_(builder.ptrtoint(goal, _WORD), ir.Constant(_WORD, CACHE_LINE - 1))
        with builder.if_else(cgutils.is_null(builder, off)) as (on_line, elsewhere):
            with on_line:
                store = builder.store(column, goal, align=CACHE_LINE)
                store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
            with elsewhere:
                builder.store(column, goal, align=matrix.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(block, types.intp, matrix, types.intp, types.intp), generate


def _written_loop() -> None:
    """What ``copy`` wrote is there for other threads."""


@intrinsic
def _written_fence(typing: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


def _take_loop(columns: Any, bits: int, first: int, rows: int, room: Any) -> int:
    """Copy ``rows`` rows from ``first`` on of each of ``columns`` whose bit is set to its place in ``room``, ``BLOCK`` numbers each; bits
    of those that may have a value there, which is not NaN."""
    for k, column in enumerate(columns):
        if bits >> k & 1:
            room[k * BLOCK : k * BLOCK + rows] = column[first : first + rows]
    return bits


@intrinsic
def _take_vector(typing: Any, columns: Any, bits: Any, first: Any, rows: Any, room: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = ir.VectorType(ir.DoubleType(), BLOCK)
        begin = cgutils.create_struct_proxy(room)(context, builder, args[4]).data
        heard = cgutils.alloca_once_value(builder, args[1])
        whole = builder.icmp_signed("==", args[3], ir.Constant(_WORD, BLOCK))
        for k, column in enumerate(columns.types):
            bit = ir.Constant(_WORD, 1 << k)
            data = cgutils.create_struct_proxy(column)(context, builder, builder.extract_value(args[0], k)).data
            source, goal = builder.gep(data, [args[2]]), builder.gep(begin, [ir.Constant(_WORD, k * BLOCK)])
            is_sent = cgutils.is_not_null(builder, builder.and_(args[1], bit))
            with builder.if_then(is_sent), builder.if_else(whole) as (all_rows, some_rows):
                with all_rows:
                    values = builder.load(builder.bitcast(source, numbers.as_pointer()), align=8)
                    builder.store(values, builder.bitcast(goal, numbers.as_pointer()), align=8)
                    told = builder.bitcast(builder.fcmp_ordered("ord", values, values), ir.IntType(BLOCK))
                    with builder.if_then(cgutils.is_null(builder, told)):
                        builder.store(builder.xor(builder.load(heard), bit), heard)
                with some_rows, cgutils.for_range(builder, args[3]) as loop:
                    builder.store(builder.load(builder.gep(source, [loop.index])), builder.gep(goal, [loop.index]))
        return builder.load(heard)

    return types.int64(columns, types.int64, types.intp, types.intp, room), generate


def _sum_known_loop(block: Any, at: int, begin: int, end: int) -> int:
    """Sum of rows ``begin`` to ``end`` - 1 of the column that begins at ``at``, leaving out what is UNKNOWN."""
    return sum(int(x) for x in block[at + begin : at + end] if x != UNKNOWN)


@intrinsic
def _sum_known_vector(typing: Any, block: Any, at: Any, begin: Any, end: Any) -> Any:
    """The same as all ``BLOCK`` rows at once, those outside masked out (LLVM splits what is longer than the processor's vectors)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        column = builder.load(_address(context, builder, signature.args[0], args[0], args[1]), align=8)
        number = ir.Constant(_COLUMN, list(range(BLOCK)))
        inside = builder.and_(
            builder.icmp_signed(">=", number, _all_of(builder, args[2])),
            builder.icmp_signed("<", number, _all_of(builder, args[3])),
        )
        known = builder.icmp_signed("!=", column, ir.Constant(_COLUMN, [UNKNOWN] * BLOCK))
        added = builder.select(builder.and_(inside, known), column, ir.Constant(_COLUMN, [0] * BLOCK))
        total = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_WORD, [_COLUMN]), f"llvm.vector.reduce.add.v{BLOCK}i64"
        )
        return builder.call(total, [added])

    return types.int64(block, types.intp, types.intp, types.intp), generate


sum_known: Final[Any] = _sum_known_loop if JIT_OFF else _sum_known_vector
take: Final[Any] = _take_loop if JIT_OFF else _take_vector
fill: Final[Any] = _fill_loop if JIT_OFF else _fill_vector
copy: Final[Any] = _copy_loop if JIT_OFF else _copy_vector
written: Final[Any] = _written_loop if JIT_OFF else _written_fence
expect_at: Final[Any] = _expect_at_loop if JIT_OFF else _expect_at_vector
expect_record: Final[Any] = _expect_record_loop if JIT_OFF else _expect_record_vector
