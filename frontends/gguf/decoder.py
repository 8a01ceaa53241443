"""The graph of a decoder with a cache of keys and values, from its sizes and weights.

Inputs are input_ids and position_ids [batch, seq], attention_mask [batch, total] (1 for what is seen) and past.N.key
and past.N.value [batch, heads, past, size]; outputs logits [batch, seq, tokens] and present.N.key and .value: the names
that exports of decoders have. Operators are ONNX's own, Attention, RMSNormalization and RotaryEmbedding among them.

Layers follow llama.cpp's graphs of the same architectures (src/models), which are those of transformers.
"""

from __future__ import annotations

import numpy as np

from ...ir.builder import Builder
from ...ir.core import Graph, Value
from ...ir.dims import DimLike, symbol
from ...ir.tensor import Array
from ...ir.types import BOOL, F32, I64, tensor_type
from .rope import Rope, frequencies
from .shape import PAIRS, Decoder
from .weights import Weights

# The lowest number itself hides nothing in some kernels.
_LOWEST = float(np.nextafter(np.finfo(np.float32).min, np.float32(0)))


def build(decoder: Decoder, weights: Weights) -> Graph:
    """The graph. Raises InvalidModel where tensors are missing or do not fit the sizes."""
    return _Building(decoder, weights).run()


