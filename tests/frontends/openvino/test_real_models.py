"""Real models as openvino converts them, with weights in single and half precision."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from .running import check, ops

HERE = Path(__file__).parents[2] / "models"
CACHE = Path(os.environ.get("GEOC_MODELS", "~/.cache/geoc-models")).expanduser()
# An operator that has to be there, by model.
MODELS = {"ppocr-v2-cls": "Conv", "bert-4l-ts": "Softmax", "lstm-text-ts": "LSTM", "swin-small-ts": "Softmax"}
SIZES = {"ppocr-v2-cls": 48}  # of an open dimension; others have 7


def made_up(given: Any, size: int) -> Any:
    """Ids, masks of ones, or floats, for an input of openvino's model."""
    name, dims = given.any_name, [d.get_length() if d.is_static else -1 for d in given.partial_shape]
    shape = [2 if place == 0 and d < 0 else size if d < 0 else d for place, d in enumerate(dims)]
    rng = np.random.default_rng(0)
    if given.element_type.is_real():
        return rng.standard_normal(shape).astype(np.float32)
    if "mask" in name:
        return np.ones(shape, np.int64)
    return np.zeros(shape, np.int64) if "type" in name else rng.integers(0, 90, shape)


@pytest.mark.parametrize(("name", "half"), [*((name, False) for name in MODELS), ("ppocr-v2-cls", True)])
def test_a_model_comes_back(name: str, half: bool, tmp_path: Path) -> None:
    source = next((file for file in (HERE / f"{name}.onnx", CACHE / f"{name}.onnx") if file.exists()), None)
    if source is None:
        pytest.skip(f"{name}.onnx is not in {CACHE}")
    model = openvino.convert_model(str(source))
    feeds = [made_up(given, SIZES.get(name, 7)) for given in model.inputs]
    path = str(tmp_path / "model.xml")
    openvino.save_model(model, path, compress_to_fp16=half)
    found = ops(check(tmp_path, path, feeds, limit=1e-4))
    assert MODELS[name] in found and ("Cast" in found or not half)
