"""compare: its figures are those of onnxruntime and numpy, and the node that is wrong is the one it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoc
from geoc.tools.cli import main

Arrays = dict[str, np.ndarray]
LAYERS = 6


def network(wrong_layer: int | None = None, width: int = 16, inputs: str = "x", outputs: str = "y", dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """Products with biases and Tanh; the bias of one layer is off where that is asked for. An integer output beside."""
    rng = np.random.default_rng(0)
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    nodes, weights, last = [], [], inputs
    for layer in range(LAYERS):
        w = rng.standard_normal((width, width)) / np.sqrt(width)
        b = rng.standard_normal(width) * 0.1 + (0.3 if layer == wrong_layer else 0.0)
        weights += [numpy_helper.from_array(w.astype(kind), f"w{layer}"), numpy_helper.from_array(b.astype(kind), f"b{layer}")]
        out = outputs if layer == LAYERS - 1 else f"t{layer}"
        nodes += [
            helper.make_node("MatMul", [last, f"w{layer}"], [f"m{layer}"], name=f"/layer.{layer}/MatMul"),
            helper.make_node("Add", [f"m{layer}", f"b{layer}"], [f"a{layer}"], name=f"/layer.{layer}/Add"),
            helper.make_node("Tanh", [f"a{layer}"], [out], name=f"/layer.{layer}/Tanh"),
        ]
        last = out
    nodes.append(helper.make_node("ArgMax", [outputs], ["best"], name="/best", axis=-1, keepdims=0))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(inputs, dtype, ["batch", width])],
        [helper.make_tensor_value_info(outputs, dtype, ["batch", width]), helper.make_tensor_value_info("best", TensorProto.INT64, ["batch"])],
        weights,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def samples(count: int = 3) -> list[Arrays]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((2 + i, 16)).astype(np.float32)} for i in range(count)]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    onnx.save(network(), tmp_path / "a.onnx")
    onnx.save(network(wrong_layer=3), tmp_path / "b.onnx")
    np.savez(tmp_path / "data.npz", **{f"x/{i}": feeds["x"] for i, feeds in enumerate(samples())})
    return tmp_path


def compared(*words: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], list[dict[str, Any]]]:
    code = main(["compare", *map(str, words), "--json"])
    head, *rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return code, head, rows


def ran(path: Path, feeds: Arrays) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def test_figures_are_those_of_onnxruntime_and_numpy(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, head, rows = compared(files / "a.onnx", files / "b.onnx", "--inputs", files / "data.npz", capsys=capsys)
    pairs = [(ran(files / "a.onnx", feeds), ran(files / "b.onnx", feeds)) for feeds in samples()]
    y, best = rows
    each = {"x".join(map(str, f["x"].shape)): np.linalg.norm(q[0] - p[0]) / np.linalg.norm(p[0]) for f, (p, q) in zip(samples(), pairs)}
    assert y["by_shape"] == pytest.approx(each, rel=1e-4) and list(each) == ["2x16", "3x16", "4x16"]
    assert code == 1 and not head["ok"] and head["runs"] == 3
    a, b = (np.concatenate([pair[i][0].reshape(-1) for pair in pairs]).astype(float) for i in (0, 1))
    l2 = np.mean([np.linalg.norm((q[0] - p[0]).astype(float)) / np.linalg.norm(p[0]) for p, q in pairs])
    assert y["error"] == pytest.approx(l2, rel=1e-4)
    assert y["max_abs"] == pytest.approx(np.abs(a - b).max(), rel=1e-4)
    assert y["cosine"] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), rel=1e-6)
    assert y["sqnr"] == pytest.approx(10 * np.log10((a**2).sum() / ((a - b) ** 2).sum()), rel=1e-4)
    assert best["differing"] == sum(np.count_nonzero(p[1] != q[1]) for p, q in pairs)


@pytest.mark.parametrize("runtime", ["ort", "ort,reference", "openvino"])
def test_a_planted_wrong_constant_is_the_first_node_that_departs(files: Path, runtime: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "openvino" in runtime:
        pytest.importorskip("openvino")
    code = main(["compare", str(files / "a.onnx"), str(files / "b.onnx"), "--nodes", "--runtime", runtime, "-o", str(files / "c.json")])
    assert code == 1 and "first    /layer.3/Add" in capsys.readouterr().out
    data = json.loads((files / "c.json").read_text())
    nodes = data["nodes"]
    first = nodes["values"][nodes["first"]]
    assert first["where"] == "/layer.3/Add" and len(first["statements"]) == 2
    assert all(row["ok"] for row in nodes["values"][: nodes["first"]])
    assert nodes["compared"] == nodes["of"] == 3 * LAYERS + 1


def test_what_is_moved_about_departs_from_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bias in front of the product instead of behind it: another value on the way, the same output."""
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((4, 4)).astype(np.float32), rng.standard_normal(4).astype(np.float32)
    for name, nodes, bias in (
        ("a", [("Add", ["m", "b"], "y"), ("MatMul", ["x", "w"], "m")][::-1], b @ w),
        ("b", [("Add", ["x", "b"], "m"), ("MatMul", ["m", "w"], "y")], b),
    ):
        made = [helper.make_node(op, ins, [out], name=f"/{op}") for op, ins, out in nodes]
        graph = helper.make_graph(
            made, "g", [helper.make_tensor_value_info("x", 1, ["N", 4])], [helper.make_tensor_value_info("y", 1, ["N", 4])],
            [numpy_helper.from_array(w, "w"), numpy_helper.from_array(bias.astype(np.float32), "b")],
        )  # fmt: skip
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), tmp_path / f"{name}.onnx")
    code = main(["compare", str(tmp_path / "a.onnx"), str(tmp_path / "b.onnx"), "--nodes", "--max-error", "1e-5", "-o", str(tmp_path / "c.json")])
    assert code == 0
    nodes = json.loads((tmp_path / "c.json").read_text())["nodes"]
    assert nodes["first"] is None and nodes["beyond"] == nodes["passing"]


