"""Copies of models: equal to the original, and apart from it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from geoc.frontends.onnx import load_onnx
from geoc.ir.clone import clone_model
from geoc.ir.equal import difference
from geoc.ir.verify import verify

MODELS = sorted((Path(__file__).parents[1] / "models").glob("*.onnx"))
LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))[:2]


@pytest.mark.parametrize("path", [*MODELS, *LIGHT], ids=lambda p: p.stem)
def test_a_copy_is_equal_and_changes_alone(path: Path) -> None:
    model = load_onnx(path)
    copy, of = clone_model(model)
    verify(copy)
    assert difference(model, copy) is None
    assert set(model.walk()).isdisjoint(copy.walk())
    for value, twin in of.items():
        assert value is not twin and value.type is twin.type and value.const is twin.const
    last = copy.graph.last
    assert last is not None
    for value in list(copy.graph.outputs):
        value.replace_with(copy.graph.inputs[0])
    assert difference(model, copy) is not None
    verify(model)
    assert difference(model, load_onnx(path)) is None
