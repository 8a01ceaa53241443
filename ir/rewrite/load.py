"""From .rules text to a `RuleSet`: parse, expand, check; or read all that from the user's cache.

A text that passed its checks is cached as JSON, keyed by content, so that a warm start imports no parser
and decodes a rule only when its root op turns up. Losing the cache costs time and nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..cache import cache_file, write_atomically
from ..errors import TextError
from ..ops.schema import SNAPSHOT_PATH
from .native import NATIVES
from .rule import NATIVES_OF_ROW, Rule, RuleSet, row_of, tree_of

LANGUAGE = 4  # counts changes of the language and of the cached form

Natives = Mapping[str, Callable[..., Any]]


def load_rules(path: str | os.PathLike[str], natives: Natives = NATIVES) -> RuleSet:
    """The rules of a file. Raises TextError with line and column, OSError if it cannot be read."""
    path = os.fspath(path)
    with open(path, "rb") as file:
        data = file.read()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextError("not UTF-8 text", source=path, place=f"byte {error.start}") from None
    cached = _cache_file(data)
    found = None if cached is None else _read_cache(cached, path, natives)
    if found is None:
        rows, trees = compile_rules(text, path, natives)
        if cached is not None:
            lines = [json.dumps(rows, separators=(",", ":")), *trees]
            write_atomically(cached, "\n".join(lines).encode())
        found = [Rule(row, tree, path, natives) for row, tree in zip(rows, trees)]
    return RuleSet(found)


def parse_rules(text: str, source: str = "<rules>", natives: Natives = NATIVES) -> RuleSet:
    """The rules of a text; nothing is cached. Raises TextError with line and column."""
    rows, trees = compile_rules(text, source, natives)
    return RuleSet([Rule(row, tree, source, natives) for row, tree in zip(rows, trees)])


def compile_rules(text: str, source: str, natives: Natives) -> tuple[list[Any], list[str]]:
    """Checked rules as rows and trees, see `rule.row_of` and `rule.tree_of`."""
    from .analyse import Analysis
    from .check import check
    from .expand import expand
    from .overlap import check_overlap
    from .syntax import Invoke, PatternDecl, RuleDecl, problem, walk
    from .transform import parse_surface

    patterns: dict[str, PatternDecl] = {}
    places: dict[str, tuple[int, int]] = {}
    declarations = parse_surface(text, source)
    for item in declarations:
        kind = "pattern" if isinstance(item, PatternDecl) else "rule"
        if f"{kind} {item.name}" in places:
            first = places[f"{kind} {item.name}"]
            raise problem(f"{kind} {item.name!r} is defined twice, first in line {first[0]}", source, item.place)
        places[f"{kind} {item.name}"] = item.place
        if isinstance(item, PatternDecl):
            patterns[item.name] = item
    rows: list[Any] = []
    trees: list[str] = []
    analyses: list[Analysis] = []
    for item in declarations:
        if isinstance(item, RuleDecl):
            analysis = Analysis(expand(item, patterns, source), source)
            check(analysis, natives)
            called = [p.name for part in _sides(analysis.rule) for p in walk(part) if isinstance(p, Invoke)]
            rows.append(row_of(analysis, dict.fromkeys(n for n in called if n in natives)))
            trees.append(tree_of(analysis.rule))
            analyses.append(analysis)
    for refusing in (False, True):  # these have different tasks
        check_overlap([a for a in analyses if (a.rule.refuse is not None) is refusing])
    return rows, trees


def _sides(rule: Any) -> list[Any]:
    return [*rule.match, *rule.where, *rule.rewrite]


# The cache


def _cache_file(data: bytes) -> Path | None:
    import hashlib

    # A rule is checked against the operators' schemas, so these are part of the key.
    status = os.stat(SNAPSHOT_PATH)
    version = f"{LANGUAGE} {status.st_size} {status.st_mtime_ns}".encode()
    return cache_file("rules", hashlib.blake2b(data, digest_size=16, key=version).hexdigest() + ".json")


def _read_cache(path: Path, source: str, natives: Natives) -> list[Rule] | None:
    try:
        head, *trees = path.read_text(encoding="utf-8").split("\n")
        rows = json.loads(head)
        if len(rows) != len(trees):
            return None
        for row in rows:
            if any(name not in natives for name in row[NATIVES_OF_ROW]):
                return None  # the full load says which one is missing, and where
        return [Rule(row, tree, source, natives) for row, tree in zip(rows, trees)]
    except (OSError, ValueError, TypeError, IndexError, KeyError, RecursionError):
        return None  # absent or damaged: the text is parsed again
