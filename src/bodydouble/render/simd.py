"""A SIMD vector of floats for numba, with operators: what makes the CPU kernels fast without a compiler.

Loops that LLVM may or may not vectorise change their speed fivefold with a harmless edit; values of an explicit vector
type do not. A vector has 16 lanes where the processor has AVX-512 and 8 lanes elsewhere (LLVM splits it further where
registers are shorter). Operators lower to one LLVM instruction each. No fast-math flags are set, so the same
expression gives the same bits in two kernels; multiply-add is fused only where `fma` says so.
"""

from __future__ import annotations

import operator
from typing import Any

import llvmlite.binding
import numba.extending
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing import signature, templates
from numba.core.typing.templates import ConcreteTemplate
from numba.extending import lower_builtin, models, register_model

# Decorators that numba leaves untyped: what they return is called with fewer arguments than it is written with.
intrinsic: Any = numba.extending.intrinsic
infer_global: Any = templates.infer_global

LANES = 16 if llvmlite.binding.get_host_cpu_features().get("avx512f", False) else 8
"""Floats in a vector."""
BLOCK_WIDTH = 4
BLOCK_HEIGHT = LANES // BLOCK_WIDTH
"""A vector holds the pixels of a block of BLOCK_WIDTH x BLOCK_HEIGHT, row by row."""

F32, I32 = ir.FloatType(), ir.IntType(32)
F32_LANES, I32_LANES = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
"""What LLVM calls a float, an integer, and a vector of each."""


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


class _Mask(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"mask{LANES}")


vector, mask = _Vector(), _Mask()


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, F32_LANES)


@register_model(_Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(ir.IntType(1), LANES))


def _constant(value: float) -> ir.Constant:
    return ir.Constant(F32_LANES, [ir.Constant(F32, value)] * LANES)


def _int_constant(value: int) -> ir.Constant:
    return ir.Constant(I32_LANES, [ir.Constant(I32, value)] * LANES)


def _spread(builder, scalar):
    """A scalar in every lane."""
    single = builder.insert_element(ir.Constant(F32_LANES, ir.Undefined), scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(
        single, ir.Constant(F32_LANES, ir.Undefined), ir.Constant(I32_LANES, [ir.Constant(I32, 0)] * LANES)
    )


def _call(builder, name: str, *args):
    """Call an LLVM intrinsic that maps vectors to a vector."""
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(F32_LANES, [F32_LANES] * len(args)), f"llvm.{name}.v{LANES}f32"
    )
    return builder.call(function, args)


# --- operators: vector with vector, vector with float32 ---------------------------------------------------------------


def _define_operator(op, emit, result) -> None:
    @infer_global(op)
    class _Typing(ConcreteTemplate):
        cases = [  # noqa: RUF012  (numba's own interface)
            signature(result, vector, vector),
            signature(result, vector, types.float32),
            signature(result, types.float32, vector),
        ]

    @lower_builtin(op, vector, vector)
    def _both(context, builder, sig, args):
        return emit(builder, args[0], args[1])

    @lower_builtin(op, vector, types.float32)
    def _right(context, builder, sig, args):
        return emit(builder, args[0], _spread(builder, args[1]))

    @lower_builtin(op, types.float32, vector)
    def _left(context, builder, sig, args):
        return emit(builder, _spread(builder, args[0]), args[1])


_define_operator(operator.add, lambda b, x, y: b.fadd(x, y), vector)
_define_operator(operator.sub, lambda b, x, y: b.fsub(x, y), vector)
_define_operator(operator.mul, lambda b, x, y: b.fmul(x, y), vector)
_define_operator(operator.truediv, lambda b, x, y: b.fdiv(x, y), vector)
_define_operator(operator.ge, lambda b, x, y: b.fcmp_ordered(">=", x, y), mask)
_define_operator(operator.le, lambda b, x, y: b.fcmp_ordered("<=", x, y), mask)
_define_operator(operator.lt, lambda b, x, y: b.fcmp_ordered("<", x, y), mask)
_define_operator(operator.gt, lambda b, x, y: b.fcmp_ordered(">", x, y), mask)


