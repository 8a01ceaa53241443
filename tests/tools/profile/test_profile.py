"""Profiles of models whose slow parts are known."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from geoc.tools.cli import main
from geoc.tools.profile.events import read_runs
from geoc.tools.profile.recorded import Row


def save(path: Path, nodes: list[Any], weights: dict[str, np.ndarray], inputs: dict[str, Any], outputs: list[str]) -> Path:
    given = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    held = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", given, made, held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def dominated(path: Path, names: bool = True) -> Path:
    """One product of 2 * 64 * 512 * 2048 operations among others of a hundredth."""
    node = helper.make_node
    nodes = [
        node("MatMul", ["x", "small"], ["a"], name="/first/MatMul" if names else ""),
        node("Tanh", ["a"], ["t"], name="/first/Tanh" if names else ""),
        node("MatMul", ["t", "big"], ["b"], name="/middle/big/MatMul" if names else ""),
        node("Add", ["b", "bias"], ["c"], name="/middle/big/Add" if names else ""),
        node("Relu", ["c"], ["y"], name="/last/Relu" if names else ""),
    ]
    weights = {
        "small": np.ones((8, 512), np.float32), "big": np.ones((512, 2048), np.float32), "bias": np.ones(2048, np.float32),
    }  # fmt: skip
    return save(path, nodes, weights, {"x": (TensorProto.FLOAT, [64, 8])}, ["y"])


def profile(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """The record, by -o FILE.json; what is printed is left to `capsys`."""
    made = Path(str(words[0])).with_suffix(".profile.json")
    assert main(["profile", *map(str, words), "--time", "500ms", "-o", str(made)]) == 0, capsys.readouterr().err
    found: dict[str, Any] = json.loads(made.read_text())
    return found


@pytest.mark.parametrize("runtime", ["ort", "openvino"])
def test_the_one_that_dominates_comes_first(runtime: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    found = profile(capsys, dominated(tmp_path / "m.onnx"), "--runtime", runtime)
    top = found["nodes"][0]
    assert "/middle/big/MatMul" in top["sources"] and top["share"] > 0.5
    assert top["scope"] == ["middle", "big"] and top["calls"] == 1
    assert top["estimate"] == pytest.approx(top["measured"] / top["ratio"])
    assert found["nodes"][-1]["cumulative"] == pytest.approx(1.0)
    out = capsys.readouterr().out
    assert "/middle/big/MatMul" in out and "profiler  " in out and "by roofline" in out


def test_the_nodes_make_up_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = profile(capsys, dominated(tmp_path / "m.onnx"))["seconds"]
    assert seconds["nodes"] == pytest.approx(seconds["run"], rel=0.35)
    assert seconds["run"] == pytest.approx(seconds["nodes"] + seconds["between"])
    assert seconds["without_profiler"] == pytest.approx(seconds["run"], rel=0.5)


def test_the_estimate_has_the_arithmetic_of_what_was_fused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """onnxruntime makes one Gemm of product, bias and Relu: its sources, and its estimate is no less than the product's."""
    found = profile(capsys, dominated(tmp_path / "m.onnx"))
    assert len(found["nodes"]) < 5
    top = found["nodes"][0]
    assert {"/middle/big/MatMul", "/middle/big/Add", "/last/Relu"} <= set(top["sources"])
    from geoc.lowering.targets import get_target

    rate = get_target("cpu,cores=1").hardware.rates["fp32"]
    assert top["estimate"] >= 2 * 64 * 512 * 2048 / rate and top["bound"] == "compute"


