"""quantize-weights on whole graphs: what it finds, what it leaves, and methods that want to see what weights are multiplied with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from geoc.ir.core import Model, Value
from geoc.ir.errors import UsageError
from geoc.ir.infer import infer_graph
from geoc.ir.tensor import Tensor
from geoc.ir.text import parse_model
from geoc.ir.types import F32
from geoc.ir.verify import verify
from geoc.lowering.backend import Order
from geoc.lowering.emit import write_onnx
from geoc.lowering.targets import get_target
from geoc.passes.base import Context
from geoc.passes.quantize.weight_only import QuantizeWeights
from geoc.tools.calibration.observing import observe

TEXT = """graph @main(%ids: i64[B,S]) -> (%y) {
  weight %table: f32[40,64] = splat(1.0)
  weight %g: f32[64] = splat(2.0)
  weight %up: f32[64,96] = splat(3.0)
  weight %down: f32[96,64] = splat(4.0)
  %x = Gather(%table, %ids)
  %n = RMSNormalization(%x, %g) {axis=2}
  %u = MatMul(%n, %up)
  %r = Relu(%u)
  %d = MatMul(%r, %down)
  %a = Add(%x, %d)
  %t = Transpose(%table) {perm=[1, 0]}
  %y = MatMul(%a, %t)
}"""


def model(text: str = TEXT) -> Model:
    """The graph with random weights."""
    found = parse_model(f'geoc 1\nopset "" 23\n\n{text}')
    random = np.random.default_rng(0)
    seen: set[str] = set()
    for node in found.graph:
        for value in node.inputs:
            if value is not None and value.const is not None and value.dtype is F32 and value.hint not in seen:
                seen.add(value.hint)
                value.const = Tensor.from_array((random.standard_t(4, value.const.shape) / 8).astype(np.float32))
    infer_graph(found.graph)
    return found


def outputs(of: Model, feeds: list[dict[str, Any]]) -> list[Any]:
    """What it gives, in onnxruntime."""
    found: list[Any] = []

    class Keep:
        def add(self, array: Any) -> None:
            found.append(array.copy())

    observe(of, {of.graph.outputs[0]: Keep()}, feeds, _write)
    return found


def _write(of: Model, path: str) -> None:
    write_onnx(of, path, Order(get_target("cpu"), None, None))


def samples(count: int, seed: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [{"ids": random.integers(0, 40, (2, 9))} for _ in range(count)]


def quantized(options: dict[str, Any], text: str = TEXT, seen: list[Any] | None = None) -> Model:
    found = model(text)

    def watch(of: Model, observers: Mapping[Value, Any]) -> None:
        assert seen is not None
        seen.append(len(observers))
        observe(of, observers, samples(6, 1), _write)

    ctx = Context(observe=None if seen is None else watch)
    QuantizeWeights(**{"least": 1, **options}).run(found, ctx)
    verify(found)
    return found


def test_the_table_is_quantized_once_and_read_twice() -> None:
    found = quantized({"bits": 4})
    nodes = [node for node in found.graph if node.op.key == "DequantizeLinear"]
    assert sorted((n.inputs[0].dtype.name, n.inputs[0].shape) for n in nodes) == [  # type: ignore[union-attr]
        ("i4", (64, 96)), ("i4", (96, 64)), ("i8", (40, 64)),
    ]  # fmt: skip
    table = next(n for n in nodes if n.inputs[0].dtype.name == "i8")  # type: ignore[union-attr]
    assert sorted(user.op.key for user in table.output.users) == ["Gather", "Transpose"]
    with_two = quantized({"bits": 2, "head_bits": 4})
    names = Counter(n.inputs[0].dtype.name for n in with_two.graph if n.op.key == "DequantizeLinear")  # type: ignore[union-attr]
    assert names == {"i2": 2, "i4": 1}


@pytest.mark.parametrize("method", ["rtn", "hqq", "gptq"])
def test_layers_with_positive_scales_and_heads_as_they_are(method: str) -> None:
    found = quantized({"bits": 4, "kind": "positive", "head_bits": 0, "method": method}, seen=[])
    nodes = [node for node in found.graph if node.op.key == "DequantizeLinear"]
    assert [n.inputs[0].shape for n in nodes] in ([(64, 96), (96, 64)], [(96, 64), (64, 96)])  # type: ignore[union-attr]
    for node in nodes:
        assert (node.inputs[1].const.array() > 0).all()  # type: ignore[union-attr]


def test_what_else_reads_a_weight_keeps_it() -> None:
    text = TEXT.replace("%r = Relu(%u)", "%c = ReduceSum(%up)\n  %v = Add(%u, %c)\n  %r = Relu(%v)")
    found = quantized({"bits": 4}, text)
    assert sum(node.op.key == "DequantizeLinear" for node in found.graph) == 2


@pytest.mark.parametrize("keep", [("up", "down"), ("*",)])
def test_names_that_are_kept(keep: tuple[str, ...]) -> None:
    found = quantized({"bits": 4, "keep": keep})
    assert sum(node.op.key == "DequantizeLinear" for node in found.graph) == (0 if keep == ("*",) else 1)


def test_angles_are_no_embedding() -> None:
    text = """graph @main(%x: f32[B,2,S,64], %ids: i64[B,S]) -> (%y) {
  weight %cos: f32[40,32] = splat(1.0)
  weight %sin: f32[40,32] = splat(1.0)
  %c = Gather(%cos, %ids)
  %s = Gather(%sin, %ids)
  %y = RotaryEmbedding(%x, %c, %s)
}"""
    assert all(node.op.key != "DequantizeLinear" for node in quantized({"bits": 8}, text).graph)


@pytest.mark.parametrize("method", ["gptq", "awq"])
@pytest.mark.parametrize("stages", [1, 2])
def test_methods_with_samples_are_nearer(method: str, stages: int) -> None:
    """On inputs that they have not seen. The table stays in floats, so that only the layers differ."""
    seen: list[Any] = []
    options = {"bits": 3, "keep": ("table",), "stages": stages}
    wanted = outputs(model(), samples(4, 2))
    plain, found = (quantized({**options, "method": m}, seen=seen) for m in ("rtn", method))
    errors = [
        sum(float(np.linalg.norm(a - b)) for a, b in zip(wanted, outputs(of, samples(4, 2)), strict=True))
        for of in (plain, found)
    ]
    assert errors[1] < 0.95 * errors[0]
    assert seen == ([2] if stages == 1 else [1, 1])


def test_methods_with_samples_say_that_they_want_them() -> None:
    with pytest.raises(UsageError, match="needs samples"):
        quantized({"method": "gptq"})


@pytest.mark.parametrize(
    "options", [{"bits": 5}, {"method": "best"}, {"kind": "odd"}, {"block": 24}, {"block": 8}, {"head_bits": 1}]
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is one of|power of two"):
        quantized(options)


def test_blocks_that_divide_the_inputs() -> None:
    found = quantized({"bits": 4, "block": 128})
    sizes = {n.inputs[0].shape: n.attr("block_size") for n in found.graph if n.op.key == "DequantizeLinear"}  # type: ignore[union-attr]
    assert sizes == {(96, 64): 64, (64, 96): 32, (40, 64): 64}
