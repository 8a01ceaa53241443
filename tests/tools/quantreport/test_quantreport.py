"""quant-report: its numbers are those of onnxruntime runs with the values handed out, and of numpy."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization

import geoc
from geoc.tools.cli import main
from geoc.tools.quantreport.errors import RoundTrip
from geoc.tools.quantreport.layers import Activation, quantized_layers

SIZE = 64
SAMPLES = 5
Arrays = dict[str, np.ndarray]


def network(path: Path) -> Path:
    """Two convolutions, then two products with biases."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    weights = {
        "k1": normal(8, 3, 3, 3), "c1": normal(8), "k2": normal(16, 8, 3, 3), "w1": normal(SIZE, 96).T.copy().T, "b1": normal(96),
        "w2": normal(96, SIZE), "flat": np.array([0, SIZE], np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "k1", "c1"], ["conv1"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv1"], ["relu1"]),
        helper.make_node("Conv", ["relu1", "k2"], ["conv2"], name="second"),
        helper.make_node("Reshape", ["conv2", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w1"], ["m1"], name="third"),
        helper.make_node("Add", ["m1", "b1"], ["a1"]),
        helper.make_node("Relu", ["a1"], ["relu2"]),
        helper.make_node("MatMul", ["relu2", "w2"], ["y"], name="fourth"),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", SIZE])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def feeds() -> list[Arrays]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((2, 3, 4, 4)).astype(np.float32)} for _ in range(SAMPLES)]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, str]:
    """The network, and samples of it: --calib measures on the first four."""
    np.savez(tmp_path / "s.npz", **{f"x/{i}": f["x"] * (1.5 if i == 3 else 1) for i, f in enumerate(feeds())})
    return network(tmp_path / "float.onnx"), str(tmp_path / "s.npz")


def measured_on() -> list[Arrays]:
    return [{"x": f["x"] * (1.5 if i == 3 else 1)} for i, f in enumerate(feeds()[:4])]


def values(path: Path, names: list[str], samples: list[Arrays]) -> list[Arrays]:
    """Values of a file, handed out as further outputs, without optimizations."""
    model = onnx.load(path)
    kept = {output.name for output in model.graph.output}
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in kept)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return [dict(zip(names, session.run(names, f))) for f in samples]


def expected_error(ours: list[np.ndarray], theirs: list[np.ndarray]) -> dict[str, float]:
    """By the definitions: the mean of relative norms, and signal to noise of all samples together."""
    pairs = [(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(ours, theirs)]
    l2 = np.mean([np.linalg.norm(b - a) / np.linalg.norm(a) for a, b in pairs])
    noise, signal = sum(((b - a) ** 2).sum() for a, b in pairs), sum((a**2).sum() for a, _ in pairs)
    return {"l2": float(l2), "sqnr": float(10 * np.log10(signal / noise))}


def report(tmp_path: Path, *words: object) -> dict[str, Any]:
    out = tmp_path / "report.json"
    assert main(["quant-report", *map(str, words), "-q", "-o", str(out)]) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def reader(samples: list[Arrays]) -> Any:
    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(samples)

        def get_next(self) -> Arrays | None:
            return next(self.left, None)

    return Reader()


@pytest.fixture
def by_peer(files: tuple[Path, str], tmp_path: Path) -> Path:
    """Q and DQ by onnxruntime's quantizer, calibrated on less than there is: numbers are cut off."""
    path = tmp_path / "peer.onnx"
    quantization.quantize_static(
        str(files[0]), str(path), reader(measured_on()[:1]), per_channel=True,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip
    return path


def initializers(path: Path) -> Arrays:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def test_errors_of_layers_are_those_of_two_sessions(files: tuple[Path, str], by_peer: Path, tmp_path: Path) -> None:
    found = report(tmp_path, by_peer, files[0], "--calib", files[1])
    names = {"first": "conv1", "second": "conv2", "third": "m1", "fourth": "y"}
    ours = values(files[0], list(names.values()), measured_on())
    now = {node.name: node.output[0] for node in onnx.load(by_peer).graph.node}
    theirs = values(by_peer, [now[name] for name in names], measured_on())
    layers = {layer["name"]: layer for layer in found["layers"]}
    assert list(layers) == list(names) and found["samples"] == 4
    for name, value in names.items():
        wanted = expected_error([sample[value] for sample in ours], [sample[now[name]] for sample in theirs])
        found_error = layers[name]["error"]
        moved = found_error.pop("moved", 0.0)
        assert found_error == pytest.approx(wanted, rel=1e-3), name
        if name in ("first", "second"):  # the products have too few rows
            assert moved == pytest.approx(expected_moved([s[value] for s in ours], [t[now[name]] for t in theirs]), abs=1e-2)
    y = [sample["y"] for sample in values(by_peer, ["y"], measured_on())]
    found["output"].pop("moved", None)
    assert found["output"] == pytest.approx(expected_error([sample["y"] for sample in ours], y), rel=1e-3)


def expected_moved(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """By least squares: what a factor and a shift for each channel take away of the squared differences."""
    x, y = (np.concatenate([np.moveaxis(a, 1, -1).reshape(-1, a.shape[1]) for a in v]).astype(np.float64) for v in (ours, theirs))
    own = 0.0
    for a, b in zip(x.T, y.T):
        (factor, shift), *_ = np.linalg.lstsq(np.stack([a, np.ones_like(a)], 1), b, rcond=None)
        own += (((b - shift) / factor - a) ** 2).sum()
    return float(1 - own / ((y - x) ** 2).sum())


def test_ranges_and_what_is_cut_off_are_those_of_numpy(files: tuple[Path, str], by_peer: Path, tmp_path: Path) -> None:
    found = report(tmp_path, by_peer, files[0], "--calib", files[1])
    constants, seen = initializers(by_peer), 0
    for node in onnx.load(by_peer).graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] in constants:
            continue
        scale, zero = constants[node.input[1]], constants[node.input[2]].astype(np.float64)
        arrays = [f["x"] for f in measured_on()] if node.input[0] == "x" else None
        arrays = arrays or [s[node.input[0]] for s in values(by_peer, [node.input[0]], measured_on())]
        x = np.concatenate([a.reshape(-1) for a in arrays])
        extremes = [float(x.min()), float(x.max())]
        if node.input[0].startswith("relu"):  # the quantizer has taken the Relu in
            assert zero == 0 and x.min() < 0
            x = np.maximum(x, 0)
        steps = np.rint(x / scale) + zero  # in f32 divided, as QuantizeLinear does
        back = ((np.clip(steps, 0, 255) - zero) * scale).astype(np.float32)
        wanted = {
            "seen": extremes,
            "range": [float((0 - zero) * scale), float((255 - zero) * scale)],
            "clipped": float(((steps < 0) | (steps > 255)).mean()),
        }
        (row,) = [a for a in found["activations"] if a["name"] == node.input[0]]
        for key, number in wanted.items():
            assert row[key] == pytest.approx(number, rel=1e-5), (node.input[0], key)
        assert row["alone"]["l2"] == pytest.approx(np.linalg.norm(x - back) / np.linalg.norm(x), rel=1e-4)
        assert (row["bits"], row["dtype"], row["dynamic"]) == (8, "u8", False)
        seen += wanted["clipped"] > 0
    assert seen >= 2  # the fourth sample goes beyond what calibration saw


def test_weights_are_those_of_numpy(files: tuple[Path, str], by_peer: Path, tmp_path: Path) -> None:
    found = report(tmp_path, by_peer, files[0], "--calib", files[1])
    original, constants = initializers(files[0]), initializers(by_peer)
    for layer, name, axis in zip(found["layers"], ("k1", "k2", "w1", "w2"), (0, 0, 1, 1)):
        codes, scale = constants[f"{name}_quantized"], constants[f"{name}_scale"]
        zero = constants[f"{name}_zero_point"]
        shape = [-1 if i == axis else 1 for i in range(codes.ndim)] if scale.size > 1 else []
        floats = (codes.astype(np.int32) - zero.astype(np.int32).reshape(shape)) * scale.reshape(shape)
        weight = layer["weight"]
        assert weight["bytes"] == codes.nbytes + scale.nbytes + zero.nbytes
        assert (weight["bits"], weight["numbers"], weight["granularity"]) == (8, codes.size, "channel")
        assert weight["range"] == pytest.approx([floats.min(), floats.max()], rel=1e-6)
        ends = [(q - zero.astype(np.float64).reshape(shape)) * scale.reshape(shape) for q in (-128.5, 127.5)]
        beyond = ((original[name] < ends[0]) | (original[name] > ends[1])).mean()
        assert weight["clipped"] == pytest.approx(beyond, abs=1e-9)
        assert weight["error"] == pytest.approx(expected_error([original[name]], [floats]), rel=1e-4)
    weights = found["weights"]
    assert weights["quantized"] == sum(original[name].size for name in ("k1", "k2", "w1", "w2"))
    assert weights["bytes_as_floats"] == 4 * weights["quantized"]
    assert weights["bits"] == pytest.approx(8 * weights["bytes"] / weights["quantized"], abs=1e-3)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_what_geoc_wrote(precision: str, files: tuple[Path, str], tmp_path: Path) -> None:
    """Integer operators and blocks of few bits: errors by value, whatever the nodes are called now."""
    made = tmp_path / "made.onnx"
    passes = {
        "int8": "@O2,quantize{method=minmax,tables=false},ort-quantized,fold,cse,dce",
        "int4": "@O2,quantize-weights{bits=4,head_bits=4,block=32,least=1024},@O2",
    }[precision]
    geoc.compile(files[0], made, passes=passes, check="off", calib=files[1])
    found = report(tmp_path, made, files[0], "--calib", files[1])
    y = [[s["y"] for s in values(path, ["y"], measured_on())] for path in (files[0], made)]
    last = found["layers"][-1]
    assert found["samples"] == 4
    assert last["error"] == found["output"]  # its result is the output
    found["output"].pop("moved", None)
    assert found["output"] == pytest.approx(expected_error(*y), rel=1e-3)
    assert last["weight"]["bits"] == int(precision[3:])
    assert all(layer["error"] is not None for layer in found["layers"])
    errors = [layer["error"]["l2"] for layer in found["layers"]]
    assert min(errors) > 0 and max(errors) < 0.3


def test_weights_beyond_their_codes_are_counted(files: tuple[Path, str], tmp_path: Path) -> None:
    """One weight of a channel ten times as large as its scale allows."""
    made, other = tmp_path / "made.onnx", tmp_path / "other.onnx"
    geoc.compile(files[0], made, target="cpu-vnni", passes="@O1,quantize{method=minmax,tables=false}", check="off", calib=files[1])
    original = onnx.load(files[0])
    (tensor,) = [t for t in original.graph.initializer if t.name == "w1"]
    array = numpy_helper.to_array(tensor).copy()
    largest = np.abs(array).max(0)
    array[np.abs(array).argmax(0)[:7], np.arange(7)] = 1.2 * largest[:7]  # in seven channels
    tensor.CopyFrom(numpy_helper.from_array(array, "w1"))
    onnx.save(original, other)
    found = report(tmp_path, made, other, "--calib", files[1])
    (layer,) = [row for row in found["layers"] if row["weight"]["numbers"] == array.size and row["weight"]["clipped"]]
    assert layer["weight"]["clipped"] == pytest.approx(7 / array.size)


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("bits", [4, 8])
def test_blocks_stand_for_what_the_kernel_multiplies_by(kind: str, bits: int, tmp_path: Path) -> None:
    """A product of the unit matrix gives the weights themselves."""
    rng = np.random.default_rng(0)
    rows, columns, block = 24, 80, 32
    blocks = -(-columns // block)
    codes = rng.integers(0, 256, (rows, blocks, block * bits // 8), np.uint8)
    scales = rng.uniform(0.5, 2, (rows, blocks)).astype(np.float32)
    zeros = rng.integers(0, 256, (rows, -(-blocks * bits // 8)), np.uint8)
    constants = [numpy_helper.from_array(codes, "q"), numpy_helper.from_array(scales, "s")]
    inputs = ["x", "q", "s"]
    if kind == "asymmetric":
        constants.append(numpy_helper.from_array(zeros, "z"))
        inputs.append("z")
    node = helper.make_node("MatMulNBits", inputs, ["y"], domain="com.microsoft", K=columns, N=rows, bits=bits, block_size=block)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", columns])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", rows])], constants,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": np.eye(columns, dtype=np.float32)})[0].T
    (layer,) = quantized_layers(geoc.load(str(path))).layers
    assert layer.weight.decode is not None and layer.weight.bits == bits
    numbers, low, high = layer.weight.decode()
    np.testing.assert_allclose(numbers, expected, rtol=1e-5, atol=1e-5)
    # Each block has its lowest code at one end and its highest at the other.
    step = np.repeat(scales, block, axis=1)[:, :columns]
    np.testing.assert_allclose(high - low, step * ((1 << bits) - 1), rtol=1e-5)
    assert (numbers >= low - 1e-5).all() and (numbers <= high + 1e-5).all()


def test_rounding_at_run_time_is_that_of_the_operator(files: tuple[Path, str], tmp_path: Path) -> None:
    path = tmp_path / "dynamic.onnx"
    quantization.quantize_dynamic(str(files[0]), str(path))
    found = report(tmp_path, path, "--calib", files[1])
    assert found["output"] is None and all(layer["error"] is None for layer in found["layers"])
    for row in found["activations"]:
        assert row["dynamic"] and row["range"] is None and row["clipped"] == 0
        arrays = measured_on()
        xs = [f["x"] for f in arrays] if row["name"] == "x" else [s[row["name"]] for s in values(path, [row["name"]], arrays)]
        node = helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])
        back = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])
        graph = helper.make_graph(
            [node, back], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        ys = [session.run(None, {"x": x})[0] for x in xs]
        a, b = (np.concatenate([v.reshape(-1) for v in vs]) for vs in (xs, ys))
        assert row["alone"] == pytest.approx(expected_error([a], [b]), rel=1e-4)
    assert len(found["activations"]) >= 2


@pytest.mark.parametrize("top", [3.0, 6.0])
def test_a_quantizer_that_stands_for_an_activation(top: float) -> None:
    """What is below 0, or above 6, is taken away by purpose; what is beyond the codes of a Relu is cut off."""
    scale = np.array(top / 255, np.float32)
    value = geoc.load(onnx.helper.make_model(onnx.helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])])))  # fmt: skip
    (node,) = value.graph
    trip = RoundTrip(Activation(value.graph.inputs[0], node, 8, "u8", scale, np.array(0), None))
    x = np.random.default_rng(0).normal(2, 3, 5000).astype(np.float32)
    trip.add(x)
    meant = np.clip(x, 0, 6 if top == 6.0 else None)
    back = np.clip(np.rint(meant / scale), 0, 255) * scale
    assert trip.activates and trip.alone is not None
    assert trip.clipped == pytest.approx((np.rint(meant / scale) > 255).mean())
    assert (trip.clipped == 0) == (top == 6.0)
    assert trip.alone.l2 == pytest.approx(np.linalg.norm(meant - back) / np.linalg.norm(meant), rel=1e-4)
    few = RoundTrip(trip.activation)
    few.add(np.float32([-0.1, *[1.0] * 99]))  # one in a hundred below 0: that is cut off
    assert not few.activates and few.clipped == 0.01


