"""A tokenizer.json, of the package tokenizers, as GGUF's vocabulary: byte-level BPE, or the BPE of SentencePiece.

llama.cpp knows ways of parting text by name (llama-vocab.cpp). A tokenizer whose way is not listed here is refused:
with another one it would give other tokens, and nothing would say so.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, NamedTuple

from ...ir.errors import FormatError, UnsupportedModel

_NORMAL, _UNKNOWN, _CONTROL, _OWN, _UNUSED, _BYTE = range(1, 7)  # llama.h, llama_token_type
_FILLED = "[PAD%d]"  # what converters call rows of a table behind the last token
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# By the expression that parts text; the order of the alternatives is that of the tokenizers.json of these models.
_BY_WORDS = {_WORDS % "{1,3}": "llama-bpe", _WORDS % "": "qwen2"}
_A_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")
Json = dict[str, Any]


class Vocabulary(NamedTuple):
    """`model` and `pre` as GGUF calls them; of each token its text, its type and, of SentencePiece, its score."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float]
    has_prefix: bool


def add_tokenizer(writer: Any, path: str, size: int) -> None:
    """Write the vocabulary of a tokenizer.json for a table of `size` rows, with the special tokens and the template of
    conversations that the files beside it have.

    Raises FormatError for what is no such file, UnsupportedModel for a kind that is not written, OSError.
    """
    import gguf

    if os.path.basename(path) != "tokenizer.json":
        raise UnsupportedModel("a tokenizer is a tokenizer.json, a folder with one, or a .gguf")
    found = read_vocabulary(path, size)
    try:
        special = gguf.SpecialVocab(os.path.dirname(path), load_merges=found.model == "gpt2", n_vocab=size)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise FormatError(f"the files beside it say no special tokens: {error}", source=path) from None
    writer.add_tokenizer_model(found.model)
    writer.add_tokenizer_pre(found.pre)
    writer.add_token_list(found.tokens)
    writer.add_token_types(found.types)
    if found.scores:
        writer.add_token_scores(found.scores)
        writer.add_add_space_prefix(found.has_prefix)
    special.add_to_gguf(writer, quiet=True)


def read_vocabulary(path: str, size: int) -> Vocabulary:
    """What a tokenizer.json has for a table of `size` rows. Raises as `add_tokenizer` does."""
    try:
        with open(path, encoding="utf-8") as file:
            said = json.load(file)
        return _vocabulary(said, size)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"no tokenizer: {type(error).__name__}: {error}", source=path) from None


def _vocabulary(said: Json, size: int) -> Vocabulary:
    model = said["model"]
    if model.get("type") != "BPE":
        raise UnsupportedModel(f"a tokenizer of the kind {model.get('type')!r}; BPE is written")
    words = {int(number): word for word, number in model["vocab"].items()}
    added = {int(each["id"]): each for each in said.get("added_tokens") or []}
    words.update((number, each["content"]) for number, each in added.items())
    most = max(words) + 1
    if most > size:
        raise UnsupportedModel(f"its vocabulary has {most} tokens, the table of the model {size} rows")
    of_pieces = bool(model.get("byte_fallback"))
    tokens = [words.get(i, _FILLED % i) for i in range(size)]
    unknown = model.get("unk_token")

    def kind(number: int) -> int:
        if number not in words:
            return _UNUSED
        if of_pieces and words[number] == unknown:
            return _UNKNOWN
        if number in added:
            return _CONTROL if added[number].get("special") else _OWN
        return _BYTE if of_pieces and _A_BYTE.fullmatch(words[number]) else _NORMAL

    types = [kind(i) for i in range(size)]
    if not of_pieces:
        return Vocabulary("gpt2", _parts(said), tokens, types, [], False)
    return Vocabulary("llama", "default", tokens, types, _scores(model, tokens), _has_prefix(said))


def _parts(said: Json) -> str:
    """What llama.cpp calls the way in which a byte-level tokenizer parts text."""
    before, normalizer = said.get("pre_tokenizer") or {}, said.get("normalizer")
    steps = before["pretokenizers"] if before.get("type") == "Sequence" else [before]
    kinds = [step.get("type") for step in steps]
    name = None
    if kinds == ["ByteLevel"] and not steps[0].get("add_prefix_space"):
        name = "gpt-2" if steps[0].get("use_regex", True) else None
    elif kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits") and steps[1].get("use_regex", True):
        name = "smollm"
    elif kinds == ["Split", "ByteLevel"] and steps[0].get("behavior") == "Isolated" and not steps[0].get("invert"):
        name = _BY_WORDS.get(str((steps[0].get("pattern") or {}).get("Regex")))
        name = None if steps[1].get("use_regex", True) else name
    normalized = None if normalizer is None else normalizer.get("type")
    if name is None or normalized not in (None, "NFC"):
        how = ", ".join(map(str, kinds))
        raise UnsupportedModel(f"a way of parting text ({how}) that geoc knows no name of llama.cpp for")
    return name


def _has_prefix(said: Json) -> bool:
    """True if a space is put before each text."""
    normalizer, before = said.get("normalizer") or {}, said.get("pre_tokenizer") or {}
    steps = normalizer["normalizers"] if normalizer.get("type") == "Sequence" else [normalizer]
    first = any(step.get("type") == "Prepend" for step in steps)
    return first or (before.get("type") == "Metaspace" and before.get("prepend_scheme", "always") != "never")


def _scores(model: Json, tokens: list[str]) -> list[float]:
    """Scores of SentencePiece: pieces that are made by earlier merges are better; what none makes has none."""
    rank: dict[str, int] = {}
    for number, merge in enumerate(model["merges"]):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        rank.setdefault(left + right, number)
    return [-float(rank[token]) if token in rank else 0.0 for token in tokens]
