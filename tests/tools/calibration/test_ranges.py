"""Ranges of values against what onnxruntime and numpy compute of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from geoc.frontends.onnx import load_onnx
from geoc.ir.core import Model
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model
from geoc.lowering.onnx import model_bytes
from geoc.tools.calibration.ranges import Watcher
from geoc.tools.inputs.maker import InputMaker
from geoc.tools.inputs.shapes import Shapes

PPOCR = Path(__file__).parents[2] / "models" / "ppocr-v2-cls.onnx"


def write(model: Model, path: str) -> None:
    with open(path, "wb") as file:
        file.write(model_bytes(model, max_opset=21, max_ir=10))


def model_of(text: str) -> Model:
    model = parse_model(text)
    infer_graph(model.graph)
    return model


def test_a_real_model_against_its_own_intermediate_results() -> None:
    """The source with every tensor as an output, run as it is."""
    model = load_onnx(PPOCR)
    maker = InputMaker(model, Shapes())
    feeds = maker.feeds(next(maker.sizes()), 0)
    with Watcher(model, write) as watcher:
        assert watcher.run(feeds)
        found = watcher.ranges
    proto = onnx.shape_inference.infer_shapes(onnx.load(PPOCR))
    names = [name for node in proto.graph.node if node.op_type != "Constant" for name in node.output]
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    values = dict(zip(names, session.run(names, feeds)))
    floats = {name: v for name, v in values.items() if v.dtype == np.float32}
    by_name = {value.hint: reach for value, reach in found.items()}
    assert len(floats) > 100 and set(floats) <= set(by_name)
    for name, array in floats.items():
        assert by_name[name].low == pytest.approx(array.min(), rel=1e-5, abs=1e-6), name
        assert by_name[name].high == pytest.approx(array.max(), rel=1e-5, abs=1e-6), name
        assert by_name[name].far >= by_name[name].magnitude


NESTED = """geoc 1
opset "" 21

graph @main(%x: f32[3], %n: i64[], %f: bool[]) -> (%y) {
  weight %on: bool[] = true
  %y: f32[3] = Loop(%n, %on, %x)
    with body = (%i: i64[], %c: bool[], %s: f32[3]) -> (%go, %next) {
      %go = Identity(%c)
      %next: f32[3] = If(%f)
        with then_branch = () -> (%t) {
          weight %two: f32[] = 2.0
          %t = Mul(%s, %two)
        }
        with else_branch = () -> (%e) {
          weight %one: f32[] = 1.0
          %e = Sub(%s, %one)
        }
    }
}
"""


@pytest.mark.parametrize(("flag", "trips"), [(True, 3), (False, 4), (True, 0)])
def test_a_branch_in_a_loop(flag: bool, trips: int) -> None:
    x = np.float32([1.0, -2.0, 0.5])
    model = model_of(NESTED)
    with Watcher(model, write, far=1.0) as watcher:
        assert watcher.run({"x": x, "n": np.array(trips), "f": np.array(flag)})
        found = {value.hint: reach for value, reach in watcher.ranges.items()}
    states = [x]
    for _ in range(trips):
        states.append(states[-1] * 2 if flag else states[-1] - 1)
    if not trips:
        assert set(found) == {"x", "y"}
        return
    made = np.stack(states[1:])
    assert (found["t" if flag else "e"].low, found["t" if flag else "e"].high) == (made.min(), made.max())
    assert "e" not in found if flag else "t" not in found
    carried = np.stack(states[:-1])
    assert (found["s"].low, found["s"].high) == (carried.min(), carried.max())
    assert (found["y"].low, found["y"].high) == (states[-1].min(), states[-1].max())


SIMPLE = 'geoc 1\nopset "" 21\n\ngraph @main(%x: f32[N], %m: f32[N]) -> (%y) {\n  %y = Add(%x, %m)\n}\n'


def test_runs_join_and_inputs_are_scaled() -> None:
    model = model_of(SIMPLE)
    with Watcher(model, write, far=10.0) as watcher:
        for x in ([1.0, 2.0], [-5.0]):
            assert watcher.run({"x": np.float32(x), "m": np.zeros(len(x), np.float32)})
        (y,) = [reach for value, reach in watcher.ranges.items() if value.hint == "y"]
    assert y == (-5.0, 2.0, 50.0)


def test_what_is_no_number_is_unlimited_and_what_is_empty_unknown() -> None:
    model = model_of(SIMPLE)
    lowest = np.finfo(np.float32).min
    with Watcher(model, write) as watcher:
        assert watcher.run({"x": np.zeros(0, np.float32), "m": np.zeros(0, np.float32)})
        assert not watcher.ranges
        assert watcher.run({"x": np.float32([np.nan]), "m": np.float32([lowest])})
        found = {value.hint: reach for value, reach in watcher.ranges.items()}
    assert found["x"].low == -math.inf and found["x"].high == math.inf
    assert found["m"].low == lowest and found["m"].far == -lowest


def test_inputs_that_do_not_fit_are_refused_with_the_reason() -> None:
    with Watcher(model_of(SIMPLE), write) as watcher:
        assert not watcher.run({"x": np.zeros(2, np.float32), "m": np.zeros(3, np.float32)})
        assert watcher.refusal and not watcher.ranges
