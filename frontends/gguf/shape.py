"""What a GGUF file's metadata say of the decoder in it, checked: `decoder_of(gguf)`."""

from __future__ import annotations

from math import isfinite
from typing import Any, NamedTuple

from ...ir.errors import InvalidModel, UnsupportedModel
from .reader import Gguf

PAIRS, HALVES = "pairs", "halves"


class Family(NamedTuple):
    """How an architecture differs from the others.

    `rope`: which elements of a head turn together, neighbours (`PAIRS`), those of two halves (`HALVES`) or none ("", as
    positions have vectors of their own). `norm`: "rms" or "layer". `act`: "silu" or "gelu", which is the approximation by
    tanh everywhere. `is_gated`: the activation is multiplied with a second projection. `is_parallel`: attention and MLP
    read the same norm and are added up. `is_scaled`: embeddings are multiplied with the root of their size. `period`: each
    of so many layers but the last has a window, where the metadata give one.
    """

    rope: str = HALVES
    norm: str = "rms"
    act: str = "silu"
    is_gated: bool = True
    is_parallel: bool = False
    is_scaled: bool = False
    period: int = 0


FAMILIES = {
    "llama": Family(rope=PAIRS),
    "qwen2": Family(),
    "qwen3": Family(),
    "gemma": Family(act="gelu", is_scaled=True),
    "gemma2": Family(act="gelu", is_scaled=True, period=2),
    "phi2": Family(norm="layer", act="gelu", is_gated=False, is_parallel=True),
    "phi3": Family(),
    "gpt2": Family(rope="", norm="layer", act="gelu", is_gated=False),
}
_LARGEST_GEMMA2 = 46  # layers of the one whose queries are scaled by the width of a head as the model has it


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
    turned: int  # elements of a head that positions turn
    base: float
    stretch: float  # what positions are divided by
    epsilon: float
    context: int
    vocabulary: int
    window: int
    scale: float | None
    cap: float
    last_cap: float


def decoder_of(gguf: Gguf) -> Decoder:
    """The decoder. Raises InvalidModel for metadata that are missing or impossible, UnsupportedModel for what geoc does
    not build."""
    return _Metadata(gguf).decoder()


class _Metadata:
    def __init__(self, gguf: Gguf) -> None:
        self.gguf = gguf
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
        turned = self.size("rope.dimension_count", key) if family.rope else 0
        largest = max(max(tensor.shape) for tensor in self.gguf.tensors.values())
        if heads % kv_heads or turned > key or turned % 2 or max(heads * key, kv_heads * value) > largest:
            said = f"{heads} heads of {key} and {value} elements, {turned} of them turned, for {kv_heads} of keys"
            raise self.invalid(f"{said}, are not possible here")
        epsilon = "attention.layer_norm_epsilon" if family.norm == "layer" else "attention.layer_norm_rms_epsilon"
        scale = self.number("attention.scale", 0.0) or None
        layers = self.size("block_count")
        if self.arch == "gemma2" and layers == _LARGEST_GEMMA2 and scale is None:
            scale = (width / heads) ** -0.5
        return Decoder(
            self.arch, family, layers, width, self.size("feed_forward_length"), heads, kv_heads, key, value,
            turned, self.number("rope.freq_base", 10000.0), self._stretch(), self.number(epsilon),
            self.size("context_length"), shape[0], self.size("attention.sliding_window", 0), scale,
            self.number("attn_logit_softcapping", 0.0), self.number("final_logit_softcapping", 0.0),
        )  # fmt: skip

    def _refuse(self) -> None:
        """What changes the graph and is not built."""
        if self.get("expert_count") not in (None, 0):
            raise self.unsupported("it has experts, of which geoc builds no graph yet")
        if self.get("attention.causal") is False:
            raise self.unsupported("its attention is not causal: it is no decoder")
        for key in ("attention.max_alibi_bias", "attention.clamp_kqv", "logit_scale", "embedding_scale", "residual_scale"):
            if self.get(key):
                raise self.unsupported(f"{self.arch}.{key} is not built yet")

    def _stretch(self) -> float:
        kind = self.get("rope.scaling.type")
        name = kind.decode("utf-8", "replace") if isinstance(kind, bytes) else "linear"
        if name not in ("none", "linear"):
            raise self.unsupported(f"RoPE scaled by {name[:40]!r} is not built yet; linear is")
        factor = self.number("rope.scaling.factor", 0.0) or self.number("rope.scale_linear", 1.0)
        return 1.0 if name == "none" else factor

    def get(self, key: str) -> Any:
        return self.gguf.metadata.get(f"{self.arch}.{key}")

    def size(self, key: str, default: int | None = None) -> int:
        """A number of things, above 0 where no default allows less; one number for all layers."""
        found = self.get(key)
        if found is None and default is not None:
            return default
        if not isinstance(found, (int, bool)) and getattr(found, "size", 0) and (found == found[0]).all():
            found = found[0].item()
        if isinstance(found, bool) or not isinstance(found, int):
            if hasattr(found, "size"):
                raise self.unsupported(f"{self.arch}.{key} differs between layers, which is not built yet")
            raise self.invalid(f"{self.arch}.{key} is {'missing' if found is None else repr(found)[:40]}")
        if found < (1 if default != 0 else 0) or found >= 1 << 31:
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