def test_dynamic_shapes_are_tried_at_two_settings(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, head, _ = compared(files / "a.onnx", files / "a.onnx", capsys=capsys)
    assert code == 0 and head["shapes"] == ["2x16", "3x16"]
    _, head, _ = compared(files / "a.onnx", files / "a.onnx", "--shape", "batch=7", capsys=capsys)
    assert set(head["shapes"]) == {"7x16"}
    code = main(["compare", str(files / "a.onnx"), str(files / "a.onnx"), "--shape", "length=7"])
    assert code == 2 and "no symbolic dimension 'length'" in capsys.readouterr().err


def test_what_geoc_makes_is_within_its_limits(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    geoc.compile(files / "a.onnx", files / "fast.onnx", level=2, check="off")
    code, _, rows = compared(files / "a.onnx", files / "fast.onnx", "--nodes", capsys=capsys)
    assert code == 0 and rows[0]["limit"] == 1e-4 and rows[0]["error"] < 1e-5
    onnx.save(network(dtype=TensorProto.FLOAT16), files / "half.onnx")
    _, _, rows = compared(files / "a.onnx", files / "half.onnx", "--nodes", capsys=capsys)
    assert rows[0]["limit"] == 1e-2 and 1e-5 < rows[0]["error"] < 1e-2


def test_an_int8_version_is_over_the_limit_or_not_as_its_error_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wide, small = tmp_path / "wide.onnx", tmp_path / "int8.onnx"
    onnx.save(network(width=256), wide)
    geoc.compile(wide, small, precision="int8", calib="random", check="off")
    kinds = {node.op_type for node in onnx.load(small).graph.node}
    assert kinds & {"MatMulInteger", "QLinearMatMul", "QuantizeLinear", "DynamicQuantizeMatMul"}
    words = [wide, small, "--nodes", "--shape", "batch=8"]
    code, _, rows = compared(*words, capsys=capsys)
    y, best = (row for row in rows if row["kind"] == "output")
    assert 1e-3 < y["error"] < 0.2 and y["limit"] == 2e-2 and code == (not (y["ok"] and best["ok"]))
    assert y["ok"] == (y["error"] <= 2e-2)
    assert sum(row["kind"] == "node" for row in rows) >= LAYERS
    for limit in (y["error"] * 0.9, y["error"] * 1.1):
        _, _, rows = compared(*words[:2], "--shape", "batch=8", "--max-error", limit, capsys=capsys)
        assert rows[0]["ok"] == (limit > y["error"])


def test_inputs_of_other_names_are_matched_where_that_is_plain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(network(), tmp_path / "a.onnx")
    onnx.save(network(inputs="pixels", outputs="scores"), tmp_path / "b.onnx")
    code, head, rows = compared(tmp_path / "a.onnx", tmp_path / "b.onnx", capsys=capsys)
    assert code == 0 and rows[0]["other"] == "scores"
    assert "inputs matched by position: x = pixels" in head["notes"] and "outputs matched by position: y = scores" in head["notes"]


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ([("x", 1), ("z", 1)], [("p", 1), ("q", 1)], "x: f32[4] could be any of p, q"),
        ([("x", 1), ("z", 1)], [("x", 1)], "the first alone takes z: f32[4]"),
        ([("x", 1), ("z", 1)], [("x", 1), ("z", 7)], "input z is f32[4] in the first model and i64[4] in the second"),
        ([("x", 1), ("z", 1)], [("x", 1), ("k", 7)], "nothing of the second is like z: f32[4]"),
    ],
)
def test_inputs_that_do_not_go_together_are_one_line(
    tmp_path: Path, ours: list[tuple[str, int]], theirs: list[tuple[str, int]], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, inputs in (("a", ours), ("b", theirs)):
        nodes = [helper.make_node("Cast", [given], [f"c{i}"], to=1) for i, (given, _) in enumerate(inputs)]
        nodes.append(helper.make_node("Sum", [f"c{i}" for i in range(len(inputs))], ["y"]))
        graph = helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info(given, kind, [4]) for given, kind in inputs],
            [helper.make_tensor_value_info("y", 1, [4])],
        )  # fmt: skip
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), tmp_path / f"{name}.onnx")
    assert main(["compare", str(tmp_path / "a.onnx"), str(tmp_path / "b.onnx")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_model_that_does_not_run_is_one_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = network(outputs="inner")
    model.graph.node.append(helper.make_node("Reshape", ["inner", "to"], ["y"], name="/bad"))
    model.graph.initializer.append(numpy_helper.from_array(np.int64([7, 16]), "to"))
    model.graph.output[0].name = "y"
    onnx.save(model, files / "bad.onnx")
    for words in (["a.onnx", "bad.onnx"], ["bad.onnx", "a.onnx"], ["a.onnx", "bad.onnx", "--inputs", "data.npz"]):
        given = [str(files / w) if w.endswith(("x", "z")) else w for w in words]
        assert main(["compare", *given]) == 2
        error = capsys.readouterr().err
        assert "bad.onnx does not run at" in error and error.count("\n") == 1
    assert main(["compare", str(files / "a.onnx"), str(files / "missing.onnx")]) == 2
    assert main(["compare", str(files / "a.onnx"), str(files / "a.onnx"), "--runtime", "tflite"]) == 2
    assert "there is no runtime 'tflite'" in capsys.readouterr().err


def test_nan_in_one_of_the_two_is_beyond_every_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, op in (("a", "Abs"), ("b", "Sqrt")):
        graph = helper.make_graph(
            [helper.make_node(op, ["x"], ["y"], name="/op")], "g", [helper.make_tensor_value_info("x", 1, [8])],
            [helper.make_tensor_value_info("y", 1, [8])],
        )  # fmt: skip
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), tmp_path / f"{name}.onnx")
    code, _, rows = compared(tmp_path / "a.onnx", tmp_path / "b.onnx", "--max-error", "0.99", capsys=capsys)
    assert code == 1 and "numbers alone in the first" in rows[0]["problem"] and "NaN" in rows[0]["problem"]


