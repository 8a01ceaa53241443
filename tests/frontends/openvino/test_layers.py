"""Each kind of layer against openvino's CPU plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openvino import opset15 as o

from geoc.frontends.openvino.table import TABLE
from geoc.ir.errors import UnsupportedModel

from .running import check, constant, floats, ops, parameter, read, run_onnx, saved

Build = Callable[[Any], Any]
IMAGE = (1, 2, 4, 4)
CASES: dict[str, tuple[Build, str]] = {
    "relu": (lambda x: o.relu(x), "Relu"),
    "clamp": (lambda x: o.clamp(x, -0.5, 0.5), "Clip"),
    "clamp below": (lambda x: o.clamp(x, 0.0, float("inf")), "Relu"),
    "swish": (lambda x: o.swish(x), "Mul Sigmoid"),
    "swish with beta": (lambda x: o.swish(x, constant(1.5, np.float32)), "Mul Mul Sigmoid"),
    "hard sigmoid": (lambda x: o.hard_sigmoid(x, constant(0.2, np.float32), constant(0.4, np.float32)), "HardSigmoid"),
    "gelu": (lambda x: o.gelu(x, "tanh"), "Gelu"),
    "round away": (lambda x: o.round(o.multiply(x, constant(4, np.float32)), "HALF_AWAY_FROM_ZERO"), "Abs Add Floor Mul Mul Sign"),
    "slope per channel": (lambda x: o.prelu(x, constant([0.1, 0.3], np.float32)), "PRelu Reshape"),
    "one slope": (lambda x: o.prelu(x, constant([0.1], np.float32)), "LeakyRelu"),
    "squared difference": (lambda x: o.squared_difference(x, constant(1, np.float32)), "Mul Sub"),
    "reduce or": (lambda x: o.reduce_logical_or(o.greater(x, constant(1, np.float32)), constant([3]), True), "Cast Cast Greater ReduceMax"),
    "reshape": (lambda x: o.reshape(x, constant([0, -1]), True), "Reshape"),
    "strided slice": (
        lambda x: o.strided_slice(x, constant([0, 1, -1]), constant([0, 3, 0]), constant([1, 1, 1]), [1, 0, 0], [1, 0, 0], [], [0, 0, 1], []),
        "Slice Squeeze",
    ),
    "strided slice with a new axis": (
        lambda x: o.strided_slice(x, constant([0, 0, 3]), constant([0, 0, 0]), constant([1, 1, -1]), [0, 0, 0], [0, 0, 1], [0, 1, 0], [], [1, 0, 0]),
        "Slice Unsqueeze",
    ),
    "slice": (lambda x: o.slice(x, constant([1]), constant([-1]), constant([1]), constant([2])), "Slice"),
    "split with the rest": (lambda x: o.variadic_split(x, constant(3), constant([1, -1])), "Split"),
    "tile of fewer axes": (lambda x: o.tile(x, constant([2, 1])), "Tile"),
    "pad": (lambda x: o.pad(x, constant([0, 0, 1, 2]), constant([0, 0, 2, 1]), "reflect"), "Pad"),
    "explicit broadcast": (
        lambda x: o.add(x, o.broadcast(constant([1, 2], np.float32), constant([1, 2, 4, 4]), constant([1]), "EXPLICIT")), "Add Expand Unsqueeze",
    ),
    "shuffle": (lambda x: o.shuffle_channels(x, 2, 2), "Reshape Reshape Shape Transpose"),
    "depth to space": (lambda x: o.depth_to_space(o.concat([x, x], 1), "depth_first", 2), "Concat DepthToSpace"),
    "gather": (lambda x: o.gather(x, constant([-1, 0]), constant(2)), "Gather"),
    "top k": (lambda x: o.topk(x, constant(2), 3, "min", "value", "i32"), "Cast TopK"),
    "cumulative sum": (lambda x: o.cum_sum(x, constant(2), True, True), "CumSum"),
    "mean and variance": (lambda x: o.mvn(x, constant([2, 3]), True, 1e-3, "outside_sqrt"), "Add Div Mul ReduceMean ReduceMean Sqrt Sub"),
    "l2": (lambda x: o.normalize_l2(x, constant([1]), 1e-3, "add"), "Add Div ReduceSumSquare Sqrt"),
    "max pool": (lambda x: o.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2], "floor", "explicit", "i64", 0), "MaxPool"),
    "average of what is inside": (lambda x: o.avg_pool(x, [2, 2], [1, 1], [1, 1], [3, 3], True, "ceil", "explicit"), "AveragePool"),
    "average with padding": (lambda x: o.avg_pool(x, [1, 1], [1, 1], [1, 1], [3, 3], False, "floor", "explicit"), "AveragePool"),
    "convolution": (lambda x: o.convolution(x, constant(floats(3, 2, 3, 3)), [2, 1], [1, 0], [1, 2], [1, 1]), "Conv"),
    "grouped convolution": (lambda x: o.group_convolution(x, constant(floats(2, 3, 1, 3, 3)), [1, 1], [1, 1], [1, 1], [1, 1]), "Conv"),
    "transposed convolution": (
        lambda x: o.convolution_backprop_data(x, constant(floats(2, 3, 3, 3)), [2, 2], constant([8, 8]), auto_pad="same_upper"), "ConvTranspose",
    ),
    "grouped transposed convolution": (
        lambda x: o.group_convolution_backprop_data(x, constant(floats(2, 1, 2, 3, 3)), [2, 2], constant([8, 8]), auto_pad="same_lower"), "ConvTranspose",
    ),
    "products of transposed": (lambda x: o.matmul(x, constant(floats(5, 4)), True, True), "MatMul Transpose Transpose"),
    "broadcast both ways": (lambda x: o.broadcast(o.reduce_max(x, constant([3]), True), constant([3, 1, 1, 5]), broadcast_spec="BIDIRECTIONAL"), "Expand ReduceMax"),
    "choice of booleans": (
        lambda x: o.select(o.greater(x, constant(0, np.float32)), o.less(x, constant(1, np.float32)), constant(True)),
        "And And Greater Less Not Or",
    ),
    "power of bytes": (lambda x: o.power(o.convert(o.abs(o.multiply(x, constant(3, np.float32))), "u8"), constant(2, np.uint8)), "Abs Cast Cast Cast Mul Pow"),
    "longer than the kernel reaches": (
        lambda x: o.convolution_backprop_data(x, constant(floats(2, 3, 3, 3)), [3, 2], constant([13, 10])), "ConvTranspose",
    ),
    "frequencies": (lambda x: o.dft(o.reshape(x, constant([4, 4, 2]), False), constant([0, -1])), "DFT DFT Reshape"),
    "and back": (lambda x: o.idft(o.reshape(x, constant([4, 4, 2]), False), constant([1])), "DFT Reshape"),
    "frequencies of real numbers": (lambda x: o.rdft(x, constant([2, 3])), "DFT DFT Unsqueeze"),
    "einsum": (lambda x: o.einsum([x, x], "abij,abkj->abik"), "Einsum"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_layer(case: str, tmp_path: Path) -> None:
    build, wanted = CASES[case]
    x = parameter(*IMAGE)
    model = check(tmp_path, saved(tmp_path, build(x), [x]), [floats(*IMAGE)])
    assert sorted(ops(model)) == wanted.split()


@pytest.mark.parametrize(
    ("mode", "how", "given"), [("linear_onnx", "scales", [1.5, 2.0]), ("nearest", "sizes", [13, 5]), ("cubic", "sizes", [8, 8]), ("linear", "sizes", [8, 9])]
)
def test_interpolation(mode: str, how: str, given: list[float], tmp_path: Path) -> None:
    x = parameter(-1, 2, 4, 4)
    values = constant(given, np.float32 if how == "scales" else np.int64)
    made = o.interpolate(x, values, mode, how, axes=constant([2, 3]), pads_begin=[0], pads_end=[0])
    assert ops(check(tmp_path, saved(tmp_path, made, [x]), [floats(*IMAGE)])) == ["Resize"]


def test_one_hot_of_negative_indices_is_nothing(tmp_path: Path) -> None:
    x = parameter(-1, 4, dtype="i64")
    made = o.one_hot(x, constant(5), constant(2, np.float32), constant(-1, np.float32), -1)
    check(tmp_path, saved(tmp_path, made, [x]), [np.array([[0, 4, -1, 2]])])


def test_integers_are_divided_downwards_as_the_format_says(tmp_path: Path) -> None:
    """Its CPU plugin rounds towards zero all the same."""
    a, b = parameter(4, dtype="i32"), parameter(4, dtype="i32")
    x, y = np.array([7, -7, 7, -7], np.int32), np.array([2, 2, -2, -2], np.int32)
    model = read(saved(tmp_path, o.divide(a, b), [a, b]))
    assert run_onnx(model, [x, y], tmp_path)[0].tolist() == (x // y).tolist()
    towards_zero = o.divide(a, b)
    towards_zero.set_attribute("m_pythondiv", False)
    assert ops(read(saved(tmp_path, towards_zero, [a, b]))) == ["Div"]


def test_gather_with_batches(tmp_path: Path) -> None:
    x, indices = parameter(2, 3, 4), parameter(2, 2, dtype="i64")
    model = read(saved(tmp_path, o.gather(x, indices, constant(1), 1), [x, indices]))
    values, places = floats(2, 3, 4), np.array([[2, 0], [1, 1]])
    wanted = np.stack([values[0][places[0]], values[1][places[1]]])
    assert (run_onnx(model, [values, places], tmp_path)[0] == wanted).all()


@pytest.mark.parametrize("masked", ["bool", "added", "causal", "none"])
def test_attention(masked: str, tmp_path: Path) -> None:
    q, k, v = (parameter(-1, 2, -1, 8) for _ in range(3))
    inputs, feeds = [q, k, v], [floats(1, 2, length, 8) for length in (3, 5, 5)]
    mask = None
    if masked in ("bool", "added"):
        mask = parameter(-1, 1, -1, -1, dtype="boolean" if masked == "bool" else "f32")
        inputs.append(mask)
        seen = np.tril(np.ones((1, 1, 3, 5), bool), 2)
        feeds.append(seen if masked == "bool" else np.where(seen, floats(1, 1, 3, 5), np.float32(-1e4)))
    made = o.scaled_dot_product_attention(q, k, v, mask, causal=masked == "causal")
    model = check(tmp_path, saved(tmp_path, made, inputs), feeds)
    assert ops(model).count("Softmax") == 1 and ops(model).count("MatMul") == 2


@pytest.mark.parametrize(("name", "gates"), [("lstm", 4), ("gru", 3), ("rnn", 1)])
@pytest.mark.parametrize("form", ["forward", "reverse", "bidirectional", "cell"])
def test_recurrences(name: str, gates: int, form: str, tmp_path: Path) -> None:
    ways = 2 if form == "bidirectional" else 1
    around = () if form == "cell" else (ways,)
    states = [constant(floats(2, *around, 4)) for _ in range(2 if name == "lstm" else 1)]
    weights = [constant(floats(*around, gates * 4, *rest)) for rest in ((3,), (4,), ())]
    if form == "cell":
        x, feed = parameter(2, 3), floats(2, 3)
        more: list[Any] = [["tanh"], [], []] if name == "rnn" else []
        made = getattr(o, f"{name}_cell")(x, *states, *weights, 4, *more)
    else:
        x, feed = parameter(2, 5, 3), floats(2, 5, 3)
        lengths = constant([5, 3], np.int32)
        made = getattr(o, f"{name}_sequence")(x, *states, lengths, *weights, 4, form)
    model = check(tmp_path, saved(tmp_path, made, [x]), [feed])
    assert name.upper() in ops(model)


def test_a_gru_that_resets_late(tmp_path: Path) -> None:
    x = parameter(2, 5, 3)
    weights = [constant(floats(1, 12, 3)), constant(floats(1, 12, 4)), constant(floats(1, 16))]
    made = o.gru_sequence(
        x, constant(floats(2, 1, 4)), constant([5, 5], np.int32), *weights, 4, "forward", linear_before_reset=True
    )
    check(tmp_path, saved(tmp_path, made, [x]), [floats(2, 5, 3)])


def test_what_there_is_no_form_for_is_named(tmp_path: Path) -> None:
    x = parameter(1, 2, 4, 4)
    made = o.grn(x, 0.1)
    with pytest.raises(UnsupportedModel, match=r"model.xml: operators that cannot be imported: GRN \(1\)$"):
        read(saved(tmp_path, made, [x]))
    with pytest.raises(UnsupportedModel, match=r"layer \d+ \(Pad .*no form for pad_mode 'symmetric'"):
        read(saved(tmp_path, o.pad(x, constant([0, 0, 1, 1]), constant([0, 0, 1, 1]), "symmetric"), [x]))
    pool = o.avg_pool(parameter(1, 2, 6, 6), [2, 2], [1, 1], [1, 1], [3, 3], False, "ceil", "explicit")
    with pytest.raises(UnsupportedModel, match="counts padding"):
        read(saved(tmp_path, pool, [pool.input_value(0).get_node()]))


def test_a_convolution_of_integers(tmp_path: Path) -> None:
    """The CPU plugin refuses it; openvino's import of ConvInteger is one."""
    x = parameter(1, 1, 3, 3, dtype="i32")
    made = o.convolution(x, constant(np.arange(4).reshape(1, 1, 2, 2), np.int32), [1, 1], [0, 0], [0, 0], [1, 1])
    (found,) = run_onnx(read(saved(tmp_path, made, [x])), [np.arange(9, dtype=np.int32).reshape(1, 1, 3, 3)], tmp_path)
    assert found.dtype == np.int32 and found.reshape(-1).tolist() == [19, 25, 37, 43]


