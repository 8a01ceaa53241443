"""The arrows between the folders, and what start-up must not import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "ir": {"ir"},
    "frontends": {"ir", "frontends"},
    "passes": {"ir", "passes"},
    "lowering": {"ir", "passes", "lowering"},
    "tools": {"ir", "frontends", "passes", "lowering", "tools"},
}


def imported(path: Path, folder: str) -> set[str]:
    """The top-level folders of geoc that a file imports, also inside functions."""
    parts = path.relative_to(ROOT).parts
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = ["geoc", *parts[:-1]]
                anchor = package[: len(package) - node.level + 1]
                base = ".".join([*anchor, base] if base else anchor)
            names = [base] if base != "geoc" else [f"geoc.{alias.name}" for alias in node.names]
        else:
            continue
        found.update(name.split(".")[1] for name in names if name.startswith("geoc."))
    return found & set(MAY_IMPORT)


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_imports_follow_the_arrows(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    wrong = {
        f"{path.relative_to(ROOT)} imports {sorted(extra)}"
        for path in files
        if (extra := imported(path, folder) - MAY_IMPORT[folder])
    }
    assert not wrong


def test_a_wrong_arrow_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "ir").mkdir()
    bad = tmp_path / "ir" / "bad.py"
    bad.write_text("def f():\n    from ..passes.base import Pass\n")
    assert imported(bad, "ir") == {"passes"}


def test_start_up_imports_nothing_heavy() -> None:
    code = (
        "import sys, geoc.tools.cli; heavy = ('numpy', 'onnx', 'onnxruntime', 'lark', 'networkx', 'importlib.metadata'); "
        "print(*[m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_folders_are_seen_through_the_package_only() -> None:
    code = "import sys, geoc.ir.core; print('ir' in sys.modules or 'tools' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() == "False"
