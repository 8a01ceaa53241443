"""What a name means and which operators a graph sees, while it is being imported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...ir.core import Value
from ...ir.errors import InvalidModel
from ...ir.ops import Op, known_opsets, resolve
from ...ir.proto.messages import FunctionProto, StringStringEntryProto

ABSENT = Value(None, "absent")
"""Stands in a function's scope for a parameter that the caller left out."""


class Scope:
    """Names of one graph, and the scope around it."""

    __slots__ = ("names", "outer")

    def __init__(self, outer: Scope | None) -> None:
        self.names: dict[str, Value] = {}
        self.outer = outer

    def find(self, name: str) -> Value | None:
        """The value called `name` here or further out."""
        scope: Scope | None = self
        while scope is not None:
            found = scope.names.get(name)
            if found is not None:
                return found
            scope = scope.outer
        return None

    def define(self, name: str, value: Value) -> None:
        """Give a value a name in this graph. Raises InvalidModel if it is taken here."""
        if name in self.names:
            raise InvalidModel(f"value {name!r} is defined twice")
        self.names[name] = value


class Frame:
    """What differs between the main graph and the body of a function being inlined.

    `attributes` are the function's attribute parameters with this call's values (None: left out), `calls` the
    functions being inlined, outermost first, `prefix` the names of the calling nodes as a path.
    """

    __slots__ = ("opsets", "attributes", "calls", "prefix", "ops")

    def __init__(
        self,
        opsets: dict[str, int],
        attributes: dict[str, Any],
        calls: tuple[FunctionProto, ...] = (),
        prefix: str = "",
    ) -> None:
        self.opsets = opsets
        self.attributes = attributes
        self.calls = calls
        self.prefix = prefix
        self.ops: dict[tuple[str, str], Op] = {}

    def resolve(self, domain: str, name: str) -> Op:
        """The operator of a node here. Raises InvalidModel where the imported opset lacks it."""
        found = self.ops.get((domain, name))
        if found is None:
            if domain == "ai.onnx":
                domain = ""
            if not name:
                raise InvalidModel("a node has no operator")
            opset = self.opsets.get(domain, 1 if domain == "" else None)
            found = self.ops[domain, name] = resolve(domain, name, opset)
        return found


def opsets_of(imports: Iterable[Any]) -> dict[str, int]:
    """The opset of each domain. Raises InvalidModel for one newer than known."""
    result: dict[str, int] = {}
    for entry in imports:
        domain = entry.domain or ""
        if domain == "ai.onnx":
            domain = ""
        version = entry.version or 0
        known = known_opsets(domain)
        if known is not None and version > known[1]:
            shown = domain or "ai.onnx"
            raise InvalidModel(f"opset {version} of {shown} is newer than the newest known one, {known[1]}")
        result[domain] = max(version, result.get(domain, 0))
    return result


def entries(given: Sequence[StringStringEntryProto]) -> dict[str, str]:
    """Key and value pairs as a dict."""
    return {e.key or "": e.value or "" for e in given}


def meta(doc: str | None, given: Sequence[StringStringEntryProto]) -> dict[str, str] | None:
    """Metadata and the doc string of a node, value or graph; None where there are none."""
    if not doc and not given:
        return None
    result = entries(given)
    if doc:
        result["doc_string"] = doc
    return result
