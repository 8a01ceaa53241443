"""Files of torch.export.save (.pt2): a zip of JSON and raw tensors, looked through before torch may read it.

torch unpickles some of what such an archive may hold (tensors of classes of its user's, objects that a module keeps),
and loads libraries that were compiled for it; both run code from the file. A file that asks for that is refused. What
is left is checked against its checksums and sizes, which torch does not do.
"""

from __future__ import annotations

import errno
import io
import json
import zipfile
import zlib
from typing import Any

from ...ir.errors import FormatError, GeocError, UnsupportedModel
from ..needed import needed
from .quiet import quiet, reason

# What zipfile and json raise for what they cannot read.
_DAMAGES = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, RuntimeError, OverflowError,
)  # fmt: skip
_PAYLOADS = ("/data/weights/", "/data/constants/")


def read_program(path: str) -> Any:
    """The torch.export.ExportedProgram in a file.

    Raises FormatError for what is no such file or is damaged, UnsupportedModel for one that would run code, UsageError
    where torch is missing, OSError.
    """
    with open(path, "rb") as file:
        _check_archive(file, path)
    torch = needed("torch", "torch", path)
    try:
        _check_inputs(path)
        with quiet():
            program = torch.export.load(path)
        _check_tensors(program, path)
    except (GeocError, OSError):
        raise
    except Exception as error:  # of another version, or contradicting itself: whatever torch's reader meets
        raise FormatError(f"torch {torch.__version__} cannot read it: {reason(error)}", source=path) from error
    return program


def _check_archive(file: Any, path: str) -> None:
    """That it is an archive of torch.export, whole, with nothing in it that is executed when it is read."""
    try:
        archive = zipfile.ZipFile(file)
        names = archive.namelist()
        # No more is ever read than there is: torch compresses nothing.
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        if not stored or len(set(names)) < len(names):
            raise FormatError("its archive is compressed or holds a name twice, as torch writes none", source=path)
        damaged = archive.testzip()
        if damaged is not None:
            raise FormatError(f"{damaged} does not have the checksum that the archive says", source=path)
        roots = {name.partition("/")[0] for name in names}
        if len(roots) != 1 or f"{next(iter(roots))}/archive_format" not in names:
            raise FormatError("not a file of torch.export.save (of PyTorch 2.8 or later)", source=path)
        _check_runs_nothing(archive, names, path)
    except OSError as error:
        if error.errno != errno.EINVAL:  # that is an offset before the file's beginning
            raise
        raise FormatError("not an archive of torch.export.save, or a damaged one", source=path) from None
    except _DAMAGES as error:
        why = f"not an archive of torch.export.save, or a damaged one: {reason(error)}"
        raise FormatError(why, source=path) from None


def _check_runs_nothing(archive: zipfile.ZipFile, names: list[str], path: str) -> None:
    for name in names:
        if "/aotinductor/" in name or name.endswith((".so", ".pyd", ".dll")):
            raise UnsupportedModel(f"holds compiled code, which is not run: {name}", source=path)
        if not any(part in name for part in _PAYLOADS):
            continue
        if name.endswith(".json"):
            described = json.loads(archive.read(name)).get("config", {})
            pickled = [key for key, entry in described.items() if entry.get("use_pickle")]
            if pickled:
                raise _pickled(pickled[0], path)
        elif not name.rpartition("/")[2].startswith(("weight_", "tensor_")):
            raise _pickled(name, path)


def _pickled(name: str, path: str) -> UnsupportedModel:
    return UnsupportedModel(f"{name} is pickled, and could run code: export plain tensors", source=path)


def _check_inputs(path: str) -> None:
    """That the example inputs in it are plain tensors: torch would else unpickle them whatever they are."""
    import torch

    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if "/data/sample_inputs/" in name and archive.getinfo(name).file_size:
                try:
                    torch.load(io.BytesIO(archive.read(name)), weights_only=True, map_location="meta")
                except Exception as error:  # torch's reader raises anything for what it does not take
                    raise UnsupportedModel(
                        f"its example inputs are no plain tensors, and could run code: {reason(error)}", source=path
                    ) from None


def _check_tensors(program: Any, path: str) -> None:
    """That no tensor claims more elements than were stored for it."""
    for name, tensor in [*program.state_dict.items(), *program.constants.items()]:
        if getattr(tensor, "nbytes", 0) > tensor.untyped_storage().nbytes():
            raise FormatError(f"tensor {name!r} has fewer bytes than its shape needs", source=path)
