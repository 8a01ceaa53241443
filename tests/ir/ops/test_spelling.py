"""Following the steps of the SPELLING table upwards gives the same outputs on onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from geoc.ir.ops import resolve
from geoc.ir.ops.revisions import SPELLING

from .conformance import node_model, run, same

RANDOM = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def follow(
    node: onnx.NodeProto, feeds: dict[str, Any], steps: tuple, op_type: str
) -> tuple[onnx.NodeProto, dict[str, Any]]:
    """The node one revision up, for the regular steps."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    inputs, feeds = list(node.input), dict(feeds)
    for kind, *rest in steps:
        if kind == "attr_to_input":
            name, index, dtype, rank, fill = rest
            value = attributes.pop(name, fill)
            if value is None:
                continue
            kinds = {"int64": np.int64, "float": np.float32, "like 0": feeds[inputs[0]].dtype}
            inputs += [""] * (index + 1 - len(inputs))
            inputs[index] = name
            feeds[name] = np.asarray(value, kinds[dtype]).reshape((-1,) if rank else ())
        elif kind == "drop_attr":
            assert attributes.pop(rest[0], None) is None or rest[1] is None
        elif kind == "rename_attr" and rest[0] in attributes:
            attributes[rest[1]] = attributes.pop(rest[0])
        elif kind == "rename_value" and rest[0] in attributes:
            text = attributes[rest[0]].decode()
            attributes[rest[0]] = rest[1].get(text, text)
        elif kind in ("old_default", "set_attr"):
            attributes.setdefault(*rest)
        elif kind == "count_outputs" and (len(inputs) < 2 or not inputs[1]):
            attributes[rest[0]] = len(node.output)
        elif kind == "rename_op":
            op_type = rest[0]
        else:
            assert kind in ("count_outputs", "rename_value", "output_bool"), kind
    return onnx.helper.make_node(op_type, inputs, list(node.output), **attributes), feeds


REDUCTIONS = [key for key, version in SPELLING if key.startswith("Reduce") and version == 18]
INDICES = np.array([[0, 1], [1, 0]], np.int64)
ROIS = np.array([[0, 0, 3, 3], [1, 1, 4, 2]], np.float32)

