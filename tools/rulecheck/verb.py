"""``geoc rulecheck``: the rules tried on instances made up for them."""

from __future__ import annotations

import sys
from time import perf_counter

from ...ir.errors import UsageError
from ..args import Arguments

DONE, WRONG = 0, 1


def rulecheck_verb(arguments: Arguments) -> int:
    """Check the rules of files, or of the library; 1 where one is wrong or has no instance."""
    from ...lowering.emit import write_text
    from ...lowering.targets import get_target
    from ...passes.registry import Registry
    from ..files import format_of, protect
    from .report import counterexample, line_of, summary
    from .run import COUNT, check_rules, rules_to_check

    count, seed, output = arguments.get("count", COUNT), arguments.get("seed", 0), arguments.get("output")
    if count < 1:
        raise UsageError(f"--count is at least 1, not {count}")
    if seed < 0:
        raise UsageError("--seed takes no negative number")
    if output is not None and format_of(output) != "gir":
        raise UsageError("counterexamples are text; give a name that ends in .gir", source=output)
    target = get_target(arguments.get("target", "cpu"))
    registry = Registry(target.rule_sets)
    for path in arguments.get("plugin", ()):
        registry.load_plugin(path)
    named = arguments.get("rule")
    rules = rules_to_check(registry, arguments.words, named.split(",") if named else (), target.backend.row_sets())
    if output is not None:
        protect([output], arguments.words)
    quiet, verbose = arguments.get("quiet", False), bool(arguments.get("verbose"))
    begun = perf_counter()
    results = []
    texts: list[str] = []
    for result in check_rules(rules, count=count, seed=seed, out=None if quiet else sys.stderr):
        results.append(result)
        if not quiet or not result.ok:
            print(line_of(result, verbose), flush=True)
        if result.fault is not None:
            texts.append(counterexample(result))
            if output is None:
                print("\n" + texts[-1])
    if not quiet:
        print(summary(results, perf_counter() - begun))
    if output is not None and texts:
        write_text(output, "\n".join(texts))
        if not quiet:
            print(f"{len(texts)} counterexample{'s' if len(texts) > 1 else ''} in {output}")
    return DONE if all(result.ok for result in results) else WRONG
