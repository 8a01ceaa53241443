"""TensorFlow out of process: real conversions where its environment is, and what is said where it is not or fails."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import geoc
from geoc.frontends import tensorflow
from geoc.frontends.formats import format_of
from geoc.frontends.tensorflow import VARIABLE, home, load_tensorflow
from geoc.ir.errors import FormatError, UnsupportedModel, UsageError
from geoc.tools.cli import main

MAKE = r'''
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy, tensorflow as tf
from tensorflow.keras import Input, Model, layers as L
folder, kind = sys.argv[1:]
tf.random.set_seed(0)
if kind == "plain":
    class Sum(tf.Module):
        def __init__(self):
            self.w = tf.Variable(tf.random.normal((4, 4)))
        @tf.function
        def run(self, left, right):
            return {"total": tf.nn.relu(left @ self.w + right), "top": tf.math.top_k(left, 2).values}
    model = Sum()
    specs = [tf.TensorSpec([None, 4], tf.float32, name=name) for name in ("left", "right")]
    tf.saved_model.save(model, folder + "/model", signatures=model.run.get_concrete_function(*specs))
    feeds = {name: tf.random.normal((3, 4)).numpy() for name in ("left", "right")}
    found = {name: value.numpy() for name, value in model.run(**feeds).items()}
else:
    if kind == "image":
        x = Input((32, 32, 3), name="image")
        y = L.BatchNormalization()(L.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x))
        y = L.GlobalAveragePooling2D()(L.DepthwiseConv2D(3, padding="same")(y))
        y, feed = L.Dense(5, activation="softmax")(y), tf.random.normal((2, 32, 32, 3)).numpy()
    elif kind == "attention":
        x = Input((None, 32), name="tokens")
        y = L.Add()([x, L.MultiHeadAttention(4, 8)(x, x)])
        y, feed = L.Dense(3)(L.Dense(64, activation="gelu")(y)), tf.random.normal((2, 7, 32)).numpy()
    else:
        x = Input((None,), dtype="int32", name="ids")
        y = L.Bidirectional(L.LSTM(12, return_sequences=True))(L.Embedding(50, 16)(x))
        y, feed = L.Dense(3)(L.GRU(6)(y)), (numpy.arange(14).reshape(2, 7) % 50).astype("int32")
    model = Model(x, y)
    model.save(folder + "/model.keras")
    model.save(folder + "/model.h5")
    feeds, found = {x.name: feed}, {"output_0": model(feed).numpy()}
numpy.savez(folder + "/expected.npz", **{"in/" + k: v for k, v in feeds.items()}, **{"out/" + k: v for k, v in found.items()})
'''


def environment() -> str:
    """TensorFlow's interpreter. Skips the test where there is none."""
    named = os.environ.get(VARIABLE) or str(home() / "bin" / "python")
    if not os.path.exists(named):
        pytest.skip(f"{VARIABLE} is not set, and {home()} has no interpreter: no TensorFlow here")
    return named


@pytest.mark.parametrize(("kind", "file"), [("plain", "model"), ("image", "model.keras"), ("image", "model.h5"), ("text", "model.keras"), ("attention", "model.keras")])
def test_a_model_computes_what_tensorflow_computes(kind: str, file: str, tmp_path: Path) -> None:
    subprocess.run([environment(), "-c", MAKE, str(tmp_path), kind], check=True, stderr=subprocess.DEVNULL)
    model = geoc.load(tmp_path / file)
    expected = np.load(tmp_path / "expected.npz")
    feeds = {name[3:]: expected[name] for name in expected.files if name.startswith("in/")}
    assert sorted(model.graph.input_names) == sorted(feeds) and model.source == str(tmp_path / file)
    assert [str(value.shape[0]) for value in model.graph.inputs if value.shape] == ["d0", "d1"][: len(feeds)]
    geoc.optimize(model, level=2, check="off")
    found_ops = [node.op.name for node in model.graph.walk()]
    assert found_ops.count("Transpose") <= {"image": 1, "text": 1}.get(kind, 0)  # of a picture's channels, of steps
    assert kind != "attention" or {"Attention", "Gelu"} <= set(found_ops)
    geoc.save(model, tmp_path / "out.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "out.onnx"))
    found = dict(zip(model.graph.output_names, session.run(None, feeds)))
    assert sorted(found) == sorted(name[4:] for name in expected.files if name.startswith("out/"))
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[f"out/{name}"], rtol=1e-4, atol=1e-5)


# A script in place of the interpreter. It gets: -I, convert.py, the source, the target.


