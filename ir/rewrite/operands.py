"""Tests on single operands and attributes, and the orders in which operands are tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

from ..attributes import AttrRef
from ..core import Node, Value
from ..ops import Op
from ..types import BY_NAME, DType
from .functions import ABSENT, same_value, scalar_of
from .guards import Env, close
from .syntax import Call, Items, Literal, Name, Syntax, Var

Step = Callable[[Env], bool]

_TOLERANCES = {"f16": 1e-3, "bf16": 5e-3}
_FLOAT_TOLERANCE = 1e-5
_ATTRIBUTE_TOLERANCE = 1e-6  # attributes are float32 and not the result of arithmetic


def mark_test(marks: tuple[str, ...]) -> Callable[[Value], bool] | None:
    tests = [_MARKS[m] if m in _MARKS else _of_dtype(BY_NAME[m]) for m in marks if m != "shared"]
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda value: all(test(value) for test in tests)


def _of_dtype(dtype: DType) -> Callable[[Value], bool]:
    return lambda value: value.dtype is dtype


_MARKS: dict[str, Callable[[Value], bool]] = {
    "const": lambda v: v.const is not None,
    "scalar": lambda v: scalar_of(v) is not None,
    "weight": lambda v: v.const is not None and scalar_of(v) is None,
    "float": lambda v: v.dtype is not None and v.dtype.is_float,
    "int": lambda v: v.dtype is not None and v.dtype.is_int,
}
MARKS = (*_MARKS, "shared", *BY_NAME)


def is_number(value: Value, wanted: Any) -> bool:
    """Whether a constant is one element equal to a literal: floats within a tolerance by dtype."""
    found = scalar_of(value)
    if found is None:
        return False
    if isinstance(wanted, bool) or isinstance(found, bool):
        return found is wanted
    if isinstance(found, int):
        return isinstance(wanted, int) and found == wanted
    if not isinstance(found, float):
        return False
    dtype = value.dtype
    tolerance = _TOLERANCES.get(dtype.name, _FLOAT_TOLERANCE if dtype.bits > 8 else 0.07)
    return close(found, float(wanted), tolerance) or (wanted != wanted and found != found)


def keeps_rank(value: Value, node: Node | None) -> bool:
    """A one-element constant of rank 1 or more must not raise the rank of what it is combined with."""
    const = value.const
    if node is None or const is None or not const.shape or not node.op.elementwise:
        return True
    rank = len(const.shape)
    return any(
        other is not None and other is not value and (other.rank or 0) >= rank for other in node.inputs
    )


def defaults(node: Node, mentioned: frozenset[str]) -> bool:
    """Whether all attributes that the pattern does not mention have their schema's default."""
    return all(
        name in mentioned or same_attribute(value, node.op.attr_default(name))
        for name, value in node.attrs.items()
    )


def attribute_value(tree: Syntax) -> Any:
    """The Python value of a literal attribute."""
    if isinstance(tree, Items):
        return tuple(attribute_value(i) for i in tree.items)
    if isinstance(tree, Name):
        return BY_NAME[tree.name].onnx
    assert isinstance(tree, Literal)
    return tree.value


def same_attribute(found: Any, wanted: Any) -> bool:
    """Equality of attribute values: floats within float32's precision, tuples by element."""
    if isinstance(found, float) and isinstance(wanted, (int, float)):
        return close(found, float(wanted), _ATTRIBUTE_TOLERANCE)
    if isinstance(found, tuple) and isinstance(wanted, tuple):
        return len(found) == len(wanted) and all(same_attribute(a, b) for a, b in zip(found, wanted))
    if isinstance(found, bytes) and isinstance(wanted, str):
        return found == wanted.encode()
    return type(found) is type(wanted) and bool(found == wanted)


def describe(value: Value | None) -> str:
    if value is None:
        return "no operand"
    number = scalar_of(value)
    if number is not None:
        return f"the constant {number}: {value.type}"
    if value.const is not None:
        return f"a constant %{value.hint}: {value.type}"
    if value.producer is not None:
        return repr(value.producer)
    return f"an input %{value.hint}: {value.type}"


def bind_attribute(name: str, own: int, node: int, k: Step) -> Step:
    def bind(env: Env) -> bool:
        found = env[node].attr(name)
        if found is None:
            found = ABSENT
        elif isinstance(found, AttrRef):
            return False
        known = env[own]
        if known is None:
            env[own] = found
            if k(env):
                return True
            env[own] = None
            return False
        return same_attribute(found, known) and k(env)

    return bind


def bind_op(own: int, node: int, k: Step) -> Step:
    def bind(env: Env) -> bool:
        key = env[node].op.key
        known = env[own]
        if known is None:
            env[own] = key
            if k(env):
                return True
            env[own] = None
            return False
        return bool(known == key) and k(env)

    return bind


