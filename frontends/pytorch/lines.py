"""The line of the module's source that a node comes from, as a location ``modeling_bert.py:297``.

torch's exporter notes the calls that led to an operation, outermost first, with a line of text below each:

    File "model.py", line 12, in forward
      return self.head(x)
    File ".../torch/nn/modules/linear.py", line 134, in forward

The innermost outside torch's own files is the line that its author wrote.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from ...ir.core import Node

META = "pkg.torch.onnx.stack_trace"
_FRAME = re.compile(r'^\s*File "([^"\n]+)", line (\d+)', re.MULTILINE)
_TORCH = re.compile(r"(?:^|[\\/](?:site|dist)-packages[\\/])torch[\\/]")


def line_in(trace: str) -> str | None:
    """``FILE:LINE`` of the innermost call outside torch; None where there is none."""
    frames = [(path, line) for path, line in _FRAME.findall(trace) if not _TORCH.search(path)]
    return f"{os.path.basename(frames[-1][0])}:{frames[-1][1]}" if frames else None


def add_lines(nodes: Iterable[Node]) -> None:
    """Give each node its line as a location behind its name."""
    for node in nodes:
        line = line_in((node.meta or {}).get(META, ""))
        if line is not None and line not in node.loc:
            node.loc = (*node.loc, line)
