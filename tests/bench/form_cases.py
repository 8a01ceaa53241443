"""The operator forms that forms.py measures: what onnxruntime's CPU provider might be given for each operator.

A case is one operator at one shape; its forms are ONNX text (as onnx.parser reads it) that computes `y` from `x` and other
inputs. The first form is the plain one, in basic operators. <D>, <H> and so on stand for the sizes of the case.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Forms = dict[str, str]
Types = dict[str, str]

NUMBERS = {
    "sqrt2": 2.0**0.5, "one": 1.0, "half": 0.5, "two": 2.0, "three": 3.0, "six": 6.0, "twenty": 20.0, "zero": 0.0,
    "sixth": 1 / 6, "c3": 0.044715, "c0": (2 / np.pi) ** 0.5, "c17": 1.702, "eps": 1e-5, "scale": 0.125, "lowest": -3e38,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One operator at one shape.

    `given` are further inputs and `weights` constants, by name, as ONNX types; `lists` are constants of int64.
    `repeat`: how often the form is applied, each time to the result before, so that the cost of calling onnxruntime
    does not count. `also`: outputs beside `y`.
    """

    op: str
    shape: str
    sizes: dict[str, int]
    x: str
    forms: Forms
    given: Types = field(default_factory=dict)
    weights: Types = field(default_factory=dict)
    lists: dict[str, list[int]] = field(default_factory=dict)
    repeat: int = 4
    also: tuple[str, ...] = ()


def sized(text: str, sizes: dict[str, int]) -> str:
    """`text` with <NAME> replaced by the size NAME."""
    for name, size in sizes.items():
        text = text.replace(f"<{name}>", str(size))
    return text


