"""The graph: values, nodes, graphs (ordered regions), functions and models.

A mutable SSA graph with identity equality. A use is an operand slot: ``x + x`` uses x twice. The
outputs of a graph are the operands of one pseudo-node, `Graph.ret`, so replacing values, removing
dead code and asking "is this its only use" need no special case. Names are hints; only graph inputs and
outputs have names that must survive, and those live in the graph. A node list is in topological order
at all times. Constants are values without a producer that no graph owns: they exist as long as
somebody uses them. Captured outer values are ordinary operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .dims import DimLike
from .ops import Op, resolve
from .tensor import Tensor
from .types import TensorType, Type

Use = tuple["Node", int]
Content = tuple[DimLike, ...]


class Value:
    """One SSA value: a node's output, a graph's input, or a constant."""

    __slots__ = ("hint", "type", "producer", "graph", "index", "uses", "const", "content", "meta")

    def __init__(self, type: Type | None, hint: str = "") -> None:
        self.hint = hint
        self.type = type
        self.producer: Node | None = None
        self.graph: Graph | None = None  # the graph whose input this is
        self.index = 0
        self.uses: dict[Use, None] = {}
        self.const: Tensor | None = None
        # Elements of a small integer tensor as dimensions, flat, where inference knows them.
        self.content: Content | None = None
        self.meta: dict[str, str] | None = None

    @property
    def is_input(self) -> bool:
        return self.graph is not None

    @property
    def dtype(self) -> Any:
        """The element type of a tensor value, or None."""
        return self.type.dtype if isinstance(self.type, TensorType) else None

    @property
    def shape(self) -> tuple[DimLike, ...] | None:
        """The shape of a tensor value, or None where even the rank is unknown."""
        return self.type.shape if isinstance(self.type, TensorType) else None

    @property
    def rank(self) -> int | None:
        shape = self.shape
        return None if shape is None else len(shape)

    @property
    def sole_use(self) -> Use | None:
        """The only use, or None if there is none or more than one."""
        return next(iter(self.uses)) if len(self.uses) == 1 else None

    @property
    def users(self) -> dict[Node, None]:
        """The distinct nodes that use this value, in order of first use."""
        return {node: None for node, _ in self.uses}

    @property
    def scope(self) -> Graph | None:
        """The graph in which this value is defined; None for constants (visible everywhere)."""
        if self.producer is not None:
            return self.producer.graph
        return self.graph

    def replace_with(self, other: Value) -> None:
        """Make every use of this value a use of `other`, graph outputs included."""
        if other is self:
            return
        for node, index in list(self.uses):
            node.set_input(index, other)
        other.hint = other.hint or self.hint

    def __repr__(self) -> str:
        kind = "const" if self.const is not None else "value"
        return f"<{kind} %{self.hint}: {self.type}>"


class Node:
    """One application of an op."""

    __slots__ = (
        "op", "inputs", "outputs", "attrs", "regions", "loc", "meta", "graph", "prev", "next", "_order",
    )  # fmt: skip

    def __init__(
        self,
        op: Op,
        inputs: Iterable[Value | None],
        outputs: Iterable[Value],
        attrs: dict[str, Any] | None = None,
        regions: dict[str, Graph] | None = None,
        loc: tuple[str, ...] = (),
    ) -> None:
        self.op = op
        self.inputs: tuple[Value | None, ...] = tuple(inputs)
        self.outputs: tuple[Value, ...] = tuple(outputs)
        self.attrs: dict[str, Any] = attrs if attrs is not None else {}
        self.regions: Mapping[str, Graph] = regions or _NO_REGIONS
        self.loc = loc
        self.meta: dict[str, str] | None = None
        self.graph: Graph | None = None
        self.prev: Node | None = None
        self.next: Node | None = None
        self._order = 0
        for index, value in enumerate(self.inputs):
            if value is not None:
                value.uses[self, index] = None
        for index, value in enumerate(self.outputs):
            value.producer = self
            value.index = index
        if regions:
            for graph in regions.values():
                graph.parent = self

    @property
    def output(self) -> Value:
        """The first output."""
        return self.outputs[0]

    def input(self, index: int) -> Value | None:
        """Operand `index`, or None when it is absent or left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def attr(self, name: str) -> Any:
        """An attribute's value, or the schema's default when it is not set (None without one)."""
        found = self.attrs.get(name)
        return self.op.attr_default(name) if found is None else found

    def set_input(self, index: int, value: Value | None) -> None:
        """Point operand `index` at another value (or at none)."""
        old = self.inputs[index]
        if old is value:
            return
        if old is not None:
            del old.uses[self, index]
        if value is not None:
            value.uses[self, index] = None
        self.inputs = self.inputs[:index] + (value,) + self.inputs[index + 1 :]

    def set_inputs(self, values: Iterable[Value | None]) -> None:
        """Replace the whole operand list."""
        for index, old in enumerate(self.inputs):
            if old is not None:
                del old.uses[self, index]
        self.inputs = tuple(values)
        for index, value in enumerate(self.inputs):
            if value is not None:
                value.uses[self, index] = None

    def is_before(self, other: Node) -> bool:
        """True if this node stands earlier than `other` in the same graph."""
        graph = self.graph
        assert graph is not None and other.graph is graph
        if not graph._numbered:
            graph._number()
        return self._order < other._order

    @property
    def in_use(self) -> bool:
        """True if any output has a use."""
        return any(value.uses for value in self.outputs)

    def __repr__(self) -> str:
        outs = ", ".join("%" + v.hint for v in self.outputs)
        ins = ", ".join("none" if v is None else "%" + v.hint for v in self.inputs)
        return f"<{outs} = {self.op.key}({ins})>"


