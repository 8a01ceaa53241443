"""geoc: a compiler for trained models.

    import geoc

    model = geoc.load("model.onnx")
    report = geoc.optimize(model, level=2, target="cpu")
    geoc.save(model, "model.geoc.onnx")

or all of it at once: ``geoc.compile("model.onnx", level=2)``. Names are imported when they are used, so that
``import geoc`` costs nothing.
"""

from __future__ import annotations

import os as _os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ir.core import Model as Model
    from .ir.errors import GeocError as GeocError
    from .ir.rewrite import native as native
    from .ir.rewrite.python_rule import rule as rule
    from .lowering.targets import Target as Target
    from .passes.base import Pass as Pass
    from .tools.api import Report as Report
    from .tools.api import compile as compile
    from .tools.api import load as load
    from .tools.api import optimize as optimize
    from .tools.api import save as save

__version__ = "0.1.0"
__all__ = [
    "GeocError", "Model", "Pass", "Report", "Target", "compile", "load", "native", "optimize", "rule", "save",
]  # fmt: skip

_PUBLIC = {
    "GeocError": "ir.errors",
    "Model": "ir.core",
    "Pass": "passes.base",
    "Report": "tools.api",
    "Target": "lowering.targets",
    "compile": "tools.api",
    "load": "tools.api",
    "native": "ir.rewrite",
    "optimize": "tools.api",
    "rule": "ir.rewrite.python_rule",
    "save": "tools.api",
}

# The sub-packages live at the repository root (ir/, passes/, ...); src/geoc/ holds one symlink to each. Where git
# checked the links out as plain files (Windows without core.symlinks), fall back to the repository root itself. A wheel
# never takes this branch.
_here = _os.path.dirname(_os.path.abspath(__file__))
if not _os.path.isdir(_os.path.join(_here, "ir")):
    __path__.append(_os.path.dirname(_os.path.dirname(_here)))


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'geoc' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f".{module}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
