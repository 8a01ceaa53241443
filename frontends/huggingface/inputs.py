"""Example inputs of a model, by what it reads: tokens, images, sound, or tokens and images side by side."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Mapping
from typing import Any

from ...ir.errors import FormatError, UnsupportedModel
from .folder import Folder, read_object

Inputs = dict[str, tuple[Any, Mapping[int, str]]]
"""Example tensors by name, each with the names of its dimensions that are not fixed."""

SEQUENCE = {0: "batch", 1: "seq"}
_IMAGE = 224  # pixels a side, where neither the config nor the preprocessor says
_SAMPLES = 8000  # of sound: half a second, more than any encoder of waveforms makes one frame of
_ELEMENTS = 1 << 26  # of an example, at most: 200 images of a million pixels
_PREPROCESSOR = "preprocessor_config.json"


def unknown(folder: Folder) -> UnsupportedModel:
    why = "has no known form: geoc.load(module, args) exports any module with its example inputs"
    return UnsupportedModel(f"{folder.architecture} {why}", source=folder.path)


def parameters_of(model: Any) -> Mapping[str, Any]:
    """The parameters of its forward."""
    return inspect.signature(model.forward).parameters


def inputs_of(model: Any, folder: Folder) -> Inputs:
    """What a model takes. Raises UnsupportedModel for what is none of these, FormatError for sizes that are none."""
    parts = [getattr(model.config, f"{name}_config", None) is not None for name in ("text", "vision")]
    reads = model.main_input_name
    if all(parts) and {"input_ids", "pixel_values"} <= set(parameters_of(model)):
        return {**_tokens(model, {0: "texts", 1: "seq"}), **_images(model, folder, "images")}
    if reads == "input_ids" and "bbox" not in parameters_of(model):  # boxes are half of what such a model reads
        return _tokens(model, SEQUENCE)
    if reads == "pixel_values":
        return _images(model, folder, "batch")
    if reads in ("input_values", "input_features"):
        return _sound(model, folder)
    raise unknown(folder)


def _tokens(model: Any, axes: Mapping[int, str]) -> Inputs:
    import torch

    config = model.config.get_text_config()
    ids = torch.arange(2, 34).reshape(2, 16) % config.vocab_size
    mask = torch.ones_like(ids)
    mask[-1, 12:] = 0
    found: Inputs = {"input_ids": (ids, axes), "attention_mask": (mask, axes)}
    if getattr(config, "type_vocab_size", 0) > 1:
        found["token_type_ids"] = (ids % 2, axes)
    return {name: given for name, given in found.items() if name in parameters_of(model)}


def _images(model: Any, folder: Folder, batch: str) -> Inputs:
    config = getattr(model.config, "vision_config", model.config)
    size = getattr(config, "image_size", None) or _preprocessed(folder) or _IMAGE
    height, width = (size, size) if isinstance(size, int) else size
    return {"pixel_values": (_waves((2, getattr(config, "num_channels", 3), height, width), folder), {0: batch})}


def _preprocessed(folder: Folder) -> tuple[int, int] | None:
    """Height and width of the images that the folder's preprocessor makes; None where it does not say."""
    path = os.path.join(folder.path, _PREPROCESSOR)
    if not os.path.isfile(path):
        return None
    described = read_object(path)
    size = described.get("crop_size") or described.get("size")
    if isinstance(size, dict):
        size = [size.get(name, size.get("shortest_edge")) for name in ("height", "width")]
    else:
        size = [size, size]
    if size == [None, None]:
        return None
    if not all(isinstance(side, int) and 0 < side < 1 << 14 for side in size):
        raise FormatError(f"images of size {size} are none", source=path)
    return size[0], size[1]


def _sound(model: Any, folder: Folder) -> Inputs:
    """A waveform of any length where convolutions cut it into frames, else the spectrogram that the config says."""
    name, config = model.main_input_name, model.config
    bins = getattr(config, "num_mel_bins", None)
    if name == "input_values" and getattr(config, "conv_stride", None):
        return {name: (_waves((2, _SAMPLES), folder), {0: "batch", 1: "samples"})}
    if name == "input_values" and bins and getattr(config, "max_length", None):
        shape = 2, config.max_length, bins
    elif name == "input_features" and bins and getattr(config, "max_source_positions", None):
        shape = 2, bins, 2 * config.max_source_positions
    else:
        raise unknown(folder)
    return {name: (_waves(shape, folder), {0: "batch"})}


def _waves(shape: tuple[int, ...], folder: Folder) -> Any:
    """Numbers between -1 and 1."""
    import torch

    count = math.prod(shape)
    if not 0 < count <= _ELEMENTS or min(shape) < 1:
        raise FormatError(f"inputs of size {list(shape)} are none that it can have", source=folder.path)
    return torch.arange(count).mul(0.1).sin().reshape(shape)