def test_what_geoc_fused_has_its_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = helper.make_node
    half, root, unit = np.float32(0.5), np.float32(np.sqrt(2)), np.float32(1)
    nodes = [
        node("Div", ["x", "root"], ["a"], name="/act/Div"), node("Erf", ["a"], ["b"], name="/act/Erf"),
        node("Add", ["b", "unit"], ["c"], name="/act/Add"), node("Mul", ["x", "c"], ["d"], name="/act/Mul"),
        node("Mul", ["d", "half"], ["y"], name="/act/Mul_1"),
    ]  # fmt: skip
    weights = {"half": np.array(half), "root": np.array(root), "unit": np.array(unit)}
    path = save(tmp_path / "m.onnx", nodes, weights, {"x": (TensorProto.FLOAT, [64, 256])}, ["y"])
    assert main([str(path), "-q", "-o", str(tmp_path / "m.gir")]) == 0
    found = profile(capsys, tmp_path / "m.gir")
    assert len(found["nodes"]) == 1 and "Gelu" in found["nodes"][0]["op"]
    assert {"/act/Div", "/act/Erf", "/act/Add", "/act/Mul", "/act/Mul_1"} == set(found["nodes"][0]["sources"])


def test_nodes_without_names_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = profile(capsys, dominated(tmp_path / "m.onnx", names=False))
    assert "written anew" in found["note"] and found["nodes"][0]["share"] > 0.5
    assert "b" in found["nodes"][0]["sources"]  # called by their results


def branching(path: Path) -> Path:
    """A Loop of five trips with a product in it, and an If whose taken branch has another."""
    node = helper.make_node
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("MatMul", ["state", "w"], ["next"], name="/loop/MatMul"), node("Identity", ["go"], ["on"], name="/loop/Identity")],
        "body", [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("state", TensorProto.FLOAT, [64, 64])],
        [value("on", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, [64, 64])],
    )  # fmt: skip
    then = helper.make_graph([node("MatMul", ["looped", "w"], ["t"], name="/then/MatMul")], "then", [], [value("t", TensorProto.FLOAT, [64, 64])])
    other = helper.make_graph([node("Neg", ["looped"], ["e"], name="/else/Neg")], "else", [], [value("e", TensorProto.FLOAT, [64, 64])])
    nodes = [
        node("Loop", ["trips", "", "x"], ["looped"], name="/loop", body=body),
        node("ReduceMax", ["x"], ["most"], name="/max", keepdims=0), node("Greater", ["most", "low"], ["c"], name="/greater"),
        node("If", ["c"], ["y"], name="/if", then_branch=then, else_branch=other),
    ]  # fmt: skip
    weights = {"w": np.eye(64, dtype=np.float32), "trips": np.array(5), "low": np.array(-1e9, np.float32)}
    return save(path, nodes, weights, {"x": (TensorProto.FLOAT, [64, 64])}, ["y"])


def test_bodies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = profile(capsys, branching(tmp_path / "m.onnx"))["nodes"]
    by_name = {node["name"]: node for node in nodes}
    assert by_name["/loop/MatMul"]["inside"] == "/loop" and by_name["/loop/MatMul"]["calls"] == 5
    assert by_name["/then/MatMul"]["inside"] == "/if" and by_name["/then/MatMul"]["calls"] == 1
    assert "/else/Neg" not in by_name
    assert by_name["/loop/MatMul"]["sources"] == ["/loop/MatMul"]
    assert by_name["/loop/MatMul"]["estimate"] == pytest.approx(5 * by_name["/then/MatMul"]["estimate"], rel=0.01)


def test_events_of_bodies_are_no_time_of_their_holder(tmp_path: Path) -> None:
    def event(name: str, op: str, ts: int, dur: int) -> dict[str, Any]:
        return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": {"op_name": op}}

    run = {"cat": "Session", "name": "model_run", "ts": 0, "dur": 500, "args": {}}
    events = [
        event("before", "Add", 0, 10), event("a", "Mul", 20, 30), event("b", "Mul", 60, 5),
        event("inner", "If", 15, 60), event("c", "Mul", 80, 10), event("outer", "Loop", 12, 100), event("after", "Add", 120, 7), run,
    ]  # fmt: skip
    (tmp_path / "e.json").write_text(json.dumps([*events, *events]))
    rows: dict[tuple[str, str], Row] = {}
    runs = read_runs(str(tmp_path / "e.json"), rows)
    assert len(runs) == 2 and runs[0] == runs[1]
    micro = {key: round(seconds * 1e6) for key, (seconds, _) in runs[0].items()}
    assert micro == {
        ("", "before"): 10, ("inner", "a"): 30, ("inner", "b"): 5, ("outer", "inner"): 25, ("outer", "c"): 10, ("", "outer"): 30,
        ("", "after"): 7,
    }  # fmt: skip
    assert sum(micro.values()) == 10 + 100 + 7


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]


