"""What the rules of -O2 cost: time by size of the graph, by rule set, and by rule.

    python tests/bench/rules.py [NODES...] [--model FILE...] [--time-rules] [--target NAME]

For graphs of NODES nodes (default 1,000 10,000 100,000) in which a tenth of the nodes begins a pattern, and for such
in which none fits: milliseconds in rule passes over a whole -O2, every round counted, and by rule set.
--time-rules lists the rules that take longest to turn away, on the same graphs and on each FILE (a model as the last
round of its passes sees it): attempts, matches, microseconds for each attempt that failed, milliseconds in all.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from time import process_time

sys.path.insert(0, str(Path(__file__).parents[2]))

from geoc.ir.collector import rare_collector
from geoc.ir.core import Model
from geoc.ir.rewrite import RuleSet
from geoc.passes.rulepass import RulePass
from tests.rule_graphs import blocks, run_o2, steps_of_o2

SIZES = (1_000, 10_000, 100_000)


def rule_sets(target: str) -> list[RuleSet]:
    """The rule sets of -O2, each once, in order."""
    found: dict[str, RuleSet] = {}
    waiting = steps_of_o2(target)
    while waiting:
        step = waiting.pop(0)
        waiting = [*getattr(step, "steps", ()), *waiting]
        if isinstance(step, RulePass):
            found.setdefault(step.name, step.rules())
    return list(found.values())


def time_rules(model: Model, target: str) -> list[tuple[float, str, int, int, float]]:
    """(milliseconds, rule, attempts, matches, microseconds for each that failed), the dearest first."""
    failing: Counter[str] = Counter()
    attempts: Counter[str] = Counter()
    matches: Counter[str] = Counter()
    with rare_collector():
        present = {node.op for node in model.walk()}
        for rules in rule_sets(target):
            for node in model.walk():
                for entry in rules.candidates(node):
                    if any(present.isdisjoint(ops) for ops in entry.rule.needs):
                        continue  # as the driver does
                    matcher = entry.compiled()[0]
                    begun = process_time()
                    fits = matcher.start(matcher.begin(node))
                    spent = process_time() - begun
                    name = entry.rule.name
                    attempts[name] += 1
                    matches[name] += fits
                    if not fits:
                        failing[name] += spent  # type: ignore[assignment]
    rows = [
        (failing[n] * 1e3, n, attempts[n], matches[n], failing[n] * 1e6 / max(attempts[n] - matches[n], 1))
        for n in attempts
    ]
    return sorted(rows, reverse=True)


def print_rules(title: str, model: Model, target: str, shown: int) -> None:
    print(f"\n{title}: {model.node_count} nodes")
    print(f"{'rule':34}{'attempts':>9}{'matches':>9}{'us/failed':>11}{'ms':>9}")
    rows = time_rules(model, target)
    for ms, name, attempts, matches, us in rows[:shown]:
        print(f"{name:34}{attempts:9}{matches:9}{us:11.1f}{ms:9.2f}")
    print(f"{'all':34}{sum(r[2] for r in rows):9}{sum(r[3] for r in rows):9}{'':11}{sum(r[0] for r in rows):9.2f}")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nodes", nargs="*", type=int, default=list(SIZES))
    parser.add_argument("--model", action="append", default=[], metavar="FILE")
    parser.add_argument("--time-rules", action="store_true")
    parser.add_argument("--shown", type=int, default=25, help="rules to list")
    parser.add_argument("--target", default="cpu")
    options = parser.parse_args(argv)
    run_o2(blocks(100, True), options.target)  # reads rules, looks operators up
    print(f"rules in -O2: {sum(len(rules) for rules in rule_sets(options.target))}")
    for fits in (True, False):
        for nodes in options.nodes:
            model = blocks(nodes, fits)
            count = model.node_count
            times, whole = run_o2(model, options.target)
            dearest = sorted(times.ms.items(), key=lambda item: -item[1])[:6]
            sets = ", ".join(f"{name} {ms:.0f} ({times.calls[name]})" for name, ms in dearest)
            print(
                f"{'patterns' if fits else 'none fits'}: {count} -> {model.node_count} nodes, "
                f"{times.rewrites.total()} rewrites; rules {times.all_ms:.0f} ms, "
                f"all passes {whole:.0f} ms\n    {sets}"
            )
    if options.time_rules:
        for fits in (True, False):
            print_rules("patterns" if fits else "none fits", blocks(10_000, fits), options.target, options.shown)
        for path in options.model:
            from geoc.tools.files import load_any

            model = load_any(path)
            run_o2(model, options.target)
            print_rules(Path(path).name, model, options.target, options.shown)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
