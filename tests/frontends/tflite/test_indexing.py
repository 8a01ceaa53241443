"""Operators that take elements by their positions, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoc.frontends.tflite import load_tflite
from geoc.ir.errors import UnsupportedModel

from .building import File
from .running import run

RNG = np.random.default_rng(4)
X = RNG.standard_normal((2, 3, 4)).astype(np.float32)
ROWS = np.array([[2, 0], [1, 1]], np.int32)
UPDATES = RNG.standard_normal((3, 2)).astype(np.float32)


def _reversed() -> Any:
    y = X.copy()
    y[0, :2] = X[0, 1::-1]
    y[1] = X[1, ::-1]
    return y


def _updated(row: int, column: int) -> Any:
    y = X.copy()
    y[0, row : row + 2, column : column + 2] = UPDATES[:2]
    return y


Case = tuple[str, list[Any], str, dict[str, Any], str, Any]
CASES: dict[str, Case] = {
    "rows of each batch": ("GATHER", [X, ROWS], "GatherOptions", {"Axis": 1, "BatchDims": 1}, "float32", np.stack([X[0][[2, 0]], X[1][[1, 1]]])),
    "columns of each batch": ("GATHER", [X, ROWS], "GatherOptions", {"Axis": 2, "BatchDims": 1}, "float32", np.stack([X[0][:, [2, 0]], X[1][:, [1, 1]]])),
    "embeddings": ("EMBEDDING_LOOKUP", [np.array([2, 0, 2], np.int32), UPDATES], "", {}, "float32", UPDATES[[2, 0, 2]]),
    "one hot": ("ONE_HOT", [np.array([2, 0, -1, 5], np.int32), np.array(3), np.float32(2), np.float32(-1)], "OneHotOptions", {"Axis": -1}, "float32",
                np.array([[-1, -1, 2], [2, -1, -1], [-1, -1, -1], [-1, -1, -1]])),
    "one hot in front": ("ONE_HOT", [ROWS, np.array(3), np.float32(1), np.float32(0)], "OneHotOptions", {"Axis": 0}, "float32", np.eye(3)[ROWS].transpose(2, 0, 1)),
    "scatter": ("SCATTER_ND", [np.array([[1], [3], [1]], np.int32), UPDATES, [5, 2]], "", {}, "float32",
                np.stack([0 * UPDATES[0], UPDATES[0] + UPDATES[2], 0 * UPDATES[0], UPDATES[1], 0 * UPDATES[0]])),
    "where": ("WHERE", [X > 0], "", {}, "int64", np.argwhere(X > 0)),
    "reverse sequences": ("REVERSE_SEQUENCE", [X, [2, 3]], "ReverseSequenceOptions", {"SeqDim": 1, "BatchDim": 0}, "float32", _reversed()),
    "reverse sequences behind": ("REVERSE_SEQUENCE", [X.transpose(0, 2, 1).copy(), [2, 3]], "ReverseSequenceOptions", {"SeqDim": 2, "BatchDim": 0}, "float32", _reversed().transpose(0, 2, 1)),
    "update": ("DYNAMIC_UPDATE_SLICE", [X, UPDATES[None, :2], [0, 1, 2]], "", {}, "float32", _updated(1, 2)),
    "update that would not fit": ("DYNAMIC_UPDATE_SLICE", [X, UPDATES[None, :2], [0, 2, 7]], "", {}, "float32", _updated(1, 2)),
    "update of rows": ("DYNAMIC_UPDATE_SLICE", [X, np.ones((2, 2, 4), np.float32), [0, -1, 0]], "", {}, "float32", np.concatenate([np.ones((2, 2, 4)), X[:, 2:]], 1)),
    "rank": ("RANK", [X], "", {}, "int32", np.array(3)),
    "common shape": ("BROADCAST_ARGS", [np.array([3, 1, 5], np.int32), [2, 1]], "", {}, "int32", np.array([3, 2, 5])),
    "angles": ("ATAN2", [np.float32([0, 1, -1, 1, -1, 0, 2, -2]), np.float32([0, 0, 0, -1, -1, -2, 3, 3])], "", {}, "float32",
               np.arctan2([0, 1, -1, 1, -1, 0, 2, -2], [0, 0, 0, -1, -1, -2, 3, 3])),
    "different bits": ("BITWISE_XOR", [ROWS, [[3, 1], [7, 0]]], "BitwiseXorOptions", {}, "int32", ROWS ^ [[3, 1], [7, 0]]),
    "shift": ("RIGHT_SHIFT", [np.array([9, -9, 8, -1], np.int32), [1, 1, 3, 4]], "RightShiftOptions", {}, "int32", np.array([4, -5, 1, -1])),
    "blocks to batches": ("SPACE_TO_BATCH_ND", [X[..., None], [2, 2], [[1, 0], [0, 2]]], "", {}, "float32",
                          np.pad(X, [(0, 0), (1, 0), (0, 2)]).reshape(2, 2, 2, 3, 2).transpose(2, 4, 0, 1, 3).reshape(8, 2, 3, 1)),
    "batches to blocks": ("BATCH_TO_SPACE_ND", [np.arange(24, dtype=np.float32).reshape(4, 2, 3, 1), [2, 2], [[1, 0], [0, 2]]], "", {}, "float32",
                          np.arange(24).reshape(2, 2, 1, 2, 3).transpose(2, 3, 0, 4, 1).reshape(1, 4, 6, 1)[:, 1:, :4]),
    "blocks of a sequence": ("SPACE_TO_BATCH_ND", [X, [2], [[1, 0]]], "", {}, "float32",
                             np.pad(X, [(0, 0), (1, 0), (0, 0)]).reshape(2, 2, 2, 4).transpose(2, 0, 1, 3).reshape(4, 2, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    operator, operands, options, fields, dtype, expected = CASES[name]
    f, x = File(), np.asarray(operands[0])
    inputs = [f.input(x.dtype.name, x.shape), *(f.const(np.asarray(operand)) for operand in operands[1:])]
    found = run(f.data(f.op(operator, inputs, [f.tensor(dtype, ())], options, **fields)), x)[0]
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("scale", [0.1, [0.1, 0.2, 0.05]])
def test_rows_of_a_quantized_table_are_dequantized_after_they_are_found(scale: Any) -> None:
    f, table = File(), RNG.integers(-127, 128, (3, 4)).astype(np.int8)
    rows = f.input("int32", (4,))
    y = f.op("EMBEDDING_LOOKUP", [rows, f.const(table, scale=scale)], [f.tensor("float32", ())])
    data = f.data(y)
    found = run(data, np.array([2, 0, 1, 2], np.int32), asked=False)[0]
    expected = (table * np.reshape(scale, (-1, 1)))[[2, 0, 1, 2]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert [n.op.name for n in load_tflite(data).walk()][-1] in ("DequantizeLinear", "Mul")


def test_different_elements_and_where_each_one_is() -> None:
    f, x = File(), np.array([3, 1, 3, 2, 1], np.int32)
    results = [f.tensor("int32", ()), f.tensor("int32", ())]
    f.op("UNIQUE", [f.input("int32", (5,))], results, "UniqueOptions", IdxOutType=2)
    found = run(f.data(*results), x)
    np.testing.assert_array_equal(found[0], [3, 1, 2])
    np.testing.assert_array_equal(found[1], [0, 1, 0, 2, 1])


def _boxes(count: int) -> tuple[Any, Any]:
    corners = RNG.uniform(0, 5, (count, 2))
    return np.concatenate([corners, corners + RNG.uniform(1, 3, (count, 2))], 1).astype(np.float32), RNG.random(count).astype(np.float32)


@pytest.mark.parametrize("name", ["NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"])
@pytest.mark.parametrize("most", [4, 30])
def test_boxes_that_overlap_no_better_one(name: str, most: int) -> None:
    f, (boxes, scores) = File(), _boxes(20)
    limits = [f.const(np.array(most), ()), f.const(np.float32(0.3), ()), f.const(np.float32(0.2), ())]
    inputs = [f.input("float32", boxes.shape), f.input("float32", scores.shape), *limits]
    results = [f.tensor("int32", ())]
    if name.endswith("V5"):
        inputs.append(f.const(np.float32(0), ()))
        results.append(f.tensor("float32", ()))
    results.append(f.tensor("int32", ()))
    f.op(name, inputs, results, name.title().replace("_", "") + "Options")
    found = run(f.data(*results), boxes, scores)
    count = int(found[-1])
    assert 1 < count <= 4 if most == 4 else 4 < count < 20
    assert (np.diff(scores[found[0][:count]]) < 0).all() and not found[0][count:].any()


def test_lowering_the_scores_of_others_is_refused() -> None:
    f = File()
    limits = [f.const(np.array(3), ()), *(f.const(np.float32(v), ()) for v in (0.3, 0.2, 0.5))]
    results = [f.tensor("int32", ()), f.tensor("float32", ()), f.tensor("int32", ())]
    f.op("NON_MAX_SUPPRESSION_V5", [f.input("float32", (5, 4)), f.input("float32", (5,)), *limits], results)
    with pytest.raises(UnsupportedModel, match="NON_MAX_SUPPRESSION_V5: lowers the scores of boxes that overlap"):
        load_tflite(f.data(*results))
