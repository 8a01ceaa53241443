"""quantize-weights: weights as integers of a few bits in blocks; what they are multiplied with stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Model, Node, Value, constant
from ...ir.errors import UsageError
from ...ir.tensor import Array, Tensor
from ...ir.types import F32, I2, I4, I8, U2, U4, U8, DType
from ..base import Context, Pass, place_of
from .blocks import ASYMMETRIC, KINDS, MINIMUM, POSITIVE, SYMMETRIC, Blocks, Scheme, exact_blocks, joined
from .calibrated import quantize_calibrated
from .hqq import hqq
from .rtn import in_half, rtn
from .sites import Site, find_sites, strips

_SIGNED: dict[int, DType] = {2: I2, 3: I4, 4: I4, 8: I8}
_UNSIGNED: dict[int, DType] = {2: U2, 3: U4, 4: U4, 8: U8}
_SHORTEST = 16  # columns of a block: runtimes take no shorter ones
_GRIDS = (Scheme(4, 32, SYMMETRIC), Scheme(4, 32, MINIMUM), Scheme(8, 32, SYMMETRIC))  # of files that are widely used
CALIBRATED = ("gptq", "awq")
METHODS = ("rtn", "hqq", *CALIBRATED)


@dataclass(frozen=True)
class QuantizeWeights(Pass):
    """Matrices that products read, and tables of embeddings, become integers of `bits` in blocks of `block` inputs.

    A block has a scale of its own, `kind` says what else: nothing (symmetric; positive with scales above 0 alone, for
    runtimes that take no others), an integer zero (asymmetric), or the minimum as a float (minimum). `half` stores
    scales and minima in half precision. Where `block` does not divide the inputs, the largest power of two that does is
    taken. The tables, and what makes the model's results (the head of a language model), have `head_bits`, with 0 they
    stay as they are; a table that is the head as well is stored once. Weights of 3 bits take the room of 4.

    With `grid`, weights that lie on a grid of 4 or 8 bits in blocks of 32 already, as those that come from llama.cpp's
    files do, keep it if it has no more bits than asked for: they lose nothing.

    `method` is how the others become codes. Without samples: rtn, to the nearest (`clip`: with ranges of the smallest
    squared error, which a language model does not thank for), and hqq, whose errors are sparse. With samples (--calib):
    gptq, where each column makes up for the errors of those before it (`order`: those of large inputs first), and awq,
    where large inputs get finer weights, by factors that the normalization before takes back. These go through the
    model in groups of as many weights as `memory` bytes of statistics hold, at least `stages` groups; each group sees
    the inputs that come from the quantized weights before it.

    `keep`: names of weights or of the nodes that read them (with * and ?) that stay as they are. `least`: elements from
    which on a matrix is worth it.
    """

    name: ClassVar[str] = "quantize-weights"
    lossy: ClassVar[bool] = True
    settles: ClassVar[bool] = True
    bits: int = 4
    block: int = 32
    method: str = "rtn"
    kind: str = SYMMETRIC
    head_bits: int = 8
    grid: bool = True
    half: bool = True
    clip: bool = False
    order: bool = True
    keep: tuple[str, ...] = ()
    least: int = 1 << 12
    stages: int = 1
    memory: int = 256 << 20

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any weight was replaced. Raises UsageError for bad options, and for a method without its samples."""
        self._check()
        changed = False
        for root in model.roots():
            sites, kept = find_sites(root, self.least)
            for node, reason in kept:
                ctx.decline("missed", self.name, "", node, f"a weight stays as it is: {reason}")
            calibrated: list[Site] = []
            for site in sites:
                budget = ctx.kept.get(place_of(self.name, "", site.first))
                reason = self.refusal(site)
                if budget is not None:
                    if ctx.wants_remarks:
                        message = f"%{site.value.hint} stays as it is: {budget}"
                        ctx.remark("refused", self.name, message, node=site.first)
                elif reason:
                    ctx.decline("refused", self.name, "", site.first, reason)
                elif ctx.allow(self.name, "", site.first):
                    changed = True
                    keeps_grid = self.grid and self.kind != POSITIVE
                    exact = on_grid(site, self.scheme(site).bits) if keeps_grid else None
                    if exact is not None:
                        self.replace(root, site, exact, ctx)
                    elif self.method in CALIBRATED and not site.is_head and site.is_in(root):
                        calibrated.append(site)
                    else:
                        self.replace(root, site, self._without_data(site), ctx)
            if calibrated:
                quantize_calibrated(self, model, root, calibrated, ctx)
        return changed

    def scheme(self, site: Site) -> Scheme:
        """How a weight is stored."""
        bits = self.head_bits if site.is_head else self.bits
        plain = bits == 8 or (self.kind == MINIMUM and site.tables)
        kind = SYMMETRIC if plain and self.kind != POSITIVE else self.kind
        return Scheme(bits, block_for(self.block, site.inputs), kind)

    def replace(self, root: Graph, site: Site, blocks: Blocks, ctx: Context) -> None:
        """Put blocks in the place of a weight."""
        created: list[Node] = []
        with ctx.rewrite(self.name, "", list(site.value.users), created):
            install(root, site, blocks, created)

    def _check(self) -> None:
        for option, value, choices in (
            ("bits", self.bits, (2, 3, 4, 8)), ("head_bits", self.head_bits, (0, 2, 3, 4, 8)),
            ("method", self.method, METHODS), ("kind", self.kind, KINDS),
        ):  # fmt: skip
            if value not in choices:
                text = f"{option} of {self.name} is one of {', '.join(map(str, choices))}, not {value}"
                raise UsageError(text, source="--passes")
        if self.block < _SHORTEST or self.block & (self.block - 1):
            raise UsageError(f"block of {self.name} is a power of two from {_SHORTEST} on", source="--passes")

    def refusal(self, site: Site) -> str:
        """Why a weight cannot, or by `keep` must not, be quantized; "" where it may."""
        names = {site.value.hint, *(name for node in site.value.users for name in node.loc)}
        if any(fnmatchcase(name, pattern) for name in names for pattern in self.keep):
            return f"keep names %{site.value.hint}"
        if site.is_head and not self.head_bits:
            return "tables and what makes the results stay as they are"
        if block_for(self.block, site.inputs) < _SHORTEST:
            return f"no block of {_SHORTEST} or more divides its {site.inputs} inputs"
        return ""

    def _without_data(self, site: Site) -> Blocks:
        scheme, parts = self.scheme(site), []
        for strip in strips(site):
            made = hqq(strip, scheme) if self.method == "hqq" and scheme.bits < 8 else rtn(strip, scheme, self.clip)
            parts.append(in_half(made, strip) if self.half else made)
        return joined(parts)


