"""torch's exporter, run without its noise, and its result as a Model whose constants are the module's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.core import Model
from ...ir.errors import UnsupportedModel
from ..needed import needed
from ..onnx import load_onnx
from .lines import add_lines
from .quiet import first_of, quiet, reason

# From this many bytes on a parameter is handed over as it lies, and not inside a message. What shapes are made of is
# below.
_HANDED = 1024
# onnx_ir's names of types whose elements are whole bytes.
_WHOLE = frozenset((
    "FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8",
    "BOOL",
))  # fmt: skip

# By the name of what torch raised: those classes lie in modules of it that are not public.
_ADVICE = {
    "GuardOnDataDependentSymNode": "what it computes depends on its data: use torch.cond, or decide before the call",
    "UserError": "if what it computes depends on its data, use torch.cond, or decide before the call",
    "DispatchError": "torch has no ONNX for it: write it in other operators",
}


def export(
    source: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str,
    *,
    dynamic_shapes: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Model:
    """A module or an ExportedProgram as a Model; `name` is what errors call it.

    Raises UnsupportedModel where torch fails, UsageError where torch or onnxscript is missing.
    """
    torch = needed("torch", "torch", name)
    needed("onnxscript", "torch", name)
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                source, args, kwargs=kwargs or None, dynamo=True, verbose=False, dynamic_shapes=dynamic_shapes,
                input_names=input_names, output_names=output_names,
            )  # fmt: skip
    except Exception as error:  # torch's exporter raises whatever the module, or one of its own stages, raised
        advice = _ADVICE.get(type(first_of(error)).__name__)
        hint = f"{advice}; --debug shows all" if advice else "--debug shows all"
        raise UnsupportedModel(f"torch does not export it: {reason(error)} ({hint})", source=name) from error
    if output_names is None:
        _name_outputs(program)
    model = _handed_over(program.model)
    add_lines(model.walk())
    return model


def _name_outputs(program: Any) -> None:
    """Call outputs as the keys of what forward returns: ``logits``, ``past.0`` for an item of a list under a key."""
    import torch.utils._pytree as pytree

    spec = program.exported_program.call_spec.out_spec
    outputs = program.model.graph.outputs
    if spec is None or spec.num_leaves != len(outputs):
        return
    paths = pytree.tree_flatten_with_path(pytree.tree_unflatten(list(range(spec.num_leaves)), spec))[0]
    names = []
    for path, _ in paths:
        if not path or not isinstance(path[0], pytree.MappingKey):
            return  # a tuple, of which torch's names of the values say more than numbers would
        names.append(".".join(str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path))
    taken = {value.name for value in program.model.graph.inputs}
    if taken.intersection(names) or min(len(set(names)), len({id(value) for value in outputs})) < len(outputs):
        return
    for value, name in zip(outputs, names):
        value.name = name


def _handed_over(program: Any) -> Model:
    """An onnx_ir.Model as a Model. Its large initializers never enter a message: they are views of what torch holds."""
    import onnx_ir

    memory: dict[str, memoryview] = {}
    for value in program.graph.initializers.values():
        held = value.const_value
        if held is None or held.nbytes < _HANDED or held.dtype.name not in _WHOLE:
            continue
        array = held.numpy()
        location = f"memory/{len(memory)}"
        memory[location] = _bytes_of(array)
        value.const_value = onnx_ir.ExternalTensor(
            location, 0, held.nbytes, held.dtype, shape=held.shape, name=value.name or ""
        )
    return load_onnx(onnx_ir.to_proto(program), memory)


def _bytes_of(array: Any) -> memoryview:
    """The bytes of an array of numpy's or ml_dtypes' types, in place where they lie in order."""
    import numpy as np

    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data.toreadonly()
