"""Every conformance case of the onnx package goes through every form a model has here, and means the same after -O2.

A case is judged by onnxruntime where that runs the case unoptimized, else by onnx's reference evaluator where that
gives the outputs which the case expects. What neither can judge is listed, so nothing is skipped unseen.
"""

from __future__ import annotations

from typing import Any

import onnx
import pytest

import geoc
from geoc.frontends.onnx import load_onnx
from geoc.ir.equal import difference as model_difference
from geoc.ir.text import parse_model, print_model
from geoc.ir.verify import verify
from geoc.lowering.onnx import model_bytes
from geoc.lowering.targets import get_target

from .cases import Case, folder_cases, node_cases
from .judges import (
    CannotRun,
    difference,
    is_random,
    loads_in_onnxruntime,
    on_onnxruntime,
    on_reference,
)

BATCHES = 32
UNJUDGED = {
    "the reference evaluator needs Pillow and onnxruntime has no kernel": [
        f"test_image_decoder_decode_{kind}"
        for kind in (
            "jpeg_rgb", "jpeg_grayscale", "jpeg_bgr", "jpeg2k_rgb", "bmp_rgb", "png_rgb", "tiff_rgb", "webp_rgb", "pnm_rgb",
        )
    ],
    "opset 27, and the reference evaluator's Loop adds an axis": [
        f"test_range_{kind}_delta_expanded"
        for kind in (
            "float_type_positive", "float16_type_positive", "bfloat16_type_positive", "int32_type_negative",
        )
    ],
    "Gradient runs nowhere": ["test_gradient_of_add", "test_gradient_of_add_and_mul"],
}  # fmt: skip
_UNJUDGED = {name for names in UNJUDGED.values() for name in names}


def batch(cases: tuple[Case, ...], number: int) -> tuple[Case, ...]:
    return cases[number::BATCHES]


def test_there_are_as_many_cases_as_the_package_has() -> None:
    assert len(node_cases()) == 1884
    assert len(folder_cases()) == 140
    assert len({case.name for case in (*node_cases(), *folder_cases())}) == 2024
    assert {case.name for case in (*node_cases(), *folder_cases())} >= _UNJUDGED


@pytest.mark.parametrize("number", range(BATCHES))
def test_node_cases_keep_their_structure(number: int) -> None:
    faults = [fault for case in batch(node_cases(), number) for fault in round_trip(case)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("number", range(0, BATCHES, 8))
def test_stored_cases_keep_their_structure(number: int) -> None:
    cases = folder_cases()[number // 8 :: BATCHES // 8]
    faults = [fault for case in cases for fault in round_trip(case)]
    assert not faults, "\n".join(faults)


def round_trip(case: Case) -> list[str]:
    """What goes wrong on the way ONNX -> IR -> text -> IR and ONNX -> IR -> ONNX -> IR."""
    model = load_onnx(case.data)
    verify(model)
    faults = []
    parsed = parse_model(print_model(model, weights="inline"))
    changed = model_difference(model, parsed)
    if changed is not None:
        faults.append(f"{case.name}: after text: {changed}")
    written = model_bytes(model)
    changed = model_difference(model, load_onnx(written))
    if changed is not None:
        faults.append(f"{case.name}: after ONNX: {changed}")
    if passes_checker(case.data):
        try:
            onnx.checker.check_model(written)
        except onnx.checker.ValidationError as error:
            faults.append(f"{case.name}: the checker takes the source and not the result: {error}")
    if loads_in_onnxruntime(case.data) and not loads_in_onnxruntime(written):
        faults.append(f"{case.name}: onnxruntime loads the source and not the result")
    return faults


def passes_checker(data: bytes) -> bool:
    try:
        onnx.checker.check_model(data)
    except onnx.checker.ValidationError:
        return False
    return True


@pytest.mark.parametrize("number", range(BATCHES))
def test_node_cases_mean_the_same_after_o2(number: int) -> None:
    judged = judge(batch(node_cases(), number))
    assert judged >= {"onnxruntime"}


@pytest.mark.parametrize("number", range(0, BATCHES, 8))
def test_stored_cases_mean_the_same_after_o2(number: int) -> None:
    assert judge(folder_cases()[number // 8 :: BATCHES // 8]) >= {"onnxruntime"}


def judge(cases: tuple[Case, ...]) -> set[str]:
    """Compare each case's outputs before and after -O2; the judges that were needed."""
    faults, judges = [], set()
    for case in cases:
        fault, judge_name = judge_one(case)
        judges.add(judge_name)
        if fault is not None:
            faults.append(f"{case.name} ({judge_name}): {fault}")
    assert not faults, "\n".join(faults)
    return judges


def judge_one(case: Case) -> tuple[str | None, str]:
    random = is_random(case.data)
    try:
        expected = on_onnxruntime(case.data, case.feeds)
    except CannotRun as error:
        return judge_by_reference(case, random, str(error))
    target = get_target("cpu")
    result = optimized(case.data, max_opset=target.max_opset, max_ir=target.max_ir)
    try:
        found = on_onnxruntime(result, case.feeds)
    except CannotRun as error:
        return str(error), "onnxruntime"
    return difference(case, expected, found, random=random), "onnxruntime"


def judge_by_reference(case: Case, random: bool, reason: str) -> tuple[str | None, str]:
    try:
        before = on_reference(case.data, case.feeds)
    except CannotRun as error:
        reason = f"{reason}; {error}"
    else:
        wrong = difference(case, case.expected, before, random=random)
        if wrong is None:
            try:
                found = run_result(case)
            except CannotRun as error:
                return f"nobody runs the result: {error}", "reference"
            return difference(case, case.expected, found, random=random), "reference"
        reason = f"{reason}; reference: {wrong}"
    optimized(case.data)
    return None if case.name in _UNJUDGED else f"nobody judges it: {reason}", "nobody"


def run_result(case: Case) -> list[Any]:
    """Outputs after -O2 on the reference evaluator, or on onnxruntime where only that runs what came out."""
    try:
        return on_reference(optimized(case.data), case.feeds)
    except CannotRun:
        target = get_target("cpu")
        result = optimized(case.data, max_opset=target.max_opset, max_ir=target.max_ir)
        return on_onnxruntime(result, case.feeds)


def optimized(data: bytes, **limits: int) -> bytes:
    """The model after -O2 for this machine's CPU."""
    model = load_onnx(data)
    geoc.optimize(model, level=2, target="cpu", check="off")
    verify(model)
    return model_bytes(model, **limits)


def test_how_many_cases_each_judge_takes() -> None:
    """onnxruntime 1.31.1 loads 1,515 node cases and runs 1,512 of them; most of the others need a newer opset."""
    counts = {"onnxruntime": 0, "reference": 0, "nobody": 0}
    for case in node_cases():
        try:
            on_onnxruntime(case.data, case.feeds)
            counts["onnxruntime"] += 1
        except CannotRun:
            counts["nobody" if case.name in _UNJUDGED else "reference"] += 1
    assert counts["onnxruntime"] >= 1512, counts
    assert counts["nobody"] <= 13, counts
