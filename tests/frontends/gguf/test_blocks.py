"""Blocks of all types beside ggml's own package, in the graph, and in the products of the result."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import geoc
from geoc.frontends.gguf.blocks import FORMS
from geoc.frontends.gguf.reader import KINDS
from geoc.ir.evaluate import DeferredTensor
from geoc.ir.tensor import MappedFile
from geoc.passes.quantize.dequantize import blocks_of

from . import tiny
from .running import Running
from .tiny import CASES, IDS, write

gguf = pytest.importorskip("gguf")
ALL = [kind.name for kind in KINDS.values() if kind.elements > 1]


KINDS_OF_32 = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"}  # for which ggml's package has a way there as well


def made_up(kind: str, count: int, scale: float | None = None) -> np.ndarray:
    """Blocks of any bytes, u8 [count, bytes]; what is a half-precision number in them stays finite, or is `scale`."""
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][1]
    blocks = np.random.default_rng(len(kind)).integers(0, 256, (count, size), np.uint8)
    numbers = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "Q4_1": (0, 2), "Q5_1": (0, 2)}
    for at in numbers.get(kind, (0,)):
        blocks[:, at + 1] &= 0xBF
        if scale is not None:
            blocks[:, at : at + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    return blocks


@pytest.mark.parametrize("kind", ALL)
def test_the_table_of_types_is_that_of_ggml(kind: str) -> None:
    of = gguf.GGMLQuantizationType[kind]
    assert KINDS[of.value][1:] == gguf.GGML_QUANT_SIZES[of]


@pytest.mark.parametrize("kind", FORMS)
def test_parts_of_blocks_are_their_numbers_to_the_last_bit(kind: str) -> None:
    blocks = made_up(kind, 50)
    form = FORMS[kind]
    codes = form.codes(blocks).reshape(-1, form.size).astype(np.float32)
    found = codes * form.scales(blocks).reshape(-1, 1)
    if form.minima is not None:
        found += form.minima(blocks).reshape(-1, 1)
    expected = gguf.dequantize(blocks.reshape(1, -1), gguf.GGMLQuantizationType[kind]).reshape(found.shape)
    assert np.array_equal(found, expected)
    limits = {"u": (0, 1 << form.dtype.bits), "i": (-(1 << form.dtype.bits - 1), 1 << form.dtype.bits - 1)}[form.dtype.kind]
    assert codes.min() >= limits[0] and codes.max() < limits[1]


def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoders whose matrices have super-blocks of 256 columns."""
    monkeypatch.setattr(tiny, "WIDTH", 256)


