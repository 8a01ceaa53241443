"""Operator schemas read from the snapshot beside this file, one operator at a time.

>>> versions("", "Relu")[-1].since
14
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final

SNAPSHOT_PATH: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "schemas.json")

# Letters of attribute kinds in the snapshot; upper case is the list of the lower-case kind.
KINDS: Final[Mapping[str, str]] = {
    "i": "int",
    "f": "float",
    "s": "string",
    "t": "tensor",
    "g": "graph",
    "p": "sparse_tensor",
    "y": "type_proto",
    "I": "ints",
    "F": "floats",
    "S": "strings",
    "T": "tensors",
    "G": "graphs",
    "P": "sparse_tensors",
    "Y": "type_protos",
}

# What onnx answers for the maximum of a variadic list.
UNBOUNDED: Final = 2**31 - 1


class Param:
    """One formal input or output.

    `type_str` is the name of a type constraint ("T") or a concrete type ("tensor(int64)"); `option`
    is "single", "optional" or "variadic"; `homogeneous` and `min_arity` matter for variadic ones.
    """

    __slots__ = ("homogeneous", "min_arity", "name", "option", "type_str")

    def __init__(
        self, name: str, type_str: str, option: str, homogeneous: bool, min_arity: int
    ) -> None:
        self.name = name
        self.type_str = type_str
        self.option = option
        self.homogeneous = homogeneous
        self.min_arity = min_arity

    def __repr__(self) -> str:
        return f"Param({self.name}: {self.type_str}, {self.option})"


class AttrSpec:
    """One attribute: its kind (a value of KINDS), whether it is required, and its default or None.

    Defaults are plain values: int, float (exactly a float32), str, or a tuple of one of them.
    """

    __slots__ = ("default", "kind", "name", "required")

    def __init__(self, name: str, kind: str, required: bool, default: Any) -> None:
        self.name = name
        self.kind = kind
        self.required = required
        self.default = default

    def __repr__(self) -> str:
        return f"AttrSpec({self.name}: {self.kind}, default={self.default!r})"


class Schema:
    """One published version of one operator: everything `onnx.defs` knows short of code.

    `since` is the opset which introduced this version. `attributes` are in alphabetical order,
    which is the schema order of this project. `has_function` is known for ONNX operators only.
    """

    __slots__ = (
        "attributes",
        "deprecated",
        "domain",
        "has_function",
        "inputs",
        "max_inputs",
        "max_outputs",
        "min_inputs",
        "min_outputs",
        "name",
        "outputs",
        "since",
        "type_constraints",
    )

    def __init__(
        self,
        domain: str,
        name: str,
        since: int,
        inputs: tuple[Param, ...],
        outputs: tuple[Param, ...],
        attributes: dict[str, AttrSpec],
        type_constraints: dict[str, frozenset[str]],
        has_function: bool = False,
        deprecated: bool = False,
    ) -> None:
        self.domain = domain
        self.name = name
        self.since = since
        self.inputs = inputs
        self.outputs = outputs
        self.min_inputs, self.max_inputs = _arity(inputs)
        self.min_outputs, self.max_outputs = _arity(outputs)
        self.attributes = attributes
        self.type_constraints = type_constraints
        self.has_function = has_function
        self.deprecated = deprecated

    def __repr__(self) -> str:
        prefix = f"{self.domain}::" if self.domain else ""
        return f"Schema({prefix}{self.name}-{self.since})"

    def types_of(self, param: Param) -> frozenset[str]:
        """The types which a parameter admits, its constraint resolved."""
        found = self.type_constraints.get(param.type_str)
        return frozenset((param.type_str,)) if found is None else found


def _arity(params: tuple[Param, ...]) -> tuple[int, int]:
    """Fewest and most members of a parameter list, trailing optional ones being omissible."""
    fewest = most = 0
    for index, param in enumerate(params):
        if param.option == "variadic":
            return index + param.min_arity, UNBOUNDED
        most += 1
        if param.option == "single":
            fewest = most
    return fewest, most


class _Snapshot:
    """The lines of schemas.json, undecoded but for those asked for."""

    __slots__ = ("_lines", "_set_texts", "_sets", "domains", "sources")

    def __init__(self, path: str) -> None:
        with open(path, encoding="utf-8") as file:
            rows = file.read().split("\n")
        lines: dict[str, str] = {}
        for row in rows[1:-2]:
            key, _, body = row.partition('":')
            lines[key[1:]] = body
        self._lines = lines
        self.sources: dict[str, str] = self._decode("$sources")
        self.domains: dict[str, list[int]] = self._decode("$domains")
        self._set_texts: list[str] = self._decode("$sets")
        self._sets: list[frozenset[str] | None] = [None] * len(self._set_texts)

    def _decode(self, key: str) -> Any:
        return json.loads(self._lines[key].rstrip(","))

    def keys(self) -> list[str]:
        return [key for key in self._lines if not key.startswith("$")]

    def type_set(self, index: int) -> frozenset[str]:
        found = self._sets[index]
        if found is None:
            found = self._sets[index] = frozenset(self._set_texts[index].split(" "))
        return found

    def versions(self, domain: str, name: str) -> tuple[Schema, ...]:
        key = f"{domain}::{name}" if domain else name
        if key not in self._lines:
            return ()
        return tuple(self._schema(domain, name, row) for row in self._decode(key))

    def _schema(self, domain: str, name: str, row: list[Any]) -> Schema:
        since, flags, inputs, outputs, attributes, constraints = row
        return Schema(
            domain,
            name,
            since,
            _params(inputs),
            _params(outputs),
            {attr: _attribute(attr, spec) for attr, spec in attributes.items()},
            {variable: self.type_set(index) for variable, index in constraints.items()},
            has_function="f" in flags,
            deprecated="d" in flags,
        )


def _params(text: str) -> tuple[Param, ...]:
    return tuple(_param(item) for item in text.split(" ")) if text else ()


def _param(text: str) -> Param:
    name, _, type_str = text.partition(":")
    if type_str.endswith("?"):
        return Param(name, type_str[:-1], "optional", True, 0)
    for mark in "*~":
        if mark in type_str:
            type_str, _, min_arity = type_str.partition(mark)
            return Param(name, type_str, "variadic", mark == "*", int(min_arity))
    return Param(name, type_str, "single", True, 1)


def _attribute(name: str, spec: str | list[Any]) -> AttrSpec:
    if isinstance(spec, str):
        return AttrSpec(name, KINDS[spec[0]], spec.endswith("!"), None)
    letter, default = spec
    return AttrSpec(
        name, KINDS[letter], False, tuple(default) if isinstance(default, list) else default
    )


_snapshot: _Snapshot | None = None


def snapshot() -> _Snapshot:
    """The snapshot, read on first use."""
    global _snapshot
    if _snapshot is None:
        _snapshot = _Snapshot(SNAPSHOT_PATH)
    return _snapshot


def versions(domain: str, name: str) -> tuple[Schema, ...]:
    """All published versions of an operator in ascending order; () for one that is not known."""
    return snapshot().versions(domain, name)


def known_keys() -> list[str]:
    """The "name" or "domain::name" of every operator with a schema."""
    return snapshot().keys()


def sources() -> dict[str, str]:
    """The versions of onnx and onnxruntime which the snapshot was taken from."""
    return snapshot().sources


def known_opsets(domain: str) -> tuple[int, int] | None:
    """Lowest and highest opset of a domain with schemas; None for a domain that has none."""
    bounds = snapshot().domains.get("" if domain == "ai.onnx" else domain)
    return None if bounds is None else (bounds[0], bounds[1])
