"""What a graph does not say and GGUF wants: the vocabulary and the longest context, from what lies beside the source."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

_KEYS = ("tokenizer.",)


@dataclass
class Neighbours:
    """A .gguf with a vocabulary of the right size ("" for none), and the longest context that a file names (0)."""

    size: int
    vocabulary: str = ""
    context: int = 0


def neighbours(source: str, size: int) -> Neighbours:
    """What is found: in the source if that is a .gguf, else in the one .gguf of its folder with `size` tokens, and in
    its config.json."""
    found = Neighbours(size)
    folder = os.path.dirname(os.path.abspath(source)) if source else ""
    if not folder or not os.path.isdir(folder):
        return found
    own = [source] if source.lower().endswith(".gguf") else []
    others = sorted(os.path.join(folder, n) for n in os.listdir(folder) if n.lower().endswith(".gguf"))
    fitting = [path for path in own or others if tokens_of(path) == size]
    if len(fitting) == 1:
        found.vocabulary = fitting[0]
        found.context = int(_field(fitting[0], "llama.context_length") or 0)
    config = os.path.join(folder, "config.json")
    if not found.context and os.path.isfile(config):
        with open(config, encoding="utf-8") as file:
            said = json.load(file)
        if isinstance(said, dict) and said.get("vocab_size") == size:
            found.context = int(said.get("max_position_embeddings") or 0)
    return found


def add_vocabulary(writer: Any, found: Neighbours) -> str:
    """Write the vocabulary, or that there is none; what the user should know of it."""
    if not found.vocabulary:
        writer.add_tokenizer_model("none")
        return "gguf: written without a vocabulary, as no .gguf with this one lies beside the source: tokens go in and out by number"
    reader = _reader(found.vocabulary)
    for name, entry in reader.fields.items():
        if name.startswith(_KEYS):
            kind = entry.types[0]
            inner = entry.types[-1] if len(entry.types) > 1 else None
            writer.add_key_value(name, entry.contents(), kind, sub_type=inner)
    return f"gguf: the vocabulary is that of {os.path.basename(found.vocabulary)}"


def tokens_of(path: str) -> int:
    """How many tokens the vocabulary of a .gguf has; 0 for none, and for a file that is none."""
    entry = _reader_fields(path).get("tokenizer.ggml.tokens")
    return 0 if entry is None else len(entry.data)


def _field(path: str, name: str) -> Any:
    entry = _reader_fields(path).get(name)
    return None if entry is None else entry.contents()


def _reader_fields(path: str) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = _reader(path).fields
    except (ValueError, IndexError):  # not what its name says: no neighbour
        return {}
    return fields


_open: dict[str, Any] = {}


def _reader(path: str) -> Any:
    import gguf

    if path not in _open:
        _open.clear()
        _open[path] = gguf.GGUFReader(path)
    return _open[path]
