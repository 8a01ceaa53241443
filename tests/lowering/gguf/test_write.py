"""GGUF from graphs of the llama family: read again it is the same decoder; what is none is refused with the place."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import geoc
from geoc.ir.errors import UnsupportedModel, UsageError
from geoc.ir.evaluate import nodes
from tests.frontends.gguf import tiny
from tests.frontends.gguf.running import Running
from tests.frontends.gguf.test_blocks import made_up
from tests.frontends.gguf.tiny import CASES, IDS, Case, write

gguf = pytest.importorskip("gguf")

ARCHIVE = Path(__file__).parents[2] / "models" / "exports.zip"
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
FAMILY = [
    f"{name}-{exporter}" for name in ("llama", "llama-eager", "llama-past", "qwen2") for exporter in ("ts", "dynamo")
]  # fmt: skip


def exported(name: str, folder: Path) -> Path:
    with zipfile.ZipFile(ARCHIVE) as archive:
        return Path(archive.extract(f"{name}.onnx", folder))


def logits_of(path: Path, ids: list[list[int]]) -> np.ndarray:
    """What an export computes, by onnxruntime without its optimizations, caches empty."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds: dict[str, Any] = {}
    for entry in session.get_inputs():
        sizes = [d if isinstance(d, int) else 1 if i == 0 else 0 for i, d in enumerate(entry.shape)]
        plain = {"input_ids": np.array(ids), "attention_mask": np.ones((1, len(ids[0])), np.int64)}
        plain["position_ids"] = np.arange(len(ids[0]))[None]
        feeds[entry.name] = plain.get(entry.name, np.zeros(sizes, np.float32))
    found: np.ndarray = session.run(None, feeds)[0]
    return found


def tensors(path: Path) -> dict[str, Any]:
    """(type, bytes) by name, as ggml's own package reads them."""
    return {t.name: (t.tensor_type.name, t.data.tobytes()) for t in gguf.GGUFReader(path).tensors}


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Case:
    """A llama of 256 columns, whose weights are treated as those of large models are."""
    monkeypatch.setattr(tiny, "WIDTH", 256)
    monkeypatch.setattr(nodes, "DEFER_BYTES", 0)
    return replace(CASES["llama"], size=64, inner=256, metadata={**CASES["llama"].metadata, "attention.key_length": 64})


def field(path: Path, name: str) -> Any:
    found = gguf.GGUFReader(path).fields.get(name)
    return None if found is None else found.contents()


@pytest.mark.parametrize("name", FAMILY)
def test_an_export_read_again_is_the_same_decoder(name: str, tmp_path: Path) -> None:
    """The file is read by the frontend, whose graphs are those of transformers (tests/frontends/gguf)."""
    source = exported(name, tmp_path)
    report = geoc.compile(source, tmp_path / "out.gguf")
    assert report.ok
    ids = [[3, 17, 5, 9, 21, 3, 28]]
    found = Running(geoc.load(tmp_path / "out.gguf"))(ids)
    np.testing.assert_allclose(found, logits_of(source, ids), **TOLERANCE)
    assert field(tmp_path / "out.gguf", "general.architecture") == name.partition("-")[0]


