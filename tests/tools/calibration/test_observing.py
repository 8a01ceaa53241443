"""Values that are observed: the numbers of onnx's reference evaluator, whatever fits into memory at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from geoc.ir.core import Model
from geoc.ir.errors import UsageError
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model
from geoc.lowering.backend import Order
from geoc.lowering.emit import write_onnx
from geoc.lowering.targets import get_target
from geoc.tools.calibration.observing import Groups, observe

TEXT = """geoc 1
opset "" 17

graph @main(%x: f32[B,3]) -> (%y) {
  weight %w: f32[3,2] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
  %m = MatMul(%x, %w)
  %r = Relu(%m)
  %y = Exp(%r)
}
"""


class Kept:
    """Keeps what it sees."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []

    def add(self, array: np.ndarray) -> None:
        if array.max() > 100:
            raise ValueError("more than 100")
        self.arrays.append(array)


def write(model: Model, path: str) -> None:
    write_onnx(model, path, Order(get_target("cpu"), None, None))


def samples(count: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    return [{"x": random.normal(size=(i + 1, 3)).astype(np.float32)} for i in range(count)]


@pytest.mark.parametrize("memory", [1, 64, 1 << 20])
def test_values_are_those_of_the_reference(tmp_path: Path, memory: int) -> None:
    model = parse_model(TEXT)
    values = {v.hint: v for node in model.graph for v in node.outputs}
    wanted = {values["m"]: Kept(), values["r"]: Kept(), model.graph.inputs[0]: Kept()}
    seen: list[int] = []
    assert observe(model, wanted, samples(3), write, memory, seen.append) == 3
    assert seen == [1, 2, 3]
    write(model, str(tmp_path / "m.onnx"))
    proto = onnx.load(tmp_path / "m.onnx")
    reference = ReferenceEvaluator(proto)
    for index, feeds in enumerate(samples(3)):
        found = reference.run(None, feeds, intermediate=True)
        for value, kept in wanted.items():
            np.testing.assert_allclose(kept.arrays[index], found[value.hint], rtol=1e-6)


def test_values_of_symbols_with_any_name_come_in_one_run() -> None:
    """A name such as p2o.Dim.1 is a size like any other: what is observed fits into memory, and the model runs once."""
    model = parse_model(TEXT.replace("f32[B,3]", 'f32["p2o.Dim.1",3]'))
    infer_graph(model.graph)
    value = next(iter(model.graph)).output
    (group,) = Groups(model, {value: "a", model.graph.outputs[0]: "b"}, 64).of(samples(1)[0])
    assert group == ["a", "b"]


def test_what_is_held_at_a_time_stays_within_the_limit_where_sizes_are_unknown() -> None:
    """Values as long as there are numbers above 0: each comes alone until it was seen, and grows as its square then."""
    text = """geoc 1
opset "" 17

graph @main(%x: f32[B,64]) -> (%y) {
  weight %zero: f32[] = 0.0
  weight %flat: i64[1] = [-1]
  %p = Greater(%x, %zero)
  %q = Reshape(%p, %flat)
  %a = Compress(%x, %q)
  %b = Neg(%a)
  %c = Abs(%b)
  %y = Add(%c, %b)
}
"""
    model = parse_model(text)
    infer_graph(model.graph)
    values = {v.hint: v for node in model.graph for v in node.outputs if v.hint in "abcy"}
    names = {value: name for name, value in values.items()}
    groups = Groups(model, names, 1000)

    def walk(rows: int, size: int) -> list[list[str]]:
        found = []
        for group in groups.of({"x": np.ones((rows, 64), np.float32)}):
            found.append(group)
            for name in group:
                groups.note(name, np.zeros(size, np.uint8))
        return found

    assert walk(4, 300) == [["a"], ["b"], ["c"], ["y"]]
    assert walk(4, 300) == [["a", "b", "c"], ["y"]]
    assert walk(2, 150) == [["a", "b", "c"], ["y"]]  # what is smaller does not make a group larger
    assert walk(8, 600) == [["a"], ["b"], ["c"], ["y"]]  # 300 bytes may have become 1200


def test_values_of_unknown_sizes_are_those_of_the_reference() -> None:
    """With a limit below every value, and one that holds all: the same numbers in the same order."""
    text = """geoc 1
opset "" 17

graph @main(%x: f32[B,3]) -> (%y) {
  weight %zero: f32[] = 0.0
  weight %flat: i64[1] = [-1]
  %p = Greater(%x, %zero)
  %q = Reshape(%p, %flat)
  %a = Compress(%x, %q)
  %y = Neg(%a)
}
"""
    model = parse_model(text)
    infer_graph(model.graph)
    found = []
    for memory in (1, 1 << 20):
        kept = {v: Kept() for node in model.graph for v in node.outputs if v.hint in "ay"}
        observe(model, kept, samples(4), write, memory)
        found.append([np.concatenate(k.arrays) for k in kept.values()])
    expected = np.concatenate([f["x"][f["x"] > 0] for f in samples(4)])
    for a, y in found:
        np.testing.assert_array_equal(a, expected)
        np.testing.assert_array_equal(y, -expected)


def test_attention_is_run_whatever_the_shape_of_its_mask(tmp_path: Path) -> None:
    """onnxruntime's kernel refuses a row of a mask when it runs; what a model is before its lowering has such rows."""
    text = """geoc 1
opset "" 23

graph @main(%x: f32[B,2,S,4], %mask: f32[B,1,1,S]) -> (%y) {
  %a = Attention(%x, %x, %x, %mask)
  %y = Relu(%a)
}
"""
    model = parse_model(text)
    infer_graph(model.graph)
    kept = Kept()
    random = np.random.default_rng(0)
    feeds = {
        "x": random.normal(size=(2, 2, 3, 4)).astype(np.float32),
        "mask": np.float32([[[[0, -1, 0.5]]], [[[1, 0, -2]]]]),
    }
    observe(model, {next(iter(model.graph)).output: kept}, [feeds], write)
    write(model, str(tmp_path / "m.onnx"))
    expected = ReferenceEvaluator(onnx.load(tmp_path / "m.onnx")).run(None, feeds, intermediate=True)["a"]
    np.testing.assert_allclose(kept.arrays[0], expected, rtol=1e-5, atol=1e-6)


def test_the_model_stays_as_it_was() -> None:
    model = parse_model(TEXT)
    before = list(model.graph.output_names)
    observe(model, {next(iter(model.graph)).output: Kept()}, samples(1), write)
    assert model.graph.output_names == before


def test_what_an_observer_refuses_is_named() -> None:
    model = parse_model(TEXT)
    value = next(iter(model.graph)).output
    feeds = [*samples(1), {"x": np.full((1, 3), 100, np.float32)}]
    with pytest.raises(UsageError, match=r"sample 1, tensor %m: more than 100"):
        observe(model, {value: Kept()}, feeds, write)


def test_a_sample_that_does_not_run_is_named() -> None:
    model = parse_model(TEXT)
    with pytest.raises(UsageError, match=r"sample 0 does not run"):
        observe(model, {next(iter(model.graph)).output: Kept()}, [{"x": np.zeros((1, 4), np.float32)}], write)