def file_of(
    path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, scale: float | None = None
) -> dict[str, np.ndarray]:
    """A llama with 4 heads of 64 whose matrices have made-up blocks of a type; gives them dequantized."""
    from dataclasses import replace

    wide(monkeypatch)
    case = replace(CASES["llama"], size=64, inner=256)
    of = gguf.GGMLQuantizationType[kind]
    writer, floats = gguf.GGUFWriter(path, "llama"), {}
    metadata = {
        "block_count": 2, "context_length": 64, "embedding_length": 256, "feed_forward_length": 256,
        "attention.head_count": 4, "attention.head_count_kv": 2,
    }  # fmt: skip
    for key, number in metadata.items():
        writer.add_uint32(f"llama.{key}", number)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    for name, array in tiny.converted(case).items():
        if array.ndim == 1:
            writer.add_tensor(name, array)
            continue
        elements, _ = gguf.GGML_QUANT_SIZES[of]
        blocks = made_up(kind, array.size // elements, scale)
        numbers = gguf.dequantize(blocks.reshape(len(array), -1), of)
        writer.add_tensor(name, blocks.reshape(len(array), -1), raw_dtype=of)
        floats[name] = numbers.reshape(array.shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return floats


@pytest.mark.filterwarnings("ignore::RuntimeWarning:gguf")
@pytest.mark.parametrize("kind", ALL)
def test_matrices_in_the_graph_are_those_of_the_file(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    floats = file_of(tmp_path / "tiny.gguf", kind, monkeypatch)
    model = geoc.load(tmp_path / "tiny.gguf")
    geoc.optimize(model, passes="dequantize-weights")
    found = {}
    for node in model.graph:
        for value in node.inputs:
            if value is not None and value.const is not None and value.hint in floats:
                found[value.hint] = value.const.array()
    assert set(found) == set(floats)
    for name, array in found.items():
        expected = floats[name]
        if "attn_q" in name or "attn_k" in name:  # neighbours that turn together become halves
            expected = expected.reshape(-1, 32, 2, 256).swapaxes(1, 2).reshape(expected.shape)
        np.testing.assert_array_equal(array, expected, err_msg=name)


@pytest.mark.parametrize("kind", FORMS)
def test_blocks_stay_and_nothing_is_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file_of(tmp_path / "tiny.gguf", kind, monkeypatch)
    read = []
    monkeypatch.setattr(DeferredTensor, "array", lambda self: read.append(self))
    model = geoc.load(tmp_path / "tiny.gguf")
    found = [blocks_of(node) for node in model.graph if node.op.key == "DequantizeLinear"]
    assert len(found) == 16 and all(found) and not read
    assert all((each.minima is not None) == (FORMS[kind].minima is not None) for each in found)


@pytest.mark.parametrize("kind", FORMS)
def test_products_read_the_blocks(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as floats with rows in floats, and as near as rows of 8 bits allow by default."""
    if KINDS_OF_32.issuperset({kind}):
        write(tmp_path / "tiny.gguf", CASES["llama-linear"], {"weight": kind})
    else:
        file_of(tmp_path / "tiny.gguf", kind, monkeypatch, 0.004)
    options = {"floats": {"precision": "fp32"}, "exact": {"skip": "nbits-rows"}, "blocks": {}}
    found, counts = {}, {}
    for name, more in options.items():
        assert geoc.compile(tmp_path / "tiny.gguf", tmp_path / f"{name}.onnx", target="cpu", **more).ok
        found[name] = Running(tmp_path / f"{name}.onnx")(IDS)
        counts[name] = Counter(node.op.key for node in geoc.load(tmp_path / f"{name}.onnx").graph)
    for name in ("exact", "blocks"):
        assert counts[name]["com.microsoft::MatMulNBits"] >= 9 and not counts[name]["DequantizeLinear"]
        assert counts[name]["com.microsoft::GatherBlockQuantized"] == 1
    assert not counts["floats"]["com.microsoft::MatMulNBits"] and not counts["floats"]["DequantizeLinear"]
    np.testing.assert_allclose(found["exact"], found["floats"], rtol=1e-3, atol=1e-3)
    assert np.linalg.norm(found["blocks"] - found["floats"]) < 0.08 * np.linalg.norm(found["floats"])
    assert not np.array_equal(found["blocks"], found["exact"])


def test_a_tied_head_and_the_table_share_their_codes(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", CASES["qwen2"], {"token_embd.weight": "Q8_0", "weight": "Q4_1"})
    assert geoc.compile(tmp_path / "tiny.gguf", tmp_path / "out.onnx", target="cpu").ok
    graph = geoc.load(tmp_path / "out.onnx").graph
    table = next(node for node in graph if node.op.key == "com.microsoft::GatherBlockQuantized")
    head = next(node for node in graph if node.op.key == "com.microsoft::MatMulNBits" and node.attr("N") == tiny.TOKENS)
    assert head.attr("bits") == table.attr("bits") == 8
    assert table.inputs[0] is head.inputs[1]


def test_floats_without_another_order_stay_in_the_file(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", CASES["qwen2"])
    model = geoc.load(tmp_path / "tiny.gguf")
    tensors = {v.hint: v.const for node in model.graph for v in node.inputs if v is not None and v.const is not None}
    assert all(tensors[name].file is not None for name in ("token_embd.weight", "blk.0.attn_q.weight", "output_norm.weight"))
    assert isinstance(next(iter(tensors.values())).file, MappedFile)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_K", "Q6_K"])
def test_openvino_reads_the_blocks(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("openvino")
    file_of(tmp_path / "tiny.gguf", kind, monkeypatch, 0.004)
    assert geoc.compile(tmp_path / "tiny.gguf", tmp_path / "out.xml", target="openvino-cpu").ok
    assert geoc.compile(tmp_path / "tiny.gguf", tmp_path / "floats.onnx", target="cpu", precision="fp32").ok
    assert set(re.findall(r'<data element_type="([ui][48])"', (tmp_path / "out.xml").read_text())) == {str(FORMS[kind].dtype)}
    compiled = openvino.Core().compile_model(tmp_path / "out.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    length = len(IDS[0])
    feeds = {"input_ids": IDS, "position_ids": [range(length)], "attention_mask": [[1] * length]}
    feeds = {name: np.array(value, np.int64) for name, value in feeds.items()}
    caches = {name: np.zeros((1, 2, 0, 64), np.float32) for each in compiled.inputs if (name := each.any_name).startswith("past.")}
    found = compiled({**feeds, **caches})["logits"]
    np.testing.assert_allclose(found, Running(tmp_path / "floats.onnx")(IDS), rtol=1e-3, atol=1e-3)
