"""Faults that were planted are found by bisect, and reduced to a few nodes that still fail, and only with the fault.

What a reduced model computes, before and after, is checked with the reference implementation of onnx and without geoc's
own comparison.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from geoc.ir.text import load_model
from geoc.ir.verify import verify
from geoc.lowering.onnx import model_bytes
from geoc.tools.comparing.kept_inputs import kept_inputs

from ..conftest import Run
from .faults import FAULTS, Fault, small_model

CACHE = Path(os.path.expanduser("~/.cache/geoc-models"))
ALL = os.environ.get("GEOC_TEST_ALL") == "1"
ALWAYS = ("pad.rules", "division.rules")  # reduced in every run of the tests: inside nested Ifs, and with integers


def small_options(fault: Fault) -> list[str]:
    """The options without --shape, which is about the large model."""
    arguments = fault.arguments
    if "--shape" in arguments:
        at = arguments.index("--shape")
        arguments = arguments[:at] + arguments[at + 2 :]
    return arguments


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_bisect_names_the_rule_and_shows_it(fault: Fault, run_geoc: Run, tmp_path: Path) -> None:
    model = small_model(fault, tmp_path)
    done = run_geoc("bisect", model, *small_options(fault), "--json", "-o", "both.gir")
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["status"], found["rule"]) == ("rewrite", fault.rule)
    assert found["pass"] == (fault.path.stem if fault.rule else "conv-bias")
    assert found["at"].startswith(f"{fault.path}:")
    assert found["doc"] and found["before"] != found["after"]
    assert found["good"] == found["bad"] - 1
    assert not found["local"]["within"] and not found["local"]["problem"]
    without = found["alone"] if found["alone"]["kind"] == "good" else found["without_rule"]
    assert without["kind"] == "good"
    both = load_model(tmp_path / "both.gir")
    verify(both)
    names = both.graph.output_names
    assert sum(n.endswith(".before") for n in names) == sum(n.endswith(".after") for n in names) > 0


def test_the_counts_are_those_of_the_command(run_geoc: Run, tmp_path: Path) -> None:
    """--bisect-limit with what was found is wrong, and right with one less, by onnxruntime as it is."""
    fault = FAULTS[0]
    model = small_model(fault, tmp_path)
    found = json.loads(run_geoc("bisect", model, *small_options(fault), "--json").stdout)
    runs = []
    for limit in (0, found["good"], found["bad"]):
        made = run_geoc(model, *small_options(fault), "--check=off", "--bisect-limit", limit, "-o", f"{limit}.onnx")
        assert made.returncode == 0, made.stderr
        runs.append(session_outputs(tmp_path / f"{limit}.onnx"))
    scale = max(np.abs(each).max() for each in runs[0])
    assert max(np.abs(a - b).max() for a, b in zip(runs[0], runs[1])) < 1e-4 * scale
    assert max(np.abs(a - b).max() for a, b in zip(runs[0], runs[2])) > 1e-4 * scale


def session_outputs(path: Path) -> list[Any]:
    """What a model of ids and masks gives."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(1)
    feeds = {}
    for given in session.get_inputs():
        shape = [2 if isinstance(dim, str) and "batch" in dim else 8 if isinstance(dim, str) else dim for dim in given.shape]
        feeds[given.name] = np.ones(shape, np.int64) if "mask" in given.name else rng.integers(0, 2, shape)
    return session.run(None, feeds)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_reduced_models_fail_with_the_fault_and_only_with_it(fault: Fault, run_geoc: Run, tmp_path: Path) -> None:
    if fault.name not in ALWAYS and not ALL:
        pytest.skip("takes seconds; GEOC_TEST_ALL=1 runs it")
    model = small_model(fault, tmp_path)
    done = run_geoc("reduce", model, *small_options(fault), "--json", "-o", "small.gir")
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["nodes_after"] <= 12 and found["ended"] == ""
    assert found["right_without"] == (fault.rule or "conv-bias")
    small = load_model(tmp_path / "small.gir")
    verify(small)
    assert small.node_count == found["nodes_after"]
    before = (tmp_path / "small.gir").read_text()
    made = {}
    for name, arguments in (("with", small_options(fault)), ("without", [small_options(fault)[0]] if fault.rule else ["-O2"])):
        done = run_geoc("small.gir", *arguments, "--check=off", "-o", f"{name}.onnx")
        assert done.returncode == 0, done.stderr
        made[name] = onnx.load(tmp_path / f"{name}.onnx")
    source = onnx.ModelProto.FromString(model_bytes(small, max_opset=21))
    kept = kept_inputs(small)
    feeds = kept[0] if kept is not None else random_feeds(source)
    wanted = ReferenceEvaluator(source).run(None, feeds)
    assert relative(ort(made["without"], feeds), wanted) < 1e-4
    assert relative(ort(made["with"], feeds), wanted) > 1e-4
    again = run_geoc("bisect", "small.gir", *small_options(fault), "--json")
    assert again.returncode == 1 and json.loads(again.stdout)["rule"] == fault.rule
    assert (tmp_path / "small.gir").read_text() == before


def random_feeds(model: onnx.ModelProto) -> dict[str, Any]:
    """Numbers for the inputs of a model of fixed sizes."""
    rng = np.random.default_rng(3)
    feeds = {}
    for given in model.graph.input:
        kind = given.type.tensor_type
        shape = [dim.dim_value or 2 for dim in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        feeds[given.name] = np.asarray(rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)).astype(dtype)
    return feeds


def ort(model: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def relative(found: list[Any], wanted: list[Any]) -> float:
    """The largest difference of an output, as a share of its largest number; infinite where it is no number."""
    errors = [float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in zip(found, wanted)]
    return max(error if np.isfinite(error) else np.inf for error in errors)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_real_models(fault: Fault, run_geoc: Run, tmp_path: Path) -> None:
    path = CACHE / f"{fault.model}.onnx"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    if not ALL:
        pytest.skip("takes up to a minute; GEOC_TEST_ALL=1 runs it, and tests/bench/bisecting.py says how long")
    done = run_geoc("reduce", path, *fault.arguments, "--json", "-o", "small.gir")
    assert json.loads(done.stdout)["nodes_after"] <= 12, done.stderr
