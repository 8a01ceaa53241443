"""What a node needs before anything may look into it: the operands, outputs and attributes that its operator
cannot be without. Whether their types fit is for inference and `ir.verify` to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...ir.core import Node, Value
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


def check_region_inputs(node: Node) -> None:
    """Raise InvalidModel where the body of a loop does not take what the loop hands it."""
    count, key = len(node.inputs), node.op.key
    if key == "Loop":
        count = max(count, 2)  # iteration number and condition, whether the operands are given or not
    elif key == "Scan":
        scanned = node.attrs.get("num_scan_inputs", 0)
        if not 1 <= scanned <= count:
            raise InvalidModel(f"num_scan_inputs is {scanned}, Scan has {count} inputs")
    elif key != "SequenceMap":
        return
    for name, region in node.regions.items():
        if len(region.inputs) != count:
            raise InvalidModel(f"{name} of {key} has {len(region.inputs)} inputs, must have {count}")


def check_region_outputs(node: Node) -> None:
    """Raise InvalidModel where a body does not give what its operator returns."""
    count, key = len(node.outputs), node.op.key
    carried = 0
    if key == "Loop":
        count, carried = count + 1, max(len(node.inputs), 2) - 1
    elif key == "Scan":
        carried = len(node.inputs) - int(node.attrs.get("num_scan_inputs", 0))
    elif key not in ("If", "SequenceMap"):
        return
    for name, region in node.regions.items():
        if len(region.outputs) != count or count < carried:
            raise InvalidModel(
                f"{name} of {key} has {len(region.outputs)} outputs, must have {max(count, carried)}"
            )


def _needs_of(op: Op) -> _Needs:
    schema = op.schema
    assert schema is not None
    required = tuple(spec.name for spec in schema.attributes.values() if spec.required)
    fewest = schema.min_inputs  # counts optional ones that stand before a list, which may be left out here
    while fewest and schema.inputs[min(fewest, len(schema.inputs)) - 1].option == "optional":
        fewest -= 1
    # Where outputs may be left out, a node still has one: nothing could refer to it otherwise.
    fewest_outputs = max(schema.min_outputs, 1) if schema.outputs else 0
    return fewest, schema.max_inputs, fewest_outputs, schema.max_outputs, required


def _span(fewest: int, most: int) -> str:
    if fewest == most:
        return str(fewest)
    return f"at least {fewest}" if most > 1 << 20 else f"{fewest} to {most}"
