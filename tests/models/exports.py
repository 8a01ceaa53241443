"""Small architectures, each exported by both PyTorch exporters: `python exports.py DEST [NAME ...]`.

Writes DEST/exports.zip with NAME-ts.onnx (TorchScript exporter, opset 17) and NAME-dynamo.onnx (torch.export, opset
18) for each name. Needs torch 2.13, transformers 4.51, diffusers 0.35 and onnx. The weights are random, seeded, and rounded to few values so that the
archive stays small; what counts is how each exporter spells the architecture.
"""

from __future__ import annotations

import io
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch

warnings.filterwarnings("ignore")
LAYERS, HIDDEN, HEADS, KV_HEADS, VOCAB, POSITIONS = 2, 32, 4, 2, 48, 64
HEAD = HIDDEN // HEADS
SEQ = {0: "batch", 1: "seq"}
Sample = tuple[list[Any], list[tuple[str, dict[int, str]]], list[tuple[str, dict[int, str]]]]
"""Arguments, and inputs and outputs with their dynamic axes; a list among the arguments is several inputs."""

EXPORTS: dict[str, Callable[[], tuple[torch.nn.Module, Callable[..., Any], Sample]]] = {}


OPSETS: dict[str, dict[str, int]] = {}


def export(name: str, **opsets: int) -> Callable[[Any], Any]:
    """Register an architecture; `opsets` names the exporters and opsets where they are not the usual ones."""

    def register(make: Any) -> Any:
        EXPORTS[name] = make
        OPSETS[name] = opsets or {"ts": 17, "dynamo": 18}
        return make

    return register


