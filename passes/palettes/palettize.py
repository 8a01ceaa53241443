"""palettize: weights become codes of a few bits and the few numbers that these stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Model, Node
from ...ir.tensor import Array
from ..base import Context, Pass
from ..naming import choose_named
from ..portions import within
from ..quantize.gptq import compensate, inverse_factor
from ..repair.bias import shift_bias
from ..repair.products import Moment, covariance_bytes, matrices, moments, weights_of
from ..settings import AUTO, by_samples, check_least, check_word, refused
from .kmeans import nearest, palette
from .lookup import CODES, lookup, stored_bits, types_of
from .sites import Site, sites_of

KMEANS, GPTQ = "kmeans", "gptq"


@dataclass(frozen=True)
class Palettize(Pass):
    """Weights are stored as codes of `bits`, 1 to 8, into palettes of 2 ^ bits numbers (Han et al., arXiv 1510.00149).

    A palette belongs to a whole tensor, or to every `group` outputs of it. Its numbers have the least squared distance
    from the weights. Tables of which rows are looked up have codes of `table_bits`; with 0 they stay as they are.

    `method` says how codes are found: kmeans (to the nearest), gptq (with samples, --calib: weights count by the
    variance of what they meet, and make up for the errors of those before them; arXiv 2210.17323), or auto, gptq where
    there are samples. Weights that no product reads alone, as tables, always take the nearest. With samples biases take
    what the mean of the outputs loses; at most `samples` are looked at.

    The look-ups are standard operators on constants, which a runtime computes once, when it loads the model: the file
    is smaller, speed and memory are those of the floats. A target that would do so on every run gets none. Codes take
    2, 4, 6 or 8 bits in the file. A weight with no more than 2 ^ bits different numbers loses nothing.

    `layers`, if given, names the only ones (weights or nodes that read them, with * and ?), `keep` those that stay, and
    so do weights of fewer than `least` numbers, those that anything but layers and look-ups of rows reads, and those
    that it would not make smaller.
    """

    name: ClassVar[str] = "palettize"
    lossy: ClassVar[bool] = True
    settles: ClassVar[bool] = True
    bits: int = 4
    table_bits: int = 8
    group: int = 0
    method: str = AUTO
    samples: int = 64
    layers: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    least: int = 1 << 12
    memory: int = 512 << 20

    def run(self, model: Model, ctx: Context) -> bool:
        """True if a weight was replaced. Raises UsageError for bad options, and for gptq without samples."""
        self._check()
        method = by_samples(self, "method", ctx, KMEANS, GPTQ)
        sites = self._chosen(model, ctx)
        fitted = [site for site in sites if method == GPTQ and site.layer is not None]
        changed = False
        for site in sites:
            if site not in fitted:
                changed |= self._replaced(model, site, None, ctx)
        for part in within(fitted, lambda site: covariance_bytes(_layer(site)), self.memory):
            seen = moments(model, [_layer(site) for site in part], ctx, self.samples)
            for site in part:
                changed |= self._replaced(model, site, seen[_layer(site)], ctx)
        return changed

    def _check(self) -> None:
        for option, least in (("bits", 1), ("table_bits", 0)):
            if not least <= getattr(self, option) <= 8:
                raise refused(self, option, f"is not between {least} and 8")
        check_least(self, 0, "group")
        check_word(self, "method", (AUTO, KMEANS, GPTQ))

    def _chosen(self, model: Model, ctx: Context) -> list[Site]:
        found, others = sites_of(model.graph, self.least)
        for node, reason in others:
            ctx.decline("missed", self.name, "", node, f"a weight stays as it is: {reason}")
        readable = getattr(ctx.capabilities, "lookups", frozenset(CODES))
        chosen = []
        for site in choose_named(self, [(site, site.users[0], site.names) for site in found], ctx, "weight"):
            node = site.users[0]
            if not self._bits(site):
                ctx.decline("refused", self.name, "", node, f"%{site.value.hint} stays as it is: it is a table")
            elif lacking := [dtype.name for dtype in types_of(self._bits(site)) if dtype not in readable]:
                said = f"the target makes no weights of codes of {' and '.join(lacking)} when it loads a model"
                ctx.decline("refused", self.name, "", node, said)
            elif self._size(site) >= _size_now(site):
                said = f"%{site.value.hint} stays as it is: its palettes take {self._size(site):,} bytes with the codes"
                ctx.decline("refused", self.name, "", node, said)
            else:
                chosen.append(site)
        return chosen

    # Sizes

    def _bits(self, site: Site) -> int:
        return self.table_bits if site.is_table else self.bits

    def _groups(self, site: Site) -> int:
        """How many palettes a weight has."""
        assert site.value.const is not None
        if not self.group or site.axis is None:
            return 1
        outputs = site.value.const.shape[site.axis]
        return outputs // self.group if outputs % self.group == 0 else 1

    def _size(self, site: Site) -> int:
        """Bytes of codes and palettes."""
        assert site.value.const is not None
        bits = self._bits(site)
        return site.value.const.size * stored_bits(bits) // 8 + self._groups(site) * (4 << bits)

    # Numbers

    def _replaced(self, model: Model, site: Site, seen: Moment | None, ctx: Context) -> bool:
        if not ctx.allow(self.name, "", site.users[0]):
            return False
        assert site.value.const is not None
        old = site.value.const.read()
        first = _turned(site, old)
        groups, bits = self._groups(site), self._bits(site)
        parts = np.split(first, groups)
        counts = _importance(seen, len(first))
        shares = [None] * groups if counts is None else np.split(counts, groups)
        palettes = np.stack([palette(part, 1 << bits, share) for part, share in zip(parts, shares)])
        codes = np.concatenate([nearest(part, table) for part, table in zip(parts, palettes)])
        if seen is not None and not np.array_equal(_numbers(codes, palettes), first):
            codes = self._compensated(site, codes, palettes, seen)
        new = _numbers(codes, palettes)
        lost = None if seen is None else matrices(_layer(site), _turned(site, first - new))
        created: list[Node] = []
        with ctx.rewrite(self.name, "", list(site.users), created):
            self._install(model, site, codes, palettes, created)
            if seen is not None and lost is not None:
                shift_bias(_layer(site), np.einsum("gi,gio->go", seen.mean, lost).reshape(-1))
        if ctx.wants_remarks:
            error = float(np.linalg.norm(new - first) / max(float(np.linalg.norm(first)), 1e-30))
            size = f"{self._size(site) / _size_now(site):.0%} of its size"
            tables = "one palette" if groups == 1 else f"{groups} palettes"
            text = f"%{site.value.hint}: {tables} of {1 << bits} numbers, {size}, {error:.2%} off"
            ctx.remark("applied", self.name, text, node=site.users[0])
        return True

    def _compensated(self, site: Site, codes: Array, palettes: Array, seen: Moment) -> Array:
        """Codes for which weights make up for the errors of those before them, where the outputs lose less by them."""
        node = _layer(site)
        old = matrices(node).transpose(0, 2, 1)  # [groups of channels, outputs, inputs]
        squares = np.diagonal(seen.covariance, axis1=1, axis2=2)
        order = np.argsort(-squares, axis=1, kind="stable")[:, None, :]
        factor = np.stack([
            inverse_factor(gram[np.ix_(by, by)], dead[by] <= 0)
            for gram, dead, by in zip(seen.covariance, squares, order[:, 0])
        ])  # fmt: skip
        work = np.take_along_axis(old, order, 2).astype(np.float32)
        found = np.empty(work.shape, np.uint8)

        def choose(at: int, stop: int) -> Array:
            parts = work[:, :, at].reshape(len(palettes), -1)
            code = np.stack([nearest(part, table) for part, table in zip(parts, palettes)])
            found[:, :, at] = code.reshape(work.shape[:2])
            return np.take_along_axis(palettes, code.astype(np.intp), 1).reshape(work.shape[:2])

        compensate(work, factor, choose)
        unordered = np.empty_like(found)
        np.put_along_axis(unordered, order, found, 2)
        made = _turned(site, weights_of(node, unordered.transpose(0, 2, 1))).astype(np.uint8)

        def loss(each: Array) -> float:
            error = old - matrices(node, _turned(site, _numbers(each, palettes))).transpose(0, 2, 1)
            return float(np.sum((error @ seen.covariance) * error))

        return made if loss(made) < loss(codes) else codes

    def _install(self, model: Model, site: Site, codes: Array, palettes: Array, created: list[Node]) -> None:
        b = Builder(model.graph, model.graph.first, site.users[0].loc)  # visible from everywhere
        turned = site.axis == 1 and len(palettes) > 1  # groups are parts of the first axis
        found = lookup(b, codes if turned else _turned(site, codes), palettes, self._bits(site), site.value.hint)
        if turned:
            found = b.op("Transpose", found, perm=(1, 0))
        for node, index in list(site.value.uses):
            node.set_input(index, found)
        created += b.created


def _layer(site: Site) -> Node:
    assert site.layer is not None
    return site.layer


def _size_now(site: Site) -> int:
    assert site.value.const is not None
    return site.value.const.stored_bytes


def _turned(site: Site, array: Array) -> Array:
    """An array of a weight's shape with the outputs first, or one of those in the weight's shape again."""
    return np.ascontiguousarray(array.T) if site.axis == 1 else array


def _numbers(codes: Array, palettes: Array) -> Array:
    """What codes with the outputs first stand for."""
    parts = np.split(codes, len(palettes))
    return np.concatenate([table[part] for part, table in zip(parts, palettes)])


def _importance(seen: Moment | None, outputs: int) -> Array | None:
    """How much each weight [outputs, inputs] counts: by the variance of what it meets; the bias takes the mean."""
    if seen is None:
        return None
    variances = np.maximum(np.diagonal(seen.covariance, axis1=1, axis2=2), 0.0)
    return np.repeat(variances, outputs // len(variances), axis=0)
