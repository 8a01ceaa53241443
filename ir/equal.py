"""Structural equality of models and graphs, in words where they differ, and as a hash.

Two graphs are equal when their statements are, one by one in order: the same ops on corresponding
values with the same types, attributes and regions, where unknown dimensions correspond one to one and
constants hold the same bytes. Names of values and source locations do not matter, nor do names inside
regions; names of a main graph's or function's inputs and outputs do.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .attributes import AttrRef, EmptyList, SparseTensor
from .core import Function, Graph, Model, Node, Value
from .dims import Dim, symbol
from .tensor import MappedFile, Tensor
from .types import MapType, OpaqueType, OptionalType, SequenceType, SparseTensorType, TensorType, Type
from .unknowns import substitute_type, unknowns_of
from .walk import traverse

Subject = Model | Graph
_TYPES = (TensorType, SequenceType, OptionalType, MapType, SparseTensorType, OpaqueType)
_F64 = struct.Struct("<d")


def equal(a: Subject, b: Subject, *, strict: bool = False) -> bool:
    """True if two models (or two graphs) are structurally equal.

    `strict` compares as well what does not change the meaning: hints, locations, doc strings and
    metadata of nodes, values and graphs, names inside regions, and the source's opsets.
    """
    return difference(a, b, strict=strict) is None


def difference(a: Subject, b: Subject, *, strict: bool = False) -> str | None:
    """The first difference in words, naming the statement; None where there is none. As `equal`."""
    comparison = _Comparison(strict)
    try:
        if isinstance(a, Model) and isinstance(b, Model):
            comparison.models(a, b)
        elif isinstance(a, Graph) and isinstance(b, Graph):
            comparison.graphs(a, b)
        else:
            raise TypeError("a model compares with a model, a graph with a graph")
    except _Different as found:
        return str(found)
    return None


def same_tensor(a: Tensor, b: Tensor) -> bool:
    """Equal dtype, shape and bytes; without reading them where both are one span of one file."""
    if (
        a.file is not None
        and b.file is not None
        and a.offset == b.offset
        and a.dtype is b.dtype
        and a.shape == b.shape
        and _same_file(a.file, b.file)
    ):
        return True
    return a.same(b)


def _same_file(a: MappedFile, b: MappedFile) -> bool:
    return a is b or (a.identity is not None and a.identity == b.identity)


def same_attribute(
    a: Any, b: Any, same_type: Callable[[Type, Type], bool] = lambda a, b: a is b
) -> bool:
    """Equal kind and value of two attributes; floats by their bits, so NaN equals NaN and -0 not 0."""
    if a is b:
        return True
    if a.__class__ is not b.__class__:
        return isinstance(a, _TYPES) and isinstance(b, _TYPES) and same_type(a, b)
    if a.__class__ is float:
        return _F64.pack(a) == _F64.pack(b)
    if a.__class__ is tuple:
        return len(a) == len(b) and all(same_attribute(x, y, same_type) for x, y in zip(a, b))
    if isinstance(a, Tensor):
        return same_tensor(a, b)
    if isinstance(a, SparseTensor):
        return (
            a.shape == b.shape
            and same_tensor(a.values, b.values)
            and same_tensor(a.indices, b.indices)
        )
    if isinstance(a, _TYPES):
        return same_type(a, b)
    return bool(a == b)


class Canonical(dict["Type | None", "Type | None"]):
    """Types with their unknown dimensions numbered by first occurrence in one model."""

    def __init__(self) -> None:
        super().__init__()
        self._numbered: dict[str, Dim] = {}

    def __missing__(self, type: Type | None) -> Type | None:
        result = type
        if unknowns_of(type):
            result = substitute_type(type, self._symbol)
        self[type] = result
        return result

    def _symbol(self, name: str) -> Dim | None:
        if name[0] != "?":
            return None
        found = self._numbered.get(name)
        if found is None:
            found = self._numbered[name] = symbol(f"?#{len(self._numbered)}")
        return found


class _Different(Exception):
    """Carries the first difference out of the comparison."""


class _Comparison:
    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.values: dict[Value, Value] = {}
        self.left = Canonical()
        self.right = Canonical()
        self.same_constants: set[tuple[Value, Value]] = set()

    def models(self, a: Model, b: Model) -> None:
        for what in ("metadata", "info", "opaque"):
            self._same(what, getattr(a, what), getattr(b, what))
        if self.strict:
            self._same("opsets", a.opsets, b.opsets)
            self._same("IR versions", a.ir_version, b.ir_version)
        self._same("functions", list(a.functions), list(b.functions))
        self.graphs(a.graph, b.graph)
        for key, function in a.functions.items():
            try:
                self._functions(function, b.functions[key])
            except _Different as found:
                raise _Different(f"function {'::'.join(filter(None, key))}: {found}") from None

    def _functions(self, a: Function, b: Function) -> None:
        self._same("attribute parameters", list(a.attributes), list(b.attributes))
        for name, default in a.attributes.items():
            if not same_attribute(default, b.attributes[name], self._same_type):
                raise _Different(f"the defaults of attribute {name!r} differ")
        if self.strict:
            self._same("doc strings", a.doc, b.doc)
        self.graphs(a.graph, b.graph)

    def _same(self, what: str, a: object, b: object) -> None:
        if a != b:
            raise _Different(f"{what} differ: {_short(a)} and {_short(b)}")

    def _same_type(self, a: Type | None, b: Type | None) -> bool:
        return self.left[a] is self.right[b]

    # Graphs

    def graphs(self, a: Graph, b: Graph) -> None:
        """Compare two root graphs in lockstep."""
        self._begin(a, b, "graph", root=True)
        stack: list[tuple[Iterator[tuple[Any, Any]], tuple[Graph, Graph] | None]]
        stack = [(_node_pairs(a, b), (a, b))]
        while stack:
            pairs, graphs = stack[-1]
            for x, y in pairs:
                if isinstance(x, Graph):
                    self._begin(x, y, "region", root=False)
                    stack.append((_node_pairs(x, y), (x, y)))
                    break
                if x is None or y is None:
                    from .text import print_node

                    which, node = ("second", y) if x is None else ("first", x)
                    raise _Different(f"only the {which} has the statement: {print_node(node)}")
                self._nodes(x, y)
                if x.regions:
                    regions = [(graph, y.regions[name]) for name, graph in x.regions.items()]
                    stack.append((iter(regions), None))
                    break
            else:
                stack.pop()
                if graphs is not None:
                    self._end(*graphs, root=not stack)

    def _begin(self, a: Graph, b: Graph, what: str, root: bool) -> None:
        self._same(f"numbers of {what} inputs", len(a.inputs), len(b.inputs))
        if root or self.strict:
            self._same(f"{what} input names", a.input_names, b.input_names)
        if self.strict:
            self._same(f"{what} names", a.name, b.name)
            self._same(f"{what} metadata", a.meta or {}, b.meta or {})
        for x, y, name in zip(a.inputs, b.inputs, a.input_names):
            self._define(x, y, f"{what} input {name!r}")
            default, other = a.defaults.get(x), b.defaults.get(y)
            if (default is None) != (other is None) or (
                default is not None and other is not None and not same_tensor(default, other)
            ):
                raise _Different(f"{what} input {name!r}: the default values differ")

    def _define(self, x: Value, y: Value, what: str) -> None:
        if not self._same_type(x.type, y.type):
            raise _Different(f"{what}: the types differ: {x.type} and {y.type}")
        self.values[x] = y
        if self.strict:
            self._same(f"{what}: hints", x.hint, y.hint)
            self._same(f"{what}: metadata", x.meta or {}, y.meta or {})

    def _end(self, a: Graph, b: Graph, root: bool) -> None:
        self._same("numbers of outputs", len(a.outputs), len(b.outputs))
        if root or self.strict:
            self._same("output names", a.output_names, b.output_names)
        for x, y, name in zip(a.outputs, b.outputs, a.output_names):
            if not self._same_value(x, y):
                raise _Different(f"output {name!r} is a different value")

    # Statements

    def _nodes(self, x: Node, y: Node) -> None:
        fault = self._fault(x, y)
        if fault is not None:
            from .text import print_node

            raise _Different(f"{fault}: {print_node(x)} | {print_node(y)}")

    def _fault(self, x: Node, y: Node) -> str | None:
        if x.op is not y.op:
            return "the operators differ"
        if len(x.inputs) != len(y.inputs):
            return "the numbers of operands differ"
        values = self.values
        for index, (u, v) in enumerate(zip(x.inputs, y.inputs)):
            if u is None or v is None:
                if u is not v:
                    return f"operand {index} is absent in one"
            elif values.get(u) is not v and not self._same_value(u, v):
                return f"operand {index} differs"
        if x.attrs or y.attrs:
            for name in sorted(x.attrs.keys() | y.attrs.keys()):
                default = x.op.attr_default(name)
                a, b = x.attrs.get(name, default), y.attrs.get(name, default)
                if not same_attribute(a, b, self._same_type):
                    return f"attribute {name!r} differs"
        if len(x.outputs) != len(y.outputs):
            return "the numbers of outputs differ"
        if x.regions.keys() != y.regions.keys():
            return "the regions differ"
        left, right = self.left, self.right
        for u, v in zip(x.outputs, y.outputs):
            values[u] = v
            if left[u.type] is not right[v.type]:
                return f"the types of output {u.index} differ"
        if self.strict:
            return self._strict_fault(x, y)
        return None

    def _strict_fault(self, x: Node, y: Node) -> str | None:
        if x.loc != y.loc:
            return "the locations differ"
        if (x.meta or {}) != (y.meta or {}):
            return "the metadata differ"
        for u, v in zip((*x.inputs, *x.outputs), (*y.inputs, *y.outputs)):
            if u is not None and v is not None:
                if u.hint != v.hint:
                    return f"the hints {u.hint!r} and {v.hint!r} differ"
                if (u.meta or {}) != (v.meta or {}):
                    return f"the metadata of {u.hint!r} differ"
        return None

    def _same_value(self, u: Value, v: Value) -> bool:
        if u.const is None or v.const is None:
            # Values of graphs around the compared ones correspond to themselves.
            return u.const is v.const and self.values.get(u, u) is v
        pair = (u, v)
        if pair not in self.same_constants:
            if not same_tensor(u.const, v.const):
                return False
            self.same_constants.add(pair)
        return True


def _node_pairs(a: Graph, b: Graph) -> Iterator[tuple[Node | None, Node | None]]:
    x, y = a.first, b.first
    while x is not None or y is not None:
        yield x, y
        x = None if x is None else x.next
        y = None if y is None else y.next


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


# Hash


def structural_hash(subject: Subject) -> str:
    """A hex digest (BLAKE2b, 20 bytes) that equal models, or equal graphs, share; reads every constant."""
    import hashlib

    state = hashlib.blake2b(digest_size=20)
    hasher = _Hasher()
    if isinstance(subject, Graph):
        state.update("\n".join(hasher.graph(subject)).encode("utf-8", "surrogatepass"))
        return state.hexdigest()
    parts = [
        repr(sorted(subject.metadata.items())),
        repr(sorted(subject.info.items())),
        repr(sorted(subject.opaque.items())),
        *hasher.graph(subject.graph),
    ]
    for key, function in subject.functions.items():
        parts.append(repr(key))
        parts += [f"{n}={hasher.attribute(v)}" for n, v in function.attributes.items()]
        parts += hasher.graph(function.graph)
    state.update("\n".join(parts).encode("utf-8", "surrogatepass"))
    return state.hexdigest()


class _Hasher:
    """Writes graphs as lines in which values and unknown dimensions are numbered."""

    def __init__(self) -> None:
        self.types = Canonical()
        self.numbers: dict[Value, str] = {}

    def graph(self, root: Graph) -> list[str]:
        lines: list[str] = []
        open_graphs: list[Graph] = []
        for item in traverse(root, by_name=True):
            if item is None:
                graph = open_graphs.pop()
                names = "" if open_graphs else repr(graph.output_names)
                lines.append(f"return {' '.join(map(self._value, graph.outputs))} {names}")
            elif isinstance(item, Graph):
                names = "" if open_graphs else repr(item.input_names)
                lines.append(f"graph {' '.join(map(self._define, item.inputs))} {names}")
                lines += [
                    f"default {i} {item.defaults[v].digest().hex()}"
                    for i, v in enumerate(item.inputs)
                    if v in item.defaults
                ]
                open_graphs.append(item)
            else:
                lines.append(self._node(item))
        return lines

    def _node(self, node: Node) -> str:
        operands = " ".join(["-" if v is None else self._value(v) for v in node.inputs])
        default = node.op.attr_default
        attributes = [
            f"{name}={self.attribute(value)}"
            for name, value in sorted(node.attrs.items())
            if not same_attribute(value, default(name))
        ]
        outputs = " ".join(map(self._define, node.outputs))
        return f"{node.op.key} ({operands}) {attributes} {sorted(node.regions)} {outputs}"

    def _define(self, value: Value) -> str:
        self.numbers[value] = str(len(self.numbers))
        return str(self.types[value.type])

    def _value(self, value: Value) -> str:
        found = self.numbers.get(value)
        if found is None:
            # A constant, or a value of a graph around the hashed one.
            found = "outer" if value.const is None else value.const.digest().hex()
            self.numbers[value] = found
        return found

    def attribute(self, value: Any) -> str:
        return attribute_key(value, self.types)


def attribute_key(value: Any, types: Mapping[Type | None, Type | None] | None = None) -> str:
    """A text that two attributes share exactly when `same_attribute` holds.

    `types` gives each type in the form in which two that correspond are one; by default types stand for themselves.
    """
    if value.__class__ is float:
        return "float " + _F64.pack(value).hex()
    if value.__class__ is tuple:
        return f"[{', '.join([attribute_key(item, types) for item in value])}]"
    if isinstance(value, Tensor):
        return "tensor " + value.digest().hex()
    if isinstance(value, SparseTensor):
        digests = value.values.digest().hex(), value.indices.digest().hex()
        return f"sparse {digests} {value.shape}"
    if isinstance(value, _TYPES):
        return f"type {value if types is None else types[value]}"
    if isinstance(value, (AttrRef, EmptyList)):
        return f"{value!r}:{value.kind}"
    return repr(value)
