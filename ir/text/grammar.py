"""The two grammars as lark parsers: built once for each thread, their tables kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..cache import cache_file, write_atomically

if TYPE_CHECKING:
    from lark import Lark


# The kinds of lines, start symbols of statement.lark.
LINES = [
    "header", "open_graph", "open_function", "open_region", "doc", "meta", "define_weight", "statement",
]  # fmt: skip


class Grammar:
    """A parser whose callbacks are the methods of whatever object a text is parsed for."""

    def __init__(self, name: str, starts: list[str], lexer: str, callbacks: type) -> None:
        self._target: Any = None
        self._callbacks = callbacks
        self.parser = _build(name, starts, lexer, self)

    def __getattr__(self, name: str) -> Callable[[list[Any]], Any]:
        # lark asks for the callback of each rule while the parser is built.
        if name.startswith("_") or not hasattr(self._callbacks, name):
            raise AttributeError(name)
        return lambda items: getattr(self._target, name)(items)

    def parse(self, text: str, start: str, target: Any) -> Any:
        """Parse with the methods of `target` as callbacks. Raises lark.UnexpectedInput."""
        before, self._target = self._target, target
        try:
            return self.parser.parse(text, start=start)
        finally:
            self._target = before


_grammars = threading.local()


def structure(callbacks: type) -> Grammar:
    """The parser of whole texts, gir.lark."""
    found: Grammar | None = getattr(_grammars, "structure", None)
    if found is None:
        found = _grammars.structure = Grammar("gir.lark", ["start"], "basic", callbacks)
    return found


def statement(callbacks: type) -> Grammar:
    """The parser of single lines, statement.lark."""
    found: Grammar | None = getattr(_grammars, "statement", None)
    if found is None:
        found = _grammars.statement = Grammar("statement.lark", LINES, "contextual", callbacks)
    return found


def _build(name: str, starts: list[str], lexer: str, transformer: Any) -> Lark:
    import lark

    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        grammar = file.read()
    content = f"{grammar}{starts}{lark.__version__}{sys.version_info[:2]}".encode()
    path = cache_file("grammars", f"{name}-{hashlib.blake2b(content, digest_size=10).hexdigest()}")
    if path is not None and path.exists():
        try:
            tables = pickle.loads(path.read_bytes())
            # What lark's stand-alone parsers do; its own cache option does not write atomically.
            load: Any = lark.Lark._load_from_dict
            loaded: Lark = load(**tables, transformer=transformer)
            return loaded
        except Exception:
            # A damaged pickle can raise anything; the tables are made again, and the file is replaced.
            path.unlink(missing_ok=True)
    built = lark.Lark(grammar, parser="lalr", lexer=lexer, start=starts, transformer=transformer)
    if path is not None:
        tables_file = io.BytesIO()
        built.save(tables_file)
        write_atomically(path, tables_file.getvalue())
    return built
