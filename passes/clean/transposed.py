"""Transposed copies of matrices: how share-weights finds and replaces them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Node, Value
from ...ir.evaluate import DeferredTensor
from ...ir.tensor import Array, Tensor
from ...ir.types import TensorType
from ..base import Context

_SAMPLES = 16
_BLOCK = 512
_RULE = "transposed"


def share_transposed(
    root: Graph, values: Iterable[Value], min_bytes: int, name: str, ctx: Context
) -> bool:
    """Replace matrices that are the transpose of another one in the same model; True if any was."""
    changed = False
    for kept, copy in list(transposed_pairs(values, min_bytes)):
        users = list(copy.users)
        if not users or not kept.uses or not ctx.allow(name, _RULE, users[0]):
            continue
        created: list[Node] = []
        with ctx.rewrite(name, _RULE, users, created):
            _replace(root, kept, copy, created)
        remark_saving(ctx, name, _RULE, kept, copy, users[0])
        changed = True
    return changed


def remark_saving(ctx: Context, name: str, rule: str, kept: Value, copy: Value, node: Node) -> None:
    """Say that a copy of a constant is gone, and what that saves."""
    if ctx.wants_remarks:
        assert copy.const is not None
        text = f"%{copy.hint} is %{kept.hint} {rule}: {copy.const.stored_bytes:,} bytes saved"
        ctx.remark("applied", name, text, rule=rule, node=node)


def transposed_pairs(values: Iterable[Value], min_bytes: int) -> Iterable[tuple[Value, Value]]:
    """Pairs (kept, copy) with copy = kept transposed; each matrix is in one pair at most.

    A few elements are compared first; whole matrices only where these agree, block by block.
    """
    matrices = [v for v in values if v.const is not None and _is_candidate(v.const, min_bytes)]
    shapes = {_shape(v) for v in matrices}
    matrices = [v for v in matrices if _shape(v)[::-1] in shapes]
    if len(matrices) < 2:
        return
    waiting: dict[tuple[object, ...], list[Value]] = {}
    for value in matrices:
        assert value.const is not None
        tensor, shape = value.const, _shape(value)
        rows, columns = _places(shape)
        other_rows, other_columns = _places(shape[::-1])
        wanted: tuple[object, ...] = (tensor.dtype, shape, _sample(tensor, other_columns, other_rows))
        for candidate in waiting.get(wanted, ()):
            assert candidate.const is not None
            if _is_transpose(_bits(candidate.const), _bits(tensor)):
                waiting[wanted].remove(candidate)
                yield (candidate, value) if _prefers(candidate, value) else (value, candidate)
                break
        else:
            # Found by a matrix of the swapped shape that looks at the same elements.
            key: tuple[object, ...] = (tensor.dtype, shape[::-1], _sample(tensor, rows, columns))
            waiting.setdefault(key, []).append(value)


def _is_candidate(tensor: Tensor, min_bytes: int) -> bool:
    plain = len(tensor.shape) == 2 and tensor.dtype.bits >= 8
    return plain and tensor.length >= min_bytes and not isinstance(tensor, DeferredTensor)


def _shape(value: Value) -> tuple[int, int]:
    assert value.const is not None
    rows, columns = value.const.shape
    return (rows, columns)


def _bits(tensor: Tensor) -> Array:
    """The matrix as unsigned integers: equal bits, not equal numbers, are asked for."""
    array = tensor.array()
    return array.view(f"u{array.dtype.itemsize}") if array.dtype.itemsize <= 8 else array


def _sample(tensor: Tensor, rows: Array, columns: Array) -> bytes:
    return tensor.sampled((rows * tensor.shape[1] + columns).tolist())


def _places(shape: tuple[int, int]) -> tuple[Array, Array]:
    """Rows and columns of the sampled elements, spread over the matrix."""
    steps = np.arange(1, _SAMPLES + 1, dtype=np.int64)
    return (steps * 40503) % shape[0], (steps * 30323) % shape[1]


def _is_transpose(a: Array, b: Array) -> bool:
    for start in range(0, a.shape[0], _BLOCK):
        if not np.array_equal(a[start : start + _BLOCK], b[:, start : start + _BLOCK].T):
            return False
    return True


def _prefers(a: Value, b: Value) -> bool:
    """True if `a` should be the one that stays: the one that others than matrix products read."""
    return _other_uses(a) >= _other_uses(b)


def _other_uses(value: Value) -> int:
    return sum(1 for node, index in value.uses if not (node.op.key in ("MatMul", "Gemm") and index == 1))


def _replace(root: Graph, kept: Value, copy: Value, created: list[Node]) -> None:
    transposed: Value | None = None
    for node, index in list(copy.uses):
        if _reads_transposed(node, index, kept, created):
            continue
        if transposed is None:
            b = Builder(root, root.first, node.loc)  # visible from everywhere
            transposed = b.op("Transpose", kept, perm=(1, 0))
            transposed.hint = copy.hint
            created += b.created
        node.set_input(index, transposed)


def _reads_transposed(node: Node, index: int, kept: Value, created: list[Node]) -> bool:
    """Make a node read `kept` where it read its transpose, if it can at no cost; True if done."""
    if index == 1 and node.op.key == "Gemm":
        if node.attr("transB"):
            node.attrs.pop("transB", None)
        else:
            node.attrs["transB"] = 1
        node.set_input(1, kept)
        return True
    left = node.inputs[0]
    if index != 1 or node.op.key != "MatMul" or left is None or left.rank != 2:
        return False
    if not (isinstance(kept.type, TensorType) and kept.type.dtype.is_float):
        return False  # runtimes have no integer Gemm
    assert node.graph is not None
    b = Builder(node.graph, node, node.loc)
    product = b.node("Gemm", [left, kept], {"transB": 1}, types=[node.output.type]).output
    node.output.replace_with(product)
    node.graph.erase(node)
    created += b.created
    return True
