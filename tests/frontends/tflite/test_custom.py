"""Custom operators: detection against LiteRT, which has it; MediaPipe's pools and crops against loops."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers

from geoc.frontends.tflite import load_tflite
from geoc.frontends.tflite.flexbuffer import read_map
from geoc.ir.errors import FormatError, UnsupportedModel

from .building import File
from .running import run

RNG = np.random.default_rng(8)


def _options(**values: Any) -> bytes:
    return bytes(flexbuffers.Dumps(values))


def test_options_of_every_kind_of_number() -> None:
    values = {"a": 3, "b": -70000, "c": 0.25, "d": True, "e": [1, 2, 300], "f": [0.5, 2.5], "g": "text", "h": 2**40}
    found = read_map(_options(**values))
    assert found == {name: value for name, value in values.items() if name != "g"}


@pytest.mark.parametrize("data", [b"", b"\0\0\0", _options(a=1)[:-1], b"\xff" * 30, b"\x01\x24\xff"])
def test_options_that_are_no_map_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="has options that are no map"):
        read_map(data)


def _detection(regular: bool, background: bool, boxes: int = 30, wanted: int = 6) -> tuple[bytes, Any, Any]:
    f, classes = File(), 3
    encoded = RNG.normal(0, 0.5, (1, boxes, 4)).astype(np.float32)
    scores = RNG.random((1, boxes, classes + background)).astype(np.float32)
    anchors = np.concatenate([RNG.random((boxes, 2)), RNG.uniform(0.1, 0.4, (boxes, 2))], 1).astype(np.float32)
    custom = _options(
        max_detections=wanted, max_classes_per_detection=1, detections_per_class=4, use_regular_nms=regular,
        nms_score_threshold=0.3, nms_iou_threshold=0.4, num_classes=classes, y_scale=10.0, x_scale=10.0, h_scale=5.0, w_scale=5.0,
    )  # fmt: skip
    results = [f.tensor("float32", ()) for _ in range(4)]
    inputs = [f.input("float32", encoded.shape), f.input("float32", scores.shape), f.const(anchors)]
    f.op("TFLite_Detection_PostProcess", inputs, results, custom=custom)
    return f.data(*results), encoded, scores


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("regular", [False, True])
def test_detection(regular: bool, background: bool) -> None:
    data, encoded, scores = _detection(regular, background)
    boxes, classes, found, count = run(data, encoded, scores)
    assert boxes.shape == (1, 6, 4) and count.tolist() == [6.0]
    assert (np.diff(found[0]) <= 0).all() and len(set(classes[0])) > 1


def test_what_is_behind_the_last_detection_is_zero() -> None:
    data, encoded, scores = _detection(False, True, boxes=4)
    boxes, classes, found, count = run(data, encoded, scores, asked=False)
    last = int(count[0])
    assert 0 < last <= 4
    assert not boxes[0, last:].any() and not classes[0, last:].any() and not found[0, last:].any()


def _pool_options(same: bool, stride: int, window: int) -> bytes:
    return struct.pack("<6i", 1 if same else 2, stride, stride, window, window, 0)


@pytest.mark.parametrize(("size", "window", "same"), [(6, 2, True), (7, 3, True), (6, 3, False)])
def test_max_pool_with_places_and_back(size: int, window: int, same: bool) -> None:
    f, x = File(), RNG.standard_normal((1, size, size, 2)).astype(np.float32)
    results = [f.tensor("float32", ()), f.tensor("float32", ())]
    f.op("MaxPoolingWithArgmax2D", [f.input("float32", x.shape)], results, custom=_pool_options(same, window, window))
    back = f.op("MaxUnpooling2D", results, [f.tensor("float32", ())], custom=_pool_options(same, window, window))
    pooled, places, wide = run(f.data(*results, back), x, asked=False)
    count = -(-size // window) if same else size // window
    before = max((count - 1) * window + window - size, 0) // 2 if same else 0
    for r in range(count):
        for c in range(count):
            for k in range(2):
                i, j = r * window - before, c * window - before
                part = x[0, max(i, 0) : i + window, max(j, 0) : j + window, k]
                assert pooled[0, r, c, k] == part.max()
                place = int(places[0, r, c, k])
                assert x[0, i + place // window, j + place % window, k] == part.max()
                assert wide[0, r * window + place // window, c * window + place % window, k] == part.max()
    assert np.count_nonzero(wide) == pooled.size and wide.shape == (1, count * window, count * window, 2)


def test_a_crop_around_landmarks() -> None:
    """A box of 4 x 2 around (5, 6), turned by a quarter: its pixels are where its matrix leads, zero outside the image."""
    f = File()
    image = RNG.standard_normal((1, 12, 10, 2)).astype(np.float32)
    # Two landmarks that are level in the crop are one below the other in the image.
    points = np.float32([[[5, 4, 1], [5, 8, 2], [4, 6, 3], [6, 6, 4]]])
    options = _options(left_rotation_idx=0, right_rotation_idx=1, target_rotation_radians=0.0, output_width=8, output_height=4,
                       scale_x=1.0, scale_y=1.0, subset_idxs=[0, 1, 2, 3])  # fmt: skip
    landmarks = f.input("float32", points.shape)
    matrix = f.op("Landmarks2TransformMatrix", [landmarks], [f.tensor("float32", (1, 4, 4))], custom=options)
    crop = f.op("TransformTensorBilinear", [f.input("float32", image.shape), matrix], [f.tensor("float32", ())], custom=_options(output_height=4, output_width=8))
    moved = f.op("TransformLandmarks", [landmarks, matrix], [f.tensor("float32", ())])
    m, pixels, places = run(f.data(matrix, crop, moved), points, image, asked=False)
    # x of the crop goes down the image by half a pixel, y to the left by half a pixel, from (6, 4).
    np.testing.assert_allclose(m[0], [[0, -0.5, 0, 6], [0.5, 0, 0, 4], [0, 0, 1, 0], [0, 0, 0, 1]], atol=1e-5)
    np.testing.assert_allclose(places[0, :, 2], points[0, :, 2])
    np.testing.assert_allclose(places[0, :, :2], points[0, :, :2] @ np.float32([[0, 0.5], [-0.5, 0]]) + [6, 4], atol=1e-5)
    for row in range(4):
        for column in range(8):
            x, y = 6 - 0.5 * (row + 0.5) - 0.5, 4 + 0.5 * (column + 0.5) - 0.5
            i, j = int(np.floor(y)), int(np.floor(x))
            a, b = y - i, x - j
            expected = (1 - a) * ((1 - b) * image[0, i, j] + b * image[0, i, j + 1]) + a * ((1 - b) * image[0, i + 1, j] + b * image[0, i + 1, j + 1])
            np.testing.assert_allclose(pixels[0, row, column], expected, atol=1e-4)


def test_operators_that_nobody_knows_are_named() -> None:
    f = File()
    y = f.op("Landmarks2TransformMatrix", [f.input("float32", (1, 4, 3))], [f.tensor("float32", ())], custom=_options(bbox_size_multiplier=2.0))
    with pytest.raises(UnsupportedModel, match="Landmarks2TransformMatrix: has the options of its first version"):
        load_tflite(f.data(y))
