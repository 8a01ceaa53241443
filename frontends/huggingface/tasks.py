"""What of a model is exported: its inputs with names for the dimensions that are not fixed, a module of tensors alone,
and its outputs, by what the architecture reads and what its name ends in.

    text, ...Model, ...ForMaskedLM and others     input_ids[batch,seq], attention_mask, token_type_ids if it has any
    text, ...ForCausalLM, ...LMHeadModel          as above, with positions and a cache (`decoding`)
    images                                        pixel_values[batch,C,H,W]
    text and images, ...Model                     input_ids[texts,seq], attention_mask, pixel_values[images,C,H,W]
    sound                                         input_values[batch,samples], or a spectrogram of the config's size

Outputs are the tensors that transformers returns, by its names: last_hidden_state, pooler_output, logits, ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...ir.errors import GeocError, UnsupportedModel
from ..pytorch.quiet import quiet, reason
from .folder import Folder
from .inputs import Inputs, inputs_of, unknown

_DECODERS = ("ForCausalLM", "LMHeadModel")
_HEADS = (
    "Model", "ModelWithProjection", "ForMaskedLM", "ForPreTraining", "ForNextSentencePrediction",
    "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering",
    "ForImageClassification", "ForObjectDetection", "ForSemanticSegmentation", "ForDepthEstimation",
    "ForCTC", "ForAudioClassification", "ForAudioFrameClassification", "ForXVector",
)  # fmt: skip


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
        raise unknown(folder)


def _check_is_one(is_encoder_decoder: Any, folder: Folder) -> None:
    if is_encoder_decoder and not folder.architecture.endswith("EncoderModel"):
        raise UnsupportedModel(
            f"{folder.architecture} is an encoder and a decoder, which are two graphs: load them apart, "
            "geoc.load(model.get_encoder(), args)", source=folder.path,
        )  # fmt: skip


def call_of(model: Any, folder: Folder) -> Call:
    """What to export of a transformers model. Raises UnsupportedModel for what has no known form or does not run."""
    from .decoding import step_of

    _check_is_one(getattr(model.config, "is_encoder_decoder", False), folder)  # where the config says it by default
    try:
        with quiet():
            if folder.architecture.endswith(_DECODERS) and model.main_input_name == "input_ids":
                return step_of(model, folder)
            return _plain(model, inputs_of(model, folder))
    except GeocError:
        raise
    except Exception as error:  # whatever a module raises that is called with inputs it does not take
        raise UnsupportedModel(
            f"{folder.architecture} does not run: {reason(error)} (--debug shows all)", source=folder.path
        ) from error


def _plain(model: Any, inputs: Inputs) -> Call:
    """One call without a cache; outputs are the tensors among what transformers returns."""
    import torch

    model.config.use_cache = False
    names = list(inputs)
    with torch.no_grad():
        answer = model(**{name: tensor for name, (tensor, _) in inputs.items()}, return_dict=True)
    outputs = [name for name, value in answer.items() if isinstance(value, torch.Tensor)]

    class Plain(torch.nn.Module):  # type: ignore[misc]  # torch is not followed
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tensors: list[Any]) -> tuple[Any, ...]:
            answer = self.model(**dict(zip(names, tensors)), return_dict=True)
            return tuple(answer[name] for name in outputs)

    tensors, axes = [tensor for tensor, _ in inputs.values()], [dict(axes) for _, axes in inputs.values()]
    return Call(Plain().eval(), (tensors,), names, (axes,), outputs)
