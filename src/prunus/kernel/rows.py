"""Few rows times a sparse matrix: on lanes most would be empty, so vectors go along the kept entries instead."""

from typing import Any

import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from torch import Tensor

from prunus.kernel.connections import address
from prunus.kernel.matrices import LinearConnections
from prunus.kernel.parallel import run
from prunus.kernel.vectors import (
    FLOAT,
    I32,
    I64,
    LANES,
    VECTOR,
    float_at,
    intrinsic,
    literal,
    multiply_add,
    sum_of,
    taken,
    unpacked,
)

MOST_ROWS = {2**13: 8, 2**20: 4}  # of a batch that is not faster on lanes, with up to so many kept entries
MOST_OF_LARGE = 2  # with more of them
ALONE = 2**14  # products that one thread has done before another one has woken up
STRIP = 32  # rows whose sums are kept in the nearest cache meanwhile
PLACES = ir.VectorType(I32, LANES)
ADDRESSES = ir.VectorType(I64, LANES)


def most_rows(entries: int) -> int:
    """Of how many rows a batch is, at most, that a layer with so many kept entries multiplies faster than lanes."""
    return next((rows for most, rows in MOST_ROWS.items() if entries <= most), MOST_OF_LARGE)


def product_of_rows(inputs: Tensor, values: Tensor, bias: Tensor | None, connections: LinearConnections) -> Tensor:
    """(batch, inputs) -> (batch, outputs), each sum in an order that no batch and no number of threads changes."""
    (rows, columns), (starts, offsets, _) = connections.shape, connections.forward
    inputs, values, bias = inputs.contiguous(), values.contiguous(), None if bias is None else bias.contiguous()
    outputs = torch.empty(len(inputs), rows)
    if outputs.numel():
        workers = torch.get_num_threads() if len(offsets) * len(inputs) > ALONE else 1
        counts = (len(inputs), rows, columns, (len(starts) - 1) // rows)
        factors = (address(inputs), address(offsets), address(values), starts.data_ptr())
        run(_product, workers, *counts, outputs.data_ptr(), address(bias), *factors)
    return outputs


def _product(pointer: Any) -> Any:
    """Outputs (batch, rows) of inputs (batch, columns)."""
    batch, rows, columns, blocks, outputs, bias, inputs, offsets, values, starts = unpacked(pointer, 10)
    while True:
        row = taken(pointer, 0) * STRIP
        if row >= rows:
            break
        high = min(STRIP, rows - row)
        entries, begins, constants = (
            (offsets, values),
            (starts + 8 * row, 8 * rows, blocks),
            bias + 4 * row if bias else 0,
        )
        sample = 0
        while sample < batch:
            source = (inputs + 4 * columns * sample, 4 * columns)
            target = (outputs + 4 * (rows * sample + row), 4 * rows)
            left = batch - sample
            if left >= 4:
                _multiply_rows(4, target, constants, source, entries, begins, high)
                sample += 4
            elif left >= 2:
                _multiply_rows(2, target, constants, source, entries, begins, high)
                sample += 2
            else:
                _multiply_rows(1, target, constants, source, entries, begins, high)
                sample += 1


@intrinsic
def _multiply_rows(
    typing: Any, samples: Any, out: Any, bias: Any, inputs: Any, entries: Any, begins: Any, high: Any
) -> Any:
    """Write the products of `high` rows, `STRIP` at most, and so many `samples` of the inputs, plus a bias or zero.

    `out` and `inputs` are an address and a step from sample to sample, `entries` the offsets and the values, `begins`
    the address of where the first row of the first block starts, the step from block to block, and how many there are.
    The sums of a row are vectors, of all blocks and for each sample, until at last each is added up.
    """
    count = literal(samples)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, out, bias, inputs, entries, begins, high = arguments
        (out, out_step), (inputs, step), (offsets, values), (begins, down, blocks) = (
            cgutils.unpack_tuple(builder, some) for some in (out, inputs, entries, begins)
        )
        bases = [builder.add(inputs, builder.mul(step, I64(i))) for i in range(count)]
        held = cgutils.alloca_once(builder, VECTOR, size=I64(STRIP * count))
        lines = [cgutils.alloca_once(builder, VECTOR) for _ in range(count)]

        def places_of(row: Any) -> list[Any]:
            return [builder.gep(held, [builder.add(builder.mul(row, I64(count)), I64(i))]) for i in range(count)]

        def call(name: str, kind: Any, *operands: Any) -> Any:
            kind = ir.FunctionType(kind, [operand.type for operand in operands])
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), operands)

        def add(k: Any, stop: Any) -> None:
            left = _splat(builder, builder.trunc(builder.sub(stop, k), I32), PLACES)
            some = builder.icmp_signed("<", PLACES(list(range(LANES))), left)
            at = [
                builder.inttoptr(builder.add(array, builder.mul(k, I64(4))), kind.as_pointer())
                for array, kind in ((offsets, PLACES), (values, VECTOR))
            ]
            places = call("llvm.masked.load.v16i32.p0", PLACES, at[0], I32(4), some, PLACES(None))
            factors = call("llvm.masked.load.v16f32.p0", VECTOR, at[1], I32(4), some, VECTOR(None))
            places = builder.lshr(places, PLACES([4] * LANES))  # of bytes of a line, those of a number
            for line, base in zip(lines, bases, strict=True):
                addresses = _addresses(builder, base, places)
                found = call("llvm.masked.gather.v16f32.v16p0", VECTOR, addresses, I32(4), some, VECTOR(None))
                builder.store(multiply_add(builder, found, factors, builder.load(line)), line)

        with cgutils.for_range_slice(builder, I64(0), high, I64(1), I64) as (row, _):
            for place in places_of(row):
                builder.store(VECTOR(None), place)
        with cgutils.for_range_slice(builder, I64(0), blocks, I64(1), I64) as (block, _):
            bounds = builder.inttoptr(builder.add(begins, builder.mul(block, down)), I64.as_pointer())
            with cgutils.for_range_slice(builder, I64(0), high, I64(1), I64) as (row, _):
                start, stop = (builder.load(builder.gep(bounds, [builder.add(row, I64(i))])) for i in range(2))
                for line, place in zip(lines, places_of(row), strict=True):
                    builder.store(builder.load(place), line)
                with cgutils.for_range_slice(builder, start, stop, I64(LANES), I64) as (k, _):
                    add(k, stop)
                for line, place in zip(lines, places_of(row), strict=True):
                    builder.store(builder.load(line), place)
        with cgutils.for_range_slice(builder, I64(0), high, I64(1), I64) as (row, _):
            constant = float_at(builder, bias, row)
            for i, place in enumerate(places_of(row)):
                at = builder.add(builder.add(out, builder.mul(out_step, I64(i))), builder.mul(row, I64(4)))
                sum_ = builder.fadd(constant, sum_of(builder, builder.load(place)))
                builder.store(sum_, builder.inttoptr(at, FLOAT.as_pointer()))
        return context.get_dummy_value()

    two, three = (types.UniTuple(types.int64, n) for n in (2, 3))
    return types.void(samples, two, types.int64, two, two, three, types.int64), generate


def _addresses(builder: Any, base: Any, places: Any) -> Any:
    addresses = builder.add(_splat(builder, base, ADDRESSES), builder.zext(places, ADDRESSES))
    return builder.inttoptr(addresses, ir.VectorType(FLOAT.as_pointer(), LANES))


def _splat(builder: Any, value: Any, kind: Any) -> Any:
    undefined = ir.Constant(kind, ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(undefined, value, I32(0)), undefined, PLACES([0] * LANES))
