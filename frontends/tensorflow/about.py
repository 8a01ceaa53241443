"""What TensorFlow's and Keras' files say of themselves: the version of what wrote them."""

from __future__ import annotations

import json
import os
import zipfile

from ...ir.proto.wire import WireReader
from ..about import About

# Numbers of fields (tensorflow/core/protobuf): SavedModel.meta_graphs, its meta_info_def, its tensorflow_version.
_VERSION = (2, 1, 5)


def about(path: str) -> About:
    """Of a folder or a file that `load_tensorflow` took; nothing of an .h5. Raises FormatError or OSError."""
    if os.path.isdir(path):
        with open(os.path.join(path, "saved_model.pb"), "rb") as file:
            data = file.read()
        found = _text(WireReader(data, path), 0, len(data), _VERSION)
        return About(f"written by TensorFlow {found}" if found else "")
    if not zipfile.is_zipfile(path):
        return About()
    with zipfile.ZipFile(path) as archive:
        return About(f"version {json.loads(archive.read('metadata.json')).get('keras_version', '?')}")


def _text(reader: WireReader, position: int, end: int, numbers: tuple[int, ...]) -> str:
    """The text at a path of fields, the first at each step; "" where one is missing."""
    while position < end:
        tag, size, start = reader.field(position, end)
        behind = start + size if tag & 7 else start
        if tag == numbers[0] << 3 | 2:
            if len(numbers) > 1:
                return _text(reader, start, behind, numbers[1:])
            return bytes(reader.data[start:behind]).decode("utf-8", "replace")
        position = behind
    return ""
