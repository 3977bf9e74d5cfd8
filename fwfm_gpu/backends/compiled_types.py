"""Lanes and tables for numba: the types, and how numbers are taken from them and calculated with.

A table is a C-contiguous array of which a kernel knows where it begins and its sizes, nothing else: it counts no
references and no index counts from the end. That keeps the code of kernels that pass many of them on small.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_getattr, infer_global, signature
from numba.extending import lower_builtin, lower_getattr, models, register_model

__all__ = ["INT32", "INT64", "Lanes", "Table", "among", "as_tables", "instruct", "make_tables", "operand", "place"]
__all__ += ["read", "same_lanes", "shuffle", "spread", "suffix", "write"]


class Lanes(types.Type):
    """numba's name for some numbers side by side: a register, or several."""

    def __init__(self, dtype: Any, count: int) -> None:
        self.dtype, self.count = dtype, count
        super().__init__(name=f"Lanes({dtype}, {count})")


class LanesModel(models.PrimitiveModel):
    """Lanes are vectors of LLVM."""

    def __init__(self, manager: Any, lanes_type: Lanes) -> None:
        number = ir.IntType(1) if lanes_type.dtype == types.boolean else manager[lanes_type.dtype].get_value_type()
        super().__init__(manager, lanes_type, ir.VectorType(number, lanes_type.count))


register_model(Lanes)(LanesModel)

INT32, INT64 = ir.IntType(32), ir.IntType(64)


def spread(builder: Any, number: Any, count: int) -> Any:
    """One number in every lane."""
    vector = ir.VectorType(number.type, count)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, INT32(0))
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), indices([0] * count))


def indices(numbers: list[int]) -> Any:
    """A constant mask of a shuffle."""
    return ir.Constant(ir.VectorType(INT32, len(numbers)), numbers)


def shuffle(builder: Any, one: Any, other: Any, numbers: list[int]) -> Any:
    """Lanes of two vectors, by number; those of the other come after those of the one."""
    return builder.shuffle_vector(one, other, indices(numbers))


def among(builder: Any, what: str, instruction: Any) -> Any:
    """Say what a load or a store touches: ``"numbers"`` of tables, or the ``"structures"`` that say where tables lie.

    Neither is ever the other, so what a structure says need not be read again after a number was written.
    """
    module = builder.module
    kind = module.add_metadata([what, module.add_metadata(["fwfm_gpu"]), INT64(0)])
    instruction.set_metadata("tbaa", module.add_metadata([kind, kind, INT64(0)]))
    return instruction


def instruct(builder: Any, name: str, answer: Any, arguments: list[Any]) -> Any:
    """A call of one of LLVM's own instructions."""
    kind = ir.FunctionType(answer, [argument.type for argument in arguments])
    return builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), arguments)


def suffix(vector: Any) -> str:
    """How LLVM calls a vector, or a number, in the name of an instruction."""
    names = {"float": "f32", "double": "f64", "i64": "i64", "i32": "i32"}
    return f"v{vector.count}" + names[str(vector.element)] if isinstance(vector, ir.VectorType) else names[str(vector)]


def operand(builder: Any, value: Any, value_type: Any, vector: Any) -> Any:
    """Lanes as they are, a number spread over lanes."""
    if isinstance(value_type, types.IntegerLiteral):
        return ir.Constant(vector, [value_type.literal_value] * vector.count)
    return value if isinstance(value_type, Lanes) else spread(builder, value, vector.count)


def same_lanes(arguments: tuple[Any, ...]) -> Lanes | None:
    """The one type of lanes among operands, where any number beside it is of its dtype, or an integer of the source."""
    found = {argument for argument in arguments if isinstance(argument, Lanes)}
    if len(found) != 1:
        return None
    (kind,) = found
    plain = (argument for argument in arguments if not isinstance(argument, Lanes | types.IntegerLiteral))
    return kind if all(types.unliteral(argument) == kind.dtype for argument in plain) else None


Emit = Callable[..., Any]  # (builder, operands) -> what LLVM makes of them