class Wrapped(torch.nn.Module):
    """A model whose forward is a plain function of tensors."""

    def __init__(self, model: torch.nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self.call = call


def tokens(batch: int, length: int) -> torch.Tensor:
    return torch.randint(2, VOCAB, (batch, length), generator=torch.Generator().manual_seed(0))


def common(**more: Any) -> dict[str, Any]:
    return {
        "num_hidden_layers": LAYERS,
        "hidden_size": HIDDEN,
        "num_attention_heads": HEADS,
        "intermediate_size": 2 * HIDDEN,
        "vocab_size": VOCAB,
        "max_position_embeddings": POSITIONS,
        **more,
    }


# Encoders


def encoder(model: torch.nn.Module, types: bool = False) -> Any:
    if types:

        def call(m: Any, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return m(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]
    else:

        def call(m: Any, input_ids: Any, attention_mask: Any) -> Any:
            return m(input_ids=input_ids, attention_mask=attention_mask)[0]

    names = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]
    mask = torch.ones(2, 8, dtype=torch.long)
    args = [tokens(2, 8), mask, *([torch.zeros(2, 8, dtype=torch.long)] if types else [])]
    return model, call, (args, [(n, SEQ) for n in names], [("hidden", SEQ)])


def bert(attention: str) -> Any:
    from transformers import BertConfig, BertModel

    return encoder(BertModel(BertConfig(**common(), attn_implementation=attention)), types=True)


export("bert")(lambda: bert("sdpa"))
export("bert-eager")(lambda: bert("eager"))
export("bert-op14", ts=14)(lambda: bert("eager"))
export("bert-op20", ts=20, dynamo=20)(lambda: bert("sdpa"))
export("bert-op23", dynamo=23)(lambda: bert("sdpa"))


@export("distilbert")
def _distilbert() -> Any:
    from transformers import DistilBertConfig, DistilBertModel

    config = DistilBertConfig(
        dim=HIDDEN, n_layers=LAYERS, n_heads=HEADS, hidden_dim=64, vocab_size=VOCAB,
        max_position_embeddings=POSITIONS, attn_implementation="sdpa",
    )  # fmt: skip
    return encoder(DistilBertModel(config))


def t5_config() -> Any:
    from transformers import T5Config

    return T5Config(
        d_model=HIDDEN, d_kv=HEAD, d_ff=64, num_layers=LAYERS, num_heads=HEADS, vocab_size=VOCAB,
        feed_forward_proj="gated-gelu", use_cache=False,
    )  # fmt: skip


@export("t5-encoder")
def _t5() -> Any:
    from transformers import T5EncoderModel

    return encoder(T5EncoderModel(t5_config()))


@export("t5-both")
def _t5_both() -> Any:
    from transformers import T5Model

    def call(m: Any, input_ids: Any, attention_mask: Any, decoder_input_ids: Any) -> Any:
        return m(input_ids=input_ids, attention_mask=attention_mask, decoder_input_ids=decoder_input_ids)[0]

    axes = {0: "batch", 1: "target"}
    args = [tokens(2, 8), torch.ones(2, 8, dtype=torch.long), tokens(2, 5)]
    inputs = [("input_ids", SEQ), ("attention_mask", SEQ), ("decoder_input_ids", axes)]
    return T5Model(t5_config()), call, (args, inputs, [("hidden", axes)])


@export("bart")
def _bart() -> Any:
    from transformers import BartConfig, BartModel

    config = BartConfig(
        vocab_size=VOCAB, d_model=HIDDEN, encoder_layers=LAYERS, decoder_layers=LAYERS, encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=POSITIONS,
        attn_implementation="sdpa", use_cache=False,
    )  # fmt: skip

    def call(m: Any, input_ids: Any, attention_mask: Any, decoder_input_ids: Any) -> Any:
        return m(input_ids=input_ids, attention_mask=attention_mask, decoder_input_ids=decoder_input_ids)[0]

    axes = {0: "batch", 1: "target"}
    args = [tokens(2, 8), torch.ones(2, 8, dtype=torch.long), tokens(2, 5)]
    inputs = [("input_ids", SEQ), ("attention_mask", SEQ), ("decoder_input_ids", axes)]
    return BartModel(config), call, (args, inputs, [("hidden", axes)])


@export("whisper-encoder")
def _whisper() -> Any:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(
        d_model=HIDDEN, encoder_layers=LAYERS, encoder_attention_heads=HEADS, encoder_ffn_dim=64, num_mel_bins=8,
        max_source_positions=16, attn_implementation="sdpa",
    )  # fmt: skip
    args = [torch.randn(2, 8, 32)]
    return (
        WhisperEncoder(config),
        lambda m, x: m(x)[0],
        (args, [("features", {0: "batch"})], [("hidden", {0: "batch"})]),
    )


# Decoders


def decoder(model: torch.nn.Module, past: bool = False, kv_heads: int = KV_HEADS, head: int = HEAD) -> Any:
    if not past:

        def plain(m: Any, input_ids: Any, attention_mask: Any) -> Any:
            return m(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)[0]

        args = [tokens(2, 8), torch.ones(2, 8, dtype=torch.long)]
        return model, plain, (args, [("input_ids", SEQ), ("attention_mask", SEQ)], [("logits", SEQ)])

    from transformers import DynamicCache

    def call(m: Any, input_ids: Any, attention_mask: Any, position_ids: Any, past: Any) -> Any:
        pairs = tuple((past[2 * i], past[2 * i + 1]) for i in range(LAYERS))
        found = m(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids,
            past_key_values=DynamicCache.from_legacy_cache(pairs), use_cache=True,
        )  # fmt: skip
        present = found.past_key_values
        if not isinstance(present, tuple):
            present = present.to_legacy_cache()
        return (found[0], *(t for pair in present for t in pair))

    batch, new, old = 2, 3, 5
    positions = torch.arange(old, old + new)[None].expand(batch, new).contiguous()
    cache = [torch.randn(batch, kv_heads, old, head) for _ in range(2 * LAYERS)]
    args = [tokens(batch, new), torch.ones(batch, old + new, dtype=torch.long), positions, cache]
    inputs = [("input_ids", SEQ), ("attention_mask", {0: "batch", 1: "total"}), ("position_ids", SEQ)]
    outputs = [("logits", SEQ)]
    for i in range(LAYERS):
        for kind in ("key", "value"):
            inputs.append((f"past.{i}.{kind}", {0: "batch", 2: "past"}))
            outputs.append((f"present.{i}.{kind}", {0: "batch", 2: "total"}))
    return model, call, (args, inputs, outputs)


def causal(name: str, **more: Any) -> torch.nn.Module:
    import transformers

    config = getattr(transformers, f"{name}Config")(**common(**{"attn_implementation": "sdpa", **more}))
    found: torch.nn.Module = getattr(transformers, f"{name}ForCausalLM")(config)
    return found


def gpt2() -> torch.nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            n_layer=LAYERS, n_embd=HIDDEN, n_head=HEADS, vocab_size=VOCAB, n_positions=POSITIONS, attn_implementation="sdpa"
        )
    )


