"""What a product with packed lines is made of, as LLVM vectors of 16 floats: see `vectors`."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from prunus.kernel.codebook_layout import LAYOUTS, Layout
from prunus.kernel.vectors import FLOAT, I32, I64, LANES, LINE, VECTOR, intrinsic

TOGETHER = (4, 2, 1)  # samples at a time
WORDS = ir.VectorType(I32, LANES)
ADDRESSES = ir.VectorType(I64, LANES)
BITS = ir.VectorType(ir.IntType(1), LANES)
COUNTS = 8 * LANES  # bytes
AHEAD = 64 * LINE  # of words that are asked for from memory before they are needed


@intrinsic
def multiply_lines(
    typing: Any, layout: Any, samples: Any, lines: Any, begin: Any, end: Any, inputs: Any, outputs: Any, rows: Any
) -> Any:
    """Write the products of lines `begin` to `end`, which are 16 `rows`, with so many `samples` of the inputs.

    `layout` is a place in `LAYOUTS`, `samples` one of `TOGETHER`. `lines` are the addresses of words, starts and
    values, `inputs` an address and a step from sample to sample, `outputs` the same and the bias, or zero.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        layout, samples, lines, begin, end, inputs, outputs, rows = arguments
        permutes = "+avx512f" in context.codegen().magic_tuple()[2]
        for number, candidate in enumerate(LAYOUTS):
            for together in TOGETHER:
                chosen = builder.and_(
                    builder.icmp_signed("==", layout, I64(number)), builder.icmp_signed("==", samples, I64(together))
                )
                with builder.if_then(chosen):
                    places = [cgutils.unpack_tuple(builder, some) for some in (lines, inputs, outputs)]
                    _Lines(builder, candidate, permutes).multiply(together, places, begin, end, rows)
        return context.get_dummy_value()

    three, two = types.UniTuple(types.int64, 3), types.UniTuple(types.int64, 2)
    kinds = [types.int64, types.int64, three, types.int64, types.int64, two, three, types.int64]
    return types.void(*kinds), generate


@intrinsic
def unpack_lines(typing: Any, layout: Any, lines: Any, begin: Any, count: Any, turned: Any, target: Any) -> Any:
    """Write the entries of `count` lines, 16 at most, from `begin` on, as `multiply` takes them: row after row.

    `lines` are the addresses of starts and values, `turned` that of words, those of 16 lines side by side for each of
    the 16 rows. To `target` go how many entries each row has (int64), then the offsets of their lines of inputs, then
    the values, with room for 16 times `slots` of each row.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        layout, lines, begin, count, turned, target = arguments
        permutes = "+avx512f" in context.codegen().magic_tuple()[2]
        for number, candidate in enumerate(LAYOUTS):
            with builder.if_then(builder.icmp_signed("==", layout, I64(number))):
                places = cgutils.unpack_tuple(builder, lines)
                _Lines(builder, candidate, permutes).unpack(places, begin, count, turned, target)
        return context.get_dummy_value()

    return types.void(types.int64, types.UniTuple(types.int64, 2), *(types.int64,) * 4), generate


@intrinsic
def row_at(typing: Any, rows: Any, place: Any) -> Any:
    """The int32 at a place of an array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = builder.add(arguments[0], builder.mul(arguments[1], I64(4)))
        return builder.sext(builder.load(builder.inttoptr(address, I32.as_pointer())), I64)

    return types.int64(types.int64, types.int64), generate


