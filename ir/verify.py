"""Checks every rule of the IR in linear time; the message of a failure shows the offending statement.

What holds afterwards: each use list names exactly the operands that use the value; producers, parents,
links, order numbers and the op index agree with the graph; a value is defined before it is used, in the
same graph or one around it; every statement fits its operator's schema (arity, attributes, known element
types); types are interned; constants have the type of their data; names of inputs and outputs are unique.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from .attributes import AttrRef, EmptyList, SparseTensor
from .core import Graph, Model, Node, Value
from .dims import Dim
from .errors import InvalidModel
from .ops import why_not
from .tensor import Tensor
from .types import (
    MapType,
    OpaqueType,
    OptionalType,
    SequenceType,
    SparseTensorType,
    TensorType,
    Type,
    is_refinement,
    type_str,
)
from .unknowns import dims_of, substitute_type

_KINDS: dict[type, str] = {
    int: "int", float: "float", str: "string", bytes: "string", Tensor: "tensor",
    SparseTensor: "sparse_tensor", TensorType: "type_proto", SequenceType: "type_proto",
    OptionalType: "type_proto", MapType: "type_proto", SparseTensorType: "type_proto",
    OpaqueType: "type_proto",
}  # fmt: skip
_F32 = struct.Struct("<f")
_INT64 = 1 << 63


def verify(model: Model) -> None:
    """Check a model. Raises InvalidModel, with the statement in `.gir` form, where a rule is broken."""
    _Verifier(model).run()


class _Verifier:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.root: Graph = model.graph
        self.parameters: Mapping[str, Any] = {}
        self.visible: set[Value] = set()
        self.constants: set[Value] = set()
        self.graphs: set[Graph] = set()
        # Types that are fine, with their spelling in schemas.
        self.types: dict[Type | None, str | None] = {None: None}
        self.fitting: set[tuple[Any, ...]] = set()
        self.slots = 0
        self.uses = 0

    def run(self) -> None:
        self._root(self.model.graph, {})
        for key, function in self.model.functions.items():
            if key != (function.domain, function.name, function.overload):
                raise InvalidModel(f"function {key} is called {function.domain}::{function.name}")
            self._root(function.graph, function.attributes)
        if self.uses != self.slots:
            self._find_stale_use()

    def _fail(self, reason: str, node: Node | None = None, graph: Graph | None = None) -> NoReturn:
        from .text import print_node

        message = reason if node is None else f"{reason}: {print_node(node)}"
        graph = graph or self.root
        place = f"graph {graph.name or '(unnamed)'}"
        raise InvalidModel(message, source=self.model.source, place=place)

    # Graphs

    def _root(self, root: Graph, parameters: Mapping[str, Any]) -> None:
        self.root, self.parameters = root, parameters
        self.visible = set()
        if root.parent is not None:
            self._fail("a main graph or function body is also a region", root.parent)
        self._open(root)
        self._names(root)
        stack = [_Frame(root, self._nodes(root))]
        while stack:
            frame = stack[-1]
            if frame.regions:
                region = frame.regions.pop()
                self._open(region)
                stack.append(_Frame(region, self._nodes(region)))
                continue
            if frame.node is not None:
                self.visible.update(frame.node.outputs)
                frame.node = None
            for node in frame.nodes:
                self._node(node)
                if node.regions:
                    self._enter(node, frame)
                    break
            else:
                self._close(frame.graph, len(stack) > 1)
                stack.pop()

    def _enter(self, node: Node, frame: _Frame) -> None:
        """Make `frame` go through the regions of `node` next, which do not see its outputs."""
        for name, region in node.regions.items():
            if region.parent is not node:
                self._fail(f"region {name!r} does not know its node", node, frame.graph)
        self.visible.difference_update(node.outputs)
        frame.node = node
        frame.regions = list(node.regions.values())[::-1]

    def _open(self, graph: Graph) -> None:
        if graph in self.graphs:
            self._fail("a graph is in the model twice", graph.parent, graph)
        self.graphs.add(graph)
        if len(graph.inputs) != len(graph.input_names):
            self._fail(f"{len(graph.inputs)} inputs with {len(graph.input_names)} names", None, graph)
        for index, (value, name) in enumerate(zip(graph.inputs, graph.input_names)):
            if value.graph is not graph or value.index != index:
                self._fail(f"input {name!r} does not know its place", None, graph)
            if value.producer is not None or value.const is not None:
                self._fail(f"input {name!r} has a producer or is a constant", None, graph)
            self._type(value.type, f"input {name!r}", None, graph)
            self.visible.add(value)
            self.uses += len(value.uses)
        for value, tensor in graph.defaults.items():
            if value.graph is not graph:
                self._fail("a default value belongs to no input", None, graph)
            if value.type is not None and not is_refinement(tensor.type, value.type):
                name = graph.input_names[value.index]
                self._fail(f"the default of input {name!r} is {tensor.type}, not {value.type}", None, graph)

    def _names(self, root: Graph) -> None:
        """Names of a main graph or function are unique; an input may be an output under its own name."""
        for kind, names in (("input", root.input_names), ("output", root.output_names)):
            seen: set[str] = set()
            for name in names:
                if not name:
                    self._fail(f"an {kind} has no name")
                if name in seen:
                    self._fail(f"two {kind}s are named {name!r}")
                seen.add(name)
        inputs = dict(zip(root.input_names, root.inputs))
        for name, value in zip(root.output_names, root.outputs):
            if inputs.get(name, value) is not value:
                self._fail(f"an input and another value, an output, are both named {name!r}")

    def _nodes(self, graph: Graph) -> Iterator[Node]:
        """The nodes, with a check of their links, order numbers and places in the index."""
        index, numbered = graph.index, graph._numbered
        previous: Node | None = None
        order = count = 0
        node = graph.first
        while node is not None:
            if node.graph is not graph or node.prev is not previous:
                self._fail("a statement is linked wrongly", node, graph)
            of_op = index.get(node.op)
            if of_op is None or node not in of_op:
                self._fail("a statement is missing in the index of operators", node, graph)
            if numbered and node._order <= order and count:
                self._fail("a statement has an order number out of order", node, graph)
            order = node._order
            count += 1
            yield node
            previous, node = node, node.next
        if graph.last is not previous or graph.size != count:
            self._fail(f"the graph counts {graph.size} statements, it has {count}", None, graph)
        if sum(map(len, index.values())) != count:
            self._fail("the index of operators holds statements that are not in the graph", None, graph)

    def _close(self, graph: Graph, is_region: bool) -> None:
        ret = graph.ret
        if ret.graph is not graph:
            self._fail("the outputs belong to another graph", ret, graph)
        if len(ret.inputs) != len(graph.output_names):
            self._fail(f"{len(ret.inputs)} outputs with {len(graph.output_names)} names", ret, graph)
        if None in ret.inputs:
            self._fail("an output is absent", ret, graph)
        self._operands(ret)
        if is_region:
            self.visible.difference_update(graph.inputs)
            for node in graph:
                self.visible.difference_update(node.outputs)

    # Statements

    def _operands(self, node: Node) -> list[Any]:
        """Check operands; the element types (or schema spellings of other types) of each."""
        visible, types = self.visible, self.types
        found: list[Any] = []
        for index, value in enumerate(node.inputs):
            if value is None:
                found.append(None)
            else:
                if (node, index) not in value.uses:
                    self._fail(f"operand {index} does not list this use", node, node.graph)
                if value not in visible:
                    self._constant(value, index, node)
                type_ = value.type
                if type_ not in types:
                    self._type(type_, f"operand {index}", node, node.graph)
                found.append(types[type_])
                self.slots += 1
        return found

    def _node(self, node: Node) -> None:
        signature = self._operands(node)
        types, visible = self.types, self.visible
        outputs = node.outputs
        count = 0
        for index, value in enumerate(outputs):
            if value.producer is not node or value.index != index or value.graph is not None:
                self._fail(f"output {index} does not know its place", node, node.graph)
            if value.const is not None:
                self._fail(f"output {index} is a constant as well", node, node.graph)
            type_ = value.type
            if type_ not in types:
                self._type(type_, f"output {index}", node, node.graph)
            signature.append(types[type_])
            visible.add(value)
            self.uses += len(value.uses)
            if value.hint or value.uses:
                count = index + 1
        attrs = self._attributes(node) if node.attrs else ()
        key = (node.op, count, len(outputs), tuple(node.regions), attrs, *signature)
        if key not in self.fitting:
            fault = _misfit(node, count, signature)
            if fault is not None:
                self._fail(fault, node, node.graph)
            self.fitting.add(key)

    def _attributes(self, node: Node) -> tuple[Any, ...]:
        """Check the values of attributes; their names and kinds."""
        found: list[tuple[str, str]] = []
        for name, value in node.attrs.items():
            kind = _kind(value)
            if kind is None:
                self._fail(f"attribute {name!r} holds no value of an attribute: {value!r}", node, node.graph)
            if value.__class__ is AttrRef and value.name not in self.parameters:
                self._fail(f"attribute {name!r} refers to an unknown parameter", node, node.graph)
            found.append((name, kind))
        return tuple(found)

    def _constant(self, value: Value, index: int, node: Node) -> None:
        """Check a constant where it is met first; anything else is used where it is not defined."""
        if value.const is None:
            self._fail(f"operand {index} is not defined before this use", node, node.graph)
        if value.producer is not None or value.graph is not None:
            self._fail(f"operand {index} is a constant with a producer", node, node.graph)
        if value.type is not value.const.type:
            self._fail(
                f"operand {index} is declared as {value.type}, its data is {value.const.type}",
                node,
                node.graph,
            )
        self.visible.add(value)
        if value not in self.constants:
            self.constants.add(value)
            self.uses += len(value.uses)

    def _type(self, type_: Type | None, what: str, node: Node | None, graph: Graph | None) -> None:
        if type_ in self.types:
            return
        if type_.__class__ not in _KINDS or _KINDS[type_.__class__] != "type_proto":
            self._fail(f"{what} has a type that is none: {type_!r}", node, graph)
        for dim in dims_of(type_):
            if isinstance(dim, Dim):
                if dim * -1 * -1 is not dim:
                    self._fail(f"{what}: dimension {dim} is not interned", node, graph)
            elif dim.__class__ is not int or not 0 <= dim < _INT64:
                self._fail(f"{what} has the dimension {dim!r}", node, graph)
        if substitute_type(type_, lambda name: None) is not type_:
            self._fail(f"{what}: type {type_} is not interned", node, graph)
        self.types[type_] = type_str(type_)

    def _find_stale_use(self) -> NoReturn:
        """More uses are listed than there are operands: name a value whose list has one too many."""
        for graph in self.graphs:
            values = [*graph.inputs, *(v for node in graph for v in node.outputs)]
            for value in (*values, *self.constants):
                for node, index in value.uses:
                    gone = node.graph is None or node.graph not in self.graphs
                    if gone or node.input(index) is not value:
                        self._fail(
                            f"%{value.hint} lists a use as operand {index} of a statement that is not "
                            "in the model or does not use it",
                            node,
                        )
        self._fail("a value lists a use twice")


class _Frame:
    """A graph being checked, and the node whose regions are still to come."""

    __slots__ = ("graph", "nodes", "node", "regions")

    def __init__(self, graph: Graph, nodes: Iterator[Node]) -> None:
        self.graph = graph
        self.nodes = nodes
        self.node: Node | None = None
        self.regions: list[Graph] = []


def _kind(value: Any) -> str | None:
    """The kind of an attribute value; None for a value that no attribute can have."""
    if value.__class__ is tuple:
        if not value:
            return "[]"
        kinds = {_kind(item) for item in value}
        kind = kinds.pop()
        return None if kinds or kind is None or kind.endswith(("s", "]")) else kind + "s"
    if value.__class__ is int:
        return "int" if -_INT64 <= value < _INT64 else None
    if value.__class__ is float:
        return "float" if _is_float32(value) else None
    if isinstance(value, (AttrRef, EmptyList)):
        return value.kind
    return _KINDS.get(value.__class__)


def _is_float32(value: float) -> bool:
    try:
        return value != value or _F32.unpack(_F32.pack(value))[0] == value
    except OverflowError:
        return False


def _misfit(node: Node, n_outputs: int, types: list[str | None]) -> str | None:
    """Why a statement fits no version of its operator's schema; None where it does."""
    op = node.op
    if op.schema is None:
        return None
    given: dict[str, Any] = dict(node.attrs)
    for name, value in node.attrs.items():
        kind, wanted = _kind(value), op.attr_kind(name)
        if wanted is not None and kind != wanted and not (kind == "[]" and wanted.endswith("s")):
            return f"attribute {name!r} is {kind}, must be {wanted}"
    for name, region in node.regions.items():
        name, bracket, _ = name.partition("[")
        if op.attr_kind(name) != ("graphs" if bracket else "graph"):
            return f"{op.key} has no region {name!r}"
        given[name] = region
    # Outputs that an operator always has are written whether anything uses them or not.
    n_outputs = max(n_outputs, min(len(node.outputs), op.schema.min_outputs))
    present = [value is not None for value in node.inputs]
    inputs, outputs = types[: len(present)], types[len(present) :][:n_outputs]
    fault: str | None = None
    for schema in reversed(op.schemas):
        fault_here = why_not(schema, present, inputs, given, n_outputs, outputs, op)
        if fault_here is None:
            return None
        fault = fault or fault_here
    return fault
