"""Random valid ONNX models: directed acyclic graphs over the operators of opsets 9 to 26.

    sample = generate(seed)
    sample.model            # onnx.ModelProto
    sample.feeds            # a dict of inputs for each of several assignments of sizes to the symbolic dims

Every value carries its shape under each assignment, so that an operator is only ever given operands that fit it at all
sizes. Integer tensors made of shapes carry their elements as well. Which operators a model may use, and how often, is
drawn per model (swarm testing): models that mix everything rarely hold two of a kind next to each other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from .kinds import DTYPES, FLOATS, INTS, NUMBERS, SIZES, Array, NoFit, Shape, Shapes, Val, fill, has_kernel

MIN_OPSET, MAX_OPSET = 9, 26
_IR_OF_OPSET = ((26, 13), (25, 13), (24, 12), (23, 11), (21, 10), (19, 9), (15, 8), (12, 7), (11, 6), (10, 5), (9, 4))
_SYMBOLS = ("N", "S", "batch", "seq_len", "unk__7", "past + 1")

Step = Callable[["Gen"], None]


@dataclass(eq=False)
class Scope:
    """A graph under construction: the main one, a region, or the body of a function."""

    outer: Scope | None = None
    is_function: bool = False
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    sparse: list[onnx.SparseTensorProto] = field(default_factory=list)
    values: list[Val] = field(default_factory=list)
    made: list[tuple[str, list[Val | None], list[Val], dict[str, Any]]] = field(default_factory=list)


@dataclass
class Sample:
    """A model and inputs for it, one dict per assignment of sizes."""

    seed: int
    model: onnx.ModelProto
    feeds: list[dict[str, Array]]


class Gen:
    """Builds one model. A step takes a Gen, adds nodes, and raises NoFit where nothing suits it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.np_rng = np.random.default_rng(seed)
        self.opset = self.rng.choice((9, 10, 11, 11, 12, 13, 13, 14, 15, 16, 17, 17, 18, 18, 19, 20, 21, 22, 23, 24, 25, 26))
        self.main = self.scope = Scope()
        self.depth = 0
        self.inputs: list[tuple[Val, list[Any], dict[str, Any]]] = []
        self.listed: list[onnx.ValueInfoProto] = []  # initializers that are inputs as well
        self.functions: list[onnx.FunctionProto] = []
        self.signatures: list[Any] = []
        self.symbols = self._symbols()
        self.counter = 0
        self.steps: list[tuple[Step, float]] = []

    def _symbols(self) -> dict[str, tuple[int, ...]]:
        found = {}
        for name in self.rng.sample(_SYMBOLS, self.rng.choice((0, 0, 1, 1, 2, 3))):
            sizes = self.rng.sample(range(1, 7), SIZES)
            found[name] = tuple(sizes)
        return found

    # Choices

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def choose(self, items: Sequence[Any]) -> Any:
        if not items:
            raise NoFit("nothing to choose from")
        return self.rng.choice(items)

    def visible(self) -> list[Val]:
        """Values that a node made now may use, nearest scope last."""
        found: list[Val] = []
        scope: Scope | None = self.scope
        while scope is not None:
            found = scope.values + found
            scope = scope.outer
        return found

    def pick(self, *dtypes: str, where: Callable[[Val], bool] | None = None, loose: bool = False) -> Val:
        """A value of one of the dtypes (any, without) whose shape is known, or any shape if `loose`."""
        found = [
            v for v in self.visible()
            if (not dtypes or v.dtype in dtypes) and (loose or v.shapes is not None) and (where is None or where(v))
        ]  # fmt: skip
        if not found:
            raise NoFit("no such value")
        if self.chance(0.5):
            return found[-1 - min(int(self.rng.expovariate(0.5)), len(found) - 1)]
        return self.rng.choice(found)

    def dtype(self) -> str:
        """An element type, the usual ones more often."""
        return self.rng.choices(
            ("f32", "i64", "bool", "f64", "f16", "i32", "u8", "i8", "str", "i16", "u16", "u32", "u64"),
            (50, 12, 6, 6, 7, 6, 4, 4, 2, 1, 1, 1, 1),
        )[0]

    def dim(self) -> Any:
        """A dimension of a new input: a number, a symbol, or None for one without a name."""
        if self.symbols and self.chance(0.45):
            return self.rng.choice(list(self.symbols))
        if self.chance(0.02):
            return None
        return self.rng.choices((1, 2, 3, 4, 5, 6, 8, 0), (16, 20, 20, 20, 8, 8, 4, 0.7))[0]

    # Values

    def name(self, prefix: str = "v") -> str:
        self.counter += 1
        return f"{prefix}{self.counter}"

    def new_input(self, dtype: str, dims: Sequence[Any] | None = None, **range_: Any) -> Val:
        """A new input of the model; `range_` (low, high) bounds its elements."""
        if self._in_function():
            raise NoFit("a function sees its parameters only")
        if dims is None:
            dims = [self.dim() for _ in range(self.rng.choices((0, 1, 2, 3, 4, 5), (8, 18, 24, 24, 22, 4))[0])]
        dims = list(dims)
        unnamed = {i: self.rng.sample(range(1, 6), SIZES) for i, d in enumerate(dims) if d is None}
        shapes = tuple(
            tuple(
                unnamed[i][k] if d is None else self.symbols[d][k] if isinstance(d, str) else int(d)
                for i, d in enumerate(dims)
            )
            for k in range(SIZES)
        )
        value = Val(self.name("x"), dtype, shapes, len(dims))
        self.inputs.append((value, dims, range_))
        self.main.values.append(value)
        return value

    def _in_function(self) -> bool:
        scope: Scope | None = self.scope
        while scope is not None:
            if scope.is_function:
                return True
            scope = scope.outer
        return False

    def some(self, *dtypes: str, rank: int | None = None) -> Val:
        """A value of one of the dtypes and that rank; a new input where there is none."""
        try:
            return self.pick(*dtypes, where=None if rank is None else lambda v: v.rank == rank)
        except NoFit:
            dims = None if rank is None else [self.dim() for _ in range(rank)]
            return self.new_input(self.choose(dtypes or ("f32",)), dims)

    def ints(self, values: Any, shape: Shape | None = None) -> Val:
        """A constant of 64-bit integers; its elements are known."""
        array = np.array(values, np.int64)
        return self.const(array if shape is None else array.reshape(shape))

    def weight(self, dtype: str, shape: Sequence[int], **range_: Any) -> Val:
        """A constant with made-up elements: an old one again, a repeated element, or new ones."""
        shape = tuple(int(d) for d in shape)
        if not range_ and self.chance(0.2):
            old = [v for v in self.visible() if v.const is not None and v.dtype == dtype and v.const.shape == shape]
            if old:
                return self.rng.choice(old)
        if not range_ and self.chance(0.15):
            element = fill(self.np_rng, dtype, (), {})
            if self.chance(0.5) and dtype in NUMBERS:
                element = np.array(self.rng.choice((0, 1)), DTYPES[dtype][1])
            return self.const(np.full(shape, element, dtype=element.dtype), dtype)
        return self.const(fill(self.np_rng, dtype, shape, range_), dtype)

    def const(self, array: Array, dtype: str | None = None) -> Val:
        """A constant in one of the forms that ONNX has for it."""
        dtype = dtype or next(name for name, (_, kind) in DTYPES.items() if kind == array.dtype)
        name = self.name("c")
        value = Val(name, dtype, (array.shape,) * SIZES, array.ndim, const=array)
        if dtype in INTS:
            value.data = (array,) * SIZES
        # Numbers that stand for "to the end", or for nothing at all, are no numbers to calculate with.
        hidden = bool(array.size) and array.dtype.kind in "fi" and bool((np.abs(array.astype(np.float64)) > 1e15).any())
        scope = self.scope
        # A weight may as well lie in an enclosing graph.
        while scope.outer is not None and not scope.is_function and self.chance(0.3):
            scope = scope.outer
        form = self.rng.random()
        if scope.is_function or form < 0.3 or (form < 0.35 and scope is self.scope and self._repeats(array)):
            scope.nodes.append(self._constant_node(value, array, form))
        elif form < 0.37 and dtype == "f32" and array.size and scope is self.main and self.opset >= 11:
            self._sparse(scope, name, array)
        else:
            scope.initializers.append(self._tensor(array, dtype, name))
            if scope is self.main and form > 0.97:
                self.listed.append(helper.make_tensor_value_info(name, DTYPES[dtype][0], array.shape))
                value.data = value.const = None
        if not hidden:
            scope.values.append(value)
        return value

    def _repeats(self, array: Array) -> bool:
        return array.size > 0 and array.dtype.kind in "fiu" and bool((array == array.flat[0]).all())

    def _tensor(self, array: Array, dtype: str, name: str) -> onnx.TensorProto:
        kind = DTYPES[dtype][0]
        if dtype == "str":
            return helper.make_tensor(name, kind, array.shape, [str(s).encode() for s in array.flat])
        if self.chance(0.2) and dtype not in ("bf16",):
            return helper.make_tensor(name, kind, array.shape, array.flatten().tolist())
        return helper.make_tensor(name, kind, array.shape, array.tobytes(), raw=True)

    def _constant_node(self, value: Val, array: Array, form: float) -> onnx.NodeProto:
        if self.opset >= 12 and form < 0.1 and value.dtype in ("i64", "f32") and array.ndim < 2:
            kind = "int" if value.dtype == "i64" else "float"
            if array.ndim == 0:
                return helper.make_node("Constant", [], [value.name], **{f"value_{kind}": array.item()})
            if array.size:
                return helper.make_node("Constant", [], [value.name], **{f"value_{kind}s": array.tolist()})
        if 0.3 <= form < 0.35 and not self.scope.is_function:
            shape = self.ints(array.shape)
            element = self._tensor(array.flatten()[:1], value.dtype, "")
            return helper.make_node("ConstantOfShape", [shape.name], [value.name], value=element)
        return helper.make_node("Constant", [], [value.name], value=self._tensor(array, value.dtype, ""))

    def _sparse(self, scope: Scope, name: str, array: Array) -> None:
        where = np.flatnonzero(array)
        if array.ndim != 2 or not len(where):
            scope.initializers.append(self._tensor(array, "f32", name))
            return
        values = helper.make_tensor(name, 1, [len(where)], array.flatten()[where].tolist())
        indices = helper.make_tensor(name + "_indices", 7, [len(where)], where.tolist())
        scope.sparse.append(helper.make_sparse_tensor(values, indices, array.shape))

    # Nodes

    def emit(
        self,
        op: str,
        inputs: Sequence[Val | None],
        outputs: Sequence[tuple[str, Shapes | None, int] | None],
        data: tuple[Array, ...] | None = None,
        **attrs: Any,
    ) -> list[Val]:
        """Add a node; an output is (dtype, shapes, rank), None for one that is left out."""
        given = list(inputs)
        while given and given[-1] is None and not (op == "Loop" and len(given) <= 2):
            given.pop()
        attrs = {k: v for k, v in attrs.items() if v is not None}
        if not has_kernel(op, self.opset, [None if v is None else v.dtype for v in given], [o and o[0] for o in outputs]):
            raise NoFit(f"{op}-{self.opset}")
        made: list[Val] = []
        names: list[str] = []
        for out in outputs:
            if out is None:
                names.append("")
                continue
            dtype, shapes, rank = out
            if shapes is not None and any(int(np.prod(s)) > 20_000 for s in shapes):
                raise NoFit("too large")
            made.append(Val(self.name(), dtype, shapes, rank))
            names.append(made[-1].name)
        if data is not None:
            made[0].data = data
        label = self.name(f"/{op}_") if self.chance(0.6) else ""
        self.scope.nodes.append(helper.make_node(op, [v.name if v else "" for v in given], names, label or None, **attrs))
        self.scope.values.extend(made)
        self.scope.made.append((op, list(given), made, attrs))
        return made

    def one(self, op: str, inputs: Sequence[Val | None], dtype: str, shapes: Shapes | None, rank: int = -1, **attrs: Any) -> Val:
        """Add a node with one output."""
        return self.emit(op, inputs, [(dtype, shapes, len(shapes[0]) if shapes is not None else rank)], **attrs)[0]

    def like(self, op: str, inputs: Sequence[Val | None], like: Val, dtype: str | None = None, **attrs: Any) -> Val:
        """Add a node whose output has the shape of `like`."""
        return self.one(op, inputs, dtype or like.dtype, like.shapes, like.rank, **attrs)

    @contextmanager
    def inside(self, scope: Scope) -> Iterator[Scope]:
        """Build into another scope."""
        outer, self.scope = self.scope, scope
        self.depth += 1
        try:
            yield scope
        finally:
            self.scope = outer
            self.depth -= 1

    def grow(self, count: int) -> None:
        """Take `count` random steps, as many as succeed."""
        steps, weights = [s for s, _ in self.steps], [w for _, w in self.steps]
        done = 0
        for _ in range(count * 4):
            if done == count:
                return
            try:
                self.rng.choices(steps, weights)[0](self)
                done += 1
            except NoFit:
                continue


