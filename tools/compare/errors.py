"""How far results are apart, over all inputs: sums that grow, so that nothing of the results is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...ir.tensor import Array

_NUMBERS = "biufV"
"""Kinds of numpy types that are compared as numbers; V are ml_dtypes' small floats."""


@dataclass
class Errors:
    """Of one output or value, what was seen so far; `add` takes the results of one run.

    Floats are compared in float64 where both are finite. `error` is what limits are for: the mean over the runs of the
    relative L2 error, ||b - a|| / ||a||; of integers, truth values and strings the share of elements that differ.
    """

    exact: bool = False  # no floats: elements are equal or not
    runs: int = 0
    elements: int = 0
    differing: int = 0
    max_abs: float = 0.0
    problem: str = ""  # what makes a comparison impossible: other shapes, NaN in other places
    nonfinite: int = 0  # NaN and infinities that both have in the same places
    _l2: list[float] = field(default_factory=list)
    _by_shape: dict[str, list[float]] = field(default_factory=dict)
    _sums: Array = field(default_factory=lambda: np.zeros(4))  # of noise, of squares of a and of b, of products

    def add(self, a: Any, b: Any, shape: str = "") -> None:
        """Take in the results of one run; `shape` names it where something is wrong."""
        self.runs += 1
        before = len(self._l2)
        problem = self._add(a, b)
        self._by_shape.setdefault(shape, []).extend(self._l2[before:])
        if problem and not self.problem:
            self.problem = problem + (f" at {shape}" if shape else "")

    def _add(self, a: Any, b: Any) -> str:
        if isinstance(a, (list, dict)) or isinstance(b, (list, dict)):
            return self._parts(a, b)
        if a is None or b is None:
            return "" if a is b else "absent in one"
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape:
            return f"shape {list(b.shape)}, not {list(a.shape)}"
        floats = [_is_float(array) for array in (a, b)]
        if not any(floats):
            self.exact = True
            return self._exactly(a, b)
        if not all(array.dtype.kind in _NUMBERS for array in (a, b)):
            return f"{b.dtype}, not {a.dtype}"
        return self._floats(a.astype(np.float64), b.astype(np.float64))

    def _parts(self, a: Any, b: Any) -> str:
        """Sequences and maps, element by element: each counts as a run of its own."""
        if type(a) is not type(b):
            return f"{type(b).__name__}, not {type(a).__name__}"
        if isinstance(a, dict):
            if list(a) != list(b):
                return "a map with other keys"
            a, b = list(a.values()), list(b.values())
        if len(a) != len(b):
            return f"{len(b)} elements, not {len(a)}"
        return next((problem for x, y in zip(a, b) if (problem := self._add(x, y))), "")

    def _exactly(self, a: Array, b: Array) -> str:
        off = a != b
        self.elements += a.size
        self.differing += int(np.count_nonzero(off))
        if a.dtype.kind in "iu" and b.dtype.kind in "iu" and off.any():
            # Python's integers: the difference of two i64 may need 65 bits.
            low = min(int(a.min()), int(b.min()))
            wide = a.astype(object) - low if abs(low) > 2**62 else a.astype(np.float64)
            other = b.astype(object) - low if abs(low) > 2**62 else b.astype(np.float64)
            self.max_abs = max(self.max_abs, float(np.abs(wide - other).max()))
        self._l2.append(float(off.mean()) if a.size else 0.0)
        return ""

    def _floats(self, a: Array, b: Array) -> str:
        finite = np.isfinite(a)
        there = np.isfinite(b)
        self.elements += a.size
        same = np.array_equal(a[~finite], b[~finite], equal_nan=True) and bool(there[finite].all())
        problem = ""
        if not same:
            elsewhere = ", elsewhere" if _what(a) == _what(b) else ""
            problem = f"{_what(a)} in the first, {_what(b)} in the second{elsewhere}"
        else:
            self.nonfinite += int(a.size - np.count_nonzero(finite))
        both = finite & there
        x, y = (a, b) if both.all() else (a[both], b[both])
        off = y - x
        equal = (a == b) | (np.isnan(a) & np.isnan(b))
        self.differing += int(np.count_nonzero(~equal))
        self.max_abs = max(self.max_abs, float(np.abs(off).max(initial=0.0)))
        with np.errstate(over="ignore"):  # squares of numbers beyond 1e154, which count as infinite
            noise, xx, yy, xy = (float(np.vdot(u, v)) for u, v in ((off, off), (x, x), (y, y), (x, y)))
        self._sums = self._sums + np.array([noise, xx, yy, xy])
        self._l2.append(float(np.sqrt(noise / xx if xx and np.isfinite(xx) else noise)))
        return problem

    @property
    def error(self) -> float:
        """What limits are for; infinite where a comparison is impossible."""
        if self.problem:
            return float("inf")
        return float(np.mean(self._l2)) if self._l2 else 0.0

    @property
    def by_shape(self) -> dict[str, float]:
        """The error of the runs at each shape."""
        return {shape: float(np.mean(found)) for shape, found in self._by_shape.items() if found}

    @property
    def cosine(self) -> float | None:
        """The cosine of the angle between all results of either; None for what is no floats, or zero in one."""
        _, xx, yy, xy = self._sums
        if self.exact or not (xx and yy and np.isfinite((xx, yy, xy)).all()):
            return None
        return float(xy / np.sqrt(xx) / np.sqrt(yy))

    @property
    def sqnr(self) -> float | None:
        """10 log10 of the squares of the first over those of the differences, in dB; None where nothing differs."""
        noise, signal, _, _ = self._sums
        if self.exact or not noise or not np.isfinite((noise, signal)).all():
            return None
        return float(10 * np.log10(signal / noise)) if signal else float("-inf")

    def to_json(self) -> dict[str, Any]:
        """As plain data; None for what is not defined, or infinite."""
        sqnr = self.sqnr
        return {
            "exact": not self.differing and not self.problem,
            "error": _finite(self.error),
            "max_abs": _finite(self.max_abs),
            "relative_l2": None if self.exact else _finite(self.error),
            "cosine": self.cosine,
            "sqnr": None if sqnr is None else _finite(sqnr),
            "differing": self.differing,
            "elements": self.elements,
            "nonfinite": self.nonfinite,
            "by_shape": {shape: _finite(error) for shape, error in self.by_shape.items()},
            "problem": self.problem,
        }


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None


def _is_float(array: Array) -> bool:
    return array.dtype.kind in "fV"


def _what(array: Array) -> str:
    """``3 NaN and 1 infinity``."""
    nan, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    parts = [f"{nan:,} NaN" if nan else "", f"{infinite:,} infinite" if infinite else ""]
    return " and ".join(filter(None, parts)) or "numbers alone"
