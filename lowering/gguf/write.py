"""Writing GGUF by llama.cpp's own `gguf` package, one tensor in memory at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...ir.core import Model
from ...ir.errors import UnsupportedModel, UsageError
from ...ir.tensor import Array
from ..backend import Order, Written
from .llama import Decoder, read_decoder
from .rotary import Rotation
from .vocabulary import add_vocabulary, neighbours
from .weights import Stored, stored

ARCHITECTURE = "llama"
_CONTEXT = 4096  # positions, where nothing says how many: what llama.cpp warns beyond, no size of any tensor


def package() -> Any:
    """The module `gguf`. Raises UsageError where it is not installed."""
    try:
        import gguf
    except ModuleNotFoundError:
        raise UsageError("writing GGUF needs gguf: pip install 'geoc[gguf]'", source="--emit gguf") from None
    return gguf


def check_gguf(model: Model, path: str, order: Order) -> None:
    """Raise UsageError before any work where the package is missing."""
    package()


def write_gguf(model: Model, path: str, order: Order) -> Written:
    """Write a decoder of the llama family, weights as exactly as the graph has them.

    Blocks of 32 stay blocks, floats become F16 or BF16 where these hold them and F32 elsewhere. The vocabulary and the
    longest context come from what lies beside the source (`vocabulary`). Raises UnsupportedModel for any other graph,
    UsageError where the package is missing, OSError.
    """
    gguf = package()
    decoder = read_decoder(model)
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    notes: list[str] = []
    try:
        writer = gguf.GGUFWriter(temporary, ARCHITECTURE)
        _metadata(writer, decoder, model, notes)
        tensors = list(_tensors(decoder))
        types = gguf.GGMLQuantizationType
        for label, tensor in tensors:
            size = int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize
            writer.add_tensor_info(label, tensor.shape, np.dtype(tensor.dtype), size, types[tensor.kind])
        kinds = {tensor.kind for _, tensor in tensors if len(tensor.shape) > 1}
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for _, tensor in tensors:
            writer.write_tensor_data(tensor.make())
        writer.close()
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    notes.append(f"gguf: {len(decoder.layers)} layers of the architecture llama, matrices as {', '.join(sorted(kinds))}")
    return Written({path: os.path.getsize(path)}, notes=notes)


def _metadata(writer: Any, d: Decoder, model: Model, notes: list[str]) -> None:
    writer.add_type("model")
    found = neighbours(model.source, d.vocabulary)
    stem = Path(model.source or "model").stem
    writer.add_name(stem)
    writer.add_block_count(len(d.layers))
    context = d.rotation.context or found.context
    if not context:
        context = _CONTEXT
        said = "the graph does not say how long a context may be, nor does a config.json beside it"
        notes.append(f"gguf: {said}: {_CONTEXT} is written")
    writer.add_context_length(context)
    writer.add_embedding_length(d.width)
    writer.add_feed_forward_length(d.inner)
    writer.add_head_count(d.heads)
    writer.add_head_count_kv(d.kv_heads)
    writer.add_key_length(d.key_size)
    writer.add_value_length(d.value_size)
    writer.add_layer_norm_rms_eps(d.epsilon)
    writer.add_rope_dimension_count(d.rotation.size)
    writer.add_rope_freq_base(d.rotation.base)
    writer.add_vocab_size(d.vocabulary)
    notes.append(add_vocabulary(writer, found))


def _tensors(d: Decoder) -> Iterator[tuple[str, Stored]]:
    """Every tensor by llama.cpp's name."""
    yield "token_embd.weight", stored(d.table)
    if d.rotation.factors:
        yield "rope_freqs.weight", _vector(np.array(d.rotation.factors, np.float32))
    for number, layer in enumerate(d.layers):
        for name, norm in layer.norms.items():
            yield f"blk.{number}.{name}.weight", _vector(norm)
        for name, product in layer.products.items():
            heads = {"attn_q": d.heads, "attn_k": d.kv_heads}.get(name)
            order = None if heads is None else neighbours_together(heads, d.key_size, d.rotation)
            yield f"blk.{number}.{name}.weight", stored(product.matrix, order)
            if product.bias is not None:
                yield f"blk.{number}.{name}.bias", _vector(product.bias if order is None else product.bias[order])
    yield "output_norm.weight", _vector(d.norm)
    if d.head is not None:
        yield "output.weight", stored(d.head)


def neighbours_together(heads: int, size: int, rotation: Rotation) -> Array | None:
    """Rows in the order of llama.cpp, whose rotary embedding turns neighbours: i and i + half become 2 i and 2 i + 1."""
    if rotation.interleaved:
        return None
    half = rotation.size // 2
    turned = np.arange(rotation.size).reshape(2, half).T.reshape(-1)
    head = np.concatenate([turned, np.arange(rotation.size, size)])
    return (np.arange(heads)[:, None] * size + head).reshape(-1)


def _vector(array: Array) -> Stored:
    return Stored("F32", array.shape, np.float32, lambda: np.ascontiguousarray(array, np.float32))