def generate(seed: int, family: str = "all") -> Sample:
    """The model that belongs to a seed, made of the steps of a family (see `registry`)."""
    from .registry import FAMILIES

    steps = FAMILIES[family]
    g = Gen(seed)
    for step, weight in steps:
        # Swarm: half of the operators are out of a model, a few are frequent in it.
        if g.chance(0.5):
            g.steps.append((step, weight * g.rng.choice((1, 1, 1, 4))))
    g.steps = g.steps or list(steps)
    for _ in range(g.rng.choice((1, 1, 2, 3))):
        g.new_input(g.dtype())
    g.grow(g.rng.choice((1, 2, 3, 4, 6, 8, 12, 16, 24)))
    return Sample(seed, _model(g), _feeds(g))


def _outputs(g: Gen) -> list[Val]:
    """What the model returns: late values, now and then inputs and constants, and some values twice."""
    own = [v for v in g.main.values if v.dtype != "bf16"]
    computed = [v for v in own if v.name.startswith("v")]
    used = {name for node in g.main.nodes for name in node.input}
    ends = [v for v in computed if v.name not in used]
    found = ends if ends and g.chance(0.5) else g.rng.sample(ends, min(len(ends), 2))
    found += g.rng.sample(computed, min(len(computed), g.rng.choice((0, 0, 1, 2))))
    if g.chance(0.08):
        found.append(g.choose(own))  # an input or a constant, perhaps
    found = list(dict.fromkeys(found)) or [g.choose(own)]
    if g.chance(0.1):
        twice = g.rng.choice(found)
        if twice.dtype != "bf16":
            found.append(g.like("Identity", [twice], twice))
    g.rng.shuffle(found)
    return found


