"""Vocabularies of GGUF files: from the source, from tokenizer.json, from --tokenizer; what happens without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import geoc
from geoc.ir.errors import FormatError, UnsupportedModel, UsageError
from geoc.lowering.gguf.tokenizer import read_vocabulary
from tests.frontends.gguf import tiny
from tests.frontends.gguf.tiny import CASES, TOKENS, write

from .test_write import field

gguf = pytest.importorskip("gguf")
tokenizers = pytest.importorskip("tokenizers")

TEXTS = ["Hello there, world 1234!", "it's  two   spaces\n\nand lines", "naïve café 日本語", "<end> of it", " a"]
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def trained(kind: str) -> Any:
    """A small tokenizer of the package tokenizers: a way of parting text by llama.cpp's name, or "pieces"."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    corpus = TEXTS * 3 + ["the world of words", "1234 5678", "there and there"] * 4
    if kind == "pieces":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        special = ["<unk>", "<s>", "<end>", *(f"<0x{i:02X}>" for i in range(256))]
        tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=360, special_tokens=special, show_progress=False))
        said = json.loads(tokenizer.to_str())
        said["added_tokens"] = said["added_tokens"][:3]
        tokenizer = Tokenizer.from_str(json.dumps(said))
        tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
        return tokenizer
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind in ("gpt-2", "smollm"))
    first = {
        "gpt-2": [], "smollm": [pre_tokenizers.Digits(individual_digits=True)],
        "llama-bpe": [pre_tokenizers.Split(Regex(WORDS), "isolated")],
        "qwen2": [pre_tokenizers.Split(Regex(WORDS.replace("{1,3}", "")), "isolated")],
        "other": [pre_tokenizers.Split(Regex(r"\w+"), "isolated")],
    }[kind]  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*first, byte_level]) if first else byte_level
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "<end>"]
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def beside(folder: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, rows: int | None = None) -> Path:
    """The file of a decoder with a table of so many rows, as an ONNX file with its tokenizer beside it."""
    monkeypatch.setattr(tiny, "TOKENS", rows or tokenizer.get_vocab_size())
    write(folder / "a.gguf", CASES["llama"])
    geoc.compile(folder / "a.gguf", folder / "model.onnx", level=1, check="off")
    (folder / "a.gguf").unlink()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": {"content": "<end>"}, "add_bos_token": True, "chat_template": "{{ messages }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder / "model.onnx"


@pytest.mark.parametrize("kind", ["gpt-2", "smollm", "llama-bpe", "qwen2", "pieces"])
def test_a_tokenizer_beside_the_source_gives_the_same_tokens(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frontend makes a tokenizer.json of the vocabulary again; the table has three rows more than there are tokens."""
    tokenizer = trained(kind)
    size = tokenizer.get_vocab_size()
    source = beside(tmp_path, tokenizer, monkeypatch, size + 3)
    report = geoc.compile(source, tmp_path / "out.gguf", check="off")
    assert "gguf: the vocabulary is that of tokenizer.json" in report.notes
    again = tokenizers.Tokenizer.from_str(geoc.load(tmp_path / "out.gguf").beside["tokenizer.json"]("out.onnx").decode())
    for text in TEXTS:
        assert again.encode(text, add_special_tokens=False).ids == tokenizer.encode(text, add_special_tokens=False).ids
    of = "tokenizer.ggml"
    assert field(tmp_path / "out.gguf", f"{of}.pre") == ("default" if kind == "pieces" else kind)
    assert [field(tmp_path / "out.gguf", f"{of}.{which}_token_id") for which in ("bos", "eos")] == [1, 2]
    assert field(tmp_path / "out.gguf", f"{of}.add_bos_token") is True
    assert field(tmp_path / "out.gguf", "tokenizer.chat_template") == "{{ messages }}"
    assert field(tmp_path / "out.gguf", f"{of}.tokens")[size:] == [f"[PAD{i}]" for i in range(size, size + 3)]
    assert field(tmp_path / "out.gguf", f"{of}.token_type")[:3] == [2 if kind == "pieces" else 3, 3, 3]


def test_the_vocabulary_of_a_gguf_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = beside(tmp_path, trained("smollm"), monkeypatch)
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": tiny.TOKENS, "max_position_embeddings": 77}))
    geoc.compile(source, tmp_path / "one.gguf", check="off")
    (tmp_path / "config.json").unlink()
    (tmp_path / "tokenizer.json").unlink()
    report = geoc.compile(source, tmp_path / "two.gguf", check="off", tokenizer=tmp_path / "one.gguf")
    assert "gguf: the vocabulary is that of one.gguf" in report.notes
    first, second = ({k: v.contents() for k, v in gguf.GGUFReader(tmp_path / f"{n}.gguf").fields.items()} for n in ("one", "two"))
    assert first == second
    (tmp_path / "spoiled.gguf").write_bytes((tmp_path / "one.gguf").read_bytes()[:100])
    with pytest.raises(FormatError, match="spoiled.gguf: no GGUF file"):
        geoc.compile(source, tmp_path / "three.gguf", check="off", tokenizer=tmp_path / "spoiled.gguf")


def test_general_metadata_of_a_gguf_are_kept(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    write(tmp_path / "a.gguf", CASES["llama"])
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    for name, entry in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            writer.add_key_value(name, entry.contents(), entry.types[0])
    writer.add_name("A name")
    writer.add_license("apache-2.0")
    writer.add_tags(["one", "two"])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    for write_part in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        write_part()
    geoc.compile(tmp_path / "x.gguf", tmp_path / "y.gguf", check="off")
    found = [field(tmp_path / "y.gguf", f"general.{key}") for key in ("name", "license", "tags", "type")]
    assert found == ["A name", "apache-2.0", ["one", "two"], None]


def test_without_a_vocabulary_there_is_none_and_a_note_says_so(tmp_path: Path) -> None:
    write(tmp_path / "a.gguf", CASES["llama"])
    report = geoc.compile(tmp_path / "a.gguf", tmp_path / "b.gguf", check="off")
    said = "gguf: no vocabulary is written, so that tokens go in and out by number: a.gguf: it has no vocabulary"
    assert f"{said}; --tokenizer FILE names another" in report.notes
    assert field(tmp_path / "b.gguf", "tokenizer.ggml.model") == "none"
    assert field(tmp_path / "b.gguf", "llama.vocab_size") == TOKENS


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[:-20], "no tokenizer: JSONDecodeError"),
        (lambda text: "[]", "no tokenizer: TypeError"),
        (lambda text: "[" * 100_000, "no tokenizer: RecursionError"),
        (lambda text: text.replace('"BPE"', '"Unigram"'), "a tokenizer of the kind 'Unigram'"),
        (lambda text: text.replace('"Digits"', '"Whitespace"'), r"a way of parting text \(Whitespace, ByteLevel\)"),
        (lambda text: text.replace('"vocab": {', '"vocab": {"far": 4000000000, '), "4000000001 tokens, the table of the model 330 rows"),
    ],
)
def test_a_tokenizer_that_is_damaged_or_of_another_kind(spoil: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the source it is left out with the reason; named, it is an error."""
    source = beside(tmp_path, trained("smollm"), monkeypatch, 330)
    path = tmp_path / "tokenizer.json"
    path.write_text(spoil(path.read_text()))
    with pytest.raises((FormatError, UnsupportedModel), match=said):
        read_vocabulary(str(path), 330)
    notes = geoc.compile(source, tmp_path / "out.gguf", check="off").notes
    assert field(tmp_path / "out.gguf", "tokenizer.ggml.model") == "none"
    assert any(note.startswith("gguf: no vocabulary is written") and "tokenizer.json: " in note for note in notes)
    with pytest.raises(UsageError, match=said) as error:
        geoc.compile(source, tmp_path / "again.gguf", check="off", tokenizer=path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert not list(tmp_path.glob("*again*"))


def test_a_tokenizer_that_is_no_tokenizer_at_all(tmp_path: Path) -> None:
    write(tmp_path / "a.gguf", CASES["llama"])
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UsageError, match="a tokenizer is a tokenizer.json, a folder with one, or a .gguf"):
        geoc.compile(tmp_path / "a.gguf", tmp_path / "b.gguf", check="off", tokenizer=tmp_path / "x.txt")


def test_the_longest_context_is_that_of_the_config_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = beside(tmp_path, trained("gpt-2"), monkeypatch, 330)
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 330, "max_position_embeddings": 777}))
    geoc.compile(source, tmp_path / "out.gguf", check="off")
    assert field(tmp_path / "out.gguf", "llama.context_length") == 777
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FormatError, match="config.json: no JSON"):
        geoc.compile(source, tmp_path / "out.gguf", check="off")
