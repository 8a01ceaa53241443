"""Pipelines as data: what each -O level runs, and the text form that ``--passes`` reads.

    name{key=value,...},name,repeat(n){name,...},@O2

`parse` and `render` are inverses: ``parse(render(items)) == items``. ``repeat(n){...}`` runs its group
until nothing changes, at most n rounds; ``@O2`` stands for that level's list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..ir.errors import UsageError

if TYPE_CHECKING:
    from typing import TypeAlias

CLEAN_UP = [
    "infer", "constant-if", "constant-loop", "identity", "defaults", "fold", "shapes", "views", "transposes", "hoist",
    "pads", "affine", "cse", "dce",
]  # fmt: skip
# Lossless fusions that every target profits from, smaller patterns first: larger ones are written in what those make.
FUSIONS = ["activations", "softmax", "norms", "rotary", "attention", "masks", "arrangements"]
FUSE = [f"repeat(4){{{','.join([*FUSIONS, *CLEAN_UP])}}}"]

BASE = ["freeze", "share-weights", f"repeat(8){{{','.join(CLEAN_UP)}}}", "share-weights", "dce"]
FEWEST = ["gemm", "views", "identity", "cse", "dce"]  # after fusions, which look for the MatMul
O1 = [*BASE, *FEWEST]
O2 = [*BASE, *FUSE, *FEWEST]
LEVELS: dict[int, list[str]] = {0: [], 1: O1, 2: O2, 3: O2}
"""-O0 imports and exports. -O1 cleans up in standard operators. -O2 adds lossless fusions and layouts.
-O3 adds the precisions and compressions of the target; while there are none it is -O2."""

Option: TypeAlias = "bool | int | float | str | tuple[Option, ...] | None"


@dataclass(frozen=True)
class Step:
    """One pass by name, with options."""

    name: str
    options: tuple[tuple[str, Option], ...] = ()
    column: int = field(default=0, compare=False)  # where it stands in the text, from 1


@dataclass(frozen=True)
class Group:
    """Steps that run until nothing changes, at most `limit` rounds."""

    limit: int
    steps: tuple[Item, ...]


Item: TypeAlias = "Step | Group"


def level_items(level: int, edits: Mapping[str, Any] | None = None) -> tuple[Item, ...]:
    """The list of an -O level with a target's edits. Raises UsageError for an unknown level."""
    if level not in LEVELS:
        raise UsageError(f"there is no level -O{level}; there are {', '.join(f'-O{n}' for n in LEVELS)}")
    items = parse(",".join(LEVELS[level]))
    if not edits:
        return items
    inserted = [i for i in edits.get("insert", ()) if i.get("level", 0) <= level]
    return apply_edits(items, {**edits, "insert": inserted})


def parse(text: str, expand: Callable[[int], tuple[Item, ...]] = level_items) -> tuple[Item, ...]:
    """Read a pipeline; `expand` gives the items for ``@O<n>``. Raises UsageError with the column."""
    return _Reader(text, expand).whole()


def render(items: Iterable[Item]) -> str:
    """The text of a pipeline."""
    return ",".join(_render_item(item) for item in items)


def _render_item(item: Item) -> str:
    if isinstance(item, Group):
        return f"repeat({item.limit}){{{render(item.steps)}}}"
    if not item.options:
        return item.name
    return f"{item.name}{{{','.join(f'{key}={render_option(value)}' for key, value in item.options)}}}"


