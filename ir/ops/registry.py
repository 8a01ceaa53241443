"""Operators, interned: one `Op` object per (domain, name, semantic revision)."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidModel
from . import traits
from .revisions import BREAKS, EARLY
from .schema import Schema, versions


class Op:
    """One operator in one meaning; compare with `is`.

    `revision` is the opset which opened this meaning (0 for an opaque op), `until` the opset which
    ends it, exclusive, or None while it is current. `schemas` are the versions inside it, oldest
    first; they differ in types admitted and in additions whose defaults change nothing. `key` is
    how the op is printed: "Relu", "com.microsoft::Gelu", and "GroupNormalization@18" for a revision
    that is not the newest; `base_key` is the same without "@18".

    `pure` (no effect but the outputs) and `deterministic` (same inputs, same outputs) hold
    unconditionally. Where they are False because of `has_regions` the bodies decide, and because of
    `training_input` the operand at that index: an op is deterministic when it is absent or constant
    false. The other traits are those of traits.py.
    """

    __slots__ = (
        "base_key",
        "commutative",
        "deterministic",
        "domain",
        "elementwise",
        "has_regions",
        "is_opaque",
        "key",
        "large_output",
        "movement",
        "name",
        "never_fold",
        "pure",
        "random",
        "reduction",
        "revision",
        "schema",
        "schemas",
        "training_input",
        "until",
        "view",
    )

    def __init__(
        self,
        domain: str,
        name: str,
        schemas: tuple[Schema, ...],
        until: int | None,
    ) -> None:
        self.domain = domain
        self.name = name
        self.schemas = schemas
        self.schema = schemas[-1] if schemas else None
        self.is_opaque = not schemas
        self.revision = schemas[0].since if schemas else 0
        self.until = until
        self.base_key = base = _base_key(domain, name)
        self.key = base if until is None else f"{base}@{self.revision}"
        self.commutative = base in traits.COMMUTATIVE
        self.elementwise = base in traits.ELEMENTWISE
        self.view = base in traits.VIEW
        self.movement = base in traits.MOVEMENT
        self.reduction = base in traits.REDUCTION
        self.random = base in traits.RANDOM
        self.training_input = traits.TRAINING_INPUT.get(base)
        self.has_regions = self.schema is not None and any(
            spec.kind in ("graph", "graphs") for spec in self.schema.attributes.values()
        )
        self.pure = not (self.is_opaque or self.has_regions or base in traits.IMPURE)
        self.deterministic = self.pure and not self.random and self.training_input is None
        self.large_output = base in traits.LARGE_OUTPUT
        self.never_fold = base in traits.NEVER_FOLD

    def attr_kind(self, name: str) -> str | None:
        """Kind of an attribute ("int", "floats", ...); None when the schema does not know it."""
        spec = None if self.schema is None else self.schema.attributes.get(name)
        return None if spec is None else spec.kind

    def attr_default(self, name: str) -> Any:
        """Default of an attribute; None when it has none or is not known."""
        spec = None if self.schema is None else self.schema.attributes.get(name)
        return None if spec is None else spec.default

    def schema_at(self, opset: int) -> Schema | None:
        """The version in force at an opset; None outside the revision and for an opaque op."""
        if self.until is not None and opset >= self.until:
            return None
        found = None
        for schema in self.schemas:
            if schema.since <= opset:
                found = schema
        return found

    def __repr__(self) -> str:
        return f"Op({self.key})"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return resolve_key, (self.key,)


_resolved: dict[tuple[str, str, int | None], Op] = {}
_revisions: dict[tuple[str, str], tuple[Op, ...]] = {}
_by_key: dict[str, Op] = {}


def _base_key(domain: str, name: str) -> str:
    # A default-domain name with "::" in it would otherwise read as another domain's.
    return f"{domain}::{name}" if domain or "::" in name else name


def resolve(domain: str, name: str, opset: int | None = None) -> Op:
    """The revision of an operator in force at an opset of its domain; None means the newest.

    "ai.onnx" is the default domain "". An operator without a schema resolves to an opaque Op
    whatever the opset. Raises InvalidModel for an operator that the opset does not have yet.
    """
    found = _resolved.get((domain, name, opset))
    return _resolve(domain, name, opset) if found is None else found


def op(key: str) -> Op:
    """The newest revision of "Add", "com.microsoft::Gelu", ..., or the exact one of "Dropout@7"."""
    found = _by_key.get(key)
    return resolve_key(key) if found is None else found


def resolve_key(key: str) -> Op:
    """The Op whose `key` this is. Raises InvalidModel for a revision that does not exist."""
    found = _by_key.get(key)
    if found is not None:
        return found
    domain, mark, name = key.partition("::")
    if not mark:
        domain, name = "", key
    base, mark, number = name.rpartition("@")
    if mark and number.isdigit() and versions(domain, base):
        for candidate in revisions(domain, base):
            if candidate.revision == int(number):
                return candidate
        raise InvalidModel(f"{key}: no revision of {base} opens at opset {number}")
    return resolve(domain, name)


def revisions(domain: str, name: str) -> tuple[Op, ...]:
    """All semantic revisions of an operator, oldest first; one opaque Op when it has no schema."""
    domain = "" if domain == "ai.onnx" else domain
    found = _revisions.get((domain, name))
    if found is None:
        found = _revisions[domain, name] = _intern(domain, name)
    return found


def _intern(domain: str, name: str) -> tuple[Op, ...]:
    schemas = versions(domain, name)
    base = _base_key(domain, name)
    starts = [schema.since for schema in schemas[:1]] + list(BREAKS.get(base, ()))
    if not starts:
        made = [Op(domain, name, (), None)]
    else:
        ends: list[int | None] = [*starts[1:], None]
        made = []
        for start, end in zip(starts, ends, strict=True):
            inside = (s for s in schemas if start <= s.since and (end is None or s.since < end))
            made.append(Op(domain, name, tuple(inside), end))
    for revision in made:
        _by_key[revision.key] = revision
    return tuple(made)


def _resolve(domain: str, name: str, opset: int | None) -> Op:
    candidates = revisions(domain, name)
    found = candidates[-1]
    if opset is not None and not found.is_opaque:
        if opset < candidates[0].revision and opset < EARLY.get(candidates[-1].key, opset + 1):
            raise InvalidModel(
                f"{candidates[0].key} exists from opset {candidates[0].revision} of its domain on, "
                f"the model imports opset {opset}"
            )
        for candidate in candidates:
            if candidate.until is None or opset < candidate.until:
                found = candidate
                break
    _resolved[domain, name, opset] = found
    return found