def register_operation(function: Any, of_floats: Emit, of_integers: Emit | None = None, compares: bool = False) -> None:
    """Let an operator or a function of NumPy work on lanes; without ``of_integers`` on those of floats alone."""

    class Template(AbstractTemplate):
        key = function

        def generic(self, args: Any, kws: Any) -> Any:
            kind = same_lanes(args)
            if kind is None or (of_integers is None and not isinstance(kind.dtype, types.Float)):
                return None
            return signature(Lanes(types.boolean, kind.count) if compares else kind, *args)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = same_lanes(sig.args)
        assert kind is not None
        vector = context.get_value_type(kind)
        values = [operand(builder, *pair, vector) for pair in zip(args, sig.args, strict=True)]
        emit = of_floats if of_integers is None or isinstance(kind.dtype, types.Float) else of_integers
        return emit(builder, *values)

    infer_global(function, types.Function(Template))
    numbers = (types.Number, types.IntegerLiteral)
    for shape in ((Lanes,), (Lanes, Lanes), *((Lanes, number) for number in numbers), *((n, Lanes) for n in numbers)):
        lower_builtin(function, *shape)(lower)


def method(name: str, *leading: Any) -> Emit:
    """One of the builder's own instructions."""
    return lambda builder, *operands: getattr(builder, name)(*leading, *operands)


def of_llvm(name: str) -> Emit:
    """An instruction that LLVM has under a name."""
    return lambda builder, *a: instruct(builder, f"{name}.{suffix(a[0].type)}", a[0].type, list(a))


def extreme(sign: str) -> Emit:
    """The one of two that the sign holds for, NaN where one is: older versions of LLVM have no instruction for it."""

    def emit(builder: Any, one: Any, other: Any) -> Any:
        found = builder.select(builder.fcmp_unordered(sign, one, other), one, other)  # one, if either is NaN
        return builder.select(builder.fcmp_unordered("uno", other, other), other, found)

    return emit


register_operation(operator.add, method("fadd"), method("add"))
register_operation(operator.sub, method("fsub"), method("sub"))
register_operation(operator.mul, method("fmul"), method("mul"))
register_operation(operator.truediv, method("fdiv"))
register_operation(operator.neg, method("fneg"))
for sign, text in {operator.lt: "<", operator.le: "<=", operator.gt: ">", operator.ge: ">=", operator.eq: "=="}.items():
    register_operation(sign, method("fcmp_ordered", text), method("icmp_signed", text), compares=True)
for function, name in {
    np.sqrt: "llvm.sqrt",
    np.abs: "llvm.fabs",
    np.rint: "llvm.rint",
}.items():
    register_operation(function, of_llvm(name))
register_operation(np.minimum, extreme("<"))
register_operation(np.maximum, extreme(">"))


class Table(types.Type):
    """numba's name for an array of which only the place and the sizes are known."""

    def __init__(self, dtype: Any, ndim: int) -> None:
        self.dtype, self.ndim = dtype, ndim
        super().__init__(name=f"Table({dtype}, {ndim})")


class TableModel(models.StructModel):
    """An address and sizes."""

    def __init__(self, manager: Any, table: Table) -> None:
        members = [("data", types.CPointer(table.dtype)), ("shape", types.UniTuple(types.intp, table.ndim))]
        super().__init__(manager, table, members)


register_model(Table)(TableModel)


def place(context: Any, builder: Any, table: Any, value: Any, at: Any) -> Any:
    """The address of a number in a table."""
    return builder.gep(cgutils.create_struct_proxy(table)(context, builder, value=value).data, [at])


@infer_global(operator.getitem)
class GetItem(AbstractTemplate):
    """``table[i]`` and ``table[i, j]``: a number, or the table of what is left."""

    def generic(self, args: Any, kws: Any) -> Any:
        table, index = args
        if not isinstance(table, Table):
            return None
        left = table.ndim - (len(index) if isinstance(index, types.BaseTuple) else 1)
        return signature(Table(table.dtype, left) if left else table.dtype, table, whole(index))


@infer_global(operator.setitem)
class SetItem(AbstractTemplate):
    """``table[i] = number``: converted as an assignment to an array converts."""

    def generic(self, args: Any, kws: Any) -> Any:
        table, index, _ = args
        return signature(types.none, table, whole(index), table.dtype) if isinstance(table, Table) else None


