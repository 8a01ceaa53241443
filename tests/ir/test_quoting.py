"""Quoted strings: one printable line, and the same string back."""

from __future__ import annotations

import ast
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoc.ir.quoting import STRING, quote, quote_bytes, unquote, unquote_bytes


@given(st.text(st.characters(exclude_categories=())))  # lone surrogates too
def test_strings_come_back(text: str) -> None:
    quoted = quote(text)
    assert unquote(quoted) == text
    assert quoted.isprintable() and re.fullmatch(STRING, quoted)


@given(st.binary())
def test_bytes_come_back(data: bytes) -> None:
    quoted = quote_bytes(data)
    assert unquote_bytes(quoted) == data
    assert ast.literal_eval(quoted) == data  # also a Python literal


def test_spelling() -> None:
    assert quote('a "b"\\\n\x7f\u2028ü') == '"a \\"b\\"\\\\\\n\\u{7f}\\u{2028}ü"'
    assert quote_bytes(b'\x00"\\a') == 'b"\\x00\\"\\\\a"'


@pytest.mark.parametrize("text", ['"\\q"', '"\\u{}"', '"\\u{110000}"', '"\\u"', '"\\x41"'])
def test_unknown_escapes(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        unquote(text)


@pytest.mark.parametrize("text", ['b"\\n"', 'b"\\xg0"', 'b"ü"'])
def test_what_are_no_bytes(text: str) -> None:
    with pytest.raises(ValueError):
        unquote_bytes(text)
