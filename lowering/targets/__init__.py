"""Targets: what each piece of hardware and its runtime loads, has kernels for, and profits from.

    target = get_target("a100,price=2.5")
    target.hardware.bandwidth, target.hardware.rates["fp16"]

A target is a TOML file in this folder; `inherits` names the one it refines, table by table (``detected`` is the one
that fits this machine). ``NAME,key=value`` changes what the file says, a key of ``hardware``, ``rates`` or
``per_cycle``.
"""

from __future__ import annotations

import difflib
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...ir.errors import UsageError
from ...ir.ops.cost import CostModel, Machine
from ..backend import Backend, backend_of, list_backends
from ..installed import RUNTIMES, runtime_version
from ..toml import read_toml
from .hardware import Hardware, detected, hardware_of, machine

if TYPE_CHECKING:
    from ...ir.types import DType
    from ...passes.quantize.kernels import Integers
    from ...passes.quantize.small_floats import Floats

__all__ = ["Hardware", "Target", "get_target", "list_targets", "machine"]

_FOLDER = Path(__file__).parent
# Where ``NAME,key=value`` looks for a key, and the keys of ``hardware`` that need not be there already.
_TABLES = ("hardware", "rates", "per_cycle")
_OPTIONAL = ("price", "bandwidth", "memory", "launch")


class Target:
    """One target: its description and the answers passes may ask it for."""

    def __init__(self, name: str, data: dict[str, Any]) -> None:
        self.name = name
        self.data = data

    @property
    def description(self) -> str:
        """What it is, in a line."""
        return str(self.data["description"])

    @property
    def runtime(self) -> str:
        """The kind of runtime: ``onnxruntime``, ``openvino`` or ``tensorrt``."""
        return str(self.data["runtime"])

    @cached_property
    def hardware(self) -> Hardware:
        """Peak rates, bandwidth and memory."""
        return hardware_of(self.data)

    @cached_property
    def runtime_version(self) -> str | None:
        """The version of the installed runtime; None where it is not installed, or geoc does not know its package."""
        return runtime_version(self.runtime)

    @property
    def is_here(self) -> bool:
        """True if it stands for this machine, with its runtime installed: what is timed here holds for it."""
        return bool(self.data.get("detected")) and self.runtime_version is not None

    @cached_property
    def backend(self) -> Backend:
        """How files for its runtime are made."""
        return backend_of(self.runtime)

    @cached_property
    def precisions(self) -> frozenset[str]:
        """What graphs for it may compute in: what its hardware has a rate for, and its runtime takes."""
        known = self.backend.precisions_on(self.hardware)
        return known & {"fp32", *self.hardware.rates} if self.hardware.rates else known

    @property
    def cost_model(self) -> CostModel | None:
        """What nodes cost there, for rewrites that must not cost more; None for a target without peak numbers.

        A new one each time, as it remembers the types of a model.
        """
        rate, bandwidth = self.hardware.rates.get("fp32"), self.hardware.bandwidth
        if rate is None or bandwidth is None:
            return None
        return CostModel(Machine(rate, bandwidth, self.hardware.launch))

    @property
    def integers(self) -> Integers:
        """What its runtime computes in 8-bit integers on its hardware."""
        return self.backend.integers(self.hardware.features)

    @property
    def floats(self) -> Floats:
        """What its runtime multiplies in floats of 8 and 4 bits on its hardware."""
        return self.backend.floats(self.hardware)

    @property
    def sparse_constants(self) -> bool:
        """Whether its runtime loads constants that are stored without their zeros."""
        return self.backend.sparse_constants

    @property
    def lookups(self) -> frozenset[DType]:
        """Element types of codes of which its runtime makes weights once, when it loads a model."""
        return self.backend.lookups

    @property
    def max_opset(self) -> int:
        """The newest opset of the default domain that the runtime loads."""
        return self.backend.limits(self.runtime_version)[0]

    @property
    def max_ir(self) -> int:
        """The newest IR version that the runtime loads."""
        return self.backend.limits(self.runtime_version)[1]

    @property
    def pipeline(self) -> dict[str, Any]:
        """Edits of the -O levels: ``insert``, ``drop`` and ``options`` by pass name."""
        found: dict[str, Any] = self.data.get("pipeline", {})
        return found

    @property
    def rule_sets(self) -> dict[str, tuple[str, str]]:
        """Rule sets of its runtime that the edits of the -O levels name: file and module with the natives."""
        return self.backend.rule_sets()

    @property
    def capabilities(self) -> Target:
        return self

    def describe(self) -> str:
        """One line: the runtime, its version and what the machine has."""
        version = f" {self.runtime_version or 'not installed'}" if self.runtime in RUNTIMES else ""
        where = f", {machine()}" if self.data.get("detected") else ""
        return f"{self.name} ({self.runtime}{version}{where})"


