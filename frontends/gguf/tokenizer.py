"""The tokenizer of a GGUF file as transformers and onnxruntime-genai read one: tokenizer.json and tokenizer_config.json,
and the genai_config.json that says how the decoder is called.

Two kinds are written: byte-level BPE ("gpt2" in the file) with the ways of parting text that are listed here, and the
BPE of SentencePiece ("llama"), whose merges follow from the scores of its pieces, the best first. Tokens that begin a
text are added where the file says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .reader import Gguf
from .shape import Decoder

Files = dict[str, Callable[[str], bytes]]
"""Name of a file -> its content, made when it is written; takes the name of the model's file."""

_CONTROL, _OWN = 3, 4  # types of tokens (llama.h, llama_token_type): control, user-defined
_SPACE = "\u2581"
# How text is parted before merges, by tokenizer.ggml.pre (llama.cpp, llama-vocab.cpp); None is GPT-2's own way.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PARTS: dict[str, str | None] = {
    "default": None, "gpt-2": None, "phi-2": None, "smollm": "digits", "llama-bpe": _WORDS % "{1,3}",
    "llama3": _WORDS % "{1,3}", "qwen2": _WORDS % "",
}  # fmt: skip
_GENAI = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma": "gemma", "gemma2": "gemma2", "phi2": "phi", "phi3": "phi3"}


def tokenizer_files(gguf: Gguf, decoder: Decoder) -> Files:
    """What belongs beside a model; empty where the file has no tokenizer of a kind that is written."""
    found = _Tokenizer(gguf)
    if not found.is_known:
        return {}
    files: Files = {"tokenizer.json": lambda name: _json(found.tokenizer()), "tokenizer_config.json": lambda name: _json(found.config(decoder))}
    if decoder.arch in _GENAI:
        files["genai_config.json"] = partial(_genai, found, decoder)
    return files


