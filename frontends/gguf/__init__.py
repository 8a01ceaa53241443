"""GGUF files, those of llama.cpp, to IR: the graph is built from the metadata, weights stay in their blocks.

model = load_gguf("model-q4_k_m.gguf")
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from ...ir.core import Model
from ...ir.errors import FormatError, UnsupportedModel
from ...ir.tensor import MappedFile
from ..reading import reading
from .decoder import build
from .genai import TYPES, genai_config
from .reader import Gguf, read_gguf
from .shape import Decoder, decoder_of
from .tokenizer import Tokenizer
from .weights import Weights

_CARRIED = ("architecture", "name", "basename", "size_label", "license", "file_type")  # metadata that models keep
_OPSET = 23  # the first that has Attention, RMSNormalization and RotaryEmbedding


def load_gguf(path: str | os.PathLike[str]) -> Model:
    """Import a model from the path of a file.

    Raises FormatError for what is no GGUF file, InvalidModel for one whose tensors do not fit its metadata,
    UnsupportedModel for an architecture or a part of one that geoc does not build, OSError when it cannot be read.
    """
    source = os.fspath(path)
    file = MappedFile(source, is_model=True)
    if file.size == 0:
        raise FormatError("the file is empty", source=source)
    with reading(source):
        model = _import(read_gguf(file))
    model.source = source
    return model


def _import(gguf: Gguf) -> Model:
    decoder, weights = decoder_of(gguf), Weights(gguf)
    model = Model(build(decoder, weights))
    unused = [name for name in gguf.tensors if name not in weights.used]
    if unused:
        more = f" and {len(unused) - 1} others" if len(unused) > 1 else ""
        said = f"tensor {unused[0]!r}{more} have no place in the graph of {decoder.arch}"
        raise UnsupportedModel(said if more else said.replace(" have ", " has "))
    model.opsets = {"": _OPSET}
    model.typed = True
    _put_tokenizer(model, Tokenizer(gguf, decoder.arch), decoder)
    values = {key: gguf.metadata.get(f"general.{key}") for key in _CARRIED}
    model.metadata = {f"gguf.{key}": _text(value) for key, value in values.items() if value is not None}
    return model


def _put_tokenizer(model: Model, tokenizer: Tokenizer, decoder: Decoder) -> None:
    """What belongs beside the model; a note where its tokenizer is none that is written."""
    if tokenizer.problem:
        model.notes.append(f"no tokenizer is written beside it: {tokenizer.problem}")
        return
    model.beside["tokenizer.json"] = lambda name: tokenizer.json()
    model.beside["tokenizer_config.json"] = lambda name: tokenizer.config(decoder.context)
    if decoder.arch in TYPES:
        model.beside["genai_config.json"] = partial(genai_config, tokenizer, decoder)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
