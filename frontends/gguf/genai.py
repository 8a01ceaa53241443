"""genai_config.json: how onnxruntime-genai calls a decoder."""

from __future__ import annotations

from typing import Any

from .shape import Decoder
from .tokenizer import Tokenizer, dumped

# Its names of architectures that are called with positions and a cache by name, as the decoder here is.
TYPES = {
    "llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma": "gemma", "gemma2": "gemma2", "gemma3": "gemma3_text",
    "phi2": "phi", "phi3": "phi3",
}  # fmt: skip


def genai_config(tokenizer: Tokenizer, decoder: Decoder, name: str) -> bytes | None:
    """The file for a model in the file `name`; None where that is not ONNX, the one format that it runs."""
    if not name.endswith(".onnx"):
        return None
    both = ("key", "value")
    inputs = {key: key for key in ("input_ids", "attention_mask", "position_ids")}
    begins, ends, pads = (tokenizer.number(which) for which in ("bos", "eos", "padding"))
    turn = tokenizer.number("eot")  # of dialogues
    stops = [number for number in dict.fromkeys((ends, turn)) if number is not None]
    model: dict[str, Any] = {
        "type": TYPES[decoder.arch],
        "context_length": decoder.context,
        "vocab_size": decoder.vocabulary,
        "pad_token_id": next((number for number in (pads, ends) if number is not None), 0),
        "decoder": {
            "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
            "filename": name,
            "head_size": decoder.key_size,
            "hidden_size": decoder.width,
            "num_attention_heads": decoder.heads,
            "num_hidden_layers": decoder.layers,
            "num_key_value_heads": decoder.kv_heads,
            "inputs": {**inputs, **{f"past_{what}_names": f"past.%d.{what}" for what in both}},
            "outputs": {"logits": "logits", **{f"present_{what}_names": f"present.%d.{what}" for what in both}},
        },
    }
    if begins is not None:
        model["bos_token_id"] = begins
    if stops:
        model["eos_token_id"] = stops if len(stops) > 1 else stops[0]
    search = {"do_sample": False, "max_length": decoder.context, "past_present_share_buffer": False}
    return dumped({"model": model, "search": search})
