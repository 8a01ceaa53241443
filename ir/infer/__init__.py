"""Type and shape inference over symbolic dimensions, without onnx for every common operator.

`infer_node` types the outputs of one node, `infer_graph` those of a whole graph with its regions:

    >>> from geoc.ir.core import Node, Value
    >>> from geoc.ir.dims import symbol
    >>> from geoc.ir.ops import op
    >>> from geoc.ir.types import F32, tensor_type
    >>> x = Value(tensor_type(F32, (symbol("B"), symbol("S"), 768)))
    >>> w = Value(tensor_type(F32, (768, 3072)))
    >>> node = Node(op("MatMul"), [x, w], [Value(None)])
    >>> infer_node(node), node.output.type
    (True, f32[B,S,3072])

Small integer tensors are followed as dimensions (`content_of`), so that shapes computed in the graph
are known shapes. What was declared fills in what inference does not know. Running again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ..attributes import AttrRef
from ..core import Graph, Node, Value
from ..dims import fresh
from ..errors import InvalidModel
from ..ops import Op, why_not
from ..types import (
    DType,
    OptionalType,
    SequenceType,
    TensorType,
    Type,
    complete,
    merge,
    optional_type,
    sequence_type,
    tensor_type,
    type_str,
)
from .base import Hole, Partial, Result, content_of, fail, is_opaque, made, opaque_int
from .content import ANY_RANK
from .fractions import Elements, Follow

__all__ = ["content_of", "infer_graph", "infer_node", "infer_nodes"]

Rule = tuple[Callable[[Node], Result], "Follow | None"]
_rules: dict[Op, Rule] = {}


def infer_node(node: Node, *, forget: bool = False) -> bool:
    """Set the types and contents of a node's outputs from its operands, attributes and regions.

    What was known before stays where inference knows nothing, unless it is to be forgotten because it
    came from operands that have become less well known. True if one changed. Raises InvalidModel,
    naming the node, when the operands provably cannot fit; in a region, which need not run, the outputs
    stay as declared instead.
    """
    rule = _rules.get(node.op)
    if rule is None:
        rule = _rules[node.op] = _find(node.op)
    for given in node.attrs.values():
        if given.__class__ is AttrRef:
            return False  # inside a function: only a call says what it is
    try:
        found = rule[0](node)
    except InvalidModel:
        if _may_be_skipped(node):
            return False  # a branch may be wrong for sizes at which it is not taken
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        fault = _schema_fault(node)
        if fault is None:
            raise
        raise fail(node, fault) from None
    outputs = node.outputs
    changed = False
    if found.__class__ is tuple:
        for value, each in zip(outputs, found):
            if each is not None and each is not value.type:
                changed |= _settle(node, value, each, forget)
    elif found is not None and outputs and found is not outputs[0].type:
        changed = _settle(node, outputs[0], found, forget)  # type: ignore[arg-type]
    follow = rule[1]
    if follow is not None and (len(outputs) > 1 or _may_have_content(node, outputs[0])):
        changed |= _settle_contents(outputs, follow(node))
    return changed


def infer_graph(graph: Graph) -> bool:
    """Infer every node of a graph and of the regions in it, in order; True if something changed."""
    return infer_nodes(graph)


def infer_nodes(given: Iterable[Node]) -> bool:
    """Infer nodes of one graph, and all that is in their regions, in order; True if something changed."""
    from .control import enter, widen

    changed = False
    # One frame per open region: its nodes, the node it belongs to, the regions of that to do next, and whether
    # what is known inside came from loop-carried values that have been widened since.
    frames: list[tuple[Iterator[Node], Node | None, list[Graph], bool]]
    frames = [(iter(given), None, [], False)]
    while frames:
        nodes, owner, rest, forget = frames[-1]
        for node in nodes:
            if node.regions:
                changed |= enter(node)
                regions = list(node.regions.values())
                frames.append((iter(regions[0]), node, regions[1:], forget))
                break
            if infer_node(node, forget=forget):
                changed = True
        else:
            frames.pop()
            if owner is None:
                continue
            if rest:
                frames.append((iter(rest[0]), owner, rest[1:], forget))
            elif widen(owner):
                changed = True
                regions = list(owner.regions.values())
                frames.append((iter(regions[0]), owner, regions[1:], True))
            else:
                outer = bool(frames) and frames[-1][3]
                changed |= infer_node(owner, forget=outer)
    return changed


def _may_have_content(node: Node, value: Value) -> bool:
    """True for a tensor of rank 0 or 1, and for a matrix made of known elements by moving them."""
    type = value.type
    if type.__class__ is not TensorType or type.shape is None:
        return False
    rank = len(type.shape)
    if rank != 2:
        return rank < 2
    source = node.inputs[0]
    return source is not None and source.content is not None and node.op.name in ANY_RANK


def _schema_fault(node: Node) -> str | None:
    """What a node has too few or too many of, by its schema."""
    if node.op.schema is None:
        return None
    present = [v is not None for v in node.inputs]
    types = [None if v is None else type_str(v.type) for v in node.inputs]
    return why_not(node.op.schema, present, types, node.attrs, len(node.outputs), op=node.op)


def _may_be_skipped(node: Node) -> bool:
    """True inside a region, which need not run."""
    return node.graph is not None and node.graph.parent is not None


def _find(op: Op) -> Rule:
    """The functions for an operator; the modules they are in are imported when first needed."""
    from . import attention, content, elementwise, indexing, layers, nn, resizing, tensors

    if op.domain in ("", "ai.onnx.preview"):
        for module in (elementwise, tensors, nn, layers, indexing, resizing, attention):
            if op.name in module.TABLE:
                return module.TABLE[op.name], content.TABLE.get(op.name)
        from . import control, sequences, signal

        for table in (control.TABLE, sequences.TABLE, signal.TABLE):
            if op.name in table:
                return table[op.name], control.branch_content if op.name == "If" else None
    elif op.domain == "com.microsoft":
        from . import contrib

        if op.name in contrib.TABLE:
            return contrib.TABLE[op.name], None
    elif op.domain == "trt":
        from . import blocks

        if op.name in blocks.TABLE:
            return blocks.TABLE[op.name], None
    from .oracle import infer_by_onnx

    return infer_by_onnx, None


def _settle(node: Node, value: Value, found: Type | Partial, forget: bool) -> bool:
    """Give an output its inferred type, keeping what is declared where inference knows nothing."""
    old = None if forget else value.type
    if isinstance(found, Partial):
        new: Type | None = _filled(found, _unless_of_operands(node, old))
    elif isinstance(found, OptionalType) and any(v is not None and v.type is found.element for v in node.inputs):
        # An operand's own type: its unknowns are not new ones.
        new = optional_type(complete(found.element, old.element if isinstance(old, OptionalType) else None))
    else:
        new = _keeping(found, old)
    if new is value.type:
        return False
    value.type = new
    return True


def _unless_of_operands(node: Node, old: Type | None) -> Type | None:
    """An output's old type, with new symbols for unknowns that operands have as well.

    That they were equal followed from something which is no longer known.
    """
    if not isinstance(old, TensorType) or old.shape is None:
        return old
    unknowns = {d for d in old.shape if not isinstance(d, int) and d.is_unknown}
    if not unknowns:
        return old
    taken = {d for v in node.inputs if v is not None for d in v.shape or () if d in unknowns}
    if not taken:
        return old
    return tensor_type(old.dtype, tuple([fresh() if d in taken else d for d in old.shape]))


def _filled(found: Partial, old: Type | None) -> Type:
    shape = found.shape
    if isinstance(old, TensorType) and old.shape is not None and len(old.shape) == len(shape):
        dims = tuple([b if a is None else a for a, b in zip(shape, old.shape)])
        return complete(tensor_type(found.dtype, dims), old) or old
    return tensor_type(found.dtype, tuple([fresh() if d is None else d for d in shape]))


def _keeping(found: Type, old: Type | None) -> Type | None:
    if isinstance(found, TensorType):
        return complete(found, old)
    # Unknowns inside sequences are each time new ones: the old spelling of the same type stays.
    if isinstance(found, SequenceType) and isinstance(old, SequenceType):
        return sequence_type(_same_but_unknowns(found.element, old.element))
    if isinstance(found, OptionalType) and isinstance(old, OptionalType):
        return optional_type(_same_but_unknowns(found.element, old.element))
    return found


def _same_but_unknowns(found: Type | None, old: Type | None) -> Type | None:
    if isinstance(found, TensorType) and isinstance(old, TensorType):
        if found.shape is not None:
            holes = [None if not isinstance(d, int) and d.is_unknown else d for d in found.shape]
            partial = made(found.dtype, holes)
            return _filled(partial, old) if isinstance(partial, Partial) else merge(partial, old)
        return merge(found, old)
    return old if found is None else _keeping(found, old)


def _settle_contents(outputs: tuple[Value, ...], found: Elements | list[Elements]) -> bool:
    if not isinstance(found, list):
        return _settle_content(outputs[0], found)
    changed = False
    for value, each in zip(outputs, found):
        changed |= _settle_content(value, each if value.rank in (0, 1) else None)
    return changed


def _fits(elements: tuple[Hole, ...], dtype: DType) -> bool:
    """False where an int overflows: then the element wraps around, and nothing follows that."""
    if dtype.is_float:
        limit = 1 << 24
        return all(not isinstance(d, int) or -limit <= d <= limit for d in elements)
    high = 1 << (dtype.bits - (dtype.kind == "i"))
    low = -high if dtype.kind == "i" else 0
    return all(not isinstance(d, int) or low <= d < high for d in elements)


def _settle_content(value: Value, found: Elements) -> bool:
    old = value.content
    if found is None or found == old or not _fits(found, value.dtype):
        if found != old:
            value.content = None
        return found != old and old is not None
    if None in found:
        before = old if old is not None and len(old) == len(found) else (None,) * len(found)
        found = tuple(
            [
                d if d is not None else b if b is not None and is_opaque(b) else opaque_int()
                for d, b in zip(found, before)
            ]
        )
        if found == old:
            return False
    value.content = found  # type: ignore[assignment]
    return True
