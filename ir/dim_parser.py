"""The text of a dimension, read: what `dims.render` writes, and the arithmetic that exporters write.

    >>> parse("2*B*floor(S,2) + 1")
    Dim(2*B*floor(S,2)+1)
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .dims import FUNCTIONS, Dim, DimLike, apply_function, floordiv, mod, symbol
from .quoting import STRING, unquote

_TOKEN = re.compile(
    r"\s*(?:(\d+)|([A-Za-z_][A-Za-z0-9_.]*)|(\?[A-Za-z0-9_]*)|(" + STRING + r")|(//|[-+*%(),]))",
    re.ASCII,
)
# Far more than any model holds; they keep a hostile text from expanding (a+b)*(c+d)*... without end.
_MAX_TOKENS = 2000
_MAX_TERMS = 500


def parse(text: str, unknown: Callable[[str], Dim] | None = None) -> DimLike:
    """Parse what `render` writes: sums of products, floor/mod/max/min, quoted names, unknowns.

    Exporters write Python's ``//`` and ``%`` as well.

    `unknown` maps the spelling of an unknown (``?`` or ``?name``) to its symbol; without it, unknowns
    are not allowed. Raises ValueError on anything else.
    """
    tokens: list[tuple[str, str]] = []
    position = 0
    stripped = text.rstrip()
    while position < len(stripped):
        found = _TOKEN.match(stripped, position)
        if not found:
            raise ValueError(f"not a dimension: {text!r}")
        kind = ("int", "name", "unknown", "quoted", "punct")[(found.lastindex or 1) - 1]
        tokens.append((kind, found.group(found.lastindex or 1)))
        position = found.end()
        if len(tokens) > _MAX_TOKENS:
            raise ValueError(f"dimension too long: {text[:80]!r}...")
    reader = _Reader(tokens, unknown, text)
    result = reader.sum(0)
    if reader.at != len(tokens):
        raise ValueError(f"not a dimension: {text!r}")
    return result


class _Reader:
    def __init__(
        self, tokens: list[tuple[str, str]], unknown: Callable[[str], Dim] | None, text: str
    ) -> None:
        self.tokens = tokens
        self.at = 0
        self.unknown = unknown
        self.text = text

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self, value: str) -> None:
        if self.peek() != ("punct", value):
            raise ValueError(f"expected {value!r} in dimension {self.text!r}")
        self.at += 1

    def sum(self, depth: int) -> DimLike:
        if depth > 50:
            raise ValueError(f"dimension nested too deeply: {self.text[:80]!r}")
        sign = 1
        if self.peek() == ("punct", "-"):
            self.at += 1
            sign = -1
        total = self.product(depth) * sign
        while self.peek() in (("punct", "+"), ("punct", "-")):
            sign = 1 if self.peek()[1] == "+" else -1
            self.at += 1
            total = total + self.product(depth) * sign
        return total

    def product(self, depth: int) -> DimLike:
        total = self.factor(depth)
        while self.peek() in (("punct", "*"), ("punct", "//"), ("punct", "%")):
            operator = self.peek()[1]
            self.at += 1
            right = self.factor(depth)
            if operator == "*":
                total = total * right
            elif isinstance(right, int) and right == 0:
                raise ValueError(f"division by zero in dimension {self.text!r}")
            else:
                total = floordiv(total, right) if operator == "//" else mod(total, right)
            if isinstance(total, Dim) and len(total.terms) > _MAX_TERMS:
                raise ValueError(f"dimension has too many terms: {self.text[:80]!r}")
        return total

    def factor(self, depth: int) -> DimLike:
        kind, value = self.peek()
        self.at += 1
        if kind == "int":
            return int(value)
        if kind == "quoted":
            return symbol(unquote(value))
        if kind == "unknown" and self.unknown is not None:
            return self.unknown(value)
        if (kind, value) == ("punct", "("):
            inner = self.sum(depth + 1)
            self.take(")")
            return inner
        if kind == "name" and value in FUNCTIONS and self.peek() == ("punct", "("):
            self.at += 1
            left = self.sum(depth + 1)
            self.take(",")
            right = self.sum(depth + 1)
            self.take(")")
            if isinstance(right, int) and right == 0 and value in ("floor", "mod"):
                raise ValueError(f"division by zero in dimension {self.text!r}")
            return apply_function(value, [left, right])
        if kind == "name":
            return symbol(value)
        raise ValueError(f"not a dimension: {self.text!r}")
