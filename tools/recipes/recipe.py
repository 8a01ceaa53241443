"""``--recipe FILE.toml|NAME``: what a user would otherwise write as options, in a file that can be named and shared.

    description = "Small files"
    precision = "int8"                # keys are called as the options are, without their dashes
    goal = "size"
    max-error = "5%"
    passes = ["sparsify{share=0.5}"]  # in --passes' grammar; before the target's forms of operators

    [[form]]                          # one or several: the best for the goal that fits the budget is taken
    passes = [{ pass = "prune", left = 0.8, before = "gemm" }]

What the command line says wins. `max-drop` limits where there is a --metric, `max-error` where there is none.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ...ir.errors import UsageError
from ...lowering.toml import read_toml
from ...passes.pipelines import Item, Step, parse, render
from ..args import OPTIONS, Option
from ..precision import ALIASES, NAMES
from ..settings import converted

_FOLDER = Path(__file__).parent
OPTION = "--recipe"
BUDGETS = ("max_error", "max_drop")
# What belongs to one run rather than to a way of making models.
_NOT = frozenset(("output", "cache", "recipe", "passes"))
_FILES = frozenset(("rules", "plugin", "metric", "calib"))  # beside the recipe, unless they are said to be elsewhere
KEYS: dict[str, Option] = {
    option.flags[-1].lstrip("-"): option
    for option in OPTIONS
    if option.group in ("compile", "passes") and option.key not in _NOT
} | {"seed": next(option for option in OPTIONS if option.key == "seed")}
"""The options that a recipe may give, by the name that it calls them."""
_FORM_KEYS = ("name", "precision", "passes")
_ANCHORS = ("before", "after")
_RANGES: dict[str, tuple[int, int | None]] = {"level": (0, 3), "threads": (1, None), "opset": (1, None)}


class Placed(NamedTuple):
    """A pass of a recipe: its step, and "before" or "after" with the name of a pass, "" where it does not say."""

    step: Item
    side: str = ""
    anchor: str = ""
    line: int = 0


@dataclass(frozen=True)
class FormText:
    """One of the forms that a recipe tries."""

    passes: tuple[Placed, ...] = ()
    precision: str | None = None
    name: str = ""
    line: int = 0

    @property
    def title(self) -> str:
        """What the report calls it, without its precision: its name, or its passes."""
        return self.name or ", ".join(render((placed.step,)) for placed in self.passes)


@dataclass(frozen=True)
class Recipe:
    """What a file says: options by their keys as the command line would give them, and the forms to try."""

    name: str
    path: str
    description: str
    options: dict[str, Any] = field(default_factory=dict)
    forms: tuple[FormText, ...] = ()

    @property
    def is_shipped(self) -> bool:
        """True for one of geoc's own."""
        return Path(self.path).parent == _FOLDER

    @property
    def has_forms(self) -> bool:
        """False where it says options alone, which mean what they mean on the command line."""
        return len(self.forms) > 1 or any(form.passes or form.precision for form in self.forms)

    @cached_property
    def text(self) -> str:
        """The file."""
        return Path(self.path).read_text(encoding="utf-8")

    def settled(self, given: Collection[str]) -> dict[str, Any]:
        """Its options without those that were `given` otherwise; one budget stands for the other (see above)."""
        found = {key: value for key, value in self.options.items() if key not in given}
        if any(key in given for key in BUDGETS):
            found = {key: value for key, value in found.items() if key not in BUDGETS}
        has_metric = "metric" in given or "metric" in found
        if not has_metric:
            found.pop("max_drop", None)
        elif "max_drop" in found:
            found.pop("max_error", None)
        if "passes" in given:
            found.pop("level", None)
        return found


