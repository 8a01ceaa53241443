"""Weights in blocks in a default session of onnxruntime: which kernels run, and that the numbers are those of the weights."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from geoc.ir.core import Model
from geoc.ir.errors import UsageError
from geoc.lowering.onnx import model_bytes
from geoc.lowering.targets import get_target
from geoc.passes.base import Context
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import before_forms, level_items, parse
from geoc.passes.quantize.blocks import KINDS, Scheme
from geoc.passes.quantize.rtn import in_half, rtn
from geoc.passes.registry import Registry

from .cached_layer import HEADS, layer, wanted

SIZE, WIDE = 32, 128
PACKED = "com.microsoft::MatMulNBits"


def stored(weights: dict[str, Any], bits: int, kind: str) -> dict[str, Any]:
    """What the weights are once they are in blocks of 32: the quantizer's own numbers, which test_blocks bounds."""
    found = dict(weights)
    for name, array in weights.items():
        if array.ndim == 2:
            scheme = Scheme(8 if name == "table" else bits, 32, kind if bits < 8 and name != "table" else "symmetric")
            matrix = array if name == "table" else np.ascontiguousarray(array.T)
            made = in_half(rtn(matrix, scheme, clip=False), matrix).dequantized()
            found[name] = made if name == "table" else made.T
    return found


def expected(weights: dict[str, Any], ids: Any, pk: Any, pv: Any) -> list[Any]:
    """The layer of rows of the table, in float64."""
    return wanted(weights, weights["table"][ids], pk, pv)


def quantized(options: str, behind: str = "") -> Model:
    """The layer after -O2 for this machine with quantize-weights in it."""
    model, _ = layer(SIZE, WIDE, from_ids=True)
    target = get_target("cpu-avx512")
    items = before_forms(level_items(2, target.pipeline), parse(f"quantize-weights{{least=1,{options}}}"))
    tail = parse(f"{behind}share-weights{{transposed=false}},cse,dce")
    run_pipeline(model, Registry(target.rule_sets).resolve((*items, *tail)), Context(capabilities=target.capabilities))
    return model


def session(model: Model, profile: Path | None = None) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    target = get_target("cpu")
    data = model_bytes(model, max_opset=target.max_opset, max_ir=target.max_ir)
    return onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])


def feeds(batch: int, length: int, past: int) -> dict[str, Any]:
    random = np.random.default_rng(length)
    pk, pv = (random.normal(size=(batch, HEADS, past, SIZE)).astype(np.float32) for _ in "kv")
    return {"ids": random.integers(0, 50, (batch, length)), "pk": pk, "pv": pv}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_a_layer_is_what_its_weights_say(bits: int, kind: str) -> None:
    model = quantized(f"bits={bits},kind={kind}")
    found = Counter(node.op.key for node in model.walk())
    # Queries, keys and values are one product, gate and up another; the other two are down and the table.
    assert (found[PACKED], found["com.microsoft::GatherBlockQuantized"]) == (4, 1)
    assert (found["Conv"], found["DequantizeLinear"], found["Gather"], found["Split"]) == (0, 0, 0, 2)
    assert found["MatMul"] == (3 if kind == "minimum" and bits < 8 else 0)
    run, weights = session(model), stored(layer(SIZE, WIDE, from_ids=True)[1], bits, kind)
    for batch, length, past in ((1, 1, 5), (3, 1, 2), (2, 7, 0)):
        given = feeds(batch, length, past)
        for a, b in zip(run.run(None, given), expected(weights, **given), strict=True):
            np.testing.assert_allclose(a, b, 1e-4, 1e-4)


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_rows_in_8_bits_are_near(bits: int, tmp_path: Path) -> None:
    model = quantized(f"bits={bits}", "nbits-rows,")
    run, weights = session(model, tmp_path / "profile"), stored(layer(SIZE, WIDE, from_ids=True)[1], bits, "symmetric")
    given = feeds(2, 3, 4)
    for a, b in zip(run.run(None, given), expected(weights, **given), strict=True):
        assert np.linalg.norm(a - b) <= 0.02 * np.linalg.norm(b)
    events = json.loads(Path(run.end_profiling()).read_text())
    kernels = Counter(e["args"]["op_name"] for e in events if e.get("cat") == "Node" and "op_name" in e.get("args", {}))
    assert kernels["MatMulNBits"] == 4
    assert not kernels.keys() & {"MatMul", "Gemm", "Conv", "DequantizeLinear", "Cast", "Transpose"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [4, 2])
def test_codes_stored_as_8_bits_are_the_same_numbers(bits: int, kind: str) -> None:
    model = quantized(f"bits={bits},kind={kind}", "nbits-rows{rows=many},")
    packed = [node for node in model.walk() if node.op.key == PACKED]
    assert len(packed) == 4 and all(node.attr("bits") == 8 and node.attr("accuracy_level") == 4 for node in packed)
    for node in packed:
        del node.attrs["accuracy_level"]  # rows in floats: nothing else is rounded
    run, weights = session(model), stored(layer(SIZE, WIDE, from_ids=True)[1], bits, kind)
    for batch, length, past in ((1, 1, 5), (2, 7, 0)):
        given = feeds(batch, length, past)
        for a, b in zip(run.run(None, given), expected(weights, **given), strict=True):
            np.testing.assert_allclose(a, b, 1e-4, 1e-4)


def test_rows_are_few_or_many() -> None:
    with pytest.raises(UsageError, match="rows of nbits-rows is one of few, many; not all"):
        quantized("bits=4", "nbits-rows{rows=all},")


def test_the_table_is_stored_once() -> None:
    model = quantized("bits=4")
    nodes = {node.op.name: node for node in model.walk() if node.op.name in ("GatherBlockQuantized", "MatMulNBits")}
    head = next(n for n in model.walk() if n.op.name == "MatMulNBits" and n.attr("N") == 50)
    assert head.inputs[1] is nodes["GatherBlockQuantized"].inputs[0]
    assert head.attr("bits") == 8
    floats, _ = layer(SIZE, WIDE, from_ids=True)
    assert model.weight_bytes < floats.weight_bytes / 4


def test_weights_that_are_named_stay() -> None:
    model = quantized('bits=4,keep=[up,"w?"]')
    found = Counter(node.op.key for node in model.walk())
    assert found[PACKED] == 3  # gate, down and the table
    assert found["Conv"] + found["MatMul"] == 2
