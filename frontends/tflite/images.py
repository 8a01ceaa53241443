"""Operators of images: convolutions, pools, resizing, blocks of pixels. They work channels first in ONNX."""

from __future__ import annotations

from ...ir.core import Value
from ...ir.errors import InvalidModel, UnsupportedModel
from .call import Call, converts

_SAME = 0
# Numbers that options of an image are below: no model has more, and sums of them stay in 64 bits.
_MAX = 1 << 24


def amount(value: int, what: str) -> int:
    """A stride, a dilation, the size of a window. Raises InvalidModel for one that is none."""
    if not 0 < value < _MAX:
        raise InvalidModel(f"has {what} {value}")
    return value


def _pair(call: Call, what: str) -> tuple[int, int]:
    return amount(call.option(f"{what}_h"), f"{what}_h"), amount(call.option(f"{what}_w"), f"{what}_w")


def same_pads(size: int, window: int, stride: int) -> tuple[int, int]:
    """Zeros before and behind under padding SAME: as many as ceil(size / stride) results need, the odd one behind."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def _padding(call: Call, image: Value, windows: tuple[int, int], strides: tuple[int, int]) -> dict[str, object]:
    """Attributes of the padding that the options name, of an image that is channels first."""
    if call.option("padding") != _SAME:
        return {}
    pads = []
    for axis, window, stride in zip((2, 3), windows, strides):
        size = call.extent(image, axis)
        if size is None and stride > 1:
            return {"auto_pad": "SAME_UPPER"}
        pads.append(same_pads(size or window, window, stride))
    return {"pads": (pads[0][0], pads[1][0], pads[0][1], pads[1][1])}


@converts("CONV_2D", "DEPTHWISE_CONV_2D")
def _convolution(call: Call) -> None:
    image = call.real_first(0)
    shape = call.info(1).shape
    if len(shape) != 4 or min(shape) < 1:
        raise InvalidModel(f"has weights of {list(shape)}")
    channels = call.extent(image, 1)
    if channels is None:
        raise UnsupportedModel("reads an image with an open number of channels")
    if call.name == "CONV_2D":
        perm, windows, group = (0, 3, 1, 2), shape[1:3], channels // shape[3]
        fits = group and channels == group * shape[3] and shape[0] % group == 0
    else:  # [1, h, w, channels * multiplier]
        perm, windows, group = (3, 0, 1, 2), shape[1:3], channels
        fits = shape[0] == 1 and shape[3] % channels == 0
    if not fits:
        raise InvalidModel(f"has weights of {list(shape)} for {channels} channels")
    strides, dilations = _pair(call, "stride"), _pair(call, "dilation")
    reach = ((windows[0] - 1) * dilations[0] + 1, (windows[1] - 1) * dilations[1] + 1)
    padding = _padding(call, image, reach, strides)
    if call.dilation is not None:
        dilations, padding = call.dilation.blocks, {"pads": call.dilation.pads}
    result = call.builder.op(
        "Conv",
        image,
        call.weights(1, perm),
        call.real(2) if call.has(2) else None,
        group=group,
        kernel_shape=windows,
        strides=strides,
        dilations=dilations,
        **padding,
    )
    call.give_first(result, call.option("activation"))


@converts("TRANSPOSE_CONV")
def _transposed(call: Call) -> None:
    # Where the number of images is open the shape is computed, but the result says the rest of it.
    size = call.ints(0) if call.is_const(0) else list(call.outputs[0].shape)
    if len(size) != 4 or min(size[1:]) < 1:
        raise InvalidModel(f"has an output of {size[:8]}")
    same, strides = call.option("padding") == _SAME, _pair(call, "stride")
    windows = call.info(1).shape[1:3]
    before = tuple(same_pads(s, w, stride)[0] if same else 0 for s, w, stride in zip(size[1:3], windows, strides))
    bias = call.real(3) if call.has(3) else None
    transposed_convolution(call, 2, bias, (size[1], size[2]), strides, before, call.option("activation"))


def transposed_convolution(
    call: Call,
    operand: int,
    bias: Value | None,
    size: tuple[int, ...],
    strides: tuple[int, ...],
    before: tuple[int, ...],
    activation: int = 0,
) -> None:
    """ConvTranspose to a given size of which `before` rows and columns are cut off; weights [out, h, w, in] at 1."""
    image = call.real_first(operand)
    shape = call.info(1).shape
    if len(shape) != 4 or min(shape) < 1:
        raise InvalidModel(f"has weights of {list(shape)}")
    behind, more = [], []
    for axis in range(2):
        extent = call.extent(image, 2 + axis)
        if extent is None:
            raise UnsupportedModel("reads an image of open size")
        left = (extent - 1) * strides[axis] + shape[1 + axis] - before[axis] - size[axis]
        if left <= -strides[axis] or size[axis] < 1:
            raise InvalidModel(f"makes {size[axis]} of {extent} by a stride of {strides[axis]}")
        behind.append(max(left, 0))
        more.append(max(-left, 0))
    result = call.builder.op(
        "ConvTranspose",
        image,
        call.weights(1, (3, 0, 1, 2)),
        bias,
        kernel_shape=shape[1:3],
        strides=strides,
        pads=(*before, *behind),
        output_padding=tuple(more),
    )
    call.give_first(result, activation)


@converts("AVERAGE_POOL_2D", "MAX_POOL_2D")
def _pool(call: Call) -> None:
    activation = call.option("activation")
    stored = call.name == "MAX_POOL_2D" and call.as_stored(narrow=True) and not activation
    image = call.value_first(0) if stored else call.real_first(0)
    windows, strides = _pair(call, "filter"), _pair(call, "stride")
    op = "MaxPool" if call.name == "MAX_POOL_2D" else "AveragePool"
    padding = _padding(call, image, windows, strides)
    result = call.builder.op(op, image, kernel_shape=windows, strides=strides, **padding)
    if stored:
        call.give(call.channels_last(result))
    else:
        call.give_first(result, activation)


@converts("L2_POOL_2D")
def _l2_pool(call: Call) -> None:
    """The root of the mean of squares, of what is in the image."""
    image, windows, strides = call.real_first(0), _pair(call, "filter"), _pair(call, "stride")
    b, padding = call.builder, _padding(call, image, windows, strides)
    mean = b.op("AveragePool", b.op("Mul", image, image), kernel_shape=windows, strides=strides, **padding)
    call.give_first(b.op("Sqrt", mean), call.option("activation"))


@converts("LOCAL_RESPONSE_NORMALIZATION")
def _local_response_normalization(call: Call) -> None:
    """x / (bias + alpha * sum of squares of 2 * radius + 1 channels) ** beta; ONNX's alpha is for a mean."""
    size = 2 * amount(call.option("radius"), "radius") + 1
    alpha, beta, bias = (call.option(name) for name in ("alpha", "beta", "bias"))
    call.give_first(call.builder.op("LRN", call.real_first(0), size=size, alpha=alpha * size, beta=beta, bias=bias))


