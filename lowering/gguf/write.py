"""Writing GGUF by llama.cpp's own `gguf` package, one tensor in memory at a time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...ir.core import Model
from ...ir.errors import UsageError
from ...ir.tensor import Array
from ..backend import Order, Written
from .llama import Decoder, read_decoder
from .vocabulary import Neighbours
from .weights import Stored, stored

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

    Rows of another such file are copied, blocks of 32 stay blocks, floats become F16 or BF16 where these hold them and
    F32 elsewhere; with ``--precision fp32`` all is F32. The vocabulary and the longest context come from the files of
    the source (`vocabulary`). Raises UnsupportedModel for any other graph, FormatError for files of the source that are
    damaged, UsageError where the package is missing or a tokenizer that was named does not fit, OSError.
    """
    gguf = package()
    decoder = read_decoder(model)
    neighbours = Neighbours(model.source or "", order.tokenizer, decoder.vocabulary)
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    notes: list[str] = []
    writer = gguf.GGUFWriter(temporary, decoder.architecture)
    try:
        tensors = list(_tensors(decoder, order.precision == "fp32"))
        sizes = Counter[str]()
        types = gguf.GGMLQuantizationType
        for label, tensor in tensors:
            writer.add_tensor_info(label, tensor.shape, np.dtype(tensor.dtype), tensor.nbytes, types[tensor.kind])
            if len(tensor.shape) > 1:
                sizes[tensor.kind] += tensor.nbytes
        _metadata(writer, decoder, neighbours, notes)
        _file_type(writer, sizes, neighbours)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for _, tensor in tensors:
            writer.write_tensor_data(tensor.make())
        writer.close()
        os.replace(temporary, path)
    except BaseException:
        writer.close()
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    kinds = ", ".join(f"{kind} {size / 1e6:.1f} MB" for kind, size in sizes.most_common())
    notes.append(f"gguf: {len(decoder.layers)} layers of the architecture {decoder.architecture}, matrices as {kinds}")
    return Written({path: os.path.getsize(path)}, notes=notes)


def _metadata(writer: Any, d: Decoder, neighbours: Neighbours, notes: list[str]) -> None:
    import gguf

    if not neighbours.add_general(writer):
        writer.add_name(Path(neighbours.source or "model").stem)
        writer.add_type("model")
    writer.add_block_count(len(d.layers))
    writer.add_context_length(_context(d, neighbours, notes))
    writer.add_embedding_length(d.width)
    writer.add_feed_forward_length(d.inner)
    writer.add_head_count(d.heads)
    writer.add_head_count_kv(d.kv_heads)
    writer.add_key_length(d.key_size)
    writer.add_value_length(d.value_size)
    writer.add_layer_norm_rms_eps(d.epsilon)
    writer.add_rope_dimension_count(d.rotation.size)
    writer.add_rope_freq_base(d.rotation.base)
    if d.rotation.stretch:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(d.rotation.stretch)
    writer.add_vocab_size(d.vocabulary)
    notes.append(neighbours.add_vocabulary(writer))


def _context(d: Decoder, neighbours: Neighbours, notes: list[str]) -> int:
    """The longest context: no longer than what attention sees, as the architectures know no window."""
    known = d.rotation.context or neighbours.context
    if d.window and (not known or d.window < known):
        notes.append(f"gguf: a context of {d.window} tokens is written, as attention in the graph sees no more")
        return d.window
    if known:
        return known
    said = "neither the graph nor a file beside it says how long a context may be"
    notes.append(f"gguf: {said}: {_CONTEXT} is written")
    return _CONTEXT


def _file_type(writer: Any, sizes: Counter[str], neighbours: Neighbours) -> None:
    """What the weights are as a whole, which llama.cpp shows: the source's word where its blocks were copied."""
    import gguf

    most = sizes.most_common(1)[0][0]
    found = getattr(gguf.LlamaFileType, "ALL_F32" if most == "F32" else f"MOSTLY_{most}", neighbours.file_type)
    if found is not None:
        writer.add_file_type(int(found))
    if set(sizes) - {"F32", "F16", "BF16"}:
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _tensors(d: Decoder, single: bool) -> Iterator[tuple[str, Stored]]:
    """Every tensor by llama.cpp's name; `single`: all of them floats of 32 bits."""
    yield "token_embd.weight", stored(d.table, None, single)
    if d.rotation.factors and not d.rotation.stretch:
        yield "rope_freqs.weight", _vector(np.array(d.rotation.factors, np.float32))
    for number, layer in enumerate(d.layers):
        for name, norm in layer.norms.items():
            yield f"blk.{number}.{name}.weight", _vector(norm)
        for name, product in layer.products.items():
            heads = {"attn_q": d.heads, "attn_k": d.kv_heads}.get(name)
            order = None if heads is None else _order(d, heads)
            yield f"blk.{number}.{name}.weight", stored(product.matrix, order, single)
            if product.bias is not None:
                yield f"blk.{number}.{name}.bias", _vector(product.bias if order is None else product.bias[order])
    yield "output_norm.weight", _vector(d.norm)
    if d.head is not None:
        yield "output.weight", stored(d.head, None, single)


def _order(d: Decoder, heads: int) -> Array | None:
    """Rows in the order of the architecture ``llama``, whose rotary embedding turns neighbours: i and i + half become
    2 i and 2 i + 1. ``qwen2`` turns halves."""
    if d.rotation.interleaved or d.architecture == "qwen2":
        return None
    half = d.key_size // 2
    head = np.arange(d.key_size).reshape(2, half).T.reshape(-1)
    return (np.arange(heads)[:, None] * d.key_size + head).reshape(-1)


def _vector(array: Array) -> Stored:
    return Stored("F32", array.shape, np.float32, lambda: np.ascontiguousarray(array, np.float32))
