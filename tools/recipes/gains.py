"""What a form would gain, before it is made: a guess by the sizes of layers, which says in which order to try forms.

    costs = costs_of(floats, target, sizes)
    guess = guess_of(form.attempt.precision, form.left, costs)
    guess.bytes, guess.seconds

Weights of products take as many bits as the precision says, and as much of them as passes leave. Time is that of a
roofline of what is left, less what 8-bit integers save of each layer (`passes.quantize.speed`). Of a runtime's kernels
it knows nothing.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, NamedTuple

from ...ir.core import Model, Node
from ...ir.ops.cost import CostModel, Machine
from ...passes.quantize.speed import IntegerSpeed
from ..precision import SMALL

if TYPE_CHECKING:
    from ...lowering.targets import Target

# Of a weight, with its share of scales.
_BITS = {"w8a8": 8.0, "w8a16": 8.5, "w4a16": 4.5, "fp8": 8.0, "fp16": 16.0, "bf16": 16.0}
_LAYERS = ("MatMul", "Gemm", "Conv")


class Guess(NamedTuple):
    """Bytes of the weights, and seconds of a run."""

    bytes: float
    seconds: float


class Cost(NamedTuple):
    """What a node costs in floats: `seconds`, of which 8-bit integers save `gain`, and `bytes` of weights.

    `kind`: "layer" for a product with a constant matrix, "table" for rows that are looked up, else "". `place` names it
    as lists of what stays do: its first source location, or its operator.
    """

    kind: str
    place: str
    seconds: float
    gain: float
    bytes: float


def costs_of(floats: Model, target: Target, sizes: dict[str, int]) -> list[Cost]:
    """What the nodes of a model cost, which is given as it is in floats; `sizes` of symbolic dimensions."""
    speed = IntegerSpeed(target.integers, target.hardware, sizes=sizes)
    cost = target.cost_model or CostModel(Machine(1e11, speed.bandwidth, speed.launch))
    found = []
    seen: set[object] = set()
    for node in floats.walk():
        time = cost.seconds(node) or 0.0
        constants = [v for v in node.inputs if v is not None and v.const is not None and v not in seen]
        seen.update(constants)
        own = 1.0 * sum(v.const.length for v in constants if v.const is not None)
        kind = "layer" if _is_layer(node) else "table" if node.op.key == "Gather" else ""
        gain = speed.gain(node) if kind == "layer" else 0.0
        found.append(Cost(kind, node.loc[0] if node.loc else node.op.name, time, gain, own))
    return found


def guess_of(precision: str, left: float, costs: Iterable[Cost], keep: Container[str] = ()) -> Guess:
    """Of a model in a precision, with a share of its layers `left`; `keep`: places that stay in floats."""
    precision = precision.removesuffix("kv8")
    bits = _BITS.get(precision, 32.0)
    weights = seconds = 0.0
    for cost in costs:
        time, own = cost.seconds, cost.bytes
        lowered = cost.place not in keep
        if cost.kind == "layer":
            if lowered and precision in SMALL:
                time -= max(0.0, min(cost.gain, 0.9 * time))
            time *= left
            own *= left
        if cost.kind and lowered:
            own *= bits / 32.0
        seconds += time
        weights += own
    return Guess(weights, seconds)


def _is_layer(node: Node) -> bool:
    weight = node.input(1)
    return node.op.key in _LAYERS and weight is not None and weight.const is not None
