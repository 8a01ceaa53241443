"""The llama family in a graph: what llama.cpp's ``llama`` computes, found node by node from the logits back.

    x = table[ids]
    x = x + o(attention(rope(q(n)), rope(k(n)), v(n)))     n = rmsnorm(x)        for each layer
    x = x + down(silu(gate(n)) up(n))                      n = rmsnorm(x)
    logits = head(rmsnorm(x))

Products may have biases where llama.cpp has them: queries, keys, values and outputs of attention, and the three of the
MLP. (``src/models/llama.cpp`` there; Touvron and others, 2023.) What does not fit is refused with what was looked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ...ir.core import Model, Node, Value
from ...ir.errors import UnsupportedModel
from ...ir.tensor import Array
from .masks import window_of
from .rotary import Rotation, rotation_of
from .weights import Matrix, matrix_of


class Product(NamedTuple):
    """``left @ matrix + bias``."""

    left: Value
    matrix: Matrix
    bias: Array | None
    node: Node


@dataclass
class Layer:
    """One layer: matrices by llama.cpp's names without the ``blk.N.``, and its two norms."""

    products: dict[str, Product] = field(default_factory=dict)
    norms: dict[str, Array] = field(default_factory=dict)


@dataclass
class Decoder:
    """A decoder of the family; `head` None where it is the table."""

    table: Matrix
    layers: list[Layer]
    norm: Array
    head: Matrix | None
    epsilon: float
    heads: int
    kv_heads: int
    key_size: int
    value_size: int
    inner: int
    rotation: Rotation
    window: int  # tokens that attention sees at the most, 0 where there is no limit

    @property
    def architecture(self) -> str:
        """What llama.cpp calls it: ``qwen2`` has biases of queries, keys and values alone and turns halves of heads,
        which leaves their rows where they are; it has no factors, and heads as wide as the model."""
        biased = {name for layer in self.layers for name, product in layer.products.items() if product.bias is not None}
        turns_halves = not self.rotation.interleaved and (not self.rotation.factors or self.rotation.stretch)
        is_qwen = biased == {"attn_q", "attn_k", "attn_v"} and turns_halves and self.heads * self.key_size == self.width
        return "qwen2" if is_qwen else "llama"

    @property
    def width(self) -> int:
        """Elements of a token between layers."""
        return self.table.shape[1]

    @property
    def vocabulary(self) -> int:
        """Rows of the table."""
        return self.table.shape[0]


def missing(what: str, node: Node | None = None) -> UnsupportedModel:
    """The error for what was not found, and where it was looked for."""
    where = f" at {node.loc[0]}" if node is not None and node.loc else ""
    return UnsupportedModel(f"gguf: no decoder of the llama family: {what}{where}")


def read_decoder(model: Model) -> Decoder:
    """The decoder that a model's first output comes from. Raises UnsupportedModel with what was not found."""
    return _Reader().read(model.graph.outputs[0])


