"""Folders as the Hugging Face hub has them, config.json and weights, to IR: transformers builds the module, torch
exports it.

    model = load_folder("all-minilm-l6-v2")

The class is what `architectures` in the config says, and decides what is exported (`tasks`): dimensions that are not
fixed have names, and decoders take and give a cache of keys and values. Code that comes with a model is never run.
Weights are float32, whatever they are stored as.
"""

from __future__ import annotations

from ...ir.core import Model
from ..needed import needed
from ..pytorch.exporting import export
from .folder import read_folder
from .opening import open_model
from .tasks import call_of, check_task

__all__ = ["load_folder"]


def load_folder(path: str) -> Model:
    """The model in a folder with a config.json.

    Raises FormatError for files that are damaged or contradict each other, UnsupportedModel for an architecture that is
    not known or needs code of its own, UsageError where transformers or torch is missing, OSError.
    """
    folder = read_folder(path)
    check_task(folder)
    needed("transformers", "huggingface", path)
    needed("torch", "huggingface", path)
    call = call_of(open_model(folder), folder)
    model = export(
        call.module, call.args, {}, path,
        dynamic_shapes=call.axes, input_names=call.input_names, output_names=call.output_names,
    )  # fmt: skip
    model.source = path
    return model
