"""Sparse weights in files: bit for bit what they were, smaller where the format makes them so, and full elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geoc
from geoc.ir.core import Model
from geoc.ir.errors import UsageError
from geoc.ir.tensor import Tensor

from ..quantize.running import Remarks, context, model_of, run

TEXT = """
graph @main(%x: f32[B,64]) -> (%y) {
  weight %w: f32[64,96] = random
  weight %v: f32[96,64] = random
  %h = MatMul(%x, %w)
  %y = MatMul(%h, %v)
}"""


def with_zeros(share: float, text: str = TEXT) -> Model:
    """Exactly so many zeros in w, and one of them negative; v is full."""
    model = model_of(text)
    for node in model.graph:
        weight = node.inputs[1]
        if weight is not None and weight.const is not None and weight.hint == "w":
            array = weight.const.array().copy()
            gone = np.random.default_rng(0).permutation(array.size)[: round(share * array.size)]
            array.reshape(-1)[gone] = 0.0
            array.reshape(-1)[gone[:1]] = -0.0
            weight.const = Tensor.from_array(array)
    return model


@pytest.mark.parametrize("weights", ["inline", "copy"])
def test_a_session_and_the_importer_read_what_was_written(tmp_path: Path, weights: str) -> None:
    import onnx
    import onnxruntime

    model, full = with_zeros(0.9), with_zeros(0.9)
    assert run(model, "sparse-storage", context(None))
    geoc.save(model, tmp_path / "sparse.onnx", weights=weights)
    geoc.save(full, tmp_path / "full.onnx", weights=weights)
    stored = onnx.load(tmp_path / "sparse.onnx")
    if weights == "inline":  # it looks for data files of dense initializers alone
        onnx.checker.check_model(stored)
    (sparse,) = stored.graph.sparse_initializer
    assert [node.op_type for node in stored.graph.node] == ["MatMul", "MatMul"]
    weight = next(v.const for n in full.graph for v in n.inputs if v is not None and v.const is not None)
    dense = np.zeros(64 * 96, np.float32)
    places, numbers = (onnx.numpy_helper.to_array(part, str(tmp_path)) for part in (sparse.indices, sparse.values))
    dense[places] = numbers
    assert dense.tobytes() == weight.array().tobytes()
    feeds = {"x": np.random.default_rng(1).normal(size=(3, 64)).astype(np.float32)}

    def outputs(path: Path) -> Any:
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)[0]

    assert (outputs(tmp_path / "sparse.onnx") == outputs(tmp_path / "full.onnx")).all()
    again = geoc.load(tmp_path / "sparse.onnx")
    geoc.save(again, tmp_path / "again.onnx", weights="inline")
    assert (outputs(tmp_path / "again.onnx") == outputs(tmp_path / "full.onnx")).all()
    sizes = [sum(p.stat().st_size for p in tmp_path.glob(f"{name}.onnx*")) for name in ("sparse", "full")]
    saved = 64 * 96 * 4 - (64 * 96 // 10 + 1) * 12
    assert abs(sizes[1] - sizes[0] - saved) < (300 if weights == "inline" else 4600)  # pages of a data file


@pytest.mark.parametrize(("share", "is_stored"), [(0.0, False), (0.5, False), (0.66, False), (0.67, True)])
def test_it_pays_from_two_thirds_on(share: float, is_stored: bool) -> None:
    """4 bytes for each number against 12 for each that is not zero."""
    model, remarks = with_zeros(share), Remarks()
    assert run(model, "sparse-storage", context(None, instruments=[remarks])) == is_stored
    refused = [remark.message for remark in remarks.all if remark.kind == "refused"]
    if share in (0.5, 0.66):
        assert refused == [f"%w stays full: {share:.0%} are zero, and it is smaller from 67% on"]
    else:
        assert not refused


def test_what_stays_full() -> None:
    assert not run(with_zeros(0.9), "sparse-storage{least=100000}", context(None))
    assert not run(with_zeros(0.9), "sparse-storage{keep=[w]}", context(None))
    assert not run(with_zeros(0.9), "sparse-storage{layers=[v]}", context(None))
    remarks = Remarks()
    assert not run(with_zeros(0.9), "sparse-storage", context(None, "a100", instruments=[remarks]))
    assert [r.message for r in remarks.all] == ["the target loads no weights without their zeros"]
    with pytest.raises(UsageError, match="layers of sparse-storage: 'nothing' names no weight"):
        run(with_zeros(0.9), "sparse-storage{layers=[nothing]}", context(None))


def test_behind_sparsify() -> None:
    model = model_of(TEXT)
    before = model.weight_bytes
    assert run(model, "sparsify{share=0.9},sparse-storage", context(None))
    sparse = [node.attrs["sparse_value"] for node in model.graph if node.op.key == "Constant"]
    assert len(sparse) == 2 and sum(s.values.length + s.indices.length for s in sparse) < 0.31 * before
