"""What the kernels are made of, as LLVM vectors of 16 floats: a line, 64 bytes, that LLVM splits into what a host has.

Addresses and steps are in bytes. A line need not lie at a multiple of 64, though it does where torch made the memory.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import product
from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.core.errors import RequireLiteralValue

LANES = 16  # floats of a line
LINE = 4 * LANES  # bytes
CHAINS = 8  # of sums at least, so that an addition need not wait for the one before
COUNTERS = 20  # that `run` puts before the numbers a kernel is called with

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
        numbers = [builder.load(builder.gep(arguments[0], [I64(COUNTERS + i)])) for i in range(literal(count))]
        return context.make_tuple(builder, signature.return_type, numbers)

    return types.UniTuple(types.int64, literal(count))(pointer, count), generate


@intrinsic
def taken(typing: Any, pointer: Any, counter: Any) -> Any:
    """The number that `counter` stands at, which goes on by one, whoever else takes one at the same time."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", builder.gep(arguments[0], [arguments[1]]), I64(1), "monotonic")

    return types.int64(pointer, types.int64), generate


@intrinsic
def called(typing: Any, address: Any) -> Any:
    """What the C function int f(void) at an address returns; zero where there is none."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (address,) = arguments
        result = cgutils.alloca_once_value(builder, I32(0))
        with builder.if_then(_is_some(builder, address)):
            kind = ir.FunctionType(I32, []).as_pointer()
            builder.store(builder.call(builder.inttoptr(address, kind), []), result)
        return builder.zext(builder.load(result), I64)

    return types.int64(types.int64), generate


@intrinsic
def integer(typing: Any, address: Any, place: Any) -> Any:
    """The int64 at a place of an array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_at(builder, arguments[0], arguments[1], I64, 8))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def number(typing: Any, address: Any, place: Any) -> Any:
    """The float at a place of an array; zero where there is no array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return float_at(builder, *arguments)

    return types.float32(types.int64, types.int64), generate


@intrinsic
def put(typing: Any, address: Any, place: Any, value: Any) -> Any:
    """Write a float at a place of an array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _at(builder, arguments[0], arguments[1], FLOAT, 4))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32), generate


