"""How labels pass through operators that compute: elementwise ones, products, convolutions, norms, attention."""

from __future__ import annotations

import numpy as np

from ...ir.core import Node, Value
from ...ir.ops.traits import ELEMENTWISE
from ...ir.tensor import Array
from .follow import HEAD, NORMED, STREAM, Axes, Following, Kept, Read, Rule

_ADDITIONS = frozenset({"Add", "Sub", "Sum"})


def _elementwise(f: Following, node: Node) -> None:
    shape = node.output.shape
    if shape is None:
        f.fix_all(node, f"{node.op.key} of values of unknown ranks")
        return
    axes: Axes = [_aligned(f, node, len(shape) - axis) for axis in range(len(shape))]
    for value in node.outputs:
        f.set(value, axes)


def _aligned(f: Following, node: Node, behind: int) -> Array | None:
    """The labels of the axis that is `behind` the end, of all operands together."""
    assert node.output.shape is not None
    size = node.output.shape[-behind]
    given: list[tuple[int, Value, Array | None]] = []
    for index, value in enumerate(node.inputs):
        if value is None or value.shape is None or len(value.shape) < behind:
            continue
        if value.shape[-behind] != 1 or size == 1:
            given.append((index, value, f.of(value, -behind)))
    base = next((labels for _, _, labels in given if labels is not None), None)
    if base is None:
        return None
    others = [labels for _, value, labels in given if value.const is None]
    if any(labels is None for labels in others):
        f.fix(base, node, "it meets a value that cannot be cut")
    for labels in others:
        if labels is None:
            continue
        if node.op.key in _ADDITIONS and not np.array_equal(f.labels.find(base), f.labels.find(labels)):
            f.labels.mark(base, STREAM)
        f.labels.unite(base, labels)
    for index, value, _ in given:
        if value.const is not None and value.rank is not None:
            f.cut(node, index, value.rank - behind, base)
    return base


def _conv(f: Following, node: Node) -> None:
    x, w = node.inputs[:2]
    if x is None or w is None or w.const is None or x.rank is None:
        f.fix_all(node, "its weights are computed")
        return
    groups = node.attr("group")
    outputs, width = w.const.shape[:2]
    read = f.of(x, 1)
    if groups == 1:
        made: Array | None = f.labels.fresh(outputs, node)
        if read is not None:
            f.cut(node, 1, 1, read)
            f.reads.append(Read(node, read))
        f.does(node, read, made)
    else:
        made = _grouped(f, node, read, groups, outputs, width)
        f.does(node, made)
    if made is not None:
        f.made[node] = made
        f.cut(node, 1, 0, made)
        f.vector(node, 2, made)
    f.set(node.output, _places(f, x, node.output, made))


def _grouped(f: Following, node: Node, read: Array | None, groups: int, outputs: int, width: int) -> Array | None:
    """The labels of the outputs of a convolution in groups: whole groups go, or as much of each."""
    each = outputs // groups
    if width == 1 or (groups >= width and read is not None):
        if read is None:  # each output has a channel of its own, which stays
            return None
        blocks = read.reshape(groups, width)
        f.labels.unite_rows(blocks)
        made = np.repeat(blocks[:, 0], each)

        def regroup(kept: Kept) -> None:
            node.attrs["group"] = len(kept(blocks[:, 0]))

        f.changes.append((read, regroup))
        return made
    made = f.labels.fresh(outputs, node)
    f.labels.unite_rows(made.reshape(groups, each).T)
    if read is not None:
        f.labels.unite_rows(read.reshape(groups, width).T)
        f.cut(node, 1, 1, read[:width])
        f.reads.append(Read(node, read))
    return made


def _places(f: Following, x: Value, y: Value, channels: Array | None) -> Axes:
    """[batch, channels, ...]: what computes along the other axes keeps them whole."""
    return [f.of(x, 0), channels, *[None] * ((y.rank or x.rank or 2) - 2)]


def _transposed(f: Following, node: Node) -> None:
    x, w = node.inputs[:2]
    if x is None or w is None or w.const is None or node.attr("group") != 1:
        f.fix_all(node, "a transposed convolution in groups, or of computed weights")
        return
    read, made = f.of(x, 1), f.labels.fresh(w.const.shape[1], node)
    if read is not None:
        f.cut(node, 1, 0, read)
    f.cut(node, 1, 1, made)
    f.vector(node, 2, made)
    f.does(node, read, made)
    f.set(node.output, _places(f, x, node.output, made))


def _pool(f: Following, node: Node) -> None:
    x = node.inputs[0]
    assert x is not None
    for axis in range(2, x.rank or 0):
        f.fix(f.of(x, axis), node, f"{node.op.key} runs along it")
    for value in node.outputs:
        f.set(value, _places(f, x, value, f.of(x, 1)))


def _batch_norm(f: Following, node: Node) -> None:
    x = node.inputs[0]
    for index in range(1, len(node.inputs)):
        f.vector(node, index, f.of(x, 1))
    f.set(node.output, f.of_all(x))
    for value in node.outputs[1:]:
        f.set(value, [f.of(x, 1)])


