"""onnx's own test models come back from their text, and hold what their protobuf holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from geoc.frontends.onnx import load_onnx
from geoc.ir.equal import difference, structural_hash
from geoc.ir.text import parse_model, print_model
from geoc.ir.verify import verify

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
MODELS = sorted(DATA.rglob("*.onnx"))


def test_there_are_models() -> None:
    assert len(MODELS) > 50


@pytest.mark.parametrize("path", MODELS, ids=lambda p: str(p.relative_to(DATA)))
def test_round_trip(path: Path) -> None:
    model = load_onnx(path)
    verify(model)
    text = print_model(model, full=True, folder=str(path.parent))
    back = parse_model(text, folder=str(path.parent))
    assert difference(model, back) is None
    assert structural_hash(model) == structural_hash(back)
    assert print_model(back, full=True, folder=str(path.parent)) == text


def test_text_of_a_model_shows_its_initializers(tmp_path: Path) -> None:
    weights = {"w": np.array([[1.5, -2.0]], np.float32), "k": np.array([2], np.int64)}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("TopK", ["x", "k"], ["v", "i"], "top"), onnx.helper.make_node("Mul", ["v", "w"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 7])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(a, n) for n, a in weights.items()],
    )
    path = tmp_path / "m.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), path)
    text = print_model(load_onnx(path))
    assert 'opset "" 17\n' in text
    assert "graph @g(%x: f32[N,7]) -> (%y: " in text
    assert "  weight %w: f32[1,2] = [1.5, -2.0]\n" in text
    assert "  weight %k: i64[1] = [2]\n" in text
    assert '= TopK(%x, %k) {axis=1}  !"top"\n' in text
