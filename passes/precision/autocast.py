"""autocast: half precision where it is safe and faster, with as few casts as that takes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from ...ir.core import Model, Node
from ...ir.errors import UsageError
from ...ir.types import BF16, F16, DType
from ..base import Context, Pass, place_of
from .casts import Rewriter
from .islands import LIMIT, Islands
from .network import FIXED, HALF, Network, Place
from .placement import Placement
from .slots import half_operands, half_results
from .speed import HalfSpeed

_TYPES = {"fp16": F16, "bf16": BF16}
_NEWEST = 1 << 30


@dataclass(frozen=True)
class Autocast(Pass):
    """Nodes compute in half precision (``to`` = fp16 or bf16) where that is safe and saves time, with casts between.

    Safe: no number that was seen on the inputs exceeds ``limit`` in fp16 (unless it grows with them), none comes near
    its largest on inputs scaled up a hundred times, no sum overflows, no constant vanishes, large logits and angles are
    made in single precision; positions, indices and rounding stay exact. Without inputs to run, constants and operators
    alone decide. Of all ways to place casts the one that takes the least time by the target's peak numbers is chosen,
    by a minimum cut; inputs and outputs of the model keep their types, weights are converted in the file, masks of -1e9
    and the like are clamped. Nodes inside If, Loop and Scan take part. Where a pass `interface` comes behind,
    ``interface`` says what it declares inputs and outputs as, and the choice is made for that.
    """

    name: ClassVar[str] = "autocast"
    lossy: ClassVar[bool] = True
    to: str = "fp16"
    limit: float = LIMIT
    interface: str = "fp32"

    @property
    def half(self) -> DType | None:
        """The type that `to` names; None where there is no such."""
        return _TYPES.get(self.to)

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any node changed. Raises UsageError for another type."""
        placement = self.placement(model, ctx)
        if placement is None:
            return False
        places = placement.halved()
        network, half, opset = placement.network, placement.half, placement.opset
        changes = [node for node in network.nodes if node in places and _has_half_slots(node, half, opset)]
        _remark(self.name, ctx, placement, places)
        if not changes:
            return False
        created: list[Node] = []
        with ctx.rewrite(self.name, "", changes, created):
            Rewriter(half, opset, places, placement.islands, created).run(model)
        return True

    def placement(self, model: Model, ctx: Context) -> Placement | None:
        """What the choice depends on; None for a model without anything in single precision.

        Raises UsageError for another type.
        """
        half = self.half
        if half is None:
            raise UsageError(f"autocast goes to {' or '.join(_TYPES)}, not {self.to!r}", source="--passes")
        opset = getattr(ctx.capabilities, "max_opset", None) or _NEWEST
        # What is declared as the other half type is cast on its way to either.
        network = Network.of(model, half.type_str, opset, HALF if self.interface == self.to else FIXED)
        if not network.nodes:
            return None
        islands = Islands(model, half, None if ctx.measure is None else ctx.measure(model), self.limit)
        stays: dict[Place, str] = {}
        for node in network.nodes:
            reason = islands.reason(node) or ctx.kept.get(place_of(self.name, "", node), "")
            if not reason and not ctx.allow(self.name, "", node):
                reason = "not allowed"
            if reason:
                stays[node] = reason
        for flow in network.flows:
            if not isinstance(flow.maker, Node) and flow.maker not in (FIXED, HALF):
                reason = islands.reason_of(flow.value)
                if reason:
                    stays[flow.maker] = reason
        speed = HalfSpeed(half, getattr(ctx.capabilities, "hardware", None))
        return Placement(half, opset, network, islands, stays, speed)


def _has_half_slots(node: Node, half: DType, opset: int) -> bool:
    return bool(half_operands(node, half.type_str, opset) or half_results(node, half.type_str, opset))


def _remark(name: str, ctx: Context, placement: Placement, places: set[Place]) -> None:
    """Say of each node that stays why it does; of all others how many there are."""
    if not ctx.wants_remarks:
        return
    for place, reason in placement.stays.items():
        node = place if isinstance(place, Node) else place[0]
        ctx.remark("refused", name, f"{node.op.name} stays in single precision: {reason}", node=node)
    saved = Counter(node.op.name for node in placement.network.nodes if node in places)
    ctx.remark("applied", name, ", ".join(f"{count} {op}" for op, count in saved.most_common()))