def shipped() -> list[str]:
    """The names of geoc's own."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def find_recipe(text: str) -> Recipe:
    """The recipe that --recipe names: one of geoc's, or a file that ends in .toml.

    Raises UsageError, with file and line, for what cannot be read or means nothing; OSError for a file that is not
    there.
    """
    if text.endswith(".toml"):
        return _Reader(Path(text)).recipe()
    if text not in shipped():
        near = difflib.get_close_matches(text, shipped(), 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(shipped())}, and files that end in .toml"
        raise UsageError(f"no recipe {text!r}; {hint}", source=OPTION)
    return _Reader(_FOLDER / f"{text}.toml").recipe()


class _Reader:
    """One file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = read_toml(path)
        self.lines = path.read_text(encoding="utf-8").splitlines()

    def recipe(self) -> Recipe:
        known = ("description", "passes", "form", *KEYS)
        options: dict[str, Any] = {}
        for key, value in self.data.items():
            if key not in known:
                raise self._unknown(key, known)
            if key in KEYS:
                options[KEYS[key].key] = self._value(key, value)
        description = self.data.get("description")
        if not isinstance(description, str) or not description.strip():
            raise self._fault("description", "says no description: one line of text")
        tables = self.data.get("form", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise self._fault("form", "form is a list of tables: [[form]]")
        own = tuple(self._passes(self.data, None))
        forms = tuple(self._form(table, number, own) for number, table in enumerate(tables))
        return Recipe(self.path.stem, str(self.path), " ".join(description.split()), options, forms or (FormText(own),))

    def _form(self, table: dict[str, Any], number: int, own: tuple[Placed, ...]) -> FormText:
        for key, value in table.items():
            if key not in _FORM_KEYS:
                raise self._unknown(key, _FORM_KEYS, number)
            if key != "passes" and not isinstance(value, str):
                raise self._fault(key, f"{key} is text, not {_kind(value)}", number)
        if "precision" in table:
            self._check_precision(table["precision"], number)
        passes = (*own, *self._passes(table, number))
        return FormText(passes, table.get("precision"), table.get("name", ""), self._line("", number))

    def _passes(self, table: dict[str, Any], number: int | None) -> Iterator[Placed]:
        given = table.get("passes", [])
        if not isinstance(given, list):
            raise self._fault("passes", f"passes is a list of texts and tables, not {_kind(given)}", number)
        for entry in given:
            line = self._line("passes", number)
            if isinstance(entry, str):
                yield from (Placed(step, line=line) for step in self._parsed(entry, number))
            elif isinstance(entry, dict):
                yield self._placed(entry, number, line)
            else:
                raise self._fault("passes", f"passes holds texts and tables, not {_kind(entry)}", number)

    def _placed(self, entry: dict[str, Any], number: int | None, line: int) -> Placed:
        steps = self._parsed(entry["pass"], number) if isinstance(entry.get("pass"), str) else ()
        if len(steps) != 1 or not isinstance(steps[0], Step):
            raise self._fault("passes", 'a table of passes names one: { pass = "prune", left = 0.8 }', number)
        sides = [side for side in _ANCHORS if side in entry]
        if len(sides) > 1 or not all(isinstance(entry[side], str) for side in sides):
            raise self._fault("passes", "before or after names one pass", number)
        options = [(key, self._option(value, number)) for key, value in entry.items() if key not in ("pass", *_ANCHORS)]
        step = Step(steps[0].name, (*steps[0].options, *options), 1)
        return Placed(step, sides[0] if sides else "", entry[sides[0]] if sides else "", line)

    def _option(self, value: Any, number: int | None) -> Any:
        if isinstance(value, list):
            return tuple(self._option(each, number) for each in value)
        if isinstance(value, (bool, int, float, str)):
            return value
        raise self._fault("passes", f"an option of a pass is a word, a number or a list, not {_kind(value)}", number)

    def _parsed(self, text: str, number: int | None) -> tuple[Item, ...]:
        try:
            return parse(text, lambda level: self._no_level(level, number))
        except UsageError as error:
            if error.source == str(self.path):
                raise
            raise self._fault("passes", error.message, number) from None

    def _no_level(self, level: int, number: int | None) -> tuple[Item, ...]:
        said = f"@O{level} has no place here: passes go into the list of the level; level = {level} says which"
        raise self._fault("passes", said, number)

    def _value(self, key: str, value: Any) -> Any:
        """As the reader of the command line leaves it."""
        option = KEYS[key]
        if option.kind == "int":
            if type(value) is not int:
                raise self._fault(key, f"{key} is a whole number, not {_kind(value)}")
            least, most = _RANGES.get(key, (0, None))
            if value < least or (most is not None and value > most):
                raise self._fault(key, f"{key} = {value} is not {least} or more{f', up to {most}' if most else ''}")
            return value
        if option.kind == "switch":
            if value is not True:
                raise self._fault(key, f"{key} is true, or is left out; not {_kind(value)}")
            return value
        if option.kind in ("list", "texts"):
            found = [value] if isinstance(value, str) else value
            if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
                raise self._fault(key, f"{key} is text or a list of texts, not {_kind(value)}")
            return [self._beside(key, each) for each in found]
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
            raise self._fault(key, f"{key} is text, not {_kind(value)}")
        if "|" in option.kind and value not in option.kind.split("|"):
            raise self._fault(key, f"{key} is one of {option.kind.replace('|', ', ')}; not {value!r}")
        try:
            converted({option.key: str(value)})
        except UsageError as error:
            raise self._fault(key, f"{key} {error.message}") from None
        if key == "precision":
            self._check_precision(str(value), None)
        return self._beside(key, str(value))

    def _check_precision(self, name: str, number: int | None) -> None:
        known = (*NAMES, *ALIASES)
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise self._fault("precision", f"no precision {name!r}; {hint}", number)

    def _beside(self, key: str, text: str) -> str:
        """A file that an option names; a name alone is a file in the folder of the recipe."""
        is_file = key in _FILES and text != "random" and not Path(text).is_absolute()
        return str(self.path.parent / text) if is_file else text

    def _unknown(self, key: str, known: Collection[str], number: int | None = None) -> UsageError:
        near = difflib.get_close_matches(key.replace("_", "-"), known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        where = "form has no" if number is not None else "a recipe has no"
        return self._fault(key, f"{where} {key!r}; {hint}", number)

    def _fault(self, key: str, message: str, number: int | None = None) -> UsageError:
        line = self._line(key, number)
        return UsageError(message, source=str(self.path), place=f"line {line}" if line else "")

    def _line(self, key: str, number: int | None) -> int:
        """The line of a key, from 1: of the tables before the first, or of that [[form]]; 0 where it is not found."""
        starts = [n for n, line in enumerate(self.lines) if re.match(r"\s*\[", line)]
        forms = [n for n in starts if re.match(r"\s*\[\[\s*form\s*\]\]", self.lines[n])]
        first, last = 0, starts[0] if starts and key not in ("form", "") else len(self.lines)
        if number is not None and number < len(forms):
            first = forms[number]
            last = next((n for n in starts if n > first), len(self.lines))
        named = re.compile(rf"""\s*\[*\s*["']?{re.escape(key)}["']?\s*[\]=.]""")
        found = [n for n in range(first, last) if named.match(self.lines[n])] if key else []
        return found[0] + 1 if found else first + 1 if number is not None else 0


def _kind(value: Any) -> str:
    """What a value is, in words."""
    names = {bool: "true or false", list: "a list", dict: "a table", str: f"text {value!r}"}
    return names.get(type(value), f"the number {value}" if isinstance(value, (int, float)) else "a date")
