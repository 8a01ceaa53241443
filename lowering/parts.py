"""A model in several files: what the target runs, and what another runtime runs in its place.

    STEM.parts/plan.json              the order, and which values go from file to file
    STEM.parts/0.tensorrt.onnx
    STEM.parts/1.onnxruntime.onnx
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..ir.clone import clone_model
from ..ir.core import Model
from .backend import Emitter, Order, Unsupported, Written
from .emit import write_text
from .partition import partition
from .targets import Target

SCHEMA = 1


def describe(refused: Sequence[Unsupported]) -> str:
    """Each refused node as ``Det at /head/Det: it has no layer for it (limits.rules: no_layer)``, at most four."""
    texts = [f"{u.node.op.key}{f' at {u.node.loc[0]}' if u.node.loc else ''}: {u.why}" for u in refused]
    more = f"; and {len(texts) - 4} more" if len(texts) > 4 else ""
    return "; ".join(texts[:4]) + more


def write_parts(
    model: Model, path: str, order: Order, emitter: Emitter, fallback: Target, refused: Sequence[Unsupported]
) -> Written:
    """Write what the target runs with `emitter`, what is `refused` as ONNX for `fallback`, and the plan.

    `path` is where the whole model would go; the folder beside it is called after it.
    """
    stem = path.removesuffix(emitter.suffix)
    folder = stem + ".parts"
    os.makedirs(folder, exist_ok=True)
    inputs, outputs = list(model.graph.input_names), list(model.graph.output_names)
    passed = {  # outputs that are inputs: no part makes them
        name: inputs[value.index]
        for name, value in zip(outputs, model.graph.outputs)
        if value.graph is model.graph
    }
    whole = Counter(each.node.op.key for each in refused)
    written = Written({})
    entries: list[dict[str, Any]] = []
    copy, of = clone_model(model)  # partition takes it apart
    results = {of[each.node.output] for each in refused}
    twins = {node for node in copy.graph if node.output in results}
    for number, part in enumerate(partition(copy, twins)):
        target = order.target if part.on_target else fallback
        form = emitter if part.on_target else target.backend.emitters()["onnx"]
        name = f"{number}.{target.runtime}{form.suffix}"
        result = form.write(part.model, os.path.join(folder, name), replace(order, target=target))
        written.files |= result.files
        written.opset = result.opset or written.opset
        written.engine = result.engine or written.engine
        graph = part.model.graph
        entries.append({
            "file": name, "runtime": target.runtime, "nodes": part.nodes,
            "inputs": list(graph.input_names), "outputs": list(graph.output_names),
        })  # fmt: skip
    plan = {"schema": SCHEMA, "inputs": inputs, "outputs": outputs, "passed": passed, "parts": entries}
    plan_path = os.path.join(os.path.abspath(folder), "plan.json")
    written.files[plan_path] = write_text(plan_path, json.dumps(plan, indent=2) + "\n")
    on_target = sum(entry["nodes"] for entry in entries if entry["runtime"] == order.target.runtime)
    total = sum(entry["nodes"] for entry in entries)
    which = ", ".join(f"{count} {op}" for op, count in whole.most_common(4))
    split = f"{on_target} of {total} nodes on {order.target.runtime}, {which} on {fallback.runtime}"
    why = f"{describe(refused)}; --fallback=none refuses instead"
    written.notes.append(f"{split}, in {len(entries)} parts: {why}")
    return written
