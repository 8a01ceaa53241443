"""low-rank-conv: convolutions with large kernels become chains of smaller ones, where that costs less."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar, NamedTuple

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Model, Node, Value
from ...ir.ops.cost import CostModel
from ...ir.tensor import Tensor
from ...ir.types import F32
from ..allocation import Choice, allocate
from ..base import Context, Pass
from ..naming import choose_layers
from ..repair.refit import Original, refit
from ..settings import check_least, check_share, check_word
from .cp import CP
from .factors import Moments
from .ranks import PARAMETERS, TIME
from .tensors import Form, Link, Ranks, Spatial, Tucker

TUCKER, SPATIAL, CANONICAL = "tucker", "spatial", "cp"
_BY_CHANNELS = (TUCKER, CANONICAL)  # which can weigh the channels that they read, and end with a layer of 1 x 1


@dataclass(frozen=True)
class LowRankConv(Pass):
    """Convolutions of two dimensions with a kernel larger than 1 x 1, not in groups, become two to four smaller ones.

    `form` is tucker (1 x 1 to fewer channels, the kernel between those, 1 x 1 to all channels), cp (1 x 1 to other
    channels, 3 x 1 and 1 x 3 of each by itself, 1 x 1 to all channels) or spatial (3 x 1, then 1 x 3). For tucker and
    cp, with samples from --calib, the channels that vary most count most. `left` is the share of the `of`
    (parameters, or time by the target's estimate) of all these convolutions that is left; each gets the ranks that lose
    the least of its weights for what they cost. With samples the last convolution of a tucker or cp chain is fitted, in
    the order of the graph and on at most `repair` samples, to what the original gives.

    A convolution whose chain would take as long by the target's estimate stays whole, unless `slower` allows it for the
    sake of size, and so does what `keep` names; `layers`, if given, names the only ones that are split.
    """

    name: ClassVar[str] = "low-rank-conv"
    lossy: ClassVar[bool] = True
    settles: ClassVar[bool] = True
    form: str = TUCKER
    left: float = 0.5
    of: str = PARAMETERS
    multiple: int = 8
    repair: int = 16
    slower: bool = False
    layers: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    least: int = 1 << 12

    def run(self, model: Model, ctx: Context) -> bool:
        """True if a convolution was split. Raises UsageError for bad options."""
        self._check()
        nodes = self._chosen(model, ctx)
        if not nodes:
            return False
        kernels = [_Kernel(node, self._form(node, moments)) for node, moments in self._seen(model, nodes, ctx)]
        options = [list(kernel.form.candidates(self.multiple)) for kernel in kernels]
        choices = [self._choice(kernel, ranks, ctx.cost) for kernel, ranks in zip(kernels, options)]
        limit = self.left * sum(each.costs[0] for each in choices)
        original = Original(model) if ctx.observe is not None and self.repair and self.form in _BY_CHANNELS else None
        last: list[Node] = []
        for kernel, ranks, each, index in zip(kernels, options, choices, allocate(choices, limit)):
            wanted = ranks[each.ranks[index] - 1] if index else None
            if self._profitable(kernel, wanted, ctx) and ctx.allow(self.name, "", kernel.node):
                assert wanted is not None
                last.append(self._split(kernel, wanted, ctx))
        if original is not None and last:
            refit(model, last, original, ctx, self.repair)
        return bool(last)

    def _check(self) -> None:
        check_word(self, "form", (TUCKER, SPATIAL, CANONICAL))
        check_word(self, "of", (PARAMETERS, TIME))
        check_share(self, "left")
        check_least(self, 1, "multiple")
        check_least(self, 0, "repair", "least")

    def _chosen(self, model: Model, ctx: Context) -> list[Node]:
        found = []
        for node in model.graph:
            reason = _refusal(node, self.least)
            if reason:
                ctx.decline("missed", self.name, "", node, f"a convolution stays whole: {reason}")
            elif reason is not None:
                found.append(node)
        return choose_layers(self, found, lambda node: [node], ctx, "convolution")

    def _seen(self, model: Model, nodes: list[Node], ctx: Context) -> list[tuple[Node, Moments | None]]:
        """Each convolution with what is known of the channels that it reads."""
        if ctx.observe is None or self.form not in _BY_CHANNELS:
            return [(node, None) for node in nodes]
        seen: dict[Value, Moments] = {}
        for node in nodes:
            x, weight = node.inputs[:2]
            assert x is not None and weight is not None and weight.const is not None
            seen[x] = Moments(weight.const.shape[1], axis=1)
        ctx.observe(model, seen)
        return [(node, seen[x]) for node in nodes if (x := node.inputs[0]) is not None]

    def _form(self, node: Node, moments: Moments | None) -> Form:
        weight = node.inputs[1]
        assert weight is not None and weight.const is not None
        array = weight.const.read()
        if self.form == SPATIAL:
            return Spatial(array)
        # Borders are padded with zeros, not with the mean: squares about zero, not about the mean, are what counts.
        covariance = None if moments is None else moments.products / max(1, moments.rows)
        return Tucker(array, covariance) if self.form == TUCKER else CP(array, covariance)

    def _choice(self, kernel: _Kernel, options: list[Ranks], cost: CostModel) -> Choice:
        def of(ranks: Ranks | None) -> float:
            return float(kernel.size(ranks)) if self.of == PARAMETERS else kernel.seconds(cost, ranks)

        whole = of(None)
        fit = [(number, price) for number, ranks in enumerate(options, 1) if (price := of(ranks)) < whole]
        losses = [0.0, *(kernel.form.loss(options[number - 1]) for number, _ in fit)]
        return Choice(
            np.array([0, *(n for n, _ in fit)]), np.array([whole, *(price for _, price in fit)]), np.array(losses)
        )

    def _profitable(self, kernel: _Kernel, ranks: Ranks | None, ctx: Context) -> bool:
        if ranks is None:
            said = "it stays whole: its weights lose too much for what it saves"
            ctx.decline("refused", self.name, "", kernel.node, said)
            return False
        before, after = kernel.seconds(ctx.cost, None), kernel.seconds(ctx.cost, ranks)
        if after >= before and not self.slower:
            named = " and ".join(map(str, ranks))
            said = f"ranks {named} take {after / before:.2f} of its time by the target's estimate"
            ctx.decline("refused", self.name, "", kernel.node, said)
            return False
        return True

    def _split(self, kernel: _Kernel, ranks: Ranks, ctx: Context) -> Node:
        """Put the chain in the place of a convolution, which becomes its last one."""
        node, created = kernel.node, list[Node]()
        assert node.graph is not None
        whole = kernel.size(None)
        with ctx.rewrite(self.name, "", [node], created):
            b = Builder(node.graph, node, node.loc)
            weight = node.inputs[1]
            assert weight is not None and weight.const is not None
            value, attrs = node.inputs[0], _placement(node)
            links = kernel.form.links(ranks)
            arrays = [np.ascontiguousarray(array) for array in kernel.form.kernels(ranks)]
            parts = [b.const(Tensor.from_array(a, F32), hint=f"{weight.hint}.{i}") for i, a in enumerate(arrays)]
            for link, part in zip(links[:-1], parts):
                value = b.op("Conv", value, part, group=link.groups, **_along(attrs, link.axes))
            node.set_inputs([value, parts[-1], *node.inputs[2:]])
            for name in ("strides", "pads", "dilations", "kernel_shape", "auto_pad"):
                node.attrs.pop(name, None)
            node.attrs.update(_along(attrs, links[-1].axes))
            created += b.created
        if ctx.wants_remarks:
            size = f"{kernel.size(ranks) / whole:.0%} of its size"
            lost = f"{kernel.form.loss(ranks):.2%} of its weights' squares lost"
            text = f"%{weight.hint}: ranks {' and '.join(map(str, ranks))}, {size}, {lost}"
            ctx.remark("applied", self.name, text, node=node)
        return node


class _Kernel(NamedTuple):
    """A convolution and how it may be taken apart."""

    node: Node
    form: Form

    def _links(self, ranks: Ranks | None) -> list[Link]:
        weight = self.node.inputs[1]
        assert weight is not None and weight.const is not None
        return [Link(weight.const.shape, (0, 1))] if ranks is None else self.form.links(ranks)

    def size(self, ranks: Ranks | None) -> int:
        """Weights of the chain, of the whole for None."""
        return sum(prod(link.shape) for link in self._links(ranks))

    def seconds(self, cost: CostModel, ranks: Ranks | None) -> float:
        """The time of the chain by an estimate. What stands before the stride runs at the size of the input."""
        given, made = (cost.shape(value) for value in (self.node.inputs[0], self.node.output))
        total = 0.0
        sides = list(given[2:]) if given else [1, 1]  # of what a link reads
        for link in self._links(ranks):
            after = [made[2 + axis] if made and axis in link.axes else side for axis, side in enumerate(sides)]
            batch, outputs, size = made[0] if made else 1, link.shape[0], prod(link.shape)
            work = 2.0 * batch * prod(after) * size
            moved = 4.0 * (batch * (prod(sides) * link.inputs + prod(after) * outputs) + size)
            total += cost.machine.seconds(work, moved)
            sides = after
        return total


def _refusal(node: Node, least: int) -> str | None:
    """Why a convolution stays whole, "" for one that may be split, None for what is not asked about."""
    weight = node.inputs[1] if node.op.key == "Conv" else None
    if weight is None or weight.const is None or len(weight.const.shape) != 4:
        return None
    if weight.const.dtype is not F32 or weight.const.size < least or all(k == 1 for k in weight.const.shape[2:]):
        return None
    if node.attr("group") != 1:
        return "its channels are in groups"
    if node.attr("auto_pad") not in ("NOTSET", "VALID"):
        return "its padding depends on the size of its input"
    return "other nodes read its weights as well" if len(weight.uses) > 1 else ""


def _placement(node: Node) -> dict[str, tuple[int, ...]]:
    """Strides, padding and dilations of a convolution of two dimensions."""
    pads = node.attr("pads") if node.attr("auto_pad") == "NOTSET" else None
    return {
        "strides": tuple(node.attr("strides") or (1, 1)),
        "dilations": tuple(node.attr("dilations") or (1, 1)),
        "pads": tuple(pads or (0, 0, 0, 0)),
    }


def _along(attrs: dict[str, tuple[int, ...]], axes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The part of them that a stage has which covers these spatial axes."""
    found = {name: tuple(attrs[name][i] if i in axes else 1 for i in range(2)) for name in ("strides", "dilations")}
    found["pads"] = tuple(pad if i % 2 in axes else 0 for i, pad in enumerate(attrs["pads"]))
    return {name: value for name, value in found.items() if any(v != (name != "pads") for v in value)}