@infer_global(operator.and_)
class _MaskAnd(ConcreteTemplate):
    cases = [signature(mask, mask, mask)]  # noqa: RUF012  (numba's own interface)


@lower_builtin(operator.and_, mask, mask)
def _mask_and(context, builder, sig, args):
    return builder.and_(args[0], args[1])


# --- functions ------------------------------------------------------------------------------------------------------


def _as_vector(builder, ty, value):
    return value if isinstance(ty, _Vector) else _spread(builder, value)


def _is_operand(ty) -> bool:
    return isinstance(ty, _Vector) or ty == types.float32


@intrinsic
def splat(typingctx, x):
    """The scalar float32 in every lane."""
    return vector(types.float32), lambda context, builder, sig, args: _spread(builder, args[0])


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c, rounded once where the processor can. Operands may be float32."""
    if not (_is_operand(a) and _is_operand(b) and _is_operand(c)):
        return None

    def emit(context, builder, sig, args):
        return _call(builder, "fmuladd", *(_as_vector(builder, t, v) for t, v in zip(sig.args, args, strict=True)))

    return vector(a, b, c), emit


@intrinsic
def fnma(typingctx, a, b, c):
    """c - a * b, rounded once where the processor can. Operands may be float32."""
    if not (_is_operand(a) and _is_operand(b) and _is_operand(c)):
        return None

    def emit(context, builder, sig, args):
        x, y, z = (_as_vector(builder, t, v) for t, v in zip(sig.args, args, strict=True))
        return _call(builder, "fmuladd", builder.fneg(x), y, z)

    return vector(a, b, c), emit


@intrinsic
def minimum(typingctx, a, b):
    """The lesser in each lane; `b` where `a` is NaN."""
    if not (_is_operand(a) and _is_operand(b)):
        return None

    def emit(context, builder, sig, args):
        x, y = (_as_vector(builder, t, v) for t, v in zip(sig.args, args, strict=True))
        return builder.select(builder.fcmp_ordered("<", x, y), x, y)

    return vector(a, b), emit


@intrinsic
def maximum(typingctx, a, b):
    """The greater in each lane; `b` where `a` is NaN."""
    if not (_is_operand(a) and _is_operand(b)):
        return None

    def emit(context, builder, sig, args):
        x, y = (_as_vector(builder, t, v) for t, v in zip(sig.args, args, strict=True))
        return builder.select(builder.fcmp_ordered(">", x, y), x, y)

    return vector(a, b), emit


@intrinsic
def sqrt(typingctx, a):
    """Square root."""
    return vector(vector), lambda context, builder, sig, args: _call(builder, "sqrt", args[0])


@intrinsic
def floor(typingctx, a):
    """Largest whole number not above."""
    return vector(vector), lambda context, builder, sig, args: _call(builder, "floor", args[0])


@intrinsic
def keep(typingctx, condition, a):
    """`a` where the mask is set, 0 elsewhere."""

    def emit(context, builder, sig, args):
        return builder.select(args[0], args[1], _constant(0.0))

    return vector(mask, vector), emit


@intrinsic
def any_set(typingctx, condition):
    """Whether any lane of a mask is set."""

    def emit(context, builder, sig, args):
        word = ir.IntType(LANES)
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], word), ir.Constant(word, 0))

    return types.boolean(mask), emit


EXP2 = (0.0095701, 0.05591786, 0.24024745, 0.69312181, 0.99999926)
"""Minimax fit of 2^x on [-1/2, 1/2] in relative error, highest power first; the largest error is 2.6e-6."""


@intrinsic
def rint(typingctx, a):
    """Nearest whole number."""
    return vector(vector), lambda context, builder, sig, args: _call(builder, "rint", args[0])


@intrinsic
def times_power_of_2(typingctx, a, whole):
    """a * 2^whole for whole numbers and results in the normal range: adds to the exponent."""
    if not (isinstance(a, _Vector) and isinstance(whole, _Vector)):
        return None

    def emit(context, builder, sig, args):
        shifted = builder.shl(builder.fptosi(args[1], I32_LANES), _int_constant(23))
        return builder.bitcast(builder.add(builder.bitcast(args[0], I32_LANES), shifted), F32_LANES)

    return vector(vector, vector), emit


@intrinsic
def horizontal_sum(typingctx, a):
    """Sum of the lanes as float32, in pairs: (first half + second half) and so on."""

    def emit(context, builder, sig, args):
        value, width = args[0], LANES
        while width > 1:
            half = width // 2
            parts = [
                builder.shuffle_vector(
                    value,
                    ir.Constant(value.type, ir.Undefined),
                    ir.Constant(ir.VectorType(I32, half), [ir.Constant(I32, i) for i in range(start, start + half)]),
                )
                for start in (0, half)
            ]
            value, width = builder.fadd(*parts), half
        return builder.extract_element(value, ir.Constant(I32, 0))

    return types.float32(vector), emit


@intrinsic
def lane_x(typingctx):
    """Column of each lane's pixel centre in its block: 0.5, 1.5, ..."""
    values = ir.Constant(F32_LANES, [ir.Constant(F32, lane % BLOCK_WIDTH + 0.5) for lane in range(LANES)])
    return vector(), lambda context, builder, sig, args: values