export("gpt2")(lambda: decoder(gpt2()))
export("gpt2-past")(lambda: decoder(gpt2(), past=True, kv_heads=HEADS))
export("llama")(lambda: decoder(causal("Llama", num_key_value_heads=KV_HEADS)))
export("llama-past")(lambda: decoder(causal("Llama", num_key_value_heads=KV_HEADS), past=True))
export("llama-eager")(lambda: decoder(causal("Llama", num_key_value_heads=KV_HEADS, attn_implementation="eager")))
export("qwen2")(lambda: decoder(causal("Qwen2", num_key_value_heads=KV_HEADS)))
export("mistral-window")(lambda: decoder(causal("Mistral", num_key_value_heads=KV_HEADS, head_dim=HEAD, sliding_window=4)))
export("phi")(lambda: decoder(causal("Phi", partial_rotary_factor=0.5)))
export("gpt-neox")(lambda: decoder(causal("GPTNeoX", rotary_pct=0.5)))
export("gemma2")(
    lambda: decoder(
        causal("Gemma2", num_key_value_heads=KV_HEADS, head_dim=HEAD, query_pre_attn_scalar=HEAD, attn_implementation="eager")
    )
)


@export("gptj")
def _gptj() -> Any:
    from transformers import GPTJConfig, GPTJForCausalLM

    return decoder(
        GPTJForCausalLM(
            GPTJConfig(n_layer=LAYERS, n_embd=HIDDEN, n_head=HEADS, rotary_dim=4, vocab_size=VOCAB, n_positions=POSITIONS)
        )
    )


@export("opt")
def _opt() -> Any:
    from transformers import OPTConfig, OPTForCausalLM

    return decoder(
        OPTForCausalLM(
            OPTConfig(
                hidden_size=HIDDEN, num_hidden_layers=LAYERS, ffn_dim=64, num_attention_heads=HEADS, vocab_size=VOCAB,
                max_position_embeddings=POSITIONS, word_embed_proj_dim=HIDDEN, attn_implementation="sdpa",
            )
        )
    )  # fmt: skip


# Images


def images(model: torch.nn.Module, size: int) -> Any:
    args = [torch.randn(2, 3, size, size)]
    return (
        model,
        lambda m, x: m(x)[0],
        (args, [("pixels", {0: "batch"})], [("out", {0: "batch"})]),
    )


@export("vit")
def _vit() -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    more = {"image_size": 16, "patch_size": 4, "num_labels": 5}
    config = {k: v for k, v in common(**more).items() if k not in ("vocab_size", "max_position_embeddings")}
    return images(ViTForImageClassification(ViTConfig(**config)), 16)


@export("swin")
def _swin() -> Any:
    from transformers import SwinConfig, SwinModel

    config = SwinConfig(
        image_size=16, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 4], window_size=4, mlp_ratio=2.0
    )
    return images(SwinModel(config, add_pooling_layer=False), 16)