def test_a_port_without_sizes_may_have_any_rank(tmp_path: Path) -> None:
    """The format writes a scalar and an unknown rank alike. The CPU plugin runs no sum over such axes."""
    x, axes = parameter(2, 3), parameter(-1, dtype="i64")
    path, feed = saved(tmp_path, o.relu(o.reduce_sum(x, axes, False)), [x, axes]), floats(2, 3)
    model = read(path)
    assert model.graph.outputs[0].rank is None
    np.testing.assert_allclose(run_onnx(model, [feed, np.array([1])], tmp_path)[0], np.maximum(feed.sum(1), 0), rtol=1e-6)


def test_an_expand_of_onnx_is_one_again(tmp_path: Path) -> None:
    """openvino's Broadcast goes one way, so that its import takes the larger of both shapes."""
    x, size = parameter(-1, 1, 4), parameter(3, dtype="i64")
    target = o.maximum(o.shape_of(x, "i64"), size)
    model = check(tmp_path, saved(tmp_path, o.broadcast(x, target), [x, size]), [floats(2, 1, 4), np.array([1, 3, 1])])
    assert ops(model) == ["Expand"]


def test_a_sum_over_no_axes_is_its_operand(tmp_path: Path) -> None:
    """The CPU plugin refuses it."""
    x, feed = parameter(2, 3), floats(2, 3)
    model = read(saved(tmp_path, o.relu(o.reduce_sum(x, constant([], np.int64))), [x]))
    assert (run_onnx(model, [feed], tmp_path)[0] == np.maximum(feed, 0)).all()


def test_the_page_lists_the_layers() -> None:
    page = (Path(__file__).parents[3] / "docs/formats.md").read_text(encoding="utf-8")
    listed = page.split("Types of layers that are read")[1].split(": ", 1)[1].split(".", 1)[0]
    known = {*TABLE, "Parameter", "Result", "Const", "ReadValue", "Assign"}
    assert sorted(listed.replace("\n", " ").split(", ")) == sorted(known)
