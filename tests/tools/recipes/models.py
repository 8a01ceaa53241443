"""A network whose matrices are of a low rank but for a little, and samples for it: all forms of recipes have something to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from ..toys import finish

WIDTH, INNER, RANK, BLOCKS = 128, 512, 24, 2


def network(path: Path, noise: float = 1e-3, seed: int = 0) -> Path:
    """Blocks of two products with a Relu between and a residual around; matrices of `RANK` and as much noise."""
    rng = np.random.default_rng(seed)

    def matrix(inputs: int, outputs: int) -> Any:
        low = rng.standard_normal((inputs, RANK)) @ rng.standard_normal((RANK, outputs)) / np.sqrt(RANK * inputs)
        return (low + noise * rng.standard_normal((inputs, outputs)) / np.sqrt(inputs)).astype(np.float32)

    nodes, constants, last = [], [], "x"
    for i in range(BLOCKS):
        constants += [numpy_helper.from_array(matrix(WIDTH, INNER), f"up{i}")]
        constants += [numpy_helper.from_array(matrix(INNER, WIDTH), f"down{i}")]
        nodes += [
            helper.make_node("MatMul", [last, f"up{i}"], [f"u{i}"], name=f"/block{i}/up"),
            helper.make_node("Relu", [f"u{i}"], [f"r{i}"], name=f"/block{i}/relu"),
            helper.make_node("MatMul", [f"r{i}", f"down{i}"], [f"d{i}"], name=f"/block{i}/down"),
            helper.make_node("Add", [f"d{i}", last], [f"a{i}"], name=f"/block{i}/add"),
        ]
        last = f"a{i}"
    nodes[-1].output[0] = "y"
    ends = [[(name, TensorProto.FLOAT, ["N", WIDTH])] for name in "xy"]
    onnx.save(finish(nodes, *ends, constants), path)
    return path


def samples(path: Path, count: int = 40, rows: int = 32, seed: int = 1) -> str:
    """Every fifth is held back."""
    rng = np.random.default_rng(seed)
    np.savez(path, **{f"x/{i}": rng.standard_normal((rows, WIDTH)).astype(np.float32) for i in range(count)})
    return str(path)


def held_back_error(source: Path, made: Path, data: str) -> float:
    """The mean relative L2 error on every fifth sample, by onnxruntime alone."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    a, b = (onnxruntime.InferenceSession(str(p), options, ["CPUExecutionProvider"]) for p in (source, made))
    errors = []
    with np.load(data) as arrays:
        for i in range(4, len(arrays.files), 5):
            x = {"x": arrays[f"x/{i}"]}
            expected, found = a.run(None, x)[0], b.run(None, x)[0]
            errors.append(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    return float(np.mean(errors))