@intrinsic
def multiply(
    typing: Any,
    high: Any,
    wide: Any,
    out: Any,
    old: Any,
    fresh: Any,
    first: Any,
    inputs: Any,
    entries: Any,
    start: Any,
    stop: Any,
) -> Any:
    """Add to a block of `high` times `wide` lines, for each kept entry k, values[k] times the lines at offsets[k].

    The block is kept in registers meanwhile. It starts from `first` where `fresh`, else from `old`, and is written to
    `out`; both are an address, and the steps down and right. `inputs` are an address and a step down, and `entries`
    the offsets, the values, and, or zero, the order: then values[order[k]] is meant.
    """
    block = _block(high, wide)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, _, out, old, fresh, first, inputs, entries, start, stop = arguments
        (out, out_down, out_right), (old, old_down, old_right), (inputs, inputs_down), (offsets, values, order) = (
            cgutils.unpack_tuple(builder, some) for some in (out, old, inputs, entries)
        )
        ways = max(1, CHAINS // len(block))
        sums = [cgutils.alloca_once(builder, VECTOR) for _ in range(ways) for _ in block]
        with builder.if_else(fresh) as (then, otherwise):
            with then:
                for line in sums[: len(block)]:
                    builder.store(_splat(builder, first), line)
            with otherwise:
                for line, (i, j) in zip(sums[: len(block)], block, strict=True):
                    builder.store(_load(builder, _line(builder, old, i, old_down, j, old_right)), line)
        for line in sums[len(block) :]:
            builder.store(VECTOR(None), line)

        def entry(k: Any, value: Any, way: int) -> None:
            base = builder.add(inputs, builder.zext(builder.load(_at(builder, offsets, k, I32, 4)), I64))
            for n, (i, j) in enumerate(block):
                line, place = sums[way * len(block) + n], _line(builder, base, i, inputs_down, j, I64(LINE))
                builder.store(multiply_add(builder, _load(builder, place), value, builder.load(line)), line)

        def add_up(value_of: Any) -> None:
            whole = builder.add(start, builder.and_(builder.sub(stop, start), I64(-ways)))
            with cgutils.for_range_slice(builder, start, whole, I64(ways), I64) as (k, _):
                for way in range(ways):
                    place = builder.add(k, I64(way))
                    entry(place, _splat(builder, value_of(place)), way)
            if ways > 1:
                with cgutils.for_range_slice(builder, whole, stop, I64(1), I64) as (k, _):
                    entry(k, _splat(builder, value_of(k)), 0)

        def ordered(k: Any) -> Any:
            place = builder.zext(builder.load(_at(builder, order, k, I32, 4)), I64)
            return builder.load(_at(builder, values, place, FLOAT, 4))

        with builder.if_else(_is_some(builder, order)) as (then, otherwise):
            with then:
                add_up(ordered)
            with otherwise:
                add_up(lambda k: builder.load(_at(builder, values, k, FLOAT, 4)))
        for n, line in enumerate(sums[len(block) :]):
            builder.store(builder.fadd(builder.load(sums[n % len(block)]), builder.load(line)), sums[n % len(block)])
        for line, (i, j) in zip(sums[: len(block)], block, strict=True):
            _store(builder, builder.load(line), _line(builder, out, i, out_down, j, out_right))
        return context.get_dummy_value()

    line, floats = types.UniTuple(types.int64, 3), types.float32
    kinds = [line, line, types.boolean, floats, types.UniTuple(types.int64, 2), line, types.int64, types.int64]
    return types.void(high, wide, *kinds), generate


@intrinsic
def correlate(
    typing: Any, high: Any, wide: Any, gradients: Any, inputs: Any, offsets: Any, sums: Any, start: Any, stop: Any
) -> Any:
    """Add to sums[k], for each kept entry k, the dot product of a block of gradients and the lines at offsets[k].

    `gradients` are an address and the steps down and right, `inputs` an address and a step down.
    """
    block = _block(high, wide)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, _, gradients, inputs, offsets, sums, start, stop = arguments
        gradients, gradients_down, gradients_right = cgutils.unpack_tuple(builder, gradients)
        inputs, inputs_down = cgutils.unpack_tuple(builder, inputs)
        held = [_load(builder, _line(builder, gradients, i, gradients_down, j, gradients_right)) for i, j in block]

        def products(k: Any) -> Any:
            base = builder.add(inputs, builder.zext(builder.load(_at(builder, offsets, k, I32, 4)), I64))
            sum_ = None
            for gradient, (i, j) in zip(held, block, strict=True):
                entry = _load(builder, _line(builder, base, i, inputs_down, j, I64(LINE)))
                sum_ = builder.fmul(entry, gradient) if sum_ is None else multiply_add(builder, entry, gradient, sum_)
            return sum_

        _add_sums(builder, sums, start, stop, products)
        return context.get_dummy_value()

    pair, triple = (types.UniTuple(types.int64, n) for n in (2, 3))
    return types.void(high, wide, triple, pair, *(types.int64,) * 4), generate


@intrinsic
def differentiate(
    typing: Any,
    wide: Any,
    out: Any,
    others: Any,
    inputs: Any,
    offsets: Any,
    values: Any,
    sums: Any,
    start: Any,
    stop: Any,
) -> Any:
    """`multiply`, of one row and from zeros, and `correlate` with `others`: each line is read once for both.

    `out` and `others` are an address and a step right.
    """
    block = [I64(j) for j in range(literal(wide))]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, out, others, inputs, offsets, values, sums, start, stop = arguments
        (out, out_right), (others, others_right) = (cgutils.unpack_tuple(builder, some) for some in (out, others))
        held = [_load(builder, _line(builder, others, I64(0), I64(0), j, others_right)) for j in block]
        lines = [cgutils.alloca_once(builder, VECTOR) for _ in block]
        for line in lines:
            builder.store(VECTOR(None), line)

        def products(k: Any) -> Any:
            base = builder.add(inputs, builder.zext(builder.load(_at(builder, offsets, k, I32, 4)), I64))
            value = _splat(builder, builder.load(_at(builder, values, k, FLOAT, 4)))
            sum_ = VECTOR(None)
            for line, other, j in zip(lines, held, block, strict=True):
                entry = _load(builder, _line(builder, base, I64(0), I64(0), j, I64(LINE)))
                builder.store(multiply_add(builder, entry, value, builder.load(line)), line)
                sum_ = multiply_add(builder, entry, other, sum_)
            return sum_

        _add_sums(builder, sums, start, stop, products)
        for line, j in zip(lines, block, strict=True):
            _store(builder, builder.load(line), _line(builder, out, I64(0), I64(0), j, out_right))
        return context.get_dummy_value()

    pair = types.UniTuple(types.int64, 2)
    return types.void(wide, pair, pair, *(types.int64,) * 6), generate


@intrinsic
def total(typing: Any, lines: Any, step: Any, count: Any) -> Any:
    """The sum of all floats of `count` lines."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lines, step, count = arguments
        sum_ = cgutils.alloca_once_value(builder, VECTOR(None))
        with cgutils.for_range_slice(builder, I64(0), count, I64(1), I64) as (i, _):
            line = _load(builder, _line(builder, lines, I64(0), I64(0), i, step))
            builder.store(builder.fadd(builder.load(sum_), line), sum_)
        return sum_of(builder, builder.load(sum_))

    return types.float32(types.int64, types.int64, types.int64), generate


@intrinsic
def moments(typing: Any, one: Any, other: Any, from_one: Any, from_other: Any, count: Any) -> Any:
    """Over the floats of `count` lines, the sum of one - from_one, and of its products with other - from_other."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one, other, from_one, from_other, count = arguments
        from_one, from_other = _splat(builder, from_one), _splat(builder, from_other)
        sums = [cgutils.alloca_once_value(builder, VECTOR(None)) for _ in range(CHAINS)]
        ways = CHAINS // 2

        def add(i: Any, way: int) -> None:
            first, second = (
                builder.fsub(_load(builder, _line(builder, lines, I64(0), I64(0), i, I64(LINE))), centre)
                for lines, centre in ((one, from_one), (other, from_other))
            )
            builder.store(builder.fadd(builder.load(sums[way]), first), sums[way])
            products = multiply_add(builder, first, second, builder.load(sums[ways + way]))
            builder.store(products, sums[ways + way])

        whole = builder.and_(count, I64(-ways))
        with cgutils.for_range_slice(builder, I64(0), whole, I64(ways), I64) as (i, _):
            for way in range(ways):
                add(builder.add(i, I64(way)), way)
        with cgutils.for_range_slice(builder, whole, count, I64(1), I64) as (i, _):
            add(i, 0)
        totals = []
        for some in (sums[:ways], sums[ways:]):
            lines = [builder.load(line) for line in some]
            totals.append(sum_of(builder, reduce(builder.fadd, lines)))
        return context.make_tuple(builder, signature.return_type, totals)

    float_ = types.float32
    return types.UniTuple(float_, 2)(types.int64, types.int64, float_, float_, types.int64), generate


@intrinsic
def combine(typing: Any, out: Any, one: Any, by_one: Any, other: Any, by_other: Any, constant: Any, count: Any) -> Any:
    """Write `count` lines: by_one times `one`, plus by_other times `other`, plus a constant."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, one, by_one, other, by_other, constant, count = arguments
        by_one, by_other, constant = (_splat(builder, value) for value in (by_one, by_other, constant))
        with cgutils.for_range_slice(builder, I64(0), count, I64(1), I64) as (i, _):
            place, first, second = (_line(builder, lines, I64(0), I64(0), i, I64(LINE)) for lines in (out, one, other))
            line = multiply_add(builder, _load(builder, second), by_other, constant)
            _store(builder, multiply_add(builder, _load(builder, first), by_one, line), place)
        return context.get_dummy_value()

    address, float_ = types.int64, types.float32
    return types.void(address, address, float_, address, float_, float_, address), generate


@intrinsic
def copy_lines(typing: Any, target: Any, source: Any, step: Any, count: Any) -> Any:
    """Write `count` lines, `step` apart, one after the other; zeros where there is no source."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, source, step, count = arguments

        def lines(read: Any) -> None:
            with cgutils.for_range_slice(builder, I64(0), count, I64(1), I64) as (i, _):
                _store(builder, read(i), _line(builder, target, I64(0), I64(0), i, I64(LINE)))

        with builder.if_else(_is_some(builder, source)) as (then, otherwise):
            with then:
                lines(lambda i: _load(builder, _line(builder, source, I64(0), I64(0), i, step)))
            with otherwise:
                lines(lambda i: VECTOR(None))
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 4), generate