def _group_norm(f: Following, node: Node) -> None:
    labels, groups = f.of(node.inputs[0], 1), node.attr("num_groups")
    if labels is not None:
        blocks = labels.reshape(groups, -1)
        f.labels.unite_rows(blocks)  # the statistics of a group are of all its channels

        def regroup(kept: Kept) -> None:
            node.attrs["num_groups"] = len(kept(blocks[:, 0]))

        f.changes.append((labels, regroup))
        for index in (1, 2):
            value = node.inputs[index]
            f.vector(node, index, labels if value is not None and value.shape == (len(labels),) else blocks[:, 0])
    f.set(node.output, f.of_all(node.inputs[0]))


def _layer_norm(f: Following, node: Node) -> None:
    x = node.inputs[0]
    assert x is not None and x.rank is not None
    axes, first = f.of_all(x), node.attr("axis") % x.rank
    for axis in range(first, x.rank):
        labels = axes[axis]
        if labels is None:
            continue
        f.labels.mark(labels, NORMED)
        for index in (1, 2):
            value = node.input(index)
            place = 0 if value is None or value.rank is None else value.rank - x.rank + axis
            if value is None or place < 0 or value.shape is None or value.shape[place] == 1:
                continue
            if value.const is not None:
                f.cut(node, index, place, labels)
            else:
                f.join(node, labels, f.of(value, place))
    f.set(node.output, axes)
    for value in node.outputs[1:]:
        f.set(value, [*axes[:first], *[None] * (x.rank - first)])


def _gemm(f: Following, node: Node) -> None:
    x, w = node.inputs[:2]
    if w is None or w.const is None or x is None or x.const is not None or node.attr("transA"):
        f.fix_all(node, "a Gemm of two computed matrices, or of a turned one")
        return
    into, out = (1, 0) if node.attr("transB") else (0, 1)
    read, made = f.of(x, 1), f.labels.fresh(w.const.shape[out], node)
    if read is not None:
        f.cut(node, 1, into, read)
        f.reads.append(Read(node, read))
    f.made[node] = made
    f.cut(node, 1, out, made)
    f.vector(node, 2, made)
    f.does(node, read, made)
    f.set(node.output, [f.of(x, 0), made])


def _matmul(f: Following, node: Node) -> None:
    a, b = node.inputs
    if a is None or b is None or (a.rank or 0) < 2 or (b.rank or 0) < 2 or a.const is not None:
        f.fix_all(node, "a product with a vector, or with a constant on its left")
        return
    read, made = f.of(a, -1), f.of(b, -1)
    assert a.rank is not None and b.rank is not None and node.output.rank is not None
    if b.const is not None:
        if read is not None:
            f.cut(node, 1, b.rank - 2, read)
            if b.rank == 2:
                f.reads.append(Read(node, read))
        assert b.shape is not None and isinstance(b.shape[-1], int)
        made = f.labels.fresh(b.shape[-1], node)
        f.made[node] = made
        f.cut(node, 1, b.rank - 1, made)
    elif (inner := f.of(b, -2)) is not None or read is not None:
        read = f.join(node, read, inner)
    batch: Axes = [_aligned(f, node, node.output.rank - axis) for axis in range(node.output.rank - 2)]
    for labels in batch:
        if labels is not None and b.const is None:
            f.labels.mark(labels, HEAD)
    f.does(node, read, made, *batch)
    f.set(node.output, [*batch, f.of(a, -2), made])


def _attention(f: Following, node: Node) -> None:
    q, k, v = node.inputs[:3]
    if q is None or k is None or v is None or {q.rank, k.rank, v.rank} != {4} or any(map(node.input, (4, 5))):
        f.fix_all(node, "attention with packed heads or a past")
        return
    heads, keys, values = (f.of(value, 1) for value in (q, k, v))
    for value in (q, k, v):
        for axis in (2, 3):
            f.fix(f.of(value, axis), node, "attention sums over it")
    if heads is None or keys is None or values is None:
        f.fix_all(node, "heads that cannot be cut")
        return
    shared = len(heads) // len(keys)
    f.labels.unite(heads, np.repeat(keys, shared))
    f.labels.unite(keys, values)
    f.labels.mark(heads, HEAD)
    mask = node.input(3)
    if mask is not None and mask.shape is not None and len(mask.shape) == 4 and mask.shape[1] != 1:
        if mask.const is not None:
            f.cut(node, 3, 1, heads)
        else:
            f.join(node, heads, f.of(mask, 1))
    f.does(node, heads)
    for output in node.outputs:
        f.set(output, [None, heads, None, None])


def _rotary(f: Following, node: Node) -> None:
    axes = f.of_all(node.inputs[0])
    if len(axes) == 4:
        for axis in (2, 3):
            f.fix(axes[axis], node, "positions are turned along it")
        f.set(node.output, [axes[0], axes[1], None, None])
    else:
        f.fix_all(node, "rotation of packed heads")


def _softmax(f: Following, node: Node) -> None:
    axes = list(f.of_all(node.inputs[0]))
    axis = node.attr("axis")
    if axes:
        f.fix(axes[axis], node, f"{node.op.key} runs along it")
    f.set(node.output, axes)


def _dropout(f: Following, node: Node) -> None:
    for value in node.outputs:
        f.set(value, f.of_all(node.inputs[0]))


RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(("AveragePool", "MaxPool", "LpPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), _pool),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), _layer_norm),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), _batch_norm),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), _softmax),
    "Conv": _conv, "ConvTranspose": _transposed, "Gemm": _gemm, "MatMul": _matmul, "Attention": _attention,
    "GroupNormalization": _group_norm, "RotaryEmbedding": _rotary, "Dropout": _dropout,
}  # fmt: skip
