"""Weights in blocks on OpenVINO's CPU plugin: its products read them compressed, and give what the weights say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoc.ir.core import Model
from geoc.ir.infer import infer_graph
from geoc.ir.tensor import Tensor
from geoc.ir.text import parse_model
from geoc.ir.types import F32
from geoc.lowering.backend import Order
from geoc.lowering.openvino.graph import to_openvino
from geoc.lowering.openvino.groups import row_group
from geoc.lowering.targets import get_target
from geoc.passes.base import Context
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import before_forms, level_items, parse
from geoc.passes.quantize.blocks import KINDS, Scheme
from geoc.passes.quantize.rtn import in_half, rtn
from geoc.passes.registry import Registry

from .running import CORE, compiled, kernels, run

TEXT = """geoc 1
opset "" 23

graph @main(%ids: i64[B,S]) -> (%y) {
  weight %table: f32[100,64] = splat(1.0)
  weight %up: f32[64,128] = splat(2.0)
  weight %down: f32[128,64] = splat(3.0)
  %x = Gather(%table, %ids)
  %u = MatMul(%x, %up)
  %r = Relu(%u)
  %d = MatMul(%r, %down)
  %t = Transpose(%table) {perm=[1, 0]}
  %y = MatMul(%d, %t)
}"""


def quantized(options: str) -> tuple[Model, dict[str, Any]]:
    """The graph with random weights after -O2 with quantize-weights, and the weights."""
    return optimized(f"quantize-weights{{least=1,{options}}}")


def optimized(passes: str) -> tuple[Model, dict[str, Any]]:
    """The graph with random weights after -O2 with passes in it, and the weights."""
    model = parse_model(TEXT)
    random = np.random.default_rng(0)
    weights: dict[str, Any] = {}
    for node in model.graph:
        for value in node.inputs:
            if value is not None and value.const is not None and value.dtype is F32 and value.hint not in weights:
                weights[value.hint] = random.normal(size=value.const.shape).astype(np.float32) / 4
                value.const = Tensor.from_array(weights[value.hint])
    infer_graph(model.graph)
    target = get_target("openvino-cpu")
    items = before_forms(level_items(2, target.pipeline), parse(passes))
    run_pipeline(model, Registry(target.rule_sets).resolve(items), Context(capabilities=target.capabilities))
    return model, weights


def stored(matrix: Any, bits: int, kind: str) -> Any:
    made = rtn(matrix, Scheme(bits, 32, kind if bits < 8 else "symmetric"), clip=False)
    return in_half(made, matrix).dequantized().astype(np.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [4, 3, 8])
def test_products_read_compressed_weights(bits: int, kind: str) -> None:
    model, weights = quantized(f"bits={bits},kind={kind}")
    program = compiled(to_openvino(model))
    found = [k for k in kernels(program) if k.layer == "FullyConnected"]
    small = {"symmetric": "i4", "positive": "i4"}.get(kind, "u4") if bits < 8 else "i8"
    assert sorted(k.precision for k in found) == sorted([small, small, "i8"])
    table = stored(weights["table"], 8, kind)
    up, down = (stored(np.ascontiguousarray(weights[n].T), bits, kind).T for n in ("up", "down"))
    ids = np.array([[3, 99, 0]])
    wanted = np.maximum(table[ids] @ up, 0) @ down @ table.T
    assert np.allclose(run(program, {"ids": ids})[0], wanted, 1e-4, 1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("passes", "group"),
    [("quantize{static=false}", 64), ("quantize-weights{bits=8,least=1,block=64}", 64), ("quantize-weights{least=1}", None), ("cse", None)],
)
def test_rows_are_quantized_in_the_largest_groups_that_the_weights_allow(tmp_path: Path, passes: str, group: int | None) -> None:
    """Blocks of 32 take the plugin's own choice; of the products of 64 and 128 inputs, groups of 64 divide both."""
    model, _ = optimized(passes)
    target = get_target("openvino-cpu")
    target.backend.emitters()["openvino"].write(model, str(tmp_path / "m.xml"), Order(target))
    program = CORE.compile_model(str(tmp_path / "m.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert program.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == (group or 32)
    assert row_group(model) == group


def test_scales_are_stored_in_half_precision_where_that_holds_them(tmp_path: Path) -> None:
    """Scales of quantize-weights do, unless it is told otherwise: 2 bytes less for each of the blocks of 32."""
    sizes = []
    for half in ("true", "false"):
        model, weights = quantized(f"half={half}")
        target = get_target("openvino-cpu")
        target.backend.emitters()["openvino"].write(model, str(tmp_path / "m.xml"), Order(target))
        sizes.append((tmp_path / "m.bin").stat().st_size)
    assert sizes[1] - sizes[0] == pytest.approx(2 * sum(array.size for array in weights.values()) / 32, abs=256)
