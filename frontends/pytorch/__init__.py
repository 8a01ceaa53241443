"""PyTorch modules and exported programs to IR, through torch's own exporter.

    model = load_module(module, (x,), dynamic_shapes={"x": {0: "batch"}})
    model = load_program("model.pt2")

`torch.onnx.export(dynamo=True)` captures and translates; its decompositions are not changed here. Constants are views
of the module's parameters: nothing is copied or written, and a module that is trained on has to be loaded again. Nodes
have the line of the module that asked for them as their second location (`lines`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...ir.core import Model
from ...ir.errors import UsageError
from .archive import read_program
from .exporting import export

__all__ = ["load_module", "load_program"]


def load_module(
    source: Any,
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Model:
    """A torch.nn.Module called with `args` and `kwargs`, or a torch.export.ExportedProgram, which needs neither.

    `args` is a tuple, or the only argument. `dynamic_shapes` is torch.export's: dimensions by argument, as names or
    `torch.export.Dim`s; without, sizes are those of the arguments. Inputs are called as the arguments of forward,
    outputs as the keys of what it returns where that has keys, else as torch calls them, unless names are given.

    Raises UsageError for a module without arguments, or in training mode, or where a package is missing,
    UnsupportedModel for what torch does not export.
    """
    import torch

    if isinstance(source, torch.export.ExportedProgram):
        if args is not None or kwargs:
            raise UsageError("an ExportedProgram has its arguments already", source="args")
    elif args is None and not kwargs:
        raise UsageError("a module is exported with example inputs: geoc.load(module, (x,))", source="args")
    elif source.training:
        raise UsageError("it is in training mode, in which dropout drops; call its eval() first", source="module")
    given = () if args is None else tuple(args) if isinstance(args, (tuple, list)) else (args,)
    name = "" if isinstance(source, torch.export.ExportedProgram) else type(source).__name__
    return export(
        source, given, dict(kwargs or {}), name,
        dynamic_shapes=dynamic_shapes, input_names=input_names, output_names=output_names,
    )  # fmt: skip


def load_program(path: str) -> Model:
    """A file of torch.export.save. Raises FormatError, UnsupportedModel, UsageError or OSError.

    torch does not write the names of dimensions: they are called as torch numbers them (s56).
    """
    model = export(read_program(path), (), {}, path)
    model.source = path
    return model
