"""Which nodes must stay in single precision, and why.

fp16 has 11 bits of precision, a largest number of 65504 and a smallest normal one of 2^-14 (IEEE 754-2019, binary16);
bf16 has the range of single precision and 8 bits. So in fp16 a node stays where a number is, or may become, too large
or vanishes, and in both where 8 to 11 bits are too few: angles, positions, what becomes an index.
"""

from __future__ import annotations

import numpy as np

from ...ir.core import Graph, Model, Node, Value
from ...ir.ops.cost_table import MATRIX_UNITS
from ...ir.tensor import Tensor
from ...ir.types import F16, DType
from .network import is_single
from .ranges import Range, Ranges

LARGEST = 65504.0  # of fp16
SMALLEST = 2.0**-14
VANISHES = 2.0**-20  # of a constant: four bits are left of it, and of 2^-25 nothing
LIMIT = 512.0  # what a value may reach on calibration inputs: 128 times below the largest number
# A value that gets so many times as large on inputs scaled up was seen far above what it usually reaches, and what it
# reaches there counts instead. One that does not may still be larger for other inputs.
GROWS = 2.0
# Logits this large are wrong by 4 % in fp16: a unit in the last place of 128 is 2^-3, and 0.29 of one the mean error.
LOGITS = 128.0
# What hides a logit in fp16. Numbers of this size are 32 apart, so that a score of up to 16 that is added changes
# nothing: a row that is hidden as a whole gives the mean of the values, as in single precision. Two of them overflow.
HIDING, HIDING_TWICE = -49152.0, -24576.0
_HIDES = 1e4  # how far below zero a mask says "not at all"
ANGLE = 8.0  # of Sin and Cos: half a unit in the last place is 2^-8 radians there

_EXACT = frozenset(("Range", "CumSum", "Mod", "TopK", "NonMaxSuppression", "NonZero", "Unique"))
_SATURATE = frozenset(("Sigmoid", "HardSigmoid", "Tanh", "Erf"))  # of infinity as of any large number
# Kernels add up in single precision (TensorRT's, cuDNN's, onnxruntime's), so a mean is no larger than what it is of.
# A sum is: it grows with the number of elements, of which there may be more than on calibration inputs.
_SUMS = frozenset(("ReduceSum", "ReduceL1", "ReduceLogSum", "ReduceLogSumExp"))
_SUMS_OF_SQUARES = frozenset(("ReduceSumSquare", "ReduceL2"))
_ROUNDS = frozenset(("Floor", "Ceil", "Round"))
# What only moves or joins masks on their way to a softmax. Of a sum, either side may be the mask.
_CARRIES = frozenset((
    "Add", "Sub", "Mul", "Where", "Expand", "Reshape", "Unsqueeze", "Squeeze", "Transpose", "Slice", "Concat", "Tile",
    "Identity", "Min", "Max", "Cast", "Gather", "Split", "Trilu", "Pad", "ScatterND",
))  # fmt: skip
# What may stand between the product that makes logits or angles and the node that reads them: in fp16 each of these
# would round what the reader needs all digits of.
_KEEPS = frozenset((
    "Mul", "Div", "Neg", "Expand", "Reshape", "Unsqueeze", "Squeeze", "Transpose", "Slice", "Tile", "Identity",
    "Gather", "Split", "Pad",
))  # fmt: skip
_ADDS = frozenset(("Add", "Sub", "Sum", "Where", "Min", "Max", "Clip", "Concat"))
_SCALES = frozenset(("QuantizeLinear", "DequantizeLinear"))
_SCALARS_VANISH_IN = frozenset(("Add", "Sub", "Div", "Max", "Clip", "Pow", "Mul", "Reciprocal"))


