"""What a GGUF file's metadata say of the decoder in it, checked: `decoder_of(gguf)`."""

from __future__ import annotations

from math import isfinite, log
from typing import Any, NamedTuple

import numpy as np

from ...ir.errors import InvalidModel, UnsupportedModel
from ...ir.tensor import Array
from .reader import Gguf
from .rope import Rope, Yarn

PAIRS, HALVES = "pairs", "halves"


class Family(NamedTuple):
    """How an architecture differs from the others.

    `rope`: which elements of a head turn together, neighbours (`PAIRS`), those of two halves (`HALVES`) or none ("", as
    positions have vectors of their own). `norm`: "rms" or "layer". `act`: "silu" or "gelu", the approximation by tanh
    everywhere. `is_gated`: the activation is multiplied with a second projection. `is_parallel`: attention and MLP read
    the same norm and are added up. `is_scaled`: embeddings are multiplied with the root of their size. `period`: each
    of so many layers but the last has a window, all have one where it is 0; `window`: its size where the metadata give
    none. `has_local`: layers with a window have a RoPE of their own. `largest`: layers of the one model whose queries
    are scaled by what would be the size of a head without metadata of it.
    """

    rope: str = HALVES
    norm: str = "rms"
    act: str = "silu"
    is_gated: bool = True
    is_parallel: bool = False
    is_scaled: bool = False
    period: int = 0
    window: int = 0
    has_local: bool = False
    largest: int = 0


FAMILIES = {
    "llama": Family(rope=PAIRS),
    "qwen2": Family(),
    "qwen3": Family(),
    "gemma": Family(act="gelu", is_scaled=True),
    "gemma2": Family(act="gelu", is_scaled=True, period=2, window=4096, largest=46),
    "gemma3": Family(act="gelu", is_scaled=True, period=6, has_local=True, largest=62),
    "phi2": Family(norm="layer", act="gelu", is_gated=False, is_parallel=True),
    "phi3": Family(),
    "gpt2": Family(rope="", norm="layer", act="gelu", is_gated=False),
}
_NOT_BUILT = (
    "attention.max_alibi_bias", "attention.clamp_kqv", "logit_scale", "embedding_scale", "residual_scale",
    "rope.scaling.yarn_log_multiplier",
)  # fmt: skip
_LOCAL_BASE = 10000.0  # of layers with a window, where they have a RoPE of their own


class Decoder(NamedTuple):
    """Sizes and numbers of one decoder. `scale` None is one by the root of the size of a head."""

    arch: str
    family: Family
    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    key_size: int
    value_size: int
    rope: Rope
    local: Rope  # of layers with a window
    epsilon: float
    context: int
    vocabulary: int
    window: int  # how many tokens back a layer sees that has one
    windowed: Array | int  # which layers have one: a flag of each, or each of so many but the last; all where it is 0
    scale: float | None
    cap: float
    last_cap: float

    def has_window(self, layer: int) -> bool:
        """True if a layer sees the last tokens only."""
        if isinstance(self.windowed, int):
            return self.window > 0 and (not self.windowed or (layer + 1) % self.windowed > 0)
        return self.window > 0 and bool(self.windowed[layer])


def decoder_of(gguf: Gguf) -> Decoder:
    """The decoder. Raises InvalidModel for metadata that are missing or impossible, UnsupportedModel for what geoc does
    not build."""
    return _Metadata(gguf).decoder()


