"""Models, dumps and pages of them, each made once, and a browser that shows them."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from geoc.tools.cli import main
from geoc.tools.compiler import compile_settings
from geoc.tools.settings import Settings

from ...browser import Browser, Page, find_browser

EXPORTS = Path(__file__).parents[2] / "models" / "exports.zip"
MODELS = Path(os.environ.get("GEOC_MODELS", Path.home() / ".cache/geoc-models"))

HEAD = 'geoc 1\nir_version 8\nopset "" 17\n\n'
NESTED = (
    HEAD
    + """graph @g(%x: f32[4], %flag: bool[], %n: i64[]) -> (%y: f32[4]) {
  %a: f32[4] = Neg(%x)
  %b: f32[4] = If(%flag)
    with then_branch = () -> (%t) {
      %t: f32[4] = Abs(%a)
    }
    with else_branch = () -> (%e) {
      %e: f32[4] = Exp(%x)
    }
  %y: f32[4] = Loop(%n, %flag, %b)
    with body = (%i: i64[], %c: bool[], %s: f32[4]) -> (%d, %r) {
      %d: bool[] = Identity(%c)
      %r: f32[4] = Add(%s, %a)
    }
}
"""
)

Make = Callable[[str], Path]
Open = Callable[..., Page]


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A small one with branches and a loop ("nested"), a model of the repository's archive, or of the folder of large ones (skips where it is not there)."""
    folder = tmp_path_factory.mktemp("models")

    @cache
    def find(name: str) -> Path:
        if name == "nested":
            (folder / "nested.gir").write_text(NESTED)
            return folder / "nested.gir"
        with zipfile.ZipFile(EXPORTS) as archive:
            if f"{name}.onnx" in archive.namelist():
                return Path(archive.extract(f"{name}.onnx", folder))
        path = MODELS / f"{name}.onnx"
        if not path.is_file():
            pytest.skip(f"{path} is not there")
        return path

    return find


@pytest.fixture(scope="session")
def dump_folder(model_file: Make, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The dumps of a compilation at -O2."""

    @cache
    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp("dumps") / name
        source = str(model_file(name))
        settings = Settings(source=source, output=str(folder.parent / "out.onnx"), dump_dir=str(folder), check="off")
        assert compile_settings(settings, None).ok
        return folder

    return make


@pytest.fixture(scope="session")
def page_file(model_file: Make, dump_folder: Make, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A page: of a model, of steps/MODEL, or of MODEL+MODEL."""
    folder = tmp_path_factory.mktemp("pages")

    @cache
    def make(name: str) -> Path:
        kind, _, rest = name.partition("/")
        sources = [dump_folder(rest)] if rest else [model_file(part) for part in kind.split("+")]
        path = folder / (name.replace("/", "-") + ".html")
        assert main(["view", *map(str, sources), "-o", str(path), "-q"]) == 0
        return path

    return make


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if find_browser() is None:
        pytest.skip("no Chromium is installed")
    with Browser() as found:
        yield found


@pytest.fixture
def show(browser: Browser, page_file: Make) -> Iterator[Open]:
    """Opens a page, ready; closes it at the end, and fails where one of its scripts has raised."""
    opened: list[Page] = []

    def open_page(name: str, fragment: str = "", **more: object) -> Page:
        page = browser.open(page_file(name), fragment, **more)  # type: ignore[arg-type]
        opened.append(page)
        page.until("document.documentElement.dataset.ready")
        return page

    yield open_page
    for page in opened:
        page.close()
