"""Custom operators whose meaning is published: those of MediaPipe (mediapipe/util/tflite/operations)."""

from __future__ import annotations

import struct

import numpy as np

from ...ir.errors import FormatError, InvalidModel, UnsupportedModel
from ...ir.tensor import Array
from ...ir.types import F32, I64
from .call import Call, converts
from .images import amount, same_pads, transposed_convolution

_SAME = 1  # of the C structure; the flatbuffer's enumeration has 0


@converts("custom Convolution2DTransposeBias")
def _transposed_with_bias(call: Call) -> None:
    """A transposed convolution with a bias; its options are TfLiteTransposeConvParams as C lays them out.

    Under SAME a size of (n - 1) * stride + window less what one result more would not need
    (transpose_conv_bias.cc), of which half is cut off before.
    """
    parameters = call.payload()
    if len(parameters) < 12:
        raise FormatError("has no parameters of a transposed convolution")
    padding, width, height = struct.unpack_from("<3i", parameters)
    strides = amount(height, "stride_h"), amount(width, "stride_w")
    image, windows = call.value(0), call.info(1).shape[1:3]
    size, before = [], []
    for axis, window, stride in zip((1, 2), windows, strides):
        extent = call.extent(image, axis)
        if extent is None or extent < 1:
            raise UnsupportedModel("reads an image of open size")
        cut = max(0, window - (extent - 1) % stride - 1) if padding == _SAME else 0
        size.append(stride * (extent - 1) + window - cut)
        before.append(cut // 2)
    transposed_convolution(call, 0, call.real(2), tuple(size), strides, tuple(before))


def _pool(call: Call) -> tuple[bool, tuple[int, int], tuple[int, int]]:
    """Whether the padding is SAME, the strides and the windows, of TfLitePoolParams as C lays it out."""
    parameters = call.payload()
    if len(parameters) < 24:
        raise FormatError("has no parameters of a pool")
    padding, stride_w, stride_h, filter_w, filter_h, activation = struct.unpack_from("<6i", parameters)
    if activation:
        raise UnsupportedModel(f"has activation {activation}")
    strides = amount(stride_h, "stride_h"), amount(stride_w, "stride_w")
    return padding == _SAME, strides, (amount(filter_h, "filter_h"), amount(filter_w, "filter_w"))


def _origins(count: int, stride: int, before: int, axis: int) -> Array:
    """Where the windows begin along an axis, to be added to images that are channels first."""
    return (np.arange(count) * stride - before).reshape(-1, *(1 for _ in range(axis + 1, 4)))


@converts("custom MaxPoolingWithArgmax2D")
def _max_pool_with_places(call: Call) -> None:
    """A max pool, and where in its window each maximum is: row * width of the window + column, and a tenth."""
    same, strides, windows = _pool(call)
    b, image = call.builder, call.real_first(0)
    size = [call.extent(image, axis) for axis in (2, 3)]
    if size[0] is None or size[1] is None:
        raise UnsupportedModel("reads an image of open size")
    pads = [same_pads(s or 1, w, stride) if same else (0, 0) for s, w, stride in zip(size, windows, strides)]
    attrs = {"kernel_shape": windows, "strides": strides, "pads": (pads[0][0], pads[1][0], pads[0][1], pads[1][1])}
    result, places = b.node("MaxPool", [image], attrs, outputs=2).outputs
    inside = b.op("Mod", places, b.const(size[0] * size[1], I64))
    row, column = b.op("Div", inside, b.const(size[1], I64)), b.op("Mod", inside, b.const(size[1], I64))
    counts = [call.extent(result, axis) or 0 for axis in (2, 3)]
    begin = [_origins(n, s, p[0], axis) for n, s, p, axis in zip(counts, strides, pads, (2, 3))]
    row, column = b.op("Sub", row, b.const(begin[0])), b.op("Sub", column, b.const(begin[1]))
    place = b.op("Cast", b.op("Add", b.op("Mul", row, b.const(windows[1], I64)), column), to=F32.onnx)
    call.give(call.channels_last(result))
    call.give(call.channels_last(b.op("Add", place, b.const(0.1, F32))), 1)


@converts("custom MaxUnpooling2D")
def _max_unpool(call: Call) -> None:
    """Each number where its maximum was found in a window, zeros elsewhere."""
    same, strides, windows = _pool(call)
    b, image, inside = call.builder, call.real_first(0), call.real_first(1)
    shape = [call.extent(image, axis) for axis in range(4)]
    if any(size is None for size in shape):
        raise UnsupportedModel("reads an image of open size")
    n, c, *size = (size or 0 for size in shape)
    whole = [s * w for s, w in zip(size, windows)]
    before = [
        same_pads(total, w, stride)[0] if same else 0 for total, w, stride in zip(whole, windows, strides)
    ]
    if max(n, c, *whole) > 1 << 20:
        raise InvalidModel(f"makes {whole} of {size}")
    place, width = b.op("Cast", inside, to=I64.onnx), b.const(windows[1], I64)
    row, column = b.op("Div", place, width), b.op("Mod", place, width)
    begin = [_origins(s, stride, cut, axis) for s, stride, cut, axis in zip(size, strides, before, (2, 3))]
    row, column = b.op("Add", row, b.const(begin[0])), b.op("Add", column, b.const(begin[1]))
    channel = b.const((np.arange(n * c) * (whole[0] * whole[1])).reshape(n, c, 1, 1))
    flat = b.op("Add", b.op("Add", b.op("Mul", row, b.const(whole[1], I64)), column), channel)
    attrs = {"kernel_shape": windows, "strides": strides}
    result = b.node("MaxUnpool", [image, flat, b.ints([n, c, *whole])], attrs).output
    call.give(call.channels_last(result))
