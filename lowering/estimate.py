"""What a model takes on a target, by the roofline of its peak numbers: an estimate, never a measurement.

    estimate = estimate_model(model, get_target("a100"))
    estimate.seconds, estimate.peak_bytes

The time of a node is launch + max(flops / rate, bytes / bandwidth), the roofline of Williams, Waterman and Patterson
(CACM 52(4), 2009). Matrix products, convolutions and attention run at the rate of their element type (fp32 at that of
tf32 where a GPU has it, as TensorRT does by default), everything else at the rate of fp32. Nodes follow each other; a
branch counts as the longer one, a loop's body once. Nothing is assumed of fusion or caches beyond what an operator
itself says, so memory-bound graphs come out slower than a runtime that fuses runs them; but for quantization, where the
runtime says that it fuses that (`Integers.fused`): codes are written by what makes the floats, and read by what reads
them; what is not fused after all counts as a share of a launch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..ir.core import Graph, Model, Node, Value
from ..ir.errors import UsageError
from ..ir.ops.cost import CostModel, Machine
from ..ir.ops.cost_table import ALIASES, MATRIX_UNITS
from ..ir.types import BF16, F4E2M1, F16, F32, I8, U8, DType, Type, tensor_type
from ..passes.quantize.kernels import FUSED
from .targets import Target

_RATES: dict[DType, tuple[str, ...]] = {
    F32: ("tf32", "fp32"), F16: ("fp16",), BF16: ("bf16",), I8: ("int8",), U8: ("int8",),
    F4E2M1: ("fp4",),
}  # fmt: skip
_BACK = ("DequantizeLinear", "TRT_MXFP8DequantizeLinear")
_MILLION = 1e6
_HOUR = 3600.0


@dataclass(frozen=True)
class NodeEstimate:
    """One node: seconds, operations, bytes moved, and which of ``compute``, ``memory`` and ``launch`` takes longest."""

    node: Node
    seconds: float
    flops: float
    bytes: int
    bound: str


@dataclass
class Estimate:
    """A whole model. `unknown` are the nodes of which a size is not known; they are in no sum."""

    target: Target
    seconds: float = 0.0
    flops: float = 0.0
    bytes: int = 0
    weight_bytes: int = 0
    peak_bytes: int = 0
    nodes: list[NodeEstimate] = field(default_factory=list)
    unknown: list[Node] = field(default_factory=list)

    @property
    def cost_per_million(self) -> float | None:
        """The price of a million runs, one after another, in the unit of the target's price; None without a price."""
        price = self.target.hardware.price
        return None if price is None else price * self.seconds * _MILLION / _HOUR

    @property
    def fits(self) -> bool | None:
        """True if weights and live intermediate results fit into the memory; None where that is not known."""
        memory = self.target.hardware.memory
        return None if memory is None else self.peak_bytes <= memory


class _Fused:
    """What becomes of Q and DQ where a runtime makes them parts of other kernels.

    `types`: of values that are codes where they are written and read. `free`: nodes that nothing is left of, and what
    their results are: DQ, and factors right in front of a Q. `quantizing`: what writes codes; True for those beside the
    floats, which others read.
    """

    def __init__(self, model: Model | None) -> None:
        self.types: dict[Value, Type | None] = {}
        self.free: dict[Node, Value] = {}
        self.quantizing: dict[Node, bool] = {}
        for node in () if model is None else model.walk():
            source = node.input(0)
            if source is None or node.op.name not in ("QuantizeLinear", *_BACK):
                continue
            if node.op.name in _BACK and source.dtype is not None and not _is_result(node.output):
                self.free[node] = source
                self.types[node.output] = tensor_type(source.dtype, node.output.shape)
            elif node.op.name == "QuantizeLinear" and source.producer is not None and node.output.dtype is not None:
                source = self._before_factors(source)
                self.quantizing[node] = source.sole_use is None or source.producer is None
                if not self.quantizing[node]:
                    self.types[source] = tensor_type(node.output.dtype, source.shape)

    def _before_factors(self, value: Value) -> Value:
        """What a value is behind products with constants that nothing else reads."""
        while value.producer is not None and value.producer.op.key == "Mul" and value.sole_use is not None:
            varying = [operand for operand in value.producer.inputs if operand is not None and operand.const is None]
            if len(varying) != 1 or varying[0].shape != value.shape:
                break
            self.free[value.producer] = varying[0]
            value = varying[0]
        return value


def _is_result(value: Value) -> bool:
    return any(user.graph is not None and user is user.graph.ret for user in value.users)