def _model(g: Gen) -> onnx.ModelProto:
    while not any(v.name[0] == "v" and v.dtype != "bf16" for v in g.main.values):
        value = g.some("f32")
        g.like("Neg", [value], value)
    outputs = []
    for value in _outputs(g):
        dims: list[Any] = [None] * value.rank
        if value.shapes is not None and g.chance(0.4):
            dims = [d if d is not None else g.name("out_") for d in value.fixed()]
        outputs.append(helper.make_tensor_value_info(value.name, DTYPES[value.dtype][0], dims))
    used = {name for node in _all_nodes(g.main.nodes) for name in node.input} | {o.name for o in outputs}
    inputs = [
        helper.make_tensor_value_info(v.name, DTYPES[v.dtype][0], dims)
        for v, dims, _ in g.inputs
        if v.name in used or g.chance(0.3)
    ]
    graph = helper.make_graph(
        g.main.nodes, "fuzz", inputs + g.listed, outputs, g.main.initializers, sparse_initializer=g.main.sparse
    )
    ir = next(ir for since, ir in _IR_OF_OPSET if g.opset >= since)
    if g.functions:
        ir = max(ir, 8)
    if g.main.sparse:
        ir = max(ir, 5)
    imports = [helper.make_opsetid("", g.opset)]
    if g.functions:
        imports.append(helper.make_opsetid("local", 1))
    model = helper.make_model(graph, ir_version=ir, opset_imports=imports, functions=g.functions)
    if g.chance(0.25):
        try:
            model = onnx.shape_inference.infer_shapes(model, data_prop=g.chance(0.3))
        except Exception:  # what inference refuses, runtimes may run
            return model
    return model


def _all_nodes(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _all_nodes(attribute.g.node)
                yield onnx.NodeProto(input=[o.name for o in attribute.g.output])


def _feeds(g: Gen) -> list[dict[str, Array]]:
    found: list[dict[str, Array]] = []
    for k in range(SIZES if g.symbols or any(None in dims for _, dims, _ in g.inputs) else 1):
        found.append({v.name: fill(g.np_rng, v.dtype, v.at(k), range_ or {"odd": True}) for v, _, range_ in g.inputs})
    return found


__all__ = ["FLOATS", "INTS", "NUMBERS", "Gen", "NoFit", "Sample", "Scope", "Val", "generate"]