@converts("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def _resize(call: Call) -> None:
    nearest = call.name == "RESIZE_NEAREST_NEIGHBOR"
    stored = nearest and call.as_stored(narrow=True)
    image = call.value_first(0) if stored else call.real_first(0)
    if call.is_const(1) and (len(size := call.ints(1)) != 2 or min(size) < 1):
        raise InvalidModel(f"resizes to {size}")
    corners, centers = call.option("align_corners"), call.option("half_pixel_centers")
    if corners and centers:
        raise InvalidModel("aligns corners and centers at once")
    mode = "align_corners" if corners else "half_pixel" if centers else "asymmetric"
    attrs = {"mode": "nearest" if nearest else "linear", "coordinate_transformation_mode": mode}
    if nearest:
        # TFLite rounds (i + 0.5) * scale down, which is ONNX's coordinate, less a half, rounded up from its half.
        attrs["nearest_mode"] = "floor" if mode == "asymmetric" else "round_prefer_ceil"
    b = call.builder
    result = b.op("Resize", image, None, None, call.wide(1), axes=(2, 3), **attrs)
    if stored:
        call.give(call.channels_last(result))
    else:
        call.give_first(result)


@converts("SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
def _blocks(call: Call) -> None:
    size = amount(call.option("block_size"), "block_size")
    op = "SpaceToDepth" if call.name == "SPACE_TO_DEPTH" else "DepthToSpace"
    if call.as_stored(narrow=True):
        call.give(call.channels_last(call.builder.op(op, call.value_first(0), blocksize=size)))
    else:
        call.give_first(call.builder.op(op, call.real_first(0), blocksize=size))
