"""Custom operators of MediaPipe's face attention mesh: crops around landmarks (mediapipe/util/tflite/operations)."""

from __future__ import annotations

import numpy as np

from ...ir.core import Value
from ...ir.errors import InvalidModel, UnsupportedModel
from ...ir.types import F32
from .arithmetic import angle
from .call import Call, converts
from .flexbuffer import Numbers, read_map
from .images import amount


@converts("custom Landmarks2TransformMatrix")
def _to_matrix(call: Call) -> None:
    """From landmarks [1, n, 3] the map [1, 4, 4] of a crop's pixels to where they lie among the landmarks.

    The crop's box holds a subset of the landmarks, is scaled, and turned so that two of them are level (or at
    `target_rotation_radians`).
    """
    options = read_map(call.payload())
    subset = options.get("subset_idxs")
    if not isinstance(subset, list) or not subset:
        raise UnsupportedModel("has the options of its first version")
    shape = call.info(0).shape
    ends = [_whole(options, f"{side}_rotation_idx") for side in ("left", "right")]
    if len(shape) != 3 or shape[0] != 1 or shape[2] < 2 or not all(0 <= i < shape[1] for i in [*ends, *subset]):
        raise InvalidModel(f"has landmarks of {list(shape)} that its options do not fit")
    sizes = [amount(_whole(options, f"output_{side}"), side) for side in ("width", "height")]
    scales = [_real(options, f"scale_{axis}") / size for axis, size in zip("xy", sizes)]
    b = call.builder
    points = b.op("Slice", call.real(0), b.ints([0]), b.ints([2]), b.ints([2]))
    left, right = (b.op("Gather", points, b.ints([i]), axis=1) for i in ends)
    across = b.op("Sub", right, left)
    x, y = b.node("Split", [across, b.ints([1, 1])], {"axis": 2}, outputs=2).outputs  # [1, 1, 1]
    turn = b.op("Sub", b.const(_real(options, "target_rotation_radians", 0.0), F32), angle(b, y, x))
    c, s = b.op("Cos", turn), b.op("Sin", turn)
    less = b.op("Neg", s)
    back, forth = (
        b.op("Concat", b.op("Concat", c, right, axis=2), b.op("Concat", left, c, axis=2), axis=1)
        for right, left in ((s, less), (less, s))
    )
    turned = b.op("MatMul", b.op("Gather", points, b.ints([int(i) for i in subset]), axis=1), back)
    least, most = (b.op(op, turned, b.ints([1])) for op in ("ReduceMin", "ReduceMax"))  # [1, 1, 2]
    middle = b.op("Mul", b.op("Add", least, most), b.const(0.5, F32))
    middle = b.op("MatMul", middle, forth)
    # The matrix turned and scaled, and what it moves the middle of the crop to.
    scaled = b.op("Mul", back, b.op("Mul", b.op("Sub", most, least), b.const(scales, F32)))
    half = b.const(np.array([[[-size / 2] for size in sizes]], np.float32))
    shift = b.op("Add", b.op("Reshape", middle, b.ints([1, 2, 1])), b.op("MatMul", scaled, half))  # [1, 2, 1]
    rows = b.op("Concat", scaled, b.const(np.zeros((1, 2, 1), np.float32)), shift, axis=2)
    call.give(b.op("Concat", rows, b.const(np.eye(4, dtype=np.float32)[None, 2:]), axis=1))


@converts("custom TransformLandmarks")
def _transform(call: Call) -> None:
    """Landmarks [1, n, 2 or 3] moved by a matrix [1, 4, 4] in x and y."""
    shape = call.info(0).shape
    if call.payload() or len(shape) != 3 or shape[2] not in (2, 3):
        raise UnsupportedModel("has the options of its first version")
    b, points = call.builder, call.real(0)
    moved = _affine(call, b.op("Slice", points, b.ints([0]), b.ints([2]), b.ints([2])))
    if shape[2] == 3:
        moved = b.op("Concat", moved, b.op("Slice", points, b.ints([2]), b.ints([3]), b.ints([2])), axis=2)
    call.give(moved)


def _affine(call: Call, points: Value) -> Value:
    """Points [1, n, 2] where the matrix [1, 4, 4] at operand 1 leads."""
    b, zero = call.builder, call.builder.ints([0])
    if tuple(call.info(1).shape) != (1, 4, 4):
        raise InvalidModel(f"has a matrix of {list(call.info(1).shape)}")
    rows = b.op("Slice", call.real(1), zero, b.ints([2]), b.ints([1]))
    turn, shift = (b.op("Slice", rows, b.ints([i]), b.ints([j]), b.ints([2])) for i, j in ((0, 2), (3, 4)))
    products = b.op("Mul", b.op("Unsqueeze", points, b.ints([2])), b.op("Unsqueeze", turn, b.ints([1])))
    return b.op("Add", b.op("ReduceSum", products, b.ints([3]), keepdims=0), b.op("Reshape", shift, b.ints([1, 1, 2])))


@converts("custom TransformTensorBilinear")
def _crop(call: Call) -> None:
    """The pixels of an image where a matrix [1, 4, 4] leads from a crop's, bilinearly; zero outside of the image."""
    options = read_map(call.payload())
    height, width = (amount(_whole(options, f"output_{side}"), side) for side in ("height", "width"))
    if height * width > 1 << 20:
        raise InvalidModel(f"crops {height} x {width} pixels")
    b, image = call.builder, call.real_first(0)
    size = [call.extent(image, axis) for axis in (3, 2)]
    if call.extent(image, 0) != 1 or None in size or min(s or 0 for s in size) < 2:
        raise UnsupportedModel("crops images of open size")
    y, x = np.mgrid[0:height, 0:width]
    centers = np.stack([x, y], -1).reshape(1, -1, 2) + np.float32(0.5)
    places = b.op("Sub", _affine(call, b.const(centers.astype(np.float32))), b.const(0.5, F32))  # 0 to size - 1
    last = b.const([float((s or 0) - 1) for s in size], F32)
    grid = b.op("Sub", b.op("Div", b.op("Mul", places, b.const(2.0, F32)), last), b.const(1.0, F32))
    grid = b.op("Reshape", grid, b.ints([1, height, width, 2]))
    found = b.op("GridSample", image, grid, align_corners=1, mode="linear", padding_mode="zeros")
    within = b.op("And", b.op("GreaterOrEqual", places, b.const(0.0, F32)), b.op("LessOrEqual", places, last))
    within = b.op("ReduceMin", b.op("Cast", within, to=F32.onnx), b.ints([2]), keepdims=0)
    found = b.op("Mul", found, b.op("Reshape", within, b.ints([1, 1, height, width])))
    call.give(call.channels_last(found))


def _whole(options: dict[str, Numbers], name: str) -> int:
    found = options.get(name)
    if not isinstance(found, int):
        raise InvalidModel(f"has no option {name}")
    return found


def _real(options: dict[str, Numbers], name: str, default: float | None = None) -> float:
    found = options.get(name, default)
    if not isinstance(found, (int, float)):
        raise InvalidModel(f"has no option {name}")
    return float(found)
