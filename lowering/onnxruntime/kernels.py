"""onnxruntime's kernel registry: which operators at which versions and element types have a CPU kernel.

The registry is asked once per onnxruntime version (`get_all_opkernel_def`) and kept in the user's cache folder, because
importing onnxruntime takes longer than compiling a small model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...ir.cache import cache_file, write_atomically
from ...ir.core import Model, Node
from ...ir.ops import Op
from ...ir.types import F16, TensorType
from ..installed import runtime_version

# The opset and IR version that each onnxruntime release loads at most (its docs/Versioning.md; 1.31 found by loading).
_LIMITS = (
    ((1, 31), 26, 13), ((1, 25), 25, 12), ((1, 23), 23, 11), ((1, 22), 23, 10), ((1, 20), 21, 10),
    ((1, 18), 21, 10), ((1, 17), 20, 9),
)  # fmt: skip
_OPEN = 2**31 - 1

Row = tuple[int, int, dict[str, list[str]]]


def limits(version: str | None) -> tuple[int, int]:
    """The newest (opset, IR version) that an onnxruntime version loads; those of the newest known for a newer one."""
    if version is not None:
        parts = tuple(int(p) for p in version.split(".")[:2] if p.isdigit())
        for release, opset, ir in _LIMITS:
            if parts >= release:
                return opset, ir
        return _LIMITS[-1][1], _LIMITS[-1][2]
    return _LIMITS[0][1], _LIMITS[0][2]


class Kernels:
    """The registry of one onnxruntime version."""

    __slots__ = ("version", "_rows", "_memo")

    def __init__(self, version: str, rows: Mapping[str, list[Row]]) -> None:
        self.version = version
        self._rows = rows
        self._memo: dict[Any, bool] = {}

    def runs(self, node: Node, op: Op, opset: int) -> bool:
        """True if a kernel takes this node, written as `op` at `opset` of its domain.

        Half precision counts where single precision has a kernel: onnxruntime then inserts casts.
        Operators that are functions count through their bodies; opaque ones never do.
        """
        schema = None
        for candidate in op.schemas:
            if candidate.since <= opset:
                schema = candidate
        if schema is None:
            return False
        types = self._bindings(node, schema)
        key = (op, schema.since, tuple(sorted(types.items())))
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = schema.has_function or self._has(op, schema.since, types)
        return found

    def _bindings(self, node: Node, schema: Any) -> dict[str, str]:
        types: dict[str, str] = {}
        for params, values in ((schema.inputs, node.inputs), (schema.outputs, node.outputs)):
            for index, value in enumerate(values):
                if value is None or not params or not isinstance(value.type, TensorType):
                    continue
                param = params[min(index, len(params) - 1)]
                if param.type_str in schema.type_constraints:
                    types.setdefault(param.type_str, value.type.dtype.type_str)
        return types

    def _has(self, op: Op, since: int, types: dict[str, str]) -> bool:
        rows = self._rows.get(f"{op.domain}::{op.name}", [])
        casted = {k: "tensor(float)" if v == F16.type_str else v for k, v in types.items()}
        for first, last, constraints in rows:
            if first != since and not (first < since and last != _OPEN and last >= since):
                continue
            for bound in (types, casted):
                if all(bound.get(k) is None or bound[k] in v for k, v in constraints.items()):
                    return True
        return False


def load_kernels() -> Kernels | None:
    """The installed onnxruntime's registry; None where onnxruntime is not installed."""
    version = runtime_version("onnxruntime")
    if version is None:
        return None
    path = cache_file("kernels", f"onnxruntime-{version}.json")
    if path is not None and path.exists():
        try:
            return Kernels(version, json.loads(path.read_text()))
        except ValueError:
            pass  # cut off or damaged: ask again and replace it
    rows = _ask()
    if path is not None:
        write_atomically(path, json.dumps(rows).encode())
    return Kernels(version, rows)


def _ask() -> dict[str, list[Row]]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    rows: dict[str, list[Row]] = {}
    for kernel in state.get_all_opkernel_def():
        if kernel.provider == "CPUExecutionProvider":
            first, last = kernel.version_range
            rows.setdefault(f"{kernel.domain}::{kernel.op_name}", []).append(
                (first, last, dict(kernel.type_constraints))
            )
    return rows


def without_kernel(model: Model, opsets: Mapping[str, int], spelled: Mapping[Node, Any]) -> list[Node]:
    """The nodes of a model that the installed onnxruntime has no kernel for, at the opsets it is written at."""
    kernels = load_kernels()
    if kernels is None:
        return []
    missing: list[Node] = []
    for node in model.walk():
        op = spelled[node].op if node in spelled else node.op
        if not node.regions and not kernels.runs(node, op, opsets.get(op.domain, 1)):
            missing.append(node)
    return missing
