"""Custom operators whose meaning is published: those of MediaPipe (mediapipe/util/tflite/operations)."""

from __future__ import annotations

import struct

from ...ir.errors import FormatError, UnsupportedModel
from .call import Call, converts
from .images import amount, transposed_convolution

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
