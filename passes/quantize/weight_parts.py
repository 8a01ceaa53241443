"""What storing some of the weights in few bits costs in accuracy, the others staying as they are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ...ir.clone import clone_model
from ...ir.core import Model, Node
from ..base import Context, place_of
from .difference import differences
from .placement import Keep
from .sites import Site, find_sites
from .weight_only import CALIBRATED, QuantizeWeights


class WeightParts:
    """The weights that `step` would quantize, each by the node that reads it first: as `sensitivity.Parts`.

    Errors are those of the nearest codes: methods that look at samples make most errors smaller alike.
    """

    def __init__(self, model: Model, step: QuantizeWeights, ctx: Context) -> None:
        """`model`, as it is before the step, is not changed. Only weights of its main graph are counted."""
        sites = [site for site in find_sites(model.graph, step.least)[0] if not step.refusal(site)]
        order = {node: number for number, node in enumerate(model.graph)}
        self._sites = {site.first: site for site in sites if site.first in order}
        self.nodes = sorted(self._sites, key=order.__getitem__)
        self._step = replace(step, method="rtn") if step.method in CALIBRATED else step
        self._ctx = ctx
        self._model = model

    def errors(self, nodes: Collection[Node], limit: int | None) -> list[float]:
        """The mean relative L2 error of each output, on at most `limit` samples, when these weights are quantized."""
        changed, _ = clone_model(self._model)
        kept = {place_of(self._step.name, "", node): "it is not tried" for node in self.nodes if node not in nodes}
        self._step.run(changed, Context(capabilities=self._ctx.capabilities, kept=kept))
        assert self._ctx.observe is not None
        return differences(self._model, changed, self._ctx.observe, limit)

    def keep(self, nodes: Collection[Node]) -> Keep:
        """The names of the weights of these nodes, or of the nodes where a weight has none."""
        return tuple(self._name(self._sites[node]) for node in self.nodes if node in nodes)

    def saved(self, node: Node) -> int:
        """Bytes that quantizing the weight of a node saves."""
        site = self._sites[node]
        scheme = self._step.scheme(site)
        elements = site.inputs * site.outputs
        scales = elements // scheme.block * (2 if self._step.half else 4)
        return elements * 4 - elements * scheme.bits // 8 - scales

    @staticmethod
    def _name(site: Site) -> str:
        return site.value.hint or next(iter(site.first.loc), "")