def test_a_layer_that_corresponds_to_nothing_has_no_error(files: tuple[Path, str], by_peer: Path, tmp_path: Path) -> None:
    """Beside a model of the same inputs and shapes that computes something else."""
    other = onnx.load(files[0])
    rng = np.random.default_rng(9)
    for tensor in other.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = rng.standard_normal(list(tensor.dims)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(other, tmp_path / "other.onnx")
    found = report(tmp_path, by_peer, tmp_path / "other.onnx", "--calib", files[1])
    assert [layer["error"] for layer in found["layers"]] == [None] * 4
    assert [layer["weight"]["error"] for layer in found["layers"]] == [None] * 4
    assert found["output"]["l2"] > 0.5  # outputs are compared by their order


def test_the_page_is_whole_in_itself(files: tuple[Path, str], by_peer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r.html"
    assert main(["quant-report", str(by_peer), str(files[0]), "--calib", files[1], "-o", str(out)]) == 0
    text = out.read_text()
    assert text.count("<svg") == 1 and text.count("<rect x=") == 4 and text.count("<tr>") == 5
    assert not any(word in text for word in ("http", "<script", "src=", "@import", "url("))
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if line.startswith(("first", "second", "third", "fourth"))]
    errors = [float(line.rpartition("  ")[2].partition("%")[0]) for line in lines]
    assert len(lines) == 4 and errors == sorted(errors, reverse=True)
    assert "4, from" in said


def test_names_cannot_break_the_page(files: tuple[Path, str], by_peer: Path, tmp_path: Path) -> None:
    model = onnx.load(by_peer)
    for node in model.graph.node:
        if node.name == "first":
            node.name = '<script>"&'
    onnx.save(model, tmp_path / "odd.onnx")
    out = tmp_path / "r.html"
    assert main(["quant-report", str(tmp_path / "odd.onnx"), "--calib", files[1], "-q", "-o", str(out)]) == 0
    assert "<script>" not in out.read_text() and "&lt;script&gt;&quot;&amp;" in out.read_text()


def test_a_picture(files: tuple[Path, str], by_peer: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "r.png"
    assert main(["quant-report", str(by_peer), str(files[0]), "--calib", files[1], "-q", "-o", str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")


def test_a_picture_without_matplotlib(
    files: tuple[Path, str], by_peer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real: Callable[..., Any] = builtins.__import__

    def none(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", none)
    assert main(["quant-report", str(by_peer), "--calib", files[1], "-q", "-o", str(tmp_path / "r.png")]) == 2
    assert capsys.readouterr().err == "geoc: error: -o: a PNG needs matplotlib (pip install 'geoc[plot]'); .html and .json need nothing\n"


def test_a_symbol_gets_a_size(files: tuple[Path, str], by_peer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quant-report", str(by_peer), str(files[0]), "--shape", "B=3", "--json"]) == 0
    layers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(layers) == 4 and all(layer["error"] is not None for layer in layers)


def test_json_on_a_pipe_is_a_line_a_layer(files: tuple[Path, str], by_peer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quant-report", str(by_peer), str(files[0]), "--calib", files[1], "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == ["first", "second", "third", "fourth"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["FLOAT"], "nothing in it is quantized"),
        (["PEER", "-o", "r.pdf"], "a report is written as .html, .png, .json, not r.pdf"),
        (["PEER", "OTHER"], "the two models have different inputs: x and z"),
        ([], "give the quantized model"),
        (["PEER", "-o", "PEER"], "a report is written as"),
    ],
)
def test_what_it_refuses(
    words: list[str], message: str, files: tuple[Path, str], by_peer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(files[0])
    model.graph.input[0].name = model.graph.node[0].input[0] = "z"
    onnx.save(model, tmp_path / "other.onnx")
    places = {"FLOAT": str(files[0]), "PEER": str(by_peer), "OTHER": str(tmp_path / "other.onnx")}
    assert main(["quant-report", *(places.get(word, word) for word in words)]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_infinity_in_a_layer_is_named(by_peer: Path, files: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "large.npz", **{"x/0": feeds()[0]["x"], "x/1": np.full((2, 3, 4, 4), 3e38, np.float32)})
    model = onnx.load(files[0])
    model.graph.node.insert(0, helper.make_node("Mul", ["x", "x"], ["squared"]))
    model.graph.node[1].input[0] = "squared"
    onnx.save(model, tmp_path / "squares.onnx")
    path = tmp_path / "peer2.onnx"
    kinds = ["Conv", "MatMul"]
    quantization.quantize_static(str(tmp_path / "squares.onnx"), str(path), reader(measured_on()), op_types_to_quantize=kinds)
    assert main(["quant-report", str(path), "--calib", str(tmp_path / "large.npz")]) == 2
    said = capsys.readouterr().err
    assert "sample 1 of" in said and "tensor %" in said and "infinity" in said


def test_a_compilation_reports_the_same(files: tuple[Path, str], tmp_path: Path) -> None:
    made, out = tmp_path / "made.onnx", tmp_path / "compile.json"
    words = [str(files[0]), "--precision=int8", "--calib", files[1], "-o", str(made), "--report", str(out), "-q"]
    assert main(words) == 0
    section = json.loads(out.read_text())["quantization"]
    found = report(tmp_path, made, files[0], "--calib", files[1])
    assert section["problem"] == "" and section["samples"] == 4
    assert section["weights"] == found["weights"]
    assert [row["op"] for row in section["layers"]] == [row["op"] for row in found["layers"]]
    for mine, theirs in zip(section["layers"], found["layers"]):
        assert mine["error"] == pytest.approx(theirs["error"], rel=1e-3)
    assert main([str(files[0]), "--precision=int4", "-o", str(made), "--report", str(out), "-q"]) == 0
    section = json.loads(out.read_text())["quantization"]
    assert section["samples"] == 0 and "--calib" in section["problem"]
    assert main([str(files[0]), "-o", str(made), "--report", str(out), "-q"]) == 0
    assert json.loads(out.read_text())["quantization"] is None


def test_minima_of_blocks_belong_to_their_layer(tmp_path: Path) -> None:
    """A product with blocks that have a minimum is a sum of two products in onnxruntime: its error is that of the sum."""
    rng = np.random.default_rng(0)
    weight = (rng.uniform(0.5, 1.5, (SIZE, 96)) / SIZE).astype(np.float32)  # nothing near 0: all in the minima
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Tanh", ["m"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 4, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 4, 96])], [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    source, made = tmp_path / "m.onnx", tmp_path / "made.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), source)
    passes = "quantize-weights{bits=4,head_bits=4,kind=minimum,grid=false,least=64},@O2"
    geoc.compile(source, made, passes=passes, check="off")
    assert "MatMulNBits" in {node.op.name for node in geoc.load(str(made)).graph}
    samples = [{"x": rng.uniform(0, 1, (2, 4, SIZE)).astype(np.float32)} for _ in range(3)]
    np.savez(tmp_path / "s.npz", **{f"x/{i}": f["x"] for i, f in enumerate(samples)})
    (layer,) = report(tmp_path, made, source, "--calib", tmp_path / "s.npz")["layers"]
    (add,) = [node.output[0] for node in onnx.load(made).graph.node if node.op_type == "Add" and "MatMul" not in node.name][-1:]
    ours = [sample["m"] for sample in values(source, ["m"], samples)]
    theirs = [sample[add] for sample in values(made, [add], samples)]
    layer["error"].pop("moved", None)
    assert layer["error"] == pytest.approx(expected_error(ours, theirs), rel=1e-2)
    assert layer["error"]["l2"] < 0.05 and layer["weight"]["range"] is None
