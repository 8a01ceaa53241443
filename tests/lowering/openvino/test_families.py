"""Families of operators at open sizes against onnxruntime: what the conformance cases, all of fixed sizes, do not show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.lowering.openvino.graph import to_openvino

from .running import run
from .test_graph import on_onnxruntime, parsed

RNG = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "arithmetic": (
        "(%a: f32[N,1,4], %b: f32[3,1]) -> (%y) {\n  %s = Add(%a, %b)\n  %d = Div(%s, %b)\n  %y = Pow(%d, %c)\n}",
        {"a": floats(2, 1, 4), "b": np.abs(floats(3, 1)) + 1},
    ),
    "integers": (
        "(%a: i64[N], %b: i64[N]) -> (%y, %z, %w) {\n  %y = Div(%a, %b)\n  %z = Mod(%a, %b)\n  %w = Mod(%a, %b) {fmod=1}\n}",
        {"a": np.array([7, -7, 7, -7]), "b": np.array([2, 2, -2, -2])},
    ),
    "slope per channel at the end": ("(%x: f32[N,3,3], %s: f32[3]) -> (%y) {\n  %y = PRelu(%x, %s)\n}", {"x": floats(2, 3, 3), "s": floats(3)}),
    "reshapes": (
        "(%x: f32[N,M,6]) -> (%y, %z, %f) {\n  weight %to: i64[4] = [0, 0, 2, 3]\n  weight %flat: i64[1] = [-1]\n"
        "  %y = Reshape(%x, %to)\n  %z = Reshape(%x, %flat)\n  %f = Flatten(%x) {axis=2}\n}",
        {"x": floats(2, 5, 6)},
    ),
    "sizes": (
        "(%x: f32[N,M,6]) -> (%y, %z, %n) {\n  %s = Shape(%x) {start=1}\n  %n = Size(%x)\n  %y = ConstantOfShape(%s)\n  weight %one: i64[1] = [1]\n"
        "  %m = Shape(%x) {start=0, end=1}\n  %t = Concat(%m, %one, %one) {axis=0}\n  %z = Expand(%y, %t)\n}",
        {"x": floats(2, 5, 6)},
    ),
    "slices": (
        "(%x: f32[N,M,6], %e: i64[1]) -> (%y, %z) {\n  weight %a: i64[1] = [1]\n  weight %ax: i64[1] = [-1]\n  weight %back: i64[1] = [-2]\n"
        "  weight %far: i64[1] = [-9223372036854775807]\n  %y = Slice(%x, %a, %e, %ax)\n  %z = Slice(%x, %ax, %far, %a, %back)\n}",
        {"x": floats(2, 5, 6), "e": np.array([4])},
    ),
    "split and concatenate": (
        "(%x: f32[N,7]) -> (%y, %a) {\n  %a, %b, %c = Split(%x) {axis=1, num_outputs=3}\n  %y = Concat(%c, %a, %b) {axis=-1}\n}",
        {"x": floats(4, 7)},
    ),
    "gather and scatter from the end": (
        "(%x: f32[N,4], %i: i64[N,2], %u: f32[N,2]) -> (%y, %z) {\n  %y = GatherElements(%x, %i) {axis=1}\n  %z = ScatterElements(%x, %i, %u) {axis=1, reduction=\"add\"}\n}",
        {"x": floats(3, 4), "i": np.array([[0, -1], [-2, 1], [3, 2]]), "u": floats(3, 2)},
    ),
    "pads of some axes": (
        "(%x: f32[N,3,M]) -> (%y, %r) {\n  weight %p: i64[4] = [1, 2, 0, 1]\n  weight %ax: i64[2] = [-1, 1]\n  weight %v: f32[] = 0.5\n"
        "  weight %e: i64[6] = [0, 0, 1, 0, 0, 2]\n  %y = Pad(%x, %p, %v, %ax)\n  %r = Pad(%x, %e) {mode=\"reflect\"}\n}",
        {"x": floats(2, 3, 4)},
    ),
    "reductions and counts": (
        "(%x: f32[N,M]) -> (%l, %a, %v, %i, %c) {\n  weight %ax: i64[1] = [-1]\n  weight %k: i64[1] = [2]\n  weight %one: i64[] = 1\n"
        "  %l = ReduceLogSumExp(%x, %ax)\n  %a = ArgMax(%x) {axis=1, keepdims=0}\n  %v, %i = TopK(%x, %k)\n  %c = CumSum(%x, %one) {exclusive=1, reverse=1}\n}",
        {"x": floats(3, 5) * 90},
    ),
    "triangles": ("(%x: f32[N,S,S], %k: i64[]) -> (%y, %z) {\n  %y = Trilu(%x) {upper=0}\n  %z = Trilu(%x, %k)\n}", {"x": floats(2, 4, 4), "k": np.array(-1)}),
    "tile by an input": ("(%x: f32[N,3], %r: i64[2]) -> (%y) {\n  %y = Tile(%x, %r)\n}", {"x": floats(2, 3), "r": np.array([2, 3])}),
    "convolution": (
        "(%x: f32[N,4,H,W], %w: f32[6,2,3,3], %b: f32[6]) -> (%y) {\n  %y = Conv(%x, %w, %b) {group=2, pads=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2]}\n}",
        {"x": floats(2, 4, 9, 8), "w": floats(6, 2, 3, 3), "b": floats(6)},
    ),
    "convolution of the same size": ("(%x: f32[N,3,H,W], %w: f32[6,3,3,3]) -> (%y) {\n  %y = Conv(%x, %w) {auto_pad=\"SAME_UPPER\", strides=[2, 2]}\n}", {"x": floats(1, 3, 7, 6), "w": floats(6, 3, 3, 3)}),
    "transposed convolution": (
        "(%x: f32[N,4,H,W], %w: f32[4,3,3,3], %b: f32[6]) -> (%y) {\n  %y = ConvTranspose(%x, %w, %b) {group=2, strides=[2, 2], pads=[1, 1, 0, 1], output_padding=[1, 0]}\n}",
        {"x": floats(2, 4, 5, 4), "w": floats(4, 3, 3, 3), "b": floats(6)},
    ),
    "pools": (
        "(%x: f32[N,3,H,W]) -> (%m, %a, %c, %g) {\n  %m = MaxPool(%x) {kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1}\n"
        "  %a = AveragePool(%x) {kernel_shape=[3, 2], pads=[1, 0, 1, 1]}\n  %c = AveragePool(%x) {kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, count_include_pad=1}\n"
        "  %g = GlobalMaxPool(%x)\n}",
        {"x": floats(2, 3, 7, 8)},
    ),
    "an average over more than there is": ("(%x: f32[N,3,4,4]) -> (%y) {\n  %y = AveragePool(%x) {kernel_shape=[8, 8], strides=[8, 8], ceil_mode=1}\n}", {"x": floats(2, 3, 4, 4)}),
    "resizes": (
        "(%x: f32[N,3,H,W]) -> (%n, %l) {\n  weight %s: f32[4] = [1.0, 1.0, 2.0, 2.0]\n  weight %d: f32[2] = [1.5, 2.5]\n"
        "  %n = Resize(%x, none, %s) {mode=\"nearest\", coordinate_transformation_mode=\"asymmetric\", nearest_mode=\"floor\"}\n"
        "  %l = Resize(%x, none, %d) {mode=\"linear\", axes=[2, 3]}\n}",
        {"x": floats(1, 3, 4, 6)},
    ),
    "group normalization": ("(%x: f32[N,6,H,W], %s: f32[6], %b: f32[6]) -> (%y) {\n  %y = GroupNormalization(%x, %s, %b) {num_groups=3}\n}", {"x": floats(2, 6, 3, 4), "s": floats(6), "b": floats(6)}),
    "norms": (
        "(%x: f32[N,4,M], %s: f32[4], %b: f32[4], %m: f32[4], %v: f32[4]) -> (%i, %n, %l) {\n  %i = InstanceNormalization(%x, %s, %b)\n"
        "  %n = BatchNormalization(%x, %s, %b, %m, %v)\n  %l = LpNormalization(%x) {axis=1}\n}",
        {"x": floats(2, 4, 5), "s": floats(4), "b": floats(4), "m": floats(4), "v": np.abs(floats(4)) + 0.1},
    ),
    "lstm": (
        "(%x: f32[S,N,3], %w: f32[2,16,3], %r: f32[2,16,4], %b: f32[2,32], %n: i32[N]) -> (%y, %h, %c) {\n"
        "  %y, %h, %c = LSTM(%x, %w, %r, %b, %n) {hidden_size=4, direction=\"bidirectional\"}\n}",
        {"x": floats(5, 2, 3), "w": floats(2, 16, 3), "r": floats(2, 16, 4), "b": floats(2, 32), "n": np.array([5, 3], np.int32)},
    ),
    "gru": (
        "(%x: f32[S,N,3], %w: f32[1,12,3], %r: f32[1,12,4], %b: f32[1,24], %h: f32[1,N,4]) -> (%y, %z) {\n"
        "  %y, %z = GRU(%x, %w, %r, %b, none, %h) {hidden_size=4, linear_before_reset=1}\n}",
        {"x": floats(5, 2, 3), "w": floats(1, 12, 3), "r": floats(1, 12, 4), "b": floats(1, 24), "h": floats(1, 2, 4)},
    ),
    "branches that see outer values": (
        "(%c: bool[], %x: f32[N,3], %z: f32[N,3]) -> (%y) {\n  %d = Neg(%x)\n  %y = If(%c)\n"
        "    with then_branch = () -> (%t) {\n      %t = Add(%d, %z)\n    }\n    with else_branch = () -> (%e) {\n      %e = Exp(%x)\n    }\n}",
        {"c": np.array(True), "x": floats(2, 3), "z": floats(2, 3)},
    ),
    "loop with a carried value and one per step": (
        "(%n: i64[], %x: f32[N,3], %s: f32[3]) -> (%y, %all) {\n  weight %go: bool[] = true\n  %y, %all = Loop(%n, %go, %x)\n"
        "    with body = (%i: i64[], %in: bool[], %v: f32[N,3]) -> (%out, %w, %step) {\n      %out = Identity(%in)\n      %w = Add(%v, %s)\n"
        "      %f = Cast(%i) {to=1}\n      %step = Mul(%w, %f)\n    }\n}",
        {"n": np.array(4), "x": floats(2, 3), "s": floats(3)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_open_sizes(name: str) -> None:
    text, feeds = CASES[name]
    if name == "arithmetic":
        text = text.replace("{\n", "{\n  weight %c: f32[] = 2.0\n", 1)
    model = parsed(f"graph @main{text}")
    expected = on_onnxruntime(model, feeds)
    found = run(to_openvino(model), feeds)
    assert len(found) == len(expected)
    for a, b in zip(expected, found):
        assert np.asarray(a).dtype == b.dtype
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
