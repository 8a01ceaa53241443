"""Bodies: If, Loop, TensorIterator, in the forms that openvino writes; and variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset15 as o

from geoc.ir.errors import UnsupportedModel

from .running import check, constant, floats, ops, parameter, read, run_onnx, saved


def sums(*, backwards: bool = False) -> tuple[Any, list[Any]]:
    """Running sums over axis 1 of x [2, 5], started at s [2, 1], plus w, with all of them and the last."""
    x, s, w = parameter(2, 5), parameter(2, 1), parameter(2, 1)
    row, total, extra = parameter(2, 1), parameter(2, 1), parameter(2, 1)
    added = o.add(o.add(row, total), extra)
    each = o.result(o.multiply(added, constant(2, np.float32)))
    last = o.result(added)
    body = openvino.Model([last, each], [row, total, extra], "body")
    made = o.tensor_iterator()
    made.set_body(body)
    ends = (-1, -1, 1, 0) if backwards else (0, 1, 1, -1)
    made.set_sliced_input(row, x.output(0), ends[0], ends[1], ends[2], ends[3], 1)
    made.set_merged_input(total, s.output(0), last.output(0))
    made.set_invariant_input(extra, w.output(0))
    outputs = [made.get_iter_value(last.output(0), -1), made.get_concatenated_slices(each.output(0), *ends, 1)]
    return outputs, [x, s, w]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_tensor_iterator(backwards: bool, tmp_path: Path) -> None:
    made, inputs = sums(backwards=backwards)
    x, s, w = floats(2, 5), floats(2, 1), floats(2, 1)
    model = check(tmp_path, saved(tmp_path, made, inputs), [x, s, w])
    assert ops(model)[0 if not backwards else -1] != "TensorIterator" and "Loop" in ops(model)
    last, each = run_onnx(model, [x, s, w], tmp_path)
    order = x[:, ::-1] if backwards else x
    wanted = s + np.cumsum(order + w, axis=1)
    np.testing.assert_allclose(last, wanted[:, -1:], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(each, 2 * (wanted[:, ::-1] if backwards else wanted), rtol=1e-5, atol=1e-6)


def doubling(count: Any) -> tuple[Any, list[Any]]:
    """x doubled while it is below 100, `count` times at most."""
    x, inner = parameter(3), parameter(3)
    step = parameter(dtype="i64")
    doubled = o.result(o.add(inner, o.multiply(inner, o.convert(o.add(step, constant(1)), "f32"))))
    going = o.result(o.less(o.reduce_max(doubled.input_value(0), constant([0]), False), constant(100, np.float32)))
    made = o.loop(count, constant(True))
    made.set_function(openvino.Model([going, doubled], [step, inner], "body"))
    made.set_special_body_ports([0, 0])
    made.set_merged_input(inner, x.output(0), doubled.output(0))
    return [made.get_iter_value(doubled.output(0), -1)], [x]


@pytest.mark.parametrize("count", [2, -1])
def test_a_loop_with_a_condition(count: int, tmp_path: Path) -> None:
    made, inputs = doubling(constant(count))
    model = check(tmp_path, saved(tmp_path, made, inputs), [np.array([1, 2, 3], np.float32)])
    (node,) = [node for node in model.graph.walk() if node.op.name == "Loop"]
    assert (node.inputs[0] is None) == (count < 0)


@pytest.mark.parametrize("side", [True, False])
def test_a_branch_uses_what_is_around_it(side: bool, tmp_path: Path) -> None:
    condition, x = parameter(dtype="boolean"), parameter(-1, 3)
    made = o.if_op(condition)
    a, b = parameter(-1, 3), parameter(-1, 3)
    ends = [o.result(o.relu(a)), o.result(o.negative(b))]
    made.set_then_body(openvino.Model([ends[0]], [a], "then"))
    made.set_else_body(openvino.Model([ends[1]], [b], "else"))
    made.set_input(x.output(0), a, b)
    output = made.set_output(*ends)
    model = check(tmp_path, saved(tmp_path, [output], [condition, x]), [np.array(side), floats(2, 3)])
    assert ops(model) == ["If", "Relu", "Neg"]


def test_parts_of_more_than_one_element_are_refused(tmp_path: Path) -> None:
    made, inputs = sums()
    path = Path(saved(tmp_path, made, inputs))
    path.write_text(path.read_text().replace('part_size="1"', 'part_size="2"'))
    with pytest.raises(UnsupportedModel, match=r"TensorIterator .*more than one element at a time"):
        read(str(path))


def test_variables_are_inputs_and_outputs(tmp_path: Path) -> None:
    """What they are at first is up to the caller; openvino's second run sees what its first has left."""
    x = parameter(-1, 4, name="x")
    start = constant(np.zeros((1, 4)), np.float32)
    total = o.add(o.read_value(start, "total", openvino.Type.f32, openvino.PartialShape([-1, 4])), x)
    path = saved(tmp_path, o.multiply(total, constant(2, np.float32)), [x], sinks=[o.assign(total, "total")])
    model = read(path)
    graph = model.graph
    assert graph.input_names == ["x", "total"] and graph.output_names[1] == "total.next" and ops(model) == ["Add", "Mul"]
    request = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    state = np.zeros((1, 4), np.float32)
    for feed in (floats(1, 4), floats(1, 4)):
        (theirs,) = request.infer([feed]).values()
        ours, state = run_onnx(model, [feed, state], tmp_path)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
