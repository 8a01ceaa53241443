"""What a node needs before anything may look into it: the operands, outputs and attributes that its operator
cannot be without. Whether their types fit is for inference and `ir.verify` to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...ir.core import Value
from ...ir.errors import InvalidModel
from ...ir.ops import Op

# Fewest and most operands, fewest and most outputs, required attributes.
_Needs = tuple[int, int, int, int, tuple[str, ...]]
_needs: dict[Op, _Needs] = {}


def check_node(
    op: Op,
    inputs: Sequence[Value | None],
    attrs: Mapping[str, Any],
    regions: Mapping[str, Any] | None,
    n_outputs: int,
) -> None:
    """Raise InvalidModel where a node lacks, or has too many of, what its operator's signature lists."""
    if op.schema is None:
        return
    needs = _needs.get(op)
    if needs is None:
        needs = _needs[op] = _needs_of(op)
    fewest, most, fewest_outputs, most_outputs, required = needs
    count = len(inputs)
    if count < fewest or count > most:
        raise InvalidModel(f"{count} inputs, {op.key} takes {_span(fewest, most)}")
    if n_outputs < fewest_outputs or n_outputs > most_outputs:
        raise InvalidModel(f"{n_outputs} outputs, {op.key} has {_span(fewest_outputs, most_outputs)}")
    if None in inputs:
        params = op.schema.inputs
        for index, value in enumerate(inputs):
            param = params[min(index, len(params) - 1)]
            if value is None and param.option != "optional":
                raise InvalidModel(f"input {param.name} of {op.key} is missing")
    for name in required:
        if name not in attrs and (regions is None or name not in regions):
            raise InvalidModel(f"attribute {name!r} of {op.key} is missing")
    for name in regions or ():
        listed = name.endswith("]")
        kind = op.attr_kind(name.partition("[")[0] if listed else name)
        if kind != ("graphs" if listed else "graph"):
            raise InvalidModel(f"{op.key} has no graph attribute {name!r}")


def check_regions(node: Node) -> None:
    """Raise InvalidModel where the graphs of a control-flow operator do not have as many results as it needs."""
    inputs, outputs = len(node.inputs), len(node.outputs)
    needed = {"If": (None, outputs), "Loop": (inputs, outputs + 1), "SequenceMap": (None, outputs)}.get(node.op.key)
    if node.op.key == "Scan":
        needed = (inputs, outputs)
        scanned = node.attrs.get("num_scan_inputs", 0)
        if not 1 <= scanned <= inputs:
            raise InvalidModel(f"num_scan_inputs is {scanned}, Scan has {inputs} inputs")
        if inputs - scanned > outputs:
            raise InvalidModel(f"{outputs} outputs of Scan for {inputs - scanned} states")
    if node.op.key == "Loop" and inputs - 2 > outputs:
        raise InvalidModel(f"{outputs} outputs of Loop for {inputs - 2} carried values")
    for name, region in node.regions.items() if needed else ():
        takes, gives = needed
        if takes is not None and len(region.inputs) != max(takes, 2 if node.op.key == "Loop" else 0):
            raise InvalidModel(f"{name} of {node.op.key} takes {len(region.inputs)} values, must take {takes}")
        if len(region.outputs) != gives:
            raise InvalidModel(f"{name} of {node.op.key} gives {len(region.outputs)} values, must give {gives}")


def _needs_of(op: Op) -> _Needs:
    schema = op.schema
    assert schema is not None
    required = tuple(spec.name for spec in schema.attributes.values() if spec.required)
    # Where outputs may be left out, a node still has one: nothing could refer to it otherwise.
    fewest_outputs = max(schema.min_outputs, 1) if schema.outputs else 0
    return schema.min_inputs, schema.max_inputs, fewest_outputs, schema.max_outputs, required


def _span(fewest: int, most: int) -> str:
    if fewest == most:
        return str(fewest)
    return f"at least {fewest}" if most > 1 << 20 else f"{fewest} to {most}"
