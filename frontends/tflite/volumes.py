"""Convolutions over three axes, NDHWC in TFLite and channels first in ONNX."""

from __future__ import annotations

from ...ir.errors import InvalidModel, UnsupportedModel
from .call import Call, converts
from .images import amount, same_pads

_TO_FIRST, _TO_LAST = (0, 4, 1, 2, 3), (0, 2, 3, 4, 1)


@converts("CONV_3D", "CONV_3D_TRANSPOSE")
def _convolution(call: Call) -> None:
    """Weights [d, h, w, in, out], of the transposed one [d, h, w, out, in] with the result's shape in front."""
    b, is_transposed = call.builder, call.name == "CONV_3D_TRANSPOSE"
    place = 2 if is_transposed else 0
    shape = call.info(1).shape
    if call.rank(place) != 5 or len(shape) != 5 or min(shape) < 1:
        raise InvalidModel(f"has weights of {list(shape)}")
    strides, dilations = (
        tuple(amount(call.option(f"{what}_{axis}"), f"{what}_{axis}") for axis in "dhw")
        for what in ("stride", "dilation")
    )
    x, windows, same = call.real(place), shape[:3], call.option("padding") == 0
    extents = [call.extent(x, axis) for axis in (1, 2, 3)]
    if None in extents:
        raise UnsupportedModel("reads a volume of open size")
    reach = [(window - 1) * dilation + 1 for window, dilation in zip(windows, dilations)]
    attrs = {"kernel_shape": windows, "strides": strides, "dilations": dilations}
    bias = call.real(place + 1 if is_transposed else 2) if call.has(place + 1 if is_transposed else 2) else None
    first = b.op("Transpose", x, perm=_TO_FIRST)
    if not is_transposed:
        if call.extent(x, 4) != shape[3]:
            raise InvalidModel(f"has weights of {list(shape)} for {call.extent(x, 4)} channels")
        pads = [same_pads(e or 1, r, s) if same else (0, 0) for e, r, s in zip(extents, reach, strides)]
        attrs["pads"] = (*(p[0] for p in pads), *(p[1] for p in pads))
        result = b.op("Conv", first, call.weights(1, (4, 3, 0, 1, 2)), bias, **attrs)
    else:
        size = call.ints(0) if call.is_const(0) else list(call.outputs[0].shape)
        if len(size) != 5 or min(size[1:]) < 1:
            raise InvalidModel(f"has an output of {size[:8]}")
        before = [same_pads(s, r, stride)[0] if same else 0 for s, r, stride in zip(size[1:4], reach, strides)]
        left = [
            ((e or 1) - 1) * stride + r - cut - s
            for e, stride, r, cut, s in zip(extents, strides, reach, before, size[1:4])
        ]
        if any(rest <= -stride for rest, stride in zip(left, strides)):
            raise InvalidModel(f"makes {size[1:4]} of {extents} by strides of {strides}")
        attrs["pads"] = (*before, *(max(rest, 0) for rest in left))
        attrs["output_padding"] = tuple(max(-rest, 0) for rest in left)
        result = b.op("ConvTranspose", first, call.weights(1, (4, 3, 0, 1, 2)), bias, **attrs)
    result = call.quantized(call.activated(result, call.option("activation")), call.outputs[0])
    call.give(b.op("Transpose", result, perm=_TO_LAST))