class _Reader:
    def __init__(self) -> None:
        self.epsilon: float | None = None
        self.sizes: tuple[int, int, int, int] | None = None  # heads, kv_heads, key_size, value_size
        self.rotation: Rotation | None = None
        self.windows: list[int] = []
        self.checked: dict[Value, int] = {}  # masks, with the tokens that they let a query see

    def read(self, logits: Value) -> Decoder:
        head = product_of(logits)
        if head is None or head.bias is not None:
            raise missing("no product with a head makes the logits", logits.producer)
        last, norm = self._norm(head.left, "the head")
        layers: list[Layer] = []
        x = last
        while not (x.producer is not None and x.producer.op.key == "Gather"):
            layer, x = self._layer(x)
            layers.append(layer)
        gather = x.producer
        table = matrix_of(gather.inputs[0]) if gather.inputs[0] is not None else None
        ids = gather.inputs[1]
        if table is None or gather.attr("axis") != 0 or ids is None or not ids.is_input:
            raise missing("no table whose rows an input chooses", gather)
        if not layers or self.sizes is None or self.epsilon is None or self.rotation is None:
            raise missing("no layers between the table and the head", gather)
        layers.reverse()
        inner = {layer.products["ffn_up"].matrix.shape[0] for layer in layers}
        if len(inner) > 1:
            raise missing(f"MLPs of different sizes: {sorted(inner)}")
        same = head.matrix.source is table.source or _same(head.matrix, table)
        found = None if same else head.matrix
        windows = [window for window in self.windows if window]
        window = min(windows, default=0)
        return Decoder(table, layers, norm, found, self.epsilon, *self.sizes, inner.pop(), self.rotation, window)

    # Layers, from their end

    def _layer(self, x: Value) -> tuple[Layer, Value]:
        layer = Layer()
        middle, down = self._residual(x, "of an MLP")
        both = down.left.producer
        if both is None or both.op.key != "Mul":
            raise missing("no product of silu(gate) and up before the residual", down.node)
        gate_up = [(silu_of(both.inputs[i]), both.inputs[1 - i]) for i in (0, 1)]
        found = next(((a, b) for a, b in gate_up if a is not None and b is not None), None)
        gate, up = (None, None) if found is None else (product_of(found[0]), product_of(found[1]))
        if gate is None or up is None or gate.left is not up.left:
            raise missing("no silu of a gate, and up, of one input", both)
        before, layer.norms["ffn_norm"] = self._norm(gate.left, "the MLP")
        if before is not middle:
            raise missing("the MLP does not read the norm of its residual", both)
        layer.products |= {"ffn_gate": gate, "ffn_up": up, "ffn_down": down}
        start, out = self._residual(middle, "of attention")
        self._attention(layer, out, start)
        return layer, start

    def _residual(self, x: Value, what: str) -> tuple[Value, Product]:
        """x = residual + product; which is which, the products know: the residual is no product of a matrix."""
        node = x.producer
        if node is None or node.op.key != "Add":
            raise missing(f"no sum with the residual {what}", node)
        for i in (0, 1):
            value, other = node.inputs[i], node.inputs[1 - i]
            found = None if value is None else product_of(value)
            if found is not None and other is not None and other.const is None:
                return other, found
        raise missing(f"no product beside the residual {what}", node)

    def _norm(self, x: Value, what: str) -> tuple[Value, Array]:
        node = x.producer
        if node is None or node.op.key != "RMSNormalization":
            raise missing(f"no RMSNormalization before {what}", node)
        source, scale = node.inputs[0], node.inputs[1]
        if source is None or scale is None or scale.const is None or len(scale.const.shape) != 1:
            raise missing("a norm whose scale is no constant", node)
        if node.attr("axis") not in (-1, (source.rank or 0) - 1):
            raise missing("a norm over more than the last axis", node)
        epsilon = float(node.attr("epsilon"))
        if self.epsilon is not None and epsilon != self.epsilon:
            raise missing(f"norms of different epsilon, {self.epsilon} and {epsilon}", node)
        self.epsilon = epsilon
        return source, scale.const.array().astype(np.float32)

    def _attention(self, layer: Layer, out: Product, start: Value) -> None:
        joined = through_views(out.left)
        node = joined.producer
        if node is None or node.op.key != "Attention":
            raise missing("no Attention before the product of the residual", out.node)
        heads, kv_heads, key_size, value_size = sizes = _sizes(node, out)
        if key_size != value_size:
            said = f"keys of {key_size} elements and values of {value_size}, which llama.cpp has of one size"
            raise missing(said, node)
        if self.sizes not in (None, sizes):
            raise missing("layers with heads of other numbers or sizes", node)
        self.sizes = sizes
        scale = node.attr("scale")
        if scale is not None and not math.isclose(scale, key_size**-0.5, rel_tol=1e-5):
            raise missing(f"scores times {scale}, not 1 / sqrt({key_size})", node)
        if node.attr("softcap"):
            raise missing("scores with a limit", node)
        self.windows.append(window_of(node, self.checked))
        reads: dict[str, Product] = {}
        for index, (name, count) in enumerate((("q", heads), ("k", kv_heads), ("v", kv_heads))):
            value = node.inputs[index]
            assert value is not None
            value = _without_past(value) if index else value
            turned, source = _unrotated(value, count, key_size)
            found = product_of(source)
            if found is None or found.matrix.shape[0] != count * key_size:
                raise missing(f"no product makes the {name} of attention", node)
            if (turned is None) is (index < 2):
                raise missing(f"{'no' if index < 2 else 'a'} rotary embedding of {name}", node)
            if turned is not None:
                rotation = rotation_of(turned, key_size)
                if rotation.size != key_size:
                    said = f"a rotary embedding of {rotation.size} of {key_size} elements"
                    raise missing(f"{said}, where llama.cpp turns whole heads", turned)
                if self.rotation not in (None, rotation):
                    raise missing("rotary embeddings that differ", turned)
                self.rotation = rotation
            reads[name] = found
        if not reads["q"].left is reads["k"].left is reads["v"].left:
            raise missing("queries, keys and values of different inputs", node)
        before, layer.norms["attn_norm"] = self._norm(reads["q"].left, "attention")
        if before is not start:
            raise missing("attention does not read the norm of its residual", node)
        layer.products |= {f"attn_{name}": found for name, found in reads.items()}
        layer.products["attn_output"] = out