_NO_REGIONS: Mapping[str, Graph] = {}
_RETURN = resolve("geoc", "Return")
_STEP = 1 << 16


class Graph:
    """An ordered region: inputs, nodes in topological order, outputs.

    `parent` is the node whose region this is (None for a model's main graph and a function's body).
    `defaults` holds values of inputs that a caller may leave out (initializers listed as inputs).
    """

    __slots__ = (
        "name", "inputs", "input_names", "output_names", "ret", "first", "last", "size", "parent",
        "index", "defaults", "meta", "_numbered",
    )  # fmt: skip

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.inputs: list[Value] = []
        self.input_names: list[str] = []
        self.output_names: list[str] = []
        self.ret = Node(_RETURN, (), ())
        self.ret.graph = self
        self.first: Node | None = None
        self.last: Node | None = None
        self.size = 0
        self.parent: Node | None = None
        self.index: dict[Op, dict[Node, None]] = {}
        self.defaults: dict[Value, Tensor] = {}
        self.meta: dict[str, str] | None = None
        self._numbered = True

    @property
    def outputs(self) -> tuple[Value, ...]:
        """The values this graph returns."""
        return self.ret.inputs  # type: ignore[return-value]

    def add_input(self, name: str, type: Type | None) -> Value:
        """Append an input; its name is part of the graph's contract."""
        value = Value(type, name)
        value.graph = self
        value.index = len(self.inputs)
        self.inputs.append(value)
        self.input_names.append(name)
        return value

    def remove_input(self, index: int) -> None:
        """Remove an input that has no uses. Raises ValueError if it has."""
        if self.inputs[index].uses:
            raise ValueError(f"input {self.input_names[index]!r} is still used")
        value = self.inputs.pop(index)
        value.graph = None
        self.defaults.pop(value, None)
        del self.input_names[index]
        for position, rest in enumerate(self.inputs):
            rest.index = position

    def set_outputs(self, values: Iterable[Value], names: Iterable[str] | None = None) -> None:
        """Set what the graph returns; names default to the values' hints."""
        self.ret.set_inputs(values)
        self.output_names = [v.hint for v in self.outputs] if names is None else list(names)

    # Nodes

    def __iter__(self) -> Iterator[Node]:
        """The nodes in order; the current one may be erased and others inserted on the way."""
        node = self.first
        while node is not None:
            following = node.next
            yield node
            # An erased node has no place any more; one that is still here may have new successors.
            node = node.next if node.graph is self else following

    def reversed(self) -> Iterator[Node]:
        """The nodes from last to first; the current one may be erased on the way."""
        node = self.last
        while node is not None:
            previous = node.prev
            yield node
            node = node.prev if node.graph is self else previous

    def __len__(self) -> int:
        return self.size

    def append(self, node: Node) -> Node:
        """Add a node at the end."""
        return self.insert(node, None)

    def insert(self, node: Node, before: Node | None) -> Node:
        """Add a node before another one of this graph (None: at the end)."""
        assert node.graph is None, "the node is already in a graph"
        node.graph = self
        if before is None:
            prev = self.last
            self.last = node
            node._order = _STEP if prev is None else prev._order + _STEP
        else:
            prev = before.prev
            before.prev = node
            low = 0 if prev is None else prev._order
            node._order = (low + before._order) >> 1
            if node._order == low:
                self._numbered = False
        node.next = before
        node.prev = prev
        if prev is None:
            self.first = node
        else:
            prev.next = node
        self.size += 1
        of_op = self.index.get(node.op)
        if of_op is None:
            self.index[node.op] = {node: None}
        else:
            of_op[node] = None
        return node

    def _unlink(self, node: Node) -> None:
        if node.prev is None:
            self.first = node.next
        else:
            node.prev.next = node.next
        if node.next is None:
            self.last = node.prev
        else:
            node.next.prev = node.prev
        node.prev = node.next = node.graph = None
        self.size -= 1
        del self.index[node.op][node]

    def move(self, node: Node, before: Node | None) -> None:
        """Move a node (of any graph) before another one of this graph (None: to the end)."""
        if node is before:
            return
        assert node.graph is not None
        node.graph._unlink(node)
        self.insert(node, before)

    def erase(self, node: Node) -> None:
        """Remove a node whose outputs have no uses, with its regions. Raises ValueError if they have."""
        assert node.graph is self
        if node.in_use:
            raise ValueError(f"{node!r} is still used")
        self._unlink(node)
        stack = [node]
        while stack:
            dead = stack.pop()
            for index, value in enumerate(dead.inputs):
                if value is not None:
                    del value.uses[dead, index]
            dead.inputs = ()
            for region in dead.regions.values():
                stack.extend(region)
                stack.append(region.ret)

    def _number(self) -> None:
        order = 0
        for node in self:
            order += _STEP
            node._order = order
        self._numbered = True

    # Walks

    def walk(self) -> Iterator[Node]:
        """Every node here and in nested regions, outer before inner, in order. Nothing may be erased."""
        stack: list[Iterator[Node]] = [iter(self)]
        while stack:
            for node in stack[-1]:
                yield node
                if node.regions:
                    stack.extend(iter(g) for g in reversed(tuple(node.regions.values())))
                    break
            else:
                stack.pop()

    def graphs(self) -> list[Graph]:
        """This graph and every nested region, outer before inner."""
        found = [self]
        for graph in found:  # grows while we go
            if any(nodes and (op.has_regions or op.is_opaque) for op, nodes in graph.index.items()):
                for node in graph:
                    if node.regions:
                        found.extend(node.regions.values())
        return found

    def nodes_of(self, ops: Iterable[Op]) -> list[Node]:
        """The nodes with one of these ops, in order; quick where they are few."""
        wanted = [self.index[op] for op in ops if self.index.get(op)]
        if 4 * sum(map(len, wanted)) > self.size:
            these = {op for op in ops if op in self.index}
            return [node for node in self if node.op in these]
        if not self._numbered:
            self._number()
        return sorted([node for nodes in wanted for node in nodes], key=_order_of)

    def ancestors(self) -> Iterator[Graph]:
        """This graph, the one around it, and so on outwards."""
        graph: Graph | None = self
        while graph is not None:
            yield graph
            graph = graph.parent.graph if graph.parent is not None else None

    def enclosing_node(self, node: Node) -> Node | None:
        """The node of this graph that is, or whose regions hold, `node`; None if outside."""
        current: Node | None = node
        while current is not None and current.graph is not self:
            current = current.graph.parent if current.graph is not None else None
        return current

    def to_networkx(self) -> Any:
        """A networkx.MultiDiGraph: nodes are `Node`s (attribute ``op``), edges carry the `Value`.

        Graph inputs and constants are nodes as well (the `Value` itself, attribute ``kind``).
        """
        import networkx

        result = networkx.MultiDiGraph(name=self.name)
        for value in self.inputs:
            result.add_node(value, kind="input", name=value.hint)
        for node in [*self, self.ret]:
            result.add_node(node, op=node.op.key, name=node.loc[0] if node.loc else "")
            for index, used in enumerate(node.inputs):
                if used is None:
                    continue
                source: Node | Value = used.producer if used.producer is not None else used
                if used.const is not None:
                    result.add_node(used, kind="constant", name=used.hint)
                result.add_edge(source, node, value=used, index=index)
        return result


