"""A file of runs, one JSON record a line, and what has changed since the last one of the same models, on one machine.

Two runs lie hours apart, and the machine between them is not the same: the time of a model alone is compared within
the spread of single runs in both. Where the first model and what runs it stayed as they were, the others are compared
by their ratios to it, in which the machine cancels out, and much less is called a change.
"""

from __future__ import annotations

import json
import math
import os
from typing import Any

from ...ir.errors import UsageError
from ...lowering.emit import write_text

OPTION = "--history"
LEAST = 0.02  # a change that is called one


def read_history(path: str) -> list[dict[str, Any]]:
    """The runs of a file, the oldest first; [] where there is none yet. Raises UsageError for what is no history."""
    if not os.path.exists(path):
        return []
    runs = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                run = json.loads(line)
                if run["schema"] != 1:
                    raise ValueError
            except (ValueError, KeyError, TypeError):
                raise UsageError(f"line {number} of {path} is no run of geoc bench", source=OPTION) from None
            runs.append(run)
    return runs


def add_run(path: str, runs: list[dict[str, Any]], record: dict[str, Any]) -> None:
    """Write the file with one run more, whole or not at all. Raises OSError."""
    write_text(path, "".join(json.dumps(run) + "\n" for run in [*runs, record]))


def since_last(path: str, runs: list[dict[str, Any]], record: dict[str, Any]) -> dict[str, Any]:
    """What has changed: `when` the last run was (None: there is none), `changed` what it was of, `changes` by model."""
    last = next((run for run in reversed(runs) if _subject(run) == _subject(record)), None)
    if last is None:
        return {"file": path, "when": None, "changed": [], "changes": []}
    then = {model["name"]: model["digest"] for model in last["models"]}
    changed = [f"{m['name']} is another file" for m in record["models"] if then[m["name"]] != m["digest"]]
    versions = record["machine"]["versions"]
    for name, version in last["machine"]["versions"].items():
        if versions.get(name) != version:
            changed.append(f"{name} {version} is {versions.get(name, 'gone')}")
    changes = []
    for now, before in _pairs(record, last):
        changes += _changes(now, before, firm=not _is_changed(record, last))
    return {"file": path, "when": last["when"], "changed": changed, "changes": changes}


def _subject(run: dict[str, Any]) -> tuple[Any, ...]:
    """The machine and the models by name: their files may have changed, which is what a history is for."""
    return run["machine"]["id"], tuple((model["name"], model["runtime"]) for model in run["models"])


def _is_changed(record: dict[str, Any], last: dict[str, Any]) -> bool:
    """True if the first model, or anything that runs it, is another one."""
    runtime = record["models"][0]["runtime"]
    same = record["models"][0]["digest"] == last["models"][0]["digest"]
    return not same or record["machine"]["versions"].get(runtime) != last["machine"]["versions"].get(runtime)


def _pairs(record: dict[str, Any], last: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    def key(found: dict[str, Any]) -> tuple[Any, ...]:
        return found["threads"], found["batch"], found["shape"], tuple(found["noise"])

    before = {key(found): found for found in last["configurations"]}
    return [(found, before[key(found)]) for found in record["configurations"] if key(found) in before]


def _changes(now: dict[str, Any], before: dict[str, Any], firm: bool) -> list[dict[str, Any]]:
    """Of one configuration. `firm`: the first model is a yardstick."""
    old = {result["model"]: result for result in before["results"]}
    where = f"{now['threads']} thread{'s' * (now['threads'] > 1)}, batch {now['batch']}"
    found = []
    for result in now["results"]:
        earlier = old[result["model"]]
        is_first = result["ratios"][list(now["noise"])[-1]]["verdict"] == "first"
        for metric in now["noise"]:
            if firm and not is_first:
                a, b = result["ratios"][metric], earlier["ratios"][metric]
                bound = math.hypot(_half(a), _half(b), now["noise"][metric], before["noise"][metric])
                ratio, by = a["middle"] / b["middle"], f"by its ratio to {now['results'][0]['model']}"
            else:
                bound = math.hypot(result[metric]["spread"] / 2, earlier[metric]["spread"] / 2)
                ratio, by = result[metric]["median"] / earlier[metric]["median"], "by its time alone"
            title = where if len(now["noise"]) == 1 else f"{where}, {metric}"
            change = {"model": result["model"], "where": title, "ratio": ratio, "bound": bound, "by": by}
            found.append({**change, "verdict": verdict(ratio, bound)})
    return found


def verdict(ratio: float, bound: float) -> str:
    """"faster", "slower" or "same": same within the bound and within `LEAST`."""
    if abs(math.log(ratio)) <= max(bound, LEAST):
        return "same"
    return "slower" if ratio > 1 else "faster"


def _half(ratio: dict[str, Any]) -> float:
    """Half of an interval, as a share."""
    return math.log(ratio["high"] / ratio["low"]) / 2
