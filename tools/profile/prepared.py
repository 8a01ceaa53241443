"""The file that is profiled, with names that tell its nodes apart, and the graph that geoc reads in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...ir.core import Model, Node
from ...lowering.backend import Order
from ...lowering.emit import write_onnx
from ...lowering.onnx.names import node_names
from ...lowering.targets import get_target
from ..files import is_onnx
from ..running.contender import ONNXRUNTIME, Contender, open_contenders


@dataclass
class Prepared:
    """`contender.file` is what runs. `names`: what a node of the file is in the graph; {} for an .xml."""

    contender: Contender
    names: dict[str, list[Node]] = field(default_factory=dict)
    note: str = ""

    def sources(self, name: str) -> tuple[str, ...]:
        """The nodes of the model that it was made from, as far as the file knows them: of a fused node, several."""
        nodes = self.names.get(name, ())
        return tuple(dict.fromkeys(at for node in nodes for at in node.loc)) or (name,)


def prepare(path: str, runtime: str | None, folder: str) -> Prepared:
    """A model to profile. Where names do not tell all nodes apart, a file is written in which they do.

    Raises what `open_contenders` raises.
    """
    contender = open_contenders([path], runtime, folder)[0]
    model = contender.model
    if model is None:
        return Prepared(contender)
    if not is_onnx(path):
        from ..files import load_any

        return _renamed(contender, load_any(path), folder, "")
    if contender.runtime == ONNXRUNTIME and not _has_names(contender.file):
        return _renamed(contender, model, folder, "written anew for this: names of its nodes do not tell them apart")
    names: dict[str, list[Node]] = {}
    for node in model.walk():
        if node.loc:
            names.setdefault(node.loc[0], []).append(node)
    return Prepared(contender, names)


def _renamed(contender: Contender, model: Model, folder: str, note: str) -> Prepared:
    for node in model.walk():
        if not node.loc:
            hint = node.outputs[0].hint if node.outputs else ""
            node.loc = (hint or node.op.name,)
    contender.file = os.path.join(folder, "named.onnx")
    contender.model = model
    write_onnx(model, contender.file, Order(get_target("cpu"), None, None))
    return Prepared(contender, {name: [node] for node, name in node_names(model).items()}, note)


def _has_names(path: str) -> bool:
    """True if every node has a name that no other one has, and no function hides nodes."""
    import onnx

    proto = onnx.load(path, load_external_data=False)
    names = [node.name for node in _nodes(proto.graph) if node.op_type != "Constant"]
    return all(names) and len(set(names)) == len(names) and not proto.functions


def _nodes(graph: Any) -> Iterator[Any]:
    waiting = [graph]
    while waiting:
        for node in waiting.pop().node:
            yield node
            waiting += [attribute.g for attribute in node.attribute if attribute.HasField("g")]
