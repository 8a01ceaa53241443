"""What `geoc inspect` says, against counts by onnx's own library and numpy; errors; speed."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoc
from geoc.frontends import formats
from geoc.frontends.formats import ONNX, Format
from geoc.frontends.onnx import load_onnx
from geoc.tools.cli import main
from geoc.tools.inspect.facts import TARGETS, facts_of

MODELS = Path.home() / ".cache" / "geoc-models"
F, I64 = TensorProto.FLOAT, TensorProto.INT64
node, value = helper.make_node, helper.make_tensor_value_info


def save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Any], **more: Any) -> str:
    made = [w if isinstance(w, TensorProto) else numpy_helper.from_array(w, name) for name, w in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, made)
    domains = more.pop("domains", {"": 17})
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="maker", **more), path)
    return str(path)


def inspected(path: str | Path) -> dict[str, Any]:
    return facts_of(str(path), geoc.load(path))


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for each in graph.node:
        for attribute in each.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if attribute.HasField("g") or attribute.graphs:
                    yield from all_graphs(inner)


def test_counts_of_a_model_with_branches(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inner = [
        helper.make_graph([node(op, ["h"], [f"{op}_1"]), node("Neg", [f"{op}_1"], [f"{op}_2"])], op, [], [value(f"{op}_2", F, ["N", 8])])
        for op in ("Relu", "Tanh")
    ]
    path = save(
        tmp_path / "m.onnx",
        [
            node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), node("Flatten", ["c"], ["f"]), node("Gemm", ["f", "d", "b"], ["h"]),
            node("If", ["p"], ["y"], then_branch=inner[0], else_branch=inner[1]),
        ],
        [value("x", F, ["N", 3, 4, 4]), value("p", TensorProto.BOOL, [])], [value("y", F, ["N", 8])],
        {"w": rng.random((2, 3, 3, 3), np.float32), "d": rng.random((32, 8)).astype(np.float32), "b": np.zeros(8, np.float32)},
    )  # fmt: skip
    proto = onnx.load(path)
    found = inspected(path)
    assert found["ops"] == Counter(n.op_type for g in all_graphs(proto.graph) for n in g.node)
    assert found["nodes"] == sum(found["ops"].values()) == 8 and found["nested_graphs"] == 2
    assert (found["format"], found["version"], found["opsets"]) == ("ONNX", "IR version 9", {"": 17})
    assert found["info"] == {"producer_name": "maker"}
    assert found["inputs"] == [{"name": "x", "type": "f32[N,3,4,4]", "default": False}, {"name": "p", "type": "bool[]", "default": False}]
    assert found["outputs"] == [{"name": "y", "type": "f32[N,8]", "default": False}]
    assert found["symbols"] == ["N"] and not found["unnamed"] and found["assumed"] == ["N=1"]
    assert found["files"] == {path: Path(path).stat().st_size} and found["bytes"] == Path(path).stat().st_size
    # Two 3 x 3 filters over 3 channels at 16 places, and 32 by 8.
    assert found["macs"] == 2 * 3 * 9 * 16 + 32 * 8 and not found["unsized"]
    assert found["weights"]["parameters"] == sum(np.prod(w.dims, dtype=int) for w in proto.graph.initializer)
    assert not found["quantized"] and not found["caches"] and not found["custom_ops"]
    assert all(not t["refused"] and not t["error"] and not t["reader"] for t in found["targets"])


def test_weights_by_type_doubles_and_splats(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a = rng.random((32, 32), np.float32)
    nearly = a.copy()
    nearly[17, 3] += 1
    names = ("a", "again", "nearly", "ones", "almost", "nothing")
    almost = np.ones((32, 32), np.float32)
    almost[31, 30] = 2
    weights = {
        "a": a, "again": a, "nearly": nearly, "ones": np.ones((32, 32), np.float32), "almost": almost,
        "nothing": np.full((32, 32), np.nan, np.float32), "half": rng.random(100).astype(np.float16), "axes": np.array([0, 1]),
        "few": np.ones(4, np.float32), "fews": np.ones(4, np.float32),
    }  # fmt: skip
    nodes = [node("Sum", ["x", *names], ["s"]), node("Cast", ["half"], ["h"], to=F), node("ReduceSum", ["s", "axes"], ["y"])]
    nodes += [node("Concat", ["few", "fews", "h"], ["z"], axis=0)]
    path = save(tmp_path / "m.onnx", nodes, [value("x", F, [32, 32])], [value("y", F, None), value("z", F, [108])], weights)
    found = inspected(path)
    counted: Counter[str] = Counter()
    for array in weights.values():
        counted[{"float32": "f32", "float16": "f16", "int64": "i64"}[array.dtype.name]] += array.nbytes
    rows = found["weights"]["by_dtype"]
    assert {row["dtype"]: row["bytes"] for row in rows} == counted
    assert [(row["dtype"], row["count"], row["elements"]) for row in rows] == [("f32", 8, 6 * 1024 + 8), ("f16", 1, 100), ("i64", 1, 2)]
    assert rows[0]["share"] == pytest.approx(counted["f32"] / sum(counted.values()))
    assert found["weights"]["parameters"] == 6 * 1024 + 8 + 100
    assert found["weights"]["duplicates"] == [{"names": ["a", "again"], "type": "f32[32,32]", "bytes": 4096}]
    splats = [(s["name"], s["value"], s["bytes"]) for s in found["weights"]["splats"]]
    assert splats == [("ones", 1.0, 4096), ("nothing", "nan", 4096)]
    assert found["quantized"] == {"half weights": 1}


@pytest.mark.parametrize("dtype", [TensorProto.UINT4, TensorProto.INT4, TensorProto.UINT8, TensorProto.FLOAT8E4M3FN, TensorProto.BFLOAT16])
def test_splats_of_other_types(dtype: int, tmp_path: Path) -> None:
    size = 4099  # odd: half of the last byte of four bits is padding
    for last in (1, 2):
        weight = helper.make_tensor("w", dtype, [size], [1] * (size - 1) + [last])
        path = save(tmp_path / "m.onnx", [node("Identity", ["w"], ["y"])], [], [value("y", dtype, [size])], {"w": weight}, domains={"": 21})
        splats = inspected(path)["weights"]["splats"]
        assert [s["value"] for s in splats] == ([1] if last == 1 else [])


def test_shared_data_counts_once(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    path = save(tmp_path / "m.onnx", [node("Sum", ["x", "a", "b"], ["y"])], [value("x", F, [64, 64])], [value("y", F, [64, 64])], {"a": array, "b": array})
    proto = onnx.load(path)
    (tmp_path / "w.bin").write_bytes(array.tobytes())
    for weight in proto.graph.initializer:
        onnx.external_data_helper.set_external_data(weight, "w.bin", 0, array.nbytes)
        weight.ClearField("raw_data")
    onnx.save(proto, path)
    found = inspected(path)
    assert found["weights"]["bytes"] == array.nbytes and found["weights"]["parameters"] == array.size
    assert not found["weights"]["duplicates"]
    assert found["files"] == {str(p): p.stat().st_size for p in (tmp_path / "m.onnx", tmp_path / "w.bin")}


def test_custom_operators_functions_and_what_targets_could_not_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = [node("Mul", ["a", "a"], ["b"]), node("Add", ["b", "a"], ["c"])]
    function = helper.make_function("mine", "Poly", ["a"], ["c"], body, [helper.make_opsetid("", 17)])
    path = save(
        tmp_path / "m.onnx", [node("Poly", ["x"], ["p"], domain="mine"), node("Odd", ["p"], ["o"], domain="theirs"), node("Det", ["o"], ["y"])],
        [value("x", F, ["?", 4, 4])], [value("y", F, None)], {}, functions=[function], domains={"": 17, "mine": 1, "theirs": 1},
    )  # fmt: skip
    found = inspected(path)
    assert found["custom_ops"] == {"theirs::Odd": 1} and found["functions"] == {"mine::Poly": 2}
    targets = {t["target"]: t for t in found["targets"]}
    assert set(targets) == set(TARGETS)
    assert [row["op"] for row in targets["cpu"]["refused"]] == ["theirs::Odd"]
    assert {row["op"] for row in targets["tensorrt"]["refused"]} == {"theirs::Odd", "Det"}
    assert "theirs::Odd" in targets["openvino-cpu"]["reader"]
    assert main(["inspect", path]) == 0
    text = capsys.readouterr().out
    assert "custom    theirs::Odd (1)" in text and "functions mine::Poly (2 nodes)" in text
    assert "tensorrt" in text and "Det (1): " in text


def test_forms_of_quantization(tmp_path: Path) -> None:
    scale, zero = np.float32(0.1), np.uint8(3)
    w = np.random.default_rng(0).integers(0, 255, (16, 16)).astype(np.uint8)
    path = save(
        tmp_path / "m.onnx",
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["xd"]),
            node("DequantizeLinear", ["w", "s", "z"], ["wd"]), node("MatMul", ["xd", "wd"], ["h"]),
            node("DynamicQuantizeLinear", ["h"], ["hq", "hs", "hz"]), node("MatMulInteger", ["hq", "w", "hz"], ["y"]),
        ],
        [value("x", F, [2, 16])], [value("y", TensorProto.INT32, [2, 16])], {"s": np.array(scale), "z": np.array(zero), "w": w},
    )  # fmt: skip
    found = inspected(path)
    assert found["quantized"] == {"qdq": 1, "weights": 1, "dynamic": 1, "integer operators": 1}
    assert found["weights"]["parameters"] == 16 * 16
    assert found["macs"] == 2 * (2 * 16 * 16)


def test_integers_that_come_from_elsewhere_are_of_a_pair(tmp_path: Path) -> None:
    scale, zero, I8 = np.array(np.float32(0.1)), np.array(np.int8(3)), TensorProto.INT8
    path = save(
        tmp_path / "m.onnx",
        [
            node("Reshape", ["x", "flat"], ["r"]), node("DequantizeLinear", ["r", "s", "z"], ["f"]), node("Relu", ["f"], ["h"]),
            node("QuantizeLinear", ["h", "s", "z"], ["q"]), node("QLinearMatMul", ["q", "s", "z", "w", "s", "z", "s", "z"], ["m"]),
            node("DequantizeLinear", ["m", "s", "z"], ["y"]),
        ],
        [value("x", I8, [2, 2, 8])], [value("y", F, [2, 16])],
        {"s": scale, "z": zero, "flat": np.array([2, 16]), "w": np.ones((16, 16), np.int8)},
    )  # fmt: skip
    assert inspected(path)["quantized"] == {"qdq": 1, "integer operators": 1}


def test_codes_in_blocks_are_parameters_one_by_one(tmp_path: Path) -> None:
    n, k, block = 8, 64, 32
    rng = np.random.default_rng(0)
    weights = {"b": rng.integers(0, 255, (n, k // block, block // 2)).astype(np.uint8), "s": rng.random((n, k // block)).astype(np.float32)}
    one = node("MatMulNBits", ["x", "b", "s"], ["y"], domain="com.microsoft", N=n, K=k, bits=4, block_size=block)
    two = node("MatMulNBits", ["x", "b", "s"], ["z"], domain="com.microsoft", N=n, K=k, bits=4, block_size=block)
    outputs = [value(name, F, ["N", n]) for name in "yz"]
    path = save(tmp_path / "m.onnx", [one, two], [value("x", F, ["N", k])], outputs, weights, domains={"": 17, "com.microsoft": 1})
    found = inspected(path)
    assert found["quantized"] == {"blocks": 2}
    assert found["weights"]["parameters"] == n * k
    assert found["weights"]["bytes"] == n * k // 2 + 4 * n * k // block


def test_a_decoder_with_a_cache(tmp_path: Path) -> None:
    past = [value(f"past.{name}", F, ["B", 2, "P", 8]) for name in ("key", "value")]
    present = [value(f"present.{name}", F, ["B", 2, "T", 8]) for name in ("key", "value")]
    nodes = [node("Attention", ["x", "k", "v", "", "past.key", "past.value"], ["y", "present.key", "present.value"])]
    inputs = [value(name, F, ["B", 2, "S", 8]) for name in ("x", "k", "v")]
    path = save(tmp_path / "m.onnx", nodes, [*inputs, *past], [value("y", F, ["B", 2, "S", 8]), *present], {}, domains={"": 23})
    found = inspected(path)
    assert found["attention"] == 1
    assert [(c["input"], c["output"]) for c in found["caches"]] == [("past.key", "present.key"), ("past.value", "present.value")]


def test_unnamed_dimensions_have_a_hint_that_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = helper.make_tensor_value_info("x", F, [None, 3, None])
    path = save(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])], [x], [value("y", F, None)], {})
    assert main(["inspect", path]) == 0
    text = capsys.readouterr().out
    assert "--shape x=N,3,N" in text
    assert main(["inspect", path, "--shape", "x=2,3,5"]) == 0
    text = capsys.readouterr().out
    assert "f32[2,3,5]" in text and "--shape" not in text


def test_sizes_that_fit_nothing_are_said_and_not_assumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = helper.make_tensor_value_info("x", F, ["N", None])
    weights = {"w": np.ones((48, 8), np.float32)}
    path = save(tmp_path / "m.onnx", [node("MatMul", ["x", "w"], ["y"])], [x], [value("y", F, None)], weights)
    found = inspected(path)
    assert found["macs"] is None and "x=1,128 does not fit" in found["no_work"] and found["ops"] == {"MatMul": 1}
    assert main(["inspect", path]) == 0
    assert "work      not known: --shape: sizes are needed, x=1,128 does not fit" in capsys.readouterr().out
    assert main(["inspect", path, "--shape", "x=2,48"]) == 0
    assert "768 MAC" in capsys.readouterr().out
    assert main(["estimate", path, "--target", "a100"]) == 2
    assert "--shape: sizes are needed, x=1,128" in capsys.readouterr().err


def test_defaults_of_inputs_are_weights(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((32, 32), np.float32)
    inputs = [value(name, F, [32, 32]) for name in "xab"]
    path = save(tmp_path / "m.onnx", [node("Sum", ["x", "a", "b"], ["y"])], inputs, [value("y", F, [32, 32])], {"a": array, "b": array})
    found = inspected(path)
    assert [v["default"] for v in found["inputs"]] == [False, True, True]
    assert found["weights"]["parameters"] == 2 * 1024
    assert found["weights"]["duplicates"] == [{"names": ["a", "b"], "type": "f32[32,32]", "bytes": 4096}]


def test_what_only_a_format_has_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gguf = pytest.importorskip("gguf")
    from ...frontends.gguf.tiny import CASES, write

    path = tmp_path / "m.gguf"
    write(path, CASES["llama"], {"ffn_up.weight": "Q4_1", "ffn_down.weight": "Q5_0", "attn_q.weight": "Q8_0"})
    reader = gguf.GGUFReader(path)
    kinds: dict[str, list[int]] = {}
    for tensor in reader.tensors:
        row = kinds.setdefault(tensor.tensor_type.name, [0, 0])
        row[0], row[1] = row[0] + 1, row[1] + int(tensor.n_bytes)
    found = inspected(path)
    assert found["version"] == f"version {int(reader.fields['GGUF.version'].parts[-1][0])}"
    assert {kind: [row["count"], row["bytes"]] for kind, row in found["stored"].items()} == kinds and len(kinds) == 4
    elements = sum(int(tensor.n_elements) for tensor in reader.tensors)
    assert elements <= found["weights"]["parameters"] <= elements + 16  # and frequencies of rotary embeddings
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "GGUF version 3" in out and "stored    F32 (" in out and "Q4_1 (2, " in out


def test_metadata_and_long_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ops = ["Relu", "Tanh", "Neg", "Abs", "Exp", "Log", "Sqrt", "Sin", "Cos", "Erf", "Floor", "Ceil", "Sign", "Atan"]
    nodes = [node(op, ["x" if not place else f"v{place - 1}"], [f"v{place}"]) for place, op in enumerate(ops)]
    path = save(tmp_path / "m.onnx", nodes, [value("x", F, [2])], [value("v13", F, [2])], {})
    proto = onnx.load(path)
    helper.set_model_props(proto, {"names": "a\nb" + "c" * 200, "task": "detect"})
    onnx.save(proto, path)
    assert main(["inspect", path]) == 0
    text = capsys.readouterr().out
    assert "metadata  task: detect" in text and "names: a b" in text and "ccc..." in text
    assert "2 operators more" in text and "-v shows all" in text
    assert main(["inspect", path, "-v"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n{op} " in text for op in ops) and "c" * 200 in text and "-v shows" not in text


def test_texts_of_the_ir(tmp_path: Path) -> None:
    (tmp_path / "m.gir").write_text('geoc 1\nopset "" 17\n\ngraph @main(%x: f32[N,4]) -> (%y: f32[N,4]) {\n  %y: f32[N,4] = Neg(%x)\n}\n')
    found = inspected(tmp_path / "m.gir")
    assert found["format"] == "geoc's text" and found["ops"] == {"Neg": 1} and found["weights"]["count"] == 0


def test_a_folder_has_the_size_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = Format("made-up", "made up", "onnx:load_onnx", member="made.txt")
    monkeypatch.setattr(formats, "FORMATS", (ONNX, made_up))
    monkeypatch.setattr(Format, "load", lambda self, path: load_onnx(tmp_path / "m.onnx"))
    save(tmp_path / "m.onnx", [node("Neg", ["x"], ["y"])], [value("x", F, [2])], [value("y", F, [2])], {})
    folder = tmp_path / "folder"
    (folder / "inside").mkdir(parents=True)
    (folder / "made.txt").write_bytes(bytes(10))
    (folder / "inside" / "w.bin").write_bytes(bytes(100))
    found = inspected(folder)
    assert found["format"] == "made up" and found["bytes"] == 110 and len(found["files"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [([], "give one model: geoc inspect MODEL"), (["no.onnx"], "no.onnx: No such file"), (["bad.onnx"], "bad.onnx: "), (["."], ".: a folder that is no model: there is no config.json (Hugging Face folder) or saved_model.pb (TensorFlow SavedModel) in it"), (["m.onnx", "m.onnx"], "give one model")],
)
def test_errors_are_one_line(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x09: not a model")
    assert main(["inspect", *words]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and said in err


def test_json_is_one_line_of_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "m.onnx", [node("Neg", ["x"], ["y"])], [value("x", F, [2])], [value("y", F, [2])], {})
    assert main(["inspect", path, "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and json.loads(out) == json.loads(json.dumps(inspected(path)))


@pytest.mark.parametrize("name", ["bert-4l-dynamo", "resnet18-ts", "t5-small-encoder-ts", "smollm2-135m-past-real-dynamo"])
def test_real_models_against_onnx(name: str) -> None:
    path = MODELS / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"no {path}")
    proto = onnx.load(path, load_external_data=False)
    found = inspected(path)
    constants = sum(n.op_type == "Constant" for g in all_graphs(proto.graph) for n in g.node)  # operands here
    assert found["nodes"] == sum(len(g.node) for g in all_graphs(proto.graph)) - constants
    ops = Counter(n.op_type for g in all_graphs(proto.graph) for n in g.node if n.op_type != "Constant")
    assert found["ops"] == ops
    floats = sum(np.prod(w.dims, dtype=int) for w in proto.graph.initializer if w.data_type == F)
    assert floats <= found["weights"]["parameters"] <= floats * 1.001  # and constants of nodes
    assert [v["name"] for v in found["inputs"]] == [v.name for v in proto.graph.input]


def test_half_a_gigabyte_in_a_moment_of_time() -> None:
    path = MODELS / "smollm2-135m-past-real-dynamo.onnx"
    if not path.exists():
        pytest.skip(f"no {path}")
    began = time.process_time()
    inspected(path)
    assert time.process_time() - began < 1
