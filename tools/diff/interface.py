"""What differs in how two models are called: inputs, outputs, local functions."""

from __future__ import annotations

from ...ir.core import Graph, Model, Value
from ...ir.equal import same_attribute
from .change import Change
from .matching import Matching
from .typing import SameTypes


def interface_changes(before: Model, after: Model, matching: Matching, types: SameTypes) -> list[Change]:
    """Inputs and outputs that went, came, were renamed, put into another order or have another type; functions."""
    found: list[Change] = []
    _graph(before.graph, after.graph, matching, types, found, "")
    for key, function in before.functions.items():
        name = "::".join(filter(None, key))
        other = after.functions.get(key)
        if other is None:
            found.append(Change("function", name, details=["removed"]))
            continue
        _graph(function.graph, other.graph, matching, types, found, f"function {name}: ")
        ours, theirs = function.attributes, other.attributes
        if list(ours) != list(theirs) or not all(same_attribute(ours[n], theirs[n], types.same) for n in ours):
            found.append(Change("function", name, details=["other attribute parameters or defaults"]))
    for key in after.functions:
        if key not in before.functions:
            found.append(Change("function", "::".join(filter(None, key)), details=["added"]))
    return found


def _graph(a: Graph, b: Graph, matching: Matching, types: SameTypes, found: list[Change], where: str) -> None:
    twins = ((i, matching.values.get(value)) for i, value in enumerate(a.inputs))
    inputs = [(i, twin.index) for i, twin in twins if twin is not None]
    outputs = matching.outputs[a, b]
    _values("input", a.inputs, a.input_names, b.inputs, b.input_names, inputs, types, found, where)
    _values("output", list(a.outputs), a.output_names, list(b.outputs), b.output_names, outputs, types, found, where)
    for i, j in inputs:
        ours, theirs = a.defaults.get(a.inputs[i]), b.defaults.get(b.inputs[j])
        if ours is None and theirs is None:
            continue
        if ours is None or theirs is None:
            said = "has a default now" if ours is None else "has no default any more"
        elif matching.labels.same_tensor(ours, theirs):
            continue
        else:
            said = "another default"
        found.append(Change("input", where + a.input_names[i], details=[said]))


def _values(
    kind: str, ours: list[Value], names: list[str], theirs: list[Value], others: list[str],
    pairs: list[tuple[int, int]], types: SameTypes, found: list[Change], where: str,
) -> None:  # fmt: skip
    for i, j in pairs:
        details = []
        if names[i] != others[j]:
            details.append(f"renamed {others[j]}")
        # The same symbol under another name is no other type inside, but it is one to who calls the model.
        a, b = ours[i].type, theirs[j].type
        if not types.same(a, b) or (kind == "input" and a is not b and types.renamed(a)):
            details.append(f"type {a} -> {b}")
        if details:
            found.append(Change(kind, where + names[i], details=details))
    for place, value in enumerate(ours):
        if place not in {i for i, _ in pairs}:
            found.append(Change(kind, where + names[place], details=[f"removed: {value.type}"]))
    for place, value in enumerate(theirs):
        if place not in {j for _, j in pairs}:
            found.append(Change(kind, where + others[place], details=[f"added: {value.type}"]))
    if [j for _, j in pairs] != sorted(j for _, j in pairs):
        order = ", ".join(others[j] for _, j in sorted(pairs, key=lambda pair: pair[1]))
        found.append(Change(kind, f"{where}order of {kind}s", details=[f"now {order}"]))
