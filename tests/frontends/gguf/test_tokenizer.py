"""Tokenizers beside the model: their tokens are those of llama.cpp, and transformers reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import geoc

from . import vocabulary
from .tiny import CASES, write
from .vocabulary import TEXTS, WAYS, byte_level, pieces

pytest.importorskip("gguf")
tokenizers = pytest.importorskip("tokenizers")

EXPECTED = json.loads(vocabulary.FILE.read_text("utf-8"))["expected"]


def written(path: Path, words: dict[str, Any], case: str = "llama") -> dict[str, bytes]:
    """Contents of the files that belong beside a tiny decoder with a vocabulary."""
    write(path, CASES[case], vocabulary=words)
    found = {name: content("out.onnx") for name, content in geoc.load(path).beside.items()}
    return {name: content for name, content in found.items() if content is not None}


def tokenizer_of(path: Path, words: dict[str, Any]) -> Any:
    return tokenizers.Tokenizer.from_str(written(path, words)["tokenizer.json"].decode())


@pytest.mark.parametrize("way", [*WAYS, "pieces"])
def test_tokens_are_those_of_llama_cpp(way: str, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tmp_path / "tiny.gguf", pieces() if way == "pieces" else byte_level(way))
    assert [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS] == EXPECTED[way]
    decoded = [tokenizer.decode(ids, skip_special_tokens=False) for ids in EXPECTED[way]]
    # SentencePiece puts a space before a text behind a special token as well.
    assert decoded == TEXTS if way != "pieces" else decoded[:9] == TEXTS[:9]


def test_each_way_of_parting_is_another() -> None:
    """Otherwise the test above could not tell them apart."""
    assert len({json.dumps(EXPECTED[way]) for way in WAYS}) == len(WAYS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (byte_level("qwen2"), []),
        ({**byte_level("qwen2"), "add_bos_token": True}, ["<|begin|>"]),
        ({**byte_level("qwen2"), "add_eos_token": True}, ["<|end|>"]),
        ({k: v for k, v in byte_level("llama-bpe").items() if k != "add_bos_token"}, ["<|begin|>"]),
        (pieces(), ["<s>"]),
        ({**pieces(), "add_bos_token": False}, []),
    ],
)
def test_tokens_around_a_text(words: dict[str, Any], expected: list[str], tmp_path: Path) -> None:
    found = tokenizer_of(tmp_path / "tiny.gguf", words).encode("hello").tokens
    assert [token for token in found if token in ("<|begin|>", "<|end|>", "<s>", "</s>")] == expected


def test_transformers_reads_the_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    template = "{% for m in messages %}<|begin|>{{ m['role'] }}: {{ m['content'] }}<|end|>{% endfor %}"
    write(tmp_path / "tiny.gguf", CASES["qwen2"], vocabulary={**byte_level("qwen2"), "chat_template": template})
    (tmp_path / "out").mkdir()
    report = geoc.compile(tmp_path / "tiny.gguf", tmp_path / "out" / "model.onnx", target="cpu", level=0)
    assert report.ok and any("tokenizer.json, tokenizer_config.json, genai_config.json" in note for note in report.notes)
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(str(tmp_path / "out"))
    assert [tokenizer(text).input_ids for text in TEXTS] == EXPECTED["qwen2"]
    assert [tokenizer.decode(ids) for ids in EXPECTED["qwen2"]] == TEXTS
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.model_max_length) == ("<|begin|>", "<|end|>", 64)
    said = tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False)
    assert said == "<|begin|>user: hello<|end|>"


@pytest.mark.parametrize(("case", "name"), [("llama", "llama"), ("gemma3", "gemma3_text"), ("phi2", "phi"), ("gpt2", "")])
def test_genai_is_told_how_to_call_the_decoder(case: str, name: str, tmp_path: Path) -> None:
    words = {**byte_level("gpt-2"), "eot_token_id": 5, "padding_token_id": 0}
    files = written(tmp_path / "tiny.gguf", words, case)
    if not name:  # it calls that architecture in another way
        assert set(files) == {"tokenizer.json", "tokenizer_config.json"}
        return
    model = json.loads(files["genai_config.json"])["model"]
    loaded = geoc.load(tmp_path / "tiny.gguf")
    assert loaded.beside["genai_config.json"]("out.xml") is None  # it runs ONNX alone
    graph = loaded.graph
    decoder, layers = model["decoder"], range(model["decoder"]["num_hidden_layers"])
    caches = [decoder["inputs"][f"past_{what}_names"] % layer for layer in layers for what in ("key", "value")]
    kept = [decoder["outputs"][f"present_{what}_names"] % layer for layer in layers for what in ("key", "value")]
    assert {*caches, "input_ids", "attention_mask", "position_ids"} == set(graph.input_names)
    assert ["logits", *kept] == graph.output_names
    assert graph.inputs[graph.input_names.index(caches[0])].shape[1::2] == (decoder["num_key_value_heads"], decoder["head_size"])
    assert (model["type"], model["eos_token_id"], model["pad_token_id"], decoder["filename"]) == (name, [words["eos_token_id"], 5], 0, "out.onnx")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "the file has none"),
        ({**byte_level("qwen2"), "model": "bert"}, "kind 'bert'"),
        (byte_level("chameleon"), "text is parted in the way 'chameleon'"),
        (byte_level("default"), "text is parted in the way 'default'"),
        ({**byte_level("qwen2"), "merges": ["a b c"]}, "its merges are no pairs"),
        ({**pieces(), "scores": [0.5]}, "tokenizer.ggml.scores is not for"),
        ({k: v for k, v in pieces().items() if k != "scores"}, "its pieces have no scores"),
    ],
)
def test_what_is_not_written_is_said(words: dict[str, Any], said: str, tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", CASES["llama"], vocabulary=words)
    report = geoc.compile(tmp_path / "tiny.gguf", tmp_path / "out.onnx", target="cpu", level=0, check="off")
    assert any(note.startswith(f"no tokenizer is written beside it: {said}") for note in report.notes)
    assert not (tmp_path / "tokenizer.json").exists()