class _Tokenizer:
    def __init__(self, gguf: Gguf) -> None:
        self.get = lambda key, default=None: gguf.metadata.get(f"tokenizer.ggml.{key}", default)
        self.template = gguf.metadata.get("tokenizer.chat_template")
        self.kind, self.pre = (_text(self.get(key, b"default")) for key in ("model", "pre"))
        self.tokens = self.get("tokens")

    @property
    def is_known(self) -> bool:
        """True if what the file has is enough for a tokenizer, and of the right types."""
        if not isinstance(self.tokens, list) or not self.tokens:
            return False
        if not all(self._has_numbers(key) for key in ("scores", "token_type") if self.get(key) is not None):
            return False
        if self.kind == "gpt2":
            merges = self.get("merges")
            return self.pre in _PARTS and isinstance(merges, list) and all(merge.count(b" ") == 1 for merge in merges)
        return self.kind == "llama" and self.get("scores") is not None

    def _has_numbers(self, key: str) -> bool:
        found = self.get(key)
        return isinstance(found, np.ndarray) and len(found) == len(self.tokens)

    def token(self, which: str) -> str | None:
        """A special token, by what it is for."""
        number = self.number(which)
        return None if number is None else _text(self.tokens[number])

    def number(self, which: str) -> int | None:
        number = self.get(f"{which}_token_id")
        return number if isinstance(number, int) and 0 <= number < len(self.tokens) else None

    def adds(self, which: str) -> bool:
        """True if the file says that a token begins or ends each text; SentencePiece begins with one by default."""
        return self.number(which) is not None and bool(self.get(f"add_{which}_token", which == "bos" and self.kind == "llama"))

    def tokenizer(self) -> dict[str, Any]:
        """tokenizer.json, as the package tokenizers has it."""
        words = [_text(token) for token in self.tokens]
        types = self.get("token_type")
        marked = {} if types is None else {i: int(t) for i, t in enumerate(types) if t in (_CONTROL, _OWN)}
        added = [
            {"id": i, "content": words[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": kind == _CONTROL}
            for i, kind in marked.items()
        ]
        of_pieces = self.kind == "llama"
        model = {
            "type": "BPE", "dropout": None, "unk_token": self.token("unknown") if of_pieces else None,
            "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": of_pieces, "byte_fallback": of_pieces,
            "ignore_merges": self.pre in ("llama-bpe", "llama3"), "vocab": {word: i for i, word in enumerate(words)},
            "merges": merges_of(words, self.get("scores")) if of_pieces else [_text(merge) for merge in self.get("merges")],
        }  # fmt: skip
        return {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": self._normalizer(),
            "pre_tokenizer": None if of_pieces else self._parts(), "post_processor": self._around(), "decoder": self._decoder(),
            "model": model,
        }  # fmt: skip

    def _normalizer(self) -> dict[str, Any] | None:
        if self.kind == "gpt2":
            return {"type": "NFC"} if self.pre == "qwen2" else None
        spaces = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
        first = [{"type": "Prepend", "prepend": _SPACE}] if self._has_prefix else []
        return {"type": "Sequence", "normalizers": [*first, spaces]}

    @property
    def _has_prefix(self) -> bool:
        return bool(self.get("add_space_prefix", True))

    def _parts(self) -> dict[str, Any]:
        how = _PARTS[self.pre]
        bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": how in (None, "digits")}
        if how is None:
            return bytes_
        first: dict[str, Any] = {"type": "Split", "pattern": {"Regex": how}, "behavior": "Isolated", "invert": False}
        if how == "digits":
            first = {"type": "Digits", "individual_digits": True}
        return {"type": "Sequence", "pretokenizers": [first, bytes_]}

    def _around(self) -> dict[str, Any] | None:
        """What begins and ends texts."""
        ends = {which: self.token(which) for which in ("bos", "eos") if self.adds(which)}
        if not ends:
            return None

        def text(letter: str, kind: int) -> list[dict[str, Any]]:
            parts = [{"Sequence": {"id": letter, "type_id": kind}}]
            before = [{"SpecialToken": {"id": ends["bos"], "type_id": kind}}] if "bos" in ends else []
            behind = [{"SpecialToken": {"id": ends["eos"], "type_id": kind}}] if "eos" in ends else []
            return [*before, *parts, *behind]

        special = {word: {"id": word, "ids": [self.number(which)], "tokens": [word]} for which, word in ends.items()}
        pair = [*text("A", 0), *text("B", 1)]
        return {"type": "TemplateProcessing", "single": text("A", 0), "pair": pair, "special_tokens": special}

    def _decoder(self) -> dict[str, Any]:
        if self.kind == "gpt2":
            return {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
        spaces = {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
        strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if self._has_prefix else []
        return {"type": "Sequence", "decoders": [spaces, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]}

    def config(self, decoder: Decoder) -> dict[str, Any]:
        """tokenizer_config.json, as transformers has it."""
        names = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
        special = {name: self.token(which) for which, name in names.items() if self.number(which) is not None}
        template = {"chat_template": _text(self.template)} if isinstance(self.template, bytes) else {}
        return {
            "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
            "model_max_length": decoder.context, **special, **template,
        }  # fmt: skip


def merges_of(words: list[str], scores: Any) -> list[str]:
    """The merges of SentencePiece's BPE: each way to part a piece into two others, pieces of higher scores first."""
    place = {word: i for i, word in enumerate(words)}
    found = []
    for i in np.argsort(-np.asarray(scores, np.float64), kind="stable").tolist():
        word = words[i]
        pairs = [(word[:at], word[at:]) for at in range(1, len(word))]
        known = [pair for pair in pairs if pair[0] in place and pair[1] in place]
        known.sort(key=lambda pair: (scores[place[pair[0]]], scores[place[pair[1]]]), reverse=True)
        found += [f"{left} {right}" for left, right in known]
    return found


def _genai(tokenizer: _Tokenizer, decoder: Decoder, name: str) -> bytes:
    """genai_config.json for a model in the file `name`."""
    both = ("key", "value")
    inputs = {"input_ids": "input_ids", "attention_mask": "attention_mask", "position_ids": "position_ids"}
    found = {
        "model": {
            "type": _GENAI[decoder.arch],
            "context_length": decoder.context,
            "vocab_size": decoder.vocabulary,
            **{f"{which}_token_id": tokenizer.number(which) for which in ("bos", "eos") if tokenizer.number(which) is not None},
            "pad_token_id": tokenizer.number("padding") or tokenizer.number("eos") or 0,
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "filename": name,
                "head_size": decoder.key_size,
                "hidden_size": decoder.width,
                "num_attention_heads": decoder.heads,
                "num_hidden_layers": decoder.layers,
                "num_key_value_heads": decoder.kv_heads,
                "inputs": {**inputs, **{f"past_{what}_names": f"past.%d.{what}" for what in both}},
                "outputs": {"logits": "logits", **{f"present_{what}_names": f"present.%d.{what}" for what in both}},
            },
        },
        "search": {"do_sample": False, "max_length": decoder.context, "past_present_share_buffer": False},
    }
    return _json(found)


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, indent=1).encode()


def _text(data: Any) -> str:
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else ""
