"""What a graph does not say and GGUF wants, from the files of the source: vocabulary, longest context, names.

The vocabulary is that of the file that ``--tokenizer`` names, else of the source where that is a .gguf, else of the
tokenizer.json beside it. Nothing else is looked for: a file that merely fits could be another model's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from ...ir.errors import FormatError, UnsupportedModel, UsageError
from .tokenizer import add_tokenizer

_OWN_TO_FILE = ("general.architecture", "general.quantization_version", "general.file_type", "general.alignment")
TOKENIZER = "tokenizer.json"


class Neighbours:
    """The files of a source, and of ``--tokenizer``, for a decoder with so many rows in its table.

    `entries` are the metadata of a source that is a .gguf; `context` the positions that its files name, 0 for none.
    """

    def __init__(self, source: str, tokenizer: str | None, size: int) -> None:
        self.source, self.size, self.given = source, size, tokenizer
        self.folder = source if os.path.isdir(source) else os.path.dirname(os.path.abspath(source)) if source else ""
        is_own = _is_gguf(source) and os.path.isfile(source)
        self.own = source if is_own else ""
        self.entries: dict[str, Any] = _read(source) if is_own else {}
        self.given_entries = _read(tokenizer) if tokenizer is not None and _is_gguf(tokenizer) else {}
        self.context = self._context()

    def _context(self) -> int:
        """By the source, then by what ``--tokenizer`` names, which is the same model's."""
        for entries in filter(None, (self.entries, self.given_entries)):
            name = entries.get("general.architecture")
            found = None if name is None else entries.get(f"{name.contents()}.context_length")
            if found is not None:
                return int(found.contents())
        given = self.given or ""
        named = given if os.path.isdir(given) else os.path.dirname(os.path.abspath(given)) if given else ""
        return next(filter(None, map(self._configured, filter(None, (self.folder, named)))), 0)

    def _configured(self, folder: str) -> int:
        """What config.json says, if it is there and is of a model with so many tokens."""
        config = os.path.join(folder, "config.json")
        if not os.path.isfile(config):
            return 0
        try:
            with open(config, encoding="utf-8") as file:
                said = json.load(file)
        except ValueError as error:
            raise FormatError(f"no JSON: {error}", source=config) from None
        fits = isinstance(said, dict) and said.get("vocab_size") == self.size
        found = said.get("max_position_embeddings") if fits else None
        return found if isinstance(found, int) and 0 < found < 1 << 31 else 0

    @property
    def file_type(self) -> int | None:
        """What the source calls the types of its weights as a whole."""
        entry = self.entries.get("general.file_type")
        found = None if entry is None else entry.contents()
        return found if isinstance(found, int) else None

    def add_general(self, writer: Any) -> bool:
        """Write the name, the license and the like of a source that has them; False if it has no name."""
        for name, entry in self.entries.items():
            if name.startswith("general.") and name not in _OWN_TO_FILE:
                _copy(writer, name, entry)
        return "general.name" in self.entries

    def add_vocabulary(self, writer: Any) -> str:
        """Write the vocabulary, or that there is none; what the user should know of it.

        Raises UsageError where the file that ``--tokenizer`` names has none that fits.
        """
        beside = os.path.join(self.folder, TOKENIZER) if self.folder else ""
        if self.given is not None:
            try:
                self._add(writer, self.given)
            except (FormatError, UnsupportedModel) as error:
                raise UsageError(error.message, source=self.given) from None
            return f"gguf: the vocabulary is that of {os.path.basename(self.given.rstrip(os.sep))}"
        why = f"the source brings no {TOKENIZER}"
        for path in (self.own, beside if not self.own and os.path.isfile(beside) else ""):
            if not path:
                continue
            try:
                self._add(writer, path)
                return f"gguf: the vocabulary is that of {os.path.basename(path)}"
            except (FormatError, UnsupportedModel) as error:
                why = f"{os.path.basename(path)}: {error.message}"
        writer.add_tokenizer_model("none")
        said = "no vocabulary is written, so that tokens go in and out by number"
        return f"gguf: {said}: {why}; --tokenizer FILE names another"

    def _add(self, writer: Any, path: str) -> None:
        """Raises FormatError or UnsupportedModel before anything is written."""
        if not _is_gguf(path):
            add_tokenizer(writer, os.path.join(path, TOKENIZER) if os.path.isdir(path) else path, self.size)
            return
        entries = self.entries if path == self.own else self.given_entries
        found = entries.get("tokenizer.ggml.tokens")
        if found is None:
            raise UnsupportedModel("it has no vocabulary")
        count = len(found.data)
        if count != self.size:
            raise UnsupportedModel(f"its vocabulary has {count} tokens, the table of the model {self.size} rows")
        for name, entry in entries.items():
            if name.startswith("tokenizer."):
                _copy(writer, name, entry)


def _is_gguf(path: str) -> bool:
    return path.lower().endswith(".gguf")


def _copy(writer: Any, name: str, entry: Any) -> None:
    kinds = entry.types
    writer.add_key_value(name, entry.contents(), kinds[0], sub_type=kinds[-1] if len(kinds) > 1 else None)


def _read(path: str) -> dict[str, Any]:
    """The metadata of a .gguf. Raises FormatError for a file that is none, OSError."""
    import gguf

    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, IndexError, KeyError, UnicodeDecodeError, OverflowError) as error:
        raise FormatError(f"no GGUF file: {error}", source=path) from None
    return dict(_plain(reader.fields))


def _plain(fields: Any) -> Iterator[tuple[str, Any]]:
    return ((name, entry) for name, entry in fields.items() if not name.startswith("GGUF."))