@intrinsic
def transpose(
    typing: Any, target: Any, target_step: Any, written: Any, source: Any, source_step: Any, read: Any
) -> Any:
    """Write as lines the columns of 16 lines, of which `read` are there and the rest are zero, and `written` wanted."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, target_step, written, source, source_step, read = arguments
        spare = cgutils.alloca_once_value(builder, VECTOR(None))

        def place(base: Any, i: int, step: Any, count: Any) -> Any:
            there = builder.icmp_signed("<", I64(i), count)
            return builder.select(there, _line(builder, base, I64(i), step, I64(0), I64(0)), spare)

        lines = [_load(builder, place(source, i, source_step, read)) for i in range(LANES)]
        half = LANES // 2  # lines i and i + 8 interleaved, four times over, are the columns
        for _ in range(4):
            pairs = [(lines[i], lines[i + half]) for i in range(half)]
            lines = [
                _shuffle(builder, one, other, [n for i in range(low, low + half) for n in (i, i + LANES)])
                for one, other in pairs
                for low in (0, half)
            ]
        for i, line in enumerate(lines):
            _store(builder, line, place(target, i, target_step, written))
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 6), generate


def float_at(builder: Any, array: Any, place: Any) -> Any:
    """The float at a place of an array; zero where there is no array."""
    result = cgutils.alloca_once(builder, FLOAT)
    builder.store(FLOAT(0), result)
    with builder.if_then(_is_some(builder, array)):
        builder.store(builder.load(_at(builder, array, place, FLOAT, 4)), result)
    return builder.load(result)


def literal(number: Any) -> int:
    """The number that machine code is made for."""
    if not isinstance(number, types.IntegerLiteral):
        raise RequireLiteralValue("a size that machine code is made for is written as a number.")
    return int(number.literal_value)


def _block(high: Any, wide: Any) -> list[tuple[Any, Any]]:
    return [(I64(i), I64(j)) for i, j in product(range(literal(high)), range(literal(wide)))]


def _is_some(builder: Any, address: Any) -> Any:
    return builder.icmp_signed("!=", address, I64(0))


def _at(builder: Any, array: Any, place: Any, kind: Any, size: int) -> Any:
    return builder.inttoptr(builder.add(array, builder.mul(place, I64(size))), kind.as_pointer())


def _line(builder: Any, base: Any, i: Any, down: Any, j: Any, right: Any) -> Any:
    offset = builder.add(builder.mul(i, down), builder.mul(j, right))
    return builder.inttoptr(builder.add(base, offset), VECTOR.as_pointer())


def _load(builder: Any, place: Any) -> Any:
    line = builder.load(place)
    line.align = 4
    return line


def _store(builder: Any, line: Any, place: Any) -> None:
    builder.store(line, place).align = 4


def _shuffle(builder: Any, one: Any, other: Any, places: Sequence[int]) -> Any:
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(I32, len(places)), list(places)))


def _splat(builder: Any, value: Any) -> Any:
    undefined = ir.Constant(VECTOR, ir.Undefined)
    return _shuffle(builder, builder.insert_element(undefined, value, I32(0)), undefined, [0] * LANES)


def multiply_add(builder: Any, one: Any, other: Any, sum_: Any) -> Any:
    """The line one * other + sum_, rounded once."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v16f32"), [one, other, sum_])


