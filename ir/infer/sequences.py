"""Sequences and optionals. Unknown dimensions of a sequence's element differ from element to element."""

from __future__ import annotations

from collections.abc import Callable

from ..core import Node
from ..dims import fresh
from ..types import (
    BOOL,
    F32,
    I64,
    OptionalType,
    SequenceType,
    TensorType,
    Type,
    join,
    optional_type,
    sequence_type,
    tensor_type,
)
from .base import Found, Hole, Result, axis_in, content_of, fail, is_given, made, tensor_at, type_at
from .elementwise import dtype_of_code


def element_type(sequence: SequenceType) -> Type | None:
    """The type of some element, with unknowns of its own."""
    element = sequence.element
    if not isinstance(element, TensorType) or element.shape is None:
        return element
    if not any(not isinstance(d, int) and d.is_unknown for d in element.shape):
        return element
    dims = [fresh() if not isinstance(d, int) and d.is_unknown else d for d in element.shape]
    return tensor_type(element.dtype, tuple(dims))


def sequence_of(element: Type | None) -> Type | None:
    """A sequence of that element, None when nothing is known about it."""
    return None if element is None else sequence_type(element)


def construct(node: Node) -> Result:
    found = type_at(node, 0)
    for index in range(1, len(node.inputs)):
        found = join(found, type_at(node, index))
    return sequence_of(found)


def empty(node: Node) -> Result:
    code = node.attr("dtype")
    dtype = F32 if code is None else dtype_of_code(node, code)
    return sequence_type(tensor_type(dtype, None))


def insert(node: Node) -> Result:
    sequence, element = type_at(node, 0), type_at(node, 1)
    if not isinstance(sequence, SequenceType):
        return sequence_of(element)
    source = node.inputs[0].producer if node.inputs[0] is not None else None
    if source is not None and source.op.key == "SequenceEmpty":
        return sequence_of(element)
    return sequence_of(join(sequence.element, element))


def at(node: Node) -> Result:
    sequence = type_at(node, 0)
    if not isinstance(sequence, SequenceType):
        return None
    element = sequence.element
    if isinstance(element, TensorType) and element.shape is not None:
        dims = [None if not isinstance(d, int) and d.is_unknown else d for d in element.shape]
        return made(element.dtype, dims)
    return element


def split_to_sequence(node: Node) -> Result:
    data = tensor_at(node, 0)
    if data is None:
        return None
    if data.shape is None:
        return sequence_type(data)
    axis = axis_in(node, node.attr("axis") or 0, len(data.shape))
    before, dim, after = data.shape[:axis], data.shape[axis], data.shape[axis + 1 :]
    if not is_given(node, 1):
        middle = (1,) if node.attr("keepdims") else ()
        return sequence_type(tensor_type(data.dtype, before + middle + after))
    sizes = content_of(node.inputs[1])
    size: Hole = None
    if sizes is not None and len(set(sizes)) == 1:
        size = sizes[0]
        scalar = node.inputs[1] is not None and node.inputs[1].rank == 0
        if isinstance(size, int) and size < scalar:
            raise fail(node, f"parts of {size} elements")
        if scalar and not (isinstance(dim, int) and isinstance(size, int) and dim % size == 0):
            size = None  # the last part is smaller
    part = fresh() if size is None else size
    return sequence_type(tensor_type(data.dtype, (*before, part, *after)))


def concat_from_sequence(node: Node) -> Result:
    sequence = type_at(node, 0)
    element = sequence.element if isinstance(sequence, SequenceType) else None
    if not isinstance(element, TensorType):
        return None
    if element.shape is None:
        return element
    new = bool(node.attr("new_axis"))
    axis = axis_in(node, node.attr("axis"), len(element.shape) + new)
    dims: list[Hole] = [
        None if not isinstance(d, int) and d.is_unknown else d for d in element.shape
    ]
    if new:
        return made(element.dtype, [*dims[:axis], None, *dims[axis:]])
    dims[axis] = None
    return made(element.dtype, dims)


def optional(node: Node) -> Result:
    given = type_at(node, 0) if is_given(node, 0) else node.attrs.get("type")
    if isinstance(given, (TensorType, SequenceType)):
        return optional_type(given)
    return None


def get_element(node: Node) -> Result:
    given = type_at(node, 0)
    found: Found = given.element if isinstance(given, OptionalType) else given
    return found


TABLE: dict[str, Callable[[Node], Result]] = {
    "SequenceConstruct": construct,
    "SequenceEmpty": empty,
    "SequenceInsert": insert,
    "SequenceErase": lambda node: type_at(node, 0),
    "SequenceAt": at,
    "SequenceLength": lambda node: tensor_type(I64, ()),
    "SplitToSequence": split_to_sequence,
    "ConcatFromSequence": concat_from_sequence,
    "Optional": optional,
    "OptionalGetElement": get_element,
    "OptionalHasElement": lambda node: tensor_type(BOOL, ()),
}
