"""Which opsets admit one use of an operator.

A use is described by six arguments, the same in every function here:

- `present`: for each input slot, whether a value is there;
- `input_types`, `output_types`: ONNX type strings such as "tensor(float)", None where unknown;
- `attributes`: those set explicitly, by name. One that equals the op's default constrains nothing,
  since a writer can leave it out; one that only an older version requires can be spelled out;
- `n_outputs`: how many outputs the node has, trailing unused ones left off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .registry import Op
from .revisions import NEEDS
from .schema import AttrSpec, Param, Schema

_FLOATS: frozenset[str | None] = frozenset(
    f"tensor({name})" for name in ("float16", "bfloat16", "float", "double")
)

# Op, presence, input types, names of attributes not at their default, outputs, their types.
_Use = tuple[
    Op, tuple[bool, ...], tuple[str | None, ...], tuple[str, ...], int, tuple[str | None, ...]
]

_NOT_DEFAULT = object()

# A graph of ten thousand nodes asks some tens of different questions.
_answers: dict[tuple[_Use, tuple[int, int | None]], tuple[tuple[int, int | None], ...]] = {}


def may_be_absent(op: Op, output: int) -> bool:
    """True if a node of this operator may leave out its output number `output` though it has later ones."""
    if op.schema is None:
        return True
    outputs = op.schema.outputs
    return output < len(outputs) and outputs[output].option == "optional"


def min_opset(
    op: Op,
    present: Sequence[bool],
    input_types: Sequence[str | None],
    attributes: Mapping[str, Any],
    n_outputs: int,
    output_types: Sequence[str | None] = (),
) -> int | None:
    """Lowest opset of the domain that admits this use; None when none does, 1 for an opaque op."""
    found = opsets(op, present, input_types, attributes, n_outputs, output_types)
    return found[0][0] if found else None


def opsets(
    op: Op,
    present: Sequence[bool],
    input_types: Sequence[str | None],
    attributes: Mapping[str, Any],
    n_outputs: int,
    output_types: Sequence[str | None] = (),
) -> tuple[tuple[int, int | None], ...]:
    """All intervals [first, until) of opsets that admit this use, ascending; until None is open.

    There can be several: QuantizeLinear of int32 with a float scale is legal before 19 and
    from 23 on.
    """
    if op.schema is None:
        return ((1, None),)
    specs = op.schema.attributes
    explicit = tuple(
        name
        for name, value in attributes.items()
        if name not in specs or specs[name].default != value
    )
    use = (op, tuple(present), tuple(input_types), explicit, n_outputs, tuple(output_types))
    needs = _unseen_needs(op, input_types, attributes) if op.base_key in NEEDS else (1, None)
    found = _answers.get((use, needs))
    if found is None:
        found = _answers[use, needs] = _intervals(use, needs)
    return found


def _intervals(use: _Use, needs: tuple[int, int | None]) -> tuple[tuple[int, int | None], ...]:
    op, present, input_types, explicit, n_outputs, output_types = use
    attributes = dict.fromkeys(explicit, _NOT_DEFAULT)
    first, until = needs
    found: list[tuple[int, int | None]] = []
    ends = [*(schema.since for schema in op.schemas[1:]), op.until]
    for schema, end in zip(op.schemas, ends, strict=True):
        low, high = max(schema.since, first), _earlier(end, until)
        if high is not None and low >= high:
            continue
        if why_not(schema, present, input_types, attributes, n_outputs, output_types, op):
            continue
        if found and found[-1][1] == low:
            low = found.pop()[0]
        found.append((low, high))
    return tuple(found)


def _earlier(a: int | None, b: int | None) -> int | None:
    """The earlier of two ends, None being never."""
    return b if a is None else a if b is None else min(a, b)


def _unseen_needs(
    op: Op, input_types: Sequence[str | None], attributes: Mapping[str, Any]
) -> tuple[int, int | None]:
    """The interval that the table NEEDS leaves to these attributes."""
    first: int = 1
    until: int | None = None
    for kind, subject, value, low, high in NEEDS[op.base_key]:
        if kind == "negative_attr":
            found = attributes.get(subject, 0)
            met = min(found, default=0) < 0 if isinstance(found, tuple) else found < 0
        elif kind == "value":
            met = attributes.get(subject) == value
        elif kind == "float_value":
            met = attributes.get(subject, value) == value and bool(
                _FLOATS.intersection(input_types[:1])
            )
        else:
            continue
        if met:
            first = max(first, low)
            until = _earlier(until, high)
    return first, until


def why_not(
    schema: Schema,
    present: Sequence[bool],
    input_types: Sequence[str | None],
    attributes: Mapping[str, Any],
    n_outputs: int,
    output_types: Sequence[str | None] = (),
    op: Op | None = None,
) -> str | None:
    """Why a schema does not admit a use, in words; None when it does.

    With `op`, attributes equal to its defaults are left out of account, and a removed operator is
    refused.
    """
    for fault in _faults(schema, present, input_types, attributes, n_outputs, output_types, op):
        return fault
    return None


def _faults(
    schema: Schema,
    present: Sequence[bool],
    input_types: Sequence[str | None],
    attributes: Mapping[str, Any],
    n_outputs: int,
    output_types: Sequence[str | None],
    op: Op | None,
) -> Iterator[str]:
    # onnx also marks GroupNormalization-18, which runtimes run: only a last version can be removed.
    if schema.deprecated and op is not None and op.until is None:
        yield f"{schema.name} was removed in opset {schema.since}"
    yield from _arity_faults("input", schema.inputs, schema.min_inputs, schema.max_inputs, present)
    if n_outputs:  # a node whose outputs are all unused can still be written
        outputs = (True,) * n_outputs
        yield from _arity_faults(
            "output", schema.outputs, schema.min_outputs, schema.max_outputs, outputs
        )
    yield from _attribute_faults(schema, attributes, op)
    yield from _type_faults(schema, input_types, output_types)


def _arity_faults(
    what: str, params: tuple[Param, ...], fewest: int, most: int, present: Sequence[bool]
) -> Iterator[str]:
    count = len(present)
    while count and not present[count - 1]:
        count -= 1
    if count > most:
        yield f"{count} {what}s, at most {most} allowed"
    else:
        for index in range(max(count, fewest)):
            param = params[min(index, len(params) - 1)]
            if (index >= count or not present[index]) and param.option != "optional":
                if count < fewest:
                    yield f"{count} {what}s, at least {fewest} needed"
                else:
                    yield f"{what} {param.name} is missing"


def _attribute_faults(
    schema: Schema, attributes: Mapping[str, Any], op: Op | None
) -> Iterator[str]:
    newest: Mapping[str, AttrSpec] = op.schema.attributes if op and op.schema else {}
    for name, value in attributes.items():
        dropped = name in newest and newest[name].default == value
        if name not in schema.attributes and not dropped:
            yield f"attribute {name} is not known"
    for name, spec in schema.attributes.items():
        implied = name in newest and newest[name].default is not None
        if spec.required and name not in attributes and not implied:
            yield f"attribute {name} is required"


def _type_faults(
    schema: Schema, input_types: Sequence[str | None], output_types: Sequence[str | None]
) -> Iterator[str]:
    bound: dict[str, str] = {}
    for params, types in ((schema.inputs, input_types), (schema.outputs, output_types)):
        for index, found in enumerate(types):
            if found is None or not params:
                continue
            param = params[min(index, len(params) - 1)]
            if found not in schema.types_of(param):
                yield f"{param.name} does not admit {found}"
            elif param.type_str in schema.type_constraints and param.homogeneous:
                earlier = bound.setdefault(param.type_str, found)
                if earlier != found:
                    yield f"{param.name} is {found}, but {param.type_str} is {earlier} elsewhere"
