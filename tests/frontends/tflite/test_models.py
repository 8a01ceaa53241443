"""The models of mediapipe 0.10.14 and pymicro-wakeword 2.5.0 against numbers that LiteRT 2.3 gave for the same inputs.

`recorded.json` has, for each output, six numbers at even distances and the largest; of wake words those of twenty runs
one after the other, and of each variable 24 numbers after the last. The convolution with a bias that MediaPipe brings
itself was a builtin transposed convolution with a bias there; the model with crops around landmarks, which LiteRT cannot
run, was run by MediaPipe on an image of 8 bits.
Models are looked for in $GEOC_MODELS (default ~/.cache/geoc-models) as mp-NAME.tflite, and where those packages are
installed or unpacked ($GEOC_TFLITE_MODELS).
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import geoc
from geoc.lowering.onnx import model_bytes

MODELS = Path(os.environ.get("GEOC_MODELS", Path.home() / ".cache/geoc-models"))
RECORDED: dict[str, dict[str, list[float]]] = json.loads((Path(__file__).parent / "recorded.json").read_text())
CACHED = {"face_detection_short_range": "mp-face-detection", "selfie_segmentation": "mp-selfie-segmentation"}
# Transposes that -O2 leaves: of the image, and of each result that is flattened or returned channels last. Wake words
# keep their states channels first.
TRANSPOSES = {
    "face_detection_full_range_sparse": 2, "face_detection_short_range": 5, "face_landmark": 3, "hand_landmark_full": 1,
    "face_landmark_with_attention": 3, "hand_landmark_lite": 1, "hand_recrop": 2, "iris_landmark": 1, "palm_detection_full": 5, "palm_detection_lite": 5,
    "pose_detection": 7, "pose_landmark_full": 4, "selfie_segmentation": 2, "selfie_segmentation_landscape": 2,
    "alexa": 2, "hey_jarvis": 2, "hey_mycroft": 2, "okay_nabu": 2,
}  # fmt: skip


# Radians from one number of the input to the next: slow ones for networks that see people in slow waves alone.
WAVES = {"selfie_segmentation": 0.001, "selfie_segmentation_landscape": 0.001}
PIXELS = {"face_landmark_with_attention"}


def _find(name: str) -> Path:
    folders = [Path(os.environ["GEOC_TFLITE_MODELS"])] if "GEOC_TFLITE_MODELS" in os.environ else []
    for package in ("mediapipe", "pymicro_wakeword"):
        spec = importlib.util.find_spec(package)
        folders += [Path(p) for p in (spec.submodule_search_locations or [] if spec is not None else [])]
    found = [path for folder in folders for path in folder.rglob(f"{name}.tflite")]
    found.append(MODELS / f"{CACHED.get(name, name)}.tflite")
    if not found[0].exists():
        pytest.skip(f"no {name}.tflite")
    return found[0]


def _even(flat: Any, count: int) -> list[float]:
    """Numbers at even distances, the first and the last among them."""
    found: list[float] = flat[np.linspace(0, flat.size - 1, min(flat.size, count)).astype(int)].tolist()
    return found


@pytest.mark.parametrize("name", RECORDED)
def test_outputs_are_those_of_litert_and_transposes_are_at_the_edges(name: str) -> None:
    model = geoc.load(_find(name))
    moved = {f"{i.hint}_next" for i in model.graph.inputs if [u.op and u.op.name for u in i.users] == ["Transpose"]}
    geoc.optimize(model)
    assert [node.op.name for node in model.walk()].count("Transpose") == TRANSPOSES[name]
    states = [json.loads(text) for key, text in model.metadata.items() if key.startswith("state ")]
    session = onnxruntime.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
    kinds = {"tensor(float)": np.float32, "tensor(int8)": np.int8}
    inputs = {i.name: np.empty(i.shape, kinds[i.type]) for i in session.get_inputs()}
    for state in states:
        inputs[state["input"]][...] = state["initial"]
    image = next(i for i in inputs if all(i != state["input"] for state in states))
    kept = {state["output"] for state in states}
    found: dict[str, list[float]] = {output: [] for output in RECORDED[name]}
    for step in range(20 if states else 1):
        wave = 0.5 + 0.5 * np.sin(WAVES.get(name, 0.37) * np.arange(inputs[image].size) + 0.3 * step)
        wave = np.round(wave * 255) / 255 if name in PIXELS else wave
        wave = np.round(wave * 255 - 128) if inputs[image].dtype == np.int8 else wave
        inputs[image] = wave.astype(inputs[image].dtype).reshape(inputs[image].shape)
        outputs: dict[str, Any] = dict(zip((o.name for o in session.get_outputs()), session.run(None, inputs)))
        for state in states:
            inputs[state["input"]] = outputs[state["output"]]
        for output, numbers in found.items():
            flat = outputs[output].reshape(-1)
            if output in kept & moved:  # LiteRT keeps them channels last
                flat = outputs[output].transpose(0, 2, 3, 1).reshape(-1)
            if output not in kept:
                numbers += [*_even(flat, 6), float(flat.max())]
            elif step == 19:
                numbers += _even(flat, 24)
    for output, numbers in found.items():
        expected = np.array(RECORDED[name][output])
        # One step of codes; 1e-4 of the largest number: LiteRT's two sets of kernels differ by that much themselves.
        within = 1.0 if states else 1e-4 * max(1.0, float(np.abs(expected).max()))
        assert np.abs(np.array(numbers) - expected).max() <= within, output
