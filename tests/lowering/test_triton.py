"""--emit triton: model directories, with their configuration read back by protobuf's own reader of text."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from onnx import TensorProto, helper

import geoc
from geoc.ir.errors import UnsupportedModel, UsageError
from geoc.tools.cli import main

from ..tools.toys import embedding, finish, relu_chain

# What is used of Triton's model_config.proto: message, field, number, type, repeated.
INT64, INT32, BOOL, STRING, MESSAGE, ENUM = 3, 5, 8, 9, 11, 14
FIELDS: dict[str, list[tuple[str, int, int, str, bool]]] = {
    "ModelTensorReshape": [("shape", 1, INT64, "", True)],
    "ModelInput": [
        ("name", 1, STRING, "", False), ("data_type", 2, ENUM, "DataType", False), ("dims", 4, INT64, "", True),
        ("reshape", 5, MESSAGE, "ModelTensorReshape", False), ("optional", 8, BOOL, "", False),
    ],
    "ModelOutput": [
        ("name", 1, STRING, "", False), ("data_type", 2, ENUM, "DataType", False), ("dims", 3, INT64, "", True),
        ("reshape", 5, MESSAGE, "ModelTensorReshape", False),
    ],
    "ModelInstanceGroup": [("count", 2, INT32, "", False), ("kind", 4, ENUM, "Kind", False)],
    "ModelDynamicBatching": [],
    "ModelParameter": [("string_value", 1, STRING, "", False)],
    "ParametersEntry": [("key", 1, STRING, "", False), ("value", 2, MESSAGE, "ModelParameter", False)],
    "ModelConfig": [
        ("name", 1, STRING, "", False), ("platform", 2, STRING, "", False), ("max_batch_size", 4, INT32, "", False),
        ("input", 5, MESSAGE, "ModelInput", True), ("output", 6, MESSAGE, "ModelOutput", True),
        ("instance_group", 7, MESSAGE, "ModelInstanceGroup", True),
        ("dynamic_batching", 11, MESSAGE, "ModelDynamicBatching", False),
        ("parameters", 14, MESSAGE, "ParametersEntry", True), ("backend", 17, STRING, "", False),
    ],
}  # fmt: skip
ENUMS = {
    "DataType": ["INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16",
                 "FP32", "FP64", "STRING", "BF16"],
    "Kind": ["AUTO", "GPU", "CPU", "MODEL"],
}  # fmt: skip
PREFIX = {"DataType": "TYPE_", "Kind": "KIND_"}


def message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    for name, words in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, word in enumerate(words):
            enum.value.add(name=PREFIX[name] + word, number=number)
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, type, of, repeated in fields:
            message.field.add(name=field, number=number, type=type, label=3 if repeated else 1,
                              type_name=f".inference.{of}" if of else None)  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


CONFIG = message_class()


def read(folder: Path) -> Any:
    """The configuration of a model directory; raises ParseError where the text is none."""
    return text_format.Parse((folder / "config.pbtxt").read_text(), CONFIG())


def tensors(rows: Any) -> list[tuple[str, str, list[int]]]:
    kinds = ENUMS["DataType"]
    return [(row.name, kinds[row.data_type], list(row.dims)) for row in rows]


def saved(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return saved(embedding(), tmp_path / "tokens.onnx")


def test_a_batch_that_all_share_is_left_out_of_dims(tokens: Path, tmp_path: Path) -> None:
    report = geoc.compile(tokens, tmp_path / "served", emit="triton", threads=3)
    found = read(tmp_path / "served")
    assert (found.name, found.backend, found.platform) == ("served", "onnxruntime", "onnxruntime_onnx")
    assert found.max_batch_size == 4 and found.HasField("dynamic_batching")
    assert any("--shape batch=min:opt:max" in note for note in report.notes)
    assert tensors(found.input) == [("input_ids", "INT64", [-1]), ("attention_mask", "INT64", [-1])]
    assert tensors(found.output) == [("y", "FP32", [-1, 3])]
    assert [(g.count, g.kind) for g in found.instance_group] == [(1, ENUMS["Kind"].index("CPU"))]
    assert {p.key: p.value.string_value for p in found.parameters} == {"intra_op_thread_count": "3"}
    assert sorted(report.files) == [str(tmp_path / "served" / name) for name in ("1/model.onnx", "config.pbtxt")]


def test_the_model_takes_and_gives_what_the_configuration_says(tokens: Path, tmp_path: Path) -> None:
    geoc.compile(tokens, tmp_path / "served", emit="triton", shape="batch=1:8:32")
    found = read(tmp_path / "served")
    assert found.max_batch_size == 32
    session = onnxruntime.InferenceSession(str(tmp_path / "served" / "1" / "model.onnx"))
    feeds = {row.name: np.ones((2, *(5 if d < 0 else d for d in row.dims)), np.int64) for row in found.input}
    (result,) = session.run([row.name for row in found.output], feeds)
    assert result.shape == (2, 5, 3) and result.dtype == np.float32


@pytest.mark.parametrize(
    ("inputs", "outputs", "dims"),
    [
        ([["batch", 4]], [["batch", 4]], None),
        ([["seq", 4]], [["seq", 4]], [-1, 4]),  # no batch: requests of one sequence each must stay apart
        ([["batch", 4]], [["batch", 4], ["other", 4]], [-1, 4]),
        ([[2, 4]], [[2, 4]], [2, 4]),
    ],
)
def test_when_requests_may_be_put_together(
    inputs: list[list[str | int]], outputs: list[list[str | int]], dims: list[int] | None, tmp_path: Path
) -> None:
    nodes = [helper.make_node("Relu", ["x0"], ["y0"], name="/relu")]
    if len(outputs) > 1:
        nodes.append(helper.make_node("Compress", ["x0", "keep"], ["y1"], axis=0))
    keep = [("keep", TensorProto.BOOL, ["k"])] if len(outputs) > 1 else []
    model = finish(
        nodes,
        [*((f"x{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(inputs)), *keep],
        [(f"y{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(outputs)],
    )
    geoc.compile(saved(model, tmp_path / "m.onnx"), tmp_path / "m", emit="triton")
    found = read(tmp_path / "m")
    assert found.max_batch_size == (4 if dims is None else 0)
    assert found.HasField("dynamic_batching") == (dims is None)
    assert list(found.input[0].dims) == (dims or [4])


def test_scalars_and_names_that_need_quotes(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ['a"\\b', "größe"], ["y"])]
    model = finish(nodes, [('a"\\b', TensorProto.FLOAT, []), ("größe", TensorProto.FLOAT, [])],
                   [("y", TensorProto.FLOAT, [])])  # fmt: skip
    geoc.compile(saved(model, tmp_path / "m.onnx"), tmp_path / "m", emit="triton")
    found = read(tmp_path / "m")
    assert [row.name for row in found.input] == ['a"\\b', "größe"]
    for row in (*found.input, *found.output):
        assert list(row.dims) == [1] and row.HasField("reshape") and not row.reshape.shape


@pytest.mark.parametrize(
    ("kind", "name"),
    [(TensorProto.STRING, "STRING"), (TensorProto.BOOL, "BOOL"), (TensorProto.DOUBLE, "FP64"),
     (TensorProto.FLOAT16, "FP16"), (TensorProto.UINT8, "UINT8")],
)  # fmt: skip
def test_element_types(kind: int, name: str, tmp_path: Path) -> None:
    nodes = [helper.make_node("Flatten", ["x"], ["y"])]
    model = finish(nodes, [("x", kind, ["n", 2, 2])], [("y", kind, ["n", 4])])
    geoc.compile(saved(model, tmp_path / "m.onnx"), tmp_path / "m", emit="triton")
    found = read(tmp_path / "m")
    assert tensors(found.input) == [("x", name, [2, 2])] and tensors(found.output) == [("y", name, [4])]


def test_what_triton_does_not_take(tmp_path: Path) -> None:
    bfloat = finish([helper.make_node("Identity", ["x"], ["y"])], [("x", TensorProto.BFLOAT16, ["n"])],
                    [("y", TensorProto.BFLOAT16, ["n"])])  # fmt: skip
    with pytest.raises(UnsupportedModel, match="Triton's backend onnxruntime takes no bf16: input 'x'"):
        geoc.compile(saved(bfloat, tmp_path / "m.onnx"), tmp_path / "m", emit="triton", check="off")
    assert not (tmp_path / "m").exists()


def test_large_weights_are_a_folder_called_model_onnx(tmp_path: Path) -> None:
    weight = onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    model = finish([helper.make_node("MatMul", ["x", "w"], ["y"])], [("x", TensorProto.FLOAT, ["n", 64])],
                   [("y", TensorProto.FLOAT, ["n", 64])], [weight])  # fmt: skip
    path = saved(model, tmp_path / "m.onnx")
    for weights, names in (("copy", ["1/model.onnx", "1/model.onnx/model.onnx", "1/model.onnx/model.onnx.data"]),
                           ("reuse", ["1/model.onnx"])):  # fmt: skip
        geoc.compile(path, tmp_path / "m", emit="triton", weights=weights)
        found = sorted(str(p.relative_to(tmp_path / "m")) for p in (tmp_path / "m" / "1").rglob("*"))
        assert found == names
        session = onnxruntime.InferenceSession(str(tmp_path / "m" / names[1 if len(names) > 1 else 0]))
        (y,) = session.run(None, {"x": np.ones((1, 64), np.float32)})
        assert (y == 64).all()


def test_openvino(tokens: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    geoc.compile(tokens, tmp_path / "served", target="openvino-cpu", emit="triton", threads=2)
    found = read(tmp_path / "served")
    assert (found.backend, found.platform) == ("openvino", "")
    assert {p.key: p.value.string_value for p in found.parameters} == {"INFERENCE_NUM_THREADS": "2", "ENABLE_BATCH_PADDING": "YES"}
    assert sorted(p.name for p in (tmp_path / "served" / "1").iterdir()) == ["model.bin", "model.xml"]
    compiled = openvino.Core().compile_model(tmp_path / "served" / "1" / "model.xml", "CPU")
    assert {i.any_name for i in compiled.inputs} == {row.name for row in found.input}


def test_tensorrt_needs_a_gpu(tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed")
    words = ["--target=a100", "--emit=triton", "--shape", "batch=1,seq=4", "-o", str(tmp_path / "m"), "-q"]
    assert main([str(tokens), *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Triton runs TensorRT's own engines: " in said and "pip install" in said
    assert not (tmp_path / "m").exists()


def test_tensorrt_serves_an_engine(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geoc.lowering.backend import Order, Written
    from geoc.lowering.tensorrt import triton

    def built(model: geoc.Model, path: str, order: Order) -> Written:
        for name in (path, path + ".cache"):
            Path(name).write_bytes(b"plan")
        return Written({path + ".cache": 4, path: 4})

    monkeypatch.setattr(triton, "write_engine", built)
    geoc.compile(tokens, tmp_path / "served", target="a100", emit="triton", shape=["batch=1:4:16", "seq=8:16:32"])
    found = read(tmp_path / "served")
    assert (found.backend, found.platform, found.max_batch_size) == ("tensorrt", "tensorrt_plan", 16)
    assert [(g.count, g.kind) for g in found.instance_group] == [(1, ENUMS["Kind"].index("GPU"))]
    assert [p.name for p in (tmp_path / "served" / "1").iterdir()] == ["model.plan"]


def test_openvino_serves_on_cpus_only_and_no_scalars(tokens: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    with pytest.raises(UsageError, match="runs on CPUs, not openvino-gpu"):
        geoc.compile(tokens, tmp_path / "m", target="openvino-gpu", emit="triton")
    model = finish([helper.make_node("Neg", ["x"], ["y"])], [("x", TensorProto.FLOAT, [])], [("y", TensorProto.FLOAT, [])])
    with pytest.raises(UnsupportedModel, match="openvino takes no input without dimensions: 'x'"):
        geoc.compile(saved(model, tmp_path / "m.onnx"), tmp_path / "m", target="openvino-cpu", emit="triton")


def test_several_forms_and_the_default_place(tokens: Path, tmp_path: Path) -> None:
    assert main([str(tokens), "--emit=onnx,triton", "-o", str(tmp_path / "all"), "-q"]) == 0
    assert read(tmp_path / "all" / "triton" / "tokens").name == "tokens"
    assert main([str(tokens), "--emit=triton", "-q"]) == 0
    assert read(tmp_path / "tokens.geoc").name == "tokens.geoc"
    assert main([str(tokens), "--emit=triton", "-q"]) == 0  # again, over its own


def test_nothing_else_is_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "1").mkdir(parents=True)
    path = saved(relu_chain(), folder / "1" / "model.onnx")
    with pytest.raises(UsageError, match="would overwrite the input"):
        geoc.compile(path, folder, emit="triton")
    other = saved(relu_chain(), tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="holds something else than a Triton model"):
        geoc.compile(other, folder, emit="triton")
    assert [p.name for p in folder.iterdir()] == ["1"] and path.exists()