def product_of(value: Value) -> Product | None:
    """A product with a constant matrix, and perhaps a bias; None for anything else."""
    node = value.producer
    bias: Array | None = None
    if node is not None and node.op.key == "Add":
        for i in (0, 1):
            added, inner = node.inputs[1 - i], node.inputs[i]
            constant = None if added is None else added.const
            if constant is not None and inner is not None and len(constant.shape) == 1:
                bias = constant.array().astype(np.float32)
                node = inner.producer
                break
    if node is None or node.op.key != "MatMul":
        return None
    left, right = node.inputs
    matrix = None if right is None else matrix_of(right, turned=True)
    if left is None or matrix is None or (bias is not None and bias.shape != matrix.shape[:1]):
        return None
    return Product(left, matrix, bias, node)


def silu_of(value: Value | None) -> Value | None:
    """g where `value` is g sigmoid(g)."""
    node = None if value is None else value.producer
    if node is None:
        return None
    if node.op.key == "Swish":
        return node.inputs[0] if node.attr("alpha") in (None, 1.0) else None
    if node.op.key == "Mul":
        for i in (0, 1):
            g, other = node.inputs[i], node.inputs[1 - i]
            made = None if other is None else other.producer
            if made is not None and made.op.key == "Sigmoid" and made.inputs[0] is g:
                return g
    return None


def through_views(value: Value) -> Value:
    """What Reshape, and Transpose that changes heads and places, only lay out in another way."""
    while True:
        node = value.producer
        is_view = node is not None and (
            node.op.key == "Reshape" or (node.op.key == "Transpose" and tuple(node.attr("perm") or ()) == (0, 2, 1, 3))
        )
        if node is None or not is_view or node.inputs[0] is None:
            return value
        value = node.inputs[0]


def _sizes(node: Node, out: Product) -> tuple[int, int, int, int]:
    """Heads, heads of keys and values, sizes of a key and a value of a head."""
    q, k, v = (node.inputs[i] for i in range(3))
    if q is None or k is None or v is None or not (q.shape and k.shape and v.shape):
        raise missing("attention of unknown shape", node)
    found: list[object]
    if len(q.shape) == 4:
        found = [q.shape[1], k.shape[1], q.shape[3], v.shape[3]]
    else:
        heads, kv_heads = node.attr("q_num_heads"), node.attr("kv_num_heads")
        sizes = [d // n if isinstance(d, int) and n else None for d, n in ((q.shape[2], heads), (v.shape[2], kv_heads))]
        found = [heads, kv_heads, *sizes]
    known = [number for number in found if isinstance(number, int)]
    if len(known) < len(found) or out.matrix.shape[1] != known[0] * known[3]:
        raise missing("attention with numbers or sizes of heads that are not known", node)
    return known[0], known[1], known[2], known[3]


def _without_past(value: Value) -> Value:
    """The new part of keys or values that are appended to a past."""
    node = value.producer
    if node is not None and node.op.key == "Concat" and len(node.inputs) == 2 and node.attr("axis") in (2, -2):
        past, new = node.inputs
        if past is not None and new is not None and past.is_input:
            return new
    return value


def _unrotated(value: Value, heads: int, size: int) -> tuple[Node | None, Value]:
    """The RotaryEmbedding on the way to a product, and the product; [.., heads, size] is how views lay it out."""
    turned: Node | None = None
    while True:
        inner = through_views(value)
        node = inner.producer
        if node is None or node.op.key != "RotaryEmbedding" or turned is not None or node.inputs[0] is None:
            break
        turned, value = node, node.inputs[0]
        shape = value.shape or ()
        whole = len(shape) == 4 and shape[1] == heads and shape[3] == size
        if not whole and not (len(shape) == 3 and node.attr("num_heads") == heads and shape[2] == heads * size):
            raise missing("a rotary embedding of something else than heads", node)
    return turned, inner


def _same(a: Matrix, b: Matrix) -> bool:
    if a.shape != b.shape:
        return False
    return bool(np.array_equal(a.floats(), b.floats()))
