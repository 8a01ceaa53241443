"""Handwritten digits (scikit-learn's, 8 x 8), and classifiers of them with one hidden layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

Layers = list[tuple[Any, Any]]
OUTSIDE = 500  # digits that no model is trained on


def digits(seed: int) -> tuple[Any, Any, Any, Any]:
    """Pictures f32 [n, 64] and classes, mixed: to train on, and `OUTSIDE` to test on."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32), y[order]
    return x[:-OUTSIDE], y[:-OUTSIDE], x[-OUTSIDE:], y[-OUTSIDE:]


def layers(hidden: int, seed: int) -> Layers:
    """64 -> hidden -> 10, before training (He et al. 2015)."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(64, hidden), (hidden, 10)]
    return [(torch.randn(a, b, generator=generator) * (2 / a) ** 0.5, torch.zeros(b)) for a, b in sizes]


def scores(model: Layers, x: Any) -> Any:
    (w1, b1), (w2, b2) = model
    return torch.relu(x @ w1 + b1) @ w2 + b2


def train(model: Layers, x: Any, y: Any, steps: int, rate: float = 5e-3, watch: Any = lambda: None) -> Layers:
    """Trained by the classes alone, all digits in each step; `watch` is called behind each."""
    weights = [part.requires_grad_() for layer in model for part in layer]
    optimizer = torch.optim.AdamW(weights, rate)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(scores(model, x), y).backward()
        optimizer.step()
        watch()
    return model


def accuracy(model: Layers, x: Any, y: Any) -> float:
    with torch.no_grad():
        return float((scores(model, torch.from_numpy(x)).argmax(1).numpy() == y).mean())


def save(model: Layers, path: Path) -> None:
    """As ONNX: x -> logits."""
    names = ["w1", "b1", "w2", "b2"]
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="/fc1"),
        helper.make_node("Relu", ["h"], ["a"], name="/relu"),
        helper.make_node("Gemm", ["a", "w2", "b2"], ["logits"], name="/fc2"),
    ]
    arrays = [part.detach().numpy() for layer in model for part in layer]
    graph = helper.make_graph(
        nodes, "digits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(array, name) for array, name in zip(arrays, names)],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def samples(path: Path, x: Any, y: Any = None, labelled: int | None = None) -> None:
    """Digits as --data takes them, with the classes of the first `labelled` as `label`."""
    arrays = {f"x/{i}": row[None] for i, row in enumerate(x)}
    if y is not None:
        count = len(y) if labelled is None else labelled
        arrays.update({f"label/{i}": np.array([int(y[i])]) for i in range(count)})
    np.savez(path, **arrays)
