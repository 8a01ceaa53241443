"""Are the graphs of PyTorch modules those of the ONNX files that PyTorch writes of them?

    python tests/bench/modules.py CASES.py FOLDER NAME ... [-o TABLE.md]

CASES.py has a dictionary CASES of functions, each of which makes an object with a `model`, its `args`, `inputs` as
(name, dynamic axes), `outputs` as names, and `nested`, from which input on all are one list (None: none are). FOLDER has
NAME-dynamo.onnx and NAME-ts.onnx, which torch's two exporters wrote of the same model with the same seed. Each module is
loaded (`geoc.load(module, args)`), both files are, and all are compared by structure, constants included, as they are read
and after -O2; what the older exporter wrote is compared by the operators that it becomes. Needs torch.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch

import geoc
from geoc.ir.core import Model
from geoc.ir.equal import difference

HEAD = "| module | operators read | after -O2 | as read | after -O2, -dynamo file | after -O2, -ts file |\n|---|--:|--:|---|---|---|"


def cases_of(path: Path, folder: Path) -> dict[str, Any]:
    """The CASES of a file, which may look for trained weights in its DEST."""
    found = importlib.util.spec_from_file_location("cases", path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["cases"] = module  # for the dataclasses in it
    found.loader.exec_module(module)
    module.DEST = folder  # type: ignore[attr-defined]
    cases: dict[str, Any] = module.CASES
    return cases


def loaded(case: Any) -> Model:
    """The module of a case, with the names and dimensions that the case gives."""
    axes: list[Any] = [axes for _, axes in case.inputs]
    if case.nested is not None:
        axes = [*axes[: case.nested], axes[case.nested :]]
    names = [name for name, _ in case.inputs]
    return geoc.load(
        case.model, tuple(case.args), dynamic_shapes=tuple(axes), input_names=names, output_names=case.outputs
    )


def optimized(model: Model) -> Model:
    geoc.optimize(model, check="off")
    return model


def operators(model: Model) -> Counter[str]:
    return Counter(node.op.key for node in model.walk())


def said(found: str | None) -> str:
    return "equal" if found is None else found.replace("|", "/")


def row(name: str, make: Any, folder: Path) -> str:
    torch.manual_seed(0)
    with torch.no_grad():
        mine = loaded(make())
    gc.collect()
    cells = [name, str(mine.node_count)]
    files = {kind: folder / f"{name}-{kind}.onnx" for kind in ("dynamo", "ts")}
    read = {kind: geoc.load(path) for kind, path in files.items() if path.exists()}
    before = said(difference(mine, read["dynamo"])) if "dynamo" in read else "no file"
    optimized(mine)
    cells += [str(mine.node_count), before]
    cells.append(said(difference(mine, optimized(read["dynamo"]))) if "dynamo" in read else "no file")
    if "ts" in read:
        other = optimized(read["ts"])
        found = difference(mine, other)
        cells.append("equal" if found is None else same_operators(operators(mine), operators(other)))
    else:
        cells.append("no file")
    return "| " + " | ".join(cells) + " |"


def same_operators(mine: Counter[str], other: Counter[str]) -> str:
    """In how far the same operators are there, each as often."""
    if mine == other:
        return "the same operators"
    more, fewer = mine - other, other - mine
    return "; ".join(
        f"{text} {', '.join(f'{count} {name}' for name, count in sorted(each.items()))}"
        for text, each in (("module alone:", more), ("file alone:", fewer))
        if each
    )


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="+")
    parser.add_argument("-o", dest="output", type=Path)
    options = parser.parse_args(words)
    cases = cases_of(options.cases, options.folder)
    rows = []
    print(HEAD)
    for name in options.names:
        rows.append(row(name, cases[name], options.folder))
        print(rows[-1], flush=True)
    if options.output:
        options.output.write_text("\n".join([HEAD, *rows]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