class _Metadata:
    def __init__(self, gguf: Gguf) -> None:
        self.gguf = gguf
        self._refuse_parts()
        name = gguf.metadata.get("general.architecture")
        self.arch = name.decode("utf-8", "replace") if isinstance(name, bytes) else ""
        if not self.arch:
            raise self.invalid("general.architecture is missing")
        if self.arch not in FAMILIES:
            known = ", ".join(FAMILIES)
            raise self.unsupported(f"the architecture {self.arch[:40]!r} is not one that geoc builds: {known}")

    def decoder(self) -> Decoder:
        family = FAMILIES[self.arch]
        self._refuse()
        shape = self.gguf.tensors["token_embd.weight"].shape if "token_embd.weight" in self.gguf.tensors else ()
        width, heads = self.size("embedding_length"), self.size("attention.head_count")
        if len(shape) != 2 or shape[1] != width:
            raise self.invalid(f"tensor 'token_embd.weight' is {list(shape)}, the metadata need [..., {width}]")
        kv_heads = self.size("attention.head_count_kv", heads)
        key = self.size("attention.key_length", width // heads)
        value = self.size("attention.value_length", key)
        rope = self._rope(self.size("rope.dimension_count", key)) if family.rope else Rope(0, 1.0)
        largest = max(max(tensor.shape) for tensor in self.gguf.tensors.values())
        if heads % kv_heads or rope.size > key or rope.size % 2 or max(heads * key, kv_heads * value) > largest:
            said = f"{heads} heads of {key} and {value} elements, {rope.size} of them turned, for {kv_heads} of keys"
            raise self.invalid(f"{said}, are not possible here")
        epsilon = "attention.layer_norm_epsilon" if family.norm == "layer" else "attention.layer_norm_rms_epsilon"
        scale = self.number("attention.scale", 0.0) or None
        layers = self.size("block_count")
        if layers == family.largest and scale is None:
            scale = (width / heads) ** -0.5
        local = rope
        if family.has_local:
            local = Rope(rope.size, self.number("rope.freq_base_swa", _LOCAL_BASE))
        return Decoder(
            self.arch, family, layers, width, self.size("feed_forward_length"), heads, kv_heads, key, value,
            rope, local, self.number(epsilon), self.size("context_length"), shape[0],
            self.size("attention.sliding_window", family.window, 0), self._windowed(family.period, layers), scale,
            self.number("attn_logit_softcapping", 0.0), self.number("final_logit_softcapping", 0.0),
        )  # fmt: skip

    def _refuse_parts(self) -> None:
        """Files that hold no whole model."""
        count = self.gguf.metadata.get("split.count", 1)
        if isinstance(count, int) and count > 1:
            raise self.unsupported(f"it is one of {count} parts of a model; llama-gguf-split --merge makes one of them")
        kind = self.gguf.metadata.get("general.type", b"model")
        if isinstance(kind, bytes) and kind != b"model":
            raise self.unsupported(f"it is of the type {kind.decode('utf-8', 'replace')[:40]!r}, not a model")

    def _refuse(self) -> None:
        """What changes the graph and is not built."""
        if self.get("expert_count") not in (None, 0):
            raise self.unsupported("it has experts, of which geoc builds no graph yet")
        if self.gguf.metadata.get(f"{self.arch}.attention.causal") is False:
            raise self.unsupported("its attention is not causal: it is no decoder")
        for key in _NOT_BUILT:
            if self.get(key):
                raise self.unsupported(f"{self.arch}.{key} is not built yet")

    def _windowed(self, period: int, layers: int) -> Array | int:
        """Which layers have a window, where the layers have different ones."""
        found = self.get("attention.sliding_window_pattern")
        if isinstance(found, np.ndarray):
            if len(found) < layers or found.dtype.kind not in "biu":
                raise self.invalid(f"{self.arch}.attention.sliding_window_pattern is not for {layers} layers")
            return found
        return self.size("attention.sliding_window_pattern", period, 0)

    def _rope(self, size: int) -> Rope:
        """RoPE, scaled by one factor, by YaRN, or by factors of the file (Decoder's builder reads those)."""
        kind = self.get("rope.scaling.type")
        name = kind.decode("utf-8", "replace") if isinstance(kind, bytes) else "linear"
        if name not in ("none", "linear", "yarn", "longrope"):
            raise self.unsupported(f"RoPE scaled by {name[:40]!r} is not built yet; linear, yarn and longrope are")
        stretch = self.number("rope.scaling.factor", 0.0) or self.number("rope.scale_linear", 1.0)
        magnitude = self.number("rope.scaling.attn_factor", 1.0)
        context = self.size("rope.scaling.original_context_length", self.size("context_length"))
        yarn = None
        if name == "yarn":
            share = self.number("rope.scaling.yarn_ext_factor", 1.0)
            fast, slow = (self.number(f"rope.scaling.yarn_beta_{k}", v) for k, v in (("fast", 32.0), ("slow", 1.0)))
            yarn = Yarn(context, fast, slow, share)
            magnitude *= self.number("rope.scaling.yarn_attn_factor", 1 + 0.1 * log(max(stretch, 1.0)))
        base = self.number("rope.freq_base", 10000.0)
        return Rope(size, base, 1.0 if name == "none" else stretch, yarn, magnitude, context)

    def get(self, key: str) -> Any:
        return self.gguf.metadata.get(f"{self.arch}.{key}")

    def size(self, key: str, default: int | None = None, least: int = 1) -> int:
        """A number of things; one number for all layers."""
        found = self.get(key)
        if found is None and default is not None:
            return default
        if isinstance(found, np.ndarray) and found.size:
            if (found != found[0]).any():
                raise self.unsupported(f"{self.arch}.{key} differs between layers, which is not built yet")
            found = found[0].item()
        if isinstance(found, bool) or not isinstance(found, int):
            raise self.invalid(f"{self.arch}.{key} is {'missing' if found is None else repr(found)[:40]}")
        if found < least or found >= 1 << 31:
            raise self.invalid(f"{self.arch}.{key} is {found}")
        return found

    def number(self, key: str, default: float | None = None) -> float:
        """A number that is finite and, where no default allows less, above 0."""
        found = self.get(key)
        if found is None and default is not None:
            return default
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not isfinite(found):
            raise self.invalid(f"{self.arch}.{key} is {'missing' if found is None else repr(found)[:40]}")
        if found < 0 or (found == 0 and default != 0):
            raise self.invalid(f"{self.arch}.{key} is {found}")
        return float(found)

    def invalid(self, message: str) -> InvalidModel:
        return InvalidModel(message, source=self.gguf.file.path)

    def unsupported(self, message: str) -> UnsupportedModel:
        return UnsupportedModel(message, source=self.gguf.file.path)
