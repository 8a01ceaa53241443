"""Masks with a single column or row, and empty operands: written-out attention broadcasts, the operator pads and refuses.

Results of the fusions are run by onnx's reference implementation, those of all of -O2 by onnxruntime.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from geoc.ir.core import Model
from geoc.ir.infer import infer_graph
from geoc.ir.text import parse_model
from geoc.lowering.onnx import model_bytes
from geoc.lowering.targets import get_target
from geoc.passes.base import Context
from geoc.passes.manager import run_pipeline
from geoc.passes.pipelines import level_items, parse
from geoc.passes.registry import Registry

from ...golden import Runner
from .test_attention import LOWEST, PIPELINE

WAYS = {
    "added": "%n = Add(%s, %m)",
    "kept": "%n = Where(%c, %s, %low)",
    "dropped": "%n = Where(%c, %inf, %s)",
    "added, kept": "%k1 = Add(%s, %m)\n  %n = Where(%c, %k1, %low)",
    "kept, added": "%k1 = Where(%c, %s, %low)\n  %n = Add(%k1, %m)",
    "two": "%k1 = Add(%s, %m)\n  %n = Add(%k1, %other)",
}


def written_out(way: str, mask: str, sizes: str = "B,S,T") -> Model:
    b, s, t = sizes.split(",")
    made = parse_model(f"""geoc 1
opset "" 21

graph @main(%q: f32[{b},4,{s},8], %k: f32[{b},4,8,{t}], %v: f32[{b},4,{t},6], %m: f32{mask}, %c: bool{mask}, %other: f32[{b},1,1,1]) -> (%y) {{
  weight %low: f32[] = {LOWEST!r}
  weight %inf: f32[] = -inf
  %s = MatMul(%q, %k)
  {WAYS.get(way, "%n = Identity(%s)")}
  %p = Softmax(%n)
  %y = MatMul(%p, %v)
}}""")
    infer_graph(made.graph)
    return made


def feeds_of(made: Model, way: str, sizes: dict[str, int]) -> dict[str, Any]:
    random = np.random.default_rng(1)
    found: dict[str, Any] = {}
    for name, value in zip(made.graph.input_names, made.graph.inputs):
        shape = [d if isinstance(d, int) else sizes[str(d)] for d in value.shape or ()]
        if name == "c":  # a row of -inf alone is not a number
            found[name] = np.zeros(shape, bool) if way == "dropped" else np.asarray(random.random(shape) < 0.6)
        else:
            found[name] = random.normal(size=shape).astype(np.float32)
    return found


def fused(made: Model) -> Any:
    from onnx.reference import ReferenceEvaluator

    run_pipeline(made, Registry().resolve(parse(PIPELINE)), Context())
    return ReferenceEvaluator(model_bytes(made))


def optimized(made: Model) -> Any:
    """A session of what -O2 makes for this machine."""
    import onnxruntime

    target = get_target("cpu")
    passes = Registry(target.rule_sets).resolve(level_items(2, target.pipeline))
    run_pipeline(made, passes, Context(capabilities=target.capabilities))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    data = model_bytes(made, max_opset=target.max_opset, max_ir=target.max_ir)
    return onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])


def outputs(runner: Any, feeds: dict[str, Any]) -> list[Any]:
    names = runner.input_names if hasattr(runner, "input_names") else [i.name for i in runner.get_inputs()]
    found: list[Any] = runner.run(None, {n: feeds[n] for n in names})
    return found


def operators(made: Model) -> Counter[str]:
    return Counter(node.op.name for node in made.walk())


SHORT = ("[]", "[1]", "[1,1]", "[S,1]", "[1,1,1,1]", "[B,1,S,1]", "[B,4,1,1]", "[4,1,1]", "[S,U]", "[B,1,1,U]", "[B,1,1,T]")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mask", SHORT)
def test_masks_broadcast(mask: str, way: str) -> None:
    """The only column of a mask is for all keys, as the sum has it, whoever runs the result."""
    before = Runner(written_out(way, mask))
    first, second = written_out(way, mask), written_out(way, mask)
    reference, session = fused(first), optimized(second)
    assert operators(first)["Attention"] == operators(second)["Attention"] == 1
    for sizes in ({"B": 2, "S": 3, "T": 5, "U": 5}, {"B": 2, "S": 3, "T": 5, "U": 1}, {"B": 1, "S": 1, "T": 1, "U": 1}):
        feeds = feeds_of(first, way, sizes)
        wanted = before.run(feeds)[0]
        for runner in (reference, session):
            np.testing.assert_allclose(outputs(runner, feeds)[0], wanted, 1e-4, 1e-5)


EMPTY = {"no batch": ("0,3,5", {}), "no query": ("2,0,5", {}), "no key": ("2,3,0", {})}


@pytest.mark.parametrize("name", EMPTY)
@pytest.mark.parametrize("way", ["none", "added"])
def test_empty_operands_are_left_alone(way: str, name: str) -> None:
    """onnxruntime's Attention refuses them, and without keys the operator itself says nothing of the result."""
    sizes = EMPTY[name][0]
    made = written_out(way, "[1,1]", sizes)
    feeds = feeds_of(made, way, {})
    wanted = Runner(made).run(feeds)[0]
    got = outputs(optimized(made), feeds)[0]
    assert not operators(made)["Attention"]
    assert got.shape == wanted.shape
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("sizes", [{"B": 0, "S": 3, "T": 5}, {"B": 2, "S": 0, "T": 5}, {"B": 2, "S": 3, "T": 0}])
def test_empty_inputs_of_a_model_for_any_size(sizes: dict[str, int]) -> None:
    """A known defect, see docs/correctness.md: the model as it was gives an empty result, or zeros without keys."""
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

    made = written_out("none", "[1,1]")
    feeds = feeds_of(made, "none", sizes)
    wanted = Runner(made).run(feeds)[0]
    assert wanted.shape == (sizes["B"], 4, sizes["S"], 6) and not wanted.any()
    session = optimized(made)
    with pytest.raises((Fail, InvalidArgument, RuntimeException), match="must be greater than 0"):
        outputs(session, feeds)


def test_a_cache_may_be_empty_at_first() -> None:
    """Its length adds to that of the new keys, of which there are some."""
    made = parse_model("""geoc 1
opset "" 21

graph @main(%q: f32[B,4,S,8], %k: f32[B,4,S,8], %v: f32[B,4,S,6], %pk: f32[B,4,P,8], %pv: f32[B,4,P,6]) -> (%y, %ks, %vs) {
  %ks = Concat(%pk, %k) {axis = 2}
  %vs = Concat(%pv, %v) {axis = 2}
  %kt = Transpose(%ks) {perm = [0, 1, 3, 2]}
  %s = MatMul(%q, %kt)
  %p = Softmax(%s)
  %y = MatMul(%p, %vs)
}""")
    infer_graph(made.graph)
    before = Runner(made)
    feeds = [feeds_of(made, "none", {"B": 2, "S": 3, "P": length}) for length in (0, 2)]
    wanted = [before.run(feed) for feed in feeds]
    session = optimized(made)
    assert operators(made)["Attention"] == 1
    for feed, want in zip(feeds, wanted):
        for got, each in zip(outputs(session, feed), want):
            np.testing.assert_allclose(got, each, 1e-4, 1e-5)
