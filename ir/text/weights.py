"""Where the data of constants is that a `.gir` text does not spell out: spans of files, base64, digests."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping, Sequence

from ..errors import FormatError
from ..tensor import MappedFile, Tensor
from ..types import STR, DType, TensorType, Type
from .literals import BadLiteral, parse_literal
from .types import Fault

_SPAN = re.compile(r"@(\d{1,9})\[(\d{1,18})\+(\d{1,18})\]\Z", re.ASCII)
_BASE64 = re.compile(r'#base64"([A-Za-z0-9+/=]*)"\Z')
_SPLAT = re.compile(r"splat\((.*)\)\Z")
_DIGEST = re.compile(r"#blake2b:([0-9a-f]{40})\Z")

# How every form begins that `Payloads.mapped` reads.
FORMS = ("@", "#", "s")


class Payloads:
    """Finds the bytes of constants.

    Files may lie in `folder` (relative names) and in `roots`, nowhere else; `files` holds open ones by
    the name that the text gives them. `tensors` gives constants by the hex digest that stands for them.
    """

    def __init__(
        self,
        source: str,
        folder: str | None,
        files: Mapping[str, MappedFile],
        roots: Sequence[str],
        tensors: Mapping[str, Tensor],
    ) -> None:
        self.source = source
        self.folder = folder
        self.files = files
        self.roots = [os.path.realpath(root) for root in roots]
        if folder is not None:
            self.roots.append(os.path.realpath(folder))
        self.tensors = tensors
        self.names: dict[int, str] = {}
        self._open: dict[int, MappedFile] = {}
        self._static: dict[Type | None, tuple[DType, tuple[int, ...]]] = {}

    def mapped(self, type: Type | None, text: str) -> Tensor | None:
        """The tensor that a span, splat, base64 or digest denotes; None where the text is none of them."""
        known = self._static.get(type)
        if known is None:
            known = self._static[type] = static(type)
        dtype, shape = known
        span = _SPAN.match(text)
        if span is not None:
            return self._span(dtype, shape, int(span[1]), int(span[2]), int(span[3]), text)
        splat = _SPLAT.match(text)
        if splat is not None:
            return self._splat(dtype, shape, splat[1], text)
        tensor = Tensor(dtype, shape, data=b"")
        encoded = _BASE64.match(text)
        if encoded is not None:
            try:
                data = base64.b64decode(encoded[1], validate=True)
            except binascii.Error as error:
                raise Fault(f"broken base64: {error}", text) from None
            if dtype is STR or len(data) != tensor.length:
                raise Fault(f"{len(data)} bytes, {type} needs {tensor.length}", text)
            return Tensor(dtype, shape, data=data)
        digest = _DIGEST.match(text)
        if digest is None:
            return None
        found = self.tensors.get(digest[1])
        if found is None:
            raise Fault("the text holds only a digest of this constant, not its data", text)
        if found.dtype is not dtype or found.shape != shape:
            raise Fault(f"the constant with this digest is {found.type}, not {type}", text)
        return found

    def _splat(self, dtype: DType, shape: tuple[int, ...], element: str, text: str) -> Tensor:
        if dtype is STR or dtype.bits < 8:
            raise Fault(f"{dtype} cannot be repeated by splat", text)
        try:
            one = parse_literal(element, dtype, ())
        except BadLiteral as error:
            raise Fault(str(error), text) from None
        return Tensor.of_splat(one.array(), shape, dtype)

    def _span(
        self, dtype: DType, shape: tuple[int, ...], number: int, offset: int, length: int, text: str
    ) -> Tensor:
        if dtype is STR:
            raise Fault("strings cannot stand in a file", text)
        file = self._open.get(number)
        if file is None:
            name = self.names.get(number)
            if name is None:
                raise Fault(f"no line says which file @{number} is", text)
            file = self._open[number] = self.files.get(name) or self._map(name)
        if offset + length > file.size:
            raise FormatError(
                f"a constant needs bytes {offset} to {offset + length}, the file has {file.size}",
                source=file.path,
            )
        tensor = Tensor(dtype, shape, file=file, offset=offset)
        if length != tensor.length:
            raise Fault(f"{length} bytes, {tensor.type} needs {tensor.length}", text)
        return tensor

    def _map(self, name: str) -> MappedFile:
        if not name or "\0" in name:
            raise FormatError(f"{name!r} is no name of a file", source=self.source)
        if not os.path.isabs(name) and self.folder is None:
            raise FormatError(
                f"constants are in the file {name!r}, but the text has no folder", source=self.source
            )
        path = os.path.realpath(os.path.join(self.folder or "", name))
        if not any(os.path.commonpath([root, path]) == root for root in self.roots):
            raise FormatError(
                f"the data file {name!r} is outside the folder of the text", source=self.source
            )
        for known in self._open.values():
            if os.path.realpath(known.path) == path:
                return known
        try:
            if not os.path.isfile(path):
                raise FormatError(f"the data file {name!r} is missing", source=self.source)
            return MappedFile(path)
        except (OSError, ValueError) as error:
            raise FormatError(f"the data file {name!r}: {error}", source=self.source) from None


def static(type: Type | None) -> tuple[DType, tuple[int, ...]]:
    """Element type and shape of a constant's type. Raises Fault where it is not fully known."""
    shape = type.static_shape if isinstance(type, TensorType) else None
    if not isinstance(type, TensorType) or shape is None:
        raise Fault(f"a constant needs a tensor type with known sizes, not {type}", str(type))
    return type.dtype, shape
