"""Graphs as the page holds them: each statement once, however many steps of a run it stands in.

A record is what a node is: its key (the same for the same node in all graphs), operator, scope, operands, results,
attributes, source names and estimated cost. A graph is a list of runs of record numbers, so that a step that changes
ten nodes of a thousand costs ten records. Operands are numbers of values, or -1 - N for weight N. Inputs and outputs,
of the model and of regions, are records as well: the results of a region's outputs are those of the node around it, and
what a loop begins with is an operand of its body's inputs, so that edges lead in and out by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from ...ir.core import Graph, Model, Node, Value
from ...ir.tensor import Tensor
from ...ir.text.names import TypeNames
from ...ir.text.printer import Printer
from ...ir.types import DTYPES
from ...ir.walk import traverse
from ...lowering.estimate import Estimate, NodeEstimate
from .kinds import KINDS, kind_of
from .pairing import Pairs
from .scopes import Path, Scopes, common
from .weights import described

SCOPE, PART, NODE, REGION = range(4)
"""Kinds of scope: from names, cut by `parts`, a node that has regions, and one of those regions."""

MANY = 12
"""Inputs and outputs of a model beyond which those that one scope alone has to do with are shown in there."""

_CODES = {dtype.onnx: dtype.name for dtype in DTYPES}
_UNKNOWN = re.compile(r"\?\d+")
_OWN = {"Loop": 1, "Scan": 0, "SequenceMap": 0}
"""How many inputs of a body, the first ones, are its own (the number of the round); the others begin as the operands of
the node at the same places."""
_DROPPED = {"Loop": 1}
"""How many results of a body, the first ones, are none of the node."""


class Table:
    """Things by number, each once."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self._numbers: dict[Hashable, int] = {}

    def number(self, key: Hashable, row: Any = None) -> int:
        """The number of what has this key; `row` (the key itself if None) is stored at first sight."""
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self.rows)
            self.rows.append(key if row is None else row)
        return found

    def get(self, key: Hashable) -> int | None:
        """The number, or None for what is new."""
        return self._numbers.get(key)


class Book:
    """Collects graphs; `to_json` is what the page reads. `same_weight` is equal for weights that count as one."""

    def __init__(self, same_weight: Callable[[Tensor], Hashable]) -> None:
        self.same_weight = same_weight
        self.ops, self.types, self.attributes, self.names = Table(), Table(), Table(), Table()
        self.scopes, self.values, self.weights, self.records = Table(), Table(), Table(), Table()
        self.contents = Table()  # of weights, each once, whatever they are called
        self.graphs: list[dict[str, Any]] = []
        self.finder = Scopes()
        self._keys = 0
        self._key_of: list[dict[Node, int]] = []  # of the nodes of each graph
        self._ends: dict[Hashable, int] = {}  # keys of inputs and outputs, by where they are

    def to_json(self) -> dict[str, Any]:
        """Tables and graphs as plain data."""
        tables = ("ops", "types", "attributes", "names", "scopes", "values", "weights", "records")
        return {"kinds": KINDS, **{name: getattr(self, name).rows for name in tables}, "graphs": self.graphs}

    def key(self, graph: int, node: Node) -> int:
        """The key of a node of a graph that was added."""
        return self._key_of[graph][node]

    def add(self, model: Model, pairs: Pairs, estimate: Estimate | None, **facts: Any) -> None:
        """Add a graph; `pairs` gives nodes of the graph before for those that are the same, `facts` go beside it."""
        last = self._key_of[-1] if self._key_of else {}
        keys: dict[Node, int] = {}
        for graph in model.graph.graphs():
            for node in graph:
                earlier = last.get(pairs[node]) if node in pairs else None
                keys[node] = self._new_key() if earlier is None else earlier
        self._key_of.append(keys)
        costs = {} if estimate is None else {each.node: each for each in estimate.nodes}
        runs = _Writer(self, model, keys, costs).runs()
        self.graphs.append({"runs": runs, **facts})

    def end_key(self, place: Hashable) -> int:
        """The key of an input or output."""
        if place not in self._ends:
            self._ends[place] = self._new_key()
        return self._ends[place]

    def _new_key(self) -> int:
        self._keys += 1
        return self._keys - 1


@dataclass
class _Open:
    """A graph that is being written: the scope that it is, where it is, the scopes of its nodes."""

    graph: Graph
    scope: int
    place: Hashable
    paths: dict[Node, Path]
    many: bool  # inputs and outputs go where they are used