@intrinsic
def lane_y(typingctx):
    """Row of each lane's pixel centre in its block: 0.5, 0.5, 0.5, 0.5, 1.5, ..."""
    values = ir.Constant(F32_LANES, [ir.Constant(F32, lane // BLOCK_WIDTH + 0.5) for lane in range(LANES)])
    return vector(), lambda context, builder, sig, args: values


@intrinsic
def lane_index(typingctx):
    """0, 1, 2, ..."""
    values = ir.Constant(F32_LANES, [ir.Constant(F32, float(lane)) for lane in range(LANES)])
    return vector(), lambda context, builder, sig, args: values


@intrinsic
def byte_rows(typingctx, first, last):
    """A uint64 of which byte k has the bits first[k] .. last[k] (whole numbers, clipped to 0 .. 7) of lanes 0 to 7."""
    if not (isinstance(first, _Vector) and isinstance(last, _Vector)):
        return None

    def emit(context, builder, sig, args):
        def clipped(value):
            value = builder.select(builder.fcmp_ordered(">", value, _constant(0.0)), value, _constant(0.0))
            value = builder.select(builder.fcmp_ordered("<", value, _constant(8.0)), value, _constant(8.0))
            return builder.fptosi(value, I32_LANES)

        one = _int_constant(1)
        begin, end = clipped(args[0]), clipped(builder.fadd(args[1], _constant(1.0)))
        bits = builder.sub(builder.shl(one, end), builder.shl(one, begin))
        bits = builder.select(builder.icmp_signed("<", begin, end), bits, _int_constant(0))
        lanes = ir.Constant(ir.VectorType(I32, 8), [ir.Constant(I32, lane) for lane in range(8)])
        rows = builder.shuffle_vector(bits, ir.Constant(I32_LANES, ir.Undefined), lanes)
        return builder.bitcast(builder.trunc(rows, ir.VectorType(ir.IntType(8), 8)), ir.IntType(64))

    return types.uint64(vector, vector), emit


# --- words of bits ----------------------------------------------------------------------------------------------------


@intrinsic
def lowest_bit(typingctx, word):
    """Index of the lowest set bit of a non-zero uint64."""

    def emit(context, builder, sig, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), emit


@intrinsic
def count_bits(typingctx, word):
    """Number of set bits of a uint64."""
    return types.uint64(types.uint64), lambda context, builder, sig, args: builder.ctpop(args[0])
