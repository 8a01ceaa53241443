"""Collects golden cases: every `.gir` file with `# RUN:` or `# ROWS:` lines; see golden.py for their form."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .golden import STARTS, Case, read_cases, update

# Tests that compare times: a busy machine slows one run and not the next, so each may run again. What is quadratic
# fails every time.
TIMING = re.compile(r"test_.*(time|speed|linear|quick|cheap|ten_thousand|look_up|warm_start)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if TIMING.match(item.name):
            item.add_marker(pytest.mark.flaky(reruns=4))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What tests measure is kept apart from what the user of this machine did, commands that they start included."""
    os.environ["GEOC_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes seconds, on models that are not part of the repository")
    if config.getoption("--update-golden") and config.getoption("numprocesses", None):
        raise pytest.UsageError("--update-golden writes files: leave -n out")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the lower halves of golden .gir files")


def pytest_collect_file(parent: pytest.Collector, file_path: Path) -> GoldenFile | None:
    if file_path.suffix != ".gir":
        return None
    text = file_path.read_text(encoding="utf-8", errors="replace")
    if not any(start in text for start in STARTS):
        return None
    return GoldenFile.from_parent(parent, path=file_path)  # type: ignore[no-any-return]


class GoldenFile(pytest.File):
    """The cases of one file."""

    def collect(self) -> Iterator[GoldenItem]:
        if self.config.getoption("--update-golden"):
            update(self.path)
        for case in read_cases(self.path):
            yield GoldenItem.from_parent(self, name=case.name, case=case)


class GoldenItem(pytest.Item):
    """One case."""

    def __init__(self, *, case: Case, **rest: Any) -> None:
        super().__init__(**rest)
        self.case = case

    def runtest(self) -> None:
        self.case.check()

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.case.line - 1, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, AssertionError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)
