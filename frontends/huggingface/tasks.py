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
_IMAGE = 224  # pixels a side, where neither the config nor the preprocessor says


@dataclass(frozen=True)
class Call:
    """`module` takes one list, `inputs`; `axes` name the dimensions of each that are not fixed."""

    module: Any
    inputs: Sequence[Any]
    input_names: Sequence[str]
    axes: Sequence[Mapping[int, str]]
    output_names: Sequence[str]


def call_of(model: Any, folder: Folder) -> Call:
    """What to export of a transformers model. Raises UnsupportedModel for what is not one graph."""
    name = folder.architecture
    is_decoder = name.endswith(_DECODERS)
    if getattr(model.config, "is_encoder_decoder", False):
        raise UnsupportedModel(
            f"{name} is an encoder and a decoder, which are two graphs: load them apart, geoc.load(model.get_encoder(), args)",
            source=folder.path,
        )
    if not is_decoder and not name.endswith(_HEADS) or model.main_input_name not in ("input_ids", "pixel_values"):
        raise UnsupportedModel(
            f"{name} has no known form: geoc.load(module, args) exports any module with its example inputs", source=folder.path
        )
    try:
        with quiet():
            if is_decoder:
                return _decoder(model, folder)
            return _plain(model, _images(model, folder) if model.main_input_name == "pixel_values" else _tokens(model))
    except UnsupportedModel:
        raise
    except Exception as error:  # whatever a module raises that is called with inputs it does not take
        raise UnsupportedModel(f"{name} does not run: {reason(error)} (--debug shows all)", source=folder.path) from error


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

    tensors = [tensor for tensor, _ in inputs.values()]
    return Call(Plain().eval(), tensors, names, [axes for _, axes in inputs.values()], outputs)


def _decoder(model: Any, folder: Folder) -> Call:
    """A step of a decoder: tokens and the keys and values of those before, to logits and all keys and values."""
    import torch
    from transformers import DynamicCache

    ids = torch.arange(2, 8).reshape(2, 3) % model.config.vocab_size
    with torch.no_grad():
        cache = model(input_ids=ids, use_cache=True, return_dict=True).past_key_values
    if type(cache) is not DynamicCache:
        kind = type(cache).__name__
        raise UnsupportedModel(f"{folder.architecture} keeps a {kind}, not plain keys and values", source=folder.path)
    layers = [pair[:2] for pair in cache.to_legacy_cache()]
    past = 8
    names = ["input_ids", "attention_mask"]
    inputs = [ids, torch.ones(2, past + 3, dtype=torch.int64)]
    axes: list[Mapping[int, str]] = [_SEQUENCE, {0: "batch", 1: "total"}]
    if "position_ids" in _parameters(model):
        names.append("position_ids")
        inputs.append(torch.arange(past, past + 3)[None].expand(2, 3).contiguous())
        axes.append(_SEQUENCE)
    plain = len(names)
    outputs = ["logits"]
    for number, pair in enumerate(layers):
        for kind, held in zip(("key", "value"), pair):
            names.append(f"past.{number}.{kind}")
            outputs.append(f"present.{number}.{kind}")
            inputs.append(torch.zeros(2, held.shape[1], past, held.shape[3]))
            axes.append({0: "batch", 2: "past"})

    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tensors: list[Any]) -> tuple[Any, ...]:
            held = tensors[plain:]
            cache = DynamicCache.from_legacy_cache(tuple(zip(held[::2], held[1::2])))
            answer = self.model(
                **dict(zip(names, tensors[:plain])), past_key_values=cache, use_cache=True, return_dict=True
            )
            return (answer.logits, *(each for pair in answer.past_key_values.to_legacy_cache() for each in pair))

    return Call(Step().eval(), inputs, names, axes, outputs)


def _parameters(model: Any) -> Mapping[str, Any]:
    return inspect.signature(model.forward).parameters
