"""Random graphs, random edits of them, and other spellings of one graph: names, order of nodes and of weights."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

UNARY = ("Relu", "Neg", "Tanh", "Abs", "Sigmoid", "LeakyRelu", "Elu")
BINARY = ("Add", "Sub", "Mul", "MatMul", "Div")
SHAPE = [4, 4]


@dataclass(frozen=True)
class Step:
    """One node: `operands` are names of steps, of inputs (x0, x1) or of weights (w...)."""

    name: str
    op: str
    operands: tuple[str, ...]
    alpha: float | None = None


@dataclass(frozen=True)
class Plan:
    """A graph of matrices [4, 4]: steps in order, seeds of weights, the steps that are returned."""

    steps: tuple[Step, ...]
    weights: dict[str, int]
    outputs: tuple[str, ...]
    edited: tuple[str, ...] = field(default=())


def random_plan(seed: int, size: int) -> Plan:
    rng = random.Random(seed)
    values, steps, weights = ["x0", "x1"], [], {}
    for number in range(size):
        name = f"s{number}"
        op = rng.choice(UNARY if rng.random() < 0.4 else BINARY)
        recent = values[-6:]
        operands = [rng.choice(recent)]
        if op in BINARY:
            if rng.random() < 0.5:
                weights[f"w{number}"] = number
                operands.append(f"w{number}")
            else:
                operands.append(rng.choice(recent))
        steps.append(Step(name, op, tuple(operands), 0.5 if op in ("LeakyRelu", "Elu") else None))
        values.append(name)
    return Plan(tuple(steps), weights, tuple(values[-2:]))


def edited(plan: Plan, seed: int) -> Plan:
    """One random edit."""
    rng = random.Random(seed)
    steps = list(plan.steps)
    at = rng.randrange(len(steps))
    step = steps[at]
    kind = rng.choice(("op", "insert", "remove", "weight", "rewire", "exchange", "attribute"))
    before = ["x0", "x1", *(s.name for s in steps[:at])]
    weights = dict(plan.weights)
    outputs = plan.outputs
    if kind == "op":
        family = UNARY if len(step.operands) == 1 else BINARY
        op = rng.choice([o for o in family if o != step.op])
        steps[at] = replace(step, op=op, alpha=0.5 if op in ("LeakyRelu", "Elu") else None)
    elif kind == "insert":
        new = Step(f"new{seed}", rng.choice(("Exp", "Floor", "Ceil")), (step.operands[0],))
        steps[at] = replace(step, operands=(new.name, *step.operands[1:]))
        steps.insert(at, new)
    elif kind == "remove" and len(step.operands) == 1:
        del steps[at]
        source = step.operands[0]
        steps = [replace(s, operands=tuple(source if o == step.name else o for o in s.operands)) for s in steps]
        outputs = tuple(source if o == step.name else o for o in outputs)
    elif kind == "weight" and weights:
        name = rng.choice(sorted(weights))
        weights[name] = 1000 + seed
    elif kind == "rewire":
        steps[at] = replace(step, operands=(rng.choice(before), *step.operands[1:]))
    elif kind == "exchange" and len(step.operands) == 2:
        steps[at] = replace(step, operands=step.operands[::-1])
    elif kind == "attribute" and step.alpha is not None:
        steps[at] = replace(step, alpha=step.alpha + 0.25)
    return Plan(tuple(steps), weights, outputs, (*plan.edited, kind))


def to_onnx(plan: Plan) -> onnx.ModelProto:
    nodes = [
        helper.make_node(s.op, list(s.operands), [s.name], name=f"/{s.name}", **({} if s.alpha is None else {"alpha": s.alpha}))
        for s in plan.steps
    ]
    nodes += [helper.make_node("Identity", [name], [f"y{i}"], name=f"/out{i}") for i, name in enumerate(plan.outputs)]
    constants = [
        numpy_helper.from_array(np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32), name)
        for name, seed in plan.weights.items()
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(n, TensorProto.FLOAT, SHAPE) for n in ("x0", "x1")],
        [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, SHAPE) for i in range(2)], constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def respelled(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """The same model with other names inside, nodes in another topological order, weights in another order."""
    rng = random.Random(seed)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    _shuffle(result.graph, rng)
    kept = {v.name for v in (*result.graph.input, *result.graph.output)}
    _rename(result.graph, {}, kept, rng)
    return result


def _captured(node: onnx.NodeProto) -> set[str]:
    """Names that a node reads, those that its regions read included."""
    found = set(node.input)
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs] if attribute.type in (5, 10) else []:
            for inner in graph.node:
                found |= _captured(inner)
            found |= {value.name for value in graph.output}
    return found


def _shuffle(graph: onnx.GraphProto, rng: random.Random) -> None:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _shuffle(attribute.g, rng)
    nodes = list(graph.node)
    makers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    waits = [{makers[name] for name in _captured(node) if name in makers} - {i} for i, node in enumerate(nodes)]
    users: dict[int, list[int]] = {}
    for i, needed in enumerate(waits):
        for j in needed:
            users.setdefault(j, []).append(i)
    left = [len(needed) for needed in waits]
    ready = [i for i, count in enumerate(left) if not count]
    order = []
    while ready:
        at = ready.pop(rng.randrange(len(ready)))
        order.append(at)
        for user in users.get(at, ()):
            left[user] -= 1
            if not left[user]:
                ready.append(user)
    assert len(order) == len(nodes)
    del graph.node[:]
    graph.node.extend(nodes[i] for i in order)
    weights = list(graph.initializer)
    rng.shuffle(weights)
    del graph.initializer[:]
    graph.initializer.extend(weights)


def _rename(graph: onnx.GraphProto, outer: dict[str, str], kept: set[str], rng: random.Random) -> None:
    names = dict(outer)
    taken = [*(w.name for w in graph.initializer), *(o for n in graph.node for o in n.output), *(v.name for v in graph.input)]
    for name in taken:
        if name and name not in kept:
            names[name] = f"v{rng.getrandbits(60):x}"
    for weight in graph.initializer:
        weight.name = names.get(weight.name, weight.name)
    for values in (graph.input, graph.output, graph.value_info):
        for value in values:
            value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.name = f"n{rng.getrandbits(60):x}"
        for field_ in (node.input, node.output):
            field_[:] = [names.get(name, name) for name in field_]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename(attribute.g, names, kept, rng)
