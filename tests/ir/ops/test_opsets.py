"""Which opsets admit a use, and that a revision means one thing, on the ONNX conformance cases."""

from __future__ import annotations

import onnx
import pytest

from geoc.ir.ops import min_opset, op, opsets, resolve, why_not

from .conformance import run, same, single_node_cases

F32, I32, I64, I8 = "tensor(float)", "tensor(int32)", "tensor(int64)", "tensor(int8)"
# onnxruntime 1.31 loads no more, and promises nothing for less.
OLDEST, NEWEST = 7, 26


def test_every_conformance_case_is_admitted_at_its_own_opset() -> None:
    cases = single_node_cases()
    assert len(cases) > 1400
    for case in cases:
        found = resolve(case.node.domain, case.node.op_type, case.opset)
        intervals = opsets(found, *case.use)
        assert any(
            low <= case.opset and (high is None or case.opset < high) for low, high in intervals
        ), (case.name, intervals, [why_not(s, *case.use, op=found) for s in found.schemas])


def stamped(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The model at another opset, without the attributes that opset does not know."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for entry in copy.opset_import:
        if entry.domain == "":
            entry.version = opset
    copy.ir_version = min(copy.ir_version, 10) if opset < 23 else 11
    node = copy.graph.node[0]
    schema = resolve("", node.op_type, opset).schema_at(opset)
    assert schema is not None
    kept = [attribute for attribute in node.attribute if attribute.name in schema.attributes]
    del node.attribute[:]
    node.attribute.extend(kept)
    return copy


def test_one_revision_is_one_meaning() -> None:
    """Every case gives the same outputs at all opsets that the tables say admit it."""
    compared = 0
    for case in single_node_cases():
        found = resolve(case.node.domain, case.node.op_type, case.opset)
        if case.node.domain or not found.deterministic:
            continue
        last = min(NEWEST, (found.until or NEWEST + 1) - 1)
        candidates = {schema.since for schema in found.schemas} | {last}
        outputs = []
        for low, high in opsets(found, *case.use):
            for opset in candidates:
                if low <= opset < (high or NEWEST + 1) and OLDEST <= opset <= NEWEST:
                    try:
                        outputs.append(run(stamped(case.model, opset), case.feeds))
                    except (RuntimeError, NotImplementedError, ValueError):
                        continue  # no kernel for the types or the attributes at this opset
                    except Exception as error:
                        # onnxruntime's own exception classes have no public common base
                        if not type(error).__module__.startswith("onnxruntime"):
                            raise
        compared += len(outputs) - 1 if outputs else 0
        assert all(same(outputs[0], other) for other in outputs[1:]), case.name
    assert compared > 1500


@pytest.mark.parametrize(
    ("name", "use", "expected"),
    [
        ("Add", ([True, True], ["tensor(bfloat16)"] * 2, {}, 1), ((13, None),)),
        ("Add", ([True, True], [None, None], {}, 1), ((7, None),)),
        ("Add", ([True, True], [F32, I64], {}, 1), ()),
        ("Add", ([True], [F32], {}, 1), ()),
        ("Add", ([True, True], [F32, F32], {"axis": 1}, 1), ()),
        ("Add@6", ([True, True], [F32, F32], {"axis": 1}, 1), ((6, 7),)),
        ("MaxPool", ([True], [F32], {"kernel_shape": (2, 2)}, 1), ((1, None),)),
        ("MaxPool", ([True], [F32], {"kernel_shape": (2, 2), "ceil_mode": 0}, 1), ((1, None),)),
        ("MaxPool", ([True], [F32], {"kernel_shape": (2, 2), "ceil_mode": 1}, 1), ((10, None),)),
        ("MaxPool", ([True], [F32], {"kernel_shape": (2, 2)}, 2), ((8, None),)),
        ("MaxPool", ([True], [F32], {}, 1), ()),
        ("Gemm", ([True, True], [F32, F32], {}, 1), ((11, None),)),
        ("Gemm", ([True, True, True], [F32, F32, F32], {}, 1), ((7, None),)),
        ("Concat", ([True, True], [F32, F32], {"axis": 1}, 1), ((4, None),)),
        ("Concat", ([True, True], [F32, F32], {"axis": -1}, 1), ((11, None),)),
        ("Squeeze@1", ([True], [F32], {"axes": (0, -1)}, 1), ((11, 13),)),
        ("Mod", ([True, True], [I64, I64], {}, 1), ((10, None),)),
        ("Mod", ([True, True], [F32, F32], {}, 1), ((28, None),)),
        ("Mod", ([True, True], [F32, F32], {"fmod": 1}, 1), ((10, None),)),
        ("Pad", ([True, True], [F32, I64], {"mode": "wrap"}, 1), ((19, None),)),
        ("Pad", ([True, True, False, True], [F32, I64, None, I64], {}, 1), ((18, None),)),
        # The scale's type was tied to the input's in between.
        ("QuantizeLinear", ([True] * 3, [I32, F32, I8], {}, 1), ((10, 19), (23, None))),
        ("Erf", ([True], [I32], {}, 1), ((9, 13),)),
        ("Upsample", ([True, True], [F32, F32], {}, 1), ()),
        ("Upsample@9", ([True, True], [F32, F32], {}, 1), ((9, 10),)),
        ("my.domain::Thing", ([], [], {"x": 1}, 3), ((1, None),)),
    ],
)
def test_opsets(name: str, use: tuple, expected: tuple) -> None:
    assert opsets(op(name), *use) == expected
    assert min_opset(op(name), *use) == (expected[0][0] if expected else None)


@pytest.mark.parametrize(
    ("name", "use", "reason"),
    [
        ("Add", ([True], [F32], {}, 1), "1 inputs, at least 2 needed"),
        ("Add", ([True] * 3, [F32] * 3, {}, 1), "3 inputs, at most 2 allowed"),
        ("Gemm", ([False, True], [None, F32], {}, 1), "input A is missing"),
        ("Relu", ([True], [F32], {}, 2), "2 outputs, at most 1 allowed"),
        ("Relu", ([True], [F32], {"alpha": 1.0}, 1), "attribute alpha is not known"),
        ("Cast", ([True], [F32], {}, 1), "attribute to is required"),
        ("Relu", ([True], ["tensor(string)"], {}, 1), "X does not admit tensor(string)"),
        ("Add", ([True, True], [F32, I64], {}, 1), "B is tensor(int64), but T is tensor(float)"),
        ("Scatter", ([True] * 3, [F32, I64, F32], {}, 1), "Scatter was removed in opset 11"),
    ],
)
def test_reasons(name: str, use: tuple, reason: str) -> None:
    found = op(name)
    assert found.schema is not None
    answer = why_not(found.schema, *use, op=found)
    assert answer is not None
    assert answer.startswith(reason)


def test_types_of_outputs_are_bound_with_those_of_inputs() -> None:
    relu = op("Relu")
    assert min_opset(relu, [True], [F32], {}, 1, [F32]) == 6
    assert min_opset(relu, [True], [F32], {}, 1, [I32]) is None
    loop = op("Loop")
    use = ([False, True, True, True], [None, "tensor(bool)", F32, I64], {"body": object()}, 2)
    assert min_opset(loop, *use, [F32, I64]) == 1
