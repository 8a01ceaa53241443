"""Strings as the text forms write them: one line, printable, exact.

    >>> quote('a "b"\\n')
    '"a \\\\"b\\\\"\\\\n"'
"""

from __future__ import annotations

import re

# One quoted string; unrolled so that no input makes the match take more than linear time.
STRING = r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"'

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_PLAIN = {'"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-f]{1,6})\}|(.))", re.DOTALL)
_BYTE_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|(.))", re.DOTALL)


def quote(text: str) -> str:
    r"""`text` between quotes; ``" \ \n \r \t`` escaped, other unprintable characters as ``\u{hex}``."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    parts = [
        _ESCAPES.get(c) or (c if c.isprintable() else f"\\u{{{ord(c):x}}}") for c in text
    ]
    return '"' + "".join(parts) + '"'


def unquote(text: str) -> str:
    """The string whose quoted form, quotes included, is `text`. Raises ValueError for an unknown escape."""
    body = text[1:-1]
    return _ESCAPE.sub(_unescape, body) if "\\" in body else body


def _unescape(found: re.Match[str]) -> str:
    if found[1] is not None:
        return chr(int(found[1], 16))
    plain = _PLAIN.get(found[2])
    if plain is None:
        raise ValueError(f"unknown escape {found[0]}")
    return plain


def quote_bytes(data: bytes) -> str:
    r"""Bytes as ``b"..."``: printable ASCII as it is, the rest as ``\xNN``."""
    parts = [
        _ESCAPES[chr(b)] if b in b'"\\' else chr(b) if 32 <= b < 127 else f"\\x{b:02x}" for b in data
    ]
    return 'b"' + "".join(parts) + '"'


def unquote_bytes(text: str) -> bytes:
    """The bytes whose form, ``b`` and quotes included, is `text`. Raises ValueError where it is not one."""
    return _BYTE_ESCAPE.sub(_unescape_byte, text[2:-1].encode("ascii"))


def _unescape_byte(found: re.Match[bytes]) -> bytes:
    if found[1] is not None:
        return bytes((int(found[1], 16),))
    if found[2] not in (b'"', b"\\"):
        raise ValueError(f"unknown escape {found[0].decode()}")
    return found[2]
