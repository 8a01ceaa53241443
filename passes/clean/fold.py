"""fold: nodes with known results become constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...ir.attributes import AttrRef
from ...ir.axes import normalize_axes
from ...ir.core import Model, Node, Value, constant
from ...ir.evaluate import CannotEvaluate, evaluate_node, reads_nothing
from ...ir.infer import infer_graph
from ...ir.tensor import Tensor
from ...ir.types import BOOL, DType, TensorType
from ..base import Context, Pass
from ..palettes.lookup import names_entries
from .keys import Key, same_result_key
from .purity import is_deterministic


@dataclass(frozen=True)
class Fold(Pass):
    """Nodes with known results become constants.

    Known is what depends on constants alone, and what inference knows: `Shape` of a static dimension and the
    integer arithmetic that follows. Common operators are computed in numpy, others by onnxruntime as a model of one
    node; what fails there (an index out of range, an integer divided by zero) stays in the graph with a remark.
    Equal computations are done once and give one constant, in whichever regions they stand.

    The file must not grow: a tied weight is not stored a second time in another layout, a mask made of three
    numbers is not stored as megabytes. For every value that something unfoldable uses, the pass compares its bytes
    with those of the constants that are no longer needed once it is a constant; if more are added than
    `allowance`, or all together more than earlier passes have saved and `growth` beyond that, the node stays and its
    operands are considered instead. So a large intermediate does not stand in the way of a small result.

    Quantize and dequantize operators are never folded, nor look-ups of weights in palettes, random operators, and nodes
    with regions. Large transposed or cast weights are computed when the file is written, so that they need no memory.

    Options: `grow` lifts the limits on growth. `allowance` (bytes) is the growth accepted for one value, or a
    25th of the source's constants up to `max_value` where that is more and was saved before; `growth` (bytes) that
    for the model. `max_bytes` limits operands and results of one node.
    """

    name: ClassVar[str] = "fold"
    grow: bool = False
    allowance: int = 1024
    max_value: int = 1 << 20
    growth: int = 1 << 11
    max_bytes: int = 64 << 20

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any node was replaced."""
        changed = False
        for root in model.roots():
            folding = _Folding(self, ctx)
            for node in root.walk():
                folding.consider(node)
            folding.weigh()
            changed = folding.replace(self._budget(model, ctx)) or changed
            if folding.computed:  # what depended on unknown constants has a better known type now
                infer_graph(root)
        return changed


    def _budget(self, model: Model, ctx: Context) -> int:
        """Bytes by which the constants may grow."""
        if ctx.source_bytes is None:
            return self.growth
        fewer = ctx.source_nodes - model.node_count
        return ctx.source_bytes - model.weight_bytes + fewer * _NODE_BYTES + self.growth


# What a node takes in a file, names included: fewer than exporters spend.
_NODE_BYTES = 100


class _Result:
    """What nodes that compute the same give, and what that is worth."""

    __slots__ = ("constants", "cost", "node", "size", "tensors")

    def __init__(self, node: Node, tensors: list[Tensor | None]) -> None:
        self.node = node  # the first of them
        self.tensors = tensors
        self.size = sum(t.stored_bytes for t in tensors if t is not None)
        self.cost = 0  # bytes of constants that are there for this result alone
        self.constants: list[Value] | None = None  # once it was taken


