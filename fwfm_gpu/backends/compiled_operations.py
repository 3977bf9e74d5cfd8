"""Instructions for the operations of lanes.py: what numba puts where a kernel calls them."""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fwfm_gpu import numerics
from fwfm_gpu.backends import lanes
from fwfm_gpu.backends.compiled_types import (
    INT32,
    INT64,
    Lanes,
    among,
    as_tables,
    instruct,
    make_tables,
    operand,
    place,
    read,
    same_lanes,
    shuffle,
    spread,
    suffix,
    write,
)

__all__ = ["operations"]


def leading(builder: Any, many: Any, count: int) -> Any:
    """Which lanes are among the first ``many``."""
    number = ir.IntType(64)
    return builder.icmp_signed(
        "<", ir.Constant(ir.VectorType(number, count), list(range(count))), spread(builder, many, count)
    )


def same(kind: Any, number: int) -> Any:
    """An integer, or as many as a vector has."""
    return ir.Constant(kind, [number] * kind.count if isinstance(kind, ir.VectorType) else number)


def zeros(vector: Any) -> Any:
    return same(vector, 0)


def rotate(builder: Any, vectors: list[Any], times: int) -> list[Any]:
    """Deal the numbers of all vectors, first half and second half alternately, so many times: a transposition."""
    count, half = vectors[0].type.count, len(vectors) // 2
    low = [lane // 2 + count * (lane % 2) for lane in range(count)]
    high = [lane + count // 2 for lane in low]
    for _ in range(times):
        pairs = list(zip(vectors[:half], vectors[half:], strict=True))
        vectors = [shuffle(builder, *pair, numbers) for pair in pairs for numbers in (low, high)]
    return vectors


def join(builder: Any, vectors: list[Any]) -> Any:
    """Short vectors end to end."""
    while len(vectors) > 1:
        numbers, pairs = list(range(2 * vectors[0].type.count)), zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [shuffle(builder, one, other, numbers) for one, other in pairs]
    return vectors[0]


@cache
def operations(count: int) -> dict[Any, Any]:
    """The operations of lanes.py, and of `numerics` and Python what formulas and kernels need, for so many lanes."""
    bits = count.bit_length() - 1  # count is 2 to this power

    def starts(context: Any, builder: Any, places: Any, array: Any) -> list[Any]:
        first = place(context, builder, places, array, INT64(0))
        return [among(builder, "numbers", builder.load(builder.gep(first, [INT32(lane)]))) for lane in range(count)]

    def tables(context: Any, arrays: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return make_tables(context, builder, sig.args[0], args[0])

        return as_tables(arrays)(arrays), emit

    def atomic_read(context: Any, array: Any, at: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.load_atomic(place(context, builder, array, *args), "seq_cst", 8)

        return types.int64(array, types.int64), emit

    def atomic_swap(context: Any, array: Any, at: Any, value: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.atomic_rmw("xchg", place(context, builder, array, *args[:2]), args[2], "seq_cst")

        return types.int64(array, types.int64, types.int64), emit

    def atomic_add(context: Any, array: Any, at: Any, value: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.atomic_rmw("add", place(context, builder, array, *args[:2]), args[2], "seq_cst")

        return types.int64(array, types.int64, types.int64), emit

    def splat(context: Any, number: Any) -> Any:
        kind = Lanes(types.unliteral(number), count)
        return kind(number), lambda context, builder, sig, args: spread(builder, args[0], count)

    def choose(context: Any, condition: Any, one: Any, other: Any) -> Any:
        kind = same_lanes((one, other)) if condition != types.boolean else one
        if kind is None or (condition == types.boolean and one != other):
            return None

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            values = args[1:]
            if isinstance(kind, Lanes):
                vector = context.get_value_type(kind)
                values = [operand(builder, *pair, vector) for pair in zip(args[1:], sig.args[1:], strict=True)]
            return builder.select(args[0], *values)

        return kind(condition, one, other), emit

    def load(context: Any, array: Any, at: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return read(builder, place(context, builder, array, *args), array.dtype, count)

        return Lanes(array.dtype, count)(array, types.int64), emit

    def load_some(context: Any, array: Any, at: Any, many: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = place(context, builder, array, *args[:2])
            vector = ir.VectorType(pointer.type.pointee, count)
            pointer, mask = builder.bitcast(pointer, vector.as_pointer()), leading(builder, args[2], count)
            arguments = [pointer, INT32(array.dtype.bitwidth // 8), mask, zeros(vector)]
            numbers = instruct(builder, f"llvm.masked.load.{suffix(vector)}.p0", vector, arguments)
            return among(builder, "numbers", numbers)

        return Lanes(array.dtype, count)(array, types.int64, types.int64), emit

    def first_lanes(context: Any, many: Any) -> Any:
        kind = Lanes(types.boolean, count)
        return kind(types.int64), lambda context, builder, sig, args: leading(builder, args[0], count)

    def store(context: Any, array: Any, at: Any, value: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            write(builder, place(context, builder, array, *args[:2]), array.dtype, args[2])
            return context.get_dummy_value()

        return (types.void(array, types.int64, value), emit) if value.dtype == array.dtype else None

    def store_some(context: Any, array: Any, at: Any, value: Any, many: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = place(context, builder, array, *args[:2])
            pointer = builder.bitcast(pointer, args[2].type.as_pointer())
            arguments = [args[2], pointer, INT32(array.dtype.bitwidth // 8), leading(builder, args[3], count)]
            stored = instruct(builder, f"llvm.masked.store.{suffix(args[2].type)}.p0", ir.VoidType(), arguments)
            among(builder, "numbers", stored)
            return context.get_dummy_value()

        return (types.void(array, types.int64, value, types.int64), emit) if value.dtype == array.dtype else None

    def gather(context: Any, array: Any, at: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            base = place(context, builder, array, args[0], INT64(0))
            vector = ir.Constant(ir.VectorType(base.type.pointee, count), ir.Undefined)
            for lane in range(count):  # single loads: not slower than the instruction that gathers
                number = builder.load(builder.gep(base, [builder.extract_element(args[1], INT32(lane))]))
                vector = builder.insert_element(vector, among(builder, "numbers", number), INT32(lane))
            return vector

        return Lanes(array.dtype, count)(array, at), emit

    def widened(context: Any, value: Any) -> Any:
        kind = Lanes(types.float64, count)

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return args[0] if value == kind else builder.fpext(args[0], context.get_value_type(kind))

        return kind(value), emit

    def narrowed(context: Any, value: Any, array: Any) -> Any:
        kind = Lanes(array.dtype, count)

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return args[0] if value == kind else builder.fptrunc(args[0], context.get_value_type(kind))

        return kind(value, array), emit

    def power_of_two(context: Any, n: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind = args[0].type
            wide = INT64 if n == types.float64 else ir.VectorType(INT64, count)
            name = f"llvm.fptosi.sat.{suffix(wide)}.{suffix(kind)}"
            biased = builder.add(instruct(builder, name, wide, args), same(wide, 1023))
            return builder.bitcast(builder.shl(biased, same(wide, 52)), kind)

        return n(n), emit

    def read_columns(context: Any, into: Any, at: Any, table: Any, places: Any, skip: Any, width: Any) -> Any:
        m = width.literal_value

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            into_at, parts = args[1], []
            for start in starts(context, builder, places, args[3]):
                parts.append(
                    read(builder, place(context, builder, table, args[2], builder.add(start, args[4])), table.dtype, m)
                )
            vectors = [join(builder, parts[i : i + count // m]) for i in range(0, count, count // m)]
            for t, vector in enumerate(rotate(builder, vectors, bits)):
                to = builder.add(into_at, INT64(t * count))
                write(builder, place(context, builder, into, args[0], to), into.dtype, vector)
            return context.get_dummy_value()

        sig = types.void(into, types.int64, table, places, types.int64, width)
        return (sig, emit) if into.dtype == table.dtype else None

    def write_columns(context: Any, table: Any, places: Any, skip: Any, lanes: Any, at: Any, width: Any) -> Any:
        m = width.literal_value

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            vectors = []
            for t in range(m):
                from_at = builder.add(args[4], INT64(t * count))
                vectors.append(read(builder, place(context, builder, lanes, args[3], from_at), lanes.dtype, count))
            vectors = rotate(builder, vectors, m.bit_length() - 1)
            for lane, start in enumerate(starts(context, builder, places, args[1])):
                vector, first = vectors[lane * m // count], lane * m % count
                numbers = shuffle(builder, vector, vector, list(range(first, first + m)))
                with builder.if_then(builder.icmp_signed(">=", start, INT64(0))):
                    to = place(context, builder, table, args[0], builder.add(start, args[2]))
                    write(builder, to, table.dtype, numbers)
            return context.get_dummy_value()

        sig = types.void(table, places, types.int64, lanes, types.int64, width)
        return (sig, emit) if table.dtype == lanes.dtype else None

    def sum_lanes(context: Any, total: Any, array: Any, at: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            places = (builder.add(args[2], INT64(i * count)) for i in range(count))
            vectors = [read(builder, place(context, builder, array, args[1], at), array.dtype, count) for at in places]
            result = args[0]
            for terms in rotate(builder, vectors, bits):
                result = builder.fadd(result, terms)
            return result

        return (total(total, array, types.int64), emit) if total.dtype == array.dtype else None

    def all_zero(context: Any, value: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            same = builder.bitcast(builder.fcmp_ordered("==", args[0], zeros(args[0].type)), ir.IntType(count))
            return builder.icmp_signed("==", same, same.type(-1))

        return types.boolean(value), emit

    def prefetch(context: Any, array: Any, at: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = builder.bitcast(place(context, builder, array, *args), ir.IntType(8).as_pointer())
            instruct(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, INT32(0), INT32(3), INT32(1)])
            return context.get_dummy_value()

        return types.void(array, types.int64), emit

    def of_two(sign: str) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.select(builder.icmp_signed(sign, *args), *args)

        def choose_one(context: Any, one: Any, other: Any) -> Any:
            integers = isinstance(one, types.Integer) and isinstance(other, types.Integer)
            return (types.int64(types.int64, types.int64), emit) if integers else None

        return intrinsic(choose_one)

    known = [tables, splat, first_lanes, load, load_some, store, store_some, gather, sum_lanes, all_zero, prefetch]
    known += [widened, narrowed, atomic_add, atomic_read, atomic_swap]
    found = {getattr(lanes, emit.__name__): intrinsic(emit) for emit in known}
    literal = {
        getattr(lanes, emit.__name__): intrinsic(prefer_literal=True)(emit) for emit in (read_columns, write_columns)
    }
    of_formulas = {numerics.choose: intrinsic(choose), numerics.power_of_two: intrinsic(power_of_two)}
    return found | literal | of_formulas | {min: of_two("<"), max: of_two(">")}