class _Building:
    def __init__(self, decoder: Decoder, weights: Weights) -> None:
        self.d, self.weights = decoder, weights
        self.graph = Graph("decoder")
        self.b = Builder(self.graph)
        batch, seq, past = symbol("batch"), symbol("seq"), symbol("past")
        tokens = tensor_type(I64, (batch, seq))
        self.ids = self.graph.add_input("input_ids", tokens)
        self.mask = self.graph.add_input("attention_mask", tensor_type(I64, (batch, symbol("total"))))
        self.positions = self.graph.add_input("position_ids", tokens)
        self.batch, self.past = batch, past
        self.masks: dict[int, Value] = {}
        self.turns: dict[Rope, tuple[Value, Value]] = {}

    def run(self) -> Graph:
        d = self.d
        pasts = []
        for layer in range(d.layers):
            self.weights.shape(f"blk.{layer}.attn_output.weight")  # so that layers without end are not begun
            pasts.append((self._past(layer, "key", d.key_size), self._past(layer, "value", d.value_size)))
        x = self._embedded()
        presents = []
        for layer, (keys, values) in enumerate(pasts):
            x, *present = self._layer(f"blk.{layer}", layer, x, keys, values)
            presents += present
        logits = self._logits(x)
        names = [f"present.{layer}.{what}" for layer in range(d.layers) for what in ("key", "value")]
        self.graph.set_outputs([logits, *presents], ["logits", *names])
        return self.graph

    def _past(self, layer: int, what: str, size: int) -> Value:
        shape: tuple[DimLike, ...] = (self.batch, self.d.kv_heads, self.past, size)
        return self.graph.add_input(f"past.{layer}.{what}", tensor_type(F32, shape))

    # Around the layers

    def _table(self) -> Value:
        return self.weights.matrix(self.b, "token_embd.weight", self.d.vocabulary, self.d.width)

    def _embedded(self) -> Value:
        d, b = self.d, self.b
        b.loc = ("token_embd",)
        x = b.op("Gather", self._table(), self.ids)
        if d.family.is_scaled:
            x = b.op("Mul", x, b.const(d.width**0.5, F32))
        if not d.family.rope:
            b.loc = ("position_embd",)
            table = self.weights.matrix(b, "position_embd.weight", d.context, d.width)
            x = b.op("Add", x, b.op("Gather", table, self.positions))
        return x

    def _logits(self, x: Value) -> Value:
        d, b = self.d, self.b
        x = self._norm("output_norm", x)
        b.loc = ("output",)
        if self.weights.has("output.weight"):
            y = self._product("output", x, d.vocabulary, d.width)
        else:  # the head is the table
            y = b.op("MatMul", x, b.op("Transpose", self._table(), perm=(1, 0)))
        y = self._capped(y, d.last_cap)
        y.hint = "logits"
        return y

    # Parts

    def _product(self, name: str, x: Value, rows: int, columns: int, order: Array | None = None) -> Value:
        b = self.b
        b.loc = (name,)
        w = self.weights.matrix(b, f"{name}.weight", rows, columns, order)
        y = b.op("MatMul", x, b.op("Transpose", w, perm=(1, 0)))
        if self.weights.has(f"{name}.bias"):
            y = b.op("Add", y, self.weights.vector(f"{name}.bias", rows, order))
        return y

    def _norm(self, name: str, x: Value, size: int = 0) -> Value:
        b, size = self.b, size or self.d.width
        b.loc = (name,)
        scale = self.weights.vector(f"{name}.weight", size)
        if self.d.family.norm == "rms":
            return b.op("RMSNormalization", x, scale, axis=-1, epsilon=self.d.epsilon)
        bias = self.weights.vector(f"{name}.bias", size)
        return b.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=self.d.epsilon)

    def _capped(self, x: Value, cap: float) -> Value:
        if not cap:
            return x
        limit = self.b.const(cap, F32)
        return self.b.op("Mul", self.b.op("Tanh", self.b.op("Div", x, limit)), limit)

    def _activated(self, x: Value) -> Value:
        if self.d.family.act == "gelu":
            return self.b.op("Gelu", x, approximate="tanh")
        return self.b.op("Mul", x, self.b.op("Sigmoid", x))

    # Layers

    def _layer(self, name: str, layer: int, x: Value, keys: Value, values: Value) -> tuple[Value, Value, Value]:
        h = self._norm(f"{name}.attn_norm", x)
        y, new_keys, new_values = self._attention(name, layer, h, keys, values)
        if self.d.family.is_parallel:
            self.b.loc = (name,)
            y = self.b.op("Add", y, self._mlp(name, h))
            return self.b.op("Add", x, y), new_keys, new_values
        x = self._added(f"{name}.post_attention_norm", x, y)
        y = self._mlp(name, self._norm(f"{name}.ffn_norm", x))
        return self._added(f"{name}.post_ffw_norm", x, y), new_keys, new_values

    def _added(self, norm: str, x: Value, y: Value) -> Value:
        """The residual, behind a norm where the layer has one there."""
        if self.weights.has(f"{norm}.weight"):
            y = self._norm(norm, y)
        self.b.loc = (norm.rpartition(".")[0],)
        return self.b.op("Add", x, y)

    def _mlp(self, name: str, x: Value) -> Value:
        d, b = self.d, self.b
        if not d.family.is_gated:
            up = self._activated(self._product(f"{name}.ffn_up", x, d.inner, d.width))
        elif self.weights.has(f"{name}.ffn_gate.weight"):
            gate = self._activated(self._product(f"{name}.ffn_gate", x, d.inner, d.width))
            up = b.op("Mul", gate, self._product(f"{name}.ffn_up", x, d.inner, d.width))
        else:  # both in one, the gate first
            both = self._product(f"{name}.ffn_up", x, 2 * d.inner, d.width)
            gate, up = b.node("Split", [both, b.ints((d.inner, d.inner))], {"axis": -1}, outputs=2).outputs
            up = b.op("Mul", self._activated(gate), up)
        return self._product(f"{name}.ffn_down", up, d.width, d.inner)

    def _attention(self, name: str, layer: int, x: Value, keys: Value, values: Value) -> tuple[Value, Value, Value]:
        d, b = self.d, self.b
        q, k, v = self._projected(name, x)
        rope, window = (d.local, d.window) if d.has_window(layer) else (d.rope, 0)
        q = self._turned(self._normed_heads(f"{name}.attn_q_norm", q, d.heads), d.heads, rope)
        k = self._turned(self._normed_heads(f"{name}.attn_k_norm", k, d.kv_heads), d.kv_heads, rope)
        mask = self._mask(window, keys)
        b.loc = (f"{name}.attn",)
        attend = self._spelled_out if d.cap else self._attended
        y, new_keys, new_values = attend(q, k, v, mask, keys, values)
        new_keys.hint, new_values.hint = f"present.{layer}.key", f"present.{layer}.value"
        return self._product(f"{name}.attn_output", y, d.width, d.heads * d.value_size), new_keys, new_values

    def _projected(self, name: str, x: Value) -> tuple[Value, Value, Value]:
        """Queries, keys and values of three products, or of one."""
        d, b = self.d, self.b
        sizes = (d.heads * d.key_size, d.kv_heads * d.key_size, d.kv_heads * d.value_size)
        if self.weights.has(f"{name}.attn_qkv.weight"):
            if d.family.rope == PAIRS:
                orders = [_order(d, d.heads), sizes[0] + _order(d, d.kv_heads), sum(sizes[:2]) + np.arange(sizes[2])]
                order: Array | None = np.concatenate(orders)
            else:
                order = None
            all_three = self._product(f"{name}.attn_qkv", x, sum(sizes), d.width, order)
            q, k, v = b.node("Split", [all_three, b.ints(sizes)], {"axis": -1}, outputs=3).outputs
            return q, k, v
        pairs = d.family.rope == PAIRS
        q = self._product(f"{name}.attn_q", x, sizes[0], d.width, _order(d, d.heads) if pairs else None)
        k = self._product(f"{name}.attn_k", x, sizes[1], d.width, _order(d, d.kv_heads) if pairs else None)
        return q, k, self._product(f"{name}.attn_v", x, sizes[2], d.width)

    def _normed_heads(self, name: str, x: Value, heads: int) -> Value:
        """A norm of each head, where the layer has one."""
        if not self.weights.has(f"{name}.weight"):
            return x
        b = self.b
        b.loc = (name,)
        apart = b.op("Reshape", x, b.ints((0, 0, heads, self.d.key_size)))
        return b.op("Reshape", self._norm(name, apart, self.d.key_size), b.ints((0, 0, heads * self.d.key_size)))

    def _turned(self, x: Value, heads: int, rope: Rope) -> Value:
        """The first elements of each head turned by their position, those of two halves together."""
        if not rope.size:
            return x
        if rope not in self.turns:
            self.turns[rope] = self._turns(rope)
        whole = rope.size == self.d.key_size
        return self.b.op(
            "RotaryEmbedding", x, *self.turns[rope], num_heads=heads, rotary_embedding_dim=0 if whole else rope.size
        )

    def _turns(self, rope: Rope) -> tuple[Value, Value]:
        """Cosines and sines of all positions, f32 [batch, seq, pairs]."""
        b = self.b
        b.loc = ("rope",)
        places = b.op("Cast", b.op("Unsqueeze", self.positions, b.ints((2,))), to=F32.onnx)
        angles = b.op("Mul", places, self._frequencies(rope))
        cos, sin = b.op("Cos", angles), b.op("Sin", angles)
        if rope.magnitude == 1:
            return cos, sin
        magnitude = b.const(rope.magnitude, F32)
        return b.op("Mul", cos, magnitude), b.op("Mul", sin, magnitude)

    def _frequencies(self, rope: Rope) -> Value:
        """Radians of a step of each pair, f32 [1, 1, pairs]; another set where positions are beyond the first's."""
        b, pairs = self.b, rope.size // 2
        if self.weights.has("rope_factors_long.weight"):
            short, long = (self.weights.array(f"rope_factors_{which}.weight", pairs) for which in ("short", "long"))
            last = b.op("ReduceMax", self.positions, keepdims=0)
            is_beyond = b.op("GreaterOrEqual", last, b.const(rope.context, I64))
            return b.op("Where", is_beyond, b.const(frequencies(rope, long)), b.const(frequencies(rope, short)))
        has_factors = self.weights.has("rope_freqs.weight")
        return b.const(frequencies(rope, self.weights.array("rope_freqs.weight", pairs) if has_factors else None))

    def _mask(self, window: int, keys: Value) -> Value:
        """f32 [batch, 1, seq, total]: 0 for what a token sees, the lowest number for what it does not."""
        if window in self.masks:
            return self.masks[window]
        b = self.b
        b.loc = ("mask",)
        zero, one = b.const(0, I64), b.const(1, I64)
        past = b.op("Gather", b.op("Shape", keys), b.const(2, I64))
        new = b.op("Gather", b.op("Shape", self.ids), one)
        total = b.op("Gather", b.op("Shape", self.mask), one)
        rows = b.op("Reshape", b.op("Range", past, b.op("Add", past, new), one), b.ints((-1, 1)))
        columns = b.op("Range", zero, total, one)
        hidden = b.op("Greater", columns, rows)
        if window:
            hidden = b.op("Or", hidden, b.op("LessOrEqual", columns, b.op("Sub", rows, b.const(window, I64))))
        unseen = b.op("Equal", b.op("Unsqueeze", self.mask, b.ints((1, 2))), zero)
        assert hidden.dtype is BOOL
        found = b.op("Where", b.op("Or", hidden, unseen), b.const(_LOWEST, F32), b.const(0.0, F32))
        self.masks[window] = found
        return found

    def _attended(
        self, q: Value, k: Value, v: Value, mask: Value, keys: Value, values: Value
    ) -> tuple[Value, Value, Value]:
        d = self.d
        attrs = {"q_num_heads": d.heads, "kv_num_heads": d.kv_heads, "scale": d.scale}
        y, new_keys, new_values = self.b.node("Attention", [q, k, v, mask, keys, values], attrs, outputs=3).outputs
        return y, new_keys, new_values

    def _spelled_out(
        self, q: Value, k: Value, v: Value, mask: Value, keys: Value, values: Value
    ) -> tuple[Value, Value, Value]:
        """Attention with limited scores: the operator's limit is on scores that have the mask in them, and then it
        hides nothing."""
        d, b = self.d, self.b
        group = d.heads // d.kv_heads
        q = self._heads(q, d.heads, d.key_size)
        new_keys = b.op("Concat", keys, self._heads(k, d.kv_heads, d.key_size), axis=2)
        new_values = b.op("Concat", values, self._heads(v, d.kv_heads, d.value_size), axis=2)
        turned = b.op("Transpose", self._repeated(new_keys, group, d.key_size), perm=(0, 1, 3, 2))
        scale = b.const(d.key_size**-0.5 if d.scale is None else d.scale, F32)
        scores = self._capped(b.op("Mul", b.op("MatMul", q, turned), scale), d.cap)
        shares = b.op("Softmax", b.op("Add", scores, mask), axis=-1)
        y = b.op("MatMul", shares, self._repeated(new_values, group, d.value_size))
        y = b.op("Transpose", y, perm=(0, 2, 1, 3))
        return b.op("Reshape", y, b.ints((0, 0, d.heads * d.value_size))), new_keys, new_values

    def _heads(self, x: Value, heads: int, size: int) -> Value:
        """[batch, seq, heads * size] as [batch, heads, seq, size]."""
        return self.b.op("Transpose", self.b.op("Reshape", x, self.b.ints((0, 0, heads, size))), perm=(0, 2, 1, 3))

    def _repeated(self, x: Value, group: int, size: int) -> Value:
        """Each head of keys or values as often as queries share it."""
        if group == 1:
            return x
        b, d = self.b, self.d
        apart = b.op("Unsqueeze", x, b.ints((2,)))
        more = b.op("Expand", apart, b.ints((1, 1, group, 1, 1)))
        return b.op("Reshape", more, b.ints((0, d.heads, -1, size)))


def _order(d: Decoder, heads: int) -> Array:
    """The rows of a projection whose neighbours turn together, so that halves of each head do."""
    turned = d.rope.size
    head = np.concatenate([np.arange(0, turned, 2), np.arange(1, turned, 2), np.arange(turned, d.key_size)])
    return np.asarray(np.arange(heads)[:, None] * d.key_size + head).reshape(-1)