class Islands:
    """What keeps single nodes of a model in single precision, when the others change to `half`."""

    def __init__(self, model: Model, half: DType, ranges: Ranges | None, limit: float = LIMIT) -> None:
        """`ranges` None: nothing was run, and only what the graph itself shows is known."""
        self.half = half
        self.ranges = ranges
        self.limit = limit
        self.hidden = _hidden(model) if half is F16 else frozenset()
        self.hiding = HIDING_TWICE if self._adds_masks() else HIDING
        self._exact = self._makers(model)

    def _adds_masks(self) -> bool:
        """True if two masks may be added to each other, so that what each hides with is added as well."""
        adds = {v.producer for v in self.hidden if v.producer is not None and v.producer.op.key == "Add"}
        return any(all(v is not None and self._may_hide(v) for v in node.inputs) for node in adds)

    def _may_hide(self, value: Value) -> bool:
        if value.const is not None:
            return _extent(value.const)[0] > _HIDES
        reach = self._range(value)
        return value in self.hidden if reach is None else reach.low < -_HIDES

    def _makers(self, model: Model) -> dict[Node, str]:
        """Nodes that make large angles or logits, or read such angles, and why they stay."""
        found: dict[Node, str] = {}
        for node in model.walk():
            if node.op.name in ("Sin", "Cos"):
                makers = self._made_by(node, ANGLE)
                reach = self._range(node.inputs[0])
                if reach is None or reach.magnitude > ANGLE or any(map(_counts, makers)):
                    found |= dict.fromkeys([node, *makers], "angles lose their turn")
            elif self.half is F16 and self._logits(node):
                found |= dict.fromkeys(self._made_by(node, LOGITS), f"makes {self._logits(node)}")
        return found

    def _made_by(self, reader: Node, large: float) -> list[Node]:
        """What makes the operand of a node, back to products and whole numbers; of sums what gets as large as that."""
        found: dict[Node, None] = {}
        stack = [reader.inputs[0]]
        while stack:
            value = stack.pop()
            node = None if value is None else value.producer
            if node is None or node in found or node.regions:
                continue
            found[node] = None
            for operand in node.inputs:
                if operand is None or not is_single(operand):
                    continue
                reach = self._range(operand)
                is_large = reach is None or reach.high > large or (reach.low < -large and not self._may_hide(operand))
                is_count = operand.producer is not None and _counts(operand.producer)
                if is_count or node.op.name in _KEEPS or (node.op.name in _ADDS and is_large):
                    stack.append(operand)
        return list(found)

    def reason(self, node: Node) -> str:
        """Why a node stays, "" where it need not."""
        found = self._exact.get(node, "") or self._too_coarse(node)
        return found or (self._out_of_range(node) if self.half is F16 else "")

    def reason_of(self, value: Value) -> str:
        """Why a value that a node with regions hands on stays, "" where it need not."""
        return self._value(value) if self.half is F16 else ""

    def _too_coarse(self, node: Node) -> str:
        name = node.op.name
        if name in _EXACT or (name == "OneHot" and _is_float(node.input(0))):
            return "positions and choices are exact"
        if name in _ROUNDS:
            return "rounding decides by the last bit"
        if _counts(node):
            reach = self._range(node.output)
            is_mask = self.ranges is None and node.output in self.hidden  # 0 and 1, as far as anybody can tell
            if not is_mask and (reach is None or reach.magnitude > 2.0 ** _bits(self.half)):
                return "whole numbers beyond its precision"
        return ""

    def _out_of_range(self, node: Node) -> str:
        for value in (*node.inputs, *node.outputs):
            if value is None:
                continue
            if value.const is not None:
                found = self._constant(node, value, value.const)
            elif is_single(value):
                found = self._value(value) or self._behind(node, value)
            else:
                continue
            if found:
                return found
        return self._sum(node) or self._logits(node)

    def _constant(self, node: Node, value: Value, tensor: Tensor) -> str:
        if not tensor.dtype.is_float:
            return ""
        largest, smallest = _extent(tensor)
        if largest > LARGEST and value not in self.hidden:
            return f"a constant of {largest:.3g}"
        if 0 < smallest < SMALLEST and node.op.name in _SCALES and value is node.input(1):
            return f"a scale of {smallest:.3g}"
        if tensor.size == 1 and 0 < smallest < VANISHES and node.op.name in _SCALARS_VANISH_IN:
            return f"a constant of {smallest:.3g} would vanish"
        return ""

    def _behind(self, node: Node, value: Value) -> str:
        """A product stays with the integers that it reads: a cast between them would make it a product of floats."""
        maker = value.producer
        if maker is None or maker.op.name != "DequantizeLinear" or node.op.base_key not in MATRIX_UNITS:
            return ""
        return self.scale_reason(maker)

    def scale_reason(self, node: Node) -> str:
        """Why the scale of a node that quantizes or dequantizes stays in single precision, "" where it need not."""
        scale = node.inputs[1]
        if self.half is not F16 or scale is None or scale.const is None:
            return ""
        return self._constant(node, scale, scale.const)

    def _value(self, value: Value) -> str:
        if self.ranges is None:
            return ""
        reach = self.ranges.get(value)
        if reach is None:
            return "it never ran on the inputs"
        if value in self.hidden:
            return f"values up to {reach.high:.3g}" if reach.high > self.limit else ""
        if reach.magnitude > self.limit and reach.far < GROWS * reach.magnitude:
            return f"values up to {reach.magnitude:.3g}"
        if 0 < reach.magnitude < SMALLEST:
            return f"values of at most {reach.magnitude:.3g} would vanish"
        if reach.far > LARGEST / 2 and not _only_saturates(value):
            return f"values up to {reach.far:.3g} on inputs scaled up"
        return ""

    def _sum(self, node: Node) -> str:
        """Sums of more numbers than were seen, and squares inside."""
        name = node.op.name
        source = node.input(0)
        squares = name in _SUMS_OF_SQUARES
        if not (squares or name in _SUMS) or source is None:
            return ""
        reach, count = self._range(source), _folded(node)
        if reach is None or count is None:
            return "a sum of unknown size"
        most = count * (reach.far**2 if squares else reach.far)
        return f"a sum that may reach {most:.3g}" if most > LARGEST else ""

    def _logits(self, node: Node) -> str:
        if node.op.name not in ("Softmax", "LogSoftmax") or self.half is not F16:
            return ""
        reach = self._range(node.inputs[0])
        return f"logits up to {reach.high:.3g}" if reach is not None and reach.high > LOGITS else ""

    def _range(self, value: Value | None) -> Range | None:
        return None if value is None or self.ranges is None else self.ranges.get(value)


