"""Versions of geoc and of what it runs on."""

from __future__ import annotations


def geoc_version() -> str:
    """The version of this package."""
    import geoc

    return str(geoc.__version__)


def version_text() -> str:
    """One line per component, for ``geoc --version`` and bug reports."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    lines = [f"geoc {geoc_version()}", f"python {platform.python_version()} on {platform.platform()}"]
    for name in ("numpy", "onnx", "onnxruntime"):
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name} not installed")
    return "\n".join(lines)
