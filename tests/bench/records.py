"""Records that a script measures one by one: kept as JSON while it runs, and read again to make its table anew."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def add_options(parser: argparse.ArgumentParser, table: Path) -> None:
    """``--json``, ``--again`` and ``--write`` of a script that makes `table`."""
    parser.add_argument("--json", type=Path)
    parser.add_argument("--again", type=Path, nargs="+", help="records of earlier runs, instead of measuring")
    parser.add_argument("--write", action="store_true", help=f"write docs/{table.name}")


def records_of(
    options: argparse.Namespace, measured: Iterable[Record], line: Callable[[Record], str]
) -> list[Record]:
    """Those that ``--again`` names, or what is measured, each told by its `line` and kept as it comes."""
    if options.again:
        return [record for path in options.again for record in json.loads(path.read_text())]
    records: list[Record] = []
    for record in measured:
        records.append(record)
        print(line(record), flush=True)
        if options.json:
            options.json.write_text(json.dumps(records, indent=1) + "\n")
    return records


def add_models(parser: argparse.ArgumentParser, folder: Path, variants: Iterable[str]) -> None:
    """Models, the folder that they are in, of each its samples, metric and scores, and the variants that are made."""
    parser.add_argument("models", nargs="*")
    parser.add_argument("--dir", type=Path, default=folder)
    for option, what in (("--calib", "SAMPLES"), ("--metric", "FILE.py:FUNCTION"), ("--scores", "FILE.py:FUNCTION")):
        parser.add_argument(option, action="append", default=[], help=f"MODEL={what}")
    parser.add_argument("--only", action="append", default=[], choices=[*variants])


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """Put a text in the place of what stands between two marks of a page. Raises ValueError unless each is there once."""
    before, rest = page.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