def _is_float(value: Value | None) -> bool:
    return value is not None and value.dtype is not None and value.dtype.is_float


def _only_saturates(value: Value) -> bool:
    """True if a value may become infinite without harm."""
    return bool(value.uses) and all(user.op.key in _SATURATE for user, _ in value.uses)


def _counts(node: Node) -> bool:
    """True for a Cast of whole numbers: positions, masks, identifiers."""
    source = node.inputs[0] if node.op.key == "Cast" else None
    return source is not None and source.dtype is not None and source.dtype.is_int


def _bits(half: DType) -> int:
    """Bits of precision, the leading one included: whole numbers are exact up to 2 to this power."""
    return 11 if half is F16 else 8


def _extent(tensor: Tensor) -> tuple[float, float]:
    """The largest magnitude, and the smallest other than 0 (0 if there is none)."""
    largest, smallest = 0.0, np.inf
    for piece in [np.asarray(tensor.splat).reshape(-1)] if tensor.splat is not None else tensor.pieces():
        array = np.abs(np.asarray(piece, np.float32))
        largest = max(largest, float(array.max(initial=0.0)))
        smallest = min(smallest, float(array.min(initial=np.inf, where=array > 0)))
    return largest, 0.0 if smallest == np.inf else smallest


def _folded(node: Node) -> int | None:
    """How many elements a reduction adds up for each of its results; None where that is unknown."""
    source, result = node.inputs[0], node.output
    if source is None or source.shape is None or result.shape is None:
        return None
    operand = node.input(1)
    given = node.attr("axes") if operand is None else None if operand.const is None else operand.const.ints()
    if operand is not None and operand.const is None:
        return None
    count = 1
    for axis in given if given else range(len(source.shape)):
        size = source.shape[axis]
        if not isinstance(size, int):
            return None
        count *= size
    return count


def _hidden(model: Model) -> frozenset[Value]:
    """Values that end in a softmax as what is added to its logits: however far below zero, they mean "not at all"."""
    found: set[Value] = set()
    stack: list[Value] = []
    for graph in model.graph.graphs():
        for node in graph:
            if node.op.key in ("Softmax", "LogSoftmax"):
                stack.append(_operand(node, 0))
            elif node.op.key == "Attention" and node.input(3) is not None:
                stack.append(_operand(node, 3))
    while stack:
        value = stack.pop()
        if value in found:
            continue
        found.add(value)
        producer = value.producer
        if producer is not None and producer.op.name in _CARRIES:
            stack += [v for v in producer.inputs if v is not None]
        elif producer is None and value.graph is not None:
            stack += _outside(value, value.graph)
    return frozenset(found)


def _operand(node: Node, index: int) -> Value:
    value = node.inputs[index]
    assert value is not None
    return value


def _outside(value: Value, graph: Graph) -> list[Value]:
    """What a loop's body gets as its input `value`; [] for inputs of the model."""
    node = graph.parent
    if node is None or node.op.key not in ("Loop", "Scan"):
        return []
    found = node.input(value.index)
    return [] if found is None else [found]
