"""What the kernels are made of, as LLVM vectors of 16 floats: a line, 64 bytes, that LLVM splits into what a host has.

Addresses and steps are in bytes. A line need not lie at a multiple of 64, though it does where torch made the memory.
"""

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core.errors import RequireLiteralValue

LANES = 16  # floats of a line
LINE = 4 * LANES  # bytes
CHAINS = 8  # of sums at least, so that an addition need not wait for the one before
COUNTERS = 2  # that stand at zero before the numbers a kernel is called with

I32, I64, FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()
VECTOR = ir.VectorType(FLOAT, LANES)
QUAD = ir.VectorType(FLOAT, 4)


def intrinsic(function: Any) -> Any:
    """numba's, which a type checker need not understand."""
    return extending.intrinsic(function)


@intrinsic
def unpacked(typing: Any, pointer: Any, count: Any) -> Any:
    """The `count` numbers that a kernel was called with, after the counters that stand before them: see `run`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers = [builder.load(builder.gep(arguments[0], [I64(COUNTERS + i)])) for i in range(_literal(count))]
        return context.make_tuple(builder, signature.return_type, numbers)

    return types.UniTuple(types.int64, _literal(count))(pointer, count), generate


@intrinsic
def taken(typing: Any, pointer: Any, counter: Any) -> Any:
    """The number that `counter` stands at, which goes on by one, whoever else takes one at the same time."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", builder.gep(arguments[0], [arguments[1]]), I64(1), "monotonic")

    return types.int64(pointer, types.int64), generate


@intrinsic
def integer(typing: Any, address: Any, place: Any) -> Any:
    """The int64 at a place of an array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_at(builder, arguments[0], arguments[1], I64, 8))

    return types.int64(types.int64, types.int64), generate


def _literal(number: Any) -> int:
    if not isinstance(number, types.IntegerLiteral):
        raise RequireLiteralValue("a size that machine code is made for is written as a number.")
    return int(number.literal_value)


def _at(builder: Any, array: Any, place: Any, kind: Any, size: int) -> Any:
    return builder.inttoptr(builder.add(array, builder.mul(place, I64(size))), kind.as_pointer())
