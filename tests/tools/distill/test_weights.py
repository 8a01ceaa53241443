"""Which constants are weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from geoc.frontends.onnx import load_onnx
from geoc.ir.core import Model
from geoc.ir.errors import UsageError
from geoc.ir.text import parse_model
from geoc.tools.distill.weights import is_structure, trainable

TEXT = """geoc 1
graph @main(%x: f32[N,4], %ids: i64[N]) -> (%y: f32[N,4], %z: f32[N,2]) {
  weight %w: f32[4,4] = [1, 0, 0, 4, 5, 0, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7.5]
  weight %bias: f32[4] = [0, 0, 0, 0]
  weight %scale: f32[] = 0.125
  weight %gain: f32[4] = [1, 1, 1, 1]
  weight %mean: f32[4] = [0.4, 0.5, 0.6, 0.7]
  weight %words: f32[3,4] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3]
  weight %mask: f32[2,4] = [0, -1e9, 0, 0, 0, 0, -1e9, 0]
  weight %power: f32[] = 2
  weight %levels: f32[3] = [0.1, 0.2, 0.4]
  weight %onev: i64[1] = [1]
  weight %twov: i64[1] = [2]
  weight %picks: i64[2] = [0, 1]
  weight %zero: i64[1] = [0]
  %c: f32[N,4] = Sub(%x, %mean)
  %m: f32[N,4] = MatMul(%c, %w)  !"/fc/MatMul"
  %b: f32[N,4] = Add(%m, %bias)
  %s: f32[N,4] = Mul(%b, %scale)
  %g: f32[N,4] = Mul(%s, %gain)
  %e: f32[N,4] = Gather(%words, %ids)  !"/embed/Gather"
  %t: f32[N,4] = Add(%g, %e)
  %h: f32[N,4] = Pow(%t, %power)
  %row: f32[2] = Gather(%levels, %picks)
  %hidden: f32[2,4] = Identity(%mask)
  %all: f32[4] = ReduceSum(%hidden, %zero) {keepdims=0}
  %y: f32[N,4] = Add(%h, %all)
  %sh: i64[2] = Shape(%x)
  %n: i64[1] = Slice(%sh, %zero, %onev)
  %two: i64[2] = Concat(%n, %twov) {axis=0}
  %z: f32[N,2] = Expand(%row, %two)
}
"""


def model() -> Model:
    return parse_model(TEXT)


def names(*freeze: str) -> list[str]:
    return [weight.name for weight in trainable(model(), freeze)]


def test_weights_are_known_by_what_reads_them() -> None:
    """Not the mean of the inputs, a single number, an exponent, a list of levels, or a mask."""
    assert names() == ["w", "bias", "gain", "words"]


@pytest.mark.parametrize(
    ("freeze", "left"),
    [(("w*",), ["bias", "gain"]), (("/embed/*",), ["w", "bias", "gain"]), (("bias", "gain"), ["w", "words"])],
)
def test_what_is_frozen_stays(freeze: tuple[str, ...], left: list[str]) -> None:
    assert names(*freeze) == left


def test_a_pattern_that_names_nothing_and_a_student_without_weights_are_errors() -> None:
    with pytest.raises(UsageError, match="'mask' names no weight that would be trained"):
        names("mask")
    with pytest.raises(UsageError, match="no weight to train"):
        names("*")


POSITIONS = np.arange(12)[:, None] / 10000 ** (np.arange(4) / 4)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros(5), False),  # a bias before training
        (np.ones((1, 5, 1)), False),  # a gain
        (np.cos(POSITIONS), True),
        (np.sin(POSITIONS)[None, None], True),
        (np.concatenate([np.sin(POSITIONS), np.cos(POSITIONS)], 1), True),
        (np.where(np.tri(4), 0, -100.0), True),  # shifted windows
        (np.where(np.tri(4), 0, -np.inf), True),
        (np.random.default_rng(0).standard_normal((6, 4)), False),
        (np.pad(np.random.default_rng(0).standard_normal((6, 4)), ((1, 0), (0, 0))), False),  # the word that fills up
    ],
)
def test_masks_and_angles_are_structure(array: Any, expected: bool) -> None:
    assert is_structure(array.astype(np.float32)) is expected


def test_zeros_that_are_meant_are_known() -> None:
    weights = {weight.name: weight for weight in trainable(model())}
    zeros = weights["w"].zeros()
    assert zeros is not None and zeros.sum() == 3
    assert weights["bias"].zeros() is None  # a bias of zeros is one before training
    assert weights["words"].zeros() is None


def test_a_weight_that_is_the_default_of_an_input_is_one() -> None:
    """As files have them that list initializers among the inputs; it stays one."""
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in ("x", "w")]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "main", given,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])],
        [numpy_helper.from_array(np.eye(2, dtype=np.float32), "w")],
    )  # fmt: skip
    found = load_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    (weight,) = trainable(found)
    weight.put(np.full((2, 2), 3, np.float32))
    (default,) = found.graph.defaults.values()
    assert weight.name == "w" and default.array().tolist() == [[3, 3], [3, 3]]
    assert found.graph.input_names == ["x", "w"]
