"""Damaged .xml and .bin files: one line, bounded time and memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from openvino import opset15 as o

from geoc.frontends.openvino import load_openvino
from geoc.ir.core import Model

from ...fuzz.mutations import COUNT, check_mutations
from .running import constant, floats, parameter, saved
from .test_control import sums
from .test_quantized import dequantized


def kinds(folder: Path) -> str:
    """A model with windows, slices, a body, a recurrence and weights in groups."""
    x, y = parameter(1, 2, 8, 8), parameter(-1, 64)
    image = o.convolution(x, constant(floats(4, 2, 3, 3)), [1, 1], [1, 1], [1, 1], [1, 1])
    image = o.max_pool(image, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2], "floor", "explicit", "i64", 0).output(0)
    image = o.fake_quantize(image, *(constant(bound, np.float32) for bound in (-1.28, 1.27, -1.28, 1.27)), 256)
    image = o.strided_slice(image, constant([0, 1]), constant([0, 3]), constant([1, 1]), [1, 0], [1, 0], [], [], [])
    image = o.interpolate(image, constant([8, 8]), "nearest", "sizes", axes=constant([2, 3]), pads_begin=[0], pads_end=[0])
    weights = o.reshape(dequantized("u4", (6, 2, 32), (6, 2, 1), True, False), constant([6, 64]), False)
    product = o.softmax(o.matmul(y, weights, False, True), -1)
    steps = o.lstm_sequence(
        parameter(2, 5, 3), constant(floats(2, 1, 4)), constant(floats(2, 1, 4)), constant([5, 3], np.int32),
        constant(floats(1, 16, 3)), constant(floats(1, 16, 4)), constant(floats(1, 16)), 4, "forward",
    )  # fmt: skip
    inner, inputs = sums()
    sequence = steps.input_value(0).get_node()
    return saved(folder, [image, product, steps.output(0), *inner], [x, y, sequence, *inputs])


@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_damaged_files(suffix: str, tmp_path: Path) -> None:
    path = Path(kinds(tmp_path))
    mutant = tmp_path / "mutant"
    for end in (".xml", ".bin"):
        shutil.copy(path.with_suffix(end), f"{mutant}{end}")

    def read(_: str) -> Model:
        return load_openvino(f"{mutant}.xml")

    found = check_mutations(read, path.with_suffix(suffix).read_bytes(), COUNT, 0, tmp_path, suffix)
    assert sum(found.values()) == COUNT and (suffix == ".bin" or found["refused"] > COUNT // 4)
