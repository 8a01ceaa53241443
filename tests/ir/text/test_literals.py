"""Constants and float attributes as text: every bit comes back, and decimals are as short as they can be."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoc.ir.tensor import Tensor
from geoc.ir.text.literals import BadLiteral, float_text, literal_text, parse_float, parse_literal
from geoc.ir.types import BF16, BOOL, DTYPES, F8E4M3FN, F16, F32, F64, I64, STR, DType

F32_MAX = float(np.finfo(np.float32).max)
NUMBERS = [d for d in DTYPES if d is not STR]


@pytest.mark.parametrize("dtype", [d for d in NUMBERS if d.bits <= 8], ids=str)
def test_every_code_of_a_small_type(dtype: DType) -> None:
    codes = bytes(range(252)) * 2 if dtype.bits == 6 else bytes(range(256))
    tensor = Tensor(dtype, (len(codes) * 8 // dtype.bits,), data=codes)
    text = literal_text(tensor)
    assert text is not None
    assert parse_literal(text, dtype, tensor.shape).data() == codes


@pytest.mark.parametrize("dtype", [d for d in NUMBERS if d.bits == 16], ids=str)
def test_codes_of_a_16_bit_type(dtype: DType) -> None:
    codes = np.arange(0, 65536, 7, dtype="<u2")
    tensor = Tensor(dtype, codes.shape, data=codes.tobytes())
    text = literal_text(tensor)
    assert text is not None
    assert parse_literal(text, dtype, codes.shape).same(tensor)


@pytest.mark.parametrize("dtype", [d for d in NUMBERS if d.bits > 16], ids=str)
def test_random_bits_of_a_large_type(dtype: DType) -> None:
    data = np.random.default_rng(0).bytes(dtype.nbytes(5000))
    tensor = Tensor(dtype, (5000,), data=data)
    text = literal_text(tensor)
    assert text is not None
    assert parse_literal(text, dtype, (5000,)).data() == data


def test_padding_bits_that_text_would_lose() -> None:
    odd = next(d for d in DTYPES if d.name == "u4")
    assert literal_text(Tensor(odd, (1,), data=b"\x13")) is None
    assert literal_text(Tensor(odd, (1,), data=b"\x03")) == "[3]"


@given(st.floats(width=32, allow_nan=False))
def test_float32_is_the_shortest_decimal(value: float) -> None:
    text = float_text(value)
    assert struct.pack("<f", float(text)) == struct.pack("<f", value)
    if math.isinf(value):
        return
    digits = len(text.lower().split("e")[0].replace("-", "").replace(".", "").strip("0"))
    for fewer in range(1, digits):
        shorter = float(f"{value:.{fewer - 1}e}")
        assert abs(shorter) > F32_MAX or struct.pack("<f", shorter) != struct.pack("<f", value)


@given(st.integers(0, 2**32 - 1))
def test_float_attributes_keep_their_bits(bits: int) -> None:
    value = struct.unpack("<f", struct.pack("<I", bits))[0]
    assert struct.pack("<d", parse_float(float_text(value))) == struct.pack("<d", value)


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (0.1, F32, "0.1"), (0.1, F64, "0.1"), (0.1, F16, "0.1"), (1.1, BF16, "1.1"), (448, F8E4M3FN, "448.0"),
        (16777216, F32, "16777216.0"), (-0.0, F32, "-0.0"), (math.inf, F16, "inf"), (-math.inf, F64, "-inf"),
        (math.nan, F32, "nan"), (1 / 3, F32, "0.33333334"), (1e-45, F32, "1e-45"), (True, BOOL, "true"),
        (-(2**63), I64, "-9223372036854775808"), (65504, F16, "65504.0"),
    ],
)  # fmt: skip
def test_spelling(value: float, dtype: DType, text: str) -> None:
    tensor = Tensor.of(value, dtype)
    assert literal_text(tensor) == text
    assert parse_literal(text, dtype, ()).same(tensor)


def test_strings() -> None:
    tensor = Tensor(STR, (4,), data=[b"a, b]", b'"\\', b"\xff\x00", "ü\n".encode()])
    text = literal_text(tensor)
    assert text == '["a, b]", "\\"\\\\", b"\\xff\\x00", "ü\\n"]'
    assert parse_literal(text, STR, (4,)).strings() == tensor.strings()


def test_integers_are_taken_for_floats_and_nothing_else() -> None:
    assert parse_literal("[1, -2]", F32, (2,)).array().tolist() == [1.0, -2.0]
    for text, dtype in [("1.0", I64), ("1", BOOL), ("true", F32), ("0x1ffffffff", F32), ("1e39", F32)]:
        with pytest.raises(BadLiteral):
            parse_literal(text, dtype, ())
