"""Every conformance case of single operators that is written natively gives on the CPU plugin what the case expects.

What deviates is listed with its reason, and what is listed must deviate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.frontends.onnx import load_onnx
from geoc.lowering.openvino.graph import Unmapped, to_openvino

from ...conformance.cases import Case, node_cases
from .running import run

BATCHES = 4
FEWEST = 1200  # cases that are written natively
DEVIATIONS: dict[str, list[str]] = {}
NOT_RUN: dict[str, list[str]] = {}


def deviation(case: Case, found: list[Any]) -> str | None:
    """How outputs differ from what is expected; the plugin computes halves and doubles in single precision."""
    if len(found) != len(case.expected):
        return f"{len(found)} outputs"
    for index, (a, b) in enumerate(zip(case.expected, found)):
        expected = np.asarray(a)
        if expected.shape != b.shape or expected.dtype != b.dtype:
            return f"output {index}: {b.dtype}{list(b.shape)}, not {expected.dtype}{list(expected.shape)}"
        if expected.dtype.kind in "biu" or expected.dtype.name in ("int4", "uint4"):
            if not np.array_equal(expected, b):
                return f"output {index}: other integers"
            continue
        small = expected.dtype.itemsize < 4
        x, y = expected.astype(np.float64), b.astype(np.float64)
        rtol, atol = max(case.rtol, 2e-2 if small else 1e-4), max(case.atol, 1e-2 if small else 1e-5)
        if not np.allclose(y, x, rtol=rtol, atol=atol, equal_nan=True):
            return f"output {index}: {np.nanmax(np.abs(x - y)):.2g} away"
    return None


def outcomes(number: int) -> dict[str, str]:
    """By the names of the cases of a batch: "fallback", "refused: why", "differs: how" or ""."""
    found = {}
    for case in node_cases()[number::BATCHES]:
        model = load_onnx(case.data)
        try:
            made = to_openvino(model)
        except Unmapped:
            found[case.name] = "fallback"
            continue
        try:
            outputs = run(made, case.feeds)
        except RuntimeError as error:
            found[case.name] = "refused: " + " ".join(str(error).split())[-150:]
            continue
        fault = deviation(case, outputs)
        found[case.name] = "" if fault is None else f"differs: {fault}"
    return found


@pytest.mark.parametrize("number", range(BATCHES))
def test_node_cases(number: int) -> None:
    found = outcomes(number)
    listed = {name for names in DEVIATIONS.values() for name in names} & found.keys()
    refused = {name for names in NOT_RUN.values() for name in names} & found.keys()
    wrong = {name: how for name, how in found.items() if how.startswith("differs")}
    failed = {name: how for name, how in found.items() if how.startswith("refused")}
    assert wrong.keys() == listed, {n: wrong.get(n, "is right") for n in wrong.keys() ^ listed}
    assert failed.keys() == refused, {n: failed.get(n, "is run") for n in failed.keys() ^ refused}
    assert sum(how != "fallback" for how in found.values()) >= FEWEST / BATCHES - 30