def _add_sums(builder: Any, sums: Any, start: Any, stop: Any, products: Callable[[Any], Any]) -> None:
    """Add to sums[k], for k from start to stop, the sum of the line products(k)."""
    fours = builder.add(start, builder.and_(builder.sub(stop, start), I64(-4)))
    with cgutils.for_range_slice(builder, start, fours, I64(4), I64) as (k, _):
        four = _sums_of_four(builder, [products(builder.add(k, I64(i))) for i in range(4)])
        place = _at(builder, sums, k, QUAD, 4)
        old = builder.load(place)
        old.align = 4
        builder.store(builder.fadd(old, four), place).align = 4
    with cgutils.for_range_slice(builder, fours, stop, I64(1), I64) as (k, _):
        place = _at(builder, sums, k, FLOAT, 4)
        builder.store(builder.fadd(builder.load(place), sum_of(builder, products(k))), place)


def _sums_of_four(builder: Any, lines: Sequence[Any]) -> Any:
    """The sums of four lines, as one vector: neighbours are added up within quarters of lines, then the quarters."""
    quarters = [4 * (i // 4) for i in range(LANES)]
    evens = [quarter + place for quarter, place in zip(quarters, [0, 2, LANES, LANES + 2] * 4, strict=True)]

    def neighbours(one: Any, other: Any) -> Any:
        odds = [place + 1 for place in evens]
        return builder.fadd(_shuffle(builder, one, other, evens), _shuffle(builder, one, other, odds))

    line = neighbours(neighbours(lines[0], lines[1]), neighbours(lines[2], lines[3]))
    for half in (LANES // 2, LANES // 4):
        low, high = range(half), range(half, 2 * half)
        line = builder.fadd(_shuffle(builder, line, line, low), _shuffle(builder, line, line, high))
    return line


def sum_of(builder: Any, line: Any) -> Any:
    """The sum of the floats of a line."""
    kind = ir.FunctionType(FLOAT, [FLOAT, VECTOR])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.fadd.v16f32")
    return builder.call(function, [FLOAT(0), line], fastmath=["reassoc"])
