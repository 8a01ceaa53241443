"""Small folders with random weights, as the hub has them. Needs torch and transformers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers

HIDDEN, LAYERS, HEADS, VOCAB = 32, 2, 4, 60
_TEXT: dict[str, Any] = {
    "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": 64,
    "vocab_size": VOCAB, "max_position_embeddings": 64,
}  # fmt: skip
_IMAGE: dict[str, Any] = {
    "hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": HEADS, "intermediate_size": 64, "image_size": 32,
    "patch_size": 8, "num_labels": 5,
}  # fmt: skip
_GPT2: dict[str, Any] = {"n_embd": HIDDEN, "n_layer": LAYERS, "n_head": HEADS, "vocab_size": VOCAB, "n_positions": 64}

_SOUND: dict[str, Any] = {
    "hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": HEADS, "intermediate_size": 64, "vocab_size": VOCAB,
    "conv_dim": [16, 16, 16], "conv_stride": [5, 4, 4], "conv_kernel": [10, 4, 4], "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
_CLIP: dict[str, Any] = {
    "text_config": {**_TEXT, "eos_token_id": VOCAB - 1}, "vision_config": {key: _IMAGE[key] for key in _IMAGE if key != "num_labels"},
    "projection_dim": 16,
}  # fmt: skip

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "BertModel": ("BertConfig", _TEXT),
    "BertForMaskedLM": ("BertConfig", _TEXT),
    "RobertaForSequenceClassification": ("RobertaConfig", {**_TEXT, "num_labels": 3, "pad_token_id": 1}),
    "BertForTokenClassification": ("BertConfig", _TEXT),
    "BertForQuestionAnswering": ("BertConfig", _TEXT),
    "ViTForImageClassification": ("ViTConfig", _IMAGE),
    "ViTModel": ("ViTConfig", _IMAGE),
    "GPT2LMHeadModel": ("GPT2Config", _GPT2),
    "LlamaForCausalLM": ("LlamaConfig", {**_TEXT, "num_key_value_heads": 2}),
    "Qwen2ForCausalLM": ("Qwen2Config", {**_TEXT, "num_key_value_heads": 2, "tie_word_embeddings": True}),
    "MistralForCausalLM": ("MistralConfig", {**_TEXT, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4}),
    "ResNetForImageClassification": (
        "ResNetConfig", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic", "num_labels": 5},
    ),
    "Wav2Vec2ForCTC": ("Wav2Vec2Config", _SOUND),
    "ASTForAudioClassification": (
        "ASTConfig", {**{key: _IMAGE[key] for key in _IMAGE if key != "image_size"}, "max_length": 32, "num_mel_bins": 16},
    ),
    "CLIPModel": ("CLIPConfig", _CLIP),
    "T5ForConditionalGeneration": ("T5Config", {"d_model": HIDDEN, "d_ff": 64, "num_layers": 1, "num_heads": 4, "vocab_size": VOCAB}),
    "T5EncoderModel": ("T5Config", {"d_model": HIDDEN, "d_ff": 64, "num_layers": 1, "num_heads": 4, "d_kv": 8, "vocab_size": VOCAB}),
}  # fmt: skip


def made(architecture: str, folder: Path, pickled: bool = False, **saved: Any) -> Any:
    """Write a folder; the model that is in it. `pickled`: with pytorch_model.bin, which transformers 5 writes no more."""
    torch.manual_seed(0)
    kind, options = CONFIGS[architecture]
    model = getattr(transformers, architecture)(getattr(transformers, kind)(**options)).eval()
    model.save_pretrained(folder, **saved)
    if pickled:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return model