def test_openvinos_own_form_runs_beside_the_source(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    geoc.compile(files / "a.onnx", files / "a.xml", target="openvino-cpu", check="off")
    code, head, rows = compared(files / "a.onnx", files / "a.xml", capsys=capsys)
    assert code == 0 and "OpenVINO" in head["runtimes"][1] and rows[0]["error"] < 1e-4
    code, head, _ = compared(files / "a.xml", files / "a.xml", capsys=capsys)
    assert code == 0 and head["runs"] == 2


def test_openvinos_own_form_is_read_where_another_runtime_or_a_part_of_it_is_to_run(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    geoc.compile(files / "a.onnx", files / "a.xml", target="openvino-cpu", check="off")
    code, head, rows = compared(files / "a.onnx", files / "a.xml", "--nodes", capsys=capsys)
    assert code == 0 and all("onnxruntime" in said for said in head["runtimes"])
    inside = [row for row in rows if row["kind"] == "node"]
    assert inside and all(row["ok"] for row in inside)
    code, head, _ = compared(files / "a.xml", files / "a.xml", "--runtime", "reference,ort", capsys=capsys)
    assert code == 0 and "reference" in head["runtimes"][0] and "onnxruntime" in head["runtimes"][1]


def test_groups_of_values_give_the_same_figures(files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from geoc.tools.compare import inside

    _, _, whole = compared(files / "a.onnx", files / "b.onnx", "--nodes", capsys=capsys)
    monkeypatch.setattr(inside, "MEMORY", 600)
    for runtime in ("ort", "reference"):
        _, _, parts = compared(files / "a.onnx", files / "b.onnx", "--nodes", "--runtime", runtime, capsys=capsys)
        errors = [[row["error"] for row in rows] for rows in (whole, parts)]
        assert errors[0] == pytest.approx(errors[1], rel=1e-3, abs=1e-6)


def test_the_page_names_the_node(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(files / "a.onnx"), str(files / "b.onnx"), "--nodes", "-o", str(files / "c.html")]) == 1
    page = (files / "c.html").read_text()
    assert "/layer.3/Add" in page and "<svg" in page and "http" not in page.replace("http-equiv", "")
    assert main(["compare", str(files / "a.onnx"), str(files / "b.onnx"), "-o", str(files / "c.pdf")]) == 2
