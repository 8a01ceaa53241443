"""Capability rows beside what they speak of: TensorRT-RTX refuses what the golden cases say is refused, and builds the rest."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from geoc.ir.errors import UnsupportedModel
from geoc.ir.rewrite import load_rules
from geoc.lowering.backend import all_row_sets
from geoc.lowering.onnx import model_bytes
from geoc.lowering.tensorrt.rtx import build_apart
from geoc.passes.base import Context
from geoc.passes.clean.dce import Dce
from geoc.passes.manager import run_pipeline

from ...golden import Case, read_cases

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="TensorRT-RTX is not installed: pip install 'geoc[tensorrt-rtx]'",
)
CASES = [case for path in sorted((Path(__file__).parent / "trt-limits").glob("*.gir")) for case in read_cases(path)]

# Refused all the same where TensorRT-RTX 1.7 builds it: all cases of a row, or one.
STRICTER = {
    "attention_cache-11": "lengths without padding, which TensorRT's list does not name",
    "double": "it is computed in single precision",
    "double_result": "it is computed in single precision",
    "unsigned_quantized": "nothing takes u8 back",
    "attention_rank": "three dimensions are taken apart into operators, which are not fused",
    "resize_mode": "the parser's list does not name cubic",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.path.stem}-{case.line}")
def test_rows_refuse_what_does_not_build(case: Case, tmp_path: Path) -> None:
    if {case.path.stem, f"{case.path.stem}-{case.line}"} & set(STRICTER) and "WHY" not in case.head:
        return
    model = case.load()
    run_pipeline(model, [Dce()], Context())  # the parser counts results that nobody asks for
    (tmp_path / "m.onnx").write_bytes(model_bytes(model, max_opset=24, max_ir=12))
    if "WHY" in case.head:
        assert build_apart(str(tmp_path / "m.onnx"), str(tmp_path / "m.engine"), "8.0", {}).size
    else:
        with pytest.raises(UnsupportedModel):
            build_apart(str(tmp_path / "m.onnx"), str(tmp_path / "m.engine"), "8.0", {})


def test_operators_without_a_layer_are_those_that_the_parser_refuses() -> None:
    import tensorrt_rtx as trt

    from geoc.ir.ops.schema import known_keys

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            pass

    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    rows = load_rules(all_row_sets()["trt-limits"][0])
    standard = [key for key in known_keys() if "::" not in key]
    assert {key for key in standard if not parser.supports_operator(key)} == set(rows.by_name["no_layer"].left_ops)