class _Lines:
    """Machine code for lines of one layout; `permutes`: there are lookups in two registers (AVX-512)."""

    def __init__(self, builder: Any, layout: Layout, permutes: bool) -> None:
        self._builder, self._layout, self._permutes = builder, layout, permutes

    def multiply(self, samples: int, places: list[Any], begin: Any, end: Any, rows: Any) -> None:
        """Write sums of lines `begin` to `end`, of 16 `rows`; `places` are those of lines, inputs and outputs."""
        builder, layout = self._builder, self._layout
        (words, starts, values), (inputs, step), (outputs, out_step, bias) = places
        tables = self._tables(values)
        sums = [[cgutils.alloca_once(builder, VECTOR) for _ in range(layout.slots)] for _ in range(samples)]
        for chain in sums:
            for line in chain:
                builder.store(VECTOR(None), line)
        with cgutils.for_range_slice(builder, begin, end, I64(1), I64) as (i, _):
            self._fetch(builder.add(words, builder.add(builder.mul(i, I64(LINE)), I64(AHEAD))))
            word = self._load(words, builder.mul(i, I64(LINE)), WORDS)
            start = builder.sext(self._load(starts, builder.mul(i, I64(4)), I32), I64)
            windows = [
                builder.add(builder.add(inputs, builder.mul(step, I64(n))), builder.mul(start, I64(4)))
                for n in range(samples)
            ]
            lookups = [self._lookup_in(window) for window in windows]
            beside = builder.add(values, builder.mul(i, I64(layout.slots * LINE)))
            for slot in range(layout.slots):
                value = self._value(word, slot, values, tables) if layout.coded else self._load(beside, slot * LINE)
                column = self._field(word, slot * layout.bits + layout.code_bits, layout.column_bits)
                for chain, lookup in zip(sums, lookups, strict=True):
                    # contracted where there is fused multiply-add
                    part = builder.fmul(value, lookup(column), flags=["contract"])
                    builder.store(builder.fadd(builder.load(chain[slot]), part, flags=["contract"]), chain[slot])
        self._put(sums, outputs, out_step, bias, self._load(rows, 0, WORDS))

    def unpack(self, places: list[Any], begin: Any, count: Any, turned: Any, target: Any) -> None:
        """See `unpack_lines`."""
        builder, layout = self._builder, self._layout
        starts, values = places
        tables, size = self._tables(values), layout.slots * LINE
        there = builder.icmp_signed(
            "<", WORDS(list(range(LANES))), self._splat(builder.trunc(count, I32), WORDS)
        )  # which of 16 lines there are
        pointer = builder.inttoptr(builder.add(starts, builder.mul(begin, I64(4))), WORDS.as_pointer())
        start = self._call("llvm.masked.load.v16i32.p0", WORDS, [pointer, I32(4), there, WORDS([0] * LANES)])
        beside = builder.add(values, builder.mul(begin, I64(size)))
        with cgutils.for_range_slice(builder, I64(0), I64(LANES), I64(1), I64) as (row, _):
            word = self._load(turned, builder.mul(row, I64(LINE)), WORDS)
            place = builder.add(builder.add(target, I64(COUNTS)), builder.mul(row, I64(size)))
            count = I64(0)
            for slot in range(layout.slots):
                column = self._field(word, slot * layout.bits + layout.code_bits, layout.column_bits, True)
                if layout.coded:
                    value = self._value(word, slot, values, tables)
                else:
                    base = builder.add(beside, builder.add(I64(slot * LINE), builder.mul(row, I64(4))))
                    value = self._gather(base, WORDS([i * layout.slots * LANES for i in range(LANES)]), there)
                if layout.narrow:
                    full = builder.icmp_signed("!=", column, WORDS([layout.window] * LANES))
                else:
                    full = builder.fcmp_unordered("!=", value, VECTOR(None))
                full = builder.and_(there, full)
                offset = builder.shl(builder.add(column, start), WORDS([LINE.bit_length() - 1] * LANES))
                at = builder.add(place, builder.shl(count, I64(2)))
                self._store_some(builder.bitcast(offset, VECTOR), at, full)
                self._store_some(value, builder.add(at, I64(LANES * size)), full)
                mask = builder.bitcast(full, ir.IntType(LANES))
                count = builder.add(count, builder.zext(builder.ctpop(mask), I64))
            builder.store(count, builder.inttoptr(builder.add(target, builder.mul(row, I64(8))), I64.as_pointer()))

    def _store_some(self, line: Any, address: Any, some: Any) -> None:
        """Numbers of a line side by side, with room for a whole line."""
        pointer = self._builder.inttoptr(address, FLOAT.as_pointer())
        if self._permutes:  # in a register, which not every processor does as slowly as in memory
            line = self._call("llvm.x86.avx512.mask.compress.v16f32", VECTOR, [line, VECTOR(None), some])
            self._store(line, address)
        else:
            self._call("llvm.masked.compressstore.v16f32", ir.VoidType(), [line, pointer, some])

    def _tables(self, values: Any) -> list[Any]:
        """The codebook in registers, where values are looked up there."""
        fitting = self._permutes and self._layout.code_bits == 5
        return [self._load(values, 0), self._load(values, LINE)] if fitting else []

    def _put(self, sums: Any, outputs: Any, step: Any, bias: Any, rows: Any) -> None:
        """Sums to the rows that they belong to; a row below zero is none."""
        builder = self._builder
        some = builder.icmp_signed(">=", rows, WORDS([0] * LANES))
        first = cgutils.alloca_once_value(builder, VECTOR(None))
        with builder.if_then(builder.icmp_signed("!=", bias, I64(0))):
            builder.store(self._gather(bias, rows, some), first)
        for n, chain in enumerate(sums):
            line = builder.load(chain[0])
            for other in chain[1:]:
                line = builder.fadd(line, builder.load(other))
            line = builder.fadd(line, builder.load(first))
            places = self._places(builder.add(outputs, builder.mul(step, I64(n))), rows)
            self._call("llvm.masked.scatter.v16f32.v16p0", ir.VoidType(), [line, places, I32(4), some])

    def _value(self, word: Any, slot: int, values: Any, tables: list[Any]) -> Any:
        """What a slot's code stands for."""
        shift, bits = slot * self._layout.bits, self._layout.code_bits
        if tables:
            return self._permute(self._field(word, shift), tables)
        return self._gather(values, self._field(word, shift, bits))

    def _lookup_in(self, window: Any) -> Any:
        """The inputs at columns of a window, as a function of columns; for one that is empty, zero."""
        if not self._layout.narrow:
            return lambda columns: self._gather(window, columns)
        last = LANES - 1
        if self._permutes:
            pointer = self._builder.inttoptr(self._builder.add(window, I64(LINE)), VECTOR.as_pointer())
            arguments = [pointer, I32(4), BITS([1] * last + [0]), VECTOR(None)]  # nothing is read after the window
            table = [self._load(window, 0), self._call("llvm.masked.load.v16f32.p0", VECTOR, arguments)]
            return lambda columns: self._permute(columns, table)
        empty = WORDS([self._layout.window] * LANES)
        return lambda columns: self._gather(window, columns, self._builder.icmp_signed("!=", columns, empty))

    def _permute(self, places: Any, table: list[Any]) -> Any:
        """Entries of two registers, at the lowest five bits of `places`."""
        return self._call("llvm.x86.avx512.vpermi2var.ps.512", VECTOR, [table[0], places, table[1]])

    def _gather(self, base: Any, places: Any, some: Any = None) -> Any:
        """Floats of an array at `places`, zero where not `some`."""
        arguments = [self._places(base, places), I32(4), BITS([1] * LANES) if some is None else some, VECTOR(None)]
        return self._call("llvm.masked.gather.v16f32.v16p0", VECTOR, arguments)

    def _places(self, base: Any, places: Any) -> Any:
        builder = self._builder
        offsets = builder.shl(builder.sext(places, ADDRESSES), ADDRESSES([2] * LANES))
        addresses = builder.add(self._splat(base, ADDRESSES), offsets)
        return builder.inttoptr(addresses, ir.VectorType(FLOAT.as_pointer(), LANES))

    def _splat(self, value: Any, kind: Any) -> Any:
        undefined = ir.Constant(kind, ir.Undefined)
        one = self._builder.insert_element(undefined, value, I32(0))
        return self._builder.shuffle_vector(one, undefined, WORDS([0] * LANES))

    def _field(self, word: Any, shift: int, bits: int | None = None, alone: bool = False) -> Any:
        """The `bits` of each word from `shift` on; unless `alone`, those above too where a lookup takes no notice."""
        field = self._builder.lshr(word, WORDS([shift] * LANES)) if shift else word
        looked_up = self._permutes and bits == 5 and self._layout.narrow and not alone
        if bits is None or shift + bits == 32 or looked_up:
            return field
        return self._builder.and_(field, WORDS([(1 << bits) - 1] * LANES))

    def _load(self, base: Any, offset: Any, kind: Any = VECTOR) -> Any:
        offset = I64(offset) if isinstance(offset, int) else offset
        loaded = self._builder.load(self._builder.inttoptr(self._builder.add(base, offset), kind.as_pointer()))
        loaded.align = 4
        return loaded

    def _store(self, line: Any, address: Any) -> None:
        self._builder.store(line, self._builder.inttoptr(address, line.type.as_pointer())).align = 4

    def _fetch(self, address: Any) -> None:
        """Ask for memory that is to be read soon; there need not be any at the address."""
        pointer = self._builder.inttoptr(address, FLOAT.as_pointer())
        self._call("llvm.prefetch.p0", ir.VoidType(), [pointer, I32(0), I32(3), I32(1)])  # data, read, to stay

    def _call(self, name: str, result: Any, arguments: list[Any]) -> Any:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self._builder.call(cgutils.get_or_insert_function(self._builder.module, kind, name), arguments)
