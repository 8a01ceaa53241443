"""Elements of constants as text, exact in every dtype, and back.

Floats are the shortest decimal that reads back as the same bits in their own dtype; what no decimal
gives (a NaN with a payload, a bool byte that is neither 0 nor 1) is written as its bits, ``0x7fc00001``.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from ..quoting import STRING, quote, quote_bytes, unquote, unquote_bytes
from ..tensor import Tensor
from ..types import BOOL, C64, F32, F64, STR, DType

Array = npt.NDArray[Any]

NUMBER = r"(?:-?(?:\d{1,400}(?:\.\d{0,400})?(?:e[-+]?\d{1,4})?|inf)|nan|0x[0-9a-f]{1,16}|true|false)"
_PAIR = rf"\({NUMBER},{NUMBER}\)"
_ELEMENT = {
    "s": rf"b?{STRING}",
    "c": _PAIR,
}
_patterns: dict[str, re.Pattern[str]] = {}
_F32 = struct.Struct("<f")
_BITS32 = struct.Struct("<I")
_known_floats: dict[float, str] = {}


class BadLiteral(ValueError):
    """A literal that does not fit its type; the message says why."""


# Attribute floats: Python floats that hold float32 values.


def float_text(value: float) -> str:
    """A float attribute: the shortest decimal that rounds to the same float32."""
    text = _known_floats.get(value)
    if text is None or not value:  # 0.0 and -0.0 share a key
        packed = _F32.pack(value) if -3.5e38 < value < 3.5e38 or value != value else None
        if packed is None:
            text = repr(value)
        elif value != value:
            text = "nan" if packed == _F32.pack(math.nan) else f"0x{_BITS32.unpack(packed)[0]:08x}"
        else:
            exact = _F32.unpack(packed)[0] == value
            text = repr(float(str(np.float32(value)))) if exact else repr(value)
        if value and value == value:
            _known_floats[value] = text
    return text


def parse_float(text: str) -> float:
    """What `float_text` wrote, rounded to float32."""
    if text.startswith("0x"):
        return float(_F32.unpack(_BITS32.pack(int(text, 16) & 0xFFFFFFFF))[0])
    value = float(text)
    try:
        return float(_F32.unpack(_F32.pack(value))[0])
    except OverflowError:
        raise BadLiteral(f"{text} does not fit a float32") from None


# Tensors


def elements(tensor: Tensor) -> list[str] | None:
    """The text of each element, flat; None where text would lose padding bits of a packed payload."""
    dtype = tensor.dtype
    if dtype is STR:
        return [_string(s) for s in tensor.strings()]
    if dtype.is_int:
        array = tensor.array().reshape(-1)
        texts = [str(v) for v in (array if dtype.bits >= 8 else array.astype(np.int8)).tolist()]
        if dtype.bits < 8 and _encode(texts, dtype, len(texts)) != bytes(tensor.data()):
            return None
        return texts
    if dtype.kind == "c":
        half = F32 if dtype is C64 else F64
        flat = _scalars(np.frombuffer(tensor.data(), half.numpy), half)
        return [f"({re},{im})" for re, im in zip(flat[::2], flat[1::2])]
    if dtype is BOOL:
        return [("false", "true")[b] if b < 2 else f"0x{b:02x}" for b in tensor.data()]
    if dtype.bits < 8:
        texts = _scalars(tensor.array().reshape(-1), dtype)
        return texts if _encode(texts, dtype, len(texts)) == bytes(tensor.data()) else None
    return _scalars(np.frombuffer(tensor.data(), dtype.numpy), dtype)


def _string(data: bytes) -> str:
    try:
        return quote(data.decode())
    except UnicodeDecodeError:
        return quote_bytes(data)


def _scalars(array: Array, dtype: DType) -> list[str]:
    if dtype is F64:
        texts = [repr(v) for v in array.tolist()]
    elif dtype is F32:
        # numpy finds the digits; its spelling differs between versions.
        texts = [repr(float(str(v))) for v in array]
        if struct.pack(f"<{len(texts)}f", *map(float, texts)) == array.tobytes():
            return texts
    else:
        texts = [_shortest(float(v), dtype) for v in array]
    codes = array.view(f"u{array.dtype.itemsize}")
    back = _floats(texts, dtype).view(codes.dtype)
    if not np.array_equal(codes, back):
        for index in np.flatnonzero(codes != back).tolist():
            texts[index] = f"0x{int(codes[index]):0{dtype.bits // 4}x}"
    return texts


_short: dict[tuple[DType, bytes], str] = {}
# In types of few bits the shortest decimal is far off (450.0 for 448.0); exact values this long stay.
_EXACT_LENGTH = 7


def _shortest(value: float, dtype: DType) -> str:
    key = (dtype, struct.pack("<d", value))
    text = _short.get(key)
    if text is None:
        text = repr(value)
        if math.isfinite(value) and len(text) > _EXACT_LENGTH:
            candidates = [repr(float(f"{value:.{digits}g}")) for digits in range(1, 18)]
            codes = _floats([text, *candidates], dtype).view(f"u{dtype.bits // 8 or 1}").tolist()
            text = next(c for c, code in zip(candidates, codes[1:]) if code == codes[0])
        _short[key] = text
    return text


def _floats(texts: list[str], dtype: DType) -> Array:
    """Decimal texts as elements of a float dtype."""
    exact = np.array([float(t) for t in texts], dtype=np.float64)
    if dtype is F64:
        return exact
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return exact.astype(dtype.numpy)


def literal_text(tensor: Tensor) -> str | None:
    """The whole literal: one element for a scalar, else a flat list in brackets."""
    texts = elements(tensor)
    if texts is None:
        return None
    return texts[0] if tensor.shape == () else f"[{', '.join(texts)}]"


def parse_literal(text: str, dtype: DType, shape: tuple[int, ...]) -> Tensor:
    """The tensor a literal denotes. Raises BadLiteral saying what does not fit."""
    count = 1
    for d in shape:
        count *= d
    if text.startswith("[") and text.endswith("]"):
        body = text[1:-1].strip()
        if shape == ():
            raise BadLiteral("a scalar is written without brackets")
    else:
        body = text
        if shape != ():
            raise BadLiteral(f"the elements of {dtype}{list(shape)} stand in brackets")
    texts = _split(body, dtype)
    if len(texts) != count:
        raise BadLiteral(f"{len(texts)} elements, {dtype}{list(shape)} needs {count}")
    if dtype is STR:
        return Tensor(STR, shape, data=[_unstring(t) for t in texts])
    return Tensor(dtype, shape, data=_encode(texts, dtype, count))


def _split(body: str, dtype: DType) -> list[str]:
    kind = dtype.kind if dtype.kind in _ELEMENT else "n"
    pattern = _patterns.get(kind)
    element = _ELEMENT.get(kind, NUMBER)
    if pattern is None:
        pattern = re.compile(rf"{element}(?:,[ ]?{element})*", re.ASCII)
        _patterns[kind] = pattern
    if not body:
        return []
    if pattern.fullmatch(body) is None:
        raise BadLiteral(f"not a list of {dtype} elements: {body[:60]!r}")
    if kind == "n":
        return body.replace(" ", "").split(",")
    return re.findall(element, body)


def _unstring(text: str) -> bytes:
    if text.startswith("b"):
        return unquote_bytes(text)
    try:
        return unquote(text).encode()
    except UnicodeEncodeError:
        raise BadLiteral(f"{text} is not valid Unicode; write bytes as b\"...\"") from None


def _encode(texts: list[str], dtype: DType, count: int) -> bytes:
    """The packed payload of element texts."""
    if dtype.kind == "c":
        half = F32 if dtype is C64 else F64
        return _encode([p for t in texts for p in t[1:-1].split(",")], half, 2 * count)
    if dtype is BOOL:
        return bytes([_bool(t) for t in texts])
    if dtype.is_int:
        return _encode_ints(texts, dtype)
    if dtype is F32:
        try:
            return struct.pack(f"<{count}f", *map(float, texts))
        except (ValueError, OverflowError):
            pass  # bits, or something wrong
    plain = ["nan" if t.startswith("0x") else t for t in texts]
    for text in plain:
        if text in ("true", "false"):
            raise BadLiteral(f"{text} is not an element of {dtype}")
    array = _floats(plain, dtype)
    values = array.astype(np.float64) if dtype.bits <= 16 else array
    for index in np.flatnonzero(~np.isfinite(values)).tolist():
        if math.isfinite(float(plain[index])):
            raise BadLiteral(f"{plain[index]} does not fit {dtype}")
    if any(t.startswith("0x") for t in texts):
        codes = array.view(f"u{array.dtype.itemsize}")
        for index, text in enumerate(texts):
            if text.startswith("0x"):
                codes[index] = _bits(text, dtype)
        array = codes.view(array.dtype)
    return bytes(Tensor.from_array(array, dtype).data())


def _bits(text: str, dtype: DType) -> int:
    code = int(text, 16)
    if code >> dtype.bits:
        raise BadLiteral(f"{text} has more bits than {dtype}")
    return code


def _bool(text: str) -> int:
    if text in ("true", "false"):
        return int(text == "true")
    if text.startswith("0x"):
        return _bits(text, BOOL)
    raise BadLiteral(f"{text} is not a bool; write true or false")


def _encode_ints(texts: list[str], dtype: DType) -> bytes:
    low = -(1 << (dtype.bits - 1)) if dtype.kind == "i" else 0
    high = (1 << dtype.bits) + low
    try:
        values = [int(t) for t in texts]
    except ValueError:
        wrong = next(t for t in texts if not t.lstrip("-").isdigit())
        raise BadLiteral(f"{wrong} is not an integer") from None
    for value in values:
        if not low <= value < high:
            raise BadLiteral(f"{value} does not fit {dtype}")
    if dtype.bits >= 8:
        return np.array(values, dtype=dtype.numpy).tobytes()
    array = np.array(values, dtype=np.int8 if low else np.uint8)
    return bytes(Tensor.from_array(array.astype(dtype.numpy), dtype).data())


