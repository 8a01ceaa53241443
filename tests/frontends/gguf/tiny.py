"""Tiny decoders with made-up weights, by the names that transformers has for them and as GGUF files.

    write(path, CASES["qwen3"])                 # as llama.cpp's convert_hf_to_gguf.py would
    CASES["qwen3"].weights()                    # {name in transformers: f32 array}

Names, permutations and metadata are those of that converter. `expected.py` has what transformers computes with them.
"""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TOKENS, WIDTH, LAYERS, CONTEXT = 29, 32, 2, 64
IDS = [[3, 17, 5, 9, 21, 3, 28]]


@dataclass(frozen=True)
class Case:
    """One decoder. `hf`: the class of its config in transformers and what it is made with. `metadata`: without the
    architecture's name in front. `tied`: the head is the table. `factors`: those of RoPE, by name in GGUF."""

    arch: str
    hf: tuple[str, dict[str, Any]]
    heads: int = 4
    kv_heads: int = 2
    size: int = 8
    inner: int = 64
    tied: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    factors: dict[str, list[float]] = field(default_factory=dict)

    def weights(self) -> dict[str, np.ndarray]:
        """All weights, in f32; each depends on its name alone."""
        return {name: _made(name, shape) for name, (_, shape, _) in self.tensors().items()}

    def tensors(self) -> dict[str, tuple[str, tuple[int, ...], str]]:
        """Name in transformers -> (name in GGUF, shape in transformers, what the converter does to it)."""
        found = dict(_AROUND[self.arch](self))
        for layer in range(LAYERS):
            for name, (to, shape, change) in _LAYER[self.arch](self).items():
                found[name.replace("N", str(layer), 1)] = (f"blk.{layer}.{to}", shape, change)
        return found


