"""A graph as a module of torch: its weights are parameters, its forward runs the graph node by node.

    module = GraphModule(model, trainable(model))
    logits, = module({"x": batch})                  # tensors with gradients, in the order of the outputs
    module.put_back()                               # what was learned, into the graph

The graph stays the source of truth. What depends on no tensor (shapes and what is computed of them) is computed by
`ir.evaluate` in numpy, so sizes may change from call to call; the rest by the functions of `operators`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ...ir.core import Graph, Model, Node, Value
from ...ir.errors import GeocError, UnsupportedModel
from ...ir.evaluate import CannotEvaluate, evaluate_node
from ...ir.tensor import Tensor
from ...passes.clean.purity import is_deterministic
from ...passes.instruments import where
from .dtypes import WITHOUT_ARITHMETIC, to_array, to_tensor, torch_dtype
from .operators import TABLE
from .operators.base import Lacking
from .operators.quantized import to_codes
from .weights import Weight

_SIZES = ("Shape", "Size")  # of their operand they read no element
_OF_NUMBERS = ("ConstantOfShape", "Range")  # their operands are sizes and bounds: no gradient passes
Values = dict[Value, Any]
"""What values hold: tensors, or numpy arrays where they depend on none."""


class GraphModule(torch.nn.Module):  # type: ignore[misc]
    """The main graph of a model. A call takes arrays or tensors by input and gives the wanted values as tensors."""

    def __init__(self, model: Model, weights: Sequence[Weight]) -> None:
        """Raises UnsupportedModel, naming node and operator, for one that has no function and meets a tensor."""
        super().__init__()
        self.model = model
        self.weights = list(weights)
        self.learned = torch.nn.ParameterList([torch.nn.Parameter(to_tensor(w.start())) for w in weights])
        self._index = {value: index for index, weight in enumerate(weights) for value in weight.values}
        self._fixed: Values = {}  # results that are the same in each run
        self._constants: dict[Value, Any] = {}  # those that are no weights, as tensors
        self._plans: dict[tuple[Graph, tuple[Value, ...], frozenset[Value]], list[tuple[Node, list[Value]]]] = {}
        self._check()

    def forward(
        self, feeds: Mapping[str, Any], wanted: Sequence[Value] | None = None, given: Mapping[Value, Any] | None = None
    ) -> list[Any]:
        """The outputs of the graph, or values of its main graph, as tensors; those of numbers too.

        `feeds` are numpy arrays or tensors by input, `given` tensors by values inside, which are not computed then, nor
        what only they need. Raises UnsupportedModel for a form of an operator that its
        function does not have, GeocError where a node does not take what it is given, both naming the node.
        """
        graph = self.model.graph
        known: Values = {}
        for name, value in zip(graph.input_names, graph.inputs):
            if name in feeds:
                array = feeds[name]
                known[value] = array if isinstance(array, torch.Tensor) else to_tensor(array)
        known.update(given or {})
        wanted = graph.outputs if wanted is None else wanted
        self._run(graph, known, tuple(wanted), frozenset(given or ()))
        return [self._tensor(value, known) for value in wanted]

    def number_of(self, value: Value) -> int | None:
        """Which of the weights a constant is; None for one that stays."""
        return self._index.get(value)

    def needed(self, value: Value, given: Iterable[Value] = ()) -> set[int]:
        """Which of the weights, by number, a value of the main graph depends on where the values `given` are known."""
        plan = self._plan(self.model.graph, (value,), frozenset(given))
        return {self._index[read] for node, _ in plan for read in _reads(node) if read in self._index}

    def put_back(self) -> None:
        """Make the parameters, as they are, the constants of the graph."""
        for weight, parameter in zip(self.weights, self.learned):
            weight.put(to_array(parameter))

    # One graph

    def _run(
        self, graph: Graph, known: Values, wanted: tuple[Value, ...], given: frozenset[Value] = frozenset()
    ) -> None:
        """Compute what `wanted` needs beside `given` into `known`; what nobody needs any more leaves it."""
        for node, finished in self._plan(graph, wanted, given):
            if node.outputs[0] in self._fixed:
                known.update((value, self._fixed[value]) for value in node.outputs)
            else:
                self._node(node, known)
            for value in finished:
                known.pop(value, None)

    def _plan(
        self, graph: Graph, wanted: tuple[Value, ...], given: frozenset[Value]
    ) -> list[tuple[Node, list[Value]]]:
        """The nodes that `wanted` needs beside what is `given`, each with the values that nothing reads behind it."""
        key = (graph, wanted, given)
        if key not in self._plans:
            needed = set(wanted) - given
            nodes = []
            last: dict[Value, Node] = {}
            for node in graph.reversed():
                if not any(value in needed for value in node.outputs):
                    continue
                nodes.append(node)
                for value in _reads(node):
                    if value not in given:
                        needed.add(value)
                    last.setdefault(value, node)
            ends: dict[Node, list[Value]] = {node: [] for node in nodes}
            for value, node in last.items():
                if value not in wanted and value.scope is graph:
                    ends[node].append(value)
            self._plans[key] = [(node, ends[node]) for node in reversed(nodes)]
        return self._plans[key]

    def _node(self, node: Node, known: Values) -> None:
        try:
            results = self._results(node, known)
        except (Lacking, CannotEvaluate) as error:
            said = error.message if isinstance(error, Lacking) else str(error)
            raise UnsupportedModel(f"{node.op.key} cannot be trained through here: {said}", place=where(node)) from None
        except (RuntimeError, LookupError, ValueError, TypeError) as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise GeocError(f"{node.op.key}: {said}", place=where(node)) from error
        for value, result in zip(node.outputs, results):
            known[value] = result
        if all(value is None or self._stays(value) for value in node.inputs) and not node.regions:
            self._fixed.update(zip(node.outputs, results))

    def _stays(self, value: Value) -> bool:
        """True for what is the same in each run: constants that are no weights, and what is computed of them."""
        return value in self._fixed or (value.const is not None and value not in self._index)

    def _results(self, node: Node, known: Values) -> Sequence[Any]:
        if node.regions:
            return self._region(node, known)
        given = [None if value is None else self._value(value, known) for value in node.inputs]
        operator = TABLE.get(node.op.key)
        if node.op.key not in _SIZES and (operator is None or all(map(_is_array, given)) or _is_foreign(node, given)):
            return _in_numpy(node, given)
        assert operator is not None
        operands = given if node.op.key in _SIZES else [
            None if value is None else _array(x) if i in operator.numbers else self._as_tensor(value, x)
            for i, (value, x) in enumerate(zip(node.inputs, given))
        ]  # fmt: skip
        results = operator.run(node, operands)
        return results if isinstance(results, (list, tuple)) else [results]

    def _value(self, value: Value, known: Values) -> Any:
        """What a value holds; a weight in the type that the graph has it in, or as codes."""
        if value in known:
            return known[value]
        index = self._index.get(value)
        if index is not None:
            return self._weight(self.weights[index], self.learned[index])
        if value.const is not None:
            return value.const.array()
        default = value.graph.defaults.get(value) if value.graph is not None else None
        if default is None:
            raise ValueError(f"%{value.hint} was not given")
        return default.array()

    def _weight(self, weight: Weight, parameter: Any) -> Any:
        if weight.grid is None:
            return parameter.to(torch_dtype(weight.tensor.dtype))
        scale, zero = (torch.from_numpy(np.array(part)) for part in (weight.grid.scale, weight.grid.zero))
        return to_codes(parameter, scale, zero, weight.tensor.dtype)

    def _as_tensor(self, value: Value, x: Any) -> Any:
        """What a value holds as a tensor; constants are made tensors once."""
        if isinstance(x, torch.Tensor):
            return x
        if not self._stays(value):
            return to_tensor(x)
        found = self._constants.get(value)
        if found is None:
            found = self._constants[value] = to_tensor(x)
        return found

    def _tensor(self, value: Value, known: Values) -> Any:
        return self._as_tensor(value, self._value(value, known))

    # Nodes with graphs inside

    def _region(self, node: Node, known: Values) -> Sequence[Any]:
        given = [None if value is None else self._value(value, known) for value in node.inputs]
        if node.op.key == "If":
            branch = node.regions["then_branch" if bool(_array(given[0]).item()) else "else_branch"]
            return self._enter(branch, {}, known)
        if node.op.key == "Loop":
            return self._loop(node, given, known)
        raise Lacking("its graph inside")

    def _enter(self, graph: Graph, given: Values, known: Values) -> list[Any]:
        """The outputs of an inner graph; it sees the values around it, and leaves nothing behind."""
        inner = {**known, **given}
        self._run(graph, inner, graph.outputs)
        return [self._value(value, inner) for value in graph.outputs]

    def _loop(self, node: Node, given: list[Any], known: Values) -> Sequence[Any]:
        body = node.regions["body"]
        limit = None if given[0] is None else int(_array(given[0]).item())
        going = True if given[1] is None else bool(_array(given[1]).item())
        states = given[2:]
        rows: list[list[Any]] = [[] for _ in range(len(node.outputs) - len(states))]
        trip = 0
        while going and (limit is None or trip < limit):
            start = [np.array(trip), np.array(going), *states]
            found = self._enter(body, dict(zip(body.inputs, start)), known)
            going, states = bool(_array(found[0]).item()), found[1 : 1 + len(states)]
            for collected, row in zip(rows, found[1 + len(states) :]):
                collected.append(row)
            trip += 1
        if any(not collected for collected in rows):
            raise Lacking("a Loop that made no trip, whose outputs would have no shape")
        stacked = [torch.stack([x if isinstance(x, torch.Tensor) else to_tensor(x) for x in each]) for each in rows]
        return [*states, *stacked]

    # What can be known before the first run

    def _check(self) -> None:
        """Raise UnsupportedModel for the first node that has no function and lies behind a weight, or is random."""
        behind = set(self._index)  # what a gradient passes
        for node in self.model.graph.walk():
            if node.op.random or (node.op.training_input is not None and not is_deterministic(node)):
                said = f"{node.op.key} draws random numbers: nothing can be compared behind it"
                raise UnsupportedModel(said, source=self.model.source, place=where(node))
            if node.op.key in (*_SIZES, *_OF_NUMBERS) or not any(value in behind for value in _reads(node)):
                continue
            if node.op.key not in TABLE and not node.regions and _makes_floats(node):
                said = f"distillation has no function for {node.op.key}, and weights lie before it"
                raise UnsupportedModel(said, source=self.model.source, place=where(node))
            behind.update(node.outputs)
            behind.update(value for region in node.regions.values() for value in region.inputs)


def _reads(node: Node) -> Iterable[Value]:
    """The values that a node reads, those among them that its inner graphs capture."""
    yield from (value for value in node.inputs if value is not None)
    for region in node.regions.values():
        for graph in region.graphs():
            for inner in [*graph, graph.ret]:
                yield from (value for value in inner.inputs if value is not None)


def _is_array(x: Any) -> bool:
    return x is None or isinstance(x, np.ndarray)


def _is_foreign(node: Node, given: Sequence[Any]) -> bool:
    """True for whole numbers of types that torch does not compute with."""
    return not _makes_floats(node) and any(getattr(x, "dtype", None) in WITHOUT_ARITHMETIC for x in given)


def _array(x: Any) -> Any:
    return to_array(x) if isinstance(x, torch.Tensor) else x


def _makes_floats(node: Node) -> bool:
    """True unless all results are of types that carry no gradient."""
    return any(value.dtype is None or value.dtype.is_float for value in node.outputs)


def _in_numpy(node: Node, given: Sequence[Any]) -> Sequence[Any]:
    """The results by `ir.evaluate`: of numbers, or without gradients."""
    arrays = [_array(x) for x in given]
    found = evaluate_node(node, [None if x is None else Tensor.from_array(x) for x in arrays])
    return [None if tensor is None else tensor.array() for tensor in found]
