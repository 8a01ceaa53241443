"""Which nodes compute in integers, which values are quantized for that, and which of these share a scale.

    plan = placed(model, layers, kernels)
    plan.values            # every value that gets a QuantizeLinear, with the group whose scale it has
    plan.integer           # nodes whose operands and results are all codes, so that the runtime has one kernel for them
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ...ir.core import Graph, Node, Value
from ...ir.types import F32
from .kernels import Integers

if TYPE_CHECKING:
    from typing import TypeAlias

Keep: TypeAlias = "tuple[str | int, ...]"
"""What stays in floats: glob patterns for operators and source locations, and numbers of layers (`candidates`)."""

_LEAST_WEIGHTS = 1024  # elements: smaller matrices cost more to call than to multiply
_LEAST_SIDE = 16  # rows or columns of a matrix below which integer kernels gain nothing
_PICTURE = 4  # channels of a picture at most


@dataclass
class Placement:
    """What is quantized. `root(value)` names the group of values that share one scale."""

    layers: list[Node] = field(default_factory=list)
    tables: list[Node] = field(default_factory=list)
    integer: set[Node] = field(default_factory=set)
    values: dict[Value, None] = field(default_factory=dict)
    reads: set[tuple[Node, int]] = field(default_factory=set)  # operands that are codes
    _parents: dict[Value, Value] = field(default_factory=dict)

    def root(self, value: Value) -> Value:
        """The first value of the group that shares a scale with this one."""
        while (parent := self._parents.get(value)) is not None:
            value = parent
        return value

    def join(self, a: Value, b: Value) -> None:
        """Let two values share a scale."""
        a, b = self.root(a), self.root(b)
        if a is not b:
            self._parents[b] = a

    def groups(self) -> dict[Value, list[Value]]:
        """The values of each group by its root."""
        found: dict[Value, list[Value]] = {}
        for value in self.values:
            found.setdefault(self.root(value), []).append(value)
        return found


def _is_pooled(node: Node, kernels: Integers) -> bool:
    return any(user.op.key == "MaxPool" for user in tail(node, kernels).users)


def is_kept(node: Node, keep: Keep) -> bool:
    """True if the operator or a source location of the node fits one of the glob patterns."""
    patterns = [pattern for pattern in keep if isinstance(pattern, str)]
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in (node.op.name, *node.loc))


def layers_of(graph: Graph, kernels: Integers, keep: Keep = ()) -> list[Node]:
    """The nodes with constant weights that gain from integers, in order, without those to keep."""
    found = enumerate(candidates(graph, kernels))
    return [node for number, node in found if number not in keep and not is_kept(node, keep)]


def candidates(graph: Graph, kernels: Integers) -> list[Node]:
    """All nodes with constant weights that gain from integers, in order: numbers in `keep` are places here."""
    stem = _stem(graph, kernels) if kernels.float_stem else set()
    return [n for n in graph if n.op.key in kernels.layers and n not in stem and refusal(n) == ""]


def numbers_of(nodes: Collection[Node], graph: Graph, kernels: Integers) -> tuple[int, ...]:
    """The numbers of some layers, as `keep` takes them."""
    return tuple(number for number, node in enumerate(candidates(graph, kernels)) if node in nodes)


def _stem(graph: Graph, kernels: Integers) -> set[Node]:
    """The first convolutions: of the channels of a picture, and those behind it with few weights.

    They have few channels to fill integer kernels with and large pictures to quantize, and what they get wrong reaches
    everything: in floats EfficientNet-Lite0 is 5 % faster and half as far off. Not those in front of a MaxPool:
    onnxruntime moves the quantization up through that, and has no quick kernel for codes that no convolution made (in
    ResNet-50 it takes a fifth of the time of all).
    """
    found: set[Node] = set()
    for node in graph:
        w = node.input(1)
        if node.op.key != "Conv" or w is None or w.const is None:
            continue
        is_small = w.const.size < _LEAST_WEIGHTS or (node.attr("group") == 1 and w.const.shape[1] <= _PICTURE)
        if not is_small or _is_pooled(node, kernels):
            break
        found.add(node)
    return found


def tables_of(graph: Graph, kernels: Integers, keep: Keep = ()) -> list[Node]:
    """The row look-ups in constant tables, in order."""
    return [n for n in graph if n.op.key in kernels.tables and not is_kept(n, keep) and _is_table(n)]


def refusal(node: Node) -> str:
    """Why a node of a kind that has integer kernels stays in floats; "" where it need not."""
    x, w = node.input(0), node.input(1)
    if x is None or w is None or w.const is None or x.const is not None:
        return "it has no constant weights"
    if x.dtype is not F32 or w.dtype is not F32:
        return "it is not in single precision"
    shape = w.const.shape
    if w.const.size < _LEAST_WEIGHTS and node.op.key != "Conv":
        return "it is small"
    if node.op.key == "Conv":
        bias = node.input(2)
        if bias is not None and bias.const is None:
            return "its bias is computed"
        if len(shape) < 3:
            return "it has no spatial dimension"
        return ""
    if len(shape) != 2 or min(shape) < _LEAST_SIDE:
        return "its weights are no matrix, or a narrow one"
    if node.op.key == "Gemm":
        bias = node.input(2)
        plain = not node.attr("transA") and node.attr("alpha") == 1 and (bias is None or node.attr("beta") == 1)
        if not plain or (bias is not None and (bias.const is None or bias.rank != 1)):
            return "it is more than a product and a bias"
    return ""


def _is_table(node: Node) -> bool:
    table = node.input(0)
    if table is None or table.const is None or table.dtype is not F32 or node.attr("axis") != 0:
        return False
    return len(table.const.shape) == 2 and table.const.size >= _LEAST_WEIGHTS and min(table.const.shape) >= 2


def tail(node: Node, kernels: Integers) -> Value:
    """The result of a node, behind the activation that its quantization absorbs."""
    value = node.output
    use = value.sole_use
    if use is not None and use[0].op.key in kernels.absorbed and use[1] == 0 and _is_clip(use[0]):
        return use[0].output
    return value


def _is_clip(node: Node) -> bool:
    """True if bounds, where it has any, are known."""
    return all(value is None or value.const is not None for value in node.inputs[1:])


def placed(graph: Graph, layers: list[Node], tables: list[Node], kernels: Integers) -> Placement:
    """Decide for the layers and what lies between them. Values of nested graphs are left alone."""
    plan = Placement(list(layers), list(tables))
    chosen = set(layers)
    for node in graph:
        if node in chosen:
            x = node.inputs[0]
            assert x is not None
            plan.values[x] = None
            plan.reads.add((node, 0))
            if node.op.key in kernels.closed:
                plan.values[tail(node, kernels)] = None
                plan.integer.add(node)
        elif node.op.key in kernels.carried or node.op.key in kernels.passing:
            _carry(node, plan, kernels)
    _prune(graph, plan, kernels)
    for node in plan.integer:
        if node.op.key in kernels.passing:
            for value in _operands(node):
                plan.join(value, node.output)
    return plan


def _operands(node: Node) -> list[Value]:
    """The operands that are numbers to compute with: not shapes, axes and the like."""
    return [value for value in node.inputs if value is not None and value.dtype is F32]


def _carry(node: Node, plan: Placement, kernels: Integers) -> None:
    operands = _operands(node)
    if not operands or len(node.outputs) != 1 or not all(v in plan.values for v in operands):
        return
    plan.integer.add(node)
    plan.values[tail(node, kernels) if node.op.key in kernels.carried else node.output] = None
    plan.reads.update((node, i) for i, value in enumerate(node.inputs) if value in operands)


def _prune(graph: Graph, plan: Placement, kernels: Integers) -> None:
    """Take back what nobody profits from: a node between integers whose result only floats read."""
    for node in graph.reversed():
        if node not in plan.integer or node.op.key in kernels.layers:
            continue
        result = tail(node, kernels) if node.op.key in kernels.carried else node.output
        if not any(use in plan.reads for use in result.uses):
            plan.integer.discard(node)
            plan.reads.difference_update((node, i) for i in range(len(node.inputs)))
            plan.values.pop(result, None)
