"""Tokens that are generated with a cache are those that come out without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import geoc
from geoc.tools.bench.decoding import plan_of, stateful_plan
from geoc.tools.running.contender import InOpenvino, open_contenders
from geoc.tools.running.stopwatch import Stopwatch

WORDS, WIDTH = 40, 8


def decoder(path: Path) -> np.ndarray:
    """Attention of one head over embeddings, which are keys and values; position and mask as decoders have them."""
    rng = np.random.default_rng(1)
    table = rng.standard_normal((WORDS, WIDTH)).astype(np.float32)
    weights = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.linspace(0, 1, 64, dtype=np.float32)[:, None] * np.ones(WIDTH, np.float32), "places"),
        numpy_helper.from_array(np.ascontiguousarray(table.T), "back"),
        numpy_helper.from_array(np.array([1]), "one"),
        numpy_helper.from_array(np.float32(-1e4), "far"),
        numpy_helper.from_array(np.float32(1), "unit"),
        numpy_helper.from_array(np.array([1, 2]), "axes"),
    ]
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["words"], name="embed"),
        node("Gather", ["places", "position_ids"], ["where"], name="place"),
        node("Add", ["words", "where"], ["x"], name="sum"),
        node("Unsqueeze", ["x", "one"], ["new"], name="head"),
        node("Concat", ["past.key", "new"], ["present.key"], name="grow", axis=2),
        node("Concat", ["past.value", "new"], ["present.value"], name="grow_too", axis=2),
        node("Transpose", ["present.key"], ["turned"], name="turn", perm=[0, 1, 3, 2]),
        node("MatMul", ["new", "turned"], ["scores"], name="score"),
        node("Cast", ["attention_mask"], ["seen"], name="cast", to=TensorProto.FLOAT),
        node("Sub", ["unit", "seen"], ["hidden"], name="hide"),
        node("Mul", ["hidden", "far"], ["bias"], name="scale"),
        node("Unsqueeze", ["bias", "axes"], ["wide"], name="widen"),
        node("Add", ["scores", "wide"], ["masked"], name="mask"),
        node("Softmax", ["masked"], ["shares"], name="soft", axis=-1),
        node("MatMul", ["shares", "present.value"], ["read"], name="read"),
        node("Squeeze", ["read", "one"], ["flat"], name="flatten"),
        node("MatMul", ["flat", "back"], ["logits"], name="logits"),
    ]
    info = helper.make_tensor_value_info
    inputs = [
        info("input_ids", TensorProto.INT64, ["batch", "seq"]),
        info("attention_mask", TensorProto.INT64, ["batch", "total"]),
        info("position_ids", TensorProto.INT64, ["batch", "seq"]),
        info("past.key", TensorProto.FLOAT, ["batch", 1, "past", WIDTH]),
        info("past.value", TensorProto.FLOAT, ["batch", 1, "past", WIDTH]),
    ]
    outputs = [
        info("logits", TensorProto.FLOAT, ["batch", "seq", WORDS]),
        info("present.key", TensorProto.FLOAT, ["batch", 1, "total", WIDTH]),
        info("present.value", TensorProto.FLOAT, ["batch", 1, "total", WIDTH]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return table


def expected(table: np.ndarray, prompt: np.ndarray, tokens: int) -> np.ndarray:
    """Over all the words so far, each time anew."""
    places = np.linspace(0, 1, 64, dtype=np.float32)
    words = prompt
    for _ in range(tokens):
        x = table[words] + places[: words.shape[1], None]
        scores = np.einsum("bd,btd->bt", x[:, -1], x)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        following = (np.einsum("bt,btd->bd", shares, x) @ table.T).argmax(-1)
        words = np.concatenate([words, following[:, None]], 1)
    return words[:, prompt.shape[1] :]


@pytest.mark.parametrize("runtime", ["ort", "openvino"])
@pytest.mark.parametrize("batch", [1, 3])
def test_tokens_are_those_without_a_cache(runtime: str, batch: int, tmp_path: Path) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    table = decoder(tmp_path / "d.onnx")
    contender = open_contenders([str(tmp_path / "d.onnx")], runtime, str(tmp_path))[0]
    assert contender.model is not None
    plan = plan_of(contender.model)
    assert plan is not None and plan.ids == "input_ids" and plan.table == WORDS
    assert plan.continued == {"past.key": "present.key", "past.value": "present.value"}
    prompt = plan.prompt(batch, 5, seed=3)
    assert prompt.shape == (batch, 5) and prompt.max() < WORDS
    running = contender.open(1)
    for _ in range(2):  # a second text starts from nothing
        with Stopwatch(1) as watch:
            first, each, chosen = plan.decoder(running, batch).generate(prompt, 9, watch)
        assert chosen.tolist() == expected(table, prompt, 9).tolist()
        assert first > 0 and len(each) == 8


def test_a_stateful_model_of_openvino(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    table = decoder(tmp_path / "d.onnx")
    report = geoc.compile(tmp_path / "d.onnx", tmp_path / "d.stateful.xml", target="openvino-cpu", emit=["openvino-stateful"], check="off")
    assert report.ok
    running = open_contenders([str(tmp_path / "d.stateful.xml")], None, str(tmp_path))[0].open(1)
    assert isinstance(running, InOpenvino)
    plan = stateful_plan(running)
    assert plan is not None
    prompt = np.array([[3, 1, 4, 1]])
    with Stopwatch(1) as watch:
        _, _, chosen = plan.decoder(running, 1).generate(prompt, 6, watch)
    assert chosen.tolist() == expected(table, prompt, 6).tolist()


def test_what_is_no_decoder_has_no_plan() -> None:
    text = "geoc 1\ngraph @main(%x: f32[B,8]) -> (%y) {\n  %y = Relu(%x)\n}\n"
    from geoc.ir.text import parse_model

    assert plan_of(parse_model(text)) is None
