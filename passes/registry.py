"""Passes by name: built-in ones, those of installed packages, and those of ``--plugin`` files.

Built-in names map to "module:Class" strings, imported when used. Packages add theirs by entry points in
group ``geoc.passes``, looked up only for a name that is not built in (the lookup costs 50 ms).
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import ModuleType

from ..ir.errors import GeocError, UsageError
from .base import Pass
from .manager import Repeat
from .pipelines import Group, Item, Option, Step, render_option

ENTRY_POINTS = "geoc.passes"
BUILT_IN: dict[str, str] = {
    "infer": ".clean.infer:Infer",
    "fold": ".clean.fold:Fold",
    "constant-if": ".clean.constant_if:ConstantIf",
    "constant-loop": ".clean.constant_loop:ConstantLoop",
    "dce": ".clean.dce:Dce",
    "cse": ".clean.cse:Cse",
    "share-weights": ".clean.share_weights:ShareWeights",
    "hoist": ".clean.hoist:Hoist",
    "hoist-weights": ".clean.hoist_weights:HoistWeights",
    "freeze": ".simplify.freeze:Freeze",
    "defaults": ".simplify.defaults:Defaults",
    "shapes": ".simplify.shapes:Shapes",
    "transposes": ".simplify.transposes:Transposes",
    "grouped-queries": ".simplify.grouped_queries:GroupedQueries",
    "autocast": ".precision.autocast:Autocast",
    "quantize-weights": ".quantize.weight_only:QuantizeWeights",
    "dequantize-weights": ".quantize.dequantize:DequantizeWeights",
    "nbits-rows": ".quantize.rows:NBitsRows",
    "nbits-columns": ".quantize.columns:NBitsColumns",
    "kv-cache": ".quantize.kv_cache:KVCache",
    "interface": ".precision.interface:Interface",
    "quantize": ".quantize.quantize:Quantize",
    "quantize-floats": ".quantize.quantize_floats:QuantizeFloats",
    "equalize": ".quantize.equalize:Equalize",
    "smooth": ".quantize.smooth:Smooth",
    "low-rank": ".lowrank.lowrank:LowRank",
    "low-rank-conv": ".lowrank.convolutions:LowRankConv",
    "prune": ".prune.prune:Prune",
    "sparsify": ".prune.sparsify:Sparsify",
    "sparse-storage": ".prune.sparse_storage:SparseStorage",
    "palettize": ".palettes.palettize:Palettize",
    "drop-layers": ".prune.drop_layers:DropLayers",
}
RULE_SETS: dict[str, str] = {
    "identity": ".simplify.arrangement",
    "views": ".simplify.arrangement",
    "pads": ".simplify.arrangement",
    "affine": ".simplify.affine",
    "gemm": ".simplify.arrangement",
    "activations": ".fuse.activations",
    "softmax": ".fuse.softmax",
    "arrangements": ".fuse.arrangements",
    "norms": ".fuse.norms",
    "rotary": ".fuse.rotary",
    "attention": ".fuse.attention",
    "masks": ".fuse.masks",
}
"""Passes that are one file of rules each, ``NAME.rules``, and the module beside it with their natives."""


class Registry:
    """The passes that one compilation can use; plugins and user rules are added to it alone.

    `rule_sets`: those of a target by name, as (file, module with the natives). A module that says ``LOSSY = True``
    belongs to rules that change numbers.
    """

    def __init__(self, rule_sets: Mapping[str, tuple[str, str]] | None = None) -> None:
        self.rule_sets = {**built_in_rule_sets(), **(rule_sets or {})}
        self._classes: dict[str, type[Pass]] = {}
        self._foreign: dict[str, object] | None = None  # entry points, once they were looked up
        self.added_rules: list[str] = []  # names of rule passes that came from the user

    def names(self, installed: bool = True) -> list[str]:
        """Every known name; `installed` False leaves out what other packages offer."""
        known = {*BUILT_IN, *self.rule_sets, *self._classes}
        if installed:
            known.update(self._entry_points())
        return sorted(known)

    def find(self, name: str, column: int = 0) -> type[Pass]:
        """The class of a pass. Raises UsageError with the nearest names for an unknown one."""
        found = self._classes.get(name) or self._load(name)
        if found is None:
            near = get_close_matches(name, self.names(), 3)
            raise UsageError(
                f"there is no pass {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""),
                source="--passes" if column else "",
                place=f"column {column}" if column else "",
            )
        self._classes[name] = found
        return found

    def make(self, step: Step) -> Pass:
        """A pass with its options. Raises UsageError for options that it lacks or of a wrong type."""
        cls = self.find(step.name, step.column)
        return cls(**{key: _checked(cls, key, value, step) for key, value in step.options})

    def resolve(self, items: Iterable[Item]) -> list[Pass]:
        """The passes of a parsed pipeline, ready to run."""
        return [
            Repeat(tuple(self.resolve(item.steps)), item.limit)
            if isinstance(item, Group)
            else self.make(item)
            for item in items
        ]

    def add(self, cls: type[Pass]) -> None:
        """Register a pass under its own name. Raises UsageError if the name is taken."""
        name = cls.name
        if not name:
            raise UsageError(f"{cls.__qualname__} has no name")
        if name in BUILT_IN or name in self.rule_sets or name == Repeat.name or name in self._classes:
            raise UsageError(f"pass {name!r} is already there")
        self._classes[name] = cls

    def add_user_code(self, plugins: Sequence[str], rules: Sequence[str]) -> None:
        """Load plugin files, then rule files, which may call the plugins' natives."""
        for path in plugins:
            self.load_plugin(path)
        for path in rules:
            self.add_rules(path)

    def add_rules(self, path: str) -> str:
        """Load a .rules file as a pass named after the file; returns that name."""
        from .rulepass import rule_pass

        name = os.path.splitext(os.path.basename(path))[0]
        cls = rule_pass(name, path)
        cls().rule_names()  # reads the file now: an error in it is the user's, and early
        self.add(cls)
        self.added_rules.append(name)
        return name

    def load_plugin(self, path: str) -> list[str]:
        """Run a Python file; register its Pass subclasses and, as one more pass, its rules.

        Returns the names registered: none for a file that only has natives. Raises UsageError when the file
        fails or defines nothing.
        """
        from ..ir.rewrite import NATIVES
        from .rulepass import rule_pass, rules_of_module

        natives = len(NATIVES)
        module = _import_file(path)
        found: list[str] = []
        for value in list(vars(module).values()):
            if isinstance(value, type) and issubclass(value, Pass) and value.__module__ == module.__name__:
                self.add(value)
                found.append(value.name)
        rules = rules_of_module(module)
        if rules:
            name = os.path.splitext(os.path.basename(path))[0]
            self.add(rule_pass(name, rules))
            self.added_rules.append(name)
            found.append(name)
        if not found and len(NATIVES) == natives:
            raise UsageError("defines no Pass, no rule (`@rule()`) and no native", source=path)
        return found

    def _load(self, name: str) -> type[Pass] | None:
        spec = BUILT_IN.get(name)
        if spec is not None:
            module, _, attribute = spec.partition(":")
            cls: type[Pass] = getattr(importlib.import_module(module, __package__), attribute)
            return cls
        if name in self.rule_sets:
            from .rulepass import rule_pass

            path, module_name = self.rule_sets[name]
            natives = importlib.import_module(module_name)
            return rule_pass(name, path, lossy=getattr(natives, "LOSSY", False))
        entry = self._entry_points().get(name)
        if entry is None:
            return None
        loaded = entry.load()  # type: ignore[attr-defined]
        if not (isinstance(loaded, type) and issubclass(loaded, Pass)):
            raise UsageError(f"entry point {name!r} of group {ENTRY_POINTS} is not a Pass class")
        return loaded

    def _entry_points(self) -> dict[str, object]:
        if self._foreign is None:
            from importlib.metadata import entry_points

            self._foreign = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
        return self._foreign


