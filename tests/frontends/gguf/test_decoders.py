"""Graphs of all families beside transformers, caches, masks, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geoc
from geoc.ir.errors import GeocError, InvalidModel, UnsupportedModel
from geoc.passes.caches import caches
from geoc.tools.bench.decoding import plan_of

from .running import Running, imported
from .tiny import CASES, IDS, LAYERS, write

pytest.importorskip("gguf")

EXPECTED = json.loads((Path(__file__).parent / "expected.json").read_text())
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", CASES[name])
    np.testing.assert_allclose(imported(tmp_path / "tiny.gguf")(IDS)[0], EXPECTED[name], **TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_a_cache_continues_a_prompt(name: str, tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", CASES[name])
    running = imported(tmp_path / "tiny.gguf")
    parts = [running([IDS[0][:3]]), *(running([[token]]) for token in IDS[0][3:])]
    np.testing.assert_allclose(np.concatenate(parts, 1)[0], EXPECTED[name], **TOLERANCE)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_tokens_that_the_mask_hides_change_nothing(name: str, tmp_path: Path) -> None:
    """A prompt behind padding, in a batch with another one."""
    write(tmp_path / "tiny.gguf", CASES[name])
    length = len(IDS[0])
    ids = [[0, 0, *IDS[0]], [7] * (length + 2)]
    mask = [[0, 0] + [1] * length, [1] * (length + 2)]
    positions = np.array([[0, 0, *range(length)], range(length + 2)])
    running = imported(tmp_path / "tiny.gguf")
    running.clear(2)
    np.testing.assert_allclose(running(ids, mask, positions)[0, 2:], EXPECTED[name], **TOLERANCE)


@pytest.mark.parametrize("name", CASES)
def test_optimized_it_is_the_same_decoder(name: str, tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", CASES[name])
    model = geoc.load(tmp_path / "tiny.gguf")
    plan = plan_of(model)
    assert plan is not None and plan.ids == "input_ids" and plan.logits == "logits"
    report = geoc.compile(tmp_path / "tiny.gguf", tmp_path / "out.onnx", target="cpu")
    assert report.ok and len(caches(geoc.load(tmp_path / "out.onnx").graph)) == 2 * LAYERS
    running = Running(tmp_path / "out.onnx")
    parts = [running([IDS[0][:3]]), *(running([[token]]) for token in IDS[0][3:])]
    np.testing.assert_allclose(np.concatenate(parts, 1)[0], EXPECTED[name], **TOLERANCE)


def test_a_fused_projection_of_neighbours_that_turn_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old files of llama have one product for queries, keys and values."""
    from . import tiny

    def fused(case: Any) -> dict[str, np.ndarray]:
        found = separate(case)
        for layer in range(LAYERS):
            parts = [found.pop(f"blk.{layer}.attn_{what}.weight") for what in "qkv"]
            found[f"blk.{layer}.attn_qkv.weight"] = np.concatenate(parts)
        return found

    separate = tiny.converted
    monkeypatch.setattr(tiny, "converted", fused)
    write(tmp_path / "tiny.gguf", CASES["llama"])
    np.testing.assert_allclose(imported(tmp_path / "tiny.gguf")(IDS)[0], EXPECTED["llama"], **TOLERANCE)


def test_layers_with_a_window_are_flags_or_a_period(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", CASES["gemma3"], **{"attention.sliding_window_pattern": [True, False]})
    np.testing.assert_allclose(imported(tmp_path / "tiny.gguf")(IDS)[0], EXPECTED["gemma3"], **TOLERANCE)
    write(tmp_path / "tiny.gguf", CASES["gemma3"], **{"attention.sliding_window_pattern": [True, True]})
    found = imported(tmp_path / "tiny.gguf")(IDS)[0]
    np.testing.assert_allclose(found[0], EXPECTED["gemma3"][0], **TOLERANCE)
    assert np.abs(found[-1] - EXPECTED["gemma3"][-1]).max() > 0.1


def test_two_sets_of_factors_change_with_the_positions(tmp_path: Path) -> None:
    """From the first position beyond the first set's tokens on."""
    write(tmp_path / "tiny.gguf", CASES["phi3-short"], **{"rope.scaling.original_context_length": len(IDS[0]) - 1})
    write(tmp_path / "short.gguf", CASES["phi3-short"])
    write(tmp_path / "long.gguf", CASES["phi3-short"], **{"rope.scaling.original_context_length": 1})
    tiny, short, long = (imported(tmp_path / f"{name}.gguf") for name in ("tiny", "short", "long"))
    part = [IDS[0][:-1]]
    np.testing.assert_allclose(tiny(part), short(part), **TOLERANCE)
    assert np.abs(short(part) - long(part)).max() > 0.1
    for each in (tiny, long):
        each.clear()
    np.testing.assert_allclose(tiny(IDS), long(IDS), **TOLERANCE)


@pytest.mark.parametrize(
    ("metadata", "kind", "said"),
    [
        ({"expert_count": 8}, UnsupportedModel, "experts"),
        ({"rope.scaling.type": "dynamic"}, UnsupportedModel, "'dynamic'"),
        ({"rope.scaling.yarn_log_multiplier": 0.1}, UnsupportedModel, "yarn_log_multiplier"),
        ({"attention.head_count": [4, 2]}, UnsupportedModel, "differs between layers"),
        ({"attention.sliding_window": 3, "attention.sliding_window_pattern": [True]}, InvalidModel, "is not for 2 layers"),
        ({"attention.causal": False}, UnsupportedModel, "not causal"),
        ({"attention.head_count": 0}, InvalidModel, "llama.attention.head_count is 0"),
        ({"attention.head_count": 3}, InvalidModel, "3 heads"),
        ({"attention.key_length": 1 << 30}, InvalidModel, "not possible"),
        ({"attention.layer_norm_rms_epsilon": float("nan")}, InvalidModel, "is nan"),
        ({"block_count": 1 << 30}, InvalidModel, "'blk.2.attn_output.weight' is missing"),
        ({"block_count": 1}, UnsupportedModel, "have no place"),
        ({"feed_forward_length": 63}, InvalidModel, "the metadata need [63, 32]"),
        ({"rope.dimension_count": 3}, InvalidModel, "3 of them turned"),
    ],
)
def test_what_is_not_built_is_refused_in_one_line(metadata: Any, kind: type[GeocError], said: str, tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", CASES["llama"], **metadata)
    with pytest.raises(kind) as error:
        geoc.load(tmp_path / "tiny.gguf")
    assert said in str(error.value) and str(tmp_path / "tiny.gguf") in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("split.count", 3, "one of 3 parts of a model"), ("general.type", "adapter", "of the type 'adapter', not a model")],
)
def test_what_is_no_whole_model_is_refused(key: str, value: Any, said: str, tmp_path: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "llama")
    writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UnsupportedModel, match=said):
        geoc.load(tmp_path / "tiny.gguf")


@pytest.mark.parametrize("arch", ["mamba", "qwen3moe"])
def test_another_architecture_is_refused_by_name(arch: str, tmp_path: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", arch)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UnsupportedModel, match=f"'{arch}' is not one that geoc builds: llama, "):
        geoc.load(tmp_path / "tiny.gguf")
