"""The table of operators beside onnx's conformance cases, and those of com.microsoft beside onnxruntime."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ...conformance.cases import Case, node_cases
from ...conformance.judges import CannotRun, difference, is_random, on_onnxruntime

torch = pytest.importorskip("torch", reason="distillation is not tested: it needs torch (pip install 'geoc[distill]')")

from geoc.frontends.onnx import load_onnx  # noqa: E402
from geoc.ir.errors import UnsupportedModel  # noqa: E402
from geoc.tools.distill.module import GraphModule  # noqa: E402
from geoc.tools.distill.operators import TABLE  # noqa: E402
from geoc.tools.distill.weights import trainable  # noqa: E402

LACKING = (
    "torch has no type for f8", "torch has no type for f4", "torch has no type for u4", "torch has no type for i4",
    "torch has no type for u2", "torch has no type for i2", "codes of f4e2m1", "nonpad_kv_seqlen", "windows",
    "statistics of a batch", "its second output, the indices", "its graph inside", "reduction=m",
)  # fmt: skip
"""What the functions say that they do not do; each has to be met."""
APART = (
    "test_reduce_max_empty_set", "test_reduce_max_empty_set_bool", "test_reduce_min_empty_set",  # of no number
    "test_top_k_uint64",  # torch does not sort them, and onnxruntime has no kernel
)  # fmt: skip


def cases() -> Iterator[Case]:
    """Those with an operator of the table whose inputs are numbers."""
    for case in node_cases():
        arrays = [*case.feeds.values(), *case.expected]
        if is_random(case.data) or case.name in APART:
            continue
        if all(isinstance(array, np.ndarray) and array.dtype.kind not in "OUS" for array in arrays):
            yield case


def found_by_torch(case: Case) -> tuple[set[str], list[Any] | str | None]:
    """The operators of the table in a case, and its outputs, or what is lacking; None without such operators."""
    model = load_onnx(case.data)
    operators = {node.op.key for node in model.walk()} & set(TABLE)
    if not operators:
        return operators, None
    try:
        with torch.no_grad():
            tensors = GraphModule(model, [])(case.feeds)
    except UnsupportedModel as error:
        return operators, str(error)
    return operators, [t.float().numpy() if t.dtype == torch.bfloat16 else t.numpy() for t in tensors]


def fault(case: Case, found: list[Any]) -> str | None:
    """How it differs from what the case expects and from onnxruntime, whose kernels are the ones that count."""
    narrow = [a if a.dtype.kind in "fiub" and a.dtype.isbuiltin == 1 else a.astype(np.float32) for a in case.expected]
    unit = 2.0**-7 if any(a is not b for a, b in zip(narrow, case.expected)) else 2.0**-10
    coarse = any(a is not b or a.dtype == np.float16 for a, b in zip(narrow, case.expected))
    judged = case._replace(rtol=max(case.rtol, unit), atol=max(case.atol, unit)) if coarse else case
    cast = [b.astype(a.dtype) for a, b in zip(narrow, found)]
    said = difference(judged, narrow, cast)
    if said is None:
        return None
    try:
        other = on_onnxruntime(case.data, case.feeds)
    except CannotRun:
        return said
    return None if difference(judged, other, [b.astype(a.dtype) for a, b in zip(other, found)]) is None else said




def test_conformance_cases_give_what_they_expect() -> None:
    right: set[str] = set()
    lacking: set[str] = set()
    faults = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cases overflow and divide by zero on purpose
        for case in cases():
            operators, found = found_by_torch(case)
            if isinstance(found, str):
                known = {reason for reason in LACKING if reason in found}
                lacking |= known
                faults += [] if known else [f"{case.name}: {found}"]
            elif found is not None:
                said = fault(case, found)
                right |= set() if said else operators
                faults += [f"{case.name}: {said}"] if said else []
    assert not faults, "\n".join(faults)
    others = {key for key in TABLE if key.startswith("com.microsoft::")} | {"SimplifiedLayerNormalization", "GlobalLpPool"}
    assert set(TABLE) - right == others  # these are in the tests below
    assert lacking == set(LACKING)


RNG = np.random.default_rng(0)


def numbers(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


MS = "com.microsoft"
FUSED = {
    "MultiHeadAttention": (MS, [numbers(2, 3, 8), numbers(2, 5, 8), numbers(2, 5, 8), numbers(24)], {"num_heads": 2}, 1),
    "FusedMatMul": (MS, [numbers(2, 5, 4), numbers(2, 3, 5)], {"transA": 1, "transB": 1, "alpha": 0.5}, 1),
    "Gelu": (MS, [numbers(3, 5)], {}, 1),
    "BiasGelu": (MS, [numbers(3, 5), numbers(5)], {}, 1),
    "FastGelu": (MS, [numbers(3, 5), numbers(5)], {}, 1),
    "QuickGelu": (MS, [numbers(3, 5)], {"alpha": 1.5}, 1),
    "SkipLayerNormalization": (MS, [numbers(2, 3, 8), numbers(2, 3, 8), numbers(8), numbers(8), numbers(8)], {"epsilon": 1e-3}, 1),
    "SkipSimplifiedLayerNormalization": (MS, [numbers(2, 3, 8), numbers(2, 3, 8), numbers(8), numbers(8)], {"epsilon": 1e-3}, 1),
    "SimplifiedLayerNormalization": ("", [numbers(2, 3, 8), numbers(8)], {"axis": -1, "epsilon": 1e-3}, 1),
    "GlobalLpPool": ("", [numbers(2, 3, 4, 5)], {"p": 3}, 1),
}


def one_node(op: str, arrays: list[Any], attrs: dict[str, Any], domain: str = "", outputs: int = 1, constants: int = 0) -> bytes:
    """A model of one node whose last operands are constants."""
    names = [f"x{i}" for i in range(len(arrays))]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, results, domain=domain, **attrs)
    kinds = [helper.np_dtype_to_tensor_dtype(array.dtype) for array in arrays]
    given = len(arrays) - constants
    graph = helper.make_graph(
        [node], "main",
        [helper.make_tensor_value_info(n, k, a.shape) for n, k, a in zip(names[:given], kinds, arrays)],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, None) for y in results],
        [numpy_helper.from_array(a, n) for n, a in zip(names[given:], arrays[given:])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


@pytest.mark.parametrize("op", FUSED)
def test_operators_of_onnxruntime(op: str) -> None:
    domain, arrays, attrs, outputs = FUSED[op]
    data = one_node(op, arrays, attrs, domain, outputs)
    feeds = {f"x{i}": array for i, array in enumerate(arrays)}
    with torch.no_grad():
        found = GraphModule(load_onnx(data), [])(feeds)
    for a, b in zip(on_onnxruntime(data, feeds), found):
        np.testing.assert_allclose(b.numpy(), a, rtol=2e-5, atol=2e-5)


GRADED = {
    "Gemm": ([numbers(3, 4), numbers(4, 5), numbers(5)], {}),
    "Conv": ([numbers(2, 4, 5, 5), numbers(6, 2, 3, 3), numbers(6)], {"group": 2, "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "ConvTranspose": ([numbers(1, 3, 4, 4), numbers(3, 2, 3, 3), numbers(2)], {"strides": [2, 2], "pads": [1, 0, 0, 1], "output_padding": [1, 1]}),
    "LayerNormalization": ([numbers(2, 3, 6), numbers(6), numbers(6)], {}),
    "BatchNormalization": ([numbers(2, 3, 4), numbers(3), numbers(3), numbers(3), np.abs(numbers(3)) + 1], {}),
    "LSTM": ([numbers(3, 2, 4), numbers(2, 12, 4), numbers(2, 12, 3), numbers(2, 24)], {"hidden_size": 3, "direction": "bidirectional"}),
    "GRU": ([numbers(3, 2, 4), numbers(1, 9, 4), numbers(1, 9, 3), numbers(1, 18)], {"hidden_size": 3, "linear_before_reset": 1}),
    "PRelu": ([numbers(2, 3, 4), np.abs(numbers(3, 1))], {}),
    "Gather": ([numbers(5, 4), np.array([[0, 3], [-1, 0]])], {}),
}  # fmt: skip


@pytest.mark.parametrize("op", GRADED)
def test_gradients_are_the_slopes_that_onnxruntime_shows(op: str) -> None:
    """Along a random direction of the weights, the sum of the result changes as the gradient says."""
    arrays, attrs = GRADED[op]
    if op == "Gather":
        data, feeds = gather(arrays), {"x1": arrays[1]}
    else:
        data, feeds = one_node(op, arrays, attrs, constants=len(arrays) - 1), {"x0": arrays[0]}
    model = load_onnx(data)
    module = GraphModule(model, trainable(model))
    weighting = torch.from_numpy(RNG.standard_normal(tuple(module(feeds)[0].shape)))
    (module(feeds)[0].double() * weighting).sum().backward()
    directions = [RNG.standard_normal(tuple(p.shape)).astype(np.float32) for p in module.learned]
    slope = sum(float((p.grad * torch.from_numpy(d)).sum()) for p, d in zip(module.learned, directions))
    starts = [p.detach().numpy().copy() for p in module.learned]

    def shifted(by: float) -> float:
        from geoc.lowering.onnx import model_bytes

        for weight, start, direction in zip(module.weights, starts, directions):
            weight.put(start + by * direction)
        return float((on_onnxruntime(model_bytes(model), feeds)[0].astype(np.float64) * weighting.numpy()).sum())

    step = 2e-3
    assert slope == pytest.approx((shifted(step) - shifted(-step)) / (2 * step), rel=2e-2, abs=2e-2)


def gather(arrays: list[Any]) -> bytes:
    """A table that is picked from."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["x0", "x1"], ["y0"])], "main",
        [helper.make_tensor_value_info("x1", TensorProto.INT64, arrays[1].shape)],
        [helper.make_tensor_value_info("y0", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(arrays[0], "x0")],
    )  # fmt: skip
    opset = helper.make_opsetid("", 17)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())


def test_a_planted_fault_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison of cases is able to fail."""
    case = next(case for case in node_cases() if case.name == "test_relu")
    monkeypatch.setitem(TABLE, "Relu", TABLE["Identity"])
    _, found = found_by_torch(case)
    assert isinstance(found, list) and fault(case, found) is not None
    assert onnx.ModelProto.FromString(case.data).graph.node[0].op_type == "Relu"