@pytest.mark.parametrize("name", ["llama", "llama-linear", "qwen2"])
@pytest.mark.parametrize("kind", [None, "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_a_file_written_again_has_the_same_bytes(name: str, kind: str | None, tmp_path: Path) -> None:
    write(tmp_path / "a.gguf", CASES[name], None if kind is None else {"weight": kind})
    geoc.compile(tmp_path / "a.gguf", tmp_path / "b.gguf", check="off")
    assert tensors(tmp_path / "a.gguf") == tensors(tmp_path / "b.gguf")
    for key, value in CASES[name].metadata.items():
        of = f"{CASES[name].arch}.{key}"
        assert field(tmp_path / "b.gguf", of) == pytest.approx(value) if isinstance(value, float) else value


@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "BF16", "F16"])
def test_rows_that_no_graph_has_are_copied(kind: str, large: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Types of 256 columns, and rows of queries and keys that the reader put into another order."""
    if kind[-2:] != "16":  # ggml's package makes no blocks of these
        made = lambda array, _: made_up(kind, array.size // 256, 0.01).reshape(len(array), -1)  # noqa: E731
        monkeypatch.setattr(gguf, "quantize", made)
    write(tmp_path / "a.gguf", large, {"attn_q.weight": kind, "attn_k.weight": kind, "ffn_gate.weight": kind, "embd.weight": kind})
    assert tensors(tmp_path / "a.gguf")["blk.0.attn_q.weight"][0] == kind
    geoc.compile(tmp_path / "a.gguf", tmp_path / "b.gguf", check="off")
    assert tensors(tmp_path / "a.gguf") == tensors(tmp_path / "b.gguf")


@pytest.mark.parametrize(("precision", "kind"), [("w8a16", "Q8_0"), ("w4a16", "Q4_0"), (None, "F32")])
def test_weights_in_blocks_are_written_as_they_are_in_the_graph(precision: str | None, kind: str, large: Case, tmp_path: Path) -> None:
    write(tmp_path / "a.gguf", large)
    report = geoc.compile(tmp_path / "a.gguf", tmp_path / "b.gguf", precision=precision)
    assert report.ok and report.model is not None
    written = {k for name, (k, _) in tensors(tmp_path / "b.gguf").items() if name.startswith("blk") and "norm" not in name}
    assert written == {kind}
    np.testing.assert_allclose(Running(geoc.load(tmp_path / "b.gguf"))(IDS), Running(report.model)(IDS), **TOLERANCE)


def test_an_order_of_fp32_writes_floats_of_32_bits(tmp_path: Path) -> None:
    """Without it the smallest type that holds the numbers is written, and llama.cpp takes what it multiplies F16 with to F16."""
    write(tmp_path / "a.gguf", CASES["qwen2"], {"ffn_up.weight": "Q4_1", "attn_q.weight": "F16"})
    geoc.compile(tmp_path / "a.gguf", tmp_path / "b.gguf", precision="fp32")
    assert {kind for kind, _ in tensors(tmp_path / "b.gguf").values()} == {"F32"}
    exact, found = (Running(geoc.load(tmp_path / f"{name}.gguf"))(IDS) for name in "ab")
    np.testing.assert_allclose(found, exact, **TOLERANCE)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bert-ts", "no product with a head makes the logits at /model/encoder/layer.1/output/LayerNorm/LayerNormalization"),
        ("gpt2-dynamo", "no RMSNormalization before the head at node_layer_norm_4"),
        ("phi-ts", "no product with a head makes the logits at /model/lm_head/Add"),
        ("gemma2-dynamo", "no product with a head makes the logits at node_mul_919"),
        ("vit-ts", "no product with a head makes the logits at /model/classifier/Gemm"),
    ],
)
def test_another_model_is_refused_with_the_place(name: str, said: str, tmp_path: Path) -> None:
    source = exported(name, tmp_path)
    with pytest.raises(UnsupportedModel) as error:
        geoc.compile(source, tmp_path / "out.gguf", check="off")
    assert str(error.value) == f"{source}: gguf: no decoder of the llama family: {said}"
    assert not list(tmp_path.glob("*.gguf*"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gemma", "no silu of a gate, and up, of one input at blk.1.ffn_up"),
        ("qwen3", "no product makes the q of attention at blk.1.attn"),
        ("gpt2", "no RMSNormalization before the head at output_norm"),
        ("phi3", "no silu of a gate, and up, of one input at blk.1.ffn_up"),
    ],
)
def test_other_families_of_gguf_are_refused_with_the_tensor(name: str, said: str, tmp_path: Path) -> None:
    write(tmp_path / "a.gguf", CASES[name])
    with pytest.raises(UnsupportedModel) as error:
        geoc.compile(tmp_path / "a.gguf", tmp_path / "b.gguf", check="off")
    assert str(error.value).endswith(said)


def test_a_window_limits_the_context(tmp_path: Path) -> None:
    """The architecture knows none: within it all tokens are seen, as by the graph."""
    report = geoc.compile(exported("mistral-window-ts", tmp_path), tmp_path / "out.gguf", check="off")
    assert "gguf: a context of 4 tokens is written, as attention in the graph sees no more" in report.notes
    assert field(tmp_path / "out.gguf", "llama.context_length") == 4


def test_a_rotation_of_part_of_a_head_is_refused(tmp_path: Path) -> None:
    """llama.cpp asserts that whole heads turn."""
    write(tmp_path / "a.gguf", CASES["llama"], **{"rope.dimension_count": 4})
    with pytest.raises(UnsupportedModel, match="a rotary embedding of 4 of 8 elements"):
        geoc.compile(tmp_path / "a.gguf", tmp_path / "b.gguf", check="off")


def test_frequencies_that_are_no_powers_become_factors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    factors = np.array([1, 1, 4, 8], np.float32)
    separate = tiny.converted
    monkeypatch.setattr(tiny, "converted", lambda case: {**separate(case), "rope_freqs.weight": factors})
    write(tmp_path / "a.gguf", CASES["llama"])
    geoc.compile(tmp_path / "a.gguf", tmp_path / "b.gguf", check="off")
    found = next(t for t in gguf.GGUFReader(tmp_path / "b.gguf").tensors if t.name == "rope_freqs.weight")
    base = field(tmp_path / "b.gguf", "llama.rope.freq_base")
    powers = base ** (-np.arange(4) / 4) / found.data
    np.testing.assert_allclose(powers, 500.0 ** (-np.arange(4) / 4) / factors, rtol=2e-6)


def test_what_has_the_targets_forms_is_not_written_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "a.gguf", CASES["llama"])
    with pytest.raises(UsageError, match="one command for each"):
        geoc.compile(tmp_path / "a.gguf", tmp_path / "out", emit=["gguf", "onnx"])


def test_a_precision_that_llama_cpp_has_no_weights_of_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.gguf", CASES["llama"])
    with pytest.raises(UsageError, match="fp32, w8a16 or w4a16, not w8a8"):
        geoc.compile(tmp_path / "a.gguf", tmp_path / "b.gguf", precision="int8")
