"""How far two results are apart: by the largest element, or as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np


def difference(expected: Any, got: Any, float_limit: float, only_type: bool = False) -> tuple[float, float, str]:
    """(limit, error, problem) of one output; problem is "" unless the two cannot even be compared.

    Takes arrays, lists of them (sequences), dicts (maps) and None (absent optionals).
    """
    if isinstance(expected, (list, dict)) or expected is None:
        return _nested(expected, got, float_limit, only_type)
    expected, got = np.asarray(expected), np.asarray(got)
    if expected.dtype != got.dtype:
        return 0.0, 0.0, f"element type {got.dtype}, not {expected.dtype}"
    if expected.shape != got.shape:
        return 0.0, 0.0, f"shape {list(got.shape)}, not {list(expected.shape)}"
    if only_type:
        return float_limit, 0.0, ""
    if expected.dtype.kind not in "fcV":
        wrong = int(np.sum(expected != got))
        return 0.0, 0.0, f"{wrong} of {expected.size} elements differ" if wrong else ""
    a, b = expected, got
    if a.dtype.kind != "c":
        a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float_limit, 0.0, "NaN or infinity where the source has other values"
    if not np.all(np.isfinite(b[finite])):
        return float_limit, 0.0, "NaN or infinity where the source has numbers"
    if not finite.any():
        return float_limit, 0.0, ""
    scale = float(np.max(np.abs(a[finite])))
    worst = float(np.max(np.abs(a[finite] - b[finite])))
    return float_limit, worst / scale if scale else worst, ""


def l2_error(expected: Any, got: Any) -> tuple[float, str]:
    """||got - expected|| / ||expected|| of one output, and what makes a comparison impossible, "" for nothing.

    Of integers and truth values it is the share that differs. Sequences count as their elements in a row.
    """
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        pairs = [l2_error(a, b) for a, b in zip(expected, got)]
        return max((error for error, _ in pairs), default=0.0), next((p for _, p in pairs if p), "")
    if not isinstance(expected, np.ndarray) or not isinstance(got, np.ndarray):
        return 0.0, "" if expected == got else "another value"
    if expected.shape != got.shape or expected.dtype != got.dtype:
        return 0.0, f"{got.dtype}{list(got.shape)}, not {expected.dtype}{list(expected.shape)}"
    if expected.dtype.kind not in "fcV":
        return float(np.mean(expected != got)) if expected.size else 0.0, ""
    a, b = expected.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(b[finite]).all():
        return 0.0, "NaN or infinity in other places"
    norm, off = np.linalg.norm(a[finite]), np.linalg.norm((b - a)[finite])
    return float(off / norm if norm else off), ""


def _nested(expected: Any, got: Any, limit: float, only_type: bool) -> tuple[float, float, str]:
    if type(expected) is not type(got):
        return limit, 0.0, f"{type(got).__name__}, not {type(expected).__name__}"
    if expected is None:
        return limit, 0.0, ""
    if len(expected) != len(got):
        return limit, 0.0, f"{len(got)} elements, not {len(expected)}"
    if isinstance(expected, dict):
        if list(expected) != list(got):
            return limit, 0.0, "a map with other keys"
        expected, got = list(expected.values()), list(got.values())
    worst = (limit, 0.0, "")
    for a, b in zip(expected, got):
        found = difference(a, b, limit, only_type)
        if found[2]:
            return found
        worst = max(worst, found, key=lambda item: item[1])
    return worst
