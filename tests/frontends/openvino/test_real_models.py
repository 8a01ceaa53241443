"""Models as openvino converts them and as geoc writes them: read back, they compute what openvino computes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

import geoc
from geoc.tools.inputs.shapes import read_shapes

from .running import CONFIG, check, ops, read, run_onnx

MODELS = Path(__file__).parents[2] / "models"
FUSED = ("Attention", "LayerNormalization", "RMSNormalization", "RotaryEmbedding", "Gelu")


def export(name: str, folder: Path) -> str:
    """An ONNX file of tests/models."""
    if (MODELS / f"{name}.onnx").exists():
        return str(MODELS / f"{name}.onnx")
    with zipfile.ZipFile(MODELS / "exports.zip") as archive:
        return archive.extract(f"{name}.onnx", folder)


def made_up(given: Any, size: int) -> Any:
    """Ids, masks of ones, or floats, for an input of openvino's model."""
    name, dims = given.any_name, [d.get_length() if d.is_static else -1 for d in given.partial_shape]
    shape = [2 if place == 0 and d < 0 else size if d < 0 else d for place, d in enumerate(dims)]
    rng = np.random.default_rng(0)
    if given.element_type.is_real():
        return rng.standard_normal(shape).astype(np.float32)
    if "mask" in name:
        return np.ones(shape, np.int64)
    return np.zeros(shape, np.int64) if "type" in name else rng.integers(0, 40, shape)


@pytest.mark.parametrize(("name", "half"), [("ppocr-v2-cls", True), ("bart-ts", False), ("gemma2-dynamo", False), ("swin-ts", False)])
def test_a_model_comes_back(name: str, half: bool, tmp_path: Path) -> None:
    model = openvino.convert_model(export(name, tmp_path))
    feeds = [made_up(given, 48 if name.startswith("ppocr") else 7) for given in model.inputs]
    path = str(tmp_path / "model.xml")
    openvino.save_model(model, path, compress_to_fp16=half)
    check(tmp_path, path, feeds, limit=1e-4)


@pytest.mark.parametrize("name", ["bert-ts", "llama-past-dynamo", "vit-ts", "bart-ts"])
def test_as_much_is_fused_as_in_the_onnx_file(name: str, tmp_path: Path) -> None:
    """Where sizes have the names that the ONNX file has, and the format no place for."""
    source = export(name, tmp_path)
    openvino.save_model(openvino.convert_model(source), tmp_path / "model.xml", compress_to_fp16=False)
    wanted, model = geoc.load(source), read(str(tmp_path / "model.xml"))
    sizes = [f"{key}={','.join(map(str, v.shape or ()))}" for key, v in zip(wanted.graph.input_names, wanted.graph.inputs)]
    read_shapes(sizes, model)
    for each in (wanted, model):
        geoc.optimize(each, level=2, check="off")
    found, expected = ops(model), ops(wanted)
    assert {op: found.count(op) for op in FUSED} == {op: expected.count(op) for op in FUSED} and expected.count("Attention")
    assert len(found) <= len(expected) + 4


def test_caches_that_geoc_wrote_as_variables(tmp_path: Path) -> None:
    path = str(tmp_path / "model.stateful.xml")
    geoc.compile(export("llama-past-ts", tmp_path), path, target="openvino-cpu", emit="openvino-stateful", check="off")
    model = read(path)
    names = model.graph.input_names
    states = [name for name in names if name.startswith("past")]
    assert len(states) == 4 and sum(name.endswith(".next") for name in model.graph.output_names) == 4
    request = openvino.Core().compile_model(path, "CPU", {**CONFIG, "KV_CACHE_PRECISION": "f32"}).create_infer_request()
    caches = {name: np.zeros((1, 2, 0, 8), np.float32) for name in states}
    for begin, count in ((0, 5), (5, 1), (6, 1)):
        places = np.arange(begin, begin + count)[None]
        feeds = {"input_ids": places * 7 % 41, "position_ids": places, "attention_mask": np.ones((1, begin + count), np.int64), "beam_idx": np.zeros(1, np.int32)}
        theirs = request.infer({port: feeds[port.any_name] for port in request.model_inputs if port.any_name in feeds})
        ours, *after = run_onnx(model, [(feeds | caches)[name] for name in names], tmp_path)
        np.testing.assert_allclose(ours, next(iter(theirs.values())), rtol=1e-4, atol=1e-5)
        caches = dict(zip((name.removesuffix(".next") for name in model.graph.output_names[1:]), after))