def list_targets() -> list[str]:
    """The names of all targets."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def get_target(name: str) -> Target:
    """The target called `name`, with the changes behind its commas.

    A name that ends in .toml is a file of the user's. Raises UsageError, with the nearest names, for a target or key
    that does not exist, a value that is no number, a file that lacks something; OSError for one that cannot be read.
    """
    base, *changes = name.split(",")
    if base.endswith(".toml"):
        data, base = _from_file(base), Path(base).stem
    elif base in list_targets():
        data = _read(base)
    else:
        raise UsageError(f"no target {base!r}{_nearest(base, list_targets())}")
    for change in filter(None, changes):
        _change(base, data, change)
    return Target(base, data)


def _change(base: str, data: dict[str, Any], change: str) -> None:
    key, mark, text = change.partition("=")
    tables = [t for t in _TABLES if key in data.get(t, {})]
    if not tables and key in _OPTIONAL:
        tables = ["hardware"]
    if not mark or not tables or key in ("source", "compute_capability"):
        known = [k for t in _TABLES for k in data.get(t, {})] + list(_OPTIONAL)
        raise UsageError(f"target {base} has no number {key!r} to change{_nearest(key, sorted(set(known)))}")
    try:
        number = float(text)
    except ValueError:
        raise UsageError(f"{key}={text!r} of target {base} is no number") from None
    if number <= 0:
        raise UsageError(f"{key}={text} of target {base} must be above 0")
    data[tables[0]] = {**data.get(tables[0], {}), key: number}


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, 3)
    return f"; did you mean {' or '.join(near)}?" if near else f"; there are: {', '.join(known)}"


def _read(name: str) -> dict[str, Any]:
    """What a file and those that it inherits say. Tables may be shared: replace them, never write into them."""
    data = dict(_parsed(name))
    parent = data.pop("inherits", None)
    if parent == "detected":
        return _merged(_this_machine(), data)
    return _merged(_read(parent), data) if parent else data


def _from_file(path: str) -> dict[str, Any]:
    """A description outside of geoc; `inherits` names one of geoc's."""
    data = read_toml(Path(path))
    parent = data.pop("inherits", None)
    if parent is not None and parent not in list_targets():
        raise UsageError(f"inherits {parent!r}, which is no target{_nearest(str(parent), list_targets())}", source=path)
    data = _merged(_read(parent), data) if parent else data
    for key in ("description", "runtime"):
        if not isinstance(data.get(key), str):
            raise UsageError(f"says no {key}, and inherits none", source=path)
    known = list_backends()
    runtime = data["runtime"]
    if runtime not in known:
        raise UsageError(f"no backend for the runtime {runtime!r}{_nearest(runtime, known)}", source=path)
    return data


@cache
def _parsed(name: str) -> dict[str, Any]:
    return read_toml(_FOLDER / f"{name}.toml")


def _this_machine() -> dict[str, Any]:
    """The description that fits this machine, with its own cores, clock and memory."""
    like, found = detected()
    data = _read(like or "onnxruntime")
    own: dict[str, Any] = {"detected": True, "hardware": found}
    if like is not None:
        own["hardware"]["source"] = f"{data['hardware']['source']}; cores, clock and memory are this machine's"
    return _merged(data, own)


def _merged(parent: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """`data` over `parent`: entries of a table replace the parent's one by one, anything else as a whole."""
    result = dict(parent)
    for key, value in data.items():
        below = parent.get(key)
        result[key] = {**below, **value} if isinstance(value, dict) and isinstance(below, dict) else value
    return result
