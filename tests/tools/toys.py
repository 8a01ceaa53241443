"""Small models, and a pass that is wrong at one place."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def relu_chain(length: int = 4) -> onnx.ModelProto:
    """x -> Relu, Add 1 -> ... -> y, nodes called /relu_0, /add_0, ..."""
    nodes, last = [], "x"
    for i in range(length):
        nodes.append(helper.make_node("Relu", [last], [f"r{i}"], name=f"/relu_{i}"))
        nodes.append(helper.make_node("Add", [f"r{i}", f"c{i}"], [f"a{i}"], name=f"/add_{i}"))
        last = f"a{i}"
    constants = [numpy_helper.from_array(np.float32([i * 0.25 - 0.25] * 4), f"c{i}") for i in range(length)]
    nodes.append(helper.make_node("Identity", [last], ["y"], name="/out"))
    return finish(nodes, [("x", TensorProto.FLOAT, ["N", 4])], [("y", TensorProto.FLOAT, ["N", 4])], constants)


def embedding() -> onnx.ModelProto:
    """Token ids and an attention mask through a table of 11 rows; out of range ids fail."""
    table = np.random.default_rng(0).standard_normal((11, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["e"], name="/embed"),
        helper.make_node("Cast", ["attention_mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m", "axes"], ["m3"]),
        helper.make_node("Mul", ["e", "m3"], ["y"]),
    ]
    dims = ["batch", "seq"]
    inputs = [("input_ids", TensorProto.INT64, dims), ("attention_mask", TensorProto.INT64, dims)]
    constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.int64([2]), "axes")]
    return finish(nodes, inputs, [("y", TensorProto.FLOAT, [*dims, 3])], constants)


def finish(
    nodes: list[onnx.NodeProto],
    inputs: list[tuple[str, int, list[str | int]]] | list[tuple[str, int, list[str]]],
    outputs: list[tuple[str, int, list[str | int]]] | list[tuple[str, int, list[str]]],
    constants: list[onnx.TensorProto] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """A checked model of these parts."""
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info(*i) for i in inputs],
        [helper.make_tensor_value_info(*o) for o in outputs],
        constants or [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    return model


WRONG_PASS = '''
from dataclasses import dataclass
from typing import ClassVar

from geoc.ir.builder import Builder
from geoc.ir.ops import op
from geoc.passes.base import Pass


@dataclass(frozen=True)
class Wrong(Pass):
    """Relu(x) becomes Max(x, 0); at /relu_2, where the fault is, Max(x, 1)."""

    name: ClassVar[str] = "wrong"
    fault: str = "/relu_2"

    def run(self, model, ctx):
        changed = False
        for node in list(model.graph.index.get(op("Relu"), ())):
            if not ctx.allow(self.name, "", node):
                continue
            builder = Builder(model.graph, node, node.loc)
            with ctx.rewrite(self.name, "", [node], builder.created):
                least = builder.const(1.0 if self.fault in node.loc else 0.0, like=node.inputs[0])
                node.output.replace_with(builder.op("Max", node.inputs[0], least))
                model.graph.erase(node)
            changed = True
        return changed
'''