def estimate_model(model: Model, target: Target) -> Estimate:
    """The estimate for a model as it stands. Raises UsageError for a target without peak numbers."""
    hardware = target.hardware
    if "fp32" not in hardware.rates or hardware.bandwidth is None:
        raise UsageError(f"target {target.name} has no peak rates to estimate with; `geoc targets NAME` shows who has")
    vector = Machine(hardware.rates["fp32"], hardware.bandwidth, hardware.launch)
    sizes = CostModel(vector)
    result = Estimate(target)
    fused = _Fused(model if target.integers.fused else None)
    inner: dict[Graph, tuple[float, int]] = {}  # seconds and peak bytes of the graphs done so far
    for graph in reversed(list(model.graph.graphs())):
        inner[graph] = _time(graph, sizes, result, inner, fused), _peak(graph, sizes, inner, fused)
    constants = {
        value: value.const.length
        for graph in model.graph.graphs()
        for node in [*graph, graph.ret]
        for value in node.inputs
        if value is not None and value.const is not None
    }
    result.weight_bytes = sum(constants.values())
    seconds, peak = inner[model.graph]
    result.seconds = seconds
    result.peak_bytes = peak + result.weight_bytes
    result.nodes.reverse()
    result.unknown.reverse()
    return result


def _time(
    graph: Graph, sizes: CostModel, result: Estimate, inner: dict[Graph, tuple[float, int]], fused: _Fused
) -> float:
    """Seconds of one run of a graph; its nodes are added to the result, the last first."""
    total = 0.0
    hardware = result.target.hardware
    for node in graph.reversed():
        if node.regions:
            each = [inner[region][0] for region in node.regions.values()]
            total += max(each) if node.op.key == "If" else sum(each)
            continue
        flops, moved = sizes.flops(node), sizes.bytes(node, fused.types)
        if node in fused.quantizing:
            moved = sizes.bytes_of(node.output) if fused.quantizing[node] else 0
        if flops is None or moved is None or node.op.is_opaque:
            result.unknown.append(node)
            continue
        if node.op.base_key in ALIASES or node in fused.free:
            continue
        launch = FUSED * hardware.launch if node in fused.quantizing else hardware.launch
        compute = flops / hardware.rates[_rate_of(node, hardware.rates)]
        memory = moved / (hardware.bandwidth or 1.0)
        seconds = launch + max(compute, memory)
        longest = max((launch, "launch"), (memory, "memory"), (compute, "compute"))
        result.nodes.append(NodeEstimate(node, seconds, flops, moved, longest[1]))
        result.flops += flops
        result.bytes += moved
        total += seconds
    return total


def _rate_of(node: Node, rates: dict[str, float]) -> str:
    """The precision whose rate a node runs at."""
    if node.op.base_key in MATRIX_UNITS:
        for dtype in _multiplied(node):
            for name in _RATES.get(dtype, ("fp8",) if dtype.is_float and dtype.bits == 8 else ()):
                if name in rates:
                    return name
    return "fp32"


def _multiplied(node: Node) -> list[DType]:
    """The type of what a product multiplies; first, where both operands were dequantized, what they were before."""
    first = node.input(0)
    stored = [_stored(value) for value in node.inputs[:2]]
    found = [stored[0] if len(stored) == 2 and stored[0] is stored[1] else None, None if first is None else first.dtype]
    return [dtype for dtype in found if dtype is not None]


def _stored(value: Value | None) -> DType | None:
    """The type of the codes that a value comes back of, moved or cast since perhaps; None where it was none."""
    while value is not None and value.producer is not None:
        maker, value = value.producer, value.producer.input(0)
        if maker.op.name in _BACK:
            return None if value is None else value.dtype
        if maker.op.name not in ("Cast", "Transpose", "Reshape"):
            return None
    return None


def _peak(graph: Graph, sizes: CostModel, inner: dict[Graph, tuple[float, int]], fused: _Fused) -> int:
    """The most bytes that a graph's inputs and intermediate results take at once.

    Inputs stay as long as the graph runs, a result until its last use. A view shares the memory of what it looks at;
    regions take theirs while their node runs. A size that nobody knows counts as nothing.
    """
    place = {node: index for index, node in enumerate(graph)}
    owners: dict[Value, Value] = {}  # the value whose memory each one is in
    last: dict[Value, int] = {}  # by owner
    for node, index in place.items():
        is_view = node.op.base_key in ALIASES or fused.quantizing.get(node) is False
        source = fused.free.get(node, node.input(0) if is_view else None)
        for value in node.outputs:
            owner = owners[value] = value if source is None else owners.get(source, source)
            last[owner] = max(last.get(owner, index), _last_use(value, graph, place))
    freed: dict[int, int] = {}  # bytes after each node
    for owner, index in last.items():
        if owners.get(owner) is owner:  # neither an input nor a constant
            freed[index] = freed.get(index, 0) + (sizes.bytes_of(owner, fused.types) or 0)
    live = peak = sum(sizes.bytes_of(value) or 0 for value in graph.inputs)
    for node, index in place.items():
        live += sum(sizes.bytes_of(value, fused.types) or 0 for value in node.outputs if owners[value] is value)
        peak = max(peak, live + max((inner[region][1] for region in node.regions.values()), default=0))
        live -= freed.get(index, 0)
    return peak


def _last_use(value: Value, graph: Graph, place: dict[Node, int]) -> int:
    """The place of the last node that uses a value, or holds a region that does; behind all for an output."""
    found = 0
    for user in value.users:
        while user.graph is not graph:
            assert user.graph is not None and user.graph.parent is not None
            user = user.graph.parent
        found = max(found, len(place) if user is graph.ret else place[user])
    return found