def built_in_rule_sets() -> dict[str, tuple[str, str]]:
    """File and module with the natives of each name in `RULE_SETS`."""
    here = os.path.dirname(__file__)
    return {
        name: (os.path.join(here, module.split(".")[1], f"{name}.rules"), f"{__package__}{module}")
        for name, module in RULE_SETS.items()
    }


def options_of(cls: type[Pass]) -> dict[str, Option]:
    """Options of a pass with their defaults."""
    return {f.name: f.default for f in dataclasses.fields(cls)}  # type: ignore[misc]


_KINDS: dict[type, str] = {
    bool: "true or false", int: "a whole number", float: "a number", str: "a word", tuple: "a list",
}  # fmt: skip


def _checked(cls: type[Pass], key: str, value: Option, step: Step) -> Option:
    defaults = options_of(cls)
    place = {"source": "--passes", "place": f"column {step.column}"} if step.column else {}
    if key not in defaults:
        has = ", ".join(f"{k}={render_option(v)}" for k, v in defaults.items()) or "none"
        near = get_close_matches(key, defaults, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"pass {step.name} has no option {key!r}; {hint}it has: {has}", **place)
    default = defaults[key]
    if default is None or type(value) is type(default):
        return value
    if isinstance(default, float) and type(value) is int:
        return float(value)
    raise UsageError(
        f"option {key} of pass {step.name} is {_KINDS[type(default)]} "
        f"(default {render_option(default)}), not {render_option(value)}",
        **place,
    )


def _import_file(path: str) -> ModuleType:
    """Run a Python file as a module of its own, leaving no compiled file beside it."""
    with open(path, "rb") as file:
        source = file.read()
    module = ModuleType(f"geoc_plugin:{os.path.abspath(path)}")
    module.__file__ = path
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(source, path, "exec"), module.__dict__)
    except (GeocError, OSError):
        raise
    except Exception as error:  # whatever the user's code raises becomes one line with its place
        message = f"{type(error).__name__}: {error}"
        raise UsageError(message, source=path, place=_line_in(path, error)) from error
    return module


def _line_in(path: str, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f"line {error.lineno}"
    line = ""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = f"line {trace.tb_lineno}"
        trace = trace.tb_next
    return line


def first_line(doc: str) -> str:
    """What a doc string says first: its first paragraph, up to the end of its line."""
    return doc.strip().split("\n", 1)[0].strip()


def match_names(patterns: Sequence[str], names: Sequence[str], flag: str) -> set[str]:
    """Names that fit glob `patterns`. Raises UsageError for a pattern that fits none."""
    from fnmatch import filter as fitting

    found: set[str] = set()
    for pattern in patterns:
        hits = fitting(names, pattern)
        if not hits:
            near = get_close_matches(pattern, names, 3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UsageError(f"no pass or rule is called {pattern!r}{hint}", source=flag)
        found.update(hits)
    return found
