"""dequantize-weights: matrices in blocks become matrices of floats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ...ir.core import Model, Node, Value, constant
from ...ir.evaluate import DeferredTensor
from ...ir.ops import op
from ...ir.tensor import Array, Tensor
from ...ir.types import F32
from ..base import Context, Pass

_DEQUANTIZE, _RESHAPE, _ADD = op("DequantizeLinear"), op("Reshape"), op("Add")


class _Blocks(NamedTuple):
    """A matrix in blocks: its constants, and the value that is the matrix."""

    codes: Tensor
    scales: Tensor
    zeros: Tensor | None
    minima: Tensor | None
    size: int
    result: Value


@dataclass(frozen=True)
class DequantizeWeights(Pass):
    """Constant codes in blocks of a source that is quantized (docs/weights.md) become floats, for targets that multiply
    nothing else, and for those who want `--precision fp32`.

    They are computed when somebody reads them, matrix by matrix, so that no second copy of the model is in memory.
    """

    name: ClassVar[str] = "dequantize-weights"
    settles: ClassVar[bool] = True

    def run(self, model: Model, ctx: Context) -> bool:
        """True if any matrix was in blocks."""
        changed = False
        before = model.weight_bytes
        for graph in model.graphs():
            for node in list(graph.index.get(_DEQUANTIZE, ())):
                found = blocks_of(node)
                if found is None or not ctx.allow(self.name, "", node):
                    continue
                with ctx.rewrite(self.name, "", [node]):
                    found.result.replace_with(constant(_floats(found), found.result.hint))
                changed = True
        if changed and ctx.source_bytes is not None:  # what later passes may not outgrow is the source in floats
            ctx.source_bytes += model.weight_bytes - before
        return changed


def blocks_of(node: Node) -> _Blocks | None:
    """The matrix that a DequantizeLinear is of, its minima included; None where it is not in blocks or no constant."""
    tensors = [None if value is None else value.const for value in node.inputs]
    size, codes = node.attr("block_size"), tensors[0]
    if codes is None or any(value is not None and value.const is None for value in node.inputs):
        return None
    if not size or len(codes.shape) != 2 or node.attr("axis") not in (1, -1) or node.output.dtype is not F32:
        return None
    scales, zeros = tensors[1], tensors[2] if len(tensors) > 2 else None
    assert scales is not None
    plain = _Blocks(codes, scales, zeros, None, size, node.output)
    shape = (codes.shape[0], codes.shape[1] // size, 1)
    apart = _only_user(node.output, _RESHAPE)
    added = None if apart is None or apart.shape != (*shape[:2], size) else _only_user(apart, _ADD)
    whole = None if added is None else _only_user(added, _RESHAPE)
    if added is None or whole is None or whole.shape != codes.shape or added.producer is None:
        return plain
    minima = added.producer.inputs[1]
    if minima is None or minima.const is None or minima.shape != shape:
        return plain
    return plain._replace(minima=minima.const, result=whole)


def _only_user(value: Value, by: object) -> Value | None:
    """What the only user makes of a value as its first operand, where it is of that operator."""
    use = value.sole_use
    return use[0].output if use is not None and use[0].op is by and use[1] == 0 else None


def _floats(found: _Blocks) -> Tensor:
    """f32 [rows, columns]: (code - zero) * scale + minimum."""
    rows, columns = found.codes.shape

    def floats(codes: Array) -> Array:
        result = codes.astype(np.float32).reshape(rows, -1, found.size)
        if found.zeros is not None:
            result -= found.zeros.array().astype(np.float32)[..., None]
        result *= found.scales.array()[..., None]
        if found.minima is not None:
            result += found.minima.array()
        return result.reshape(rows, columns)

    parts = [part.digest().hex() for part in (found.scales, found.zeros, found.minima) if part is not None]
    return DeferredTensor(F32, (rows, columns), found.codes, f"floats of {found.size} {' '.join(parts)}", floats)
