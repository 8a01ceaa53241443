"""Steps that make graphs inside graphs: If, Loop, Scan, and calls of local functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

from .graphs import FLOATS, Gen, NoFit, Scope, Val
from .kinds import DTYPES, SIZES, Shapes, each

_MAX_DEPTH = 3
_CARRIED = ("f32", "f32", "i64", "f64", "bool", "i32")


def condition(g: Gen) -> tuple[Val, bool | None]:
    """A condition, and its value where that is known."""
    style = g.rng.randrange(5)
    if style == 0:
        value = g.chance(0.5)
        return g.const(np.asarray(value)), value
    if style == 1:  # known after folding
        value = g.chance(0.5)
        c = g.one("Less", [g.const(np.asarray(0.0 if value else 2.0)), g.const(np.asarray(1.0))], "bool", ((),) * SIZES)
        return c, value
    if style == 2:
        return g.new_input("bool", []), None
    if style == 3:
        v = g.pick(where=lambda v: v.rank > 0)
        size = g.one("Size", [v], "i64", ((),) * SIZES)
        return g.one("Greater", [size, g.const(np.asarray(g.choose((2, 6, 12)), np.int64))], "bool", ((),) * SIZES), None
    v = g.pick("f32", where=lambda v: not v.is_empty())
    total = g.one("ReduceSum", [v], "f32", ((),) * SIZES, keepdims=0)
    return g.one("Greater", [total, g.weight("f32", ())], "bool", ((),) * SIZES), None


def absorb(g: Gen, like: Val) -> Val:
    """A value of the shape of `like` into which something made here goes."""
    v = g.rng.choice([v for v in g.visible() if v.shapes is None or not v.is_empty()] or [like])
    if like.dtype not in ("f32", "f64", "i64", "i32"):
        return g.like(g.choose(("Identity", "Not") if like.dtype == "bool" else ("Identity",)), [like], like)
    if v.dtype in ("str", "bf16", "f16") or (v.dtype in FLOATS and like.dtype not in FLOATS):
        return g.like("Neg" if g.chance(0.5) else "Identity", [like], like)
    if v.dtype != like.dtype:
        v = g.like("Cast", [v], v, like.dtype, to=DTYPES[like.dtype][0])
    if v.shapes == like.shapes and g.chance(0.5):
        return g.like("Sub", [like, v], like)
    total = g.one("ReduceSum", [v], like.dtype, ((),) * SIZES, keepdims=0)
    if like.dtype in FLOATS:
        total = g.one("Tanh", [total], like.dtype, ((),) * SIZES)
    return g.like("Add", [like, total], like)


def result(g: Gen, like: Val) -> Val:
    """What a region returns for `like`: made here, of the same type."""
    style = g.rng.randrange(6)
    if style == 0:
        return g.like("Identity", [like], like)
    if style == 1 and like.is_fixed():
        return g.const(g.np_rng.integers(0, 2, like.at(0)).astype(DTYPES[like.dtype][1]), like.dtype) if like.dtype not in ("str", "bf16") else g.like("Identity", [like], like)
    if style == 2:
        found = [v for v in g.scope.values if v.dtype == like.dtype and v.shapes == like.shapes and v.shapes is not None and v.const is None]
        if found:
            return g.rng.choice(found)
    return absorb(g, like)


def graph_of(
    g: Gen, scope: Scope, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[Val], declare: bool = False
) -> onnx.GraphProto:
    infos = [helper.make_tensor_value_info(v.name, DTYPES[v.dtype][0], v.at(0) if declare else None) for v in outputs]
    return helper.make_graph(scope.nodes, g.name("body"), inputs, infos, scope.initializers, sparse_initializer=scope.sparse)


def _enter(g: Gen) -> Scope:
    if g.depth >= _MAX_DEPTH:
        raise NoFit("deep enough")
    return Scope(g.scope)


def _distinct(g: Gen, outputs: list[Val], passed: tuple[Val, ...] = ()) -> list[Val]:
    """Each once and made in this graph: what ONNX asks of a region's outputs.

    onnxruntime returns garbage for operands of a body that it returns as they are, but for those in `passed`.
    """
    found: list[Val] = []
    for v in outputs:
        fits = v in g.scope.values and v not in found and (v.name[0] != "p" or v in passed)
        found.append(v if fits else g.like("Identity", [v], v))
    return found


def if_(g: Gen) -> None:
    """If, of known or unknown condition; its branches may give different sizes."""
    templates = [g.pick() for _ in range(g.rng.choice((1, 1, 2)))]
    cond, taken = condition(g)
    sized = [t for t in templates if t.rank and not t.is_empty()]
    odd = g.rng.choice(sized) if sized and g.chance(0.15) else None
    branches: list[onnx.GraphProto] = []
    shapes: list[list[Shapes | None]] = []
    for which in (True, False):
        scope = _enter(g)
        with g.inside(scope):
            g.grow(g.rng.choice((0, 1, 1, 2, 4)))
            outputs = [result(g, t) for t in templates]
            if odd is not None and not which:
                at = templates.index(odd)
                doubled = each(lambda s: (s[0] * 2, *s[1:]), odd.known())
                outputs[at] = g.one("Concat", [outputs[at], odd], odd.dtype, doubled, axis=0)
            outputs = _distinct(g, outputs)
            branches.append(graph_of(g, scope, (), outputs))
            shapes.append([v.shapes for v in outputs])
    results: list[tuple[str, Shapes | None, int]] = []
    for at, t in enumerate(templates):
        same = shapes[0][at] == shapes[1][at]
        known = shapes[0][at] if same else None if taken is None else shapes[0 if taken else 1][at]
        results.append((t.dtype, known, t.rank))
    g.emit("If", [cond], results, then_branch=branches[0], else_branch=branches[1])


def _parameter(g: Gen, scope: Scope, dtype: str, shapes: Shapes | None, rank: int) -> tuple[Val, onnx.ValueInfoProto]:
    value = Val(g.name("p"), dtype, shapes, rank)
    scope.values.append(value)
    dims: list[Any] | None = None
    if shapes is not None and (rank == 0 or g.chance(0.3)):
        dims = [d if d is not None else g.name("d") for d in value.fixed()]
    return value, helper.make_tensor_value_info(value.name, DTYPES[dtype][0], dims)


def loop(g: Gen) -> None:
    """Loop with carried values, captures and scan outputs; trip counts known, given, computed or endless."""
    states = [g.pick(*_CARRIED) for _ in range(g.rng.choice((0, 1, 1, 2, 3)))]
    trips, limit = _trip_count(g)
    start, stop = _start(g)
    if start is not None and start.const is not None and not start.const.item():
        trips = [0] * SIZES
    never = trips is not None and 0 in trips  # onnxruntime takes the shapes of scan outputs from what is declared
    if trips is None and not stop:
        raise NoFit("without end")
    scope = _enter(g)
    with g.inside(scope):
        count, count_info = _parameter(g, scope, "i64", ((),) * SIZES, 0)
        going, going_info = _parameter(g, scope, "bool", ((),) * SIZES, 0)
        scope.values.remove(going)
        carried = [_parameter(g, scope, s.dtype, s.shapes, s.rank) for s in states]
        g.grow(g.rng.choice((1, 1, 2, 4, 6)))
        nexts = [p if g.chance(0.1) else result(g, p) for p, _ in carried]
        again = _again(g, count, going, stop)
        fits = (lambda v: v.is_fixed() and v.dtype not in ("bf16", "str")) if never else (lambda v: v.dtype not in ("bf16", "str"))
        scans = [g.pick(where=fits) for _ in range(g.rng.choice((0, 1, 1, 2)))]
        if not states and not scans:
            scans = [count]
        outputs = _distinct(g, [again, *nexts, *scans], tuple(p for p, _ in carried))
        declare = all(v.is_fixed() for v in outputs) and (never or ((limit is None or limit.const is not None) and g.chance(0.3)))
        if never and scans and not declare:
            raise NoFit("sizes of no trip")
        body = graph_of(g, scope, [count_info, going_info, *(info for _, info in carried)], outputs, declare)
    if stop:
        trips = [min(t, stop + 1) for t in trips or [stop + 1] * SIZES]
    assert trips is not None
    results: list[tuple[str, Shapes | None, int]] = [(s.dtype, s.shapes, s.rank) for s in states]
    for v in outputs[1 + len(states) :]:
        if 0 in trips and not v.is_fixed():
            results.append((v.dtype, None, v.rank + 1))
        else:
            results.append((v.dtype, tuple((t, *s) for t, s in zip(trips, v.known())), v.rank + 1))
    g.emit("Loop", [limit, start, *states], results, body=body)


def _trip_count(g: Gen) -> tuple[list[int] | None, Val | None]:
    style = g.rng.randrange(6)
    if style == 0:
        return None, None
    if style == 1:
        limit = g.new_input("i64", [], low=2, high=3)
        return [2] * SIZES, limit
    if style == 2:
        v = g.pick(where=lambda v: v.rank > 0 and max(s[0] for s in v.known()) < 7)
        whole = g.one("Shape", [v], "i64", ((v.rank,),) * SIZES)
        limit = g.one("Gather", [whole, g.ints(0)], "i64", ((),) * SIZES)
        return [s[0] for s in v.known()], limit
    trips = g.choose((0, 1, 1, 2, 3))
    return [trips] * SIZES, g.const(np.asarray(trips, np.int64) if g.chance(0.7) else np.array([trips], np.int64))


def _start(g: Gen) -> tuple[Val | None, int]:
    """The first condition, and the trip after which the body says no (0: never)."""
    style = g.rng.randrange(5)
    stop = g.choose((0, 0, 1, 2))
    if style == 0:
        return None, stop if g.chance(0.3) else 0
    if style == 1 and g.chance(0.3):
        return g.const(np.asarray(False)), stop
    return g.const(np.asarray(True)), stop


def _again(g: Gen, count: Val, going: Val, stop: int) -> Val:
    if stop:
        return g.one("Less", [count, g.const(np.asarray(stop, np.int64))], "bool", ((),) * SIZES)
    if g.chance(0.5):
        return g.one("Identity", [going], "bool", ((),) * SIZES)
    return g.const(np.asarray(True))


def scan(g: Gen) -> None:
    """Scan over the first or another axis, forwards or backwards."""
    v = g.pick("f32", "i64", "f64", where=lambda v: v.rank > 0 and v.dtype in ("f32", "i64", "f64") and v.least(0) > 0 and max(s[0] for s in v.known()) < 9)
    axis = g.rng.randrange(v.rank) if g.chance(0.3) else 0
    if v.is_empty():
        raise NoFit("empty")  # onnxruntime divides by the size
    states = [g.pick(*_CARRIED, where=lambda v: not v.is_empty()) for _ in range(g.rng.choice((0, 1, 1, 2)))]
    scope = _enter(g)
    with g.inside(scope):
        carried = [_parameter(g, scope, s.dtype, s.shapes, s.rank) for s in states]
        row, row_info = _parameter(g, scope, v.dtype, each(lambda s: s[:axis] + s[axis + 1 :], v.known()), v.rank - 1)
        g.grow(g.rng.choice((1, 1, 2, 4)))
        nexts = [result(g, p) for p, _ in carried]
        fits = lambda v: not v.is_empty() and v.dtype not in ("bf16", "str")  # noqa: E731
        scans = [g.pick(where=fits) for _ in range(g.rng.choice((0, 1, 1)))]
        if not states and not scans:
            scans = [row]
        outputs = _distinct(g, [*nexts, *scans])
        body = graph_of(g, scope, [*(info for _, info in carried), row_info], outputs)
    results: list[tuple[str, Shapes | None, int]] = [(s.dtype, s.shapes, s.rank) for s in states]
    for o in outputs[len(states) :]:
        results.append((o.dtype, each(lambda s, t: (s[axis], *t), v.known(), o.known()), o.rank + 1))
    attrs: dict[str, Any] = {"num_scan_inputs": 1, "body": body}
    if axis or g.chance(0.2):
        attrs["scan_input_axes"] = [axis]
    if g.chance(0.3):
        attrs["scan_input_directions"] = [1]
    if scans and g.chance(0.2):
        attrs["scan_output_directions"] = [g.choose((0, 1))] * len(scans)
    g.emit("Scan", [*states, v], results, **attrs)


def function(g: Gen) -> None:
    """A call of a local function; a function may be called again with operands of the same types."""
    if g.opset < 15:
        raise NoFit("older")
    if g.signatures and g.chance(0.5):
        _call_again(g)
        return
    if g._in_function() and g.depth >= 2:
        raise NoFit("deep enough")
    arguments = [g.pick(where=lambda v: v.dtype != "bf16") for _ in range(g.rng.choice((1, 1, 2, 3)))]
    arguments = list(dict.fromkeys(arguments))
    scope = Scope(None, is_function=True)
    with g.inside(scope):
        parameters = [Val(g.name("a"), v.dtype, v.shapes, v.rank) for v in arguments]
        scope.values.extend(parameters)
        g.grow(g.rng.choice((1, 2, 3, 5)))
        outputs = _distinct(g, [result(g, g.rng.choice(parameters)) for _ in range(g.rng.choice((1, 1, 2)))])
        used = {name for node in scope.nodes for name in node.input}
        for p in parameters:
            if p.name not in used:
                g.like("Identity", [p], p)  # onnxruntime gives no type to a parameter that is not used
    attribute = _reference(scope) if g.chance(0.5) else None
    name = g.name("Block")
    imports = [helper.make_opsetid("", g.opset), helper.make_opsetid("local", 1)]
    g.functions.append(
        helper.make_function(
            "local", name, [p.name for p in parameters], [o.name for o in outputs], scope.nodes, imports,
            attributes=["alpha"] if attribute else [],
        )
    )  # fmt: skip
    signature = (name, [(v.dtype, v.shapes) for v in arguments], [(o.dtype, o.shapes, o.rank) for o in outputs], attribute)
    g.signatures.append(signature)
    _call(g, signature, arguments)


def _reference(scope: Scope) -> bool:
    """Let the first attribute `alpha` of a node be the function's; True if there was one."""
    for node in scope.nodes:
        for attribute in node.attribute:
            if attribute.name == "alpha" and node.op_type in ("LeakyRelu", "Elu", "ThresholdedRelu"):
                attribute.CopyFrom(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="alpha"))
                return True
    return False


def _call_again(g: Gen) -> None:
    signature = g.rng.choice(g.signatures)
    if g._in_function():
        raise NoFit("might call itself")
    arguments = []
    for dtype, shapes in signature[1]:
        arguments.append(g.pick(dtype, where=lambda v, shapes=shapes: v.shapes == shapes))
    _call(g, signature, arguments)


def _call(g: Gen, signature: Any, arguments: Sequence[Val]) -> None:
    name, _, results, attribute = signature
    made = [Val(g.name(), dtype, shapes, rank) for dtype, shapes, rank in results]
    attrs = {"alpha": g.choose((0.1, 0.5))} if attribute else {}
    node = helper.make_node(name, [v.name for v in arguments], [v.name for v in made], domain="local", **attrs)
    g.scope.nodes.append(node)
    g.scope.values.extend(made)


STEPS = [(if_, 2.5), (loop, 2.5), (scan, 1.5), (function, 2.0)]