def test_the_page_and_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = dominated(tmp_path / "m.onnx")
    for made in ("p.html", "p.png"):
        assert main(["profile", str(path), "--time", "300ms", "-q", "-o", str(tmp_path / made)]) == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "p.html").read_text()
    page = Elements()
    page.feed(text)
    assert {"icicle", "detail", "find", "path", "nodes", "data"} <= set(page.ids) and len(set(page.ids)) == len(page.ids)
    assert not re.search(r"(src|href)=|url\(|@import|https?:", text)
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert found is not None
    data = json.loads(found[1])

    def leaves(at: dict[str, Any]) -> list[int]:
        return [at["node"]] if "node" in at else [leaf for child in at["children"] for leaf in leaves(child)]

    assert sorted(leaves(data["tree"])) == list(range(len(data["nodes"])))
    assert data["tree"]["seconds"] == pytest.approx(sum(node["seconds"] for node in data["nodes"]))


def test_an_xml_has_no_estimate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    path = dominated(tmp_path / "m.onnx")
    assert main([str(path), "-q", "--target=openvino-cpu", "-o", str(tmp_path / "m.xml")]) == 0
    found = profile(capsys, tmp_path / "m.xml")
    assert found["estimate"]["why_not"] and found["nodes"][0]["share"] > 0.5 and found["runtime"] == "openvino"


def test_what_it_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = dominated(tmp_path / "m.onnx")
    for words, said in (
        ((path, "--runtime", "tensorrt"), "--runtime: profiles ort and openvino"),
        ((path, "-o", "p.txt"), "-o: a profile is written as .html, .png, .json"),
        ((path, "--threads", "0"), "--threads: takes a whole number from 1 on"),
        ((path, "--threads", "1,2"), "--threads takes a whole number"),
        ((path, path), "give one model"),
    ):
        assert main(["profile", *map(str, words)]) == 2
        out, err = capsys.readouterr()
        assert not out and said in err and err.count("\n") == 1, (words, err)


CLICKS = """<script>
const boxes = [...document.querySelectorAll("#icicle div")];
boxes.find(box => box.title.startsWith("middle")).click();
[...document.querySelectorAll("#icicle div:not(.scope)")][0].click();
document.title = [...document.querySelectorAll("#path a")].map(link => link.textContent).join("/");
const find = document.getElementById("find");
find.value = "tanh";
find.dispatchEvent(new Event("input"));
</script></body>"""


def test_the_page_in_a_browser(tmp_path: Path) -> None:
    """A scope is zoomed to, a node in it says where it comes from, and the search leaves what fits."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("there is no chromium")
    path = dominated(tmp_path / "m.onnx")
    assert main(["profile", str(path), "--time", "300ms", "-q", "-o", str(tmp_path / "p.html")]) == 0
    (tmp_path / "q.html").write_text((tmp_path / "p.html").read_text().replace("</body>", CLICKS))
    words = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom", f"file://{tmp_path / 'q.html'}",
    ]  # fmt: skip
    shown = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "<title>model/middle</title>" in shown
    detail = re.search(r'<pre id="detail"[^>]*>(.*?)</pre>', shown, re.DOTALL)
    assert detail is not None and "/middle/big/MatMul" in detail[1] and "calls a run" in detail[1]
    rows = re.search(r'<div id="nodes">(.*?)</div>', shown, re.DOTALL)
    assert rows is not None and rows[1].count("<tr") == 2 and "/first/Tanh" in rows[1]
