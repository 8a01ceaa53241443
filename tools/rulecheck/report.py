"""What is shown of a check: a line for each rule, its counterexample as text, and the sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.core import Model
from ...ir.text import print_model
from .search import Result

OPSET = 24  # said in the text of a counterexample, so that it reads the same where another opset is assumed
_UNTRIED = 3  # ways without an instance that a line names


def line_of(result: Result, verbose: bool = False) -> str:
    """One rule on one line, or two where some of its ways found no instance."""
    head = f"{_verdict(result):<8}{result.owner:<14}{result.rule.name:<30}"
    if result.fault is not None:
        return f"{head}{result.fault.kind}: {result.fault.text} ({result.rule.location})"
    if not result.ok:
        return f"{head}{_nothing(result)} ({result.rule.location})"
    if result.rule.refuses:
        text = f"{head}{result.instances:>3} instances, {' '.join(sorted(result.dtypes))}"
        return text + _untried(result, verbose)
    types = " ".join(sorted(result.dtypes))
    ways = f", {len(result.covered)} of {len(result.options)} ways" if result.options else ""
    dynamic = "" if result.dynamic else "; static shapes only"
    text = f"{head}{result.instances:>3} instances, {result.runs} comparisons, {types}{ways}{dynamic}"
    return text + _untried(result, verbose)


def _untried(result: Result, verbose: bool) -> str:
    """A line with the ways of which there was no instance, if there are such."""
    untried = [o.text for o in result.options if o not in result.covered]
    if not untried:
        return ""
    shown = untried if verbose else untried[:_UNTRIED]
    more = f" and {len(untried) - len(shown)} more" if len(untried) > len(shown) else ""
    return f"\n{'':<8}no instance of: {'; '.join(shown)}{more}"


def _verdict(result: Result) -> str:
    if result.ok and result.rule.refuses:
        return "refuses"
    return "wrong" if result.fault is not None else "right" if result.ok else "NOTHING"


def _nothing(result: Result) -> str:
    if result.instances:
        return f"fires, but nothing could be run: {result.nearest}"
    return f"no instance in {result.attempts} attempts; the nearest: {result.nearest}"


def summary(results: Sequence[Result], seconds: float) -> str:
    """The sum of all."""
    wrong = sum(1 for r in results if r.fault is not None)
    nothing = sum(1 for r in results if r.fault is None and not r.ok)
    instances, runs = sum(r.instances for r in results), sum(r.runs for r in results)
    ways, tried = sum(len(r.options) for r in results), sum(len(r.covered) for r in results)
    refuse = sum(1 for r in results if r.ok and r.rule.refuses)
    said = [f"{len(results)} rules: {len(results) - wrong - nothing - refuse} right"]
    if refuse:
        said.append(f"{refuse} that refuse")
    if wrong:
        said.append(f"{wrong} wrong")
    if nothing:
        said.append(f"{nothing} without an instance")
    return (
        f"{', '.join(said)}; {instances} instances, {tried} of {ways} ways to match, "
        f"{runs} comparisons of values in {seconds:.1f} s"
    )


def counterexample(result: Result) -> str:
    """A fault as a .gir text of both sides, to be read and to be pasted into a golden case."""
    fault = result.fault
    assert fault is not None
    rule = result.rule
    head = [
        f"# {rule.name} ({rule.location}): {fault.kind}: {' '.join(fault.text.split())}",
        f"# RUN: --passes={result.owner}",
    ]
    alike = [text for text in (_alike(name, array) for name, array in fault.feeds.items()) if text]
    if alike:
        head.append(f"# FEED: {' '.join(alike)}")
    sizes = {name: str(size) for name, size in fault.sizes.items()}
    for name, value in zip(fault.before.graph.input_names, fault.before.graph.inputs):
        if value.shape is None and name in fault.feeds:
            sizes[name] = "x".join(str(d) for d in np.shape(fault.feeds[name]))
    if sizes:
        head.append("# SIZES: " + " ".join(f"{name}={size}" for name, size in sizes.items()))
    head += [f"#   {name} = {_array(array)}" for name, array in fault.feeds.items() if not _alike(name, array)]
    for place, arrays in (("left", fault.wanted), ("right", fault.found)):
        head += [f"#   {place} %{n} = {_array(a)}" for n, a in zip(fault.before.graph.output_names, arrays)]
    parts = ["\n".join(head), _text(fault.before)]
    if fault.after is not None:
        parts += ["# ----", _text(fault.after)]
    return "\n".join(parts) + "\n"


def _text(model: Model) -> str:
    model.opsets = {"": OPSET}
    if any(node.op.domain for node in model.walk()):
        model.opsets.update({node.op.domain: 1 for node in model.walk() if node.op.domain})
    return print_model(model, weights="inline").rstrip()


def _alike(name: str, array: Any) -> str:
    """NAME=NUMBER for an array whose elements are all alike."""
    flat = np.asarray(array).reshape(-1)
    if not flat.size or not bool((flat == flat[0]).all()):
        return ""
    number = flat[0].item()
    return f"{name}={str(number).lower() if isinstance(number, bool) else f'{number:g}'}"


def _array(array: Any) -> str:
    if isinstance(array, list):
        return f"[{', '.join(_array(a) for a in array)}]"
    return " ".join(np.array2string(np.asarray(array), separator=", ", threshold=64, precision=7).split())
