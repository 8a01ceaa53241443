"""What a model file holds: `python counting.py FILE` prints nodes, ops, opset and size as JSON.

Nodes are counted in the main graph, in every nested graph and once in the body of every local
function. Constants are not counted: Constant nodes, whether a constant is a node or an initializer being a matter of
spelling, and a ConstantOfShape or an Expand of constants, which is a constant that takes few bytes (`fills` tells how
many).
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    pending = [model.graph.node, *(function.node for function in model.functions)]
    while pending:
        for node in pending.pop():
            yield node
            for attribute in node.attribute:
                pending.extend(
                    graph.node for graph in (attribute.g, *attribute.graphs) if graph.node
                )


def all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from model.graph.initializer
    for node in all_nodes(model):
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for graph in (attribute.g, *attribute.graphs):
                yield from graph.initializer


def size_in_bytes(path: Path, model: onnx.ModelProto) -> int:
    """The file and every file of external data that it names."""
    files = {path}
    for tensor in all_tensors(model):
        files.update(path.parent / e.value for e in tensor.external_data if e.key == "location")
    return sum(file.stat().st_size for file in files)


def op_name(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"


def constant_fills(model: onnx.ModelProto) -> Counter[str]:
    """How many ConstantOfShape and Expand nodes have constant operands."""
    constant = {tensor.name for tensor in all_tensors(model) if tensor.name}
    constant.update(node.output[0] for node in all_nodes(model) if node.op_type == "Constant")
    fills = (node for node in all_nodes(model) if node.op_type in ("ConstantOfShape", "Expand"))
    return Counter(node.op_type for node in fills if constant.issuperset(node.input))


def contents(path: Path) -> dict[str, object]:
    """Node count, op histogram, opset of the standard domain, size in bytes."""
    model = onnx.load(str(path), load_external_data=False)
    ops = Counter(op_name(node) for node in all_nodes(model))
    del ops["Constant"]
    fills = constant_fills(model)
    ops -= fills
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    return {
        "nodes": ops.total(),
        "ops": dict(ops.most_common()),
        "fills": fills.total(),
        "opset": opset,
        "size": size_in_bytes(path, model),
    }


if __name__ == "__main__":
    print(json.dumps(contents(Path(sys.argv[1]))))
