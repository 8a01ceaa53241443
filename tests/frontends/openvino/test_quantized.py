"""FakeQuantize, compressed weights, and constants in half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset15 as o

from geoc.ir.core import Model, Node

from .running import check, constant, floats, ops, parameter, read, saved

PAIR = ["QuantizeLinear", "DequantizeLinear"]
CHANNELS = np.array([1, 2, 3], np.float32).reshape(1, 3, 1)


def only(model: Model, name: str) -> Node:
    (found,) = [node for node in model.graph.walk() if node.op.name == name]
    return found


@pytest.mark.parametrize(
    ("bounds", "levels", "wanted", "dtype"),
    [
        ((0, 2.55, 0, 2.55), 256, PAIR, "u8"), ((-1.28, 1.27, -1.28, 1.27), 256, PAIR, "i8"),
        ((-1, 1.55, -1, 1.55), 256, PAIR, "u8"), ((-1.27, 1.27, -1.27, 1.27), 255, ["Min", "Max", *PAIR], "i8"),
        ((0, 2.55, 0, 5.1), 256, PAIR, "u8"),
        ((-CHANNELS, CHANNELS * 127 / 128, -CHANNELS, CHANNELS * 127 / 128), 256, PAIR, "i8"),
        ((-1.28, 1.27, -128, 127), 256, ["QuantizeLinear", "Cast"], "i8"),
    ],
)  # fmt: skip
def test_ranges_of_integers_are_integers(bounds: Any, levels: int, wanted: list[str], dtype: str, tmp_path: Path) -> None:
    x = parameter(2, 3, 4)
    made = o.fake_quantize(x, *(constant(bound, np.float32) for bound in bounds), levels)
    model = check(tmp_path, saved(tmp_path, made, [x]), [floats(2, 3, 4)])
    assert ops(model) == wanted and only(model, "QuantizeLinear").output.dtype.name == dtype


@pytest.mark.parametrize(
    ("bounds", "levels"), [((-1, 1.3, -2, 1), 7), ((-1, 1.003, -1, 1.003), 256), ((0.5, 2.0, 0.5, 2.0), 256), ((0, 1.5, 0, 1.5), 16)]
)
def test_other_ranges_are_arithmetic(bounds: Any, levels: int, tmp_path: Path) -> None:
    """Levels that no integers have, zero between two steps, zero outside."""
    x = parameter(2, 3, 4)
    made = o.fake_quantize(x, *(constant(bound, np.float32) for bound in bounds), levels)
    assert "QuantizeLinear" not in ops(check(tmp_path, saved(tmp_path, made, [x]), [floats(2, 3, 4)]))


def codes(name: str, *shape: int) -> Any:
    low, high = {"u4": (0, 16), "i4": (-8, 8), "u8": (0, 256), "i8": (-128, 128)}[name]
    values = np.random.default_rng(1).integers(low, high, shape)
    if name in ("u8", "i8"):
        return o.constant(values.astype({"u8": np.uint8, "i8": np.int8}[name]))
    return openvino.op.Constant(getattr(openvino.Type, name), openvino.Shape(list(shape)), values.reshape(-1))


def dequantized(name: str, shape: tuple[int, ...], of_scale: tuple[int, ...], zero: bool, half: bool) -> Any:
    """Convert, Subtract and Multiply as weights are compressed."""
    type = "f16" if half else "f32"
    made = o.convert(codes(name, *shape), type)
    if zero:
        made = o.subtract(made, o.convert(codes(name, *of_scale), type))
    scale = np.abs(floats(*of_scale)) / 8 + 0.01
    return o.multiply(made, o.constant(scale.astype(np.float16 if half else np.float32)))


@pytest.mark.parametrize("name", ["u4", "i4", "u8", "i8"])
@pytest.mark.parametrize("half", [False, True])
def test_weights_in_groups(name: str, half: bool, tmp_path: Path) -> None:
    x = parameter(-1, 64)
    w = o.reshape(dequantized(name, (6, 2, 32), (6, 2, 1), name[0] == "u", half), constant([6, 64]), False)
    made = o.matmul(x, o.convert(w, "f32") if half else w, False, True)
    model = check(tmp_path, saved(tmp_path, made, [x]), [floats(3, 64)])
    node = only(model, "DequantizeLinear")
    assert ops(model) == ["DequantizeLinear", "Transpose", "MatMul"]
    assert str(node.inputs[0].type) == f"{name}[6,64]" and node.attr("block_size") == 32 and node.attr("axis") in (1, -1)  # type: ignore[union-attr]
    assert str(node.inputs[1].type) == "f32[6,2]" and (len(node.inputs) == 3) == (name[0] == "u")  # type: ignore[union-attr]


@pytest.mark.parametrize(("of_scale", "attrs"), [((6, 1), {"axis": 0}), ((1, 1), {})])
def test_weights_with_a_scale_a_row_or_one(of_scale: tuple[int, int], attrs: dict[str, int], tmp_path: Path) -> None:
    x = parameter(-1, 64)
    made = o.matmul(x, dequantized("i8", (6, 64), of_scale, False, False), False, True)
    model = check(tmp_path, saved(tmp_path, made, [x]), [floats(3, 64)])
    assert only(model, "DequantizeLinear").attrs == attrs


def test_a_sum_of_other_scales_stays_arithmetic(tmp_path: Path) -> None:
    """Scales for pairs of rows and pairs of columns are none that DequantizeLinear has."""
    x = parameter(-1, 2)
    made = o.matmul(x, o.multiply(o.convert(codes("i8", 1, 1, 4, 2), "f32"), constant(floats(3, 1, 4, 2))), False, True)
    assert "DequantizeLinear" not in ops(check(tmp_path, saved(tmp_path, made, [x]), [floats(3, 2)]))


def test_half_precision_constants_stay_in_the_file(tmp_path: Path) -> None:
    x = parameter(-1, 64)
    path = saved(tmp_path, o.matmul(x, constant(floats(64, 32)), False, False), [x], half=True)
    model = check(tmp_path, path, [floats(3, 64)])
    assert ops(model) == ["Cast", "MatMul"]
    weight = only(model, "Cast").inputs[0]
    assert weight is not None and weight.const is not None and weight.const.file is not None
    assert weight.const.file.path.endswith("model.bin") and str(weight.type) == "f16[64,32]"
    assert read(path).source == path
