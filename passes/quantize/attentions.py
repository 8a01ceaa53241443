"""Attention that is written as its two products and the softmax between them, with the values that those multiply."""

from __future__ import annotations

from typing import NamedTuple

from ...ir.core import Graph, Node, Value
from ...ir.types import F32, Shape

# What may stand between a softmax and the second product (a row that is hidden as a whole gives zeros), and between the
# first product and the softmax: masks, factors, caps.
_BEHIND = frozenset(("Where", "Identity"))
_BETWEEN = frozenset(("Add", "Mul", "Div", "Where", "Tanh", "Identity"))
_CHAIN = frozenset(("Add", "Mul", "Div"))
_FARTHEST = 8  # nodes between


class Attention(NamedTuple):
    """softmax(Q K^T) V: the two products. Each multiplies two values that are computed."""

    scores: Node
    result: Node

    @property
    def operands(self) -> list[Value]:
        """Q and K^T as the first product reads them, and V. The other operand are probabilities: `probabilities`."""
        return [_at(self.scores, 0), _at(self.scores, 1), _at(self.result, 1)]

    @property
    def probabilities(self) -> Value:
        """What the second product multiplies V with: numbers from 0 to 1."""
        return _at(self.result, 0)

    @property
    def guarded(self) -> Value | None:
        """What a softmax gives, where zeros are put in the place of rows that are hidden as a whole; None elsewhere."""
        guard = self.probabilities.producer
        test = None if guard is None or guard.op.key != "Where" else _at(guard, 0).producer
        if guard is None or test is None or test.op.key != "IsNaN" or test.inputs[0] is not guard.inputs[2]:
            return None
        softmax = _at(guard, 2).producer
        return None if softmax is None or softmax.op.key != "Softmax" else softmax.output

    def masks(self) -> list[tuple[Node, int]] | None:
        """Operands that are added to the scores on their way to the softmax; None where that is more than a chain of
        sums and factors."""
        softmax = _back(self.probabilities, "Softmax", _BEHIND)
        assert softmax is not None
        found: list[tuple[Node, int]] = []
        maker = _at(softmax, 0).producer
        while maker is not self.scores:
            if maker is None or maker.op.key not in _CHAIN:
                return None
            operands = [index for index, v in enumerate(maker.inputs) if v is not None and self._is_behind_scores(v)]
            if len(operands) != 1:
                return None
            if maker.op.key == "Add":
                found.append((maker, 1 - operands[0]))
            maker = _at(maker, operands[0]).producer
        return found

    def _is_behind_scores(self, value: Value) -> bool:
        return value.producer is not None and _back(value, "MatMul", _CHAIN) is self.scores

    @property
    def lengths(self) -> Shape:
        """How many queries and keys; () where that is unknown."""
        return (self.scores.output.shape or ())[-2:]

    @property
    def head(self) -> int | None:
        """The size of a head of queries; None where that is unknown."""
        shape = self.operands[0].shape
        return shape[-1] if shape and isinstance(shape[-1], int) else None


def attentions(graph: Graph) -> list[Attention]:
    """All attentions of one graph in single precision, in order."""
    found = []
    for node in graph:
        if node.op.key != "MatMul" or not _are_computed(node) or node.output.dtype is not F32:
            continue
        scores = scores_behind(_at(node, 0))
        if scores is not None and scores.graph is graph:
            found.append(Attention(scores, node))
    return found


def scores_behind(probabilities: Value) -> Node | None:
    """The product of two computed values whose softmax these are; None where they are something else."""
    softmax = _back(probabilities, "Softmax", _BEHIND)
    scores = None if softmax is None else _back(_at(softmax, 0), "MatMul", _BETWEEN)
    return scores if scores is not None and _are_computed(scores) else None


def _at(node: Node, index: int) -> Value:
    value = node.inputs[index]
    assert value is not None
    return value


def _are_computed(node: Node) -> bool:
    return all(v is not None and v.const is None for v in node.inputs)


def _back(value: Value, key: str, over: frozenset[str]) -> Node | None:
    """The node of a kind that a value comes from, with nodes of these operators between; None for none."""
    stack = [value]
    for _ in range(_FARTHEST):
        if not stack:
            return None
        maker = stack.pop().producer
        if maker is None:
            continue
        if maker.op.key == key:
            return maker
        if maker.op.name in over:
            stack += [v for v in reversed(maker.inputs) if v is not None and v.const is None and v.dtype is value.dtype]
    return None