def _made(name: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    numbers = rng.standard_normal(shape) * 0.25
    is_norm = len(shape) == 1 and name.endswith("weight")
    return (numbers + 1 if is_norm else numbers).astype(np.float32)


def _around(c: Case) -> dict[str, Any]:
    norm = "one more" if c.arch.startswith("gemma") else ""
    found = {
        "model.embed_tokens.weight": ("token_embd.weight", (TOKENS, WIDTH), ""),
        "model.norm.weight": ("output_norm.weight", (WIDTH,), norm),
    }
    if not c.tied:
        found["lm_head.weight"] = ("output.weight", (TOKENS, WIDTH), "")
    return found


def _around_phi2(c: Case) -> dict[str, Any]:
    return {
        "model.embed_tokens.weight": ("token_embd.weight", (TOKENS, WIDTH), ""),
        "model.final_layernorm.weight": ("output_norm.weight", (WIDTH,), ""),
        "model.final_layernorm.bias": ("output_norm.bias", (WIDTH,), ""),
        "lm_head.weight": ("output.weight", (TOKENS, WIDTH), ""),
        "lm_head.bias": ("output.bias", (TOKENS,), ""),
    }


def _around_gpt2(c: Case) -> dict[str, Any]:
    return {
        "transformer.wte.weight": ("token_embd.weight", (TOKENS, WIDTH), ""),
        "transformer.wpe.weight": ("position_embd.weight", (CONTEXT, WIDTH), ""),
        "transformer.ln_f.weight": ("output_norm.weight", (WIDTH,), ""),
        "transformer.ln_f.bias": ("output_norm.bias", (WIDTH,), ""),
    }


def _layer(c: Case) -> dict[str, Any]:
    q, k = c.heads * c.size, c.kv_heads * c.size
    permuted = ("q", "k") if c.arch == "llama" else ("", "")
    norm = "one more" if c.arch.startswith("gemma") else ""
    at = "model.layers.N"
    found = {
        f"{at}.input_layernorm.weight": ("attn_norm.weight", (WIDTH,), norm),
        f"{at}.self_attn.o_proj.weight": ("attn_output.weight", (WIDTH, q), ""),
        f"{at}.mlp.down_proj.weight": ("ffn_down.weight", (WIDTH, c.inner), ""),
        f"{at}.post_attention_layernorm.weight": ("ffn_norm.weight", (WIDTH,), norm),
    }
    if c.arch == "phi3":
        found[f"{at}.self_attn.qkv_proj.weight"] = ("attn_qkv.weight", (q + 2 * k, WIDTH), "")
        found[f"{at}.mlp.gate_up_proj.weight"] = ("ffn_up.weight", (2 * c.inner, WIDTH), "")
        return found
    found |= {
        f"{at}.self_attn.q_proj.weight": ("attn_q.weight", (q, WIDTH), permuted[0]),
        f"{at}.self_attn.k_proj.weight": ("attn_k.weight", (k, WIDTH), permuted[1]),
        f"{at}.self_attn.v_proj.weight": ("attn_v.weight", (k, WIDTH), ""),
        f"{at}.mlp.gate_proj.weight": ("ffn_gate.weight", (c.inner, WIDTH), ""),
        f"{at}.mlp.up_proj.weight": ("ffn_up.weight", (c.inner, WIDTH), ""),
    }
    if c.arch == "qwen2":
        for name, rows in (("q", q), ("k", k), ("v", k)):
            found[f"{at}.self_attn.{name}_proj.bias"] = (f"attn_{name}.bias", (rows,), "")
    if c.arch in ("qwen3", "gemma3"):
        for name in "qk":
            found[f"{at}.self_attn.{name}_norm.weight"] = (f"attn_{name}_norm.weight", (c.size,), norm)
    if c.arch in ("gemma2", "gemma3"):
        found[f"{at}.post_attention_layernorm.weight"] = ("post_attention_norm.weight", (WIDTH,), norm)
        found[f"{at}.pre_feedforward_layernorm.weight"] = ("ffn_norm.weight", (WIDTH,), norm)
        found[f"{at}.post_feedforward_layernorm.weight"] = ("post_ffw_norm.weight", (WIDTH,), norm)
    return found


def _layer_phi2(c: Case) -> dict[str, Any]:
    at, found = "model.layers.N", {}
    sizes = {
        "self_attn.q_proj": ("attn_q", WIDTH, WIDTH), "self_attn.k_proj": ("attn_k", WIDTH, WIDTH),
        "self_attn.v_proj": ("attn_v", WIDTH, WIDTH), "self_attn.dense": ("attn_output", WIDTH, WIDTH),
        "mlp.fc1": ("ffn_up", c.inner, WIDTH), "mlp.fc2": ("ffn_down", WIDTH, c.inner),
    }  # fmt: skip
    for name, (to, rows, columns) in sizes.items():
        found[f"{at}.{name}.weight"] = (f"{to}.weight", (rows, columns), "")
        found[f"{at}.{name}.bias"] = (f"{to}.bias", (rows,), "")
    for what in ("weight", "bias"):
        found[f"{at}.input_layernorm.{what}"] = (f"attn_norm.{what}", (WIDTH,), "")
    return found


def _layer_gpt2(c: Case) -> dict[str, Any]:
    at, found = "transformer.h.N", {}
    sizes = {
        "attn.c_attn": ("attn_qkv", WIDTH, 3 * WIDTH), "attn.c_proj": ("attn_output", WIDTH, WIDTH),
        "mlp.c_fc": ("ffn_up", WIDTH, c.inner), "mlp.c_proj": ("ffn_down", c.inner, WIDTH),
    }  # fmt: skip
    for name, (to, inputs, outputs) in sizes.items():
        found[f"{at}.{name}.weight"] = (f"{to}.weight", (inputs, outputs), "transposed")
        found[f"{at}.{name}.bias"] = (f"{to}.bias", (outputs,), "")
    for what in ("weight", "bias"):
        found[f"{at}.ln_1.{what}"] = (f"attn_norm.{what}", (WIDTH,), "")
        found[f"{at}.ln_2.{what}"] = (f"ffn_norm.{what}", (WIDTH,), "")
    return found


_USUAL = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3")
_AROUND = {**dict.fromkeys(_USUAL, _around), "phi2": _around_phi2, "gpt2": _around_gpt2}
_LAYER = {**dict.fromkeys(_USUAL, _layer), "phi2": _layer_phi2, "gpt2": _layer_gpt2}

_SIZES = {
    "vocab_size": TOKENS, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
    "intermediate_size": 64, "max_position_embeddings": CONTEXT, "pad_token_id": 0,
}  # fmt: skip
_GROUPED = {**_SIZES, "num_key_value_heads": 2}
_RMS = {"attention.layer_norm_rms_epsilon": 1e-5}
_CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}


