"""Statistics of weights, beside numpy's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from geoc.ir.tensor import MappedFile, Tensor
from geoc.ir.types import BF16, F32, I4, I64
from geoc.tools.view.weights import BINS, EXACT, SAMPLED, described


def test_small_ones_are_written_out() -> None:
    found = described(Tensor.of([1, 2, 3], I64), "axes")
    assert found["text"] == "[1, 2, 3]" and "stats" not in found


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int8, np.uint8, np.int64])
def test_statistics_are_numpys(dtype: type) -> None:
    array = (np.random.default_rng(1).standard_normal((40, 30)) * 20).astype(dtype)
    array[0, :7] = 0
    stats = described(Tensor.from_array(array), "w")["stats"]
    for name, value in (("min", array.min()), ("max", array.max()), ("mean", array.mean(dtype=np.float64)), ("std", array.std(dtype=np.float64)), ("zeros", (array == 0).mean())):
        assert stats[name] == pytest.approx(float(value), rel=1e-4, abs=1e-4)
    assert sum(stats["bins"]) == array.size and len(stats["bins"]) == BINS
    assert stats["bins"] == np.histogram(array.astype(np.float64), BINS)[0].tolist() or dtype is not np.float64
    assert "of" not in stats


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    array = np.array([np.nan, np.inf, -np.inf, *range(20)], np.float32)
    stats = described(Tensor.from_array(array), "w")["stats"]
    assert stats["not_finite"] == 3 and (stats["min"], stats["max"]) == (0, 19)
    nothing = described(Tensor.from_array(np.full(20, np.nan, np.float32)), "w")
    assert json.loads(json.dumps(nothing, allow_nan=False))["stats"] == {"not_finite": 20}


def test_types_that_numpy_lacks() -> None:
    half = described(Tensor.from_array(np.linspace(-1, 1, 33).astype(BF16.numpy), BF16), "w")["stats"]
    assert (half["min"], half["max"]) == (-1, 1)
    packed = described(Tensor.from_array(np.arange(-8, 8).astype(I4.numpy), I4), "w")["stats"]
    assert (packed["min"], packed["max"], packed["mean"]) == (-8, 7, -0.5)


def test_a_splat_is_not_spelled_out() -> None:
    stats = described(Tensor.of_splat(3.0, (1 << 20, 1 << 10), F32), "w")["stats"]
    assert (stats["min"], stats["max"], stats["std"]) == (3, 3, 0) and "bins" not in stats


def test_large_ones_are_sampled_over_all_of_them(tmp_path: Path) -> None:
    count = EXACT + 4096
    np.arange(count, dtype=np.float32).tofile(tmp_path / "w")
    stats = described(Tensor(F32, (count,), file=MappedFile(tmp_path / "w")), "w")["stats"]
    assert stats["of"] == SAMPLED
    assert stats["min"] == 0 and stats["max"] == pytest.approx(count - 1, rel=1e-4)
    assert stats["mean"] == pytest.approx(count / 2, rel=0.01)
