"""A network that loses little by a low rank, fewer neurons and integers, and samples for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..search import test_mixed_integers as integers
from ..toys import finish

WIDTH, INNER, RANK = 64, 256, 12


def network(path: Path, dead: float = 0.4, seed: int = 0) -> Path:
    """Two products with a Relu between and a residual around: of low rank but for noise, a share of neurons `dead`."""
    rng = np.random.default_rng(seed)

    def matrix(inputs: int, outputs: int) -> Any:
        low = rng.standard_normal((inputs, RANK)) @ rng.standard_normal((RANK, outputs)) / np.sqrt(RANK * inputs)
        return (low + 1e-3 * rng.standard_normal((inputs, outputs)) / np.sqrt(inputs)).astype(np.float32)

    up, down = matrix(WIDTH, INNER), matrix(INNER, WIDTH)
    gone = rng.permutation(INNER)[: round(dead * INNER)]
    up[:, gone] *= 1e-3
    nodes = [
        helper.make_node("MatMul", ["x", "up"], ["u"], name="/up"),
        helper.make_node("Relu", ["u"], ["r"], name="/relu"),
        helper.make_node("MatMul", ["r", "down"], ["d"], name="/down"),
        helper.make_node("Add", ["d", "x"], ["y"], name="/add"),
    ]
    ends = [[(name, TensorProto.FLOAT, ["N", WIDTH])] for name in "xy"]
    constants = [numpy_helper.from_array(up, "up"), numpy_helper.from_array(down, "down")]
    onnx.save(finish(nodes, *ends, constants), path)
    return path


def samples(path: Path, count: int = 20, rows: int = 24, seed: int = 1) -> str:
    """Every fifth is held back."""
    rng = np.random.default_rng(seed)
    np.savez(path, **{f"x/{i}": rng.standard_normal((rows, WIDTH)).astype(np.float32) for i in range(count)})
    return str(path)


def held_back_error(source: Path, made: Path, data: str) -> float:
    """The mean relative L2 error on every fifth sample, by onnxruntime alone.

    It folds constants: MatMulNBits takes no scales that are computed (`tools.running.sessions`).
    """
    return integers.held_back_error(source, made, data, "ORT_ENABLE_BASIC")


def weights(path: Path) -> dict[str, int]:
    """Elements of each matrix in a file."""
    found = {t.name: int(np.prod(t.dims)) for t in onnx.load(path).graph.initializer if len(t.dims) == 2}
    return {name: size for name, size in found.items() if size >= 256}


def ops(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}
