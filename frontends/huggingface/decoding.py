"""A step of a decoder: tokens and the keys and values of those before, to logits and all keys and values.

The cache is named as the exporters of the hub name it: past_key_values.N.key and .value go in, present.N.key and .value
come out, each [batch, heads, tokens, size]. A first step has a past of no tokens. attention_mask is as long as past and
new tokens together. Layers that look back through a window keep all keys; the mask hides those outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.errors import UnsupportedModel
from .folder import Folder
from .inputs import SEQUENCE, parameters_of
from .tasks import Call

_PAST = 8  # tokens before the example's
_NEW = 3


def step_of(model: Any, folder: Folder) -> Call:
    """What to export of a decoder. Raises UnsupportedModel for one that keeps something else than keys and values."""
    import torch
    from transformers import DynamicCache

    parameters = parameters_of(model)
    kept = "cache" if "cache" in parameters else "past_key_values"  # the name since transformers 5.20, and before
    ids = torch.arange(2, 2 + 2 * _NEW).reshape(2, _NEW) % model.config.get_text_config().vocab_size
    with torch.no_grad():
        cache = model(input_ids=ids, use_cache=True, return_dict=True).get(kept)
    layers = _pairs(cache)
    if not layers or not all(isinstance(each, torch.Tensor) and each.ndim == 4 for pair in layers for each in pair):
        what = f"keeps a {type(cache).__name__}, not keys and values of each layer"
        raise UnsupportedModel(f"{folder.architecture} {what}", source=folder.path)
    has_positions = "position_ids" in parameters
    names = ["input_ids", "attention_mask", *(["position_ids"] if has_positions else [])]
    outputs = ["logits"]
    past: list[Any] = []
    for number, pair in enumerate(layers):
        for kind, tensor in zip(("key", "value"), pair):
            names.append(f"past_key_values.{number}.{kind}")
            outputs.append(f"present.{number}.{kind}")
            past.append(torch.zeros(2, tensor.shape[1], _PAST, tensor.shape[3]))

    class Step(torch.nn.Module):  # type: ignore[misc]  # torch is not followed
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any, past: list[Any]) -> tuple[Any, ...]:
            given = {kept: DynamicCache(list(zip(past[::2], past[1::2])))}
            if position_ids is not None:
                given["position_ids"] = position_ids
            answer = self.model(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=True, return_dict=True, **given
            )
            return (answer.logits, *(each for pair in _pairs(answer[kept]) for each in pair))

    mask = torch.ones(2, _PAST + _NEW, dtype=torch.int64)
    positions = torch.arange(_PAST, _PAST + _NEW)[None].expand(2, _NEW).contiguous() if has_positions else None
    grown = [{0: "batch", 2: "past"} for _ in past]
    axes = (SEQUENCE, {0: "batch", 1: "total"}, SEQUENCE if has_positions else None, grown)
    return Call(Step().eval(), (ids, mask, positions, past), names, axes, outputs)


def _pairs(cache: Any) -> Sequence[tuple[Any, Any]]:
    """Keys and values of each layer; () for a cache of another kind."""
    from transformers import DynamicCache

    return [(layer[0], layer[1]) for layer in cache] if type(cache) is DynamicCache else ()