@export("clip")
def _clip() -> Any:
    from transformers import CLIPConfig, CLIPModel

    text = common(attn_implementation="sdpa", eos_token_id=VOCAB - 1)
    vision = {k: v for k, v in common(image_size=16, patch_size=4).items() if k != "vocab_size"}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)

    def call(m: Any, input_ids: Any, attention_mask: Any, pixels: Any) -> Any:
        found = m(input_ids=input_ids, attention_mask=attention_mask, pixel_values=pixels)
        return found.text_embeds, found.image_embeds

    args = [tokens(2, 8), torch.ones(2, 8, dtype=torch.long), torch.randn(2, 3, 16, 16)]
    inputs = [("input_ids", SEQ), ("attention_mask", SEQ), ("pixels", {0: "batch"})]
    return CLIPModel(config), call, (args, inputs, [("text", {0: "batch"}), ("image", {0: "batch"})])


@export("unet")
def _unet() -> Any:
    from diffusers import UNet2DConditionModel

    model = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16, attention_head_dim=4, norm_num_groups=8,
    )  # fmt: skip

    def call(m: Any, sample: Any, timestep: Any, context: Any) -> Any:
        return m(sample, timestep, context).sample

    args = [torch.randn(2, 4, 8, 8), torch.tensor([10, 500]), torch.randn(2, 6, 16)]
    inputs = [("sample", {0: "batch"}), ("timestep", {0: "batch"}), ("context", {0: "batch", 1: "words"})]
    return model, call, (args, inputs, [("out", {0: "batch"})])


# Writing


def round_weights(model: torch.nn.Module) -> torch.nn.Module:
    """Few different values, none of which a clean-up could take for nothing."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randint(-3, 4, parameter.shape, generator=generator)
            parameter.copy_((parameter * 16).round().clamp(-16, 16) / 16 + noise / 16)
    return model.eval()


def write(name: str, exporter: str) -> bytes:
    torch.manual_seed(0)
    model, call, (args, inputs, outputs) = EXPORTS[name]()
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False

    class Named(Wrapped):
        pass

    parameters = [f"x{i}" for i in range(len(args))]
    signature = ", ".join(parameters)
    scope: dict[str, Any] = {"call": call}
    exec(f"def forward(self, {signature}): return call(self.model, {signature})", scope)
    Named.forward = scope["forward"]
    module = Named(round_weights(model), call).eval()
    names, out_names = [n for n, _ in inputs], [n for n, _ in outputs]
    buffer = io.BytesIO()
    with torch.no_grad():
        if exporter == "ts":
            torch.onnx.export(
                module, tuple(args), buffer, input_names=names, output_names=out_names, opset_version=OPSETS[name]["ts"],
                dynamic_axes={n: a for n, a in (*inputs, *outputs) if a}, dynamo=False,
            )  # fmt: skip
            proto = onnx.load_from_string(buffer.getvalue())
        else:
            queue = [axes for _, axes in inputs]
            shapes = [[queue.pop(0) for _ in arg] if isinstance(arg, list) else queue.pop(0) for arg in args]
            program = torch.onnx.export(
                module, tuple(args), input_names=names, output_names=out_names, opset_version=OPSETS[name]["dynamo"],
                dynamic_shapes=shapes, dynamo=True, verbose=False,
            )  # fmt: skip
            proto = program.model_proto
    for node in proto.graph.node:
        del node.metadata_props[:]
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    del proto.graph.metadata_props[:], proto.metadata_props[:]
    return proto.SerializeToString()


def main(dest: Path, names: list[str]) -> None:
    path = dest / "exports.zip"
    kept: dict[str, bytes] = {}
    if path.exists():
        with zipfile.ZipFile(path) as old:
            kept = {n: old.read(n) for n in old.namelist()}
    for name in names or EXPORTS:
        for exporter in OPSETS[name]:
            try:
                kept[f"{name}-{exporter}.onnx"] = write(name, exporter)
                print(f"{name}-{exporter}: {len(kept[f'{name}-{exporter}.onnx'])} bytes", flush=True)
            except Exception as error:  # an exporter that cannot is part of the answer
                print(f"{name}-{exporter}: {type(error).__name__}: {str(error)[:300]}", flush=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
        for file_name in sorted(kept):
            new.writestr(zipfile.ZipInfo(file_name, (1980, 1, 1, 0, 0, 0)), kept[file_name], zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
