"""Folders by task, with values against transformers at other sizes than those of the export."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

import onnxruntime as ort  # noqa: E402

import geoc  # noqa: E402
from geoc.ir.errors import FormatError, UnsupportedModel, UsageError  # noqa: E402
from geoc.tools.cli import main  # noqa: E402
from geoc.tools.files import files_of  # noqa: E402

from .folders import HEADS, HIDDEN, LAYERS, VOCAB, made  # noqa: E402

ENCODERS = {
    "BertModel": (["last_hidden_state", "pooler_output"], True),
    "BertForMaskedLM": (["logits"], True),
    "RobertaForSequenceClassification": (["logits"], True),
    "BertForTokenClassification": (["logits"], True),
    "BertForQuestionAnswering": (["start_logits", "end_logits"], True),
    "T5EncoderModel": (["last_hidden_state"], False),
}


def session(folder: Path, to: Path) -> Any:
    geoc.save(geoc.load(folder), to)
    return ort.InferenceSession(to)


def close(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", sorted(ENCODERS))
def test_encoders(architecture: str, tmp_path: Path) -> None:
    model = made(architecture, tmp_path)
    names, has_types = ENCODERS[architecture]
    found = session(tmp_path, tmp_path / "m.onnx")
    ids = torch.randint(2, VOCAB, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    feeds = {"input_ids": ids, "attention_mask": mask}
    if has_types:
        feeds["token_type_ids"] = ids % 2
    assert [each.name for each in found.get_inputs()] == list(feeds)
    assert [each.name for each in found.get_outputs()] == names
    assert found.get_inputs()[0].shape == ["batch", "seq"]
    with torch.no_grad():
        expected = model(**feeds)
    close(found.run(None, {name: value.numpy() for name, value in feeds.items()}), [expected[name] for name in names])


@pytest.mark.parametrize("architecture", ["ViTForImageClassification", "ViTModel"])
def test_images(architecture: str, tmp_path: Path) -> None:
    model = made(architecture, tmp_path)
    found = session(tmp_path, tmp_path / "m.onnx")
    assert found.get_inputs()[0].shape == ["batch", 3, 32, 32]
    pixels = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = model(pixels)
    close(found.run(None, {"pixel_values": pixels.numpy()}), list(expected.to_tuple()))


def test_the_size_of_images_is_that_of_the_preprocessor(tmp_path: Path) -> None:
    model = made("ResNetForImageClassification", tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": {"shortest_edge": 48}}))
    found = session(tmp_path, tmp_path / "m.onnx")
    assert found.get_inputs()[0].shape == ["batch", 3, 48, 48]
    pixels = torch.randn(3, 3, 48, 48)
    with torch.no_grad():
        close(found.run(None, {"pixel_values": pixels.numpy()}), [model(pixels).logits])
    for damaged in ('{"size": ', '{"size": {"height": "x"}}', '{"crop_size": 1000000000000}'):
        (tmp_path / "preprocessor_config.json").write_text(damaged)
        with pytest.raises(FormatError, match="preprocessor_config"):
            geoc.load(tmp_path)


@pytest.mark.parametrize(
    ("architecture", "axes", "size"),
    [("Wav2Vec2ForCTC", ["batch", "samples"], (3, 9999)), ("ASTForAudioClassification", ["batch", 32, 16], (3, 32, 16))],
)
def test_sound(architecture: str, axes: list[Any], size: tuple[int, ...], tmp_path: Path) -> None:
    model = made(architecture, tmp_path)
    found = session(tmp_path, tmp_path / "m.onnx")
    assert [(each.name, each.shape) for each in found.get_inputs()] == [("input_values", axes)]
    sound = torch.randn(size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        close(found.run(None, {"input_values": sound.numpy()}), [model(sound).logits])


def test_text_and_images(tmp_path: Path) -> None:
    """Other numbers of texts than of images, as a score for each pair is what such a model is for."""
    model = made("CLIPModel", tmp_path)
    found = session(tmp_path, tmp_path / "m.onnx")
    ids, pixels = torch.arange(2, 2 + 3 * 7).reshape(3, 7), torch.randn(2, 3, 32, 32)
    feeds = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}
    assert [(each.name, each.shape[0]) for each in found.get_inputs()] == [
        ("input_ids", "texts"), ("attention_mask", "texts"), ("pixel_values", "images"),
    ]  # fmt: skip
    names = [each.name for each in found.get_outputs()]
    assert names[:2] == ["logits_per_image", "logits_per_text"]
    with torch.no_grad():
        expected = model(**feeds)
    close(found.run(None, {name: value.numpy() for name, value in feeds.items()}), [expected[name] for name in names])


@pytest.mark.parametrize(
    "architecture", ["GPT2LMHeadModel", "LlamaForCausalLM", "Qwen2ForCausalLM", "MistralForCausalLM"]
)
def test_decoders_step_by_step(architecture: str, tmp_path: Path) -> None:
    """A prompt without a past and two tokens after it give the logits that all of it at once gives."""
    model = made(architecture, tmp_path)
    kv = HEADS if architecture.startswith("GPT2") else 2
    geoc.compile(tmp_path, tmp_path / "m.onnx")
    found = ort.InferenceSession(tmp_path / "m.onnx")
    layers = [f"{n}.{kind}" for n in range(LAYERS) for kind in ("key", "value")]
    assert [each.name for each in found.get_inputs()][:3] == ["input_ids", "attention_mask", "position_ids"]
    assert [each.name for each in found.get_inputs()][3:] == [f"past_key_values.{name}" for name in layers]
    assert [each.name for each in found.get_outputs()] == ["logits", *(f"present.{name}" for name in layers)]
    assert found.get_inputs()[3].shape == ["batch", kv, "past", HIDDEN // HEADS]
    ids = torch.randint(2, VOCAB, (2, 7), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(ids).logits
    past = {f"past_key_values.{name}": np.zeros((2, kv, 0, HIDDEN // HEADS), np.float32) for name in layers}
    logits = []
    for begin, end in ((0, 5), (5, 6), (6, 7)):
        step = {
            "input_ids": ids[:, begin:end].numpy(),
            "attention_mask": np.ones((2, end), np.int64),
            "position_ids": np.tile(np.arange(begin, end), (2, 1)),
        }
        answer = found.run(None, {**step, **past})
        logits.append(answer[0])
        past = {f"past_key_values.{name}": value for name, value in zip(layers, answer[1:])}
    close([np.concatenate(logits, 1)], [expected])


def test_one_command(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model-1.5"
    made("BertModel", folder, pickled=True)
    capfd.readouterr()
    monkeypatch.chdir(folder)
    assert main([f"{folder}/", "-O2", "--report", str(tmp_path / "r.json")]) == 0
    out, err = capfd.readouterr()
    assert "CHECKED" in out and "Warning" not in out + err
    assert (tmp_path / "model-1.5.geoc.onnx").exists()
    report = json.loads((tmp_path / "r.json").read_text())
    named = {Path(each["file"]).name for each in report["provenance"]["sources"]}
    assert named == {"config.json", "pytorch_model.bin"}
    assert main([".", "-O0", "-q"]) == 0 and not list(folder.glob("*.onnx"))


def test_weights_in_parts(tmp_path: Path) -> None:
    model = made("BertModel", tmp_path, max_shard_size="30KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = geoc.load(tmp_path)
    assert len(files_of(tmp_path, loaded)) == len(list(tmp_path.glob("model*"))) + 1
    ids = torch.arange(2, 8)[None]
    geoc.save(loaded, tmp_path / "m.onnx")
    feeds = {"input_ids": ids.numpy(), "attention_mask": np.ones((1, 6), np.int64), "token_type_ids": np.zeros((1, 6), np.int64)}
    with torch.no_grad():
        close(ort.InferenceSession(tmp_path / "m.onnx").run(None, feeds), list(model(ids).to_tuple()))


def test_a_pooler_that_was_not_trained_is_left_out(tmp_path: Path) -> None:
    made("BertForMaskedLM", tmp_path)  # its encoder has none
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    assert geoc.load(tmp_path).graph.output_names == ["last_hidden_state"]


def test_weights_that_are_missing_are_an_error(tmp_path: Path) -> None:
    made("BertModel", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    with pytest.raises(FormatError, match="weights are not there, 'cls"):
        geoc.load(tmp_path)


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made("T5ForConditionalGeneration", tmp_path / "t5")
    with pytest.raises(UnsupportedModel, match="two graphs"):
        geoc.load(tmp_path / "t5")
    made("BertModel", tmp_path / "bert")
    config = json.loads((tmp_path / "bert/config.json").read_text())

    def refused(kind: type[Exception], said: str, **changes: Any) -> None:
        (tmp_path / "bert/config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(kind, match=said) as error:
            geoc.load(tmp_path / "bert")
        assert "\n" not in str(error.value) and str(tmp_path / "bert") in str(error.value)

    own = {"AutoModel": "modeling.OwnModel"}
    (tmp_path / "bert/modeling.py").write_text("raise SystemExit('run')")
    refused(UnsupportedModel, "OwnModel: .* trust_remote_code is off", architectures=["OwnModel"], auto_map=own)
    refused(UnsupportedModel, "OwnModel: transformers .* does not know", architectures=["OwnModel"])
    refused(UnsupportedModel, "no known form", architectures=["BertForMultipleChoice"])
    refused(UnsupportedModel, "quantized", quantization_config={"quant_method": "gptq"})
    refused(UnsupportedModel, "no known form", architectures=["pipeline"])
    (tmp_path / "bert/adapter_config.json").write_text("{}")
    refused(UnsupportedModel, "an adapter of another model")
    (tmp_path / "bert/adapter_config.json").unlink()
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused(UsageError, r"needs transformers: pip install 'geoc\[huggingface\]'")
