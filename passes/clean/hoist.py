"""hoist: what does not change between trips is computed before the loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...ir.core import Graph, Model, Node, Value
from ...ir.dims import product
from ...ir.types import TensorType
from ..base import Context, Pass
from .purity import is_deterministic


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Elementwise with broadcasting, defined for all operands; integer division is not.
_BROADCAST = _names(
    "Add Sub Mul Div Pow Min Max Sum Mean And Or Xor Equal Less LessOrEqual Greater GreaterOrEqual Where"
    " BitwiseAnd BitwiseOr BitwiseXor"
)
# Of one tensor, defined for all operands of the right type.
_TOTAL = _names(
    "Abs Acos Asin Atan Cast CastLike Ceil Clip Cos Cosh Elu Erf Exp Flatten Floor Gelu HardSigmoid HardSwish"
    " Identity IsInf IsNaN LeakyRelu Log LogSoftmax Neg Not Reciprocal Relu Round Selu Shape Sigmoid Sign Sin Sinh"
    " Size Softmax Softplus Softsign Sqrt Tan Tanh Transpose Trilu NonZero Mish BitwiseNot"
)


@dataclass(frozen=True)
class Hoist(Pass):
    """Nodes in the body of a Loop or Scan whose operands come from outside move in front of it.

    A loop may run zero times, and then a node in its body never runs: only operators that cannot fail are moved
    (elementwise ones whose shapes are proven to broadcast, MatMul with proven shapes, Transpose, Cast, Shape,
    Unsqueeze and the like; no integer division, Gather or Reshape), unless the loop is known to run. Inner loops
    come first, so that a node can leave several. Nodes inside a branch of an If stay there.
    """

    name: ClassVar[str] = "hoist"

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any node was moved."""
        changed = False
        for body in reversed(model.graphs()):
            loop = body.parent
            if loop is None or loop.op.name not in ("Loop", "Scan") or loop.op.domain:
                continue
            runs = _surely_runs(loop)
            for node in body:
                if not _is_invariant(node, body):
                    continue
                if (runs or _cannot_fail(node)) and ctx.allow(self.name, "", node):
                    _move(node, loop, self.name, ctx)
                    changed = True
        return changed


def _surely_runs(loop: Node) -> bool:
    """True if the body is known to run at least once."""
    if loop.op.key == "Loop":
        trips, condition = loop.input(0), loop.input(1)
        starts = condition is None or (condition.const is not None and bool(condition.const.item()))
        return starts and (trips is None or (trips.const is not None and int(trips.const.item()) > 0))
    if loop.op.key != "Scan":
        return False
    scanned, axes = loop.inputs[-1], loop.attr("scan_input_axes")
    shape = None if scanned is None else scanned.shape
    if not shape:
        return False
    length = shape[axes[-1] if axes else 0]
    return isinstance(length, int) and length > 0


def _move(node: Node, loop: Node, name: str, ctx: Context) -> None:
    assert loop.graph is not None
    created: list[Node] = []
    with ctx.rewrite(name, "", [node], created):
        loop.graph.move(node, loop)
        created.append(node)


def _is_invariant(node: Node, body: Graph) -> bool:
    # Of the graphs that this node sees, only the body itself changes from trip to trip.
    if node.regions or not is_deterministic(node):
        return False
    return all(value is None or value.scope is not body for value in node.inputs)


def _cannot_fail(node: Node) -> bool:
    if node.op.domain:
        return False
    name = node.op.name
    if name == "Div" and not _is_float(node.inputs[0]):
        return False
    if name == "Pow" and not _is_float(node.inputs[0]):
        return False
    if name in _BROADCAST:
        return _broadcasts([v.shape if v is not None else None for v in node.inputs])
    if name in _TOTAL:
        return True
    if name == "MatMul":
        return _multiplies(node)
    if name == "Concat":
        return _concatenates(node)
    if name == "Unsqueeze":
        # Which axes fit depends on the rank alone.
        return node.output.rank is not None and node.inputs[1] is not None and node.inputs[1].const is not None
    if name == "Reshape":
        return _reshapes(node)
    return False


def _is_float(value: Value | None) -> bool:
    return value is not None and isinstance(value.type, TensorType) and value.type.dtype.is_float


def _broadcasts(shapes: list[tuple[object, ...] | None]) -> bool:
    """True if shapes are proven to broadcast: aligned dimensions are equal or one."""
    if any(shape is None for shape in shapes):
        return False
    known = [shape for shape in shapes if shape is not None]
    rank = max(map(len, known), default=0)
    for axis in range(1, rank + 1):
        others = {_dim_key(shape[-axis]) for shape in known if len(shape) >= axis}
        if len(others - {1}) > 1:
            return False
    return True


def _dim_key(dim: object) -> object:
    return dim if isinstance(dim, int) else id(dim)  # equal dimensions are one object


def _multiplies(node: Node) -> bool:
    a, b = (None if v is None else v.shape for v in node.inputs[:2])
    if not a or not b:
        return False
    inner = b[-2] if len(b) > 1 else b[0]
    if _dim_key(a[-1]) != _dim_key(inner):
        return False
    return _broadcasts([a[:-2], b[:-2]])


def _concatenates(node: Node) -> bool:
    axis = node.attrs.get("axis")
    shapes = [v.shape for v in node.inputs if v is not None]
    first = shapes[0]
    if first is None or not isinstance(axis, int):
        return False
    axis = axis + len(first) if axis < 0 else axis
    for shape in shapes:
        if shape is None or len(shape) != len(first):
            return False
        if any(i != axis and _dim_key(d) != _dim_key(e) for i, (d, e) in enumerate(zip(shape, first))):
            return False
    return True


def _reshapes(node: Node) -> bool:
    x, target = node.inputs[0], node.inputs[1]
    if x is None or target is None or target.const is None or x.shape is None:
        return False
    shape = node.output.shape
    if shape is None:
        return False
    count, wanted = product(x.shape), product(shape)
    return isinstance(count, int) and count == wanted and 0 not in target.const.ints()
