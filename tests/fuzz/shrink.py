"""Making a failing model small: parts are cut away for as long as it fails in the same way.

    model, feeds = shrink(data, feeds, still_fails)

A value that some node computes may become an input with the elements it had, a node may give way to one of its operands,
outputs, attributes and declarations go. Whatever is not needed for the rest goes with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from .oracle import open_session, run

Feeds = list[dict[str, Any]]
Candidate = tuple[onnx.ModelProto, Feeds]
_ROUNDS = 12


def shrink(data: bytes, feeds: Sequence[Mapping[str, Any]], still_fails: Callable[[bytes, Feeds], bool]) -> Candidate:
    """The smallest model found, and inputs for it."""
    best: Candidate = (onnx.ModelProto.FromString(data), [dict(f) for f in feeds])
    for _ in range(_ROUNDS):
        before = _size(best[0])
        for propose in (_fewer_assignments, _inlined, _undeclared, _one_output, _cut, _bypassed, _plainer, _fixed):
            best = _improve(best, propose, still_fails)
        if _size(best[0]) >= before:
            break
    return best


def _size(model: onnx.ModelProto) -> tuple[int, int]:
    return sum(1 for _ in _nodes(model.graph)) + sum(len(f.node) for f in model.functions), model.ByteSize()


def _improve(
    best: Candidate, propose: Callable[[Candidate], Iterator[Candidate]], still_fails: Callable[[bytes, Feeds], bool]
) -> Candidate:
    """Take what `propose` offers while that fails as well; start over from each success."""
    progress = True
    while progress:
        progress = False
        for model, feeds in propose(best):
            _drop_dead(model)
            names = {i.name for i in model.graph.input}
            feeds = [{k: v for k, v in f.items() if k in names} for f in feeds]
            if (_size(model), len(feeds)) >= (_size(best[0]), len(best[1])) and _key(model) >= _key(best[0]):
                continue
            if still_fails(model.SerializeToString(), feeds):
                best, progress = (model, feeds), True
                break
    return best


def _key(model: onnx.ModelProto) -> int:
    """Fewer named dimensions are better too."""
    return sum(1 for i in model.graph.input for d in i.type.tensor_type.shape.dim if d.dim_param)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


# Proposals


def _fewer_assignments(best: Candidate) -> Iterator[Candidate]:
    model, feeds = best
    if len(feeds) > 1:
        for given in feeds:
            yield _copy(model), [given]


def _inlined(best: Candidate) -> Iterator[Candidate]:
    model, feeds = best
    if model.functions:
        from onnx import inliner

        yield inliner.inline_local_functions(model), feeds


def _undeclared(best: Candidate) -> Iterator[Candidate]:
    model, feeds = best
    if model.graph.value_info:
        copy = _copy(model)
        del copy.graph.value_info[:]
        yield copy, feeds
    for index in range(len(model.graph.value_info)):
        copy = _copy(model)
        del copy.graph.value_info[index]
        yield copy, feeds


def _one_output(best: Candidate) -> Iterator[Candidate]:
    model, feeds = best
    count = len(model.graph.output)
    if count < 2:
        return
    for index in range(count):
        copy = _copy(model)
        kept = copy.graph.output[index]
        copy.graph.ClearField("output")
        copy.graph.output.append(kept)
        yield copy, feeds
    for index in range(count):
        copy = _copy(model)
        del copy.graph.output[index]
        yield copy, feeds


def _cut(best: Candidate) -> Iterator[Candidate]:
    """Each computed value as the only output, and each as an input."""
    model, feeds = best
    values = _elements(model, feeds)
    for node in model.graph.node:
        for name in node.output:
            if name in values and [o.name for o in model.graph.output] != [name]:
                copy = _copy(model)
                copy.graph.ClearField("output")
                copy.graph.output.append(_info(name, values[name]))
                yield copy, feeds
    for position in reversed(range(len(model.graph.node))):
        node = model.graph.node[position]
        known = [name for name in node.output if name]
        if node.op_type == "Constant" or not known or any(name not in values for name in known):
            continue
        copy = _copy(model)
        del copy.graph.node[position]
        copy.graph.input.extend(_info(name, values[name]) for name in known)
        yield copy, [{**f, **{name: values[name][k] for name in known}} for k, f in enumerate(feeds)]


def _elements(model: onnx.ModelProto, feeds: Feeds) -> dict[str, list[Any]]:
    """What every value of the main graph holds, under each assignment; those that are no tensors are left out."""
    copy = _copy(model)
    del copy.graph.output[:]
    names = [name for node in copy.graph.node for name in node.output if name]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    try:
        session = open_session(copy.SerializeToString())
        runs = [run(session, f) for f in feeds]
    except Exception:
        return {}
    found = {name: [r[i] for r in runs] for i, name in enumerate(names)}
    return {name: arrays for name, arrays in found.items() if all(isinstance(a, np.ndarray) for a in arrays)}


def _info(name: str, arrays: list[Any]) -> onnx.ValueInfoProto:
    same = len({a.shape for a in arrays}) == 1
    shape = list(arrays[0].shape) if same else [None] * arrays[0].ndim
    kind = 8 if arrays[0].dtype == object else helper.np_dtype_to_tensor_dtype(arrays[0].dtype)
    return helper.make_tensor_value_info(name, kind, shape)


def _bypassed(best: Candidate) -> Iterator[Candidate]:
    """Each node of each graph gone, an operand in the place of its result."""
    model, feeds = best
    for index, graph in enumerate(_graphs(model.graph)):
        for position in reversed(range(len(graph.node))):
            node = graph.node[position]
            for name in dict.fromkeys(node.input):
                if not name or len(node.output) != 1 or node.output[0] in {o.name for o in graph.output}:
                    continue
                copy = _copy(model)
                inner = list(_graphs(copy.graph))[index]
                del inner.node[position]
                for user in _nodes(inner):
                    for slot, used in enumerate(user.input):
                        if used == node.output[0]:
                            user.input[slot] = name
                for graph_ in _graphs(inner):
                    for output in graph_.output:
                        if output.name == node.output[0]:
                            output.name = name
                yield copy, feeds


def _plainer(best: Candidate) -> Iterator[Candidate]:
    """Attributes, names and optional operands gone, one by one."""
    model, feeds = best
    for index, node in enumerate(_nodes(model.graph)):
        for slot, attribute in enumerate(node.attribute):
            if not attribute.HasField("g"):
                copy = _copy(model)
                del list(_nodes(copy.graph))[index].attribute[slot]
                yield copy, feeds
        if node.name:
            copy = _copy(model)
            list(_nodes(copy.graph))[index].name = ""
            yield copy, feeds
        if len(node.input) > 1:
            copy = _copy(model)
            del list(_nodes(copy.graph))[index].input[-1]
            yield copy, feeds


def _fixed(best: Candidate) -> Iterator[Candidate]:
    """Named dimensions as numbers."""
    model, feeds = best
    names = {d.dim_param for i in model.graph.input for d in i.type.tensor_type.shape.dim if d.dim_param}
    if len(feeds) != 1:
        return
    for name in sorted(names):
        copy = _copy(model)
        for info in copy.graph.input:
            for axis, dim in enumerate(info.type.tensor_type.shape.dim):
                if dim.dim_param == name and info.name in feeds[0]:
                    dim.dim_value = feeds[0][info.name].shape[axis]
        yield copy, feeds


# What nobody needs


def _drop_dead(model: onnx.ModelProto) -> None:
    """Remove nodes, initializers, inputs, declarations and functions without use."""
    for graph in reversed(list(_graphs(model.graph))):
        is_main = graph is model.graph or graph.name == model.graph.name
        while True:
            used = {name for node in graph.node for name in _uses(node)} | {o.name for o in graph.output}
            dead = [i for i, node in enumerate(graph.node) if not any(o in used for o in node.output)]
            for index in reversed(dead):
                del graph.node[index]
            if not dead:
                break
        for listed in (graph.initializer, graph.input if is_main else []):
            for index in reversed(range(len(listed))):
                if listed[index].name not in used:
                    del listed[index]
        for index in reversed(range(len(graph.sparse_initializer))):
            if graph.sparse_initializer[index].values.name not in used:
                del graph.sparse_initializer[index]
        made = {o for node in graph.node for o in node.output}
        for index in reversed(range(len(graph.value_info))):
            if graph.value_info[index].name not in made:
                del graph.value_info[index]
    called = {(n.domain, n.op_type) for n in _nodes(model.graph)}
    called |= {(n.domain, n.op_type) for f in model.functions for n in f.node}
    for index in reversed(range(len(model.functions))):
        if (model.functions[index].domain, model.functions[index].name) not in called:
            del model.functions[index]
    if not model.functions:
        for index in reversed(range(len(model.opset_import))):
            if model.opset_import[index].domain == "local":
                del model.opset_import[index]


def _uses(node: onnx.NodeProto) -> Iterator[str]:
    yield from node.input
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in _nodes(attribute.g):
                yield from inner.input
            for graph in _graphs(attribute.g):
                yield from (o.name for o in graph.output)
