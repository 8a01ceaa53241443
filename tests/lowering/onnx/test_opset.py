"""Which opset and IR version are written, and that an older spelling means the same as the newest."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from geoc.frontends.onnx import load_onnx
from geoc.ir.core import Model
from geoc.ir.errors import UnsupportedModel
from geoc.lowering.onnx import model_bytes
from geoc.lowering.onnx.opset import ir_version
from geoc.lowering.targets import get_target

from ...frontends.onnx.building import graph, load, model, node, one, run, same, value, weight

RNG = np.random.default_rng(0)
NEWEST = 21


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


X = floats(2, 3, 4)
HALF = np.array(0.5, np.float32)

# name -> operator, its operands (those in capitals are constants), attributes, outputs, the oldest opset that holds it
DOWN: dict[str, tuple[str, dict[str, np.ndarray | None], dict[str, Any], int, int]] = {
    "Softmax of the last axis": ("Softmax", {"x": X}, {"axis": 2}, 1, 7),
    "Softmax before trailing ones": ("Softmax", {"x": floats(2, 5, 1, 1)}, {"axis": 1}, 1, 7),
    "Softmax of another axis": ("Softmax", {"x": X}, {"axis": 1}, 1, 13),
    "Squeeze": ("Squeeze", {"x": floats(1, 3, 1), "A": ints(0, 2)}, {}, 1, 7),
    "Squeeze by operand": ("Squeeze", {"x": floats(1, 3, 1), "a": ints(0, 2)}, {}, 1, 13),
    "Unsqueeze": ("Unsqueeze", {"x": X, "A": ints(0)}, {}, 1, 7),
    "ReduceSum": ("ReduceSum", {"x": X, "A": ints(1)}, {"keepdims": 0}, 1, 7),
    "ReduceMean": ("ReduceMean", {"x": X, "A": ints(1, 2)}, {}, 1, 7),
    "ReduceMean of nothing": ("ReduceMean", {"x": X}, {"noop_with_empty_axes": 1}, 1, 18),
    "Split by sizes": ("Split", {"x": X, "S": ints(1, 3)}, {"axis": 2}, 2, 7),
    "Split evenly": ("Split", {"x": X}, {"axis": 2, "num_outputs": 2}, 2, 7),
    "Split unevenly": ("Split", {"x": floats(1, 1, 5)}, {"axis": 2, "num_outputs": 3}, 3, 18),
    "Slice": ("Slice", {"x": X, "S": ints(1), "E": ints(3), "A": ints(2)}, {}, 1, 7),
    "Slice by steps": ("Slice", {"x": X, "S": ints(0), "E": ints(4), "A": ints(2), "T": ints(2)}, {}, 1, 10),
    "TopK": ("TopK", {"x": X, "K": ints(2)}, {}, 2, 7),
    "TopK of the smallest": ("TopK", {"x": X, "K": ints(2)}, {"largest": 0}, 2, 11),
    "Clip": ("Clip", {"x": X, "LO": -HALF, "HI": HALF}, {}, 1, 7),
    "Clip above": ("Clip", {"x": X, "-": None, "HI": HALF}, {}, 1, 7),
    "Clip by an operand": ("Clip", {"x": X, "lo": np.asarray(-HALF)}, {}, 1, 11),
    "Clip of integers": ("Clip", {"x": ints(1, 5, 9), "LO": np.array(4)}, {}, 1, 12),
    "Clip of doubles": ("Clip", {"x": X.astype(np.float64), "LO": np.array(0.5)}, {}, 1, 7),
    "Clip of doubles at no float": ("Clip", {"x": X.astype(np.float64), "LO": np.array(0.1)}, {}, 1, 11),
    "Pad": ("Pad", {"x": X, "P": ints(0, 1, 2, 0, 0, 1), "V": HALF}, {}, 1, 7),
    "Pad of some axes": ("Pad", {"x": X, "P": ints(1, 2), "V": HALF, "A": ints(1)}, {}, 1, 18),
    "Pad around": ("Pad", {"x": X, "P": ints(0, 1, 2, 0, 0, 1)}, {"mode": "wrap"}, 1, 19),
    "Dropout": ("Dropout", {"x": X, "R": np.asarray(HALF / 2)}, {}, 1, 7),
    "BatchNormalization": (
        "BatchNormalization", {"x": X, **{k: abs(floats(3)) + HALF for k in "SBMV"}}, {"epsilon": 0.001}, 1, 7,
    ),
    "DFT": ("DFT", {"x": floats(1, 8, 4, 1), "-": None, "A": np.array(1)}, {}, 1, 17),
    "DFT of the last axis": ("DFT", {"x": floats(1, 8, 4, 1)}, {}, 1, 20),
    "GridSample": ("GridSample", {"x": floats(1, 1, 4, 4), "g": np.tanh(floats(1, 3, 3, 2))}, {"mode": "cubic"}, 1, 16),
    "GroupNormalization": ("GroupNormalization", {"x": X, "S": floats(3), "B": floats(3)}, {"num_groups": 3}, 1, 21),
    "Resize": ("Resize", {"x": floats(1, 1, 3, 3), "-": None, "S": np.array([1, 1, 2, 2], np.float32)}, {}, 1, 13),
    "Gemm": ("Gemm", {"x": floats(2, 3), "B": floats(3, 4)}, {}, 1, 11),
    "Relu": ("Relu", {"x": X}, {}, 1, 7),
    "Relu of integers": ("Relu", {"x": ints(-1, 2).astype(np.int32)}, {}, 1, 14),
    "Gather from the end": ("Gather", {"x": X, "I": ints(-1, 0)}, {"axis": 1}, 1, 11),
    "Gather": ("Gather", {"x": X, "I": ints(1, 0)}, {"axis": 1}, 1, 7),
    "DequantizeLinear": ("DequantizeLinear", {"x": ints(1, 2).astype(np.uint8), "S": HALF}, {}, 1, 10),
    "DequantizeLinear per channel": (
        "DequantizeLinear", {"x": np.ones((2, 3), np.uint8), "S": abs(floats(3))}, {}, 1, 13,
    ),
    "Where": ("Where", {"c": X > 0, "x": X, "y": -X}, {}, 1, 9),
    "Gelu": ("Gelu", {"x": X}, {}, 1, 20),
    "Cast": ("Cast", {"x": X}, {"to": TensorProto.INT32}, 1, 7),
}  # fmt: skip


def made(name: str) -> tuple[Model, dict[str, np.ndarray]]:
    op, operands, attributes, outputs, _ = DOWN[name]
    feeds = {k: v for k, v in operands.items() if v is not None and not k.isupper()}
    names = ["" if k == "-" else k for k in operands]
    body = graph(
        [helper.make_node(op, names, [f"r{i}" for i in range(outputs)], name="here", **attributes)],
        [value(k, v.shape, helper.np_dtype_to_tensor_dtype(v.dtype)) for k, v in feeds.items()],
        [onnx.ValueInfoProto(name=f"r{i}") for i in range(outputs)],
        [weight(k, v) for k, v in operands.items() if v is not None and k.isupper()],
    )
    return load(model(body, opset=NEWEST, ir=10)), feeds


def outputs(data: bytes, feeds: dict[str, np.ndarray]) -> list[Any]:
    """On onnxruntime, or on the reference evaluator where that has no kernel for an old version."""
    try:
        return run(data, feeds)
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        return list(ReferenceEvaluator(onnx.ModelProto.FromString(data)).run(None, feeds))


def opset_of(data: bytes) -> int:
    imports = onnx.ModelProto.FromString(data).opset_import
    return next(entry.version for entry in imports if not entry.domain)


@pytest.mark.parametrize("name", DOWN)
def test_every_opset_that_holds_a_node_means_the_same(name: str) -> None:
    loaded, feeds = made(name)
    expected = run(model_bytes(loaded), feeds)
    held = []
    for opset in range(NEWEST, 6, -1):
        try:
            data = model_bytes(loaded, opset=opset)
        except UnsupportedModel as error:
            assert "'here'" in str(error) and f"opset {opset}" in str(error)
            continue
        held.append(opset)
        assert opset_of(data) == opset
        assert same(outputs(data, feeds), expected), f"at opset {opset}"
        onnx.checker.check_model(data)
    oldest = DOWN[name][4]
    assert held == list(range(NEWEST, oldest - 1, -1))


def test_up_again_through_a_file() -> None:
    """What was written at the oldest opset imports as what it came from."""
    from geoc.ir.equal import difference

    for name, (_, _, _, _, oldest) in DOWN.items():
        loaded, _ = made(name)
        again = load_onnx(model_bytes(loaded, opset=oldest))
        assert difference(loaded, again) is None, name


# The choice


def relu(opset: int, ir: int = 8) -> Model:
    return load(model(graph([node("Relu", "x", "y")], [value("x")], [value("y")]), opset=opset, ir=ir))


def test_the_sources_opset_is_kept_where_it_can_be() -> None:
    assert [opset_of(model_bytes(relu(n))) for n in (7, 13, 17, 21, 26)] == [7, 13, 17, 21, 26]


def test_never_beyond_what_the_target_loads() -> None:
    assert opset_of(model_bytes(relu(28), max_opset=26)) == 26
    with pytest.raises(UnsupportedModel, match="opset 27 is not between 1 and 26"):
        model_bytes(relu(28), opset=27, max_opset=26)
    with pytest.raises(UnsupportedModel, match="opset 0 is not between"):
        model_bytes(relu(28), opset=0)


def test_raised_to_what_a_node_needs() -> None:
    loaded = relu(13)
    (first,) = loaded.graph
    from geoc.ir.builder import Builder

    gelu = Builder(loaded.graph).op("Gelu", first.output)
    loaded.graph.set_outputs([gelu], ["y"])
    data = model_bytes(loaded, max_opset=26)
    assert opset_of(data) == 20
    x = floats(2, 3)
    assert run(data, {"x": x})[0].shape == (2, 3)
    with pytest.raises(UnsupportedModel, match="opset 19 cannot hold this model: Gelu needs opset 20 and later"):
        model_bytes(loaded, opset=19)
    with pytest.raises(UnsupportedModel, match="no opset up to 15 holds this model"):
        model_bytes(loaded, max_opset=15)


def test_an_empty_intersection_names_both_nodes() -> None:
    """A per-group scale ends at 21, a 2-bit cast begins at 25."""
    feeds = {"x": floats(2, 6, 4), "s": floats(3), "b": floats(3)}
    loaded = load(one("GroupNormalization", feeds, 1, 18, num_groups=3))
    from geoc.ir.builder import Builder

    (first,) = loaded.graph
    first.loc = ("old one",)
    cast = Builder(loaded.graph, loc=("new one",)).op("Cast", first.output, to=TensorProto.UINT2)
    loaded.graph.set_outputs([cast], ["y"])
    with pytest.raises(UnsupportedModel, match=r"'old one' needs opset 18 to 20; .*'new one' needs opset 25"):
        model_bytes(loaded)


def test_lowered_where_an_old_node_has_no_newer_words() -> None:
    """A function may import an older opset than its model; its operators come along."""
    shrink = node("Resize", "a s", "r")
    function = helper.make_function("f", "F", ["a", "s"], ["r"], [shrink], [helper.make_opsetid("", 10)])
    body = graph(
        [node("Relu", "x", "t"), node("F", "t s", "y", domain="f")],
        [value("x", (1, 1, 4, 4)), value("s", (4,))],
        [value("y", (None,) * 4)],
    )
    loaded = load(model(body, opset=17, functions=[function], domains={"f": 1}, ir=8))
    data = model_bytes(loaded)
    assert opset_of(data) == 10
    feeds = {"x": floats(1, 1, 4, 4), "s": np.array([1, 1, 0.5, 0.5], np.float32)}
    assert run(data, feeds)[0].shape == (1, 1, 2, 2)


def test_opsets_before_7_are_left_where_possible() -> None:
    assert opset_of(model_bytes(relu(6, ir=3))) == 7


def test_custom_domains_keep_their_version() -> None:
    body = graph([node("Custom", "x", "t", domain="my.ops"), node("Relu", "t", "y")], [value("x")], [value("y")])
    written = onnx.ModelProto.FromString(model_bytes(load(model(body, domains={"my.ops": 7}))))
    assert {o.domain: o.version for o in written.opset_import} == {"": 17, "my.ops": 7}


def test_a_model_without_operators_of_the_default_domain() -> None:
    encoder = node("LabelEncoder", "x", "y", domain="ai.onnx.ml", keys_int64s=[1, 2], values_int64s=[3, 4])
    body = graph([encoder], [value("x", (2,), TensorProto.INT64)], [value("y", (2,), TensorProto.INT64)])
    source = model(body, ir=7, domains={"ai.onnx.ml": 2})
    del source.opset_import[0]
    data = model_bytes(load(source), max_opset=26, max_ir=13)
    assert list(run(data, {"x": ints(2, 1)})[0]) == [4, 3]


def test_ir_versions_are_those_that_onnx_pairs_with_opsets() -> None:
    empty = Model(relu(7).graph)
    for (domain, opset), ir in helper.OP_SET_ID_VERSION_MAP.items():
        if domain == "ai.onnx" and opset >= 9:
            assert ir_version(empty, opset, None) == max(ir, 4), f"opset {opset}"


def test_the_ir_version() -> None:
    found = onnx.ModelProto.FromString(model_bytes(relu(17, ir=10)))
    assert found.ir_version == 10
    assert onnx.ModelProto.FromString(model_bytes(relu(17, ir=10), max_ir=9)).ir_version == 9
    assert onnx.ModelProto.FromString(model_bytes(relu(7, ir=3))).ir_version == 4
    with pytest.raises(UnsupportedModel, match="opset 21 needs IR version 10, the target loads at most 9"):
        model_bytes(relu(21, ir=10), max_ir=9)


def test_the_cpu_target_knows_what_onnxruntime_loads() -> None:
    """Found out by loading: the newest that it says works, and one more does not."""
    target = get_target("cpu")
    x = floats(2, 3)
    newest = model_bytes(relu(target.max_opset, ir=target.max_ir))
    assert run(newest, {"x": x})[0].shape == (2, 3)
    for change in ({"opset": target.max_opset + 1}, {"ir": target.max_ir + 1}):
        proto = onnx.ModelProto.FromString(newest)
        proto.opset_import[0].version = change.get("opset", target.max_opset)
        proto.ir_version = change.get("ir", target.max_ir)
        with pytest.raises(Exception, match="opset|IR version"):
            run(proto, {"x": x})
