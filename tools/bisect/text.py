"""What was found, for people and as JSON."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...ir.core import Model
from ...ir.text import print_graph
from ...passes.rulepass import RulePass
from ..settings import Settings
from .local import Local
from .options import command_for
from .outcome import Outcome
from .region import Change
from .search import PASS, REWRITE, RIGHT, SOURCE, Found

Paint = Callable[[str, str], str]
LOCATIONS = 6  # that are shown
LINES = 24  # of one side's graph that are shown
CONSTANT = 100  # characters of a constant that are shown


def rule_of(found: Found) -> dict[str, Any]:
    """The pass, the rule, where it is written, and what it says of itself."""
    name = found.step.name if found.step is not None else found.outcome.kind.partition(" ")[2]
    rule = found.place[1] if found.place is not None else ""
    at, doc = "", ""
    if isinstance(found.step, RulePass) and rule:
        each = found.step.rules().by_name[rule]
        at, doc = each.location, each.doc
    elif found.step is not None:
        cls = type(found.step)
        doc = inspect.cleandoc(cls.__doc__ or "")
        at = _place_of(cls)
    return {"pass": name, "rule": rule, "at": at, "doc": doc.strip()}


def _place_of(cls: type) -> str:
    """Where a class is written, as far as Python knows."""
    try:
        path = inspect.getsourcefile(cls) or ""
        return f"{path}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):  # a plugin's module may not be findable by name
        code = getattr(getattr(cls, "run", None), "__code__", None)
        return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


def summary(found: Found, settings: Settings, paint: Paint) -> str:
    """The whole report."""
    source = settings.path or "the model"
    head = _head(found, paint)
    lines = [f"{paint(source, 'bold')}: {head}"]
    if found.status in (RIGHT, SOURCE):
        return "\n".join([*lines, _effort(found)])
    lines += _rule_lines(found)
    if found.change is not None:
        where = found.change.locations
        more = f" and {len(where) - LOCATIONS} more" if len(where) > LOCATIONS else ""
        if where:
            lines.append(f"source    {', '.join(where[:LOCATIONS])}{more}")
        lines += _side("before", found.change, False)
        lines += _side("after", found.change, True)
    if found.local is not None:
        lines.append(f"here      {_local(found.local, found.step is not None and found.step.lossy)}")
    lines.append(f"whole     {found.outcome.text}" + _at_bad(found))
    lines += _confirmation(found, paint)
    lines += [f"note      {note}" for note in found.notes]
    if found.status == REWRITE:
        lines.append(f"again     {_again(found, settings, found.bad, 'bad.onnx')}")
        lines.append(f"          {_again(found, settings, found.good, 'good.onnx')}")
    elif found.limit is not None:
        lines.append(f"again     {_again(found, settings, found.limit, 'bad.onnx')}")
    return "\n".join([*lines, _effort(found)])


def _again(found: Found, settings: Settings, limit: int, output: str) -> str:
    skip = (*settings.skip, *found.left_out)
    return command_for(replace(settings, skip=skip), limit, output)


def _effort(found: Found) -> str:
    return f"tests     {found.tests} compilations in {found.seconds:.1f} s"


def _head(found: Found, paint: Paint) -> str:
    if found.status == RIGHT:
        error = f", largest error {found.outcome.error:.1e}" if found.outcome.error else ""
        return f"{paint('nothing is wrong', 'green')} with all {found.total} rewrites{error}"
    if found.status == SOURCE:
        blame = "import, inference, export or test is to blame"
        return f"{paint('wrong without any pass', 'red')}: {found.outcome.text}; {blame}"
    if found.status == PASS:
        name = rule_of(found)["pass"]
        if found.outcome.family == "crash":
            return paint(f"the compilation fails: {found.outcome.text}", "red")
        which = f"run {found.bad} of {found.total} that change something"
        return f"{paint(f'pass {name} makes it wrong', 'red')} ({which})"
    if found.good + 1 < found.bad:
        span = f"one of the rewrites {found.good + 1} to {found.bad}"
        return paint(f"{span} makes it wrong", "red") + "; the test can judge none between"
    return paint(f"rewrite {found.bad} of {found.total} makes it wrong", "red")


def _rule_lines(found: Found) -> list[str]:
    rule = rule_of(found)
    named = f"rule {rule['rule']} of pass {rule['pass']}" if rule["rule"] else f"pass {rule['pass']}"
    lines = [f"by        {named}" + (f"   {rule['at']}" if rule["at"] else "")]
    first = " ".join(rule["doc"].split("\n\n")[0].split())
    lines += [f"          {line}" for line in textwrap.wrap(first, 100)]
    return lines + [f"suspect   {text}" for text in found.suspects]


def _side(title: str, change: Change, after: bool) -> list[str]:
    text = graph_text(change.side(after)).split("\n")
    if len(text) > LINES:
        text = [*text[: LINES - 2], f"  ... {len(text) - LINES + 1} more lines", text[-1]]
    return [f"{title if number == 0 else '':<10}{line}" for number, line in enumerate(text)]


def graph_text(model: Model) -> str:
    """A graph as text without what does not matter on a terminal: digests and long constants are cut short."""
    return "\n".join(_cut(line) for line in print_graph(model.graph, head="").split("\n"))


def _cut(line: str) -> str:
    if "= #blake2b:" in line:
        return line.split("#blake2b:")[0] + "..."
    is_long = line.lstrip().startswith("weight ") and len(line) > CONSTANT
    return line[:CONSTANT].rpartition(",")[0] + ", ..." if is_long else line


def _local(local: Local, lossy: bool) -> str:
    where = " on inputs made up for it" if local.made_up else ", on the values that the model has there"
    if local.problem:
        of = f"%{local.output}: " if local.output else ""
        return of + local.problem + (where if local.output else "")
    if not local.error:
        return f"%{local.output} keeps every value{where}"
    meant = "inexact on purpose" if lossy else "wrong"
    kind = "rounding" if local.within else f"{meant}, by up to {local.largest:.3g}"
    return f"%{local.output} is off by {local.error:.1e} of its largest value ({kind}){where}"


def _at_bad(found: Found) -> str:
    """What the test says right behind the step, where that differs from the end."""
    at = found.at_bad
    if at is None or at.text == found.outcome.text:
        return ""
    return f"; right behind this step: {at.text}"


def _confirmation(found: Found, paint: Paint) -> list[str]:
    if found.alone is None:
        return []
    what = "rewrite" if found.status == REWRITE else "pass"
    if found.alone.good:
        return [f"confirmed {paint(f'all but this {what} is right', 'green')}"]
    lines = [f"{paint('not alone', 'yellow')} all but this {what} is {_wrong(found.alone)}"]
    if found.without_rule is not None:
        rule = rule_of(found)
        name = f"rule {rule['rule']}" if rule["rule"] else f"pass {rule['pass']}"
        if found.without_rule.good:
            lines.append(f"          without {name} anywhere it is right: it is wrong at several places")
        else:
            still = f"{_wrong(found.without_rule)}: something else is wrong too"
            lines.append(f"          without {name} anywhere it is {still}")
    return lines


def _wrong(outcome: Outcome) -> str:
    return f"still wrong: {outcome.text}" if not outcome.good else "right"


def as_json(found: Found, settings: Settings) -> str:
    """One JSON object."""
    data: dict[str, Any] = {
        "model": settings.path, "status": found.status, "outcome": _outcome(found.outcome), "total": found.total,
        "good": found.good, "bad": found.bad, "tests": found.tests, "seconds": round(found.seconds, 3),
    }  # fmt: skip
    if found.status in (REWRITE, PASS):
        data |= {
            **rule_of(found),
            "source": found.change.locations if found.change is not None else [],
            "before": graph_text(found.change.side(False)) if found.change is not None else "",
            "after": graph_text(found.change.side(True)) if found.change is not None else "",
            "local": None if found.local is None else vars(found.local),
            "alone": None if found.alone is None else _outcome(found.alone),
            "without_rule": None if found.without_rule is None else _outcome(found.without_rule),
            "suspects": found.suspects, "left_out": found.left_out, "notes": found.notes,
            "again": _again(found, settings, found.bad if found.limit is None else found.limit, "bad.onnx"),
        }  # fmt: skip
    return json.dumps(data)


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {key: getattr(outcome, key) for key in ("kind", "message", "error", "limit", "output")}
