"""The tokenizer of a GGUF file as transformers and onnxruntime-genai read one: tokenizer.json, tokenizer_config.json.

Two kinds are written: byte-level BPE ("gpt2" in the file) with the ways of parting text that are listed here, and the
BPE of SentencePiece ("llama"), whose merges follow from the scores of its pieces, the best first.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .reader import Gguf

Json = dict[str, Any]

_CONTROL, _OWN = 3, 4  # types of tokens (llama.h, llama_token_type): control, user-defined
_SPACE = "\u2581"
_DIGITS, _GPT2 = "digits", "gpt2"  # each digit by itself; GPT-2's own way
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASES = (  # words in which capitals come first
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%s|\p{{N}}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_ENDS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_CODE = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}")
# How text is parted before merges, by tokenizer.ggml.pre, one way after another (llama.cpp, llama-vocab.cpp).
_PARTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gpt-2", "phi-2", "olmo"), (_GPT2,)),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r"), (_DIGITS, _GPT2)),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "smaug-bpe", "dbrx"), (_WORDS % "{1,3}",)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), (_WORDS % "",)),
    "gpt-4o": (_CASES % (_ENDS, _ENDS, "{1,3}"),),
    "tekken": (_CASES % ("", "", ""),),
    "deepseek-coder": _CODE,
}
_WHOLE = ("llama-bpe", "llama3", "llama-v3", "tekken")  # words that are tokens are not merged from their parts
_BEGINS = ("llama-bpe", "llama3", "llama-v3", "tekken")  # a token begins each text where the file says nothing
_OLD = ("gpt2", "phi2")  # architectures whose files without a way of parting have GPT-2's
_NUMBERS = {"bos": 1, "eos": 2, "unknown": 0}  # of SentencePiece where the file says nothing
_NAMES = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}


class Tokenizer:
    """What a file says of its tokenizer; `problem` says why none can be written of it, or is empty."""

    def __init__(self, gguf: Gguf, arch: str) -> None:
        self.metadata = gguf.metadata
        self.kind, self.pre = _text(self.get("model")), _text(self.get("pre"))
        if self.pre in ("", "default") and arch in _OLD:
            self.pre = "gpt-2"
        tokens = self.get("tokens")
        self.words = [_text(token) for token in tokens] if isinstance(tokens, list) else []
        self.problem = self._problem()

    def get(self, key: str) -> Any:
        return self.metadata.get(f"tokenizer.ggml.{key}")

    def _problem(self) -> str:
        if not self.kind or not self.words:
            return "the file has none"
        if self.kind not in ("gpt2", "llama"):
            return f"kind {self.kind[:40]!r}"
        for key in ("scores", "token_type"):
            found = self.get(key)
            if found is not None and (not isinstance(found, np.ndarray) or len(found) != len(self.words)):
                return f"tokenizer.ggml.{key} is not for {len(self.words)} tokens"
        if self.kind == "llama":
            return "" if self.get("scores") is not None else "its pieces have no scores"
        if self.pre not in _PARTS:
            return f"text is parted in the way {self.pre[:40]!r}" if self.pre else "how text is parted is not said"
        merges = self.get("merges")
        if not isinstance(merges, list) or any(merge.count(b" ") != 1 for merge in merges):
            return "its merges are no pairs"
        return ""

    def number(self, which: str) -> int | None:
        """The number of a special token, by what it is for ("bos", "eos", "eot", "unknown", "padding")."""
        number = self.get(f"{which}_token_id")
        if number is None and self.kind == "llama":
            number = _NUMBERS.get(which)
        return number if isinstance(number, int) and 0 <= number < len(self.words) else None

    def token(self, which: str) -> str | None:
        """A special token."""
        number = self.number(which)
        return None if number is None else self.words[number]

    def adds(self, which: str) -> bool:
        """True if a token begins ("bos") or ends ("eos") each text."""
        said = self.get(f"add_{which}_token")
        if said is None:
            said = which == "bos" and (self.kind == "llama" or self.pre in _BEGINS)
        return self.number(which) is not None and bool(said)

    # tokenizer.json, as the package tokenizers has it

    def json(self) -> bytes:
        """tokenizer.json."""
        of_pieces = self.kind == "llama"
        model = {
            "type": "BPE",
            "dropout": None,
            "unk_token": self.token("unknown") if of_pieces else None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": of_pieces,
            "byte_fallback": of_pieces,
            "ignore_merges": self.pre in _WHOLE and not of_pieces,
            "vocab": {word: i for i, word in enumerate(self.words)},
            "merges": self._merges(),
        }
        return dumped({
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": self._added(),
            "normalizer": self._normalizer(),
            "pre_tokenizer": None if of_pieces else self._parting(),
            "post_processor": self._around(),
            "decoder": self._decoder(),
            "model": model,
        })  # fmt: skip

    def _added(self) -> list[Json]:
        """Tokens that are found in a text before it is parted."""
        types = self.get("token_type")
        kinds = [] if types is None else types.tolist()
        fixed = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        return [
            {"id": i, "content": self.words[i], **fixed, "special": kind == _CONTROL}
            for i, kind in enumerate(kinds)
            if kind in (_CONTROL, _OWN)
        ]

    def _merges(self) -> list[str]:
        if self.kind == "llama":
            return merges_of(self.words, self.get("scores"))
        return [_text(merge) for merge in self.get("merges")]

    def _normalizer(self) -> Json | None:
        if self.kind == "gpt2":
            return {"type": "NFC"} if self.pre == "qwen2" else None
        spaces = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
        first = [{"type": "Prepend", "prepend": _SPACE}] if self._has_prefix else []
        return {"type": "Sequence", "normalizers": [*first, spaces]}

    @property
    def _has_prefix(self) -> bool:
        return self.get("add_space_prefix") is not False

    def _parting(self) -> Json:
        ways = _PARTS[self.pre]
        has_own = ways[-1] == _GPT2
        bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": has_own}
        steps: list[Json] = []
        for way in ways[:-1] if has_own else ways:
            if way == _DIGITS:
                steps.append({"type": "Digits", "individual_digits": True})
            else:
                steps.append({"type": "Split", "pattern": {"Regex": way}, "behavior": "Isolated", "invert": False})
        return {"type": "Sequence", "pretokenizers": [*steps, bytes_]} if steps else bytes_

    def _around(self) -> Json | None:
        """What begins and ends texts."""
        ends = {which: token for which in ("bos", "eos") if self.adds(which) and (token := self.token(which))}
        if not ends:
            return None

        def text(letter: str, kind: int) -> list[Json]:
            parts: list[Json] = [{"Sequence": {"id": letter, "type_id": kind}}]
            if "bos" in ends:
                parts.insert(0, {"SpecialToken": {"id": ends["bos"], "type_id": kind}})
            if "eos" in ends:
                parts.append({"SpecialToken": {"id": ends["eos"], "type_id": kind}})
            return parts

        special = {word: {"id": word, "ids": [self.number(which)], "tokens": [word]} for which, word in ends.items()}
        pair = [*text("A", 0), *text("B", 1)]
        return {"type": "TemplateProcessing", "single": text("A", 0), "pair": pair, "special_tokens": special}

    def _decoder(self) -> Json:
        if self.kind == "gpt2":
            return {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
        spaces = {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
        strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if self._has_prefix else []
        return {"type": "Sequence", "decoders": [spaces, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]}

    def config(self, longest: int) -> bytes:
        """tokenizer_config.json, as transformers has it; `longest` text in tokens."""
        special = {name: token for which, name in _NAMES.items() if (token := self.token(which)) is not None}
        template = self.metadata.get("tokenizer.chat_template")
        return dumped({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_max_length": longest,
            **special,
            **({"chat_template": _text(template)} if isinstance(template, bytes) else {}),
        })  # fmt: skip


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


def dumped(content: Json) -> bytes:
    """The text of a file."""
    return json.dumps(content, ensure_ascii=False, indent=1).encode()


def _text(data: Any) -> str:
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else ""