def _order_of(node: Node) -> int:
    return node._order


class Function:
    """A local function, or the reference body of a ``geoc::`` op.

    `attributes` maps attribute parameters to their defaults (None: required). In the body an attribute
    may be an `attributes.AttrRef` to one of them.
    """

    __slots__ = ("domain", "name", "overload", "attributes", "graph", "doc")

    def __init__(self, domain: str, name: str, graph: Graph, overload: str = "") -> None:
        self.domain = domain
        self.name = name
        self.overload = overload
        self.attributes: dict[str, Any] = {}
        self.graph = graph
        self.doc = ""


class Model:
    """What passes run on: the main graph, functions, and what the file said about itself.

    `opsets` are the imports of the source, `typed` says that it declared the types of intermediate values: hints
    for the writer, never read by a pass.
    """

    __slots__ = (
        "graph", "functions", "opsets", "ir_version", "typed", "metadata", "info", "opaque", "source",
        "beside", "notes",
    )  # fmt: skip

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.functions: dict[tuple[str, str, str], Function] = {}
        self.opsets: dict[str, int] = {}
        self.ir_version = 0
        self.typed = False
        self.metadata: dict[str, str] = {}
        # producer_name, producer_version, domain, model_version, doc_string, as far as set
        self.info: dict[str, Any] = {}
        # parts that are carried through unread, by field name (training_info and the like)
        self.opaque: dict[str, bytes] = {}
        self.source = ""
        # files that belong beside the model, such as a tokenizer's: name -> content, given the name of the model's
        # file; None where it does not belong beside such a file
        self.beside: dict[str, Callable[[str], bytes | None]] = {}
        # what users should know of how the source was read, for the summary
        self.notes: list[str] = []

    def roots(self) -> list[Graph]:
        """The main graph and the body of every function."""
        return [self.graph, *(f.graph for f in self.functions.values())]

    def graphs(self) -> list[Graph]:
        """Every graph: main, function bodies and all nested regions."""
        return [g for root in self.roots() for g in root.graphs()]

    def walk(self) -> Iterator[Node]:
        """Every node of every graph. Nothing may be erased on the way."""
        for root in self.roots():
            yield from root.walk()

    @property
    def node_count(self) -> int:
        """Nodes in all graphs, subgraphs and functions included."""
        return sum(g.size for g in self.graphs())

    @property
    def weight_bytes(self) -> int:
        """Bytes that the constants take in a file; one that several nodes use counts once."""
        sizes: dict[object, int] = {}
        for graph in self.graphs():
            for node in [*graph, graph.ret]:
                for value in node.inputs:
                    if value is not None and value.const is not None:
                        sizes[value] = value.const.stored_bytes
        return sum(sizes.values())

    def to_proto(self) -> Any:
        """The model as an `onnx.ModelProto`. Raises UnsupportedModel where no opset fits."""
        return _hook("to_proto")(self)

    def to_graphsurgeon(self) -> Any:
        """The model as an `onnx_graphsurgeon.Graph`."""
        return _hook("to_graphsurgeon")(self)


_hooks: dict[str, Callable[[Model], Any]] = {}


def _hook(name: str) -> Callable[[Model], Any]:
    # The IR imports nothing above it: the writers register themselves when the package is imported.
    try:
        return _hooks[name]
    except KeyError:
        raise RuntimeError(f"Model.{name} needs `import geoc`") from None


def register_export(name: str, function: Callable[[Model], Any]) -> None:
    """Make `function` the implementation of `Model.to_proto` or `Model.to_graphsurgeon`."""
    _hooks[name] = function


def constant(tensor: Tensor, hint: str = "") -> Value:
    """A constant value."""
    value = Value(tensor.type, hint)
    value.const = tensor
    return value
