"""The rules in the language reference are rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from geoc.ir.rewrite.functions import FUNCTIONS

TEXT = (Path(__file__).parents[3] / "docs" / "rules.md").read_text(encoding="utf-8").partition("\n# Reference\n")[2]


def test_examples_load(lab: Any) -> None:
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", TEXT, re.MULTILINE)
    texts = ["\n".join(line[4:] for line in block.splitlines()) for block in blocks]
    rules = [lab.load(text) for text in texts if re.match(r"\s*(rule|pattern) ", text)]
    names = ["matmul_bias_gelu", "split_pair", "rope", "reduce_axes", "resize_mode", "no_layer"]
    assert [r.name for loaded in rules for r in loaded] == names


def test_every_function_is_documented() -> None:
    for name in (*FUNCTIONS, "has", "proven"):
        assert re.search(rf"\b{name}\b", TEXT), name
