"""The trait tables against what the operators do on onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, defs

from geoc.ir.ops import Op, known_keys, op, traits

from .conformance import node_model, run

RANDOM = np.random.default_rng(1)
OPSET = 26

TABLES = {name: value for name, value in vars(traits).items() if name.isupper()}
# No kernel on the CPU, or text.
UNRUN = {
    "StringConcat",
    "SwiGLU",
    "Swish",
    "com.microsoft::BiasAdd",
    "com.microsoft::ComplexMul",
    "com.microsoft::GatedAdd",
}


def inputs_for(found: Op, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """An array of the shape for every single input and for two of a variadic list."""
    assert found.schema is not None
    arrays = {}
    for param in found.schema.inputs:
        if param.option == "optional":
            continue
        types = found.schema.types_of(param)
        for index in range(2 if param.option == "variadic" else 1):
            if "tensor(float)" in types:
                array: Any = RANDOM.uniform(0.1, 0.9, shape).astype(np.float32)
            elif "tensor(uint8)" in types:
                array = RANDOM.integers(1, 5, shape).astype(np.uint8)
            else:
                array = RANDOM.integers(0, 2, shape).astype(bool)
            if param.name == "condition":
                array = RANDOM.integers(0, 2, shape).astype(bool)
            arrays[f"{param.name}{index}"] = array
    return arrays


ATTRIBUTES: dict[str, dict[str, Any]] = {
    "Cast": {"to": TensorProto.INT32},
    "BitCast": {"to": TensorProto.INT32},
    "BitShift": {"direction": "LEFT"},
    "Mod": {"fmod": 1},
}


def apply(found: Op, arrays: dict[str, np.ndarray]) -> np.ndarray:
    attributes = ATTRIBUTES.get(found.key, {})
    node = onnx.helper.make_node(found.name, list(arrays), ["y"], domain=found.domain, **attributes)
    (output,) = run(node_model(node, arrays, OPSET), arrays)
    return np.asarray(output)


def test_tables_name_what_exists() -> None:
    for name, table in TABLES.items():
        assert set(table) <= set(known_keys()), name


@pytest.mark.parametrize("key", sorted(traits.COMMUTATIVE - UNRUN))
def test_commutative(key: str) -> None:
    arrays = inputs_for(op(key), (3, 4))
    (first, a), (second, b) = arrays.items()
    assert np.array_equal(apply(op(key), arrays), apply(op(key), {first: b, second: a}))


@pytest.mark.parametrize("key", sorted(traits.ELEMENTWISE - UNRUN))
def test_elementwise(key: str) -> None:
    """Permuting the elements of all inputs permutes those of the output."""
    found = op(key)
    arrays = inputs_for(found, (12,))
    order = RANDOM.permutation(12)
    mixed = {name: array[order] for name, array in arrays.items()}
    # Vector and scalar code may differ in the last bit.
    plain, permuted = apply(found, arrays)[order], apply(found, mixed)
    assert plain.shape == permuted.shape
    assert np.allclose(plain, permuted, rtol=1e-5, atol=0, equal_nan=True)


@pytest.mark.parametrize("key", sorted(traits.IDEMPOTENT))
def test_idempotent(key: str) -> None:
    found = op(key)
    x = RANDOM.standard_normal((4, 4)).astype(np.float32) * 3
    once = apply(found, {"x": x})
    assert np.array_equal(once, apply(found, {"x": once}))


@pytest.mark.parametrize("key", sorted(traits.INVOLUTION))
def test_involution(key: str) -> None:
    arrays = inputs_for(op(key), (3, 4))
    ((name, x),) = arrays.items()
    assert np.array_equal(apply(op(key), {name: apply(op(key), arrays)}), x)


@pytest.mark.parametrize("key", sorted(set(traits.NEUTRAL) - UNRUN))
def test_neutral(key: str) -> None:
    operand, value = traits.NEUTRAL[key]
    arrays = inputs_for(op(key), (3, 4))
    if key == "BitwiseAnd":
        arrays = {name: array.astype(np.int8) for name, array in arrays.items()}
    names = list(arrays)
    for side in (0, 1) if operand is None else (operand,):
        kept = arrays[names[1 - side]]
        found = dict(arrays)
        found[names[side]] = np.full(kept.shape, value, kept.dtype)
        assert np.array_equal(apply(op(key), found), kept)


def test_one_input_is_identity() -> None:
    x = RANDOM.standard_normal((3, 4)).astype(np.float32)
    for key in sorted(traits.ONE_INPUT_IS_IDENTITY):
        node = onnx.helper.make_node(key, ["x"], ["y"], **({"axis": 0} if key == "Concat" else {}))
        (y,) = run(node_model(node, {"x": x}, OPSET), {"x": x})
        assert np.array_equal(x, y)


def test_views_keep_the_order_of_elements() -> None:
    x = RANDOM.standard_normal((1, 6, 2)).astype(np.float32)
    second = {
        "Reshape": np.array([3, -1]),
        "Unsqueeze": np.array([1]),
        "Squeeze": np.array([0]),
        "com.microsoft::ExpandDims": np.array(1, np.int32),
    }
    for key in sorted(traits.VIEW - {"com.microsoft::SampleOp"}):
        arrays = {"x": x, **({"s": second[key]} if key in second else {})}
        assert np.array_equal(apply(op(key), arrays).ravel(), x.ravel()), key


def test_random_operators_are_those_of_onnx() -> None:
    """onnx's flag is right about these; the others it calls random depend on bodies or a mode."""
    flagged = {
        schema.name
        for schema in defs.get_all_schemas()
        if schema.node_determinism.name == "NonDeterministic"
    }
    ours = {key for key in traits.RANDOM if "::" not in key}
    assert flagged - ours == {"AffineGrid", "Dropout", "If", "Loop", "Scan", "SequenceMap"}
    assert ours <= flagged


def test_guarantees() -> None:
    assert op("Add").pure
    assert op("Add").deterministic
    assert op("RandomNormal").pure
    assert not op("RandomNormal").deterministic
    assert op("Dropout").pure
    assert not op("Dropout").deterministic
    assert op("Dropout").training_input == 2
    assert not op("If").pure
    assert op("If").has_regions
    assert not op("com.microsoft::EPContext").pure
    assert op("com.microsoft::BeamSearch").has_regions


def test_training_input_is_the_training_mode() -> None:
    for key, index in traits.TRAINING_INPUT.items():
        schema = op(key).schema
        assert schema is not None
        assert schema.inputs[index].name == "training_mode"


def test_region_operators_are_the_known_ones() -> None:
    found = {key for key in known_keys() if op(key).has_regions}
    assert found == {
        "If",
        "Loop",
        "Scan",
        "SequenceMap",
        "ai.onnx.preview::FlexAttention",
        "com.microsoft::BeamSearch",
        "com.microsoft::GreedySearch",
        "com.microsoft::Sampling",
        "com.microsoft::WhisperBeamSearch",
    }