def block_for(block: int, inputs: int) -> int:
    """The largest power of two up to `block` that divides `inputs`."""
    return min(block, inputs & -inputs)


def on_grid(site: Site, most_bits: int) -> Blocks | None:
    """The blocks of a matrix that lies on a grid of at most so many bits already; None for another one."""
    for scheme in _GRIDS:
        if site.inputs % scheme.block or scheme.bits > most_bits or (scheme.kind == MINIMUM and site.tables):
            continue
        parts: list[Blocks] = []
        for strip in strips(site):
            found = exact_blocks(strip, scheme)
            if found is None:
                break
            parts.append(found)
        else:
            return joined(parts)
    return None


def install(root: Graph, site: Site, blocks: Blocks, created: list[Node]) -> None:
    """Make all that reads a weight read its blocks: DequantizeLinear of a constant [outputs, inputs]."""
    b = Builder(root, root.first, site.first.loc)
    matrix = dequantized(b, blocks, site.value.hint)
    if site.inputs_first:
        turned = b.op("Transpose", matrix, perm=(1, 0))
        for node, index in site.products:
            node.set_input(index, turned)
    else:
        for node, index in list(site.value.uses):
            node.set_input(index, matrix)
    created += b.created


def dequantized(b: Builder, blocks: Blocks, hint: str = "") -> Value:
    """The nodes that give a matrix f32 [outputs, inputs] of its blocks, inserted at a builder's place."""
    scheme = blocks.scheme
    rows, columns = blocks.codes.shape
    signed = scheme.is_symmetric
    dtype = (_SIGNED if signed else _UNSIGNED)[scheme.bits]
    codes = constant(packed(blocks.codes - np.uint8(scheme.middle) if signed else blocks.codes, dtype), hint)
    operands = [codes, b.const(blocks.scale, F32)]
    if scheme.kind == ASYMMETRIC:
        assert blocks.offset is not None
        operands.append(constant(packed(blocks.offset, dtype)))
    matrix = b.node("DequantizeLinear", operands, {"axis": 1, "block_size": scheme.block}).output
    if scheme.kind != MINIMUM:
        return matrix
    assert blocks.offset is not None
    count = scheme.count(columns)
    minimum = b.const(blocks.offset.reshape(rows, count, 1), F32)
    parts = b.op("Add", b.op("Reshape", matrix, b.ints([rows, count, scheme.block])), minimum)
    return b.op("Reshape", parts, b.ints([rows, columns]))


def packed(codes: Array, dtype: DType) -> Tensor:
    """A tensor over packed bytes of codes (u8, modulo 256): elements of less than a byte from the low bits on."""
    if dtype.bits == 8:
        return Tensor(dtype, codes.shape, data=np.ascontiguousarray(codes).reshape(-1).data)
    per_byte = 8 // dtype.bits
    flat = codes.reshape(-1) & np.uint8((1 << dtype.bits) - 1)
    if flat.size % per_byte:
        flat = np.concatenate([flat, np.zeros(-flat.size % per_byte, np.uint8)])
    data = np.zeros(flat.size // per_byte, np.uint8)
    for lane in range(per_byte):
        data |= flat[lane::per_byte] << np.uint8(lane * dtype.bits)
    return Tensor(dtype, codes.shape, data=data.data)