def array(name: str, type_: str, sizes: dict[str, int]) -> Any:
    """Values for an input or a weight: the same for the same name, digits at its end aside (they tell ranks apart)."""
    kind, _, rest = sized(type_, sizes).rstrip("]").partition("[")
    shape = [sizes[d] if d in sizes else int(d) for d in rest.split(",") if d]
    stem = name.rstrip("0123456789")
    random = np.random.default_rng(zlib.crc32(stem.encode()))
    if stem in ("ones", "zeros"):
        return np.full(shape, stem == "ones", np.float32)
    if stem in ("mask", "keep"):
        keep = np.ones(shape, bool)
        keep[..., shape[-1] - shape[-1] // 4 :] = False
        return keep if stem == "keep" else np.where(keep, 0, -3e38).astype(np.float32)
    if stem == "triangle":
        return np.where(np.tril(np.ones(shape)) > 0, 0, -3e38).astype(np.float32)
    if stem == "ids":
        return np.broadcast_to(np.arange(shape[-1]), shape).astype(np.int64)
    if kind == "int32":
        return np.full(shape, sizes["T"] - (stem == "last_key"), np.int32)
    values = random.normal(size=int(np.prod(shape))).reshape(shape)
    if len(shape) > 1 and stem == "weight":
        values /= shape[0] ** 0.5
    return values.astype(np.float32)


_GELU = "d = Div({x}, sqrt2) e = Erf(d) f = Add(e, one) g = Mul({x}, f) y = Mul(g, half)"
_GELU_TANH = (
    "c = Pow({x}, three) d = Mul(c, c3) e = Add({x}, d) f = Mul(e, c0) t = Tanh(f) u = Add(t, one) v = Mul({x}, u) "
    "y = Mul(v, half)"
)
ACTIVATIONS: dict[str, Forms] = {
    "Gelu": {
        "plain": _GELU.format(x="x"),
        "Gelu": "y = Gelu(x)",
        "com.microsoft Gelu": "y = com.microsoft.Gelu(x)",
    },
    "Gelu tanh": {
        "plain": _GELU_TANH.format(x="x"),
        "Gelu": 'y = Gelu <approximate = "tanh"> (x)',
        "FastGelu": "y = com.microsoft.FastGelu(x)",
    },
    "Bias and Gelu": {
        "plain": "b = Add(x, bias) " + _GELU.format(x="b"),
        "Add, Gelu": "b = Add(x, bias) y = Gelu(b)",
        "BiasGelu": "y = com.microsoft.BiasGelu(x, bias)",
    },
    "Bias and Gelu tanh": {
        "plain": "b = Add(x, bias) " + _GELU_TANH.format(x="b"),
        "Add, Gelu": 'b = Add(x, bias) y = Gelu <approximate = "tanh"> (b)',
        "FastGelu": "y = com.microsoft.FastGelu(x, bias)",
    },
    "Swish": {
        "plain": "s = Sigmoid(x) y = Mul(x, s)",
        "Swish": "y = Swish(x)",
        "QuickGelu": "y = com.microsoft.QuickGelu <alpha = 1.0> (x)",
    },
    "Swish 1.702": {
        "plain": "a = Mul(x, c17) s = Sigmoid(a) y = Mul(x, s)",
        "Swish": "y = Swish <alpha = 1.702> (x)",
        "QuickGelu": "y = com.microsoft.QuickGelu <alpha = 1.702> (x)",
    },
    "SwiGLU": {
        "plain": "s = Sigmoid(x) g = Mul(x, s) y = Mul(g, other)",
        "QuickGelu, Mul": "g = com.microsoft.QuickGelu <alpha = 1.0> (x) y = Mul(g, other)",
    },
    "HardSwish": {
        "plain": "a = Add(x, three) b = Clip(a, zero, six) c = Mul(x, b) y = Div(c, six)",
        "HardSwish": "y = HardSwish(x)",
        "HardSigmoid, Mul": "h = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x) y = Mul(x, h)",
    },
    "HardSigmoid": {
        "plain": "a = Mul(x, sixth) b = Add(a, half) y = Clip(b, zero, one)",
        "HardSigmoid": "y = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x)",
    },
    "Mish": {
        "plain": "e = Exp(x) f = Add(e, one) l = Log(f) t = Tanh(l) y = Mul(x, t)",
        "Mish": "y = Mish(x)",
        "Softplus": "l = Softplus(x) t = Tanh(l) y = Mul(x, t)",
        "quotient": "c = Min(x, twenty) e = Exp(c) a = Add(e, two) n = Mul(e, a) d = Add(n, two) q = Div(n, d) y = Mul(x, q)",
    },
    "Softplus": {"plain": "e = Exp(x) f = Add(e, one) y = Log(f)", "Softplus": "y = Softplus(x)"},
}

_LAYER = (
    "m = ReduceMean <keepdims = 1> ({x}, last) d = Sub({x}, m) p = Pow(d, two) v = ReduceMean <keepdims = 1> (p, last) "
    "w = Add(v, eps) r = Sqrt(w) n = Div(d, r) k = Mul(n, gamma) {y} = Add(k, beta)"
)
_RMS = (
    "p = Pow({x}, two) v = ReduceMean <keepdims = 1> (p, last) w = Add(v, eps) r = Sqrt(w) n = Div({x}, r) "
    "{y} = Mul(n, gamma)"
)
_LN = "LayerNormalization <axis = -1, epsilon = 0.00001>"
_SKIP = "com.microsoft.SkipLayerNormalization <epsilon = 0.00001>"
NORMS: dict[str, Forms] = {
    "LayerNormalization": {
        "plain": _LAYER.format(x="x", y="y"),
        "LayerNormalization": f"y = {_LN} (x, gamma, beta)",
    },
    "Add and LayerNormalization": {
        "plain": "a = Add(x, skip) " + _LAYER.format(x="a", y="y"),
        "Add, LayerNormalization": f"a = Add(x, skip) y = {_LN} (a, gamma, beta)",
        "SkipLayerNormalization": f"y = {_SKIP} (x, skip, gamma, beta)",
        "Sum, LayerNormalization": f"a = Sum(x, skip) y = {_LN} (a, gamma, beta)",
        "on rows": f"r = Reshape(x, rows) s = Reshape(skip, rows) a = Add(r, s) l = {_LN} (a, gamma, beta) y = Reshape(l, cube)",
    },
    "Bias, Add and LayerNormalization": {
        "plain": "b = Add(x, bias) a = Add(b, skip) " + _LAYER.format(x="a", y="y"),
        "SkipLayerNormalization": f"y = {_SKIP} (x, skip, gamma, beta, bias)",
        "Sum of three": f"a = Sum(x, bias, skip) y = {_LN} (a, gamma, beta)",
        "Add, Sum": f"b = Add(x, bias) a = Sum(b, skip) y = {_LN} (a, gamma, beta)",
    },
    "Add used again and LayerNormalization": {
        "plain": "a = Add(x, skip) " + _LAYER.format(x="a", y="l") + " y = Add(a, l)",
        "Add, LayerNormalization": f"a = Add(x, skip) l = {_LN} (a, gamma, beta) y = Add(a, l)",
        "SkipLayerNormalization": f"l, m, v, a = {_SKIP} (x, skip, gamma, beta) y = Add(a, l)",
    },
    "RMSNormalization": {
        "plain": _RMS.format(x="x", y="y"),
        "RMSNormalization": "y = RMSNormalization <axis = -1, epsilon = 0.00001> (x, gamma)",
        "SimplifiedLayerNormalization": "y = SimplifiedLayerNormalization <axis = -1, epsilon = 0.00001> (x, gamma)",
    },
    "Add used again and RMSNormalization": {
        "plain": "a = Add(x, skip) " + _RMS.format(x="a", y="l") + " y = Add(a, l)",
        "Add, RMSNormalization": "a = Add(x, skip) l = RMSNormalization <axis = -1, epsilon = 0.00001> (a, gamma) y = Add(a, l)",
        "SkipSimplifiedLayerNormalization": "l, m, v, a = com.microsoft.SkipSimplifiedLayerNormalization <epsilon = 0.00001> "
        "(x, skip, gamma) y = Add(a, l)",
    },
}
_ROWS = "r = Reshape(x, rows) "
PROJECTIONS: dict[str, Forms] = {
    "Projection": {
        "plain": "m = MatMul(x, weight) y = Add(m, bias)",
        "Gemm": _ROWS + "g = Gemm(r, weight, bias) y = Reshape(g, cube)",
    },
    "Projection and Gelu": {
        "plain": "m = MatMul(x, weight) a = Add(m, bias) y = Gelu(a)",
        "Gemm": _ROWS + "g = Gemm(r, weight, bias) a = Gelu(g) y = Reshape(a, cube)",
        "BiasGelu": "m = MatMul(x, weight) y = com.microsoft.BiasGelu(m, bias)",
    },
    "Projection and Relu": {
        "plain": "m = MatMul(x, weight) a = Add(m, bias) y = Relu(a)",
        "Gemm": _ROWS + "g = Gemm(r, weight, bias) a = Relu(g) y = Reshape(a, cube)",
    },
    "Projection and Add": {
        "plain": "m = MatMul(x, weight) b = Add(m, bias) y = Add(b, skip)",
        "Gemm, Add": _ROWS + "s = Reshape(skip, rows) g = Gemm(r, weight, bias) a = Add(g, s) y = Reshape(a, cube)",
        "Gemm of skip, Add": _ROWS
        + "s = Reshape(skip, rows) g = Gemm(r, weight, s) a = Add(g, bias) y = Reshape(a, cube)",
        "Sum of three": "m = MatMul(x, weight) y = Sum(m, bias, skip)",
    },
}


def _rowwise(groups: dict[str, Forms], shapes: list[tuple[int, int]]) -> Iterator[Case]:
    """Operators on [1, rows, width]."""
    for op, forms in groups.items():
        text = " ".join(forms.values())
        for rows, width in shapes:
            yield Case(
                op, f"{rows} x {width}", {"B": 1, "S": rows, "D": width}, "float[B,S,<D>]", forms,
                {n: "float[B,S,<D>]" for n in ("skip", "other") if n in text},
                {n: "float[<D>]" for n in ("gamma", "beta", "bias") if n in text} | {"weight": "float[<D>,<D>]"},
                {"last": [-1], "rows": [-1, width], "cube": [1, rows, width]}, repeat=8 if rows < 128 else 4,
            )  # fmt: skip


def _group_norms() -> Iterator[Case]:
    head = "s = Reshape(x, grouped) n = InstanceNormalization(s, ones, zeros) "
    forms = {
        "plain": head + "h = Shape(x) r = Reshape(n, h) k = Mul(r, gamma3) y = Add(k, beta3)",
        "GroupNormalization": "y = GroupNormalization <num_groups = 32> (x, gamma1, beta1)",
        "scaled as [channel, -1]": head
        + "r = Reshape(n, by_channel) k = Mul(r, gamma2) a = Add(k, beta2) h = Shape(x) "
        "y = Reshape(a, h)",
        "BatchNormalization": head + "h = Shape(x) r = Reshape(n, h) "
        "y = BatchNormalization <epsilon = 0.0> (r, gamma1, beta1, zeros1, ones1)",
    }
    weights = {"ones": "float[32]", "zeros": "float[32]", "ones1": "float[<C>]", "zeros1": "float[<C>]"}
    for name in ("gamma", "beta"):
        weights |= {f"{name}1": "float[<C>]", f"{name}2": "float[<C>,1]", f"{name}3": "float[<C>,1,1]"}
    for channels, side in ((32, 64), (64, 32), (128, 16), (320, 32)):
        yield Case(
            "GroupNormalization", f"{channels} x {side} x {side}", {"B": 1, "C": channels, "W": side}, "float[B,<C>,<W>,<W>]",
            forms, {}, weights, {"grouped": [0, 32, -1], "by_channel": [0, channels, -1]}, repeat=2,
        )  # fmt: skip


_HEADS = "qs = Reshape(x, split) qt = Transpose <perm = [0, 2, 1, 3]> (qs) "
_JOIN = " ot = Transpose <perm = [0, 2, 1, 3]> (o) y = Reshape(ot, join)"


def _rotary() -> Iterator[Case]:
    forms = {
        "plain": _HEADS + "a = Slice(qt, at0, at_half, last) b = Slice(qt, at_half, at_end, last) nb = Neg(b) "
        "t = Concat <axis = -1> (nb, a) u = Mul(qt, cos_wide) w = Mul(t, sin_wide) o = Add(u, w)" + _JOIN,
        "4-D": _HEADS + "o = RotaryEmbedding(qt, cos3, sin3)" + _JOIN,
        "3-D": "y = RotaryEmbedding <num_heads = <H>> (x, cos3, sin3)",
        "3-D with positions": "y = RotaryEmbedding <num_heads = <H>> (x, cos2, sin2, ids)",
        "com.microsoft": "y = com.microsoft.RotaryEmbedding <num_heads = <H>> (x, ids, cos2, sin2)",
    }
    for heads, size in ((3, 64), (9, 64), (12, 64), (8, 32)):
        for length in (1, 16, 128, 512):
            half = {n + r: f"float[{p}<S>,<E>]" for n in ("cos", "sin") for r, p in (("2", ""), ("3", "1,"))}
            sizes = {"B": 1, "S": length, "H": heads, "E": size // 2, "HD": heads * size}
            yield Case(
                "RotaryEmbedding", f"{heads} heads of {size}, {length}", sizes, "float[B,S,<HD>]", forms, {"ids": "int64[B,S]"},
                half | {"cos_wide": "wide", "sin_wide": "wide"},
                {"split": [0, 0, heads, size], "join": [0, 0, heads * size], "at0": [0], "at_half": [size // 2],
                 "at_end": [size], "last": [-1]},
            )  # fmt: skip


def _attention() -> Iterator[Case]:
    for mask in ("", "float mask", "bool mask", "causal"):
        for heads, size, length in (
            (6, 64, 16), (12, 64, 16), (12, 32, 128), (6, 64, 128), (12, 64, 128), (12, 64, 512), (6, 64, 1500), (4, 16, 4096),
        ):  # fmt: skip
            if mask == "" or length <= 512:
                yield _attention_case(mask, heads, size, length)


def _attention_case(mask: str, heads: int, size: int, length: int) -> Case:
    operand = {"": "", "float mask": ", mask", "bool mask": ", keep", "causal": ""}[mask]
    add = {
        "": "p = Softmax <axis = -1> (s2)", "float mask": "s3 = Add(s2, mask) p = Softmax <axis = -1> (s3)",
        "bool mask": "s3 = Where(keep, s2, lowest) p = Softmax <axis = -1> (s3)",
        "causal": "s3 = Add(s2, triangle) p = Softmax <axis = -1> (s3)",
    }[mask]  # fmt: skip
    keys = "ks = Reshape(k, split) vs = Reshape(v, split) vt = Transpose <perm = [0, 2, 1, 3]> (vs) "
    factor = f"scale = {NUMBERS['scale']}"
    causal = ", is_causal = 1" if mask == "causal" else ""
    forms = {
        "plain": f"{_HEADS}{keys} kt = Transpose <perm = [0, 2, 3, 1]> (ks) s1 = MatMul(qt, kt) s2 = Mul(s1, scale) {add} "
        f"o = MatMul(p, vt){_JOIN}",
        "3-D": f"y = Attention <q_num_heads = <H>, kv_num_heads = <H>, {factor}{causal}> (x, k, v{operand})",
        "4-D": f"{_HEADS}{keys} kt = Transpose <perm = [0, 2, 1, 3]> (ks) o = Attention <{factor}{causal}> "
        f"(qt, kt, vt{operand}){_JOIN}",
    }
    if mask != "bool mask":
        tail = ",,,mask" if mask == "float mask" else ""
        one_way = ", unidirectional = 1" if causal else ""
        forms["MultiHeadAttention"] = (
            f"y = com.microsoft.MultiHeadAttention <num_heads = <H>, {factor}{one_way}> (x, k, v{tail})"
        )
    if causal:
        forms["GroupQueryAttention"] = (
            f"y, a, b = com.microsoft.GroupQueryAttention <num_heads = <H>, kv_num_heads = <H>, {factor}> "
            "(x, k, v,,, last_key, total)"
        )
    row = f"float[B,S,{heads * size}]"
    return Case(
        "Attention" + (f", {mask}" if mask else ""), f"{heads} heads of {size}, {length}",
        {"B": 1, "S": length, "T": length, "H": heads}, row, forms,
        {"k": row, "v": row, "mask": "float[B,1,S,T]", "keep": "bool[B,1,S,T]", "last_key": "int32[B]", "total": "int32[]"},
        {"triangle": "float[1,1,<S>,<S>]"}, {"split": [0, 0, heads, size], "join": [0, 0, heads * size]},
        repeat=4 if length < 512 else 1,
    )  # fmt: skip


def _attention_past() -> Iterator[Case]:
    for heads, groups, size in ((12, 12, 64), (9, 3, 64), (8, 2, 64)):
        for past in (128, 1024):
            yield _past_case(heads, groups, size, past)


def _past_case(heads: int, groups: int, size: int, past: int) -> Case:
    factor, many = f"scale = {NUMBERS['scale']}", f"num_heads = <H>, kv_num_heads = {groups}"
    new = (
        f"{_HEADS} ks = Reshape(k, split_kv) kt = Transpose <perm = [0, 2, 1, 3]> (ks) vs = Reshape(v, split_kv) "
        "vt = Transpose <perm = [0, 2, 1, 3]> (vs) "
    )
    grown = new + "nk = Concat <axis = 2> (pk, kt) nv = Concat <axis = 2> (pv, vt) "
    repeat = "".join(
        f"{n}u = Unsqueeze({v}, two_at) {n}x = Expand({n}u, repeated) {n}r = Reshape({n}x, flat) "
        for n, v in (("k", "nk"), ("v", "nv"))
    )
    forms = {
        "plain": f"{grown}{repeat} kk = Transpose <perm = [0, 1, 3, 2]> (kr) s1 = MatMul(qt, kk) s2 = Mul(s1, scale) "
        f"s3 = Add(s2, mask) p = Softmax <axis = -1> (s3) o = MatMul(p, vr){_JOIN}",
        "3-D with past": f"y, nk, nv = Attention <q_{many}, {factor}> (x, k, v, mask, pk, pv)",
        "4-D with past": f"{new} o, nk, nv = Attention <{factor}> (qt, kt, vt, mask, pk, pv){_JOIN}",
        "4-D after Concat": f"{grown} o = Attention <{factor}> (qt, nk, nv, mask){_JOIN}",
        "GroupQueryAttention": f"y, nk, nv = com.microsoft.GroupQueryAttention <{many}, {factor}> "
        "(x, k, v, pk, pv, last_key, total)",
    }
    if heads == groups:
        forms["plain"] = forms["plain"].replace(repeat, "").replace("(kr)", "(nk)").replace("(p, vr)", "(p, nv)")
        forms["MultiHeadAttention"] = (
            f"y, nk, nv = com.microsoft.MultiHeadAttention <num_heads = <H>, {factor}> (x, k, v,,, mask, pk, pv)"
        )
    kv, cache, total = f"float[B,S,{groups * size}]", f"float[B,{groups},P,{size}]", past + 1
    return Case(
        "Attention with past", f"{heads}/{groups} heads of {size}, 1 + {past}",
        {"B": 1, "S": 1, "P": past, "T": total, "H": heads}, f"float[B,S,{heads * size}]", forms,
        {"k": kv, "v": kv, "pk": cache, "pv": cache, "mask": "float[B,1,S,T]", "last_key": "int32[B]", "total": "int32[]"}, {},
        {"split": [0, 0, heads, size], "split_kv": [0, 0, groups, size], "join": [0, 0, heads * size], "two_at": [2],
         "repeated": [1, groups, heads // groups, total, size], "flat": [1, heads, total, size]}, also=("nk", "nv"),
    )  # fmt: skip


def _attention_blocks() -> Iterator[Case]:
    """Attention with its projections; what weights make of weights is folded when the model is loaded."""
    rows = "r = Reshape(x, rows) "
    for heads, size, length in ((4, 64, 128), (12, 32, 16), (12, 32, 128), (12, 64, 128), (6, 64, 197), (12, 32, 512)):
        factor = f"scale = {NUMBERS['scale']}"
        attend = f" a = Attention <q_num_heads = <H>, kv_num_heads = <H>, {factor}> (q, k, v, mask) "
        biased = " ".join(f"{n}m = MatMul(x, weight{i}) {n} = Add({n}m, bias{i})" for i, n in enumerate("qkv"))
        wide = "w = Concat <axis = 1> (weight0, weight1, weight2) b = Concat <axis = 0> (bias0, bias1, bias2) "
        through = "t = MatMul(bias2, weight3) c = Add(t, bias3) "
        end = "o = MatMul(a, weight3) y = Add(o, {})"
        forms = {
            "plain": biased + attend + end.format("bias3"),
            "biases folded": through + "qm = MatMul(x, weight0) q = Add(qm, bias0) k = MatMul(x, weight1) "
            "v = MatMul(x, weight2)" + attend + end.format("c"),
            "folded, Gemm": through + rows + "qm = Gemm(r, weight0, bias0) q = Reshape(qm, cube) k = MatMul(x, weight1) "
            "v = MatMul(x, weight2)" + attend + "ar = Reshape(a, rows) o = Gemm(ar, weight3, c) y = Reshape(o, cube)",
            "one product, Split": wide + "m = MatMul(x, w) p = Add(m, b) q, k, v = Split <axis = -1, num_outputs = 3> (p)"
            + attend + end.format("bias3"),
            "com.microsoft Attention": wide + f"a = com.microsoft.Attention <num_heads = <H>, {factor}> (x, w, b,,, mask) "
            + end.format("bias3"),
        }  # fmt: skip
        width = heads * size
        yield Case(
            "Attention and its projections", f"{heads} heads of {size}, {length}",
            {"B": 1, "S": length, "T": length, "H": heads, "D": width}, "float[B,S,<D>]", forms, {"mask": "float[B,1,S,T]"},
            {f"weight{i}": "float[<D>,<D>]" for i in range(4)} | {f"bias{i}": "float[<D>]" for i in range(4)},
            {"rows": [-1, width], "cube": [1, length, width]}, repeat=1,
        )  # fmt: skip


def _gates() -> Iterator[Case]:
    """A product of which one half is the gate of the other, with the product back that ends such a block."""
    wide = "w = Concat <axis = 1> (weight0, weight1) b = Concat <axis = 0> (bias0, bias1) m = MatMul(x, w) a = Add(m, b) "
    end = " e = Gelu(g) p = Mul(h, e) y = MatMul(p, weight2)"
    cut = "h = Slice(a, zero_at, half_at, last) g = Slice(a, half_at, end_at, last)"
    forms = {
        "plain": wide + cut + end,
        "Split": wide + "h, g = Split <axis = -1, num_outputs = 2> (a)" + end,
        "two products": "hm = MatMul(x, weight0) h = Add(hm, bias0) gm = MatMul(x, weight1) g = Add(gm, bias1)" + end,
    }
    for rows, width, inner in ((1, 768, 3072), (64, 256, 1024), (256, 128, 512), (1024, 64, 256)):
        yield Case(
            "Gate", f"{rows} x {width}, {inner}", {"B": 1, "S": rows, "D": width, "N": inner}, "float[B,S,<D>]", forms, {},
            {f"weight{i}": "float[<D>,<N>]" for i in range(2)} | {f"bias{i}": "float[<N>]" for i in range(2)}
            | {"weight2": "float[<N>,<D>]"},
            {"zero_at": [0], "half_at": [inner], "end_at": [2 * inner], "last": [2]}, repeat=1,
        )  # fmt: skip


def _residuals() -> Iterator[Case]:
    """The MLP of an encoder that normalizes behind each sum; what weights make of weights is folded when the model is loaded."""
    body = " m = MatMul(n, weight0) u = Add(m, {}) e = Gelu(u) o = MatMul(e, weight1) "
    forms = {
        "plain": "n = LayerNormalization(x, scale, shift)" + body.format("bias0") + "a = Add(o, bias1) y = Sum(n, a)",
        "bias in the normalization": "t = Add(shift, bias1) r = MatMul(bias1, weight0) c = Sub(bias0, r) "
        "n = LayerNormalization(x, scale, t)" + body.format("c") + "y = Sum(n, o)",
    }
    for rows, width in ((16, 256), (128, 256), (128, 384), (128, 768), (512, 384)):
        yield Case(
            "Bias beside a residual", f"{rows} x {width}", {"B": 1, "S": rows, "D": width, "N": 4 * width}, "float[B,S,<D>]", forms, {},
            {"scale": "float[<D>]", "shift": "float[<D>]", "weight0": "float[<D>,<N>]", "bias0": "float[<N>]",
             "weight1": "float[<N>,<D>]", "bias1": "float[<D>]"},
        )  # fmt: skip


_CONVOLUTION = (
    "k = Transpose <perm = [1, 0]> (weight) f = Unsqueeze(k, two_three) u = Unsqueeze(x, first) "
    "p = Transpose <perm = [0, 3, 1, 2]> (u) c = Conv(p, f, bias) t = Transpose <perm = [0, 2, 3, 1]> (c) y = Squeeze(t, first)"
)


def _products() -> Iterator[Case]:
    """Matrices larger than the caches, so that few rows take as long as the matrix takes to be read."""
    forms = {
        "plain": "m = MatMul(x, weight) y = Add(m, bias)",
        "Gemm": "r = Reshape(x, rows) g = Gemm(r, weight, bias) y = Reshape(g, cube)",
        "matrix of rank 3": "w = Unsqueeze(weight, first) m = MatMul(x, w) y = Add(m, bias)",
        "Conv": _CONVOLUTION,
    }
    for few in (True, False):
        for size, width in ((768, 16384), (3072, 4096), (8192, 2048)):
            for batch, rows in ((1, 1), (4, 1), (1, 16)) if few else ((1, 64), (1, 256)):
                yield Case(
                    f"Product of {'few' if few else 'many'} rows", f"{batch} x {rows} x {size}, {width}",
                    {"B": batch, "S": rows, "K": size, "N": width}, "float[B,S,K]", forms, {},
                    {"weight": "float[K,N]", "bias": "float[N]"},
                    {"two_three": [2, 3], "first": [0], "rows": [-1, size], "cube": [batch, rows, width]}, repeat=1,
                )  # fmt: skip
    for size in (576, 768):
        yield Case(
            "Products of the same row", f"1 x {size}, three of {size}", {"B": 1, "S": 1, "K": size}, "float[B,S,K]",
            {
                "plain": "p = MatMul(x, weight) q = MatMul(x, other) r = MatMul(x, third) y = Sum(p, q, r)",
                "Split": "w = Concat <axis = 1> (weight, other, third) m = MatMul(x, w) "
                "p, q, r = Split <axis = 2> (m, parts) y = Sum(p, q, r)",
            },
            {}, dict.fromkeys(("weight", "other", "third"), "float[K,K]"), {"parts": [size, size, size]},
        )  # fmt: skip


def _token_blocks() -> Iterator[Case]:
    """The gated MLP of one token by convolutions, in three dimensions between them and in four."""
    into = "{0}i = Transpose <perm = [0, 3, 1, 2]> ({1}) {0}c = Conv({0}i, {2}) {0} = Transpose <perm = [0, 2, 3, 1]> ({0}c) "
    gate = "l, r = Split <axis = {}, num_outputs = 2> ({}) s = Sigmoid(l) g = Mul(l, s) p = Mul(g, r) "
    norm = "n = RMSNormalization(x, scale) nu = Unsqueeze(n, first) "
    forms = {
        "plain": norm + into.format("h", "nu", "wide") + "hs = Squeeze(h, first) " + gate.format(2, "hs")
        + "pu = Unsqueeze(p, first) " + into.format("o", "pu", "back") + "os = Squeeze(o, first) y = Add(x, os)",
        "four dimensions": "xu = Unsqueeze(x, first) n = RMSNormalization(xu, scale) " + into.format("h", "n", "wide") + gate.format(3, "h")
        + into.format("o", "p", "back") + "a = Add(xu, o) y = Squeeze(a, first)",
    }  # fmt: skip
    for size, inner in ((512, 1408), (576, 1536), (768, 3072)):
        yield Case(
            "Gated MLP of one row", f"1 x {size}, {inner}", {"B": 1, "S": 1, "D": size, "N": inner, "W": 2 * inner}, "float[B,S,<D>]", forms,
            {}, {"scale": "float[<D>]", "wide": "float[<W>,<D>,1,1]", "back": "float[<D>,<N>,1,1]"}, {"first": [0]},
        )  # fmt: skip


def cases() -> Iterator[Case]:
    """All cases, by operator."""
    yield from _rowwise(ACTIVATIONS, [(1, 3072), (16, 1536), (128, 1536), (512, 1536)])
    yield from _rowwise(NORMS, [(1, 768), (16, 384), (128, 384), (128, 768), (512, 384)])
    yield from _rowwise(PROJECTIONS, [(1, 384), (1, 768), (16, 384), (128, 384), (128, 768), (512, 384)])
    yield from _group_norms()
    yield from _rotary()
    yield from _attention()
    yield from _attention_past()
    yield from _attention_blocks()
    yield from _gates()
    yield from _residuals()
    yield from _products()
    yield from _token_blocks()