def fake(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = folder / "python"
    script.write_text(f"#!{sys.executable}\nimport sys, time\nsource, target = sys.argv[3:]\n{body}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv(VARIABLE, str(script))


@pytest.fixture
def saved_model(tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    return folder


def test_a_folder_and_files_are_tensorflows(saved_model: Path, tmp_path: Path) -> None:
    assert format_of(str(saved_model)).title == "TensorFlow SavedModel"
    for name, start in (("a.keras", b"PK\x03\x04"), ("a.h5", b""), ("a.weights", b"\x89HDF\r\n\x1a\n")):
        (tmp_path / name).write_bytes(start)
        assert format_of(str(tmp_path / name)).title == "Keras"


def test_a_missing_environment_is_one_line_that_makes_it(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    folder = tmp_path / "geoc" / "tensorflow"
    assert main([str(saved_model), "-o", str(tmp_path / "out.onnx")]) == 2
    said = capsys.readouterr().err
    assert f"python3 -m venv {folder} && {folder}/bin/pip install tensorflow-cpu tf2onnx" in said
    assert VARIABLE in said and said.count("\n") == 1


def test_an_interpreter_that_is_not_there(saved_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/no/such/python")
    with pytest.raises(UsageError, match=f"there is no interpreter '/no/such/python', which {VARIABLE} or --tensorflow names"):
        load_tensorflow(saved_model)


def test_an_interpreter_without_tensorflow(saved_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This one runs the script itself; geoc's own environment has no tf2onnx."""
    monkeypatch.setenv(VARIABLE, sys.executable)
    with pytest.raises(UsageError, match=r"lacks what it needs \(there is no module tf2onnx\): .* -m pip install tensorflow-cpu tf2onnx"):
        load_tensorflow(saved_model)


def test_its_error_is_one_line(saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "sys.stderr.write('a warning\\nValueError: no such op\\n\\n'); sys.exit(1)", monkeypatch)
    with pytest.raises(FormatError, match=r"saved: TensorFlow does not convert it: ValueError: no such op$"):
        load_tensorflow(saved_model)


def test_it_may_not_take_forever(saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "time.sleep(60)", monkeypatch)
    monkeypatch.setattr(tensorflow, "SECONDS", 0.5)
    start = time.monotonic()
    with pytest.raises(FormatError, match=r"did not convert it within 0.5 s"):
        load_tensorflow(saved_model)
    assert time.monotonic() - start < 20


def test_what_it_writes_is_checked(saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "open(target, 'wb').write(b'nonsense')", monkeypatch)
    with pytest.raises(FormatError) as raised:
        load_tensorflow(saved_model)
    assert str(raised.value).startswith(str(saved_model))
    fake(tmp_path, "sys.exit(0)", monkeypatch)
    with pytest.raises(FormatError, match="it ended with 0"):
        load_tensorflow(saved_model)


def test_the_file_in_between_goes_with_the_model(saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(__file__).parents[2] / "models" / "ppocr-v2-cls.onnx"
    fake(tmp_path, f"import shutil; shutil.copy({str(source)!r}, target)", monkeypatch)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    model = geoc.load(saved_model)
    assert not list(scratch.iterdir())
    geoc.save(model, tmp_path / "out.onnx")
    x = np.random.default_rng(0).standard_normal((1, 3, 48, 192)).astype(np.float32)
    found, wanted = (onnxruntime.InferenceSession(str(f)).run(None, {"x": x})[0] for f in (tmp_path / "out.onnx", source))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_operators_that_tf2onnx_leaves_are_named(saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Betainc", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "main", [value], [onnx.ValueInfoProto(name="y")])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), tmp_path / "left.onnx")
    fake(tmp_path, f"import shutil; shutil.copy({str(tmp_path / 'left.onnx')!r}, target)", monkeypatch)
    with pytest.raises(UnsupportedModel, match="saved: tf2onnx has no form for TensorFlow's operators Betainc$"):
        load_tensorflow(saved_model)


@pytest.mark.parametrize("verb", [[], ["inspect"]], ids=["compile", "inspect"])
def test_an_option_names_the_interpreter(
    verb: list[str], saved_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "another")
    assert main([*verb, str(saved_model), "--tensorflow", "/no/such/python"]) == 2
    assert "there is no interpreter '/no/such/python'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.keras", "a.h5"])
def test_what_does_not_begin_as_keras_files_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_bytes(b"nonsense")
    monkeypatch.setenv(VARIABLE, "/no/such/python")
    with pytest.raises(FormatError, match=f"{name}: not a Keras file"):
        load_tensorflow(tmp_path / name)
