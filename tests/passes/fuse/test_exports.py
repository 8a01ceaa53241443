"""The same graph from both exporters: what is left of small architectures after -O2, and that it computes the same.

The models are in tests/models/exports.zip (tests/models/exports.py made them): each architecture has two layers and two
files that spell it very differently. One attention per attention layer, one normalization per normalization layer, one
activation per activation, and as many products from the one file as from the other.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import geoc
from geoc.ir.core import Model
from geoc.passes.base import Context
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import level_items
from geoc.passes.registry import Registry

ARCHIVE = Path(__file__).parents[2] / "models" / "exports.zip"
KINDS = {
    "attention": {"Attention"},
    "norm": {"LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization"},
    "activation": {"Gelu", "Swish", "Mish", "HardSwish", "Relu"},
    "rotary": {"RotaryEmbedding"},
    "product": {"MatMul", "Gemm"},
}
# attention, norm, activation, rotary, product; those of the whole model, counted by hand from the architectures.
COUNTS = {
    "bert": (2, 5, 2, 0, 12),
    "bert-eager": (2, 5, 2, 0, 12),
    "bert-op14": (2, 5, 2, 0, 12),
    "bert-op20": (2, 5, 2, 0, 12),
    "bert-op23": (2, 5, 2, 0, 12),
    "distilbert": (2, 5, 2, 0, 12),
    "t5-encoder": (2, 5, 2, 0, 14),
    "t5-both": (6, 12, 4, 0, 36),
    "bart": (6, 12, 4, 0, 32),
    "whisper-encoder": (2, 5, 4, 0, 12),
    "gpt2": (2, 5, 2, 0, 9),
    "gpt2-past": (2, 5, 2, 0, 9),
    "llama": (2, 5, 2, 4, 15),
    "llama-past": (2, 5, 2, 4, 15),
    "llama-eager": (2, 5, 2, 4, 15),
    "qwen2": (2, 5, 2, 4, 15),
    "mistral-window": (2, 5, 2, 4, 15),
    "phi": (2, 3, 2, 4, 13),
    "gpt-neox": (2, 5, 2, 4, 9),
    "gemma2": (2, 9, 2, 4, 15),
    "gptj": (2, 3, 2, 4, 13),
    "opt": (2, 5, 2, 0, 13),
    "vit": (2, 5, 2, 0, 13),
    "swin": (4, 11, 4, 0, 25),
    "clip": (4, 11, 4, 0, 26),
    "unet": (8, 33, 23, 0, 50),
}


with zipfile.ZipFile(ARCHIVE) as _archive:
    MODELS = [Path(name).stem for name in _archive.namelist()]


def source(name: str) -> bytes:
    with zipfile.ZipFile(ARCHIVE) as archive:
        return archive.read(f"{name}.onnx")


def optimized_model(data: bytes | str) -> Model:
    """After -O2 as it is for every target; a file or its bytes."""
    model = geoc.load(data)
    run_pipeline(model, Registry().resolve(level_items(2)), Context())
    return model


def counts(model: Model) -> tuple[int, ...]:
    found = Counter(node.op.name for node in model.walk())
    return tuple(sum(found[name] for name in names) for names in KINDS.values())


@pytest.mark.parametrize("model", MODELS)
def test_counts(model: str) -> None:
    assert counts(optimized_model(source(model))) == COUNTS[model.rpartition("-")[0]]


def feeds(model: Model, sizes: dict[str, int], padded: bool) -> dict[str, Any]:
    """Inputs by what they are called; `padded`: one row of the mask begins with zeros."""
    random = np.random.default_rng(0)
    batch, seq, past = sizes["batch"], sizes["seq"], sizes["past"]
    made: dict[str, Any] = {}
    for name, value in zip(model.graph.input_names, model.graph.inputs):
        if name == "position_ids":
            made[name] = np.broadcast_to(np.arange(past, past + seq), (batch, seq)).copy()
        elif name == "attention_mask":
            made[name] = np.ones((batch, past + seq), np.int64)
            if padded:
                made[name][-1, : (past + seq) // 2] = 0
        elif name in ("input_ids", "token_type_ids", "decoder_input_ids"):
            high = 2 if name == "token_type_ids" else 48
            length = sizes["target"] if name == "decoder_input_ids" else seq
            made[name] = random.integers(0, high, (batch, length))
        elif name == "timestep":
            made[name] = random.integers(0, 1000, batch)
        else:
            shape = [d if isinstance(d, int) else batch for d in value.shape or ()]
            if name.startswith("past."):
                shape[2] = past
            made[name] = random.standard_normal(shape).astype(np.float32)
    return made


def session(data: bytes, optimize: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", MODELS)
def test_numbers(name: str, tmp_path: Path) -> None:
    data = source(name)
    model = geoc.load(data)
    has_past = any(n.startswith("past.") for n in model.graph.input_names)
    geoc.optimize(model, level=2, target="cpu", check="off")
    geoc.save(model, tmp_path / "out.onnx")
    before, after = session(data, False), session((tmp_path / "out.onnx").read_bytes(), True)
    for batch, seq, past, target, padded in ((1, 8, 5, 5, False), (3, 12, 2, 7, True), (2, 1, 9, 1, False)):
        given = feeds(model, {"batch": batch, "seq": seq, "past": past * has_past, "target": target}, padded)
        wanted, got = before.run(None, given), after.run(None, given)
        for output, a, b in zip(model.graph.output_names, wanted, got, strict=True):
            scale = np.abs(a[np.isfinite(a)]).max(initial=1e-6)
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-4 * scale, err_msg=f"{output}, batch {batch}, {seq}")
