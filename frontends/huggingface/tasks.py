"""What of a model is exported: its inputs with the names of their dimensions, a module of tensors alone, and its outputs.

| architecture | inputs | outputs |
|---|---|---|
| ...Model, ...EncoderModel, ...ForMaskedLM, ...ForSequenceClassification, ...ForTokenClassification, ...ForQuestionAnswering | input_ids[batch,seq], attention_mask, token_type_ids where there are types | the tensors that transformers names: last_hidden_state, pooler_output, logits, start_logits, ... |
| ...Model, ...ForImageClassification of images | pixel_values[batch,C,H,W] | the same |
| ...ForCausalLM, ...LMHeadModel | input_ids[batch,seq], attention_mask[batch,total], position_ids, past.N.key and past.N.value[batch,heads,past,size] | logits, present.N.key, present.N.value |
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...ir.errors import UnsupportedModel
from ..pytorch.quiet import quiet, reason
from .folder import Folder

_DECODERS = ("ForCausalLM", "LMHeadModel")
_HEADS = (
    "Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForImageClassification",
    "ForNextSentencePrediction", "ForPreTraining",
)  # fmt: skip
_SEQUENCE = {0: "batch", 1: "seq"}
_PAST = 8  # tokens before the example's
_IMAGE = 224  # pixels a side, where neither the config nor the preprocessor says


@dataclass(frozen=True)
class Call:
    """`module` takes `args`; `axes`, of the same structure, name the dimensions that are not fixed."""

    module: Any
    args: tuple[Any, ...]
    input_names: Sequence[str]
    axes: tuple[Any, ...]
    output_names: Sequence[str]


def check_task(folder: Folder) -> None:
    """Raise UnsupportedModel for an architecture that is not one graph of a known form."""
    _check_is_one(folder.config.get("is_encoder_decoder"), folder)
    if not folder.architecture.endswith(_DECODERS + _HEADS):
        raise _unknown(folder)


def _check_is_one(is_encoder_decoder: Any, folder: Folder) -> None:
    if is_encoder_decoder and not folder.architecture.endswith("EncoderModel"):
        raise UnsupportedModel(
            f"{folder.architecture} is an encoder and a decoder, which are two graphs: load them apart, "
            "geoc.load(model.get_encoder(), args)", source=folder.path,
        )  # fmt: skip


def _unknown(folder: Folder) -> UnsupportedModel:
    why = "has no known form: geoc.load(module, args) exports any module with its example inputs"
    return UnsupportedModel(f"{folder.architecture} {why}", source=folder.path)


def call_of(model: Any, folder: Folder) -> Call:
    """What to export of a transformers model. Raises UnsupportedModel for what does not take tokens or images alone."""
    _check_is_one(getattr(model.config, "is_encoder_decoder", False), folder)  # not all configs say what is their default
    if model.main_input_name not in ("input_ids", "pixel_values"):
        raise _unknown(folder)
    try:
        with quiet():
            if folder.architecture.endswith(_DECODERS):
                return _decoder(model, folder)
            return _plain(model, _images(model, folder) if model.main_input_name == "pixel_values" else _tokens(model))
    except UnsupportedModel:
        raise
    except Exception as error:  # whatever a module raises that is called with inputs it does not take
        raise UnsupportedModel(
            f"{folder.architecture} does not run: {reason(error)} (--debug shows all)", source=folder.path
        ) from error


Inputs = dict[str, tuple[Any, Mapping[int, str]]]
"""Example tensors by name, each with the names of its dimensions."""


def _tokens(model: Any) -> Inputs:
    import torch

    ids = torch.arange(2, 34).reshape(2, 16) % model.config.vocab_size
    mask = torch.ones_like(ids)
    mask[-1, 12:] = 0
    found: Inputs = {"input_ids": (ids, _SEQUENCE), "attention_mask": (mask, _SEQUENCE)}
    if "token_type_ids" in _parameters(model) and getattr(model.config, "type_vocab_size", 0) > 1:
        found["token_type_ids"] = (ids % 2, _SEQUENCE)
    return {name: given for name, given in found.items() if name in _parameters(model)}


def _images(model: Any, folder: Folder) -> Inputs:
    import torch

    size = getattr(model.config, "image_size", None) or _preprocessed(folder) or _IMAGE
    height, width = (size, size) if isinstance(size, int) else size
    pixels = torch.linspace(-1, 1, 2 * model.config.num_channels * height * width)
    return {"pixel_values": (pixels.reshape(2, model.config.num_channels, height, width), {0: "batch"})}


def _preprocessed(folder: Folder) -> tuple[int, int] | None:
    """Height and width of the images that the folder's preprocessor makes."""
    try:
        with open(os.path.join(folder.path, "preprocessor_config.json"), encoding="utf-8") as file:
            described = json.load(file)
        size = described.get("crop_size") or described.get("size")
        if isinstance(size, int):
            return size, size
        return (int(size["height"]), int(size["width"])) if "height" in size else (int(size["shortest_edge"]),) * 2
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # there is none, or it says nothing of a size