def _factors_of_llama3(size: int, base: float, factor: float, low: float, high: float, context: int) -> list[float]:
    """What the converter divides the frequencies of Llama 3 by."""
    found = []
    for i in range(0, size, 2):
        turns = context * base ** (-i / size) / (2 * math.pi)
        smooth = min(max((turns - low) / (high - low), 0.0), 1.0)
        found.append(1 / ((1 - smooth) / factor + smooth))
    return found


def _phi3_of_factors(context: int) -> Case:
    """phi3 with two sets of factors, the first for as many tokens."""
    short, long = [1.0, 1.5, 2.0, 3.0], [1.0, 4.0, 9.0, 16.0]
    scaling = {"type": "longrope", "short_factor": short, "long_factor": long}
    config = {**_GROUPED, "rms_norm_eps": 1e-5, "original_max_position_embeddings": context, "rope_scaling": scaling}
    magnitude = math.sqrt(1 + math.log(CONTEXT / context) / math.log(context))
    metadata = {**_RMS, "rope.scaling.original_context_length": context, "rope.scaling.attn_factor": magnitude}
    return Case("phi3", ("Phi3", config), metadata=metadata, factors={"rope_factors_short": short, "rope_factors_long": long})


CASES = {
    "llama": Case("llama", ("Llama", {**_GROUPED, "rms_norm_eps": 1e-5, "rope_theta": 500.0}), metadata={**_RMS, "rope.freq_base": 500.0}),
    "llama-linear": Case(
        "llama",
        ("Llama", {**_GROUPED, "rms_norm_eps": 1e-5, "tie_word_embeddings": True, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
        tied=True, metadata={**_RMS, "rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
    ),
    "llama3": Case(
        "llama",
        ("Llama", {
            **_GROUPED, "rms_norm_eps": 1e-5, "rope_theta": 500.0,
            "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64},
        }),
        metadata={**_RMS, "rope.freq_base": 500.0}, factors={"rope_freqs": _factors_of_llama3(8, 500.0, 8.0, 1.0, 4.0, 64)},
    ),
    "qwen2": Case("qwen2", ("Qwen2", {**_GROUPED, "rms_norm_eps": 1e-5, "tie_word_embeddings": True}), tied=True, metadata=_RMS),
    "qwen2-yarn": Case(
        "qwen2",
        ("Qwen2", {
            **_GROUPED, "rms_norm_eps": 1e-5, "head_dim": 16, "rope_theta": 500.0,
            "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 2.0, "beta_slow": 0.5},
        }), size=16,
        metadata={
            **_RMS, "attention.key_length": 16, "attention.value_length": 16, "rope.freq_base": 500.0, "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 16, "rope.scaling.yarn_beta_fast": 2.0, "rope.scaling.yarn_beta_slow": 0.5,
        },
    ),
    "qwen3": Case(
        "qwen3", ("Qwen3", {**_GROUPED, "rms_norm_eps": 1e-5, "head_dim": 16}), size=16,
        metadata={**_RMS, "attention.key_length": 16, "attention.value_length": 16},
    ),
    "gemma": Case(
        "gemma", ("Gemma", {**_GROUPED, "num_key_value_heads": 1, "rms_norm_eps": 1e-5, "head_dim": 16}), kv_heads=1, size=16, tied=True,
        metadata={**_RMS, "attention.key_length": 16, "attention.value_length": 16},
    ),
    "gemma2": Case(
        "gemma2",
        ("Gemma2", {**_GROUPED, **_CAPS, "rms_norm_eps": 1e-5, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 3}), tied=True,
        metadata={**_RMS, **_CAPS, "attention.sliding_window": 3, "attention.key_length": 8, "attention.value_length": 8},
    ),
    "gemma3": Case(
        "gemma3",
        ("Gemma3Text", {
            **_GROUPED, "rms_norm_eps": 1e-5, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 3, "rope_theta": 500.0,
            "rope_local_base_freq": 10000.0, "rope_scaling": {"rope_type": "linear", "factor": 4.0}, "layer_types": ["sliding_attention", "full_attention"],
        }), tied=True,
        metadata={
            **_RMS, "attention.sliding_window": 3, "attention.sliding_window_pattern": 2, "attention.key_length": 8, "attention.value_length": 8,
            "rope.freq_base": 500.0, "rope.scaling.type": "linear", "rope.scaling.factor": 4.0,
        },
    ),
    "phi2": Case(
        "phi2", ("Phi", {**_SIZES, "partial_rotary_factor": 0.5, "layer_norm_eps": 1e-5, "hidden_act": "gelu_new"}), kv_heads=4,
        metadata={"attention.layer_norm_epsilon": 1e-5, "rope.dimension_count": 4},
    ),
    "phi3": Case("phi3", ("Phi3", {**_GROUPED, "rms_norm_eps": 1e-5, "sliding_window": 4}), metadata={**_RMS, "attention.sliding_window": 4}),
    **{f"phi3-{name}": _phi3_of_factors(context) for name, context in (("short", 32), ("long", 2))},
    "gpt2": Case(
        "gpt2",
        ("GPT2", {"vocab_size": TOKENS, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "n_positions": CONTEXT, "n_inner": 64}),
        kv_heads=4, tied=True, metadata={"attention.layer_norm_epsilon": 1e-5},
    ),
}  # fmt: skip


def converted(case: Case) -> dict[str, np.ndarray]:
    """The weights by their names in GGUF, as the converter writes them."""
    found = {}
    weights = case.weights()
    for name, (to, _, change) in case.tensors().items():
        array = weights[name]
        if change == "one more":
            array = array + np.float32(1)
        elif change == "transposed":
            array = np.ascontiguousarray(array.T)
        elif change:
            heads = case.heads if change == "q" else case.kv_heads
            shape = array.shape
            array = array.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)
        found[to] = np.ascontiguousarray(array)
    return found | {f"{name}.weight": np.array(numbers, np.float32) for name, numbers in case.factors.items()}


def write(
    path: str | os.PathLike[str], case: Case, kinds: dict[str, str] | None = None, vocabulary: dict[str, Any] | None = None, **metadata: Any
) -> None:
    """The GGUF file of a case. `kinds`: what matrices are quantized to, by the end of their names; `vocabulary`: metadata of
    the tokenizer; `metadata` of the architecture replaces or adds."""
    import gguf

    writer = gguf.GGUFWriter(path, case.arch)
    sizes = {
        "block_count": LAYERS, "context_length": CONTEXT, "embedding_length": WIDTH, "feed_forward_length": case.inner,
        "attention.head_count": case.heads, "attention.head_count_kv": case.kv_heads,
    }  # fmt: skip
    values = {f"{case.arch}.{key}": value for key, value in {**sizes, **case.metadata, **metadata}.items()}
    values |= {f"tokenizer.{'' if key == 'chat_template' else 'ggml.'}{key}": value for key, value in (vocabulary or {}).items()}
    for name, value in values.items():
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        elif isinstance(value, list):
            writer.add_array(name, value)
        else:
            writer.add_uint32(name, value)
    for name, array in converted(case).items():
        kind = next((kind for end, kind in (kinds or {}).items() if name.endswith(end)), None) if array.ndim == 2 else None
        if kind is None:
            writer.add_tensor(name, array)
        else:
            of = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(name, gguf.quantize(array, of), raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
