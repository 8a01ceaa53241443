"""Which opset and IR version a model is written at.

Each node is valid in an interval of opsets. The output's opset lies in the intersection of all: the source's own
where it is inside, else the nearest above it, never beyond what the target loads.
"""

from __future__ import annotations

from ...ir.core import Model, Node
from ...ir.errors import UnsupportedModel
from ...ir.ops import known_opsets, why_not
from ...ir.types import type_str
from .downgrade import Spelling, spell, valid_opsets

# The lowest IR version that may carry each opset of the default domain (onnx's release table, docs/Versioning.md).
_IR_OF_OPSET = (
    (28, 14), (25, 13), (24, 12), (23, 11), (21, 10), (19, 9), (15, 8), (12, 7), (11, 6), (10, 5),
)  # fmt: skip
# Where the source imports no opset of the default domain: one that every runtime in use loads.
_NOT_SAID = 17
# Older opsets are those before numpy's broadcasting, of which runtimes have but parts.
_FLOOR = 7
_IR_OF_FUNCTIONS = 8
MIN_IR = 4  # below it, every weight has to be listed as an input


def ir_version(model: Model, opset: int, limit: int | None) -> int:
    """The IR version to write: the source's, raised to what the opset needs. UnsupportedModel beyond `limit`."""
    needed = next((ir for since, ir in _IR_OF_OPSET if opset >= since), MIN_IR)
    version = max(MIN_IR, needed, _IR_OF_FUNCTIONS if model.functions else 0)
    if limit is not None and version > limit:
        raise UnsupportedModel(f"opset {opset} needs IR version {version}, the target loads at most {limit}")
    wanted = max(version, model.ir_version)
    return min(wanted, limit) if limit is not None else wanted


class OpsetChoice:
    """The opset of every domain in use, and the respelled nodes (those whose newest words the opset lacks)."""

    __slots__ = ("opsets", "spellings")

    def __init__(self, opsets: dict[str, int], spellings: dict[Node, Spelling]) -> None:
        self.opsets = opsets
        self.spellings = spellings


def choose(model: Model, *, opset: int | None = None, limit: int | None = None) -> OpsetChoice:
    """Pick the opsets. `opset` asks for one of the default domain, `limit` is the newest that the target loads.

    Raises UnsupportedModel, naming nodes, where no opset is valid for all of them.
    """
    by_domain: dict[str, list[Node]] = {}
    for node in model.walk():
        by_domain.setdefault(node.op.domain, []).append(node)
    known = known_opsets("")
    assert known is not None
    top = known[1] if limit is None else min(limit, known[1])
    if opset is not None and not known[0] <= opset <= top:
        raise UnsupportedModel(f"opset {opset} is not between {known[0]} and {top}, the newest that the target loads")
    opsets: dict[str, int] = {}
    spellings: dict[Node, Spelling] = {}
    for domain in sorted({"", *by_domain}):
        nodes = by_domain.get(domain, [])
        limits = known_opsets(domain)
        if limits is None:
            opsets[domain] = model.opsets.get(domain, 1)
            continue
        if domain:
            newest, start, fixed = limits[1], model.opsets.get(domain, limits[1]), None
        else:
            newest, start, fixed = top, max(model.opsets.get("", _NOT_SAID), _FLOOR), opset
        opsets[domain], found = _domain(nodes, fixed or min(start, newest), newest, fixed)
        spellings.update(found)
    return OpsetChoice(opsets, spellings)


def _domain(
    nodes: list[Node], start: int, newest: int, fixed: int | None
) -> tuple[int, dict[Node, Spelling]]:
    """The opset that holds all nodes, `start` or else the nearest one above, else below; the nodes' spellings."""
    lowest, highest = 1, newest
    opset, tried = start, []
    while True:
        spellings, other = _at(nodes, opset)
        if other is None:
            return opset, spellings
        tried.append(opset)
        if other > opset:
            lowest = other
        else:
            highest = other
        if fixed is not None or lowest > highest:
            raise UnsupportedModel(_why(nodes, tried, newest, fixed))
        opset = other


def _at(nodes: list[Node], opset: int) -> tuple[dict[Node, Spelling], int | None]:
    """The spellings at an opset; where a node has none, an opset that it needs at least, or at most (0: none)."""
    spellings: dict[Node, Spelling] = {}
    needed: int | None = None
    for node in nodes:
        op = node.op
        schema = op.schema
        if schema is None or (schema.since <= opset and op.until is None):
            continue
        found = spell(node, opset)
        if found is not None:
            if found.op is not op:
                spellings[node] = found
            continue
        if op.until is not None and opset >= op.until:
            return spellings, op.until - 1
        later = [first for first, _ in valid_opsets(Spelling(node)) if first > opset]
        if not later:
            return spellings, 0
        needed = max(needed or 0, later[0])
    return spellings, needed


def _why(nodes: list[Node], tried: list[int], newest: int, fixed: int | None) -> str:
    faults: dict[str, str] = {}
    for node in nodes:
        if node.op.schema is None or all(spell(node, opset) is not None for opset in tried):
            continue
        label = f"{node.op.key} at {node.loc[0]!r}" if node.loc else node.op.key
        valid = valid_opsets(Spelling(node))
        if not valid:
            return f"{label} is used as no version of it allows: {_fault(node)}"
        spans = " or ".join(f"{a} and later" if b is None else f"{a} to {b - 1}" for a, b in valid)
        faults.setdefault(node.op.key, f"{label} needs opset {spans}")
    listed = "; ".join(list(faults.values())[:4])
    if fixed is not None:
        return f"opset {fixed} cannot hold this model: {listed}"
    return f"no opset up to {newest} holds this model: {listed}"


def _fault(node: Node) -> str:
    spelling = Spelling(node)
    assert node.op.schema is not None
    reason = why_not(
        node.op.schema,
        [v is not None for v in spelling.inputs],
        [None if v is None else type_str(v.type) for v in spelling.inputs],
        {**spelling.attrs, **dict.fromkeys(node.regions, True)},
        spelling.outputs,
        [type_str(v.type) for v in node.outputs[: spelling.outputs]],
        node.op,
    )
    return reason or "no reason known"
