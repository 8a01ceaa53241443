"""One line of a `.gir` text, decoded: by a compiled pattern where the line is of the common kind, else
(and to explain what is wrong with it) by the grammar statement.lark.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..quoting import STRING
from ..tensor import Tensor
from .literals import parse_literal
from .statement import LineBuilder, Signature, text_of
from .types import Fault, TypeTexts
from .weights import FORMS, Payloads, static

if TYPE_CHECKING:
    from lark import Lark

_NAME = r"[A-Za-z0-9_.\-/]+"
_VALUE = rf"%(?:{_NAME}|{STRING})"
_TENSOR = rf'[a-z0-9]+\[[^\[\]"\n]*(?:{STRING}[^\[\]"\n]*)*\]'
_OP = r"[A-Za-z0-9_.\-]+(?:::[A-Za-z0-9_.\-]+)?(?:@\d+)?"
_TARGET = rf"{_VALUE}: {_TENSOR}"
_INPUT = rf"({_VALUE}): ({_TENSOR})(?: as ({STRING}))?"
_OUTPUT = rf"({_VALUE})(?:: ({_TENSOR}))?(?: as ({STRING}))?"
_END = r"[ \t\r]*\n"


def _plain(pattern: str) -> str:
    """The pattern without its groups."""
    return re.sub(r"\((?!\?)", "(?:", pattern)


STATEMENT = re.compile(
    rf"[ \t]*({_VALUE}): ({_TENSOR})((?:, {_TARGET})*) = ({_OP})"
    rf'\(([^()"\n]*(?:{STRING}[^()"\n]*)*)\)'
    rf'(?: (\{{[^{{}}"\n]*(?:{STRING}[^{{}}"\n]*)*\}}))?((?:  ?!{STRING})*){_END}',
    re.ASCII,
)
WEIGHT = re.compile(rf"[ \t]*weight ({_VALUE}): ({_TENSOR}) = ([^\n]*)\n", re.ASCII)
SIGNATURE = re.compile(
    rf"[ \t]*(?:graph|with ({_NAME}) =) (?:@({_NAME}))?"
    rf"\(((?:{_plain(_INPUT)}(?:, {_plain(_INPUT)})*)?)\) -> "
    rf"\(((?:{_plain(_OUTPUT)}(?:, {_plain(_OUTPUT)})*)?)\) \{{{_END}",
    re.ASCII,
)
TARGETS = re.compile(rf"({_VALUE}): ({_TENSOR})", re.ASCII)
LOCATION = re.compile(rf"!({STRING})")
_INPUTS = re.compile(_INPUT, re.ASCII)
_OUTPUTS = re.compile(_OUTPUT, re.ASCII)


class Lines:
    """Decodes the lines of one text. `fast=False` sends every line through the grammar."""

    def __init__(self, payloads: Payloads, fast: bool = True) -> None:
        self.types = TypeTexts()
        self.payloads = payloads
        self.fast = fast
        self._tensors: dict[tuple[str, str], Tensor] = {}
        self._builder = LineBuilder(self.types, payloads)

    def constant(self, type_text: str, payload: str) -> Tensor | None:
        """The tensor of a weight's type and right side; None (or a Fault) where they are not right."""
        key = (type_text, payload)
        tensor = self._tensors.get(key)
        if tensor is None:
            type_ = self.types.tensor(type_text)
            if payload[:1] in FORMS:
                return self.payloads.mapped(type_, payload)
            dtype, shape = static(type_)
            try:
                tensor = self._tensors[key] = parse_literal(payload, dtype, shape)
            except ValueError:
                return None
        return tensor

    def signature(self, text: str, kind: str) -> Any:
        """The `Signature` of a line of kind open_graph; for open_region (name, Signature), for
        open_function (names, attribute parameters, Signature).
        """
        found = SIGNATURE.match(text) if self.fast and kind != "open_function" else None
        if found is None:
            return self.by_grammar(kind, text)
        region, name, inputs, outputs = found.groups()
        tensor = self.types.tensor
        signature = Signature(
            name or "",
            [(v, tensor(t), text_of(a) if a else None, None) for v, t, a in _INPUTS.findall(inputs)],
            [
                (v, tensor(t) if t else None, text_of(a) if a else None)
                for v, t, a in _OUTPUTS.findall(outputs)
            ],
        )
        return signature if kind == "open_graph" else (region, signature)

    def by_grammar(self, kind: str, text: str) -> Any:
        """What a line says by the grammar. Raises Fault."""
        import lark

        from .grammar import statement

        grammar = statement(LineBuilder)
        stripped = text.rstrip(" \t\r\n")
        try:
            return grammar.parse(stripped, kind, self._builder)
        except lark.UnexpectedInput as error:
            column = getattr(error, "column", -1)
            at = len(stripped) if column < 1 or _is_end(error) else column - 1
            raise Fault(_explain(error, grammar.parser, stripped, at), column=at) from None


def _is_end(error: Any) -> bool:
    token = getattr(error, "token", None)
    return token is not None and token.type == "$END"


_READABLE = {
    "VALUE": "a value (%name)", "NAME": "a name", "STRING": "a string", "DIMS": "dimensions in brackets",
    "INT": "a number", "NUMBER": "a number", "BYTES": "bytes", "PAIR": "a complex number",
    "SPAN": "a span", "BASE64": "#base64", "DIGEST": "#blake2b", "OP": "an operator",
    "FILE": "a file number", "NONE": "none", "ABSENT": "_", "$END": "the end of the line",
    "<END-OF-FILE>": "the end of the line",
}  # fmt: skip


def _explain(error: Any, grammar: Lark, text: str, at: int) -> str:
    """What was expected and what stands there."""
    expected = getattr(error, "accepts", None) or getattr(error, "expected", None)
    expected = expected or getattr(error, "allowed", None) or ()
    words = set()
    for name in expected:
        word = _READABLE.get(name)
        if word is None:
            word = f"'{grammar.get_terminal(name).pattern.value}'"
        words.add(word)
    rest = text[at : at + 20].split(" ")[0] or text[at : at + 1]
    there = f"found {rest!r}" if rest else "the line ends"
    return f"expected {' or '.join(sorted(words))}, {there}"
