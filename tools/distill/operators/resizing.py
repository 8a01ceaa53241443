"""Resize: nearest, linear and cubic, in every system of coordinates, axis by axis as a product with a small matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ....ir.tensor import Array
from .base import Given, Lacking, Operator, at, axis_of


def _resize(node: Any, given: Given) -> Any:
    x, roi, scales, sizes = given[0], at(given, 1), at(given, 2), at(given, 3)
    named = node.attr("axes")
    axes = list(range(x.dim())) if named is None else [axis_of(axis, x.dim()) for axis in named]
    targets, factors = _targets(node, [x.shape[axis] for axis in axes], scales, sizes)
    for position, axis in enumerate(axes):
        size, target, factor = x.shape[axis], targets[position], factors[position]
        crop = node.attr("coordinate_transformation_mode") == "tf_crop_and_resize"
        if size == target and factor == 1.0 and not crop:
            continue
        bounds = None
        if crop:
            assert roi is not None
            bounds = float(roi[position]), float(roi[position + len(axes)])
        places = _places(node, size, target, factor, bounds)
        x = _along(x, axis, _matrix(node, places, size, factor))
        if crop:
            outside = torch.from_numpy((places < 0) | (places > size - 1))
            shape = [-1 if i == axis else 1 for i in range(x.dim())]
            x = torch.where(outside.reshape(shape), node.attr("extrapolation_value"), x)
    return x


def _targets(node: Any, shape: list[int], scales: Any, sizes: Any) -> tuple[list[int], list[float]]:
    """The sizes of the resized axes, and how much larger each is."""
    if sizes is not None and sizes.size:
        wanted = [int(size) for size in sizes.reshape(-1)]
        policy = node.attr("keep_aspect_ratio_policy")
        if policy != "stretch":
            ratios = [target / size for target, size in zip(wanted, shape)]
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            return [int(ratio * size + 0.5) for size in shape], [ratio] * len(shape)
        return wanted, [target / size for target, size in zip(wanted, shape)]
    factors = [float(np.float32(scale)) for scale in scales.reshape(-1)]
    return [math.floor(np.float32(size) * np.float32(factor)) for size, factor in zip(shape, factors)], factors


def _places(node: Any, size: int, target: int, factor: float, bounds: tuple[float, float] | None) -> Array:
    """Where in the operand each element of the result lies along an axis, float64 [target]."""
    x = np.arange(target, dtype=np.float64)
    mode = node.attr("coordinate_transformation_mode")
    if mode == "asymmetric":
        return x / factor
    if mode == "align_corners":
        return x * (size - 1) / (target - 1) if target > 1 else np.zeros(target)
    if mode == "tf_crop_and_resize":
        assert bounds is not None
        start, end = bounds
        if target == 1:
            return np.full(1, 0.5 * (start + end) * (size - 1))
        return start * (size - 1) + x * (end - start) * (size - 1) / (target - 1)
    if mode == "pytorch_half_pixel" and target == 1:
        return np.zeros(1)
    places = (x + 0.5) / factor - 0.5
    if mode == "half_pixel_symmetric":
        adjustment = target / (factor * size)
        return places + size / 2 * (1 - adjustment)
    return places


def _matrix(node: Any, places: Array, size: int, factor: float) -> Any:
    """How much of each element of an axis is in each of the result, [target, size]; picks for nearest, [target]."""
    mode = node.attr("mode")
    if mode == "nearest":
        return _nearest(node.attr("nearest_mode"), places, size)
    stretch = min(factor, 1.0) if node.attr("antialias") else 1.0
    reach = (1.0 if mode == "linear" else 2.0) / stretch
    cubic = node.attr("cubic_coeff_a")
    matrix = np.zeros((len(places), size))
    for row, place in enumerate(places):
        first, last = math.floor(place - reach) + 1, math.ceil(place + reach) - 1
        taps = np.arange(min(first, math.floor(place)), max(last, math.floor(place) + 1) + 1)
        weights = _kernel(mode, (taps - place) * stretch, cubic)
        if node.attr("exclude_outside"):
            weights = np.where((taps >= 0) & (taps < size), weights, 0.0)
        weights = weights / weights.sum()
        np.add.at(matrix[row], np.clip(taps, 0, size - 1), weights)
    return matrix


def _kernel(mode: str, distance: Array, a: float) -> Array:
    """The weight of an element at a distance: a triangle, or the cubic convolution of Keys (1981)."""
    d = np.abs(distance)
    if mode == "linear":
        return np.asarray(np.maximum(0.0, 1 - d))
    if mode != "cubic":
        raise Lacking(f"mode={mode}")
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _nearest(kind: str, places: Array, size: int) -> Array:
    if kind == "floor":
        found = np.floor(places)
    elif kind == "ceil":
        found = np.ceil(places)
    elif kind == "round_prefer_ceil":
        found = np.floor(places + 0.5)
    else:
        found = np.ceil(places - 0.5)
    return np.clip(found, 0, size - 1).astype(np.int64)


def _along(x: Any, axis: int, matrix: Array) -> Any:
    if matrix.ndim == 1:
        return torch.index_select(x, axis, torch.from_numpy(matrix))
    weights = torch.from_numpy(matrix).to(x.dtype if x.is_floating_point() else torch.float64)
    moved = x.movedim(axis, -1).to(weights.dtype) @ weights.t()
    return moved.movedim(-1, axis).to(x.dtype)


TABLE: dict[str, Operator] = {"Resize": Operator(_resize, numbers=(1, 2, 3))}
