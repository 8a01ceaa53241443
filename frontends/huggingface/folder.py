"""What is in a folder, from its own words: the architecture, and the files with the weights."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from typing import Any

from ...ir.errors import FormatError, UnsupportedModel

# In the order in which transformers looks for them.
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_CONFIG_BYTES = 16 << 20  # a config is a few kilobytes; with the names of 20,000 classes one megabyte
_UNKNOWN_TENSORS = 10_000  # at most, in files that do not say how many tensors they have


@dataclass(frozen=True)
class Folder:
    """`files` are the weights, `tensors` how many there are at most."""

    path: str
    config: dict[str, Any]
    architecture: str
    files: tuple[str, ...]
    tensors: int

    @property
    def nbytes(self) -> int:
        """Bytes of all files with weights."""
        return sum(os.path.getsize(file) for file in self.files)

    @property
    def is_safe(self) -> bool:
        """True for safetensors, False for pickled files."""
        return self.files[0].endswith(".safetensors")


def read_folder(path: str) -> Folder:
    """Raises FormatError for a folder that contradicts itself, UnsupportedModel for no single model, OSError."""
    said = os.path.join(path, "config.json")
    config = read_object(said)
    named = config.get("architectures")
    if not isinstance(named, list) or not named or not all(isinstance(name, str) for name in named):
        raise FormatError("names no architectures, so that nobody knows what it is", source=said)
    if config.get("quantization_config"):
        raise UnsupportedModel("its weights are quantized (quantization_config); load the float model", source=path)
    if os.path.isfile(os.path.join(path, "adapter_config.json")):
        raise UnsupportedModel("holds an adapter of another model; merge them and save the whole", source=path)
    for name in _WEIGHTS:
        first = os.path.join(path, name)
        if os.path.isfile(first):
            break
    else:
        raise FormatError(f"holds no weights: none of {', '.join(_WEIGHTS)}", source=path)
    if not first.endswith(".json"):
        return Folder(path, config, named[0], (first,), _count(first))
    parts = read_object(first).get("weight_map")
    if not isinstance(parts, dict) or not parts:
        raise FormatError("has no weight_map", source=first)
    suffix = ".safetensors" if "safetensors" in name else ".bin"
    files = dict.fromkeys(str(part) for part in parts.values())
    for part in files:
        if os.path.basename(part) != part or not part.endswith(suffix) or not os.path.isfile(os.path.join(path, part)):
            raise FormatError(f"refers to {part!r}, which is no {suffix} file of the folder", source=first)
    return Folder(path, config, named[0], tuple(os.path.join(path, part) for part in files), len(parts))


def read_object(path: str) -> dict[str, Any]:
    """A file with a JSON object."""
    if os.path.getsize(path) > _CONFIG_BYTES:
        raise FormatError("is too large for what it should be", source=path)
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"is no JSON: {error}", source=path) from None
    if not isinstance(found, dict):
        raise FormatError("is not a JSON object", source=path)
    return found


def _count(path: str) -> int:
    """How many tensors a file has; it is looked through as far as it says so itself."""
    if path.endswith(".safetensors"):
        return len(_header(path))
    try:
        if not zipfile.is_zipfile(path):
            return _UNKNOWN_TENSORS  # of torch before 1.6
        with zipfile.ZipFile(path) as archive:
            return len(archive.namelist())
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError) as error:
        raise FormatError(f"is a damaged archive: {error}", source=path) from None


def _header(path: str) -> dict[str, Any]:
    """The table of a safetensors file: eight bytes with its length, JSON with each tensor's `data_offsets`, data."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise FormatError(f"its header of {length} bytes does not fit into {size}: cut off or damaged", source=path)
        try:
            found = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise FormatError(f"its header is no JSON: {error}", source=path) from None
    if not isinstance(found, dict):
        raise FormatError("its header is not a JSON object", source=path)
    for name, entry in found.items():
        if name == "__metadata__":
            continue
        span = entry.get("data_offsets") if isinstance(entry, dict) else None
        if not isinstance(span, list) or len(span) != 2 or not all(isinstance(at, int) for at in span):
            raise FormatError(f"tensor {name!r} has no offsets", source=path)
        held = size - 8 - length
        if not 0 <= span[0] <= span[1] <= held:
            why = f"tensor {name!r} ends at byte {span[1]}, the data has {held}: cut off or damaged"
            raise FormatError(why, source=path)
    return found