def render_option(value: Option) -> str:
    """The text of one option's value."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{','.join(render_option(v) for v in value)}]"
    if isinstance(value, str):
        plain = _WORD.fullmatch(value) and value not in _WORDS and not _NUMBER.match(value)
        return value if plain else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


def names(items: Iterable[Item]) -> Iterator[Step]:
    """Every step, those in groups included."""
    stack = [iter(items)]
    while stack:
        for item in stack[-1]:
            if isinstance(item, Step):
                yield item
            else:
                stack.append(iter(item.steps))
                break
        else:
            stack.pop()


def apply_edits(items: Iterable[Item], edits: Mapping[str, Any]) -> tuple[Item, ...]:
    """A target's changes to a level's list, by pass name.

    ``drop``: names. ``options``: name -> {key: value}. ``insert``: list of {"pass": text, and "before" or
    "after": name}; without either the pass goes to the end; "level" says from which -O level on. Names that
    the list lacks are left alone for `drop` and `options` (a level may not have them); an `insert` beside a
    missing name goes to the end.
    """
    dropped = set(edits.get("drop", ()))
    options: Mapping[str, Mapping[str, Any]] = edits.get("options", {})
    result = _edit(items, dropped, options)
    for insertion in edits.get("insert", ()):
        new = parse(insertion["pass"])
        anchor = insertion.get("before") or insertion.get("after")
        inserted, found = _insert(result, new, anchor, "before" in insertion)
        result = inserted if found else (*result, *new)
    return result


def before_forms(items: Iterable[Item], new: Iterable[Item]) -> tuple[Item, ...]:
    """A level's list with `new` where quantization belongs: behind the fusions, before the target's forms of operators.

    That is before the first step or group behind the fusions that is neither clean-up nor fusion; at the end where
    there is none. What a target puts before the fusions, as it reads graphs that carry quantization, stays there.
    """
    items = tuple(items)
    common = {*CLEAN_UP, *FUSIONS, *BASE}
    fusing = [n for n, item in enumerate(items) if any(step.name in FUSIONS for step in names((item,)))]
    for position, item in enumerate(items):
        if position > max(fusing, default=-1) and any(step.name not in common for step in names((item,))):
            return (*items[:position], *new, *items[position:])
    return (*items, *new)


def with_rules(items: tuple[Item, ...], rules: Iterable[str], at_end: bool) -> tuple[Item, ...]:
    """The pipeline with rule passes of the user that it does not name yet.

    They come last (`at_end`), or last in one group with the clean-up, so that each feeds the other.
    """
    named = {step.name for step in names(items)}
    new = tuple(Step(name) for name in rules if name not in named)
    if not new or at_end:
        return (*items, *new)
    return (*items, Group(8, (*new, *parse(",".join(CLEAN_UP)))))


def _edit(
    items: Iterable[Item], dropped: set[str], options: Mapping[str, Mapping[str, Any]]
) -> tuple[Item, ...]:
    result: list[Item] = []
    for item in items:
        if isinstance(item, Group):
            inner = _edit(item.steps, dropped, options)
            if inner:
                result.append(Group(item.limit, inner))
        elif item.name not in dropped:
            merged = {**dict(item.options), **options.get(item.name, {})}
            result.append(replace(item, options=tuple(merged.items())))
    return tuple(result)


def _insert(
    items: tuple[Item, ...], new: tuple[Item, ...], anchor: str | None, before: bool
) -> tuple[tuple[Item, ...], bool]:
    for position, item in enumerate(items):
        if isinstance(item, Group):
            inner, found = _insert(item.steps, new, anchor, before)
            if found:
                group = Group(item.limit, inner)
                return (*items[:position], group, *items[position + 1 :]), True
        elif item.name == anchor:
            at = position if before else position + 1
            return (*items[:at], *new, *items[at:]), True
    return items, False


_NAME = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+)*")
_WORD = re.compile(r"[A-Za-z_][\w./-]*")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf\b|nan\b")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SPACE = re.compile(r"\s*")
_WORDS: dict[str, Option] = {
    "true": True, "false": False, "none": None, "inf": float("inf"), "nan": float("nan"),
}  # fmt: skip


class _Reader:
    """Recursive descent; groups nest at most `DEPTH` deep."""

    DEPTH = 20

    def __init__(self, text: str, expand: Callable[[int], tuple[Item, ...]]) -> None:
        self.text = text
        self.at = 0
        self.expand = expand

    def fail(self, message: str, at: int | None = None) -> UsageError:
        return UsageError(
            f"{message} in {self.text!r}",
            source="--passes",
            place=f"column {(self.at if at is None else at) + 1}",
        )

    def skip_space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        assert found is not None
        self.at = found.end()

    def peek(self) -> str:
        self.skip_space()
        return self.text[self.at : self.at + 1]

    def take(self, mark: str) -> None:
        if self.peek() != mark:
            raise self.fail(f"expected {mark!r}" + (f" before {self.peek()!r}" if self.peek() else ""))
        self.at += 1

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self.skip_space()
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def whole(self) -> tuple[Item, ...]:
        items = self.items("", 0)
        if self.peek():
            raise self.fail(f"unexpected {self.peek()!r}")
        return items

    def items(self, end: str, depth: int) -> tuple[Item, ...]:
        if depth > self.DEPTH:
            raise self.fail("groups nested too deeply")
        result: list[Item] = []
        while self.peek() != end:
            result.extend(self.item(depth))
            if self.peek() != end:
                self.take(",")
        return tuple(result)

    def item(self, depth: int) -> tuple[Item, ...]:
        start = self.at
        if self.peek() == "@":
            found = self.match(re.compile(r"@O(\d+)"))
            if not found:
                raise self.fail("expected a level such as @O2")
            return self.expand(int(found.group(1)))
        name = self.match(_NAME)
        if not name:
            raise self.fail("expected the name of a pass")
        if name.group() == "repeat":
            return (self.group(depth),)
        options: tuple[tuple[str, Option], ...] = ()
        if self.peek() == "{":
            options = self.options()
        return (Step(name.group(), options, start + 1),)

    def group(self, depth: int) -> Group:
        self.take("(")
        count = self.match(re.compile(r"\d+"))
        if not count or int(count.group()) < 1:
            raise self.fail("expected how often to repeat, 1 or more")
        self.take(")")
        self.take("{")
        steps = self.items("}", depth + 1)
        self.take("}")
        if not steps:
            raise self.fail("an empty group")
        return Group(int(count.group()), steps)

    def options(self) -> tuple[tuple[str, Option], ...]:
        self.take("{")
        found: dict[str, Option] = {}
        while self.peek() != "}":
            key = self.match(_NAME)
            if not key:
                raise self.fail("expected the name of an option")
            if key.group() in found:
                raise self.fail(f"option {key.group()!r} given twice", key.start())
            self.take("=")
            found[key.group()] = self.value(0)
            if self.peek() != "}":
                self.take(",")
        self.take("}")
        return tuple(found.items())

    def value(self, depth: int) -> Option:
        if depth > self.DEPTH:
            raise self.fail("lists nested too deeply")
        if self.peek() == "[":
            self.at += 1
            values: list[Option] = []
            while self.peek() != "]":
                values.append(self.value(depth + 1))
                if self.peek() != "]":
                    self.take(",")
            self.take("]")
            return tuple(values)
        number = self.match(_NUMBER)
        if number:
            text = number.group()
            return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
        string = self.match(_STRING)
        if string:
            return re.sub(r"\\(.)", r"\1", string.group(1), flags=re.DOTALL)
        word = self.match(_WORD)
        if word:
            return _WORDS.get(word.group(), word.group())
        raise self.fail("expected a value")
