"""Moving SIMD vectors (`simd`) between registers and arrays: consecutive floats, or the pixels of a block."""

from __future__ import annotations

from llvmlite import ir
from numba.core import types

from bodydouble.render.simd import BLOCK_HEIGHT, BLOCK_WIDTH, F32, F32_LANES, I32, intrinsic, vector


def _pointer(context, builder, array_type, array, index, vector_type):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector_type.as_pointer())


def _is_flat(array) -> bool:
    return isinstance(array, types.Array) and array.ndim == 1 and array.dtype == types.float32 and array.layout == "C"


@intrinsic
def load(typingctx, array, index):
    """Lanes from consecutive floats of a flat array. Not checked against its end."""
    if not _is_flat(array):
        return None

    def emit(context, builder, sig, args):
        return builder.load(_pointer(context, builder, sig.args[0], args[0], args[1], F32_LANES), align=4)

    return vector(array, types.intp), emit


@intrinsic
def store(typingctx, array, index, value):
    """Lanes into consecutive floats of a flat array. Not checked against its end."""
    if not _is_flat(array):
        return None

    def emit(context, builder, sig, args):
        builder.store(args[2], _pointer(context, builder, sig.args[0], args[0], args[1], F32_LANES), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), emit


_row = ir.VectorType(F32, BLOCK_WIDTH)


@intrinsic
def load_block(typingctx, array, index, stride):
    """Lanes from a block of pixels: rows of BLOCK_WIDTH floats, `stride` floats apart, in a flat array."""
    if not _is_flat(array):
        return None

    def emit(context, builder, sig, args):
        value = ir.Constant(F32_LANES, ir.Undefined)
        index_now = args[1]
        for row in range(BLOCK_HEIGHT):
            part = builder.load(_pointer(context, builder, sig.args[0], args[0], index_now, _row), align=4)
            for column in range(BLOCK_WIDTH):
                element = builder.extract_element(part, ir.Constant(I32, column))
                value = builder.insert_element(value, element, ir.Constant(I32, row * BLOCK_WIDTH + column))
            index_now = builder.add(index_now, args[2])
        return value

    return vector(array, types.intp, types.intp), emit


@intrinsic
def store_block(typingctx, array, index, stride, value):
    """Lanes into a block of pixels; the counterpart of `load_block`."""
    if not _is_flat(array):
        return None

    def emit(context, builder, sig, args):
        index_now = args[1]
        for row in range(BLOCK_HEIGHT):
            lanes = [ir.Constant(I32, row * BLOCK_WIDTH + column) for column in range(BLOCK_WIDTH)]
            part = builder.shuffle_vector(
                args[3], ir.Constant(F32_LANES, ir.Undefined), ir.Constant(ir.VectorType(I32, BLOCK_WIDTH), lanes)
            )
            builder.store(part, _pointer(context, builder, sig.args[0], args[0], index_now, _row), align=4)
            index_now = builder.add(index_now, args[2])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vector), emit
