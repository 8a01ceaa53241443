"""A transformer-like graph of any size, for questions of scaling.

    python synthetic.py NODES OUT.onnx [--untyped]

Ten nodes a block: MatMul, Add, Gelu spelled with erf (Div, Erf, Add, Mul, Mul), MatMul, Add, and
the residual Add. Four small initializers a block and three scalars shared by all; the activations
are f32[B,S,8] with symbolic B and S, f32[B,S,16] inside.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NODES_PER_BLOCK = 10
WIDTH, HIDDEN = 8, 16
SCALARS = {"sqrt2": 2.0**0.5, "one": 1.0, "half": 0.5}


def block(i: int, x: str, y: str) -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("MatMul", [x, f"w1.{i}"], [f"up.{i}"], f"/block.{i}/up/MatMul"),
        node("Add", [f"up.{i}", f"b1.{i}"], [f"pre.{i}"], f"/block.{i}/up/Add"),
        node("Div", [f"pre.{i}", "sqrt2"], [f"div.{i}"], f"/block.{i}/gelu/Div"),
        node("Erf", [f"div.{i}"], [f"erf.{i}"], f"/block.{i}/gelu/Erf"),
        node("Add", [f"erf.{i}", "one"], [f"cdf.{i}"], f"/block.{i}/gelu/Add"),
        node("Mul", [f"pre.{i}", f"cdf.{i}"], [f"twice.{i}"], f"/block.{i}/gelu/Mul"),
        node("Mul", [f"twice.{i}", "half"], [f"act.{i}"], f"/block.{i}/gelu/Mul_1"),
        node("MatMul", [f"act.{i}", f"w2.{i}"], [f"down.{i}"], f"/block.{i}/down/MatMul"),
        node("Add", [f"down.{i}", f"b2.{i}"], [f"out.{i}"], f"/block.{i}/down/Add"),
        node("Add", [f"out.{i}", x], [y], f"/block.{i}/residual/Add"),
    ]


def weights(blocks: int) -> list[onnx.TensorProto]:
    rng = np.random.default_rng(0)
    shapes = {"w1": (WIDTH, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, WIDTH), "b2": (WIDTH,)}
    tensors = [
        numpy_helper.from_array(np.array(v, np.float32), name) for name, v in SCALARS.items()
    ]
    for i in range(blocks):
        for name, shape in shapes.items():
            array = (rng.standard_normal(shape) * 0.1).astype(np.float32)
            tensors.append(numpy_helper.from_array(array, f"{name}.{i}"))
    return tensors


def build(nodes: int, typed: bool = True) -> onnx.ModelProto:
    """The model of `nodes` nodes (a multiple of ten), with or without types of inner values."""
    blocks, rest = divmod(nodes, NODES_PER_BLOCK)
    if rest or not blocks:
        raise ValueError(f"{nodes} is not a positive multiple of {NODES_PER_BLOCK}")

    def value(name: str, width: int = WIDTH) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", "S", width])

    body: list[onnx.NodeProto] = []
    x = "x"
    for i in range(blocks):
        y = "y" if i == blocks - 1 else f"y.{i}"
        body.extend(block(i, x, y))
        x = y
    inner = [
        value(o, HIDDEN if n.name.split("/")[2] in ("up", "gelu") else WIDTH)
        for n in body
        for o in n.output
    ]
    graph = helper.make_graph(
        body,
        "blocks",
        [value("x")],
        [value("y")],
        weights(blocks),
        value_info=inner[:-1] if typed else [],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write(path: Path, nodes: int, typed: bool = True) -> Path:
    onnx.save(build(nodes, typed), str(path))
    return path


if __name__ == "__main__":
    write(Path(sys.argv[2]), int(sys.argv[1]), "--untyped" not in sys.argv)
