"""Natives of the rules for decoders that make one token at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.core import Graph, Value
from ...ir.dims import DimLike
from ...ir.evaluate import DeferredTensor
from ...ir.rewrite import ABSENT, memo, native
from ...ir.rewrite.instances import Pick, instance_for
from ...ir.tensor import Array
from ...ir.types import F32

_PAST = {"Attention": 4, "com.microsoft::GroupQueryAttention": 3}  # the operand
_FEW = 16  # rows up to which reading the weights is what a product costs
_MOST = 3072  # inputs: the more there are, the more a convolution of many rows loses
_ELEMENTWISE = frozenset(("Add", "Mul", "Gelu", "Relu", "Sigmoid", "Tanh"))
_BLOCK = 16  # channels in a block of onnxruntime's convolutions: 16 with AVX512, 8 with AVX2

_lengths = memo()


@native
def token_rows(x: Value) -> bool:
    """True for f32 rows [batch, length, size], as many as an attention appends to its cache.

    Such a model is run with many rows once and then with one row for each token.
    """
    shape, graph = x.shape, x.scope
    if x.dtype is not F32 or shape is None or len(shape) != 3 or graph is None:
        return False
    length = shape[1]
    if isinstance(length, int) and length > _FEW:
        return False
    known: set[DimLike] = _lengths[graph] if graph in _lengths else _lengths.keep(graph, _query_lengths(graph))
    return length in known


def _query_lengths(graph: Graph) -> set[DimLike]:
    """The lengths of what all attention in a graph appends to its cache. No rule here changes them."""
    found: set[DimLike] = set()
    for node in graph.nodes_of([op for op in graph.index if op.key in _PAST]):
        new = node.inputs[1]  # queries may have more rows: several heads on the same keys
        if node.input(_PAST[node.op.key]) is not None and new is not None and new.shape is not None:
            found.add(new.shape[-2])
    return found


@native
def blocks(w: Value | None, t: Value | None) -> bool:
    """True if a matrix [inputs, outputs], or its transpose, suits a convolution in blocks of channels."""
    shape = w.shape if w is not None else t.shape[::-1] if t is not None and t.shape is not None else None
    if shape is None:
        return False
    inputs, outputs = shape
    if not isinstance(inputs, int) or not isinstance(outputs, int):
        return False
    return inputs % _BLOCK == 0 and inputs <= _MOST and outputs >= _BLOCK


@native
def outputs_of(b: Value | None, w: Value | None, t: Value | None) -> bool:
    """True if a bias, where there is one, has an element for each output of the matrix."""
    matrix = w if w is not None else t
    if b is None:
        return True
    if matrix is None or matrix.shape is None or b.shape is None:
        return False
    return b.shape[0] == matrix.shape[1 if w is not None else 0]


@native
def stay_rows(*halves: Value) -> bool:
    """True if operators that work element by element alone read each value."""
    return all(user.op.key in _ELEMENTWISE for half in halves for user, _ in half.uses)


@native
def beside(*parts: Value | None) -> Any:
    """Matrices beside each other, or vectors after each other; absent if the first part is.

    They are put together when the file is written, so that large weights need no memory.
    """
    if parts[0] is None:
        return ABSENT
    tensors = [part.const for part in parts if part is not None and part.const is not None]
    first = tensors[0]
    width = sum(t.shape[-1] for t in tensors)

    def compute(array: Array) -> Array:
        return np.concatenate([array.reshape(first.shape), *(t.array() for t in tensors[1:])], axis=-1)

    recipe = " ".join(["beside", *(t.digest().hex() for t in tensors[1:])])
    return DeferredTensor(first.dtype, (*first.shape[:-1], width), first, recipe, compute)


def _after_attention(weights: str, body: str, outputs: str, size: int = 4) -> str:
    """A graph with an attention that grows a cache, and what follows it."""
    return f"""
    graph @main(%r: f32[2,1,{size}], %pk: f32[2,2,3,{size // 2}]) -> ({outputs}, %ks, %vs) {{{weights}
      %x, %ks, %vs = Attention(%r, %r, %r, none, %pk, %pk) {{kv_num_heads=2, q_num_heads=2}}{body}
    }}"""


_MATRICES = """
      weight %a: f32[4,1] = [1.0, 2.0, 0.5, -1.0]
      weight %b: f32[4,2] = [1.0, 2.0, 0.5, -1.0, 0.0, 3.0, 1.0, 1.0]
      weight %c: f32[4,1] = [2.0, -2.0, 3.0, 1.0]
      weight %ba: f32[1] = [1.0]
      weight %bb: f32[2] = [2.0, 3.0]
      weight %bc: f32[1] = [4.0]"""


@instance_for("pack_three", "pack_two")
def beside_each_other(pick: Pick) -> str:
    """Two or three products of the same rows, with bias or without."""
    names = pick("ab", "abc")
    bias = pick(False, True)
    product = "\n      %{1}{0} = MatMul(%x, %{0})"
    body = "".join(product.format(n, "m" if bias else "y") for n in names)
    body += "".join(f"\n      %y{n} = Add(%m{n}, %b{n})" for n in names if bias)
    return _after_attention(_MATRICES, body, ", ".join(f"%y{n}" for n in names))


@instance_for("gemm_rows", "gemm_rows_transposed")
def of_rows(pick: Pick) -> str:
    """A Gemm on rows, with bias or without, its matrix in both layouts."""
    operands, attributes = pick("%m, %b, %bb", "%m, %b"), pick("", " {transB=1}")
    weights = _MATRICES.replace("f32[4,2]", "f32[2,4]") if attributes else _MATRICES
    weights += "\n      weight %rows: i64[2] = [-1, 4]\n      weight %n: i64[1] = [2]"
    body = f"""
      %m = Reshape(%x, %rows)
      %g = Gemm({operands}){attributes}
      %bs = Shape(%x) {{end=2}}
      %to = Concat(%bs, %n) {{axis=0}}
      %y = Reshape(%g, %to)"""
    return _after_attention(weights, body, "%y")


@instance_for("product_as_convolution")
def of_blocks(pick: Pick) -> str:
    """A product of 16 channels, its matrix in both layouts, with bias or without."""
    transposed, bias = pick(False, True), pick(False, True)
    weights = "\n      weight %w: f32[16,16] = splat(0.5)\n      weight %b: f32[16] = splat(2.0)"
    body = "\n      %t = Transpose(%w) {perm=[1, 0]}" if transposed else ""
    body += f"\n      %m = MatMul(%x, {'%t' if transposed else '%w'})"
    body += f"\n      %y = {'Add(%m, %b)' if bias else 'Neg(%m)'}"
    return _after_attention(weights, body, "%y", 16)


@instance_for("rows_of_gate")
def gate_of_rows(pick: Pick) -> str:
    """A product in four dimensions whose halves are multiplied or added, one behind an activation."""
    activation = pick("Sigmoid", "Gelu", "Relu", "Tanh")
    end = pick("Mul(%g, %r)", "Add(%r, %g)")
    return f"""
    graph @main(%x: f32[1,{pick(1, 2)},{pick(1, 3)},6]) -> (%y) {{
      weight %zero: i64[1] = [0]
      weight %n: i64[2] = [3, 3]
      %s = Squeeze(%x, %zero)
      %l, %r = Split(%s, %n) {{axis={pick(2, -1)}}}
      %g = {activation}(%l)
      %y = {end}
    }}"""