def whole(index: Any) -> Any:
    """Indices of any width of integer are taken as int64."""
    return types.UniTuple(types.int64, len(index)) if isinstance(index, types.BaseTuple) else types.int64


def offset(context: Any, builder: Any, sig: Any, args: Any) -> tuple[Any, list[Any]]:
    """How far into a table an index leads, and the sizes of what is left."""
    table = cgutils.create_struct_proxy(sig.args[0])(context, builder, value=args[0])
    index = cgutils.unpack_tuple(builder, args[1]) if isinstance(sig.args[1], types.BaseTuple) else [args[1]]
    sizes = cgutils.unpack_tuple(builder, table.shape)
    at = index[0]
    for number, size in enumerate(sizes[1:], 1):
        at = builder.mul(at, size)
        if number < len(index):
            at = builder.add(at, index[number])
    return builder.gep(table.data, [at]), sizes[len(index) :]


def get_item(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    pointer, sizes = offset(context, builder, sig, args)
    if not sizes:
        return among(builder, "numbers", builder.load(pointer))
    left = cgutils.create_struct_proxy(sig.return_type)(context, builder)
    left.data, left.shape = pointer, cgutils.pack_array(builder, sizes)
    return left._getvalue()


def set_item(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    among(builder, "numbers", builder.store(args[2], offset(context, builder, sig, args)[0]))
    return context.get_dummy_value()


for index in (types.Integer, types.BaseTuple):
    lower_builtin(operator.getitem, Table, index)(get_item)
    lower_builtin(operator.setitem, Table, index, types.Any)(set_item)


@infer_getattr
class Attributes(AttributeTemplate):
    """What a table knows of itself."""

    key = Table

    def resolve_shape(self, table: Table) -> Any:
        return types.UniTuple(types.intp, table.ndim)

    def resolve_dtype(self, table: Table) -> Any:
        return types.DType(table.dtype)


@lower_getattr(Table, "shape")
def get_shape(context: Any, builder: Any, table: Any, value: Any) -> Any:
    return cgutils.create_struct_proxy(table)(context, builder, value=value).shape


@lower_getattr(Table, "dtype")
def get_dtype(context: Any, builder: Any, table: Any, value: Any) -> Any:
    return context.get_dummy_value()


@infer_global(len)
class Length(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        return signature(types.intp, *args) if isinstance(args[0], Table) else None


@lower_builtin(len, Table)
def get_length(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.extract_value(get_shape(context, builder, sig.args[0], args[0]), 0)


def as_tables(kind: Any) -> Any:
    """The type of `lanes.tables` of something: arrays become tables, at any depth of tuples."""
    if isinstance(kind, types.Array):
        return Table(kind.dtype, kind.ndim)
    if isinstance(kind, types.BaseNamedTuple):
        return types.NamedTuple([as_tables(part) for part in kind], kind.instance_class)
    return kind


def make_tables(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """The same values, arrays as tables."""
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        table = cgutils.create_struct_proxy(as_tables(kind))(context, builder)
        table.data, table.shape = array.data, array.shape
        return table._getvalue()
    if isinstance(kind, types.BaseNamedTuple):
        parts = [make_tables(context, builder, part, builder.extract_value(value, i)) for i, part in enumerate(kind)]
        return context.make_tuple(builder, as_tables(kind), parts)
    return value


def read(builder: Any, pointer: Any, dtype: Any, count: int) -> Any:
    """So many numbers from an address, which need not be aligned to the register."""
    vector = ir.VectorType(pointer.type.pointee, count)
    numbers = builder.load(builder.bitcast(pointer, vector.as_pointer()), align=dtype.bitwidth // 8)
    return among(builder, "numbers", numbers)


def write(builder: Any, pointer: Any, dtype: Any, vector: Any) -> None:
    """So many numbers to an address."""
    pointer = builder.bitcast(pointer, vector.type.as_pointer())
    among(builder, "numbers", builder.store(vector, pointer, align=dtype.bitwidth // 8))
