"""Arrays from the packed encodings that TensorProto's `_data` fields hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import FormatError

if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

_FIXED = {"float_data": "<f4", "double_data": "<f8"}
_VARINT = {"int32_data": "int32", "int64_data": "int64", "uint64_data": "uint64"}
_BLOCK = 1 << 20


def unpack(
    field: str, data: bytes | bytearray | memoryview, *, source: str = "", place: str = ""
) -> NDArray[Any]:
    """The elements (1-D) of the TensorProto field `field` from its packed encoding.

    float32 for float_data and float64 for double_data, as read-only views of `data` where that is
    read-only; int32, int64, uint64 for the varint fields. Varints wider than the field lose their
    upper bits, as in protobuf. Raises FormatError with `source` and `place` for an element that is
    cut off, or a varint of more than 10 bytes.
    """
    import numpy as np

    if field in _FIXED:
        dtype = np.dtype(_FIXED[field])
        if len(data) % dtype.itemsize:
            message = f"{field} has {len(data)} bytes, not a multiple of {dtype.itemsize}"
            raise FormatError(message, source=source, place=place)
        return np.frombuffer(data, dtype)
    encoded = np.frombuffer(data, np.uint8)
    if len(encoded) and encoded[-1] > 127:
        raise FormatError(f"the last number of {field} is cut off", source=source, place=place)
    values = np.empty(int(np.count_nonzero(encoded < 128)), np.uint64)
    start = count = 0
    while start < len(encoded):
        block = encoded[start : start + _BLOCK]
        ends = np.flatnonzero(block < 128)
        if len(ends) == 0:
            raise FormatError(
                f"a number of {field} has more than 10 bytes", source=source, place=place
            )
        used = int(ends[-1]) + 1
        decoded = _varints(block[:used], ends)
        if decoded is None:
            raise FormatError(
                f"a number of {field} has more than 10 bytes", source=source, place=place
            )
        values[count : count + len(ends)] = decoded
        count += len(ends)
        start += used
    return values.astype(_VARINT[field], copy=False)


def _varints(encoded: NDArray[np.uint8], ends: NDArray[np.intp]) -> NDArray[np.uint64] | None:
    """Decodes whole varints whose last bytes are at `ends`; None where one exceeds 10 bytes."""
    import numpy as np

    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    lengths = ends - starts + 1
    longest = int(lengths.max())
    if longest > 10:
        return None
    values = (encoded[starts] & 127).astype(np.uint64)
    longer = np.arange(len(starts))
    for index in range(1, longest):
        longer = longer[lengths[longer] > index]
        part = (encoded[starts[longer] + index] & 127).astype(np.uint64)
        values[longer] |= part << np.uint64(7 * index)
    return values