class _Folding:
    """One run over one root graph: what could be constants, what that costs, and which are taken."""

    def __init__(self, options: Fold, ctx: Context) -> None:
        self.options = options
        self.ctx = ctx
        self.results: dict[Node, _Result] = {}
        self.by_key: dict[Key, _Result] = {}
        self.held = 0
        self.computed = False  # something was replaced that inference did not know

    # What could be folded

    def consider(self, node: Node) -> None:
        """Find the results of a node, if they can be known."""
        if node.regions or not node.outputs or not is_deterministic(node):
            return
        inferred = _from_inference(node)
        if inferred is not None:
            self.results[node] = _Result(node, inferred)
            return
        operands = self._operands(node)
        if operands is None or (node.op.never_fold and node.op.key != "ConstantOfShape") or names_entries(node):
            return
        if any(isinstance(value, AttrRef) for value in node.attrs.values()):
            return
        if not all(isinstance(value.type, TensorType) for value in node.outputs if value.uses):
            return
        key = same_result_key(node, self._identity)
        twin = None if key is None else self.by_key.get(key)
        if twin is None:
            tensors = self._evaluate(node, operands)
            if tensors is None:
                return
            twin = _Result(node, tensors)
            if key is not None:
                self.by_key[key] = twin
        fault = _contradiction(node, twin.tensors)
        if fault:
            self._missed(node, fault)
        else:
            self.results[node] = twin

    def _operands(self, node: Node) -> list[Tensor | None] | None:
        operands: list[Tensor | None] = []
        for value in node.inputs:
            tensor = None
            if value is not None:
                tensor = value.const if value.const is not None else self._known(value)
                if tensor is None:
                    return None
            operands.append(tensor)
        return operands

    def _known(self, value: Value) -> Tensor | None:
        result = None if value.producer is None else self.results.get(value.producer)
        return None if result is None else result.tensors[value.index]

    def _identity(self, value: Value | None) -> int:
        """Equal for operands that are the same constant or the same computation."""
        if value is None or value.producer is None:
            return id(value)
        result = self.results.get(value.producer)
        return id(value) if result is None else id(result.node.outputs[value.index])

    def _evaluate(self, node: Node, operands: list[Tensor | None]) -> list[Tensor | None] | None:
        if not reads_nothing(node, operands) and not self._fits(node, operands):
            return None
        try:
            tensors = evaluate_node(node, operands)
        except CannotEvaluate as error:
            self._missed(node, str(error))
            return None
        self.held += sum(t.stored_bytes for t in tensors if t is not None)
        return tensors

    def _fits(self, node: Node, operands: list[Tensor | None]) -> bool:
        size = sum(x.length for x in operands if x is not None)
        for value in node.outputs:
            if isinstance(value.type, TensorType) and value.type.static_shape is not None:
                count = 1
                for d in value.type.static_shape:
                    count *= d
                size += value.type.dtype.nbytes(count)
        if size <= self.options.max_bytes and self.held + size <= 4 * self.options.max_bytes:
            return True
        if self.ctx.wants_remarks:
            message = f"{node.op.key} was not folded: its operands and results take {size} bytes"
            unlock = f"fold{{max_bytes={size}}}"
            self.ctx.remark("refused", Fold.name, message, node=node, unlock=unlock)
        return False

    def _missed(self, node: Node, reason: str) -> None:
        if self.ctx.wants_remarks:
            self.ctx.remark("missed", Fold.name, f"{node.op.key} was not folded: {reason}", node=node)

    # What it costs

    def weigh(self) -> None:
        """For each result the bytes of constants that are there for it alone.

        A result costs the least of its own bytes and those of what it is computed from, shared out among the
        results that read it by their size; it costs nothing where it must be there anyway.
        """
        readers: dict[object, set[object]] = {}
        for node, result in self.results.items():
            for value in node.inputs:
                if value is not None and value.const is not None and value not in readers:
                    readers[value] = self._readers(value)
            for value in node.outputs:
                readers.setdefault(result, set()).update(self._readers(value))
        shares = {source: _Share(found) for source, found in readers.items()}
        for node, result in self.results.items():
            if node is not result.node:
                continue
            for value in dict.fromkeys(node.inputs):
                if value is None:
                    continue
                if value.const is not None:
                    result.cost += shares[value].of(result, value.const.stored_bytes)
                elif value.producer in self.results:
                    source = self.results[value.producer]
                    result.cost += shares[source].of(result, min(source.size, source.cost))

    def _readers(self, value: Value) -> set[object]:
        """Results that read a value, and nodes that cannot be folded."""
        return {self.results.get(user, user) for user in value.users}

    # What is done

    def replace(self, budget: int) -> bool:
        """Walk backwards: take what is used and small enough, drop what nobody needs any more."""
        options = self.options
        large = min((self.ctx.source_bytes or 0) // 25, options.max_value, budget)
        allowance = max(options.allowance, large)
        taken = False
        growth = 0
        freed: set[Node | None] = set()  # nodes that had a user which is gone
        for node, result in reversed(self.results.items()):
            graph = node.graph
            assert graph is not None
            producers = [value.producer for value in node.inputs if value is not None]
            if not node.in_use:
                if node in freed:  # what was dead before is not fold's affair
                    graph.erase(node)
                    freed.update(producers)
                continue
            added = 0
            if result.constants is None:
                added = result.size - result.cost
            too_much = added > allowance or growth + max(added, 0) > budget
            if too_much and not self.options.grow:
                self._refuse(node, added)
                continue
            if not self.ctx.allow(Fold.name, "", node):
                continue
            growth += max(added, 0)
            with self.ctx.rewrite(Fold.name, "", [node]):
                self._take(node, result)
                graph.erase(node)
            freed.update(producers)
            taken = True
        return taken

    def _take(self, node: Node, result: _Result) -> None:
        if result.constants is None:
            result.constants = [
                Value(None) if tensor is None else constant(tensor) for tensor in result.tensors
            ]
        for value, known in zip(node.outputs, result.constants):
            if value.uses:
                self.computed |= _tells_more(value)
                users = list(value.users)
                value.replace_with(known)
                for user in users:
                    normalize_axes(user)

    def _refuse(self, node: Node, added: int) -> None:
        # Of a chain that stays only the end is worth a remark.
        if not self.ctx.wants_remarks or all(user in self.results for v in node.outputs for user in v.users):
            return
        message = f"{node.op.key} was not folded: the file would grow by {added} bytes"
        self.ctx.remark("refused", Fold.name, message, node=node, unlock="fold{grow=true}")


class _Share:
    """How the bytes of one constant or result are shared out among those that read it."""

    __slots__ = ("count", "total")

    def __init__(self, readers: set[object]) -> None:
        sizes = [reader.size for reader in readers if isinstance(reader, _Result)]
        self.total = sum(sizes)
        self.count = len(sizes) if len(sizes) == len(readers) else 0  # 0: somebody needs it in any case

    def of(self, result: _Result, size: int) -> int:
        """The part of `size` bytes that goes when `result` becomes a constant."""
        if not self.count:
            return 0
        return size * result.size // self.total if self.total else size // self.count


def _from_inference(node: Node) -> list[Tensor | None] | None:
    """The results of a node where inference knows the shape and each of the elements; None where it does not."""
    found = [_known_elements(value) for value in node.outputs]
    missing = any(tensor is None and value.uses for value, tensor in zip(node.outputs, found))
    return None if missing or not any(found) else found


def _known_elements(value: Value) -> Tensor | None:
    content, type = value.content, value.type
    if content is None or not isinstance(type, TensorType):
        return None
    shape = type.static_shape
    ints = [d for d in content if isinstance(d, int)]
    if shape is None or len(ints) != len(content) or not (type.dtype.is_int or type.dtype is BOOL):
        return None
    low, high = (0, 1) if type.dtype is BOOL else _range(type.dtype)
    if not all(low <= d <= high for d in ints):
        return None
    flat = Tensor.of(ints, type.dtype)
    return Tensor.from_array(flat.array().reshape(shape), type.dtype)


def _range(dtype: DType) -> tuple[int, int]:
    return (-1 << dtype.bits - 1, (1 << dtype.bits - 1) - 1) if dtype.kind == "i" else (0, (1 << dtype.bits) - 1)


def _tells_more(value: Value) -> bool:
    """True if inference knows more about the users of a value once it is a constant."""
    type = value.type
    if not isinstance(type, TensorType) or not type.is_static:
        return True
    return value.content is None and not type.dtype.is_float


def _contradiction(node: Node, tensors: list[Tensor | None]) -> str | None:
    """Why computed results cannot be the outputs of a node; None if they can."""
    for value, tensor in zip(node.outputs, tensors):
        if tensor is None:
            if value.uses:
                return "a result is missing"
            continue
        type = value.type
        if not isinstance(type, TensorType):
            continue
        fits = type.dtype is tensor.dtype
        if type.shape is not None:
            fits = fits and len(type.shape) == len(tensor.shape)
            fits = fits and all(not isinstance(d, int) or d == e for d, e in zip(type.shape, tensor.shape))
        if not fits:
            return f"it gives {tensor.type}, the model says {type}"
    return None
