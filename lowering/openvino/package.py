"""The `openvino` package, imported here and nowhere else, and only when something is to be made with it."""

from __future__ import annotations

from typing import Any

from ...ir.errors import UsageError


def openvino() -> Any:
    """The package. UsageError with the line that installs it."""
    try:
        import openvino
    except ImportError:
        raise UsageError("this needs openvino: pip install 'geoc[openvino]'") from None
    return openvino


def operators() -> Any:
    """The operator set that graphs are written in. UsageError as above."""
    openvino()
    from openvino import opset15

    return opset15