class _Writer:
    """Writes the records of one graph."""

    def __init__(
        self, book: Book, model: Model, keys: dict[Node, int], costs: dict[Node, NodeEstimate]
    ) -> None:
        self.book, self.model, self.keys, self.costs = book, model, keys, costs
        self.values: dict[Value, int] = {}
        self.printer = Printer(TypeNames(), "digest", strict=False)
        self.numbers: list[int] = []

    def runs(self) -> list[list[int]]:
        """Record numbers as [first, count] of numbers that follow each other."""
        around: list[_Open] = []
        for item in traverse(self.model.graph):
            if item is None:
                self._outputs(around.pop())
            elif isinstance(item, Graph):
                around.append(self._opened(item, around[-1] if around else None))
                self._inputs(around[-1])
            else:
                self._node(item, self._scope(around[-1].scope, around[-1].paths[item]))
        found: list[list[int]] = []
        for number in self.numbers:
            if found and sum(found[-1]) == number:
                found[-1][1] += 1
            else:
                found.append([number, 1])
        return found

    def _opened(self, graph: Graph, outer: _Open | None) -> _Open:
        paths = self.book.finder.of(graph)
        if outer is None or graph.parent is None:
            root = self.book.scopes.number((-1, "", SCOPE))
            return _Open(graph, root, "main", paths, len(graph.inputs) + len(graph.outputs) > MANY)
        node = graph.parent
        inside, key = self._scope(outer.scope, outer.paths[node]), self.keys[node]
        box = self.book.scopes.number((inside, key, NODE), [inside, node.op.key, NODE, key])
        name = next(name for name, region in node.regions.items() if region is graph)
        return _Open(graph, self.book.scopes.number((box, name, REGION)), (key, name), paths, False)

    def _inputs(self, within: _Open) -> None:
        graph = within.graph
        for index, (name, value) in enumerate(zip(graph.input_names, graph.inputs)):
            key = self.book.end_key((within.place, "input", index if graph.parent else name))
            self.values[value] = self.book.values.number((key, 0), [key, 0, name])
            users = [graph.enclosing_node(user) for user in value.users if within.many and user is not graph.ret]
            inside = self._scope(within.scope, common(within.paths[node] for node in users if node is not None))
            self._record(key, "Input", inside, self._begins_with(graph.parent, index), [value], [], [name])

    def _outputs(self, within: _Open) -> None:
        graph, around = within.graph, within.graph.parent
        for index, (name, value) in enumerate(zip(graph.output_names, graph.outputs)):
            key = self.book.end_key((within.place, "output", index if around else name))
            made = index - _DROPPED.get(around.op.name, 0) if around is not None else -1
            results = [around.outputs[made]] if around is not None and 0 <= made < len(around.outputs) else []
            maker = value.producer if within.many else None
            inside = self._scope(within.scope, within.paths[maker] if maker is not None else ())
            self._record(key, "Output", inside, [value], results, [], [name])

    def _begins_with(self, around: Node | None, index: int) -> list[Value | None]:
        """The operand of a loop that one input of its body is at first."""
        if around is None or index < _OWN.get(around.op.name, index + 1) or index >= len(around.inputs):
            return []
        return [around.inputs[index]]

    def _scope(self, scope: int, path: Path) -> int:
        for name in path:
            scope = self.book.scopes.number((scope, name, PART if name.startswith("part ") else SCOPE))
        return scope

    def _node(self, node: Node, scope: int) -> None:
        key = self.keys[node]
        for value in node.outputs:
            self.values[value] = self.book.values.number((key, value.index), [key, value.index, value.hint])
        attributes = [(name, self._attribute(name, value)) for name, value in sorted(node.attrs.items())]
        kind = KINDS.index(kind_of(node.op, bool(node.regions)))
        self._record(
            key, node.op.key, scope, list(node.inputs), list(node.outputs), attributes, list(node.loc), kind,
            self._cost(node),
        )  # fmt: skip

    def _record(
        self, key: int, op: str, scope: int, operands: list[Value | None], results: list[Value],
        attributes: list[tuple[str, str]], names: list[str], kind: int = KINDS.index("interface"), cost: Any = 0,
    ) -> None:  # fmt: skip
        book = self.book
        shown = [(book.names.number(name), book.names.number(text)) for name, text in attributes]
        row = [
            key,
            book.ops.number((op, kind)),
            scope,
            [self._operand(value) for value in operands],
            [[self.values[value], book.types.number(_type_text(value))] for value in results],
            book.attributes.number(tuple(shown)),
            [book.names.number(name) for name in names],
            cost,
        ]
        self.numbers.append(book.records.number(repr(row), row))

    def _operand(self, value: Value | None) -> int | None:
        if value is None:
            return None
        if value.const is None:
            return self.values[value]
        book, tensor = self.book, value.const
        same = book.contents.number((tensor.dtype.name, tensor.shape, book.same_weight(tensor)))
        number = book.weights.get((same, value.hint))
        if number is None:
            number = book.weights.number((same, value.hint), {**described(tensor, value.hint), "same": same})
        return -1 - number

    def _attribute(self, name: str, value: Any) -> str:
        text = self.printer.attribute(value) if not isinstance(value, Tensor) or value.size <= 64 else str(value.type)
        if name in ("to", "dtype") and value in _CODES:
            return f"{text} ({_CODES[value]})"
        return text if len(text) <= 400 else text[:397] + "..."

    def _cost(self, node: Node) -> Any:
        """[seconds, operations, bytes, what bounds it], or 0 where nothing is known or nothing is done."""
        found = self.costs.get(node)
        return 0 if found is None else [float(f"{found.seconds:.3g}"), found.flops, found.bytes, found.bound]


def _type_text(value: Value) -> str:
    """A type with a bare ? for every dimension that nothing is known of, whatever its number in this graph."""
    return _UNKNOWN.sub("?", str(value.type)) if value.type is not None else "?"
