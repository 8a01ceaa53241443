"""All rules one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TextIO

from ...ir.errors import UsageError
from ...ir.rewrite import Rule
from ...lowering.rows import load_rows
from ...passes.registry import Registry, match_names
from ..progress import Progress
from .search import Result, Search

COUNT = 8  # instances of a rule that is written in one way
_LESS = 0.1  # of the attempts at finding them, where fewer are asked for


def check_rules(
    rules: Iterable[tuple[str, Rule]],
    *,
    count: int = COUNT,
    seed: int = 0,
    effort: float | None = None,
    out: TextIO | None = None,
) -> Iterator[Result]:
    """Check rules, each given with the name of its set; `out` is the terminal for a progress bar.

    `effort`: the part of all attempts at finding instances that may be made, by default less where few are asked for.
    """
    if effort is None:
        effort = 1.0 if count >= COUNT else _LESS
    todo = list(rules)
    progress = Progress(out)
    for number, (owner, rule) in enumerate(todo):
        progress.stage(f"{owner}: {rule.name}", number / len(todo), (number + 1) / len(todo))
        result = Search(rule, owner, seed).run(count, effort)
        progress.finished()
        yield result


def rules_to_check(
    registry: Registry,
    files: Sequence[str],
    names: Sequence[str] = (),
    rows: Mapping[str, tuple[str, str]] | None = None,
) -> list[tuple[str, Rule]]:
    """The rules of .rules files and of .py files with @rule classes; without files, those of the library and `rows`.

    `rows` are sets of rules that refuse: file and module with the natives by name. Rules that change numbers are left
    out: there is nothing to compare. Raises UsageError for a file without rules and for a name (* allowed) that no rule
    has.
    """
    from ...passes.rulepass import RulePass

    before = len(registry.added_rules)
    for path in sorted(files, key=lambda p: not p.endswith(".py")):  # natives before the rules that call them
        if path.endswith(".py"):
            registry.load_plugin(path)
        elif path.endswith(".rules"):
            registry.add_rules(path)
        else:
            raise UsageError("rules are in .rules files or in .py files", source=path)
    owners = registry.added_rules[before:] if files else registry.names(installed=False)
    if files and not owners:
        raise UsageError("no rules in it", source=files[0])
    found: list[tuple[str, Rule]] = []
    for owner in owners:
        cls = registry.find(owner)
        if issubclass(cls, RulePass) and not cls.lossy:
            found += [(owner, rule) for rule in cls.rules()]
    if not files:
        found += [(owner, rule) for owner, place in (rows or {}).items() for rule in load_rows(*place)]
    if names:
        wanted = match_names(names, sorted({rule.name for _, rule in found}), "--rule")
        found = [(owner, rule) for owner, rule in found if rule.name in wanted]
    return found