def _plain(model: Any, inputs: Inputs) -> Call:
    """One call without a cache; outputs are the tensors among what transformers returns."""
    import torch

    model.config.use_cache = False
    names = list(inputs)
    with torch.no_grad():
        answer = model(**{name: tensor for name, (tensor, _) in inputs.items()}, return_dict=True)
    outputs = [name for name, value in answer.items() if isinstance(value, torch.Tensor)]

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tensors: list[Any]) -> tuple[Any, ...]:
            answer = self.model(**dict(zip(names, tensors)), return_dict=True)
            return tuple(answer[name] for name in outputs)

    tensors, axes = [tensor for tensor, _ in inputs.values()], [dict(axes) for _, axes in inputs.values()]
    return Call(Plain().eval(), (tensors,), names, (axes,), outputs)


def _decoder(model: Any, folder: Folder) -> Call:
    """A step of a decoder: tokens and the keys and values of those before, to logits and all keys and values."""
    import torch
    from transformers import DynamicCache

    ids = torch.arange(2, 8).reshape(2, 3) % model.config.vocab_size
    with torch.no_grad():
        cache = model(input_ids=ids, use_cache=True, return_dict=True).past_key_values
    layers = _pairs(cache)
    if not layers or not all(tensor.ndim == 4 for pair in layers for tensor in pair):
        kind = type(cache).__name__
        raise UnsupportedModel(f"{folder.architecture} keeps a {kind}, not plain keys and values", source=folder.path)
    has_positions = "position_ids" in _parameters(model)
    names = ["input_ids", "attention_mask", *(["position_ids"] if has_positions else [])]
    outputs = ["logits"]
    held: list[Any] = []
    for number, pair in enumerate(layers):
        for kind, tensor in zip(("key", "value"), pair):
            names.append(f"past.{number}.{kind}")
            outputs.append(f"present.{number}.{kind}")
            held.append(torch.zeros(2, tensor.shape[1], _PAST, tensor.shape[3]))

    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any, past: list[Any]) -> tuple[Any, ...]:
            cache = DynamicCache.from_legacy_cache(tuple(zip(past[::2], past[1::2])))
            positions = {} if position_ids is None else {"position_ids": position_ids}
            answer = self.model(
                input_ids=input_ids, attention_mask=attention_mask, **positions,
                past_key_values=cache, use_cache=True, return_dict=True,
            )  # fmt: skip
            return (answer.logits, *(each for pair in _pairs(answer.past_key_values) for each in pair))

    seq = ids.shape[1]
    mask = torch.ones(2, _PAST + seq, dtype=torch.int64)
    positions = torch.arange(_PAST, _PAST + seq)[None].expand(2, seq).contiguous() if has_positions else None
    axes = (_SEQUENCE, {0: "batch", 1: "total"}, _SEQUENCE if has_positions else None, [{0: "batch", 2: "past"} for _ in held])
    return Call(Step().eval(), (ids, mask, positions, held), names, axes, outputs)


def _pairs(cache: Any) -> Sequence[tuple[Any, Any]]:
    """Keys and values of each layer, [batch, heads, tokens, size]; () for a cache that grows otherwise."""
    from transformers import DynamicCache

    if type(cache) is DynamicCache:
        cache = cache.to_legacy_cache()
    return [(pair[0], pair[1]) for pair in cache] if isinstance(cache, tuple) else ()


def _parameters(model: Any) -> Mapping[str, Any]:
    return inspect.signature(model.forward).parameters
