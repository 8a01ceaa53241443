"""Full-size models: the same counts of fused operators from both exporters, one for each layer that the model has.

Models come from $GEOC_MODELS or ~/.cache/geoc-models, where they are; tests of the others are skipped. GEOC_TEST_ALL=1 runs those
over 200 MB as well.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .test_exports import counts, optimized_model

FOLDER = Path(os.environ.get("GEOC_MODELS", Path.home() / ".cache/geoc-models"))
LIMIT = 200_000_000
# attention, norm, activation, rotary; products are compared between the two files of a model.
COUNTS = {
    "bert-4l": (4, 9, 4, 0),
    "bert-4l-eager": (4, 9, 4, 0),
    "bert-4l-op14": (4, 9, 4, 0),
    "bert-4l-op20": (4, 9, 4, 0),
    "bert-4l-op23": (4, 9, 4, 0),
    "bert-4l-static": (4, 9, 4, 0),
    "bert-base": (12, 25, 12, 0),
    "all-minilm-l6-v2-real": (6, 13, 6, 0),
    "distilbert": (6, 13, 7, 0),
    "t5-small-encoder": (6, 13, 6, 0),
    "whisper-tiny-encoder": (4, 9, 6, 0),
    "gpt2-4l": (4, 9, 4, 0),
    "gpt2-small": (12, 25, 12, 0),
    "gpt2-small-past": (12, 25, 12, 0),
    "llama-4l": (4, 9, 4, 8),
    "llama-4l-past": (4, 9, 4, 8),
    "smollm2-135m-real": (30, 61, 30, 60),
    "smollm2-135m-past-real": (30, 61, 30, 60),
    "vit-small": (12, 25, 12, 0),
    "vit-base": (12, 25, 12, 0),
    "sd-unet-small": (22, 79, 48, 0),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    paths = [path for exporter in ("ts", "dynamo") if (path := FOLDER / f"{name}-{exporter}.onnx").exists()]
    if not paths:
        pytest.skip("the model is not here")
    size = max(path.stat().st_size for path in paths)
    if size > LIMIT and os.environ.get("GEOC_TEST_ALL") != "1":
        pytest.skip(f"{size / 1e6:.0f} MB; GEOC_TEST_ALL=1 runs it")
    found = [counts(optimized_model(str(path))) for path in paths]
    assert [each[:-1] for each in found] == [COUNTS[name]] * len(found)
    assert len({each[-1] for each in found}) == 1, f"products: {[each[-1] for each in found]}"