def bind_many(own: int, slot: int, k: Step, some: bool) -> Step:
    """Bind a list of operands; `some`: those of them that are there, else none may be absent."""

    def bind(env: Env) -> bool:
        values = env[slot]
        if None in values:
            if not some:
                return False
            values = tuple(v for v in values if v is not None)
        known = env[own]
        if known is None:
            env[own] = values
            if k(env):
                return True
            env[own] = None
            return False
        same = len(known) == len(values) and all(same_value(a, b) for a, b in zip(known, values))
        return same and k(env)

    return bind


# Operands to slots


def arrange(node: int, slots: list[int], k: Step) -> Step:
    count = len(slots)
    numbered = list(enumerate(slots))

    def arrange(env: Env) -> bool:
        inputs = env[node].inputs
        if len(inputs) != count:
            if any(v is not None for v in inputs[count:]):
                return False
            inputs = inputs[:count] + (None,) * (count - len(inputs))
        for i, slot in numbered:
            env[slot] = inputs[i]
        return k(env)

    return arrange


def arrange_commutative(node: int, slots: list[int], k: Step) -> Step:
    count = len(slots)

    def arrange(env: Env) -> bool:
        matched = env[node]
        inputs = matched.inputs
        if len(inputs) != count:
            return False
        orders = permutations(inputs) if matched.op.commutative else (inputs,)
        for order in orders:
            for slot, value in zip(slots, order):
                env[slot] = value
            if k(env):
                return True
        return False

    def arrange_pair(env: Env) -> bool:
        matched = env[node]
        inputs = matched.inputs
        if len(inputs) != 2:
            return False
        env[first], env[second] = inputs
        if k(env):
            return True
        if inputs[0] is inputs[1] or not matched.op.commutative:
            return False
        env[second], env[first] = inputs
        return k(env)

    if count == 2:
        first, second = slots
        return arrange_pair
    return arrange


def arrange_variadic(call: Call, node: int, slots: list[int], k: Step) -> Step:
    kinds = tuple(isinstance(a, Var) and a.variadic for a in call.args)

    def arrange(env: Env) -> bool:
        inputs = env[node].inputs
        for split in splits(kinds, len(inputs)):
            at = 0
            for slot, variadic, count in zip(slots, kinds, split):
                env[slot] = inputs[at : at + count] if variadic else inputs[at]
                at += count
            if k(env):
                return True
        return False

    return arrange


def splits(kinds: tuple[bool, ...], count: int) -> Iterator[tuple[int, ...]]:
    """All ways to give `count` operands to items that take one (False) or any number (True)."""
    fixed = sum(1 for variadic in kinds if not variadic)
    free = count - fixed
    if free < 0:
        return
    many = len(kinds) - fixed
    if many == 1:
        yield tuple(free if variadic else 1 for variadic in kinds)
        return
    if kinds == (True, False, True):  # one operand, whichever
        for before in range(count):
            yield before, 1, free - before
        return
    for shares in _shares(free, many):
        given = iter(shares)
        yield tuple(next(given) if variadic else 1 for variadic in kinds)


def _shares(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _shares(total - first, parts - 1):
            yield (first, *rest)


# Steps around steps


def note_taken(slot: int, step: Step) -> Step:
    """Note in the environment that an alternative is taken, for its guards."""

    def noted(env: Env) -> bool:
        env[slot] = True
        if step(env):
            return True
        env[slot] = None
        return False

    return noted


def when_all(test: Callable[[Value], bool], slot: int, step: Step) -> Step:
    def when(env: Env) -> bool:
        value = env[slot]
        if value is None:
            return step(env)
        if value.__class__ is tuple:
            return all(test(v) for v in value) and step(env)
        return test(value) and step(env)

    return when


# Explaining


def why_call(
    call: Call, ops: frozenset[Op], value: Value | None, graph: Any, plain: frozenset[str] | None
) -> tuple[str, str]:
    """What a call needed and what was there."""
    needed = "|".join(call.ops)
    if value is None:
        return needed, "the operand is absent"
    node = value.producer
    if node is None:
        return needed, describe(value)
    if node.op not in ops:
        return needed, repr(node)
    if node.graph is not graph:
        return f"{needed} in the same graph", f"{node!r} outside this region"
    if plain is not None and not defaults(node, plain):
        odd = [
            f"{n} = {v!r}"
            for n, v in node.attrs.items()
            if n not in plain and not same_attribute(v, node.op.attr_default(n))
        ]
        return f"{needed} with no attributes but those named", f"{', '.join(odd)} on {node!r}"
    if value.index:
        return f"the first output of {needed}", f"output {value.index} of {node!r}"
    return f"{needed} with {len(call.args)} operands and these outputs", repr(node)
