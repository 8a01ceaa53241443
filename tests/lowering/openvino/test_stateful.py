"""The stateful form: key-value caches are variables, and steps give what onnxruntime gives with caches handed on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
import pytest

from geoc.ir.errors import UnsupportedModel
from geoc.lowering.openvino.graph import to_openvino
from geoc.lowering.openvino.write import write_ir
from geoc.passes.caches import caches

from .running import compiled, layers
from .test_graph import ORDER, on_onnxruntime, parsed

DECODER = """graph @main(%x: f32[B,S,64], %m: f32[B,1,S,T], %pk: f32[B,2,P,32], %pv: f32[B,2,P,32]) -> (%y, %kk, %vv) {
  weight %heads: i64[4] = [0, 0, 2, 32]
  %r = Reshape(%x, %heads)
  %q = Transpose(%r) {perm=[0, 2, 1, 3]}
  %k = Neg(%q)
  %v = Exp(%q)
  BODY
}"""
BODIES = {
    "caches of the operator": "%y, %kk, %vv = Attention(%q, %k, %v, %m, %pk, %pv)",
    "caches beside it": "%kk = Concat(%pk, %k) {axis=2}\n  %vv = Concat(%pv, %v) {axis=2}\n  %y = Attention(%q, %kk, %vv, %m)",
}


@pytest.mark.parametrize("name", BODIES)
def test_steps_continue_each_other(name: str) -> None:
    model = parsed(DECODER.replace("BODY", BODIES[name]))
    assert caches(model.graph) == {2: 1, 3: 2}
    made = to_openvino(model, stateful=True)
    assert [sorted(port.get_names()) for port in made.inputs] == [["x"], ["m"], ["beam_idx"]]
    assert [sorted(port.get_names()) for port in made.outputs] == [["y"]]
    program = compiled(made)
    assert layers(program).get("ScaledDotProductAttention") == 1, "the cache is not fused with the attention"
    request = program.create_infer_request()
    rng = np.random.default_rng(0)
    past = [np.zeros((2, 2, 0, 32), np.float32)] * 2
    for length in (5, 1, 1):
        total = past[0].shape[2] + length
        x = rng.standard_normal((2, length, 64)).astype(np.float32) / 4
        mask = np.where(np.tri(length, total, total - length, dtype=bool), 0, -1e4).astype(np.float32)
        mask = np.broadcast_to(mask, (2, 1, length, total)).copy()
        expected, *past = on_onnxruntime(model, {"x": x, "m": mask, "pk": past[0], "pv": past[1]})
        found = request.infer({"x": x, "m": mask, "beam_idx": np.arange(2, dtype=np.int32)})["y"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    request.reset_state()
    x = np.ones((2, 1, 64), np.float32)
    found = request.infer({"x": x, "m": np.zeros((2, 1, 1, 1), np.float32), "beam_idx": np.arange(2, dtype=np.int32)})["y"]
    np.testing.assert_allclose(found, np.full_like(found, np.e), rtol=1e-4)


def test_the_files_keep_the_variables(tmp_path: Path) -> None:
    model = parsed(DECODER.replace("BODY", BODIES["caches of the operator"]))
    written = write_ir(model, str(tmp_path / "m.stateful.xml"), ORDER, stateful=True)
    assert sorted(Path(path).name for path in written.files) == ["m.stateful.bin", "m.stateful.xml"]
    read = openvino.Core().read_model(tmp_path / "m.stateful.xml")
    assert len(read.get_sinks()) == 2 and sorted(v.get_info().variable_id for v in read.get_variables()) == ["pk", "pv"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("graph @main(%x: f32[B,4]) -> (%y) {\n  %y = Neg(%x)\n}", "it has no key-value cache"),
        ("graph @main(%p: f32[B,2,P,8], %n: f32[3,2,S,8]) -> (%y) {\n  %y = Concat(%p, %n) {axis=2}\n}", "no input tells how many rows"),
    ],
)  # fmt: skip
def test_there_is_no_stateful_form(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        write_ir(parsed(text), str(tmp_path / "m.stateful.xml"), ORDER, stateful=True)


def test_what_is_appended_elsewhere_is_no_cache() -> None:
    before = parsed("graph @main(%p: f32[B,2,P,8], %n: f32[B,2,S,8]) -> (%y) {\n  %y = Concat(%n, %p) {axis=2}\n}")
    assert caches(before.graph) == {1: 0}  # n is what grows
    other = parsed("graph @main(%p: f32[B,2,P,8], %n: f32[B,2,P,8]) -> (%y) {\n  %y = Concat(%p, %n) {axis=1}\n}")
    assert caches(other.graph) == {}
