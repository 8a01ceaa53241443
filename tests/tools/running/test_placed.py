"""Weights of models that are run: each is written once, and goes when nobody needs it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime

from geoc.ir.clone import clone_model
from geoc.ir.core import Model
from geoc.ir.evaluate import DeferredTensor
from geoc.ir.infer import infer_graph
from geoc.ir.tensor import Tensor
from geoc.ir.text import parse_model
from geoc.ir.types import F32
from geoc.lowering.backend import Order
from geoc.lowering.emit import write_onnx
from geoc.lowering.targets import get_target
from geoc.tools.running.placed import PlacedWeights

TEXT = """geoc 1
opset "" 17

graph @main(%x: f32[B,256]) -> (%y) {
  weight %v: f32[256,256] = splat(0.0)
  weight %w: f32[256,256] = splat(0.0)
  weight %b: f32[256] = splat(0.5)
  %m = MatMul(%x, %v)
  %a = Add(%m, %b)
  %y = MatMul(%a, %w)
}
"""


def model_of(seed: int, shared: Tensor | None = None) -> Model:
    """Two products; their weights are drawn, the first may be given."""
    rng = np.random.default_rng(seed)
    model = parse_model(TEXT)
    for node in model.graph:
        weight = node.inputs[1]
        assert weight is not None
        if node.op.name == "MatMul":
            weight.const = Tensor.from_array(rng.standard_normal((256, 256)).astype(np.float32) / 16)
    first = next(iter(model.graph)).inputs[1]
    assert first is not None
    if shared is not None:
        first.const = shared
    infer_graph(model.graph)
    return model


def weights_of(model: Model) -> list[Tensor]:
    return [v.const for node in model.graph if node.op.name == "MatMul" for v in node.inputs if v is not None and v.const is not None]


def data_files(weights: PlacedWeights) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(Path(weights.folder).glob("*.data"))}


def run(weights: PlacedWeights, model: Model) -> np.ndarray:
    """Write a placed model without its weights, and run it."""
    path = weights.path()
    write_onnx(model, path, Order(get_target("cpu"), None, "reuse"))
    assert os.path.getsize(path) < 4096
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": np.ones((2, 256), np.float32)})[0]
    return found


def expected(model: Model) -> np.ndarray:
    v, w = (tensor.array() for tensor in weights_of(model))
    return (np.ones((2, 256), np.float32) @ v + np.float32(0.5)) @ w


def test_a_weight_is_written_once_and_the_model_runs() -> None:
    first = model_of(0)
    second = model_of(1, weights_of(first)[0])
    with PlacedWeights() as weights:
        for model in (first, second):
            copy, _ = clone_model(model)
            weights.place(copy)
            assert all(a.same(b) and b.file is not None for a, b in zip(weights_of(model), weights_of(copy)))
            np.testing.assert_allclose(run(weights, copy), expected(model), rtol=2e-5, atol=1e-5)
        assert list(data_files(weights).values()) == [2 * 4 * 256**2, 4 * 256**2]
        folder = weights.folder
    assert not os.path.exists(folder)


def test_what_is_computed_counts_as_equal_by_its_recipe() -> None:
    source = weights_of(model_of(0))[0]

    def doubled() -> Tensor:
        return DeferredTensor(F32, source.shape, source, "twice", lambda array: array * np.float32(2))

    with PlacedWeights() as weights:
        for seed in range(2):
            model = model_of(0, doubled())
            weights.place(model)
            np.testing.assert_array_equal(weights_of(model)[0].array(), source.array() * 2)
            assert len(data_files(weights)) == seed + 1  # the other weight is a new one each time
        assert list(data_files(weights).values()) == [2 * 4 * 256**2, 4 * 256**2]


def test_what_no_model_reads_any_more_goes() -> None:
    kept = weights_of(model_of(0))[0]
    with PlacedWeights() as weights:
        for seed in range(6):
            weights.place(model_of(seed, kept))
        names = list(data_files(weights))
        assert names == ["weights-1.data", "weights-4.data", "weights-5.data", "weights-6.data"]  # the first has `kept`


def test_read_gives_the_elements_without_a_map() -> None:
    """An array of its own, where `array` is a view of the file."""
    with PlacedWeights() as weights:
        model = model_of(0)
        weights.place(model)
        tensor = weights_of(model)[0]
        found = tensor.read()
        np.testing.assert_array_equal(found, tensor.array())
        assert found.flags.writeable and not tensor.array().flags.writeable
