"""All clean-up passes over the models in tests/models, and each alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoc.frontends.onnx import load_onnx
from geoc.passes.base import Context, Pass
from geoc.passes.clean.constant_if import ConstantIf
from geoc.passes.clean.constant_loop import ConstantLoop
from geoc.passes.clean.cse import Cse
from geoc.passes.clean.dce import Dce
from geoc.passes.clean.fold import Fold
from geoc.passes.clean.hoist import Hoist
from geoc.passes.clean.infer import Infer
from geoc.passes.clean.share_weights import ShareWeights

MODELS = sorted((Path(__file__).parents[2] / "models").glob("*.onnx"))
PASSES: Sequence[Pass] = (
    Fold(), ConstantIf(), ConstantLoop(), Cse(), Dce(), ShareWeights(), Hoist(),
)  # fmt: skip


def feeds_for(model: Any) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    feeds = {}
    for name, value in zip(model.graph.input_names, model.graph.inputs):
        shape = [d if isinstance(d, int) else 2 for d in value.shape]
        feeds[name] = rng.random(shape).astype(value.dtype.numpy)
    return feeds


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_together_they_change_nothing_that_can_be_seen(path: Path, run: Any) -> None:
    model = load_onnx(str(path))
    Infer().run(model, Context())
    feeds = feeds_for(model)
    before, size = run(model, feeds), model.node_count
    for _ in range(3):
        changes = [step.run(model, Context()) for step in PASSES]
        if not any(changes):
            break
    else:
        pytest.fail("no fixed point after three rounds")
    assert model.node_count <= size
    for a, b in zip(run(model, feeds), before, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("step", PASSES, ids=lambda step: step.name)
@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_each_alone(path: Path, step: Pass, apply: Any) -> None:
    model = load_onnx(str(path))
    Infer().run(model, Context())
    apply(step, model, feeds_for(model), tolerance=1e-5)
