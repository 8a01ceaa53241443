"""Protobuf's variable-length integers: seven bits a byte, the lowest first."""

from __future__ import annotations

MASK_64 = (1 << 64) - 1


def encode_varint(number: int) -> bytes:
    """The varint of `number` modulo 2**64: a negative one takes 10 bytes."""
    number &= MASK_64
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def signed(number: int, bits: int) -> int:
    """The two's complement reading of the low `bits` bits of `number`."""
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> (bits - 1) else number
