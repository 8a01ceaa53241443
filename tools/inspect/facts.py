"""What `geoc inspect` says of a model, as one dictionary for --json and for the text."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ...frontends.about import About
from ...frontends.formats import ONNX, format_of
from ...ir.core import Graph, Model, Node, Value
from ...ir.dims import Dim
from ...ir.errors import GeocError, UsageError
from ...ir.ops.cost import CostModel
from ...ir.ops.cost_table import MATRIX_UNITS
from ...lowering.targets import get_target
from ..files import files_of
from ..inputs.shapes import input_symbols
from ..verbs.estimating import assume
from .forms import attention_count, caches_of, quantized_forms
from .weights import weights_of

TARGETS = ("cpu", "openvino-cpu", "tensorrt")
"""One target of each runtime that geoc writes for."""
SCHEMA = 1


def facts_of(source: str, model: Model) -> dict[str, Any]:
    """Everything, in plain JSON types. Sizes in bytes. The model is changed: unnamed dimensions get sizes at the end.

    Raises OSError for a file that is gone.
    """
    title, about, has_functions = _format(source, model)
    graph = model.graph
    ops = Counter(node.op.key for node in model.walk())
    custom = Counter(node.op.key for node in model.walk() if node.op.is_opaque and not _is_call(node, model))
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "source": source,
        "format": title,
        "version": about.version,
        "stored": {kind: {"count": count, "bytes": size} for kind, (count, size) in about.stored.items()},
        "info": {name: value for name, value in model.info.items() if name != "doc_string"},
        "opsets": dict(model.opsets),
        "files": {path: os.path.getsize(path) for path in files_of(source, model)},
        "inputs": _interface(graph, graph.input_names, graph.inputs),
        "outputs": _interface(graph, graph.output_names, graph.outputs),
        "nodes": model.node_count,
        "ops": dict(ops.most_common()),
        "nested_graphs": sum(len(list(root.graphs())) - 1 for root in model.roots()),
        "custom_ops": dict(custom.most_common()),
        "functions": _functions(source, model) if has_functions else {},
        "weights": weights_of(model),
        "quantized": quantized_forms(model),
        "attention": attention_count(model),
        "caches": caches_of(model),
        "symbols": input_symbols(model),
        "unnamed": _unnamed(model),
        "metadata": dict(model.metadata),
        "targets": [_target(name, model) for name in TARGETS],
    }
    found["bytes"] = sum(found["files"].values())
    found.update(_work(model))
    return found


def _format(source: str, model: Model) -> tuple[str, About, bool]:
    """The format's name, what the file says of itself, and whether functions are to be looked for."""
    if source.endswith(".gir"):
        return "geoc's text", About("1"), True
    found = format_of(source)
    if found is ONNX:
        return found.title, About(f"IR version {model.ir_version}"), True
    return found.title, found.about(source), False


def _interface(graph: Graph, names: list[str], values: Iterable[Value]) -> list[dict[str, Any]]:
    return [
        {"name": name, "type": "unknown" if value.type is None else str(value.type), "default": value in graph.defaults}
        for name, value in zip(names, values)
    ]


def _is_call(node: Node, model: Model) -> bool:
    return any((node.op.domain, node.op.name) == (domain, name) for domain, name, _ in model.functions)


def _functions(source: str, model: Model) -> dict[str, int]:
    """Local functions with their numbers of nodes; those of an ONNX file are unfolded when it is read."""
    if source.endswith(".gir"):
        return {_key(f.domain, f.name): f.graph.size for f in model.functions.values()}
    from ...ir.proto.read import read_model
    from ...ir.tensor import MappedFile

    proto = read_model(MappedFile(source, is_model=True).buffer, source)
    return {_key(f.domain or "", f.name or ""): len(f.node) for f in proto.functions}


def _key(domain: str, name: str) -> str:
    return f"{domain}::{name}" if domain else name


def _unnamed(model: Model) -> dict[str, list[int | None]]:
    """Inputs with a dimension that has neither a size nor a name, each with its sizes as far as they are numbers."""
    graph = model.graph
    return {
        name: [dim if isinstance(dim, int) else None for dim in value.shape or ()]
        for name, value in zip(graph.input_names, graph.inputs)
        if any(isinstance(dim, Dim) and dim.is_unknown for dim in value.shape or ())
    }


def _target(name: str, model: Model) -> dict[str, Any]:
    """What a target could not take as the model stands: `refused` by operator and reason with their number, and
    `reader`, operators that geoc has no form of there, which the runtime's own reader takes or does not; `error` where
    it cannot be written at all."""
    target = get_target(name)
    found: dict[str, Any] = {"target": name, "runtime": target.runtime, "refused": [], "reader": {}, "error": ""}
    try:
        refused = target.backend.unsupported(model, target)
    except GeocError as error:
        found["error"] = error.message
        return found
    counts = Counter((each.node.op.key, each.why) for each in refused)
    found["refused"] = [{"op": op, "reason": why, "count": count} for (op, why), count in counts.most_common()]
    unknown = target.backend.left_to_reader(model)
    found["reader"] = dict(Counter(node.op.key for node in unknown).most_common())
    return found


def _work(model: Model) -> dict[str, Any]:
    """Multiply-accumulates for the sizes that are `assumed`; None where those fit nothing, and why in `no_work`."""
    try:
        assumed = assume(model)
    except UsageError as error:
        return {"macs": None, "unsized": 0, "assumed": [], "no_work": str(error)}
    return {**_arithmetic(model), "assumed": assumed, "no_work": ""}


def _arithmetic(model: Model) -> dict[str, Any]:
    """Multiply-accumulates of products, convolutions, attention and recurrent layers; every branch, bodies once.

    An operation of the roofline's count is a multiplication or an addition: half of them are these pairs. `unsized` are
    nodes of that kind of which a size is not known.
    """
    sizes = CostModel()
    total, unsized = 0.0, 0
    for node in model.graph.walk():
        if node.op.base_key in MATRIX_UNITS:
            flops = sizes.flops(node)
            total += (flops or 0.0) / 2
            unsized += flops is None
    return {"macs": round(total), "unsized": unsized}