CASES: list[tuple[str, int, dict[str, Any], dict[str, Any], int]] = [
    # op, version that opens the new revision, attributes, inputs, number of outputs
    ("ReduceSum", 13, {"axes": [1], "keepdims": 0}, {"x": floats(2, 3, 4)}, 1),
    ("ReduceSum", 13, {}, {"x": floats(2, 3)}, 1),
    *(
        (name, 18, {"axes": [0, 2]}, {"x": abs(floats(2, 3, 4))}, 1)
        for name in REDUCTIONS
    ),
    ("ReduceMean", 18, {}, {"x": floats(2, 3)}, 1),
    ("Squeeze", 13, {"axes": [0, 2]}, {"x": floats(1, 3, 1)}, 1),
    ("Squeeze", 13, {}, {"x": floats(1, 3, 1)}, 1),
    ("Unsqueeze", 13, {"axes": [0, 3]}, {"x": floats(2, 3)}, 1),
    ("Split", 13, {"axis": 1, "split": [1, 3]}, {"x": floats(2, 4)}, 2),
    ("Split", 13, {"axis": 1}, {"x": floats(2, 4)}, 2),
    ("Split", 18, {"axis": 1}, {"x": floats(2, 4)}, 2),
    ("Split", 18, {"axis": 1}, {"x": floats(2, 4), "s": np.array([1, 3])}, 2),
    ("Slice", 10, {"starts": [0, 1], "ends": [2, -1], "axes": [0, 2]}, {"x": floats(3, 2, 5)}, 1),
    ("Slice", 10, {"starts": [1], "ends": [9]}, {"x": floats(3, 2)}, 1),
    ("TopK", 10, {"k": 2, "axis": 0}, {"x": floats(5, 3)}, 2),
    ("Clip", 11, {"min": -0.5, "max": 0.25}, {"x": floats(4, 4)}, 1),
    ("Clip", 11, {"max": 0.25}, {"x": floats(4, 4)}, 1),
    ("Pad", 11, {"pads": [0, 1, 2, 0], "value": 3.0}, {"x": floats(2, 2)}, 1),
    ("Pad", 11, {"pads": [0, 1, 1, 0], "mode": "reflect"}, {"x": floats(2, 2)}, 1),
    ("Dropout", 12, {"ratio": 0.3}, {"x": floats(3, 3)}, 1),
    ("Dropout", 10, {"ratio": 0.3}, {"x": floats(3, 3)}, 1),
    ("BatchNormalization", 9, {"epsilon": 1e-3},
     {"x": floats(2, 3, 4), **{k: abs(floats(3)) for k in "sbmv"}}, 1),
    ("DFT", 20, {}, {"x": floats(2, 5, 4, 1)}, 1),
    ("DFT", 20, {"axis": 2, "onesided": 1}, {"x": floats(2, 5, 4, 1)}, 1),
    ("Upsample", 9, {"scales": [1.0, 1.0, 2.0, 3.0], "mode": "nearest"},
     {"x": floats(1, 1, 2, 2)}, 1),
    ("Upsample", 10, {"mode": "nearest"},
     {"x": floats(1, 1, 2, 2), "s": np.array([1, 1, 2, 3], np.float32)}, 1),
    ("Scatter", 11, {"axis": 1}, {"x": floats(2, 3), "i": INDICES, "u": floats(2, 2)}, 1),
    ("RoiAlign", 16, {"output_height": 2, "output_width": 2},
     {"x": floats(1, 1, 6, 6), "r": ROIS, "b": np.array([0, 0])}, 1),
    ("GridSample", 20, {"mode": "bicubic"},
     {"x": floats(1, 1, 4, 4), "g": np.tanh(floats(1, 3, 3, 2))}, 1),
    ("GridSample", 20, {}, {"x": floats(1, 1, 4, 4), "g": np.tanh(floats(1, 3, 3, 2))}, 1),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{c[1]}-{len(c[2])}-{len(c[3])}")
def test_steps_keep_the_outputs(case: tuple) -> None:
    name, version, attributes, feeds, n_outputs = case
    outputs = [f"y{index}" for index in range(n_outputs)]
    node = onnx.helper.make_node(name, list(feeds), outputs, **attributes)
    steps = SPELLING[name, version]
    newer, newer_feeds = follow(node, feeds, steps, name)
    before = run(node_model(node, feeds, version - 1), feeds)
    after = run(node_model(newer, newer_feeds, version), newer_feeds)
    assert same(before, after)


def test_upsample_is_the_first_resize() -> None:
    """The removed operator's successor is the revision in force at that very opset."""
    assert SPELLING["Upsample", 10] == (("rename_op", "Resize"),)
    assert resolve("", "Resize", 10).key == "Resize@10"


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_was_asymmetric_and_rounded_down(mode: str) -> None:
    """What the adapter resize_asymmetric has to write."""
    x, scales = floats(1, 1, 3, 4), np.array([1, 1, 2.5, 1.6], np.float32)
    old = onnx.helper.make_node("Resize", ["x", "s"], ["y"], mode=mode)
    new = onnx.helper.make_node(
        "Resize",
        ["x", "", "s"],
        ["y"],
        mode=mode,
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    feeds = {"x": x, "s": scales}
    before, after = run(node_model(old, feeds, 10), feeds), run(node_model(new, feeds, 13), feeds)
    assert same(before, after)


def test_group_normalization_had_one_scale_per_group() -> None:
    """What the adapter group_scale has to write."""
    x, scale, bias = floats(2, 6, 4), floats(3), floats(3)
    node = onnx.helper.make_node("GroupNormalization", list("xsb"), ["y"], num_groups=3)
    old = {"x": x, "s": scale, "b": bias}
    new = {"x": x, "s": np.repeat(scale, 2), "b": np.repeat(bias, 2)}
    assert same(run(node_model(node, old, 18), old), run(node_model(node, new, 21), new))


def test_meanings_differ_where_the_table_says_so() -> None:
    """Softmax of the same text is another function from opset 13 on."""
    x = floats(2, 3, 4)
    node = onnx.helper.make_node("Softmax", ["x"], ["y"], axis=1)
    before, after = (run(node_model(node, {"x": x}, opset), {"x": x}) for opset in (12, 13))
    assert not same(before, after)
    flat = {"x": x.reshape(2, 12)}
    assert same([before[0].reshape(2, 12)], run(node_model(node, flat, 13), flat))
    assert resolve("", "Softmax", 12) is not resolve("", "Softmax", 13)
