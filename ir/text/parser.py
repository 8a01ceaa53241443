"""`.gir` text to models."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..collector import paused_collector
from ..core import Model
from ..errors import TextError
from ..tensor import MappedFile, Tensor
from .lines import Lines
from .reader import ModelReader
from .weights import Payloads

_NO_FILES: Mapping[str, MappedFile] = {}
_NO_TENSORS: Mapping[str, Tensor] = {}


def load_model(path: str | os.PathLike[str], *, roots: Sequence[str] = ()) -> Model:
    """Read a `.gir` file; as `parse_model`. Raises OSError if it cannot be opened."""
    source = os.fspath(path)
    with open(source, "rb") as file:
        data = file.read()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise TextError(f"not UTF-8: {error.reason}", source=source, place=f"byte {error.start}") from None
    return parse_model(text, source, roots=roots)


def parse_model(
    text: str,
    source: str = "",
    *,
    folder: str | None = None,
    files: Mapping[str, MappedFile] = _NO_FILES,
    roots: Sequence[str] = (),
    tensors: Mapping[str, Tensor] = _NO_TENSORS,
    fast: bool = True,
) -> Model:
    """The model that a `.gir` text describes, with the types that it declares.

    Data files are looked up relative to `folder` (default: the folder of `source`) and must lie in it or
    in one of `roots`; `files` gives open ones by the name in the text. `tensors` gives constants that
    the text holds only a digest of, by hex digest. `fast=False` reads every line by the full grammar.

    Raises TextError with line and column for text that is no model, FormatError for a data file that is
    missing, too short or outside these folders, InvalidModel for an operator revision that does not exist.
    """
    import lark

    from .grammar import structure

    if folder is None and source:
        folder = os.path.dirname(os.path.abspath(source))
    payloads = Payloads(source, folder, files, roots, tensors)
    reader = ModelReader(Lines(payloads, fast), payloads, source)
    if not text.endswith("\n"):
        text += "\n"
    try:
        with paused_collector():
            structure(ModelReader).parse(text, "start", reader)
    except lark.UnexpectedInput as error:
        raise _structure_error(error, text, source) from None
    return reader.model


_READABLE = {
    "HEADER": "a header line", "GRAPH": "a graph", "FUNCTION": "a function", "WITH": "a region (with)",
    "DOC": "doc", "BLOCK": "a statement", "CLOSE": "'}'", "$END": "the end of the text",
}  # fmt: skip


def _structure_error(error: Any, text: str, source: str) -> TextError:
    expected = getattr(error, "expected", None) or getattr(error, "allowed", None) or ()
    words = " or ".join(sorted({_READABLE.get(name, name) for name in expected}))
    line = error.line
    if not isinstance(line, int) or line < 1:
        line = text.count("\n")
    lines = text.split("\n", line)
    content = lines[line - 1].strip() if line <= len(lines) else ""
    token = getattr(error, "token", None)
    there = "the text ends" if token is not None and token.type == "$END" else f"found {content[:40]!r}"
    return TextError(f"expected {words}, {there}", source=source, place=f"{line}:1")
