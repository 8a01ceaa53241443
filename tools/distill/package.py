"""Whether torch is there: the one place that knows how it is installed."""

from __future__ import annotations

from ...ir.errors import UsageError


def need_torch() -> None:
    """Raise UsageError, with the line that installs it, where torch is not installed.

    The modules of this folder that compute import it at their top: they are imported behind this call.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        raise UsageError("distillation needs torch: pip install 'geoc[distill]'") from None
