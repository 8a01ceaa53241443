"""The choice of places that compute in half precision, and what it depends on."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...ir.core import Node, Value
from ...ir.types import DType
from .islands import Islands
from .network import Flow, Network, Place, halved
from .speed import HalfSpeed

# Operators whose results are numbers that they read: nothing is rounded a second time.
_MOVES = frozenset((
    "Relu", "MaxPool", "GlobalMaxPool", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Concat",
    "Split", "Gather", "Expand", "Tile", "Identity", "DepthToSpace", "SpaceToDepth", "Neg", "Abs",
))  # fmt: skip


def rounds(value: Value) -> bool:
    """True if the value is rounded where it is made in half precision of operands that are."""
    maker = value.producer
    if maker is None:
        return value.graph is not None and value.graph.parent is None
    return not maker.regions and maker.op.name not in _MOVES


def is_rounded(flow: Flow, places: set[Place]) -> bool:
    """True if the value is rounded anew with these places in half precision: where it is made, or on its way."""
    if flow.maker in places:
        return rounds(flow.value)
    return any(reader in places for reader in flow.readers)


@dataclass
class Harm:
    """What rounding does to a model: the square of the relative L2 error that each rounding alone makes of an output.

    Rounding errors are independent as far as anybody can tell, so that their squares add up.
    """

    values: dict[Value, float] = field(default_factory=dict)  # of rounding a value
    weights: dict[Node, float] = field(default_factory=dict)  # of rounding the constants that a node reads

    def of(self, network: Network, places: set[Place]) -> float:
        """The square of the error with these places in half precision."""
        total = sum(error for node, error in self.weights.items() if node in places)
        return total + sum(self.values.get(flow.value, 0.0) for flow in network.flows if is_rounded(flow, places))

    def of_node(self, node: Node) -> float:
        """The square of the error that the node makes where it is in half precision."""
        made = sum(self.values.get(value, 0.0) for value in node.outputs if rounds(value))
        return self.weights.get(node, 0.0) + made


@dataclass
class Placement:
    """All that the choice depends on. `stays`: the places that must stay in single precision, and why."""

    half: DType
    opset: int
    network: Network
    islands: Islands
    stays: dict[Place, str]
    speed: HalfSpeed

    def halved(self, harm: Harm | None = None, price: float = 0.0) -> set[Place]:
        """The places in half precision; `price`: seconds that a squared error of 1 by `harm` counts as."""
        harm = harm or Harm()
        overhead = self.speed.overhead(node for node in self.network.nodes if node not in self.stays)

        def gain(node: Node) -> float:
            return self.speed.gain(node) - price * harm.of_node(node)

        def rounding(value: Value) -> float:
            return price * harm.values.get(value, 0.0)

        return halved(self.network, self.stays, gain, self.speed.cast, overhead, rounding)
