"""Targets: what each piece of hardware and its runtime loads, has kernels for, and profits from.

    target = get_target("cpu")
    target.max_opset

A target is a TOML file in this folder; `inherits` names the one it refines.
"""

from __future__ import annotations

import difflib
from functools import cached_property
from pathlib import Path
from typing import Any

from ...ir.core import Model
from ...ir.errors import UsageError
from ..onnx.opset import OpsetChoice

_FOLDER = Path(__file__).parent


class Target:
    """One target: its description and the answers passes may ask it for."""

    def __init__(self, name: str, data: dict[str, Any]) -> None:
        self.name = name
        self.data = data

    @property
    def runtime(self) -> str:
        """The kind of runtime: ``onnxruntime``."""
        return str(self.data["runtime"])

    @cached_property
    def runtime_version(self) -> str | None:
        """The version of the installed runtime; None where it is not installed."""
        from ..onnxruntime.kernels import installed_version

        return installed_version()

    @property
    def max_opset(self) -> int:
        """The newest opset of the default domain that the runtime loads."""
        from ..onnxruntime.kernels import limits

        return limits(self.runtime_version)[0]

    @property
    def max_ir(self) -> int:
        """The newest IR version that the runtime loads."""
        from ..onnxruntime.kernels import limits

        return limits(self.runtime_version)[1]

    @property
    def pipeline(self) -> dict[str, Any]:
        """Edits of the -O levels: ``insert``, ``drop`` and ``options`` by pass name."""
        found: dict[str, Any] = self.data.get("pipeline", {})
        return found

    @property
    def rule_sets(self) -> dict[str, tuple[str, str]]:
        """Rule sets of its runtime that the edits of the -O levels name: file and module with the natives."""
        if self.runtime == "onnxruntime":
            folder, package = _FOLDER.parent / "onnxruntime", "geoc.lowering.onnxruntime"
            return {f"ort-{name}": (str(folder / f"{name}.rules"), f"{package}.{name}") for name in ("forms", "tokens")}
        return {}

    @property
    def capabilities(self) -> Target:
        return self

    def not_supported(self, model: Model, choice: OpsetChoice) -> list[Any]:
        """The nodes that the runtime has no kernel for."""
        from ..onnxruntime.kernels import without_kernel

        return without_kernel(model, choice.opsets, choice.spellings)

    def describe(self) -> str:
        """One line: the runtime, its version and what the machine has."""
        version = self.runtime_version or "not installed"
        return f"{self.name} ({self.runtime} {version}, {machine()})"


def machine() -> str:
    """This machine in a few words: architecture and the vector extension that matters most."""
    import platform

    arch = {"x86_64": "x86", "AMD64": "x86", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split())
    except (OSError, IndexError):
        return arch
    for flag, name in (
        ("amx_int8", "amx"), ("avx512_vnni", "avx512-vnni"), ("avx512f", "avx512"), ("avx2", "avx2"),
    ):  # fmt: skip
        if flag in flags:
            return f"{arch} {name}"
    return arch


def list_targets() -> list[str]:
    """The names of all targets."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def get_target(name: str) -> Target:
    """The target called `name`. Raises UsageError, with the nearest names, for one that does not exist."""
    base, _, options = name.partition(",")
    if base not in list_targets():
        near = difflib.get_close_matches(base, list_targets(), 3)
        hint = f"; did you mean {', '.join(near)}?" if near else f"; there are: {', '.join(list_targets())}"
        raise UsageError(f"no target {base!r}{hint}")
    data = _read(base)
    for option in filter(None, options.split(",")):
        key, mark, value = option.partition("=")
        if not mark or key not in data.get("options", {}):
            raise UsageError(f"target {base} has no option {key!r}")
        data["options"][key] = value
    return Target(base, data)


def _read(name: str) -> dict[str, Any]:
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib  # type: ignore[no-redef, unused-ignore]

    data: dict[str, Any] = tomllib.loads((_FOLDER / f"{name}.toml").read_text())
    parent = data.pop("inherits", None)
    return {**_read(parent), **data} if parent else data
